import {
  findMeantHeading,
  HEADING_TITLES,
  type ManifestSample,
  type ManifestSetting,
  type RunManifest,
} from './manifest.js';
import { countUsedCycles, type MaskedCycles, parseMask } from './manifestMasks.js';
import { findManifestOverrides, type ManifestOverrides } from './manifestOverrides.js';
import type { Cycles, ReadName } from './runParameters.js';

/** What is known about the run. polony skips rules that need facts which are unknown. */
export interface ManifestedRun {
  cycles?: Cycles | null;
  /** `1`, `2` or `1+2`. */
  analysisLanes?: string | null;
  /** The parameters of the flow and the execution, by their names in the workflow. */
  parameters?: Readonly<Record<string, unknown>>;
}

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

/** The samples of one lane. */
interface Lane {
  lane: number;
  samples: readonly ManifestSample[];
}

/** A read of index bases in one lane. */
interface IndexRead extends Lane {
  read: 'I1' | 'I2';
  cycles: Cycles;
  /** The lane's mask, if the manifest or a parameter has one. */
  setting: EffectiveSetting | undefined;
  /** How many bases an index must have; undefined if that is unclear. */
  masked: MaskedCycles | undefined;
}

/** A setting of the manifest, or of a parameter, which has no place in the manifest. */
type EffectiveSetting = Pick<ManifestSetting, 'name' | 'value'> & ManifestPlace;

type Rule<Subject> = (context: ManifestContext, subject: Subject) => RatedFinding[];

/**
 * All rules by what they check. Sources: Element's documentation of run manifests and of `--no-projects`.
 * A rule may use one id for several findings.
 */
const RULES = {
  setting: [findUnknownSetting, findConflictingSetting, findMalformedMask],
  manifest: [findUnusedHeadings, findIgnoredProjects, findUnusedIndexReads],
  sample: [
    findNameInOtherCase,
    findProjectCollision,
    findUnusableName,
    findUnusualName,
    findWrongIndexCharacters,
    findSpacesInIndex,
    findOtherDelimiter,
  ],
  indexRead: [findTooLongMask, findWrongIndexLengths, findMissingIndexOfRead],
  lane: [findMissingIndex, findRepeatedIndexes, findSimilarIndexes],
  skippedLane: [findSampleInSkippedLane],
} as const satisfies {
  setting: readonly Rule<ManifestSetting>[];
  manifest: readonly Rule<undefined>[];
  sample: readonly Rule<ManifestSample>[];
  indexRead: readonly Rule<IndexRead>[];
  lane: readonly Rule<Lane>[];
  skippedLane: readonly Rule<Lane>[];
};

/** Checks a manifest against all rules: settings first, then the columns, the samples, and each lane. */
export function findManifestProblems(manifest: RunManifest, run: ManifestedRun): RatedFinding[] {
  const context = new ManifestContext(manifest, run);
  // Loops instead of flatMap, which is slow for a hundred thousand samples.
  const apply = <Subject>(rules: readonly Rule<Subject>[], subjects: readonly Subject[]): RatedFinding[] => {
    const findings: RatedFinding[] = [];
    for (const subject of subjects)
      for (const rule of rules) for (const finding of rule(context, subject)) findings.push(finding);
    return findings;
  };
  return [
    ...apply(RULES.setting, manifest.settings),
    ...apply(RULES.manifest, [undefined]),
    ...apply(RULES.sample, manifest.samples),
    ...withoutRepetitions(
      context
        .lanes()
        .flatMap((lane) =>
          context.isAnalysed(lane.lane)
            ? [...apply(RULES.indexRead, context.indexReads(lane)), ...apply(RULES.lane, [lane])]
            : apply(RULES.skippedLane, [lane]),
        ),
    ),
  ];
}

/** A row that is in both lanes has the same problem in both, and so has a sample that is listed for each of them. */
function withoutRepetitions(findings: readonly RatedFinding[]): RatedFinding[] {
  const byPlace = new Map<string, RatedFinding>();
  for (const finding of findings) {
    const key = `${finding.rule}/${finding.group ?? `${finding.line}/${finding.column}`}`;
    if (!byPlace.has(key)) byPlace.set(key, finding);
  }
  return [...byPlace.values()];
}

/** What rules need to know besides their subject. */
class ManifestContext {
  private readonly firstByName = new Map<string, ManifestSample>();
  private readonly conflicts: ReadonlyMap<ManifestSetting, SettingConflict>;
  private readonly analysedLanes: readonly number[] | undefined;
  private readonly overrides: ManifestOverrides;

