import { sql } from 'kysely';
import type { Db } from './database.js';

/** A value of a metric; `observability/metrics.ts` has the metrics by these names. */
export interface StoredReading {
  metric:
    | 'executions'
    | 'blocked'
    | 'uploads'
    | 'uploadsStalled'
    | 'startQueue'
    | 'startQueueAge'
    | 'startQueuePause'
    | 'watched'
    | 'oldestWaiting'
    | 'webhooks'
    | 'webhookDeliveries'
    | 'webhookFailing'
    | 'keyExpiry'
    | 'connections';
  labels: Record<string, string>;
  value: number;
}

/** Most different values of a label, such as accounts. The rest is together as `other`. */
const MOST = 100;

interface Row {
  metric: string;
  label_1: string | null;
  label_2: string | null;
  label_3: string | null;
  value: number;
}

/** The labels of each metric, in the order of the columns. */
const LABELS: Record<StoredReading['metric'], readonly string[]> = {
  executions: ['status'],
  blocked: ['kind', 'reason', 'provider'],
  uploads: ['state'],
  uploadsStalled: ['instrument'],
  startQueue: ['account', 'region'],
  startQueueAge: ['account', 'region'],
  startQueuePause: ['account', 'region'],
  watched: ['account', 'region'],
  oldestWaiting: ['kind'],
  webhooks: ['state'],
  webhookDeliveries: ['state'],
  webhookFailing: ['webhook'],
  keyExpiry: ['key', 'name'],
  connections: ['kind', 'status'],
};

/**
 * What the metrics say of the whole installation. All processes read the same values. Each query uses an index or a
 * small table, so that it costs the same however many executions and runs have ended.
 * @throws where the database does not answer
 */
export async function readMetrics(db: Db): Promise<StoredReading[]> {
  // One after the other: a scrape takes one connection of the pool.
  const readings: StoredReading[] = [];
  for (const query of QUERIES) {
    const { rows } = await query.execute(db);
    for (const { metric, value, ...columns } of rows as Row[]) {
      const names = LABELS[metric as StoredReading['metric']];
      const values = [columns.label_1, columns.label_2, columns.label_3];
      const labels = Object.fromEntries(names.map((name, at) => [name, values[at] ?? '']));
      readings.push({ metric: metric as StoredReading['metric'], labels, value: Number(value) });
    }
  }
  return readings;
}

const OPEN = sql`('UNTRIGGERED', 'INITIALIZED', 'PENDING', 'RUNNING')`;
/** The condition of the index executions_open. */
const IS_OPEN = sql`e.status not in ('COMPLETED', 'FAILED', 'CANCELED')`;

