/** One character of a pattern, or a wildcard. */
type Token = { readonly wild: '*' | '?' } | { readonly character: string };

/**
 * A text with IAM's wildcards. It is `uncertain` if it contains a variable with an unknown value, such as
 * `${aws:username}`.
 */
export interface Pattern {
  readonly tokens: readonly Token[];
  readonly uncertain: boolean;
}

/** How much of a target a pattern covers. */
export type Cover = 'all' | 'some' | 'none';

const STAR: Token = { wild: '*' };

/**
 * Parses a pattern of a policy: `*`, `?`, and in policies of 2012-10-17 the variables, of which `${*}`, `${?}` and
 * `${$}` are these characters themselves (IAM User Guide, "Policy variables"). polony ignores default values of
 * variables.
 */
export function readPattern(text: string, variables: boolean): Pattern {
  const tokens: Token[] = [];
  let uncertain = false;
  for (const [piece] of text.matchAll(variables ? /\$\{[^}]*\}|[^]/gu : /[^]/gu)) {
    if (piece === '*') tokens.push(STAR);
    else if (piece === '?') tokens.push({ wild: '?' });
    else if (piece.length > 2 && piece.startsWith('${')) {
      const name = piece.slice(2, -1);
      if (name === '*' || name === '?' || name === '$') tokens.push({ character: name });
      else {
        tokens.push(STAR);
        uncertain = true;
      }
    } else tokens.push({ character: piece });
  }
  return { tokens, uncertain };
}

/** A text without wildcards, for operators that compare texts. */
export function readLiteral(text: string): Pattern {
  return { tokens: [...text].map((character) => ({ character })), uncertain: false };
}

/** Parses a target: a text in which `*` stands for any text. */
export function readTarget(text: string): Pattern {
  return { tokens: [...text].map((character): Token => (character === '*' ? STAR : { character })), uncertain: false };
}

export function lower(pattern: Pattern): Pattern {
  return {
    ...pattern,
    tokens: pattern.tokens.map((token) =>
      'character' in token ? { character: token.character.toLowerCase() } : token,
    ),
  };
}

/** How much of a target a pattern covers. */
export function cover(pattern: Pattern, target: Pattern): Cover {
  const isCovered = covers(pattern.tokens, target.tokens);
  if (isCovered) return pattern.uncertain ? 'some' : 'all';
  // A target without `*` is one text, which the pattern matches or not.
  if (!target.tokens.some(isStar)) return 'none';
  return meets(pattern.tokens, target.tokens) ? 'some' : 'none';
}

/** The characters before the first wildcard. */
function literalStart({ tokens }: Pattern): string {
  let text = '';
  for (const token of tokens) {
    if (!('character' in token)) break;
    text += token.character;
  }
  return text;
}

/** A pattern, and the number of what it belongs to, such as a statement. */
export interface OwnedPattern {
  pattern: Pattern;
  owner: number;
}

/**
 * Many patterns, found by how they begin. A policy can name hundreds of buckets, and to compare each of them with each
 * resource takes seconds.
 */
export class PatternIndex {
  readonly #byStart = new Map<string, OwnedPattern[]>();
  /** The texts that patterns begin with, sorted, and their lengths. */
  readonly #starts: readonly string[];
  readonly #lengths: readonly number[];

  constructor(patterns: Iterable<OwnedPattern>) {
    for (const each of patterns) {
      const start = literalStart(each.pattern);
      const same = this.#byStart.get(start);
      if (same === undefined) this.#byStart.set(start, [each]);
      else same.push(each);
    }
    this.#starts = [...this.#byStart.keys()].sort();
    this.#lengths = [...new Set(this.#starts.map(({ length }) => length))].sort((one, other) => one - other);
  }

  /** How much of a target the patterns of each owner cover; without the owners whose patterns cover nothing of it. */
  cover(target: Pattern): Map<number, Exclude<Cover, 'none'>> {
    const found = new Map<number, Exclude<Cover, 'none'>>();
    for (const { pattern, owner } of this.#candidates(target)) {
      if (found.get(owner) === 'all') continue;
      const covered = cover(pattern, target);
      if (covered !== 'none') found.set(owner, covered);
    }
    return found;
  }

  /** Patterns that can match the target as far as both begin with known characters. */
  *#candidates(target: Pattern): Generator<OwnedPattern> {
    const start = literalStart(target);
    for (const length of this.#lengths) {
      if (length > start.length) break;
      yield* this.#byStart.get(start.slice(0, length)) ?? [];
    }
    if (!target.tokens.some(isStar)) return;
    for (let at = this.#findFirstFrom(start); this.#starts[at]?.startsWith(start) === true; at++)
      if (this.#starts[at]!.length > start.length) yield* this.#byStart.get(this.#starts[at]!)!;
  }

  /** The position of the first text that is not before this one. */
  #findFirstFrom(start: string): number {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! < start) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const isSameCharacter = (one: Token, other: Token): boolean =>
  'character' in one && 'character' in other && one.character === other.character;
const isStar = (token: Token | undefined): boolean => token !== undefined && 'wild' in token && token.wild === '*';

/** Whether the pattern matches every text of the target. Only `*` of the pattern matches `*` of the target. */
function covers(pattern: readonly Token[], target: readonly Token[]): boolean {
  let [at, position, star, resume] = [0, 0, -1, 0];
  while (position < target.length) {
    const token = pattern[at];
    const wanted = target[position]!;
    if (isStar(token)) {
      star = at++;
      resume = position;
    } else if (token !== undefined && (isSameCharacter(token, wanted) || ('wild' in token && 'character' in wanted))) {
      at++;
      position++;
    } else if (star >= 0) {
      at = star + 1;
      position = ++resume;
    } else return false;
  }
  while (isStar(pattern[at])) at++;
  return at === pattern.length;
}

/** Whether there is a text that matches both. */
function meets(one: readonly Token[], other: readonly Token[]): boolean {
  // row[j]: whether the rest of `one` from i and the rest of `other` from j share a text; computed from the ends.
  let next: boolean[] = [];
  for (let i = one.length; i >= 0; i--) {
    const row: boolean[] = new Array<boolean>(other.length + 1).fill(false);
    const a = one[i];
    for (let j = other.length; j >= 0; j--) {
      const b = other[j];
      if (a === undefined && b === undefined) row[j] = true;
      else if (isStar(a)) row[j] = next[j]! || (b !== undefined && row[j + 1]!);
      else if (isStar(b)) row[j] = row[j + 1]! || (a !== undefined && next[j]!);
      else if (a !== undefined && b !== undefined)
        row[j] = (isSameCharacter(a, b) || 'wild' in a || 'wild' in b) && next[j + 1]!;
    }
    next = row;
  }
  return next[0]!;
}
