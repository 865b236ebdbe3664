import { createHash } from 'node:crypto';
import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { zipSync } from 'fflate';
import { expectedBaseCalls } from '../domain/runs/runFolder.js';
import { type Cycles, READ_NAMES, type ReadName } from '../domain/runs/runParameters.js';

export interface SimulatedSample {
  name: string;
  index1: string;
  index2: string;
  project?: string;
  /** 1, 2 or 1+2. */
  lane?: string;
}

/** A run that the simulated instrument uploads. The same run always gives the same bytes. */
export interface SimulatedRun {
  instrumentName: string;
  runName: string;
  /** `YYYY-MM-DD`. */
  date: string;
  cycles: Cycles;
  samples: SimulatedSample[];
  /** Size of the content of each BaseCalls zip, in bytes. */
  bytesPerCycle: number;
  tiles: string[];
  runType: 'Sequencing' | 'Cytoprofiling';
  platformVersion: string;
  /** Added to the percentages and scores of quality that the instrument measures; 0 by default. */
  qualityShift: number;
}

/**
 * How a simulated run ends. `empty` and `newline` are damaged RunUploaded.json files, as real instruments have written
 * them; with `none` the upload never ends.
 */
export type SimulatedOutcome = 'completed' | 'failed' | 'stopped' | 'empty' | 'newline' | 'none';

/**
 * Samples whose index sequences have the length of the run's index cycles. The sequences differ if the length allows
 * it.
 */
export function simulatedSamples(count: number, cycles: Cycles): SimulatedSample[] {
  const index = (seed: string, length: number): string =>
    [...bytes(seed, length)].map((byte) => 'ACGT'[byte % 4]).join('');
  return Array.from({ length: count }, (_, at) => ({
    name: `sample-${at + 1}`,
    index1: index(`${at}/I1`, cycles.I1 ?? 0),
    index2: index(`${at}/I2`, cycles.I2 ?? 0),
    project: at % 2 === 0 ? 'alpha' : 'beta',
  }));
}

/** Fills in the members that are not given. */
export function describeRun(run: Partial<SimulatedRun> = {}): SimulatedRun {
  return {
    instrumentName: 'AV240001',
    runName: 'SIM0001',
    date: '2026-01-15',
    cycles: { I1: 8, I2: 8, R1: 12, R2: 12 },
    samples: [
      { name: 'sample-1', index1: 'ACGTACGT', index2: 'TTGACCAA', project: 'alpha' },
      { name: 'sample-2', index1: 'GGATCCTA', index2: 'CATGCATG', project: 'alpha' },
      { name: 'sample-3', index1: 'TCCAGGTT', index2: 'AACCGGTT', project: 'beta' },
    ],
    bytesPerCycle: 2048,
    tiles: ['L1R01C01S1', 'L1R02C01S1', 'L2R01C01S1'],
    runType: 'Sequencing',
    platformVersion: '3.3.2',
    qualityShift: 0,
    ...run,
  };
}

/** `<YYYYMMDD>_<InstrumentName>_<RunName>` */
export function runFolderName(run: SimulatedRun): string {
  return `${run.date.replaceAll('-', '')}_${run.instrumentName}_${run.runName}`;
}

const hex = (text: string, length: number): string => createHash('sha256').update(text).digest('hex').slice(0, length);

function bytes(seed: string, length: number): Buffer {
  const chunks: Buffer[] = [];
  for (let have = 0; have < length; have += 32) chunks.push(createHash('sha256').update(`${seed}/${have}`).digest());
  return Buffer.concat(chunks).subarray(0, length);
}

/** The panel of simulated cytoprofiling runs. */
const PANEL = 'SIM-PANEL';

function runIds(run: SimulatedRun): { recipeExecution: string; run: string } {
  const folder = runFolderName(run);
  return {
    recipeExecution: `rec.${hex(`${folder}/recipe`, 32)}`,
    run: `${run.runType === 'Sequencing' ? 'seq' : 'cto'}_${hex(`${folder}/run`, 24)}`,
  };
}

