import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../cli/customer.js';
import { describeRun, runFolderName, runUploadedText, simulateInstrument } from '../local/instrument.js';
import { controlOmics } from '../local/omics/control.js';
import type { Stack } from '../local/stack.js';
import { executionsOf, waitFor } from './support.js';
import { startTestStack, logErrorsOnly } from './testStack.js';

// Polls are so far apart that only events can cause progress.
export const EVENTS_KEY = 'events_0123456789abcdefghijklmn';
let stateDir: string;
export let stack: Stack;
export let account: CustomerAccount;
export let call: ReturnType<typeof apiClient>;
let connection: Connection;
export let temporal: Client;
export let s3: S3Client;
export let flowId: string;
export let storageConnectionId: string;
export let inStatus: ReturnType<typeof executionsOf>['inStatus'];
export let runsOf: ReturnType<typeof executionsOf>['runsOf'];

export const post = async (event: unknown, key = EVENTS_KEY, where = '/v1/events'): Promise<number> =>
  (
    await fetch(`${stack.info.apiUrl}${where}`, {
      method: 'POST',
      headers: { 'x-api-key': key, 'content-type': 'application/json' },
      body: JSON.stringify(event),
    })
  ).status;
export const created = (key: string, bucket = account.bucket) => ({
  version: '0',
  id: 'e',
  source: 'aws.s3',
  'detail-type': 'Object Created',
  account: '111122223333',
  region: 'us-west-2',
  detail: { bucket: { name: bucket }, object: { key, size: 1 } },
});
export const changed = (run: { id: string; uuid: string }, status = 'RUNNING', of = '111122223333') => ({
  version: '0',
  source: 'aws.omics',
  'detail-type': 'Run Status Change',
  account: of,
  region: 'us-west-2',
  detail: {
    omicsVersion: '1',
    arn: `arn:aws:omics:us-west-2:${of}:run/${run.id}`,
    status,
    uuid: run.uuid,
    runId: run.id,
  },
});
export const runs = async () =>
  (await call<{ runs: { id: string; name: string; status: string }[] }>('GET', '/v1/runs')).runs;
export const executions = async () =>
  (await call<{ executions: { id: string; inputs: { run: { name: string } }[] }[] }>('GET', '/v1/executions'))
    .executions;
export const pace = (RUNNING: number) =>
  controlOmics(stack.aws.emulator.control, 'POST', 'settings', {
    pace: { PENDING: 20, STARTING: 20, RUNNING, STOPPING: 20 },
  });

export async function upload(
  runName: string,
): Promise<{ folder: string; workflowId: string; run: ReturnType<typeof describeRun> }> {
  const run = describeRun({
    runName,
    cycles: { R1: 2 },
    samples: [{ name: 'one', index1: '', index2: '' }],
    bytesPerCycle: 16,
  });
  const simulation = simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run });
  await simulation.done;
  return {
    folder: simulation.folder,
    workflowId: `run-upload/${storageConnectionId}/${run.instrumentName}/${runFolderName(run)}`,
    run,
  };
}

/** Writes RunUploaded.json into an uploaded run folder, and sends the event about it. */
export async function endUpload(
  { folder, run }: Pick<Awaited<ReturnType<typeof upload>>, 'folder' | 'run'>,
  outcome: 'stopped' | 'completed',
): Promise<void> {
  const Key = `${folder}/RunUploaded.json`;
  await s3.send(new PutObjectCommand({ Bucket: account.bucket, Key, Body: runUploadedText(run, outcome) }));
  await post(created(Key));
}

/** Waits until a run shows the status, for example `COMPLETED`. */
export async function waitForRun(name: string, status: string): Promise<void> {
  await waitFor(
    `the run ${name} to be ${status}`,
    async () => (await runs()).find((each) => each.name === name)?.status === `RUN_STATUS_${status}`,
  );
}

/** Starts a stack before the tests of a file whose polls are so far apart that only events cause progress. */
export function useEventsStack(): void {
  beforeAll(async () => {
    logErrorsOnly();
    stateDir = mkdtempSync(path.join(tmpdir(), 'polony-events-'));
    stack = await startTestStack({
      stateDir,
      omics: { pace: { PENDING: 20, STARTING: 20, RUNNING: 200, STOPPING: 20 } },
      env: {
        POLONY_EVENTS_KEY: EVENTS_KEY,
        POLONY_DISCOVER_SECONDS: '86400',
        POLONY_UPLOAD_POLL_SECONDS: '86400',
        POLONY_RUN_POLL_SECONDS: '3600',
      },
    });
    call = apiClient(stack.info);
    ({ inStatus, runsOf } = executionsOf(stack, call));
    connection = await Connection.connect({ address: stack.info.temporalAddress });
    temporal = new Client({ connection });
    account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'events');
    s3 = adminClients(stack.info).s3;
    ({ storageConnectionId, flowId } = await connectAccount(call, account, { autoStart: true }));
    // A worker searches a new storage connection by itself. After that, nothing is found without an event or a request.
    await waitFor('the first search', async () => {
      const { details } = await call<{ details: { timeUsed: string | null } }>(
        'GET',
        `/v1/storage-connections/${storageConnectionId}/details`,
      );
      return details.timeUsed !== null;
    });
  });
  afterAll(async () => {
    s3?.destroy();
    await connection?.close();
    await stack?.stop();
    rmSync(stateDir, { recursive: true, force: true });
  });
}
