import { ApplicationFailure } from '@temporalio/common';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { RunWatching } from '../../activities/executions/runWatching.js';
import { insertComputeConnection } from '../../store/connections/compute.js';
import { writeFlow } from '../../store/connections/flows.js';
import { insertProvider } from '../../store/connections/providers.js';
import { insertStorageConnection } from '../../store/connections/storage.js';
import { type Db, newId, openDatabase } from '../../store/database.js';
import { createExecution } from '../../store/executions/create.js';
import { updateExecution } from '../../store/executions/update.js';
import { listUnwatched, registerWatch } from '../../store/executions/watches.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { startTestPostgres } from '../postgres.js';
import { waitFor } from '../support.js';
import { WORKER_SETTINGS } from '../testStack.js';

// The watching of HealthOmics runs by processes that come and go, on PostgreSQL. HealthOmics and Temporal are stand-ins,
// so that the test decides when they answer.
const SCOPE = '111122223333/us-west-2';
/** Of the pool of a process. */
const CONNECTIONS = 5;
let db: Db;
let leaseDb: Db;
let flow: Awaited<ReturnType<typeof writeFlow>>;
let storage: Awaited<ReturnType<typeof insertStorageConnection>>;
let runId: string;

beforeAll(async () => {
  const postgres = await startTestPostgres({ maxConnections: CONNECTIONS });
  ({ db } = postgres);
  leaseDb = openDatabase(postgres.url, 2);
  const providerId = newId();
  const region = 'us-west-2';
  await insertProvider(db, providerId, {
    name: 'lab',
    defaultRegion: region,
    credential: { type: 'role', roleArn: 'arn:aws:iam::111122223333:role/lab', externalId: 'external' },
  });
  storage = await insertStorageConnection(db, {
    name: 'runs',
    providerId,
    region,
    bucket: 'lab',
    prefix: 'runs',
    useForRunUpload: true,
    useForDataExploration: true,
    allowPolicyProbe: false,
  });
  const executionRoleArn = 'arn:aws:iam::111122223333:role/omics';
  const compute = await insertComputeConnection(db, { name: 'omics', providerId, executionRoleArn, region });
  flow = await writeFlow(db, {
    name: 'b2f',
    computeConnectionId: compute.id,
    sharedWorkflowId: '1234567',
    workflowOwnerId: '444455556666',
    sharedWorkflowRegion: null,
    parameterNames: {},
    parameters: {},
    storageConnectionIds: [],
  });
  const folder = '20260115_AV240001_RUN';
  const found = await insertRuns(db, storage.id, 'AV240001', 'AV240001', [{ folder, runName: 'RUN' }]);
  runId = found.get(folder)!.id;
});
afterAll(async () => {
  await db?.destroy();
  await leaseDb?.destroy();
});

const running: RunWatching[] = [];
/** What HealthOmics says of each run, and what it throws. */
const statuses = new Map<string, string>();
let failure: Error | undefined;
/** Called before each answer of GetRun. */
let onGetRun: () => Promise<void> | void;
const polled: string[] = [];
/** What Temporal was told, by task token. */
const told = new Map<string, unknown>();
const warnings: object[] = [];
/** What was shown with the activities, in order. */
const shown: unknown[] = [];
let isTemporalAway = false;
let isOver = false;

beforeEach(() => {
  statuses.clear();
  polled.length = 0;
  told.clear();
  shown.length = warnings.length = 0;
  [failure, onGetRun, isTemporalAway, isOver] = [undefined, () => undefined, false, false];
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const each of running.splice(0)) await each.close();
  await sql`delete from watches`.execute(db);
  await sql`delete from leases`.execute(db);
});

/**
 * A process that watches.
 * @param its over which it reads what it watches
 * @param itsLeases over which it holds leases
 */