  constructor(
    readonly manifest: RunManifest,
    readonly run: ManifestedRun,
  ) {
    for (const sample of manifest.samples) {
      const name = sample.name.toLowerCase();
      if (!this.firstByName.has(name)) this.firstByName.set(name, sample);
    }
    this.conflicts = findConflicts(manifest.settings);
    this.overrides = findManifestOverrides(run.parameters ?? {});
    const lanes = run.analysisLanes ?? '';
    this.analysedLanes = /^[12](\+[12])?$/.test(lanes) ? lanes.split('+').map(Number) : undefined;
  }

  /** An earlier sample with the same name, in any case. */
  findEarlier(sample: ManifestSample): ManifestSample | undefined {
    const first = this.firstByName.get(sample.name.toLowerCase());
    return first === sample ? undefined : first;
  }

  findConflict(setting: ManifestSetting): SettingConflict | undefined {
    return this.conflicts.get(setting);
  }

  /** The setting that counts for a lane: that of a parameter before that of the manifest, and the last one of each. */
  findSetting(name: string, lane: number): EffectiveSetting | undefined {
    const isMeant = (setting: Pick<ManifestSetting, 'name' | 'lanes'>): boolean =>
      setting.name.toLowerCase() === name.toLowerCase() && setting.lanes.includes(lane);
    return this.overrides.settings.findLast(isMeant) ?? this.manifest.settings.findLast(isMeant);
  }

  /** Whether the manifest has several values for a setting, or its lanes are in a column that Bases2Fastq ignores. */
  private isAmbiguous(name: string, lane: number): boolean {
    const isMeant = ({ name: other }: { name: string }): boolean => other.toLowerCase() === name.toLowerCase();
    if (this.overrides.settings.some(isMeant)) return false;
    const meant = this.manifest.settings.filter(isMeant);
    if (meant.length > 0 && this.findMisnamed('settings', 'lane') !== undefined) return true;
    const values = meant.filter(({ lanes }) => lanes.includes(lane)).map(({ value }) => value);
    return new Set(values).size > 1;
  }

  /** A heading that probably means one that its section lacks. */
  findMisnamed(section: 'settings' | 'samples', meant: string): string | undefined {
    const names = this.manifest.headings[section]?.names ?? [];
    if (names.includes(meant)) return undefined;
    return names.find((heading) => findMeantHeading(section, heading) === meant);
  }

  isAnalysed(lane: number): boolean {
    return this.analysedLanes === undefined || this.analysedLanes.includes(lane);
  }

  /** Lanes that have samples. */
  lanes(): Lane[] {
    return [1, 2]
      .map((lane) => ({ lane, samples: this.manifest.samples.filter((sample) => sample.lanes.includes(lane)) }))
      .filter(({ samples }) => samples.length > 0);
  }

  /** The index reads of a lane; none where polony does not know their cycles or what a parameter does to them. */
  indexReads(lane: Lane): IndexRead[] {
    const isKnown = this.run.cycles != null && Object.keys(this.run.cycles).length > 0;
    if (!isKnown || this.overrides.areUnclear) return [];
    const cycles = { ...this.run.cycles, ...this.overrides.cycles };
    return (['I1', 'I2'] as const).map((read) => {
      const setting = this.findSetting(`${read}Mask`, lane.lane);
      const mask = this.isAmbiguous(`${read}Mask`, lane.lane) ? undefined : parseMask(setting?.value ?? 'Y*', read);
      return { ...lane, read, cycles, setting, masked: mask && countUsedCycles(mask, cycles) };
    });
  }
}

interface SettingConflict {
  earlier: ManifestSetting;
  lane: number;
}

/** Bases2Fastq accepts several rows of these settings. */
const isRepeatable = (setting: ManifestSetting): boolean => /^r[12]adapter$/i.test(setting.name);

/** Settings that contradict an earlier one, each in the first lane where it does. */
function findConflicts(settings: readonly ManifestSetting[]): Map<ManifestSetting, SettingConflict> {
  const conflicts = new Map<ManifestSetting, SettingConflict>();
  const latest = new Map<string, ManifestSetting>();
  for (const setting of settings.filter((each) => !isRepeatable(each))) {
    for (const lane of setting.lanes) {
      const key = `${setting.name.toLowerCase()}/${lane}`;
      const earlier = latest.get(key);
      if (earlier !== undefined && earlier.line !== setting.line && earlier.value !== setting.value) {
        conflicts.set(setting, { earlier, lane });
        break;
      }
      latest.set(key, setting);
    }
  }
  return conflicts;
}

