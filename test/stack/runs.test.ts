import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CreateRoleCommand, DeleteRolePolicyCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createActivities } from '../../activities/index.js';
import { AwsSessions } from '../../aws/sessions.js';
import { createKmsDataKeys } from '../../aws/kms.js';
import { adminClients } from '../../cli/customer.js';
import { iamDocuments } from '../../domain/iam/documents.js';
import { parseIamQuery } from '../../domain/iam/query.js';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import {
  describeRun,
  runFolderName,
  type SimulatedOutcome,
  type SimulatedRun,
  simulateInstrument,
} from '../../local/instrument.js';
import type { LocalInfo } from '../../local/stackFiles.js';
import { type Db, newId } from '../../store/database.js';
import { createExecution } from '../../store/executions/create.js';
import { insertComputeConnection } from '../../store/connections/compute.js';
import { type FlowFields, writeFlow } from '../../store/connections/flows.js';
import { insertProvider } from '../../store/connections/providers.js';
import { insertStorageConnection, type StorageConnectionFields } from '../../store/connections/storage.js';
import { findRun } from '../../store/runs/load.js';
import { reopenRun, updateRun } from '../../store/runs/update.js';
import { createSecrets } from '../../store/secrets.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import type { DiscoverRunsInput, RunUploadEnded } from '../../workflows/messages/runs.js';
import { startTestPostgres } from '../postgres.js';

// The search for runs and the watch of uploads, with the behaviour of real instruments, on PostgreSQL and the enforcing
// AWS. Calls to Temporal are recorded.
const region = 'us-west-2';
const account = '111122223333';
const bucket = 'lab-uploads';
let folder: string;
let guardian: Guardian;
let local: LocalAws;
let s3: S3Client;
let iam: ReturnType<typeof adminClients>['iam'];
let db: Db;
let aws: AwsSessions;
let activities: ReturnType<typeof createActivities>['main'];
let providerId: string;
let computeId: string;
let lists = 0;
/** The recorded calls to Temporal. */
let asked: { started: string[]; executions: string[]; ended: [string, RunUploadEnded][] };

const settings = {
  runPollSeconds: 1,
  uploadPollSeconds: 60,
  startRunsPerSecond: 100,
  retryRunSeconds: 1,
  stalledMinutes: 30,
  closedWorkflows: 'adopt' as const,
};
const documents = () =>
  iamDocuments(
    parseIamQuery({ credentialType: 'role', bucket, prefix: '', externalId: 'uploads' }),
    local.serviceAccountId,
  );
