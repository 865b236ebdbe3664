import { FileFormatError } from '../errors.js';
import { parseJsonObject } from './runParameters.js';

/**
 * Values by cycle: arrays of the same length as `cycle`, with null where the file lacks a value, and null in place of an
 * array whose values are all missing. Shares are in percent.
 */
export interface CycleSeries {
  /** Counted from 1. */
  cycle: number[];
  percentQ30: (number | null)[] | null;
  percentQ40: (number | null)[] | null;
  /** A Phred score. */
  qualityScoreMean: (number | null)[] | null;
  /** The share of PhiX bases that differ from the PhiX genome, in percent. */
  errorRate: (number | null)[] | null;
  /** Shares of the bases that the file counts in the cycle, in percent. */
  percentA: (number | null)[] | null;
  percentC: (number | null)[] | null;
  percentG: (number | null)[] | null;
  percentT: (number | null)[] | null;
  percentN: (number | null)[] | null;
}

/** One read of a run or of a lane. */
export interface ReadSeries {
  /** R1, R2, I1 or I2. */
  read: string;
  percentQ30: number | null;
  percentQ40: number | null;
  qualityScoreMean: number | null;
  errorRate: number | null;
  phixAlignmentRate: number | null;
  cycles: CycleSeries;
}

/** Totals of a run or of a lane. Yields are in bases, shares in percent; null where the file lacks the value. */
export interface StatsTotals {
  yield: number | null;
  assignedYield: number | null;
  /** Polonies; of AvitiRunStats.json, also those that do not pass the filter. */
  polonies: number | null;
  poloniesPassingFilter: number | null;
  percentPassingFilter: number | null;
  percentQ30: number | null;
  percentQ40: number | null;
  qualityScoreMean: number | null;
  errorRate: number | null;
  percentAssigned: number | null;
  /** Of the assigned polonies: those whose index differs from that of the sample. */
  percentMismatch: number | null;
  reads: ReadSeries[];
}

/** A sample in RunStats.json. */
export interface SampleStats {
  sampleName: string;
  sampleNumber: number | null;
  polonies: number | null;
  /** Bases. */
  yield: number | null;
  percentQ30: number | null;
  percentQ40: number | null;
  qualityScoreMean: number | null;
  percentMismatch: number | null;
  /** By lane and index. */
  occurrences: { lane: number | null; sequence: string; polonies: number | null; percentMismatch: number | null }[];
}

/** An index that no sample has. */
export interface UnassignedSequence {
  /** `1`, `2` or `1+2`. */
  lane: string;
  index1: string;
  index2: string;
  polonies: number;
  percent: number | null;
}

/** The parsed content of AvitiRunStats.json or RunStats.json. */
export interface StatsSeries {
  /** Version of the format, as the file names it. */
  fileVersion: string | null;
  /** Version of Bases2Fastq. */
  softwareVersion: string | null;
  run: StatsTotals;
  lanes: (StatsTotals & { lane: number })[];
  samples: SampleStats[];
  unassigned: UnassignedSequence[];
  /** What is wrong with single values, which are null. */
  warnings: string[];
}

type Json = Record<string, unknown>;

/** Most cycles of a read, reads of a lane, lanes, samples, and unassigned sequences of a lane that polony reads. */
const MOST = { cycles: 2000, reads: 16, lanes: 16, samples: 10_000, occurrences: 64, unassigned: 100 };
/** Most characters of a text of a file. */
const MOST_CHARACTERS = 255;
const MOST_WARNINGS = 5;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const objects = (value: unknown, most: number): Json[] =>
  Array.isArray(value) ? (value as unknown[]).filter(isObject).slice(0, most) : [];
const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, MOST_CHARACTERS) : '');
const round = (value: number): number => Math.round(value * 1e4) / 1e4;

/** Reads numbers of a file. A number outside its range is missing, and leads to a warning. */
class Numbers {
  readonly warnings: string[] = [];
  #rejected = 0;

  /** @param zeroIsMissing whether the file has 0 where nothing was measured */
  constructor(private readonly zeroIsMissing: boolean) {}

