/** @module-tag long */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DeleteRolePolicyCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { CopyObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, runFolderName, simulateInstrument } from '../../local/instrument.js';
import { ensurePython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import type { Stack } from '../../local/stack.js';
import { registerSearchAttributes } from '../../temporal/searchAttributes.js';
import { SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';

// The page answers ten questions by commands with their output. This runs the commands of the page, and compares.
const PAGE = fileURLToPath(new URL('../../docs/operations/what-temporal-shows.md', import.meta.url));
const run = promisify(execFile);

interface Answer {
  question: string;
  command: string;
  output: string;
}

/** The commands of the page that have an output, with the question that they answer. */
function readAnswers(): Answer[] {
  const sections = readFileSync(PAGE, 'utf8').split(/^## /m).slice(1);
  return sections.flatMap((section) =>
    [...section.matchAll(/```sh\n(temporal [\s\S]*?)\n```\n[\s\S]*?```text\n([\s\S]*?)\n```/g)].map(
      ([, command, output]) => ({ question: section.split('\n')[0]!, command: command!, output: output! }),
    ),
  );
}

/** A pattern for a line of an output: ids and times may differ, and `…` stands for anything. */
function toPattern(line: string): RegExp {
  const escaped = line
    .trim()
    .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    .replace(/ +/g, ' +')
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '[0-9a-f-]{36}')
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\\\.\d{3}Z/g, '\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z')
    .replace(/\b1\d{6}\b/g, '\\d{7}')
    .replace(/…/g, '.*');
  return new RegExp(`^ *${escaped} *$`);
}

/** Expects that a real output has the lines of the page in their order; a line `…` stands for any lines. */
function expectLines(real: string, expected: string): void {
  const lines = real.split('\n');
  let at = 0;
  for (const line of expected.split('\n')) {
    if (line.trim() === '…' || line.trim() === '') continue;
    const pattern = toPattern(line);
    const found = lines.findIndex((each, index) => index >= at && pattern.test(each));
    expect(found, `"${line}" is not in the output:\n${lines.slice(at).join('\n')}`).toBeGreaterThanOrEqual(0);
    at = found + 1;
  }
}

let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let connection: Connection;
let temporal: Client;
let flowId: string;
let runId: string;
/** The variables of the page. */
let variables: Record<string, string> = {};
let commandFolder: string;

const start = async (): Promise<string> =>
  (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId })).execution.id;

