import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import pLimit from 'p-limit';
import { adminClients, apiClient, type CustomerAccount, setUpCustomer } from '../cli/customer.js';
import type { GuardedChild } from '../local/guardian.js';
import { startStack } from '../local/stack.js';
import { insertStorageConnection } from '../store/connections/storage.js';
import { announceStorageChange } from '../store/connections/storageSearch.js';
import { closeDatabase, type Db, openDatabase } from '../store/database.js';
import { insertRuns } from '../store/runs/discovery.js';
import { replaceWorker } from './benchStack.js';
import { buildFolder } from './build.js';
import { median, type Report } from './report.js';
import { cpuShareDuring } from './usage.js';

const CONNECTIONS = 500;
/**
 * Of the CPU, with and without storage connections. Searches are spread over the interval. Half of the interval of
 * the row asks for twice as many, since the rest of Temporal and the worker varies by as much as searches take. With less
 * than 30 s, each search would list everything.
 */
const ROUNDS = 3;
const INTERVAL_SECONDS = { ofRow: 60, measured: 30 };
const WINDOW_MS = 9000;
const SETTLED_MS = 2000;
/** How long actions are counted, with an interval of one second. */
const COUNTED_MS = 6_000;
/** So many searches list only known instruments, until one lists everything (decision 54). */
const COMPLETE_EVERY = 5;
const POLLS_PER_DAY = 86_400 / INTERVAL_SECONDS.ofRow;

/** A counter of a worker, for all its labels that match. */
async function readCount(worker: GuardedChild, series: string): Promise<number> {
  const url = /"url":"(http:[^"]*metrics)"/.exec(worker.logTail(1 << 20))![1]!;
  const text = await (await fetch(url)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith(series))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Connects so many places where nothing arrives: each has an instrument with one complete run. */
async function connectIdle(
  db: Db,
  providerId: string,
  { bucket, prefix: parent }: CustomerAccount,
  put: (key: string) => Promise<unknown>,
): Promise<void> {
  const limit = pLimit(20);
  const folder = '20260115_AV240001_OLD';
  await limit.map(Array.from({ length: CONNECTIONS }), async (_, at) => {
    const prefix = `${parent}/idle-${at}`;
    await put(`${prefix}/AV240001/${folder}/RunUploaded.json`);
    const { id } = await insertStorageConnection(db, {
      name: `idle-${at}`,
      providerId,
      region: 'us-west-2',
      bucket,
      prefix,
      useForRunUpload: false,
      useForDataExploration: false,
      allowPolicyProbe: false,
    });
    await insertRuns(db, id, 'AV240001', 'AV240001', [{ folder, runName: 'OLD' }]);
  });
  await db.updateTable('runs').set({ upload_state: 'complete', outcome: 'completed' }).execute();
  await db
    .updateTable('storage_connections')
    .set({ status: 'CONNECTED', time_used: new Date(), time_verified: new Date() })
    .execute();
}

/** Lets so many of the storage connections be searched. */
async function searchOnly(db: Db, count: number): Promise<void> {
  const names = Array.from({ length: count }, (_, at) => `idle-${at}`);
  await db.updateTable('storage_connections').set({ use_for_run_upload: false }).execute();
  if (count > 0)
    await db
      .updateTable('storage_connections')
      .set({ use_for_run_upload: true, time_used: new Date() })
      .where('name', 'in', names)
      .execute();
  await announceStorageChange(db);
}

/** The rows of searches for new runs, and of the sweep, while nothing happens. */
export async function searches(report: Report): Promise<void> {
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
  const stack = await startStack({
    stateDir,
    durable: false,
    headless: true,
    build: buildFolder(),
    env: { POLONY_DISCOVER_SECONDS: '1', POLONY_SWEEP_SECONDS: '1', POLONY_METRICS_ADDRESS: '127.0.0.1:0' },
    onProgress: report.say,
  });
  const db = openDatabase(stack.info.databaseUrl, 5);
  const { s3 } = adminClients(stack.info);
  const connection = await Connection.connect({ address: stack.info.temporalAddress });
  try {
    const call = apiClient(stack.info);
    const account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'bench');
    const { provider } = await call<{ provider: { id: string } }>('POST', '/v1/providers', {
      name: 'lab',
      defaultRegion: 'us-west-2',
      credentialType: 'role',
      roleArn: account.providerRoleArn,
      externalId: account.externalId,
    });
    await connectIdle(db, provider.id, account, (Key) =>
      s3.send(new PutObjectCommand({ Bucket: account.bucket, Key, Body: Buffer.alloc(0) })),
    );
    await actionRows(report, db, new Client({ connection }), stack.worker!);
    await replaceWorker(stack, {
      POLONY_DISCOVER_SECONDS: String(INTERVAL_SECONDS.measured),
      POLONY_SWEEP_SECONDS: '60',
    });
    await cpuRow(report, db, stack.worker!, stack.temporal.pid!);
  } finally {
    s3.destroy();
    await connection.close();
    await closeDatabase(db);
    await stack.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
}

