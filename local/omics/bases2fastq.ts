import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { GetObjectCommand, paginateListObjectsV2, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { expectedBaseCalls } from '../../domain/runs/runFolder.js';
import { parseRunManifest, type ManifestSample, type RunManifest } from '../../domain/runs/manifest.js';
import {
  type Cycles,
  parseRunParameters,
  READ_NAMES,
  type ReadName,
  type RunParameters,
} from '../../domain/runs/runParameters.js';

/** A run fails with one of HealthOmics' failure reasons (User Guide, "Run failure reasons"). */
export class WorkflowError extends Error {
  constructor(
    readonly reason:
      | 'WORKFLOW_RUN_FAILED'
      | 'IMPORT_FAILED'
      | 'EXPORT_FAILED'
      | 'INPUT_URI_NOT_FOUND'
      | 'INVALID_URI_INPUT'
      | 'ASSUME_ROLE_FAILED'
      | 'SERVICE_ERROR',
    message: string,
  ) {
    super(message);
  }
}

/** The input of an emulated run. The values come from the run's parameters, so they can have any type. */
export interface EmulatedFlowInput {
  runDir: unknown;
  runManifest?: unknown;
  noProjects?: unknown;
  /** `s3://bucket/…/<run id>` without a slash at its end. */
  outputUri: string;
}

const NOTICE =
  'SIMULATION: written by the stand-in for Bases2Fastq of polony, not by Element software. The reads are made up.';
/** Reads of each sample: the minimum for which MultiQC's bases2fastq module shows a sample. */
const POLONIES = 1000;
/** Polonies of the indexes of a lane that no sample has. */
const UNASSIGNED_POLONIES = [32, 12, 4];
const NEXT_BASE: Readonly<Record<string, string>> = { A: 'C', C: 'G', G: 'T', T: 'A', N: 'A' };
/**
 * Read n has the quality 30 + (n + c) mod 20 at cycle c, and one of four sequences in turn. So a file has 20 different
 * reads, each base is equally frequent in each cycle, and the values of RunStats.json are exact for the files.
 */
const PHASES = 20;
const QUALITY = { QualityScoreMean: 39.5, PercentQ30: 100, PercentQ40: 50, PercentQ50: 0, PercentMismatch: 0 };

function splitUri(uri: unknown): { bucket: string; key: string } {
  const match = typeof uri === 'string' ? /^s3:\/\/([^/]+)\/(.+?)\/*$/.exec(uri) : null;
  if (!match) throw new WorkflowError('INVALID_URI_INPUT', `The URI structure is not valid: ${JSON.stringify(uri)}`);
  return { bucket: match[1]!, key: match[2]! };
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
const id = (text: string): string => createHash('md5').update(text).digest('hex');
const sum = (numbers: number[]): number => numbers.reduce((total, each) => total + each, 0);
/** Part `at` of `parts` of a whole number; the sum of all parts is the whole. */
const share = (whole: number, at: number, parts: number): number =>
  Math.floor((whole * (at + 1)) / parts) - Math.floor((whole * at) / parts);

/** The cycles, counted from 1, that a mask such as `R1:Y8N*` or `R1:Y*N` keeps. */
function keptCycles(mask: string, cycles: number): number[] {
  const parts = [...mask.slice(mask.indexOf(':') + 1).matchAll(/([YN])(\*|\d*)/gi)].map(([, keep, count]) => ({
    keep: keep!.toUpperCase() === 'Y',
    count: count === '*' ? undefined : Number(count || 1),
  }));
  const rest = Math.max(0, cycles - sum(parts.map((part) => part.count ?? 0)));
  const kept = parts.flatMap((part) => Array<boolean>(part.count ?? rest).fill(part.keep));
  return Array.from({ length: cycles }, (_, at) => at + 1).filter((cycle) => kept[cycle - 1] === true);
}

/** The four sequences of a sample's read: for each cycle, the offset to add to the number of the read. */
function offsets(sample: string, flowcell: string, read: string, length: number): number[] {
  const seed = Array.from({ length: Math.ceil(length / 32) }, (_, block) => [
    ...digest(`${flowcell}/${sample}/${read}/${block}`),
  ]).flat();
  return seed.slice(0, length).map((byte) => byte & 3);
}

interface Occurrence {
  row: ManifestSample;
  lane: number;
  polonies: number;
}
interface Sample {
  folder: string;
  name: string;
  rows: ManifestSample[];
  occurrences: Occurrence[];
}
/** An index that no sample has. */
interface UnassignedIndex {
  lane: number;
  index1: string;
  index2: string;
  polonies: number;
}
interface ReadMask {
  mask: string;
  /** The read that the mask applies to. */
  read: ReadName;
  cycles: number[];
}

/** Everything that the result files follow from: the run, its manifest and the settings of the analysis. */
class Analysis {
  readonly run: RunParameters;
  readonly manifest: RunManifest;
  readonly cycles: Cycles;
  readonly flowcell: string;
  readonly lanes: number[];
  readonly rows: ManifestSample[];
  readonly samples: Sample[];
  /** R1 and R2, if they were sequenced. */
  readonly insertReads: ReadName[];
  /** The reads that get FASTQ files. */
  readonly fileReads: ReadName[];
  /** Indexes that belong to no sample; they get no FASTQ files. */
  readonly unassigned: UnassignedIndex[];
  /** Polonies that belong to a sample. */
  readonly assigned: number;
  /** All polonies. */
  readonly total: number;
  readonly #bases: number;

  constructor(
    readonly runParametersText: string,
    readonly manifestText: string,
    readonly options: { noProjects: boolean; analysisId: string },
  ) {
    this.run = parseRunParameters(runParametersText);
    this.manifest = parseRunManifest(manifestText);
    this.cycles = this.run.cycles ?? {};
    if (this.cyclesOf('R1') + this.cyclesOf('R2') === 0)
      throw new WorkflowError(
        'WORKFLOW_RUN_FAILED',
        'Bases2Fastq: RunParameters.json has no cycles of R1 or R2; this is not a sequencing run',
      );
    this.flowcell = this.run.flowcellId ?? 'FLOWCELL';
    this.lanes = this.run.analysisLanes === '1' ? [1] : this.run.analysisLanes === '2' ? [2] : [1, 2];
    // A manifest without samples is the instrument's default manifest: all reads belong to DefaultSample.
    this.rows = this.manifest.samples.length > 0 ? this.manifest.samples : [DEFAULT_SAMPLE];
    this.#checkIndexLengths();
    this.samples = this.#collectSamples();
    this.insertReads = (['R1', 'R2'] as const).filter((read) => this.cyclesOf(read) > 0);
    this.fileReads = READ_NAMES.filter((read) => this.cyclesOf(read) > 0 && this.#hasFiles(read));
    this.unassigned = this.#collectUnassigned();
    this.assigned = this.samples.length * POLONIES;
    this.total = this.assigned + sum(this.unassigned.map(({ polonies }) => polonies));
    this.#bases = sum(this.insertReads.map((read) => this.lengthOf(read)));
  }

  cyclesOf(read: ReadName): number {
    return this.cycles[read] ?? 0;
  }

  setting(name: string, lane: number): string | undefined {
    return this.manifest.settings.findLast(
      (each) => each.name.toLowerCase() === name.toLowerCase() && each.lanes.includes(lane),
    )?.value;
  }

  /** A read's mask from the manifest. The default mask skips an unused index, and the last cycle of an insert read. */
  maskOf(read: ReadName, lane: number): ReadMask {
    const isIndex = read.startsWith('I');
    const isUnused = isIndex && this.rows.every((row) => (read === 'I1' ? row.index1 : row.index2) === '');
    const keepsAll = isIndex || this.cyclesOf(read) < 2;
    const mask =
      this.setting(isIndex ? `${read}Mask` : `${read}FastQMask`, lane) ??
      `${read}:${isUnused ? 'N*' : keepsAll ? 'Y*' : 'Y*N'}`;
    const source = READ_NAMES.find((each) => mask.toUpperCase().startsWith(`${each}:`)) ?? read;
    return { mask, read: source, cycles: keptCycles(mask, this.cyclesOf(source)) };
  }

  /** Length of a read in its FASTQ file. */
  lengthOf(read: ReadName): number {
    return read.startsWith('I') ? this.cyclesOf(read) : this.maskOf(read, this.lanes[0]!).cycles.length;
  }

  gigabases(polonies: number): number {
    return (polonies * this.#bases) / 1e9;
  }

  /** The polonies of a lane that belong to a sample. */
  assignedIn(lane: number): number {
    const occurrences = this.samples.flatMap((sample) => sample.occurrences);
    return sum(occurrences.filter((each) => each.lane === lane).map((each) => each.polonies));
  }

  /** All polonies of a lane. */
  poloniesIn(lane: number): number {
    return (
      this.assignedIn(lane) + sum(this.unassigned.filter((each) => each.lane === lane).map((each) => each.polonies))
    );
  }

  /** Index reads get files of their own only if the manifest asks for them. */
  #hasFiles(read: ReadName): boolean {
    if (this.insertReads.includes(read)) return true;
    return this.lanes.some((lane) => this.setting(`${read}FastQ`, lane)?.toLowerCase() === 'true');
  }

  #checkIndexLengths(): void {
    for (const row of this.rows)
      for (const lane of row.lanes.filter((each) => this.lanes.includes(each)))
        for (const [name, index] of [
          ['I1', row.index1],
          ['I2', row.index2],
        ] as const) {
          const mask = this.maskOf(name, lane);
          if (index === '' || index.length === mask.cycles.length) continue;
          throw new WorkflowError(
            'WORKFLOW_RUN_FAILED',
            `Bases2Fastq: RunManifest.csv, line ${row.line}: Index${name[1]} ${index} of ${row.name} has ` +
              `${index.length} bases, but lane ${lane} has ${mask.cycles.length} cycles of it ` +
              `(mask ${mask.mask}, ${this.cyclesOf(name)} cycles of ${name})`,
          );
        }
  }

  /** Indexes of samples with a wrong first base, where samples have indexes; most frequent first. */
  #collectUnassigned(): UnassignedIndex[] {
    const known = new Set(this.rows.map(({ index1, index2 }) => index1 + index2));
    return this.lanes.flatMap((lane) =>
      this.rows
        .filter(({ index1, lanes }) => index1 !== '' && lanes.includes(lane))
        .map(({ index1, index2 }) => ({
          index1: (NEXT_BASE[index1[0]!.toUpperCase()] ?? 'N') + index1.slice(1),
          index2,
        }))
        .filter(({ index1, index2 }, at, all) => {
          const isFirst = all.findIndex((each) => each.index1 === index1 && each.index2 === index2) === at;
          return isFirst && !known.has(index1 + index2);
        })
        .slice(0, UNASSIGNED_POLONIES.length)
        .map((each, at) => ({ lane, ...each, polonies: UNASSIGNED_POLONIES[at]! })),
    );
  }

  #collectSamples(): Sample[] {
    const samples = new Map<string, Sample>();
    for (const row of this.rows) {
      // With --no-projects, samples of two projects with the same name share one folder.
      const folder = this.options.noProjects ? row.name : `${row.project ?? 'DefaultProject'}/${row.name}`;
      const sample = samples.get(folder) ?? { folder, name: row.name, rows: [], occurrences: [] };
      samples.set(folder, sample);
      sample.rows.push(row);
      for (const lane of row.lanes) if (this.lanes.includes(lane)) sample.occurrences.push({ row, lane, polonies: 0 });
    }
    const found = [...samples.values()].filter(({ occurrences }) => occurrences.length > 0);
    for (const { occurrences } of found)
      for (const [at, occurrence] of occurrences.entries())
        occurrence.polonies = share(POLONIES, at, occurrences.length);
    return found;
  }
}

