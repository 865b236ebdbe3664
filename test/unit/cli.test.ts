import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { watchChanges, type WatchedChange } from '../../cli/client/changes.js';
import { unreachable } from '../../cli/client/exit.js';
import { watchExecution, type WatchedExecution } from '../../cli/client/watch.js';
import { cliFile } from '../testStack.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const KEY = 'key-of-the-lab-0123456789';
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

interface ReceivedRequest {
  method: string;
  url: string;
  key: string | undefined;
}
/** Starts a fake API whose answers the test decides. */
async function startFakeApi(
  answer: (request: IncomingMessage, response: ServerResponse, count: number) => void,
): Promise<{ url: string; requests: ReceivedRequest[]; server: Server }> {
  const requests: ReceivedRequest[] = [];
  const server = createServer((request, response) => {
    requests.push({
      method: request.method!,
      url: request.url!,
      key: request.headers['x-api-key'] as string | undefined,
    });
    answer(request, response, requests.length);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, server };
}
const answerJson = (response: ServerResponse, body: unknown, status = 200): void =>
  void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'polony-cli-unit-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
/** Runs the command line in a process of its own, with only the given environment variables. */
function polony(
  args: string[],
  { env = {}, input = '', shell }: { env?: Record<string, string>; input?: string; shell?: string } = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const command = [process.execPath, cliFile(), ...args];
    const options = { cwd: root, env: { PATH: process.env.PATH, HOME: env.HOME ?? temporaryFolder(), ...env } };
    const child =
      shell === undefined
        ? spawn(command[0]!, command.slice(1), options)
        : spawn('/bin/bash', ['-c', `${command.map((each) => `'${each}'`).join(' ')} ${shell}`], options);
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdin.on('error', () => undefined).end(input);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
const ID = '01920000-0000-7000-8000-000000000000';

describe('the API key', () => {
  it('is sent to the API only, not to the target of a redirect', { tags: 'long' }, async () => {
    const other = await startFakeApi((_request, response) => answerJson(response, { runs: [], nextPageToken: '' }));
    for (const status of [301, 302, 307, 308]) {
      const api = await startFakeApi(
        (_request, response) => void response.writeHead(status, { location: `${other.url}/v1/runs` }).end(),
      );
      const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY };
      const list = await polony(['runs', 'list'], { env });
      expect([list.code, list.stdout, list.stderr.includes(other.url)]).toEqual([2, '', true]);
      expect((await polony(['executions', 'cancel', ID], { env })).code).toBe(2);
    }
    expect(other.requests).toEqual([]);
  });
  it('of a profile is sent to the API of that profile only', { tags: 'long' }, async () => {
    const lab = await startFakeApi((_request, response) => answerJson(response, { runs: [], nextPageToken: '' }));
    const other = await startFakeApi((_request, response) => answerJson(response, { runs: [], nextPageToken: '' }));
    const folder = temporaryFolder();
    const env = { POLONY_CONFIG: path.join(folder, 'config.json') };
    writeFileSync(
      env.POLONY_CONFIG,
      JSON.stringify({ current: 'lab', profiles: { lab: { url: lab.url, apiKey: KEY } } }),
    );
    expect((await polony(['runs', 'list'], { env })).code).toBe(0);
    for (const [args, more] of [
      [[], { POLONY_API_URL: other.url }],
      [['--api-url', other.url], {}],
      [['--api-url', other.url, '--profile', 'lab'], {}],
      [['--profile', 'lab', '--api-url', `${other.url}/`], { POLONY_API_URL: lab.url }],
    ] as const) {
      const { code, stderr } = await polony(['runs', 'list', ...args], { env: { ...env, ...more } });
      expect([code, stderr]).toEqual([2, expect.stringContaining(`No API key is set for ${other.url}`)]);
    }
    expect(other.requests).toEqual([]);
    // The same address in another spelling is the same API. An explicit key is sent to any API.
    expect((await polony(['runs', 'list', '--api-url', `${lab.url}/`], { env })).code).toBe(0);
    expect(
      (
        await polony(['runs', 'list'], {
          env: { ...env, POLONY_API_URL: other.url, POLONY_API_KEY: 'another-key-0123' },
        })
      ).code,
    ).toBe(0);
    expect(other.requests.map(({ key }) => key)).toEqual(['another-key-0123']);
    // A profile that the command names takes precedence over the environment.
    expect(
      (
        await polony(['runs', 'list', '--profile', 'lab'], {
          env: { ...env, POLONY_API_URL: other.url, POLONY_API_KEY: 'another-key-0123' },
        })
      ).code,
    ).toBe(0);
    expect([lab.requests.at(-1)!.key, other.requests.length]).toEqual([KEY, 1]);
  });
  it('goes to another host over plain HTTP only with a warning, once', { tags: 'long' }, async () => {
    const folder = temporaryFolder();
    const warning = /^Warning: the API key goes to (\S+) without encryption/gm;
    const seen = async (args: string[], address: string): Promise<string[]> => {
      const env = { POLONY_API_URL: address, POLONY_API_KEY: KEY, POLONY_CONFIG: path.join(folder, 'config.json') };
      return [...(await polony(args, { env, input: KEY })).stderr.matchAll(warning)].map(([, host]) => host!);
    };
    // No name ends with .invalid (RFC 6761).
    expect(await seen(['runs', 'list'], 'http://polony.invalid:81')).toEqual(['polony.invalid:81']);
    expect(await seen(['login', '--api-url', 'http://polony.invalid'], '')).toEqual(['polony.invalid']);
    for (const address of ['https://polony.invalid', 'http://127.0.0.1:9', 'http://localhost:9', 'http://[::1]:9'])
      expect([address, await seen(['runs', 'list'], address)]).toEqual([address, []]);
  });
  it('is never printed, even if it or the address is malformed', async () => {
    for (const [apiKey, url] of [
      [`${KEY}\n`, 'http://127.0.0.1:9'],
      [`${KEY}\u2013`, 'http://127.0.0.1:9'],
      [KEY, 'http://user:pass-word@127.0.0.1:9'],
      [KEY, 'http://127.0.0.1:9/?a'],
      [KEY, 'ftp://x'],
      [KEY, 'https://'],
      [KEY, 'polony'],
    ] as const) {
      const { code, stdout, stderr } = await polony(['runs', 'list'], {
        env: { POLONY_API_URL: url, POLONY_API_KEY: apiKey },
      });
      expect([
        url,
        code,
        stdout,
        /lab-0123|pass-word|at .*\.ts/.test(stderr),
        stderr.trim().split('\n').length,
      ]).toEqual([url, 2, '', false, 1]);
    }
  });
});

describe('a profile', () => {
  it('may have any name, also one of a JavaScript object member', { tags: 'long' }, async () => {
    const api = await startFakeApi((_request, response) => answerJson(response, { name: 'x' }));
    const env = { POLONY_CONFIG: path.join(temporaryFolder(), 'deep', 'config.json') };
    for (const name of ['constructor', '__proto__', 'toString']) {
      expect([
        name,
        (await polony(['runs', 'list', '--profile', name], { env })).code,
        (await polony(['logout', '--profile', name], { env })).code,
        (await polony(['profile', 'use', name], { env })).code,
      ]).toEqual([name, 2, 3, 3]);
      expect((await polony(['login', '--api-url', api.url, '--profile', name], { env, input: KEY })).code).toBe(0);
      expect((await polony(['whoami', '--profile', name], { env })).code).toBe(0);
    }
    expect(Object.keys((JSON.parse(readFileSync(env.POLONY_CONFIG, 'utf8')) as { profiles: object }).profiles)).toEqual(
      ['constructor', '__proto__', 'toString'],
    );
    // The environment may name a profile that the login creates.
    expect(
      (
        await polony(['login', '--api-url', api.url, '--profile', 'new'], {
          env: { ...env, POLONY_PROFILE: 'new' },
          input: KEY,
        })
      ).code,
    ).toBe(0);
  });

  it('is not saved with a key that the API refuses, which is named where it comes from the environment', async () => {
    const env = { POLONY_CONFIG: path.join(temporaryFolder(), 'config.json') };
    const api = await startFakeApi((_request, response) => answerJson(response, { message: 'no such key' }, 401));
    const login = (more: object, ...flags: string[]) =>
      polony(['login', '--api-url', api.url, ...flags], { env: { ...env, ...more }, input: KEY });
    const taken = await login({ POLONY_API_KEY: KEY });
    expect([taken.code, taken.stderr]).toEqual([4, expect.stringContaining('(the key is from POLONY_API_KEY)')]);
    for (const refused of [await login({}), await login({ POLONY_API_KEY: 'another-key-0123' }, '--api-key', KEY)])
      expect([refused.code, refused.stderr]).toEqual([4, expect.not.stringContaining('the key is from')]);
    expect(existsSync(env.POLONY_CONFIG)).toBe(false);
  });

  it('is not saved with an empty key', async () => {
    const env = { POLONY_CONFIG: path.join(temporaryFolder(), 'config.json') };
    const { code, stderr } = await polony(['login', '--api-url', 'http://127.0.0.1:9'], { env, input: '\n' });
    expect([code, stderr]).toEqual([2, expect.stringContaining('The API key is empty. Type it')]);
    expect(existsSync(env.POLONY_CONFIG)).toBe(false);
  });
});

describe('input that a command cannot use', () => {
  const env = { POLONY_API_URL: 'http://127.0.0.1:9', POLONY_API_KEY: KEY };
  it.each([
    [['local', 'pace', '60'], /too many arguments/],
    [['local', 'accept-share', 'x'], /too many arguments/],
    [['instrument', '--bucket', 'lab', '--run-name', 'a/b'], /--run-name must be 1 to 100 letters/],
    [['executions', 'start', '--data', '-'], /standard input is empty/],
    [['executions', 'start', '--data', '{"flowId":'], /the value is no JSON: .+Give JSON, @file/],
  ])('is reported with the rule: %j', async (args, rule) => {
    const { code, stderr } = await polony(args, { env });
    expect([code, stderr]).toEqual([2, expect.stringMatching(rule)]);
  });
});

describe('an API that cannot be reached', () => {
  it.each([
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'NODE_EXTRA_CA_CERTS'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'NODE_EXTRA_CA_CERTS'],
    ['CERT_HAS_EXPIRED', 'renew it'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'is for another address'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'use http://'],
    ['ECONNREFUSED', 'check the address'],
  ])('is reported with what to do: %s', (code, advice) => {
    const error = Object.assign(new TypeError('fetch failed'), { cause: { code } });
    expect(unreachable('https://polony.lab', error)).toMatchObject({
      message: expect.stringMatching(`https://polony.lab cannot be reached \\(${code}\\); .*${advice}`) as string,
      exit: 7,
    });
  });
});

