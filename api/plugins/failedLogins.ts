import { isIP, isIPv6 } from 'node:net';
import { appendAudit } from '../../store/audit.js';
import { type Db, newId } from '../../store/database.js';
import { loggableError } from '../../domain/errors.js';
import { ApiError } from '../errors.js';
import { hashKey } from './apiKeys.js';

/** For how long failures count, and how often they go to the audit log, in milliseconds. */
const WINDOW_MS = 60_000;
/** How many addresses, and how many credentials that worked, one process remembers. */
const MOST_ADDRESSES = 10_000;
const MOST_CREDENTIALS = 10_000;
/** For how long a credential that worked stays exempt, in milliseconds. */
const EXEMPT_MS = 15 * 60_000;
/** How many addresses have an entry of their own in the audit log in one window. The others share one. */
const MOST_ENTRIES = 100;

/** How many logins of one address may wait, and for how many milliseconds. */
const MOST_WAITING = 1000;
const MOST_WAIT_MS = 5000;

/** What one address did in its window. */
interface Failures {
  since: number;
  /** Fingerprints of the credentials that failed in the window. The same wrong key again is no guess. */
  tried: Set<string>;
  /** What the audit log does not have yet: how often each reason occurred. */
  unwritten: Map<string, number>;
}

interface Log {
  error: (data: object, message: string) => void;
}

/** The logins of one address that are in progress. */
interface Logins {
  /** How many there are with each credential, by fingerprint. */
  inProgress: Map<string, number>;
  /** Those that wait until another has ended; the oldest first. */
  waiting: (() => void)[];
}

/**
 * Limits failed logins by address, and records them in the audit log: the first of an address at once, the others of a
 * minute together. An address that tried too many different credentials is refused before authentication, except with a
 * credential that worked a short time ago: others may share its address.
 *
 * A login in progress may fail, so it takes part of the limit until it has ended. One that the limit has no room for
 * waits and is not refused, because those before it may succeed.
 *
 * Each process counts for itself.
 */
export class FailedLogins {
  /** By address; the oldest window first. */
  readonly #addresses = new Map<string, Failures>();
  readonly #logins = new Map<string, Logins>();
  /** Hashes of credentials that worked, with the time until which they are exempt; the oldest first. */
  readonly #working = new Map<string, number>();
  readonly #writes = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #entries = 0;
  #lastOthers = Date.now();
  /** Failures of addresses without an entry of their own. */
  #others: { addresses: Set<string>; reasons: Map<string, number> } = { addresses: new Set(), reasons: new Map() };

  /** @param limit failures of one address within a minute; 0 for no limit */
  constructor(
    private readonly db: Db,
    private readonly log: Log,
    private readonly limit: number,
    private readonly windowMs = WINDOW_MS,
  ) {
    this.#timer = setInterval(() => this.#endWindows(), Math.max(50, windowMs / 4)).unref();
  }

  /**
   * Begins a login. It waits while the logins in progress could use up the limit of the address.
   * @returns ends the login. Call it after {@link succeed} or {@link fail}.
   * @throws ApiError 429 for an address that failed too often, unless the credential worked before; 503 where the
   * logins before it do not end
   */
  async begin(ip: string, credential: string): Promise<() => void> {
    if (this.limit === 0) return () => undefined;
    const address = groupAddress(ip);
    const key = fingerprint(credential);
    for (;;) {
      if ((this.#working.get(key) ?? 0) > Date.now()) {
        // It may have waited until another login with its credential worked. Its end wakes nobody.
        this.#wakeNext(address);
        return () => undefined;
      }
      const failures = this.#findFailures(address);
      const logins = this.#logins.get(address) ?? { inProgress: new Map<string, number>(), waiting: [] };
      if (failures !== undefined && failures.tried.size >= this.limit) {
        this.#wakeNext(address);
        throw refuse(failures, this.windowMs);
      }
      const isKnown = logins.inProgress.has(key) || failures?.tried.has(key) === true;
      if (isKnown || (failures?.tried.size ?? 0) + logins.inProgress.size < this.limit) {
        increase(logins.inProgress, key);
        this.#logins.set(address, logins);
        return () => this.#end(address, key);
      }
      await waitForTurn(logins.waiting);
    }
  }

  #end(address: string, key: string): void {
    const logins = this.#logins.get(address)!;
    const others = logins.inProgress.get(key)! - 1;
    if (others > 0) logins.inProgress.set(key, others);
    else logins.inProgress.delete(key);
    this.#wakeNext(address);
  }