function startProcess(its = db, itsLeases = leaseDb): RunWatching {
  const tell = async (token: Uint8Array, outcome: unknown): Promise<boolean> => {
    if (isTemporalAway) throw new Error('Temporal does not answer');
    if (isOver) return false;
    told.set(Buffer.from(token).toString(), outcome);
    return true;
  };
  const omics = {
    send: async ({ input: { id } }: { input: { id: string } }) => {
      await onGetRun();
      if (failure !== undefined) throw failure;
      polled.push(id);
      return { id, uuid: `uuid-${id}`, status: statuses.get(id) ?? 'PENDING' };
    },
  };
  const watching = new RunWatching({
    db: its,
    leaseDb: itsLeases,
    aws: { omics: () => omics, use: async (_: string, run: () => unknown) => run() } as never,
    orchestrator: {
      watches: {
        complete: tell,
        fail: tell,
        show: async (_, details) => void shown.push(details),
        restart: async () => false,
      },
    },
    settings: { ...WORKER_SETTINGS, runPollSeconds: 0.05 },
    getRunsPerSecond: 1000,
    warn: (fields, message) => void warnings.push({ ...fields, message }),
  });
  watching.start();
  running.push(watching);
  return watching;
}

let lastRun = 0;
/** An execution whose HealthOmics run is pending. */
async function execution(): Promise<{ id: string; omicsRun: string }> {
  const { id } = await createExecution(db, {
    flow: { id: flow.id, name: flow.name, computeConnectionId: flow.compute_connection_id },
    run: { id: runId, name: 'RUN', storageConnectionId: storage.id, uploadState: 'complete' },
    storage,
    trigger: 'api',
    startedBy: 'test',
  });
  const omicsRun = String(++lastRun);
  await updateExecution(db, id!, {
    status: 'PENDING',
    healthOmics: { runId: omicsRun, uuid: `uuid-${omicsRun}` },
  });
  return { id: id!, omicsRun };
}
const register = (at: RunWatching, executionId: string, token: string, from: 'PENDING' | 'RUNNING' = 'PENDING') =>
  at.register(SCOPE, { executionId, taskToken: Buffer.from(token), from, probing: false });
const watchesLeft = async (): Promise<number> =>
  (await db.selectFrom('watches').select('execution_id').execute()).length;

const leaseExpiry = async (): Promise<Date> =>
  (
    await leaseDb
      .selectFrom('leases')
      .select('expires_at')
      .where('name', '=', `watch/${SCOPE}`)
      .executeTakeFirstOrThrow()
  ).expires_at;
const denial = (): Error =>
  Object.assign(new Error('not authorized to perform: omics:GetRun'), {
    name: 'AccessDeniedException',
    $metadata: { httpStatusCode: 403 },
  });

it('completes the activity when the run has changed, and forgets the watch', async () => {
  const { id, omicsRun } = await execution();
  await register(startProcess(), id, 'one');
  await waitFor('some polls', () => polled.length > 2);
  expect(told.size).toBe(0);
  statuses.set(omicsRun, 'RUNNING');
  await waitFor('the activity to be completed', () => told.has('one'));
  expect(told.get('one')).toMatchObject({ status: 'RUNNING', healthOmicsRunId: omicsRun, attempt: 1 });
  await waitFor('the watch to be gone', async () => (await watchesLeft()) === 0);
  const row = db.selectFrom('executions').select('status').where('id', '=', id);
  expect((await row.executeTakeFirstOrThrow()).status).toBe('RUNNING');
});

it('renews its leases while queries of runs use all connections', async () => {
  const { id, omicsRun } = await execution();
  const watching = startProcess();
  await register(watching, id, 'one');
  await waitFor('a poll', () => polled.length > 0);
  let goOn: () => void = () => undefined;
  const still = new Promise<void>((resolve) => (goOn = resolve));
  const busy = Array.from({ length: CONNECTIONS }, () => db.transaction().execute(() => still));
  // The second renewal does not wait for the runs that the first one looks for.
  for (let renewal = 0; renewal < 2; renewal++) {
    const before = await leaseExpiry();
    await waitFor('the lease to be renewed', async () => {
      void watching.renew();
      return (await leaseExpiry()) > before;
    });
  }
  goOn();
  await Promise.all(busy);
  statuses.set(omicsRun, 'RUNNING');
  await waitFor('the activity to be completed', () => told.has('one'));
});

