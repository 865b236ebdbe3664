import { type FieldProblem, loggableError } from '../domain/errors.js';
import { withDeadline } from '../observability/deadline.js';

/** An error that the API sends to the client as it is. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /**
   * @param reason in UPPER_SNAKE_CASE, for programs.
   * @param metadata more for programs, besides the request id.
   * @param problems invalid fields. Each becomes a detail of its own.
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

/** How long a request waits for Temporal, in milliseconds. Its client would retry for much longer. */
const TEMPORAL_TIMEOUT_MS = 5000;

/** Waits for a call, by default to Temporal, for a limited time; see {@link withDeadline}. */
export function withTimeout<T>(call: Promise<T>, milliseconds = TEMPORAL_TIMEOUT_MS): Promise<T> {
  return withDeadline(call, milliseconds);
}

/** Waits for a call to Temporal that the response depends on. @throws ApiError 503 when Temporal is unavailable */
export async function withTemporalErrors<T>(
  log: { error: (data: object, message: string) => void },
  call: Promise<T>,
): Promise<T> {
  try {
    return await withTimeout(call);
  } catch (error) {
    log.error({ error: loggableError(error) }, 'Temporal is unavailable');
    throw new ApiError(
      503,
      'UNAVAILABLE',
      'polony cannot reach Temporal at the moment. Nothing is lost: try again later',
    );
  }
}
