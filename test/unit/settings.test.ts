import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { REFERENCE_FILE, settingsReference } from '../../cli/settings/reference.js';
import { SettingsSchema } from '../../cli/settings/schema.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folders = ['activities', 'api', 'aws', 'cli', 'local', 'store', 'temporal', 'worker'];
/** Variables that belong to the operating system, npm or the AWS SDK. */
const foreign = ['PATH', 'AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED', 'npm_lifecycle_event'];

/** Names of the environment variables that a source file reads, written as `env.NAME`. */
const variablesOf = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(/\benv\.([A-Za-z]\w+)/g)].map((match) => match[1]!);

it('keeps docs/reference/settings.md equal to the output of `npm run docs:settings`', () => {
  expect(readFileSync(REFERENCE_FILE, 'utf8')).toBe(settingsReference());
});

it('declares every environment variable that the product reads', () => {
  const files = folders.flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => path.join(root, folder, name)),
  );
  const read = new Set(files.flatMap(variablesOf).filter((name) => !foreign.includes(name)));
  expect(read).toContain('POLONY_API_URL');
  expect([...read].filter((name) => !Object.hasOwn(SettingsSchema.properties, name))).toEqual([]);
});

it('describes every setting in sentences and names the programs that read it', () => {
  for (const [name, schema] of Object.entries(SettingsSchema.properties)) {
    expect(schema, name).toMatchObject({ description: expect.stringMatching(/^[A-Z`].*\.$/) as string });
    expect((schema as { readBy?: string[] }).readBy?.length, name).toBeGreaterThan(0);
  }
});
