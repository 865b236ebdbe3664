import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DeleteRolePolicyCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { GetObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { startTestStack, workflowSource, logErrorsOnly } from '../testStack.js';

// What executions accept, and how they react to failures of HealthOmics, of a run manifest and of Temporal.
let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let connection: Connection;
let temporal: Client;
let s3: S3Client;
let flowId: string;
let runId: string;
let folder: string;
let { details, inStatus } = {} as ReturnType<typeof executionsOf>;

interface More {
  attempt: number;
  earlierAttempts: { attempt: number; runId: string; uuid: string; failureReason: string }[];
  failure: { owner: string; toDo: string; transient: boolean } | null;
  manifest: {
    source: string;
    report: { errors: { line: number; column: number }[]; warnings: { rule: string }[] } | null;
  };
  relaunchOf: string | null;
  summary: {
    lanes: unknown[];
    metrics: Record<string, number>;
    samples: { name: string; percentPolonies: number }[];
    files: { count: number };
  };
  parameters: Record<string, unknown>;
}
const more = async (id: string): Promise<More> => (await details(id)).details as unknown as More;
const start = async (body: object = {}): Promise<string> =>
  (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId, ...body })).execution.id;
const runsOf = (id: string) =>
  [...stack.aws.emulator.runs.values()].filter((run) => run.requestId === id || run.requestId.startsWith(`${id}-`));
const putManifest = (text: string) =>
  s3.send(new PutObjectCommand({ Bucket: account.bucket, Key: `${folder}/RunManifest.csv`, Body: text }));
const manifest = (...rows: string[]): string => ['[Samples]', 'SampleName,Index1,Index2', ...rows, ''].join('\n');
const fail = (failureReason: string, count: number): void =>
  void stack.aws.emulator.faults.push({
    operation: 'run',
    kind: 'failRun',
    count,
    failureReason,
    statusMessage: 'scripted',
  });

