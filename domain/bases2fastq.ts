import type { ExecutionSummary } from './execution.js';
import { parseJsonObject } from './runParameters.js';

function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * Reads `RunStats.json` of Bases2Fastq 1.7 to 2.4.
 * @throws FileFormatError when it is empty or no JSON object.
 */
export function parseRunStats(content: string): Omit<ExecutionSummary, 'files' | 'warnings'> {
  const json = parseJsonObject('RunStats.json', content);
  const samples = Array.isArray(json.SampleStats) ? (json.SampleStats as unknown[]) : [];
  return {
    analysisId: string(json.AnalysisID),
    analysisVersion: string(json.AnalysisVersion),
    totalYield: number(json.TotalYield),
    assignedYield: number(json.AssignedYield),
    numPolonies: number(json.NumPolonies),
    percentAssignedReads: number(json.PercentAssignedReads),
    percentMismatch: number(json.PercentMismatch),
    percentQ30: number(json.PercentQ30),
    percentQ40: number(json.PercentQ40),
    qualityScoreMean: number(json.QualityScoreMean),
    samples: samples.flatMap((sample) => {
      if (typeof sample !== 'object' || sample === null) return [];
      const stats = sample as Record<string, unknown>;
      const name = string(stats.SampleName);
      return name === undefined ? [] : [{ name, numPolonies: number(stats.NumPolonies), yield: number(stats.Yield), percentQ30: number(stats.PercentQ30) }];
    }),
  };
}
