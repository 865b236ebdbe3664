/**
 * Letters of other scripts that look like Latin letters in most fonts, as `Latin letters:look-alikes` (Unicode Technical
 * Standard 39, confusables.txt). A word that has no other letters can be taken for a Latin word.
 */
const TWINS = [
  // Cyrillic
  'a:а A:А B:В c:с C:С d:ԁ e:е E:Е G:Ԍ h:һ H:Н i:і I:ІӀ j:ј J:Ј K:К l:ӏ M:М o:о O:О p:р P:Р q:ԛ Q:Ԛ s:ѕ S:Ѕ',
  'T:Т v:ѵ V:Ѵ w:ԝ W:Ԝ x:х X:Х y:уү Y:УҮ',
  // Greek
  'A:Α B:Β E:Ε Z:Ζ H:Η I:Ι K:Κ M:Μ N:Ν o:ο O:Ο p:ρ P:Ρ T:Τ v:ν Y:Υ X:Χ j:ϳ J:Ϳ',
  // Armenian
  'o:օ O:Օ h:հ n:ո u:ս S:Տ g:ց q:զ',
  // Lisu and Cherokee, which are written with turned and upright Latin capitals
  'A:ꓮ B:ꓐ C:ꓚ D:ꓓ E:ꓰ F:ꓝ G:ꓖ H:ꓧ I:ꓲ J:ꓙ K:ꓗ L:ꓡ M:ꓟ N:ꓠ O:ꓳ P:ꓑ R:ꓣ S:ꓢ T:ꓔ U:ꓴ V:ꓦ W:ꓪ X:ꓫ Y:ꓬ Z:ꓜ',
  'A:Ꭺ B:Ᏼ C:Ꮯ D:Ꭰ E:Ꭼ G:Ꮐ H:Ꮋ J:Ꭻ K:Ꮶ L:Ꮮ M:Ꮇ P:Ꮲ R:Ꭱ S:Ꮪ T:Ꭲ V:Ꮩ W:Ꮃ Y:Ꭹ Z:Ꮓ',
];

/** Letters that resemble Latin ones less. They count only where a text is compared with a certain other one. */
const RELATIVES =
  'a:αɑΔ b:вЬьβ c:ϲ d:đ e:єҽεɛ ' +
  'g:ɡɢ h:н i:ıιɩɪ k:кκĸ l:łⅼ m:ммʍ n:пηпɴπ o:øσθοөɔ p:þ r:гꭇʀ s:ꜱ t:тτŧ u:υцʋμ v:ѵ w:ωшѡɯ x:χ y:γүʏ z:ᴢ';

const parsePairs = (text: string): [string, string][] =>
  text.split(' ').flatMap((pair) => {
    const [latin, twins] = pair.split(':') as [string, string];
    return [...twins].map((twin): [string, string] => [twin, latin.toLowerCase()]);
  });

const TWIN_PAIRS = TWINS.flatMap(parsePairs);
const TWIN_LETTERS = new Set(TWIN_PAIRS.map(([twin]) => twin));
const LATIN_BY_LETTER = new Map([...parsePairs(RELATIVES), ...TWIN_PAIRS]);
/** Signs that a reader takes for one another. */
const SAME_SIGNS: Readonly<Record<string, string>> = { i: 'l', '1': 'l', '0': 'o', '5': 's' };

/**
 * The form in which texts that look alike are the same: lower case, without marks, and with one sign for those that
 * resemble each other (the skeleton of Unicode Technical Standard 39, for Latin). Only for comparison.
 */
export function skeletonOf(text: string): string {
  const letters = [...text.normalize('NFKD').replace(/\p{M}/gu, '')].map((letter) => {
    const lower = letter.toLowerCase();
    const latin = LATIN_BY_LETTER.get(letter) ?? LATIN_BY_LETTER.get(lower) ?? lower;
    return SAME_SIGNS[latin] ?? latin;
  });
  return letters.join('').replaceAll('rn', 'm').replaceAll('vv', 'w');
}

const CHINESE_JAPANESE_KOREAN = 'Chinese, Japanese and Korean';

