import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import pLimit from 'p-limit';
import type { GrantAgenda, GrantChange } from '../../domain/grants/grant.js';
import type { Db } from '../../store/database.js';
import { listDueGrants, loadGrantAgenda } from '../../store/grants/agenda.js';
import { withBucketPolicyLock } from '../../store/grants/bucketPolicyLock.js';
import { findBucketOfGrant, findGrant, loadGrant } from '../../store/grants/load.js';
import type { Dependencies } from '../dependencies.js';
import { withHeartbeat } from '../heartbeat.js';
import { applyGrants } from './applyGrants.js';
import { findTask } from './tasks.js';

/** How many policies one worker changes at the same time. */
const BUCKETS_AT_ONCE = 4;
const DEFAULT_DB_CONNECTIONS = 10;
/** After which Temporal tries again while another worker holds the lock. */
const LOCKED_RETRY_MS = 1000;

/** The activities of `bucketAccess`. */
export function createGrantActivities(dependencies: Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'settings'>) {
  const { db, settings } = dependencies;
  // Each change holds a database connection and needs others meanwhile, so one must stay free. A sweep holds another.
  const connections = settings.maxDbConnections ?? DEFAULT_DB_CONNECTIONS;
  const limit = pLimit(Math.min(BUCKETS_AT_ONCE, Math.max(1, connections - 2)));

  return {
    /**
     * Puts a grant into the policy of its bucket or removes it from there, whichever the store asks for now. Makes all
     * other outstanding changes of the bucket with it.
     */
    async changeAccess(grantId: string): Promise<GrantChange & { agenda: GrantAgenda }> {
      return withHeartbeat(async () => {
        const bucket = await findBucketOfGrant(db, grantId);
        if (bucket === undefined)
          throw ApplicationFailure.nonRetryable(`There is no access grant ${grantId}`, 'NotFound');
        return withLock(bucket, async (connection) => {
          const row = await findGrant(connection, grantId);
          // An earlier change may have made this one too.
          if (row !== undefined && findTask(row) !== undefined) {
            const errors = await applyDueGrants(connection, bucket);
            if (errors.has(grantId)) throw errors.get(grantId);
          }
          const { state, problem } = await loadGrant(connection, grantId);
          return { state, problem, agenda: await loadGrantAgenda(connection, bucket) };
        });
      });
    },

    /** Removes expired grants of a bucket, and makes its outstanding changes. */
    async settleAccess(bucket: string): Promise<GrantAgenda> {
      return withHeartbeat(() =>
        withLock(bucket, async (connection) => {
          const errors = await applyDueGrants(connection, bucket);
          for (const error of errors.values()) throw error;
          return loadGrantAgenda(connection, bucket);
        }),
      );
    },
  };

  /** @returns the errors by grant, where another attempt may succeed. */
  async function applyDueGrants(connection: Db, bucket: string): Promise<Map<string, unknown>> {
    return applyGrants(dependencies, connection, await listDueGrants(connection, bucket));
  }

  /** @throws ApplicationFailure `Busy` where another worker changes the policy. */
  async function withLock<T>(bucket: string, work: (connection: Db) => Promise<T>): Promise<T> {
    const locked = await limit(() => withBucketPolicyLock(db, bucket, work));
    if (locked === undefined)
      throw ApplicationFailure.create({
        type: 'Busy',
        message: `Another worker is changing the policy of ${bucket}`,
        nextRetryDelay: LOCKED_RETRY_MS,
        category: ApplicationFailureCategory.BENIGN,
      });
    return locked.result;
  }
}
