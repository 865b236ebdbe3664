import type { GrantAgenda } from '../../domain/grants/grant.js';
import type { DbOrTransaction } from '../database.js';
import type { GrantRow } from './load.js';

/**
 * Grants of a bucket that polony must add, remove or expire now, or has begun to drop because their principal is gone.
 */
export async function listDueGrants(db: DbOrTransaction, bucket: string): Promise<GrantRow[]> {
  return db
    .selectFrom('access_grants')
    .selectAll()
    .where('bucket', '=', bucket)
    .where((where) =>
      where.or([
        where('state', 'in', ['pending', 'removing']),
        where.and([
          where('state', '=', 'active'),
          where.or([where('time_expires', '<=', new Date()), where('audit_id', 'is not', null)]),
        ]),
      ]),
    )
    .orderBy('id')
    .execute();
}

/** What is left to do in a bucket. */
export async function loadGrantAgenda(db: DbOrTransaction, bucket: string): Promise<GrantAgenda> {
  const rows = await db
    .selectFrom('access_grants')
    .select(['state', 'problem', 'time_expires', 'audit_id'])
    .where('bucket', '=', bucket)
    .where('state', 'in', ['pending', 'removing', 'active'])
    .execute();
  const now = Date.now();
  const expiries = rows
    .filter(({ state }) => state === 'active')
    .flatMap(({ time_expires: time }) => (time === null ? [] : [time.getTime()]));
  const open = rows.filter(
    ({ state, time_expires: time, audit_id: auditId }) =>
      state !== 'active' || auditId !== null || (time !== null && time.getTime() <= now),
  );
  const later = expiries.filter((time) => time > now);
  return {
    due: later.length === 0 ? null : Math.min(...later),
    open: open.length,
    problem: open.find(({ problem }) => problem !== null)?.problem ?? null,
  };
}

/** How long the workflow has for a change, tried or not, before the sweep starts it again. */
const LATE_MS = { untried: 30_000, tried: 20 * 60_000 };

/** Buckets whose changes nobody makes: the process that requested them died, or somebody terminated the workflow. */
export async function listUnattendedBuckets(
  db: DbOrTransaction,
): Promise<{ bucket: string; storage_connection: string }[]> {
  const now = Date.now();
  const [untried, tried] = [new Date(now - LATE_MS.untried), new Date(now - LATE_MS.tried)];
  const rows = await db
    .selectFrom('access_grants as g')
    .innerJoin('storage_connections as s', 's.id', 'g.storage_connection_id')
    .select(['g.bucket', 's.name as storage_connection'])
    .where((where) =>
      where.or([
        where.and([
          where('g.state', 'in', ['pending', 'removing']),
          where.or([
            where.and([where('g.time_tried', 'is', null), where('g.time_updated', '<', untried)]),
            where('g.time_tried', '<', tried),
          ]),
        ]),
        where.and([
          where('g.state', '=', 'active'),
          where('g.time_expires', '<', untried),
          where.or([
            where('g.time_tried', 'is', null),
            where('g.time_tried', '<', tried),
            where('g.time_tried', '<', where.ref('g.time_expires')),
          ]),
        ]),
      ]),
    )
    .orderBy('g.id')
    .execute();
  return [...new Map(rows.map((row) => [row.bucket, row])).values()];
}
