import type { FieldProblem } from '../domain/errors.js';

/** A failure that is answered to a client as it stands. */
export class ApiError extends Error {
  /** @param metadata more for programs, beside the request id. */
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
export function notFound(kind: string, id: string): ApiError {
  return new ApiError(404, `${kind.toUpperCase().replaceAll(' ', '_')}_NOT_FOUND`, `There is no ${kind} ${id}`);
}