beforeAll(async () => {
  logErrorsOnly();
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-executions-'));
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: 300, STOPPING: 50 } },
    env: { POLONY_CLOSED_WORKFLOWS: 'cancel', POLONY_SWEEP_SECONDS: '1', POLONY_WATCH_SLOTS: '1' },
  });
  call = apiClient(stack.info);
  ({ details, inStatus } = executionsOf(stack, call));
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'executions');
  s3 = adminClients(stack.info).s3;
  // Only the first flow matches this run.
  const connected = await connectAccount(call, account, {
    autoStart: { instruments: ['AV24*'], runNames: ['EXEC*'] },
    runSettings: { retries: 1 },
  });
  flowId = connected.flowId;
  for (const [name, filter] of [
    ['other runs', { runNames: ['PROD*'] }],
    ['other instruments', { instruments: ['AV99*'] }],
  ] as const) {
    await call('POST', '/v1/flows', {
      name,
      computeConnectionId: connected.computeConnectionId,
      sharedWorkflowId: account.workflowId,
      workflowOwnerId: account.workflowOwnerId,
      autoStart: { storageConnectionIds: [connected.storageConnectionId], ...filter },
    });
  }
  const run = describeRun({ runName: 'EXECUTIONS', cycles: { R1: 4, I1: 8, I2: 8 } });
  await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  runId = await waitFor(
    'the run to be complete',
    async () =>
      (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
        (each) => each.status === 'RUN_STATUS_COMPLETED',
      )?.id,
  );
  folder = `${account.prefix}/${run.instrumentName}/20260115_${run.instrumentName}_EXECUTIONS`;
});
afterEach(() => void stack.aws.emulator.faults.splice(0));
afterAll(async () => {
  s3?.destroy();
  await connection?.close();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

it('starts the flows automatically whose filter matches the run, and no others', async () => {
  const first = await waitFor(
    'the flow to start an execution',
    async () =>
      (await call<{ executions: { id: string; flow: { name: string } }[] }>('GET', '/v1/executions')).executions[0],
  );
  expect(first.flow.name).toBe('b2f');
  await inStatus(first.id, 'COMPLETED');
  expect((await call<{ executions: unknown[] }>('GET', '/v1/executions')).executions).toHaveLength(1);
  const { summary, manifest: checked } = await more(first.id);
  expect(summary.metrics.PercentQ30).toBeGreaterThan(0);
  expect(summary.lanes).toHaveLength(2);
  // The rest belongs to no sample.
  const assigned = summary.samples.reduce((sum, sample) => sum + sample.percentPolonies, 0);
  expect(assigned).toBeGreaterThan(95);
  expect(assigned).toBeLessThan(100);
  expect(checked).toMatchObject({ source: 'run', report: { errors: [] } });
  const { files, isTruncated } = await call<{ files: { key: string; size: number }[]; isTruncated: boolean }>(
    'GET',
    `/v1/executions/${first.id}/results`,
  );
  expect(isTruncated).toBe(false);
  expect(files).toHaveLength(summary.files.count);
  expect(files.find((file) => file.key === 'RunStats.json')!.size).toBeGreaterThan(100);
});

it('repeats a run after a temporary failure, each time with a new requestId, and replays', async () => {
  fail('INSTANCE_RESERVATION_FAILED', 1);
  const id = await start();
  await inStatus(id, 'COMPLETED');
  const { attempt, earlierAttempts } = await more(id);
  const runs = runsOf(id);
  expect(runs.map((run) => [run.requestId, run.status])).toEqual([
    [id, 'FAILED'],
    [`${id}-2`, 'COMPLETED'],
  ]);
  expect(attempt).toBe(2);
  expect(earlierAttempts).toMatchObject([
    { attempt: 1, runId: runs[0]!.id, uuid: runs[0]!.uuid, failureReason: 'INSTANCE_RESERVATION_FAILED' },
  ]);
  const history = await temporal.workflow.getHandle(`execution/${id}`).fetchHistory();
  await Worker.runReplayHistory({ ...workflowSource() }, history);
});

it(
  'gives up after the number of attempts that the flow allows, and says who can fix the problem',
  { tags: 'long' },
  async () => {
    fail('SERVICE_ERROR', 5);
    const id = await start();
    await inStatus(id, 'FAILED');
    expect(runsOf(id)).toHaveLength(2);
    expect((await more(id)).failure).toMatchObject({ owner: 'aws', transient: true });
  },
);

it('does not repeat a run that failed for a lasting reason', async () => {
  fail('EXPORT_FAILED', 1);
  const id = await start();
  await inStatus(id, 'FAILED');
  expect(runsOf(id)).toHaveLength(1);
  expect((await more(id)).failure).toMatchObject({ owner: 'customer', transient: false });
});

it('starts no further run when it is cancelled between two attempts', async () => {
  await call('PATCH', `/v1/flows/${flowId}`, { runSettings: { retries: 5 } });
  fail('SERVICE_ERROR', 20);
  const id = await start();
  await waitFor('the first HealthOmics run to fail', async () => (await more(id)).attempt > 1);
  await call('POST', `/v1/executions/${id}/cancel`, {});
  const { execution } = await inStatus(id, 'CANCELED');
  const count = runsOf(id).length;
  expect(runsOf(id).every((run) => ['FAILED', 'CANCELLED'].includes(run.status))).toBe(true);
  expect(execution.statusDescription).toMatch(/cancel/i);
  expect(runsOf(id)).toHaveLength(count);
});

it('blocks before StartRun on a run manifest with errors, and continues once the manifest is replaced', async () => {
  const before = await (
    await s3.send(new GetObjectCommand({ Bucket: account.bucket, Key: `${folder}/RunManifest.csv` }))
  ).Body!.transformToString();
  await putManifest(manifest('S1,AAAAAAAAAA,CCCCCCCC', 'S2,CCCCCCCC,GGGGGGGG'));
  // With "warn", Bases2Fastq itself decides. Here it fails with the problem that polony reported.
  await call('PATCH', `/v1/flows/${flowId}`, { runSettings: { manifestErrors: 'warn' } });
  const trusting = await start();
  await inStatus(trusting, 'FAILED');
  expect(runsOf(trusting)[0]!.statusMessage).toContain('has 10 bases');
  expect((await more(trusting)).manifest.report!.errors[0]).toMatchObject({ line: 3, column: 4 });
  await call('PATCH', `/v1/flows/${flowId}`, { runSettings: {} });
  const id = await start();
  const blocked = await waitFor(
    'the execution to be blocked',
    async () =>
      ((await details(id)).details.blocked as { kind?: string } | null)?.kind === 'MANIFEST_INVALID' &&
      (await details(id)),
  );
  expect(blocked.execution.statusDescription).toContain('line 3 column 4');
  expect(runsOf(id)).toEqual([]);
  await putManifest(before);
  await call('POST', `/v1/executions/${id}/retry`);
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id)).toHaveLength(1);
});

