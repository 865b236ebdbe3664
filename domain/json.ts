/** How deep and how large a JSON value may be. */
export interface JsonLimits {
  /** Levels of arrays and objects: 0 for a text, 1 for `[]`, 2 for `[[]]`. */
  depth: number;
  /** Number of arrays, objects and values in them. A text is one value, whatever its length. */
  values: number;
}

/** Which limit a JSON value exceeds. */
export interface JsonExcess {
  limit: keyof JsonLimits;
  /** The member of the outermost object where the limit is exceeded, as the text spells it, if there is one. */
  member?: string;
}

/**
 * Finds whether a JSON text exceeds limits, without parsing it: to parse a million numbers takes a tenth of a second,
 * and deep values exhaust the stack of recursive code. It ignores errors, which the parser finds.
 * @returns undefined where the text is within the limits
 */
export function findJsonExcess(text: string, limits: JsonLimits): JsonExcess | undefined {
  let [depth, values] = [0, 1];
  let member: string | undefined;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE: {
        const end = findEndOfText(text, at);
        if (depth === 1 && isColonNext(text, end + 1)) member = text.slice(at + 1, end);
        at = end;
        continue;
      }
      case OPENING_BRACKET:
      case OPENING_BRACE:
        depth++;
        values++;
        break;
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        depth--;
        continue;
      case COMMA:
        values++;
        break;
      default:
        continue;
    }
    if (depth > limits.depth) return { limit: 'depth', member };
    if (values > limits.values) return { limit: 'values', member };
  }
  return undefined;
}

const [QUOTE, COMMA, OPENING_BRACKET, BACKSLASH, CLOSING_BRACKET, OPENING_BRACE, CLOSING_BRACE] = [
  0x22, 0x2c, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d,
];

/** The position of the quote that ends a text, or the end of everything. */
function findEndOfText(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

function isColonNext(text: string, start: number): boolean {
  let at = start;
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++;
  return text[at] === ':';
}

/** Whether a parsed JSON value is nested deeper than so many levels. Without recursion, so any depth is safe. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  const isContainer = (each: unknown): each is object => typeof each === 'object' && each !== null;
  let containers = [value].filter(isContainer);
  for (let depth = 0; depth < levels; depth++)
    containers = containers.flatMap((each) => Object.values(each) as unknown[]).filter(isContainer);
  return containers.length > 0;
}
