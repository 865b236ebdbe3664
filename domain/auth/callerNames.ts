import type { FieldProblem } from '../errors.js';
import { checkName } from '../names.js';
import { findMixedWord, findStyledLetter, skeletonOf } from './lookalikes.js';

/** What stands for a caller in the audit log and in lists that is no key that somebody made and no person. */
const RESERVED = ['default', 'root', 'events', 'eventbridge', 'polony', 'system', 'temporal', 'expiry', 'anonymous'];
/** Words that add nothing to a reserved one: `the root key` is `root`. */
const FILLERS = [
  ...['the', 'a', 'an', 'via', 'from', 'of', 'in', 'itself', 'not', 'authenticated', 'unauthenticated'],
  ...['api', 'key', 'user', 'caller', 'account', 'service', 'process', 'person', 'request', 'requester'],
];
/** How the audit log says that it does not know a caller. No name may have this in it. */
const ATTRIBUTIONS = ['not authenticated', 'unauthenticated', 'via temporal'];

const joined = (text: string): string => skeletonOf(text).replace(/[^\p{L}\p{N}]+/gu, '');
const RESERVED_SKELETONS = new Set(RESERVED.map(joined));
const FILLER_SKELETONS = new Set(FILLERS.map(joined));
const ATTRIBUTION_SKELETONS = ATTRIBUTIONS.map(joined);

/** The words of a name, also in `viaTemporal`, as skeletons. */
function skeletonsOfWords(name: string): string[] {
  return name
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/(?<=\p{Ll})(?=\p{Lu})/gu, ' ')
    .split(/[^\p{L}\p{N}]+/u)
    .map(joined)
    .filter((word) => word !== '');
}

/** Whether a name says nothing else than a reserved word. */
function isReservedText(name: string): boolean {
  const whole = joined(name);
  if (RESERVED_SKELETONS.has(whole) || ATTRIBUTION_SKELETONS.some((each) => whole.includes(each))) return true;
  const words = skeletonsOfWords(name);
  return (
    words.some((word) => RESERVED_SKELETONS.has(word)) &&
    words.every((word) => RESERVED_SKELETONS.has(word) || FILLER_SKELETONS.has(word))
  );
}

/** Whether a name could be taken for an id: a UUID, or `person:` with the subject of a person. */
function isLikeId(name: string): boolean {
  const [start, ...others] = name.normalize('NFKC').split(/[:\u2236\ua789\u05c3]/);
  return (
    /^[0-9a-f]{32}$/i.test(name.normalize('NFKC').replace(/[\s\p{P}]+/gu, '')) ||
    (others.length > 0 && joined(start!) === joined('person'))
  );
}

/** Whether somebody could take a name for polony itself, a key of the installation, an unknown caller, or an id. */
function isReservedName(name: string): boolean {
  // These signs are punctuation, but they also look like the letter l.
  return isLikeId(name) || isReservedText(name) || isReservedText(name.replace(/[|!]/g, 'l'));
}

/** Marks that change nothing that a reader sees: the same one twice, and a dot above a letter that has one. */
const HIDDEN_MARKS = /(\p{Mn})\1|[ijіј]\u0307/u;

function checkLookalikes(field: string, value: string): FieldProblem[] {
  const rule = 'NAME_LOOKALIKE';
  const word = findMixedWord(value);
  if (word !== undefined)
    return [
      {
        field,
        rule,
        message:
          `must not mix alphabets in a word, nor have words that only look Latin, because letters of other alphabets ` +
          `look like Latin ones: "${word}". Write each word with letters of one alphabet`,
      },
    ];
  const letter = findStyledLetter(value);
  if (letter !== undefined)
    return [{ field, rule, message: `must not have letters or digits in a special form, such as "${letter}"` }];
  return HIDDEN_MARKS.test(value.normalize('NFD'))
    ? [{ field, rule, message: 'must not have marks on letters that nobody sees' }]
    : [];
}

/**
 * Checks the name of an API key, under which the audit log records its requests, in its normal form: nobody may take it
 * for the name of polony, of an unknown caller, or of another key that looks the same. See also {@link checkName}.
 */
export function checkCallerName(field: string, value: string): FieldProblem[] {
  const problems = checkName(field, value);
  if (problems.length > 0) return problems;
  if (/[\p{Co}\p{Cn}]/u.test(value))
    return [{ field, rule: 'NAME_CHARACTERS', message: 'must not contain characters that Unicode does not define' }];
  if (isReservedName(value)) {
    const message =
      'must not be a name of polony itself or of its own keys, nor of callers that it does not know, such as ' +
      '"not authenticated", nor look like one of these or like an id. Choose a different name';
    return [{ field, rule: 'NAME_RESERVED', message }];
  }
  return checkLookalikes(field, value);
}
