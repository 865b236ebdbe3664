import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import { GetBucketPolicyCommand, PutBucketPolicyCommand } from '@aws-sdk/client-s3';
import {
  addStatements,
  adminClients,
  apiClient,
  connectAccount,
  type Connected,
  type CustomerAccount,
  setUpCustomer,
} from '../../cli/customer.js';
import { describeRun, type SimulatedRun, simulatedSamples, simulateInstrument } from '../../local/instrument.js';
import { controlOmics } from '../../local/omics/control.js';
import type { Stack } from '../../local/stack.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';

/** What the pictures show. */
export interface State {
  account: CustomerAccount;
  connected: Connected;
  /** A finished run of an instrument that has others. */
  runId: string;
  /** A run whose execution has no results yet. */
  measuredRunId: string;
  uploadingRunId: string;
  failedRunId: string;
  executionId: string;
  runningId: string;
  blockedId: string;
  failedId: string;
  webhookId: string;
  instrument: string;
  /** Ends the upload and the receiver of webhooks. */
  end: () => Promise<void>;
}

const INSTRUMENTS = ['AV240101', 'AV240102'] as const;
const PARTNER = '444455556666';
const DAY_MS = 86_400_000;
/** How far the upload is that does not end. */
const UPLOADED_SHARE = 0.6;
const NAMES = ['NA12878', 'NA24385', 'NA24149', 'NA24143', 'NA18507', 'NA19240', 'HG002-rep2', 'PhiX-control'];
const TILES = Array.from({ length: 24 }, (_, at) => `L${1 + (at % 2)}R${String(1 + (at >> 1)).padStart(2, '0')}C01S1`);

/** A run as a lab would have it, of so many days ago. */
function labRun(runName: string, daysAgo: number, more: Partial<SimulatedRun> = {}): SimulatedRun {
  const cycles = more.cycles ?? { I1: 8, I2: 8, R1: 51, R2: 51 };
  return describeRun({
    runName,
    instrumentName: INSTRUMENTS[0],
    date: new Date(Date.now() - daysAgo * DAY_MS).toISOString().slice(0, 10),
    cycles,
    samples: simulatedSamples(NAMES.length, cycles).map((sample, at) => ({ ...sample, name: NAMES[at]! })),
    bytesPerCycle: 512,
    tiles: TILES,
    ...more,
  });
}

const FINISHED = [
  labRun('WGS-pool-07', 23, { qualityShift: 0.4 }),
  labRun('WGS-pool-08', 19, { qualityShift: -0.3 }),
  labRun('Exome-batch-31', 16, { instrumentName: INSTRUMENTS[1], qualityShift: -0.8 }),
  labRun('WGS-pool-09', 12, { qualityShift: -1.9, tiles: TILES.slice(4) }),
  labRun('WGS-pool-10', 6, { qualityShift: 0.2 }),
];
/** The run whose page the pictures show. */
const SHOWN = labRun('WGS-pool-11', 1, { cycles: { I1: 8, I2: 8, R1: 151, R2: 151 }, qualityShift: 0.6 });

type Call = ReturnType<typeof apiClient>;

interface Listed {
  id: string;
  name: string;
  status: string;
}

