import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type FlagKind, flagName } from './operations.js';
import type { ConnectionOptions } from './profiles.js';

/** Values of flags as commander has parsed them. */
export type Flags = ConnectionOptions & { json?: boolean; [flag: string]: unknown };

/** Adds the flags that every command of the client has. */
export function addConnectionFlags(command: Command): Command {
  return command
    .option('--api-url <url>', 'address of the API (environment: POLONY_API_URL)')
    .option(
      '--api-key <key>',
      'API key; prefer POLONY_API_KEY or a profile, because other users of this machine can see flags',
    )
    .option('--profile <name>', 'profile that polony login has saved')
    .option('--json', 'print the answer of the API as JSON, for programs');
}

/** Parses a whole number from zero. @throws InvalidArgumentError */
export function parseWholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('must be a whole number');
  return Number(text);
}

/** Parses a number of transfers at once. @throws InvalidArgumentError */
export function parseConcurrency(text: string): number {
  if (!/^\d{1,2}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('must be a number from 1 to 99');
  return Number(text);
}

function parseNumber(text: string): number {
  if (!/^-?\d{1,15}(\.\d+)?$/.test(text)) throw new InvalidArgumentError('must be a number');
  return Number(text);
}

function parseBoolean(text: string): boolean {
  if (!/^(true|false|yes|no)$/.test(text)) throw new InvalidArgumentError('must be yes or no');
  return /^(true|yes)$/.test(text);
}

/** Parses a list that is separated by commas; a flag that is repeated adds to the values before it. */
export function parseList(text: string, before: string[] = []): string[] {
  return [...before, ...text.split(',').filter((each) => each !== '')];
}

const STANDARD_INPUT = 0;

const nameOf = (file: string | typeof STANDARD_INPUT): string => (file === STANDARD_INPUT ? 'standard input' : file);

function readContent(file: string | typeof STANDARD_INPUT): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new InvalidArgumentError(`${nameOf(file)} cannot be read: ${(error as Error).message}`);
  }
}

/** Parses JSON, the content of a file after `@`, or standard input for `-`. @throws InvalidArgumentError */
export function parseJson(text: string): unknown {
  const file = text === '-' ? STANDARD_INPUT : text.startsWith('@') ? text.slice(1) : undefined;
  const content = file === undefined ? text : readContent(file);
  if (file === STANDARD_INPUT && content.trim() === '') throw new InvalidArgumentError('standard input is empty');
  try {
    return JSON.parse(content);
  } catch (error) {
    const where = file === undefined ? 'the value' : nameOf(file);
    throw new InvalidArgumentError(
      `${where} is no JSON: ${(error as Error).message}. Give JSON, @file, or - for standard input`,
    );
  }
}

/** A text, or the content of a file after `@`. To pass a text that starts with `@`, write `@@`. */
function parseText(text: string): string {
  if (text.startsWith('@@')) return text.slice(1);
  return text.startsWith('@') ? readContent(text.slice(1)) : text;
}

/** Creates the flag for a field of a body or a query parameter. */
export function createFlag(kind: FlagKind, name: string, description: string): Option {
  const flag = `--${flagName(name)}`;
  const describe = (form: string): string => (description === '' ? form : `${description}; ${form}`);
  switch (kind) {
    case 'boolean':
      return new Option(`${flag} [yes]`, describe('yes or no; yes without a value')).argParser(parseBoolean);
    case 'number':
      return new Option(`${flag} <number>`, description).argParser(parseNumber);
    case 'texts':
      return new Option(`${flag} <list>`, describe('separated by commas, or repeat the flag')).argParser(parseList);
    case 'json':
      return new Option(`${flag} <json>`, describe('JSON or @file')).argParser(parseJson);
    case 'text':
      return new Option(`${flag} <text>`, description).argParser(parseText);
  }
}

/** The value of a flag: commander keeps `--use-for-run-upload` as `useForRunUpload`. */
export function flagValue(flags: Flags, name: string): unknown {
  return flags[flagName(name).replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())];
}
