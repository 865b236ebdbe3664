import type { ManifestSample } from './manifest.js';

/** A problem, or a possible problem, of a run manifest. Lines and columns count from 1. */
export interface ManifestFinding {
  /** For programs. */
  rule: string;
  line?: number;
  column?: number;
  message: string;
}

/** A finding with its severity. Bases2Fastq would fail on an error, or lose results. */
export interface RatedFinding extends ManifestFinding {
  severity: 'error' | 'warning';
  /** Findings of one rule and group are the same problem, which one of them reports. */
  group?: string;
}

/** Where something is in a manifest; without members where a parameter gives it. */
export interface ManifestPlace {
  line?: number;
  column?: number;
}

export function error(rule: string, { line, column }: ManifestPlace, message: string): RatedFinding {
  return { severity: 'error', rule, line, column, message };
}

export function warning(rule: string, { line, column }: ManifestPlace, message: string): RatedFinding {
  return { severity: 'warning', rule, line, column, message };
}

/** A row that is in both lanes has the same problem in both, and so has a sample that is listed for each of them. */
export function withoutRepetitions(findings: readonly RatedFinding[]): RatedFinding[] {
  const byPlace = new Map<string, RatedFinding>();
  for (const finding of findings) {
    const key = `${finding.rule}/${finding.group ?? `${finding.line}/${finding.column}`}`;
    if (!byPlace.has(key)) byPlace.set(key, finding);
  }
  return [...byPlace.values()];
}

/** The place of the cell below a heading in lower case, or else of the name of the sample. */
export function cellPlace(sample: ManifestSample, heading: string): ManifestPlace {
  return { line: sample.line, column: sample.columnOf(heading) ?? sample.columnOf('samplename') ?? 1 };
}