/** `RunUploaded.json` as the instrument writes it. */
export function runUploadedText(run: SimulatedRun, outcome: SimulatedOutcome): string {
  if (outcome === 'empty') return '';
  if (outcome === 'newline') return '\n';
  const ids = runIds(run);
  return JSON.stringify({
    version: '1.0.0',
    instrument: run.instrumentName,
    instrumentId: hex(run.instrumentName, 24),
    runType: run.runType,
    recipeExecutionId: ids.recipeExecution,
    runID: ids.run,
    outcome: `Outcome${outcome[0]!.toUpperCase()}${outcome.slice(1)}`,
  });
}

/** `RunParameters.json`. Files of cytoprofiling runs have other members instead of `FlowcellID` and `Cycles`. */
function runParametersText(run: SimulatedRun): string {
  const ids = runIds(run);
  const consumable = (kind: string) => ({
    SerialNumber: hex(`${run.runName}/${kind}`, 10),
    PartNumber: '800-00000',
    LotNumber: '0000000001',
    Expiration: '2030-01-01T00:00:00Z',
    ExpirationStr: '20300101',
    BarcodeStr: '',
  });
  const cytoprofiling = run.runType === 'Cytoprofiling';
  return JSON.stringify(
    {
      FileVersion: cytoprofiling ? '6.1.0' : '5.0.0',
      RunName: run.runName,
      RecipeExecutionID: ids.recipeExecution,
      RunID: ids.run,
      RunType: run.runType,
      RunDescription: '',
      Side: 'SideA',
      ...(!cytoprofiling && { FlowcellID: hex(`${run.runName}/flowcell`, 10) }),
      Date: `${run.date}T08:00:00.000000000Z`,
      InstrumentName: run.instrumentName,
      OperatorName: 'simulator',
      RunFolderName: runFolderName(run),
      Tiles: run.tiles,
      ...(cytoprofiling
        ? {
            KitType: 'KitTypeCytoprofiling',
            PanelName: PANEL,
            Batches: [],
            ThroughputSelection: 'tile_selections/High.txt',
            Zs: ['00', '01'],
            ZPositions: [1, 0],
            CytoprofilingCartridge: 'Simulated cartridge',
            WellLayout: 'TwelveWellStandard',
            Lanes: [1, 2],
          }
        : {
            // Always all four reads; reads that are not sequenced have 0 cycles.
            Cycles: Object.fromEntries(
              ['R1', 'R2', 'I1', 'I2'].map((read) => [read, run.cycles[read as ReadName] ?? 0]),
            ),
            // Index reads come first, as on the instrument.
            ReadOrder: READ_NAMES.filter((read) => (run.cycles[read] ?? 0) > 0).join(','),
            ThroughputSelection: 'High',
            KitConfiguration: '300Cycles',
            PreparationWorkflow: 'Adept',
            ChemistryVersion: 'Cloudbreak',
            LowDiversity: false,
            LibraryType: 'Linear',
          }),
      PlatformVersion: run.platformVersion,
      AnalysisLanes: '1+2',
      StorageConnectionID: '',
      Consumables: {
        Flowcell: consumable('flowcell'),
        Buffer: consumable('buffer'),
        ...(cytoprofiling ? { PanelCartridge: consumable('panel') } : { SequencingCartridge: consumable('cartridge') }),
      },
      RecipeValues: null,
      AdvancedSettings: null,
    },
    null,
    2,
  );
}

/** `RunManifest.json`: the manifest as the instrument reads it, with the indexes of every sample by lane. */
function manifestJson(run: SimulatedRun): string {
  const sequenced = (read: ReadName): boolean => (run.cycles[read] ?? 0) > 0;
  const setting = (Lane: number) => ({
    Lane,
    ...Object.fromEntries(
      READ_NAMES.filter((read) => read.startsWith('I') && sequenced(read)).map((read) => [
        `${read}MaskManifest`,
        `${read}:Y*`,
      ]),
    ),
    ...Object.fromEntries(
      READ_NAMES.filter((read) => read.startsWith('R') && sequenced(read)).map((read) => [
        `${read}FastQMaskManifest`,
        `${read}:Y*N`,
      ]),
    ),
    I1MismatchThreshold: 1,
    I2MismatchThreshold: 1,
    SpikeInAsUnassigned: true,
  });
  const samples = new Map<string, SimulatedSample[]>();
  for (const sample of run.samples) samples.set(sample.name, [...(samples.get(sample.name) ?? []), sample]);
  return JSON.stringify(
    {
      RunValues: { Simulator: 'polony' },
      Settings: [1, 2].map(setting),
      Samples: [...samples].map(([SampleName, rows], index) => ({
        SampleName,
        SampleNumber: index + 1,
        ExternalId: '',
        Indexes: rows.flatMap((row) =>
          (row.lane ?? '1+2')
            .split('+')
            .map((lane) => ({ Lane: Number(lane), Index1: row.index1, Index2: row.index2 })),
        ),
        CustomMetadata: {},
        Project: rows[0]?.project ?? 'DefaultProject',
      })),
    },
    null,
    4,
  );
}

