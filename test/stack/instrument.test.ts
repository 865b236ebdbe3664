/** @module-tag long */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  S3Client,
  type _Object,
} from '@aws-sdk/client-s3';
import { unzipSync } from 'fflate';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectedBaseCalls } from '../../domain/runs/runFolder.js';
import { createGuardian, type Guardian, untilReady } from '../../local/guardian.js';
import {
  describeRun,
  simulateInstrument,
  type SimulatedOutcome,
  type SimulationOptions,
} from '../../local/instrument.js';
import { freePort } from '../../local/ports.js';
import { ensurePython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';

const bucket = 'instrument-test';
let stateDir: string;
let guardian: Guardian;
let s3: S3Client;
/** Keys in the order of their acknowledged uploads, and of the completion of multipart uploads. */
const written: string[] = [];
const commands: string[] = [];

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-instrument-'));
  guardian = await createGuardian(stateDir);
  const { pythonBin } = await ensurePython(PYTHON.ministack);
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const child = guardian.spawn('ministack', pythonBin, ['-m', 'ministack.app'], {
    env: {
      BIND_HOST: '127.0.0.1',
      GATEWAY_PORT: String(port),
      IOT_MTLS_ENABLED: '0',
      SFTP_ENABLED: '0',
      AUTH: undefined,
    },
  });
  await untilReady(child, async () => (await fetch(`${endpoint}/_ministack/health`)).ok);
  s3 = new S3Client({
    endpoint,
    region: 'us-west-2',
    forcePathStyle: true,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  s3.middlewareStack.add(
    (next, context) => async (args) => {
      commands.push(context.commandName!);
      const answer = await next(args);
      const { Key } = args.input as { Key?: string };
      if (['PutObjectCommand', 'CompleteMultipartUploadCommand'].includes(context.commandName!)) written.push(Key!);
      return answer;
    },
    { step: 'initialize' },
  );
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
});
afterAll(async () => {
  s3?.destroy();
  await guardian?.close();
  rmSync(stateDir, { recursive: true, force: true });
});

async function list(folder: string): Promise<Map<string, _Object>> {
  const found = new Map<string, _Object>();
  for (let token: string | undefined; ;) {
    const page = await s3.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: `${folder}/`, ContinuationToken: token }),
    );
    for (const object of page.Contents ?? []) found.set(object.Key!.slice(folder.length + 1), object);
    token = page.NextContinuationToken;
    if (token === undefined) return found;
  }
}
const read = async (key: string): Promise<Uint8Array> =>
  (await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }))).Body!.transformToByteArray();
const text = async (key: string): Promise<string> => Buffer.from(await read(key)).toString('utf8');
const simulate = (runName: string, more: Partial<SimulationOptions> = {}) =>
  simulateInstrument({ s3, bucket, prefix: 'lab/runs', run: describeRun({ runName }), ...more });
const baseCallsOf = (found: Map<string, _Object>): string[] =>
  [...found.keys()].filter((key) => key.startsWith('BaseCalls/'));

