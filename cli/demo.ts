import { randomBytes } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { describeRun, simulateInstrument, type SimulatedRun } from '../local/instrument.js';
import { startStack, type Stack } from '../local/stack.js';
import { isFinalApiStatus } from './client/watch.js';
import { abortOnTermination } from './local.js';
import { createSignInUrl, SIGN_IN_NOTE } from './localInfo.js';
import { addStatements, adminClients, apiClient, type CustomerAccount, setUpCustomer } from './customer.js';

interface ExecutionAnswer {
  execution: { id: string; name: string; status: string; statusDescription: string; output: { uri: string } };
  details: {
    healthOmics: { runId: string } | null;
    blocked: { action?: string; message: string } | null;
    summary: { samples: { name: string }[]; percentQ30?: number; files: { count: number; fastq: number } } | null;
    cancelRequested: unknown;
  };
}

interface Verification {
  status: string;
  permissions: {
    action: string;
    requirement: string;
    result: string;
    capabilities: string[];
    error: { message: string } | null;
    statement: unknown;
  }[];
  capabilities: { capability: string; state: string; missing: string[]; unknown: string[] }[];
  findings: { severity: string; message: string }[];
  parts: { kind: string; status: string }[];
}

/** What the steps of the demo share. */
interface DemoContext {
  stack: Stack;
  /** Makes the names of this demo unique. */
  suffix: string;
  call: ReturnType<typeof apiClient>;
  account: CustomerAccount;
  providerId: string;
  flowId: string;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Seconds for one step of the demo: far more than a busy machine needs. */
const STEP_SECONDS = 300;

/** Asks until there is an answer. @throws after five minutes. */
async function waitForAnswer<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + STEP_SECONDS * 1000; Date.now() < end;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  throw new Error(`${what} did not happen within ${STEP_SECONDS} s`);
}

/**
 * `npm run demo`: runs the main job on a local stack, step by step.
 * @param keep whether the stack runs on after that, until Ctrl-C
 * @throws when a step fails.
 */
export async function demo({ keep = false }: { keep?: boolean } = {}): Promise<void> {
  const began = Date.now();
  say('polony demo: starting the local stack (Temporal, PostgreSQL, a local AWS that enforces IAM)…');
  const stack = await startStack({ console: keep, onProgress: (line) => say(`  ${line}`) });
  const stopAndExit = (): void => void stack.stop().finally(() => process.exit(130));
  process.once('SIGINT', stopAndExit);
  process.once('SIGTERM', stopAndExit);
  try {
    await runDemo(stack, began);
    if (keep) await keepRunning(stack, stopAndExit);
  } finally {
    process.off('SIGINT', stopAndExit);
    process.off('SIGTERM', stopAndExit);
    await stack.stop();
  }
}

/** Shows how to look at the results, and waits until a person ends the stack. */
async function keepRunning(stack: Stack, stopAndExit: () => void): Promise<void> {
  process.off('SIGINT', stopAndExit);
  process.off('SIGTERM', stopAndExit);
  const termination = abortOnTermination();
  const url = await createSignInUrl(stack.info);
  say(`\nOpen ${url ?? stack.info.apiUrl}`);
  if (url !== undefined) say(`  ${SIGN_IN_NOTE}`);
  say('Press Ctrl-C to stop the stack.');
  if (!termination.aborted)
    await new Promise<void>((resolve) => termination.addEventListener('abort', () => resolve(), { once: true }));
  say('\nStopping…');
}

async function runDemo(stack: Stack, began: number): Promise<void> {
  const { info } = stack;
  say(`  API ${info.apiUrl}, Temporal UI ${info.temporalUiUrl}, AWS ${info.awsEndpoint}`);
  const suffix = randomBytes(4).toString('hex');
  const call = apiClient(info);
  const account = await prepareAccount(stack, suffix);
  const context: DemoContext = { stack, suffix, call, account, ...(await connect(stack, suffix, call, account)) };
  await showVerification(context);
  const run = await uploadRun(context);
  const executionId = await waitForAutomaticStart(context);
  const showStatus = createStatusPrinter(context);
  await repairPermissions(context, executionId);
  const completed = await waitForExecutionEnd(executionId, 'EXECUTION_STATUS_COMPLETED', showStatus);
  await downloadResults(context, executionId);
  const canceled = await cancelSecondExecution(context, run, showStatus);
  await showVerifiedByUse(context);

  const { summary, healthOmics } = completed.details;
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  say(
    `\nDone in ${seconds} s. HealthOmics run ${healthOmics?.runId} produced ${summary?.files.fastq} FASTQ files for ` +
      `${summary?.samples.length} samples (${summary?.files.count} files in all). ` +
      `Run ${canceled.details.healthOmics?.runId} was cancelled.`,
  );
}

