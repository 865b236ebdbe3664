import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { CliError, EXIT } from './exit.js';
import { cell } from './output.js';

/** The address of an API and a key for it. */
export interface Profile {
  url: string;
  apiKey: string;
  /** Where the key comes from, for errors; absent where a command has made it. */
  keyFrom?: string;
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

/** The file that holds the profiles: `POLONY_CONFIG`, or `polony/config.json` in the user's folder for settings. */
export function configFile(): string {
  return (
    process.env.POLONY_CONFIG ??
    path.join(process.env.XDG_CONFIG_HOME ?? path.join(homedir(), '.config'), 'polony', 'config.json')
  );
}

/** Reads the profiles; none when the file does not exist. @throws CliError when the file is damaged */
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
    // Reported below, like a file of another shape.
  }
  throw new CliError(`${configFile()} is damaged; delete it and log in again`, EXIT.usage);
}

/** Writes the profiles. Only their owner can read the file, because it holds keys. */
export function writeConfig(config: Config): void {
  const file = configFile();
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const written = `${file}.${process.pid}`;
  writeFileSync(written, `${JSON.stringify(config, undefined, 2)}\n`, { mode: 0o600 });
  chmodSync(written, 0o600);
  renameSync(written, file);
}

const HOW_TO_CONNECT =
  'log in with polony login, set POLONY_API_URL and POLONY_API_KEY, or give --api-url and --api-key';

function findProfile(config: Config, requested: string | undefined): Profile | undefined {
  const name = requested ?? config.current ?? 'default';
  const profile = Object.hasOwn(config.profiles, name)
    ? { ...config.profiles[name]!, keyFrom: `profile ${name}` }
    : undefined;
  if (requested !== undefined && profile === undefined)
    throw new CliError(`There is no profile ${requested}; polony profile list shows the profiles`, EXIT.usage);
  return profile;
}

/**
 * The API that a command uses: from its flags, then the environment, then the profile. A profile that a flag names
 * comes before the environment.
 * @throws CliError `usage` when address or key are missing or invalid
 */
export function connectionOf(
  { apiUrl, apiKey, profile: profileFlag }: ConnectionOptions,
  env: NodeJS.ProcessEnv = process.env,
): Profile {
  const profile = findProfile(readConfig(), profileFlag ?? (env.POLONY_PROFILE || undefined));
  const environment = {
    url: env.POLONY_API_URL || undefined,
    apiKey: env.POLONY_API_KEY || undefined,
    keyFrom: 'POLONY_API_KEY',
  };
  const sources = profileFlag === undefined ? [environment, profile] : [profile, environment];
  const address = apiUrl ?? sources.find((each) => each?.url !== undefined)?.url;
  if (address === undefined || address === '') throw new CliError(`No API is set: ${HOW_TO_CONNECT}`, EXIT.usage);
  const url = parseAddress(address);
  // The key of a profile is sent only to the API of that profile, whatever the environment or a flag says.
  const isUsable = (each: Partial<Profile> | undefined): boolean =>
    each?.apiKey !== undefined && (each !== profile || parseAddress(each.url ?? '') === url);
  const { apiKey: key, keyFrom } =
    apiKey === undefined ? (sources.find(isUsable) ?? {}) : { apiKey, keyFrom: '--api-key' };
  if (key === undefined || key === '')
    throw new CliError(`No API key is set for ${url}: ${HOW_TO_CONNECT}`, EXIT.usage);
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new CliError(
      'The API key has characters that no key has, such as spaces or line breaks; copy the key again',
      EXIT.usage,
    );
  }
  warnIfPlain(url);
  return { url, apiKey: key, keyFrom };
}

/** Addresses that a warning has named: once is enough for a command. */
const warned = new Set<string>();

/**
 * Warns before a key goes to another host without encryption, where everybody between can read it.
 * @param address of the API; what cannot be read as one is reported elsewhere
 */
export function warnIfPlain(address: string): void {
  if (!URL.canParse(address)) return;
  const { protocol, hostname, host } = new URL(address);
  const isThisMachine = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
  if (protocol !== 'http:' || isThisMachine || warned.has(host)) return;
  warned.add(host);
  process.stderr.write(
    `Warning: the API key goes to ${cell(host)} without encryption, and others in the network can read it. ` +
      'Use https://\n',
  );
}

/** Whether flags, the environment or a profile name an API. */
export function hasConnection({ apiUrl, profile }: ConnectionOptions, env: NodeJS.ProcessEnv = process.env): boolean {
  if (apiUrl !== undefined || profile !== undefined || env.POLONY_API_URL || env.POLONY_PROFILE) return true;
  return findProfile(readConfig(), undefined) !== undefined;
}

/** Parses the address of an API and removes the slash at its end. @throws CliError */
function parseAddress(text: string): string {
  const wrong = (why: string): CliError => new CliError(`${why}; an example is https://polony.example.org`, EXIT.usage);
  if (!URL.canParse(text) || !/^https?:\/\//i.test(text)) throw wrong(`${cell(text)} is not an address of an API`);
  const { username, password, search, hash, origin, pathname } = new URL(text);
  if (username !== '' || password !== '') throw wrong('The address of the API must not hold a user or password');
  if (search !== '' || hash !== '') throw wrong(`${cell(text)} is not an address of an API: it has a ? or #`);
  return `${origin}${pathname.replace(/\/+$/, '')}`;
}
