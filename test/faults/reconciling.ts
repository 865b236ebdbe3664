import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import { adminClients, apiClient, type CustomerAccount, connectAccount, setUpCustomer } from '../../cli/customer.js';
import type { ReconcileReport } from '../../domain/reconcile/report.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import { controlOmics } from '../../local/omics/control.js';
import type { Stack } from '../../local/stack.js';
import { migrate, openDatabase } from '../../store/database.js';
import { grantRuntimeRole } from '../../store/runtimeRole.js';
import { databaseCopies, queryDatabase } from '../stackDatabase.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { cliFile, startTestStack } from '../testStack.js';

export let stateDir: string;
export let stack: Stack;
export let account: CustomerAccount;
export let call: ReturnType<typeof apiClient>;
export let admin: ReturnType<typeof adminClients>;
export let { details, inStatus } = {} as ReturnType<typeof executionsOf>;
export let database: ReturnType<typeof databaseCopies>;
export let flowId: string;

export interface Listed {
  id: string;
  name: string;
  status: string;
  inputs: { run: { id: string; name: string } }[];
}

/**
 * Starts a stack for the tests of the file that calls this.
 * @param name of the customer
 */
export function useStack(name: string): void {
  beforeAll(async () => {
    stateDir = mkdtempSync(path.join(tmpdir(), `polony-${name}-`));
    stack = await startTestStack({
      stateDir,
      env: { POLONY_SWEEP_SECONDS: '1', POLONY_DISCOVER_SECONDS: '1', POLONY_RETRY_RUN_SECONDS: '1' },
    });
    database = databaseCopies(stack);
    call = apiClient(stack.info);
    ({ details, inStatus } = executionsOf(stack, call));
    account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, name);
    admin = adminClients(stack.info);
    ({ flowId } = await connectAccount(call, account, { autoStart: {} }));
  });
  beforeEach(() => setPace(stack, 300));
  afterAll(async () => {
    for (const client of Object.values(admin ?? {})) client.destroy();
    await stack?.stop();
    rmSync(stateDir, { recursive: true, force: true });
  });
}

/** Connects the account again, to an empty database. */
export async function reconnect(): Promise<void> {
  ({ flowId } = await connectAccount(call, account, { autoStart: {} }));
}

/** Empties the database, as after a loss. */
export async function emptyDatabase(): Promise<void> {
  await database.empty();
  const db = openDatabase(stack.info.databaseUrl, 1);
  await migrate(db);
  await grantRuntimeRole(db, stack.postgres.runtimeRole);
  await db.destroy();
}

export async function stopPolony(): Promise<void> {
  for (const part of [stack.worker, stack.api]) {
    part?.kill();
    await part?.exited;
  }
}

export async function startPolony(): Promise<void> {
  await stack.crash('api');
  stack.worker = await stack.startWorker();
}

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

const polony = (...args: string[]): Promise<Outcome> => polonyWith({}, ...args);

