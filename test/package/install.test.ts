import { execFile } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/*
 * Packs polony, installs the tarball as somebody who owns nothing here, and runs it on each version of Node.js. Where
 * the tests do not run as root, they cannot become another user, and use a home of its own only.
 */
const root = fileURLToPath(new URL('../../', import.meta.url));
const { version, engines } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
  version: string;
  engines: { node: string };
};
const VERSIONS = [20, 22, 24];
/** `nobody` of most systems. */
const STRANGER = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

// The folder is the stranger's, and the caller's own folders stay closed to the stranger.
const folder = mkdtempSync(path.join(tmpdir(), 'polony-package-'));
const prefix = path.join(folder, 'prefix');
const bin = path.join(prefix, 'bin/polony');
const installed = path.join(prefix, 'lib/node_modules/polony');
const home = path.join(folder, 'home');
let tarball: string;
/** The programs of Node.js by version; a version that cannot be had is missing. */
const nodes = new Map<number, string>();
/** Why a version is missing. */
const missing = new Map<number, string>();

interface Result {
  code: number;
  output: string;
  errors: string;
}
function run(command: string, args: readonly string[], options: object): Promise<Result> {
  return new Promise((resolve) => {
    execFile(command, args, { maxBuffer: 1 << 26, encoding: 'utf8', ...options }, (error, stdout, stderr) =>
      resolve({
        code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1,
        output: stdout,
        errors: stderr + (error !== null && typeof error.code !== 'number' ? error.message : ''),
      }),
    );
  });
}
async function npmSetting(name: string): Promise<string> {
  return (await run('npm', ['config', 'get', name], { cwd: tmpdir() })).output.trim();
}

/** What npm and the tests set, and what belongs to the caller. Certificates of the machine are not among it. */
const OF_TESTS = /^(npm_|TEMPORAL_|AWS_(?!CA_BUNDLE)|VITEST|TEST|POLONY_|XDG_|NODE_(OPTIONS|PATH|ENV|V8_COVERAGE)$)/i;
const OF_THE_CALLER = /^(HOME|USER|LOGNAME|MAIL|PWD|OLDPWD|PATH)$/;

/** The stranger's environment. */
let environment: Record<string, string>;
const asStranger = (command: string, ...args: string[]): Promise<Result> =>
  run(command, args, { cwd: home, env: environment, ...STRANGER });
const polony = (node: string, ...args: string[]): Promise<Result> => asStranger(node, bin, ...args);

