import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { DeleteRolePolicyCommand, GetRolePolicyCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { StartRunCommand } from '@aws-sdk/client-omics';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import { ensurePython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import type { Stack } from '../../local/stack.js';
import { stateQuery } from '../../workflows/messages/executions.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { cliFile, countEvents, isWorkflowTask, startTestStack, replay, logErrorsOnly } from '../testStack.js';

let stateDir: string;
let { details, inStatus, runsOf, startCalls } = {} as ReturnType<typeof executionsOf>;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let temporal: Client;
let connection: Connection;
let flowId: string;
let runId: string;
let storageConnectionId: string;
let autoExecutionId: string;

const start = async (): Promise<string> =>
  (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId })).execution.id;
const historyOf = async (workflowId: string) => temporal.workflow.getHandle(workflowId).fetchHistory();

beforeAll(async () => {
  logErrorsOnly();
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-main-'));
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 100, STARTING: 100, RUNNING: 500, STOPPING: 100 } },
  });
  call = apiClient(stack.info);
  ({ details, inStatus, runsOf, startCalls } = executionsOf(stack, call));
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'test');
  ({ storageConnectionId, flowId } = await connectAccount(call, account, { autoStart: true }));
  const { s3 } = adminClients(stack.info);
  // The run stalls during its upload. Nothing may start for it before the upload is complete.
  const simulation = simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: describeRun({ runName: 'MAIN' }),
    stallAt: 0.5,
  });
  const run = await waitFor(
    'the run to be discovered',
    async () => (await call<{ runs: { id: string; status: string; name: string }[] }>('GET', '/v1/runs')).runs[0],
  );
  expect(run.status).toBe('RUN_STATUS_SEQUENCING');
  runId = run.id;
  // This execution waits because the run is still uploading.
  const waiting = await start();
  expect((await details(waiting)).execution.status).toBe('EXECUTION_STATUS_UNTRIGGERED');
  simulation.resume();
  await simulation.done;
  autoExecutionId = await waitFor(
    'the flow to start by itself',
    async () =>
      (await call<{ executions: { id: string }[] }>('GET', '/v1/executions')).executions.find(
        (each) => each.id !== waiting,
      )?.id,
  );
  await inStatus(autoExecutionId, 'COMPLETED');
  await inStatus(waiting, 'COMPLETED');
  expect(runsOf(waiting)).toHaveLength(1);
});

