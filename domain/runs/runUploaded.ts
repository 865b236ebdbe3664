import { FileFormatError } from '../errors.js';
import { parseJsonObject } from './runParameters.js';

/** How a run ended, according to the instrument. polony never treats an `unknown` outcome as success. */
export type RunOutcome = 'completed' | 'failed' | 'stopped' | 'unknown';

/** `RunUploaded.json`: the last file that an instrument uploads. It has no time, and failed runs have it too. */
export interface RunUploaded {
  version?: string;
  instrument: string;
  instrumentId?: string;
  runType?: string;
  recipeExecutionId?: string;
  runId?: string;
  outcome: RunOutcome;
  /** As the file spells it, for example `OutcomeCompleted`. */
  outcomeText: string;
}

export const RUN_UPLOADED_FILE = 'RunUploaded.json';

const OUTCOMES: Record<string, RunOutcome> = {
  outcomecompleted: 'completed',
  outcomefailed: 'failed',
  outcomestopped: 'stopped',
};

/**
 * Parses `RunUploaded.json`.
 * @returns undefined for a file that is empty or contains only line breaks: its upload may still run, or it is damaged.
 * @throws FileFormatError when it has content that cannot be read.
 */
export function parseRunUploaded(content: string): RunUploaded | undefined {
  if (content.replace(/^\uFEFF/, '').trim() === '') return undefined;
  const json = parseJsonObject(RUN_UPLOADED_FILE, content);
  const text = (...keys: string[]): string | undefined => {
    for (const key of keys) if (typeof json[key] === 'string' && json[key] !== '') return json[key];
    return undefined;
  };
  const outcomeText = text('outcome', 'Outcome');
  const instrument = text('instrument', 'Instrument');
  if (outcomeText === undefined) throw new FileFormatError(RUN_UPLOADED_FILE, 'outcome is missing');
  return {
    version: text('version'),
    instrument: instrument ?? '',
    instrumentId: text('instrumentId', 'instrumentID'),
    runType: text('runType', 'RunType'),
    recipeExecutionId: text('recipeExecutionId', 'recipeExecutionID', 'RecipeExecutionID'),
    runId: text('runID', 'runId', 'RunID'),
    outcome: Object.hasOwn(OUTCOMES, outcomeText.toLowerCase()) ? OUTCOMES[outcomeText.toLowerCase()]! : 'unknown',
    outcomeText,
  };
}