const allow = async (without: readonly string[] = []): Promise<unknown> => {
  const Statement = documents()
    .permissionPolicy.Statement.map((statement) => ({
      ...statement,
      Action: [statement.Action].flat().filter((action) => !without.includes(action)),
    }))
    .filter(({ Action }) => Action.length > 0);
  return iam.send(
    new PutRolePolicyCommand({
      RoleName: 'uploads',
      PolicyName: 'polony',
      PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement }),
    }),
  );
};

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-uploads-'));
  guardian = await createGuardian(folder);
  local = await startLocalAws({ guardian, stateDir: folder });
  ({ s3, iam } = adminClients({
    awsEndpoint: local.endpoint,
    awsRegion: local.region,
    adminAccessKeyId: local.adminAccessKeyId,
    adminSecretAccessKey: local.adminSecretAccessKey,
  } as LocalInfo));
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: local.endpoint,
    AWS_ACCESS_KEY_ID: local.serviceAccessKeyId,
    AWS_SECRET_ACCESS_KEY: local.serviceSecretAccessKey,
  });
  ({ db } = await startTestPostgres({ maxConnections: 4 }));
  aws = new AwsSessions({ sessionSeconds: 43_200, ...createProviderLoader(db, createSecrets([], createKmsDataKeys)) });
  const orchestrator = {
    runs: {
      startUpload: async ({ runId }: { runId: string }) => {
        if (asked.started.includes(runId)) return false;
        asked.started.push(runId);
        return true;
      },
    },
    executions: {
      start: async ({ id }: { id: string }) => void asked.executions.push(id),
      endWaiting: async ({ id }: { id: string }, ended: RunUploadEnded) => void asked.ended.push([id, ended]),
      listOfRun: async () => [],
    },
    verification: { verify: async () => undefined },
    schedules: { removeDiscovery: async () => undefined },
  };
  activities = createActivities({
    db,
    aws,
    orchestrator: orchestrator as never,
    settings,
    watching: { register: async () => undefined },
  }).main;
  await s3.send(new CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: region } }));
  await iam.send(
    new CreateRoleCommand({ RoleName: 'uploads', AssumeRolePolicyDocument: JSON.stringify(documents().trustPolicy) }),
  );
  await allow();
  providerId = newId();
  await insertProvider(db, providerId, {
    name: 'lab',
    defaultRegion: region,
    credential: { type: 'role', roleArn: `arn:aws:iam::${account}:role/uploads`, externalId: 'uploads' },
  });
  computeId = (
    await insertComputeConnection(db, {
      name: 'omics',
      providerId,
      executionRoleArn: `arn:aws:iam::${account}:role/omics`,
      region,
    })
  ).id;
  aws.s3(providerId, region).middlewareStack.add(
    (next, context) => async (args) => {
      if (context.commandName === 'ListObjectsV2Command') lists++;
      return next(args);
    },
    { step: 'initialize' },
  );
}, 120_000);
beforeEach(() => {
  asked = { started: [], executions: [], ended: [] };
});
afterAll(async () => {
  s3?.destroy();
  aws?.close();
  await db?.destroy();
  await guardian?.stopAll();
  await local?.emulator.close();
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

let count = 0;
/** A storage connection with its own prefix. */
async function connect(
  fields: Partial<StorageConnectionFields> = {},
): Promise<{ id: string; name: string; prefix: string }> {
  const prefix = `p${++count}`;
  return insertStorageConnection(db, {
    name: prefix,
    providerId,
    region,
    bucket,
    prefix,
    useForRunUpload: true,
    useForDataExploration: false,
    allowPolicyProbe: false,
    ...fields,
  });
}
const discover = async ({ id, name }: { id: string; name: string }, only?: { parentPath: string; runFolder: string }) =>
  new MockActivityEnvironment().run((input: DiscoverRunsInput) => activities.discoverRunFolders(input), {
    storageConnectionId: id,
    storageConnectionName: name,
    only,
  });
const put = (key: string, text: string | Buffer) =>
  s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: Buffer.from(text) }));
const remove = (key: string) => s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));

/** Uploads a run and discovers it. @returns its id and its folder. */
async function upload(
  run: Partial<SimulatedRun> = {},
  outcome: SimulatedOutcome = 'completed',
  fields: Partial<StorageConnectionFields> = {},
) {
  const storage = await connect(fields);
  const described = describeRun({
    runName: 'RUN',
    cycles: { R1: 3, I1: 2 },
    samples: [{ name: 'one', index1: 'AC', index2: '' }],
    bytesPerCycle: 16,
    ...run,
  });
  const simulated = simulateInstrument({ s3, bucket, prefix: storage.prefix, run: described, outcome });
  await simulated.done;
  await discover(storage);
  return { storage, folder: simulated.folder, runFolder: runFolderName(described), runId: asked.started.at(-1)! };
}
/** When the next attempt begins, by the clock of Temporal: later than all before. */
let attemptTime = Date.now();
/** Looks once. @returns the end of the upload, or what it waits for. */
async function look(
  runId: string,
  options: { attempt?: number; byEvent?: boolean } = {},
): Promise<RunUploadEnded | string> {
  try {
    return await new MockActivityEnvironment({
      attempt: options.attempt ?? 1,
      currentAttemptScheduledTimestampMs: (attemptTime += 1000),
    }).run(() => activities.watchUpload(runId, false, options.byEvent));
  } catch (error) {
    expect(error).toBeInstanceOf(ApplicationFailure);
    expect((error as ApplicationFailure).type).toBe('NotYet');
    return (error as ApplicationFailure).message;
  }
}
const flow = (storageConnectionId: string, fields: Partial<FlowFields> = {}) =>
  writeFlow(db, {
    name: `flow ${++count}`,
    computeConnectionId: computeId,
    sharedWorkflowId: '7654321',
    workflowOwnerId: '588258415937',
    sharedWorkflowRegion: null,
    parameterNames: {},
    parameters: {},
    storageConnectionIds: [storageConnectionId],
    ...fields,
  });