  between(value: unknown, name: string, most: number): number | null {
    if (value === undefined || value === null || value === '') return null;
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || value > most) {
      // An object may be nested too deep to write it.
      const found = typeof value === 'object' ? 'an object' : JSON.stringify(value).slice(0, 50);
      this.#reject(`${name} is ${found}, which is not a number from 0 to ${most}`);
      return null;
    }
    return round(value);
  }

  percent(source: Json, ...names: string[]): number | null {
    return this.#first(source, names, 100);
  }

  quality(source: Json, ...names: string[]): number | null {
    return this.#first(source, names, 100);
  }

  count(source: Json, ...names: string[]): number | null {
    const value = this.#first(source, names, Number.MAX_SAFE_INTEGER);
    return value === null ? null : Math.round(value);
  }

  /** A measured value: 0 counts as missing where the file says so. */
  measured(value: number | null): number | null {
    return value === 0 && this.zeroIsMissing ? null : value;
  }

  #first(source: Json, names: string[], most: number): number | null {
    const name = names.find((each) => source[each] !== undefined && source[each] !== null);
    return name === undefined ? null : this.between(source[name], name, most);
  }

  #reject(problem: string): void {
    this.#rejected++;
    if (this.warnings.length < MOST_WARNINGS) this.warnings.push(problem);
    else this.warnings[MOST_WARNINGS - 1] = `${this.#rejected - MOST_WARNINGS + 1} more values are out of range`;
  }
}

const BASES = ['A', 'C', 'G', 'T', 'N'] as const;

/** @returns undefined for a column without values */
function column(values: (number | null)[]): (number | null)[] | null {
  return values.every((value) => value === null) ? null : values;
}

/** Shares of the bases in percent. Files have counts, percentages or fractions. */
function composition(cycle: Json): (number | null)[] {
  const source = isObject(cycle.BaseComposition) ? cycle.BaseComposition : {};
  const values = BASES.map((base) => source[base]).map((value) =>
    typeof value === 'number' && value >= 0 ? value : null,
  );
  // Without one of its parts, a sum says nothing of the shares of the others.
  if (values.some((value) => value !== null && value > Number.MAX_SAFE_INTEGER)) return BASES.map(() => null);
  const total = values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  return values.map((value) => (value === null || total === 0 ? null : round((100 * value) / total)));
}

function parseCycles(source: unknown, numbers: Numbers): CycleSeries {
  const cycles = objects(source, MOST.cycles);
  const measure = (read: (cycle: Json) => number | null): (number | null)[] | null =>
    column(cycles.map((cycle) => numbers.measured(read(cycle))));
  const bases = cycles.map(composition);
  const base = (at: number): (number | null)[] | null => column(bases.map((each) => each[at]!));
  return {
    // Bases2Fastq and instruments number cycles from 1. A file without numbers has them in order.
    cycle: cycles.map((cycle, at) => (Number.isSafeInteger(cycle.Cycle) ? (cycle.Cycle as number) : at + 1)),
    percentQ30: measure((cycle) => numbers.percent(cycle, 'PercentQ30')),
    percentQ40: measure((cycle) => numbers.percent(cycle, 'PercentQ40')),
    qualityScoreMean: measure((cycle) => numbers.quality(cycle, 'QualityScoreMean', 'AverageQScore')),
    errorRate: measure((cycle) => numbers.percent(cycle, 'PercentPhixErrorRate', 'PercentErrorRate')),
    percentA: base(0),
    percentC: base(1),
    percentG: base(2),
    percentT: base(3),
    percentN: base(4),
  };
}

function mean(values: readonly (number | null)[] | null): number | null {
  const known = (values ?? []).filter((value) => value !== null);
  return known.length === 0 ? null : round(known.reduce((sum, value) => sum + value, 0) / known.length);
}

