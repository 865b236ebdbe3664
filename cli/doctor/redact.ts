import { readFileSync } from 'node:fs';
import type { Environment } from '../settings/read.js';

const SECRET_NAME = /KEY|SECRET|TOKEN|PASSWORD/;
/** A shorter text would also take harmless parts of messages out. */
const SHORTEST = 6;

/** A function that takes the secrets of an environment out of texts. */
export function createRedactor(env: Environment): (text: string) => string {
  const secrets = new Set<string>();
  const add = (value: string | undefined): void => {
    if (value !== undefined && value.trim().length >= SHORTEST) secrets.add(value.trim());
  };
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || value === '') continue;
    if (name.endsWith('_FILE') && SECRET_NAME.test(name)) addFile(value, add);
    else if (SECRET_NAME.test(name)) {
      add(value);
      // POLONY_ENCRYPTION_KEYS and its like: id=key,id=key.
      for (const part of value.split(',')) add(part.slice(part.indexOf('=') + 1));
    }
    for (const [, password] of value.matchAll(/:\/\/[^/\s:@]*:([^@\s/]+)@/g)) {
      add(password);
      add(decode(password!));
    }
  }
  const longestFirst = [...secrets].sort((one, other) => other.length - one.length);
  return (text) => longestFirst.reduce((redacted, secret) => redacted.replaceAll(secret, '***'), text);
}

function addFile(file: string, add: (value: string | undefined) => void): void {
  try {
    const text = readFileSync(file, 'utf8');
    add(text);
    for (const part of text.split(',')) add(part.slice(part.indexOf('=') + 1));
  } catch {
    // The settings say that the file cannot be read.
  }
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
