import { describe, expect, it } from 'vitest';
import { generate, written } from '../../client/generate.js';

describe('the generated client', () => {
  it('is that of the API as it is; npm run client makes it anew', async () => {
    const generated = await generate();
    // Not compared as texts: the difference of such long ones takes minutes to print.
    expect(JSON.parse(written('openapi.json'))).toEqual(JSON.parse(generated['openapi.json']));
    expect(written('schema.ts') === generated['schema.ts']).toBe(true);
  });
});
