import type { ServerResponse } from 'node:http';
import {
  type Admission,
  EventStream,
  findEndedStreams,
  type FindRevoked,
  MOST_ALL_STREAMS,
  MOST_STREAMS,
  type StreamOwner,
} from '../eventStreams.js';
import type { Notices } from '../notices.js';

/** An execution as its streams show it. */
export interface StreamedExecution {
  /** Changes whenever the execution does. Clients send the last one that they saw as `Last-Event-ID`. */
  version: string;
  ended: boolean;
  /** The data of the event, on one line. */
  json: string;
}

/** Where the feed reads, and who hears of its failures. */
export interface FeedSource {
  read: (id: string) => Promise<StreamedExecution | undefined>;
  /** Their streams end. */
  findRevoked: FindRevoked;
  onError: (error: unknown) => void;
}

/** A client that follows an execution. */
export interface Subscriber extends StreamOwner {
  /** The execution. */
  id: string;
  /** The version in `Last-Event-ID`. */
  lastSeen: string | undefined;
}

class Stream extends EventStream {
  #waiting: StreamedExecution | undefined;
  #version: string | undefined;

  constructor(response: ServerResponse, { lastSeen, ...owner }: Subscriber) {
    super(response, owner);
    this.#version = lastSeen;
  }

  /** A client that reads slowly skips to the latest state, so that nothing piles up in memory. */
  show(execution: StreamedExecution): void {
    if (this.isBlocked) {
      this.#waiting = execution;
      return;
    }
    this.#waiting = undefined;
    if (execution.version !== this.#version) {
      this.#version = execution.version;
      this.write(`event: execution\nid: ${execution.version}\ndata: ${execution.json}\n\n`);
    }
    if (execution.ended) this.end();
  }

  protected override continue(): void {
    if (this.#waiting !== undefined) this.show(this.#waiting);
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
  admits(callerId: string): Admission {
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
      const ended = await findEndedStreams(streams, this.#source.findRevoked);
      // Those that began meanwhile were not asked about. They wait for the next reading.
      for (const stream of streams) {
        if (execution === undefined || ended.has(stream)) stream.end();
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
