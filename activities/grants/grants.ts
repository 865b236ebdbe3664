import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { S3Client } from '@aws-sdk/client-s3';
import { sql } from 'kysely';
import { getBucketPolicy, putBucketPolicy } from '../../aws/bucketPolicy.js';
import { classifyAwsError } from '../../aws/errors.js';
import {
  type BucketPolicy,
  deletedPrincipals,
  openStatements,
  policyBytes,
  POLICY_LIMIT,
  PolicyError,
  parseBucketPolicy,
  grantSids,
  grantStanding,
  grantStatements,
  removeStatements,
  putStatements,
  serializeBucketPolicy,
} from '../../domain/grants/bucketPolicy.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { bucketArn, type PermissionAction } from '../../domain/iam/permissions.js';
import type { GrantAgenda, GrantChange, GrantState } from '../../domain/grants/grant.js';
import {
  type GrantRow,
  loadGrantAgenda,
  listDueGrants,
  recordGrantOutcome,
  findGrant,
  toGrant,
  listGrantsOfBucket,
  markGrantSent,
  unmarkGrantSent,
  listGrantsChangedSince,
} from '../../store/grants.js';
import { beginAudit, endAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import { recordEvidence } from '../../store/verification/evidence.js';
import { bucketAccessWorkflowId } from '../../workflows/messages.js';
import type { Dependencies } from '../dependencies.js';
import { getBlocked, toActivityFailure } from '../failures.js';
import { withHeartbeat } from '../heartbeat.js';

/** Policies that one worker changes at once. */
const BUCKETS_AT_ONCE = 4;
/** How often a policy is read, written and read back while others change it too. */
const ROUNDS = 5;
/**
 * Waits before it is read again, in milliseconds: S3 says of the configuration of buckets that a change may not be seen at once
 * (S3 User Guide, "Amazon S3 data consistency model").
 */
const READ_AGAIN_MS = [0, 100, 300, 700, 1500, 3000];
/** How long after a change of ours a policy without it may be an old one. */
const SETTLED_MS = 60_000;

/** A change that AWS or the state of the policy refuses; the same again is refused again until somebody mends it. */
class Refused extends Error {
  constructor(readonly problem: Blocked) {
    super(problem.message);
  }
}

const sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What is to be done for a grant now. */
type Task = 'grant' | 'remove' | 'expire';
const ENDS: Record<Task, GrantState> = { grant: 'active', remove: 'removed', expire: 'expired' };
function taskOf({ state, time_expires: time }: GrantRow): Task | undefined {
  const over = time !== null && time.getTime() <= Date.now();
  if (state === 'removing') return 'remove';
  if (state === 'pending') return over ? 'expire' : 'grant';
  return state === 'active' && over ? 'expire' : undefined;
}

/** The activities of `bucketAccess`: each reads the bucket's policy, changes what is ours in it, writes it and reads it back. */
export function createSharingActivities({
  db,
  aws,
  orchestrator,
  settings,
}: Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'settings'>) {
  // Each holds a connection while others are asked for, of which there must be one.
  let free = Math.min(BUCKETS_AT_ONCE, Math.max(1, (settings.maxDbConnections ?? 10) - 1));
  const waiting: (() => void)[] = [];
  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next !== undefined) next();
      else free++;
    }
  }

  /**
   * Holds a bucket while its policy is changed: workflows do so one by one, but an activity whose worker was thought dead, or whose
   * workflow was terminated, may still be under way. The lock ends with its connection.
   */
  async function alone<T>(bucket: string, work: (held: Db) => Promise<T>): Promise<T> {
    const name = `bucket-policy/${bucket}`;
    return inTurn(() =>
      db.connection().execute(async (held) => {
        const { rows } = await sql<{
          held: boolean;
        }>`select pg_try_advisory_lock(hashtextextended(${name}, 0)) as held`.execute(held);
        if (rows[0]?.held !== true)
          throw ApplicationFailure.create({
            type: 'Busy',
            message: `The policy of ${bucket} is being changed by another worker`,
            nextRetryDelay: 1000,
            category: ApplicationFailureCategory.BENIGN,
          });
        try {
          return await work(held);
        } finally {
          await sql`select pg_advisory_unlock(hashtextextended(${name}, 0))`.execute(held).catch(() => undefined);
        }
      }),
    );
  }

  /** What an error of a call means: a refusal where a person can mend it, else what the activity is to fail with, to be tried again. */
  function failed(
    error: unknown,
    action: string,
    row: GrantRow,
    task: Task,
    policy?: BucketPolicy,
  ): Refused | ApplicationFailure {
    const resource = `arn:${row.partition}:s3:::${row.bucket}`;
    const then = task === 'grant' ? 'then repair the grant' : 'it is tried again by itself';
    const { code, kind, message } = classifyAwsError(error);
    const refused = (of: string, text: string, remedy: string): Refused =>
      new Refused({ kind: of, action, resource, message: text, remedy: `${remedy}; ${then}.` });
    const open = policy === undefined ? [] : openStatements(policy);
    if (kind === 'denied' && /BlockPublicPolicy|public polic/i.test(message)) {
      return refused(
        'PUBLIC_POLICY_BLOCKED',
        `S3 Block Public Access refuses the policy as a public one: ${open.length === 0 ? message : `it has statements for everybody: ${open.join(', ')}`}`,
        'What polony adds names one principal and is never public: narrow the statements for everybody, or take them out',
      );
    }
    if (code === 'MethodNotAllowed')
      return refused(
        'NOT_BUCKET_OWNER',
        `The bucket ${row.bucket} is not of the provider's account, and only the account of a bucket may change its policy`,
        'Connect the bucket with a provider of its own account',
      );
    if (/Redirect|IllegalLocation|AuthorizationHeaderMalformed/.test(code))
      return refused(
        'WRONG_REGION',
        `The bucket ${row.bucket} is in another region than its storage connection says`,
        'Correct the region of the storage connection',
      );
    if (/MalformedPolicy/.test(code)) {
      const gone = policy === undefined ? [] : deletedPrincipals(policy);
      const { Detail: detail } = error as { Detail?: string };
      if (/principal/i.test(message) && gone.length > 0) {
        return refused(
          'DELETED_PRINCIPAL',
          `S3 refuses the policy since it names roles or users that were deleted: ${gone.map(({ name, ids }) => `${ids.join(', ')} in the statement ${name}`).join('; ')}`,
          'Take these statements out of the policy, or those grants where they are ours',
        );
      }
      if (/principal/i.test(message))
        return refused(
          'PRINCIPAL_NOT_FOUND',
          `AWS does not know a principal of the policy: ${detail ?? row.principal}`,
          'Check the ARN, with its path; roles and users must exist before they are granted anything',
        );
      if (/size|large|exceed/i.test(message))
        return refused(
          'POLICY_TOO_LARGE',
          `S3 finds the policy too large: ${message}`,
          'Take grants or statements out',
        );
      return refused(
        'MALFORMED_POLICY',
        `S3 refuses the policy: ${message}`,
        'Mend what it names in the policy of the bucket',
      );
    }
    const failure = toActivityFailure(error, {
      action,
      resource,
      whenNotFound: 'Check the bucket of the storage connection',
    });
    const blocked = getBlocked(failure);
    if (blocked === undefined) return failure;
    const hint =
      action === 's3:PutBucketPolicy' && open.length > 0
        ? ` Where it is allowed, S3 Block Public Access refuses the policy because of ${open.join(', ')}, for everybody.`
        : '';
    return new Refused({
      ...blocked,
      remedy: `${blocked.remedy.replace(/[.;]? ?(it goes on by itself)?\.?$/, '')}; ${then}.${hint}`,
    });
  }

  /**
   * Brings the policy of the bucket to what a grant wants. Repeatable: what is done already is found so.
   * @param noteUse is told what use shows of a permission that no probe can tell
   * @returns whether it had to be written.
   * @throws Refused, ApplicationFailure
   */
  async function write(
    held: Db,
    row: GrantRow,
    task: Task,
    s3: S3Client,
    noteUse: (action: PermissionAction, error?: { code: string; message: string }) => Promise<void>,
  ): Promise<boolean> {
    const grant = toGrant(row);
    const sids = grantSids(grant);
    const adding = task === 'grant';
    const read = async (): Promise<{ text: string | undefined; policy: BucketPolicy }> => {
      let text: string | undefined;
      try {
        text = await getBucketPolicy(s3, row.bucket);
      } catch (error) {
        throw failed(error, 's3:GetBucketPolicy', row, task);
      }
      try {
        return { text, policy: parseBucketPolicy(text) };
      } catch (error) {
        if (error instanceof PolicyError)
          throw new Refused({
            kind: 'POLICY_NOT_UNDERSTOOD',
            message: error.message,
            remedy: 'Mend the policy of the bucket.',
          });
        throw error;
      }
    };
    const done = (policy: BucketPolicy): boolean =>
      adding
        ? grantStanding(policy, grant) === 'whole'
        : !policy.statements.some(({ value }) => sids.includes(value.Sid as string));

    const recent = (await listGrantsChangedSince(held, row.bucket, new Date(Date.now() - SETTLED_MS))).filter(
      ({ id }) => id !== row.id,
    );
    const live = new Set([...(await listGrantsOfBucket(held, row.bucket)).map(toGrant), grant].flatMap(grantSids));
    /** Whether this may be a policy of before our own last changes, which to write back would undo them. */
    const old = (policy: BucketPolicy): boolean =>
      recent.some((other) =>
        other.state === 'active'
          ? grantStanding(policy, toGrant(other)) === 'missing'
          : grantSids(toGrant(other)).some(
              (sid) => !live.has(sid) && policy.statements.some(({ value }) => value.Sid === sid),
            ),
      );

    let auditId = row.audit_id;
    let mayHaveWritten = row.time_sent !== null;
    /** Nothing of it is in any policy then. */
    const refused = async (problem: Blocked): Promise<Refused> => {
      if (!mayHaveWritten) await unmarkGrantSent(held, row.id);
      return new Refused(problem);
    };
    for (let round = 1; round <= ROUNDS; round++) {
      let { text, policy } = await read();
      for (const wait of READ_AGAIN_MS.slice(1)) {
        if (!old(policy)) break;
        await sleep(wait);
        ({ text, policy } = await read());
      }
      if (done(policy)) {
        // A write whose answer was lost, or somebody has done it by hand.
        if (auditId !== null) await endAudit(held, auditId, {});
        return auditId !== null;
      }
      if (adding && !row.overwrite && grantStanding(policy, grant) === 'changed') {
        throw new Refused({
          kind: 'STATEMENT_DIFFERS',
          message: `The policy has a statement ${sids[0]} that says something else than this grant`,
          remedy: 'Look at it in the policy of the bucket; repair the grant to have it written anew.',
        });
      }
      const next = serializeBucketPolicy(
        adding ? putStatements(policy, grantStatements(grant)) : removeStatements(policy, sids),
      );
      const bytes = policyBytes(next ?? '');
      if (adding && bytes > POLICY_LIMIT) {
        throw new Refused({
          kind: 'POLICY_TOO_LARGE',
          message: `The policy would have ${bytes} bytes; S3 takes ${POLICY_LIMIT}`,
          remedy:
            'Take grants or statements out, or grant to an account and share onward there; then repair the grant.',
        });
      }
      // Begun before it is done, so that no policy is changed unwritten.
      if (auditId !== null) await endAudit(held, auditId, { reason: 'TRIED_AGAIN' });
      auditId = await held.transaction().execute(async (transaction) => {
        const id = await beginAudit(transaction, {
          caller: task === 'expire' ? { kind: 'system', id: 'polony', name: 'polony' } : row.changed_by,
          action: `bucketAccess.${task}`,
          requestId: task === 'expire' ? bucketAccessWorkflowId(row.bucket) : row.request_id,
          resourceType: 'storage',
          resourceId: row.storage_connection_id,
          detail: {
            accessGrantId: row.id,
            bucket: row.bucket,
            principal: row.principal,
            folder: row.folder,
            before: text ?? null,
            after: next,
          },
        });
        await markGrantSent(transaction, row.id, id);
        return id;
      });
      // Whoever has written meanwhile is not written over.
      if ((await read()).text !== text) {
        await endAudit(held, auditId, { reason: 'POLICY_CHANGED_MEANWHILE' });
        auditId = null;
        continue;
      }
      const action = next === null ? 's3:DeleteBucketPolicy' : 's3:PutBucketPolicy';
      try {
        await putBucketPolicy(s3, row.bucket, next);
      } catch (error) {
        const failure = failed(error, action, row, task, policy);
        if (failure instanceof Refused && failure.problem.kind === 'ACCESS_DENIED')
          await noteUse(action, classifyAwsError(error));
        // Else the answer was lost, or AWS is away: the next attempt tells what became of it.
        if (!(failure instanceof Refused)) throw failure;
        await endAudit(held, auditId, { reason: failure.problem.kind });
        throw await refused(failure.problem);
      }
      mayHaveWritten = true;
      await noteUse(action);
      for (const wait of READ_AGAIN_MS) {
        await sleep(wait);
        if (!done((await read()).policy)) continue;
        await endAudit(held, auditId, {});
        return true;
      }
      await endAudit(held, auditId, { reason: 'POLICY_CHANGED_MEANWHILE' });
      auditId = null;
    }
    throw await refused({
      kind: 'POLICY_CHANGED_MEANWHILE',
      message: `Somebody else changes the policy of ${row.bucket} again and again: ${ROUNDS} times it was another one as soon as it had been read or written`,
      remedy: `See who else writes it (CloudTrail, PutBucketPolicy), such as an infrastructure tool that puts it back; ${adding ? 'then repair the grant' : 'it is tried again by itself'}.`,
    });
  }

  /** Does what is to be done for a grant, and notes how that ended. */
  async function carryOut(held: Db, row: GrantRow): Promise<void> {
    const task = taskOf(row);
    if (task === undefined) return;
    // What was never sent is in no policy.
    if (task !== 'grant' && row.time_sent === null)
      return void (await recordGrantOutcome(held, row.id, row.state, ENDS[task]));
    try {
      const storage = await held
        .selectFrom('storage_connections')
        .select(['provider_id', 'region', 'name'])
        .where('id', '=', row.storage_connection_id)
        .executeTakeFirstOrThrow();
      const noteUse = async (action: PermissionAction, error?: { code: string; message: string }): Promise<void> => {
        if (!(await recordEvidence(held, storage.provider_id, action, bucketArn(row.bucket), error))) return;
        // The report says it at the next verification otherwise.
        await orchestrator
          .verify({ kind: 'storageConnection', id: row.storage_connection_id, name: storage.name })
          .catch(() => undefined);
      };
      const written = await aws
        .use(storage.provider_id, () => write(held, row, task, aws.s3(storage.provider_id, storage.region), noteUse))
        .catch((error: unknown) => {
          throw error instanceof Refused || error instanceof ApplicationFailure
            ? error
            : failed(error, 's3:GetBucketPolicy', row, task);
        });
      await recordGrantOutcome(held, row.id, row.state, ENDS[task], { written });
    } catch (error) {
      if (error instanceof Refused) {
        await recordGrantOutcome(held, row.id, row.state, task === 'grant' ? 'failed' : row.state, {
          problem: error.problem,
        });
        return;
      }
      const message = error instanceof Error ? error.message : String(error);
      await recordGrantOutcome(held, row.id, row.state, row.state, {
        problem: { kind: 'UNAVAILABLE', message, remedy: 'It is tried again by itself.' },
      });
      throw error;
    }
  }

  return {
    /** Writes a grant into the policy of its bucket, or takes it out, whichever is wanted of it now. */
    async changeAccess(grantId: string): Promise<GrantChange & { agenda: GrantAgenda }> {
      return withHeartbeat(async () => {
        const known = await db.selectFrom('access_grants').selectAll().where('id', '=', grantId).executeTakeFirst();
        if (known === undefined)
          throw ApplicationFailure.nonRetryable(`There is no access grant ${grantId}`, 'NotFound');
        return alone(known.bucket, async (held) => {
          const row = await findGrant(held, grantId);
          if (row !== undefined) await carryOut(held, row);
          const now = await held
            .selectFrom('access_grants')
            .select(['state', 'problem'])
            .where('id', '=', grantId)
            .executeTakeFirstOrThrow();
          return { state: now.state, problem: now.problem, agenda: await loadGrantAgenda(held, known.bucket) };
        });
      });
    },

    /** Does all that is to be done in a bucket now: grants whose time is over, and what could not be done before. */
    async settleAccess(bucket: string): Promise<GrantAgenda> {
      return withHeartbeat(() =>
        alone(bucket, async (held) => {
          for (const row of await listDueGrants(held, bucket)) await carryOut(held, row);
          return loadGrantAgenda(held, bucket);
        }),
      );
    },
  };
}
