import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { errorMessage } from '../../../domain/errors.js';
import { expectedBaseCalls, parseRunFolderName } from '../../../domain/runs/runFolder.js';
import { parseRunParameters, type RunParameters } from '../../../domain/runs/runParameters.js';
import { parseRunUploaded, RUN_UPLOADED_FILE } from '../../../domain/runs/runUploaded.js';
import { CliError, EXIT } from '../exit.js';
import { readLocalText, type WalkOptions } from './localFiles.js';

const usageError = (message: string): CliError => new CliError(message, EXIT.usage);

async function readOptional(root: string, name: string, options: WalkOptions): Promise<string | undefined> {
  try {
    return await readLocalText(root, name, options);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw usageError(`${path.join(root, name)} cannot be read: ${errorMessage(error)}`);
  }
}

async function hasContent(file: string): Promise<boolean> {
  return stat(file).then(
    ({ size }) => size > 0,
    () => false,
  );
}

async function readParameters(folder: string, options: WalkOptions): Promise<RunParameters> {
  const text = await readOptional(folder, 'RunParameters.json', options);
  if (text === undefined)
    throw usageError(`${folder} has no RunParameters.json, so it is not a run folder; check the path`);
  try {
    return parseRunParameters(text);
  } catch (error) {
    throw usageError(errorMessage(error));
  }
}

const ADVICE_PARTIAL = 'To upload an incomplete run as it is, add --partial';

async function checkHasEnded(folder: string, options: WalkOptions): Promise<void> {
  const text = await readOptional(folder, RUN_UPLOADED_FILE, options);
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

/** A run folder that can be uploaded. */
export interface CheckedRunFolder {
  /** Its real path, which stays the same if somebody puts a link in its place. */
  root: string;
  /** What the API wants to know of it. */
  names: { runFolder: string; instrumentName: string };
}

/**
 * Checks a run folder before any file of it is uploaded.
 * @param options.partial whether the run may be incomplete
 * @throws CliError `usage` that names the first problem and the remedy
 */
export async function checkRunFolder(
  folder: string,
  options: WalkOptions & { partial: boolean },
): Promise<CheckedRunFolder> {
  const root = await realpath(folder).catch(() => folder);
  const isFolder = await stat(root).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) throw usageError(`${folder} is not a folder`);
  const parameters = await readParameters(root, options);
  const { instrumentName } = parameters;
  const runFolder = path.basename(path.resolve(folder));
  if (parseRunFolderName(runFolder, instrumentName) === undefined) {
    throw usageError(
      `The folder is named ${runFolder}; instrument ${instrumentName} names its folders ` +
        `<YYYYMMDD>_${instrumentName}_<run name>. Restore the name that the instrument gave it`,
    );
  }
  if (!options.partial) {
    await checkHasEnded(root, options);
    await checkBaseCalls(root, parameters);
  }
  return { root, names: { runFolder, instrumentName } };
}
