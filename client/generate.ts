import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import openapiTypescript, { astToString } from 'openapi-typescript';
import { buildApp } from '../api/app.js';

const file = (name: string): string => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** The OpenAPI document of the API and the types made of it, as they should stand in this folder. */
export async function generate(): Promise<Record<'openapi.json' | 'schema.ts', string>> {
  // Nothing of these is asked for anything before a request comes.
  const nothing = new Proxy({}, { get: () => undefined }) as never;
  const app = await buildApp({
    db: nothing,
    databaseUrl: '',
    secrets: nothing,
    aws: nothing,
    orchestrator: nothing,
    apiKey: 'not-used-for-any-request',
    errorDomain: 'polony',
  });
  const document = app.swagger();
  await app.close();
  const types = astToString(await openapiTypescript(JSON.stringify(document), { alphabetize: true }));
  return {
    'openapi.json': `${JSON.stringify(document, undefined, 1)}\n`,
    'schema.ts': `// \`npm run client\` generates this file from the API's schemas. Do not edit it.\n${types}`,
  };
}

/** What stands in this folder. */
export function written(name: 'openapi.json' | 'schema.ts'): string {
  return readFileSync(file(name), 'utf8');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, content] of Object.entries(await generate())) writeFileSync(file(name), content);
}