describe('RunUploaded.json', () => {
  const COMPLETED = JSON.stringify({
    version: '1.0.0',
    instrument: 'AV240001',
    runType: 'Sequencing',
    outcome: 'OutcomeCompleted',
  });
  it.each([
    ['empty', '', 'is empty'],
    ['newline-only', '\n', 'is empty'],
    ['damaged', '{"outcome": "OutcomeComp', 'not valid JSON'],
    ['followed by the next file', `${COMPLETED}{"version": "1.0.0", "instrument`, 'not valid JSON'],
    ['a list', `[${COMPLETED}]`, 'not an object'],
    ['in UTF-16', Buffer.from(`\uFEFF${COMPLETED}`, 'utf16le'), 'not valid JSON'],
    ['without an outcome', '{"instrument": "AV240001"}', 'outcome is missing'],
  ])('does not end the upload while it is %s, and the run shows the problem', async (_what, content, says) => {
    const { folder: run, runId } = await upload();
    await put(`${run}/RunUploaded.json`, content);
    expect(await look(runId)).toContain(says);
    expect(
      (await db.selectFrom('runs').select('upload_description').where('id', '=', runId).executeTakeFirstOrThrow())
        .upload_description,
    ).toContain(says);
    // A byte order mark is no damage.
    await put(`${run}/RunUploaded.json`, `\uFEFF${COMPLETED}`);
    expect(await look(runId)).toEqual({ usable: true, reason: 'The run is complete' });
  });

  it('is a different file from RunAnalysisFilesUploaded.json, which does not end the upload', async () => {
    const { folder: run, runId } = await upload({}, 'none');
    await put(`${run}/RunAnalysisFilesUploaded.json`, '{"outcome": "OutcomeCompleted"}');
    expect(await look(runId)).toContain('still uploading; 5 of 5 cycles are there');
  });

  it.each(['stopped', 'aborted by hand'])('makes the run unusable with the outcome %s', async (outcome) => {
    const { folder: run, runId } = await upload();
    await put(
      `${run}/RunUploaded.json`,
      JSON.stringify({ instrument: 'AV240001', runType: 'Sequencing', outcome: `Outcome${outcome}` }),
    );
    expect(await look(runId)).toMatchObject({
      usable: false,
      reason: expect.stringContaining(`Outcome${outcome}`) as string,
    });
  });

  it('makes a failed run with all cycles usable for flows that accept it, and for no others', async () => {
    const { storage, folder: run, runId } = await upload();
    await put(
      `${run}/RunUploaded.json`,
      JSON.stringify({ instrument: 'AV240001', runType: 'Sequencing', outcome: 'OutcomeFailed' }),
    );
    const [strict, lenient] = [await flow(storage.id), await flow(storage.id, { acceptFailedOutcome: true })];
    const ended = (await look(runId)) as RunUploadEnded;
    expect(ended).toMatchObject({ usable: true, reason: expect.stringContaining('acceptFailedOutcome') as string });
    const { executions } = await activities.startFlows(runId, ended);
    const started = await db.selectFrom('executions').select('flow_id').where('id', 'in', executions).execute();
    expect(started.map((row) => row.flow_id)).toEqual([lenient.id]);
    expect(strict.accept_failed_outcome).toBe(false);
  });

  it('lets only flows that accept stopped runs analyse a stopped run, automatically and when they wait for it', async () => {
    const { storage, runId } = await upload({ cycles: { R1: 8, I1: 2 } }, 'stopped');
    const strict = await flow(storage.id);
    const lenient = await flow(storage.id, { acceptStoppedOutcome: true });
    const wait = async ({ id, name }: { id: string; name: string }) =>
      createExecution(db, {
        flow: { id, name, computeConnectionId: computeId },
        run: { id: runId, name: 'RUN', storageConnectionId: storage.id, uploadState: 'uploading' },
        storage: { bucket, prefix: storage.prefix },
        trigger: 'api',
        startedBy: 'somebody',
      });
    const [waitingStrict, waitingLenient] = [await wait(strict), await wait(lenient)];
    const ended = (await look(runId)) as RunUploadEnded;
    expect(ended).toMatchObject({
      usable: false,
      reason: expect.stringMatching(
        new RegExp(
          `OutcomeStopped; \\d+ of 10 cycles are there\\. Only flows with acceptStoppedOutcome .*/v1/runs/${runId}/retry`,
        ),
      ) as string,
    });
    expect(await findRun(db, runId)).toMatchObject({
      status: 'STOPPED',
      uploadState: 'refused',
      usableIfStopped: true,
      hasManifest: true,
    });
    const { executions } = await activities.startFlows(runId, ended);
    const created = await db
      .selectFrom('executions')
      .select(['flow_id', 'status'])
      .where('run_id', '=', runId)
      .where('trigger', '=', 'auto')
      .execute();
    expect(created).toEqual([{ flow_id: lenient.id, status: 'INITIALIZED' }]);
    expect(asked.executions).toHaveLength(1);
    expect(executions).toHaveLength(3);
    expect(Object.fromEntries(asked.ended)).toMatchObject({
      [waitingStrict.id!]: { usable: false },
      [waitingLenient.id!]: { usable: true },
    });
  });

  it.each([
    ['without a cycle', { R1: 8 }, 'RUN', true, 'no cycle is there'],
    ['that is a pressure check', { R1: 8 }, 'Pressure Check', false, 'pressure check'],
  ])('keeps every flow from a stopped run %s', async (_what, cycles, runName, isEmptied, says) => {
    const {
      storage,
      folder: run,
      runId,
    } = await upload({ cycles, runName, samples: [{ name: 'one', index1: '', index2: '' }] }, 'stopped');
    await flow(storage.id, { acceptStoppedOutcome: true });
    if (isEmptied)
      for (let cycle = 1; cycle <= 8; cycle++)
        await remove(`${run}/BaseCalls/R1_C${String(cycle).padStart(3, '0')}.zip`);
    const ended = (await look(runId)) as RunUploadEnded;
    expect(ended).toMatchObject({ usable: false, reason: expect.stringContaining(says) as string });
    expect(await activities.startFlows(runId, ended)).toEqual({ executions: [] });
  });

  it('checks a failed run again after a retry, and starts the flows that wait for a good one', async () => {
    const { storage, folder: run, runId } = await upload();
    const write = (outcome: string) =>
      put(
        `${run}/RunUploaded.json`,
        JSON.stringify({ instrument: 'AV240001', runType: 'Sequencing', outcome: `Outcome${outcome}` }),
      );
    await flow(storage.id);
    await write('Failed');
    const failed = (await look(runId)) as RunUploadEnded;
    expect(failed.reason).toContain(`POST /v1/runs/${runId}/retry`);
    expect(await activities.startFlows(runId, failed)).toEqual({ executions: [] });
    await write('Completed');
    // It is not looked at again by itself.
    expect(await look(runId)).toEqual(failed);
    expect(await reopenRun(db, runId, true)).toBe(true);
    const completed = (await look(runId)) as RunUploadEnded;
    expect(completed).toEqual({ usable: true, reason: 'The run is complete' });
    expect((await activities.startFlows(runId, completed)).executions).toHaveLength(1);
    expect(await reopenRun(db, runId, true)).toBe(false);
  });

  it('makes a failed run with missing cycles unusable, and the reason names the cycles', async () => {
    const { runId } = await upload(
      { cycles: { R1: 10 }, samples: [{ name: 'one', index1: '', index2: '' }] },
      'failed',
    );
    expect(await look(runId)).toMatchObject({
      usable: false,
      reason: expect.stringMatching(
        /OutcomeFailed, and \d+ of 10 files are missing or empty: BaseCalls\/R1_C0/,
      ) as string,
    });
  });
});

