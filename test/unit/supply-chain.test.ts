import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { readAuditReport, splitAccepted } from '../../deploy/supply/advisories.js';
import {
  findUnpinned,
  listBaseImages,
  readVariables,
  repositoryImages,
  setVariables,
} from '../../deploy/supply/images.js';
import { findScriptProblems } from '../../deploy/supply/installScripts.js';
import { findLicenceProblems, findUnusedExceptions, isAllowedLicence } from '../../deploy/supply/licences.js';
import { lockedPackages } from '../../deploy/supply/packages.js';
import { changelogSection, currentVersion, findVersionProblems, release } from '../../deploy/supply/release.js';
import { createSbom } from '../../deploy/supply/sbom.js';

const exec = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'polony-supply-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const production = lockedPackages().filter(({ dev }) => dev !== true);

/** Runs a script of deploy/supply as `npm run` does. */
async function runScript(
  name: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number; output: string; errors: string }> {
  const command = ['--import', 'tsx', path.join(root, 'deploy/supply', name), ...args];
  return exec(process.execPath, command, { cwd: root, env: { ...process.env, ...env } }).then(
    ({ stdout, stderr }) => ({ code: 0, output: stdout, errors: stderr }),
    (error: unknown) => {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, output: stdout, errors: stderr };
    },
  );
}

describe('licences', () => {
  it('of all production packages are allowed, or are exceptions that are still needed', () => {
    expect(findLicenceProblems(production)).toEqual([]);
    expect(findUnusedExceptions(production)).toEqual([]);
    expect(production.length).toBeGreaterThan(200);
  });

  it.each([
    ['MIT', true],
    ['(MIT OR GPL-3.0-only)', true],
    ['Apache-2.0 AND MIT', true],
    ['Apache-2.0 AND GPL-2.0-only', false],
    ['MIT OR Apache-2.0 AND GPL-2.0-only', true],
    ['(MIT OR Apache-2.0) AND GPL-2.0-only', false],
    ['AGPL-3.0-only', false],
    ['BUSL-1.1', false],
    ['SEE LICENSE IN LICENSE.txt', false],
    ['MIT License', false],
    ['UNLICENSED', false],
    ['(MIT', false],
    ['', false],
  ])('reads the expression %j', (expression, isAllowed) => {
    expect(isAllowedLicence(expression)).toBe(isAllowed);
  });

  it('that are unknown or changed are problems', () => {
    const locked = [
      { folder: 'node_modules/none', name: 'none', version: '1.0.0' },
      { folder: 'node_modules/unionfs', name: 'unionfs', version: '9.0.0', license: 'GPL-3.0-only' },
    ];
    expect(findLicenceProblems(locked, ({ license }) => license)).toEqual([
      'none@1.0.0 declares no licence',
      'unionfs@9.0.0 declares GPL-3.0-only',
    ]);
  });
});

describe('install scripts', () => {
  it('run only for packages that package.json names', () => {
    expect(findScriptProblems()).toEqual([]);
  });

  it('are found in the lockfile, in package.json and as binding.gyp, and names without a script too', () => {
    const project = path.join(folder, 'scripts');
    const write = (file: string, content: object | string): void => {
      mkdirSync(path.dirname(path.join(project, file)), { recursive: true });
      writeFileSync(path.join(project, file), typeof content === 'string' ? content : JSON.stringify(content));
    };
    write('package.json', { allowScripts: { named: true, quiet: true, denied: false } });
    const names = ['named', 'quiet', 'denied', 'locked', 'hidden', 'native'];
    const locked = Object.fromEntries(names.map((name) => [`node_modules/${name}`, { version: '1.0.0' }]));
    for (const name of ['named', 'denied', 'locked'])
      Object.assign(locked[`node_modules/${name}`]!, { hasInstallScript: true });
    write('package-lock.json', { packages: { '': {}, ...locked } });
    // The lockfile does not tell of these two.
    write('node_modules/hidden/package.json', { scripts: { preinstall: 'curl …' } });
    write('node_modules/native/package.json', {});
    write('node_modules/native/binding.gyp', '{}');
    expect(findScriptProblems(project)).toEqual([
      'denied@1.0.0 has an install script that package.json does not name',
      'locked@1.0.0 has an install script that package.json does not name',
      'hidden@1.0.0 has an install script that package.json does not name',
      'native@1.0.0 has an install script that package.json does not name',
      'package.json names quiet, which has no install script',
    ]);
  });
});

