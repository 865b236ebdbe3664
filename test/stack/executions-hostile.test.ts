/** @module-tag long */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DeleteRolePolicyCommand, GetRolePolicyCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { CopyObjectCommand } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { Orchestrator } from '../../temporal/client.js';
import { queryDatabase } from '../stackDatabase.js';
import { denialsOf, executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';

// Races and unusual input. Each of these cases once left a run without a watcher, an execution open or others waiting.
let stateDir: string;
let { details, inStatus, runsOf, startCalls } = {} as ReturnType<typeof executionsOf>;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let connection: Connection;
let temporal: Client;
let flowId: string;
let runId: string;
let storageConnectionId: string;

const start = async (): Promise<string> =>
  (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId })).execution.id;
const role = { RoleName: 'Element-ServiceUser-hostile', PolicyName: 'polony' };
let { deny, allow } = {} as ReturnType<typeof denialsOf>;

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-hostile-'));
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 100, STARTING: 100, RUNNING: 300, STOPPING: 100 } },
    env: { POLONY_SWEEP_SECONDS: '2' },
  });
  call = apiClient(stack.info);
  ({ details, inStatus, runsOf, startCalls } = executionsOf(stack, call));
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'hostile');
  ({ deny, allow } = denialsOf(stack, account));
  expect((await adminClients(stack.info).iam.send(new GetRolePolicyCommand(role))).PolicyName).toBe('polony');
  // The longest names that are allowed, in characters of three bytes.
  ({ storageConnectionId, flowId } = await connectAccount(call, account, {
    providerName: '長'.repeat(128),
    storageConnectionName: '倉'.repeat(128),
    name: '流'.repeat(128),
  }));
  const { s3 } = adminClients(stack.info);
  await simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: describeRun({ runName: 'HOSTILE', cycles: { R1: 2 }, samples: [{ name: 'one', index1: '', index2: '' }] }),
  }).done;
  runId = await waitFor(
    'the run',
    async () =>
      (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
        (run) => run.status === 'RUN_STATUS_COMPLETED',
      )?.id,
  );
});
afterEach(() => void stack.aws.emulator.faults.splice(0));
afterAll(async () => {
  await connection?.close();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

it('completes an execution with names of the maximum length', async () => {
  await inStatus(await start(), 'COMPLETED');
});

it('cancels executions blocked at StartRun through the API and Temporal, without a run', async () => {
  await deny('iam:PassRole');
  const [one, other] = [await start(), await start()];
  for (const id of [one, other])
    await waitFor('it to be blocked', async () => (await details(id)).details.blocked !== null);
  await call('POST', `/v1/executions/${one}/cancel`, {});
  await temporal.workflow.getHandle(`execution/${other}`).cancel();
  for (const id of [one, other]) {
    const { details: more } = await inStatus(id, 'CANCELED');
    expect(more.blocked).toBeNull();
    expect(runsOf(id)).toEqual([]);
  }
  await allow();
  // Temporal lists no blocked execution any more.
  await waitFor(
    'visibility',
    async () => (await temporal.workflow.count('WorkflowType = "bases2fastq" and PolonyBlocked = true')).count === 0,
  );
});

it('stays blocked after any number of retry requests', async () => {
  await deny('iam:PassRole');
  const id = await start();
  await waitFor('it to be blocked', async () => (await details(id)).details.blocked !== null);
  for (let at = 0; at < 8; at++) await call('POST', `/v1/executions/${id}/retry`);
  await allow();
  await call('POST', `/v1/executions/${id}/retry`);
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id)).toHaveLength(1);
});

it('shows since when it is blocked, whatever else succeeds in a probe', async () => {
  await deny('iam:PassRole');
  const id = await start();
  const blockedSince = async (): Promise<string | undefined> => (await details(id)).details.blocked?.since;
  await waitFor('it to be blocked', async () => (await blockedSince()) !== undefined);
  const since = await blockedSince();
  await waitFor('a probe to fail', async () => {
    const { pendingActivities } = (await temporal.workflow.getHandle(`execution/${id}`).describe()).raw;
    return pendingActivities?.some(({ attempt }) => (attempt ?? 0) > 1) === true;
  });
  await waitFor('it to be blocked again', async () => (await blockedSince()) !== undefined);
  expect(await blockedSince()).toBe(since);
  await allow();
  await call('POST', `/v1/executions/${id}/retry`);
  await inStatus(id, 'COMPLETED');
});

