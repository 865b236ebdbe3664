import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { generate, written } from '../../client/generate.js';
import { compilerOf, type OpenApi } from '../openapi.js';

describe('the generated client', () => {
  it('is that of the API as it is; npm run client makes it anew', async () => {
    const generated = await generate();
    // Not compared as texts: the difference of such long ones takes minutes to print.
    expect(JSON.parse(written('openapi.json'))).toEqual(JSON.parse(generated['openapi.json']));
    expect(written('schema.ts') === generated['schema.ts']).toBe(true);
  });
  it('is made of a document that OpenAPI 3.1 allows, whose examples are what its schemas say', async () => {
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
