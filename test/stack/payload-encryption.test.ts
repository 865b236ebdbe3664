/** @module-tag long */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { GetRolePolicyCommand, ListRolePoliciesCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { GuardedChild } from '../../local/guardian.js';
import { freePort } from '../../local/ports.js';
import type { Stack } from '../../local/stack.js';
import { findTemporalCommand } from '../../local/temporal.js';
import { examine } from '../../cli/doctor/examine.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { cliFile, logErrorsOnly, startTestStack } from '../testStack.js';

const run = promisify(execFile);
const newKey = (): string => randomBytes(32).toString('base64');
const [first, second] = [`p1=${newKey()}`, `p2=${newKey()}`];
/** What a person enters, and polony sends to Temporal. It must not be readable there. */
const SECRET_REASON = 'wrong sample sheet of patient 4711';
const ORIGIN = 'https://temporal.example.org';

let stateDir: string;
let stack: Stack;
let account: CustomerAccount;
let call: ReturnType<typeof apiClient>;
let { inStatus, details, runsOf } = {} as ReturnType<typeof executionsOf>;
let flowId: string;
let runId: string;
let connection: Connection;
let command: string;
let codecUrl: string;
let codecServer: GuardedChild;

const start = async (): Promise<string> =>
  (await call<{ execution: { id: string } }>('POST', '/v1/executions', { flowId, runId })).execution.id;

/** Runs `temporal` against the server of the stack. @returns what it prints */
async function runTemporal(args: string[]): Promise<string> {
  const { stdout } = await run(command, [...args, '--address', stack.info.temporalAddress], { maxBuffer: 1 << 26 });
  return stdout;
}
const showHistory = (workflowId: string, more: string[] = []): Promise<string> =>
  runTemporal(['workflow', 'show', '--workflow-id', workflowId, '--output', 'json', ...more]);
const throughCodecServer = (): string[] => [
  '--codec-endpoint',
  codecUrl,
  '--codec-header',
  `x-api-key=${stack.info.apiKey}`,
];

/**
 * All payloads in a history, except what stays readable: search attributes, headers with the id of a request, and the
 * names of patches, which the SDK's core writes itself.
 */
function payloadsOf(value: unknown): { metadata: Record<string, string>; data?: string }[] {
  if (typeof value !== 'object' || value === null) return [];
  if ('markerName' in value && value.markerName === 'core_patch') return [];
  if ('metadata' in value && typeof value.metadata === 'object' && 'encoding' in (value.metadata as object))
    return [value as ReturnType<typeof payloadsOf>[number]];
  return Object.entries(value).flatMap(([name, each]) =>
    /^(searchAttributes|header)$/.test(name) ? [] : payloadsOf(each),
  );
}

/** A history with its payloads in plain text, which JSON has as base64. */
function readable(history: string): string {
  const texts = payloadsOf(JSON.parse(history)).map(({ data }) => Buffer.from(data ?? '', 'base64').toString());
  return [history, ...texts].join('\n');
}
const readHistory = async (workflowId: string, more: string[] = []): Promise<string> =>
  readable(await showHistory(workflowId, more));

async function restart(keys: string): Promise<void> {
  stack.env.POLONY_PAYLOAD_KEYS = keys;
  await Promise.all([stack.crash('api'), stack.crash('worker')]);
}

async function startCodecServer(): Promise<void> {
  const port = await freePort();
  codecUrl = `http://127.0.0.1:${port}`;
  codecServer = stack.guardian.spawn('codec', process.execPath, [cliFile(), 'codec'], {
    env: { ...stack.env, POLONY_CODEC_PORT: String(port), POLONY_CODEC_ORIGINS: ORIGIN },
  });
  await waitFor(
    'the codec server',
    async () => (await fetch(`${codecUrl}/readyz`).catch(() => undefined))?.ok === true,
  );
}

beforeAll(async () => {
  logErrorsOnly();
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-payloads-'));
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 100, STARTING: 100, RUNNING: 300, STOPPING: 100 } },
    env: { POLONY_PAYLOAD_KEYS: first },
  });
  call = apiClient(stack.info);
  ({ inStatus, details, runsOf } = executionsOf(stack, call));
  command = await findTemporalCommand({ guardian: stack.guardian, stateDir });
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'codec');
  ({ flowId } = await connectAccount(call, account));
  const { s3 } = adminClients(stack.info);
  const { bucket, prefix } = account;
  await simulateInstrument({ s3, bucket, prefix, run: describeRun({ runName: 'CODEC' }) }).done;
  runId = await waitFor(
    'the run',
    async () =>
      (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
        ({ status }) => status === 'RUN_STATUS_COMPLETED',
      )?.id,
  );
  await startCodecServer();
});

