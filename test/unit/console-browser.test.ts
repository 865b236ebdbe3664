import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findBrowser } from '../console/browser.js';

const folder = mkdtempSync(path.join(tmpdir(), 'polony-browser-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file of a folder; only some may be run. */
function fileIn(where: string, name: string, mode: number): string {
  mkdirSync(path.join(folder, where), { recursive: true });
  const file = path.join(folder, where, name);
  writeFileSync(file, '#!/bin/sh\n');
  chmodSync(file, mode);
  return file;
}
const packaged = async () => ({ executablePath: '/packaged/chromium', env: { LD_LIBRARY_PATH: '/packaged/lib' } });
const none = () => Promise.reject(new Error('the package is not installed'));

describe('the browser of the tests of the console', () => {
  it('is the one that POLONY_BROWSER names, before every other', async () => {
    const named = fileIn('own', 'my-browser', 0o755);
    fileIn('bin', 'chromium', 0o755);
    const env = { POLONY_BROWSER: named, PATH: path.join(folder, 'bin') };
    expect(await findBrowser(env, packaged)).toEqual({ executablePath: named });
  });

  it.each([
    ['names no file', () => path.join(folder, 'missing')],
    ['names a folder', () => folder],
    ['names a file that nobody may run', () => fileIn('own', 'notes.txt', 0o644)],
  ])('is missing where POLONY_BROWSER %s, although there are others', async (_, name) => {
    const env = { POLONY_BROWSER: name(), PATH: path.dirname(fileIn('bin', 'chromium', 0o755)) };
    await expect(findBrowser(env, packaged)).rejects.toThrow(
      `POLONY_BROWSER is ${name()}, which is not a program that this user may run. Set it to the file of a Chromium ` +
        'browser, or unset it',
    );
  });

  it('is an installed one, if POLONY_BROWSER is empty', async () => {
    const chromium = fileIn('bin', 'google-chrome', 0o755);
    fileIn('first', 'chromium-browser', 0o644);
    const PATH = [path.join(folder, 'first'), '', path.dirname(chromium)].join(path.delimiter);
    rmSync(path.join(folder, 'bin/chromium'), { force: true });
    expect(await findBrowser({ POLONY_BROWSER: '', PATH }, packaged)).toEqual({ executablePath: chromium });
  });

  it('is that of the package, if none is installed', async () => {
    expect(await findBrowser({ PATH: path.join(folder, 'empty') }, packaged)).toEqual(await packaged());
  });

  it('is missing with an error that says what to do, if there is none at all', async () => {
    await expect(findBrowser({}, none)).rejects.toThrow(
      /^There is no browser for the tests of the console\. Run npm ci, .* or set POLONY_BROWSER .* The reason: the package is not installed$/,
    );
  });
});