/** An execution that runs, and whose accepted cancel the provider may not carry out. Set the pace back afterwards. */
async function startWithBlockedCancel(): Promise<string> {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await deny('omics:CancelRun');
  await call('POST', `/v1/executions/${id}/cancel`, { reason: 'wrong manifest' });
  await waitFor('it to be blocked', async () => (await details(id)).details.blocked !== null);
  return id;
}

it('carries out an accepted cancel whose workflow was terminated before CancelRun', async () => {
  const id = await startWithBlockedCancel();
  await temporal.workflow.getHandle(`execution/${id}`).terminate('by hand');
  await waitFor(
    'the workflow to start again',
    async () => (await temporal.workflow.getHandle(`execution/${id}`).describe()).status.name === 'RUNNING',
  );
  await allow();
  const { details: end } = await inStatus(id, 'CANCELED');
  expect(end.cancelRequested).toMatchObject({ reason: 'wrong manifest' });
  expect(runsOf(id).map((run) => run.status)).toEqual(['CANCELLED']);
  await setPace(stack, 300);
});

it('shows a blocked CancelRun while polls of its run succeed', async () => {
  const id = await startWithBlockedCancel();
  const runId = runsOf(id)[0]!.id;
  const countPolls = (): number =>
    stack.aws.emulator.calls.filter((each) => each.operation === 'GetRun' && each.runId === runId).length;
  const before = countPolls();
  await waitFor('three polls', () => countPolls() >= before + 3);
  expect((await details(id)).details.blocked).toMatchObject({ action: 'omics:CancelRun' });
  await allow();
  await call('POST', `/v1/executions/${id}/retry`);
  await inStatus(id, 'CANCELED');
  await setPace(stack, 300);
});

it('continues when its workflow was terminated while it was blocked', async () => {
  await deny('iam:PassRole');
  const id = await start();
  await waitFor('it to be blocked', async () => (await details(id)).details.blocked !== null);
  await temporal.workflow.getHandle(`execution/${id}`).terminate('try again');
  await waitFor(
    'the workflow to start again',
    async () => (await temporal.workflow.getHandle(`execution/${id}`).describe()).status.name === 'RUNNING',
  );
  await allow();
  await call('POST', `/v1/executions/${id}/retry`);
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id)).toHaveLength(1);
});

it('cancels quickly after the worker died during StartRun', async () => {
  await setPace(stack, HELD_MS);
  stack.aws.emulator.faults.push({ operation: 'StartRun', kind: 'slow', delayMs: 4000, count: 1 });
  const id = await start();
  await waitFor('StartRun to be sent', () => startCalls(id).length > 0);
  await stack.crash('worker');
  await call('POST', `/v1/executions/${id}/cancel`, { reason: 'now' });
  await inStatus(id, 'CANCELED');
  expect(
    runsOf(id)
      .map((run) => run.status)
      .filter((status) => status !== 'CANCELLED'),
  ).toEqual([]);
  await setPace(stack, 300);
});

it('cancels for any content of the signal', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await temporal.workflow
    .getHandle(`execution/${id}`)
    .signal('cancel', { reason: 'a\0b\uD800', requestedBy: 7, other: {} });
  const { details: more } = await inStatus(id, 'CANCELED');
  expect(runsOf(id).map((run) => run.status)).toEqual(['CANCELLED']);
  expect(more.cancelRequested!.reason).toBe('a b');
  const second = await start();
  await inStatus(second, 'RUNNING');
  await temporal.workflow.getHandle(`execution/${second}`).signal('cancel', null as never);
  await inStatus(second, 'CANCELED');
  await setPace(stack, 300);
});

