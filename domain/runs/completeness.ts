import { baseCallsKey } from './runFolder.js';
import { type Cycles, READ_NAMES, type ReadName, type RunParameters } from './runParameters.js';
import type { RunOutcome, RunUploaded } from './runUploaded.js';

/** Which `BaseCalls` files of a run exist. */
export interface Completeness {
  /** Number of files that the cycles require, and number of those that exist and are not empty. */
  expected: number;
  present: number;
  /** The first twenty files that are missing or empty. */
  missing: string[];
  missingCount: number;
}

const MOST_NAMED = 20;

/** Counts `BaseCalls` files during a listing. It needs one byte per read and cycle, however many objects there are. */
export class CycleTally {
  readonly #seen: Partial<Record<ReadName, Uint8Array>> = {};

  constructor(cycles: Cycles) {
    for (const read of READ_NAMES) this.#seen[read] = new Uint8Array(cycles[read] ?? 0);
  }

  /** @param key below the run folder @param size in bytes */
  add(key: string, size: number): void {
    const match = /^BaseCalls\/(I1|I2|R1|R2)_C(\d{3,4})\.zip$/.exec(key);
    const seen = match === null ? undefined : this.#seen[match[1] as ReadName];
    const cycle = Number(match?.[2]);
    // The key must have the instrument's spelling: C0001 is not a cycle.
    if (seen !== undefined && cycle >= 1 && cycle <= seen.length && size > 0 && key === baseCallsKey(match![1]!, cycle))
      seen[cycle - 1] = 1;
  }

  result(): Completeness {
    const result: Completeness = { expected: 0, present: 0, missing: [], missingCount: 0 };
    for (const read of READ_NAMES) {
      for (const [at, seen] of this.#seen[read]!.entries()) {
        result.expected++;
        if (seen === 1) result.present++;
        else if (++result.missingCount <= MOST_NAMED) result.missing.push(baseCallsKey(read, at + 1));
      }
    }
    return result;
  }
}

/** What the root of a run folder contains. It shows the type of a run without reading files. */
export interface RunFolderContent {
  folders: readonly string[];
  files: readonly string[];
}

const CYTOPROFILING =
  'Bases2Fastq does not support Cytoprofiling runs, only sequencing runs. ' +
  'This run has a Cytoprofiling folder or Panel.json.';

/**
 * Why Bases2Fastq does not support a run; undefined for sequencing runs, and when nothing contradicts that.
 * RunParameters.json and RunUploaded.json name the type of Cytoprofiling runs (AVITI24), which also have their own
 * folder. A pressure check is a maintenance run that sequences nothing; its type or name shows it.
 */
export function whyBases2FastqRejects(
  parameters: RunParameters | null,
  uploaded?: Pick<RunUploaded, 'runType'>,
  content?: RunFolderContent,
): string | undefined {
  const type = uploaded?.runType ?? parameters?.runType;
  const isPressureCheck = [type, parameters?.runName, parameters?.kitConfiguration].some((text) =>
    /pressure[\s_-]*check/i.test(text ?? ''),
  );
  if (isPressureCheck) return 'The run is a pressure check of the instrument, which produces no sequences';
  if (type !== undefined && type !== 'Sequencing')
    return `Bases2Fastq does not support ${type} runs, only sequencing runs`;
  if (content !== undefined && (content.folders.includes('Cytoprofiling') || content.files.includes('Panel.json')))
    return CYTOPROFILING;
  return undefined;
}

/** What a flow accepts beyond completed, verified runs. */
export interface FlowAcceptance {
  acceptFailedOutcome: boolean;
  acceptStoppedOutcome: boolean;
  acceptUnverified: boolean;
}

/**
 * Why a flow does not accept a run whose upload has ended; undefined when it does. No flow accepts unknown outcomes. A
 * flow's settings decide about failed and stopped outcomes, and about outcomes that polony cannot read.
 */
export function whyFlowRejects(
  flow: FlowAcceptance,
  run: { outcome: RunOutcome | null; checked: 'content' | 'presence' },
): string | undefined {
  if (run.checked === 'presence')
    return flow.acceptUnverified
      ? undefined
      : 'polony could not check its outcome and cycles, because the provider lacks s3:GetObject. ' +
          'Allow it and retry the run, or set acceptUnverified for the flow.';
  if (run.outcome === 'completed') return undefined;
  if (run.outcome === 'failed')
    return flow.acceptFailedOutcome
      ? undefined
      : 'the instrument ended it as failed. All its cycles exist, so a flow with acceptFailedOutcome accepts it.';
  if (run.outcome === 'stopped' && flow.acceptStoppedOutcome) return undefined;
  return `the instrument ended it as ${run.outcome ?? 'unknown'}`;
}

/** The progress of an upload. */
export interface UploadProgress {
  /** Number of objects in `BaseCalls`, and their total size. */
  objects: number;
  bytes: number;
  /** Number of complete cycles, and of expected cycles; 0 of 0 until RunParameters.json exists. */
  cycles: number;
  expectedCycles: number;
  /** Files that are missing or empty although RunUploaded.json exists: the first twenty, and their number. */
  missing?: string[];
  missingCount?: number;
  /** RFC 3339: when it last grew. */
  timeGrown: string;
  /** Whether it has not grown for longer than an upload should. */
  stalled: boolean;
}
