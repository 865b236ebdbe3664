import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DeleteObjectCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { databaseCopies, forgetStartRun } from '../stackDatabase.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';

// A restored dump knows nothing of what happened after it. Nothing may be started twice, and what Temporal knows comes
// back.
let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let s3: S3Client;
let database: ReturnType<typeof databaseCopies>;
let flowId: string;
let { details, inStatus } = {} as ReturnType<typeof executionsOf>;

interface ListedExecution {
  id: string;
  name: string;
  status: string;
  flow: { name: string };
  inputs: { run: { id: string; name: string } }[];
}

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-restore-'));
  stack = await startTestStack({ stateDir, env: { POLONY_SWEEP_SECONDS: '1' } });
  database = databaseCopies(stack);
  call = apiClient(stack.info);
  ({ details, inStatus } = executionsOf(stack, call));
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'restore');
  s3 = adminClients(stack.info).s3;
  ({ flowId } = await connectAccount(call, account, { autoStart: {} }));
});
beforeEach(() => setPace(stack, 300));
afterAll(async () => {
  s3?.destroy();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

/** Restores the dump, as an operator does: with the API and the worker restarted on it. */
async function restoreDump(): Promise<void> {
  await database.restoreDump();
  await stack.crash('worker');
  await stack.crash('api');
}

const listExecutions = async (): Promise<ListedExecution[]> =>
  (await call<{ executions: ListedExecution[] }>('GET', '/v1/executions')).executions;
const startedRuns = () => [...stack.aws.emulator.runs.values()];

/** Uploads a run, and waits for the execution that starts for it. */
async function uploadRun(runName: string): Promise<ListedExecution> {
  const run = describeRun({ runName, cycles: { R1: 4, I1: 8, I2: 8 } });
  await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  return waitFor('the execution of the run', async () =>
    (await listExecutions()).find((execution) => execution.inputs[0]?.run.name === runName),
  );
}

/** Waits until the search has found the run again and its upload was checked, so that flows would have started. */
async function runIsComplete(runName: string): Promise<void> {
  await waitFor('the run to be complete again', async () =>
    (await call<{ runs: { name: string; status: string }[] }>('GET', '/v1/runs')).runs.some(
      (run) => run.name === runName && run.status === 'RUN_STATUS_COMPLETED',
    ),
  );
}

/** Has Temporal forget an execution, as it does after the retention time of its namespace. */
async function deleteWorkflow(executionId: string): Promise<void> {
  const connection = await Connection.connect({ address: stack.info.temporalAddress });
  const { workflowService, workflow } = new Client({ connection });
  const workflowId = `execution/${executionId}`;
  await workflowService.deleteWorkflowExecution({ namespace: 'default', workflowExecution: { workflowId } });
  await waitFor(
    'Temporal to delete the workflow',
    async () => (await workflow.count(`WorkflowId = "${workflowId}"`)).count === 0,
  );
  await connection.close();
}

it('gives back a completed, a running and a requested execution, and starts no HealthOmics run again', async () => {
  await database.takeDump();
  const completed = await uploadRun('COMPLETED');
  await inStatus(completed.id, 'COMPLETED');
  await setPace(stack, HELD_MS);
  const running = await uploadRun('RUNNING');
  await inStatus(running.id, 'RUNNING');
  const requested = await call<{ execution: { id: string } }>('POST', '/v1/executions', {
    flowId,
    runId: running.inputs[0]!.run.id,
    name: 'asked for',
  });
  await inStatus(requested.execution.id, 'RUNNING');
  const before = startedRuns().map(({ id }) => id);

  await restoreDump();
  await inStatus(completed.id, 'COMPLETED');
  expect((await details(completed.id)).details.healthOmics).not.toBeNull();
  await inStatus(running.id, 'PENDING', 'RUNNING');
  await inStatus(requested.execution.id, 'PENDING', 'RUNNING');
  for (const name of ['COMPLETED', 'RUNNING']) await runIsComplete(name);
  for (const run of startedRuns()) if (run.status === 'RUNNING') stack.aws.emulator.finish(run.id);
  await inStatus(running.id, 'COMPLETED');
  await inStatus(requested.execution.id, 'COMPLETED');

  expect(startedRuns().map(({ id }) => id)).toEqual(before);
  const listed = await listExecutions();
  expect(listed.map(({ id }) => id).sort()).toEqual([completed.id, running.id, requested.execution.id].sort());
  expect(listed.find(({ id }) => id === requested.execution.id)!.name).toBe('asked for');
});

it('starts nothing again where Temporal has forgotten the execution too, and names it', async () => {
  await database.takeDump();
  const earlier = await uploadRun('EXPIRED');
  await inStatus(earlier.id, 'COMPLETED');
  const before = startedRuns().length;
  await deleteWorkflow(earlier.id);
  await restoreDump();
  await runIsComplete('EXPIRED');
  const { runs } = await call<{ runs: { id: string; name: string }[] }>('GET', '/v1/runs');
  const { id } = runs.find(({ name }) => name === 'EXPIRED')!;
  await waitFor('the run to name the execution', async () =>
    JSON.stringify(await call('GET', `/v1/runs/${id}/details`)).includes(earlier.id),
  );
  expect((await listExecutions()).some(({ id }) => id === earlier.id)).toBe(false);
  expect(startedRuns()).toHaveLength(before);
});

it('finds earlier work by Temporal alone where the marker in the bucket is gone', async () => {
  await database.takeDump();
  const earlier = await uploadRun('UNMARKED');
  await inStatus(earlier.id, 'COMPLETED');
  const before = startedRuns().length;
  const { Contents = [] } = await s3.send(
    new ListObjectsV2Command({ Bucket: account.bucket, Prefix: `${account.prefix}/polony-executions/started/` }),
  );
  expect(Contents.length).toBeGreaterThan(0);
  for (const { Key } of Contents) await s3.send(new DeleteObjectCommand({ Bucket: account.bucket, Key }));
  await restoreDump();
  await runIsComplete('UNMARKED');
  await inStatus(earlier.id, 'COMPLETED');
  expect(startedRuns()).toHaveLength(before);
});

it('goes on with HealthOmics runs that the dump did not know yet', async () => {
  const completed = await uploadRun('KNOWN-1');
  await inStatus(completed.id, 'COMPLETED');
  await setPace(stack, HELD_MS);
  const running = await uploadRun('KNOWN-2');
  await inStatus(running.id, 'RUNNING');
  const before = startedRuns().map(({ id }) => id);

  // As in a dump from the moment between the creation of the executions and StartRun.
  await forgetStartRun(stack, completed.id, running.id);
  await stack.crash('worker');
  await inStatus(completed.id, 'COMPLETED');
  await inStatus(running.id, 'RUNNING');
  for (const run of startedRuns()) if (run.status === 'RUNNING') stack.aws.emulator.finish(run.id);
  await inStatus(running.id, 'COMPLETED');
  expect(startedRuns().map(({ id }) => id)).toEqual(before);
});