it('lets nobody cancel in the name of another one through Temporal, and records that somebody did', async () => {
  await setPace(stack, HELD_MS);
  const [signalled, asked, cancelled] = [await start(), await start(), await start()];
  for (const id of [signalled, asked, cancelled]) await inStatus(id, 'RUNNING');
  const workflowOf = (id: string) => temporal.workflow.getHandle(`execution/${id}`);
  const forged = { requestedBy: 'default', reason: 'by me' };
  await workflowOf(signalled).signal('cancel', forged);
  await workflowOf(cancelled).cancel();
  await call('POST', `/v1/executions/${asked}/cancel`, { reason: 'by the API' });
  await workflowOf(asked).signal('cancel', { requestedBy: 'somebody else' });
  const requests = [];
  for (const id of [signalled, cancelled, asked]) {
    const { requestedBy, reason } = (await inStatus(id, 'CANCELED')).details.cancelRequested!;
    const audited = `/v1/audit-log?resourceId=${id}&action=ExecutionService_CancelExecution`;
    const { entries } = await call<{ entries: { caller: { kind: string } }[] }>('GET', audited);
    requests.push([requestedBy, reason, entries.map(({ caller }) => caller.kind)]);
  }
  const unauthenticated = 'via Temporal, not authenticated';
  expect(requests).toEqual([
    [unauthenticated, 'by me', ['temporal']],
    [unauthenticated, 'The cancellation of the workflow was requested', ['temporal']],
    ['default', 'by the API', ['root']],
  ]);
  const forgeries = `/v1/audit-log?resourceId=${signalled}&callerId=temporal`;
  const { entries } = await call<{ entries: object[] }>('GET', forgeries);
  expect(entries).toMatchObject([
    {
      caller: { kind: 'temporal', name: unauthenticated },
      detail: { claimedBy: 'default', reason: 'by me', workflowId: `execution/${signalled}` },
    },
  ]);
  await setPace(stack, 300);
});

it('believes nobody but the store that the upload of its run has ended', async () => {
  const { s3 } = adminClients(stack.info);
  const run = describeRun({ runName: 'PAUSED', cycles: { R1: 2 }, samples: [{ name: 'one', index1: '', index2: '' }] });
  const upload = simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run, stallAt: 0.5 });
  const uploading = await waitFor(
    'the run',
    async () =>
      (await call<{ runs: { id: string; name: string }[] }>('GET', '/v1/runs')).runs.find(
        ({ name }) => name === 'PAUSED',
      )?.id,
  );
  const { execution } = await call<{ execution: { id: string } }>('POST', '/v1/executions', {
    flowId,
    runId: uploading,
  });
  const workflow = temporal.workflow.getHandle(`execution/${execution.id}`);
  const countLookups = async (): Promise<number> =>
    ((await workflow.fetchHistory()).events ?? []).filter((event) => event.activityTaskCompletedEventAttributes != null)
      .length;
  const forged = [{ usable: true, reason: 'forged' }, { usable: false, reason: 'forged' }, null, 'forged'];
  for (const [at, message] of forged.entries()) {
    await workflow.signal('runUploadEnded', message as never);
    await waitFor('the workflow to look it up', async () => (await countLookups()) === at + 1);
  }
  expect((await details(execution.id)).execution.status).toBe('EXECUTION_STATUS_UNTRIGGERED');
  expect(runsOf(execution.id)).toEqual([]);
  upload.resume();
  await upload.done;
  await inStatus(execution.id, 'COMPLETED');
});

it('starts a run without tags although a worker died after it had sent the request with tags', async () => {
  const completed = await start();
  await inStatus(completed, 'COMPLETED');
  await deny('omics:StartRun');
  const id = await start();
  await waitFor('it to be blocked', async () => (await details(id)).details.blocked != null);
  const db = new pg.Client({ connectionString: stack.info.databaseUrl });
  await db.connect();
  try {
    // What the worker leaves that dies before AWS denies the tags.
    const sent = await db.query(
      `update executions e set start_state = 'sent', start_request = other.start_request
         || jsonb_build_object('requestId', e.id, 'outputUri', rtrim(e.output_uri, '/'), 'tags', '{"a": "b"}'::jsonb)
       from executions other where e.id = $1 and other.id = $2 and other.start_request is not null`,
      [id, completed],
    );
    expect(sent.rowCount).toBe(1);
  } finally {
    await db.end();
  }
  await allow();
  await call('POST', `/v1/executions/${id}/retry`);
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id)).toHaveLength(1);
});