async function prepareAccount(stack: Stack, suffix: string): Promise<CustomerAccount> {
  say("\n1. The customer's admin sets up the AWS account (plain AWS calls)");
  const forgotten = ['omics:StartRun', 'iam:PassRole'];
  const account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, suffix, forgotten);
  say('   … and forgets omics:StartRun and iam:PassRole in the policy of the provider role');
  say(`   bucket ${account.bucket}, provider role ${account.providerRoleArn}`);
  say(`   execution role ${account.executionRoleArn}, share of workflow ${account.workflowId} accepted`);
  return account;
}

async function connect(
  { info }: Stack,
  suffix: string,
  call: DemoContext['call'],
  account: CustomerAccount,
): Promise<{ providerId: string; flowId: string }> {
  say('\n2. The admin connects the account to polony (API)');
  const { provider } = await call<{ provider: { id: string } }>('POST', '/v1/providers', {
    name: `lab-${suffix}`,
    defaultRegion: info.awsRegion,
    credentialType: 'role',
    roleArn: account.providerRoleArn,
    externalId: account.externalId,
  });
  const { storageConnection } = await call<{ storageConnection: { id: string; uri: string } }>(
    'POST',
    '/v1/storage-connections',
    {
      name: `runs-${suffix}`,
      providerId: provider.id,
      region: info.awsRegion,
      bucket: account.bucket,
      prefix: account.prefix,
      useForRunUpload: true,
      useForDataExploration: true,
    },
  );
  const { computeConnection } = await call<{ computeConnection: { id: string } }>('POST', '/v1/compute-connections', {
    name: `omics-${suffix}`,
    providerId: provider.id,
    executionRoleArn: account.executionRoleArn,
    region: info.awsRegion,
  });
  const { flow } = await call<{ flow: { id: string } }>('POST', '/v1/flows', {
    name: `bases2fastq-${suffix}`,
    computeConnectionId: computeConnection.id,
    sharedWorkflowId: account.workflowId,
    workflowOwnerId: account.workflowOwnerId,
    autoStart: { storageConnectionIds: [storageConnection.id] },
  });
  say(`   provider, storage connection ${storageConnection.uri}, compute connection, flow ${flow.id}`);
  return { providerId: provider.id, flowId: flow.id };
}

/** The provider's verification report; undefined while there is none. */
async function readVerification({ call, providerId }: DemoContext): Promise<Verification | undefined> {
  try {
    const path = `/v1/providers/${providerId}/verification`;
    return (await call<{ verification: Verification }>('GET', path)).verification;
  } catch {
    return undefined;
  }
}

async function showVerification(context: DemoContext): Promise<void> {
  say('\n3. polony verifies its permissions by itself');
  const verification = await waitForAnswer('The verification of provider, connections and flow', async () => {
    const answer = await readVerification(context);
    return answer?.parts.length === 4 ? answer : undefined;
  });
  for (const { result, action, requirement, capabilities } of verification.permissions)
    say(`   ${result.padEnd(8)} ${action.padEnd(24)} ${requirement.padEnd(9)} ${capabilities.join(', ')}`);
  for (const { capability, state, missing, unknown } of verification.capabilities) {
    const lacks = missing.length > 0 ? `, lacks ${missing.join(', ')}` : '';
    const untested = unknown.length > 0 ? `, only use can verify ${unknown.join(', ')}` : '';
    say(`   ${capability}: ${state}${lacks}${untested}`);
  }
  for (const { severity, message } of verification.findings) say(`   ${severity}: ${message}`);
}

async function uploadRun({ stack, suffix, account }: DemoContext): Promise<SimulatedRun> {
  say('\n4. The instrument uploads a run');
  const run = describeRun({ runName: `DEMO-${suffix}` });
  const { s3 } = adminClients(stack.info);
  const { folder, done } = simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run });
  const sent = await done;
  s3.destroy();
  say(`   ${sent.files} files, ${sent.bytes} bytes in s3://${account.bucket}/${folder}, RunUploaded.json last`);
  return run;
}

/** @returns the id of the execution that polony starts for the run. */
async function waitForAutomaticStart({ call, flowId }: DemoContext): Promise<string> {
  say('\n5. polony notices that it is complete and starts Bases2Fastq by itself');
  return waitForAnswer('The start of an execution for the run', async () => {
    const { executions } = await call<{ executions: { id: string; flow: { id: string } }[] }>('GET', '/v1/executions');
    return executions.find((execution) => execution.flow.id === flowId)?.id;
  });
}

type StatusPrinter = (executionId: string) => Promise<ExecutionAnswer>;

/** @returns a function that reads an execution and prints its status when that has changed. */
function createStatusPrinter({ call }: DemoContext): StatusPrinter {
  let last = '';
  return async (executionId) => {
    const answer = await call<ExecutionAnswer>('GET', `/v1/executions/${executionId}/details`);
    const { status, statusDescription } = answer.execution;
    const line = `   ${status.replace('EXECUTION_STATUS_', '')}: ${statusDescription}`;
    if (line !== last) say(line);
    last = line;
    return answer;
  };
}

