import { InputError } from './errors.js';

/** How the values of a keyword are compared. */
export type FilterKind = 'string' | 'enum' | 'date' | 'number' | 'boolean';
/** The keywords that a resource can be filtered by. */
export type FilterFields = Readonly<
  Record<
    string,
    { kind: 'string' | 'date' | 'number' | 'boolean' } | { kind: 'enum'; values: readonly string[]; prefix?: string }
  >
>;

export type FilterOperator = ':' | '!=' | '>=' | '<=' | '>' | '<';
/** A value that is compared with. Of a date it is the span that the text names: a day, or a moment. */
export type FilterValue =
  | { kind: 'string'; text: string; exact: boolean }
  | { kind: 'enum'; text: string }
  | { kind: 'number'; number: number }
  | { kind: 'boolean'; boolean: boolean }
  | { kind: 'date'; from: Date; until: Date };
/** One condition; all of a filter must hold, and any of the values. Without a keyword the text is looked for in all string fields. */
export type FilterTerm = { keyword?: string; operator: FilterOperator; values: FilterValue[] };

/** Longest filter, in characters, and most terms and values in it. */
const MOST = { characters: 2000, terms: 30, values: 100 };
const OPERATORS: readonly FilterOperator[] = ['!=', '>=', '<=', ':', '>', '<'];
const UNITS: Record<string, (date: Date, count: number) => void> = {
  m: (date, count) => date.setTime(date.getTime() - count * 60_000),
  h: (date, count) => date.setTime(date.getTime() - count * 3_600_000),
  d: (date, count) => date.setTime(date.getTime() - count * 86_400_000),
  w: (date, count) => date.setTime(date.getTime() - count * 7 * 86_400_000),
  mo: (date, count) => {
    const day = date.getUTCDate();
    date.setUTCMonth(date.getUTCMonth() - count);
    // A month back from the 31st is the last day of the month before, not the first of this one.
    if (date.getUTCDate() !== day) date.setUTCDate(0);
  },
  y: (date, count) => UNITS.mo!(date, count * 12),
};
/** A millisecond, the grain of times here. */
const MOMENT = 1;
const DAY = 86_400_000;
/** Times ago begin here at the earliest: before it PostgreSQL has no times (4713 BC), nor has polony anything. */
const EARLIEST = new Date('0001-01-01T00:00:00Z');

function problem(column: number, rule: string, message: string): InputError {
  return new InputError([{ field: 'filter', rule, message: `at column ${column}: ${message}` }]);
}

/** `timeCreated` as the contract spells keywords: `time_created`. */
function normalKeyword(text: string): string {
  return text.replace(/(?<=[a-z0-9])[A-Z]/g, '_$&').toLowerCase();
}

interface Cut {
  text: string;
  quoted: boolean;
  /** From 1. */
  column: number;
}

/** Reads a text with quotes around it or up to what ends it. @returns it with where it ends. */
function cut(filter: string, start: number, ends: RegExp): { cut: Cut; end: number } {
  if (filter[start] !== '"') {
    let end = start;
    while (end < filter.length && !ends.test(filter[end]!)) end++;
    return { cut: { text: filter.slice(start, end), quoted: false, column: start + 1 }, end };
  }
  let text = '';
  for (let at = start + 1; at < filter.length; at++) {
    if (filter[at] === '"') {
      if (at + 1 < filter.length && !ends.test(filter[at + 1]!))
        throw problem(at + 2, 'FILTER_QUOTE', 'a space or comma must follow the closing quote');
      return { cut: { text, quoted: true, column: start + 1 }, end: at + 1 };
    }
    if (filter[at] === '\\' && (filter[at + 1] === '"' || filter[at + 1] === '\\')) at++;
    text += filter[at];
  }
  throw problem(start + 1, 'FILTER_QUOTE', 'the quote is not closed');
}

function dateValue({ text, column }: Cut, operator: FilterOperator, now: Date): FilterValue {
  const relative = /^(\d{1,5})(mo|[mhdwy])$/.exec(text);
  if (relative !== null) {
    if (operator === ':' || operator === '!=')
      throw problem(
        column,
        'FILTER_DATE',
        `${text} is so long ago; compare it with >=, <=, > or <, such as >=${text} for the last ${text}`,
      );
    const counted = new Date(now);
    UNITS[relative[2]!]!(counted, Number(relative[1]));
    const date = counted < EARLIEST ? EARLIEST : counted;
    return { kind: 'date', from: date, until: new Date(date.getTime() + MOMENT) };
  }
  const day = /^(\d{4})-(\d{2})-(\d{2})$/.test(text);
  const moment = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?$/.exec(text);
  // Without a zone it is UTC, as all times that are shown.
  const from = new Date(day || moment?.[3] !== undefined ? text : `${text}Z`);
  // JavaScript makes March of the 30th of February.
  const midnight = new Date(text.slice(0, 10));
  const real =
    (day || moment !== null) &&
    !Number.isNaN(from.getTime()) &&
    !Number.isNaN(midnight.getTime()) &&
    midnight.toISOString().startsWith(text.slice(0, 10));
  if (!real)
    throw problem(
      column,
      'FILTER_DATE',
      `${JSON.stringify(text)} is no date: write 2026-01-31, 2026-01-31T12:00:00Z, or a time ago such as 24h, 7d or 1mo`,
    );
  return { kind: 'date', from, until: new Date(from.getTime() + (day ? DAY : MOMENT)) };
}

