import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { expectedBaseCalls } from '../../domain/runs/runFolder.js';
import { parseRunManifest, type ManifestSample, type RunManifest } from '../../domain/runs/manifest.js';
import { parseRunParameters, READ_NAMES, type ReadName } from '../../domain/runs/runParameters.js';

/** Why a run failed, as HealthOmics names it (User Guide, "Run failure reasons"). */
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

/** What the stand-in is asked to do; values come out of a run's parameters, so they may be anything. */
export interface Bases2FastqInput {
  runDir: unknown;
  runManifest?: unknown;
  noProjects?: unknown;
  /** `s3://bucket/…/<run id>` without a slash at its end. */
  outputUri: string;
}

const NOTICE =
  'SIMULATION: written by the stand-in for Bases2Fastq of polony, not by Element software. The reads are made up.';
/** Reads of each sample: the least that MultiQC's bases2fastq module shows a sample for. */
const POLONIES = 1000;
/**
 * Read n has at cycle c the quality 30 + (n + c) mod 20, and one of four sequences in turn. So there are 20 different reads in
 * a file, each base comes up equally often in each cycle, and all that RunStats.json says holds for the files exactly.
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
/** Part `at` of `parts` of a whole number, so that all parts together are the whole. */
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

/** The four sequences of a sample's read, as what to add to the number of the read at each cycle. */
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

function fastq(
  sample: Sample,
  run: { name: string; flowcell: string; tiles: string[] },
  read: string,
  length: number,
): Buffer {
  const shift = offsets(sample.name, run.flowcell, read, length);
  const bodies = Array.from(
    { length: PHASES },
    (_, phase) =>
      `${shift.map((offset) => 'ACGT'[(offset + phase) & 3]).join('')}\n+\n${shift.map((_offset, cycle) => String.fromCharCode(33 + 30 + ((phase + cycle) % PHASES))).join('')}`,
  );
  let text = '';
  let number = 0;
  for (const { row, lane, polonies } of sample.occurrences) {
    const tile = run.tiles.find((each) => each.startsWith(`L${lane}`)) ?? `L${lane}R01C01S1`;
    const index = [row.index1, row.index2].filter((each) => each !== '').join('+') || '1';
    for (let at = 0; at < polonies; at++, number++)
      text += `@SIMULATED:${run.name}:${run.flowcell}:${lane}:${tile}:${number % 100}:${Math.floor(number / 100)} ${read.slice(1)}:N:0:${index}\n${bodies[number % PHASES]}\n`;
  }
  return gzipSync(text);
}

/**
 * What Bases2Fastq writes for a run, in small: path below the output folder and content. `RunStats.json` comes last.
 * @throws WorkflowError where Bases2Fastq would stop: nothing was sequenced, or indexes do not have the length of the index cycles.
 */
