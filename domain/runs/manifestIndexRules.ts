import { describeCharacter } from './characters.js';
import type { ManifestSample } from './manifest.js';
import type { IndexRead, Lane, ManifestContext } from './manifestContext.js';
import { cellPlace, error, type RatedFinding, warning } from './manifestFindings.js';
import { findDelimiter } from './manifestSampleRules.js';
import type { ReadName } from './runParameters.js';

type IndexHeading = 'index1' | 'index2';

/** What other tools write where there is no index, such as BCL Convert's `na`. */
const isPlaceholder = (index: string): boolean => /^(NA|N\/A|NAN|NONE|NULL|NO ?INDEX|NO|-+|\.|0)$/.test(index);

/** Whether an index consists of bases, so that rules can compare it. */
const hasBasesOnly = (index: string): boolean => !/[^ACGTN+]/.test(index) && !isPlaceholder(index);

export function findWrongIndexCharacters(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  return (['index1', 'index2'] as const).flatMap((heading) => {
    const index = sample[heading];
    if (isPlaceholder(index)) return [reportPlaceholder(context, sample, heading)];
    const wrong = /[^ACGTN+]/u.exec(index);
    if (wrong === null) return [];
    const message =
      `${titleOf(heading)} of ${sample.name} contains ${describeCharacter(wrong[0])}. ` +
      `An index consists of A, C, G, T and N.${adviseCharacters(index, heading)}`;
    return [error('index-characters', cellPlace(sample, heading), message)];
  });
}

function reportPlaceholder(context: ManifestContext, sample: ManifestSample, heading: IndexHeading): RatedFinding {
  const message =
    `${titleOf(heading)} of ${sample.name} is ${JSON.stringify(sample.textOf(heading))}, but Bases2Fastq has no word for ` +
    'a missing index. Leave the cell empty.';
  // N and A are letters of an index, so that its length decides.
  const report = sample[heading] === 'NA' && context.mayHaveIndexOfLength(2) ? warning : error;
  return report('index-characters', cellPlace(sample, heading), message);
}

function adviseCharacters(index: string, heading: IndexHeading): string {
  if (/^[ACGTN]+[^ACGTN+\w]+[ACGTN]+$|^[ACGTN]+_+[ACGTN]+$/.test(index))
    return heading === 'index1'
      ? ' Put the second index into the column Index2. To join several sequences of one index, use +.'
      : ' To join several sequences of one index, use +.';
  return /\d/.test(index) ? ' Write the sequence of the index, not its name. Join several sequences with +.' : '';
}

/** An empty sequence beside a plus sign. */
export function findEmptySequences(_context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  return (['index1', 'index2'] as const).flatMap((heading) => {
    if (!hasEmptySequence(sample[heading])) return [];
    const message = `${titleOf(heading)} of ${sample.name} has no sequence beside a +. Remove the superfluous +.`;
    return [error('index-sequence', cellPlace(sample, heading), message)];
  });
}

const hasEmptySequence = (index: string): boolean => /^\+|\+\+|\+$/.test(index);

export function findSpacesInIndex(_context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  return (['index1', 'index2'] as const).flatMap((heading) => {
    if (!/\s\+|\+\s/.test(sample.textOf(heading) ?? '')) return [];
    const message = `${titleOf(heading)} of ${sample.name} has spaces around +. Remove them.`;
    return [warning('index-spaces', cellPlace(sample, heading), message)];
  });
}

/** `+` joins several sequences in one cell. Each has the length of the mask. */
const sequencesOf = (index: string): string[] => index.split('+');

/**
 * Bases2Fastq aborts if lengths differ. There is one finding for each wrong length, not for each sample. Where a mask
 * names more cycles than its read has, only an index that is longer than all of them is certainly wrong.
 */
export function findWrongIndexLengths(_context: ManifestContext, indexRead: IndexRead): RatedFinding[] {
  const { samples, read, masked } = indexRead;
  if (masked === undefined) return [];
  const heading = read === 'I1' ? 'index1' : 'index2';
  const isWrong = (length: number): boolean => ('used' in masked ? length !== masked.used : length > masked.most);
  const byLength = new Map<number, ManifestSample[]>();
  for (const sample of samples.filter((each) => each[heading] !== '' && hasBasesOnly(each[heading]))) {
    const wrong = sequencesOf(sample[heading]).find((sequence) => sequence !== '' && isWrong(sequence.length));
    if (wrong === undefined) continue;
    const others = byLength.get(wrong.length);
    if (others === undefined) byLength.set(wrong.length, [sample]);
    else others.push(sample);
  }
  const expected = 'used' in masked ? `${masked.used}` : `at most ${masked.most}`;
  return [...byLength].map(([actual, wrong]) => describeWrongLength(indexRead, heading, expected, actual, wrong));
}