function valueOf(
  cutValue: Cut,
  keyword: string,
  field: FilterFields[string],
  operator: FilterOperator,
  now: Date,
): FilterValue {
  const { text, quoted, column } = cutValue;
  if (text === '') throw problem(column, 'FILTER_VALUE', `${keyword} has an empty value`);
  switch (field.kind) {
    case 'string':
      return { kind: 'string', text, exact: quoted };
    case 'date':
      return dateValue(cutValue, operator, now);
    case 'boolean':
      if (/^(true|false)$/i.test(text)) return { kind: 'boolean', boolean: text.toLowerCase() === 'true' };
      throw problem(column, 'FILTER_BOOLEAN', `${keyword} is true or false, not ${JSON.stringify(text)}`);
    case 'number':
      if (/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$/.test(text) && Number.isFinite(Number(text)))
        return { kind: 'number', number: Number(text) };
      throw problem(column, 'FILTER_NUMBER', `${keyword} is compared with a number, not ${JSON.stringify(text)}`);
    case 'enum': {
      const upper = text.toUpperCase();
      const short =
        field.prefix !== undefined && upper.startsWith(field.prefix) ? upper.slice(field.prefix.length) : upper;
      const value = field.values.find((each) => each.toUpperCase() === short);
      if (value !== undefined) return { kind: 'enum', text: value };
      throw problem(
        column,
        'FILTER_ENUM',
        `${keyword} is one of ${field.values.map((each) => each.toLowerCase()).join(', ')}, not ${JSON.stringify(text)}`,
      );
    }
  }
}

/**
 * Reads a filter of the vendor's contract: `keyword:value` separated by spaces, all of which must hold; commas between alternatives;
 * `>=`, `<=`, `>`, `<` and `!=` in place of the colon; text without a keyword is looked for in all string fields; quotes hold spaces and
 * make a value exact; dates are ISO 8601, or a time ago such as `7d`.
 * @param now what times ago are counted from
 * @throws InputError with the column and the rule
 */
export function parseFilter(filter: string, fields: FilterFields, now: Date): FilterTerm[] {
  if (filter.length > MOST.characters)
    throw problem(MOST.characters + 1, 'FILTER_LENGTH', `a filter has at most ${MOST.characters} characters`);
  const strange = filter.search(/\p{Cs}|(?!\s)\p{Cc}/u);
  if (strange >= 0) throw problem(strange + 1, 'FILTER_CHARACTERS', 'a filter has no control characters');
  const terms: FilterTerm[] = [];
  let values = 0;
  const count = (column: number): void => {
    if (++values > MOST.values) throw problem(column, 'FILTER_LENGTH', `a filter has at most ${MOST.values} values`);
  };
  for (let at = 0; at < filter.length;) {
    if (/\s/.test(filter[at]!)) {
      at++;
      continue;
    }
    if (terms.length === MOST.terms)
      throw problem(at + 1, 'FILTER_LENGTH', `a filter has at most ${MOST.terms} conditions`);
    const name = /^[A-Za-z][A-Za-z0-9_.]*/.exec(filter.slice(at))?.[0];
    const operator =
      name === undefined ? undefined : OPERATORS.find((each) => filter.startsWith(each, at + name.length));
    if (name === undefined || operator === undefined) {
      const bare = cut(filter, at, /\s/);
      if (bare.cut.text === '') throw problem(at + 1, 'FILTER_VALUE', 'there is nothing between the quotes');
      // Meant as conditions, they would be looked for as text and find nothing.
      const [, sign, meant = ''] = bare.cut.quoted
        ? []
        : (/^([-!]?)([A-Za-z][A-Za-z0-9_.]*)[=:<>!]/.exec(bare.cut.text) ?? []);
      if (Object.hasOwn(fields, normalKeyword(meant)))
        throw problem(
          at + 1,
          'FILTER_OPERATOR',
          `write ${meant}${sign === '' ? ':' : '!='} and the value; a text that begins with ${bare.cut.text.slice(0, 50)} needs quotes`,
        );
      if (!bare.cut.quoted && OPERATORS.some((each) => bare.cut.text.startsWith(each)))
        throw problem(
          at + 1,
          'FILTER_OPERATOR',
          'keyword, operator and value stand together without spaces; a text that begins with an operator needs quotes',
        );
      count(at + 1);
      terms.push({ operator: ':', values: [{ kind: 'string', text: bare.cut.text, exact: false }] });
      at = bare.end;
      continue;
    }
    const keyword = normalKeyword(name);
    const field = Object.hasOwn(fields, keyword) ? fields[keyword] : undefined;
    if (field === undefined)
      throw problem(
        at + 1,
        'FILTER_KEYWORD',
        `there is no keyword ${name}; a text that has ${operator} in it needs quotes. Keywords are ${Object.keys(fields).join(', ')}`,
      );
    if (operator !== ':' && operator !== '!=' && field.kind !== 'date' && field.kind !== 'number')
      throw problem(at + name.length + 1, 'FILTER_OPERATOR', `${keyword} is compared with : or !=, not ${operator}`);
    const term: FilterTerm = { keyword, operator, values: [] };
    const column = at + name.length + 1;
    at += name.length + operator.length;
    for (;;) {
      const one = cut(filter, at, /[\s,]/);
      count(at + 1);
      term.values.push(valueOf(one.cut, keyword, field, operator, now));
      at = one.end;
      if (filter[at] !== ',') break;
      at++;
    }
    if (term.values.length > 1 && operator !== ':' && operator !== '!=')
      throw problem(column, 'FILTER_OPERATOR', `${operator} takes one value`);
    terms.push(term);
  }
  return terms;
}

