import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { DeleteRolePolicyCommand, PutRolePolicyCommand, GetRolePolicyCommand } from '@aws-sdk/client-iam';
import {
  DeleteObjectCommand,
  GetBucketPolicyCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
} from '@aws-sdk/client-s3';
import { describe, expect, it } from 'vitest';
import { addStatements } from '../../cli/customer.js';
import type { ReconcileReport } from '../../domain/reconcile/report.js';
import { controlOmics } from '../../local/omics/control.js';
import { openDatabase } from '../../store/database.js';
import { recordKnownStart } from '../../store/executions/recover.js';
import { forgetStartRun, queryDatabase } from '../stackDatabase.js';
import { HELD_MS, loseTemporal, setPace, waitFor } from '../support.js';
import { cliFile } from '../testStack.js';
import {
  account,
  admin,
  afterOf,
  call,
  database,
  details,
  emptyDatabase,
  expectReconciled,
  expectTruth,
  finishAll,
  flowId,
  inStatus,
  polonyWith,
  reconcile,
  reconnect,
  stack,
  startPolony,
  startedRuns,
  stateDir,
  stopPolony,
  type Listed,
  uploadRun,
  useStack,
  work,
} from './reconciling.js';

// More was lost, or something disturbs `polony reconcile`.
useStack('lost');

describe('polony reconcile', () => {
  it('after everything was lost but AWS, with the connections created again', async () => {
    const scenario = await work('GONE');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await loseTemporal(stack, stateDir);
    await emptyDatabase();
    await stack.crash('api');
    await reconnect();
    await expectReconciled(scenario, before);
    expect((await details(scenario.completed.id)).execution.output.uri).toContain(scenario.completed.id);
  });

  it('starts nothing twice where the workers started before it, with an empty database', async () => {
    const scenario = await work('EARLY');
    const before = startedRuns().map(({ id }) => id);
    await stopPolony();
    await loseTemporal(stack, stateDir);
    await emptyDatabase();
    await startPolony();
    await reconnect();
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
