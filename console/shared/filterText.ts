/** A condition of the filter language (docs/reference/filters.md). Without a keyword, all texts are searched. */
export interface Condition {
  keyword?: string;
  operator: string;
  values: readonly { text: string; isQuoted: boolean }[];
}

const OPERATORS = ['!=', '>=', '<=', ':', '>', '<'];
const KEYWORD = /^[A-Za-z][A-Za-z0-9_.]*/;

/** Reads a value from a position. @returns it, and the position behind it */
function readValue(filter: string, start: number, end: RegExp): { text: string; isQuoted: boolean; next: number } {
  if (filter[start] !== '"') {
    let at = start;
    while (at < filter.length && !end.test(filter[at]!)) at += 1;
    return { text: filter.slice(start, at), isQuoted: false, next: at };
  }
  let text = '';
  for (let at = start + 1; at < filter.length; at += 1) {
    if (filter[at] === '"') return { text, isQuoted: true, next: at + 1 };
    if (filter[at] === '\\' && (filter[at + 1] === '"' || filter[at + 1] === '\\')) at += 1;
    text += filter[at];
  }
  return { text, isQuoted: true, next: filter.length };
}

/** The conditions of a filter. Mistakes stay in their values, and the API reports them. */
export function parseConditions(filter: string): Condition[] {
  const conditions: Condition[] = [];
  let at = 0;
  while (at < filter.length) {
    if (/\s/.test(filter[at]!)) {
      at += 1;
      continue;
    }
    const keyword = KEYWORD.exec(filter.slice(at))?.[0];
    const operator =
      keyword === undefined ? undefined : OPERATORS.find((each) => filter.startsWith(each, at + keyword.length));
    if (keyword === undefined || operator === undefined) {
      const { next, ...value } = readValue(filter, at, /\s/);
      conditions.push({ operator: ':', values: [value] });
      at = next;
      continue;
    }
    at += keyword.length + operator.length;
    const values: { text: string; isQuoted: boolean }[] = [];
    for (;;) {
      const { next, ...value } = readValue(filter, at, /[\s,]/);
      values.push(value);
      at = next;
      if (filter[at] !== ',') break;
      at += 1;
    }
    conditions.push({ keyword, operator, values });
  }
  return conditions;
}

const quote = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
const needsQuotes = (text: string): boolean => text === '' || /[\s,"\\]/.test(text);

/** A text without a keyword must not look like a condition. */
const looksLikeCondition = (text: string): boolean =>
  /^[-!]?[A-Za-z][A-Za-z0-9_.]*[=:<>!]/.test(text) || /^[=:<>!]/.test(text);

/** The filter of conditions; the inverse of {@link parseConditions}. */
export function formatConditions(conditions: readonly Condition[]): string {
  return conditions
    .filter(({ values }) => values.length > 0)
    .map(({ keyword, operator, values }) => {
      const texts = values.map(({ text, isQuoted }) =>
        isQuoted || needsQuotes(text) || (keyword === undefined && looksLikeCondition(text)) ? quote(text) : text,
      );
      return keyword === undefined ? texts[0] : `${keyword}${operator}${texts.join(',')}`;
    })
    .join(' ');
}
