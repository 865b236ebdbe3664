import { FileFormatError } from '../errors.js';
import { splitLine } from './manifest.js';
import type { SampleStats, UnassignedSequence } from './series.js';

/** What a percentage of one lane is a share of. Rows for both lanes always have shares of the run. */
export type PercentOf = 'run' | 'lane';

/** How many polonies an index of a sample has. */
export interface IndexRow {
  sampleName: string;
  sampleNumber: number | null;
  index1: string;
  index2: string;
  /** `1`, `2` or `1+2`. A file has rows for both lanes and for each of them: adding all counts polonies twice. */
  lane: string;
  polonies: number;
  percent: number | null;
  /** Bases. */
  yield: number | null;
}

/** The parsed content of IndexAssignment.csv. */
export interface IndexSeries {
  /** Null where the file does not show it. */
  percentOf: PercentOf | null;
  rows: IndexRow[];
  /** Whether the file has more rows. */
  isTruncated: boolean;
}

/** The parsed content of UnassignedSequences.csv. */
export interface UnassignedSeries {
  percentOf: PercentOf | null;
  /** For each lane, those with the most polonies first. */
  rows: UnassignedSequence[];
  isTruncated: boolean;
}

/** A row of IndexAssignment.csv with the mismatches of RunStats.json. */
export interface IndexRowWithMismatches extends IndexRow {
  /** The share of its polonies whose index is that of the sample, in percent; null where nothing tells. */
  percentPerfect: number | null;
  /** The share of its polonies whose index differs from that of the sample, in percent. */
  percentMismatch: number | null;
}

const MOST_ROWS = 10_000;
const MOST_UNASSIGNED = 100;
const MOST_CHARACTERS = 255;

type Row = Record<string, string>;

/** Parses CSV with headings, which must be among the first lines. Cells are by heading in lower case. */
function parseRows(file: string, content: string, required: readonly string[]): Row[] {
  let headings: string[] | undefined;
  const rows: Row[] = [];
  for (const [at, line] of content
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n|\r/)
    .entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const cells = splitLine(line, at + 1, file).map((cell) => cell.text);
    if (headings === undefined) {
      headings = cells.map((cell) => cell.toLowerCase());
      const missing = required.filter((name) => !headings!.includes(name.toLowerCase()));
      if (missing.length > 0)
        throw new FileFormatError(file, `the column ${missing.join(' and the column ')} is missing`, at + 1);
    } else {
      rows.push(Object.fromEntries(headings.map((heading, column) => [heading, cells[column] ?? ''])));
      // One more tells that the file has more.
      if (rows.length > 10 * MOST_ROWS) break;
    }
  }
  if (headings === undefined) throw new FileFormatError(file, 'the file is empty');
  return rows;
}

function numberOf(cell: string | undefined): number | null {
  const value = cell === undefined || cell.trim() === '' ? NaN : Number(cell);
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : null;
}

const wholeOf = (value: number | null): number | null => (Number.isSafeInteger(value) ? value : null);

function percentOf(cell: string | undefined): number | null {
  const value = numberOf(cell);
  return value === null || value > 100 ? null : value;
}

const shorten = (cell: string | undefined): string => (cell ?? '').slice(0, MOST_CHARACTERS);
const laneOf = (cell: string | undefined): string => shorten(cell).replace(/\s/g, '');

/**
 * Parses `IndexAssignment.csv`. Instruments and versions of Bases2Fastq order the columns differently, and some lack the
 * sample number and the yield.
 * @throws FileFormatError when it lacks the columns SampleName and NumPoloniesAssigned, or counts nothing
 */
export function parseIndexSeries(content: string): IndexSeries {
  const file = 'IndexAssignment.csv';
  const found = parseRows(file, content, ['SampleName', 'NumPoloniesAssigned']);
  const rows = found.slice(0, MOST_ROWS).map((row, at): IndexRow => {
    const polonies = numberOf(row.numpoloniesassigned);
    if (polonies === null)
      throw new FileFormatError(
        file,
        `row ${at + 1} has ${JSON.stringify(shorten(row.numpoloniesassigned))} as NumPoloniesAssigned, not a number`,
      );
    const gigabases = numberOf(row['yield(gb)']);
    return {
      sampleName: shorten(row.samplename),
      sampleNumber: wholeOf(numberOf(row.samplenumber)),
      index1: shorten(row.i1 ?? row.index1),
      index2: shorten(row.i2 ?? row.index2),
      lane: laneOf(row.lane),
      polonies,
      percent: percentOf(row.percentpoloniesassigned),
      yield: wholeOf(gigabases === null ? null : Math.round(gigabases * 1e9)),
    };
  });
  return { percentOf: findPercentOf(rows), rows, isTruncated: found.length > MOST_ROWS };
}

