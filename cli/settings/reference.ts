import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TSchema } from 'typebox';
import type { About } from './define.js';
import { SETTING_GROUPS } from './schema.js';

type SettingSchema = TSchema &
  About & {
    type: string;
    default?: string | number | boolean;
    enum?: readonly string[];
    minimum?: number;
    maximum?: number;
    unit?: string;
    whenMissing?: string;
  };

/** Where the page is stored. */
export const REFERENCE_FILE = fileURLToPath(new URL('../../docs/reference/settings.md', import.meta.url));

const INTRODUCTION = `# Settings

<!-- \`npm run docs:settings\` generates this page from cli/settings/schema.ts. Do not edit it. -->

polony reads its settings from environment variables. An empty variable counts as not set. A process that finds a wrong
value reports all wrong variables by name, without their values, and stops.

Instead of a variable, you can set \`<variable>_FILE\` to the path of a file with its value, as container engines mount
secrets.

"Read by" names the programs that use a variable: \`api\`, \`worker\`, \`codec\`, \`migrate\`, \`promote\` and \`reencrypt\`
are commands of \`polony\`, \`client\` stands for all commands that call the API, \`local\` for \`polony local\` and \`polony demo\`.
Keep variables marked **secret** out of logs and version control.
`;

/** The reference page of all settings, in Markdown. */
export function settingsReference(): string {
  const groups = SETTING_GROUPS.map(({ title, introduction, settings }) =>
    [
      `## ${title}`,
      ...(introduction === undefined ? [] : [introduction]),
      '<!-- prettier-ignore -->\n' + table(Object.entries(settings) as [string, SettingSchema][]),
    ].join('\n\n'),
  );
  return `${[INTRODUCTION.trim(), ...groups].join('\n\n')}\n`;
}

function table(settings: readonly [string, SettingSchema][]): string {
  const rows = settings.map(([name, schema]) => [
    `\`${name}\``,
    defaultOf(schema),
    schema.readBy.join(', '),
    [schema.description, ...details(schema)].join(' '),
  ]);
  return [['Variable', 'Default', 'Read by', 'Meaning'], ['---', '---', '---', '---'], ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
}

function defaultOf(schema: SettingSchema): string {
  if (schema.whenMissing !== undefined) return '**required**';
  if (schema.defaultText !== undefined) return schema.defaultText;
  return schema.default === undefined ? 'not set' : `\`${String(schema.default)}\``;
}

function details({ type, enum: words, minimum, maximum, unit, example, isSecret }: SettingSchema): string[] {
  const range = `${minimum} to ${maximum}${unit === undefined ? '' : ` ${unit}`}`;
  return [
    ...(type === 'integer' ? [`A whole number, ${range}.`] : []),
    ...(type === 'number' ? [`A number, ${range}.`] : []),
    ...(type === 'boolean' ? ['`true` or `false`.'] : []),
    ...(words === undefined ? [] : [`One of ${words.map((word) => `\`${word}\``).join(', ')}.`]),
    ...(example === undefined ? [] : [`Example: \`${example}\`.`]),
    ...(isSecret === true ? ['**Secret.**'] : []),
  ];
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url))
  writeFileSync(REFERENCE_FILE, settingsReference());