it(
  'runs with its own run manifest, stores it beside the results, and can be relaunched with another',
  { tags: 'long' },
  async () => {
    const own = manifest('Mine,AAAAAAAA,CCCCCCCC', 'Yours,GGGGGGGG,TTTTTTTT');
    const id = await start({ manifest: { content: own } });
    await inStatus(id, 'COMPLETED');
    const { summary, parameters, manifest: used } = await more(id);
    expect(summary.samples.map((sample) => sample.name)).toEqual(['Mine', 'Yours']);
    expect(used.source).toBe('text');
    const uri = parameters.run_manifest as string;
    expect(
      await (
        await s3.send(
          new GetObjectCommand({ Bucket: account.bucket, Key: uri.slice(`s3://${account.bucket}/`.length) }),
        )
      ).Body!.transformToString(),
    ).toBe(own);

    const again = await call<{ execution: { id: string } }>('POST', `/v1/executions/${id}/relaunch`, {
      manifest: { uri },
      name: 'once more',
    });
    await inStatus(again.execution.id, 'COMPLETED');
    expect(await more(again.execution.id)).toMatchObject({
      relaunchOf: id,
      manifest: { source: 'uri' },
      parameters: { run_manifest: uri },
    });
    const third = await call<{ execution: { id: string } }>('POST', `/v1/executions/${again.execution.id}/relaunch`, {
      manifest: null,
    });
    await inStatus(third.execution.id, 'COMPLETED');
    expect((await more(third.execution.id)).parameters.run_manifest).toBeUndefined();
  },
);

it('rejects a bad or foreign manifest, unknown parameters and a relaunch of a running execution', async () => {
  await expect(start({ manifest: { content: manifest('S1,AAAA,CCCCCCCC') } })).rejects.toThrow(
    /manifest\.content.*line 3 column 4/s,
  );
  for (const uri of [
    `s3://${account.bucket}/${account.prefix}-secret/RunManifest.csv`,
    's3://elsewhere/runs/RunManifest.csv',
  ])
    await expect(start({ manifest: { uri } })).rejects.toThrow(/must lie in storage connection runs/);
  await expect(start({ manifest: { content: 'x', uri: 's3://a/b' } })).rejects.toThrow(/400/);
  const unknown = await start({ parameters: { nonsense: 1 } });
  await waitFor('the execution to be blocked', async () => (await details(unknown)).details.blocked !== null);
  await expect(call('POST', `/v1/executions/${unknown}/relaunch`, {})).rejects.toThrow(/409.*cancel it first/s);
  await call('POST', `/v1/executions/${unknown}/cancel`, {});
  await inStatus(unknown, 'CANCELED');
  const again = await call<{ execution: { id: string } }>('POST', `/v1/executions/${unknown}/relaunch`, {
    parameters: {},
  });
  await inStatus(again.execution.id, 'COMPLETED');
});

it('names the Deny that blocks an execution, and offers no Allow, which could not help', async () => {
  const { iam } = adminClients(stack.info);
  const policy = { RoleName: account.providerRoleArn.split('/').at(-1)!, PolicyName: 'guardrail' };
  const deny = { Effect: 'Deny', Action: 'omics:StartRun', Resource: '*' };
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [deny] });
  await iam.send(new PutRolePolicyCommand({ ...policy, PolicyDocument }));
  const id = await start();
  const blocked = await waitFor(
    'the execution to be blocked',
    async () =>
      ((await details(id)).details.blocked as { kind: string; remedy: string; statement?: unknown } | null) ??
      undefined,
  );
  expect(blocked.kind).toBe('ACCESS_DENIED');
  expect(blocked.remedy).toMatch(/^Remove the Deny that matches omics:StartRun .*identity-based policies/);
  expect(blocked.statement ?? null).toBeNull();
  await iam.send(new DeleteRolePolicyCommand(policy));
  await call('POST', `/v1/executions/${id}/retry`, {});
  await inStatus(id, 'COMPLETED');
  iam.destroy();
});

