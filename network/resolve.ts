import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';

/** How long polony waits for all DNS queries of one name, in milliseconds. */
const DEADLINE_MS = 3000;
/** How long it waits for one answer before it asks again, in milliseconds. */
const QUERY_MS = 1000;
/** Most search domains that a resolver tries (resolv.conf(5) of glibc before 2.26). */
const MOST_SEARCH_DOMAINS = 6;
/** The largest `ndots` (resolv.conf(5)). */
const MOST_DOTS = 15;

/** Finds all addresses of a host. It rejects with {@link ResolveError} where there are none. */
export type ResolveHost = (host: string) => Promise<string[]>;

/** A host has no address, or nobody said in time which. */
export class ResolveError extends Error {
  override readonly name = 'ResolveError';
  /** @param isUnknown whether DNS says that there is no such host; otherwise DNS gave no answer. */
  constructor(
    message: string,
    readonly isUnknown: boolean,
  ) {
    super(message);
  }
}

export interface ResolverOptions {
  /** For tests: DNS servers as `address:port`. Without it, those of the system. */
  servers?: string[];
  deadlineMs?: number;
  /** Paths of the system's files. */
  hostsFile?: string;
  resolvConf?: string;
}

/**
 * Creates a resolver of host names. It asks DNS servers over sockets of its own. `dns.lookup` instead occupies a thread
 * of the pool that also reads files and computes hashes: four slow names then stall the whole process. Every query has
 * its own resolver, so that its deadline cancels no other one.
 */
export function createResolver(options: ResolverOptions = {}): ResolveHost {
  const { deadlineMs = DEADLINE_MS, hostsFile = '/etc/hosts', resolvConf = '/etc/resolv.conf' } = options;
  return async (host) => {
    const name = host.replace(/\.$/, '').toLowerCase();
    if (isIP(name) !== 0) return [name];
    const listed = findInHosts(await readText(hostsFile), name);
    if (listed.length > 0) return listed;
    // RFC 6761, 6.3: these names never leave the host.
    if (/(^|\.)localhost$/.test(name)) return ['127.0.0.1', '::1'];
    const isAbsolute = host.endsWith('.');
    const names = isAbsolute ? [name] : listCandidates(name, await readText(resolvConf));
    return queryNames(host, names, { ...options, deadlineMs });
  };
}

async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}

/** The addresses of a name in the format of hosts(5). */
function findInHosts(text: string, name: string): string[] {
  return text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().toLowerCase().split(/\s+/))
    .filter(([address, ...names]) => isIP(address ?? '') !== 0 && names.includes(name))
    .map(([address]) => address!);
}

/** The names to ask for, in the order of resolv.conf(5): a name with few dots is first tried in each search domain. */
function listCandidates(name: string, resolvConf: string): string[] {
  const { domains, ndots } = parseResolvConf(resolvConf);
  const searched = domains.map((domain) => `${name}.${domain}`);
  return name.split('.').length - 1 >= ndots ? [name, ...searched] : [...searched, name];
}

/** The search domains, and how many dots a name must have to be asked for first as it is. */
function parseResolvConf(text: string): { domains: string[]; ndots: number } {
  let domains: string[] = [];
  let ndots = 1;
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[;#].*/, '')
      .trimEnd()
      .split(/[ \t]+/);
    // The last of these lines counts, and `domain` is a list of one.
    if (keyword === 'search') domains = values;
    else if (keyword === 'domain') domains = values.slice(0, 1);
    else if (keyword === 'options')
      for (const value of values) ndots = Number(/^ndots:(\d+)$/.exec(value)?.[1] ?? ndots);
  }
  const names = domains.map((domain) => domain.replace(/\.$/, '').toLowerCase()).filter((domain) => domain !== '');
  return { domains: names.slice(0, MOST_SEARCH_DOMAINS), ndots: Math.min(ndots, MOST_DOTS) };
}

interface Deadline {
  servers?: string[];
  deadlineMs: number;
}

/** How the queries for one name ended. */
type Answer = { addresses: string[] } | { failure: unknown };

/** @throws ResolveError */
async function queryNames(host: string, names: readonly string[], options: Deadline): Promise<string[]> {
  const { servers, deadlineMs } = options;
  const end = performance.now() + deadlineMs;
  const asked: Promise<Answer>[] = [];
  const find = (answer: Answer | undefined): string[] =>
    answer !== undefined && 'addresses' in answer ? answer.addresses : [];
  for (const [index, name] of names.entries()) {
    const leftMs = end - performance.now();
    if (leftMs <= 0) break;
    const answer = queryWithin(name, { servers, deadlineMs: leftMs }).then(
      (addresses) => ({ addresses }),
      (failure: unknown) => ({ failure }),
    );
    asked.push(answer);
    // A slow server for one search domain must not use up the time of all names. Its query goes on meanwhile, and half
    // of the time is left where all names are slow.
    const addresses = find(await Promise.race([answer, pause(leftMs / (names.length - index) / 2)]));
    if (addresses.length > 0) return addresses;
  }
  const answers = await Promise.all(asked);
  const found = answers.map(find).find((addresses) => addresses.length > 0);
  if (found !== undefined) return found;
  // As in the C library, the next name is tried after a server failed for one, such as a search domain.
  const failed = answers.find((answer) => 'failure' in answer);
  if (failed === undefined && asked.length === names.length) throw new ResolveError(`there is no host ${host}`, true);
  const { code = NO_ANSWER } = (failed?.failure ?? {}) as { code?: string };
  const why = code === NO_ANSWER ? `DNS did not answer within ${deadlineMs / 1000} seconds` : `DNS answered ${code}`;
  throw new ResolveError(`polony could not find the addresses of ${host}: ${why}`, false);
}

function pause(milliseconds: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds, undefined).unref());
}

/** The code of the error of a query that a resolver cancelled. */
const NO_ANSWER = 'ECANCELLED';

/** @throws an error with the code {@link NO_ANSWER} at the deadline; what {@link queryName} throws */
async function queryWithin(name: string, { servers, deadlineMs }: Deadline): Promise<string[]> {
  const resolver = new Resolver({ timeout: Math.max(1, Math.round(Math.min(QUERY_MS, deadlineMs))), tries: 4 });
  if (servers !== undefined) resolver.setServers(servers);
  const timer = setTimeout(() => resolver.cancel(), deadlineMs);
  try {
    return await queryName(resolver, name);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The addresses of a name, of both families. Where only one family has an answer, polony knows and uses only that one.
 * @throws where neither query has an answer, or where one failed and the other has no address
 */
async function queryName(resolver: Resolver, name: string): Promise<string[]> {
  const query = (addresses: Promise<string[]>): Promise<string[]> =>
    addresses.catch((error: unknown) => {
      const { code } = error as { code?: unknown };
      if (code === 'ENOTFOUND' || code === 'ENODATA') return [];
      throw error;
    });
  const answers = await Promise.allSettled([query(resolver.resolve4(name)), query(resolver.resolve6(name))]);
  const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  const failed = answers.find((answer) => answer.status === 'rejected');
  if (addresses.length === 0 && failed !== undefined) throw failed.reason;
  return addresses;
}
