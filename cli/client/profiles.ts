import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { polonyClient } from '../../client/index.js';
import { CliError, EXIT } from './exit.js';

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
  return process.env.POLONY_CONFIG ?? path.join(process.env.XDG_CONFIG_HOME ?? path.join(homedir(), '.config'), 'polony', 'config.json');
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
    if (typeof config.profiles === 'object' && config.profiles !== null) return { ...config, profiles: config.profiles };
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
export function connectionOf({ apiUrl, apiKey, profile }: ConnectionOptions): Profile {
  const named = profile ?? process.env.POLONY_PROFILE;
  const config = readConfig();
  const kept = config.profiles[named ?? config.current ?? 'default'];
  if (named !== undefined && kept === undefined) throw new CliError(`There is no profile ${named}; polony profile list shows those there are`, EXIT.usage);
  // A profile that was asked for by its name counts more than what happens to be in the environment.
  const [ofEnvironment, ofProfile] = [{ url: process.env.POLONY_API_URL, apiKey: process.env.POLONY_API_KEY }, kept];
  const [first, second] = profile === undefined ? [ofEnvironment, ofProfile] : [ofProfile, ofEnvironment];
  const url = apiUrl ?? first?.url ?? second?.url;
  const key = apiKey ?? first?.apiKey ?? second?.apiKey;
  if (url === undefined || key === undefined || url === '' || key === '') {
    throw new CliError(`No ${url === undefined || url === '' ? 'API' : 'API key'} is named: log in with polony login, set POLONY_API_URL and POLONY_API_KEY, or give --api-url and --api-key`, EXIT.usage);
  }
  if (!/^https?:\/\//.test(url)) throw new CliError(`${url} is no address of an API; it begins with https://`, EXIT.usage);
  return { url: url.replace(/\/+$/, ''), apiKey: key };
}

/** A client of the API that a command is for. */
export function clientOf(options: ConnectionOptions) {
  return polonyClient(connectionOf(options));
}
