import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DeleteRolePolicyCommand, PutRolePolicyCommand, GetRolePolicyCommand } from '@aws-sdk/client-iam';
import {
  DeleteObjectCommand,
  GetBucketPolicyCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
} from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  addStatements,
  adminClients,
  apiClient,
  type CustomerAccount,
  connectAccount,
  setUpCustomer,
} from '../../cli/customer.js';
import type { ReconcileReport } from '../../domain/reconcile/report.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import { controlOmics } from '../../local/omics/control.js';
import type { Stack } from '../../local/stack.js';
import { migrate, openDatabase } from '../../store/database.js';
import { recordKnownStart } from '../../store/executions/recover.js';
import { grantRuntimeRole } from '../../store/runtimeRole.js';
import { databaseCopies, forgetStartRun, queryDatabase } from '../stackDatabase.js';
import { executionsOf, HELD_MS, loseTemporal, setPace, waitFor } from '../support.js';
import { cliFile, startTestStack } from '../testStack.js';

// PostgreSQL, Temporal or both were restored or lost. One command brings everything together: no HealthOmics run is
// started twice, and none is left without a workflow.
let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let admin: ReturnType<typeof adminClients>;
let { details, inStatus } = {} as ReturnType<typeof executionsOf>;
let database: ReturnType<typeof databaseCopies>;
let flowId: string;

