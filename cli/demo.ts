import { randomBytes } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { describeRun, simulateInstrument } from '../local/instrument.js';
import { startStack } from '../local/stack.js';
import { addStatements, adminClients, apiClient, setUpCustomer } from './customer.js';

interface ExecutionAnswer {
  execution: { id: string; name: string; status: string; statusDescription: string; output: { uri: string } };
  details: {
    healthOmics: { runId: string } | null;
    blocked: { action?: string; message: string } | null;
    summary: { samples: { name: string }[]; percentQ30?: number; files: { count: number; fastq: number } } | null;
    cancelRequested: unknown;
  };
}

interface VerificationAnswer {
  verification: {
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
  };
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Asks until there is an answer. @throws after the time, with what was waited for. */
async function until<T>(what: string, ask: () => Promise<T | undefined>, seconds = 90): Promise<T> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  throw new Error(`Waited ${seconds} s in vain: ${what}`);
}

/** `npm run demo`: the whole main job on the embedded stack. @throws whatever goes wrong. */
export async function demo(): Promise<void> {
  const began = Date.now();
  say('polony demo: the embedded stack (Temporal, PostgreSQL, an enforcing local AWS with HealthOmics) starts…');
  const stack = await startStack({ onProgress: (line) => say(`  ${line}`) });
  const interrupted = (): void => void stack.stop().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    const { info } = stack;
    say(`  API ${info.apiUrl}, Temporal UI ${info.temporalUiUrl}, AWS ${info.awsEndpoint}`);
    const suffix = randomBytes(4).toString('hex');
    say("\n1. The customer's admin sets up the AWS account (plain AWS calls)");
    const account = await setUpCustomer(info, stack.aws.serviceAccountId, suffix, ['omics:StartRun', 'iam:PassRole']);
    say('   … and forgets omics:StartRun and iam:PassRole in the policy of the provider role');
    say(
      `   bucket ${account.bucket}, provider role ${account.providerRoleArn}\n   execution role ${account.executionRoleArn}, share of workflow ${account.workflowId} accepted`,
    );

    say('\n2. polony is told of it (API)');
    const call = apiClient(info);
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

    say('\n3. polony verifies what it may do, by itself');
    const verificationOf = async (): Promise<VerificationAnswer['verification'] | undefined> =>
      (await call<VerificationAnswer>('GET', `/v1/providers/${provider.id}/verification`).catch(() => undefined))
        ?.verification;
    const verification = await until('the verification of provider, connections and flow', async () => {
      const answer = await verificationOf();
      return answer?.parts.length === 4 ? answer : undefined;
    });
    for (const row of verification.permissions)
      say(
        `   ${row.result.padEnd(8)} ${row.action.padEnd(24)} ${row.requirement.padEnd(9)} ${row.capabilities.join(', ')}`,
      );
    for (const { capability, state, missing, unknown } of verification.capabilities)
      say(
        `   ${capability}: ${state}${missing.length > 0 ? `, lacks ${missing.join(', ')}` : ''}${unknown.length > 0 ? `, known by use only: ${unknown.join(', ')}` : ''}`,
      );
    for (const { severity, message } of verification.findings) say(`   ${severity}: ${message}`);

    say('\n4. The instrument uploads a run');
    const run = describeRun({ runName: `DEMO-${suffix}` });
    const { s3 } = adminClients(info);
    const simulation = simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run });
    const sent = await simulation.done;
    say(
      `   ${sent.files} files, ${sent.bytes} bytes in s3://${account.bucket}/${simulation.folder}, RunUploaded.json last`,
    );

    say('\n5. polony notices that it is complete and starts Bases2Fastq by itself');
    const id = await until('an execution for the run', async () => {
      const { executions } = await call<{ executions: { id: string; flow: { id: string } }[] }>(
        'GET',
        '/v1/executions',
      );
      return executions.find((execution) => execution.flow.id === flow.id)?.id;
    });
    let last = '';
    const ended = async (executionId: string): Promise<ExecutionAnswer> =>
      until('the end of the execution', async () => {
        const answer = await call<ExecutionAnswer>('GET', `/v1/executions/${executionId}/details`);
        const line = `   ${answer.execution.status.replace('EXECUTION_STATUS_', '')}: ${answer.execution.statusDescription}`;
        if (line !== last) say(line);
        last = line;
        return /COMPLETED|FAILED|CANCELED/.test(answer.execution.status) ? answer : undefined;
      });
    const blocked = await until(
      'the execution to be blocked',
      async () => (await call<ExecutionAnswer>('GET', `/v1/executions/${id}/details`)).details.blocked ?? undefined,
    );
    say(`   blocked, not failed: ${blocked.message}`);
    say(
      '\n6. The admin adds the statements that the report gives for what Bases2Fastq lacks, and it goes on by itself',
    );
    const lacking = await until('the report to know', async () => {
      const rows =
        (await verificationOf())?.permissions.filter(
          (row) => row.result !== 'granted' && row.capabilities.includes('bases2fastq'),
        ) ?? [];
      return rows.some((row) => row.action === blocked.action && row.result === 'denied') ? rows : undefined;
    });
    for (const row of lacking) say(`   ${row.action} (${row.result}): ${JSON.stringify(row.statement)}`);
    await addStatements(
      info,
      account.providerRoleArn,
      lacking.map((row) => row.statement),
    );
    const completed = await ended(id);
    if (completed.execution.status !== 'EXECUTION_STATUS_COMPLETED')
      throw new Error(`The execution ended as ${completed.execution.status}: ${completed.execution.statusDescription}`);

    say('\n7. The results, by a key that may download this execution and see nothing else');
    const { key } = await call<{ key: string }>('POST', '/v1/api-keys', {
      name: `demo-${suffix}`,
      scopes: [`executions:download:${id}`],
      expiresInDays: 1,
    });
    const narrow = apiClient({ apiUrl: info.apiUrl, apiKey: key });
    const { files } = await narrow<{ files: { path: string; size: number; downloadUrl: string }[] }>(
      'GET',
      `/v1/executions/${id}/files?includeDownloadUrl=true`,
    );
    for (const file of files) say(`   ${file.path}`);
    const fastq = files.find(({ path }) => path.endsWith('_R1.fastq.gz'));
    if (fastq === undefined) throw new Error('There is no FASTQ file among the results');
    const body = Buffer.from(await (await fetch(fastq.downloadUrl)).arrayBuffer());
    if (body.length !== fastq.size)
      throw new Error(`${fastq.path} has ${fastq.size} bytes and ${body.length} came by its URL`);
    if (
      await narrow('GET', '/v1/runs').then(
        () => true,
        () => false,
      )
    )
      throw new Error('The key sees more than it was made for');
    const reads = gunzipSync(body).toString().trimEnd().split('\n');
    if (reads.length % 4 !== 0 || !reads[0]!.startsWith('@')) throw new Error(`${fastq.path} is not FASTQ`);
    say(`   first read of ${fastq.path.split('/').pop()}: ${reads[1]} (${reads.length / 4} reads)`);

    say('\n8. A second execution is started by the API and cancelled');
    const runId = (await call<{ runs: { id: string; name: string }[] }>('GET', '/v1/runs')).runs.find(
      (each) => each.name === run.runName,
    )?.id;
    const second = (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId: flow.id, runId }))
      .execution.id;
    await until('its HealthOmics run', async () =>
      (await call<ExecutionAnswer>('GET', `/v1/executions/${second}/details`)).details.healthOmics !== null
        ? true
        : undefined,
    );
    await call('POST', `/v1/executions/${second}/cancel`, { reason: 'demo' });
    const canceled = await ended(second);
    if (canceled.execution.status !== 'EXECUTION_STATUS_CANCELED')
      throw new Error(`The cancelled execution ended as ${canceled.execution.status}`);
    s3.destroy();
    const known = await until('the report to know of the first execution', async () => {
      const answer = await verificationOf();
      return answer?.capabilities.some(({ capability, state }) => capability === 'bases2fastq' && state === 'ready') ===
        true
        ? answer
        : undefined;
    });
    say(`\nVerified by use: ${known.capabilities.map(({ capability, state }) => `${capability} ${state}`).join(', ')}`);

    const { summary, healthOmics } = completed.details;
    say(
      `\nDone in ${((Date.now() - began) / 1000).toFixed(1)} s: HealthOmics run ${healthOmics?.runId} gave ${summary?.samples.length} samples in ${summary?.files.fastq} FASTQ files (${summary?.files.count} files); run ${canceled.details.healthOmics?.runId} was cancelled.`,
    );
  } finally {
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    await stack.stop();
  }
}