describe('AvitiRunStats.json', () => {
  const metrics = async (runId: string): Promise<unknown> =>
    (await db.selectFrom('runs').select('instrument_metrics').where('id', '=', runId).executeTakeFirstOrThrow())
      .instrument_metrics;

  it('provides metrics once the run has ended, also for a stopped run', async () => {
    const { folder: run, runId } = await upload({ cycles: { R1: 8, I1: 2 } });
    const [whole, lacks] = [
      JSON.stringify({ instrument: 'AV240001', outcome: 'OutcomeCompleted' }),
      await upload({ cycles: { R1: 8, I1: 2 } }, 'stopped'),
    ];
    await put(`${run}/RunUploaded.json`, '');
    expect([await look(runId), await metrics(runId)]).toEqual([expect.stringContaining('is empty'), null]);
    await put(`${run}/RunUploaded.json`, whole);
    expect(await look(runId)).toMatchObject({ usable: true });
    const measured = {
      totalReads: 2700,
      totalYield: 21_600,
      q30: 95,
      q40: 85,
      avgQ: 41.5,
      errorRate: 0.4,
      phixAlignmentRate: 1.5,
    };
    expect(await metrics(runId)).toEqual(measured);
    await remove(`${lacks.folder}/AvitiRunStats.json`);
    await put(`${lacks.folder}/Stats/AvitiRunStats.json`, JSON.stringify({ RunStats: { PFCount: 7 } }));
    expect(await look(lacks.runId)).toMatchObject({ usable: false });
    expect(await metrics(lacks.runId)).toEqual({ totalReads: 7 });
  });
  it.each([
    ['is damaged', (key: string) => put(key, '{"RunStats": {')],
    ['holds nothing', (key: string) => put(key, '')],
    ['is not there', (key: string) => remove(key)],
    [
      'is denied',
      async () =>
        iam.send(
          new PutRolePolicyCommand({
            RoleName: 'uploads',
            PolicyName: 'no-stats',
            PolicyDocument: JSON.stringify({
              Version: '2012-10-17',
              Statement: [
                { Effect: 'Deny', Action: 's3:GetObject', Resource: `arn:aws:s3:::${bucket}/*AvitiRunStats.json` },
              ],
            }),
          }),
        ),
    ],
    [
      'is archived',
      (key: string) =>
        s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: '{}', StorageClass: 'DEEP_ARCHIVE' })),
    ],
  ])('does not delay the run if it %s', async (_what, damage) => {
    const { folder: run, runId } = await upload();
    await damage(`${run}/AvitiRunStats.json`);
    expect(await look(runId)).toEqual({ usable: true, reason: 'The run is complete' });
    await iam.send(new DeleteRolePolicyCommand({ RoleName: 'uploads', PolicyName: 'no-stats' })).catch(() => undefined);
    expect(Object.keys(((await metrics(runId)) as object | null) ?? {})).toEqual([]);
  });
});

