import { ApplicationFailure } from '@temporalio/common';
import type { GrantState } from '../../domain/grants/grant.js';
import { bucketArn } from '../../domain/iam/permissions.js';
import type { Db } from '../../store/database.js';
import type { GrantRow } from '../../store/grants/load.js';
import { type GrantStorage, loadGrantStorage, recordGrantOutcome } from '../../store/grants/policyChanges.js';
import { recordEvidence } from '../../store/verification/evidence.js';
import type { Dependencies } from '../dependencies.js';
import { type NotePermission, PolicyChange } from './policyChange.js';
import { explainPolicyError, GrantRejected, type GrantTask } from './rejection.js';

/** The state of a grant after its task. */
const STATE_AFTER: Record<GrantTask, GrantState> = { grant: 'active', remove: 'removed', expire: 'expired' };

type GrantDependencies = Pick<Dependencies, 'aws' | 'orchestrator'>;

/**
 * Does what is to be done for a grant now, and records how that ended.
 * @param connection holds the lock on the bucket's policy.
 * @throws where another attempt may succeed.
 */
export async function applyGrant(dependencies: GrantDependencies, connection: Db, row: GrantRow): Promise<void> {
  const task = findTask(row);
  if (task === undefined) return;
  // A grant that was never sent is in no policy.
  if (task !== 'grant' && row.time_sent === null) {
    await recordGrantOutcome(connection, row.id, row.state, STATE_AFTER[task]);
    return;
  }
  try {
    const written = await changePolicy(dependencies, connection, row, task);
    await recordGrantOutcome(connection, row.id, row.state, STATE_AFTER[task], { written });
  } catch (error) {
    await recordProblem(connection, row, task, error);
  }
}

function findTask({ state, time_expires: time }: GrantRow): GrantTask | undefined {
  const isExpired = time !== null && time.getTime() <= Date.now();
  if (state === 'removing') return 'remove';
  if (state === 'pending') return isExpired ? 'expire' : 'grant';
  return state === 'active' && isExpired ? 'expire' : undefined;
}

/** @returns whether the policy was written. */
async function changePolicy(
  dependencies: GrantDependencies,
  connection: Db,
  row: GrantRow,
  task: GrantTask,
): Promise<boolean> {
  const { aws } = dependencies;
  const storage = await loadGrantStorage(connection, row.storage_connection_id);
  const notePermission = createPermissionNotes(dependencies, connection, row, storage);
  try {
    return await aws.use(storage.providerId, () =>
      new PolicyChange(connection, aws.s3(storage.providerId, storage.region), row, task, notePermission).apply(),
    );
  } catch (error) {
    if (error instanceof GrantRejected || error instanceof ApplicationFailure) throw error;
    throw explainPolicyError(error, { action: 's3:GetBucketPolicy', row, task });
  }
}

function createPermissionNotes(
  { orchestrator }: GrantDependencies,
  connection: Db,
  row: GrantRow,
  storage: GrantStorage,
): NotePermission {
  return async (action, error) => {
    const isNews = await recordEvidence(
      connection,
      storage.providerId,
      action,
      bucketArn(row.bucket, row.partition),
      error,
    );
    if (!isNews) return;
    // Where this fails, the next verification reports it.
    await orchestrator.verification
      .verify({ kind: 'storageConnection', id: row.storage_connection_id, name: storage.name })
      .catch(() => undefined);
  };
}

/** @throws the error where another attempt may succeed. */
async function recordProblem(connection: Db, row: GrantRow, task: GrantTask, error: unknown): Promise<void> {
  if (error instanceof GrantRejected) {
    const state = task === 'grant' ? 'failed' : row.state;
    await recordGrantOutcome(connection, row.id, row.state, state, { problem: error.problem });
    return;
  }
  const message = error instanceof Error ? error.message : String(error);
  await recordGrantOutcome(connection, row.id, row.state, row.state, {
    problem: { kind: 'UNAVAILABLE', message, remedy: 'polony tries again automatically.' },
  });
  throw error;
}
