import { cutToBytes } from '../names.js';
import { EXECUTIONS_FOLDER, parseRunFolderName } from './runFolder.js';

/** Why the search for runs ignores a folder that looks like a run. */
export const IGNORED_REASONS = [
  'NAME_FORM',
  'DATE',
  'OTHER_INSTRUMENT',
  'DEPTH',
  'TOO_LONG',
  'EXECUTIONS_FOLDER',
] as const;

/** A reason for programs, and what happened and what to do for people. */
export interface IgnoredBecause {
  reason: (typeof IGNORED_REASONS)[number];
  message: string;
}

/** Files that only run folders have. */
export const RUN_FILES: readonly string[] = ['RunParameters.json', 'RunUploaded.json'];

const MOST_DEPTH = 5;
/** A date of six or eight digits, or with separators: what people write where the instrument writes YYYYMMDD. */
const STARTS_WITH_DATE = /^(\d{8}|\d{6}|\d{4}[-_.]\d{2}[-_.]\d{2})(?!\d)/;
const FORM = '<YYYYMMDD>_<instrument>_<run name>';

/** The number of folders from the prefix of a storage connection to a run folder, which is the last of them. */
export function runFolderLevel(runDepth: number): number {
  return runDepth + 2;
}

/** Whether the search for runs finds a folder. @param path below the prefix of the storage connection */
export function isFoundAsRun(path: readonly string[], runDepth: number): boolean {
  return (
    path.length === runFolderLevel(runDepth) &&
    path[0] !== EXECUTIONS_FOLDER &&
    parseRunFolderName(path.at(-1)!, path.at(-2)) !== undefined
  );
}

/**
 * Why the search for runs ignores a folder that looks like a run. A folder looks like a run if it has one of
 * {@link RUN_FILES}, if it has the name of a run folder, or if it is where run folders are and its name begins with a
 * date or names the instrument.
 * @param path of folders below the prefix of the storage connection
 * @param hasRunFiles whether one of {@link RUN_FILES} is in the folder; false where nobody has looked
 * @returns undefined for a folder that is found, or does not look like a run.
 */
export function explainIgnored(
  path: readonly string[],
  runDepth: number,
  hasRunFiles: boolean,
): IgnoredBecause | undefined {
  if (isFoundAsRun(path, runDepth)) return undefined;
  const name = path.at(-1)!;
  const isNamedAsRun = parseRunFolderName(name) !== undefined;
  if (path[0] === EXECUTIONS_FOLDER)
    return path.length > 1 && (hasRunFiles || isNamedAsRun) ? inExecutionsFolder() : undefined;
  if (path.length !== runFolderLevel(runDepth))
    return hasRunFiles || isNamedAsRun ? atWrongDepth(path, runDepth) : undefined;
  const instrument = path.at(-2)!;
  return hasRunFiles || isNearlyNamedAsRun(name, instrument) ? explainName(name, instrument) : undefined;
}

function isNearlyNamedAsRun(name: string, instrument: string): boolean {
  return STARTS_WITH_DATE.test(name) || name.toLowerCase().includes(`_${instrument.toLowerCase()}_`);
}

function inExecutionsFolder(): IgnoredBecause {
  return {
    reason: 'EXECUTIONS_FOLDER',
    message: `Executions write to ${EXECUTIONS_FOLDER}, so polony does not search it. Move the run out of it`,
  };
}

function atWrongDepth(path: readonly string[], runDepth: number): IgnoredBecause {
  const level = runFolderLevel(runDepth);
  const fitting = path.length - 2;
  const canSetDepth = fitting >= 0 && fitting <= MOST_DEPTH;
  return {
    reason: 'DEPTH',
    message:
      `Run folders are ${level} folders below the prefix (runDepth ${runDepth}), and this folder is ${path.length} ` +
      `below it. Move it into the folder of its instrument` +
      (canSetDepth ? `, or set runDepth to ${fitting} if all runs are at this depth` : ''),
  };
}

/** What is wrong with the name of a folder that is where run folders are. */
function explainName(name: string, instrument: string): IgnoredBecause {
  if ([name, instrument].some((each) => cutToBytes(each, 255) !== each))
    return {
      reason: 'TOO_LONG',
      message: 'The name of the folder, or of the folder of its instrument, has more than 255 bytes. Shorten it',
    };
  const other = parseRunFolderName(name);
  const date = /^(\d{8})_./.exec(name)?.[1];
  if (date !== undefined && parseRunFolderName(`${date}_${instrument}_x`, instrument) === undefined)
    return {
      reason: 'DATE',
      message: `The name begins with ${date}, which is no date. It must have the form ${FORM}`,
    };
  if (other !== undefined && !name.startsWith(`${date}_${instrument}_`))
    return {
      reason: 'OTHER_INSTRUMENT',
      message:
        `The name does not name the instrument ${instrument}, whose folder this is, but ${other.instrumentName}. ` +
        `polony takes it for a copy. If it is a run, move it to a folder ${other.instrumentName}`,
    };
  return {
    reason: 'NAME_FORM',
    message: `The name does not have the form ${FORM}. Rename the folder, for example to ` + example(name, instrument),
  };
}

function example(name: string, instrument: string): string {
  const digits = (STARTS_WITH_DATE.exec(name)?.[0] ?? '').replace(/\D/g, '');
  const date = digits.length === 6 ? `20${digits}` : digits;
  const isDate = parseRunFolderName(`${date}_${instrument}_RUN`, instrument) !== undefined;
  return `${isDate ? date : '20260115'}_${instrument}_RUN`;
}