afterEach(() => void stack.aws.emulator.faults.splice(0));
afterAll(async () => {
  await connection?.close();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

describe('the main job', () => {
  it('runs Bases2Fastq with --no-projects as the provider role and lists its results', async () => {
    const { execution, details: more } = await details(autoExecutionId);
    const run = runsOf(autoExecutionId)[0]!;
    expect(run).toMatchObject({
      workflowOwnerId: '588258415937',
      storageType: 'DYNAMIC',
      status: 'COMPLETED',
      parameters: { no_projects: true, run_dir: `s3://${account.bucket}/runs/AV240001/20260115_AV240001_MAIN` },
    });
    // The template of the vendor does not allow tags, so the run has none.
    expect(run.tags).toEqual({});
    expect(run.startedBy).toContain('assumed-role/Element-ServiceUser-test');
    expect(more.healthOmics).toMatchObject({ runId: run.id, uuid: run.uuid });
    const { s3 } = adminClients(stack.info);
    const listed = await s3.send(
      new ListObjectsV2Command({
        Bucket: account.bucket,
        Prefix: execution.output.uri.slice(`s3://${account.bucket}/`.length),
      }),
    );
    const keys = (listed.Contents ?? []).map((object) => object.Key!);
    expect(keys.filter((key) => /\/Samples\/sample-\d\/sample-\d_R[12]\.fastq\.gz$/.test(key))).toHaveLength(6);
    expect(keys.some((key) => key.endsWith('/RunStats.json'))).toBe(true);
  });

  it('starts a flow once for a run after any number of searches', async () => {
    await call('POST', `/v1/storage-connections/${storageConnectionId}/discover`);
    const { executions } = await call<{ executions: { startedBy: { name: string } }[] }>('GET', '/v1/executions');
    expect(executions.filter((execution) => execution.startedBy.name === 'polony')).toHaveLength(1);
  });

  it('keeps a short history that does not grow with the number of polls', async () => {
    const polls = (id: string): number =>
      stack.aws.emulator.calls.filter((each) => each.operation === 'GetRun' && each.runId === runsOf(id)[0]!.id).length;
    expect(countEvents(await historyOf(`execution/${autoExecutionId}`))).toBeLessThanOrEqual(24);
    await setPace(stack, HELD_MS);
    const long = await start();
    await inStatus(long, 'RUNNING');
    await waitFor(
      'more polls',
      () => polls(long) > polls(autoExecutionId) + 3,
      () => polls(long),
    );
    stack.aws.emulator.finish(runsOf(long)[0]!.id);
    await inStatus(long, 'COMPLETED');
    await setPace(stack, 300);
    expect(countEvents(await historyOf(`execution/${long}`))).toBeLessThanOrEqual(24);
  });

  it('can be found in Temporal by HealthOmics run, run name, flow and status', async () => {
    const healthOmicsRunId = runsOf(autoExecutionId)[0]!.id;
    await waitFor('visibility', async () => {
      const found = [];
      for await (const workflow of temporal.workflow.list({
        query: `PolonyHealthOmicsRunId = "${healthOmicsRunId}" and PolonyRun = "MAIN" and PolonyFlow = "b2f" and PolonyStatus = "COMPLETED"`,
      }))
        found.push(workflow.workflowId);
      return found.length === 1 && found[0] === `execution/${autoExecutionId}`;
    });
  });
});

describe('the AWS CLI with credential_process', () => {
  it('copies the run folder from the local stack, and nothing else', { tags: 'long' }, async () => {
    const { pythonBin } = await ensurePython(PYTHON.awsClients);
    const { key } = await call<{ key: string }>('POST', '/v1/api-keys', {
      name: 'aws-cli',
      scopes: ['runs:read', `runs:download:${runId}`],
    });
    const config = path.join(stateDir, 'aws-config');
    // The AWS CLI starts credential_process in its own folder and environment.
    writeFileSync(
      config,
      `[profile run]\nregion = us-west-2\ncredential_process = ${process.execPath} ${cliFile()} credentials run ${runId}\n`,
    );
    const env = {
      PATH: process.env.PATH,
      HOME: stateDir,
      AWS_CONFIG_FILE: config,
      AWS_PROFILE: 'run',
      AWS_ENDPOINT_URL: stack.info.awsEndpoint,
      POLONY_API_URL: stack.info.apiUrl,
      POLONY_API_KEY: key,
    };
    const aws = (...args: string[]) => promisify(execFile)(pythonBin, ['-m', 'awscli', 's3', ...args], { env });
    const folder = `s3://${account.bucket}/runs/AV240001/20260115_AV240001_MAIN/`;
    const to = path.join(stateDir, 'copied');
    await aws('cp', '--recursive', '--only-show-errors', folder, to);
    const { files } = await call<{ files: { path: string; size: number }[] }>('GET', `/v1/runs/${runId}/files`);
    const copied = readdirSync(to, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(to, path.join(entry.parentPath, entry.name)));
    expect(copied.sort()).toEqual(files.map((file) => file.path).sort());
    expect(files.map(({ path: name, size }) => [name, size])).toEqual(
      files.map(({ path: name }) => [name, statSync(path.join(to, name)).size]),
    );
    await expect(aws('ls', `s3://${account.bucket}/`)).rejects.toThrow('AccessDenied');
    await expect(aws('cp', config, `${folder}new.txt`)).rejects.toThrow('AccessDenied');
  });
});

describe('several runs', () => {
  it('completes executions that start at the same time, while HealthOmics throttles', { tags: 'long' }, async () => {
    stack.aws.emulator.faults.push({ operation: 'StartRun', kind: 'throttle', count: 4 });
    const ids = await Promise.all(Array.from({ length: 6 }, start));
    for (const id of ids) {
      await inStatus(id, 'COMPLETED');
      expect(runsOf(id)).toHaveLength(1);
    }
  });

  it.each(['My run 01', 'René 2x150 (test)', 'PLUS+50%25'])(
    'analyses the run %s, and serves its files',
    { tags: 'long' },
    async (runName) => {
      const { s3 } = adminClients(stack.info);
      const run = describeRun({ runName });
      await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run }).done;
      type Runs = { runs: { id: string; name: string }[] };
      const found = await waitFor('the run to be found', async () =>
        (await call<Runs>('GET', '/v1/runs')).runs.find(({ name }) => name === runName),
      );
      const { details: about } = await call<{ details: { warnings: { code: string }[] } }>(
        'GET',
        `/v1/runs/${found.id}/details`,
      );
      expect(about.warnings.map(({ code }) => code)).toEqual(['RUN_PATH_CHARACTERS']);
      const filter = encodeURIComponent(`input.run.id:"${found.id}"`);
      const execution = await waitFor(
        'the flow to start',
        async () =>
          (await call<{ executions: { id: string }[] }>('GET', `/v1/executions?filter=${filter}`)).executions[0],
      );
      await inStatus(execution.id, 'COMPLETED');
      const { files } = await call<{ files: { path: string; downloadUrl: string }[] }>(
        'GET',
        `/v1/runs/${found.id}/files?includeDownloadUrl=true`,
      );
      const parameters = files.find((file) => file.path.endsWith('RunParameters.json'))!;
      const downloaded = await fetch(parameters.downloadUrl);
      expect(((await downloaded.json()) as { RunName: string }).RunName).toBe(runName);
    },
  );
});

