import { type RawBuilder, sql } from 'kysely';
import type { Blocked } from '../domain/executions/execution.js';
import { sanitizeJson } from './database.js';

/**
 * The value that an update writes to a column `blocked`. It has `since`, which stays while the same kind of problem
 * with the same AWS action blocks: probes write the reason again and again, with other words.
 */
export function blockedValue(blocked: Blocked | null): RawBuilder<string> | null {
  if (blocked === null) return null;
  const { kind, action = null } = blocked;
  const isSame = sql`blocked->>'kind' = ${kind} and blocked->>'action' is not distinct from ${action}::text`;
  const since = sql`coalesce(case when ${isSame} then blocked->'since' end, to_jsonb(${new Date().toISOString()}::text))`;
  return sql`jsonb_set(${sanitizeJson(blocked)}::jsonb, '{since}', ${since})`;
}