interface Listed {
  id: string;
  name: string;
  status: string;
  inputs: { run: { id: string; name: string } }[];
}

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-reconcile-'));
  stack = await startTestStack({
    stateDir,
    env: { POLONY_SWEEP_SECONDS: '1', POLONY_DISCOVER_SECONDS: '1', POLONY_RETRY_RUN_SECONDS: '1' },
  });
  database = databaseCopies(stack);
  call = apiClient(stack.info);
  ({ details, inStatus } = executionsOf(stack, call));
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'reconcile');
  admin = adminClients(stack.info);
  ({ flowId } = await connectAccount(call, account, { autoStart: {} }));
});
beforeEach(() => setPace(stack, 300));
afterAll(async () => {
  for (const client of Object.values(admin ?? {})) client.destroy();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

async function stopPolony(): Promise<void> {
  for (const part of [stack.worker, stack.api]) {
    part?.kill();
    await part?.exited;
  }
}

async function startPolony(): Promise<void> {
  await stack.crash('api');
  stack.worker = await stack.startWorker();
}

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

const polony = (...args: string[]): Promise<Outcome> => polonyWith({}, ...args);

function polonyWith(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [cliFile(), ...args],
      { env: { ...process.env, ...stack.env, ...env }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

async function reconcile(...flags: string[]): Promise<ReconcileReport & { code: number }> {
  const { code, stdout, stderr } = await polony('reconcile', '--json', ...flags);
  if (stdout === '') throw new Error(`polony reconcile ended with ${code}: ${stderr}`);
  return { ...(JSON.parse(stdout) as ReconcileReport), code };
}

const changedIds = ({ executions }: ReconcileReport): string[] =>
  executions.filter(({ kind }) => kind === 'changed').map(({ id }) => id);
const afterOf = (report: ReconcileReport, id: string): string | undefined =>
  report.executions.find((each) => each.id === id)?.after;

const listExecutions = async (): Promise<Listed[]> =>
  (await call<{ executions: Listed[] }>('GET', '/v1/executions?pageSize=100')).executions;
const startedRuns = () => [...stack.aws.emulator.runs.values()];

async function uploadRun(runName: string): Promise<Listed> {
  const run = describeRun({ runName, cycles: { R1: 4, I1: 8, I2: 8 } });
  await simulateInstrument({ s3: admin.s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  return waitFor(`the execution of ${runName}`, async () =>
    (await listExecutions()).find((execution) => execution.inputs[0]?.run.name === runName),
  );
}

/** Everything that a dry run must leave as it is. */
async function snapshot() {
  const tables = await queryDatabase(
    stack,
    `select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by relname`,
  );
  const database = [];
  for (const { relname } of tables)
    database.push(
      await queryDatabase(
        stack,
        `select '${String(relname)}' as name, md5(coalesce(string_agg(t::text, '' order by t::text), ''))
         from "${String(relname)}" t`,
      ),
    );
  const { Contents = [] } = await admin.s3.send(new ListObjectsV2Command({ Bucket: account.bucket }));
  const connection = await Connection.connect({ address: stack.info.temporalAddress });
  const { count } = await new Client({ connection }).workflow.count('WorkflowType = "bases2fastq"');
  await connection.close();
  return {
    database,
    objects: Contents.map(({ Key, ETag }) => [Key, ETag]),
    workflows: count,
    runs: startedRuns().map(({ id, cancelRequested }) => [id, cancelRequested]),
    writes: stack.aws.emulator.calls.filter(({ operation }) => operation === 'StartRun' || operation === 'CancelRun')
      .length,
  };
}

/** The status that an execution must have because of its HealthOmics runs. */
const EXPECTED: Record<string, string[]> = {
  COMPLETED: ['COMPLETED'],
  FAILED: ['FAILED'],
  CANCELLED: ['CANCELED'],
  RUNNING: ['RUNNING', 'PENDING'],
};

/** Every execution has the status of its HealthOmics run, and nothing was started since. */
async function expectTruth(before: readonly string[]): Promise<void> {
  expect(startedRuns().map(({ id }) => id)).toEqual(before);
  const listed = await listExecutions();
  for (const run of startedRuns()) {
    const id = /([0-9a-f-]{36})$/.exec(run.outputUri)![1]!;
    expect(listed.map((each) => each.id)).toContain(id);
    await inStatus(id, ...EXPECTED[run.status]!);
  }
}

/** Ends all runs that HealthOmics still works on. Their executions complete only if a workflow watches them. */
async function finishAll(): Promise<void> {
  for (const run of startedRuns()) if (run.status === 'RUNNING') stack.aws.emulator.finish(run.id);
}

interface Scenario {
  knownRunning: Listed;
  knownEnded: Listed;
  completed: Listed;
  running: Listed;
  requested: { id: string };
  failed: Listed;
  cancelled: Listed;
}

/** Work before and after a dump. */
async function work(suffix: string): Promise<Scenario> {
  await setPace(stack, HELD_MS);
  const knownRunning = await uploadRun(`KNOWN-A-${suffix}`);
  const knownEnded = await uploadRun(`KNOWN-B-${suffix}`);
  for (const { id } of [knownRunning, knownEnded]) await inStatus(id, 'RUNNING');
  await database.takeDump();
  stack.aws.emulator.finish((await details(knownEnded.id)).details.healthOmics!.runId);
  await inStatus(knownEnded.id, 'COMPLETED');
  const running = await uploadRun(`RUNNING-${suffix}`);
  await inStatus(running.id, 'RUNNING');
  const { execution: requested } = await call<{ execution: { id: string } }>('POST', '/v1/executions', {
    flowId,
    runId: running.inputs[0]!.run.id,
    name: `asked for ${suffix}`,
  });
  await inStatus(requested.id, 'RUNNING');
  const cancelled = await uploadRun(`CANCELLED-${suffix}`);
  await inStatus(cancelled.id, 'RUNNING');
  await call('POST', `/v1/executions/${cancelled.id}/cancel`, { reason: 'wrong manifest' });
  await inStatus(cancelled.id, 'CANCELED');
  await setPace(stack, 300);
  const completed = await uploadRun(`COMPLETED-${suffix}`);
  await inStatus(completed.id, 'COMPLETED');
  await controlOmics(stack.aws.emulator.control, 'POST', 'faults', {
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'WORKFLOW_RUN_FAILED',
  });
  const failed = await uploadRun(`FAILED-${suffix}`);
  await inStatus(failed.id, 'FAILED');
  return { knownRunning, knownEnded, completed, running, requested, failed, cancelled };
}

/** What holds after each restore: a dry run changes nothing, one run reconciles, another one has nothing to do. */
async function expectReconciled(scenario: Scenario, before: readonly string[]): Promise<void> {
  const untouched = await snapshot();
  const plan = await reconcile('--dry-run');
  expect(await snapshot()).toEqual(untouched);

  const report = await reconcile();
  expect(report.totals).toMatchObject({ undecided: 0, unwatched: 0 });
  expect(changedIds(report)).toEqual(changedIds(plan));
  const { completed, running, requested, failed, cancelled, knownEnded, knownRunning } = scenario;
  for (const { id } of [completed, knownEnded]) expect([id, afterOf(report, id)]).toEqual([id, 'COMPLETED']);
  for (const { id } of [running, requested, knownRunning]) expect([id, afterOf(report, id)]).toEqual([id, 'RUNNING']);
  expect(afterOf(report, failed.id)).toBe('FAILED');
  expect(afterOf(report, cancelled.id)).toBe('CANCELED');
  expect(report.code).toBe(0);

  const again = await polony('reconcile');
  expect(again.stdout).toContain('There is nothing to do.');
  expect(again.code).toBe(0);

  await startPolony();
  await expectTruth(before);
  await finishAll();
  for (const { id } of [running, requested, knownRunning]) await inStatus(id, 'COMPLETED');
  // The search has found all run folders again by now, and has started no flow for them.
  await waitFor('all runs to be complete again', async () => {
    const { runs } = await call<{ runs: { status: string }[] }>('GET', '/v1/runs?pageSize=100');
    return runs.length > 0 && runs.every(({ status }) => status === 'RUN_STATUS_COMPLETED');
  });
  await expectTruth(before);
  expect((await polony('reconcile')).stdout).toContain('There is nothing to do.');
}

describe('polony reconcile', () => {
  it('after PostgreSQL was restored, with Temporal intact', async () => {
    const scenario = await work('INTACT');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await database.restoreDump();
    await expectReconciled(scenario, before);
  });

  it('after PostgreSQL was restored, with Temporal lost', async () => {
    const scenario = await work('LOST');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await database.restoreDump();
    await loseTemporal(stack, stateDir);
    await expectReconciled(scenario, before);
  });

  it('after everything was lost but AWS, with the connections created again', async () => {
    const scenario = await work('GONE');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await loseTemporal(stack, stateDir);
    await database.empty();
    const db = openDatabase(stack.info.databaseUrl, 1);
    await migrate(db);
    await grantRuntimeRole(db, stack.postgres.runtimeRole);
    await db.destroy();
    await stack.crash('api');
    ({ flowId } = await connectAccount(call, account, { autoStart: {} }));
    await expectReconciled(scenario, before);
    expect((await details(scenario.completed.id)).execution.output.uri).toContain(scenario.completed.id);
  });

  it('starts nothing twice where the workers started before it, with an empty database', async () => {
    const scenario = await work('EARLY');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await loseTemporal(stack, stateDir);
    await database.empty();
    const db = openDatabase(stack.info.databaseUrl, 1);
    await migrate(db);
    await grantRuntimeRole(db, stack.postgres.runtimeRole);
    await db.destroy();
    await startPolony();
    ({ flowId } = await connectAccount(call, account, { autoStart: {} }));
    await waitFor('all runs to be found and complete', async () => {
      const { runs } = await call<{ runs: { status: string }[] }>('GET', '/v1/runs?pageSize=100');
      return runs.length >= 6 && runs.every(({ status }) => status === 'RUN_STATUS_COMPLETED');
    });
    const report = await reconcile();
    expect(report.totals).toMatchObject({ undecided: 0, unwatched: 0 });
    await expectTruth(before);
    await finishAll();
    for (const { id } of [scenario.running, scenario.requested, scenario.knownRunning]) await inStatus(id, 'COMPLETED');
    await expectTruth(before);
  });

  it('can be killed in the middle, and works while a worker does', async () => {
    const scenario = await work('KILLED');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await database.restoreDump();
    await loseTemporal(stack, stateDir);
    const child = spawn(process.execPath, [cliFile(), 'reconcile'], { env: { ...process.env, ...stack.env } });
    await new Promise<void>((resolve) => {
      child.stderr.on('data', (data: Buffer) => {
        if (/^[0-9a-f-]{36}:/m.test(String(data))) child.kill('SIGKILL');
      });
      child.once('close', () => resolve());
    });
    await startPolony();
    const report = await reconcile();
    expect(report.totals.unwatched).toBe(0);
    await expectTruth(before);
    await finishAll();
    for (const { id } of [scenario.running, scenario.requested, scenario.knownRunning]) await inStatus(id, 'COMPLETED');
    await expectTruth(before);
  });

  it('tells a run that was deleted, also where its id belongs to another run now', async () => {
    await setPace(stack, HELD_MS);
    const [deleted, replaced] = [await uploadRun('DELETED'), await uploadRun('REPLACED')];
    for (const { id } of [deleted, replaced]) await inStatus(id, 'RUNNING');
    const runOf = async ({ id }: Listed) => (await details(id)).details.healthOmics!.runId;
    const [deletedRun, replacedRun] = [await runOf(deleted), await runOf(replaced)];
    await database.takeDump();
    await stopPolony();
    await database.restoreDump();
    await loseTemporal(stack, stateDir);
    const { runs } = stack.aws.emulator;
    const other = { ...runs.get(replacedRun)!, uuid: randomUUID(), outputUri: 's3://other/results' };
    runs.delete(deletedRun);
    runs.set(replacedRun, other);
    const report = await reconcile();
    expect(afterOf(report, deleted.id)).toBe('FAILED');
    expect(afterOf(report, replaced.id)).toBe('FAILED');
    expect(report.executions.find(({ id }) => id === replaced.id)!.why).toContain('its id now belongs to another run');
    await startPolony();
    for (const { id } of [deleted, replaced]) await inStatus(id, 'FAILED');
    runs.delete(replacedRun);
  });

  it('keeps what a completed execution was whose run was deleted since', async () => {
    await setPace(stack, HELD_MS);
    const execution = await uploadRun('TIDY');
    await inStatus(execution.id, 'RUNNING');
    const { runId } = (await details(execution.id)).details.healthOmics!;
    await database.takeDump();
    stack.aws.emulator.finish(runId);
    await inStatus(execution.id, 'COMPLETED');
    const Key = `${account.prefix}/polony-executions/records/${execution.id}/end.json`;
    await waitFor('its record', () =>
      admin.s3.send(new HeadObjectCommand({ Bucket: account.bucket, Key })).catch(() => undefined),
    );
    await stopPolony();
    await database.restoreDump();
    await loseTemporal(stack, stateDir);
    stack.aws.emulator.runs.delete(runId);
    const report = await reconcile();
    expect(afterOf(report, execution.id)).toBe('COMPLETED');
    await startPolony();
    await inStatus(execution.id, 'COMPLETED');
    const row = await queryDatabase(stack, 'select summary is null as "isEmpty" from executions where id = $1', [
      execution.id,
    ]);
    expect(row).toEqual([{ isEmpty: false }]);
  });

  it('decides nothing about a failed run while the record of what followed cannot be read', async () => {
    await setPace(stack, HELD_MS);
    const execution = await uploadRun('SEALED');
    await inStatus(execution.id, 'RUNNING');
    const { runId: first } = (await details(execution.id)).details.healthOmics!;
    await database.takeDump();
    const failRun = { operation: 'run', kind: 'failRun', count: 1, failureReason: 'INSTANCE_RESERVATION_FAILED' };
    await controlOmics(stack.aws.emulator.control, 'POST', 'faults', failRun);
    stack.aws.emulator.finish(first);
    const { id: second } = await waitFor('its second run', () =>
      startedRuns().find(({ requestId, status }) => requestId === `${execution.id}-2` && status === 'RUNNING'),
    );
    await stopPolony();
    await database.restoreDump();
    await loseTemporal(stack, stateDir);
    const before = startedRuns().map(({ id }) => id);

    const otherKey = { POLONY_ENCRYPTION_KEYS: `other=${Buffer.alloc(32, 1).toString('base64')}` };
    const blind = await polonyWith(otherKey, 'reconcile', '--json', '--dry-run');
    expect(blind.code).toBe(9);
    const plan = (JSON.parse(blind.stdout) as ReconcileReport).executions.find(({ id }) => id === execution.id)!;
    expect(plan).toMatchObject({ kind: 'undecided', after: 'RUNNING' });
    expect(plan.why).toMatch(/cannot be read: The encryption key local is not configured/);

    expect(afterOf(await reconcile(), execution.id)).toBe('RUNNING');
    await startPolony();
    await inStatus(execution.id, 'RUNNING');
    stack.aws.emulator.finish(second);
    await inStatus(execution.id, 'COMPLETED');
    expect(startedRuns().map(({ id }) => id)).toEqual(before);
  });

  it('finds the run of a StartRun that only HealthOmics remembers', async () => {
    await setPace(stack, HELD_MS);
    const { id } = await uploadRun('CONFLICT');
    await inStatus(id, 'RUNNING');
    const before = startedRuns().map((run) => run.id);
    await stopPolony();
    await loseTemporal(stack, stateDir);
    await forgetStartRun(stack, id);
    const Prefix = `${account.prefix}/polony-executions/records/${id}/`;
    const { Contents = [] } = await admin.s3.send(new ListObjectsV2Command({ Bucket: account.bucket, Prefix }));
    expect(Contents).not.toEqual([]);
    for (const { Key } of Contents) await admin.s3.send(new DeleteObjectCommand({ Bucket: account.bucket, Key }));
    // So StartRun is another request than the one that started the run.
    await queryDatabase(stack, `update flows set run_settings = run_settings || '{"priority": 7}' where id = $1`, [
      flowId,
    ]);
    try {
      await startPolony();
      const blocked = await waitFor('the conflict to block', async () => {
        return (await details(id)).details.blocked ?? undefined;
      });
      expect(blocked).toMatchObject({ kind: 'START_CONFLICT', owner: 'polony', action: 'omics:StartRun' });
      await addStatements(stack.info, account.providerRoleArn, [
        {
          Effect: 'Allow',
          Action: ['omics:ListRuns'],
          Resource: ['*'],
        },
      ]);
      expect(afterOf(await reconcile(), id)).toBe('RUNNING');
      await inStatus(id, 'RUNNING');
      await finishAll();
      await inStatus(id, 'COMPLETED');
    } finally {
      await queryDatabase(stack, `update flows set run_settings = run_settings - 'priority' where id = $1`, [flowId]);
    }
    expect(startedRuns().map((run) => run.id)).toEqual(before);
  });

  it('takes no recorded run away where a worker was faster than its plan', async () => {
    await setPace(stack, HELD_MS);
    const { id } = await uploadRun('FASTER');
    await inStatus(id, 'RUNNING');
    const row = 'select attempt, start_state, healthomics_run_id, start_request from executions where id = $1';
    const known = await queryDatabase(stack, row, [id]);
    const db = openDatabase(stack.info.databaseUrl, 1);
    try {
      await recordKnownStart(db, id, 1, { attempt: 1, request: { requestId: id }, earlier: [] });
      expect(await queryDatabase(stack, row, [id])).toEqual(known);
      // A later attempt keeps the run of the one before.
      await recordKnownStart(db, id, 1, { attempt: 2, request: { requestId: `${id}-2` }, earlier: [] });
    } finally {
      await db.destroy();
    }
    expect(await queryDatabase(stack, row, [id])).toMatchObject([{ attempt: 2, start_state: 'sent' }]);
    const attempts = 'select healthomics_run_id from execution_attempts where execution_id = $1';
    expect(await queryDatabase(stack, attempts, [id])).toEqual([{ healthomics_run_id: known[0]!.healthomics_run_id }]);
  });

  it('decides nothing about a bucket that it may not read, and gives no access', async () => {
    const scope = { bucket: account.bucket };
    const { storageConnections } = await call<{ storageConnections: { id: string }[] }>(
      'GET',
      '/v1/storage-connections',
    );
    await stopPolony();
    await queryDatabase(
      stack,
      `insert into access_grants (id, storage_connection_id, bucket, partition, principal, description, state,
         created_by, changed_by, request_id, time_updated)
       values ($1, $2, $3, 'aws', 'arn:aws:iam::111122223333:role/Old', '', 'pending', 'lab',
         '{"kind":"root","id":"root","name":"root"}', 'r1', now() - interval '1 hour')`,
      [randomUUID(), storageConnections[0]!.id, scope.bucket],
    );
    // S3 accepts a principal only if it exists.
    const principal = account.executionRoleArn;
    const statement = {
      Sid: `ElemBio_BucketReadAccess_${principal}`,
      Effect: 'Allow',
      Principal: { AWS: principal },
      Action: ['s3:GetObject'],
      Resource: [`arn:aws:s3:::${scope.bucket}/*`],
    };
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
    await admin.s3.send(new PutBucketPolicyCommand({ Bucket: scope.bucket, Policy: policy }));
    await addStatements(stack.info, account.providerRoleArn, [
      { Effect: 'Allow', Action: ['s3:GetBucketPolicy'], Resource: [`arn:aws:s3:::${scope.bucket}`] },
    ]);
    const report = await reconcile();
    expect(report.code).toBe(9);
    const texts = report.notes.map(({ kind, text }) => `${kind}: ${text}`).join('\n');
    expect(texts).toContain(`attention: The policy of ${scope.bucket} lets ${principal} read`);
    expect(texts).toMatch(/changed: .*arn:aws:iam::111122223333:role\/Old.*held back/);
    expect(await queryDatabase(stack, `select state from access_grants where principal like '%role/Old'`)).toEqual([
      { state: 'failed' },
    ]);
    const { Policy } = await admin.s3.send(new GetBucketPolicyCommand({ Bucket: scope.bucket }));
    expect(JSON.parse(Policy!)).toEqual(JSON.parse(policy));

    const RoleName = account.providerRoleArn.split('/').at(-1)!;
    const role = { RoleName, PolicyName: 'polony' };
    const { PolicyDocument } = await admin.iam.send(new GetRolePolicyCommand(role));
    await admin.iam.send(new DeleteRolePolicyCommand(role));
    try {
      const denied = await reconcile();
      expect(denied.code).toBe(9);
      expect(denied.notes.find(({ subject }) => subject === 'AWS')!.text).toContain(scope.bucket);
    } finally {
      await admin.iam.send(new PutRolePolicyCommand({ ...role, PolicyDocument: decodeURIComponent(PolicyDocument!) }));
    }
    await startPolony();
  });
});
