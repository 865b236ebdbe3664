import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { counted } from '../observability/metrics.js';
import { findRevokedKeys } from '../store/auth.js';
import { findEndedSessions } from '../store/authSessions.js';
import type { Db } from '../store/database.js';
import { ApiError } from './errors.js';

/** Interval of comments, in milliseconds. They keep proxies from closing a silent stream. */
const HEARTBEAT_MS = 15_000;
/** How long a stream lasts, in milliseconds. Then the client reconnects, and its key is checked again. */
const STREAM_MS = 300_000;
/** The most streams of one caller in this process, in each feed. */
export const MOST_STREAMS = 100;
/** The most streams of all callers in this process, in each feed. */
export const MOST_ALL_STREAMS = 2000;

/** Who follows a stream. It ends with the key and with the session. */
export interface StreamOwner {
  callerId: string;
  /** The session of the browser that follows; undefined for other clients. */
  sessionId: string | undefined;
  /** When the caller's key or session expires. */
  expires: Date | undefined;
}

/** One client's stream of server-sent events (HTML Standard, 9.2). */
export abstract class EventStream {
  /** Whether the client does not read what was written. Then nothing more may be written until it has. */
  protected isBlocked = false;
  readonly #timers: NodeJS.Timeout[];

  constructor(
    private readonly response: ServerResponse,
    readonly owner: StreamOwner,
  ) {
    response.on('drain', () => {
      this.isBlocked = false;
      this.continue();
    });
    const lastsMs = Math.max(0, Math.min(STREAM_MS, (owner.expires?.getTime() ?? Infinity) - Date.now()));
    this.#timers = [
      setInterval(() => this.write(': still there\n\n'), HEARTBEAT_MS),
      setTimeout(() => this.end(), lastsMs),
    ];
    for (const timer of this.#timers) timer.unref();
    this.write('retry: 2000\n\n');
  }

  /** Writes what waited while the client did not read. */
  protected abstract continue(): void;

  protected write(text: string | Uint8Array): void {
    if (this.response.writableEnded || this.response.destroyed) return;
    if (!this.response.write(text)) this.isBlocked = true;
  }

  /** Ends the stream. */
  end(): void {
    this.stop();
    if (!this.response.writableEnded) this.response.end();
  }

  /** Stops the timers of a stream whose client has gone. */
  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

/** Which of these callers' keys were revoked, and which of these sessions have ended. */
export type FindRevoked = (callerIds: string[], sessionIds: string[]) => Promise<ReadonlySet<string>>;

/** Looks into the database for keys that were revoked, and for sessions that have ended. */
export function findRevokedIn(db: Db): FindRevoked {
  return async (callerIds, sessionIds) =>
    new Set([...(await findRevokedKeys(db, callerIds)), ...(await findEndedSessions(db, sessionIds))]);
}

/** The streams whose key was revoked or whose session has ended. */
export async function findEndedStreams<S extends EventStream>(
  streams: readonly S[],
  findRevoked: FindRevoked,
): Promise<ReadonlySet<S>> {
  const callerIds = new Set(streams.map(({ owner }) => owner.callerId));
  const sessionIds = new Set(streams.flatMap(({ owner }) => owner.sessionId ?? []));
  const ended = await findRevoked([...callerIds], [...sessionIds]);
  return new Set(
    streams.filter(
      ({ owner: { callerId, sessionId } }) => ended.has(callerId) || (sessionId !== undefined && ended.has(sessionId)),
    ),
  );
}

/** Whether a caller may open another stream. `full`: all callers together have too many. */
export type Admission = 'yes' | 'no' | 'full';

/**
 * Begins the answer with a stream.
 * @param what the streams are of, such as `changes`
 * @param instead what the client can do where there are too many
 * @returns false for a HEAD request, whose answer is complete, and for a client that has gone
 * @throws ApiError 429 or 503 where there are too many streams
 */
export function beginEventStream(
  request: FastifyRequest,
  reply: FastifyReply,
  admission: Admission,
  { what, instead }: { what: string; instead: string },
): boolean {
  if (admission === 'full')
    throw new ApiError(
      503,
      'TOO_MANY_STREAMS',
      `polony already has as many open streams of ${what} as it can. ${instead} instead, or try again later`,
    );
  if (admission === 'no')
    throw new ApiError(
      429,
      'TOO_MANY_STREAMS',
      `This caller already has ${MOST_STREAMS} open streams of ${what}, the most it may have. Close one first`,
    );
  reply.hijack();
  // A response that has closed says so once. A stream that begins later would never end, and count for its caller.
  if (reply.raw.destroyed) return false;
  reply.raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': 'text/event-stream; charset=utf-8',
    'x-accel-buffering': 'no',
  });
  if (request.method === 'HEAD') {
    reply.raw.end();
    return false;
  }
  counted.openStreams.inc();
  reply.raw.once('close', () => counted.openStreams.dec());
  return true;
}
