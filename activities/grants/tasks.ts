import type { Grant } from '../../domain/grants/bucketPolicy.js';
import type { GrantState } from '../../domain/grants/grant.js';
import type { WantedChange } from '../../domain/grants/policyPlan.js';
import { type GrantRow, toGrant } from '../../store/grants/load.js';

/**
 * What to do for a grant: put it into the policy, remove it because somebody asked, remove it because it expired, or
 * drop it because its principal does not exist any more.
 */
export type TaskKind = 'grant' | 'remove' | 'expire' | 'drop';

/** The state of a grant after its task. */
export const STATE_AFTER: Record<TaskKind, GrantState> = {
  grant: 'active',
  remove: 'removed',
  expire: 'expired',
  drop: 'failed',
};

/** A change that a policy needs for one grant. */
export interface GrantTask extends WantedChange {
  kind: TaskKind;
  row: GrantRow;
  grant: Grant;
  /** The entry of the audit log for the write that is under way. */
  auditId: string | null;
  /** Whether the policy may have statements of the grant. */
  mayHaveWritten: boolean;
}

/** What is to be done for a grant now; undefined for nothing. */
export function findTask(row: GrantRow): GrantTask | undefined {
  const kind = findTaskKind(row);
  return kind && createTask(kind, row);
}

export function createTask(kind: TaskKind, row: GrantRow): GrantTask {
  return {
    kind,
    row,
    grant: toGrant(row),
    isWanted: kind === 'grant',
    auditId: row.audit_id,
    mayHaveWritten: row.time_sent !== null,
  };
}

function findTaskKind({ state, time_expires: time, audit_id: auditId }: GrantRow): TaskKind | undefined {
  const isExpired = time !== null && time.getTime() <= Date.now();
  if (state === 'removing') return 'remove';
  if (state === 'pending') return isExpired ? 'expire' : 'grant';
  if (state !== 'active') return undefined;
  if (isExpired) return 'expire';
  // Only a drop begins a write for an active grant. Another attempt has not recorded how it ended.
  return auditId === null ? undefined : 'drop';
}
