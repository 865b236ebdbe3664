import { parseJsonObject } from './runParameters.js';

/** SequencingMetrics of the vendor's contract. The yield is in bases; shares are in percent. */
export interface RunMetrics {
  totalReads?: number;
  totalYield?: number;
  q30?: number;
  q40?: number;
  q50?: number;
  avgQ?: number;
  errorRate?: number;
  phixAlignmentRate?: number;
}

type Json = Record<string, unknown>;
const objects = (value: unknown): Json[] =>
  Array.isArray(value)
    ? (value as unknown[]).filter(
        (each): each is Json => typeof each === 'object' && each !== null && !Array.isArray(each),
      )
    : [];
const count = (value: unknown): number | undefined =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
const roundToFourDigits = (value: number): number => Math.round(value * 1e4) / 1e4;

/** The mean of the values above zero: the instrument writes 0 for a missing measurement. */
function mean(values: unknown[]): number | undefined {
  const measured = values.filter(
    (value): value is number => typeof value === 'number' && Number.isFinite(value) && value > 0,
  );
  return measured.length === 0
    ? undefined
    : roundToFourDigits(measured.reduce((sum, value) => sum + value, 0) / measured.length);
}

/**
 * Parses `AvitiRunStats.json`, the measurements of the instrument (format 2.0.0 of AVITI OS 2.5 and 2.6, and compatible
 * formats). It contains the polonies that pass the filter and the yield. Quality and errors are means over the cycles
 * of the reads R1 and R2, which all have the same polonies. The result lacks members that are missing or malformed.
 * Public LIMS code reads the same members: `RunStats.{PFCount, TotalYield, Reads[].{Read, PhiXAlignmentRate,
 * Cycles[]}}`.
 * @throws FileFormatError when it is empty or not a JSON object.
 */
export function parseAvitiRunStats(content: string): RunMetrics {
  const { RunStats, LaneStats } = parseJsonObject('AvitiRunStats.json', content);
  const [run = {}] = objects([RunStats]);
  const ofRun = objects(run.Reads);
  const reads = (ofRun.length > 0 ? ofRun : objects(LaneStats).flatMap((lane) => objects(lane.Reads))).filter(
    ({ Read }) => typeof Read === 'string' && /^R\d$/.test(Read),
  );
  const cycles = reads.flatMap((read) => objects(read.Cycles));
  const over = (name: string): number | undefined => mean(cycles.map((cycle) => cycle[name]));
  const metrics: RunMetrics = {
    totalReads: count(run.PFCount),
    totalYield: count(run.TotalYield),
    q30: over('PercentQ30'),
    q40: over('PercentQ40'),
    q50: over('PercentQ50'),
    avgQ: over('AverageQScore'),
    errorRate: over('PercentPhixErrorRate'),
    phixAlignmentRate: mean(reads.map((read) => read.PhiXAlignmentRate)),
  };
  return Object.fromEntries(Object.entries(metrics).filter(([, value]) => value !== undefined));
}
