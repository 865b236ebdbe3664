import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { removeOldBuilds } from '../../local/oldBuilds.js';

let builds: string;
beforeEach(() => {
  builds = mkdtempSync(path.join(tmpdir(), 'polony-builds-'));
});
afterEach(() => {
  rmSync(builds, { recursive: true, force: true });
});

function addBuild(name: string, days: number): string {
  const folder = path.join(builds, name);
  mkdirSync(path.join(folder, 'cli'), { recursive: true });
  writeFileSync(path.join(folder, 'cli/main.js'), '');
  const used = new Date(Date.now() - days * 86_400_000);
  utimesSync(folder, used, used);
  return folder;
}

it('removes builds that nobody has used for a week, and what is left of removals that were interrupted', () => {
  const current = addBuild('current', 10);
  addBuild('weekend', 4);
  addBuild('old', 8);
  addBuild('half.removed', 8);
  removeOldBuilds(builds, current);
  expect(readdirSync(builds).sort()).toEqual(['current', 'weekend']);
});

it('leaves a build that it cannot remove, and removes the others', () => {
  const current = addBuild('current', 0);
  // A folder with this name is in the way of the first.
  addBuild('one', 8);
  addBuild('one.removed', 1);
  addBuild('two', 8);
  removeOldBuilds(builds, current);
  expect(readdirSync(builds).sort()).toEqual(['current', 'one', 'one.removed']);
});
