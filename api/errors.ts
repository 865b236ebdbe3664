import type { FieldProblem } from '../domain/errors.js';

/** A failure that is answered to a client as it stands. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /**
   * @param reason in UPPER_SNAKE_CASE, for programs.
   * @param metadata more for programs, beside the request id.
   * @param problems fields that break a rule; each becomes a detail of its own.
   */
  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
    readonly metadata: Record<string, unknown> = {},
    readonly problems: readonly FieldProblem[] = [],
  ) {
    super(message);
  }
}

/** A resource that does not exist; `kind` as in `storage connection`. */
export function notFoundError(kind: string, id: string): ApiError {
  return new ApiError(
    404,
    `${kind.toUpperCase().replaceAll(' ', '_')}_NOT_FOUND`,
    `There is no ${kind} ${id.slice(0, 100)}`,
  );
}

/** Longest time that a request waits for Temporal, whose client would go on trying for long. */
const TEMPORAL_TIMEOUT_MS = 5000;

/**
 * A call bounded in time.
 * @throws Error when it takes longer; the call itself may still succeed, which is harmless since all that are bounded here can be repeated.
 */
export async function withTimeout<T>(call: Promise<T>, milliseconds = TEMPORAL_TIMEOUT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  // When the time is up first, the call's own failure has nobody left who waits for it.
  call.catch(() => undefined);
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([call, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** A call to Temporal that the answer depends on. @throws ApiError 503 when Temporal cannot be reached. */
export async function withTemporalErrors<T>(
  log: { error: (data: object, message: string) => void },
  call: Promise<T>,
): Promise<T> {
  try {
    return await withTimeout(call);
  } catch (error) {
    log.error({ error: loggableError(error) }, 'Temporal is out of reach');
    throw new ApiError(503, 'UNAVAILABLE', 'Temporal cannot be reached at the moment; nothing is lost, try again');
  }
}

/** What is safe to log of anything thrown: an error of PostgreSQL carries whole rows in its `detail`, external IDs among them. */
export function loggableError(error: unknown): { type: string; code?: unknown; message: string; stack?: string } {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error) };
  return { type: error.name, code: (error as { code?: unknown }).code, message: error.message, stack: error.stack };
}
