import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isProgram, ROOT } from './packages.js';

const VERSION = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$/;

/** A place that has the version. package.json is the source; the others must agree. */
interface Place {
  file: string;
  /** Its first group is the version. */
  pattern: RegExp;
}

const PLACES: readonly Place[] = [
  { file: 'package.json', pattern: /^ {2}"version": "([^"]+)"/m },
  { file: 'package-lock.json', pattern: /^ {2}"version": "([^"]+)"/m },
  { file: 'package-lock.json', pattern: /^ {2}"packages": \{\n {4}"": \{\n(?: {6}.*\n)*? {6}"version": "([^"]+)"/m },
  { file: 'domain/version.ts', pattern: /^export const VERSION = '([^']+)'/m },
  { file: 'deploy/helm/polony/Chart.yaml', pattern: /^version: (\S+)/m },
  { file: 'deploy/helm/polony/Chart.yaml', pattern: /^appVersion: (\S+)/m },
  { file: 'docs/tutorial/local.md', pattern: /polony-(\d+\.\d+\.\d+)\.tgz/ },
];

function versionAt(root: string, { file, pattern }: Place): string {
  const found = pattern.exec(readFileSync(path.join(root, file), 'utf8'))?.[1];
  if (found === undefined) throw new Error(`${file} has no version where deploy/supply/release.ts looks for it`);
  return found;
}

/** The version of package.json. */
export const currentVersion = (root: string = ROOT): string => versionAt(root, PLACES[0]!);

/** The text of a section of the changelog, or undefined where there is none. @param title `Unreleased` or a version */
export function changelogSection(text: string, title: string): string | undefined {
  const start = new RegExp(`^## \\[${title.replaceAll('.', '\\.')}\\].*$`, 'm').exec(text);
  if (start === null) return undefined;
  const rest = text.slice(start.index + start[0].length);
  const end = /^## \[|^\[[^\]]+\]: /m.exec(rest);
  return (end === null ? rest : rest.slice(0, end.index)).trim();
}

/** What does not agree about the version, as lines. @param tag the tag of the commit, if it has one */
export function findVersionProblems(root: string = ROOT, tag?: string): string[] {
  const version = currentVersion(root);
  const problems = PLACES.map((place) => ({ file: place.file, found: versionAt(root, place) }))
    .filter(({ found }) => found !== version)
    .map(({ file, found }) => `${file} has the version ${found}, but package.json has ${version}`);
  const changelog = readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8');
  if (!changelogSection(changelog, version))
    problems.push(`CHANGELOG.md has no section, or an empty one, for ${version}`);
  if (changelogSection(changelog, 'Unreleased') === undefined) problems.push('CHANGELOG.md has no section Unreleased');
  if (tag !== undefined && tag !== `v${version}`) problems.push(`The tag is ${tag}, but the version is ${version}`);
  return problems;
}

/** Whether a version is later than another one. */
function isLater(version: string, than: string): boolean {
  const [a, b] = [version, than].map((each) => each.split('.').map(Number));
  const at = a!.findIndex((part, index) => part !== b![index]);
  return at !== -1 && a![at]! > b![at]!;
}

/** What speaks against a release, as lines. */
function findObstacles(root: string, version: string, git: (...args: string[]) => string): string[] {
  if (!VERSION.test(version)) return [`${version} is no version: write three numbers, such as 0.2.0`];
  const problems = findVersionProblems(root);
  const before = currentVersion(root);
  if (!isLater(version, before)) problems.push(`${version} is not later than ${before}`);
  if (git('status', '--porcelain') !== '') problems.push('The working tree has changes: commit or remove them');
  if (git('tag', '--list', `v${version}`) !== '') problems.push(`The tag v${version} exists`);
  if (!changelogSection(readFileSync(path.join(root, 'CHANGELOG.md'), 'utf8'), 'Unreleased'))
    problems.push('CHANGELOG.md says nothing under Unreleased: say what changed');
  return problems;
}

/**
 * Writes a new version to every place, gives the changes of the changelog their section, and makes a commit and an
 * annotated tag. It pushes nothing.
 * @throws Error that names everything that speaks against the release; then nothing has changed.
 */
export function release(version: string, { root = ROOT, today }: { root?: string; today: string }): void {
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  const obstacles = findObstacles(root, version, git);
  if (obstacles.length > 0) throw new Error(obstacles.join('\n'));
  for (const { file, pattern } of PLACES) {
    const place = path.join(root, file);
    const text = readFileSync(place, 'utf8');
    const replaced = text.replace(pattern, (whole, old: string) => {
      const at = whole.lastIndexOf(old);
      return whole.slice(0, at) + version + whole.slice(at + old.length);
    });
    writeFileSync(place, replaced);
  }
  const changelog = path.join(root, 'CHANGELOG.md');
  const text = readFileSync(changelog, 'utf8');
  writeFileSync(changelog, text.replace(/^## \[Unreleased\]$/m, `## [Unreleased]\n\n## [${version}] - ${today}`));
  const files = [...new Set([...PLACES.map(({ file }) => file), 'CHANGELOG.md'])];
  git('add', ...files);
  git('commit', '--quiet', '--message', `chore: release ${version}`);
  const notes = changelogSection(readFileSync(changelog, 'utf8'), version)!;
  // Without --cleanup, git would take the headings of the notes for comments.
  git('tag', '--annotate', '--cleanup=verbatim', `v${version}`, '--message', `polony ${version}\n\n${notes}\n`);
}

/** The tag of the commit that is checked out, or undefined. */
function tagOfHead(): string | undefined {
  if (!existsSync(path.join(ROOT, '.git'))) return undefined;
  const tags = execFileSync('git', ['tag', '--points-at', 'HEAD', '--list', 'v*'], { cwd: ROOT, encoding: 'utf8' });
  return tags.trim().split('\n').filter(Boolean)[0];
}

// `release.ts check`, and `release.ts <version>`.
if (isProgram(import.meta.url)) {
  const [what = 'check'] = process.argv.slice(2);
  try {
    if (what === 'check') {
      const problems = findVersionProblems(ROOT, tagOfHead());
      if (problems.length > 0) throw new Error(problems.join('\n'));
      process.stdout.write(`Every place has the version ${currentVersion()}.\n`);
    } else {
      release(what, { today: new Date().toISOString().slice(0, 10) });
      process.stdout.write(`Made the commit and the tag v${what}. Look at them, then push both:\n`);
      process.stdout.write(`  git push --follow-tags\n`);
    }
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
