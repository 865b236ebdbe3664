import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import { AwsAccess } from '../../aws/access.js';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import { providersOf } from '../../store/providers.js';
import { localKey, Secrets } from '../../store/secrets.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { schemathesis } from '../schemathesis.js';
import { willing } from '../willing.js';

const KEY = 'root-key-0123456789-abcdefgh';
/** Longer for who looks for more: npm run test:schemathesis. */
const SECONDS = Number(process.env.POLONY_SCHEMATHESIS_SECONDS ?? 20);

let folder: string;
let guardian: Guardian;
let aws: LocalAws;
let postgres: TestPostgres;
let app: FastifyInstance;
let access: AwsAccess;
const logged: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-schemathesis-'));
  guardian = await createGuardian(folder);
  [aws, postgres] = await Promise.all([startLocalAws({ guardian, stateDir: folder }), startTestPostgres()]);
  Object.assign(process.env, { AWS_ENDPOINT_URL: aws.endpoint, AWS_ACCESS_KEY_ID: aws.serviceAccessKeyId, AWS_SECRET_ACCESS_KEY: aws.serviceSecretAccessKey });
  const secrets = new Secrets([localKey('test', Buffer.alloc(32, 7))]);
  access = new AwsAccess({ sessionSeconds: 43_200, ...providersOf(postgres.db, secrets) });
  app = await buildApp({
    db: postgres.db, databaseUrl: postgres.url, secrets, aws: access, orchestrator: willing, apiKey: KEY, discoverSeconds: 7, errorDomain: 'polony', trustedAccountId: '588258415937',
    logger: pino({ level: 'error' }, { write: (line: string) => void logged.push(line) }),
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await app?.close();
  access?.close();
  await guardian?.stopAll();
  await aws?.emulator.close();
  await guardian?.close();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it('finds no failure of the API, and no answer that its document does not have', async () => {
  const { passed, report } = await schemathesis({ url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`, key: KEY, seconds: SECONDS });
  if (!passed) process.stderr.write(`${report}\n${logged.slice(0, 20).join('')}`);
  expect(passed).toBe(true);
  for (const phase of ['Examples', 'Coverage', 'Fuzzing', 'Stateful']) expect(report).toContain(phase);
}, 600_000);

interface Schema {
  type?: string | string[];
  anyOf?: Schema[];
  required?: string[];
  properties?: Record<string, Schema>;
  items?: Schema;
}

/** Bodies that fit a schema but for one text, each of all that the schema has. */
function* bodiesWith(text: string, schema: Schema, example: unknown): Generator<unknown> {
  for (const each of schema.anyOf ?? []) yield* bodiesWith(text, each, example);
  if ([schema.type].flat().includes('string')) yield text;
  if (schema.items !== undefined) for (const item of bodiesWith(text, schema.items, undefined)) yield [item];
  const given = (example ?? {}) as Record<string, unknown>;
  const required = Object.fromEntries(Object.entries(given).filter(([name]) => schema.required?.includes(name)));
  for (const [name, member] of Object.entries(schema.properties ?? {})) for (const bad of bodiesWith(text, member, given[name])) yield* [{ ...given, [name]: bad }, { ...required, [name]: bad }];
}

it('takes texts that PostgreSQL cannot keep for what they are, wherever they stand in a body', async () => {
  const document = (await app.inject({ url: '/openapi.json', headers: { 'x-api-key': KEY } })).json<{ paths: Record<string, Record<string, { requestBody?: { content: { 'application/json': { schema: Schema; example: unknown } } } }>> }>();
  const asked = new Set<string>();
  const failed: unknown[] = [];
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, { requestBody }] of Object.entries(methods)) {
      if (requestBody === undefined) continue;
      const { schema, example } = requestBody.content['application/json'];
      for (const text of ['s3://a\0b/AV1/20260101_AV1_X', 'a\0', '\ud800']) {
        for (const payload of bodiesWith(text, schema, example)) {
          const url = path.replace(/\{\w+\}/g, '01920000-0000-7000-8000-000000000000');
          const { statusCode } = await app.inject({ method: method.toUpperCase() as 'POST', url, headers: { 'x-api-key': KEY }, payload: payload as object });
          asked.add(`${method} ${path}`);
          if (statusCode >= 500) failed.push([method, path, payload]);
        }
      }
    }
  }
  expect(failed).toEqual([]);
  expect(asked.size).toBeGreaterThan(15);
});
