import type { S3Client } from '@aws-sdk/client-s3';
import { getBucketPolicy, putBucketPolicy } from '../../aws/bucketPolicy.js';
import { classifyAwsError } from '../../aws/errors.js';
import type { Blocked } from '../../domain/executions/execution.js';
import {
  type BucketPolicy,
  type Grant,
  grantSids,
  grantStanding,
  grantStatements,
  parseBucketPolicy,
  policyBytes,
  POLICY_LIMIT,
  PolicyError,
  putStatements,
  removeStatements,
  serializeBucketPolicy,
} from '../../domain/grants/bucketPolicy.js';
import type { PermissionAction } from '../../domain/iam/permissions.js';
import { type AuditEntry, endAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import { type GrantRow, listGrantsChangedSince, listGrantsOfBucket, toGrant } from '../../store/grants/load.js';
import { beginPolicyWrite, unmarkGrantSent } from '../../store/grants/policyChanges.js';
import { bucketAccessWorkflowId } from '../../workflows/messages/grants.js';
import { describeNextStep, explainPolicyError, GrantRejected, type GrantTask } from './rejection.js';

/** How often a policy is read, written and read back while others change it too. */
const ROUNDS = 5;
/**
 * Waits between reads, in milliseconds. S3 may show a change of a bucket's configuration late (S3 User Guide, "Amazon
 * S3 data consistency model").
 */
const READ_DELAYS_MS = [0, 100, 300, 700, 1500, 3000];
/** For so long after a change by polony, S3 may still show the policy from before it. */
const SETTLED_MS = 60_000;

/** Is told what a write shows about a permission that no probe can check. */
export type NotePermission = (action: PermissionAction, error?: { code: string; message: string }) => Promise<void>;

interface ReadPolicy {
  /** Undefined where the bucket has no policy. */
  text: string | undefined;
  policy: BucketPolicy;
}

/** `superseded`: somebody else changed the policy meanwhile, so that the round is repeated. */
type RoundResult = 'unchanged' | 'written' | 'superseded';

/**
 * Brings the policy of a bucket to what one grant asks for: reads it, changes the statements of the grant, writes it
 * and reads it back. It can be repeated, since it recognizes what is done already.
 */
export class PolicyChange {
  readonly #grant: Grant;
  readonly #sids: string[];
  /** Of the write that is under way. */
  #auditId: string | null;
  /** Whether the policy may have statements of the grant. */
  #mayHaveWritten: boolean;
  #recentlyChanged: GrantRow[] = [];
  /** Sids of all grants of the bucket that are to be in its policy. */
  #currentSids: ReadonlySet<string> = new Set();

  /** @param connection holds the lock on the bucket's policy. */
  constructor(
    private readonly connection: Db,
    private readonly s3: S3Client,
    private readonly row: GrantRow,
    private readonly task: GrantTask,
    private readonly notePermission: NotePermission,
  ) {
    this.#grant = toGrant(row);
    this.#sids = grantSids(this.#grant);
    this.#auditId = row.audit_id;
    this.#mayHaveWritten = row.time_sent !== null;
  }

  /**
   * @returns whether the policy was written for the grant, now or by an attempt before.
   * @throws GrantRejected where a person must act; ApplicationFailure where another attempt may succeed.
   */
  async apply(): Promise<boolean> {
    await this.#loadOtherGrants();
    for (let round = 1; round <= ROUNDS; round++) {
      const result = await this.#tryRound();
      if (result !== 'superseded') return result === 'written';
    }
    throw await this.#reject({
      kind: 'POLICY_CHANGED_MEANWHILE',
      message:
        `Somebody else keeps changing the policy of ${this.row.bucket}: ${ROUNDS} times it was different as soon as ` +
        'polony had read or written it',
      remedy:
        'Find out who else writes it (PutBucketPolicy in CloudTrail), such as an infrastructure tool that restores ' +
        'it. ' +
        describeNextStep(this.task),
    });
  }

  async #tryRound(): Promise<RoundResult> {
    const { text, policy } = await this.#readCurrent();
    if (this.#isDone(policy)) return this.#confirmDone();
    this.#rejectChangedByHand(policy);
    const next = this.#createPolicy(policy);
    await this.#beginWrite(text, next);
    // Never overwrite what somebody else wrote meanwhile.
    if ((await this.#read()).text !== text) return this.#abandonWrite();
    await this.#write(next, policy);
    return (await this.#isReadBack()) ? this.#confirmDone() : this.#abandonWrite();
  }

  /** What the policy must have, by the other grants of the bucket. */
  async #loadOtherGrants(): Promise<void> {
    const { bucket, id } = this.row;
    const since = new Date(Date.now() - SETTLED_MS);
    const changed = await listGrantsChangedSince(this.connection, bucket, since);
    this.#recentlyChanged = changed.filter((other) => other.id !== id);
    const grants = (await listGrantsOfBucket(this.connection, bucket)).map(toGrant);
    this.#currentSids = new Set([...grants, this.#grant].flatMap(grantSids));
  }

  async #read(): Promise<ReadPolicy> {
    let text: string | undefined;
    try {
      text = await getBucketPolicy(this.s3, this.row.bucket);
    } catch (error) {
      throw explainPolicyError(error, { action: 's3:GetBucketPolicy', row: this.row, task: this.task });
    }
    try {
      return { text, policy: parseBucketPolicy(text) };
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      throw new GrantRejected({
        kind: 'POLICY_NOT_UNDERSTOOD',
        message: error.message,
        remedy: `Correct the policy of the bucket. ${describeNextStep(this.task)}`,
      });
    }
  }

  /** Reads the policy until it has the last changes by polony: to write back an older one would undo them. */
  async #readCurrent(): Promise<ReadPolicy> {
    let read = await this.#read();
    for (const delay of READ_DELAYS_MS.slice(1)) {
      if (!this.#isOutdated(read.policy)) break;
      await sleep(delay);
      read = await this.#read();
    }
    return read;
  }

  #isOutdated(policy: BucketPolicy): boolean {
    return this.#recentlyChanged.some((row) => {
      const grant = toGrant(row);
      if (row.state === 'active') return grantStanding(policy, grant) === 'missing';
      return hasStatement(
        policy,
        grantSids(grant).filter((sid) => !this.#currentSids.has(sid)),
      );
    });
  }

  #isDone(policy: BucketPolicy): boolean {
    return this.task === 'grant' ? grantStanding(policy, this.#grant) === 'whole' : !hasStatement(policy, this.#sids);
  }

  /**
   * Closes the audit entry of this write, or of one whose answer was lost. Without one, somebody has done it by hand.
   */
  async #confirmDone(): Promise<RoundResult> {
    if (this.#auditId === null) return 'unchanged';
    await endAudit(this.connection, this.#auditId, {});
    return 'written';
  }

  #rejectChangedByHand(policy: BucketPolicy): void {
    const isChanged = this.task === 'grant' && grantStanding(policy, this.#grant) === 'changed';
    if (!isChanged || this.row.overwrite) return;
    throw new GrantRejected({
      kind: 'STATEMENT_DIFFERS',
      message: `The policy has a statement ${this.#sids[0]} that differs from this grant`,
      remedy: 'Check the statement in the policy of the bucket. To overwrite it, repair the grant.',
    });
  }

  /** @returns the new policy; null to delete it. */
  #createPolicy(policy: BucketPolicy): string | null {
    if (this.task !== 'grant') return serializeBucketPolicy(removeStatements(policy, this.#sids));
    const next = serializeBucketPolicy(putStatements(policy, grantStatements(this.#grant)));
    const bytes = policyBytes(next ?? '');
    if (bytes > POLICY_LIMIT)
      throw new GrantRejected({
        kind: 'POLICY_TOO_LARGE',
        message: `The policy would have ${bytes} bytes; S3 accepts at most ${POLICY_LIMIT}`,
        remedy:
          'Remove grants or statements, or grant access to a whole account and share it within that account. ' +
          'Then repair the grant.',
      });
    return next;
  }

  /** Writes an audit entry before the policy, so that no change is missing in the audit log. */
  async #beginWrite(before: string | undefined, after: string | null): Promise<void> {
    if (this.#auditId !== null) await endAudit(this.connection, this.#auditId, { reason: 'TRIED_AGAIN' });
    this.#auditId = await beginPolicyWrite(this.connection, this.row.id, this.#createAuditEntry(before, after));
  }

  #createAuditEntry(before: string | undefined, after: string | null): AuditEntry {
    const { row, task } = this;
    const isByPolony = task === 'expire';
    return {
      caller: isByPolony ? { kind: 'system', id: 'polony', name: 'polony' } : row.changed_by,
      action: `bucketAccess.${task}`,
      requestId: isByPolony ? bucketAccessWorkflowId(row.bucket) : row.request_id,
      resourceType: 'storage',
      resourceId: row.storage_connection_id,
      detail: {
        accessGrantId: row.id,
        bucket: row.bucket,
        principal: row.principal,
        folder: row.folder,
        before: before ?? null,
        after,
      },
    };
  }

  async #abandonWrite(): Promise<RoundResult> {
    await endAudit(this.connection, this.#auditId!, { reason: 'POLICY_CHANGED_MEANWHILE' });
    this.#auditId = null;
    return 'superseded';
  }

  async #write(next: string | null, before: BucketPolicy): Promise<void> {
    const action = next === null ? 's3:DeleteBucketPolicy' : 's3:PutBucketPolicy';
    try {
      await putBucketPolicy(this.s3, this.row.bucket, next);
    } catch (error) {
      const failure = explainPolicyError(error, { action, row: this.row, task: this.task, policy: before });
      // The write may have reached S3: the next attempt finds out.
      if (!(failure instanceof GrantRejected)) throw failure;
      const { kind } = failure.problem;
      if (kind === 'ACCESS_DENIED') await this.notePermission(action, classifyAwsError(error));
      await endAudit(this.connection, this.#auditId!, { reason: kind });
      throw await this.#reject(failure.problem);
    }
    this.#mayHaveWritten = true;
    await this.notePermission(action);
  }

  async #isReadBack(): Promise<boolean> {
    for (const delay of READ_DELAYS_MS) {
      await sleep(delay);
      if (this.#isDone((await this.#read()).policy)) return true;
    }
    return false;
  }

  /** Where no write went through, no policy has statements of the grant. */
  async #reject(problem: Blocked): Promise<GrantRejected> {
    if (!this.#mayHaveWritten) await unmarkGrantSent(this.connection, this.row.id);
    return new GrantRejected(problem);
  }
}

function hasStatement(policy: BucketPolicy, sids: readonly string[]): boolean {
  return policy.statements.some(({ value }) => sids.includes(value.Sid as string));
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
