/** @module-tag long */
import { execFile } from 'node:child_process';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { sql } from 'kysely';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { buildApp } from '../../api/app.js';
import { AwsSessions } from '../../aws/sessions.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { type Db, openDatabase } from '../../store/database.js';
import { listen } from '../../store/events.js';
import { Secrets } from '../../store/secrets.js';
import { withFreePort } from '../../local/ports.js';
import { createTestDatabase } from '../postgres.js';
import { databaseUrl } from '../sharedPostgres.js';
import { stubOrchestrator } from '../stubOrchestrator.js';
import { waitFor } from '../support.js';
import { cliFile } from '../testStack.js';

const ROOT = 'root-key-0123456789-abcdefgh';
const ID = '01920000-0000-7000-8000-000000000001';
/** Routes that need no database. */
const WITHOUT_DATABASE = [
  ...['/healthz', '/openapi.json', '/v1/iam-documents', '/v1/iam-documents/check', '/v1/session/methods'],
  // Without an identity provider, they lead back to the page.
  ...['/v1/session/oidc/start', '/v1/session/oidc/callback'],
];
/** What the key of the installation gets without a database: it is in the settings. */
const FROM_SETTINGS = /^get \/v1\/(auth|session|installation|runs\/filter-fields|executions\/filter-fields): 200/;
/** A key in the form of those that the API creates. Only the database knows whether it is valid. */
const UNKNOWN_KEY = `polony_${'0'.repeat(32)}_${'x'.repeat(43)}`;

interface Operation {
  requestBody?: { content: Record<string, { schema: { examples?: unknown[] } }> };
}
interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
}

let opened: { app: FastifyInstance; db: Db; aws: AwsSessions } | undefined;

afterEach(async () => {
  await opened?.app.close();
  opened?.aws.close();
  await opened?.db.destroy();
  opened = undefined;
});

async function open(databaseUrl: string): Promise<FastifyInstance> {
  const db = openDatabase(databaseUrl);
  const aws = new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, new Secrets([])) });
  const app = await buildApp({
    db,
    databaseUrl,
    secrets: new Secrets([]),
    aws,
    orchestrator: stubOrchestrator,
    apiKey: ROOT,
    errorDomain: 'polony',
  });
  opened = { app, db, aws };
  return app;
}

/** Calls every operation of the API with an id and the example of its body. @returns the answers that are not 503. */
async function callAll(app: FastifyInstance, key: string): Promise<string[]> {
  const document = (await app.inject({ url: '/openapi.json' })).json<OpenApi>();
  const unexpected: string[] = [];
  for (const [path, operations] of Object.entries(document.paths)) {
    if (WITHOUT_DATABASE.includes(path)) continue;
    for (const [method, { requestBody }] of Object.entries(operations)) {
      const url = path.replace(/\{[^}]+\}/g, ID);
      const payload = requestBody?.content['application/json']?.schema.examples?.[0];
      const response = await app.inject({
        method: method.toUpperCase() as 'GET',
        url,
        headers: { 'x-api-key': key },
        ...(payload !== undefined && { payload: payload as object }),
      });
      // A request that is invalid in itself needs no database.
      if (response.statusCode === 503 || response.statusCode === 400) continue;
      unexpected.push(`${method} ${path}: ${response.statusCode} ${response.body.slice(0, 200)}`);
    }
  }
  return unexpected;
}

describe('without its database, the API', () => {
  it('answers 503 to every request of a key that is stored there', async () => {
    const app = await open(await unusedAddress());
    expect(await callAll(app, UNKNOWN_KEY)).toEqual([]);
  });

  it("answers 503 to every request of the installation's key, except those that the settings answer", async () => {
    const app = await open(await unusedAddress());
    expect((await callAll(app, ROOT)).filter((answer) => !FROM_SETTINGS.test(answer))).toEqual([]);
  });

  it.each([
    ['that does not exist', () => databaseUrl(inject('postgresUrl'), 'no_such_database')],
    ['without tables', () => databaseUrl(inject('postgresUrl'), 'postgres')],
  ])('answers 503 with a database %s', async (_what, url) => {
    const app = await open(url());
    expect(await callAll(app, UNKNOWN_KEY)).toEqual([]);
  });

  it(
    'still has a status on the command line, with the part that fails and the exit code 7',
    { tags: 'long' },
    async () => {
      const app = await open(await unusedAddress());
      const url = await app.listen({ host: '127.0.0.1', port: 0 });
      for (const key of [ROOT, UNKNOWN_KEY]) {
        const { code, stdout, stderr } = await runStatus(url, key);
        expect([code, stderr]).toEqual([7, '']);
        expect(stdout).toMatch(/^API +http\S+, NOT READY \(database unreachable, Temporal ok\)$/m);
        expect(stdout).toMatch(/^Storage +not known: .*database/m);
        expect(stdout).toMatch(/NOT READY +database unreachable/);
        expect(stdout).not.toContain('Nothing needs attention');
      }
      const json = await runStatus(url, ROOT, '--json');
      expect([json.code, JSON.parse(json.stdout)]).toMatchObject([
        7,
        { ready: { ok: false }, blockedRuns: { failed: expect.stringMatching(/database/) as string } },
      ]);
    },
  );
});

