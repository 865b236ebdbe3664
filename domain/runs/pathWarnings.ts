import { joinKey } from '../files/paths.js';

/** Something about a run that may go wrong later, and that stops nothing now. */
export interface RunWarning {
  /** For programs. */
  code: string;
  message: string;
}

/** Where a run is in its bucket. */
export interface RunPath {
  /** Of the storage connection. */
  prefix: string;
  parentPath: string;
  runFolder: string;
}

/**
 * Characters that no tool is known to misread. The others are in reports about Nextflow (spaces and parentheses: issues
 * 717, 2762, 3121; brackets, braces, `*` and `?` are wildcards), are encoded in URLs (`+`, `%`, `#`), mean something to a
 * shell, or are letters that have several encodings. S3 lists most of them as characters to avoid, or that need special
 * handling (S3 User Guide, object key naming guidelines).
 */
const UNPROBLEMATIC = /[A-Za-z0-9._\-/=@:,!]/;
const MOST_NAMED = 10;

/** Warns about characters in the path of a run that tools which read S3 are known to fail on. */
export function findPathWarnings({ prefix, parentPath, runFolder }: RunPath): RunWarning[] {
  const path = joinKey(prefix, parentPath, runFolder);
  const found = [...new Set(path)].filter((character) => !UNPROBLEMATIC.test(character));
  if (found.length === 0) return [];
  const named = [...found.slice(0, MOST_NAMED).map(nameCharacter), ...(found.length > MOST_NAMED ? ['…'] : [])];
  return [
    {
      code: 'RUN_PATH_CHARACTERS',
      message:
        `The path of the run contains ${named.join(', ')}. Nextflow and other tools that read S3 have failed on such ` +
        'characters. If an execution or a later step does not find files of the run, copy the run to a path without ' +
        'them. In the names of runs and folders, use only letters without accents, digits, "-", "_" and "."',
    },
  ];
}

function nameCharacter(character: string): string {
  if (character === ' ') return 'a space';
  // Characters that nobody can see in a message, such as control characters, or spaces that are not U+0020.
  if (/[\p{C}\p{Z}\p{M}]/u.test(character))
    return `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;
  return character;
}