  /** Each login that ends wakes one that waits. That one ends or is refused, and wakes the next. */
  #wakeNext(address: string): void {
    const logins = this.#logins.get(address);
    if (logins === undefined) return;
    const wake = logins.waiting.shift();
    if (wake !== undefined) wake();
    else if (logins.inProgress.size === 0) this.#logins.delete(address);
  }

  /** The failures of an address in a window that has not ended. */
  #findFailures(address: string): Failures | undefined {
    const failures = this.#addresses.get(address);
    return failures !== undefined && Date.now() - failures.since < this.windowMs ? failures : undefined;
  }

  /** A credential was valid. */
  succeed(credential: string): void {
    if (this.limit === 0) return;
    const key = fingerprint(credential);
    this.#working.delete(key);
    this.#working.set(key, Date.now() + EXEMPT_MS);
    if (this.#working.size > MOST_CREDENTIALS) this.#working.delete(firstKey(this.#working));
  }

  /** A credential was not valid. */
  fail(ip: string, credential: string, reason: string): void {
    const address = groupAddress(ip);
    let failures = this.#addresses.get(address);
    if (failures !== undefined && Date.now() - failures.since >= this.windowMs) {
      this.#forget(address, failures);
      failures = undefined;
    }
    if (failures !== undefined) {
      failures.tried.add(fingerprint(credential));
      increase(failures.unwritten, reason);
      return;
    }
    this.#addresses.set(address, {
      since: Date.now(),
      tried: new Set([fingerprint(credential)]),
      unwritten: new Map(),
    });
    if (this.#addresses.size > MOST_ADDRESSES) {
      const oldest = firstKey(this.#addresses);
      this.#forget(oldest, this.#addresses.get(oldest)!);
    }
    this.#record(address, new Map([[reason, 1]]));
  }

  /** Writes what the audit log does not have yet. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const [address, failures] of this.#addresses) this.#forget(address, failures);
    this.#lastOthers = 0;
    this.#recordOthers();
    await Promise.all(this.#writes);
  }

  #endWindows(): void {
    for (const [address, failures] of this.#addresses) {
      if (Date.now() - failures.since < this.windowMs) break;
      this.#forget(address, failures);
    }
    this.#recordOthers();
  }

  #forget(address: string, { unwritten }: Failures): void {
    this.#addresses.delete(address);
    if (unwritten.size > 0) this.#record(address, unwritten);
  }

  #record(address: string, reasons: Map<string, number>): void {
    if (this.#entries < MOST_ENTRIES) {
      this.#entries++;
      this.#write(address, reasons, {});
      return;
    }
    this.#others.addresses.add(address);
    for (const [reason, count] of reasons) increase(this.#others.reasons, reason, count);
  }

  /** Once in each window. */
  #recordOthers(): void {
    if (Date.now() - this.#lastOthers < this.windowMs) return;
    this.#lastOthers = Date.now();
    this.#entries = 0;
    const { addresses, reasons } = this.#others;
    if (addresses.size === 0) return;
    this.#others = { addresses: new Set(), reasons: new Map() };
    this.#write(undefined, reasons, { addresses: addresses.size, someAddresses: [...addresses].slice(0, 20) });
  }

  #write(address: string | undefined, reasons: Map<string, number>, more: object): void {
    const attempts = [...reasons.values()].reduce((sum, count) => sum + count, 0);
    const write = appendAudit(
      this.db,
      {
        caller: { kind: 'anonymous', id: 'anonymous', name: 'not authenticated' },
        action: 'AuthService_FailedLogin',
        requestId: newId(),
        ...(address !== undefined && { address }),
        detail: { attempts, reasons: Object.fromEntries(reasons), ...more },
      },
      { status: 401, reason: firstKey(reasons) },
    ).then(
      () => undefined,
      (error: unknown) =>
        this.log.error({ error: loggableError(error), address, attempts }, 'Failed logins are not in the audit log'),
    );
    this.#writes.add(write);
    void write.then(() => this.#writes.delete(write));
  }
}

/** @throws ApiError 503 */
function waitForTurn(waiting: (() => void)[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      const at = waiting.indexOf(wake);
      if (at >= 0) waiting.splice(at, 1);
      reject(
        new ApiError(503, 'BUSY', 'polony is checking too many other keys and tokens of your address. Try again later'),
      );
    };
    if (waiting.length >= MOST_WAITING) return giveUp();
    const timer = setTimeout(giveUp, MOST_WAIT_MS);
    function wake(): void {
      clearTimeout(timer);
      resolve();
    }
    waiting.push(wake);
  });
}

/** @returns ApiError 429, which the audit log counts */
function refuse({ since, tried, unwritten }: Failures, windowMs: number): ApiError {
  increase(unwritten, 'RATE_LIMITED');
  const seconds = Math.max(1, Math.ceil((since + windowMs - Date.now()) / 1000));
  return new ApiError(
    429,
    'TOO_MANY_FAILED_LOGINS',
    `Your address sent ${tried.size} keys or tokens within a minute that are not valid, so polony does not check ` +
      `more from it now. Correct the key of your client, and try again in ${seconds} seconds`,
    { retry_after: seconds },
  );
}

const fingerprint = (credential: string): string => hashKey(credential).toString('base64');

function firstKey(map: ReadonlyMap<string, unknown>): string {
  return map.keys().next().value!;
}

function increase(counts: Map<string, number>, name: string, by = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + by);
}

/**
 * What failures count for: an IPv4 address, or the network of 64 bits of an IPv6 address, because one host can have all
 * addresses in it.
 */
function groupAddress(ip: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  if (mapped !== undefined) return mapped;
  const address = ip.split('%')[0]!;
  if (isIP(address) === 0) return ip.slice(0, 100);
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  const rest = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : Math.max(0, 8 - groups.length - rest.length);
  const all = [...groups, ...Array.from({ length: missing }, () => '0'), ...rest];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