describe('a cancel', () => {
  beforeAll(() => setPace(stack, HELD_MS));
  afterAll(() => setPace(stack, 300));

  it('before StartRun prevents the run', async () => {
    stack.aws.emulator.faults.push({ operation: 'GetWorkflow', kind: 'throttle' });
    const id = await start();
    await waitFor('GetWorkflow to be tried', async () =>
      stack.aws.emulator.calls.some((each) => each.operation === 'GetWorkflow' && each.code === 429),
    );
    // An operator may send the signal through Temporal alone, without input.
    await temporal.workflow.getHandle(`execution/${id}`).signal('cancel');
    await inStatus(id, 'CANCELED');
    expect(startCalls(id)).toHaveLength(0);
  });

  it('during StartRun cancels the run that StartRun creates', async () => {
    stack.aws.emulator.faults.push({ operation: 'StartRun', kind: 'slow', delayMs: 1500, count: 1 });
    const id = await start();
    await waitFor('StartRun to be sent', async () => startCalls(id).length > 0);
    await call('POST', `/v1/executions/${id}/cancel`, { reason: 'wrong manifest' });
    expect((await inStatus(id, 'CANCELED')).details.cancelRequested).toMatchObject({
      requestedBy: 'default',
      reason: 'wrong manifest',
    });
    expect(runsOf(id).map((run) => run.status)).toEqual(['CANCELLED']);
  });

  it('of a running run needs no heartbeat, and works through Temporal too', async () => {
    const id = await start();
    await inStatus(id, 'RUNNING');
    const workflow = temporal.workflow.getHandle(`execution/${id}`);
    // The database knows it before the watch ends, which would be the next event otherwise.
    await waitFor('the workflow to see it', async () => (await workflow.query(stateQuery)).status === 'RUNNING');
    await workflow.cancel();
    await waitFor('CancelRun', async () =>
      stack.aws.emulator.calls.some((each) => each.operation === 'CancelRun' && each.runId === runsOf(id)[0]!.id),
    );
    await inStatus(id, 'CANCELED');
    // CancelRun is the next event after the request, so it does not wait for the watch, which notices the cancel later.
    const { events } = await historyOf(`execution/${id}`);
    const asked = events!.findIndex((event) => event.workflowExecutionCancelRequestedEventAttributes != null);
    const next = events!.slice(asked + 1).find((event) => !isWorkflowTask(event));
    expect(next?.activityTaskScheduledEventAttributes?.activityType?.name).toBe('cancelRun');
    await waitFor('the workflow to end', async () => (await workflow.describe()).status.name === 'CANCELLED');
    await expect(call('POST', `/v1/executions/${id}/cancel`, {})).rejects.toThrow(/409/);
  });

  it('after a lost answer of StartRun repeats the request and cancels the run that exists', async () => {
    stack.aws.emulator.faults.push(
      { operation: 'StartRun', kind: 'dropAnswer', count: 1 },
      { operation: 'StartRun', kind: 'internal', count: 2 },
    );
    const id = await start();
    await waitFor('StartRun to be lost', async () => runsOf(id).length > 0);
    await call('POST', `/v1/executions/${id}/cancel`, {});
    await inStatus(id, 'CANCELED');
    expect(runsOf(id).map((run) => run.status)).toEqual(['CANCELLED']);
  });
});

