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

/**
 * Requests a turn to call StartRun in an account and region. All workers share the turns. Flows alternate, so that
 * one with hundreds of executions does not hold up one with a single execution. Within a flow the oldest execution is
 * first.
 * @param scope account and region
 * @param perSecond most turns in a second
 */
export async function requestStartTurn(
  db: Db,
  { executionId, flowId, scope, perSecond }: { executionId: string; flowId: string; scope: string; perSecond: number },
): Promise<StartTurn> {
  const interval = 1 / perSecond;
  // While nobody waits, one statement is enough.
  const free = await sql`
    update start_pace set next_at = now() + make_interval(secs => greatest(${interval}::float8, penalty))
    where scope = ${scope} and next_at <= now()
      and not exists (select 1 from start_queue q where q.scope = ${scope})`.execute(db);
  if (free.numAffectedRows === 1n) return { wait: 0, left: 0, position: 1, waiting: 0, interval };
  return db.transaction().execute(async (transaction) => {
    await sql`insert into start_pace (scope) values (${scope}) on conflict do nothing`.execute(transaction);
    const pace = (
      await sql<{ free_in: number; interval: number }>`
      select extract(epoch from next_at - clock_timestamp())::float8 as free_in,
        greatest(${interval}::float8, penalty) as interval
      from start_pace where scope = ${scope} for update`.execute(transaction)
    ).rows[0]!;
    await sql`
      insert into start_queue (execution_id, scope, flow_id, due_at)
      values (${executionId}, ${scope}, ${flowId}, clock_timestamp())
      on conflict (execution_id) do update set due_at = excluded.due_at`.execute(transaction);
    const place = (
      await sql<{ position: number; waiting: number }>`
      select position::int, waiting::int from (
        select execution_id, count(*) over () as waiting,
          row_number() over (order by round, last_at nulls first, execution_id) as position
        from (
          select q.execution_id, t.last_at,
            row_number() over (partition by q.flow_id order by q.execution_id) as round
          from start_queue q left join start_turns t on t.scope = q.scope and t.flow_id = q.flow_id
          where q.scope = ${scope} and q.due_at > clock_timestamp() - make_interval(secs => ${ABSENT_SECONDS})
        ) rounds
      ) places where execution_id = ${executionId}`.execute(transaction)
    ).rows[0]!;
    if (place.position === 1 && pace.free_in <= 0) {
      await sql`
        delete from start_queue where execution_id = ${executionId}
          or (scope = ${scope} and due_at < now() - interval '1 hour')`.execute(transaction);
      await sql`
        insert into start_turns values (${scope}, ${flowId}, clock_timestamp())
        on conflict (scope, flow_id) do update set last_at = excluded.last_at`.execute(transaction);
      await sql`
        update start_pace
        set next_at = clock_timestamp() + make_interval(secs => greatest(${interval}::float8, penalty))
        where scope = ${scope}`.execute(transaction);
      return { wait: 0, left: 0, ...place, interval: pace.interval };
    }
    const left = Math.max(0, pace.free_in) + (place.position - 1) * pace.interval;
    const wait = Math.min(left, Math.max(LONGEST_WAIT_SECONDS, place.waiting / MOST_REQUESTS_PER_SECOND));
    await sql`
      update start_queue set due_at = clock_timestamp() + make_interval(secs => ${wait}::float8)
      where execution_id = ${executionId}`.execute(transaction);
    return {
      wait: Math.max(1, Math.ceil(wait * 1000)),
      left: Math.ceil(left * 1000),
      ...place,
      interval: pace.interval,
    };
  });
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