describe('a connection on which no answer comes any more', () => {
  afterEach(() => void vi.useRealTimers());

  it('is given up, and the pool opens another one', async () => {
    const proxy = await startProxy();
    const db = openDatabase(proxy.url, 1, 1);
    await sql`select 1`.execute(db);
    proxy.silence();
    await expect(sql`select 2`.execute(db)).rejects.toMatchObject({
      // The API answers 503 to this code.
      code: 'ETIMEDOUT',
      message: 'PostgreSQL did not answer within 11 s, so the connection was given up',
    });
    expect((await sql<{ three: number }>`select 3 as three`.execute(db)).rows).toEqual([{ three: 3 }]);
    expect(proxy.connections()).toBe(2);
    // Also between the statements of a transaction.
    await expect(
      db.transaction().execute(async (transaction) => {
        await sql`select 4`.execute(transaction);
        proxy.silence();
        await sql`select 5`.execute(transaction);
      }),
    ).rejects.toThrow();
    await sql`select 6`.execute(db);
    await db.destroy();
    proxy.close();
  });

  it('is closed where it may not listen, as on a standby', async () => {
    const proxy = await startProxy();
    // No name of a channel: the statement fails, and the connection stays.
    const stop = listen(proxy.url, { select: () => undefined });
    await waitFor('some connections', () => proxy.connections() > 2);
    await waitFor('the others to be closed', () => proxy.open() <= 1);
    await stop();
    await waitFor('all to be closed', () => proxy.open() === 0);
    proxy.close();
  });

  it('is replaced where somebody listens for notifications', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const proxy = await startProxy();
    const heard: string[] = [];
    let connected = 0;
    const stop = listen(proxy.url, { polony_test: (payload) => heard.push(payload) }, () => connected++);
    await waitFor('the connection', () => connected === 1);
    proxy.silence();
    vi.advanceTimersByTime(30_000);
    await waitFor('another connection', () => connected === 2);
    const db = openDatabase(proxy.url, 1);
    await sql`select pg_notify('polony_test', 'again')`.execute(db);
    await waitFor('the notification', () => heard.length > 0);
    expect(heard).toEqual(['again']);
    await db.destroy();
    await stop();
    proxy.close();
  });
});

/** A way to PostgreSQL whose connections can fall silent, as after the failover of a database: nobody closes them. */
async function startProxy() {
  const to = new URL(inject('postgresRuntimeUrl'));
  const pairs: [Socket, Socket][] = [];
  const server = createServer((socket) => {
    const onward = connect(Number(to.port), to.hostname);
    pairs.push([socket, onward]);
    socket.pipe(onward).pipe(socket);
    for (const each of [socket, onward]) each.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const url = Object.assign(new URL(databaseUrl(to.href, await createTestDatabase())), { port });
  return {
    url: url.href,
    connections: () => pairs.length,
    open: () => pairs.filter(([socket]) => !socket.destroyed).length,
    silence: () => {
      for (const [socket, onward] of pairs) {
        socket.unpipe(onward);
        onward.unpipe(socket);
        onward.destroy();
      }
    },
    close: () => {
      server.close();
      for (const each of pairs.flat()) each.destroy();
    },
  };
}

/** Runs `polony status` in a process of its own. */
function runStatus(url: string, key: string, ...more: string[]) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(
      process.execPath,
      [cliFile(), 'status', '--api-url', url, '--api-key', key, ...more],
      { env: { PATH: process.env.PATH, HOME: '/nowhere' } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

async function unusedAddress(): Promise<string> {
  const port = await withFreePort(undefined, async (free) => free);
  return `postgres://polony@127.0.0.1:${port}/polony`;
}