/** Makes what a core facility would have after some weeks, through the API and with plain AWS calls. */
export async function makeState(stack: Stack): Promise<State> {
  const call = apiClient(stack.info);
  const { s3 } = adminClients(stack.info);
  const executions = executionsOf(stack, call);
  const receiver = await startReceiver();
  const webhookId = await addWebhooks(call, receiver);

  const account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'genomics-core-facility');
  await allowSharing(stack, account);
  const connected = await connectAccount(call, account, {
    providerName: 'genomics-core',
    storageConnectionName: 'aviti-runs',
    computeConnectionName: 'healthomics',
    autoStart: true,
    name: 'bases2fastq',
  });
  const into = (target: CustomerAccount) => ({ s3, bucket: target.bucket, prefix: target.prefix });
  const runNamed = (name: string): Promise<Listed> =>
    waitFor(`run ${name}`, async () =>
      (await call<{ runs: Listed[] }>('GET', '/v1/runs?pageSize=100')).runs.find((each) => each.name === name),
    );
  /** The execution that starts by itself for a run. */
  const executionOf = async (runName: string): Promise<string> => {
    const { id } = await runNamed(runName);
    return waitFor(`an execution of ${runName}`, async () => {
      const answer = await call<{ executions: { id: string; inputs: { run: { id: string } }[] }[] }>(
        'GET',
        '/v1/executions?pageSize=100',
      );
      return answer.executions.find(({ inputs }) => inputs.some(({ run }) => run.id === id))?.id;
    });
  };
  for (const run of [...FINISHED, SHOWN]) {
    await simulateInstrument({ ...into(account), run }).done;
    await executions.inStatus(await executionOf(run.runName), 'COMPLETED');
  }
  const executionId = await executionOf(SHOWN.runName);

  // A run that failed at the instrument, and executions that failed and were cancelled.
  const brokenRun = labRun('Exome-batch-32', 9, { instrumentName: INSTRUMENTS[1] });
  await simulateInstrument({ ...into(account), run: brokenRun, outcome: 'failed' }).done;
  await controlOmics(stack.aws.emulator.control, 'POST', 'faults', {
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'ECR_PERMISSION_ERROR',
    statusMessage: 'HealthOmics has no permission to pull the container image of the workflow',
  });
  const failedRun = labRun('Exome-batch-33', 4, { instrumentName: INSTRUMENTS[1] });
  await simulateInstrument({ ...into(account), run: failedRun }).done;
  const failedId = await executionOf(failedRun.runName);
  await executions.inStatus(failedId, 'FAILED');

  await setPace(stack, HELD_MS);
  const { execution } = await call<{ execution: { id: string } }>('POST', '/v1/executions', {
    flowId: connected.flowId,
    runId: (await runNamed(FINISHED[3]!.runName)).id,
  });
  await executions.inStatus(execution.id, 'RUNNING');
  await call('POST', `/v1/executions/${execution.id}/cancel`, { reason: 'Wrong lane in the run manifest' });
  await executions.inStatus(execution.id, 'CANCELED');

  const runningRun = labRun('WGS-pool-12', 0, { cycles: { I1: 8, I2: 8, R1: 151, R2: 151 } });
  await simulateInstrument({ ...into(account), run: runningRun }).done;
  const runningId = await executionOf(runningRun.runName);
  await executions.inStatus(runningId, 'RUNNING');

  const blockedId = await addBlockedAccount(stack, call, executionOf);
  await addGrants(stack, call, account, connected.storageConnectionId, SHOWN);
  await addKeys(call, connected.storageConnectionId, executionId);

  const upload = new AbortController();
  const uploadingRun = labRun('WGS-pool-13', 0, { cycles: { I1: 8, I2: 8, R1: 151, R2: 151 } });
  const simulation = simulateInstrument({
    ...into(account),
    run: uploadingRun,
    outcome: 'none',
    stallAt: UPLOADED_SHARE,
    signal: upload.signal,
  });
  const uploaded = simulation.done.catch((error: unknown) => {
    if (!upload.signal.aborted) throw error;
  });
  const uploading = await runNamed(uploadingRun.runName);
  await waitFor('the cycles of the upload', async () => {
    const { details } = await call<{ details: { progress: { cycles: number; expectedCycles: number } | null } }>(
      'GET',
      `/v1/runs/${uploading.id}/details`,
    );
    return details.progress !== null && details.progress.cycles >= details.progress.expectedCycles * UPLOADED_SHARE;
  });
  return {
    account,
    connected,
    runId: (await runNamed(SHOWN.runName)).id,
    measuredRunId: (await runNamed(runningRun.runName)).id,
    uploadingRunId: uploading.id,
    failedRunId: (await runNamed(brokenRun.runName)).id,
    executionId,
    runningId,
    blockedId,
    failedId,
    webhookId,
    instrument: INSTRUMENTS[0],
    end: async () => {
      upload.abort();
      await uploaded;
      s3.destroy();
      receiver.closeAllConnections();
      receiver.close();
    },
  };
}

/** Another account, whose admin forgot to allow StartRun. @returns the execution that waits for it */
async function addBlockedAccount(
  stack: Stack,
  call: Call,
  executionOf: (runName: string) => Promise<string>,
): Promise<string> {
  const account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'clinical-diagnostics', [
    'omics:StartRun',
  ]);
  await connectAccount(call, account, {
    providerName: 'clinical-lab',
    storageConnectionName: 'clinical-runs',
    computeConnectionName: 'healthomics-clinical',
    autoStart: true,
    name: 'bases2fastq-clinical',
  });
  const { s3 } = adminClients(stack.info);
  const run = labRun('Panel-0112', 0, { instrumentName: INSTRUMENTS[1] });
  await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  s3.destroy();
  const id = await executionOf(run.runName);
  const { details } = executionsOf(stack, call);
  await waitFor('the block', async () => (await details(id)).details.blocked !== null);
  return id;
}