function describeWrongLength(
  { lane, read, cycles, setting }: IndexRead,
  heading: IndexHeading,
  expected: string,
  actual: number,
  wrong: readonly ManifestSample[],
): RatedFinding {
  const sample = wrong[0]!;
  const others = wrong.length > 1 ? ` (and ${wrong.length - 1} more rows of lane ${lane})` : '';
  const mask = setting === undefined ? '' : `, mask ${setting.value}`;
  const part = sample[heading].includes('+') ? ', in one of its sequences,' : '';
  const message =
    `${titleOf(heading)} of ${sample.name} has${part} ${actual} bases${others}, but the run has ${expected} for it ` +
    `(${read}: ${cycles[read] ?? 0} cycles${mask}). ${adviseLength(actual, cycles[read] ?? 0, read, setting)}`;
  const group = `${heading}/${actual}/${expected}`;
  return { ...error('index-length', cellPlace(sample, heading), message), group };
}

/** A mask can only take cycles away. */
function adviseLength(actual: number, cycles: number, read: ReadName, setting: unknown): string {
  if (cycles === 0) return 'Remove the index: the run has none.';
  if (actual > cycles) return 'Correct the index.';
  return `Correct the index, or ${setting === undefined ? 'add' : 'correct'} the setting ${read}Mask.`;
}

/**
 * Samples that lack one of two indexes. Bases2Fastq 2.3 stops at an empty index where other samples of the lane have
 * one, for example with "Index2 length (0) is invalid". Where no sample has it, it may not be needed.
 */
export function findMissingIndexOfRead(
  context: ManifestContext,
  { lane, samples, read, masked }: IndexRead,
): RatedFinding[] {
  if (masked === undefined || !('used' in masked) || masked.used === 0) return [];
  const heading = read === 'I1' ? 'index1' : 'index2';
  const title = titleOf(heading);
  const indexed = samples.filter((sample) => !hasNoIndex(sample));
  const lacking = indexed.filter((sample) => sample[heading] === '');
  if (lacking.length === 0) return [];
  if (lacking.length === indexed.length) {
    // The warning about that column, or about the other index, says it already.
    const other = read === 'I1' ? 'index2' : 'index1';
    if (context.findMisnamed('samples', heading) !== undefined) return [];
    if (indexed.every((sample) => !hasBasesOnly(sample[other]))) return [];
    const message =
      `no sample of lane ${lane} has an ${title}, but the run has ${masked.used} cycles for it. ` +
      'If libraries have two indexes, add it.' +
      (indexed.every((sample) => sequencesOf(sample[other]).length === 2)
        ? ` A + joins several sequences of ${titleOf(other)}. It does not separate the two indexes.`
        : '');
    return [{ ...warning('index-unused', {}, message), group: heading }];
  }
  const others = lacking.length > 1 ? ` (and ${lacking.length - 1} more rows of lane ${lane})` : '';
  const message =
    `${title} of ${lacking[0]!.name} is empty${others}, but other samples of lane ${lane} have one, and Bases2Fastq ` +
    `expects ${masked.used} bases. Add the index.`;
  return [{ ...error('index-missing', cellPlace(lacking[0]!, heading), message), group: heading }];
}

const hasNoIndex = (sample: ManifestSample): boolean => sample.index1 === '' && sample.index2 === '';

/** A lane whose reads all become one sample although the run has index reads, such as in a default manifest. */
export function findUnusedIndexReads(context: ManifestContext, lane: Lane): RatedFinding[] {
  if (!lane.samples.every(hasNoIndex) || hasSeveralNames(lane.samples)) return [];
  const used = context
    .indexReads(lane)
    .filter(({ masked }) => masked !== undefined && 'used' in masked && masked.used > 0);
  if (used.length === 0) return [];
  const reads = used.map(({ read, cycles }) => `${read}: ${cycles[read]} cycles`).join(', ');
  const isWhole = context.manifest.samples.every(hasNoIndex);
  const message =
    `the run has index reads (${reads}), but ${isWhole ? 'the manifest' : `lane ${lane.lane}`} has no index. ` +
    'Bases2Fastq then assigns all reads of a lane to one sample. If libraries were pooled, use a manifest with their ' +
    'indexes.';
  const place = isWhole ? {} : { line: lane.samples[0]?.line };
  return [{ ...warning('no-index', place, message), group: isWhole ? 'all' : `${lane.lane}` }];
}

const hasSeveralNames = (samples: readonly ManifestSample[]): boolean =>
  samples.some(({ name }) => name !== samples[0]!.name);

export function findMissingIndex(context: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
  // The finding about another delimiter says why the row has no index.
  const sample = samples.find((each) => hasNoIndex(each) && findDelimiter(context, each) === undefined);
  if (sample === undefined || !hasSeveralNames(samples)) return [];
  const message =
    `${sample.name} has no index, but lane ${lane} has other samples. ` +
    `Bases2Fastq cannot assign their reads. ${adviseIndex(context)}`;
  return [{ ...error('index-missing', cellPlace(sample, 'index1'), message), group: 'both' }];
}

