/** A problem of an input: the field, the rule that it breaks, and a sentence that explains it. */
export interface FieldProblem {
  /** Dotted name of the field as the API spells it, for example `bucket`. */
  field: string;
  /** Name of the rule in UPPER_SNAKE_CASE, for example `BUCKET_HAS_SCHEME`. */
  rule: string;
  message: string;
}

/** Invalid input: one or more fields break a rule. The API answers 400 with all problems. */
export class InputError extends Error {
  override readonly name = 'InputError';
  constructor(readonly problems: readonly FieldProblem[]) {
    super(problems.map((problem) => `${problem.field}: ${problem.message}`).join('; '));
  }
}

/** polony cannot parse a file of an instrument or of Bases2Fastq. Lines and columns count from 1. */
export class FileFormatError extends Error {
  override readonly name = 'FileFormatError';
  constructor(
    readonly file: string,
    message: string,
    readonly line?: number,
    readonly column?: number,
  ) {
    const place = line === undefined ? '' : ` line ${line}${column === undefined ? '' : ` column ${column}`}`;
    super(`${file}${place}: ${message}`);
  }
}

/** Throws an {@link InputError} when there is at least one problem. */
export function throwIfInvalid(problems: readonly FieldProblem[]): void {
  if (problems.length > 0) throw new InputError(problems);
}

/** The message of any thrown value. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What a log says of an error, and of the errors that caused it. */
export interface LoggableError {
  type: string;
  code?: unknown;
  message: string;
  stack?: string;
  cause?: LoggableError;
}

/** How many causes below an error a log shows. */
const CAUSES = 5;

/**
 * What is safe to log of an error. Errors of PostgreSQL have whole rows in their `detail`, with external IDs for
 * example.
 */
export function loggableError(error: unknown, causes = CAUSES): LoggableError {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error) };
  const { code, cause } = error as { code?: unknown; cause?: unknown };
  return {
    type: error.name,
    ...(code !== undefined && { code }),
    message: error.message,
    ...(error.stack !== undefined && { stack: error.stack }),
    ...(cause instanceof Error && causes > 0 && { cause: loggableError(cause, causes - 1) }),
  };
}
