/** @module-tag long */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiClient, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { type Examination, examine } from '../../cli/doctor/examine.js';
import type { Stack } from '../../local/stack.js';
import { SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';
import { queryDatabase } from '../stackDatabase.js';
import { waitFor } from '../support.js';
import { cliFile, startTestStack } from '../testStack.js';

// A healthy installation, and each kind of damage: the finding names the damage and what to do.
let stateDir: string;
let stack: Stack;

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-doctor-'));
  stack = await startTestStack({ stateDir });
  const account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'doctor');
  const call = apiClient(stack.info);
  await connectAccount(call, account);
  await call('POST', '/v1/webhooks', { url: 'http://127.0.0.1:9/hook' });
  // The checks run in this process and take AWS from its environment, as the SDK does.
  for (const [name, value] of Object.entries(stack.env)) if (name.startsWith('AWS_')) process.env[name] = value;
});
afterAll(async () => {
  for (const name of Object.keys(stack?.env ?? {})) if (name.startsWith('AWS_')) delete process.env[name];
  await stack?.stop();
  rmSync(stateDir, { recursive: true, force: true });
});

function check(changes: Record<string, string> = {}, now = Date.now): Promise<Examination> {
  return examine('worker', { env: { ...stack.env, ...changes }, version: '0.1.0', now });
}

/** What doctor finds on a machine that is too busy: it says nothing of the installation. */
const BUSY = /^A query takes \d+ ms at least$|no answer within/;

/** Expects only what a healthy local stack has. Its limits are those of the machine. @returns what is not ok */
function expectHealthy({ findings }: Examination): Examination['findings'] {
  const trouble = findings.filter(({ level, check: name }) => level !== 'ok' && name !== 'limits');
  expect(trouble.filter(({ message }) => !BUSY.test(message))).toEqual([]);
  return trouble;
}

/** What a check found that is not ok, with what to do. */
function troubleOf({ findings }: Examination, name: string): string {
  return findings
    .filter(({ check: each, level }) => each === name && level !== 'ok')
    .map(({ level, message, remedy }) => `${level}: ${message} | ${remedy}`)
    .join('\n');
}