describe('the main job with failures', () => {
  it('starts one run after a lost answer of StartRun', async () => {
    stack.aws.emulator.faults.push({ operation: 'StartRun', kind: 'dropAnswer', count: 1 });
    const id = await start();
    await inStatus(id, 'COMPLETED');
    expect(runsOf(id)).toHaveLength(1);
    expect(startCalls(id).length).toBeGreaterThan(1);
  });

  it('repeats StartRun with the same request, also after a change of the connection', async () => {
    const { computeConnections } = await call<{ computeConnections: { id: string }[] }>(
      'GET',
      '/v1/compute-connections',
    );
    const connectionId = computeConnections[0]!.id;
    stack.aws.emulator.faults.push(
      { operation: 'StartRun', kind: 'dropAnswer', count: 1 },
      { operation: 'StartRun', kind: 'internal', count: 1 },
    );
    const id = await start();
    await waitFor('StartRun to be lost', async () => runsOf(id).length > 0);
    await call('PATCH', `/v1/compute-connections/${connectionId}`, {
      executionRoleArn: `${account.executionRoleArn}-new`,
    });
    await inStatus(id, 'COMPLETED');
    expect(runsOf(id).map((run) => run.roleArn)).toEqual([account.executionRoleArn]);
    await call('PATCH', `/v1/compute-connections/${connectionId}`, { executionRoleArn: account.executionRoleArn });
  });

  it('passes the run of a killed worker to another worker, with one StartRun', { tags: 'long' }, async () => {
    await setPace(stack, HELD_MS);
    const id = await start();
    await inStatus(id, 'RUNNING');
    await setPace(stack, 300);
    stack.worker!.kill();
    stack.worker = await stack.startWorker();
    stack.aws.emulator.finish(runsOf(id)[0]!.id);
    await waitFor(
      'the execution to complete',
      async () => (await details(id)).execution.status === 'EXECUTION_STATUS_COMPLETED',
    );
    expect(startCalls(id)).toHaveLength(1);
    expect(
      stack.aws.emulator.calls.some((each) => each.operation === 'CancelRun' && each.runId === runsOf(id)[0]!.id),
    ).toBe(false);
  });

  it('fails with the reason of the HealthOmics run', async () => {
    stack.aws.emulator.faults.push({
      operation: 'run',
      kind: 'failRun',
      failureReason: 'WORKFLOW_RUN_FAILED',
      statusMessage: 'out of memory',
      count: 1,
    });
    const id = await start();
    expect((await inStatus(id, 'FAILED')).execution.errorMessage).toContain('WORKFLOW_RUN_FAILED');
  });

  it('blocks on a missing permission, names it, and continues once it is granted', async () => {
    const { iam } = adminClients(stack.info);
    const role = { RoleName: 'Element-ServiceUser-test', PolicyName: 'polony' };
    const { PolicyDocument } = await iam.send(new GetRolePolicyCommand(role));
    const full = JSON.parse(decodeURIComponent(PolicyDocument!)) as { Statement: { Sid: string }[] };
    await iam.send(
      new PutRolePolicyCommand({
        ...role,
        PolicyDocument: JSON.stringify({
          ...full,
          Statement: full.Statement.filter((each) => each.Sid !== 'OmicsPassRole'),
        }),
      }),
    );
    const id = await start();
    const { details: more } = await waitFor('the execution to be blocked', async () => {
      const answer = await details(id);
      return answer.details.blocked !== null && answer;
    });
    expect(more.blocked).toMatchObject({ action: 'iam:PassRole', resource: account.executionRoleArn });
    await iam.send(
      new PutRolePolicyCommand({
        ...role,
        PolicyName: 'granted',
        PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [more.blocked!.statement] }),
      }),
    );
    await call('POST', `/v1/executions/${id}/retry`);
    await inStatus(id, 'COMPLETED');
    expect(runsOf(id)).toHaveLength(1);
    await iam.send(new PutRolePolicyCommand({ ...role, PolicyDocument: JSON.stringify(full) }));
    await iam.send(new DeleteRolePolicyCommand({ ...role, PolicyName: 'granted' }));
  });

  it('cannot pass parameters outside the template: HealthOmics rejects them', async () => {
    const { omics } = adminClients(stack.info);
    const input = {
      workflowId: account.workflowId,
      workflowType: 'PRIVATE' as const,
      workflowOwnerId: account.workflowOwnerId,
      roleArn: account.executionRoleArn,
      outputUri: `s3://${account.bucket}/out`,
      requestId: 'by-hand',
      parameters: { run_dir: 's3://x/y', odd: 1 },
    };
    await expect(omics.send(new StartRunCommand(input))).rejects.toMatchObject({ name: 'ValidationException' });
  });
});

it('replays the history of every workflow with the current code', async () => {
  const seen = new Set<string>();
  const chosen: { workflowId: string; runId: string }[] = [];
  await temporal.schedule.getHandle('verify-all').trigger();
  await waitFor('everything to be verified', async () => {
    for await (const workflow of temporal.workflow.list({ query: 'WorkflowType = "verifyAll"' }))
      if (workflow.status.name === 'COMPLETED') return true;
    return false;
  });
  for await (const workflow of temporal.workflow.list({ query: 'ExecutionStatus != "Running"' })) {
    // One history is enough for types that run often.
    if (workflow.type !== 'bases2fastq' && seen.has(workflow.type)) continue;
    if (workflow.type.startsWith('temporal-sys')) continue;
    seen.add(workflow.type);
    chosen.push(workflow);
  }
  await replay(temporal, chosen);
  expect([...seen].sort()).toEqual([
    'bases2fastq',
    'discoverRuns',
    'runUpload',
    'verifyAll',
    'verifyComputeConnection',
    'verifyFlow',
    'verifyProvider',
    'verifyStorageConnection',
  ]);
});