describe('a download', () => {
  it.runIf(existsSync('/proc/self'))('reports a target folder that the system does not make', async () => {
    const id = '01920000-0000-7000-8000-000000000000';
    const { code, stderr } = await polony(['download', 'run', id, '--to', '/proc/none/below'], {
      env: { POLONY_API_URL: 'http://127.0.0.1:9', POLONY_API_KEY: KEY },
    });
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining('/proc/none/below cannot be the target folder: ENOENT'),
    ]);
  });
});

describe('an answer to the command line', () => {
  it('is reported as foreign if it does not come from polony', { tags: 'long' }, async () => {
    for (const [body, type] of [
      ['<html>sign in</html>', 'text/html'],
      ['', 'application/json'],
      ['null', 'application/json'],
      ['"x"', 'application/json'],
      ['{}', 'application/json'],
      ['{"runs":{}}', 'application/json'],
    ] as const) {
      const api = await startFakeApi(
        (_request, response) => void response.writeHead(200, { 'content-type': type }).end(body),
      );
      const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY };
      for (const args of [
        ['runs', 'list', '--json'],
        ['runs', 'get', 'a-name'],
        ['credentials', 'run', ID],
      ]) {
        const { code, stdout, stderr } = await polony(args, { env });
        // `credentials` does not check the members of an object.
        if (args[0] === 'credentials' && body.startsWith('{')) continue;
        expect([body, args, code, stdout]).toEqual([body, args, 7, '']);
        expect(stderr).toMatch(/^The answer of http:\/\/127\.0\.0\.1:\d+ is not from polony; .*\n$/);
      }
    }
  });
  it(
    'decides the exit code by its status, and its control characters are never printed',
    { tags: 'long' },
    async () => {
      for (const [status, code] of [
        [400, 2],
        [401, 4],
        [403, 4],
        [404, 3],
        [409, 8],
        [429, 7],
        [500, 1],
        [502, 7],
        [503, 7],
        [504, 7],
      ] as const) {
        const api = await startFakeApi((_request, response) =>
          answerJson(response, { message: 'no \u001b]0;title\u0007\u001b[31m' }, status),
        );
        const seen = await polony(['runs', 'list', '--json'], {
          env: { POLONY_API_URL: api.url, POLONY_API_KEY: KEY },
        });
        expect([status, seen.code, seen.stdout, /[\u0007\u001b]/.test(seen.stderr)]).toEqual([status, code, '', false]);
        expect([status, seen.stderr.includes('(the key is from POLONY_API_KEY)')]).toEqual([status, status === 401]);
      }
      const cut = await startFakeApi((_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
        response.write('{"runs":[', () => setTimeout(() => response.destroy(), 20));
      });
      expect(
        (await polony(['runs', 'list', '--json'], { env: { POLONY_API_URL: cut.url, POLONY_API_KEY: KEY } })).code,
      ).toBe(7);
    },
  );
  it('is escaped in JSON where a terminal would obey it', async () => {
    const name = 'a\u001b[31m\u009b2J\u202e\u2028\u200b\u{e0001}\u007f';
    const api = await startFakeApi((request, response) =>
      answerJson(
        response,
        request.url!.includes('/details') ? { run: { name } } : { runs: [{ name }], nextPageToken: '' },
      ),
    );
    const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY };
    for (const args of [
      ['runs', 'list', '--json'],
      ['runs', 'get', ID, '--json'],
    ]) {
      const { stdout } = await polony(args, { env });
      expect([args, /[\p{Cc}\p{Cf}\u2028]/u.test(stdout.replaceAll('\n', ''))]).toEqual([args, false]);
      expect(JSON.stringify(JSON.parse(stdout))).toContain(JSON.stringify(name));
    }
  });
  it('with logs is printed without control characters', async () => {
    const api = await startFakeApi((_request, response) =>
      answerJson(response, { error: 'bad \u001b[2J', log: 'one\n\ttwo \u001b]52;c;ZXZpbA==\u0007\u202e\n' }),
    );
    const { stdout, stderr } = await polony(['executions', 'logs', ID], {
      env: { POLONY_API_URL: api.url, POLONY_API_KEY: KEY },
    });
    expect([stdout, stderr]).toEqual(['one\n\ttwo  ]52;c;ZXZpbA==  \n', 'bad  [2J\n']);
  });
});

