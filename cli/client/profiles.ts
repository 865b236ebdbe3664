import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { polonyClient } from '../../client/index.js';
import { CliError, EXIT } from './exit.js';
import { cell } from './output.js';

/** Where an API is and the key for it. */
export interface Profile {
  url: string;
  apiKey: string;
}
interface Config {
  current?: string;
  profiles: Record<string, Profile>;
}

/** The flags that every command of the client has. */
export interface ConnectionOptions {
  apiUrl?: string;
  apiKey?: string;
  profile?: string;
}

/** Where profiles are kept: `POLONY_CONFIG`, else `polony/config.json` in the folder for settings. */
export function configFile(): string {
  return (
    process.env.POLONY_CONFIG ??
    path.join(process.env.XDG_CONFIG_HOME ?? path.join(homedir(), '.config'), 'polony', 'config.json')
  );
}

/** All profiles; none where there is no file. */
export function readConfig(): Config {
  let text: string;
  try {
    text = readFileSync(configFile(), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { profiles: {} };
    throw error;
  }
  try {
    const config = JSON.parse(text) as Partial<Config>;
    if (typeof config.profiles === 'object' && config.profiles !== null)
      return { ...config, profiles: config.profiles };
  } catch {
    // Said below.
  }
  throw new CliError(`${configFile()} is damaged; delete it and log in again`, EXIT.usage);
}

/** Writes the profiles, readable by their owner only: there are keys in them. */
export function writeConfig(config: Config): void {
  const file = configFile();
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const written = `${file}.${process.pid}`;
  writeFileSync(written, `${JSON.stringify(config, undefined, 2)}\n`, { mode: 0o600 });
  chmodSync(written, 0o600);
  renameSync(written, file);
}

/** The API that a command is for: its flags, then the environment, then the profile. */
export function connectionOf(
  { apiUrl, apiKey, profile }: ConnectionOptions,
  env: NodeJS.ProcessEnv = process.env,
): Profile {
  const named = profile ?? (env.POLONY_PROFILE === '' ? undefined : env.POLONY_PROFILE);
  const config = readConfig();
  const name = named ?? config.current ?? 'default';
  const kept = Object.hasOwn(config.profiles, name) ? config.profiles[name] : undefined;
  if (named !== undefined && kept === undefined)
    throw new CliError(`There is no profile ${named}; polony profile list shows those there are`, EXIT.usage);
  // A profile that was asked for by its name counts more than what happens to be in the environment.
  const [ofEnvironment, ofProfile] = [
    { url: env.POLONY_API_URL || undefined, apiKey: env.POLONY_API_KEY || undefined },
    kept,
  ];
  const [first, second] = profile === undefined ? [ofEnvironment, ofProfile] : [ofProfile, ofEnvironment];
  const given = apiUrl ?? first?.url ?? second?.url;
  if (given === undefined || given === '') throw new CliError(`No API is named: ${WAYS}`, EXIT.usage);
  const url = addressOf(given);
  // The key of a profile is shown to the API of the profile only, whatever the environment or a flag name.
  const [firstKey, secondKey] = [first, second].map((each) =>
    each !== undefined && each === ofProfile && addressOf(each.url ?? '') !== url ? undefined : each?.apiKey,
  );
  const key = apiKey ?? firstKey ?? secondKey;
  if (key === undefined || key === '') throw new CliError(`No API key is named for ${url}: ${WAYS}`, EXIT.usage);
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new CliError(
      'The API key has characters that no key has, such as spaces or line breaks; copy it once more',
      EXIT.usage,
    );
  return { url, apiKey: key };
}

const WAYS = 'log in with polony login, set POLONY_API_URL and POLONY_API_KEY, or give --api-url and --api-key';

/** The address of an API, without the slash at its end. @throws CliError */
function addressOf(given: string): string {
  const wrong = (why: string): CliError => new CliError(`${why}; it is such as https://polony.example.org`, EXIT.usage);
  if (!URL.canParse(given) || !/^https?:\/\//i.test(given)) throw wrong(`${cell(given)} is no address of an API`);
  const { username, password, search, hash, origin, pathname } = new URL(given);
  if (username !== '' || password !== '') throw wrong('The address of the API has a user or password in it');
  if (search !== '' || hash !== '') throw wrong(`${cell(given)} is no address of an API: it has a ? or # in it`);
  return `${origin}${pathname.replace(/\/+$/, '')}`;
}

/** A client of the API that a command is for. */
export function clientOf(options: ConnectionOptions) {
  return polonyClient(connectionOf(options));
}