it('checks a manifest with the settings that are parameters of the execution', async () => {
  const short = { content: manifest('S1,AAA,CCCCCCCC') };
  await expect(start({ manifest: short })).rejects.toThrow(/manifest\.content.*line 3 column 4/s);
  const id = await start({ manifest: short, parameters: { settings: 'I1Mask,I1:Y3N*' } });
  await call('POST', `/v1/executions/${id}/cancel`, {});
  await inStatus(id, 'CANCELED');
});

it('passes the settings of the flow to StartRun', async () => {
  await call('PATCH', `/v1/flows/${flowId}`, {
    runSettings: {
      runGroupId: '123',
      priority: 7,
      retentionMode: 'REMOVE',
      storageType: 'STATIC',
      storageCapacity: 2400,
      logLevel: 'ERROR',
      tags: { team: 'one' },
    },
  });
  const id = await start();
  await inStatus(id, 'COMPLETED');
  expect(runsOf(id)[0]).toMatchObject({
    runGroupId: '123',
    priority: 7,
    retentionMode: 'REMOVE',
    storageType: 'STATIC',
    storageCapacity: 2400,
    logLevel: 'ERROR',
  });
  await expect(
    call('PATCH', `/v1/flows/${flowId}`, { runSettings: { cacheBehavior: 'CACHE_ALWAYS', tags: { 'aws:x': '' } } }),
  ).rejects.toThrow(/runSettings\.cacheBehavior.*cacheId.*runSettings\.tags\.aws:x/s);
  await expect(call('PATCH', `/v1/flows/${flowId}`, { runSettings: { retries: 99 } })).rejects.toThrow(/400/);
  await call('PATCH', `/v1/flows/${flowId}`, { runSettings: {} });
});

it('holds no slot of a worker while a HealthOmics run is watched', async () => {
  await setPace(stack, HELD_MS);
  // The worker has a single slot.
  const ids = await Promise.all([start(), start(), start()]);
  for (const id of ids) await inStatus(id, 'RUNNING');
  for (const id of ids) {
    // A status is shown before the workflow watches the run for the next one.
    await waitFor('the execution to watch its run', async () => {
      const { raw } = await temporal.workflow.getHandle(`execution/${id}`).describe();
      return raw.pendingActivities?.[0]?.activityType?.name === 'watchRun';
    });
    await call('POST', `/v1/executions/${id}/cancel`, {});
  }
  for (const id of ids) await inStatus(id, 'CANCELED');
});

it('cancels the HealthOmics run of a terminated workflow if the setting says so', async () => {
  await setPace(stack, HELD_MS);
  const id = await start();
  await inStatus(id, 'RUNNING');
  await temporal.workflow.getHandle(`execution/${id}`).terminate('by hand');
  const { details: end } = await inStatus(id, 'CANCELED');
  expect(end.cancelRequested).toMatchObject({
    requestedBy: 'via Temporal, not authenticated',
    reason: 'Its workflow was closed from outside',
  });
  expect(runsOf(id).map((run) => run.status)).toEqual(['CANCELLED']);
});

it('checks a run again that was changed after its check, and starts no flow that no longer accepts it', async () => {
  await setPace(stack, 300);
  const replace = async (file: string, change: (text: string) => string): Promise<void> => {
    const Key = `${folder}/${file}`;
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: account.bucket, Key }));
    const text = change(await Body!.transformToString());
    await s3.send(new PutObjectCommand({ Bucket: account.bucket, Key, Body: text }));
  };
  await replace('RunParameters.json', (text) => `${text}\n`);
  const same = await start();
  await inStatus(same, 'COMPLETED');
  expect(runsOf(same)).toHaveLength(1);

  await replace('RunUploaded.json', (text) => text.replace('OutcomeCompleted', 'OutcomeFailed'));
  const failed = await start();
  const { details: more } = await inStatus(failed, 'FAILED');
  expect(more.errorType).toBe('RunNotUsable');
  expect(runsOf(failed)).toEqual([]);
});