const QUERIES = [
  sql`
    select 'executions' as metric, s.status as label_1, null as label_2, null as label_3, count(e.id)::float8 as value
    from unnest(array['UNTRIGGERED', 'INITIALIZED', 'PENDING', 'RUNNING']) s (status)
      left join executions e on e.status = s.status and ${IS_OPEN} and e.status in ${OPEN}
    group by s.status`,
  // By provider name; the largest groups, and the rest of each reason together.
  sql`
    with blocked as (
      select 'execution' as kind, e.blocked->>'kind' as reason, p.name as provider
      from executions e
        join compute_connections c on c.id = e.compute_connection_id join providers p on p.id = c.provider_id
      where ${IS_OPEN} and e.blocked is not null
      union all
      select 'run', r.blocked->>'kind', p.name
      from runs r
        join storage_connections s on s.id = r.storage_connection_id join providers p on p.id = s.provider_id
      where r.upload_state = 'uploading' and r.blocked is not null and s.time_deleted is null
      union all
      select 'grant', g.problem->>'kind', p.name
      from access_grants g
        join storage_connections s on s.id = g.storage_connection_id join providers p on p.id = s.provider_id
      where g.problem is not null
    ), groups as (
      select kind, reason, provider, count(*) as many, row_number() over (order by count(*) desc, provider) as place
      from blocked group by kind, reason, provider
    )
    select 'blocked' as metric, kind as label_1, coalesce(reason, 'UNKNOWN') as label_2,
      case when place <= ${MOST} then provider else 'other' end as label_3, sum(many)::float8 as value
    from groups group by 2, 3, 4`,
  sql`
    select 'uploads' as metric, s.state as label_1, null as label_2, null as label_3, count(r.id)::float8 as value
    from unnest(array['uploading', 'complete', 'refused', 'vanished']) s (state)
      left join (
        select id, upload_state from runs where upload_state = 'uploading'
        union all
        select id, upload_state from runs
        where time_completed > now() - interval '1 day' and upload_state <> 'uploading'
      ) r on r.upload_state = s.state
    group by s.state`,
  sql`
    with stalled as (
      select instrument_name as instrument, count(*) as many,
        row_number() over (order by count(*) desc, instrument_name) as place
      from runs where upload_state = 'uploading' and (progress->>'stalled')::boolean group by instrument_name
    )
    select 'uploadsStalled' as metric, case when place <= ${MOST} then instrument else 'other' end as label_1,
      null as label_2, null as label_3, sum(many)::float8 as value
    from stalled group by 2`,
  sql`
    with queue as (
      select q.scope, count(*) as many, extract(epoch from now() - min(q.time_queued))::float8 as age
      from start_queue q join executions e on e.id = q.execution_id
      where ${IS_OPEN} and q.due_at > now() - interval '1 hour'
      group by q.scope order by 2 desc limit ${MOST}
    )
    select 'startQueue' as metric, split_part(scope, '/', 1) as label_1, split_part(scope, '/', 2) as label_2,
      null as label_3, many::float8 as value from queue
    union all
    select 'startQueueAge', split_part(scope, '/', 1), split_part(scope, '/', 2), null, age from queue
    union all (
      select 'startQueuePause', split_part(scope, '/', 1), split_part(scope, '/', 2), null, penalty
      from start_pace where penalty > 0 order by penalty desc limit ${MOST})`,
  sql`
    select 'watched' as metric, split_part(scope, '/', 1) as label_1, split_part(scope, '/', 2) as label_2,
      null as label_3, count(*)::float8 as value
    from watches group by scope order by 5 desc limit ${MOST}`,
  sql`
    select 'oldestWaiting' as metric, kind as label_1, null as label_2, null as label_3,
      greatest(0, coalesce(extract(epoch from now() - since), 0))::float8 as value
    from (values
      ('start', (
        select min(greatest(e.time_created, coalesce(r.time_completed, e.time_created)))
        from executions e join runs r on r.id = e.run_id
        where ${IS_OPEN} and e.status = 'INITIALIZED' and e.blocked is null)),
      ('workflow', (
        select min(e.time_created) from executions e where ${IS_OPEN} and not e.workflow_started)),
      ('cancel', (
        select min(e.time_cancel_requested) from executions e
        where ${IS_OPEN} and e.time_cancel_requested is not null)),
      ('webhook', (
        select min(time_event) from webhook_deliveries where state in ('pending', 'retrying'))),
      ('blocked', (
        select min((e.blocked->>'since')::timestamptz) from executions e
        where ${IS_OPEN} and e.blocked is not null)),
      ('upload', (
        select min(time_created) from runs where upload_state = 'uploading'))
    ) waiting (kind, since)`,
  sql`
    select 'webhooks' as metric, s.state as label_1, null as label_2, null as label_3, count(w.id)::float8 as value
    from unnest(array['enabled', 'disabled', 'gone']) s (state)
      left join webhooks w
        on s.state = case when w.enabled then 'enabled' when w.disabled_reason is null then 'disabled' else 'gone' end
    group by s.state`,
  sql`
    select 'webhookDeliveries' as metric, s.state as label_1, null as label_2, null as label_3,
      count(d.id)::float8 as value
    from unnest(array['pending', 'retrying']) s (state)
      left join webhook_deliveries d on d.state = s.state and d.state in ('pending', 'retrying')
    group by s.state`,
  sql`
    select 'webhookFailing' as metric, webhook_id::text as label_1, null as label_2, null as label_3,
      count(*)::float8 as value
    from (
      select webhook_id from webhook_deliveries where state in ('pending', 'retrying') and state = 'retrying'
      union all
      select webhook_id from webhook_deliveries
      where time_ended > now() - interval '1 hour' and state = 'failed'
    ) failing
    where webhook_id in (select id from webhooks where enabled)
    group by webhook_id order by count(*) desc limit ${MOST}`,
  // A key that was rotated has the name that `retiredName` gave it, and ends as planned.
  sql`
    select 'keyExpiry' as metric, id::text as label_1, name as label_2, null as label_3,
      extract(epoch from time_expires)::float8 as value
    from api_keys
    where time_revoked is null and time_deleted is null
      and time_expires between now() - interval '7 days' and now() + interval '30 days'
      and name not like '% (replaced, ' || right(id::text, 8) || ')'
    order by time_expires limit ${MOST}`,
  sql`
    select 'connections' as metric, kind as label_1, status as label_2, null as label_3, count(*)::float8 as value
    from (
      select 'provider' as kind, status from providers where time_deleted is null
      union all select 'storageConnection', status from storage_connections where time_deleted is null
      union all select 'computeConnection', status from compute_connections where time_deleted is null
      union all select 'flow', status from flows where time_deleted is null
    ) every group by kind, status`,
];