it('records a retry that came through Temporal, whatever it says, and that of the API once', async () => {
  await deny('omics:StartRun');
  const id = await start();
  await waitFor('it to be blocked', async () => (await details(id)).details.blocked != null);
  const listRetries = async (): Promise<{ id: string; caller: { kind: string; name: string } }[]> => {
    const url = `/v1/audit-log?resourceId=${id}&action=ExecutionService_RetryExecution`;
    return (await call<{ entries: Awaited<ReturnType<typeof listRetries>> }>('GET', url)).entries.reverse();
  };
  const retries = async (): Promise<string[]> => (await listRetries()).map(({ caller }) => caller.kind);
  // Some clients always send the same request ID.
  const retryByApi = async (): Promise<void> => {
    const headers = { 'x-api-key': stack.info.apiKey, 'x-request-id': 'the-same' };
    const response = await fetch(`${stack.info.apiUrl}/v1/executions/${id}/retry`, { method: 'POST', headers });
    expect(response.status).toBe(202);
  };
  await retryByApi();
  expect(await retries()).toEqual(['root']);
  const handle = temporal.workflow.getHandle(`execution/${id}`);
  await handle.signal('retry');
  await waitFor('its entry', async () => (await retries()).length === 2);
  // Neither an unknown entry proves anything, nor one whose signal has come already.
  const [{ id: auditId } = { id: '' }] = await listRetries();
  for (const [index, forged] of [{ auditId: 'unknown' }, { auditId }, 7].entries()) {
    await handle.signal('retry', forged);
    await waitFor('its entry', async () => (await retries()).length === index + 3);
  }
  await allow();
  await retryByApi();
  await inStatus(id, 'COMPLETED');
  const entries = await listRetries();
  expect(entries.map(({ caller }) => caller.kind)).toEqual([
    'root',
    ...Array.from({ length: 4 }, () => 'temporal'),
    'root',
  ]);
  expect(entries[1]).toMatchObject({
    caller: { kind: 'temporal', name: 'via Temporal, not authenticated' },
    detail: { workflowId: `execution/${id}` },
  });
});

it('fails after its HealthOmics run was deleted, and continues after its workflow was terminated', async () => {
  await setPace(stack, HELD_MS);
  const [deleted, terminated] = [await start(), await start()];
  for (const id of [deleted, terminated]) await inStatus(id, 'RUNNING');
  stack.aws.emulator.runs.delete(runsOf(deleted)[0]!.id);
  await temporal.workflow.getHandle(`execution/${terminated}`).terminate('by hand');
  expect((await inStatus(deleted, 'FAILED')).details.errorType).toBe('RUN_DELETED');
  await waitFor(
    'its run to be watched again',
    async () => (await temporal.workflow.getHandle(`execution/${terminated}`).describe()).status.name === 'RUNNING',
  );
  await call('POST', `/v1/executions/${terminated}/cancel`, {});
  await inStatus(terminated, 'CANCELED');
  expect(runsOf(terminated).map((run) => run.status)).toEqual(['CANCELLED']);
  await setPace(stack, 300);
});

it('watches a run again whose worker died before it had registered the watch', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await waitFor('the watch', async () => (await queryDatabase(stack, `select 1 from watches`)).length > 0);
  stack.worker!.kill();
  await stack.worker!.exited;
  await queryDatabase(stack, 'delete from watches where execution_id = $1', [id]);
  stack.worker = await stack.startWorker();
  const { watches } = new Orchestrator(temporal, 'polony');
  // An activity that started just now is left to its worker.
  expect(await watches.restart(id, new Date(Date.now() - 3_600_000))).toBe(false);
  expect(await watches.restart(id, new Date())).toBe(true);
  await waitFor('the watch to be registered', async () => {
    const rows = await queryDatabase(stack, 'select 1 from watches where execution_id = $1', [id]);
    return rows.length === 1;
  });
  stack.aws.emulator.finish(runsOf(id)[0]!.id);
  await inStatus(id, 'COMPLETED');
  expect(await watches.restart(id, new Date())).toBe(false);
  await setPace(stack, 300);
});

it('delivers a cancel request to the workflow that was stored while Temporal was unreachable', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await stack.temporal.kill();
  await expect(call('POST', `/v1/executions/${id}/cancel`, { reason: 'away' })).rejects.toThrow(/503/);
  await stack.crash('temporal');
  await inStatus(id, 'CANCELED');
  await setPace(stack, 300);
});

