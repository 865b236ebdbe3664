/** @module-tag long */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CreateRoleCommand, DeleteRoleCommand, GetRoleCommand } from '@aws-sdk/client-iam';
import { DeleteObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { Client, Connection, WorkflowNotFoundError, type WorkflowHandle } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  addStatements,
  adminClients,
  apiClient,
  type CustomerAccount,
  connectAccount,
  setUpCustomer,
} from '../../cli/customer.js';
import { describeRun, runFolderName, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { stateQuery } from '../../workflows/messages/executions.js';
import { forgetStartRun, queryDatabase } from '../stackDatabase.js';
import { denialsOf, executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';

// Somebody resets or terminates a workflow, at any event of its history. Neither may ever lead to a second HealthOmics
// run, nor leave one that nobody watches.
let stateDir: string;
let { details, inStatus, attemptsOf: runsOf } = {} as ReturnType<typeof executionsOf>;
let { deny, allow } = {} as ReturnType<typeof denialsOf>;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let connection: Connection;
let temporal: Client;
let flowId: string;
let runId: string;
let storageConnectionId: string;

const QUICK_MS = 200;
const start = async (body: object = {}): Promise<string> =>
  (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId, ...body })).execution.id;
const activeRunsOf = (id: string) =>
  runsOf(id).filter(({ status }) => !['COMPLETED', 'FAILED', 'CANCELLED'].includes(status));
const finishRunsOf = (id: string): void => {
  for (const run of activeRunsOf(id)) stack.aws.emulator.finish(run.id);
};
const workflowOf = (id: string): WorkflowHandle => temporal.workflow.getHandle(`execution/${id}`);
const isBlocked = (id: string) =>
  waitFor(`execution ${id} to be blocked`, async () => (await details(id)).details.blocked !== null);

/** Resets a workflow to an event. @returns the id of the new run; undefined where Temporal resets to no such event. */
async function reset(workflowId: string, eventId: number, fromRun?: string): Promise<string | undefined> {
  try {
    const { runId: newRun } = await temporal.workflowService.resetWorkflowExecution({
      namespace: 'default',
      workflowExecution: { workflowId, ...(fromRun !== undefined && { runId: fromRun }) },
      workflowTaskFinishEventId: eventId as never,
      reason: `test of event ${eventId}`,
      requestId: `${workflowId}-${fromRun ?? ''}-${eventId}-${Date.now()}`,
    });
    return newRun;
  } catch (error) {
    // INVALID_ARGUMENT: an event to which no workflow can be reset.
    if ((error as { code?: number }).code === 3) return undefined;
    throw error;
  }
}

/** Resets a workflow to each event of the history that it has now, and checks it after each. @returns how often. */
async function resetToEveryEvent(
  workflowId: string,
  check: (newRun: WorkflowHandle, eventId: number) => Promise<void>,
): Promise<number> {
  const handle = temporal.workflow.getHandle(workflowId);
  const { runId: firstRun } = await handle.describe();
  const { events = [] } = await temporal.workflow.getHandle(workflowId, firstRun).fetchHistory();
  let resets = 0;
  for (let eventId = 1; eventId <= (events ?? []).length; eventId++) {
    const newRun = await reset(workflowId, eventId, firstRun);
    if (newRun === undefined) continue;
    resets++;
    await check(temporal.workflow.getHandle(workflowId, newRun), eventId);
  }
  // Every workflow task that was completed can be reset to.
  const completed = (events ?? []).filter(({ workflowTaskCompletedEventAttributes: each }) => each != null);
  expect(resets).toBeGreaterThanOrEqual(completed.length);
  return resets;
}

/** How a workflow run ended, and what its search attributes say. */
async function outcomeOf(handle: WorkflowHandle): Promise<object> {
  await handle.result().catch(() => undefined);
  const { status, searchAttributes } = await handle.describe();
  const { PolonyStatus, PolonyBlocked, PolonyHealthOmicsRunId, ...rest } = searchAttributes;
  return {
    status: status.name,
    PolonyStatus,
    PolonyBlocked,
    PolonyHealthOmicsRunId,
    isWaiting: 'PolonyWaitingSince' in rest || 'PolonyBlockedBy' in rest,
  };
}

