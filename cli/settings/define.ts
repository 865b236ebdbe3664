import { Type } from 'typebox';

/** Programs that read environment variables. `client` stands for all commands that call the API. */
export type Program =
  'api' | 'worker' | 'codec' | 'migrate' | 'promote' | 'reencrypt' | 'audit verify' | 'client' | 'local' | 'tests';

/** What every variable states about itself. The reference page shows all of it. */
export interface About {
  /** Complete sentences for the reference page, in Markdown. */
  description: string;
  readBy: readonly Program[];
  /** Whether the value must stay out of logs and version control. */
  isSecret?: boolean;
  /** A value that works, for the reference page. */
  example?: string;
  /** The default in words, for a variable whose default depends on something else. */
  defaultText?: string;
}

/** Extra statements about a text. */
export interface AboutText extends About {
  /** What a person must do when the variable is missing. Makes the variable required. */
  whenMissing?: string;
  /** What is wrong with a value that breaks the pattern or the check; continues the variable's name: "must be …". */
  problem?: string;
  pattern?: RegExp;
  /** A check that a pattern cannot express. */
  check?: (text: string) => boolean;
  minLength?: number;
}

/** A required text, or a text with a default. */
export function text<About extends AboutText & ({ default: string } | { whenMissing: string })>(about: About) {
  return textSchema(about);
}

/** A text that may be absent. */
export function optionalText(about: AboutText) {
  return Type.Optional(textSchema(about));
}

function textSchema({ pattern, check, ...rest }: AboutText) {
  const schema = Type.String({ ...rest, ...(pattern !== undefined && { pattern: pattern.source }) });
  return check === undefined ? schema : Type.Refine(schema, check);
}

/** A whole number. `unit` is a plural noun, such as `seconds`. */
export function integer(about: About & { default: number; minimum: number; maximum: number; unit?: string }) {
  return Type.Integer({ ...about });
}

/** A number that may have a fraction. `unit` is a plural noun, such as `calls per second`. */
export function decimal(about: About & { default: number; minimum: number; maximum: number; unit: string }) {
  return Type.Number({ ...about });
}

/** true or false, with a default. */
export function flag(about: About & { default: boolean }) {
  return Type.Boolean({ ...about });
}

/** true or false, or absent. */
export function optionalFlag(about: About) {
  return Type.Optional(Type.Boolean({ ...about }));
}

/** One of these words, in any case. */
export function choice<Word extends string>(words: readonly Word[], about: About & { default: Word }) {
  return Type.Unsafe<Word>({ type: 'string', enum: [...words], ...about });
}