describe('the check of the cycles', () => {
  it('names missing and empty cycles and waits for them', async () => {
    const { folder: run, runId } = await upload();
    await remove(`${run}/BaseCalls/R1_C002.zip`);
    await put(`${run}/BaseCalls/I1_C001.zip`, '');
    await put(`${run}/BaseCalls/R1_C02.zip`, 'not spelt like this');
    await put(`${run}/BaseCalls/R2_C001.zip`, 'not expected');
    expect(await look(runId)).toContain(
      '2 of 5 files are missing or empty: BaseCalls/I1_C001.zip, BaseCalls/R1_C002.zip',
    );
    expect((await findRun(db, runId))!.progress).toMatchObject({
      cycles: 3,
      expectedCycles: 5,
      missing: ['BaseCalls/I1_C001.zip', 'BaseCalls/R1_C002.zip'],
      missingCount: 2,
    });
    await activities.giveUpUpload(runId, 'The upload did not end within 14 days');
    expect(
      (await db.selectFrom('runs').select('upload_description').where('id', '=', runId).executeTakeFirstOrThrow())
        .upload_description,
    ).toContain('BaseCalls/I1_C001.zip');
  });
  it('uses the RunParameters.json at the end of the upload', async () => {
    const { folder: run, runId } = await upload(
      { cycles: { R1: 3 }, samples: [{ name: 'one', index1: '', index2: '' }] },
      'none',
    );
    expect(await look(runId)).toContain('3 of 3 cycles');
    await put(
      `${run}/RunParameters.json`,
      JSON.stringify({ RunName: 'RUN', InstrumentName: 'AV240001', RunType: 'Sequencing', Cycles: { R1: 4 } }),
    );
    await put(`${run}/RunUploaded.json`, JSON.stringify({ instrument: 'AV240001', outcome: 'OutcomeCompleted' }));
    expect(await look(runId)).toContain('1 of 4 files are missing or empty: BaseCalls/R1_C004.zip');
  });
  it.each([
    ['no cycles', { RunName: 'RUN', InstrumentName: 'AV240001' }],
    ['no cycle of any read', { RunName: 'RUN', InstrumentName: 'AV240001', Cycles: { R1: 0 } }],
  ])('makes the run unusable if RunParameters.json has %s', async (_what, parameters) => {
    const { folder: run, runId } = await upload();
    await put(`${run}/RunParameters.json`, JSON.stringify(parameters));
    expect(await look(runId)).toMatchObject({
      usable: false,
      reason: expect.stringContaining('polony cannot tell whether the run is complete') as string,
    });
  });
});

describe('the check of the run type', () => {
  it('rejects a cytoprofiling run', async () => {
    const { runId } = await upload({ runType: 'Cytoprofiling' });
    expect(await look(runId)).toMatchObject({
      usable: false,
      reason: expect.stringContaining('Cytoprofiling') as string,
    });
  });
  it.each([
    [
      'by its name',
      { RunName: 'Pressure_Check_7', InstrumentName: 'AV240001', RunType: 'Sequencing', Cycles: { R1: 3, I1: 2 } },
    ],
    ['by its type', { RunName: 'X', InstrumentName: 'AV240001', RunType: 'PressureCheck', Cycles: { R1: 3, I1: 2 } }],
  ])('rejects a pressure check that it recognises %s', async (_how, parameters) => {
    const { folder: run, runId } = await upload();
    await put(`${run}/RunParameters.json`, JSON.stringify(parameters));
    await put(`${run}/RunUploaded.json`, JSON.stringify({ instrument: 'AV240001', outcome: 'OutcomeCompleted' }));
    expect(await look(runId)).toMatchObject({
      usable: false,
      reason: expect.stringContaining('pressure check') as string,
    });
  });
});

