import type { ServerResponse } from 'node:http';
import type { Notices } from '../notices.js';

/** An execution as its streams show it. */
export interface StreamedExecution {
  /** Changes whenever the execution does. Clients send the last one that they saw as `Last-Event-ID`. */
  version: string;
  ended: boolean;
  /** The data of the event, on one line. */
  json: string;
}

/** Where the feed reads, and whom it tells of failures. */
export interface FeedSource {
  read: (id: string) => Promise<StreamedExecution | undefined>;
  /** Which of these callers' keys were revoked, and which of these sessions ended: their streams end. */
  findRevoked: (callerIds: string[], sessionIds: string[]) => Promise<ReadonlySet<string>>;
  onError: (error: unknown) => void;
}

/** A client that follows an execution. */
export interface Subscriber {
  /** The execution. */
  id: string;
  callerId: string;
  /** The session of the browser that follows; undefined for other clients. */
  sessionId: string | undefined;
  /** The version in `Last-Event-ID`. */
  lastSeen: string | undefined;
  /** When the caller's key or session expires. */
  expires: Date | undefined;
}

/** Interval of comments, in milliseconds. They keep proxies from closing a silent stream. */
const HEARTBEAT_MS = 15_000;
/** How long a stream lasts, in milliseconds. Then the client reconnects, and its key is checked again. */
const STREAM_MS = 300_000;
/** The most streams of one caller in this process. */
export const MOST_STREAMS = 100;
/** The most streams of all callers in this process. */
const MOST_ALL_STREAMS = 2000;

class Stream {
  readonly callerId: string;
  readonly sessionId: string | undefined;
  readonly #response: ServerResponse;
  readonly #timers: NodeJS.Timeout[];
  #waiting: StreamedExecution | undefined;
  #blocked = false;
  #version: string | undefined;

  constructor(response: ServerResponse, { callerId, sessionId, lastSeen, expires }: Subscriber) {
    this.callerId = callerId;
    this.sessionId = sessionId;
    this.#response = response;
    this.#version = lastSeen;
    response.on('drain', () => {
      this.#blocked = false;
      if (this.#waiting !== undefined) this.show(this.#waiting);
    });
    const lastsMs = Math.max(0, Math.min(STREAM_MS, (expires?.getTime() ?? Infinity) - Date.now()));
    this.#timers = [
      setInterval(() => this.#write(': still there\n\n'), HEARTBEAT_MS),
      setTimeout(() => this.end(), lastsMs),
    ];
    for (const timer of this.#timers) timer.unref();
    this.#write('retry: 2000\n\n');
  }

  /** A client that reads slowly skips to the latest state, so that nothing piles up in memory. */
  show(execution: StreamedExecution): void {
    if (this.#blocked) {
      this.#waiting = execution;
      return;
    }
    this.#waiting = undefined;
    if (execution.version !== this.#version) {
      this.#version = execution.version;
      this.#write(`event: execution\nid: ${execution.version}\ndata: ${execution.json}\n\n`);
    }
    if (execution.ended) this.end();
  }

  #write(text: string): void {
    if (this.#response.writableEnded || this.#response.destroyed) return;
    if (!this.#response.write(text)) this.#blocked = true;
  }

  end(): void {
    this.stop();
    if (!this.#response.writableEnded) this.#response.end();
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

/**
 * Streams of executions. The connection that listens is open only while there is a stream. An
 * execution that has changed is read once, however many streams show it.
 */
export class ExecutionFeed {
  readonly #notices: Notices;
  readonly #source: FeedSource;
  readonly #streams = new Map<string, Set<Stream>>();
  readonly #streamsOfCaller = new Map<string, number>();
  /** Executions that are being read, and whether they changed meanwhile. */
  readonly #reading = new Map<string, { again: boolean }>();
  #stopListening: (() => void) | undefined;
  #closed = false;
  readonly #mostStreams: number;

  /**
   * @param notices tell which executions have changed
   * @param mostStreams of all callers together
   */
  constructor(notices: Notices, source: FeedSource, mostStreams = MOST_ALL_STREAMS) {
    this.#mostStreams = mostStreams;
    this.#notices = notices;
    this.#source = source;
  }

  /** Whether a caller may open another stream. `full`: all callers together have too many. */
  admits(callerId: string): 'yes' | 'no' | 'full' {
    if (this.#closed || (this.#streamsOfCaller.get(callerId) ?? 0) >= MOST_STREAMS) return 'no';
    const all = [...this.#streamsOfCaller.values()].reduce((sum, count) => sum + count, 0);
    return all < this.#mostStreams ? 'yes' : 'full';
  }

  /** Shows an execution, now and whenever it changes, until it ends. */
  add(response: ServerResponse, subscriber: Subscriber): void {
    const { id, callerId } = subscriber;
    const stream = new Stream(response, subscriber);
    const streams = this.#streams.get(id) ?? new Set();
    this.#streams.set(id, streams.add(stream));
    this.#streamsOfCaller.set(callerId, (this.#streamsOfCaller.get(callerId) ?? 0) + 1);
    response.on('close', () => {
      stream.stop();
      streams.delete(stream);
      if (streams.size === 0 && this.#streams.get(id) === streams) this.#streams.delete(id);
      this.#countClosed(callerId);
      if (this.#streams.size === 0) this.#stop();
    });
    // A change before the connection listens shows when it does: then every execution is read.
    this.#stopListening ??= this.#notices.add({
      execution: (changed) => this.#refresh(changed),
      connected: () => {
        for (const each of this.#streams.keys()) this.#refresh(each);
      },
    });
    this.#refresh(id);
  }

  #countClosed(callerId: string): void {
    const left = this.#streamsOfCaller.get(callerId)! - 1;
    if (left === 0) this.#streamsOfCaller.delete(callerId);
    else this.#streamsOfCaller.set(callerId, left);
  }

  #stop(): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
  }

  /** Reads an execution for its streams; if it is being read, it is read once more after that. */
  #refresh(id: string): void {
    if (!this.#streams.has(id)) return;
    const reading = this.#reading.get(id);
    if (reading !== undefined) {
      reading.again = true;
      return;
    }
    this.#reading.set(id, { again: false });
    void this.#show(id);
  }

  async #show(id: string): Promise<void> {
    try {
      const execution = await this.#source.read(id);
      // Read after the execution, so that nothing newer than a revocation is shown.
      const streams = [...(this.#streams.get(id) ?? [])];
      const callerIds = new Set(streams.map(({ callerId }) => callerId));
      const sessionIds = new Set(streams.flatMap(({ sessionId }) => sessionId ?? []));
      const ended = await this.#source.findRevoked([...callerIds], [...sessionIds]);
      // Those that began meanwhile were not asked about. They wait for the next reading.
      for (const stream of streams) {
        const hasEnded = ended.has(stream.callerId) || (stream.sessionId !== undefined && ended.has(stream.sessionId));
        if (execution === undefined || hasEnded) stream.end();
        else stream.show(execution);
      }
    } catch (error) {
      // The clients reconnect, and see the execution then.
      this.#source.onError(error);
      for (const stream of this.#streams.get(id) ?? []) stream.end();
    } finally {
      const again = this.#reading.get(id)?.again === true;
      this.#reading.delete(id);
      if (again) this.#refresh(id);
    }
  }

  /** Ends all streams. */
  close(): void {
    this.#closed = true;
    for (const streams of this.#streams.values()) for (const stream of streams) stream.end();
    this.#stop();
  }
}