/** Runs a command of the page, as a person does in a shell. */
async function runCommand(command: string): Promise<string> {
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', command], {
    env: {
      ...variables,
      PATH: `${commandFolder}${path.delimiter}${process.env.PATH}`,
      HOME: stateDir,
      TEMPORAL_ADDRESS: stack.info.temporalAddress,
    },
  });
  return stdout;
}

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-questions-'));
  commandFolder = (await ensurePython(PYTHON.temporal)).binDir;
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: HELD_MS, STOPPING: 50 } },
    env: { POLONY_UPLOAD_POLL_SECONDS: '1' },
  });
  call = apiClient(stack.info);
  const { details, inStatus } = executionsOf(stack, call);
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'aviti');
  const connected = await connectAccount(call, account);
  ({ flowId } = connected);
  const { s3, iam } = adminClients(stack.info);
  const cycles = { R1: 2 };
  const samples = [{ name: 'one', index1: '', index2: '' }];
  const complete = describeRun({ runName: 'NA12878', cycles, samples });
  await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run: complete }).done;
  runId = await waitFor('the run', async () => {
    await call('POST', `/v1/storage-connections/${connected.storageConnectionId}/discover`);
    const { runs } = await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs');
    return runs.find((each) => each.status === 'RUN_STATUS_COMPLETED')?.id;
  });

  const failed = await start();
  await inStatus(failed, 'RUNNING');
  stack.aws.emulator.faults.push({
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'RUN_TASK_FAILED',
    statusMessage: 'Bases2Fastq stopped',
  });
  for (const each of stack.aws.emulator.runs.values())
    if (each.requestId === failed) stack.aws.emulator.finish(each.id);
  await inStatus(failed, 'FAILED');

  const signalled = await start();
  await inStatus(signalled, 'RUNNING');
  await temporal.workflow.getHandle(`execution/${signalled}`).signal('cancel');
  const cancelled = await start();
  await inStatus(cancelled, 'RUNNING');
  await call('POST', `/v1/executions/${cancelled}/cancel`, { reason: 'wrong manifest' });
  for (const id of [signalled, cancelled]) await inStatus(id, 'CANCELED');

  const running = await start();
  await inStatus(running, 'RUNNING');

  // RunUploaded.json is there, and a file that RunParameters.json names is not.
  const uploading = describeRun({ runName: 'NA12891', cycles: { R1: 8 }, samples });
  const stalled = simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: uploading,
    stallAt: 0.25,
  });
  stalled.done.catch(() => undefined);
  const upload = `run-upload/${connected.storageConnectionId}/${uploading.instrumentName}/` + runFolderName(uploading);
  await waitFor('the upload to be followed', async () => {
    await call('POST', `/v1/storage-connections/${connected.storageConnectionId}/discover`);
    return temporal.workflow
      .getHandle(upload)
      .describe()
      .then(
        () => true,
        () => false,
      );
  });

  const folderOf = (each: typeof uploading): string =>
    `${account.prefix}/${each.instrumentName}/${runFolderName(each)}`;
  await waitFor('RunParameters.json', async () => {
    const { Contents = [] } = await s3.send(
      new ListObjectsV2Command({ Bucket: account.bucket, Prefix: `${folderOf(uploading)}/RunParameters.json` }),
    );
    return Contents.length > 0;
  });
  await s3.send(
    new CopyObjectCommand({
      Bucket: account.bucket,
      CopySource: `${account.bucket}/${folderOf(complete)}/RunUploaded.json`,
      Key: `${folderOf(uploading)}/RunUploaded.json`,
    }),
  );
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: account.providerRoleArn.split('/').at(-1),
      PolicyName: 'denied',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Deny', Action: 'iam:PassRole', Resource: '*' }],
      }),
    }),
  );
  const blocked = [await start(), await start(), await start()];
  for (const id of blocked) await waitFor('it to be blocked', async () => (await details(id)).details.blocked !== null);
  // One that has ended no longer counts.
  await call('POST', `/v1/executions/${blocked[2]}/cancel`, {});
  await inStatus(blocked[2]!, 'CANCELED');

  variables = {
    RUNNING: `execution/${running}`,
    BLOCKED: `execution/${blocked[0]}`,
    FAILED: `execution/${failed}`,
    SIGNALLED: `execution/${signalled}`,
    CANCELLED: `execution/${cancelled}`,
    UPLOAD: upload,
  };
  await waitFor('the upload to say what it waits for', async () => {
    const { currentDetails } = await temporal.workflow
      .getHandle(upload)
      .query<{ currentDetails: string }>('__temporal_workflow_metadata');
    return currentDetails.includes('files are missing or empty');
  });
  await waitFor('a probe to have failed', async () => {
    const { raw } = await temporal.workflow.getHandle(`execution/${blocked[0]}`).describe();
    return (raw.pendingActivities ?? []).some(({ lastFailure }) => lastFailure != null);
  });
  await waitFor(
    'visibility',
    async () => (await temporal.workflow.count('PolonyBlocked = true AND ExecutionStatus = "Running"')).count === 2,
  );
});
afterAll(async () => {
  await connection?.close();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

const QUESTIONS = [
  'Which run, flow and account is this?',
  'What is it waiting for?',
  'Since when?',
  'Which permission is missing?',
  'What will make it continue?',
  'Which HealthOmics run?',
  'Who cancelled it, and why?',
  'How many are blocked by the same cause?',
  'What did AWS answer?',
  'Is it safe to reset, terminate or cancel?',
];

it('has a section with a command and its output for each of the ten questions', () => {
  const answered = new Set(readAnswers().map(({ question }) => question));
  for (const question of QUESTIONS) expect(answered).toContain(question);
});

describe('the page about Temporal answers:', () => {
  it.each(readAnswers().map((answer, index) => [`${answer.question} (${index + 1})`, answer] as const))(
    '%s',
    async (_name, { command, output }) => expectLines(await runCommand(command), output),
  );
});

it('gives a namespace of an older version the search attributes that it lacks', async () => {
  const { workflowService, operatorService } = connection;
  const namespace = 'older';
  await workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: { seconds: 86_400 as never },
  });
  const list = async (): Promise<string[]> =>
    Object.keys((await operatorService.listSearchAttributes({ namespace })).customAttributes ?? {});
  await waitFor('the namespace', () => list().catch(() => undefined));
  const { PolonyBlockedBy: _, PolonyWaitingSince: __, ...before } = SEARCH_ATTRIBUTES;
  await registerSearchAttributes(connection, namespace, before);
  await registerSearchAttributes(connection, namespace, SEARCH_ATTRIBUTES);
  expect(await list()).toEqual(expect.arrayContaining(Object.keys(SEARCH_ATTRIBUTES)));
});