it('renews its leases where nobody can read which accounts are watched', async () => {
  const { id } = await execution();
  let isAway = false;
  const without = leaseDb.withPlugin({
    transformQuery: ({ node }) => {
      if (isAway && JSON.stringify(node).includes('from watches')) throw new Error('watches cannot be read');
      return node;
    },
    transformResult: async ({ result }) => result,
  });
  const watching = startProcess(db, without);
  await register(watching, id, 'one');
  await watching.renew();
  isAway = true;
  const before = await leaseExpiry();
  await watching.renew();
  expect(warnings).toMatchObject([{ err: { message: 'watches cannot be read' } }]);
  expect((await leaseExpiry()) > before).toBe(true);
  const polls = polled.length;
  await waitFor('polls to go on', () => polled.length > polls);
});

it('reads an account once where many activities ask for its lease at the same time', async () => {
  const ids = await Promise.all(Array.from({ length: 20 }, () => execution()));
  const watching = startProcess();
  await watching.renew();
  vi.spyOn(watching, 'renew').mockResolvedValue();
  const reads = vi.spyOn(db, 'selectFrom');
  await Promise.all(ids.map(({ id }, at) => register(watching, id, `many-${at}`)));
  expect(reads.mock.calls.filter(([table]) => (table as unknown) === 'watches')).toHaveLength(1);
  await waitFor('all to be polled', () => ids.every(({ omicsRun }) => polled.includes(omicsRun)));
});

it('leaves accounts to another process whose runs it cannot read', async () => {
  const runs: string[] = [];
  for (const account of ['1', '2', '3']) {
    const { id, omicsRun } = await execution();
    runs.push(omicsRun);
    const watch = { executionId: id, taskToken: Buffer.from(account), from: 'PENDING' as const, probing: false };
    await registerWatch(db, `${account}/us-west-2`, watch);
  }
  const nowhere = openDatabase('postgres://polony@127.0.0.1:9/polony', 1);
  const unable = startProcess(nowhere);
  await unable.renew();
  expect(warnings).toMatchObject([{ err: { code: 'ECONNREFUSED' } }]);
  // It takes none of them back.
  await unable.renew();
  await startProcess().renew();
  await waitFor('the next to poll all of them', () => runs.every((run) => polled.includes(run)));
  await nowhere.destroy();
});

it('ignores what it asked before a gap in its lease', async () => {
  const { id, omicsRun } = await execution();
  const watching = startProcess();
  await register(watching, id, 'one');
  await waitFor('a poll', () => polled.length > 0);
  let answer: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (answer = resolve));
  let isAsked = false;
  onGetRun = () => ((isAsked = true), held);
  await waitFor('HealthOmics to be asked', () => isAsked);
  statuses.set(omicsRun, 'RUNNING');
  // By the clock of this process, the lease expires. Another one completes the activity and leaves.
  const real = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => real() + 26_000);
  await sql`delete from watches`.execute(db);
  await sql`update leases set expires_at = now() - interval '1 second'`.execute(db);
  const before = polled.length;
  const lasting = await execution();
  await register(watching, lasting.id, 'other');
  answer();
  await waitFor('the answer', () => polled.length > before);
  await waitFor('the other run to be polled', () => polled.includes(lasting.omicsRun));
  expect([...told.keys()]).toEqual([]);
});

