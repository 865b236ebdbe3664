import { sql } from 'kysely';
import type { Db, DbOrTransaction } from '../database.js';

/** The answer to a request for a turn. */
export interface StartTurn {
  /** Milliseconds after which to ask again. 0: it is the execution's turn now. */
  wait: number;
  /** Milliseconds until its turn, if everything stays as it is. */
  left: number;
  /** Place in the queue, from 1. */
  position: number;
  waiting: number;
  /** Seconds between two turns: more than the rate says while AWS throttles. */
  interval: number;
}

/** An execution that misses its slot by this time is skipped, so that it holds up nobody. */
const ABSENT_SECONDS = 10;
/**
 * An execution asks again at least so often, because its turn can come much sooner than it seemed: AWS ends throttling,
 * somebody cancels those before it, or raises the rate.
 */
const LONGEST_WAIT_SECONDS = 60;
/** A long queue asks less often: all executions of a queue together make at most so many requests a second. */
const MOST_REQUESTS_PER_SECOND = 20;

/** An execution that wants to call StartRun. */
export interface StartRequest {
  executionId: string;
  flowId: string;
}

/**
 * Requests turns to call StartRun in an account and region, for several executions at once; at most one of them gets
 * its turn. All workers share the turns. Flows alternate, so that a flow with many executions does not delay one with
 * few. Within a flow, the oldest is first.
 * @param scope account and region
 * @param perSecond most turns in a second
 * @returns the answers, in the order of the requests
 */
export async function requestStartTurns(
  db: Db,
  scope: string,
  perSecond: number,
  requests: readonly StartRequest[],
): Promise<StartTurn[]> {
  const interval = 1 / perSecond;
  // While nobody waits, one statement is enough.
  if (requests.length === 1 && (await takeFreeTurn(db, scope, interval)))
    return [{ wait: 0, left: 0, position: 1, waiting: 0, interval }];
  return db.transaction().execute(async (transaction) => {
    const pace = await lockPace(transaction, scope, interval);
    const places = await queue(transaction, scope, requests);
    const next =
      pace.freeIn > 0 ? undefined : requests.find(({ executionId }) => places.get(executionId)!.position === 1);
    if (next !== undefined) await takeTurn(transaction, scope, next, pace.interval);
    const taken = next === undefined ? 0 : 1;
    const freeIn = next === undefined ? Math.max(0, pace.freeIn) : pace.interval;
    const turns = requests.map((each): StartTurn => {
      const { position, waiting } = places.get(each.executionId)!;
      if (each.executionId === next?.executionId)
        return { wait: 0, left: 0, position, waiting, interval: pace.interval };
      const left = freeIn + (position - 1 - taken) * pace.interval;
      const wait = Math.min(left, Math.max(LONGEST_WAIT_SECONDS, waiting / MOST_REQUESTS_PER_SECOND));
      return {
        wait: Math.max(1, Math.ceil(wait * 1000)),
        left: Math.ceil(left * 1000),
        position: position - taken,
        waiting: waiting - taken,
        interval: pace.interval,
      };
    });
    await setDue(
      transaction,
      requests.map(({ executionId }) => executionId),
      turns.map(({ wait }) => wait),
    );
    return turns;
  });
}

async function takeFreeTurn(db: Db, scope: string, interval: number): Promise<boolean> {
  const taken = await sql`
    update start_pace set next_at = now() + make_interval(secs => greatest(${interval}::float8, penalty))
    where scope = ${scope} and next_at <= now()
      and not exists (select 1 from start_queue q where q.scope = ${scope})`.execute(db);
  return taken.numAffectedRows === 1n;
}

/**
 * Has the account and region for itself until the transaction ends.
 * @returns the seconds until a turn is free, and between two turns
 */
async function lockPace(
  transaction: DbOrTransaction,
  scope: string,
  interval: number,
): Promise<{ freeIn: number; interval: number }> {
  for (;;) {
    const { rows } = await sql<{ freeIn: number; interval: number }>`
      select extract(epoch from next_at - clock_timestamp())::float8 as "freeIn",
        greatest(${interval}::float8, penalty) as interval
      from start_pace where scope = ${scope} for update`.execute(transaction);
    if (rows[0] !== undefined) return rows[0];
    await sql`insert into start_pace (scope) values (${scope}) on conflict do nothing`.execute(transaction);
  }
}

