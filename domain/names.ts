import type { FieldProblem } from './errors.js';

/** Longest name of a provider, connection, flow or execution, in characters. */
export const NAME_LENGTH = 128;

/** The form in which polony stores and compares names: without spaces at the ends, in Unicode NFC. */
export function normalizeName(value: string): string {
  return value.normalize('NFC').trim();
}

/** Checks a name in its normal form: 1 to 128 characters, without control characters and halves of surrogate pairs. */
export function checkName(field: string, value: string): FieldProblem[] {
  const length = [...value].length;
  if (length === 0) return [{ field, rule: 'NAME_LENGTH', message: 'must not be empty' }];
  const problems: FieldProblem[] = [];
  if (length > NAME_LENGTH)
    problems.push({
      field,
      rule: 'NAME_LENGTH',
      message: `must have at most ${NAME_LENGTH} characters, but has ${length}`,
    });
  if (/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(value))
    problems.push({ field, rule: 'NAME_CHARACTERS', message: 'must not contain control characters or line breaks' });
  if (INVISIBLE.test(value))
    problems.push({
      field,
      rule: 'NAME_INVISIBLE',
      message:
        'must not contain invisible characters, such as zero-width spaces or marks for the direction of text, nor ' +
        'spaces other than the usual one: a name could look like another one',
    });
  return problems;
}

/**
 * Characters that nobody sees, or that look like a space: format characters, among them those that turn the direction of
 * text (Unicode Technical Report 36), those that Unicode lets a renderer ignore, and some that fonts draw as nothing: the
 * blank Braille pattern, the null notehead of musical notation, blanks between hieroglyphs, and the place of an object.
 */
const INVISIBLE = /[\p{Cf}\p{Default_Ignorable_Code_Point}\u2800\ufffc\u{1d159}\u{13441}\u{13442}]|(?! )\p{Zs}/u;

/** A text without characters that nobody sees, and with usual spaces. */
export function removeInvisible(text: string): string {
  return text
    .replace(/\p{Zs}/gu, ' ')
    .replace(new RegExp(INVISIBLE, 'gu'), '')
    .trim();
}

/** Shortens a text to a number of bytes in UTF-8. Keeps whole characters, and adds `…` if it removes any. */
export function cutToBytes(text: string, bytes: number): string {
  // No code unit takes more than three bytes. Most texts are far from the limit.
  if (text.length * 3 <= bytes) return text;
  const size = (char: string): number => {
    const code = char.codePointAt(0)!;
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  };
  const chars = [...text];
  if (chars.reduce((sum, char) => sum + size(char), 0) <= bytes) return text;
  let left = bytes - size('…');
  let cut = '';
  for (const char of chars) {
    left -= size(char);
    if (left < 0) break;
    cut += char;
  }
  return `${cut}…`;
}

/**
 * Checks a JSON value that polony stores unchanged. PostgreSQL's jsonb accepts neither the character NUL nor half of a
 * surrogate pair. A limit of the depth protects recursive code.
 */
export function checkJson(field: string, value: unknown, depth = 0): FieldProblem[] {
  if (depth > 16) return [{ field, rule: 'TOO_DEEP', message: 'must not be nested deeper than 16 levels' }];
  if (typeof value === 'string')
    return isInvalidText(value)
      ? [{ field, rule: 'CHARACTERS', message: 'must not contain the character NUL or half of a surrogate pair' }]
      : [];
  if (typeof value !== 'object' || value === null) return [];
  for (const [key, member] of Object.entries(value)) {
    const problems = isInvalidText(key) ? checkJson(field, key) : checkJson(`${field}.${key}`, member, depth + 1);
    if (problems.length > 0) return problems;
  }
  return [];
}

function isInvalidText(text: string): boolean {
  return /[\0\p{Cs}]/u.test(text);
}