it('watches in one process, and takes over from one that died or stopped', async () => {
  const { id, omicsRun } = await execution();
  const [one, other] = [startProcess(), startProcess()];
  await register(one, id, 'one');
  await waitFor('a poll', () => polled.length > 0);
  // The other one registers an activity of the same account, whose run the first one watches.
  const second = await execution();
  await register(other, second.id, 'other');
  one.handleAnnouncement(`${SCOPE} ${second.id}`);
  await waitFor('the first to watch it', () => polled.includes(second.omicsRun));

  // The first one stands still, and its lease expires.
  let goOn: () => void = () => undefined;
  const still = new Promise<void>((resolve) => (goOn = resolve));
  let held = 0;
  onGetRun = () => (held++, still);
  await waitFor('the first to wait for HealthOmics', () => held === 2);
  onGetRun = () => undefined;
  await sql`update leases set expires_at = now() - interval '1 second'`.execute(db);
  statuses.set(omicsRun, 'RUNNING');
  const third = startProcess();
  await waitFor('the next to complete the activity', () => told.has('one'));
  // What the first one reads now is out of date, and changes nothing.
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 60_000);
  told.clear();
  goOn();
  await one.close();
  vi.restoreAllMocks();
  expect([...told.keys()].includes('one')).toBe(false);

  await third.close();
  statuses.set(second.omicsRun, 'RUNNING');
  startProcess();
  await waitFor('the last to complete the other activity', () => told.has('other'));
});

it('watches the latest activity of an execution', async () => {
  const { id, omicsRun } = await execution();
  const watching = startProcess();
  await register(watching, id, 'first');
  await waitFor('a poll', () => polled.length > 0);
  await register(watching, id, 'second');
  statuses.set(omicsRun, 'RUNNING');
  await waitFor('the second to be completed', () => told.has('second'));
  expect(told.has('first')).toBe(false);
});

it('completes the activity once Temporal answers again, and drops one that is over', async () => {
  const { id, omicsRun } = await execution();
  isTemporalAway = true;
  statuses.set(omicsRun, 'RUNNING');
  await register(startProcess(), id, 'away');
  await waitFor('a poll', () => polled.length > 0);
  expect(await watchesLeft()).toBe(1);
  isTemporalAway = false;
  await waitFor('the activity to be completed', () => told.has('away'));

  const ended = await execution();
  isOver = true;
  statuses.set(ended.omicsRun, 'COMPLETED');
  await register(running[0]!, ended.id, 'over');
  await waitFor('the watch to be dropped', async () => (await watchesLeft()) === 0);
});

it('goes on after failures that pass, and ends the activity with those that do not', async () => {
  const { id, omicsRun } = await execution();
  let polls = 0;
  onGetRun = () => void polls++;
  failure = Object.assign(new Error('Rate exceeded'), { name: 'ThrottlingException', $metadata: {} });
  await register(startProcess(), id, 'throttled');
  await waitFor('some throttled polls', () => polls > 1);
  expect(told.size).toBe(0);
  failure = undefined;
  statuses.set(omicsRun, 'RUNNING');
  await waitFor('the activity to be completed', () => told.has('throttled'));

  const denied = await execution();
  failure = denial();
  await register(running[0]!, denied.id, 'denied');
  await waitFor('the activity to be failed', () => told.has('denied'));
  expect(told.get('denied')).toBeInstanceOf(ApplicationFailure);
  expect(told.get('denied')).toMatchObject({ type: 'Blocked' });
});

it('shares accounts among processes', async () => {
  const ids = await Promise.all(Array.from({ length: 6 }, () => execution()));
  const first = startProcess();
  await Promise.all(
    ids.map(({ id }, at) =>
      first.register(`account-${at}/us-west-2`, {
        executionId: id,
        taskToken: Buffer.from(`share-${at}`),
        from: 'PENDING',
        probing: false,
      }),
    ),
  );
  const holders = async (): Promise<number[]> =>
    (
      await sql<{ count: number }>`
        select count(*)::int as count from leases where name like 'watch/%' group by holder order by 1`.execute(db)
    ).rows.map(({ count }) => count);
  expect(await holders()).toEqual([6]);
  const second = startProcess();
  await second.renew();
  await first.renew();
  await second.renew();
  expect(await holders()).toEqual([3, 3]);
});