/** Resets the workflow of an execution that has ended to every event. Nothing changes, and no run starts. */
async function expectUnchangedByResets(id: string, without: Partial<Record<string, unknown>> = {}): Promise<void> {
  const before = await details(id);
  const outcome = { ...(await outcomeOf(workflowOf(id))), ...without };
  const runs = runsOf(id).map((run) => run.id);
  await resetToEveryEvent(`execution/${id}`, async (newRun, eventId) => {
    expect(await outcomeOf(newRun), `reset to event ${eventId}`).toMatchObject(outcome);
    expect(runsOf(id).map((run) => run.id)).toEqual(runs);
  });
  const after = await details(id);
  expect({ ...after.execution, updatedAt: null }).toEqual({ ...before.execution, updatedAt: null });
  expect(after.details.blocked).toBeNull();
}

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-reset-'));
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: QUICK_MS, STOPPING: 50 } },
    env: { POLONY_SWEEP_SECONDS: '2', POLONY_RETRY_RUN_SECONDS: '4' },
  });
  call = apiClient(stack.info);
  ({ details, inStatus, attemptsOf: runsOf } = executionsOf(stack, call));
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'reset');
  ({ deny, allow } = denialsOf(stack, account));
  ({ storageConnectionId, flowId } = await connectAccount(call, account, { runSettings: { retries: 1 } }));
  runId = await uploadRun('RESET');
});
afterEach(async () => {
  stack.aws.emulator.faults.splice(0);
  await setPace(stack, QUICK_MS);
});
afterAll(async () => {
  await connection?.close();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

async function uploadRun(runName: string, stallAt?: number): Promise<string> {
  const { s3 } = adminClients(stack.info);
  const run = describeRun({ runName, cycles: { R1: 2 }, samples: [{ name: 'one', index1: '', index2: '' }] });
  const simulation = simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run, stallAt });
  if (stallAt === undefined) await simulation.done;
  else uploads.set(runName, simulation);
  return waitFor('the run', async () => {
    await call('POST', `/v1/storage-connections/${storageConnectionId}/discover`);
    const { runs } = await call<{ runs: { id: string; name: string; status: string }[] }>('GET', '/v1/runs');
    return runs.find(
      (each) => each.name === runName && (stallAt !== undefined || each.status === 'RUN_STATUS_COMPLETED'),
    )?.id;
  });
}
const uploads = new Map<string, ReturnType<typeof simulateInstrument>>();

it('ends a completed execution in the same way after a reset to every event', async () => {
  const id = await start();
  await inStatus(id, 'COMPLETED');
  await expectUnchangedByResets(id);
});

it('ends an execution that completed at its second attempt in the same way', async () => {
  stack.aws.emulator.faults.push({
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'INSTANCE_RESERVATION_FAILED',
  });
  const id = await start();
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id)).toHaveLength(2);
  await expectUnchangedByResets(id);
});

it('ends an execution that failed on HealthOmics in the same way', async () => {
  stack.aws.emulator.faults.push({ operation: 'run', kind: 'failRun', count: 1, failureReason: 'RUN_TASK_FAILED' });
  const id = await start();
  await inStatus(id, 'FAILED');
  await expectUnchangedByResets(id);
});

it('ends an execution in the same way that was cancelled while it ran', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await call('POST', `/v1/executions/${id}/cancel`, { reason: 'test' });
  await inStatus(id, 'CANCELED');
  await expectUnchangedByResets(id);
});

it('starts no run for an execution that was cancelled while it was blocked', async () => {
  await deny('iam:PassRole');
  const id = await start();
  await isBlocked(id);
  await call('POST', `/v1/executions/${id}/cancel`, {});
  await inStatus(id, 'CANCELED');
  await allow();
  await expectUnchangedByResets(id);
  expect(runsOf(id)).toEqual([]);
});

