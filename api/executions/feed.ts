import type { ServerResponse } from 'node:http';
import { EXECUTIONS_CHANNEL, listen } from '../../store/events.js';

/** An execution as a stream shows it. */
export interface FedExecution {
  /** Changes with it. */
  version: string;
  ended: boolean;
  /** In one line. */
  json: string;
}

/** Comments that keep proxies from closing a stream where nothing happens, in milliseconds. */
const HEARTBEAT_MS = 15_000;
/** How long a stream lasts; then the client connects anew, and is asked for its key anew. */
const STREAM_MS = 300_000;
/** Most streams of one caller in this process. */
export const MOST_STREAMS = 100;

class Stream {
  readonly callerId: string;
  readonly #response: ServerResponse;
  readonly #timers: NodeJS.Timeout[];
  #waiting: FedExecution | undefined;
  #blocked = false;
  #version: string | undefined;

  constructor(response: ServerResponse, callerId: string, known: string | undefined, lastsMs: number) {
    this.callerId = callerId;
    this.#response = response;
    this.#version = known;
    response.on('drain', () => {
      this.#blocked = false;
      if (this.#waiting !== undefined) this.show(this.#waiting);
    });
    this.#timers = [
      setInterval(() => this.#write(': still there\n\n'), HEARTBEAT_MS),
      setTimeout(() => this.end(), lastsMs),
    ];
    for (const timer of this.#timers) timer.unref();
    this.#write('retry: 2000\n\n');
  }

  /** Whoever reads slowly is shown what is latest then, so that nothing piles up. */
  show(execution: FedExecution): void {
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
 * Streams of executions: one connection to PostgreSQL listens for all of them, and only while there are any; an execution that has
 * changed is read once, however many look at it.
 */
export class ExecutionFeed {
  readonly #url: string;
  readonly #read: (id: string) => Promise<FedExecution | undefined>;
  readonly #revoked: (callerIds: string[]) => Promise<ReadonlySet<string>>;
  readonly #failed: (error: unknown) => void;
  readonly #streams = new Map<string, Set<Stream>>();
  readonly #callers = new Map<string, number>();
  /** Executions that are being read, and whether they have changed meanwhile. */
  readonly #reading = new Map<string, { again: boolean }>();
  #stopListening: (() => Promise<void>) | undefined;
  #closed = false;

  /** @param revoked which of these callers' keys were revoked since: they are shown nothing more */
  constructor(
    url: string,
    read: (id: string) => Promise<FedExecution | undefined>,
    revoked: (callerIds: string[]) => Promise<ReadonlySet<string>>,
    failed: (error: unknown) => void,
  ) {
    this.#url = url;
    this.#read = read;
    this.#revoked = revoked;
    this.#failed = failed;
  }

  /** Whether a caller may open another stream. */
  admits(callerId: string): boolean {
    return !this.#closed && (this.#callers.get(callerId) ?? 0) < MOST_STREAMS;
  }

  /**
   * Shows an execution, now and whenever it changes, until it has ended.
   * @param known the version that the client has seen, from `Last-Event-ID`
   * @param until when the caller's key ends
   */
  add(
    response: ServerResponse,
    id: string,
    callerId: string,
    known: string | undefined,
    until: Date | undefined,
  ): void {
    const stream = new Stream(
      response,
      callerId,
      known,
      Math.max(0, Math.min(STREAM_MS, (until?.getTime() ?? Infinity) - Date.now())),
    );
    const streams = this.#streams.get(id) ?? new Set();
    this.#streams.set(id, streams.add(stream));
    this.#callers.set(callerId, (this.#callers.get(callerId) ?? 0) + 1);
    response.on('close', () => {
      stream.stop();
      streams.delete(stream);
      if (streams.size === 0 && this.#streams.get(id) === streams) this.#streams.delete(id);
      const left = this.#callers.get(callerId)! - 1;
      if (left === 0) this.#callers.delete(callerId);
      else this.#callers.set(callerId, left);
      if (this.#streams.size === 0) this.#rest();
    });
    // What changes before the connection listens is seen when it does.
    this.#stopListening ??= listen(this.#url, { [EXECUTIONS_CHANNEL]: (changed) => this.#changed(changed) }, () => {
      for (const each of this.#streams.keys()) this.#changed(each);
    });
    this.#changed(id);
  }

  #rest(): void {
    void this.#stopListening?.();
    this.#stopListening = undefined;
  }

  #changed(id: string): void {
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
      const execution = await this.#read(id);
      // After it was read, so that what is later than a revocation is not shown.
      const revoked = await this.#revoked([
        ...new Set([...(this.#streams.get(id) ?? [])].map(({ callerId }) => callerId)),
      ]);
      for (const stream of this.#streams.get(id) ?? []) {
        if (execution === undefined || revoked.has(stream.callerId)) stream.end();
        else stream.show(execution);
      }
    } catch (error) {
      // The client connects anew and sees it then.
      this.#failed(error);
      for (const stream of this.#streams.get(id) ?? []) stream.end();
    } finally {
      const again = this.#reading.get(id)?.again === true;
      this.#reading.delete(id);
      if (again) this.#changed(id);
    }
  }

  /** Ends all streams. */
  close(): void {
    this.#closed = true;
    for (const streams of this.#streams.values()) for (const stream of streams) stream.end();
    this.#rest();
  }
}
