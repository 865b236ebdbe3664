/** @module-tag long */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ROOT_KEY as KEY, startTestApi, type TestApi } from '../testApi.js';

let api: TestApi;

beforeAll(async () => {
  api = await startTestApi({ trustedAccountId: '588258415937' });
});
afterAll(() => api?.stop());

interface Schema {
  type?: string | string[];
  anyOf?: Schema[];
  required?: string[];
  properties?: Record<string, Schema>;
  items?: Schema;
}

/**
 * Bodies that fit a schema except for one text: once with all members of the example, once with only the required ones.
 */
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

it('never answers 5xx to text that PostgreSQL cannot store, wherever it stands in a body', async () => {
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