/** Counts what Temporal bills: starts of workflows, their activities and timers, signals, and what schedules start. */
async function actionRows(report: Report, db: Db, temporal: Client, worker: GuardedChild): Promise<void> {
  report.say('\nOne storage connection where nothing arrives');
  await searchOnly(db, 1);
  const enough = async (series: string): Promise<void> => {
    const deadline = Date.now() + 20_000;
    while ((await readCount(worker, series)) < 1 && Date.now() < deadline) await pause(200);
  };
  await enough('polony_searches_total{outcome="nothing"}');
  await enough('polony_sweeps_total{outcome="done"}');
  const began = new Date();
  const [searched, failed, swept] = await Promise.all([
    readCount(worker, 'polony_searches_total'),
    readCount(worker, 'polony_searches_total{outcome="failed"}'),
    readCount(worker, 'polony_sweeps_total{outcome="done"}'),
  ]);
  await pause(COUNTED_MS);
  const searchCount = (await readCount(worker, 'polony_searches_total')) - searched;
  const sweepCount = (await readCount(worker, 'polony_sweeps_total{outcome="done"}')) - swept;
  const failedCount = (await readCount(worker, 'polony_searches_total{outcome="failed"}')) - failed;
  // Visibility is a second behind.
  await pause(2000);
  const [searchActions, sweepActions] = [
    await countActions(temporal, 'discoverRuns', began),
    await countActions(temporal, 'sweep', began),
  ];
  for (const [name, actions, polls, isSound] of [
    [
      'one storage connection where nothing arrives, searched every 60 s',
      searchActions,
      searchCount,
      failedCount === 0,
    ],
    ['the sweep, every 60 s', sweepActions, sweepCount, true],
  ] as const) {
    const perDay = (actions / Math.max(1, polls)) * POLLS_PER_DAY;
    report.row({
      name: `billable actions of ${name}`,
      unit: 'a day',
      value: perDay,
      against: POLLS_PER_DAY,
      of: 'one activity attempt for each poll',
      ratio: perDay / POLLS_PER_DAY,
      reach: 'at most 1.1',
      met: polls >= 3 && isSound && perDay / POLLS_PER_DAY <= 1.1,
    });
  }
  report.note(
    `actions were counted in Temporal while ${searchCount} searches and ${sweepCount} sweeps were made, one each ` +
      'second. Schedules needed at least three for each of both: the schedule, the workflow and its activity',
  );
}

async function countActions(temporal: Client, workflowType: string, since: Date): Promise<number> {
  let actions = 0;
  const query = `WorkflowType = "${workflowType}" AND StartTime >= "${since.toISOString()}"`;
  for await (const { workflowId, runId } of temporal.workflow.list({ query })) {
    const { events } = await temporal.workflow.getHandle(workflowId, runId).fetchHistory();
    for (const event of events ?? []) {
      const { activityTaskStartedEventAttributes: activity, workflowExecutionStartedEventAttributes: started } = event;
      if (activity != null) actions += activity.attempt ?? 1;
      // The ID of what a schedule starts ends with the time, and the schedule is an action too.
      if (started != null) actions += /\d{4}-\d\d-\d\dT[\d:]+Z$/.test(workflowId) ? 2 : 1;
      if (event.workflowExecutionSignaledEventAttributes != null || event.timerStartedEventAttributes != null)
        actions++;
    }
  }
  return actions;
}

async function cpuRow(report: Report, db: Db, worker: GuardedChild, temporalPid: number): Promise<void> {
  report.say(`\nTemporal and worker with ${CONNECTIONS} idle storage connections, and with none`);
  const used: Record<'none' | 'many', number[]> = { none: [], many: [] };
  let [searched, first] = [0, true];
  for (let round = 0; round < ROUNDS; round++)
    for (const side of ['none', 'many'] as const) {
      await searchOnly(db, side === 'many' ? CONNECTIONS : 0);
      // What is new is searched at once, which is no part of the measurement.
      await pause(first ? 6 * SETTLED_MS : SETTLED_MS);
      first = false;
      if (side === 'many') await untilQuiet(worker);
      const count = await readCount(worker, 'polony_searches_total{outcome="nothing"}');
      used[side].push(await cpuShareDuring(pause(WINDOW_MS), worker.pid, temporalPid));
      if (side === 'many') searched += (await readCount(worker, 'polony_searches_total{outcome="nothing"}')) - count;
    }
  const none = median(used.none) * 100;
  // In the windows, which follow a complete search of all, nearly each search makes one request. One of five makes two.
  const requests = 1 + 1 / COMPLETE_EVERY;
  const { ofRow, measured } = INTERVAL_SECONDS;
  // In these windows, an interval asks for so many searches.
  const searchesOf = (seconds: number): number => (CONNECTIONS * ROUNDS * WINDOW_MS) / 1000 / seconds;
  const wanted = searchesOf(measured);
  // Of each round, since what else the two do becomes less from round to round.
  const added = median(used.many.map((many, round) => many - used.none[round]!)) * 100;
  const many = none + added * requests * (searchesOf(ofRow) / Math.max(1, searched));
  report.row({
    name: `CPU of Temporal and worker with ${CONNECTIONS} idle storage connections, searched every ${ofRow} s`,
    unit: '% of a core',
    value: many,
    against: none + 5,
    of: 'the same stack with none, and 5 %',
    ratio: many / (none + 5),
    reach: 'at most 1',
    met: many <= none + 5 && searched >= wanted * 0.8,
  });
  const shares = (each: readonly number[]): string => each.map((share) => (share * 100).toFixed(1)).join(', ');
  report.note(
    `idle storage connections: ${searched} searches in ${(ROUNDS * WINDOW_MS) / 1000} s, of ${Math.round(wanted)} that ` +
      `an interval of ${measured} s asks for. The row has that of an interval of ${ofRow} s. Each made a list request, ` +
      'and the row counts two for one of five. What is done every ten seconds for all connections counts half. ' +
      `With: ${shares(used.many)} % of a core; without: ${shares(used.none)} %`,
  );
}

/** Waits until no more is searched than the interval asks for. */
async function untilQuiet(worker: GuardedChild): Promise<void> {
  const deadline = Date.now() + 15_000;
  for (let before = 0; Date.now() < deadline;) {
    const now = await readCount(worker, 'polony_searches_total');
    if (before > 0 && now - before < (CONNECTIONS * 2) / INTERVAL_SECONDS.measured) return;
    before = now;
    await pause(1000);
  }
}
