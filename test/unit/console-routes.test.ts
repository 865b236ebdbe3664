import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Fastify from 'fastify';
import { expect, it } from 'vitest';
import { addConsole } from '../../api/console/routes.js';

it('serves the page under its policy only, and files of the folder of assets', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'polony-console-'));
  mkdirSync(path.join(folder, 'assets'));
  writeFileSync(path.join(folder, 'index.html'), '<meta name="polony-base" content=""><script src="./assets/a.js">');
  writeFileSync(path.join(folder, 'favicon.svg'), '<svg/>');
  writeFileSync(path.join(folder, 'assets', 'a.js'), 'run()');
  const app = Fastify();
  await addConsole(app, folder, '/lab');
  const get = async (url: string) => {
    const { statusCode, body, headers } = await app.inject({ url });
    return { statusCode, body, policy: headers['content-security-policy'] };
  };
  expect(await get('/runs/1')).toEqual({
    statusCode: 200,
    body: '<meta name="polony-base" content="/lab"><script src="/lab/assets/a.js">',
    policy: expect.stringContaining("frame-ancestors 'none'") as string,
  });
  expect(await get('/assets/a.js')).toMatchObject({ statusCode: 200, body: 'run()' });
  expect(await get('/favicon.svg')).toMatchObject({ statusCode: 200, body: '<svg/>' });
  for (const name of ['..%2findex.html', '%2e%2e%2findex.html', '..%5cindex.html', '.%2f..%2findex.html', 'none.js'])
    expect([name, (await get(`/assets/${name}`)).body.includes('polony-base')]).toEqual([name, false]);
  await app.close();
  rmSync(folder, { recursive: true });
});