/** `IndexAssignment.csv`: how many polonies got which sample, for both lanes together and for each. */
function indexAssignment(run: SimulatedRun): string {
  const share = 90 / Math.max(1, run.samples.length);
  const rows = run.samples.flatMap((sample) =>
    ['1+2', '1', '2'].map((lane) =>
      [sample.name, sample.index1, sample.index2, lane, lane === '1+2' ? 2000 : 1000, share.toFixed(4)].join(','),
    ),
  );
  return ['SampleName,Index1,Index2,Lane,NumPoloniesAssigned,PercentPoloniesAssigned', ...rows, ''].join('\n');
}

const toFourDigits = (value: number): number => Math.round(value * 1e4) / 1e4;

/** Values that fall from `mean + spread` to `mean - spread` over so many cycles. */
function falling(mean: number, spread: number, cycles: number): number[] {
  return Array.from({ length: cycles }, (_, at) =>
    toFourDigits(mean + (cycles === 1 ? 0 : spread * (1 - (2 * at) / (cycles - 1)))),
  );
}

/** How many cycles a read has before it is long enough to be aligned to PhiX. */
const CYCLES_BEFORE_PHIX = 5;

/** One read of `AvitiRunStats.json`: quality falls and errors rise with each cycle, as in real reads. */
function readStats(Read: 'R1' | 'R2', cycles: number, shift: number) {
  const [q30, q40] = [falling(95 + shift, 3, cycles), falling(85 + shift, 6, cycles)];
  const quality = falling(41.5 + shift / 4, 1.5, cycles);
  const errors = falling(0.4, -0.2, Math.max(0, cycles - CYCLES_BEFORE_PHIX));
  return {
    Read,
    PhiXAlignmentRate: 1.5,
    Cycles: Array.from({ length: cycles }, (_, at) => {
      // The first bases follow where enzymes cut.
      const skew = toFourDigits(8 / (at + 1) ** 2);
      return {
        Cycle: at + 1,
        PercentQ30: q30[at]!,
        PercentQ40: q40[at]!,
        AverageQScore: quality[at]!,
        PercentPhixErrorRate: at < CYCLES_BEFORE_PHIX ? 0 : errors[at - CYCLES_BEFORE_PHIX]!,
        BaseComposition: {
          A: toFourDigits(27 + skew),
          C: toFourDigits(23 - skew),
          G: toFourDigits(23 + skew / 2),
          T: toFourDigits(27 - skew / 2),
        },
      };
    }),
  };
}

/** `AvitiRunStats.json`: what the instrument itself measured, read by read, for the run and each lane. */
function runStats(run: SimulatedRun): string {
  const totals = (tiles: number) => ({
    PolonyCount: tiles * 1000,
    PFCount: tiles * 900,
    PercentPF: 90,
    TotalYield: tiles * 900 * ((run.cycles.R1 ?? 0) + (run.cycles.R2 ?? 0)),
    Reads: (['R1', 'R2'] as const)
      .filter((read) => (run.cycles[read] ?? 0) > 0)
      .map((read) => readStats(read, run.cycles[read]!, run.qualityShift)),
  });
  const tilesOf = (lane: number): number => run.tiles.filter((tile) => tile.startsWith(`L${lane}`)).length;
  return JSON.stringify({
    FileVersion: '2.0.0',
    RunName: run.runName,
    RunID: runIds(run).run,
    AnalysisID: '',
    RunStats: totals(run.tiles.length),
    LaneStats: [1, 2].filter((lane) => tilesOf(lane) > 0).map((Lane) => ({ Lane, ...totals(tilesOf(Lane)) })),
  });
}

