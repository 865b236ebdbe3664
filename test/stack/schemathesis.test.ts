import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { schemathesis } from '../schemathesis.js';
import { ROOT_KEY as KEY, startTestApi, type TestApi } from '../testApi.js';

/** Longer for who looks for more: npm run test:schemathesis. */
const SECONDS = Number(process.env.POLONY_SCHEMATHESIS_SECONDS ?? 20);

let api: TestApi;
let url: string;
const logged: string[] = [];

beforeAll(async () => {
  api = await startTestApi({
    trustedAccountId: '588258415937',
    logger: pino({ level: 'error' }, { write: (line: string) => void logged.push(line) }),
  });
  url = await api.listen();
});
afterAll(() => api?.stop());

it('finds no failure of the API, and no answer that its document does not have', async () => {
  const { passed, report } = await schemathesis({ url, key: KEY, seconds: SECONDS });
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
  for (const [name, member] of Object.entries(schema.properties ?? {}))
    for (const bad of bodiesWith(text, member, given[name]))
      yield* [
        { ...given, [name]: bad },
        { ...required, [name]: bad },
      ];
}

it('takes texts that PostgreSQL cannot keep for what they are, wherever they stand in a body', async () => {
  const document = (await api.app.inject({ url: '/openapi.json', headers: { 'x-api-key': KEY } })).json<{
    paths: Record<
      string,
      Record<string, { requestBody?: { content: { 'application/json': { schema: Schema; example: unknown } } } }>
    >;
  }>();
  const asked = new Set<string>();
  const failed: unknown[] = [];
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, { requestBody }] of Object.entries(methods)) {
      if (requestBody === undefined) continue;
      const { schema, example } = requestBody.content['application/json'];
      for (const text of ['s3://a\0b/AV1/20260101_AV1_X', 'a\0', '\ud800']) {
        for (const payload of bodiesWith(text, schema, example)) {
          const address = path.replace(/\{\w+\}/g, '01920000-0000-7000-8000-000000000000');
          const { statusCode } = await api.app.inject({
            method: method.toUpperCase() as 'POST',
            url: address,
            headers: { 'x-api-key': KEY },
            payload: payload as object,
          });
          asked.add(`${method} ${path}`);
          if (statusCode >= 500) failed.push([method, path, payload]);
        }
      }
    }
  }
  expect(failed).toEqual([]);
  expect(asked.size).toBeGreaterThan(15);
});