beforeAll(async () => {
  chmodSync(folder, 0o755);
  for (const each of [prefix, home]) {
    mkdirSync(each);
    if (STRANGER.uid !== undefined) chownSync(each, STRANGER.uid, STRANGER.gid);
  }
  const inherited = Object.entries(process.env).filter(([name]) => !OF_TESTS.test(name) && !OF_THE_CALLER.test(name));
  environment = {
    ...(Object.fromEntries(inherited) as Record<string, string>),
    HOME: home,
    PATH: [path.join(prefix, 'bin'), path.dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin'].join(':'),
    npm_config_prefix: prefix,
    npm_config_cache: path.join(home, '.npm'),
    // The machine may need another registry.
    npm_config_registry: await npmSetting('registry'),
  };
  const packed = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root });
  expect([packed.code, packed.code === 0 ? '' : packed.errors]).toEqual([0, '']);
  tarball = path.join(
    folder,
    readdirSync(folder).find((name) => name.endsWith('.tgz'))!,
  );
  const install = await asStranger('npm', 'install', '--global', '--no-audit', '--no-fund', tarball);
  expect([install.code, install.code === 0 ? '' : install.errors]).toEqual([0, '']);
  nodes.set(Number(process.versions.node.split('.')[0]), process.execPath);
  // npm hands its settings for this repository on to its children, and they forbid the install script of this package.
  const ours = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  for (const each of VERSIONS.filter((number) => !nodes.has(number))) {
    const place = path.join(folder, `node-${each}`);
    const flags = ['--no-audit', '--no-fund', '--prefer-offline', '--prefix', place];
    const { code, errors } = await run('npm', ['install', ...flags, `node@${each}`], { cwd: folder, env: ours });
    const program = path.join(place, 'node_modules/node/bin/node');
    if (code === 0 && existsSync(program)) nodes.set(each, program);
    else missing.set(each, `Node.js ${each} cannot be had here: ${errors.split('\n')[0]}`);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the packed polony', () => {
  it('contains what it needs to run, and no sources, tests and maps', async () => {
    const { output } = await run('tar', ['-tzf', tarball], {});
    const files = output.trim().split('\n');
    expect(path.basename(tarball)).toBe(`polony-${version}.tgz`);
    expect([...new Set(files.map((file) => file.split('/')[1]))].sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'dist',
      'package.json',
    ]);
    expect(files.filter((file) => /\.map$|\.test\.|(?<!\.d)\.ts$|__pycache__/.test(file))).toEqual([]);
    for (const file of ['dist/cli/main.js', 'dist/worker/workflow-bundle.js', 'dist/client/openapi.json'])
      expect(files).toContain(`package/${file}`);
  });

  it('belongs to the stranger who installed it, and leaves nothing behind but its own packages', async () => {
    const { output } = await asStranger(
      'sh',
      '-c',
      `id -u; ls -ln ${prefix}/lib/node_modules | tail -1; ls -A ${home}`,
    );
    const [uid, package_, ...left] = output.trim().split('\n');
    expect(package_!.split(/\s+/)[2]).toBe(uid);
    if (STRANGER.uid !== undefined) expect(uid).toBe(String(STRANGER.uid));
    expect(left).toEqual(['.npm']);
    for (const name of ['typescript', 'vitest', 'tsx', 'eslint'])
      expect(existsSync(path.join(installed, 'node_modules', name)), name).toBe(false);
  });

  it('runs on every version of Node.js that package.json names', () => {
    expect(engines.node).toBe('>=20.19.0 <25');
    // At least the version that runs the tests; a registry may lack the others.
    expect(nodes.size).toBeGreaterThan(0);
    process.stdout.write(`Node.js: ${[...nodes.keys()].sort().join(', ')}\n`);
  });

  describe.each(VERSIONS)('on Node.js %i', (number) => {
    it('prints its version and help, and IAM documents, without any setting', async (context) => {
      const node = nodes.get(number);
      if (node === undefined) return context.skip(missing.get(number));
      expect((await asStranger(node, '--version')).output).toMatch(new RegExp(`^v${number}\\.`));
      expect(await polony(node, '--version')).toEqual({ code: 0, output: `${version}\n`, errors: '' });
      const help = await polony(node, '--help');
      expect([help.code, help.output, help.errors]).toEqual([0, expect.stringMatching(/\n {2}worker /), '']);
      const policy = await polony(node, 'iam', '--bucket', 'lab-aviti', '--format', 'policy');
      expect([policy.code, policy.errors]).toEqual([0, '']);
      expect(JSON.parse(policy.output)).toMatchObject({ Version: '2012-10-17' });
    });

    it('says what is wrong with its settings, and where the API does not answer', async (context) => {
      const node = nodes.get(number);
      if (node === undefined) return context.skip(missing.get(number));
      for (const command of ['api', 'worker', 'migrate'])
        expect(await polony(node, command)).toMatchObject({
          code: 1,
          errors: expect.stringMatching(/^DATABASE_URL is not set: /m) as string,
        });
      const away = { POLONY_API_URL: 'http://127.0.0.1:9', POLONY_API_KEY: 'a-key-of-more-than-24-characters' };
      const { code, errors } = await run(node, [bin, 'executions', 'list'], {
        cwd: home,
        env: { ...environment, ...away },
        ...STRANGER,
      });
      expect(code).toBeGreaterThan(1);
      expect(errors).toContain('http://127.0.0.1:9');
    });

    it('gives the client to programs that import it', async (context) => {
      const node = nodes.get(number);
      if (node === undefined) return context.skip(missing.get(number));
      const program = `
        import * as client from 'polony/client';
        import openapi from 'polony/openapi.json' with { type: 'json' };
        console.log(Object.keys(client).length > 0, openapi.openapi);`;
      const { code, output, errors } = await run(node, ['--input-type=module', '--eval', program], {
        cwd: installed,
        env: environment,
        ...STRANGER,
      });
      expect([code, output, code === 0 ? '' : errors]).toEqual([0, expect.stringMatching(/^true 3\./), '']);
    });
  });

  it('runs the demo as the stranger, with a stack of its own', async () => {
    const { code, output, errors } = await asStranger('polony', 'demo');
    expect([code, code === 0 ? '' : output + errors]).toEqual([0, '']);
    expect(output).toMatch(/COMPLETED|FASTQ/i);
  });
});
