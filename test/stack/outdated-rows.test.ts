/** @module-tag long */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { DeleteObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startMarkerKey } from '../../activities/executions/startMarkers.js';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import type { ReconcileReport } from '../../domain/reconcile/report.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { newId } from '../../store/database.js';
import { forgetStartRun, queryDatabase } from '../stackDatabase.js';
import { denialsOf, executionsOf, HELD_MS, loseTemporal, setPace, waitFor } from '../support.js';
import { cliFile, startTestStack } from '../testStack.js';

// The database knows less than Temporal, the bucket and HealthOmics, as after a restore, and the workers are faster than
// `polony reconcile`. No run starts twice, none works unwatched, and the states are those of HealthOmics.
const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-outdated-'));
let { details, inStatus, attemptsOf: runsOf } = {} as ReturnType<typeof executionsOf>;
let { deny, allow } = {} as ReturnType<typeof denialsOf>;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let admin: ReturnType<typeof adminClients>;
let connection: Connection;
let temporal: Client;
let flowId: string;
let runId: string;

const QUICK_MS = 200;
const start = async (): Promise<string> =>
  (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId })).execution.id;
const workflowOf = (id: string): WorkflowHandle => temporal.workflow.getHandle(`execution/${id}`);
const statusesOf = (id: string): string[] => runsOf(id).map(({ status }) => status);
const finishRunsOf = (id: string): void => {
  for (const run of runsOf(id)) if (run.status === 'RUNNING') stack.aws.emulator.finish(run.id);
};
const rowOf = async (id: string) => (await queryDatabase(stack, 'select * from executions where id = $1', [id]))[0]!;
const blockOf = (id: string) =>
  waitFor(`execution ${id} to be blocked`, async () => (await details(id)).details.blocked ?? undefined);
const setRetries = (retries: number) =>
  queryDatabase(stack, `update flows set run_settings = jsonb_set(run_settings, '{retries}', $1)`, [retries]);
const failNextRun = (count = 1) =>
  stack.aws.emulator.faults.push({
    operation: 'run',
    kind: 'failRun',
    count,
    failureReason: 'INSTANCE_RESERVATION_FAILED',
  });

async function stopWorker(): Promise<void> {
  stack.worker?.kill();
  await stack.worker?.exited;
}

async function startWorker(): Promise<void> {
  stack.worker = await stack.startWorker();
}

async function reconcile(): Promise<ReconcileReport> {
  const { stdout } = await promisify(execFile)(process.execPath, [cliFile(), 'reconcile', '--json'], {
    env: { ...process.env, ...stack.env },
  });
  return JSON.parse(stdout) as ReconcileReport;
}

/** Gives an execution the row that it had while its first HealthOmics run worked. */
async function forgetAfterFirstRun(id: string): Promise<void> {
  const [first] = runsOf(id);
  await queryDatabase(stack, 'delete from execution_attempts where execution_id = $1', [id]);
  await queryDatabase(
    stack,
    `update executions set status = 'RUNNING', attempt = 1, start_state = 'started', summary = null, blocked = null,
       healthomics_run_id = $2, healthomics_run_uuid = $3, healthomics_run_arn = null, healthomics_status = 'RUNNING',
       run_output_uri = rtrim(output_uri, '/') || '/' || $2, time_completed = null, cancel_requested_by = null,
       cancel_requested_by_id = null, cancel_reason = null, time_cancel_requested = null, cancel_signalled = false,
       time_created = now() - interval '1 hour'
     where id = $1`,
    [id, first!.id, first!.uuid],
  );
}