const ADAPTER_SETTINGS = [
  'Adapter',
  'AdapterTrim',
  'AdapterNMask',
  'AdapterMinimumTrimmedLength',
  'AdapterMinimumStringency',
  'AdapterMinimumOverlap',
];

/** Settings of Bases2Fastq, as its RunManifest.json names them (there with `Default` or a read before the name). */
const SETTINGS: ReadonlySet<string> = new Set(
  [
    'I1Mask',
    'I2Mask',
    'UmiMask',
    'R1FastQMask',
    'R2FastQMask',
    'I1FastQ',
    'I2FastQ',
    'UmiFastQ',
    'I1MismatchThreshold',
    'I2MismatchThreshold',
    'SpikeInAsUnassigned',
    'AdapterTrimType',
    ...['R1', 'R2'].flatMap((read) => ADAPTER_SETTINGS.map((name) => read + name)),
  ].map((name) => name.toLowerCase()),
);

function findUnknownSetting(_context: ManifestContext, setting: ManifestSetting): RatedFinding[] {
  if (SETTINGS.has(setting.name.toLowerCase())) return [];
  const message = `the setting ${setting.name} is unknown to polony. Check its name, because Bases2Fastq may ignore it.`;
  return [warning('unknown-setting', setting, message)];
}

function findConflictingSetting(context: ManifestContext, setting: ManifestSetting): RatedFinding[] {
  const conflict = context.findConflict(setting);
  if (conflict === undefined) return [];
  const { earlier, lane } = conflict;
  const message = `the setting ${setting.name} has another value for lane ${lane} in line ${earlier.line}`;
  return [warning('setting-twice', setting, message)];
}

/** The read that a mask means where it names none. Which one that is for UmiMask does not matter to the rules. */
const MASKS: Readonly<Record<string, ReadName>> = {
  i1mask: 'I1',
  i2mask: 'I2',
  umimask: 'I1',
  r1fastqmask: 'R1',
  r2fastqmask: 'R2',
};

function findMalformedMask(_context: ManifestContext, setting: ManifestSetting): RatedFinding[] {
  const name = setting.name.toLowerCase();
  const defaultRead = Object.hasOwn(MASKS, name) ? MASKS[name] : undefined;
  if (defaultRead === undefined || parseMask(setting.value, defaultRead) !== undefined) return [];
  const message = `${setting.name} is ${JSON.stringify(setting.value)}, but must be a mask such as Y8N* or ${defaultRead}:Y8N*`;
  return [warning('mask', setting, message)];
}

/** Headings of other instruments, whose columns Bases2Fastq only passes through. */
function findUnusedHeadings({ manifest }: ManifestContext): RatedFinding[] {
  return (['settings', 'samples'] as const).flatMap((section) => {
    const headings = manifest.headings[section];
    if (headings === undefined) return [];
    return headings.names.flatMap((heading) => {
      const meant = findMeantHeading(section, heading);
      if (meant === undefined || headings.names.includes(meant)) return [];
      const title = HEADING_TITLES[meant] ?? meant;
      const what = section === 'settings' ? 'setting' : 'sample';
      const message =
        `the column ${heading} is not one of Bases2Fastq's, so no ${what} has a ${title}. ` +
        `If it contains this, name it ${title}.`;
      return [warning('heading', { line: headings.line }, message)];
    });
  });
}

/** A default manifest, or an empty one, of a run with index reads: all reads become one sample. */
function findUnusedIndexReads(context: ManifestContext): RatedFinding[] {
  const { samples } = context.manifest;
  if (!samples.every(hasNoIndex)) return [];
  const lane = { lane: samples[0]?.lanes[0] ?? 1, samples };
  const used = context
    .indexReads(lane)
    .filter(({ masked }) => masked !== undefined && 'used' in masked && masked.used > 0);
  if (used.length === 0) return [];
  const reads = used.map(({ read, cycles }) => `${read}: ${cycles[read]} cycles`).join(', ');
  const message =
    `the run has index reads (${reads}), but the manifest has no index. Bases2Fastq then assigns all reads of a lane ` +
    'to one sample. If libraries were pooled, use a manifest with their indexes.';
  return [warning('no-index', {}, message)];
}

function findIgnoredProjects({ manifest }: ManifestContext): RatedFinding[] {
  const headings = manifest.headings.samples;
  if (headings?.names.includes('project') !== true) return [];
  if (manifest.samples.every((sample) => sample.project === undefined)) return [];
  const message =
    'the column Project does not create folders: polony always runs Bases2Fastq with --no-projects, ' +
    'so all samples are directly in Samples/';
  return [warning('projects-ignored', { line: headings.line }, message)];
}