describe('the arguments of a command', () => {
  it('name one resource, and never reach another path', { tags: 'long' }, async () => {
    const api = await startFakeApi((_request, response) => answerJson(response, {}));
    const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY };
    for (const id of ['', '.', '..']) {
      for (const args of [
        ['webhooks', 'delete', id],
        ['storage', 'grant-remove', ID, id],
        ['instruments', 'get', id],
      ])
        expect([args, (await polony(args, { env })).code]).toEqual([args, 2]);
    }
    expect(api.requests).toEqual([]);
    await polony(['webhooks', 'delete', '../runs?x#y'], { env });
    expect(api.requests).toEqual([{ method: 'DELETE', url: '/v1/webhooks/..%2Fruns%3Fx%23y', key: KEY }]);
  });
  it('are a usage error if they cannot be read or sent', { tags: 'long' }, async () => {
    const env = { POLONY_API_URL: 'http://127.0.0.1:9', POLONY_API_KEY: KEY };
    for (const args of [
      ['webhooks', 'create', '--data', '@/nowhere/at-all'],
      ['webhooks', 'create', '--url', '@/nowhere/at-all'],
      ['webhooks', 'create', '--data', '-'],
      ['webhooks', 'create', '--data', '[]'],
      ['webhooks', 'create', '--url', 'https://x', '--idempotency-key', 'a\nb'],
      ['runs', 'list', '--max-items', '-1'],
      ['runs', 'list', '--max-items', '1.5'],
      ['runs', 'list', '--page-size', '1e3'],
      ['credentials', 'run', ID, '--seconds', 'an hour'],
    ]) {
      const { code, stderr } = await polony(args, { env, input: 'no json' });
      expect([args, code, stderr.includes(' at ')]).toEqual([args, 2, false]);
    }
  });
  it('may come from a file or from standard input, even if that is slow', async () => {
    const bodies: string[] = [];
    const api = await startFakeApi((request, response) => {
      let body = '';
      request
        .on('data', (chunk: Buffer) => (body += chunk.toString()))
        .on('end', () => {
          bodies.push(body);
          answerJson(response, {});
        });
    });
    const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY };
    const file = path.join(temporaryFolder(), 'secret');
    writeFileSync(file, 'https://from.file/');
    await polony(['webhooks', 'create', '--url', `@${file}`, '--description', '@@home'], { env });
    await polony(['webhooks', 'create', '--data', '-', '--description', 'over it'], {
      env,
      shell: `< <(sleep 1; echo '{"url":"https://slow/","description":"under it"}')`,
    });
    expect(bodies.map((each) => JSON.parse(each) as unknown)).toEqual([
      { url: 'https://from.file/', description: '@home' },
      { url: 'https://slow/', description: 'over it' },
    ]);
  });
});