/** Waits for the end of an execution. @throws when it ends with another status than the expected one. */
async function waitForExecutionEnd(
  id: string,
  expectedStatus: string,
  showStatus: StatusPrinter,
): Promise<ExecutionAnswer> {
  const answer = await waitForAnswer('The end of the execution', async () => {
    const current = await showStatus(id);
    return isFinalApiStatus(current.execution.status) ? current : undefined;
  });
  const { status, statusDescription } = answer.execution;
  if (status !== expectedStatus)
    throw new Error(`The execution ended as ${status} instead of ${expectedStatus}: ${statusDescription}`);
  return answer;
}

async function repairPermissions(context: DemoContext, id: string): Promise<void> {
  const { call, stack, account } = context;
  const blocked = await waitForAnswer('The block of the execution', async () => {
    const { details } = await call<ExecutionAnswer>('GET', `/v1/executions/${id}/details`);
    return details.blocked ?? undefined;
  });
  say(`   blocked, not failed: ${blocked.message}`);
  say('\n6. The admin adds the missing statements from the report, and the execution continues by itself');
  const missing = await waitForAnswer('The update of the verification report', async () => {
    const permissions = (await readVerification(context))?.permissions ?? [];
    const rows = permissions.filter(
      ({ result, capabilities }) => result !== 'granted' && capabilities.includes('bases2fastq'),
    );
    return rows.some((row) => row.action === blocked.action && row.result === 'denied') ? rows : undefined;
  });
  for (const { action, result, statement } of missing) say(`   ${action} (${result}): ${JSON.stringify(statement)}`);
  await addStatements(
    stack.info,
    account.providerRoleArn,
    missing.map((row) => row.statement),
  );
}

async function downloadResults({ call, stack, suffix }: DemoContext, id: string): Promise<void> {
  say('\n7. The results, with an API key that can download this execution and nothing else');
  const { key, apiKey } = await call<{ key: string; apiKey: { id: string } }>('POST', '/v1/api-keys', {
    name: `demo-${suffix}`,
    scopes: [`executions:download:${id}`],
    expiresInDays: 1,
  });
  const callWithKey = apiClient({ apiUrl: stack.info.apiUrl, apiKey: key });
  const { files } = await callWithKey<{ files: { path: string; size: number; downloadUrl: string }[] }>(
    'GET',
    `/v1/executions/${id}/files?includeDownloadUrl=true`,
  );
  for (const file of files) say(`   ${file.path}`);
  const fastq = files.find(({ path }) => path.endsWith('_R1.fastq.gz'));
  if (fastq === undefined) throw new Error('The results contain no FASTQ file');
  const body = Buffer.from(await (await fetch(fastq.downloadUrl)).arrayBuffer());
  if (body.length !== fastq.size)
    throw new Error(`${fastq.path} has ${fastq.size} bytes, but its download URL returned ${body.length}`);
  const canListRuns = await callWithKey('GET', '/v1/runs').then(
    () => true,
    () => false,
  );
  if (canListRuns) throw new Error('The API key can list runs, but its scope allows only downloads');
  // Otherwise `polony status` and `polony doctor` would warn that it ends within a day.
  await call('DELETE', `/v1/api-keys/${apiKey.id}`);
  const lines = gunzipSync(body).toString().trimEnd().split('\n');
  if (lines.length % 4 !== 0 || !lines[0]!.startsWith('@')) throw new Error(`${fastq.path} is not a FASTQ file`);
  say(`   first read of ${fastq.path.split('/').pop()}: ${lines[1]} (${lines.length / 4} reads)`);
}

async function cancelSecondExecution(
  { call, flowId }: DemoContext,
  run: SimulatedRun,
  showStatus: StatusPrinter,
): Promise<ExecutionAnswer> {
  say('\n8. The API starts a second execution and cancels it');
  const { runs } = await call<{ runs: { id: string; name: string }[] }>('GET', '/v1/runs');
  const runId = runs.find((each) => each.name === run.runName)?.id;
  const { execution } = await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId });
  await waitForAnswer('The start of its HealthOmics run', async () => {
    const { details } = await call<ExecutionAnswer>('GET', `/v1/executions/${execution.id}/details`);
    return details.healthOmics ?? undefined;
  });
  await call('POST', `/v1/executions/${execution.id}/cancel`, { reason: 'demo' });
  return waitForExecutionEnd(execution.id, 'EXECUTION_STATUS_CANCELED', showStatus);
}

/** The completed execution proves the permissions that no probe can verify. */
async function showVerifiedByUse(context: DemoContext): Promise<void> {
  const verification = await waitForAnswer('The update of the report after the first execution', async () => {
    const answer = await readVerification(context);
    const bases2fastq = answer?.capabilities.find(({ capability }) => capability === 'bases2fastq');
    return bases2fastq?.state === 'ready' ? answer : undefined;
  });
  const states = verification.capabilities.map(({ capability, state }) => `${capability} ${state}`);
  say(`\nVerified by use: ${states.join(', ')}`);
}