function findNameInOtherCase(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const other = context.findEarlier(sample);
  if (other === undefined || other.name === sample.name) return [];
  const message =
    `${sample.name} and ${other.name} in line ${other.line} differ only in upper and lower case. ` +
    'Some file systems treat their files as the same.';
  return [warning('name-case', cellPlace(sample, 'samplename'), message)];
}

function findProjectCollision(context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const other = context.findEarlier(sample);
  if (other === undefined || other.name !== sample.name || (other.project ?? '') === (sample.project ?? '')) return [];
  const message =
    `the sample ${sample.name} is in project ${sample.project ?? '(none)'}, but in line ${other.line} in project ` +
    `${other.project ?? '(none)'}. With --no-projects, Bases2Fastq would write both to Samples/${sample.name}. ` +
    'Rename one of them.';
  // Nobody looks at the reads of the control.
  const report = /^phix/i.test(sample.name) ? warning : error;
  return [report('project-collision', cellPlace(sample, 'samplename'), message)];
}

const isUnusableName = (name: string): boolean => /[/\\\p{Cc}]/u.test(name) || name === '.' || name === '..';

function findUnusableName(_context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  if (!isUnusableName(sample.name)) return [];
  const name = JSON.stringify(sample.name);
  const message = `a folder cannot have the name ${name}. Remove slashes and control characters.`;
  return [warning('sample-name', cellPlace(sample, 'samplename'), message)];
}

function findUnusualName(_context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  if (isUnusableName(sample.name) || /^[A-Za-z0-9_-]{1,64}$/.test(sample.name)) return [];
  const problem =
    sample.name.length > 64
      ? `has ${sample.name.length} characters`
      : "contains characters other than letters, digits, '_' and '-'";
  const message =
    `the sample name ${JSON.stringify(sample.name)} ${problem}. ` +
    "Element allows 1 to 64 letters, digits, '_' and '-'.";
  return [warning('sample-name', cellPlace(sample, 'samplename'), message)];
}

function findWrongIndexCharacters(_context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  return (['index1', 'index2'] as const).flatMap((heading) => {
    const wrong = /[^ACGTN+]/.exec(sample[heading]);
    if (wrong === null) return [];
    const message =
      `${titleOf(heading)} of ${sample.name} contains ${JSON.stringify(wrong[0])}. ` +
      'An index consists of A, C, G, T and N.' +
      (heading === 'index1' && wrong[0] === '-' ? ' Put the second index into the column Index2.' : '');
    return [error('index-characters', cellPlace(sample, heading), message)];
  });
}

function findSpacesInIndex(_context: ManifestContext, sample: ManifestSample): RatedFinding[] {
  return (['index1', 'index2'] as const).flatMap((heading) => {
    if (!/\s\+|\+\s/.test(sample.textOf(heading) ?? '')) return [];
    const message = `${titleOf(heading)} of ${sample.name} has spaces around +. Remove them.`;
    return [warning('index-spaces', cellPlace(sample, heading), message)];
  });
}

/** A row that one cell fills with another delimiter, below headings that commas separate. */
function findOtherDelimiter({ manifest }: ManifestContext, sample: ManifestSample): RatedFinding[] {
  const headings = manifest.headings.samples?.names.length ?? 0;
  const delimiter = /[;\t|]/.exec(sample.name)?.[0];
  if (delimiter === undefined || headings < 2 || sample.columnOf(manifest.headings.samples!.names[1]!) !== undefined)
    return [];
  const message =
    `the cells of this row are separated by ${JSON.stringify(delimiter)} instead of commas, so that all of them are ` +
    'the name of the sample. Save the file as CSV.';
  return [warning('delimiter', cellPlace(sample, 'samplename'), message)];
}

function findSampleInSkippedLane({ run }: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
  const sample = samples.find((each) => each.lanes.length === 1);
  if (sample === undefined) return [];
  const message = `${sample.name} is in lane ${lane}, but this run analyses only lane ${run.analysisLanes}`;
  return [warning('lane-not-run', cellPlace(sample, 'lane'), message)];
}

function findTooLongMask(_context: ManifestContext, { setting, masked, cycles }: IndexRead): RatedFinding[] {
  if (setting === undefined || masked === undefined || 'used' in masked) return [];
  const read = masked.tooLongFor;
  const message = `${setting.name} ${setting.value} needs more cycles than ${read} has (${cycles[read] ?? 0})`;
  return [warning('mask-length', setting, message)];
}

/** `+` joins several sequences in one cell. Each has the length of the mask. */
const sequencesOf = (index: string): string[] => index.split('+');

