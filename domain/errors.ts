/** One thing that is wrong with what a person gave: the field, the rule that it breaks, and the sentence that says so. */
export interface FieldProblem {
  /** Dotted name of the field as the API spells it, for example `bucket`. */
  field: string;
  /** Name of the rule in UPPER_SNAKE_CASE, for example `BUCKET_HAS_SCHEME`. */
  rule: string;
  message: string;
}

/** Bad input: one or more fields break a rule. The API answers 400 with all of them. */
export class InputError extends Error {
  override readonly name = 'InputError';
  constructor(readonly problems: readonly FieldProblem[]) {
    super(problems.map((problem) => `${problem.field}: ${problem.message}`).join('; '));
  }
}

/** A file that an instrument or Bases2Fastq wrote cannot be read; `line` and `column` are 1-based where known. */
export class FileFormatError extends Error {
  override readonly name = 'FileFormatError';
  constructor(
    readonly file: string,
    message: string,
    readonly line?: number,
    readonly column?: number,
  ) {
    super(
      `${file}${line === undefined ? '' : ` line ${line}${column === undefined ? '' : ` column ${column}`}`}: ${message}`,
    );
  }
}

/** Throws an {@link InputError} when there is at least one problem. */
export function throwIfInvalid(problems: readonly FieldProblem[]): void {
  if (problems.length > 0) throw new InputError(problems);
}

/** The message of anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