function parseReads(source: unknown, numbers: Numbers): ReadSeries[] {
  return objects(source, MOST.reads).flatMap((read) => {
    const name = text(read.Read);
    if (!/^[RI]\d$/.test(name)) return [];
    const cycles = parseCycles(read.Cycles, numbers);
    return [
      {
        read: name,
        percentQ30: numbers.percent(read, 'PercentQ30') ?? mean(cycles.percentQ30),
        percentQ40: numbers.percent(read, 'PercentQ40') ?? mean(cycles.percentQ40),
        qualityScoreMean: numbers.quality(read, 'QualityScoreMean') ?? mean(cycles.qualityScoreMean),
        errorRate: mean(cycles.errorRate),
        phixAlignmentRate: numbers.measured(numbers.percent(read, 'PhiXAlignmentRate')),
        cycles,
      },
    ];
  });
}

/** The mean over the cycles of R1 and R2, which all have the same polonies. */
function overInserts(
  reads: readonly ReadSeries[],
  of: 'percentQ30' | 'percentQ40' | 'qualityScoreMean' | 'errorRate',
): number | null {
  return mean(reads.filter(({ read }) => read.startsWith('R')).flatMap(({ cycles }) => cycles[of] ?? []));
}

/** `RunStats` or one of `LaneStats` of AvitiRunStats.json. */
function instrumentTotals(source: Json, numbers: Numbers): StatsTotals {
  const reads = parseReads(source.Reads, numbers);
  return {
    yield: numbers.count(source, 'TotalYield'),
    assignedYield: null,
    polonies: numbers.count(source, 'PolonyCount'),
    poloniesPassingFilter: numbers.count(source, 'PFCount'),
    percentPassingFilter: numbers.percent(source, 'PercentPF'),
    percentQ30: overInserts(reads, 'percentQ30'),
    percentQ40: overInserts(reads, 'percentQ40'),
    qualityScoreMean: overInserts(reads, 'qualityScoreMean'),
    errorRate: overInserts(reads, 'errorRate'),
    percentAssigned: null,
    percentMismatch: null,
    reads,
  };
}

/** Numbers of lanes. A run without a manifest has 0 for every lane; then they are in order. */
function numberLanes(lanes: readonly Json[]): number[] {
  const given = lanes.map(({ Lane }) => Lane);
  const areValid =
    given.every((lane) => Number.isSafeInteger(lane) && (lane as number) > 0) && new Set(given).size === given.length;
  return areValid ? (given as number[]) : lanes.map((_, at) => at + 1);
}

function isEmpty({ run, lanes, samples }: Pick<StatsSeries, 'run' | 'lanes' | 'samples'>): boolean {
  const hasNone = (totals: StatsTotals): boolean =>
    totals.reads.length === 0 && totals.yield === null && totals.polonies === null && totals.percentQ30 === null;
  return hasNone(run) && lanes.every(hasNone) && samples.length === 0;
}

/**
 * Parses `AvitiRunStats.json`: what the instrument measured by read and cycle, for the run and each lane. The file has 0
 * for what was not measured, such as the error rate before PhiX can be aligned. Formats differ in their members: what a
 * file lacks is null.
 * @throws FileFormatError when it is not a JSON object, or has nothing of a run
 */
export function parseInstrumentSeries(content: string): StatsSeries {
  const file = 'AvitiRunStats.json';
  const json = parseJsonObject(file, content);
  const numbers = new Numbers(true);
  const lanes = objects(json.LaneStats, MOST.lanes);
  const numbered = numberLanes(lanes);
  const series: StatsSeries = {
    fileVersion: text(json.FileVersion) || null,
    softwareVersion: null,
    run: instrumentTotals(isObject(json.RunStats) ? json.RunStats : {}, numbers),
    lanes: lanes.map((lane, at) => ({ lane: numbered[at]!, ...instrumentTotals(lane, numbers) })),
    samples: [],
    unassigned: [],
    warnings: numbers.warnings,
  };
  if (isEmpty(series)) throw new FileFormatError(file, 'it has neither RunStats nor LaneStats with values of a run');
  return series;
}

