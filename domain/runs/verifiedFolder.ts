import type { RunParameters } from './runParameters.js';
import type { RunUploaded } from './runUploaded.js';

/** What shows that a folder is one of a run. */
export interface FolderToVerify {
  /** Whether the search for runs found it, by its name and its place. A person named the others. */
  discovered: boolean;
  parameters: RunParameters | null;
  filesDisagree: boolean;
}

/**
 * Whether the files of an instrument in one folder belong to different runs: they name two instruments or two runs.
 * Real files agree in all of these, whatever their version.
 */
export function doFilesDisagree(parameters: RunParameters, uploaded: RunUploaded): boolean {
  const differ = (one: string | undefined, other: string | undefined): boolean =>
    one !== undefined && one !== '' && other !== undefined && other !== '' && one.toLowerCase() !== other.toLowerCase();
  return (
    differ(parameters.instrumentName, uploaded.instrument.trim()) ||
    differ(parameters.runId, uploaded.runId) ||
    differ(parameters.recipeExecutionId, uploaded.recipeExecutionId)
  );
}

/**
 * Why the files of a run are not shown: nothing proves that its folder is one of a run. A person can name any folder,
 * and whoever may see runs would then see its files.
 * @returns undefined where they are shown; a reason that can follow "polony does not show them: "
 */
export function whyFolderIsUnverified({ discovered, parameters, filesDisagree }: FolderToVerify): string | undefined {
  if (discovered) return undefined;
  if (parameters === null) return 'it has not read RunParameters.json in this folder';
  if (filesDisagree) return 'RunParameters.json and RunUploaded.json in this folder belong to different runs';
  return undefined;
}
