import type { ServerResponse } from 'node:http';
import { type Change, CHANGE_TOPICS, type ChangeTopic, MOST_CHANGES } from '../../store/changes.js';
import { type Admission, findEndedStreams, type FindRevoked, MOST_ALL_STREAMS, MOST_STREAMS } from '../eventStreams.js';
import type { Notices } from '../notices.js';
import { ChangeBatch, ChangeStream, type ChangeSubscriber } from './stream.js';

/** Where the feed reads, and who hears of its failures. */
export interface ChangeSource {
  load: (topic: ChangeTopic, ids: readonly string[]) => Promise<Change[]>;
  listSince: (topic: ChangeTopic, since: Date) => Promise<Change[]>;
  readClock: () => Promise<Date>;
  /** Their streams end. */
  findRevoked: FindRevoked;
  onError: (error: unknown) => void;
}

/** For how long notices are collected before the changes are read, in milliseconds. A burst is read once. */
const COLLECT_MS = 200;
/**
 * How much earlier than its last event a resumed stream begins, in milliseconds: a transaction that was open then had
 * the time of its changes already, and nobody saw them.
 */
const OVERLAP_MS = 30_000;
/** How old the last event of a stream may be that resumes, in milliseconds. */
const MOST_AGE_MS = 3_600_000;
/** Streams of changes. What has changed is read once for all of them, and each shows what its caller may see. */
export class ChangeFeed {
  readonly #streams = new Set<ChangeStream>();
  /** New streams with the last event that they saw. They begin once polony listens for changes. */
  readonly #beginning = new Map<ChangeStream, string | undefined>();
  readonly #noticed = new Map<ChangeTopic, Set<string>>();
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #removeNotices: (() => void) | undefined;
  #isConnected = false;
  #isClosed = false;

  constructor(
    private readonly notices: Notices,
    private readonly source: ChangeSource,
  ) {}

  /** Whether a caller may open another stream. `full`: all callers together have too many. */
  admits(callerId: string): Admission {
    const own = [...this.#streams].filter(({ owner }) => owner.callerId === callerId).length;
    if (this.#isClosed || own >= MOST_STREAMS) return 'no';
    return this.#streams.size < MOST_ALL_STREAMS ? 'yes' : 'full';
  }

  /** @param lastSeen the ID of the last event that the client saw */
  add(response: ServerResponse, subscriber: ChangeSubscriber, lastSeen: string | undefined): void {
    const stream = new ChangeStream(response, subscriber);
    this.#streams.add(stream);
    this.#beginning.set(stream, lastSeen);
    response.on('close', () => {
      stream.stop();
      this.#streams.delete(stream);
      this.#beginning.delete(stream);
      if (this.#streams.size === 0) this.#stop();
    });
    if (this.#removeNotices === undefined)
      this.#removeNotices = this.notices.add({
        change: (notice) => this.#note(notice),
        connected: () => this.#connected(),
      });
    else if (this.#isConnected) this.#enqueue(() => this.#begin());
  }

  #connected(): void {
    // Those that were there before the connection broke may have missed something.
    const missed = [...this.#streams].filter((stream) => stream.isReady);
    this.#isConnected = true;
    this.#enqueue(async () => {
      if (missed.length > 0) {
        const cursor = toCursor(await this.source.readClock());
        for (const stream of missed) stream.reset(cursor);
      }
      await this.#begin();
    });
  }

  async #begin(): Promise<void> {
    const beginning = [...this.#beginning];
    if (beginning.length === 0) return;
    const now = await this.source.readClock();
    for (const [stream, lastSeen] of beginning) {
      const since = lastSeen === undefined ? undefined : parseCursor(lastSeen, now);
      if (lastSeen === undefined) stream.begin(toCursor(now));
      else await this.#resume(stream, since, toCursor(now));
      this.#beginning.delete(stream);
    }
  }

  async #resume(stream: ChangeStream, since: Date | undefined, cursor: string): Promise<void> {
    const missed: Change[] = [];
    for (const topic of since === undefined ? [] : stream.subscriber.topics)
      missed.push(...(await this.source.listSince(topic, new Date(since!.getTime() - OVERLAP_MS))));
    if (since === undefined || missed.length > MOST_CHANGES) {
      stream.reset(cursor);
      return;
    }
    // It may have waited for the database since its caller was checked.
    if ((await findEndedStreams([stream], this.source.findRevoked)).has(stream)) return stream.end();
    stream.begin(cursor);
    stream.show(new ChangeBatch(missed, cursor));
  }

  #note(notice: string): void {
    const [topic, id = ''] = notice.split(':');
    if (!CHANGE_TOPICS.includes(topic as ChangeTopic)) return;
    const ids = this.#noticed.get(topic as ChangeTopic) ?? new Set();
    this.#noticed.set(topic as ChangeTopic, ids.add(id));
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#enqueue(() => this.#tell());
    }, COLLECT_MS);
  }

  async #tell(): Promise<void> {
    const noticed = [...this.#noticed].map(([topic, ids]) => [topic, [...ids]] as const);
    this.#noticed.clear();
    const streams = [...this.#streams].filter((stream) => stream.isReady);
    if (streams.length === 0) return;
    // Read before the changes: a stream that resumes after this event misses nothing.
    const cursor = toCursor(await this.source.readClock());
    const changes: Change[] = [];
    const tooMany = noticed.some(([, ids]) => ids.length > MOST_CHANGES);
    if (!tooMany) for (const [topic, ids] of noticed) changes.push(...(await this.source.load(topic, ids)));
    // Read after the changes, so that nothing newer than a revocation is shown.
    const ended = await findEndedStreams(streams, this.source.findRevoked);
    const batch = new ChangeBatch(changes, cursor);
    for (const stream of streams) {
      if (ended.has(stream)) stream.end();
      else if (tooMany) stream.reset(cursor);
      else stream.show(batch);
    }
  }

  /** One after the other, so that events stay in their order. */
  #enqueue(work: () => Promise<void>): void {
    this.#working = this.#working.then(work).catch((error: unknown) => {
      // The clients connect again, and resume where they were.
      this.source.onError(error);
      for (const stream of this.#streams) stream.end();
    });
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#noticed.clear();
    this.#removeNotices?.();
    this.#removeNotices = undefined;
    this.#isConnected = false;
  }

  /** Ends all streams. */
  close(): void {
    this.#isClosed = true;
    for (const stream of this.#streams) stream.end();
    this.#stop();
  }
}

const toCursor = (time: Date): string => String(time.getTime());

/** @returns undefined where a stream cannot resume after this event */
function parseCursor(text: string, now: Date): Date | undefined {
  if (!/^\d{1,15}$/.test(text)) return undefined;
  const time = Number(text);
  return time > now.getTime() || time < now.getTime() - MOST_AGE_MS ? undefined : new Date(time);
}