export function polonyWith(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [cliFile(), ...args],
      { env: { ...process.env, ...stack.env, ...env }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

export async function reconcile(...flags: string[]): Promise<ReconcileReport & { code: number }> {
  const { code, stdout, stderr } = await polony('reconcile', '--json', ...flags);
  if (stdout === '') throw new Error(`polony reconcile ended with ${code}: ${stderr}`);
  return { ...(JSON.parse(stdout) as ReconcileReport), code };
}

const changedIds = ({ executions }: ReconcileReport): string[] =>
  executions.filter(({ kind }) => kind === 'changed').map(({ id }) => id);
export const afterOf = (report: ReconcileReport, id: string): string | undefined =>
  report.executions.find((each) => each.id === id)?.after;

const listExecutions = async (): Promise<Listed[]> =>
  (await call<{ executions: Listed[] }>('GET', '/v1/executions?pageSize=100')).executions;
export const startedRuns = () => [...stack.aws.emulator.runs.values()];

export async function uploadRun(runName: string): Promise<Listed> {
  const run = describeRun({ runName, cycles: { R1: 4, I1: 8, I2: 8 } });
  await simulateInstrument({ s3: admin.s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  return waitFor(`the execution of ${runName}`, async () =>
    (await listExecutions()).find((execution) => execution.inputs[0]?.run.name === runName),
  );
}

/** Everything that a dry run must leave as it is. */
async function snapshot() {
  const tables = await queryDatabase(
    stack,
    `select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by relname`,
  );
  const database = [];
  for (const { relname } of tables)
    database.push(
      await queryDatabase(
        stack,
        `select '${String(relname)}' as name, md5(coalesce(string_agg(t::text, '' order by t::text), ''))
         from "${String(relname)}" t`,
      ),
    );
  const { Contents = [] } = await admin.s3.send(new ListObjectsV2Command({ Bucket: account.bucket }));
  const connection = await Connection.connect({ address: stack.info.temporalAddress });
  const { count } = await new Client({ connection }).workflow.count('WorkflowType = "bases2fastq"');
  await connection.close();
  return {
    database,
    objects: Contents.map(({ Key, ETag }) => [Key, ETag]),
    workflows: count,
    runs: startedRuns().map(({ id, cancelRequested }) => [id, cancelRequested]),
    writes: stack.aws.emulator.calls.filter(({ operation }) => operation === 'StartRun' || operation === 'CancelRun')
      .length,
  };
}

/** The status that an execution must have because of its HealthOmics runs. */
const EXPECTED: Record<string, string[]> = {
  COMPLETED: ['COMPLETED'],
  FAILED: ['FAILED'],
  CANCELLED: ['CANCELED'],
  RUNNING: ['RUNNING', 'PENDING'],
};

/** Every execution has the status of its HealthOmics run, and nothing was started since. */
export async function expectTruth(before: readonly string[]): Promise<void> {
  expect(startedRuns().map(({ id }) => id)).toEqual(before);
  const listed = await listExecutions();
  for (const run of startedRuns()) {
    const id = /([0-9a-f-]{36})$/.exec(run.outputUri)![1]!;
    expect(listed.map((each) => each.id)).toContain(id);
    await inStatus(id, ...EXPECTED[run.status]!);
  }
}

/** Ends all runs that HealthOmics still works on. Their executions complete only if a workflow watches them. */
export async function finishAll(): Promise<void> {
  for (const run of startedRuns()) if (run.status === 'RUNNING') stack.aws.emulator.finish(run.id);
}

export interface Scenario {
  knownRunning: Listed;
  knownEnded: Listed;
  completed: Listed;
  running: Listed;
  requested: { id: string };
  failed: Listed;
  cancelled: Listed;
}

/** Work before and after a dump. */
export async function work(suffix: string): Promise<Scenario> {
  await setPace(stack, HELD_MS);
  const knownRunning = await uploadRun(`KNOWN-A-${suffix}`);
  const knownEnded = await uploadRun(`KNOWN-B-${suffix}`);
  for (const { id } of [knownRunning, knownEnded]) await inStatus(id, 'RUNNING');
  await database.takeDump();
  stack.aws.emulator.finish((await details(knownEnded.id)).details.healthOmics!.runId);
  await inStatus(knownEnded.id, 'COMPLETED');
  const running = await uploadRun(`RUNNING-${suffix}`);
  await inStatus(running.id, 'RUNNING');
  const { execution: requested } = await call<{ execution: { id: string } }>('POST', '/v1/executions', {
    flowId,
    runId: running.inputs[0]!.run.id,
    name: `asked for ${suffix}`,
  });
  await inStatus(requested.id, 'RUNNING');
  const cancelled = await uploadRun(`CANCELLED-${suffix}`);
  await inStatus(cancelled.id, 'RUNNING');
  await call('POST', `/v1/executions/${cancelled.id}/cancel`, { reason: 'wrong manifest' });
  await inStatus(cancelled.id, 'CANCELED');
  await setPace(stack, 300);
  const completed = await uploadRun(`COMPLETED-${suffix}`);
  await inStatus(completed.id, 'COMPLETED');
  await controlOmics(stack.aws.emulator.control, 'POST', 'faults', {
    operation: 'run',
    kind: 'failRun',
    count: 1,
    failureReason: 'WORKFLOW_RUN_FAILED',
  });
  const failed = await uploadRun(`FAILED-${suffix}`);
  await inStatus(failed.id, 'FAILED');
  return { knownRunning, knownEnded, completed, running, requested, failed, cancelled };
}

/** What holds after each restore: a dry run changes nothing, one run reconciles, another one has nothing to do. */
export async function expectReconciled(scenario: Scenario, before: readonly string[]): Promise<void> {
  const untouched = await snapshot();
  const plan = await reconcile('--dry-run');
  expect(await snapshot()).toEqual(untouched);

  const report = await reconcile();
  expect(report.totals).toMatchObject({ undecided: 0, unwatched: 0 });
  expect(changedIds(report)).toEqual(changedIds(plan));
  const { completed, running, requested, failed, cancelled, knownEnded, knownRunning } = scenario;
  for (const { id } of [completed, knownEnded]) expect([id, afterOf(report, id)]).toEqual([id, 'COMPLETED']);
  for (const { id } of [running, requested, knownRunning]) expect([id, afterOf(report, id)]).toEqual([id, 'RUNNING']);
  expect(afterOf(report, failed.id)).toBe('FAILED');
  expect(afterOf(report, cancelled.id)).toBe('CANCELED');
  expect(report.code).toBe(0);

  const again = await polony('reconcile');
  expect(again.stdout).toContain('There is nothing to do.');
  expect(again.code).toBe(0);

  await startPolony();
  await expectTruth(before);
  await finishAll();
  for (const { id } of [running, requested, knownRunning]) await inStatus(id, 'COMPLETED');
  // The search has found all run folders again by now, and has started no flow for them.
  await waitFor('all runs to be complete again', async () => {
    const { runs } = await call<{ runs: { status: string }[] }>('GET', '/v1/runs?pageSize=100');
    return runs.length > 0 && runs.every(({ status }) => status === 'RUN_STATUS_COMPLETED');
  });
  await expectTruth(before);
  expect((await polony('reconcile')).stdout).toContain('There is nothing to do.');
}