describe('a watch without s3:GetObject', () => {
  /** Sets the first denial to the given number of minutes ago. */
  const deniedFor = (runId: string, minutes: number) =>
    updateRun(db, runId, { timeDenied: new Date(Date.now() - minutes * 60_000) });

  it('checks only that files exist after five minutes, says so, and starts only flows that accept it', async () => {
    const { storage, folder: run, runId } = await upload({}, 'none');
    const [, lenient] = [await flow(storage.id, { acceptUnverified: false }), await flow(storage.id)];
    await allow(['s3:GetObject']);
    try {
      aws.forget(providerId);
      // The number of looks does not matter: a changed policy takes time to apply.
      for (let attempt = 1; attempt <= 5; attempt++)
        expect(await look(runId)).toContain('may not read the files of the run (s3:GetObject)');
      await deniedFor(runId, 4);
      expect(await look(runId)).toContain('may not read the files of the run (s3:GetObject)');
      await deniedFor(runId, 6);
      expect(await look(runId)).toContain('still uploading');
      await put(`${run}/RunUploaded.json`, '');
      const ended = (await look(runId)) as RunUploadEnded;
      expect(ended).toMatchObject({
        usable: true,
        reason: expect.stringMatching(
          /Neither the outcome .* nor its cycles were checked.*flows whose acceptUnverified is false/,
        ) as string,
      });
      expect(
        await db
          .selectFrom('runs')
          .select(['upload_state', 'checked', 'outcome'])
          .where('id', '=', runId)
          .executeTakeFirst(),
      ).toEqual({ upload_state: 'complete', checked: 'presence', outcome: null });
      const { executions } = await activities.startFlows(runId, ended);
      expect(
        (await db.selectFrom('executions').select('flow_id').where('id', 'in', executions).execute()).map(
          (row) => row.flow_id,
        ),
      ).toEqual([lenient.id]);
      // A repeated call, as after a lost answer, returns the same result.
      expect(await look(runId)).toEqual(ended);
    } finally {
      await allow();
    }
  });
  it('forgets the denial once reading is allowed, and can check the content of the run later', async () => {
    const { folder: run, runId } = await upload({}, 'none');
    await allow(['s3:GetObject']);
    try {
      aws.forget(providerId);
      await look(runId);
      expect((await findRun(db, runId))!.timeDenied).not.toBeNull();
      await allow();
      aws.forget(providerId);
      expect(await look(runId)).toContain('still uploading');
      expect((await findRun(db, runId))!.timeDenied).toBeNull();
      await put(`${run}/RunUploaded.json`, JSON.stringify({ instrument: 'AV240001', outcome: 'OutcomeStopped' }));
      await allow(['s3:GetObject']);
      aws.forget(providerId);
      await look(runId);
      await deniedFor(runId, 6);
      expect(await look(runId)).toMatchObject({ usable: true });
    } finally {
      await allow();
      aws.forget(providerId);
    }
    // Only a person can reopen this run, an event cannot.
    expect(await reopenRun(db, runId)).toBe(false);
    expect(await reopenRun(db, runId, true)).toBe(true);
    expect(await look(runId)).toMatchObject({
      usable: false,
      reason: expect.stringContaining('OutcomeStopped') as string,
    });
    expect((await findRun(db, runId))!.checked).toBe('content');
  });
  it('informs a waiting execution if its flow does not accept unverified runs', async () => {
    const { storage, runId } = await upload({}, 'completed');
    const strict = await flow(storage.id, { storageConnectionIds: [], acceptUnverified: false });
    const { id: waiting } = await createExecution(db, {
      flow: { id: strict.id, name: strict.name, computeConnectionId: computeId },
      run: { id: runId, name: 'RUN', storageConnectionId: storage.id, uploadState: 'uploading' },
      storage: { bucket, prefix: storage.prefix },
      trigger: 'api',
      startedBy: 'somebody',
    });
    await allow(['s3:GetObject']);
    try {
      aws.forget(providerId);
      await deniedFor(runId, 6);
      await activities.startFlows(runId, (await look(runId)) as RunUploadEnded);
    } finally {
      await allow();
      aws.forget(providerId);
    }
    expect(asked.ended).toEqual([
      [waiting, { usable: false, reason: expect.stringContaining('acceptUnverified') as string }],
    ]);
  });
  it('recognises a cytoprofiling run by its folders', async () => {
    const { runId } = await upload({ runType: 'Cytoprofiling' });
    const row = (await findRun(db, runId))!;
    await put(`${row.storage.prefix}/${row.parentPath}/${row.runFolder}/Cytoprofiling/one`, 'x');
    await allow(['s3:GetObject']);
    try {
      aws.forget(providerId);
      await deniedFor(runId, 6);
      expect(await look(runId)).toMatchObject({
        usable: false,
        reason: expect.stringContaining('Cytoprofiling') as string,
      });
    } finally {
      await allow();
      aws.forget(providerId);
    }
  });
});