it('starts a flow only once for a run that has a copy under another connection', async () => {
  const { iam, s3 } = adminClients(stack.info);
  await iam.send(
    new PutRolePolicyCommand({
      ...role,
      PolicyName: 'copy',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: ['s3:ListBucket', 's3:GetObject', 's3:PutObject'], Resource: '*' }],
      }),
    }),
  );
  const { storageConnections } = await call<{ storageConnections: { id: string }[] }>('GET', '/v1/storage-connections');
  const { details: first } = await call<{ details: { providerId: string } }>(
    'GET',
    `/v1/storage-connections/${storageConnections[0]!.id}/details`,
  );
  const { storageConnection: other } = await call<{ storageConnection: { id: string } }>(
    'POST',
    '/v1/storage-connections',
    {
      name: 'copy',
      providerId: first.providerId,
      region: 'us-west-2',
      bucket: account.bucket,
      prefix: 'copy',
      useForRunUpload: true,
      useForDataExploration: false,
    },
  );
  await call('PATCH', `/v1/flows/${flowId}`, { autoStart: { storageConnectionIds: [storageConnectionId, other.id] } });
  const run = describeRun({ runName: 'TWICE', cycles: { R1: 1 }, samples: [{ name: 'one', index1: '', index2: '' }] });
  const uploads = [account.prefix, 'copy'].map(
    (prefix) => simulateInstrument({ s3, bucket: account.bucket, prefix, run }).done,
  );
  await Promise.all(uploads);
  const copies = await waitFor('both to be complete', async () => {
    const { runs } = await call<{ runs: { id: string; name: string; status: string }[] }>('GET', '/v1/runs');
    const complete = runs.filter((each) => each.name === 'TWICE' && each.status === 'RUN_STATUS_COMPLETED');
    return complete.length === 2 && complete;
  });
  const descriptions = (): Promise<string[]> =>
    Promise.all(
      copies.map(
        async ({ id }) =>
          (await call<{ details: { uploadDescription: string } }>('GET', `/v1/runs/${id}/details`)).details
            .uploadDescription,
      ),
    );
  await waitFor('the copy to say so', async () =>
    (await descriptions()).some((text) => text.includes('was started for it before')),
  );
  const { executions } = await call<{ executions: { startedBy: { name: string } }[] }>('GET', '/v1/executions');
  expect(executions.filter((execution) => execution.startedBy.name === 'polony')).toHaveLength(1);
  await call('PATCH', `/v1/flows/${flowId}`, { autoStart: { storageConnectionIds: [] } });
  await iam.send(new DeleteRolePolicyCommand({ ...role, PolicyName: 'copy' }));
});

it('finds the runs of other instruments if one folder cannot be listed, and no run in a copied folder', async () => {
  const { s3 } = adminClients(stack.info);
  const names = async (): Promise<string[]> =>
    (await call<{ runs: { name: string }[] }>('GET', '/v1/runs')).runs.map((run) => run.name);
  const before = await names();
  const behind = simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: describeRun({ runName: 'BEHIND', instrumentName: 'ZZ000001', cycles: { R1: 1 } }),
  });
  await adminClients(stack.info).iam.send(
    new PutRolePolicyCommand({
      ...role,
      PolicyName: 'denied',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Deny',
            Action: 's3:ListBucket',
            Resource: '*',
            Condition: { StringLike: { 's3:prefix': `${account.prefix}/AV240001/*` } },
          },
        ],
      }),
    }),
  );
  await behind.done;
  const folder = '20260115_AV240001_HOSTILE';
  for (const file of ['RunParameters.json', 'RunUploaded.json'])
    await s3.send(
      new CopyObjectCommand({
        Bucket: account.bucket,
        CopySource: `${account.bucket}/${account.prefix}/AV240001/${folder}/${file}`,
        Key: `${account.prefix}/archive/${folder}/${file}`,
      }),
    );
  await call('POST', `/v1/storage-connections/${storageConnectionId}/discover`);
  await waitFor('the run behind', async () => (await names()).includes('BEHIND'));
  await allow();
  expect((await names()).sort()).toEqual([...before, 'BEHIND'].sort());
});