/** Answers every request of a webhook with 200, and those to /archive with 503. */
async function startReceiver(): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume().once('end', () => response.writeHead(request.url === '/archive' ? 503 : 200).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function addWebhooks(call: Call, receiver: Server): Promise<string> {
  const { port } = receiver.address() as AddressInfo;
  const add = async (path: string, description: string, eventTypes: string[]): Promise<string> => {
    const url = `http://localhost:${port}${path}`;
    const made = await call<{ webhook: { id: string } }>('POST', '/v1/webhooks', { url, description, eventTypes });
    return made.webhook.id;
  };
  await add('/archive', 'Archive of FASTQ files', ['execution.completed']);
  return add('/lims/polony', 'LIMS: books runs and results', []);
}

/** The grants that the wizard adds for the capability `sharing`. */
async function allowSharing(stack: Stack, account: CustomerAccount): Promise<void> {
  await addStatements(stack.info, account.providerRoleArn, [
    {
      Effect: 'Allow',
      Action: ['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy'],
      Resource: `arn:aws:s3:::${account.bucket}`,
    },
  ]);
}

/** Access for roles of another account; somebody then changed one of the statements in the bucket policy. */
async function addGrants(
  stack: Stack,
  call: Call,
  account: CustomerAccount,
  storageId: string,
  run: SimulatedRun,
): Promise<void> {
  // The local AWS takes the number of an account as the access key of its root user.
  const iam = new IAMClient({
    region: stack.info.awsRegion,
    endpoint: stack.info.awsEndpoint,
    credentials: { accessKeyId: PARTNER, secretAccessKey: stack.info.adminSecretAccessKey },
  });
  const AssumeRolePolicyDocument = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${PARTNER}:root` }, Action: 'sts:AssumeRole' }],
  });
  for (const RoleName of ['Bioinformatics', 'Tumor-Board'])
    await iam.send(new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument }));
  iam.destroy();
  const grants = `/v1/storage-connections/${storageId}/access-grants`;
  const share = (role: string, description: string, more: object): Promise<{ accessGrant: { id: string } }> =>
    call('POST', grants, { principal: `arn:aws:iam::${PARTNER}:role/${role}`, description, ...more });
  const folder = `${run.instrumentName}/${run.date.replaceAll('-', '')}_${run.instrumentName}_${run.runName}/`;
  await share('Bioinformatics', 'Bioinformatics group, all runs', {});
  await share('Tumor-Board', 'Tumor board, one run', {
    prefix: folder,
    timeExpires: new Date(Date.now() + 30 * DAY_MS).toISOString(),
  });
  const states = async (): Promise<{ state: string; statements: { Sid: string }[] }[]> =>
    (await call<{ accessGrants: { state: string; statements: { Sid: string }[] }[] }>('GET', grants)).accessGrants;
  await waitFor('the grants', async () => (await states()).every(({ state }) => state === 'active'));
  const { s3 } = adminClients(stack.info);
  const { Policy } = await s3.send(new GetBucketPolicyCommand({ Bucket: account.bucket }));
  const policy = JSON.parse(Policy!) as { Statement: { Action: string | string[] }[] };
  const last = policy.Statement.findLast(({ Action }) => [Action].flat().includes('s3:GetObject'));
  last!.Action = 's3:GetObject';
  await s3.send(new PutBucketPolicyCommand({ Bucket: account.bucket, Policy: JSON.stringify(policy) }));
  s3.destroy();
  await waitFor('the difference', async () => (await states()).some(({ state }) => state === 'changed'));
}

async function addKeys(call: Call, storageId: string, executionId: string): Promise<void> {
  const add = async (name: string, scopes: string[], expiresInDays: number): Promise<string> =>
    (await call<{ apiKey: { id: string } }>('POST', '/v1/api-keys', { name, scopes, expiresInDays })).apiKey.id;
  await add('lims', ['runs:read', 'executions:read', 'executions:create'], 365);
  await add('dashboard', ['runs:read', 'executions:read', 'instruments:read'], 90);
  await add('collaborator', [`executions:download:${executionId}`], 14);
  await add('upload-station', [`storage:upload:${storageId}`], 180);
  const old = await add('old-pipeline', ['executions:*'], 30);
  await call('POST', `/v1/api-keys/${old}/revoke`);
}