const DEFAULT_SAMPLE: ManifestSample = {
  name: 'DefaultSample',
  index1: '',
  index2: '',
  lanes: [1, 2],
  custom: {},
  columnOf: () => undefined,
  textOf: () => undefined,
  line: 0,
};

function fastq({ run, flowcell }: Analysis, sample: Sample, read: ReadName, length: number): Buffer {
  const shift = offsets(sample.name, flowcell, read, length);
  const bodies = Array.from({ length: PHASES }, (_, phase) => {
    const bases = shift.map((offset) => 'ACGT'[(offset + phase) & 3]).join('');
    const qualities = shift.map((_offset, cycle) => String.fromCharCode(33 + 30 + ((phase + cycle) % PHASES))).join('');
    return `${bases}\n+\n${qualities}`;
  });
  let text = '';
  let number = 0;
  for (const { row, lane, polonies } of sample.occurrences) {
    const tile = run.tiles.find((each) => each.startsWith(`L${lane}`)) ?? `L${lane}R01C01S1`;
    const index = [row.index1, row.index2].filter((each) => each !== '').join('+') || '1';
    for (let at = 0; at < polonies; at++, number++) {
      const position = `${lane}:${tile}:${number % 100}:${Math.floor(number / 100)}`;
      const name = `@SIMULATED:${run.runName}:${flowcell}:${position} ${read.slice(1)}:N:0:${index}`;
      text += `${name}\n${bodies[number % PHASES]}\n`;
    }
  }
  return gzipSync(text);
}