afterAll(async () => {
  await connection?.close();
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

it('hides every payload of every history, and shows it through the codec server', async () => {
  const done = await start();
  await inStatus(done, 'COMPLETED');
  await setPace(stack, HELD_MS);
  const cancelled = await start();
  await inStatus(cancelled, 'RUNNING');
  await call('POST', `/v1/executions/${cancelled}/cancel`, { reason: SECRET_REASON });
  await inStatus(cancelled, 'CANCELED');
  await setPace(stack, 300);

  const ids = new Set<string>();
  const { executions } = await connection.workflowService.listWorkflowExecutions({ namespace: 'default' });
  for (const { execution } of executions) ids.add(execution!.workflowId!);
  expect(ids).toContain(`execution/${cancelled}`);
  for (const id of ids) {
    const history = await showHistory(id);
    // The server itself gives this reason for activities that were canceled before a worker took them.
    const payloads = payloadsOf(JSON.parse(history)).filter(
      ({ data }) => Buffer.from(data ?? '', 'base64').toString() !== '"ACTIVITY_ID_NOT_STARTED"',
    );
    for (const { metadata } of payloads)
      expect(Buffer.from(metadata.encoding!, 'base64').toString(), id).toBe('binary/encrypted');
    // The static summary and the bucket of the connection are in payloads only.
    for (const text of [SECRET_REASON, account.bucket, 'StartRun for', 'Search for new runs', 'Run folder'])
      expect(readable(history), id).not.toContain(text);
  }
  const shown = await readHistory(`execution/${cancelled}`, throughCodecServer());
  expect(shown).toContain(SECRET_REASON);
  expect(shown).toContain('StartRun for CODEC');
  const described = ['workflow', 'describe', '--workflow-id', `execution/${cancelled}`, '--output', 'json'];
  expect(await runTemporal(described)).not.toContain('Run folder');
  expect(await runTemporal([...described, ...throughCodecServer()])).toContain('Run folder');
});

it('hides the messages of failures and the details of what is blocked', async () => {
  const { iam } = adminClients(stack.info);
  const role = { RoleName: 'Element-ServiceUser-codec', PolicyName: 'provider' };
  const policies = await listPolicies(role.RoleName);
  const document = policies.get('text')!;
  const name = policies.get('name')!;
  const without = JSON.parse(document) as { Statement: { Action: string | string[] }[] };
  for (const statement of without.Statement)
    if (Array.isArray(statement.Action))
      statement.Action = statement.Action.filter((each) => each !== 'omics:StartRun');
  await iam.send(
    new PutRolePolicyCommand({ RoleName: role.RoleName, PolicyName: name, PolicyDocument: JSON.stringify(without) }),
  );
  const blocked = await start();
  await waitFor('the execution to be blocked', async () =>
    JSON.stringify(await details(blocked)).includes('omics:StartRun'),
  );
  const id = `execution/${blocked}`;
  const query = ['workflow', 'metadata', '--workflow-id', id, '--output', 'json'];
  await waitFor('the details', async () =>
    (await runTemporal([...query, ...throughCodecServer()])).includes('Blocked'),
  );
  expect(await runTemporal(query)).not.toContain('Blocked');
  const history = await readHistory(id);
  expect(history).not.toContain('omics:StartRun');
  expect(history).toContain('Encoded failure');
  expect(await readHistory(id, throughCodecServer())).toContain('omics:StartRun');

  await iam.send(new PutRolePolicyCommand({ RoleName: role.RoleName, PolicyName: name, PolicyDocument: document }));
  await call('POST', `/v1/executions/${blocked}/retry`);
  await inStatus(blocked, 'COMPLETED');
});

async function listPolicies(roleName: string): Promise<Map<'name' | 'text', string>> {
  const { iam } = adminClients(stack.info);
  const { PolicyNames } = await iam.send(new ListRolePoliciesCommand({ RoleName: roleName }));
  const name = PolicyNames![0]!;
  const { PolicyDocument } = await iam.send(new GetRolePolicyCommand({ RoleName: roleName, PolicyName: name }));
  return new Map([
    ['name', name],
    ['text', decodeURIComponent(PolicyDocument!)],
  ]);
}

it('lets keys be rotated while workflows run, and encryption be turned off', async () => {
  await setPace(stack, HELD_MS);
  const long = await start();
  await inStatus(long, 'RUNNING');
  // First every process learns to read with the new key, then the new key encrypts.
  await restart(`${first},${second}`);
  await restart(`${second},${first}`);
  await call('POST', `/v1/executions/${long}/cancel`, { reason: SECRET_REASON });
  await inStatus(long, 'CANCELED');
  expect(runsOf(long)).toHaveLength(1);
  const keyIds = new Set(
    payloadsOf(JSON.parse(await showHistory(`execution/${long}`))).map(({ metadata }) =>
      Buffer.from(metadata['encryption-key-id']!, 'base64').toString(),
    ),
  );
  expect([...keyIds].sort()).toEqual(['p1', 'p2']);

  // Without the old key, an old history stays encrypted and the rest of it is shown.
  codecServer.kill();
  await codecServer.exited;
  stack.env.POLONY_PAYLOAD_KEYS = second;
  await startCodecServer();
  const half = await readHistory(`execution/${long}`, throughCodecServer());
  expect(half).toContain(SECRET_REASON);
  expect(half).toContain('encryption-key-id');
  expect(half).not.toContain('StartRun for CODEC');

  await restart(`none,${second},${first}`);
  await setPace(stack, 300);
  const plain = await start();
  await inStatus(plain, 'COMPLETED');
  expect(await readHistory(`execution/${plain}`)).toContain('StartRun for CODEC');
});

it('lets polony doctor find a process that lacks the key', async () => {
  stack.env.POLONY_PAYLOAD_KEYS = first;
  await stack.crash('worker');
  const findPayloadKeys = async (keys: string) => {
    const env = { ...stack.env, POLONY_PAYLOAD_KEYS: keys };
    const { findings } = await examine('worker', { env, version: '0.1.0', now: Date.now });
    return findings.find(({ check }) => check === 'payload keys');
  };
  expect(await findPayloadKeys(first)).toMatchObject({ level: 'ok' });
  for (const keys of [second, 'none'])
    expect(await findPayloadKeys(keys)).toMatchObject({
      level: 'failure',
      message: expect.stringContaining('The payload key p1 is not configured') as string,
      remedy: expect.stringContaining('POLONY_PAYLOAD_KEYS') as string,
    });
});

it('lets only callers with the scope read payloads, and only pages of the Web UI read the answers', async () => {
  const post = (headers: Record<string, string>, where = '/decode') =>
    fetch(`${codecUrl}${where}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: '{"payloads":[]}',
    });
  expect((await post({})).status).toBe(401);
  expect((await post({ 'x-api-key': 'x'.repeat(40) })).status).toBe(401);
  const createKey = async (scopes: string[]) =>
    (await call<{ key: string }>('POST', '/v1/api-keys', { name: `codec ${scopes.join()}`, scopes })).key;
  expect((await post({ 'x-api-key': await createKey(['executions:read']) })).status).toBe(403);
  const reader = await createKey(['payloads:read']);
  const answer = await post({ 'x-api-key': reader, origin: ORIGIN });
  expect(answer.status).toBe(200);
  expect(await answer.json()).toEqual({ payloads: [] });
  expect(answer.headers.get('access-control-allow-origin')).toBe(ORIGIN);
  expect((await post({ 'x-api-key': reader }, '/encode')).status).toBe(403);

  const other = await post({ 'x-api-key': reader, origin: 'https://evil.example.org' });
  expect(other.headers.get('access-control-allow-origin')).toBeNull();
  const preflight = (origin: string) =>
    fetch(`${codecUrl}/decode`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,x-namespace',
      },
    });
  const allowed = await preflight(ORIGIN);
  expect(allowed.status).toBe(204);
  expect(allowed.headers.get('access-control-allow-origin')).toBe(ORIGIN);
  expect((await preflight('https://evil.example.org')).headers.get('access-control-allow-origin')).toBeNull();
  expect((await post({ 'x-api-key': reader, 'content-type': 'text/plain' })).status).toBe(400);
});