it('starts no run for an execution that was cancelled, even where the reset drops the cancel', async () => {
  await deny('iam:PassRole');
  const id = await start();
  await isBlocked(id);
  await temporal.workflow.getHandle(`execution/${id}`).signal('cancel', { reason: 'by hand' });
  await inStatus(id, 'CANCELED');
  await allow();
  const { runId: newRun } = await temporal.workflowService.resetWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId: `execution/${id}` },
    workflowTaskFinishEventId: 3 as never,
    reason: 'test',
    requestId: `${id}-drop`,
    // temporal.api.enums.v1.ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
    resetReapplyExcludeTypes: [1],
  });
  expect(await outcomeOf(temporal.workflow.getHandle(`execution/${id}`, newRun))).toMatchObject({
    status: 'COMPLETED',
    PolonyStatus: ['CANCELED'],
    isWaiting: false,
  });
  expect((await details(id)).execution.status).toBe('EXECUTION_STATUS_CANCELED');
  expect(runsOf(id)).toEqual([]);
});

it('watches the one run of a running execution after a reset to every event', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await waitFor('the workflow to see it', async () => (await workflowOf(id).query(stateQuery)).status === 'RUNNING');
  const [run] = runsOf(id);
  await resetToEveryEvent(`execution/${id}`, async (newRun) => {
    await waitFor('the run to be watched again', async () => {
      const { status, healthOmicsRunId } = await newRun.query(stateQuery);
      return status === 'RUNNING' && healthOmicsRunId === run!.id && (await isWatching(newRun));
    });
    expect(runsOf(id).map((each) => each.status)).toEqual(['RUNNING']);
  });
  finishRunsOf(id);
  await inStatus(id, 'COMPLETED');
  expect(await outcomeOf(workflowOf(id))).toMatchObject({ PolonyHealthOmicsRunId: [run!.id], isWaiting: false });
});

/** Whether a worker watches the HealthOmics run for this run of the workflow. */
async function isWatching(handle: WorkflowHandle): Promise<boolean> {
  const { raw } = await handle.describe();
  // temporal.api.enums.v1.PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
  return (raw.pendingActivities ?? []).some(
    (each) => each.activityType?.name === 'watchRun' && Number(each.state) === 2,
  );
}

it('cancels the one run of a running execution after a reset', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await reset(`execution/${id}`, 3);
  await call('POST', `/v1/executions/${id}/cancel`, { reason: 'test' });
  await inStatus(id, 'CANCELED');
  expect(runsOf(id).map((run) => run.status)).toEqual(['CANCELLED']);
});

it('stays at its second attempt after a reset to every event of the first', async () => {
  await setPace(stack, HELD_MS);
  stack.aws.emulator.faults.push({
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'INSTANCE_RESERVATION_FAILED',
  });
  const id = await start();
  const first = await waitFor('the first run', () => runsOf(id).find((run) => run.status === 'RUNNING'));
  await waitFor('the workflow to see it', async () => (await workflowOf(id).query(stateQuery)).status === 'RUNNING');
  stack.aws.emulator.finish(first.id);
  const second = await waitFor('the second run', () =>
    runsOf(id).find((run) => run.status === 'RUNNING' && run.id !== first.id),
  );
  await waitFor('the workflow to see it', async () => (await workflowOf(id).query(stateQuery)).status === 'RUNNING');
  await resetToEveryEvent(`execution/${id}`, async (newRun) => {
    await waitFor('the second run to be watched', async () => {
      const { status, healthOmicsRunId } = await newRun.query(stateQuery);
      return status === 'RUNNING' && healthOmicsRunId === second.id && (await isWatching(newRun));
    });
    expect(runsOf(id).map((run) => run.status)).toEqual(['FAILED', 'RUNNING']);
  });
  finishRunsOf(id);
  await inStatus(id, 'COMPLETED');
  expect(await outcomeOf(workflowOf(id))).toMatchObject({ PolonyHealthOmicsRunId: [second.id], isWaiting: false });
});

it('starts the second attempt once where the reset comes between the attempts', async () => {
  stack.aws.emulator.faults.push({
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'INSTANCE_RESERVATION_FAILED',
  });
  const id = await start();
  const second = await waitFor('the second attempt to wait', async () => {
    const { attempt } = (await details(id)).details as unknown as { attempt: number };
    return attempt === 2 && runsOf(id).length === 1;
  });
  expect(second).toBe(true);
  const { events } = await workflowOf(id).fetchHistory();
  const completed = (events ?? []).filter(({ workflowTaskCompletedEventAttributes: each }) => each != null);
  // While the first run was watched.
  for (const at of [3, 2]) await reset(`execution/${id}`, Number(completed.at(-at)!.eventId));
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id).map((run) => run.status)).toEqual(['FAILED', 'COMPLETED']);
});

