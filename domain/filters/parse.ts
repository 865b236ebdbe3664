import { type FilterField, type FilterFields, type FilterOperator, type FilterTerm, filterError } from './filter.js';
import { type FilterText, parseFilterValue } from './values.js';

/** Longest filter, in characters, and most terms and values in a filter. */
const FILTER_LIMITS = { characters: 2000, terms: 30, values: 100 };
const OPERATORS: readonly FilterOperator[] = ['!=', '>=', '<=', ':', '>', '<'];
/** The documentation shortens some keywords to a dot and their end. Those are not keywords, and the error says so. */
const KEYWORD = /^\.?[A-Za-z][A-Za-z0-9_.]*/;

/**
 * Parses a filter of the vendor's contract: `keyword:value` terms, separated by spaces. A row must meet all terms.
 * Commas separate alternative values. `>=`, `<=`, `>`, `<` and `!=` may replace the colon. A text without a keyword
 * searches all string fields. Quotes allow spaces and make a value exact. Dates are ISO 8601, or a time in the past
 * such as `7d`.
 * @param now the time from which relative dates count back
 * @throws InputError with the column and the rule
 */
export function parseFilter(filter: string, fields: FilterFields, now: Date): FilterTerm[] {
  if (filter.length > FILTER_LIMITS.characters)
    throw filterError(
      FILTER_LIMITS.characters + 1,
      'FILTER_LENGTH',
      `a filter has at most ${FILTER_LIMITS.characters} characters`,
    );
  const control = filter.search(/\p{Cs}|(?!\s)\p{Cc}/u);
  if (control >= 0) throw filterError(control + 1, 'FILTER_CHARACTERS', 'a filter must not contain control characters');
  return new FilterParser(filter, fields, now).parse();
}

class FilterParser {
  /** Where the parser is in the filter, from 0. */
  private at = 0;
  private valueCount = 0;
  private readonly terms: FilterTerm[] = [];

  constructor(
    private readonly filter: string,
    private readonly fields: FilterFields,
    private readonly now: Date,
  ) {}

  parse(): FilterTerm[] {
    while (this.at < this.filter.length) {
      if (/\s/.test(this.filter[this.at]!)) this.at++;
      else this.terms.push(this.parseTerm());
    }
    return this.terms;
  }

  private parseTerm(): FilterTerm {
    if (this.terms.length === FILTER_LIMITS.terms)
      throw filterError(this.at + 1, 'FILTER_LENGTH', `a filter has at most ${FILTER_LIMITS.terms} conditions`);
    const name = KEYWORD.exec(this.filter.slice(this.at))?.[0];
    const operator =
      name === undefined
        ? undefined
        : OPERATORS.find((candidate) => this.filter.startsWith(candidate, this.at + name.length));
    return name === undefined || operator === undefined ? this.parseText() : this.parseCondition(name, operator);
  }

  /** A text without a keyword. */
  private parseText(): FilterTerm {
    const start = this.at;
    const { text, isQuoted } = this.readText(/\s/);
    if (text === '') throw filterError(start + 1, 'FILTER_VALUE', 'there is nothing between the quotes');
    if (!isQuoted) this.checkPlainText(text, start);
    this.countValue(start);
    return { operator: ':', values: [{ kind: 'string', text, exact: false }] };
  }

  /** Rejects a text that is meant as a condition: polony would search for it, and find nothing. */
  private checkPlainText(text: string, start: number): void {
    const [, sign, keyword = ''] = /^([-!]?)([A-Za-z][A-Za-z0-9_.]*)[=:<>!]/.exec(text) ?? [];
    if (Object.hasOwn(this.fields, normalizeKeyword(keyword)))
      throw filterError(
        start + 1,
        'FILTER_OPERATOR',
        `write ${keyword}${sign === '' ? ':' : '!='} and the value. ` +
          `Put a text that begins with ${text.slice(0, 50)} into quotes.`,
      );
    if (OPERATORS.some((operator) => text.startsWith(operator)))
      throw filterError(
        start + 1,
        'FILTER_OPERATOR',
        'write keyword, operator and value without spaces between them. ' +
          'Put a text that begins with an operator into quotes.',
      );
  }

  private parseCondition(name: string, operator: FilterOperator): FilterTerm {
    const keyword = normalizeKeyword(name);
    const field = this.findField(name, keyword, operator);
    const operatorColumn = this.at + name.length + 1;
    const isComparable = field.kind === 'date' || field.kind === 'number';
    if (operator !== ':' && operator !== '!=' && !isComparable)
      throw filterError(operatorColumn, 'FILTER_OPERATOR', `${keyword} works only with : and !=, not with ${operator}`);
    this.at += name.length + operator.length;
    const term: FilterTerm = { keyword, operator, values: [] };
    for (;;) {
      const start = this.at;
      const text = this.readText(/[\s,]/);
      this.countValue(start);
      term.values.push(parseFilterValue(text, { keyword, field, operator, now: this.now }));
      if (this.filter[this.at] !== ',') break;
      this.at++;
    }
    if (term.values.length > 1 && operator !== ':' && operator !== '!=')
      throw filterError(operatorColumn, 'FILTER_OPERATOR', `${operator} accepts only one value`);
    return term;
  }

  private findField(name: string, keyword: string, operator: FilterOperator): FilterField {
    const field = Object.hasOwn(this.fields, keyword) ? this.fields[keyword] : undefined;
    if (field === undefined)
      throw filterError(
        this.at + 1,
        'FILTER_KEYWORD',
        `there is no keyword ${name}. Put a text that contains ${operator} into quotes. ` +
          `Keywords are ${Object.keys(this.fields).join(', ')}.`,
      );
    return field;
  }

  private countValue(start: number): void {
    if (++this.valueCount > FILTER_LIMITS.values)
      throw filterError(start + 1, 'FILTER_LENGTH', `a filter has at most ${FILTER_LIMITS.values} values`);
  }

  /** Reads a text in quotes, or up to a character that ends it, and moves behind it. */
  private readText(end: RegExp): FilterText {
    return this.filter[this.at] === '"' ? this.readQuotedText(end) : this.readPlainText(end);
  }

  private readPlainText(end: RegExp): FilterText {
    const start = this.at;
    while (this.at < this.filter.length && !end.test(this.filter[this.at]!)) this.at++;
    return { text: this.filter.slice(start, this.at), isQuoted: false, column: start + 1 };
  }

  /** Within quotes, a backslash precedes a quote or a backslash. */
  private readQuotedText(end: RegExp): FilterText {
    const { filter, at: start } = this;
    let text = '';
    for (let index = start + 1; index < filter.length; index++) {
      if (filter[index] === '"') {
        if (index + 1 < filter.length && !end.test(filter[index + 1]!))
          throw filterError(index + 2, 'FILTER_QUOTE', 'a space or comma must follow the closing quote');
        this.at = index + 1;
        return { text, isQuoted: true, column: start + 1 };
      }
      if (filter[index] === '\\' && (filter[index + 1] === '"' || filter[index + 1] === '\\')) index++;
      text += filter[index];
    }
    throw filterError(start + 1, 'FILTER_QUOTE', 'the closing quote is missing');
  }
}

/** `timeCreated` as the vendor's contract spells keywords: `time_created`. */
export function normalizeKeyword(text: string): string {
  return text.replace(/(?<=[a-z0-9])[A-Z]/g, '_$&').toLowerCase();
}