function manifestText(run: SimulatedRun): string {
  const cell = (text: string): string => (/[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return [
    '[RunValues],,,,',
    'KeyName,Value,,,',
    `Simulator,polony,,,`,
    '',
    '[Settings],,,,',
    'SettingName,Value,Lane,,',
    'R1FastQMask,R1:Y*,1+2,,',
    '',
    '[Samples],,,,',
    'SampleName,Index1,Index2,Lane,Project',
    ...run.samples.map((sample) =>
      [sample.name, sample.index1, sample.index2, sample.lane ?? '1+2', sample.project ?? ''].map(cell).join(','),
    ),
    '',
  ].join('\r\n');
}

/** One file of a run folder. Its content is created on upload, so that a large run does not need more memory. */
export interface RunFile {
  /** Relative to the run folder. */
  path: string;
  /** Whether it is one of the large files, which the instrument uploads cycle by cycle or tile by tile. */
  bulk?: boolean;
  content: () => Buffer | string;
}

/** A PNG of one transparent pixel. */
const THUMBNAIL = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
  'base64',
);

/**
 * The paths of a run's large files: BaseCalls zips of a sequencing run, or the images and tables of each tile of a
 * cytoprofiling run.
 */
function bulkOf(run: SimulatedRun): string[] {
  if (run.runType === 'Sequencing') return expectedBaseCalls(run.cycles);
  return run.tiles.flatMap((tile) => [
    `BaseCalling/${tile}.parquet`,
    `Cytoprofiling/${tile}/features.parquet`,
    `Projection/${tile}.tif`,
  ]);
}

/**
 * The files of a run in the order in which an instrument uploads them; `RunUploaded.json` is not among them.
 * @param bulk number of large files: all by default, fewer for a run that was stopped.
 */
export function* runFiles(run: SimulatedRun, bulk = Infinity): Generator<RunFile> {
  const seed = runFolderName(run);
  const sequencing = run.runType === 'Sequencing';
  yield { path: 'RunParameters.json', content: () => runParametersText(run) };
  if (sequencing) {
    yield { path: 'RunManifest.csv', content: () => manifestText(run) };
    yield { path: 'RunManifest.json', content: () => manifestJson(run) };
    for (const tile of run.tiles) {
      yield { path: `Location/${tile}.loc`, content: () => bytes(`${seed}/loc/${tile}`, 256) };
      yield { path: `Filter/${tile}.filter`, content: () => bytes(`${seed}/filter/${tile}`, 64) };
    }
    yield { path: 'Alignment/alignment.json', content: () => '{}' };
  } else {
    yield { path: 'Panel.json', content: () => JSON.stringify({ Name: PANEL, Version: '1.0.0', Targets: [] }) };
  }
  for (const path of bulkOf(run).slice(0, bulk)) {
    const data = (): Buffer => bytes(`${seed}/${path}`, run.bytesPerCycle);
    yield {
      path,
      bulk: true,
      content: path.endsWith('.zip')
        ? () => Buffer.from(zipSync({ 'calls.bin': data() }, { level: 0, mtime: new Date('2026-01-01') }))
        : data,
    };
  }
  if (sequencing) {
    yield { path: 'Stats/run.prodstats', content: () => bytes(`${seed}/stats`, 128) };
    yield { path: 'AvitiRunStats.json', content: () => runStats(run) };
    yield { path: 'IndexAssignment.csv', content: () => indexAssignment(run) };
  } else {
    // The instrument uploads it before the end; it does not mean that the upload is complete.
    yield { path: 'RunAnalysisFilesUploaded.json', content: () => '{}' };
  }
  yield { path: 'RunThumbnail.png', content: () => THUMBNAIL };
}

export interface SimulationOptions {
  s3: S3Client;
  bucket: string;
  /** Prefix of the storage connection; empty for the whole bucket. */
  prefix: string;
  run: SimulatedRun;
  outcome?: SimulatedOutcome;
  /** Pauses after this share of the large files (0 to 1), unless {@link Simulation.resume} was called before. */
  stallAt?: number;
  /** Maximum bytes per second; no limit by default. */
  bytesPerSecond?: number;
  concurrency?: number;
  signal?: AbortSignal;
  onProgress?: (done: { files: number; bytes: number; path: string }) => void;
}

export interface Simulation {
  /** Key of the run folder, without a slash at its end. */
  folder: string;
  pause: () => void;
  /** Ends a pause. If the upload has not reached `stallAt` yet, it will not pause there. */
  resume: () => void;
  /** Resolves with the totals when the run is uploaded; rejects when an upload fails or the signal aborts. */
  done: Promise<{ files: number; bytes: number }>;
}

const MULTIPART_FROM = 8 * 1024 * 1024;

/**
 * Uploads a run progressively, as an instrument does, with RunUploaded.json last. A run with the outcome `failed` or
 * `stopped` has half of its large files.
 */
export function simulateInstrument(options: SimulationOptions): Simulation {
  const { s3, bucket, run, outcome = 'completed', concurrency = 4 } = options;
  const folder = [options.prefix, run.instrumentName, runFolderName(run)].filter((part) => part !== '').join('/');
  let paused: { promise: Promise<void>; resume: () => void } | undefined;
  const pause = (): void => {
    if (paused !== undefined) return;
    let resume = (): void => undefined;
    const promise = new Promise<void>((resolve) => (resume = resolve));
    paused = { promise, resume };
  };
  let stallAt = options.stallAt;
  const resume = (): void => {
    stallAt = undefined;
    paused?.resume();
    paused = undefined;
  };
  const aborted = new Promise<void>((resolve) =>
    options.signal?.addEventListener('abort', () => resolve(), { once: true }),
  );
  /** Waits during a pause. An abort ends the pause. */
  const waitWhilePaused = async (): Promise<void> => {
    while (paused !== undefined && options.signal?.aborted !== true) await Promise.race([paused.promise, aborted]);
    options.signal?.throwIfAborted();
  };
  const total = bulkOf(run).length;
  const bulk = outcome === 'failed' || outcome === 'stopped' ? Math.floor(total / 2) : total;
  const put = async (path: string, body: Buffer | string): Promise<void> => {
    // The SDK treats an empty string as a stream of unknown length, so send bytes.
    const target = {
      Bucket: bucket,
      Key: `${folder}/${path}`,
      Body: typeof body === 'string' ? Buffer.from(body) : body,
    };
    if (body.length >= MULTIPART_FROM) await new Upload({ client: s3, params: target, queueSize: 2 }).done();
    else await s3.send(new PutObjectCommand(target));
  };
  async function upload(): Promise<{ files: number; bytes: number }> {
    const sent = { files: 0, bytes: 0 };
    const started = Date.now();
    let bulkSent = 0;
    const pauseIfStalled = (): void => {
      if (stallAt !== undefined && bulkSent === Math.floor(bulk * stallAt)) pause();
    };
    const files = runFiles(run, bulk);
    const lane = async (): Promise<void> => {
      for (;;) {
        await waitWhilePaused();
        const next = files.next();
        if (next.done === true) return;
        const { path, content } = next.value;
        const large = next.value.bulk === true;
        const body = content();
        await put(path, body);
        sent.files++;
        sent.bytes += body.length;
        if (large) {
          bulkSent++;
          pauseIfStalled();
        }
        options.onProgress?.({ ...sent, path });
        if (options.bytesPerSecond !== undefined) {
          const ahead = (sent.bytes / options.bytesPerSecond) * 1000 - (Date.now() - started);
          if (ahead > 0) await new Promise((resolve) => setTimeout(resolve, ahead));
        }
      }
    };
    pauseIfStalled();
    try {
      await Promise.all(Array.from({ length: concurrency }, lane));
    } catch (error) {
      // The other lanes must not continue after a failure.
      files.return(undefined);
      throw error;
    }
    if (outcome !== 'none') {
      await waitWhilePaused();
      await put('RunUploaded.json', runUploadedText(run, outcome));
      sent.files++;
      options.onProgress?.({ ...sent, path: 'RunUploaded.json' });
    }
    return sent;
  }
  return { folder, pause, resume, done: upload() };
}