const RUN_STATUSES = [
  'UNSPECIFIED',
  'CREATED',
  'PRIMING',
  'PRIMED',
  'SEQUENCING',
  'RUNNING',
  'PAUSING',
  'PAUSED',
  'STOPPING',
  'SEQUENCED',
  'COMPLETED',
  'FAILED',
  'STOPPED',
  'DISCARDED',
];
const EXECUTION_STATUSES = [
  'UNSPECIFIED',
  'INITIALIZED',
  'UNTRIGGERED',
  'PENDING',
  'RUNNING',
  'COMPLETED',
  'FAILED',
  'CANCELED',
];
const string = { kind: 'string' } as const;
const date = { kind: 'date' } as const;
const number = { kind: 'number' } as const;
const RUN_TYPES = ['sequencing', 'multiomics'];
const TIMES = { time_created: date, time_started: date, time_completed: date, time_updated: date };

/** What runs are filtered by: the vendor's keywords. */
export const RUN_FILTER = {
  name: string,
  id: string,
  description: string,
  tags: string,
  type: { kind: 'enum', values: RUN_TYPES },
  status: { kind: 'enum', values: RUN_STATUSES, prefix: 'RUN_STATUS_' },
  'output.kind': { kind: 'enum', values: RUN_TYPES.map((type) => `${type}_run`) },
  ...TIMES,
  'instrument.name': string,
  'instrument.serial_number': string,
  'instrument.model': string,
  'storage.connection_id': string,
  'setup.sequencing.kit_name': string,
  'setup.sequencing.library_structure': string,
  'setup.sequencing.prep_type': string,
  'setup.sequencing.polony_density': string,
  'setup.sequencing.filter_mask': string,
  'setup.sequencing.panel.name': string,
  'setup.sequencing.low_diversity': { kind: 'boolean' },
  'setup.sequencing.pmg_shift': number,
  'setup.multiomics.panel.name': string,
  'setup.multiomics.cartridge.name': string,
  'setup.multiomics.kit_type': {
    kind: 'enum',
    values: ['cytoprofiling', 'direct_in_sample_sequencing', 'antibody_screening', 'tissue', 'protein_screening'],
  },
  'setup.multiomics.well_layout': {
    kind: 'enum',
    values: [
      'twelve_well_circle',
      'twelve_well_square',
      'two_well',
      'one_well',
      'twelve_well_standard',
      'forty_eight_well',
    ],
  },
  'metrics.sequencing.total_reads': number,
  'metrics.sequencing.total_yield': number,
  'metrics.sequencing.estimated_reads': number,
  'metrics.sequencing.q30': number,
  'metrics.sequencing.q40': number,
  'metrics.sequencing.q50': number,
  'metrics.sequencing.avg_q': number,
  'metrics.sequencing.error_rate': number,
  'metrics.sequencing.phix_alignment_rate': number,
  'metrics.multiomics.total_cell_count': number,
  'metrics.multiomics.total_cell_confluency': number,
  'metrics.multiomics.total_percent_assigned': number,
} as const satisfies FilterFields;

/** What executions are filtered by: the vendor's keywords, and the id. */
export const EXECUTION_FILTER = {
  name: string,
  id: string,
  status: { kind: 'enum', values: EXECUTION_STATUSES, prefix: 'EXECUTION_STATUS_' },
  platform: { kind: 'enum', values: ['aws_omics', 'seqera', 'dnanexus', 'catalyst'] },
  'output.kind': { kind: 'enum', values: ['fastq', 'bam', 'vcf', 'cram', 'parquet'] },
  ...TIMES,
  'input.run.id': string,
  'input.run.name': string,
  'input.run.instrument_name': string,
  'input.execution.id': string,
  'input.execution.name': string,
  'flow.name': string,
  'workflow.name': string,
  started_by: string,
} as const satisfies FilterFields;