describe('a long list', () => {
  it('is not kept in memory, and stops with an error code when the reader leaves', { tags: 'long' }, async () => {
    const files = Array.from({ length: 1000 }, (_, at) => ({
      path: `${'x'.repeat(1000)}${at}`,
      size: 1,
      lastModified: '2026-01-01T00:00:00Z',
      storageClass: null,
    }));
    const api = await startFakeApi((_request, response, count) =>
      answerJson(response, { files, subdirectories: [], nextPageToken: count >= 400 ? '' : String(count) }),
    );
    const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY, NODE_OPTIONS: '--max-old-space-size=100' };
    const left = await polony(['runs', 'files', ID, '--json'], {
      env,
      shell: '| head -c 1000; echo " ${PIPESTATUS[0]}"',
    });
    expect([left.stdout.trim().split(' ').at(-1), left.stderr]).toEqual(['141', '']);
    expect(api.requests.length).toBeLessThan(20);
    api.requests.splice(0);
    // 400 MB to a slow reader.
    const slow = await polony(['runs', 'files', ID, '--json'], {
      env,
      shell: '| { sleep 3; wc -l; }; echo ${PIPESTATUS[0]}',
    });
    expect(slow.stdout.split('\n').map(Number).slice(0, 2)).toEqual([400_002, 0]);
  });
  it('shows folders if it is not recursive', async () => {
    const api = await startFakeApi((_request, response) =>
      answerJson(response, { files: [{ path: 'a.txt', size: 1 }], subdirectories: ['BaseCalls/'], nextPageToken: '' }),
    );
    const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY };
    expect((await polony(['runs', 'files', ID, '--no-headers'], { env })).stdout).toMatch(
      /^BaseCalls\/ *\na\.txt +1 *\n$/,
    );
    expect(JSON.parse((await polony(['runs', 'files', ID, '--json'], { env })).stdout)).toEqual([
      { path: 'BaseCalls/' },
      { path: 'a.txt', size: 1 },
    ]);
  });
});