function cycleStats(length: number, polonies: number) {
  return Array.from({ length }, (_, at) => ({
    Cycle: at + 1,
    QualityScoreMean: 39.5,
    QualityScore50thPercentile: 39,
    PercentQ30: 100,
    PercentQ40: 50,
    PercentQ50: 0,
    PercentN: 0,
    PercentBelowFilterThreshold: 0,
    PercentReadsTrimmed: 0,
    BaseComposition: { A: polonies / 4, C: polonies / 4, G: polonies / 4, T: polonies / 4, N: 0 },
  }));
}

/** Histogram of the reads' mean qualities. The mean of a read follows from its first quality and its length. */
function meanQualities(length: number, polonies: number): number[] {
  const histogram = Array<number>(50).fill(0);
  for (let phase = 0; phase < PHASES && length > 0; phase++) {
    const qualities = Array.from({ length }, (_, cycle) => 30 + ((phase + cycle) % PHASES));
    histogram[Math.floor(sum(qualities) / length)]! += polonies / PHASES;
  }
  return histogram;
}

/** `Reads` of a run or a lane in RunStats.json. */
function runReads(analysis: Analysis, polonies: number) {
  return analysis.insertReads.map((read) => {
    const length = analysis.lengthOf(read);
    return {
      Read: read,
      MeanReadLength: length,
      ...{ QualityScoreMean: 39.5, PercentQ30: 100, PercentQ40: 50, PercentQ50: 0 },
      QualityScoreHistogram: Array.from({ length: 50 }, (_, quality) =>
        quality < 30 ? 0 : (polonies * length) / PHASES,
      ),
      PerReadMeanQualityScoreHistogram: meanQualities(length, polonies),
      RemovedAdapterLengthHistogram: [],
      Cycles: cycleStats(length, polonies),
    };
  });
}