/**
 * Parses `UnassignedSequences.csv`: the indexes that belong to no sample, at most 100 of each lane.
 * @throws FileFormatError when it lacks the column Count
 */
export function parseUnassignedSeries(content: string): UnassignedSeries {
  const found = parseRows('UnassignedSequences.csv', content, ['Count']);
  const all = found.flatMap((row): UnassignedSequence[] => {
    const polonies = numberOf(row.count);
    if (polonies === null) return [];
    return [
      {
        lane: laneOf(row.lane),
        index1: shorten(row.i1 ?? row.index1),
        index2: shorten(row.i2 ?? row.index2),
        polonies,
        percent: percentOf(row['% polonies'] ?? row.percentpolonies),
      },
    ];
  });
  const byLane = new Map<string, UnassignedSequence[]>();
  for (const row of all) {
    const lane = byLane.get(row.lane) ?? [];
    byLane.set(row.lane, lane);
    lane.push(row);
  }
  const rows = [...byLane.values()].flatMap((lane) =>
    lane.sort((one, other) => other.polonies - one.polonies).slice(0, MOST_UNASSIGNED),
  );
  return { percentOf: findPercentOf(all), rows, isTruncated: rows.length < all.length };
}

/** How far two totals may differ that are the same. Percentages have four to six digits after the point. */
const TOLERANCE = 0.01;

/**
 * Finds out what the percentages of single lanes are shares of: versions of Bases2Fastq differ. A count and its
 * percentage give the total, and the rows for both lanes give the total of the run.
 */
function findPercentOf(rows: readonly { lane: string; polonies: number; percent: number | null }[]): PercentOf | null {
  const best = new Map<string, { total: number; percent: number }>();
  const sums = new Map<string, number>();
  for (const { lane, polonies, percent } of rows) {
    if (percent === null || percent === 0 || polonies === 0) continue;
    sums.set(lane, (sums.get(lane) ?? 0) + percent);
    // The largest percentage has the most digits.
    if (percent > (best.get(lane)?.percent ?? 0)) best.set(lane, { percent, total: (100 * polonies) / percent });
  }
  const run = best.get('1+2')?.total;
  const lanes = [...best].filter(([lane]) => /^\d+$/.test(lane));
  if (run !== undefined && lanes.length > 0)
    return lanes.every(([, { total }]) => Math.abs(total - run) / run < TOLERANCE) ? 'run' : 'lane';
  // With a single lane, the run is the lane.
  if (lanes.length === 1) return 'lane';
  const sum = lanes.reduce((total, [lane]) => total + sums.get(lane)!, 0);
  return sum > 100 * (1 + TOLERANCE) ? 'lane' : null;
}

/** Adds the mismatches of each index, which RunStats.json has, to the rows of IndexAssignment.csv. */
export function joinMismatches(rows: readonly IndexRow[], samples: readonly SampleStats[]): IndexRowWithMismatches[] {
  // One sum for each sample, index and lane: in a file that repeats them, every row would look at every occurrence.
  const sums = new Map<string, Mismatches>();
  const keyOf = (sample: string, sequence: string, lane: string): string => `${sample}\n${sequence}\n${lane}`;
  for (const { sampleName, occurrences } of samples)
    for (const { sequence, lane, polonies, percentMismatch } of occurrences) {
      if (lane === null || polonies === null || percentMismatch === null) continue;
      const key = keyOf(sampleName, sequence, String(lane));
      const known = sums.get(key) ?? { total: 0, mismatched: 0 };
      sums.set(key, known);
      known.total += polonies;
      known.mismatched += polonies * percentMismatch;
    }
  return rows.map((row) => {
    const lanes = new Set(row.lane.split('+'));
    const own = [...lanes].flatMap((lane) => sums.get(keyOf(row.sampleName, `${row.index1}${row.index2}`, lane)) ?? []);
    const percentMismatch = weighMismatches(own);
    return {
      ...row,
      percentPerfect: percentMismatch === null ? null : Math.round((100 - percentMismatch) * 1e4) / 1e4,
      percentMismatch,
    };
  });
}

/** Polonies of a sample, and those of them with a mismatch, as polonies times percent. */
interface Mismatches {
  total: number;
  mismatched: number;
}

function weighMismatches(sums: readonly Mismatches[]): number | null {
  const total = sums.reduce((sum, each) => sum + each.total, 0);
  if (total === 0) return null;
  const mismatched = sums.reduce((sum, each) => sum + each.mismatched, 0);
  return Math.round((mismatched / total) * 1e4) / 1e4;
}