describe('watched changes', () => {
  it('resume where they were, come once, and say that some were missed', async () => {
    const text = (name: string, id: string, data: object): string =>
      `event: ${name}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
    const run = (status: string, timeChanged: string) => ({ topic: 'runs', id: ID, status, timeChanged });
    const first = run('RUN_STATUS_RUNNING', '2026-03-07T10:00:00.000Z');
    const second = run('RUN_STATUS_COMPLETED', '2026-03-07T10:00:05.000Z');
    const verified = {
      topic: 'verifications',
      kind: 'flow',
      id: ID,
      status: 'VERIFICATION_STATUS_VERIFIED',
      timeChanged: '2026-03-07T10:00:06.000Z',
    };
    const asked: unknown[] = [];
    const api = await startFakeApi((request, response, count) => {
      asked.push([request.url, request.headers['last-event-id']]);
      if (count === 2) return void response.writeHead(503).end();
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (count === 1) return void response.end(text('ready', '1', {}) + text('change', '2', first));
      if (count === 3)
        return void response.end(
          text('ready', '3', {}) + text('change', '3', first) + text('change', '3', second) + text('reset', '4', {}),
        );
      response.write(text('change', '5', verified));
    });
    const seen: WatchedChange[] = [];
    const times = { away: 10_000, silence: 10_000, pause: 1 };
    const query = { topics: 'runs,verifications', runId: ID };
    for await (const change of watchChanges({ url: api.url, apiKey: KEY }, query, times)) {
      seen.push(change);
      if (seen.length === 4) break;
    }
    expect(seen).toEqual([
      { event: 'change', ...first },
      { event: 'change', ...second },
      { event: 'reset' },
      { event: 'change', ...verified },
    ]);
    const path = `/v1/changes?topics=runs%2Cverifications&runId=${ID}`;
    expect(asked).toEqual([
      [path, undefined],
      [path, '2'],
      [path, '2'],
      [path, '4'],
    ]);
  });
  it('end with the error of the API', async () => {
    const api = await startFakeApi((_request, response) => answerJson(response, { message: 'Not a topic' }, 400));
    const { code, stderr } = await polony(['changes', '--topics', 'x'], {
      env: { POLONY_API_URL: api.url, POLONY_API_KEY: KEY },
    });
    expect(code).not.toBe(0);
    expect(stderr).toContain('Not a topic');
  });
  it('say once that the API cannot be reached, and go on', async () => {
    const api = await startFakeApi((_request, response, count) => {
      if (count < 4) return void response.destroy();
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('event: reset\ndata: {}\n\n');
    });
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    cleanups.push(() => write.mockRestore());
    const times = { away: 120_000, silence: 10_000, pause: 1 };
    for await (const change of watchChanges({ url: api.url, apiKey: KEY }, { topics: 'runs' }, times)) {
      expect(change).toEqual({ event: 'reset' });
      break;
    }
    expect(write.mock.calls).toEqual([
      [expect.stringMatching(/^http.* cannot be reached \(.+\); .*\. The command tries again for up to 2 minutes\n$/)],
    ]);
  });
  it('print a line each', async () => {
    const change = { topic: 'executions', id: ID, status: 'EXECUTION_STATUS_FAILED', timeChanged: 'T' };
    const api = await startFakeApi((_request, response, count) =>
      count === 1
        ? response
            .writeHead(200, { 'content-type': 'text/event-stream' })
            .end(`event: change\nid: 1\ndata: ${JSON.stringify(change)}\n\nevent: reset\nid: 2\ndata: {}\n\n`)
        : answerJson(response, { message: 'The key has ended' }, 401),
    );
    const env = { POLONY_API_URL: api.url, POLONY_API_KEY: KEY };
    const { code, stdout } = await polony(['changes'], { env });
    expect(code).toBe(4);
    expect(stdout).toMatch(new RegExp(`^T  executions  ${ID}  FAILED\n\\S+  Changes were missed\\..*\n$`));
  });
});

describe('a watched execution', () => {
  const event = (status: string, id = status): string =>
    `event: execution\nid: ${id}\ndata: ${JSON.stringify({
      execution: { id: ID, status: `EXECUTION_STATUS_${status}`, statusDescription: '' },
    })}\n\n`;
  const times = { away: 400, silence: 300, pause: 20 };
  const watch = async (url: string): Promise<string[]> => {
    const seen: string[] = [];
    for await (const each of watchExecution({ url, apiKey: KEY }, ID, times))
      seen.push((each satisfies WatchedExecution).execution.status.replace('EXECUTION_STATUS_', ''));
    return seen;
  };
  it('may be silent for longer than the API may be away: the client reconnects when a stream ends', async () => {
    const known: unknown[] = [];
    const api = await startFakeApi((request, response, count) => {
      known.push(request.headers['last-event-id']);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (count === 1) response.write(event('RUNNING'));
      if (count === 5) return void response.end(event('COMPLETED'));
      const beat = setInterval(() => response.write(': still there\n\n'), 50);
      setTimeout(() => {
        clearInterval(beat);
        response.end();
      }, 450);
    });
    expect(await watch(api.url)).toEqual(['RUNNING', 'COMPLETED']);
    expect(known).toEqual([undefined, 'RUNNING', 'RUNNING', 'RUNNING', 'RUNNING']);
  });
  it('is watched on a new connection if the old one is dead but not closed', async () => {
    const api = await startFakeApi((_request, response, count) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (count < 3) response.write(event('RUNNING'));
      else response.end(event('FAILED'));
    });
    expect(await watch(api.url)).toEqual(['RUNNING', 'RUNNING', 'FAILED']);
  });
  it('is watched across errors and restarts of the API, but not with a rejected key', async () => {
    const api = await startFakeApi((_request, response, count) => {
      if (count === 1) return void response.writeHead(500).end();
      if (count === 2) return void response.writeHead(429, { 'retry-after': '0' }).end();
      if (count === 3) return void response.destroy();
      if (count === 4)
        return void response.writeHead(200, { 'content-type': 'text/event-stream' }).end('id: x\ndata: no json\n\n');
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(event('CANCELED'));
    });
    expect(await watch(api.url)).toEqual(['CANCELED']);
    const refused = await startFakeApi((_request, response, count) =>
      count === 1
        ? response.writeHead(200).end(event('RUNNING'))
        : answerJson(response, { message: 'The key has ended' }, 401),
    );
    await expect(watch(refused.url)).rejects.toMatchObject({ exit: 4, message: 'The key has ended' });
    const gone = await startFakeApi((_request, response, count) =>
      count === 1 ? response.writeHead(200).end(event('RUNNING')) : response.destroy(),
    );
    await expect(watch(gone.url)).rejects.toMatchObject({ exit: 7 });
  });
  it('ends with an error code if its final status is unknown', async () => {
    const api = await startFakeApi((request, response) =>
      request.url!.endsWith('/events')
        ? void response.writeHead(204).end()
        : answerJson(response, { execution: { id: ID } }),
    );
    expect(
      (await polony(['executions', 'get', ID, '--watch'], { env: { POLONY_API_URL: api.url, POLONY_API_KEY: KEY } }))
        .code,
    ).toBe(7);
  });
});