beforeAll(async () => {
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: QUICK_MS, STOPPING: 50 } },
    env: {
      POLONY_SWEEP_SECONDS: '1',
      POLONY_RETRY_RUN_SECONDS: '1',
      POLONY_RUN_POLL_SECONDS: '1',
    },
  });
  call = apiClient(stack.info);
  ({ details, inStatus, attemptsOf: runsOf } = executionsOf(stack, call));
  admin = adminClients(stack.info);
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'outdated');
  ({ deny, allow } = denialsOf(stack, account));
  const connected = await connectAccount(call, account, { runSettings: { retries: 1 } });
  ({ flowId } = connected);
  const run = describeRun({
    runName: 'OUTDATED',
    cycles: { R1: 2 },
    samples: [{ name: 'one', index1: '', index2: '' }],
  });
  await simulateInstrument({ s3: admin.s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  runId = await waitFor('the run', async () => {
    await call('POST', `/v1/storage-connections/${connected.storageConnectionId}/discover`);
    const { runs } = await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs');
    return runs.find(({ status }) => status === 'RUN_STATUS_COMPLETED')?.id;
  });
});
afterEach(async () => {
  stack.aws.emulator.faults.splice(0);
  await setPace(stack, QUICK_MS);
  await setRetries(1);
});
afterAll(async () => {
  await connection?.close();
  for (const client of Object.values(admin ?? {})) client.destroy();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

describe('a database that knows less than AWS', () => {
  it('starts no other run where an execution that had ended is reset, and its flow may retry more by now', async () => {
    failNextRun(2);
    const id = await start();
    await inStatus(id, 'FAILED');
    await setRetries(3);
    const { events } = await workflowOf(id).fetchHistory();
    const tasks = (events ?? []).filter(({ workflowTaskCompletedEventAttributes: task }) => task != null);
    const { runId: resetRun } = await temporal.workflowService.resetWorkflowExecution({
      namespace: 'default',
      workflowExecution: { workflowId: `execution/${id}` },
      workflowTaskFinishEventId: tasks.at(-3)!.eventId!,
      requestId: newId(),
    });
    await expect(temporal.workflow.getHandle(`execution/${id}`, resetRun).result()).rejects.toThrow();
    expect(statusesOf(id)).toEqual(['FAILED', 'FAILED']);
    expect(await rowOf(id)).toMatchObject({ status: 'FAILED', attempt: 2 });
  });

  it('blocks nothing where one poll does not find a run', async () => {
    await setPace(stack, HELD_MS);
    const id = await start();
    await inStatus(id, 'RUNNING');
    const run = runsOf(id)[0]!;
    const polls = (): number => stack.aws.emulator.calls.filter(({ operation }) => operation === 'GetRun').length;
    stack.aws.emulator.runs.delete(run.id);
    const before = polls();
    await waitFor('a poll', async () => polls() > before);
    stack.aws.emulator.runs.set(run.id, run);
    await waitFor('another poll', async () => polls() > before + 2);
    expect((await details(id)).details.blocked).toBeNull();
    finishRunsOf(id);
    await inStatus(id, 'COMPLETED');
  });

  it('takes a folder with the id of an execution in other letters for nothing', async () => {
    await setPace(stack, HELD_MS);
    const id = await start();
    await inStatus(id, 'RUNNING');
    for (const [at, letter] of [...id].entries()) {
      if (letter === letter.toUpperCase()) continue;
      const twin = `${id.slice(0, at)}${letter.toUpperCase()}${id.slice(at + 1)}`;
      for (const folder of ['', 'records/'])
        await admin.s3.send(
          new PutObjectCommand({
            Bucket: account.bucket,
            Key: `${account.prefix}/polony-executions/${folder}${twin}/end.json`,
            Body: '{}',
          }),
        );
    }
    const { executions } = await reconcile();
    expect(executions.map((each) => [each.id, each.kind])).toEqual([[id, 'unchanged']]);
    expect(await rowOf(id)).toMatchObject({ adoptions: 0, status: 'RUNNING' });
    finishRunsOf(id);
    await inStatus(id, 'COMPLETED');
  });

  it('cancels the run of the attempt that Temporal is at', async () => {
    await setPace(stack, HELD_MS);
    failNextRun();
    const id = await start();
    await waitFor('the first run', async () => statusesOf(id)[0] === 'RUNNING');
    finishRunsOf(id);
    await waitFor('the second run', async () => statusesOf(id)[1] === 'RUNNING');
    await waitFor('its row', async () => (await rowOf(id)).status === 'RUNNING' && (await rowOf(id)).attempt === 2);
    await stopWorker();
    await forgetAfterFirstRun(id);
    await call('POST', `/v1/executions/${id}/cancel`, { reason: 'wrong manifest' });
    await startWorker();
    await inStatus(id, 'CANCELED');
    expect(statusesOf(id)).toEqual(['FAILED', 'CANCELLED']);
    expect(await rowOf(id)).toMatchObject({ attempt: 2, healthomics_run_id: runsOf(id)[1]!.id });
  });

  it('reads the results of a run that only Temporal remembers', async () => {
    await setPace(stack, HELD_MS);
    const id = await start();
    await inStatus(id, 'RUNNING');
    await deny('s3:ListBucket');
    finishRunsOf(id);
    await blockOf(id);
    await forgetStartRun(stack, id);
    await allow();
    await workflowOf(id).signal('retry', {});
    await inStatus(id, 'COMPLETED');
    expect(statusesOf(id)).toEqual(['COMPLETED']);
  });

  it('starts no run of a flow whose marker cannot be read, or is damaged', async () => {
    await deny('omics:GetWorkflow');
    const id = await start();
    await blockOf(id);
    await queryDatabase(stack, `update executions set trigger = 'auto' where id = $1`, [id]);
    const [run] = await queryDatabase(stack, 'select parent_path, run_folder from runs where id = $1', [runId]);
    const place = { parentPath: String(run!.parent_path), runFolder: String(run!.run_folder) };
    const marker = { Bucket: account.bucket, Key: startMarkerKey(account.prefix, flowId, place) };
    const other = { executionId: newId(), flow: 'b2f', run: 'OUTDATED', time: new Date().toISOString() };
    await admin.s3.send(new PutObjectCommand({ ...marker, Body: '{}' }));
    await deny('s3:GetObject');
    await workflowOf(id).signal('retry', {});
    await waitFor('the marker to block', async () => (await details(id)).details.blocked?.action === 's3:GetObject');
    expect((await details(id)).details.blocked).toMatchObject({ kind: 'ACCESS_DENIED' });
    await allow();
    await workflowOf(id).signal('retry', {});
    const isDamaged = async () => ((await details(id)).details.blocked as { kind?: string } | null)?.kind;
    await waitFor('the damage to block', async () => (await isDamaged()) === 'MARKER_DAMAGED');
    // A marker that can be read counts more than what the database says about its own. A damaged one would count less,
    // and the step may be probed at any moment.
    await admin.s3.send(new PutObjectCommand({ ...marker, Body: JSON.stringify(other) }));
    await queryDatabase(stack, 'update executions set start_claimed = true where id = $1', [id]);
    await workflowOf(id).signal('retry', {});
    await inStatus(id, 'FAILED');
    expect(await rowOf(id)).toMatchObject({ error_type: 'StartedBefore' });
    expect(runsOf(id)).toEqual([]);
    await admin.s3.send(new DeleteObjectCommand(marker));
  });

  it('starts no other attempt of an execution that was cancelled since, with Temporal lost', async () => {
    // Otherwise the second attempt completes where the cancel comes late.
    await setPace(stack, HELD_MS);
    failNextRun();
    const id = await start();
    await waitFor('the first run', async () => statusesOf(id)[0] === 'RUNNING');
    finishRunsOf(id);
    await waitFor('the second attempt', async () => (await rowOf(id)).attempt === 2);
    await call('POST', `/v1/executions/${id}/cancel`, { reason: 'wrong manifest' });
    await inStatus(id, 'CANCELED');
    const before = statusesOf(id);
    await stopWorker();
    await forgetAfterFirstRun(id);
    await loseTemporal(stack, stateDir);
    await startWorker();
    await inStatus(id, 'CANCELED');
    expect(statusesOf(id)).toEqual(before);
  });

  it('finds a later attempt by its output where there are no records, with Temporal lost', async () => {
    failNextRun();
    const id = await start();
    await inStatus(id, 'COMPLETED');
    await stopWorker();
    await forgetAfterFirstRun(id);
    const Prefix = `${account.prefix}/polony-executions/records/${id}/`;
    const { Contents = [] } = await admin.s3.send(new ListObjectsV2Command({ Bucket: account.bucket, Prefix }));
    for (const { Key } of Contents) await admin.s3.send(new DeleteObjectCommand({ Bucket: account.bucket, Key }));
    await loseTemporal(stack, stateDir);
    const { executions } = await reconcile();
    expect(executions.find((each) => each.id === id)).toMatchObject({ kind: 'changed', after: 'COMPLETED' });
    await startWorker();
    await inStatus(id, 'COMPLETED');
    expect(statusesOf(id)).toEqual(['FAILED', 'COMPLETED']);
  });
});