/** `Reads` of a sample in its statistics. */
function sampleReads(analysis: Analysis, sample: Sample) {
  return analysis.insertReads.map((read) => {
    const length = analysis.lengthOf(read);
    const shift = offsets(sample.name, analysis.flowcell, read, length);
    const gc = Array<number>(length + 1).fill(0);
    for (let turn = 0; turn < 4; turn++) {
      const count = shift.filter((offset) => ((offset + turn) & 3) === 1 || ((offset + turn) & 3) === 2).length;
      gc[count]! += POLONIES / 4;
    }
    return {
      Read: read,
      MeanReadLength: length,
      PerReadGCCountHistogram: gc,
      RemovedAdapterLengthHistogram: [],
      Cycles: cycleStats(length, POLONIES),
    };
  });
}

/** The content of `<sample>_stats.json`, which RunStats.json contains for each sample. */
function sampleStats(analysis: Analysis, sample: Sample, at: number) {
  return {
    SampleNumber: at + 1,
    SampleID: id(sample.folder),
    SampleName: sample.name,
    ExternalID: sample.rows[0]!.externalId ?? '',
    NumPolonies: POLONIES,
    NumPoloniesBeforeTrimming: POLONIES,
    Yield: analysis.gigabases(POLONIES),
    ...QUALITY,
    Reads: sampleReads(analysis, sample),
    Occurrences: sample.occurrences.map(({ row, lane, polonies }) => ({
      Lane: lane,
      ExpectedSequence: row.index1 + row.index2,
      NumPolonies: polonies,
      NumPoloniesBeforeTrimming: polonies,
      Yield: analysis.gigabases(polonies),
      R1Adapters: [],
      R2Adapters: [],
      CustomMetadata: row.custom,
      Reads: [],
      ...QUALITY,
    })),
  };
}

