import { cell } from './output.js';

/** Exit codes of the client's commands, for scripts. */
export const EXIT = {
  ok: 0,
  failed: 1,
  /** Flags or input that are not valid, also where the API says so. */
  usage: 2,
  notFound: 3,
  /** No or no valid key, a scope that lacks, or AWS that does not allow it. */
  denied: 4,
  /** What was watched has failed. */
  executionFailed: 5,
  executionCanceled: 6,
  /** The API is out of reach, overloaded, or asks to come later. */
  unavailable: 7,
  /** The state of things does not allow it. */
  conflict: 8,
  /** Told to stop: 128 and the number of the signal, as a shell says it. */
  interrupted: 130,
  terminated: 143,
} as const;
export type Exit = (typeof EXIT)[keyof typeof EXIT];

/** A failure that is told in one line and ends the command with a code. */
export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(
    message: string,
    readonly exit: Exit = EXIT.failed,
  ) {
    super(message);
  }
}

/** What the API has answered in place of what was asked for. */
export function answeredError(response: Pick<Response, 'status' | 'headers'>, body: unknown): CliError {
  const { status } = response;
  if (status >= 300 && status < 400)
    return new CliError(
      `The address of the API leads on to ${cell(response.headers.get('location') ?? 'another')}; the key is not carried there: give that address, if it is polony's`,
      EXIT.usage,
    );
  const { message, details } = (typeof body === 'object' && body !== null ? body : {}) as {
    message?: unknown;
    details?: { metadata?: { request_id?: unknown } }[];
  };
  const requestId = details?.[0]?.metadata?.request_id;
  const text = typeof message === 'string' ? cell(message) : `The API has answered ${status}`;
  const exit =
    status === 400 || status === 413 || status === 422
      ? EXIT.usage
      : status === 401 || status === 403
        ? EXIT.denied
        : status === 404
          ? EXIT.notFound
          : status === 409
            ? EXIT.conflict
            : status === 429 || status >= 502
              ? EXIT.unavailable
              : EXIT.failed;
  return new CliError(status >= 500 && typeof requestId === 'string' ? `${text} (request ${requestId})` : text, exit);
}

/** What `fetch` throws where no answer came. */
export function unreachable(url: string, error: unknown): unknown {
  // Only what came of the network has a cause.
  if (!(error instanceof TypeError) || error.cause === undefined) return error;
  const cause = error.cause as { code?: string; message?: string };
  return new CliError(
    `${url} cannot be reached (${cell(cause.code ?? cause.message ?? error.message)}); check the address and that the API runs`,
    EXIT.unavailable,
  );
}
