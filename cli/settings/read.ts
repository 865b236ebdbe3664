import { readFileSync } from 'node:fs';
import type { TProperties, TSchema } from 'typebox';
import Value from 'typebox/value';
import type { FieldProblem } from '../../domain/errors.js';
import type { Parsed } from './formats.js';
import type { AboutText } from './define.js';
import type { SettingsOf } from './schema.js';

/** The environment, in the form of `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The members of a variable's schema that parsing needs. */
type SettingSchema = TSchema &
  Pick<AboutText, 'whenMissing' | 'problem' | 'minLength'> & {
    type: 'string' | 'integer' | 'number' | 'boolean';
    enum?: readonly string[];
    default?: unknown;
    minimum?: number;
    maximum?: number;
    unit?: string;
  };

/**
 * Reads variables against their schemas. Keeps every problem under the variable's name and repeats no value, because
 * some values are secrets.
 */
export class SettingsReader {
  readonly problems: FieldProblem[] = [];

  constructor(private readonly env: Environment) {}

  /** Whether the environment sets a variable. An empty value counts as not set, as in a compose file. */
  has(name: string): boolean {
    return this.text(name) !== undefined;
  }

  /** The text of a variable, or of the file that `<name>_FILE` names; undefined where it is not set. */
  value(name: string): string | undefined {
    return this.text(name);
  }

  report(field: string, rule: string, message: string): void {
    this.problems.push({ field, rule, message });
  }

  /** Reports that a variable is missing, and what to do. */
  reportMissing(name: string, whatToDo: string): void {
    this.report(name, 'REQUIRED', `is not set: ${whatToDo}`);
  }

  /**
   * Reads all variables of a group. A variable with a problem has its default or an empty text in the answer, so that
   * the caller can check the other variables before it throws.
   */
  readAll<Group extends TProperties>(group: Group): SettingsOf<Group> {
    const values = Object.entries(group).map(([name, schema]) => [name, this.readOne(name, schema as SettingSchema)]);
    return Object.fromEntries(values) as SettingsOf<Group>;
  }

  /** Parses a text that has a format of its own; undefined when the text is absent or wrong. */
  decode<Decoded>(name: string, text: string | undefined, parse: (text: string) => Parsed<Decoded>) {
    if (text === undefined) return undefined;
    const parsed = parse(text);
    if ('value' in parsed) return parsed.value;
    for (const { rule, message } of parsed.violations) this.report(name, rule, message);
    return undefined;
  }

  /** The value of a variable, or the content of the file that `<name>_FILE` names: a container engine mounts secrets. */
  private text(name: string): string | undefined {
    const value = this.env[name]?.trim() || undefined;
    const file = this.env[`${name}_FILE`]?.trim() || undefined;
    if (file === undefined) return value;
    if (value === undefined) return this.readFile(`${name}_FILE`, file);
    this.reportOnce(`${name}_FILE`, 'CONFLICT', `cannot be set together with ${name}. Remove one of them.`);
    return value;
  }

  private readFile(name: string, file: string): string | undefined {
    try {
      return readFileSync(file, 'utf8').trim() || undefined;
    } catch (error) {
      const { code } = error as { code?: unknown };
      this.reportOnce(name, 'FILE', `names a file that cannot be read (${String(code)}). Check its path and mode.`);
      return undefined;
    }
  }

  private reportOnce(field: string, rule: string, message: string): void {
    if (!this.problems.some((problem) => problem.field === field)) this.report(field, rule, message);
  }

  private readOne(name: string, schema: SettingSchema): unknown {
    const text = this.text(name);
    if (text === undefined) {
      if (schema.whenMissing !== undefined) this.reportMissing(name, schema.whenMissing);
      return schema.whenMissing === undefined ? schema.default : '';
    }
    const value = convert(text, schema);
    const keywords = new Set(Value.Errors(schema, value).map(({ keyword }) => keyword));
    if (keywords.size === 0) return value;
    const { rule, message } = violationOf(schema, keywords);
    this.report(name, rule, message);
    return schema.default;
  }
}

const TRUE = ['true', '1', 'yes', 'on'];
const FALSE = ['false', '0', 'no', 'off'];

/** Turns a text into the type that the schema expects; leaves a text that does not have the form of that type. */
function convert(text: string, schema: SettingSchema): unknown {
  switch (schema.type) {
    case 'integer':
      return /^\d{1,9}$/.test(text) ? Number(text) : text;
    case 'number':
      return /^\d{1,9}(\.\d{1,9})?$/.test(text) ? Number(text) : text;
    case 'boolean':
      if (TRUE.includes(text.toLowerCase())) return true;
      return FALSE.includes(text.toLowerCase()) ? false : text;
    case 'string':
      return schema.enum === undefined ? text : text.toLowerCase();
  }
}

function violationOf(schema: SettingSchema, keywords: ReadonlySet<string>): { rule: string; message: string } {
  const { minimum, maximum, unit } = schema;
  const ofUnit = unit === undefined ? '' : ` of ${unit}`;
  const range = `${ofUnit} from ${minimum} to ${maximum}`;
  const useDefault = `Remove it to use ${String(schema.default)}.`;
  if (schema.type === 'integer') return { rule: 'INTEGER', message: `must be a whole number${range}. ${useDefault}` };
  if (schema.type === 'number')
    return { rule: 'NUMBER', message: `must be a number${range}, such as 0.5. ${useDefault}` };
  if (schema.type === 'boolean') return { rule: 'BOOLEAN', message: 'must be true or false' };
  if (schema.enum !== undefined) return { rule: 'ONE_OF', message: `must be one of ${schema.enum.join(', ')}` };
  if (keywords.has('pattern') || !keywords.has('minLength'))
    return { rule: 'FORMAT', message: schema.problem ?? 'has the wrong format' };
  return { rule: 'LENGTH', message: `must have at least ${schema.minLength} characters` };
}