/** The run or one of `Lanes` of RunStats.json. Yields are in gigabases there. */
function analysisTotals(source: Json, numbers: Numbers): StatsTotals {
  const reads = parseReads(source.Reads, numbers);
  return {
    yield: gigabases(source.TotalYield, 'TotalYield', numbers),
    assignedYield: gigabases(source.AssignedYield, 'AssignedYield', numbers),
    polonies: numbers.count(source, 'NumPolonies'),
    poloniesPassingFilter: null,
    percentPassingFilter: null,
    percentQ30: numbers.percent(source, 'PercentQ30'),
    percentQ40: numbers.percent(source, 'PercentQ40'),
    qualityScoreMean: numbers.quality(source, 'QualityScoreMean'),
    errorRate: overInserts(reads, 'errorRate'),
    percentAssigned: numbers.percent(source, 'PercentAssignedReads'),
    percentMismatch: numbers.percent(source, 'PercentMismatch'),
    reads,
  };
}

function gigabases(value: unknown, name: string, numbers: Numbers): number | null {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) return numbers.between(value, name, 1e6);
  return value > 1e6 ? numbers.between(value, name, 1e6) : Math.round(value * 1e9);
}

/**
 * Parses `RunStats.json` of Bases2Fastq 1.7 to 2.4. What a version lacks is null.
 * @throws FileFormatError when it is not a JSON object, or has nothing of an analysis
 */
export function parseAnalysisSeries(content: string): StatsSeries {
  const file = 'RunStats.json';
  const json = parseJsonObject(file, content);
  const numbers = new Numbers(false);
  const lanes = objects(json.Lanes, MOST.lanes);
  const numbered = numberLanes(lanes);
  const series: StatsSeries = {
    fileVersion: text(json.FileVersion) || null,
    softwareVersion: text(json.AnalysisVersion) || null,
    run: analysisTotals(json, numbers),
    lanes: lanes.map((lane, at) => ({ lane: numbered[at]!, ...analysisTotals(lane, numbers) })),
    samples: objects(json.SampleStats, MOST.samples).flatMap((sample) => parseSample(sample, numbers)),
    unassigned: lanes.flatMap((lane, at) => parseUnassigned(lane, String(numbered[at]!), numbers)),
    warnings: numbers.warnings,
  };
  if (isEmpty(series)) throw new FileFormatError(file, 'it has no values of a run, of lanes or of samples');
  return series;
}

function parseSample(sample: Json, numbers: Numbers): SampleStats[] {
  const sampleName = text(sample.SampleName);
  if (sampleName === '') return [];
  return [
    {
      sampleName,
      sampleNumber: numbers.count(sample, 'SampleNumber'),
      polonies: numbers.count(sample, 'NumPolonies'),
      yield: gigabases(sample.Yield, 'Yield', numbers),
      percentQ30: numbers.percent(sample, 'PercentQ30'),
      percentQ40: numbers.percent(sample, 'PercentQ40'),
      qualityScoreMean: numbers.quality(sample, 'QualityScoreMean'),
      percentMismatch: numbers.percent(sample, 'PercentMismatch'),
      occurrences: objects(sample.Occurrences, MOST.occurrences).map((each) => ({
        lane: numbers.count(each, 'Lane'),
        sequence: text(each.ExpectedSequence),
        polonies: numbers.count(each, 'NumPolonies'),
        percentMismatch: numbers.percent(each, 'PercentMismatch'),
      })),
    },
  ];
}

function parseUnassigned(lane: Json, number: string, numbers: Numbers): UnassignedSequence[] {
  const total = numbers.count(lane, 'NumPolonies');
  return objects(lane.UnassignedSequences, MOST.samples)
    .flatMap((each) => {
      const polonies = numbers.count(each, 'Count');
      if (polonies === null) return [];
      const percent = total === null || total === 0 ? null : round((100 * polonies) / total);
      return [{ lane: number, index1: text(each.I1), index2: text(each.I2), polonies, percent }];
    })
    .sort((one, other) => other.polonies - one.polonies)
    .slice(0, MOST.unassigned);
}