it('cancels the second attempt where a reset to the first and a cancel come while AWS answers StartRun', async () => {
  await setPace(stack, HELD_MS);
  stack.aws.emulator.faults.push({
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'INSTANCE_RESERVATION_FAILED',
  });
  const id = await start();
  const first = await waitFor('the first run', () => runsOf(id).find((run) => run.status === 'RUNNING'));
  await waitFor('the workflow to see it', async () => (await workflowOf(id).query(stateQuery)).status === 'RUNNING');
  const { events } = await workflowOf(id).fetchHistory();
  const watching = (events ?? []).filter(({ workflowTaskCompletedEventAttributes: each }) => each != null).at(-1)!;
  stack.aws.emulator.faults.push({ operation: 'StartRun', kind: 'slow', delayMs: 3000, count: 1 });
  stack.aws.emulator.finish(first.id);
  await waitFor('the second StartRun', () =>
    stack.aws.emulator.calls.some(({ operation, requestId }) => operation === 'StartRun' && requestId === `${id}-2`),
  );
  await reset(`execution/${id}`, Number(watching.eventId));
  await call('POST', `/v1/executions/${id}/cancel`, { reason: 'test' });
  await inStatus(id, 'CANCELED');
  await waitFor('no run to be active', () => activeRunsOf(id).length === 0);
  expect(runsOf(id).map((run) => run.status)).toEqual(['FAILED', 'CANCELLED']);
});

it.each(['iam:PassRole', 'omics:GetWorkflow'])(
  'stays blocked by %s after a reset to every event, and starts one run when it is allowed',
  async (action) => {
    await deny(action);
    const id = await start();
    await isBlocked(id);
    await resetToEveryEvent(`execution/${id}`, async (newRun) => {
      await waitFor('it to be blocked again', async () => (await newRun.query(stateQuery)).blocked?.action === action);
      expect(runsOf(id)).toEqual([]);
    });
    await allow();
    await call('POST', `/v1/executions/${id}/retry`);
    await inStatus(id, 'COMPLETED');
    expect(runsOf(id)).toHaveLength(1);
  },
);

it('watches the one run of an execution that is blocked while it is watched, after a reset to every event', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await deny('omics:GetRun');
  await isBlocked(id);
  await resetToEveryEvent(`execution/${id}`, async (newRun) => {
    await waitFor('it to be blocked again', async () => (await newRun.query(stateQuery)).blocked !== undefined);
    expect(runsOf(id).map((run) => run.status)).toEqual(['RUNNING']);
  });
  await allow();
  await call('POST', `/v1/executions/${id}/retry`);
  finishRunsOf(id);
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id)).toHaveLength(1);
});

it('sends StartRun again with the same request where a reset comes while AWS answers', async () => {
  stack.aws.emulator.faults.push({ operation: 'StartRun', kind: 'slow', delayMs: 2000, count: 2 });
  await setPace(stack, HELD_MS);
  const id = await start();
  await waitFor('StartRun to be sent', () => executionsOf(stack, call).startCalls(id).length > 0);
  await reset(`execution/${id}`, 3);
  await inStatus(id, 'RUNNING');
  expect(runsOf(id)).toHaveLength(1);
  finishRunsOf(id);
  await inStatus(id, 'COMPLETED');
});

it('terminates: ended ones stay, a blocked one tries again, and a running one is watched on', async () => {
  const ended = await start();
  await inStatus(ended, 'COMPLETED');
  await setPace(stack, HELD_MS);
  const running = await start();
  await inStatus(running, 'RUNNING');
  await deny('iam:PassRole');
  const blocked = await start();
  await isBlocked(blocked);
  await expect(workflowOf(ended).terminate('test')).rejects.toThrow(WorkflowNotFoundError);
  for (const id of [running, blocked]) await workflowOf(id).terminate('test');
  for (const id of [running, blocked])
    await waitFor('its workflow to run again', async () => (await workflowOf(id).describe()).status.name === 'RUNNING');
  await allow();
  await call('POST', `/v1/executions/${blocked}/retry`);
  for (const id of [running, blocked]) {
    await waitFor('its run to be watched', async () => isWatching(workflowOf(id)));
    await inStatus(id, 'RUNNING');
    finishRunsOf(id);
    await inStatus(id, 'COMPLETED');
    expect(runsOf(id)).toHaveLength(1);
  }
  expect((await details(ended)).execution.status).toBe('EXECUTION_STATUS_COMPLETED');
});