function indexAssignmentText(analysis: Analysis): string {
  const lines = ['SampleNumber,SampleName,I1,I2,Lane,NumPoloniesAssigned,PercentPoloniesAssigned,Yield(Gb)'];
  for (const [at, sample] of analysis.samples.entries())
    for (const row of sample.rows) {
      const own = sample.occurrences.filter((each) => each.row === row);
      const inBothLanes = { lane: '1+2', polonies: sum(own.map((each) => each.polonies)), of: analysis.total };
      const byLane = own.map(({ lane, polonies }) => ({
        lane: String(lane),
        polonies,
        of: analysis.poloniesIn(lane),
      }));
      // As in real files, a row for both lanes has three lines: a reader that adds them up must not count it twice.
      for (const { lane, polonies, of } of own.length > 1 ? [inBothLanes, ...byLane] : byLane) {
        const percent = ((100 * polonies) / of).toFixed(4);
        const assigned = [lane, polonies, percent, analysis.gigabases(polonies)];
        lines.push([at + 1, row.name, row.index1, row.index2, ...assigned].join(','));
      }
    }
  return `${lines.join('\n')}\n`;
}

function unassignedText(analysis: Analysis): string {
  const rows = analysis.unassigned.map(({ lane, index1, index2, polonies }) => {
    const percent = ((100 * polonies) / analysis.poloniesIn(lane)).toFixed(4);
    return `${index1},${index2},${percent},${polonies},${lane}\n`;
  });
  return `I1,I2,% Polonies,Count,Lane\n${rows.join('')}`;
}

function metricsText({ lanes, total }: Analysis): string {
  const lane = lanes.join('+');
  return (
    `Metric,Lane,Value\nNumPolonies,${lane},${total}\nPercentQ30,${lane},${QUALITY.PercentQ30}\n` +
    `QualityScoreMean,${lane},${QUALITY.QualityScoreMean}\n`
  );
}

/** The masks of a lane's reads, as the manifest gives them and as cycles. */
function masks(analysis: Analysis, lane: number): Record<string, unknown> {
  return Object.fromEntries(
    READ_NAMES.flatMap((read): [string, unknown][] => {
      const { mask, read: source, cycles } = analysis.maskOf(read, lane);
      const name = read.startsWith('I') ? `${read}Mask` : `${read}FastQMask`;
      return [
        [`${name}Manifest`, mask],
        [name, [{ Read: source, Cycles: cycles }]],
      ];
    }),
  );
}

function manifestJson(analysis: Analysis): string {
  const { manifest } = analysis;
  const settingsOf = (lane: number): [string, string][] =>
    manifest.settings.filter((each) => each.lanes.includes(lane)).map((each) => [each.name, each.value]);
  return JSON.stringify({
    RunValues: manifest.runValues,
    Settings: analysis.lanes.map((lane) => ({
      Lane: lane,
      ...Object.fromEntries(settingsOf(lane)),
      ...masks(analysis, lane),
      AdapterTrimType: analysis.setting('AdapterTrimType', lane) ?? 'Paired-End',
      R1AdapterMinimumTrimmedLength: 16,
      R2AdapterMinimumTrimmedLength: 16,
    })),
    Samples: analysis.samples.map((sample, at) => ({
      SampleName: sample.name,
      SampleNumber: at + 1,
      ExternalId: sample.rows[0]!.externalId ?? '',
      Indexes: sample.occurrences.map(({ row, lane }) => ({ Lane: lane, Index1: row.index1, Index2: row.index2 })),
      CustomMetadata: sample.rows[0]!.custom,
      Project: sample.rows[0]!.project ?? 'DefaultProject',
    })),
  });
}