export function* bases2FastqFiles(
  runParametersText: string,
  manifestText: string,
  options: { noProjects: boolean; analysisId: string },
): Generator<[path: string, content: string | Buffer]> {
  const run = parseRunParameters(runParametersText);
  const manifest: RunManifest = parseRunManifest(manifestText);
  const cycles = run.cycles ?? {};
  if ((cycles.R1 ?? 0) + (cycles.R2 ?? 0) === 0)
    throw new WorkflowError(
      'WORKFLOW_RUN_FAILED',
      'Bases2Fastq: RunParameters.json has no cycles of R1 or R2; this is not a sequencing run',
    );
  const flowcell = run.flowcellId ?? 'FLOWCELL';
  const lanes = run.analysisLanes === '1' ? [1] : run.analysisLanes === '2' ? [2] : [1, 2];
  // A manifest without samples is the instrument's default one: everything is DefaultSample.
  const rows =
    manifest.samples.length > 0
      ? manifest.samples
      : [
          {
            name: 'DefaultSample',
            index1: '',
            index2: '',
            lanes: [1, 2],
            custom: {},
            columns: {},
            line: 0,
          } satisfies ManifestSample,
        ];

  const setting = (name: string, lane: number): string | undefined =>
    manifest.settings.findLast((each) => each.name.toLowerCase() === name.toLowerCase() && each.lanes.includes(lane))
      ?.value;
  /** A read's mask: the manifest's, else an index that no sample has is not used, and the last cycle of an insert read is left out. */
  const maskOf = (read: ReadName, lane: number): { mask: string; read: string; cycles: number[] } => {
    const isIndex = read.startsWith('I');
    const unused = isIndex && rows.every((row) => (read === 'I1' ? row.index1 : row.index2) === '');
    const mask =
      setting(isIndex ? `${read}Mask` : `${read}FastQMask`, lane) ??
      `${read}:${unused ? 'N*' : isIndex || (cycles[read] ?? 0) < 2 ? 'Y*' : 'Y*N'}`;
    const source = READ_NAMES.find((each) => mask.toUpperCase().startsWith(`${each}:`)) ?? read;
    return { mask, read: source, cycles: keptCycles(mask, cycles[source] ?? 0) };
  };

  for (const row of rows) {
    for (const lane of row.lanes.filter((each) => lanes.includes(each))) {
      for (const [name, index] of [
        ['I1', row.index1],
        ['I2', row.index2],
      ] as const) {
        const mask = maskOf(name, lane);
        if (index === '' || index.length === mask.cycles.length) continue;
        throw new WorkflowError(
          'WORKFLOW_RUN_FAILED',
          `Bases2Fastq: RunManifest.csv, line ${row.line}: Index${name[1]} ${index} of ${row.name} has ${index.length} bases, but lane ${lane} has ${mask.cycles.length} cycles of it (mask ${mask.mask}, ${cycles[name] ?? 0} cycles of ${name})`,
        );
      }
    }
  }

  const samples = new Map<string, Sample>();
  for (const row of rows) {
    // Equal names in two projects become one folder under --no-projects.
    const folder = options.noProjects ? row.name : `${row.project ?? 'DefaultProject'}/${row.name}`;
    const sample = samples.get(folder) ?? { folder, name: row.name, rows: [], occurrences: [] };
    samples.set(folder, sample);
    sample.rows.push(row);
    for (const lane of row.lanes) if (lanes.includes(lane)) sample.occurrences.push({ row, lane, polonies: 0 });
  }
  for (const [folder, { occurrences }] of samples) {
    if (occurrences.length === 0) samples.delete(folder);
    for (const [at, occurrence] of occurrences.entries()) occurrence.polonies = share(POLONIES, at, occurrences.length);
  }

  const insertReads = (['R1', 'R2'] as const).filter((read) => (cycles[read] ?? 0) > 0);
  // Index reads become files of their own only where the manifest asks for them.
  const fileReads = READ_NAMES.filter(
    (read) =>
      (cycles[read] ?? 0) > 0 &&
      (insertReads.includes(read as 'R1') ||
        lanes.some((lane) => setting(`${read}FastQ`, lane)?.toLowerCase() === 'true')),
  );
  const lengthOf = (read: ReadName): number =>
    read.startsWith('I') ? (cycles[read] ?? 0) : maskOf(read, lanes[0]!).cycles.length;
  const bases = sum(insertReads.map(lengthOf));
  const gigabases = (polonies: number): number => (polonies * bases) / 1e9;

  const cycleStats = (length: number, polonies: number) =>
    Array.from({ length }, (_, at) => ({
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
  /** Of each read's mean quality; a read's mean follows from its first quality and its length. */
  const meanQualities = (length: number, polonies: number): number[] => {
    const histogram = Array<number>(50).fill(0);
    for (let phase = 0; phase < PHASES && length > 0; phase++)
      histogram[Math.floor(sum(Array.from({ length }, (_, cycle) => 30 + ((phase + cycle) % PHASES))) / length)]! +=
        polonies / PHASES;
    return histogram;
  };
  const runReads = (polonies: number) =>
    insertReads.map((read) => {
      const length = lengthOf(read);
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
  const sampleReads = (sample: Sample) =>
    insertReads.map((read) => {
      const length = lengthOf(read);
      const shift = offsets(sample.name, flowcell, read, length);
      const gc = Array<number>(length + 1).fill(0);
      for (let turn = 0; turn < 4; turn++)
        gc[shift.filter((offset) => ((offset + turn) & 3) === 1 || ((offset + turn) & 3) === 2).length]! +=
          POLONIES / 4;
      return {
        Read: read,
        MeanReadLength: length,
        PerReadGCCountHistogram: gc,
        RemovedAdapterLengthHistogram: [],
        Cycles: cycleStats(length, POLONIES),
      };
    });
  const sampleStats = [...samples.values()].map((sample, at) => ({
    SampleNumber: at + 1,
    SampleID: id(sample.folder),
    SampleName: sample.name,
    ExternalID: sample.rows[0]!.externalId ?? '',
    NumPolonies: POLONIES,
    NumPoloniesBeforeTrimming: POLONIES,
    Yield: gigabases(POLONIES),
    ...QUALITY,
    Reads: sampleReads(sample),
    Occurrences: sample.occurrences.map(({ row, lane, polonies }) => ({
      Lane: lane,
      ExpectedSequence: row.index1 + row.index2,
      NumPolonies: polonies,
      NumPoloniesBeforeTrimming: polonies,
      Yield: gigabases(polonies),
      R1Adapters: [],
      R2Adapters: [],
      CustomMetadata: row.custom,
      Reads: [],
      ...QUALITY,
    })),
  }));
  const total = samples.size * POLONIES;
  const occurrences = [...samples.values()].flatMap((sample) => sample.occurrences);
  const inLane = (lane: number): number =>
    sum(occurrences.filter((each) => each.lane === lane).map((each) => each.polonies));
  const yields = (polonies: number) => ({
    NumPolonies: polonies,
    NumPoloniesBeforeTrimming: polonies,
    PercentAssignedReads: 100,
    PercentUnexpectedIndexPairs: 0,
    TotalYield: gigabases(polonies),
    AssignedYield: gigabases(polonies),
    ...QUALITY,
  });

  yield [
    'info/Bases2Fastq.log',
    `${NOTICE}\nrun ${run.runName}, ${samples.size} samples, --no-projects ${options.noProjects ? 'set' : 'NOT set'}\n`,
  ];
  for (const [at, sample] of [...samples.values()].entries()) {
    for (const read of fileReads)
      yield [
        `Samples/${sample.folder}/${sample.name}_${read}.fastq.gz`,
        fastq(sample, { name: run.runName, flowcell, tiles: run.tiles }, read, lengthOf(read)),
      ];
    yield [`Samples/${sample.folder}/${sample.name}_stats.json`, JSON.stringify(sampleStats[at])];
  }

  const assigned = ['SampleNumber,SampleName,I1,I2,Lane,NumPoloniesAssigned,PercentPoloniesAssigned,Yield(Gb)'];
  for (const [at, sample] of [...samples.values()].entries()) {
    for (const row of sample.rows) {
      const mine = sample.occurrences.filter((each) => each.row === row);
      // A row for both lanes stands here three times, as in real files: whoever adds up must not count it twice.
      const lines = [
        ...(mine.length > 1 ? [{ lane: '1+2', polonies: sum(mine.map((each) => each.polonies)), of: total }] : []),
        ...mine.map((each) => ({ lane: String(each.lane), polonies: each.polonies, of: inLane(each.lane) })),
      ];
      for (const { lane, polonies, of } of lines)
        assigned.push(
          [
            at + 1,
            row.name,
            row.index1,
            row.index2,
            lane,
            polonies,
            ((100 * polonies) / of).toFixed(4),
            gigabases(polonies),
          ].join(','),
        );
    }
  }
  yield ['IndexAssignment.csv', `${assigned.join('\n')}\n`];
  yield [
    'Metrics.csv',
    `Metric,Lane,Value\nNumPolonies,${lanes.join('+')},${total}\nPercentQ30,${lanes.join('+')},${QUALITY.PercentQ30}\nQualityScoreMean,${lanes.join('+')},${QUALITY.QualityScoreMean}\n`,
  ];
  yield ['UnassignedSequences.csv', 'I1,I2,Lane,Count,PercentOfUnassigned\n'];
  yield ['RunManifest.csv', manifestText];
  const masks = (lane: number) =>
    Object.fromEntries(
      READ_NAMES.flatMap((read): [string, unknown][] => {
        const { mask, read: source, cycles: kept } = maskOf(read, lane);
        const name = read.startsWith('I') ? `${read}Mask` : `${read}FastQMask`;
        return [
          [`${name}Manifest`, mask],
          [name, [{ Read: source, Cycles: kept }]],
        ];
      }),
    );
  yield [
    'RunManifest.json',
    JSON.stringify({
      RunValues: manifest.runValues,
      Settings: lanes.map((lane) => ({
        Lane: lane,
        ...Object.fromEntries(
          manifest.settings.filter((each) => each.lanes.includes(lane)).map((each) => [each.name, each.value]),
        ),
        ...masks(lane),
        AdapterTrimType: setting('AdapterTrimType', lane) ?? 'Paired-End',
        R1AdapterMinimumTrimmedLength: 16,
        R2AdapterMinimumTrimmedLength: 16,
      })),
      Samples: [...samples.values()].map((sample, at) => ({
        SampleName: sample.name,
        SampleNumber: at + 1,
        ExternalId: sample.rows[0]!.externalId ?? '',
        Indexes: sample.occurrences.map(({ row, lane }) => ({ Lane: lane, Index1: row.index1, Index2: row.index2 })),
        CustomMetadata: sample.rows[0]!.custom,
        Project: sample.rows[0]!.project ?? 'DefaultProject',
      })),
    }),
  ];
  yield ['RunParameters.json', runParametersText];
  yield [`${run.runName}_QC.html`, `<!doctype html><title>${run.runName}</title><p>${NOTICE}</p>`];
  yield [
    'RunStats.json',
    // One line: MultiQC looks for its key words in the first lines only, and does not find a pretty-printed one.
    JSON.stringify({
      FileVersion: '0.1.0',
      AnalysisID: options.analysisId,
      AnalysisVersion: '2.4.0.0-simulated',
      RunName: run.runName,
      RunID: run.runId ?? '',
      FlowCellID: flowcell,
      ...yields(total),
      Samples: [...[...samples.values()].map((sample) => sample.name), 'Unassigned'],
      Reads: runReads(total),
      Lanes: lanes.map((lane) => ({
        Lane: lane,
        ...yields(inLane(lane)),
        Reads: runReads(inLane(lane)),
        UnassignedSequences: [],
        I1IsReverseComplement: false,
        I2IsReverseComplement: false,
      })),
      SampleStats: sampleStats,
    }),
  ];
}

const UPLOADS_AT_ONCE = 4;

/**
 * Does what Bases2Fastq does with a run folder, in small: checks that the run is whole and writes the layout of its results.
 * Every object is read and written with the client that is given, so with the execution role's permissions.
 * @throws WorkflowError with HealthOmics' failure reason.
 */
export async function runBases2Fastq(s3: S3Client, input: Bases2FastqInput, isCancelled: () => boolean): Promise<void> {
  const source = splitUri(input.runDir);
  const target = splitUri(input.outputUri);
  const importFailed = (what: string, error: unknown): WorkflowError => {
    const { name, message } = error as Error;
    if (name === 'NoSuchKey' || name === 'NoSuchBucket')
      return new WorkflowError(
        'INPUT_URI_NOT_FOUND',
        `The provided URI does not exist: ${what}. Check that the URI path exists and that the role can access the object.`,
      );
    return new WorkflowError(
      'IMPORT_FAILED',
      `The import failed: ${what}: ${name}: ${message}. Check that the input file exists and the run role has access to the input.`,
    );
  };
  const read = async ({ bucket, key }: { bucket: string; key: string }): Promise<string> => {
    try {
      const object = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      return (await object.Body?.transformToString('utf-8')) ?? '';
    } catch (error) {
      throw importFailed(`s3://${bucket}/${key}`, error);
    }
  };

  const runParametersText = await read({ bucket: source.bucket, key: `${source.key}/RunParameters.json` });
  const manifestText = await read(
    typeof input.runManifest === 'string' && input.runManifest !== ''
      ? splitUri(input.runManifest)
      : { bucket: source.bucket, key: `${source.key}/RunManifest.csv` },
  );
  let missing: Set<string>;
  try {
    missing = new Set(expectedBaseCalls(parseRunParameters(runParametersText).cycles ?? {}));
  } catch (error) {
    throw new WorkflowError('WORKFLOW_RUN_FAILED', (error as Error).message);
  }
  let token: string | undefined;
  do {
    let page;
    try {
      page = await s3.send(
        new ListObjectsV2Command({
          Bucket: source.bucket,
          Prefix: `${source.key}/BaseCalls/`,
          ContinuationToken: token,
        }),
      );
    } catch (error) {
      throw importFailed(`s3://${source.bucket}/${source.key}/`, error);
    }
    for (const object of page.Contents ?? [])
      if ((object.Size ?? 0) > 0) missing.delete((object.Key ?? '').slice(source.key.length + 1));
    token = page.NextContinuationToken;
  } while (token !== undefined);
  if (missing.size > 0)
    throw new WorkflowError(
      'WORKFLOW_RUN_FAILED',
      `Bases2Fastq: ${missing.size} files of the run are missing or empty, the first is ${[...missing][0]}`,
    );

  const files = bases2FastqFiles(runParametersText, manifestText, {
    noProjects: ['true', '1', 'yes', '--no-projects'].includes(String(input.noProjects).toLowerCase()),
    analysisId: id(input.outputUri),
  });
  const upload = async (): Promise<void> => {
    while (!isCancelled()) {
      let next;
      try {
        next = files.next();
      } catch (error) {
        throw error instanceof WorkflowError
          ? error
          : new WorkflowError('WORKFLOW_RUN_FAILED', (error as Error).message);
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
          `The export failed: s3://${target.bucket}/${target.key}/${name}: ${code}: ${message}. Check that the output bucket exists and the run role has write permission to the bucket.`,
        );
      }
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, upload));
}
