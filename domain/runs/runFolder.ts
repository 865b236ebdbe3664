import { cutToBytes } from '../names.js';
import { READ_NAMES, type Cycles } from './runParameters.js';

/** The folder below a storage connection's prefix that executions write to. polony never searches it for runs. */
export const EXECUTIONS_FOLDER = 'polony-executions';

/** The key of a `BaseCalls` file relative to the run folder: one zip file for each read and cycle. */
export function baseCallsKey(read: string, cycle: number): string {
  return `BaseCalls/${read}_C${String(cycle).padStart(3, '0')}.zip`;
}

/** All `BaseCalls` files that a run with these cycles must have, by read and cycle, relative to the run folder. */
export function expectedBaseCalls(cycles: Cycles): string[] {
  const keys: string[] = [];
  for (const read of READ_NAMES) {
    for (let cycle = 1; cycle <= (cycles[read] ?? 0); cycle++) keys.push(baseCallsKey(read, cycle));
  }
  return keys;
}

/**
 * Derives the names of instrument and run from the path of a run folder. If the folder's name does not have the
 * instrument's format, they are the names of the folders.
 * @param folder path below the storage connection's prefix
 * @returns undefined for an invalid path: empty, with empty parts, or longer than a workflow id allows.
 */
export function nameRunFolder(
  folder: string,
): { parentPath: string; runFolder: string; instrumentName: string; runName: string } | undefined {
  const parts = folder.replace(/\/$/, '').split('/');
  if (
    parts.some((part) => part === '' || part === '.' || part === '..') ||
    cutToBytes(folder, 700) !== folder ||
    /\p{Cc}/u.test(folder)
  )
    return undefined;
  const runFolder = parts.pop()!;
  const above = parts.at(-1);
  const named =
    (above === undefined ? undefined : parseRunFolderName(runFolder, above)) ?? parseRunFolderName(runFolder);
  return {
    parentPath: parts.join('/'),
    runFolder,
    instrumentName: cutToBytes(named?.instrumentName ?? above ?? runFolder, 255),
    runName: cutToBytes(named?.runName ?? runFolder, 255),
  };
}

/** The parts of a run folder's name: `<YYYYMMDD>_<InstrumentName>_<RunName>`. */
export interface RunFolderName {
  /** `YYYY-MM-DD`. */
  date: string;
  instrumentName: string;
  runName: string;
}

const isShort = (name: string): boolean => cutToBytes(name, 255) === name;

/**
 * Parses the name of a run folder. Names of runs and instruments may contain underscores.
 * @param instrument name of the folder above, which is the instrument's name, if it is known
 * @returns undefined when the name does not have the format of a run folder.
 */
export function parseRunFolderName(name: string, instrument?: string): RunFolderName | undefined {
  // Names of instruments are much shorter. A longer one would not fit into a workflow id (1,000 bytes).
  if (!isShort(name) || (instrument !== undefined && !isShort(instrument))) return undefined;
  const match = /^(\d{4})(\d{2})(\d{2})_(.+)$/.exec(name);
  if (!match) return undefined;
  const [, year, month, day, rest] = match as unknown as [string, string, string, string, string];
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > 31) return undefined;
  const date = `${year}-${month}-${day}`;
  if (instrument !== undefined) {
    // A copy of a run in another folder, such as an archive, is not a new run.
    if (!rest.startsWith(`${instrument}_`) || rest.length === instrument.length + 1) return undefined;
    return { date, instrumentName: instrument, runName: rest.slice(instrument.length + 1) };
  }
  const separator = rest.indexOf('_');
  if (separator < 1 || separator === rest.length - 1) return undefined;
  return { date, instrumentName: rest.slice(0, separator), runName: rest.slice(separator + 1) };
}