/** RunStats.json on one line: MultiQC looks for its key words only in the first lines of a file. */
function runStatsJson(analysis: Analysis): string {
  const { run, total } = analysis;
  const yields = (polonies: number, assigned: number) => ({
    NumPolonies: polonies,
    NumPoloniesBeforeTrimming: polonies,
    PercentAssignedReads: polonies === 0 ? 0 : (100 * assigned) / polonies,
    PercentUnexpectedIndexPairs: 0,
    TotalYield: analysis.gigabases(polonies),
    AssignedYield: analysis.gigabases(assigned),
    ...QUALITY,
  });
  return JSON.stringify({
    FileVersion: '0.1.0',
    AnalysisID: analysis.options.analysisId,
    AnalysisVersion: '2.4.0.0-simulated',
    RunName: run.runName,
    RunID: run.runId ?? '',
    FlowCellID: analysis.flowcell,
    ...yields(total, analysis.assigned),
    Samples: [...analysis.samples.map((sample) => sample.name), 'Unassigned'],
    Reads: runReads(analysis, total),
    Lanes: analysis.lanes.map((lane) => ({
      Lane: lane,
      ...yields(analysis.poloniesIn(lane), analysis.assignedIn(lane)),
      Reads: runReads(analysis, analysis.poloniesIn(lane)),
      UnassignedSequences: analysis.unassigned
        .filter((each) => each.lane === lane)
        .map(({ index1, index2, polonies }) => ({ I1: index1, I2: index2, Count: polonies })),
      I1IsReverseComplement: false,
      I2IsReverseComplement: false,
    })),
    SampleStats: analysis.samples.map((sample, at) => sampleStats(analysis, sample, at)),
  });
}

/**
 * The files that Bases2Fastq writes for a run, at a small scale: paths below the output folder, and contents.
 * `RunStats.json` comes last.
 * @throws WorkflowError where Bases2Fastq would stop: the run has no insert reads, or an index does not have the length
 *   of the index cycles.
 */
export function* bases2FastqFiles(
  runParametersText: string,
  manifestText: string,
  options: { noProjects: boolean; analysisId: string },
): Generator<[path: string, content: string | Buffer]> {
  const analysis = new Analysis(runParametersText, manifestText, options);
  const { run, samples } = analysis;
  yield [
    'info/Bases2Fastq.log',
    `${NOTICE}\nrun ${run.runName}, ${samples.length} samples, ` +
      `--no-projects ${options.noProjects ? 'set' : 'NOT set'}\n`,
  ];
  for (const [at, sample] of samples.entries()) {
    for (const read of analysis.fileReads)
      yield [
        `Samples/${sample.folder}/${sample.name}_${read}.fastq.gz`,
        fastq(analysis, sample, read, analysis.lengthOf(read)),
      ];
    yield [`Samples/${sample.folder}/${sample.name}_stats.json`, JSON.stringify(sampleStats(analysis, sample, at))];
  }
  yield ['IndexAssignment.csv', indexAssignmentText(analysis)];
  yield ['Metrics.csv', metricsText(analysis)];
  yield ['UnassignedSequences.csv', unassignedText(analysis)];
  yield ['RunManifest.csv', manifestText];
  yield ['RunManifest.json', manifestJson(analysis)];
  yield ['RunParameters.json', runParametersText];
  yield [`${run.runName}_QC.html`, `<!doctype html><title>${run.runName}</title><p>${NOTICE}</p>`];
  yield ['RunStats.json', runStatsJson(analysis)];
}

const UPLOADS_AT_ONCE = 4;

interface S3Location {
  bucket: string;
  key: string;
}