it('starts a flow once after resets of the upload to every event, while it uploads and after its end', async () => {
  await call('PATCH', `/v1/flows/${flowId}`, {
    autoStart: { storageConnectionIds: [storageConnectionId], runNames: ['AUTO*'] },
  });
  const automatic = await uploadRun('AUTO', 0.5);
  const { id: waiting } = (
    await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId: automatic })
  ).execution;
  const isWaiting = async (handle: WorkflowHandle): Promise<boolean> =>
    (await handle.query(stateQuery)).step.startsWith('waiting for the upload');
  await waitFor('the execution to wait', () => isWaiting(workflowOf(waiting)).catch(() => false));
  await resetToEveryEvent(`execution/${waiting}`, async (newRun) => {
    await waitFor('it to wait again', () => isWaiting(newRun));
  });
  const run = describeRun({ runName: 'AUTO' });
  const workflowId = `run-upload/${storageConnectionId}/${run.instrumentName}/${runFolderName(run)}`;
  const executions = async (): Promise<{ id: string }[]> =>
    (
      await call<{ executions: { id: string; startedBy: { name: string } }[] }>('GET', '/v1/executions')
    ).executions.filter((each) => each.startedBy.name === 'polony');
  await resetToEveryEvent(workflowId, async (newRun) => {
    await waitFor('the upload to be followed', async () => {
      const { raw } = await newRun.describe();
      return (raw.pendingActivities ?? []).some((each) => each.activityType?.name === 'watchUpload');
    });
    expect(await executions()).toEqual([]);
  });
  const simulation = uploads.get('AUTO')!;
  simulation.resume();
  await simulation.done;
  const [execution] = await waitFor('the flow to start', async () => {
    const found = await executions();
    return found.length > 0 && found;
  });
  await inStatus(execution!.id, 'COMPLETED');
  await inStatus(waiting, 'COMPLETED');
  await expectUnchangedByResets(waiting);
  expect(runsOf(waiting)).toHaveLength(1);
  await temporal.workflow.getHandle(workflowId).result();
  await resetToEveryEvent(workflowId, async (newRun) => {
    expect(await newRun.result()).toMatchObject({ usable: true });
    expect((await newRun.describe()).searchAttributes.PolonyStatus).toEqual(['UPLOADED']);
  });
  expect(await executions()).toEqual([expect.objectContaining({ id: execution!.id })]);
  expect(runsOf(execution!.id)).toHaveLength(1);
  const upload = await call<{ run: { status: string } }>('GET', `/v1/runs/${automatic}`);
  expect(upload.run.status).toBe('RUN_STATUS_COMPLETED');
});