/** Bases2Fastq aborts if lengths differ. There is one finding for each wrong length, not for each sample. */
function findWrongIndexLengths(_context: ManifestContext, indexRead: IndexRead): RatedFinding[] {
  const { samples, read, masked } = indexRead;
  if (masked === undefined || !('used' in masked)) return [];
  const heading = read === 'I1' ? 'index1' : 'index2';
  const byLength = new Map<number, ManifestSample[]>();
  for (const sample of samples.filter((each) => each[heading] !== '' && !/[^ACGTN+]/.test(each[heading]))) {
    const wrong = sequencesOf(sample[heading]).find((sequence) => sequence.length !== masked.used);
    if (wrong === undefined) continue;
    const others = byLength.get(wrong.length);
    if (others === undefined) byLength.set(wrong.length, [sample]);
    else others.push(sample);
  }
  return [...byLength].map(([actual, wrong]) => describeWrongLength(indexRead, heading, masked.used, actual, wrong));
}

function describeWrongLength(
  { lane, read, cycles, setting }: IndexRead,
  heading: 'index1' | 'index2',
  expected: number,
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
function findMissingIndexOfRead(context: ManifestContext, { lane, samples, read, masked }: IndexRead): RatedFinding[] {
  if (masked === undefined || !('used' in masked) || masked.used === 0) return [];
  const heading = read === 'I1' ? 'index1' : 'index2';
  const title = titleOf(heading);
  const indexed = samples.filter((sample) => !hasNoIndex(sample));
  const lacking = indexed.filter((sample) => sample[heading] === '');
  if (lacking.length === 0) return [];
  if (lacking.length === indexed.length) {
    // The warning about that column says it already.
    if (context.findMisnamed('samples', heading) !== undefined) return [];
    const message =
      `no sample of lane ${lane} has an ${title}, but the run has ${masked.used} cycles for it. ` +
      'If libraries have two indexes, add it.';
    return [{ ...warning('index-unused', {}, message), group: heading }];
  }
  const others = lacking.length > 1 ? ` (and ${lacking.length - 1} more rows of lane ${lane})` : '';
  const message =
    `${title} of ${lacking[0]!.name} is empty${others}, but other samples of lane ${lane} have one, and Bases2Fastq ` +
    `expects ${masked.used} bases. Add the index.`;
  return [{ ...error('index-missing', cellPlace(lacking[0]!, heading), message), group: heading }];
}

const hasNoIndex = (sample: ManifestSample): boolean => sample.index1 === '' && sample.index2 === '';

function findMissingIndex(context: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
  const sample = samples.find(hasNoIndex);
  if (sample === undefined || new Set(samples.map(({ name }) => name)).size === 1) return [];
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
function findRepeatedIndexes(_context: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
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

function findSimilarIndexes(context: ManifestContext, { lane, samples }: Lane): RatedFinding[] {
  const distinct = [...firstByIndexes(samples).values()].map((sample) => ({
    sample,
    first: sequencesOf(sample.index1),
    second: sequencesOf(sample.index2),
  }));
  const [first, second] = [allowedMismatches(context, 'I1', lane), allowedMismatches(context, 'I2', lane)];
  const comparison = new Comparison(MOST_COMPARED);
  for (const [position, one] of distinct.entries()) {
    for (let next = position + 1; next < distinct.length; next++) {
      if (comparison.isExhausted()) return [];
      const other = distinct[next]!;
      if (one.sample.name === other.sample.name) continue;
      if (!comparison.canMatch(one.first, other.first, first)) continue;
      if (!comparison.canMatch(one.second, other.second, second)) continue;
      const message =
        `the indexes of ${other.sample.name} and of ${one.sample.name} in line ${one.sample.line} are so similar that ` +
        `a read can match both, because ${first} and ${second} mismatches are allowed (lane ${lane}). ` +
        'More pairs may be similar.';
      return [warning('index-near', cellPlace(other.sample, 'index1'), message)];
    }
  }
  return [];
}

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

interface ManifestPlace {
  line?: number;
  column?: number;
}

function cellPlace(sample: ManifestSample, heading: string): ManifestPlace {
  return { line: sample.line, column: sample.columnOf(heading) ?? sample.columnOf('samplename') ?? 1 };
}

const titleOf = (heading: 'index1' | 'index2'): string => (heading === 'index1' ? 'Index1' : 'Index2');

function error(rule: string, { line, column }: ManifestPlace, message: string): RatedFinding {
  return { severity: 'error', rule, line, column, message };
}

function warning(rule: string, { line, column }: ManifestPlace, message: string): RatedFinding {
  return { severity: 'warning', rule, line, column, message };
}