it('finds executions whose run nobody watches', async () => {
  const [watched, unwatched] = [await execution(), await execution()];
  await sql`update executions set workflow_started = true where id = any(${[watched.id, unwatched.id]})`.execute(db);
  await register(startProcess(), watched.id, 'watched');
  const found = await listUnwatched(db, new Date(Date.now() + 60_000), 100);
  expect(found).toContain(unwatched.id);
  expect(found).not.toContain(watched.id);
  expect(await listUnwatched(db, new Date(Date.now() - 3_600_000), 100)).toEqual([]);
});

it('finds executions whose run a dump does not know yet, besides those that wait for their turn', async () => {
  const [forgotten, waiting, absent, unstarted] = [
    await execution(),
    await execution(),
    await execution(),
    await execution(),
  ];
  const ids = [forgotten, waiting, absent, unstarted].map(({ id }) => id);
  await sql`update executions set status = 'INITIALIZED', healthomics_run_id = null,
    workflow_started = (id <> ${unstarted.id}) where id = any(${ids})`.execute(db);
  const queue = (id: string, due: string) =>
    sql`insert into start_queue (execution_id, scope, flow_id, due_at)
      values (${id}, ${SCOPE}, ${flow.id}, now() + ${due}::interval)`.execute(db);
  await queue(waiting.id, '1 minute');
  await queue(absent.id, '-2 hours');
  // It was started without a turn, so its row in the queue is left.
  const known = await execution();
  await sql`update executions set workflow_started = true where id = ${known.id}`.execute(db);
  await queue(known.id, '1 minute');
  await sql`update executions set status = 'UNTRIGGERED' where id = ${absent.id}`.execute(db);
  const found = await listUnwatched(db, new Date(Date.now() + 60_000), 100);
  expect(found.filter((id) => ids.includes(id)).sort()).toEqual([forgotten.id, absent.id].sort());
  expect(found).toContain(known.id);
});

it('watches what it took over although it could not read it at first', async () => {
  const { id, omicsRun } = await execution();
  const dead = startProcess();
  await register(dead, id, 'taken-over');
  await dead.close();
  // The database answers the renewal, and fails before the watches are read.
  const real = db.selectFrom.bind(db) as (table: unknown) => never;
  const selectFrom = vi.spyOn(db, 'selectFrom').mockImplementation((table: unknown) => {
    if (table === 'watches') throw new Error('The database is away');
    return real(table);
  });
  const next = startProcess();
  await next.renew();
  // Others may be able to read them.
  expect(await sql`select 1 from leases where name = ${`watch/${SCOPE}`}`.execute(db)).toMatchObject({ rows: [] });
  selectFrom.mockRestore();
  await sql`update watches set time_registered = now() - interval '1 hour'`.execute(db);
  statuses.set(omicsRun, 'RUNNING');
  await next.renew();
  await waitFor('the activity to be completed', () => told.has('taken-over'));
});

it('watches on where a lease was lost for a moment while a change was to be delivered', async () => {
  const { id, omicsRun } = await execution();
  const watching = startProcess();
  await watching.renew();
  await register(watching, id, 'delivered');
  await waitFor('a poll', () => polled.length > 0);
  await sql`update watches set time_registered = now() - interval '1 hour'`.execute(db);
  isTemporalAway = true;
  statuses.set(omicsRun, 'RUNNING');
  const before = polled.length;
  await waitFor('polls to end, since the change is being delivered', async () => {
    const count = polled.length;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return count > before && polled.length === count;
  });
  // By the clock of this process, the lease expires; the next renewal has it again.
  const real = performance.now.bind(performance);
  const now = vi.spyOn(performance, 'now').mockImplementation(() => real() + 26_000);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  now.mockImplementation(real);
  isTemporalAway = false;
  await watching.renew();
  await waitFor('the activity to be completed', () => told.has('delivered'));
});