describe('an execution whose StartRun the restored database has forgotten, and whose flow has another role since', () => {
  const otherRole = 'polony-reset-other';
  const DAMAGED = JSON.stringify({ keyId: 'lost', sealed: 'AAAA' });
  const folder = (): string => `${account.prefix}/polony-executions/`;
  const recordKey = (id: string, file: string): string => `${folder()}records/${id}/${file}`;

  /** Lets the flow start its runs with another role, which the provider may pass. */
  async function changeRole(): Promise<void> {
    const { iam } = adminClients(stack.info);
    const { Role } = await iam.send(new GetRoleCommand({ RoleName: account.executionRoleArn.split('/').at(-1) }));
    const trust = decodeURIComponent(Role!.AssumeRolePolicyDocument!);
    const { Role: other } = await iam.send(
      new CreateRoleCommand({ RoleName: otherRole, AssumeRolePolicyDocument: trust }),
    );
    await addStatements(stack.info, account.providerRoleArn, [
      { Effect: 'Allow', Action: ['iam:PassRole'], Resource: [other!.Arn] },
    ]);
    await queryDatabase(stack, 'update compute_connections set execution_role_arn = $1', [other!.Arn]);
    iam.destroy();
  }

  async function changeRoleBack(): Promise<void> {
    const { iam } = adminClients(stack.info);
    await iam.send(new DeleteRoleCommand({ RoleName: otherRole }));
    await queryDatabase(stack, 'update compute_connections set execution_role_arn = $1', [account.executionRoleArn]);
    iam.destroy();
  }

  /** Starts a run, and restores the state from before it, with the workflow at its begin. */
  async function forget(withoutRecords: readonly string[], damaged?: string): Promise<string> {
    await setPace(stack, HELD_MS);
    const id = await start();
    await inStatus(id, 'RUNNING');
    stack.worker!.kill();
    await stack.worker!.exited;
    const { s3 } = adminClients(stack.info);
    const { Contents = [] } = await s3.send(
      new ListObjectsV2Command({ Bucket: account.bucket, Prefix: recordKey(id, '') }),
    );
    expect(Contents.map(({ Key }) => Key)).toEqual([recordKey(id, '1-run.json'), recordKey(id, '1-start.json')]);
    for (const file of withoutRecords)
      await s3.send(new DeleteObjectCommand({ Bucket: account.bucket, Key: recordKey(id, file) }));
    if (damaged !== undefined)
      await s3.send(new PutObjectCommand({ Bucket: account.bucket, Key: recordKey(id, damaged), Body: DAMAGED }));
    const [run] = runsOf(id);
    await s3.send(
      new PutObjectCommand({ Bucket: account.bucket, Key: `${folder()}${id}/${run!.id}/logs/engine.log`, Body: 'log' }),
    );
    s3.destroy();
    await forgetStartRun(stack, id);
    await reset(`execution/${id}`, 3);
    await changeRole();
    return id;
  }

  const startWorker = async (): Promise<void> => {
    stack.worker = await stack.startWorker();
  };

  it.each([
    ['its record of the run', []],
    ['its record of StartRun', ['1-run.json']],
    ['its output folder', ['1-run.json', '1-start.json']],
    ['its output folder, with a record that does not open', ['1-run.json'], '1-start.json'],
  ])('watches the one run, found by %s', async (_, withoutRecords, damaged?: string) => {
    const id = await forget(withoutRecords, damaged);
    try {
      await startWorker();
      await inStatus(id, 'RUNNING');
      finishRunsOf(id);
      await inStatus(id, 'COMPLETED');
      expect(runsOf(id)).toHaveLength(1);
    } finally {
      await changeRoleBack();
    }
  });

  it.each([
    ['its record of the run', []],
    ['its record of StartRun', ['1-run.json']],
    ['its record of StartRun, while the provider may not pass the new role', ['1-run.json'], 'denied'],
  ])('cancels the one run, found by %s', async (_, withoutRecords, newRole?: string) => {
    const id = await forget(withoutRecords);
    try {
      if (newRole === 'denied')
        await addStatements(stack.info, account.providerRoleArn, [
          { Effect: 'Allow', Action: ['iam:PassRole'], Resource: [account.executionRoleArn] },
        ]);
      await call('POST', `/v1/executions/${id}/cancel`);
      await startWorker();
      await inStatus(id, 'CANCELED');
      expect(runsOf(id).map(({ status }) => status)).toEqual(['CANCELLED']);
    } finally {
      await changeRoleBack();
    }
  });

  it('starts nothing for an execution that had ended, as its record says', async () => {
    await deny('iam:PassRole');
    const id = await start();
    await isBlocked(id);
    await call('POST', `/v1/executions/${id}/cancel`, { reason: 'wrong manifest' });
    await inStatus(id, 'CANCELED');
    await allow();
    stack.worker!.kill();
    await stack.worker!.exited;
    await forgetStartRun(stack, id);
    // As the sweep of a worker leaves it that found no workflow.
    await queryDatabase(
      stack,
      `update executions set adoptions = 1, blocked = null, time_cancel_requested = null, cancel_requested_by = null,
         cancel_requested_by_id = null, cancel_reason = null where id = $1`,
      [id],
    );
    await reset(`execution/${id}`, 3);
    await startWorker();
    await inStatus(id, 'CANCELED');
    expect(runsOf(id)).toEqual([]);
  });
});