describe('polony doctor', () => {
  it('finds nothing wrong with a healthy installation, and exits with 0', async () => {
    const { code, stdout } = await new Promise<{ code: number; stdout: string }>((resolve) =>
      execFile(
        process.execPath,
        [cliFile(), 'doctor', '--json', '--program', 'api'],
        { env: { ...process.env, ...stack.env } },
        (error, out) => resolve({ code: error === null ? 0 : Number(error.code), stdout: out }),
      ),
    );
    const examination = JSON.parse(stdout) as Examination;
    const { findings } = examination;
    const trouble = expectHealthy(examination);
    expect(code).toBe(trouble.some(({ level }) => level === 'failure') ? 1 : 0);
    const checks = findings.map(({ check: name }) => name);
    for (const name of ['database', 'migrations', 'database role', 'namespace', 'search attributes', 'workers'])
      expect(checks).toContain(name);
    for (const secret of [stack.env.POLONY_API_KEY!, stack.env.AWS_SECRET_ACCESS_KEY!])
      expect(stdout).not.toContain(secret);
  });

  it('has the settings of the local worker with polony local exec --worker, whatever the user has set', async () => {
    const args = ['local', 'exec', '--worker', process.execPath, cliFile(), 'doctor', '--json'];
    const env = { ...process.env, POLONY_HOME: stateDir, DATABASE_URL: 'postgres://elsewhere/db', POLONY_SWEEP: '1' };
    const stdout = await new Promise<string>((resolve) =>
      execFile(process.execPath, [cliFile(), ...args], { env }, (_error, out) => resolve(out)),
    );
    expectHealthy(JSON.parse(stdout) as Examination);
  });

  it('names an API key that ends soon by its ID, and none that was replaced or revoked', async () => {
    const call = apiClient(stack.info);
    type Created = { apiKey: { id: string } };
    const create = (name: string, expiresInDays: number) =>
      call<Created>('POST', '/v1/api-keys', { name, scopes: ['runs:read'], expiresInDays });
    const ending = await create('doctor ending', 1);
    const replaced = await create('doctor replaced', 300);
    await call('POST', `/v1/api-keys/${replaced.apiKey.id}/rotate`, {});
    const revoked = await create('doctor revoked', 1);
    await call('POST', `/v1/api-keys/${revoked.apiKey.id}/revoke`);
    const trouble = troubleOf(await check(), 'API keys');
    expect(trouble).toMatch(/^warning: The API key doctor ending ends at \S+ \| polony keys rotate \S+$/);
    expect(trouble).toContain(ending.apiKey.id);
  });

  it('names a wrong password without showing it, and skips what needs the database', async () => {
    const url = new URL(stack.env.DATABASE_URL!);
    url.password = 'not-the-password';
    const examination = await check({ DATABASE_URL: url.href });
    expect(troubleOf(examination, 'database')).toMatch(/failure: .*password authentication failed.*DATABASE_URL/);
    expect(troubleOf(examination, 'migrations')).toMatch(/skipped: .*needs the database/);
    expect(JSON.stringify(examination)).not.toContain('not-the-password');
  });

  it('names a database that does not answer', async () => {
    const examination = await check({ DATABASE_URL: 'postgres://polony@127.0.0.1:9/polony' });
    expect(troubleOf(examination, 'database')).toMatch(/failure: .*127\.0\.0\.1:9.*PostgreSQL runs/);
  });

  it('names a migration that is missing, and one that only a newer version knows', async () => {
    const last = '0021_execution_actors';
    await queryDatabase(stack, `update kysely_migration set name = '9999_newer' where name = '${last}'`);
    const trouble = troubleOf(await check(), 'migrations');
    await queryDatabase(stack, `update kysely_migration set name = '${last}' where name = '9999_newer'`);
    expect(trouble).toMatch(new RegExp(`failure: .*${last}.*polony migrate`));
    expect(trouble).toMatch(/warning: .*9999_newer/);
  });

  it('names the rights that the role of the database lacks', async () => {
    const user = new URL(stack.env.DATABASE_URL!).username;
    await queryDatabase(stack, `revoke update on executions from "${user}"`);
    const trouble = troubleOf(await check(), 'database role');
    await queryDatabase(stack, `grant update on executions to "${user}"`);
    expect(trouble).toMatch(/failure: .*update on executions.*polony migrate/);
  });

  it('names a namespace that does not exist, and a Temporal that does not answer', async () => {
    expect(troubleOf(await check({ TEMPORAL_NAMESPACE: 'elsewhere' }), 'namespace')).toMatch(
      /failure: .*elsewhere.*temporal operator namespace create --namespace elsewhere/,
    );
    expect(troubleOf(await check({ TEMPORAL_ADDRESS: '127.0.0.1:9' }), 'Temporal')).toMatch(
      /failure: .*127\.0\.0\.1:9.*TEMPORAL_ADDRESS/,
    );
  });

  it('names a search attribute that is missing', async () => {
    const connection = await Connection.connect({ address: stack.info.temporalAddress });
    const namespace = 'without-attributes';
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: { seconds: 86_400 as never },
    });
    await waitFor('the namespace', () =>
      connection.operatorService.listSearchAttributes({ namespace }).then(
        () => true,
        () => false,
      ),
    );
    await connection.close();
    const { findings } = await check({ TEMPORAL_NAMESPACE: namespace });
    const found = findings.find(({ check: name, level }) => name === 'search attributes' && level === 'failure');
    for (const name of Object.keys(SEARCH_ATTRIBUTES)) expect(found?.message).toContain(name);
    expect(found?.remedy).toBe('polony migrate');
  });

  it('names task queues that no worker takes tasks from', async () => {
    expect(troubleOf(await check({ POLONY_TASK_QUEUE: 'nobody' }), 'workers')).toMatch(
      /failure: .*nobody \(workflow\).*polony worker/,
    );
  });

  it('names an encryption key that is missing, and one that is wrong', async () => {
    const other = `other=${Buffer.alloc(32, 1).toString('base64')}`;
    expect(troubleOf(await check({ POLONY_ENCRYPTION_KEYS: other }), 'encryption keys')).toMatch(
      /failure: .*the key local encrypted.*Add local=…/,
    );
    const wrong = `local=${Buffer.alloc(32, 1).toString('base64')}`;
    const examination = await check({ POLONY_ENCRYPTION_KEYS: wrong });
    expect(troubleOf(examination, 'encryption keys')).toMatch(/failure: .*webhook-secret\/.*from your backup/);
    expect(JSON.stringify(examination)).not.toContain(Buffer.alloc(32, 1).toString('base64'));
  });

  it('names a clock that differs from those of AWS and PostgreSQL', async () => {
    const examination = await check({}, () => Date.now() + 600_000);
    expect(troubleOf(examination, 'AWS identity')).toMatch(/failure: .*clock.*-?(599|60[0-9]|61[0-9]) s.*timedatectl/);
    expect(troubleOf(examination, 'clock of the database')).toMatch(/warning: .*timedatectl/);
  });

  it('names credentials that AWS refuses', async () => {
    const secret = process.env.AWS_SECRET_ACCESS_KEY!;
    process.env.AWS_SECRET_ACCESS_KEY = 'wrong-secret-access-key';
    const trouble = troubleOf(await check(), 'AWS identity');
    process.env.AWS_SECRET_ACCESS_KEY = secret;
    expect(trouble).toMatch(/failure: AWS does not know who polony is: .*credentials/);
  });

  it('names an endpoint of AWS that cannot be reached', async () => {
    const endpoint = process.env.AWS_ENDPOINT_URL!;
    process.env.AWS_ENDPOINT_URL = 'http://127.0.0.1:9';
    const trouble = troubleOf(await check(), 'network');
    process.env.AWS_ENDPOINT_URL = endpoint;
    expect(trouble).toMatch(/failure: http:\/\/127\.0\.0\.1:9 cannot be reached: .*firewall/);
  });

  it('names every wrong setting, and checks nothing that needs settings then', async () => {
    const examination = await check({ DATABASE_URL: '', POLONY_SWEEP_SECONDS: 'often' });
    expect(troubleOf(examination, 'settings')).toMatch(/DATABASE_URL[\s\S]*POLONY_SWEEP_SECONDS/);
    expect(examination.findings.some(({ check: name }) => name === 'database')).toBe(false);
  });

  it('finds a deployment whose workers get no tasks', async () => {
    const versioned = { POLONY_DEPLOYMENT_NAME: 'polony', POLONY_BUILD_ID: '1.4.0' };
    expect(troubleOf(await check(versioned), 'worker version')).toMatch(
      /^failure: The deployment polony has no current version.*polony promote/,
    );
    expect(troubleOf(await check(), 'worker version')).toBe('');
  });
});