describe('advisories', () => {
  const advisory = {
    id: 1,
    url: 'https://github.com/advisories/GHSA-aaaa-bbbb-cccc',
    title: 'Reads any file',
    severity: 'high',
    vulnerable_versions: '*',
    cwe: [],
    cvss: { score: 8, vectorString: null },
  };

  /** A registry that answers audits: with an advisory, without one, or not at all. */
  async function withRegistry<T>(
    answer: 'advisory' | 'none' | 'refused',
    ask: (env: object) => Promise<T>,
  ): Promise<T> {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      request.resume();
      const isAudit = request.url!.endsWith('/security/advisories/bulk');
      if (answer === 'refused') return void response.writeHead(405).end();
      if (isAudit)
        return void response.end(answer === 'none' ? '{}' : JSON.stringify({ 'light-my-request': [advisory] }));
      // npm asks which versions exist, also of what depends on the package.
      const name = decodeURIComponent(request.url!.slice(1));
      const { version } = production.find((locked) => locked.name === name)!;
      const versions = { [version]: { name, version } };
      response.end(JSON.stringify({ name, versions, 'dist-tags': { latest: version } }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const npm = { npm_config_registry: `http://127.0.0.1:${port}/`, npm_config_cache: path.join(folder, 'npm') };
    return ask({ ...npm, npm_config_audit: 'true', npm_config_fetch_retries: '0' }).finally(() => {
      expect(asked.filter((each) => each.startsWith('POST '))).not.toEqual([]);
      server.closeAllConnections();
      server.close();
    });
  }
  const check = (answer: 'advisory' | 'none' | 'refused', ...args: string[]) =>
    withRegistry(answer, (env) => runScript('advisories.ts', args, env as Record<string, string>));

  it('fail the check if a production dependency has one', { tags: 'long' }, async () => {
    const { code, errors } = await check('advisory');
    expect([code, errors]).toEqual([1, expect.stringContaining('high: light-my-request: Reads any file')]);
  });

  it('pass the check if there is none', { tags: 'long' }, async () => {
    expect(await check('none')).toMatchObject({
      code: 0,
      output: 'Advisories checked: none is open for a production dependency.\n',
    });
  });

  it('are said to be not checked if the registry refuses to answer', { tags: 'long' }, async () => {
    const { code, output, errors } = await check('refused');
    expect([code, output, errors]).toEqual([0, '', expect.stringMatching(/^ADVISORIES NOT CHECKED: 405 /)]);
    expect(errors).not.toMatch(/https?:/);
    expect(await check('refused', '--require')).toMatchObject({ code: 1 });
  });

  it('are never taken for none if the report is something else', () => {
    for (const text of ['', 'Internal error', '{}', '{"error":{"code":"ENOLOCK","summary":"no lockfile"}}'])
      expect(readAuditReport(text)).toMatchObject({ isChecked: false });
  });

  it('count again from the day until which they were accepted', () => {
    const found = [{ package: 'a', url: advisory.url, title: 't', severity: 'low' }];
    const accepted = { 'GHSA-aaaa-bbbb-cccc': { reason: 'not reachable', until: '2027-01-01' } };
    expect(splitAccepted(found, accepted, '2026-12-31')).toEqual({ open: [], accepted: found });
    expect(splitAccepted(found, accepted, '2027-01-01')).toEqual({ open: found, accepted: [] });
  });
});

describe('the bill of materials', () => {
  it('lists every production package with its version, and nothing else', { tags: 'long' }, () => {
    const { bomFormat, metadata, components, dependencies } = createSbom();
    expect(bomFormat).toBe('CycloneDX');
    expect(metadata.component).toMatchObject({ name: 'polony', version: currentVersion() });
    const listed = new Set(components.map(({ name, version }) => `${name}@${version}`));
    const expected = new Set(production.map(({ name, version }) => `${name}@${version}`));
    expect([...listed].filter((each) => !expected.has(each))).toEqual([]);
    expect([...expected].filter((each) => !listed.has(each))).toEqual([]);
    const references = new Set(components.map((component) => component['bom-ref']));
    expect(dependencies.flatMap(({ dependsOn = [] }) => dependsOn).filter((each) => !references.has(each))).toEqual([]);
    expect(dependencies).toHaveLength(components.length + 1);
    expect(components.every(({ purl }) => purl?.startsWith('pkg:npm/'))).toBe(true);
  });
});

describe('base images', () => {
  const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;

  it('each have a variable that replaces them, in the Dockerfile and in docker-compose.yml', () => {
    const images = repositoryImages();
    expect(images.map(({ variable }) => variable).sort()).toEqual([
      'GRAFANA_IMAGE',
      'NODE_BUILD_IMAGE',
      'NODE_IMAGE',
      'POSTGRES_IMAGE',
      'PROMETHEUS_IMAGE',
      'TEMPORAL_IMAGE',
      'TEMPORAL_TOOLS_IMAGE',
      'TEMPORAL_UI_IMAGE',
    ]);
    const compose = readFileSync(path.join(root, 'docker-compose.yml'), 'utf8');
    const named = [...compose.matchAll(/^ +image: (.+)$/gm)].map(([, image]) => image!);
    expect(named.filter((image) => image !== 'polony' && !/^\$\{\w+_IMAGE:-/.test(image))).toEqual([]);
    const dockerfile = readFileSync(path.join(root, 'Dockerfile'), 'utf8');
    expect(dockerfile.match(/^FROM (?!\$\{\w+_IMAGE\})/gm)).toBeNull();
  });

  it('count as pinned only with the digest of the same tag', () => {
    const images = listBaseImages('ARG A_IMAGE=a:1\n', 'image: ${B_IMAGE:-b:2}\nimage: ${C_IMAGE:-c:3}');
    const variables = readVariables(`A_IMAGE=a:1@${digest('a')}\nB_IMAGE=b:1@${digest('b')}\nC_IMAGE=c:3@sha256:12\n`);
    expect(findUnpinned(images, variables).map(({ variable }) => variable)).toEqual(['B_IMAGE', 'C_IMAGE']);
  });

  it('are written beside the other variables of the file', () => {
    const text = setVariables('# Secret\nPOLONY_API_KEY=a$&b\nA_IMAGE=old', [
      ['A_IMAGE', 'a:1@$&'],
      ['B_IMAGE', 'b'],
    ]);
    expect(text).toBe('# Secret\nPOLONY_API_KEY=a$&b\nA_IMAGE=a:1@$&\nB_IMAGE=b\n');
  });

  it('are pinned by what docker says, and all or none', { tags: 'long' }, async () => {
    const bin = path.join(folder, 'bin');
    mkdirSync(bin);
    const docker = (script: string): void => {
      writeFileSync(path.join(bin, 'docker'), `#!/bin/sh\n${script}\n`);
      chmodSync(path.join(bin, 'docker'), 0o755);
    };
    const env = { PATH: `${bin}${path.delimiter}${process.env.PATH}` };
    const file = path.join(folder, 'images.env');
    docker(`case "$4" in temporalio/ui*) echo "ERROR: no such image" >&2; exit 1;; *) echo ${digest('a')};; esac`);
    const failed = await runScript('images.ts', ['pin', file], env);
    expect(failed).toMatchObject({ code: 1, errors: expect.stringContaining('ERROR: no such image') as string });
    expect(await runScript('images.ts', ['check', file])).toMatchObject({ code: 1 });
    docker(`echo ${digest('b')}`);
    expect(await runScript('images.ts', ['pin', file], env)).toMatchObject({ code: 0 });
    expect(readFileSync(file, 'utf8')).toContain(`NODE_IMAGE=node:22-bookworm-slim@${digest('b')}\n`);
    expect(await runScript('images.ts', ['check', file])).toMatchObject({
      code: 0,
      output: `${file} pins all 8 images by digest.\n`,
    });
  });
});

describe('releases', () => {
  it('have one version, which every place names', () => {
    expect(findVersionProblems()).toEqual([]);
  });

  it('have the version of their tag', () => {
    expect(findVersionProblems(root, `v${currentVersion()}`)).toEqual([]);
    expect(findVersionProblems(root, 'v9.9.9')).toEqual([`The tag is v9.9.9, but the version is ${currentVersion()}`]);
  });

  it('read a section of the changelog up to the next one', () => {
    const text = '# Changelog\n\n## [Unreleased]\n\n- new\n\n### Added\n\n- more\n\n## [0.1.0] - 2026-01-01\n\n- old\n';
    expect(changelogSection(text, 'Unreleased')).toBe('- new\n\n### Added\n\n- more');
    expect(changelogSection(text, '0.1.0')).toBe('- old');
    expect(changelogSection(text, '0.2.0')).toBeUndefined();
  });

  it(
    'are refused with everything that speaks against them, and are one commit with a tag',
    { tags: 'long' },
    async () => {
      const clone = path.join(folder, 'clone');
      const git = async (...args: string[]): Promise<string> => {
        const identity = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.org'];
        return (await exec('git', [...identity, ...args], { cwd: clone })).stdout.trim();
      };
      const files = [
        'package.json',
        'package-lock.json',
        'CHANGELOG.md',
        'domain/version.ts',
        'docs/tutorial/local.md',
      ];
      for (const file of [...files, 'deploy/helm/polony/Chart.yaml'])
        cpSync(path.join(root, file), path.join(clone, file), { recursive: true });
      writeFileSync(path.join(clone, 'CHANGELOG.md'), `## [Unreleased]\n\n## [${currentVersion()}]\n\n- first\n`);
      await git('init', '--quiet');
      await git('config', 'user.name', 'Ada');
      await git('config', 'user.email', 'ada@example.org');
      await git('add', '.');
      await git('commit', '--quiet', '--message', 'first');
      await git('tag', 'v8.0.0');
      const attempt = (version: string) => () => release(version, { root: clone, today: '2027-02-03' });
      expect(attempt('1.0')).toThrow('1.0 is no version');
      expect(attempt(currentVersion())).toThrow('is not later than');
      writeFileSync(path.join(clone, 'new.txt'), '');
      expect(attempt('8.0.0')).toThrow(
        'The working tree has changes: commit or remove them\n' +
          'The tag v8.0.0 exists\n' +
          'CHANGELOG.md says nothing under Unreleased: say what changed',
      );
      rmSync(path.join(clone, 'new.txt'));
      writeFileSync(
        path.join(clone, 'CHANGELOG.md'),
        `## [Unreleased]\n\n### Added\n\n- a chart\n\n## [${currentVersion()}]\n\n- first\n`,
      );
      await git('commit', '--quiet', '--all', '--message', 'a chart');

      attempt('9.10.0')();
      expect(findVersionProblems(clone, 'v9.10.0')).toEqual([]);
      expect(await git('status', '--porcelain')).toBe('');
      expect(await git('log', '-1', '--format=%s')).toBe('chore: release 9.10.0');
      expect(await git('cat-file', '-p', 'v9.10.0')).toContain('polony 9.10.0\n\n### Added\n\n- a chart');
      expect(readFileSync(path.join(clone, 'CHANGELOG.md'), 'utf8')).toBe(
        `## [Unreleased]\n\n## [9.10.0] - 2027-02-03\n\n### Added\n\n- a chart\n\n## [${currentVersion()}]\n\n- first\n`,
      );
      const changed = await git('show', '--numstat', '--format=', 'HEAD');
      expect(changed.split('\n').map((line) => line.split('\t').join(' '))).toEqual([
        '2 0 CHANGELOG.md',
        '2 2 deploy/helm/polony/Chart.yaml',
        '1 1 docs/tutorial/local.md',
        '1 1 domain/version.ts',
        '2 2 package-lock.json',
        '1 1 package.json',
      ]);
      expect(attempt('9.2.0')).toThrow('9.2.0 is not later than 9.10.0');
    },
  );
});
