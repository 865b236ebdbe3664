import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { generate, written } from '../../client/generate.js';
import { compilerOf, type OpenApi } from '../openapi.js';

describe('the generated client', () => {
  it('matches the API; if not, run `npm run client`', async () => {
    const generated = await generate();
    // A boolean, not the texts themselves: Vitest needs minutes to print the difference of texts this long.
    expect(JSON.parse(written('openapi.json'))).toEqual(JSON.parse(generated['openapi.json']));
    expect(written('schema.ts') === generated['schema.ts']).toBe(true);
  });
  it('comes from a valid OpenAPI 3.1 document, whose examples fit their schemas', async () => {
    const document = JSON.parse(written('openapi.json')) as OpenApi;
    expect(await new Validator().validate(JSON.parse(written('openapi.json')) as Record<string, unknown>)).toEqual({
      valid: true,
    });
    const compile = compilerOf(document);
    let examples = 0;
    for (const [name, schema] of Object.entries(document.components.schemas)) {
      for (const example of (schema as { examples?: unknown[] }).examples ?? []) {
        const validate = compile(schema);
        expect([name, validate(example), validate.errors]).toEqual([name, true, null]);
        examples++;
      }
    }
    expect(examples).toBeGreaterThan(6);
  });
});