/** Scripts in general use (Unicode Standard Annex 31, table 5). Those that are written together are one. */
const SCRIPTS: readonly (readonly [name: string, letters: RegExp])[] = [
  ...[
    ...[
      'Latin',
      'Cyrillic',
      'Greek',
      'Arabic',
      'Armenian',
      'Bengali',
      'Devanagari',
      'Ethiopic',
      'Georgian',
      'Gujarati',
    ],
    ...['Gurmukhi', 'Hebrew', 'Kannada', 'Khmer', 'Lao', 'Malayalam', 'Myanmar', 'Oriya', 'Sinhala', 'Tamil', 'Telugu'],
    ...['Thaana', 'Thai', 'Tibetan'],
  ].map((name): [string, RegExp] => [name, new RegExp(`\\p{scx=${name}}`, 'u')]),
  [CHINESE_JAPANESE_KOREAN, /[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{scx=Hang}]/u],
];

/** The scripts that a character belongs to; undefined for digits, marks and others that every script uses. */
function scriptsOf(character: string): string[] | undefined {
  if (/[\p{scx=Zyyy}\p{scx=Zinh}]/u.test(character)) return undefined;
  const names = SCRIPTS.filter(([, letters]) => letters.test(character)).map(([name]) => name);
  return names.length === 0 ? ['another'] : names;
}

/** A word, and the scripts that its letters have in common. */
interface Word {
  text: string;
  /** Empty for a word that mixes scripts; undefined for one of digits only. */
  scripts: string[] | undefined;
  /** All scripts of its letters. */
  all: Set<string>;
}

function wordsOf(text: string): Word[] {
  return [...text.matchAll(/[\p{L}\p{M}\p{N}]+/gu)].map(([word]) => {
    const each = [...word].map(scriptsOf).filter((scripts) => scripts !== undefined);
    const common = each.reduce<string[] | undefined>(
      (left, scripts) => (left === undefined ? scripts : left.filter((name) => scripts.includes(name))),
      undefined,
    );
    return { text: word, scripts: common, all: new Set(each.flat()) };
  });
}

/** Latin letters are usual within words of East Asian scripts ("highly restrictive" in Unicode Technical Standard 39). */
function mixesScripts({ scripts, all }: Word): boolean {
  const isUsual = [...all].every((name) => name === 'Latin' || name === CHINESE_JAPANESE_KOREAN);
  return scripts?.length === 0 && !isUsual;
}

/** Greek letters of scientific names that no Latin letter looks like: `β2m`, `ΔF508`, `5 μl`. */
const DISTINCT_GREEK = /[βδζλμξπφψΓΔΦΨΩ]/gu;
/** Others of such names, which look a little like small Latin letters, but like no capitals: `TNFα`, `CD3ε`, `NF-κB`. */
const SMALL_GREEK = /[αγεκσ]/gu;

/** A word without the Greek letters that nobody can take for Latin ones in it. */
function withoutDistinctGreek(word: string): string {
  const rest = word.replace(DISTINCT_GREEK, '');
  return /[\p{Ll}\p{Lo}]/u.test(rest.replace(SMALL_GREEK, '')) ? rest : rest.replace(SMALL_GREEK, '');
}

/** Whether a word that mixes scripts is more than a Latin word with Greek letters as scientists write them. */
function mixesConfusably({ text, all }: Word): boolean {
  const isScientific = [...all].every((name) => name === 'Latin' || name === 'Greek');
  return !isScientific || wordsOf(withoutDistinctGreek(text)).some(mixesScripts);
}

/** Whether every letter of a word that is not Latin looks like a Latin one. */
function looksLatin({ text, scripts }: Word): boolean {
  if (scripts === undefined || scripts.includes('Latin')) return false;
  return [...text].every((letter) => TWIN_LETTERS.has(letter) || /[\p{M}\p{N}]/u.test(letter));
}

/**
 * Finds a word in which letters of one script stand for those of another: it mixes scripts, or it looks like a Latin
 * word and stands beside one. Latin words may have Greek letters that are common in science and look like no Latin one. A text that is in one script has none.
 * @returns the word
 */
export function findMixedWord(text: string): string | undefined {
  const words = wordsOf(text);
  const isMixed = words.some(({ scripts }) => scripts?.includes('Latin'));
  return words.find((word) => (mixesScripts(word) && mixesConfusably(word)) || (isMixed && looksLatin(word)))?.text;
}

/** Letters and digits in a special form: for mathematics, full width, ligatures, Roman numerals. */
export function findStyledLetter(text: string): string | undefined {
  return [...text].find((letter) => {
    const plain = letter.normalize('NFKC');
    return plain !== letter && /[\p{L}\p{Nd}\p{Nl}]/u.test(letter) && /[a-z0-9]/i.test(plain) && !/[ªº]/.test(letter);
  });
}
