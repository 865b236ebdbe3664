import { cell } from './output.js';

/** Exit codes of the client's commands, for scripts (docs/reference/cli.md). */
export const EXIT = {
  ok: 0,
  failed: 1,
  /** Flags or input are invalid, also when the API says so. */
  usage: 2,
  notFound: 3,
  /** The key is missing, invalid or lacks a scope, or AWS denies access. */
  denied: 4,
  /** The watched execution failed. */
  executionFailed: 5,
  executionCanceled: 6,
  /** The API cannot be reached, is overloaded, or asks to retry later. */
  unavailable: 7,
  /** The current state does not allow the request. */
  conflict: 8,
  /** Ended by a signal: 128 plus its number, as shells report it. */
  interrupted: 130,
  terminated: 143,
} as const;
export type Exit = (typeof EXIT)[keyof typeof EXIT];

/** The part of an error answer that is for programs. */
interface ErrorAnswer {
  /** Such as RUN_COMPLETE. */
  reason?: unknown;
  metadata?: Record<string, unknown>;
}

/** A failure that the command prints in one line before it exits with a code. */
export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(
    message: string,
    readonly exit: Exit = EXIT.failed,
    /** What the API says to programs. */
    readonly answer?: ErrorAnswer,
  ) {
    super(message);
  }
}

function exitForStatus(status: number): Exit {
  switch (status) {
    case 400:
    case 413:
    case 422:
      return EXIT.usage;
    case 401:
    case 403:
      return EXIT.denied;
    case 404:
      return EXIT.notFound;
    case 409:
      return EXIT.conflict;
    case 429:
      return EXIT.unavailable;
    default:
      return status >= 502 ? EXIT.unavailable : EXIT.failed;
  }
}

/**
 * The error for an error answer of the API.
 * @param body of the answer, in the contract's shape
 * @param keyFrom where the key comes from: it may not be the one that the user means
 */
export function answeredError(
  response: Pick<Response, 'status' | 'headers'>,
  body: unknown,
  { keyFrom }: { keyFrom?: string },
): CliError {
  const { status } = response;
  if (status >= 300 && status < 400) {
    const location = cell(response.headers.get('location') ?? 'another address');
    return new CliError(
      `The API redirects to ${location}. The key is not sent there; if that is polony's address, use it as --api-url`,
      EXIT.usage,
    );
  }
  const { message, details } = (typeof body === 'object' && body !== null ? body : {}) as {
    message?: unknown;
    details?: ErrorAnswer[];
  };
  const answer = details?.[0];
  const requestId = answer?.metadata?.request_id;
  const text = typeof message === 'string' ? cell(message) : `The API answered ${status}`;
  const addition =
    status >= 500 && typeof requestId === 'string'
      ? ` (request ${cell(requestId)})`
      : status === 401 && keyFrom !== undefined
        ? ` (the key is from ${cell(keyFrom)})`
        : '';
  return new CliError(`${text}${addition}`, exitForStatus(status), answer);
}

/** Turns a network failure of `fetch` into a CliError; returns other errors unchanged. */
export function unreachable(url: string, error: unknown): unknown {
  // Only network failures have a cause.
  if (!(error instanceof TypeError) || error.cause === undefined) return error;
  const cause = error.cause as { code?: string; message?: string };
  const reason = cell(cause.code ?? cause.message ?? error.message);
  return new CliError(`${url} cannot be reached (${reason}); ${adviceFor(reason)}`, EXIT.unavailable);
}

/** What to do about a connection that fails. @param reason a code of Node.js or OpenSSL */
function adviceFor(reason: string): string {
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/.test(reason))
    return 'the API does not speak TLS there: use http://';
  if (reason === 'CERT_HAS_EXPIRED') return 'the certificate of the API has expired: renew it';
  if (reason === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return 'the certificate of the API is for another address: use that one';
  if (reason === 'CERT_NOT_YET_VALID') return 'the certificate of the API is not valid yet: check the clock';
  if (/SELF_SIGNED_CERT|UNABLE_TO_(VERIFY_LEAF|GET_ISSUER)|^CERT_UNTRUSTED$/.test(reason))
    return 'its certificate is not trusted here: name a file with the certificates to trust in NODE_EXTRA_CA_CERTS';
  return 'check the address and that the API runs';
}
