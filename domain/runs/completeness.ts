import { baseCallsKey } from './runFolder.js';
import { type Cycles, READ_NAMES, type ReadName, type RunParameters } from './runParameters.js';
import type { RunOutcome, RunUploaded } from './runUploaded.js';

/** What is there of the `BaseCalls` of a run. */
export interface Completeness {
  /** Number of files that the cycles ask for, and of those that are there with something in them. */
  expected: number;
  present: number;
  /** The first twenty of those that are absent or empty. */
  missing: string[];
  missingCount: number;
}

const NAMED = 20;

/** Tallies `BaseCalls` files while they are listed: a mark for each read and cycle, however many objects there are. */
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
    // The key must be spelt as the instrument spells it: C0001 is no cycle.
    if (seen !== undefined && cycle >= 1 && cycle <= seen.length && size > 0 && key === baseCallsKey(match![1]!, cycle))
      seen[cycle - 1] = 1;
  }

  result(): Completeness {
    const result: Completeness = { expected: 0, present: 0, missing: [], missingCount: 0 };
    for (const read of READ_NAMES) {
      for (const [at, seen] of this.#seen[read]!.entries()) {
        result.expected++;
        if (seen === 1) result.present++;
        else if (++result.missingCount <= NAMED) result.missing.push(baseCallsKey(read, at + 1));
      }
    }
    return result;
  }
}

/** What stands in a run folder's root, for telling what the run is without reading it. */
export interface RunFolderContent {
  folders: readonly string[];
  files: readonly string[];
}

/**
 * Why a run is none that Bases2Fastq takes; undefined for sequencing runs and where nothing says otherwise. Cytoprofiling runs
 * (AVITI24) say so in RunParameters.json and RunUploaded.json and have a folder of their own; a pressure check is a run of the
 * instrument's own that sequences nothing, told by its type or name.
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
  if (isPressureCheck) return 'The run is a pressure check of the instrument, which sequences nothing';
  if (type !== undefined && type !== 'Sequencing')
    return `The run is a ${type} run; Bases2Fastq flows take sequencing runs`;
  if (content !== undefined && (content.folders.includes('Cytoprofiling') || content.files.includes('Panel.json')))
    return 'The run is a Cytoprofiling run (it has a Cytoprofiling folder or Panel.json); Bases2Fastq flows take sequencing runs';
  return undefined;
}

/**
 * Why a flow does not take a run whose upload has ended; undefined where it does. Stopped and unknown outcomes are for no flow,
 * failed ones and those that could not be read for flows that say so (what they say by default stands in the table of flows).
 */
export function whyFlowRejects(
  flow: { acceptFailedOutcome: boolean; acceptUnverified: boolean },
  run: { outcome: RunOutcome | null; checked: 'content' | 'presence' },
): string | undefined {
  if (run.checked === 'presence')
    return flow.acceptUnverified
      ? undefined
      : 'its outcome and cycles were not checked, since the provider may not read them (s3:GetObject); allow that and retry the run, or have a flow with acceptUnverified take it';
  if (run.outcome === 'completed') return undefined;
  if (run.outcome === 'failed')
    return flow.acceptFailedOutcome
      ? undefined
      : 'the instrument ended it as failed; a flow with acceptFailedOutcome takes it, since its cycles are all there';
  return `the instrument ended it as ${run.outcome ?? 'unknown'}`;
}

/** Where an upload stands. */
export interface UploadProgress {
  /** Objects of `BaseCalls`, and their bytes. */
  objects: number;
  bytes: number;
  /** Cycles that are there, of those expected; 0 of 0 until RunParameters.json is there. */
  cycles: number;
  expectedCycles: number;
  /** Absent or empty although RunUploaded.json is there; the first twenty, and how many. */
  missing?: string[];
  missingCount?: number;
  /** RFC 3339: when it last grew. */
  timeGrown: string;
  /** Whether it has not grown for longer than an upload should. */
  stalled: boolean;
}
