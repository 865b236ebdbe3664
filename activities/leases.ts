import { newId, type Db } from '../store/database.js';
import { countHolders, listFreeLeases, releaseLeases, takeLeases } from '../store/leases.js';

/** A process that dies is replaced after this time, in seconds. */
const LEASE_SECONDS = 30;
/**
 * How much earlier the holder counts a lease as lost than the database does, so that a slow answer or a process that
 * stood still cannot make two processes do the same.
 */
const MARGIN_MS = 5000;

/** How often to renew leases, in milliseconds. The second renewal in a row that fails loses them. */
export const RENEW_MS = 10_000;

/** The work that this process does for all processes. */
export class Leases {
  readonly #holder = newId();
  /**
   * Until when this process holds a lease, by two clocks: nobody sets that of `performance.now()`, but it stands still
   * while the machine is suspended.
   */
  readonly #heldUntil = new Map<string, { steady: number; wall: number; term: number }>();
  #terms = 0;
  /** The last statement. They come one after the other: a lease that is given back must not be one just taken again. */
  #last: Promise<unknown> = Promise.resolve();
  /** Leases of a kind whose members nobody had to work on when the share was last taken. */
  #idle = new Set<string>();
  /** Leases of a kind that were more than the share when it was last taken. */
  #surplus = new Set<string>();
  /** Leases that are asked for together, and the statement that will ask for them. */
  #asked = new Set<string>();
  #asking: Promise<void> | undefined;
  #isClosed = false;

  constructor(private readonly db: Db) {}

  /** Renews the leases of one kind that this process holds. Nothing else should come before this. */
  async renew(kind: string): Promise<void> {
    await this.take(this.#heldOf(kind));
  }

  /**
   * Takes this process's share of leases of one kind, and gives back what is more than its share. So the work spreads
   * over processes that come and go. Call {@link renew} before.
   * @param kind as in `watch`; the name of a lease is `<kind>/<member>`
   * @param members all that somebody must work on
   * @returns the members that this process holds now
   */
  async takeShare(kind: string, members: readonly string[]): Promise<string[]> {
    const nameOf = (member: string): string => `${kind}/${member}`;
    await this.take([this.#presenceIn(kind)]);
    const share = Math.ceil(members.length / Math.max(1, await countHolders(this.db, `${kind}.process`)));
    const own = members.filter((member) => this.isHeld(nameOf(member)));
    const wanted = new Set(members.map(nameOf));
    const idle = this.#heldOf(kind).filter((name) => !wanted.has(name));
    this.#surplus = new Set(own.slice(share).map(nameOf));
    // Not at once: a lease that was taken just now can be of a member that is younger than the list.
    await this.release([...this.#surplus, ...idle.filter((name) => this.#idle.has(name))]);
    this.#idle = new Set(idle);
    const missing = share - own.length;
    if (missing > 0) await this.take(await listFreeLeases(this.db, [...wanted], missing));
    return members.filter((member) => this.isHeld(nameOf(member)));
  }

  #heldOf(kind: string): string[] {
    return this.held.filter((name) => name.startsWith(`${kind}/`));
  }

  /**
   * Takes a lease if nobody holds it, unless it was more than this process's share just now: then it is for another one.
   * Calls that come while others wait need one statement together, so that renewals never wait for many.
   */
  async takeIfFree(name: string): Promise<void> {
    if (this.#surplus.has(name)) return;
    this.#asked.add(name);
    await (this.#asking ??= this.#inTurn(async () => {
      const names = [...this.#asked];
      this.#asked.clear();
      this.#asking = undefined;
      await this.#take(names);
    }));
  }

  /**
   * Gives some members of a kind back, and takes no part in sharing the others, until {@link takeShare} is called again.
   * @param members as for {@link takeShare}
   */
  async leave(kind: string, members: readonly string[]): Promise<void> {
    await this.release([this.#presenceIn(kind), ...members.map((member) => `${kind}/${member}`)]);
  }

  /** The lease that says that this process takes part. Where its share cannot be taken, that ends, and others take more. */
  #presenceIn(kind: string): string {
    return `${kind}.process/${this.#holder}`;
  }

  /**
   * Takes leases that are free, and renews those that this process holds.
   * @returns the names that it holds now, of those asked for
   */
  async take(wanted: readonly string[]): Promise<string[]> {
    return this.#inTurn(() => this.#take([...new Set(wanted)]));
  }

  async #take(names: readonly string[]): Promise<string[]> {
    if (this.#isClosed) return [];
    const ms = LEASE_SECONDS * 1000 - MARGIN_MS;
    const until = { steady: performance.now() + ms, wall: Date.now() + ms };
    // A lease that this process still counts as its own may be free in a database that was restored.
    const taken = await takeLeases(this.db, this.#holder, names, LEASE_SECONDS);
    for (const name of taken) this.#heldUntil.set(name, { ...until, term: this.termOf(name) ?? ++this.#terms });
    const held = new Set(taken);
    for (const name of names) if (!held.has(name)) this.#heldUntil.delete(name);
    return taken;
  }

  /** Whether this process still holds a lease. Ask before each effect that only its holder may have. */
  isHeld(name: string): boolean {
    return this.termOf(name) !== undefined;
  }

  /**
   * A number that stays the same while this process holds a lease without a gap. Whoever held it in a gap may have changed
   * what this process knows.
   * @returns undefined where this process does not hold the lease
   */
  termOf(name: string): number | undefined {
    const until = this.#heldUntil.get(name);
    return until !== undefined && until.steady > performance.now() && until.wall > Date.now() ? until.term : undefined;
  }

  /** The names that this process holds at the moment. */
  get held(): string[] {
    return [...this.#heldUntil.keys()].filter((name) => this.isHeld(name));
  }

  /** Gives some leases back. */
  async release(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const forget = (): void => names.forEach((name) => this.#heldUntil.delete(name));
    forget();
    await this.#inTurn(() => {
      // One may have been taken since.
      forget();
      return releaseLeases(this.db, this.#holder, names);
    });
  }

  /** Gives all leases back, so that another process takes over at once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#heldUntil.clear();
    await this.#inTurn(() => {
      this.#heldUntil.clear();
      return releaseLeases(this.db, this.#holder);
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}