describe('the simulated instrument', () => {
  it('uploads every file of a run, with RunUploaded.json last', async () => {
    const run = describeRun({ runName: 'WHOLE' });
    const simulation = simulate('WHOLE');
    expect(simulation.folder).toBe('lab/runs/AV240001/20260115_AV240001_WHOLE');
    const sent = await simulation.done;
    const found = await list(simulation.folder);
    expect(baseCallsOf(found).sort()).toEqual(expectedBaseCalls(run.cycles).sort());
    for (const tile of run.tiles)
      for (const name of [`Filter/${tile}.filter`, `Location/${tile}.loc`]) expect(found.has(name)).toBe(true);
    for (const name of [
      'RunParameters.json',
      'RunManifest.csv',
      'RunManifest.json',
      'AvitiRunStats.json',
      'IndexAssignment.csv',
      'RunThumbnail.png',
      'Stats/run.prodstats',
      'RunUploaded.json',
    ])
      expect(found.has(name)).toBe(true);
    expect(sent.files).toBe(found.size);
    const order = written.filter((key) => key.startsWith(`${simulation.folder}/`));
    expect(order.at(-1)).toBe(`${simulation.folder}/RunUploaded.json`);
    const last = found.get('RunUploaded.json')!.LastModified!.getTime();
    expect([...found.values()].every((object) => object.LastModified!.getTime() <= last)).toBe(true);

    const parameters = JSON.parse(await text(`${simulation.folder}/RunParameters.json`)) as Record<string, unknown>;
    expect(parameters).toMatchObject({
      InstrumentName: 'AV240001',
      RunName: 'WHOLE',
      RunFolderName: '20260115_AV240001_WHOLE',
      Cycles: run.cycles,
      Tiles: run.tiles,
      RunType: 'Sequencing',
    });
    const uploaded = JSON.parse(await text(`${simulation.folder}/RunUploaded.json`)) as Record<string, unknown>;
    expect(Object.keys(uploaded)).toEqual([
      'version',
      'instrument',
      'instrumentId',
      'runType',
      'recipeExecutionId',
      'runID',
      'outcome',
    ]);
    expect(uploaded).toMatchObject({
      runID: parameters.RunID,
      recipeExecutionId: parameters.RecipeExecutionID,
      outcome: 'OutcomeCompleted',
    });
    expect((await read(`${simulation.folder}/RunThumbnail.png`)).subarray(0, 8)).toEqual(
      Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    );
    const manifest = await text(`${simulation.folder}/RunManifest.csv`);
    for (const sample of run.samples) expect(manifest).toContain(`${sample.name},${sample.index1},${sample.index2}`);
  });

  it('creates BaseCalls that can be unzipped, with the same bytes each time', async () => {
    const folders = [simulate('SAME', { prefix: 'a' }), simulate('SAME', { prefix: 'b' })];
    await Promise.all(folders.map(({ done }) => done));
    const [one, two] = await Promise.all(folders.map(({ folder }) => list(folder)));
    expect([...one!].map(([name, object]) => [name, object.ETag, object.Size]).sort()).toEqual(
      [...two!].map(([name, object]) => [name, object.ETag, object.Size]).sort(),
    );
    for (const name of ['BaseCalls/R1_C001.zip', 'BaseCalls/I2_C008.zip']) {
      const entries = Object.values(unzipSync(await read(`${folders[0]!.folder}/${name}`)));
      expect(entries.reduce((sum, entry) => sum + entry.length, 0)).toBe(2048);
    }
  });

  it('uploads a large file in parts', async () => {
    commands.length = 0;
    const size = 9 * 1024 * 1024;
    const simulation = simulate('LARGE', {
      run: describeRun({ runName: 'LARGE', cycles: { R1: 2, R2: 0, I1: 0, I2: 0 }, bytesPerCycle: size }),
    });
    await simulation.done;
    expect(commands.filter((name) => name === 'CompleteMultipartUploadCommand')).toHaveLength(2);
    expect((await list(simulation.folder)).get('BaseCalls/R1_C002.zip')!.Size).toBeGreaterThan(size);
  });

  it('stalls at the given point without RunUploaded.json, and continues when it is resumed', async () => {
    let stalled: (() => void) | undefined;
    const stall = new Promise<void>((resolve) => (stalled = resolve));
    const simulation = simulate('STALLED', {
      stallAt: 0.5,
      concurrency: 1,
      onProgress: ({ path: file }) => file === 'BaseCalls/R1_C004.zip' && stalled!(),
    });
    await stall;
    // Without the stall, the next file begins in the same turn of the event loop.
    commands.length = 0;
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(commands).toEqual([]);
    const before = await list(simulation.folder);
    expect(baseCallsOf(before)).toHaveLength(20);
    expect(before.has('RunUploaded.json')).toBe(false);
    simulation.resume();
    await simulation.done;
    const after = await list(simulation.folder);
    expect(baseCallsOf(after)).toHaveLength(40);
    expect(after.has('RunUploaded.json')).toBe(true);
  });

  it('does not stall if it is resumed before', async () => {
    const simulation = simulate('RESUMED-EARLY', { stallAt: 0.5 });
    simulation.resume();
    await simulation.done;
    expect((await list(simulation.folder)).has('RunUploaded.json')).toBe(true);
  });

  it.each<[SimulatedOutcome, string | undefined, number]>([
    ['failed', 'OutcomeFailed', 20],
    ['stopped', 'OutcomeStopped', 20],
    ['empty', '', 40],
    ['newline', '\n', 40],
    ['none', undefined, 40],
  ])('can end as %s', async (outcome, said, cycles) => {
    const simulation = simulate(`END-${outcome}`, { outcome });
    await simulation.done;
    const found = await list(simulation.folder);
    expect(baseCallsOf(found)).toHaveLength(cycles);
    expect(found.has('RunUploaded.json')).toBe(said !== undefined);
    if (said === undefined) return;
    const content = await text(`${simulation.folder}/RunUploaded.json`);
    expect(said.startsWith('Outcome') ? (JSON.parse(content) as { outcome: string }).outcome : content).toBe(said);
  });

  it('keeps to its rate, and stops when it is aborted', async () => {
    const began = Date.now();
    const { bytes } = await simulate('SLOW', { bytesPerSecond: 100_000 }).done;
    expect(Date.now() - began).toBeGreaterThan((bytes / 100_000) * 1000 * 0.8);
    const abort = new AbortController();
    const simulation = simulate('ABORTED', {
      concurrency: 1,
      signal: abort.signal,
      onProgress: ({ files }) => files === 5 && abort.abort(),
    });
    await expect(simulation.done).rejects.toThrow(/abort/i);
    expect((await list(simulation.folder)).size).toBe(5);
    // It also stops while it is paused.
    const second = new AbortController();
    const stalled = simulate('STALLED-ABORTED', { signal: second.signal, stallAt: 0 });
    second.abort();
    await expect(stalled.done).rejects.toThrow(/abort/i);
  });
});