/**
 * Does the work of Bases2Fastq at a small scale: checks that the run is complete and writes the result files.
 * It reads and writes every object with the given client, so with the permissions of the execution role.
 * @throws WorkflowError with HealthOmics' failure reason.
 */
export async function runBases2Fastq(
  s3: S3Client,
  input: EmulatedFlowInput,
  isCancelled: () => boolean,
): Promise<void> {
  const source = splitUri(input.runDir);
  const target = splitUri(input.outputUri);
  const runParametersText = await importText(s3, { ...source, key: `${source.key}/RunParameters.json` });
  const manifestText = await importText(
    s3,
    typeof input.runManifest === 'string' && input.runManifest !== ''
      ? splitUri(input.runManifest)
      : { ...source, key: `${source.key}/RunManifest.csv` },
  );
  await checkBaseCalls(s3, source, runParametersText);
  const files = bases2FastqFiles(runParametersText, manifestText, {
    noProjects: ['true', '1', 'yes', '--no-projects'].includes(String(input.noProjects).toLowerCase()),
    analysisId: id(input.outputUri),
  });
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, () => exportFiles(s3, files, target, isCancelled)));
}

function importError(what: string, error: unknown): WorkflowError {
  const { name, message } = error as Error;
  if (name === 'NoSuchKey' || name === 'NoSuchBucket')
    return new WorkflowError(
      'INPUT_URI_NOT_FOUND',
      `The provided URI does not exist: ${what}. ` +
        'Check that the URI path exists and that the role can access the object.',
    );
  return new WorkflowError(
    'IMPORT_FAILED',
    `The import failed: ${what}: ${name}: ${message}. ` +
      'Check that the input file exists and the run role has access to the input.',
  );
}

async function importText(s3: S3Client, { bucket, key }: S3Location): Promise<string> {
  try {
    const object = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    return (await object.Body?.transformToString('utf-8')) ?? '';
  } catch (error) {
    throw importError(`s3://${bucket}/${key}`, error);
  }
}

/** @throws WorkflowError when a BaseCalls file of the run is missing or empty. */
async function checkBaseCalls(s3: S3Client, source: S3Location, runParametersText: string): Promise<void> {
  let missing: Set<string>;
  try {
    missing = new Set(expectedBaseCalls(parseRunParameters(runParametersText).cycles ?? {}));
  } catch (error) {
    throw new WorkflowError('WORKFLOW_RUN_FAILED', (error as Error).message);
  }
  const pages = paginateListObjectsV2({ client: s3 }, { Bucket: source.bucket, Prefix: `${source.key}/BaseCalls/` });
  try {
    for await (const page of pages)
      for (const object of page.Contents ?? [])
        if ((object.Size ?? 0) > 0) missing.delete((object.Key ?? '').slice(source.key.length + 1));
  } catch (error) {
    throw importError(`s3://${source.bucket}/${source.key}/`, error);
  }
  if (missing.size > 0)
    throw new WorkflowError(
      'WORKFLOW_RUN_FAILED',
      `Bases2Fastq: ${missing.size} files of the run are missing or empty, the first is ${[...missing][0]}`,
    );
}

/** Writes files until none is left or the run is cancelled. Several of these share one generator. */
async function exportFiles(
  s3: S3Client,
  files: ReturnType<typeof bases2FastqFiles>,
  target: S3Location,
  isCancelled: () => boolean,
): Promise<void> {
  while (!isCancelled()) {
    let next;
    try {
      next = files.next();
    } catch (error) {
      throw error instanceof WorkflowError ? error : new WorkflowError('WORKFLOW_RUN_FAILED', (error as Error).message);
    }
    if (next.done === true) return;
    const [name, body] = next.value;
    try {
      await s3.send(new PutObjectCommand({ Bucket: target.bucket, Key: `${target.key}/${name}`, Body: body }));
    } catch (error) {
      files.return(undefined);
      const { name: code, message } = error as Error;
      throw new WorkflowError(
        'EXPORT_FAILED',
        `The export failed: s3://${target.bucket}/${target.key}/${name}: ${code}: ${message}. ` +
          'Check that the output bucket exists and the run role has write permission to the bucket.',
      );
    }
  }
}