describe('an upload', () => {
  it('shows its progress, and when it stalls and resumes', async () => {
    const { folder: run, runId } = await upload({}, 'none');
    await remove(`${run}/BaseCalls/R1_C003.zip`);
    expect(await look(runId)).toContain('4 of 5 cycles are there');
    const before = (await findRun(db, runId))!.progress!;
    expect(before).toMatchObject({ objects: 4, cycles: 4, expectedCycles: 5, stalled: false });
    expect(before.bytes).toBeGreaterThan(0);
    await updateRun(db, runId, {
      progress: { ...before, timeGrown: new Date(Date.now() - 31 * 60_000).toISOString() },
    });
    expect(await look(runId)).toMatch(/stalled: no data has arrived for 31 minutes/);
    expect((await findRun(db, runId))!.progress!.stalled).toBe(true);
    await put(`${run}/BaseCalls/R1_C003.zip`, 'x');
    expect(await look(runId)).not.toContain('stalled');
    expect((await findRun(db, runId))!.progress).toMatchObject({ cycles: 5, stalled: false });
  });
  it('is not written again if nothing has changed', async () => {
    const { runId } = await upload({}, 'none');
    await look(runId);
    const { progress } = (await findRun(db, runId))!;
    await look(runId);
    expect((await findRun(db, runId))!.progress).toEqual(progress);
  });
  it('ends when its folder vanishes, and is followed again when the folder is back', async () => {
    const { storage, folder: run, runId } = await upload({}, 'none');
    const { Contents } = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: `${run}/` }));
    for (const { Key } of Contents!) await remove(Key!);
    expect(await look(runId, { attempt: 10 })).toMatchObject({
      usable: false,
      reason: expect.stringContaining('no longer in the bucket') as string,
    });
    await put(`${run}/RunParameters.json`, '{}');
    asked.started = [];
    await discover(storage);
    expect(asked.started).toEqual([runId]);
    expect((await findRun(db, runId))!.uploadState).toBe('uploading');
  });
});

