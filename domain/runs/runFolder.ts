import { cutToBytes } from '../names.js';
import { READ_NAMES, type Cycles } from './runParameters.js';

/** The folder below a storage connection's prefix that executions write to; never searched for runs. */
export const EXECUTIONS_FOLDER = 'polony-executions';

/** The object key of a `BaseCalls` file relative to the run folder: one zip per read and cycle. */
export function baseCallsKey(read: string, cycle: number): string {
  return `BaseCalls/${read}_C${String(cycle).padStart(3, '0')}.zip`;
}

/** All `BaseCalls` files that a run with these cycles must have, in read and cycle order, relative to the run folder. */
export function expectedBaseCalls(cycles: Cycles): string[] {
  const keys: string[] = [];
  for (const read of READ_NAMES) {
    for (let cycle = 1; cycle <= (cycles[read] ?? 0); cycle++) keys.push(baseCallsKey(read, cycle));
  }
  return keys;
}

/**
 * What a run folder that somebody names is called. Its own name and that of the folder above tell, where they are as instruments
 * give them; else the names of the folders are taken.
 * @param folder path below the storage connection's prefix
 * @returns undefined for a path that is none: empty, with empty parts, or longer than a workflow's id takes.
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

/** A run folder's name taken apart: `<YYYYMMDD>_<InstrumentName>_<RunName>`. */
export interface RunFolderName {
  /** `YYYY-MM-DD`. */
  date: string;
  instrumentName: string;
  runName: string;
}

const isShort = (name: string): boolean => cutToBytes(name, 255) === name;

/**
 * Takes a run folder's name apart. Run names may have underscores; instrument names may too, so the name of the folder
 * above it (the instrument's) is given where it is known.
 * @returns undefined when the name is not that of a run folder.
 */
export function parseRunFolderName(name: string, instrument?: string): RunFolderName | undefined {
  // Instruments write far shorter names; one that fills a whole key would not fit into a workflow's id (1,000 bytes).
  if (!isShort(name) || (instrument !== undefined && !isShort(instrument))) return undefined;
  const match = /^(\d{4})(\d{2})(\d{2})_(.+)$/.exec(name);
  if (!match) return undefined;
  const [, year, month, day, rest] = match as unknown as [string, string, string, string, string];
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > 31) return undefined;
  const date = `${year}-${month}-${day}`;
  if (instrument !== undefined) {
    // A copy of a run elsewhere (an archive, say) is no new run of an instrument.
    if (!rest.startsWith(`${instrument}_`) || rest.length === instrument.length + 1) return undefined;
    return { date, instrumentName: instrument, runName: rest.slice(instrument.length + 1) };
  }
  const separator = rest.indexOf('_');
  if (separator < 1 || separator === rest.length - 1) return undefined;
  return { date, instrumentName: rest.slice(0, separator), runName: rest.slice(separator + 1) };
}