it('has a summary for every activity and timer, and a description for every message', async () => {
  const seen = new Set<string>();
  const described: string[] = [];
  for await (const { workflowId, runId: workflowRunId, type } of temporal.workflow.list()) {
    if (seen.has(type)) continue;
    seen.add(type);
    const handle = temporal.workflow.getHandle(workflowId, workflowRunId);
    for (const event of (await handle.fetchHistory()).events ?? []) {
      const { activityTaskScheduledEventAttributes: activity, timerStartedEventAttributes: timer } = event;
      if (activity == null && timer == null) continue;
      const summary = Buffer.from(event.userMetadata?.summary?.data ?? []).toString();
      expect(summary, `${type}: ${activity?.activityType?.name ?? 'timer'}`).not.toBe('');
    }
    const { definition } = await handle.query<{
      definition: Record<string, { name?: string; description?: string }[]>;
    }>('__temporal_workflow_metadata');
    for (const kind of ['queryDefinitions', 'signalDefinitions', 'updateDefinitions'])
      for (const { name, description } of definition[kind] ?? []) {
        expect(description ?? '', `${type}: ${name}`).not.toBe('');
        described.push(name!);
      }
  }
  expect([...seen]).toEqual(expect.arrayContaining(['bases2fastq', 'runUpload', 'discoverRuns', 'verifyProvider']));
  expect(described).toEqual(
    expect.arrayContaining(['cancel', 'retry', 'look', 'runUploadEnded', 'state', 'verifyAgain']),
  );
});

it('counts no workflow as blocked any more once the cause is repaired, and none that has ended', async () => {
  const { iam } = adminClients(stack.info);
  await setPace(stack, 200);
  await iam.send(
    new DeleteRolePolicyCommand({ RoleName: account.providerRoleArn.split('/').at(-1), PolicyName: 'denied' }),
  );
  const executions = await call<{ executions: { id: string; status: string }[] }>('GET', '/v1/executions');
  for (const { id, status } of executions.executions)
    if (status === 'EXECUTION_STATUS_INITIALIZED') await call('POST', `/v1/executions/${id}/retry`);
  await waitFor(
    'no workflow to be blocked',
    async () =>
      (await temporal.workflow.count('PolonyBlocked = true')).count +
        (await temporal.workflow.count('PolonyBlockedBy = "iam:PassRole"')).count ===
      0,
  );
  const ended = await temporal.workflow.count(
    'WorkflowType = "bases2fastq" AND ExecutionStatus != "Running" AND PolonyWaitingSince IS NOT NULL',
  );
  expect(ended.count).toBe(0);
});