describe('the search for runs', () => {
  it('looks exactly as many folders deep as configured', async () => {
    const storage = await connect({ runDepth: 2 });
    for (const key of [
      'site/lab/AV240001/20260115_AV240001_DEEP/RunParameters.json',
      'site/AV240001/20260115_AV240001_FLAT/RunParameters.json',
      'site/lab/AV240001/other/RunParameters.json',
      'polony-executions/a/AV240001/20260115_AV240001_OWN/x',
    ])
      await put(`${storage.prefix}/${key}`, '{}');
    expect(await discover(storage)).toEqual({ instruments: 1, runFolders: 1, started: 1 });
    expect(await findRun(db, asked.started[0]!)).toMatchObject({
      parentPath: 'site/lab/AV240001',
      instrumentName: 'AV240001',
      runName: 'DEEP',
    });
    // The run folder is at its full path.
    expect(await look(asked.started[0]!)).toContain('RunName is missing');
  });
  it('for a single folder finds the run, and stores nothing for an unknown folder', async () => {
    const storage = await connect();
    await put(`${storage.prefix}/AV240001/20260115_AV240001_TOLD/RunUploaded.json`, '');
    lists = 0;
    expect(await discover(storage, { parentPath: 'AV240001', runFolder: '20260115_AV240001_FORGED' })).toMatchObject({
      started: 0,
    });
    expect(await discover(storage, { parentPath: 'AV240001', runFolder: '20260115_AV240001_TOLD' })).toMatchObject({
      started: 1,
    });
    expect(lists).toBe(2);
    expect(
      (await db.selectFrom('runs').select('run_name').where('storage_connection_id', '=', storage.id).execute()).map(
        (row) => row.run_name,
      ),
    ).toEqual(['TOLD']);
  });
  it(
    'finds any number of runs with few requests, starts each once, and starts nothing the second time',
    { tags: 'long' },
    async () => {
      const storage = await connect();
      const runsOfInstrument = 1000;
      const total = 2 * runsOfInstrument;
      const keys = ['AV240001', 'AV240002'].flatMap((instrument) =>
        Array.from(
          { length: runsOfInstrument },
          (_, at) => `${storage.prefix}/${instrument}/20260115_${instrument}_R${at}/RunUploaded.json`,
        ),
      );
      for (let at = 0; at < keys.length; at += 50)
        await Promise.all(keys.slice(at, at + 50).map((key) => put(key, '')));
      lists = 0;
      expect(await discover(storage)).toEqual({ instruments: 2, runFolders: total, started: total });
      expect(lists).toBeLessThanOrEqual(4);
      expect(new Set(asked.started).size).toBe(total);
      await db
        .updateTable('runs')
        .set({ upload_state: 'complete', outcome: 'completed' })
        .where('storage_connection_id', '=', storage.id)
        .execute();
      asked.started = [];
      lists = 0;
      expect(await discover(storage)).toEqual({ instruments: 2, runFolders: total, started: 0 });
      expect(lists).toBeLessThanOrEqual(4);
      expect(asked.started).toEqual([]);
    },
  );
});

describe('a check that another one overtakes', () => {
  const cycles = { R1: 3, I1: 2 };
  const samples = [{ name: 'one', index1: 'AC', index2: '' }];
  /** Runs something once, when the check of a run reads the metrics, which it does before it records the end. */
  function beforeTheEndIsRecorded(run: string, work: () => Promise<unknown>): void {
    let hasRun = false;
    aws.s3(providerId, region).middlewareStack.add(
      (next, context) => async (args) => {
        const { Key = '' } = args.input as { Key?: string };
        const isMeant = context.commandName === 'GetObjectCommand' && Key === `${run}/AvitiRunStats.json`;
        if (isMeant && !hasRun) {
          hasRun = true;
          await work();
        }
        return next(args);
      },
      { step: 'initialize' },
    );
  }
  const uploadAgain = (run: string, runName: string) =>
    simulateInstrument({
      s3,
      bucket,
      prefix: run.split('/')[0]!,
      run: describeRun({ runName, cycles, samples, bytesPerCycle: 16 }),
    }).done;

  it('does not overwrite the end that the other one recorded', async () => {
    const { folder: run, runId } = await upload({ runName: 'OVERTAKEN' }, 'stopped');
    let ended: RunUploadEnded | string | undefined;
    beforeTheEndIsRecorded(run, async () => {
      await uploadAgain(run, 'OVERTAKEN');
      ended = await look(runId, { byEvent: true });
    });
    await look(runId);
    expect(ended).toMatchObject({ usable: true });
    expect((await findRun(db, runId))!.uploadState).toBe('complete');
  });

  it('does not decide where the other one ends later', async () => {
    const { folder: run, runId } = await upload({ runName: 'LATER' }, 'stopped');
    let [releaseFirst, firstIsThere] = [(): void => undefined, (): void => undefined];
    const mayEnd = new Promise<void>((resolve) => (releaseFirst = resolve));
    const isThere = new Promise<void>((resolve) => (firstIsThere = resolve));
    beforeTheEndIsRecorded(run, async () => {
      firstIsThere();
      await mayEnd;
    });
    const first = look(runId);
    await isThere;
    await uploadAgain(run, 'LATER');
    beforeTheEndIsRecorded(run, async () => {
      releaseFirst();
      await first;
    });
    expect(await look(runId, { byEvent: true })).toMatchObject({ usable: true });
    expect(await findRun(db, runId)).toMatchObject({ uploadState: 'complete', outcome: 'completed' });
  });

  it('does not hide a run that was uploaded again before it recorded the end', async () => {
    const { folder: run, runId } = await upload({ runName: 'AGAIN' }, 'stopped');
    beforeTheEndIsRecorded(run, () => uploadAgain(run, 'AGAIN'));
    expect(await look(runId)).toMatchObject({ usable: false });
    expect(await look(runId, { byEvent: true })).toMatchObject({ usable: true });
    expect((await findRun(db, runId))!.uploadState).toBe('complete');
  });
});
