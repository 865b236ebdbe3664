import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { expectedBaseCalls } from '../../domain/runFolder.js';
import { parseRunManifest, type ManifestSample } from '../../domain/runManifest.js';
import { parseRunParameters } from '../../domain/runParameters.js';

/** Why the stand-in could not work; becomes the run's failure. */
export class WorkflowError extends Error {
  constructor(
    readonly reason: 'WORKFLOW_RUN_FAILED' | 'IMPORT_FAILED' | 'EXPORT_FAILED',
    message: string,
  ) {
    super(message);
  }
}

const NOTICE = 'SIMULATION: written by the stand-in for Bases2Fastq of polony, not by Element software. The reads are made up.';
/** Read pairs per sample: enough to be a valid file, few enough to be quick. */
const POLONIES = 24;

function splitUri(uri: string): { bucket: string; key: string } {
  const match = /^s3:\/\/([^/]+)\/(.+?)\/*$/.exec(uri);
  if (!match) throw new WorkflowError('IMPORT_FAILED', `${uri} is not an S3 URI`);
  return { bucket: match[1]!, key: match[2]! };
}

/** Bases and qualities that follow from a name alone, so that the same run gives the same files. */
function* stream(seed: string): Generator<number> {
  for (let block = 0; ; block++) yield* createHash('sha256').update(`${seed}/${block}`).digest();
}

function fastq(sample: string, flowcell: string, read: string, length: number): Buffer {
  const bytes = stream(`${flowcell}/${sample}/${read}`);
  const next = (): number => bytes.next().value as number;
  let text = '';
  for (let polony = 0; polony < POLONIES; polony++) {
    let bases = '';
    let qualities = '';
    for (let cycle = 0; cycle < length; cycle++) {
      bases += 'ACGT'[next() & 3];
      qualities += String.fromCharCode(33 + 30 + (next() % 16));
    }
    text += `@SIMULATED:${flowcell}:1:${10000 + polony} ${read.slice(1)}:N:0:1\n${bases}\n+\n${qualities}\n`;
  }
  return gzipSync(text);
}

/**
 * Does what Bases2Fastq does with a run folder, in small: checks that the run is whole and writes the layout of its results.
 * Every object is read and written with the client that is given, so with the execution role's permissions.
 * @param outputUri `s3://bucket/…/<run id>` without a slash at its end.
 * @throws WorkflowError with HealthOmics' failure reason.
 */
export async function runBases2Fastq(s3: S3Client, parameters: Record<string, unknown>, outputUri: string, isCancelled: () => boolean): Promise<void> {
  const runDir = parameters.run_dir;
  if (typeof runDir !== 'string') throw new WorkflowError('WORKFLOW_RUN_FAILED', 'run_dir is not a string');
  const source = splitUri(runDir);
  const target = splitUri(outputUri);
  const read = async (bucket: string, key: string): Promise<string> => {
    try {
      const object = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      return (await object.Body?.transformToString('utf-8')) ?? '';
    } catch (error) {
      throw new WorkflowError('IMPORT_FAILED', `Reading s3://${bucket}/${key} with the execution role failed: ${(error as Error).name}: ${(error as Error).message}`);
    }
  };
  const write = async (name: string, body: string | Buffer): Promise<void> => {
    if (isCancelled()) return;
    try {
      await s3.send(new PutObjectCommand({ Bucket: target.bucket, Key: `${target.key}/${name}`, Body: body }));
    } catch (error) {
      throw new WorkflowError('EXPORT_FAILED', `Writing s3://${target.bucket}/${target.key}/${name} with the execution role failed: ${(error as Error).name}: ${(error as Error).message}`);
    }
  };

  const runParametersText = await read(source.bucket, `${source.key}/RunParameters.json`);
  const manifestUri = typeof parameters.run_manifest === 'string' && parameters.run_manifest !== '' ? splitUri(parameters.run_manifest) : { bucket: source.bucket, key: `${source.key}/RunManifest.csv` };
  const manifestText = await read(manifestUri.bucket, manifestUri.key);
  let run;
  let manifest;
  try {
    run = parseRunParameters(runParametersText);
    manifest = parseRunManifest(manifestText);
  } catch (error) {
    throw new WorkflowError('WORKFLOW_RUN_FAILED', (error as Error).message);
  }
  const cycles = run.cycles ?? {};
  const missing = new Set(expectedBaseCalls(cycles));
  let token: string | undefined;
  do {
    let page;
    try {
      page = await s3.send(new ListObjectsV2Command({ Bucket: source.bucket, Prefix: `${source.key}/BaseCalls/`, ContinuationToken: token }));
    } catch (error) {
      throw new WorkflowError('IMPORT_FAILED', `Listing ${runDir} with the execution role failed: ${(error as Error).name}: ${(error as Error).message}`);
    }
    for (const object of page.Contents ?? []) if ((object.Size ?? 0) > 0) missing.delete((object.Key ?? '').slice(source.key.length + 1));
    token = page.NextContinuationToken;
  } while (token !== undefined);
  if (missing.size > 0) throw new WorkflowError('WORKFLOW_RUN_FAILED', `${missing.size} files of the run are missing or empty, the first is ${[...missing][0]}`);

  const flat = ['true', '1', 'yes', '--no-projects'].includes(String(parameters.no_projects).toLowerCase());
  const flowcell = run.flowcellId ?? 'FLOWCELL';
  const samples = new Map<string, ManifestSample[]>();
  for (const row of manifest.samples) {
    const folder = flat ? row.name : `${row.project ?? 'DefaultProject'}/${row.name}`;
    samples.set(folder, [...(samples.get(folder) ?? []), row]);
  }
  const reads = (['R1', 'R2'] as const).filter((name) => (cycles[name] ?? 0) > 0);
  const bases = reads.reduce((sum, name) => sum + (cycles[name] ?? 0), 0) * POLONIES;
  const id = (text: string): string => createHash('md5').update(text).digest('hex');
  const quality = { QualityScoreMean: 40.5, PercentQ30: 96.5, PercentQ40: 88.25, PercentQ50: 12.5, PercentMismatch: 1.5 };
  const lanes = [1, 2];
  const readStats = reads.map((name) => ({
    Read: name,
    MeanReadLength: cycles[name],
    PerReadGCCountHistogram: Array.from({ length: (cycles[name] ?? 0) + 1 }, (_, at) => (at === Math.floor((cycles[name] ?? 0) / 2) ? POLONIES : 0)),
    RemovedAdapterLengthHistogram: [],
    Cycles: Array.from({ length: cycles[name] ?? 0 }, (_, at) => ({
      Cycle: at + 1,
      QualityScoreMean: 40.5,
      PercentQ30: 96.5,
      PercentQ40: 88.25,
      PercentN: 0,
      PercentBelowFilterThreshold: 1,
      BaseComposition: { A: POLONIES / 4, C: POLONIES / 4, G: POLONIES / 4, T: POLONIES / 4, N: 0 },
    })),
  }));
  const stats = (number: number, folder: string, rows: ManifestSample[]) => ({
    SampleNumber: number,
    SampleID: id(folder),
    SampleName: rows[0]!.name,
    ExternalID: rows[0]!.externalId ?? '',
    NumPolonies: POLONIES,
    NumPoloniesBeforeTrimming: POLONIES,
    Yield: bases / 1e9,
    ...quality,
    Reads: readStats,
    Occurrences: rows.flatMap((row) =>
      row.lanes.map((lane) => ({
        Lane: lane,
        ExpectedSequence: row.index1 + row.index2,
        NumPolonies: POLONIES / (rows.length * row.lanes.length),
        NumPoloniesBeforeTrimming: POLONIES / (rows.length * row.lanes.length),
        Yield: bases / 1e9 / (rows.length * row.lanes.length),
        R1Adapters: [],
        R2Adapters: [],
        CustomMetadata: row.custom,
        Reads: [],
        ...quality,
      })),
    ),
  });
  const sampleStats = [...samples].map(([folder, rows], at) => stats(at + 1, folder, rows));
  const polonies = sampleStats.length * POLONIES;
  await write('info/Bases2Fastq.log', `${NOTICE}\nrun ${run.runName}, ${sampleStats.length} samples, --no-projects ${flat ? 'set' : 'NOT set'}\n`);
  for (const [at, [folder, rows]] of [...samples].entries()) {
    const name = rows[0]!.name;
    for (const readName of reads) await write(`Samples/${folder}/${name}_${readName}.fastq.gz`, fastq(name, flowcell, readName, cycles[readName]!));
    await write(`Samples/${folder}/${name}_stats.json`, JSON.stringify(sampleStats[at]));
  }
  const assigned = ['SampleNumber,SampleName,I1,I2,Lane,NumPoloniesAssigned,PercentPoloniesAssigned,Yield(Gb)'];
  for (const [at, rows] of [...samples.values()].entries()) {
    for (const row of rows) {
      for (const lane of row.lanes.length > 1 ? ['1+2', '1', '2'] : [String(row.lanes[0])]) {
        assigned.push([at + 1, row.name, row.index1, row.index2, lane, POLONIES / rows.length / (lane === '1+2' || row.lanes.length === 1 ? 1 : 2), (100 / sampleStats.length / rows.length).toFixed(4), bases / 1e9].join(','));
      }
    }
  }
  await write('IndexAssignment.csv', `${assigned.join('\n')}\n`);
  await write('Metrics.csv', `Metric,Lane,Value\nNumPolonies,1+2,${polonies}\nPercentQ30,1+2,96.5\nQualityScoreMean,1+2,40.5\n`);
  await write('UnassignedSequences.csv', 'I1,I2,Lane,Count,PercentOfUnassigned\n');
  await write('RunManifest.csv', manifestText);
  await write('RunManifest.json', JSON.stringify({ RunValues: manifest.runValues, Settings: manifest.settings, Samples: manifest.samples.map((row) => ({ SampleName: row.name, Project: row.project ?? 'DefaultProject', Indexes: [{ Lane: row.lanes.join('+'), Index1: row.index1, Index2: row.index2 }] })) }));
  await write('RunParameters.json', runParametersText);
  await write(`${run.runName}_QC.html`, `<!doctype html><title>${run.runName}</title><p>${NOTICE}</p>`);
  await write(
    'RunStats.json',
    JSON.stringify({
      FileVersion: '0.1.0',
      AnalysisID: id(outputUri),
      AnalysisVersion: '2.4.0.0-simulated',
      RunName: run.runName,
      RunID: run.runId ?? '',
      FlowCellID: flowcell,
      NumPolonies: polonies,
      NumPoloniesBeforeTrimming: polonies,
      TotalYield: (bases * sampleStats.length) / 1e9,
      AssignedYield: (bases * sampleStats.length) / 1e9,
      PercentAssignedReads: 100,
      PercentUnexpectedIndexPairs: 0,
      ...quality,
      Reads: readStats,
      Lanes: lanes.map((lane) => ({ Lane: lane, NumPolonies: polonies / 2, NumPoloniesBeforeTrimming: polonies / 2, PercentAssignedReads: 100, TotalYield: (bases * sampleStats.length) / 2e9, AssignedYield: (bases * sampleStats.length) / 2e9, PercentUnexpectedIndexPairs: 0, Reads: readStats, UnassignedSequences: [], ...quality })),
      SampleStats: sampleStats,
    }),
  );
}
