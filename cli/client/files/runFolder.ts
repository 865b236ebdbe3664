import type { Dirent } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { errorMessage } from '../../../domain/errors.js';
import { expectedBaseCalls, parseRunFolderName } from '../../../domain/runs/runFolder.js';
import { parseRunParameters, type RunParameters } from '../../../domain/runs/runParameters.js';
import { parseRunUploaded, RUN_UPLOADED_FILE } from '../../../domain/runs/runUploaded.js';
import { CliError, EXIT } from '../exit.js';
import { cell } from '../output.js';

/** A file of a run folder on this machine. */
export interface LocalFile {
  /** Path relative to the run folder, with slashes. */
  name: string;
  /** Absolute or relative path that opens the file. */
  file: string;
  /** Bytes. */
  size: number;
  mtimeMs: number;
  /** When content or name last changed (ctime). Unlike `mtimeMs`, no program can set it back. */
  changedMs: number;
}

const usageError = (message: string): CliError => new CliError(message, EXIT.usage);

/** How to walk through a run folder. */
export interface WalkOptions {
  /** Whether to read what symbolic links point to in their place. Otherwise they are errors. */
  followLinks?: boolean;
}

type EntryKind = 'file' | 'folder';

/** What an entry is, or what the link in its place points to. @throws CliError for devices, and links that lead nowhere */
async function kindOf(entry: Dirent, name: string, file: string, { followLinks }: WalkOptions): Promise<EntryKind> {
  if (entry.isSymbolicLink() && followLinks === true) {
    const found = await stat(file).catch((error: NodeJS.ErrnoException) => {
      throw usageError(`${cell(name)} is a link that leads nowhere (${error.code}). Repair or remove it`);
    });
    if (found.isDirectory()) return 'folder';
    if (found.isFile()) return 'file';
  }
  if (entry.isDirectory()) return 'folder';
  if (entry.isFile()) return 'file';
  throw usageError(
    entry.isSymbolicLink() && followLinks !== true
      ? `${cell(name)} is a link. To upload what links point to, add --follow-symlinks; or remove it from the folder`
      : `${cell(name)} is a device; a run folder may hold only files and folders. Remove it from the folder`,
  );
}

/** Reads one folder, sorted by name. @throws CliError for links, devices and names that S3 cannot list */
async function readFolder(
  root: string,
  folder: string,
  options: WalkOptions,
): Promise<{ files: LocalFile[]; folders: string[] }> {
  const files: LocalFile[] = [];
  const folders: string[] = [];
  const entries = await readdir(path.join(root, folder), { withFileTypes: true });
  for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
    const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
    // S3 answers listings in XML, which cannot write control characters.
    if (/[\p{Cc}\ufffd]/u.test(entry.name))
      throw usageError(`${cell(name)} has characters in its name that S3 cannot list; rename the file`);
    const file = path.join(root, name);
    if ((await kindOf(entry, name, file, options)) === 'folder') {
      folders.push(name);
      continue;
    }
    const { size, mtimeMs, ctimeMs } = await stat(file);
    files.push({ name, file, size, mtimeMs, changedMs: ctimeMs });
  }
  return { files, folders };
}

/** Yields the files of a run folder, one folder at a time, so that memory does not grow with the run. */
export async function* walkRunFolder(
  root: string,
  options: WalkOptions = {},
  folder = '',
  parents: readonly string[] = [],
): AsyncGenerator<LocalFile[]> {
  // Without links, no folder contains itself.
  const place = options.followLinks === true ? await realpath(path.join(root, folder)) : '';
  if (place !== '' && parents.includes(place))
    throw usageError(`${cell(folder)} is a link to a folder that contains it. Remove it from the folder`);
  const { files, folders } = await readFolder(root, folder, options);
  if (files.length > 0) yield files;
  for (const each of folders) yield* walkRunFolder(root, options, each, [...parents, place]);
}

/** The folder of a file, relative to the run folder; empty for the run folder itself. */
export function folderOf({ name }: LocalFile): string {
  return path.posix.dirname(name).replace(/^\.$/, '');
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw usageError(`${file} cannot be read: ${message}`);
  }
}

async function hasContent(file: string): Promise<boolean> {
  return stat(file).then(
    ({ size }) => size > 0,
    () => false,
  );
}

async function readParameters(folder: string): Promise<RunParameters> {
  const text = await readOptional(path.join(folder, 'RunParameters.json'));
  if (text === undefined)
    throw usageError(`${folder} has no RunParameters.json, so it is not a run folder; check the path`);
  try {
    return parseRunParameters(text);
  } catch (error) {
    throw usageError(errorMessage(error));
  }
}

const ADVICE_PARTIAL = 'To upload an incomplete run as it is, add --partial';

async function checkHasEnded(folder: string): Promise<void> {
  const text = await readOptional(path.join(folder, RUN_UPLOADED_FILE));
  let hasEnded = false;
  try {
    hasEnded = text !== undefined && parseRunUploaded(text) !== undefined;
  } catch (error) {
    throw usageError(`${errorMessage(error)}. ${ADVICE_PARTIAL}`);
  }
  if (!hasEnded) {
    throw usageError(
      `${folder} has no ${RUN_UPLOADED_FILE} with content, so the run has not ended. ${ADVICE_PARTIAL}, ` +
        'and run the same command without it when the run has ended',
    );
  }
}

async function checkBaseCalls(folder: string, { cycles }: RunParameters): Promise<void> {
  const missing: string[] = [];
  for (const name of expectedBaseCalls(cycles ?? {}))
    if (!(await hasContent(path.join(folder, name)))) missing.push(name);
  if (missing.length === 0) return;
  const names = `${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ', …' : ''}`;
  throw usageError(
    `${missing.length} files that RunParameters.json names are missing or empty: ${names}. ${ADVICE_PARTIAL}`,
  );
}

/**
 * Checks a run folder before any file of it is uploaded.
 * @param isPartial whether the run may be incomplete
 * @throws CliError `usage` that names the first problem and the remedy
 */
export async function checkRunFolder(
  folder: string,
  isPartial: boolean,
): Promise<{ runFolder: string; instrumentName: string }> {
  const isFolder = await stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) throw usageError(`${folder} is not a folder`);
  const parameters = await readParameters(folder);
  const { instrumentName } = parameters;
  const runFolder = path.basename(path.resolve(folder));
  if (parseRunFolderName(runFolder, instrumentName) === undefined) {
    throw usageError(
      `The folder is named ${runFolder}; instrument ${instrumentName} names its folders ` +
        `<YYYYMMDD>_${instrumentName}_<run name>. Restore the name that the instrument gave it`,
    );
  }
  if (!isPartial) {
    await checkHasEnded(folder);
    await checkBaseCalls(folder, parameters);
  }
  return { runFolder, instrumentName };
}