/** Where the indexes may be in a column that Bases2Fastq does not read. */
function adviseIndex(context: ManifestContext): string {
  const misnamed = (['index1', 'index2'] as const).flatMap((meant) => {
    const heading = context.findMisnamed('samples', meant);
    return heading === undefined ? [] : [`rename the column ${heading} to ${titleOf(meant)}`];
  });
  return misnamed.length === 0 ? 'Add the index.' : `Add the index, or ${misnamed.join(' and ')}.`;
}

/** The first sample of each pair of indexes. */
function firstByIndexes(samples: readonly ManifestSample[]): Map<string, ManifestSample> {
  const first = new Map<string, ManifestSample>();
  for (const sample of samples.filter((each) => !hasNoIndex(each)))
    if (!first.has(indexesOf(sample))) first.set(indexesOf(sample), sample);
  return first;
}

const indexesOf = (sample: ManifestSample): string => `${sample.index1}+${sample.index2}`;

/** The same indexes twice: for one sample a superfluous row (`row-twice`), for two an error (`index-twice`). */
export function findRepeatedIndexes(_context: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
  const first = firstByIndexes(samples);
  return samples.flatMap((sample) => {
    const indexes = indexesOf(sample);
    const other = first.get(indexes);
    if (other === undefined || other === sample) return [];
    if (other.name === sample.name) {
      const message = `${sample.name} with index ${indexes} is also in line ${other.line}, for lane ${lane}`;
      return [warning('row-twice', cellPlace(sample, 'samplename'), message)];
    }
    const message = `${sample.name} has the index ${indexes} of ${other.name} in line ${other.line} (lane ${lane})`;
    return [{ ...error('index-twice', cellPlace(sample, 'index1'), message), group: `${indexes}/${sample.name}` }];
  });
}

/** Most bases that are compared with each other: those of 1,000 samples, which take some hundredths of a second. */
const MOST_COMPARED = 3_000_000;
/** The default of Bases2Fastq. */
const DEFAULT_MISMATCHES = 1;

export function findSimilarIndexes(context: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
  const distinct = [...firstByIndexes(samples).values()]
    .filter(({ index1, index2 }) => hasBasesOnly(index1) && hasBasesOnly(index2))
    .map((sample) => ({ sample, first: sequencesOf(sample.index1), second: sequencesOf(sample.index2) }));
  const [first, second] = [allowedMismatches(context, 'I1', lane), allowedMismatches(context, 'I2', lane)];
  const comparison = new Comparison(MOST_COMPARED);
  for (const [position, one] of distinct.entries()) {
    for (let next = position + 1; next < distinct.length; next++) {
      if (comparison.isExhausted()) return [];
      const other = distinct[next]!;
      if (one.sample.name === other.sample.name) continue;
      if (!comparison.canMatch(one.first, other.first, first)) continue;
      if (!comparison.canMatch(one.second, other.second, second)) continue;
      const isEqual = shareOne(one.first, other.first) && shareOne(one.second, other.second);
      const reason = isEqual
        ? `have the same sequence, so that a read can match both (lane ${lane})`
        : `are so similar that a read can match both, because ${first} and ${second} mismatches are allowed (lane ${lane})`;
      const message =
        `the indexes of ${other.sample.name} and of ${one.sample.name} in line ${one.sample.line} ${reason}. ` +
        'More pairs may be similar.';
      return [warning('index-near', cellPlace(other.sample, 'index1'), message)];
    }
  }
  return [];
}

const shareOne = (some: readonly string[], others: readonly string[]): boolean =>
  some.some((sequence) => others.includes(sequence));

function allowedMismatches(context: ManifestContext, read: 'I1' | 'I2', lane: number): number {
  const value = context.findSetting(`${read}MismatchThreshold`, lane)?.value;
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : DEFAULT_MISMATCHES;
}

/** Compares sequences until it has made as many steps as it may. Then nothing matches any more. */
class Comparison {
  constructor(private left: number) {}

  /** Takes a step. @returns whether there are none left. */
  isExhausted(): boolean {
    return --this.left < 0;
  }

  /** Whether a sequence of one cell and a sequence of another differ in so few bases that a read can match both. */
  canMatch(some: readonly string[], others: readonly string[], allowed: number): boolean {
    return some.some((one) => others.some((other) => !this.isExhausted() && this.differsAtMost(one, other, allowed)));
  }

  /** Whether two sequences differ in at most so many bases. An N matches every base; missing bases are mismatches. */
  private differsAtMost(one: string, other: string, allowed: number): boolean {
    let mismatches = Math.abs(one.length - other.length);
    const length = Math.min(one.length, other.length);
    let at = 0;
    for (; mismatches <= allowed && at < length; at++)
      if (one[at] !== other[at] && one[at] !== 'N' && other[at] !== 'N') mismatches++;
    this.left -= at;
    return mismatches <= allowed;
  }
}

const titleOf = (heading: IndexHeading): string => (heading === 'index1' ? 'Index1' : 'Index2');