it('takes back the trouble that it has shown where another process watches by now', async () => {
  const { id } = await execution();
  failure = Object.assign(new Error('Rate exceeded'), { name: 'ThrottlingException', $metadata: {} });
  const watching = startProcess();
  await register(watching, id, 'troubled');
  await waitFor('the trouble to be shown', () => shown.length > 0);
  expect(shown).toEqual([{ trouble: expect.stringContaining('Rate exceeded') as string }]);
  // Not only when HealthOmics answers what it was asked meanwhile.
  let answer: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (answer = resolve));
  let isAsked = false;
  onGetRun = () => ((isAsked = true), held);
  await waitFor('HealthOmics to be asked again', () => isAsked);
  await sql`update leases set holder = ${newId()}, expires_at = now() + interval '1 hour'`.execute(db);
  await watching.renew();
  await waitFor('the trouble to be taken back', () => shown.length > 1);
  answer();
  await watching.close();
  expect(shown.slice(1)).toEqual([{}]);
  expect(warnings).toEqual([
    { scope: SCOPE, runs: 1, message: expect.stringContaining('no longer watches its HealthOmics runs') as string },
  ]);
});

it('shows no trouble where the lease ended during a poll, and watches on once it has the lease again', async () => {
  const { id, omicsRun } = await execution();
  const watching = startProcess();
  await watching.renew();
  const real = performance.now.bind(performance);
  let losses = 0;
  onGetRun = () => {
    if (losses++ === 0) vi.spyOn(performance, 'now').mockImplementation(() => real() + 26_000);
  };
  statuses.set(omicsRun, 'RUNNING');
  await register(watching, id, 'lost');
  await waitFor('the poll', () => polled.length > 0);
  vi.restoreAllMocks();
  await waitFor('the activity to be completed', async () => {
    await watching.renew();
    return told.has('lost');
  });
  expect([losses > 1, shown]).toEqual([true, []]);
  expect(warnings).toEqual([
    { scope: SCOPE, runs: 1, message: expect.stringContaining('no longer watches its HealthOmics runs') as string },
  ]);
});

it('records no denial that it hears of when another process watches already', async () => {
  const { id } = await execution();
  const first = startProcess();
  await register(first, id, 'one');
  await waitFor('a poll', () => polled.length > 0);
  let answer: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (answer = resolve));
  let isAsked = false;
  onGetRun = async () => {
    if (isAsked) return;
    isAsked = true;
    await held;
    throw denial();
  };
  await waitFor('HealthOmics to be asked', () => isAsked);
  await sql`update leases set expires_at = now() - interval '1 second'`.execute(db);
  await startProcess().renew();
  await first.renew();
  const before = polled.length;
  await waitFor('the next to poll', () => polled.length > before);
  answer();
  const after = polled.length;
  await waitFor('more polls', () => polled.length > after + 5);
  const row = db.selectFrom('executions').select('blocked').where('id', '=', id);
  expect([(await row.executeTakeFirstOrThrow()).blocked, [...told.keys()]]).toEqual([null, []]);
});

it('watches the latest activity where it registers while older ones are read', async () => {
  const { id, omicsRun } = await execution();
  let goOn: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (goOn = resolve));
  let [isLate, isRead] = [false, false];
  const late = new WeakSet<object>();
  const slow = db.withPlugin({
    transformQuery: ({ node, queryId }) => {
      if (isLate && node.kind === 'SelectQueryNode' && JSON.stringify(node).includes('"watches"')) late.add(queryId);
      return node;
    },
    transformResult: async ({ result, queryId }) => {
      if (!late.has(queryId)) return result;
      isRead = true;
      await held;
      return result;
    },
  });
  const watching = startProcess(slow);
  await watching.renew();
  await register(watching, id, 'first');
  await waitFor('a poll', () => polled.length > 0);
  isLate = true;
  const renewing = watching.renew();
  await waitFor('the read', () => isRead);
  isLate = false;
  await register(watching, id, 'second');
  goOn();
  await renewing;
  // The next renewal would mend it.
  vi.spyOn(watching, 'renew').mockResolvedValue();
  statuses.set(omicsRun, 'RUNNING');
  await waitFor('the second to be completed', () => told.has('second'));
});
