import { once } from 'node:events';
import Table from 'cli-table3';

/** A column of a table. */
export interface Column {
  heading: string;
  /** Path of the value: names of members, separated by dots. */
  path: string;
  /** Writes the value for people; without it, {@link cell} does. */
  format?: (value: unknown) => string;
}

/** Creates a column; `flow.name` gets the heading `FLOW NAME`. */
export function column(
  path: string,
  heading = path
    .replace(/^.*\.\d+\./, '')
    .replace(/(?<=[a-z0-9])[A-Z]/g, ' $&')
    .replaceAll('.', ' ')
    .toUpperCase(),
  format?: (value: unknown) => string,
): Column {
  return { heading, path, ...(format !== undefined && { format }) };
}

function valueAt(row: unknown, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>(
      (value, name) =>
        typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined,
      row,
    );
}

/** Formats a value on one line, without control characters that a terminal would obey. `RUN_STATUS_X` becomes `X`. */
export function cell(value: unknown): string {
  if (value === undefined || value === null) return '';
  const text =
    typeof value === 'string'
      ? value
      : typeof value === 'number' || typeof value === 'boolean'
        ? String(value)
        : Array.isArray(value) && value.every((each) => typeof each !== 'object')
          ? value.join(', ')
          : JSON.stringify(value);
  return text.replace(/^[A-Z]+(?:_[A-Z]+)?_STATUS_(?=[A-Z]+$)/, '').replace(/[\p{Cc}\p{Cf}]/gu, ' ');
}

/** Removes control characters that a terminal would obey from a text with several lines. */
export function lines(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (sign) => (sign === '\n' || sign === '\t' ? sign : ' '));
}

/**
 * Writes a value as JSON. Characters that a terminal would obey or hide (C1 controls, directions of text, line
 * separators) are escaped, which means the same to programs.
 */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(/[\u007f-\u009f\u2028\u2029\p{Cf}]/gu, (sign) =>
    Array.from({ length: sign.length }, (_, at) => `\\u${sign.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** Writes to standard output and waits for a slow reader: a list may be larger than memory. */
export async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

const PLAIN = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
  ].map((name) => [name, '']),
);

function render(rows: string[][], head: string[] | undefined): string {
  const table = new Table({
    chars: { ...PLAIN, middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    ...(head !== undefined && { head }),
  });
  table.push(...rows);
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** Formats a list as a table. */
export function listTable(rows: readonly unknown[], columns: readonly Column[], headings: boolean): string {
  if (rows.length === 0) return headings ? 'None.' : '';
  return render(
    rows.map((row) => columns.map(({ path, format = cell }) => cell(format(valueAt(row, path))))),
    headings ? columns.map(({ heading }) => heading) : undefined,
  );
}

/** Most members of an array that a table shows. */
const MAX_SHOWN = 50;

/** Formats one resource as a table of names and values; `a.b` names a member of a member. */
export function thingTable(thing: unknown): string {
  const rows: string[][] = [];
  const walk = (value: unknown, name: string): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      for (const [key, member] of Object.entries(value)) walk(member, name === '' ? key : `${name}.${key}`);
    else if (Array.isArray(value) && value.some((each) => typeof each === 'object')) {
      value.slice(0, MAX_SHOWN).forEach((each, at) => walk(each, `${name}[${at}]`));
      if (value.length > MAX_SHOWN) rows.push([`${name}[…]`, `${value.length - MAX_SHOWN} more; --json shows all`]);
    } else if (cell(value) !== '') rows.push([name, cell(value)]);
  };
  walk(thing, '');
  return rows.length === 0 ? 'Done.' : render(rows, undefined);
}

/** Prints JSON for programs, or a text for people. */
export function print(json: boolean, value: unknown, forPeople: () => string): void {
  const text = json ? jsonText(value, 2) : forPeople();
  if (text !== '') process.stdout.write(`${text}\n`);
}
