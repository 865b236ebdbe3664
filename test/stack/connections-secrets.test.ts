/** @module-tag long */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import { Client, Connection } from '@temporalio/client';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, setUpCustomer } from '../../cli/customer.js';
import { iamDocuments } from '../../domain/iam/documents.js';
import { parseIamQuery } from '../../domain/iam/query.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { openDatabase } from '../../store/database.js';
import { HELD_MS, waitFor } from '../support.js';
import { startTestStack } from '../testStack.js';

// A provider with access keys through its whole life on the whole stack. Then the test searches every place that could
// hold its secrets.
let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
const user = 'Element-ServiceUser';
const secrets: string[] = [];
const answers: unknown[] = [];

async function newKeys(): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  const { iam } = adminClients(stack.info);
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: user }));
  secrets.push(AccessKey!.SecretAccessKey!);
  return { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! };
}

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-secrets-'));
  stack = await startTestStack({
    stateDir,
    env: { POLONY_LOG_LEVEL: 'trace' },
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: HELD_MS, STOPPING: 50 } },
  });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'secrets');
  const api = apiClient(stack.info);
  call = async <T>(method: string, where: string, body?: unknown): Promise<T> => {
    const answer = await api<T>(method, where, body);
    answers.push(answer);
    return answer;
  };
});
afterAll(async () => {
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

/** Reads a file as Latin-1. PostgreSQL and Temporal may remove their temporary files at any time. */
function readIfPresent(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

it('completes an execution with access keys while they are rotated', async () => {
  const { iam, s3 } = adminClients(stack.info);
  await iam.send(new CreateUserCommand({ UserName: user }));
  const { permissionPolicy } = iamDocuments(
    parseIamQuery({ credentialType: 'accessKeys', bucket: account.bucket, prefix: account.prefix }),
    stack.aws.serviceAccountId,
  );
  await iam.send(
    new PutUserPolicyCommand({
      UserName: user,
      PolicyName: 'polony',
      PolicyDocument: JSON.stringify(permissionPolicy),
    }),
  );
  const first = await newKeys();
  const { provider } = await call<{ provider: { id: string } }>('POST', '/v1/providers', {
    name: 'keys',
    defaultRegion: 'us-west-2',
    credentialType: 'accessKeys',
    ...first,
  });
  const { storageConnection } = await call<{ storageConnection: { id: string } }>('POST', '/v1/storage-connections', {
    name: 'runs',
    providerId: provider.id,
    region: 'us-west-2',
    bucket: account.bucket,
    prefix: account.prefix,
    useForRunUpload: true,
    useForDataExploration: true,
  });
  const { computeConnection } = await call<{ computeConnection: { id: string } }>('POST', '/v1/compute-connections', {
    name: 'omics',
    providerId: provider.id,
    executionRoleArn: account.executionRoleArn,
    region: 'us-west-2',
  });
  await call('POST', '/v1/flows', {
    name: 'b2f',
    computeConnectionId: computeConnection.id,
    sharedWorkflowId: account.workflowId,
    workflowOwnerId: account.workflowOwnerId,
    autoStart: { storageConnectionIds: [storageConnection.id] },
  });
  await waitFor(
    'the provider to be verified',
    async () =>
      (await call<{ provider: { status: string; accountId: string } }>('GET', `/v1/providers/${provider.id}`)).provider
        .status === 'PROVIDER_STATUS_CONNECTED',
  );
  await simulateInstrument({
    s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: describeRun({ runName: 'KEYS' }),
  }).done;
  const inStatus = (status: string): Promise<{ id: string }> =>
    waitFor(`an execution to be ${status}`, async () =>
      (await call<{ executions: { id: string; status: string }[] }>('GET', '/v1/executions')).executions.find(
        (execution) => execution.status === `EXECUTION_STATUS_${status}`,
      ),
    );
  const { id } = await inStatus('RUNNING');
  // During the run, new keys replace the old ones, and the old ones are deleted. A secret is bound to the id of its
  // provider, however the request spells the id.
  await call('PATCH', `/v1/providers/${provider.id.toUpperCase()}`, await newKeys());
  await iam.send(new DeleteAccessKeyCommand({ UserName: user, AccessKeyId: first.accessKeyId }));
  stack.aws.emulator.finish([...stack.aws.emulator.runs.keys()][0]!);
  expect((await inStatus('COMPLETED')).id).toBe(id);
  const { details } = await call<{ details: { account: string; blocked: unknown } }>(
    'GET',
    `/v1/executions/${id}/details`,
  );
  expect(details).toMatchObject({ account: '111122223333', blocked: null });
  // AWS does not know this third pair. The refusal shows only the id of the key.
  const unknown = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' };
  secrets.push(unknown.secretAccessKey);
  await call('PATCH', `/v1/providers/${provider.id}`, unknown);
  await waitFor(
    'the provider to fail',
    async () =>
      (await call<{ provider: { status: string } }>('GET', `/v1/providers/${provider.id}`)).provider.status ===
      'PROVIDER_STATUS_FAILED',
  );
  const { verification } = await call<{ verification: { findings: { code: string; message: string }[] } }>(
    'GET',
    `/v1/providers/${provider.id}/verification`,
  );
  expect(verification.findings.find((finding) => finding.code === 'ACCESS_KEYS_REFUSED')!.message).toContain(
    unknown.accessKeyId,
  );
});

it('keeps secrets out of the database, histories, logs and answers', async () => {
  expect(secrets).toHaveLength(3);
  const places: Record<string, string> = { answers: JSON.stringify(answers) };
  const db = openDatabase(stack.info.databaseUrl, 2);
  const tables = await sql<{
    name: string;
  }>`select table_name as name from information_schema.tables where table_schema = 'public'`.execute(db);
  let rows = 0;
  for (const { name } of tables.rows) {
    const dump = await sql<{ row: string }>`select ${sql.ref('t')}::text as row from ${sql.table(name)} as t`.execute(
      db,
    );
    rows += dump.rows.length;
    places[`table ${name}`] = dump.rows.map(({ row }) => row).join('\n');
  }
  await db.destroy();
  expect(rows).toBeGreaterThan(10);
  const connection = await Connection.connect({ address: stack.info.temporalAddress });
  let histories = 0;
  for await (const workflow of new Client({ connection }).workflow.list()) {
    const handle = new Client({ connection }).workflow.getHandle(workflow.workflowId, workflow.runId);
    places[`history of ${workflow.workflowId}`] = JSON.stringify(await handle.fetchHistory(), (_key, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
    );
    histories++;
  }
  await connection.close();
  expect(histories).toBeGreaterThan(5);
  const files = readdirSync(stateDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
  // Every file except the state of the local AWS, which created the keys: logs, PostgreSQL files and Temporal files.
  const ours = files.filter((file) => !path.relative(stateDir, file).startsWith(`aws${path.sep}`));
  expect(ours.filter((file) => file.endsWith('.log')).length).toBeGreaterThan(3);
  for (const file of ours) places[file] = readIfPresent(file);
  // In plain text, in base64 and as JSON escapes it.
  const forms = secrets.flatMap((secret) => [
    secret,
    Buffer.from(secret).toString('base64').slice(0, 50),
    JSON.stringify(secret).slice(1, -1),
  ]);
  const found = Object.entries(places).filter(([, text]) => forms.some((form) => text.includes(form)));
  expect(found.map(([place]) => place)).toEqual([]);
  // This proves that the search works.
  expect(Object.entries(places).filter(([, text]) => text.includes('KEYS')).length).toBeGreaterThan(3);
});
