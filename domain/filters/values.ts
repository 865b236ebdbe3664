import { type FilterField, type FilterOperator, type FilterValue, filterError } from './filter.js';

/** A text of a filter. */
export interface FilterText {
  text: string;
  isQuoted: boolean;
  /** Where it begins, from 1. */
  column: number;
}

/** Where a value stands: it decides how to parse the value. */
export interface ValueContext {
  keyword: string;
  field: FilterField;
  operator: FilterOperator;
  now: Date;
}

/**
 * Parses a value.
 * @throws InputError with the column and the rule
 */
export function parseFilterValue(value: FilterText, { keyword, field, operator, now }: ValueContext): FilterValue {
  const { text, isQuoted, column } = value;
  if (text === '') throw filterError(column, 'FILTER_VALUE', `${keyword} has an empty value`);
  switch (field.kind) {
    case 'string':
      return { kind: 'string', text, exact: isQuoted };
    case 'date':
      return parseDate(value, operator, now);
    case 'boolean':
      if (/^(true|false)$/i.test(text)) return { kind: 'boolean', boolean: text.toLowerCase() === 'true' };
      throw filterError(column, 'FILTER_BOOLEAN', `${keyword} must be true or false, not ${JSON.stringify(text)}`);
    case 'number':
      if (/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$/.test(text) && Number.isFinite(Number(text)))
        return { kind: 'number', number: Number(text) };
      throw filterError(column, 'FILTER_NUMBER', `${keyword} needs a number, not ${JSON.stringify(text)}`);
    case 'enum':
      return parseEnum(value, keyword, field);
  }
}

function parseEnum(
  { text, column }: FilterText,
  keyword: string,
  { values, prefix }: FilterField & { kind: 'enum' },
): FilterValue {
  const upper = text.toUpperCase();
  const short = prefix !== undefined && upper.startsWith(prefix) ? upper.slice(prefix.length) : upper;
  const value = values.find((each) => each.toUpperCase() === short);
  if (value !== undefined) return { kind: 'enum', text: value };
  const choices = values.map((each) => each.toLowerCase()).join(', ');
  throw filterError(column, 'FILTER_ENUM', `${keyword} must be one of ${choices}, not ${JSON.stringify(text)}`);
}

/** Sets a date back by a number of units. */
const UNITS: Record<string, (date: Date, count: number) => void> = {
  m: (date, count) => date.setTime(date.getTime() - count * 60_000),
  h: (date, count) => date.setTime(date.getTime() - count * 3_600_000),
  d: (date, count) => date.setTime(date.getTime() - count * 86_400_000),
  w: (date, count) => date.setTime(date.getTime() - count * 7 * 86_400_000),
  mo: (date, count) => {
    const day = date.getUTCDate();
    date.setUTCMonth(date.getUTCMonth() - count);
    // A month before the 31st is the last day of the month before, but JavaScript makes it the first of this month.
    if (date.getUTCDate() !== day) date.setUTCDate(0);
  },
  y: (date, count) => UNITS.mo!(date, count * 12),
};
/** Length of a moment, in milliseconds: the resolution of times in polony. */
const MOMENT = 1;
const DAY = 86_400_000;
/** The earliest time that a relative date can name. PostgreSQL has no times before 4713 BC. */
const EARLIEST = new Date('0001-01-01T00:00:00Z');

function parseDate(value: FilterText, operator: FilterOperator, now: Date): FilterValue {
  const relative = /^(\d{1,5})(mo|[mhdwy])$/.exec(value.text);
  return relative === null
    ? parseAbsoluteDate(value)
    : parseRelativeDate(value, Number(relative[1]), relative[2]!, operator, now);
}

function parseRelativeDate(
  { text, column }: FilterText,
  count: number,
  unit: string,
  operator: FilterOperator,
  now: Date,
): FilterValue {
  if (operator === ':' || operator === '!=')
    throw filterError(
      column,
      'FILTER_DATE',
      `${text} is a time in the past. Compare it with >=, <=, > or <, such as >=${text} for the last ${text}.`,
    );
  const counted = new Date(now);
  UNITS[unit]!(counted, count);
  const date = counted < EARLIEST ? EARLIEST : counted;
  return { kind: 'date', from: date, until: new Date(date.getTime() + MOMENT) };
}

function parseAbsoluteDate({ text, column }: FilterText): FilterValue {
  const isDay = /^(\d{4})-(\d{2})-(\d{2})$/.test(text);
  const moment = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?$/.exec(text);
  // A time without a zone is UTC, like all times in answers.
  const from = new Date(isDay || moment?.[3] !== undefined ? text : `${text}Z`);
  if ((!isDay && moment === null) || Number.isNaN(from.getTime()) || !isCalendarDay(text.slice(0, 10)))
    throw filterError(
      column,
      'FILTER_DATE',
      `${JSON.stringify(text)} is not a date. ` +
        'Write 2026-01-31, 2026-01-31T12:00:00Z, or a time in the past such as 24h, 7d or 1mo.',
    );
  return { kind: 'date', from, until: new Date(from.getTime() + (isDay ? DAY : MOMENT)) };
}

/** Whether a day exists: JavaScript takes February 30 for a day in March. */
function isCalendarDay(day: string): boolean {
  const midnight = new Date(day);
  return !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(day);
}