/**
 * Adds executions to the queue. The first executions of all flows come before the second ones.
 * @returns the place of each
 */
async function queue(
  transaction: DbOrTransaction,
  scope: string,
  requests: readonly StartRequest[],
): Promise<Map<string, { position: number; waiting: number }>> {
  const ids = requests.map(({ executionId }) => executionId);
  await sql`
    insert into start_queue (execution_id, scope, flow_id, due_at)
    select distinct on (id) id, ${scope}, flow_id, clock_timestamp()
    from unnest(${ids}::uuid[], ${requests.map(({ flowId }) => flowId)}::uuid[]) as request(id, flow_id)
    -- Its account may have become known since it was queued, or the database be an older one.
    on conflict (execution_id) do update set due_at = excluded.due_at, scope = excluded.scope,
      flow_id = excluded.flow_id`.execute(transaction);
  // Counts instead of sorting the whole queue: each request in a long queue asks for its place.
  const { rows } = await sql<{ id: string; position: number; waiting: number }>`
    with present as (
      select execution_id, flow_id, row_number() over (partition by flow_id order by execution_id) - 1 as earlier
      from start_queue
      where scope = ${scope} and due_at > clock_timestamp() - make_interval(secs => ${ABSENT_SECONDS})
    ), flows as (
      select flow_id, count(*) as many from present group by flow_id
    ), ranked as (
      select f.*, row_number() over (order by t.last_at nulls first, f.flow_id) as rank
      from flows f left join start_turns t on t.flow_id = f.flow_id and t.scope = ${scope}
    )
    select p.execution_id as id, sum(r.many)::int as waiting,
      1 + sum(least(r.many, p.earlier + case when r.rank < own.rank then 1 else 0 end))::int as position
    from present p join ranked own on own.flow_id = p.flow_id cross join ranked r
    where p.execution_id = any(${ids}::uuid[])
    group by p.execution_id`.execute(transaction);
  return new Map(rows.map(({ id, ...place }) => [id, place]));
}

async function takeTurn(
  transaction: DbOrTransaction,
  scope: string,
  { executionId, flowId }: StartRequest,
  interval: number,
): Promise<void> {
  await sql`
    delete from start_queue where execution_id = ${executionId}
      or (scope = ${scope} and due_at < now() - interval '1 hour')`.execute(transaction);
  await sql`
    insert into start_turns values (${scope}, ${flowId}, clock_timestamp())
    on conflict (scope, flow_id) do update set last_at = excluded.last_at`.execute(transaction);
  await sql`
    update start_pace set next_at = clock_timestamp() + make_interval(secs => ${interval}::float8)
    where scope = ${scope}`.execute(transaction);
}

/** Notes when executions that are in the queue will ask again. @param waits milliseconds */
async function setDue(transaction: DbOrTransaction, ids: readonly string[], waits: readonly number[]): Promise<void> {
  await sql`
    update start_queue q set due_at = clock_timestamp() + make_interval(secs => turn.wait / 1000)
    from unnest(${ids}::uuid[], ${waits}::float8[]) as turn(id, wait)
    where q.execution_id = turn.id`.execute(transaction);
}

/** Removes an execution that has ended from the queue. */
export async function leaveStartQueue(db: DbOrTransaction, executionId: string): Promise<void> {
  await sql`delete from start_queue where execution_id = ${executionId}`.execute(db);
}

/**
 * Doubles the pause between turns after AWS throttled a call, from 1 s up to 60 s.
 * @returns the pause in milliseconds
 */
export async function lowerStartRate(db: DbOrTransaction, scope: string): Promise<number> {
  const { rows } = await sql<{ penalty: number }>`
    insert into start_pace (scope, penalty, next_at) values (${scope}, 1, now() + interval '1 second')
    on conflict (scope) do update set penalty = least(60, greatest(1, start_pace.penalty * 2)),
      next_at = now() + make_interval(secs => least(60, greatest(1, start_pace.penalty * 2)))
    returning penalty`.execute(db);
  return (rows[0]?.penalty ?? 1) * 1000;
}

/** Halves the pause between turns after AWS accepted a call, down to the configured rate. */
export async function raiseStartRate(db: DbOrTransaction, scope: string): Promise<void> {
  await sql`
    update start_pace set penalty = case when penalty < 0.5 then 0 else penalty / 2 end
    where scope = ${scope} and penalty > 0`.execute(db);
}
