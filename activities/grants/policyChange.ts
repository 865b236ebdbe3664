import type { S3Client } from '@aws-sdk/client-s3';
import { getBucketPolicy, putBucketPolicy } from '../../aws/bucketPolicy.js';
import { classifyAwsError } from '../../aws/errors.js';
import type { Blocked } from '../../domain/executions/execution.js';
import {
  type BucketPolicy,
  grantSids,
  grantStanding,
  parseBucketPolicy,
  POLICY_LIMIT,
  PolicyError,
} from '../../domain/grants/bucketPolicy.js';
import {
  explainUnknownPrincipal,
  findGonePrincipals,
  isSamePrincipal,
  isUniqueId,
} from '../../domain/grants/gonePrincipals.js';
import { isChangeDone, planPolicy } from '../../domain/grants/policyPlan.js';
import type { PermissionAction } from '../../domain/iam/permissions.js';
import { type AuditEntry, endAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import { type GrantRow, listGrantsChangedSince, listGrantsOfBucket, toGrant } from '../../store/grants/load.js';
import { beginPolicyWrite, endPolicyWrite, unmarkGrantSent } from '../../store/grants/policyChanges.js';
import { bucketAccessWorkflowId } from '../../workflows/messages/grants.js';
import { addNextStep, explainPolicyError, GrantRejected, readUnknownPrincipals } from './rejection.js';
import { createTask, type GrantTask } from './tasks.js';

/** How often a policy is read, written and read back while others change it too. */
const ROUNDS = 5;
/**
 * Waits between reads, in milliseconds. S3 may show a change of a bucket's configuration late (S3 User Guide, "Amazon
 * S3 data consistency model").
 */
const READ_DELAYS_MS = [0, 100, 300, 700, 1500, 3000];
/** For so long after a change by polony, S3 may still show the policy from before it. */
const SETTLED_MS = 60_000;

/** Rejections that may be about one statement of several. */
const ABOUT_ONE_STATEMENT = ['PRINCIPAL_NOT_FOUND', 'MALFORMED_POLICY', 'POLICY_TOO_LARGE'];

/** Is told what a write shows about a permission that no probe can check. */
export type NotePermission = (action: PermissionAction, error?: { code: string; message: string }) => Promise<void>;

/** How a task ended. `superseded`: somebody requested another change of the grant meanwhile. */
export type TaskOutcome =
  | { is: 'done'; written: boolean; gonePrincipals: string[] }
  | { is: 'rejected'; problem: Blocked }
  | { is: 'superseded' };

/** S3 rejects a policy with several changes and does not say which is at fault. Each must be tried alone. */
export class PolicyRejectedTogether extends Error {
  constructor(readonly problem: Blocked) {
    super(problem.message);
  }
}

interface ReadPolicy {
  /** Undefined where the bucket has no policy. */
  text: string | undefined;
  policy: BucketPolicy;
}

/**
 * `settled`: every task has an outcome, or the rest has been written. `fewer`: fewer tasks are left, so that the round
 * is repeated without them. `superseded`: somebody else changed the policy meanwhile, so that the round is repeated.
 */
type RoundResult = 'settled' | 'fewer' | 'superseded';

/**
 * Brings the policy of a bucket to what several grants ask for, in one write: reads it, changes the statements of these
 * grants, writes it and reads it back. It can be repeated, since it recognizes what is done already.
 *
 * S3 judges a policy as a whole. So each write also drops the statements of grants whose principal does not exist any
 * more, and a grant that S3 rejects by name does not hold up the others.
 */
export class PolicyChange {
  readonly #bucket: string;
  readonly #open: Set<GrantTask>;
  readonly #outcomes = new Map<GrantTask, TaskOutcome>();
  /** Grants of the bucket that have no task here, and may be in its policy. */
  #otherGrants: GrantRow[] = [];
  #recentlyChanged: GrantRow[] = [];
  /** Principals that S3 says it does not know. */
  readonly #unknownPrincipals: string[] = [];
  /** What the policy showed in place of the principals of dropped grants. */
  readonly #gonePrincipals = new Map<GrantTask, string[]>();

  /**
   * @param connection holds the lock on the bucket's policy.
   * @param tasks of one bucket; at least one
   */
  constructor(
    private readonly connection: Db,
    private readonly s3: S3Client,
    tasks: readonly [GrantTask, ...GrantTask[]],
    private readonly notePermission: NotePermission,
  ) {
    this.#bucket = tasks[0].row.bucket;
    this.#open = new Set(tasks);
  }

  /** The tasks that have ended, also those that were added to drop a grant. */
  get outcomes(): ReadonlyMap<GrantTask, TaskOutcome> {
    return this.#outcomes;
  }

  /** @throws PolicyRejectedTogether; ApplicationFailure where another attempt at the other tasks may succeed. */
  async apply(): Promise<void> {
    try {
      await this.#loadOtherGrants();
      for (let round = 1; round <= ROUNDS && this.#open.size > 0;) {
        if ((await this.#tryRound()) === 'superseded') round++;
      }
    } catch (error) {
      if (!(error instanceof GrantRejected)) throw error;
      await this.#rejectAll(error.problem);
    }
    await this.#rejectAll({
      kind: 'POLICY_CHANGED_MEANWHILE',
      message:
        `Somebody else keeps changing the policy of ${this.#bucket}: ${ROUNDS} times it was different as soon as ` +
        'polony had read or written it',
      remedy:
        'Find out who else writes it (PutBucketPolicy in CloudTrail), such as an infrastructure tool that restores it',
    });
  }

  async #tryRound(): Promise<RoundResult> {
    const { text, policy } = await this.#readCurrent();
    await this.#settleDecided(policy);
    if (this.#open.size === 0) return 'settled';
    this.#addDrops(policy);
    const next = await this.#planPolicy(policy);
    if (!this.#hasWork()) return this.#forgetDrops();
    if (!(await this.#beginWrites(text, next))) return 'fewer';
    // Never overwrite what somebody else wrote meanwhile.
    if ((await this.#read()).text !== text) return this.#abandonWrite();
    const result = await this.#write(next, policy);
    if (result !== 'settled') return result;
    return (await this.#isReadBack()) ? this.#confirmAll() : this.#abandonWrite();
  }

  /** What the policy must have, by the other grants of the bucket. */
  async #loadOtherGrants(): Promise<void> {
    const own = new Set([...this.#open].map(({ row }) => row.id));
    const isOther = ({ id }: GrantRow): boolean => !own.has(id);
    const since = new Date(Date.now() - SETTLED_MS);
    const changed = await listGrantsChangedSince(this.connection, this.#bucket, since);
    this.#recentlyChanged = changed.filter(isOther);
    this.#otherGrants = (await listGrantsOfBucket(this.connection, this.#bucket)).filter(isOther);
  }

  async #read(): Promise<ReadPolicy> {
    try {
      const text = await getBucketPolicy(this.s3, this.#bucket);
      return { text, policy: parseBucketPolicy(text) };
    } catch (error) {
      if (!(error instanceof PolicyError)) throw this.#explain(error, 's3:GetBucketPolicy');
      throw new GrantRejected({
        kind: 'POLICY_NOT_UNDERSTOOD',
        message: error.message,
        remedy: 'Correct the policy of the bucket',
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
    const grants = [...[...this.#open].map(({ grant }) => grant), ...this.#otherGrants.map(toGrant)];
    const currentSids = new Set(grants.flatMap(grantSids));
    return this.#recentlyChanged.some((row) => {
      const grant = toGrant(row);
      if (row.state === 'active') return grantStanding(policy, grant) === 'missing';
      return hasStatement(
        policy,
        grantSids(grant).filter((sid) => !currentSids.has(sid)),
      );
    });
  }

  /** Settles the tasks that need no write, or whose statements somebody changed by hand. */
  async #settleDecided(policy: BucketPolicy): Promise<void> {
    for (const task of this.#open) {
      const [sid] = grantSids(task.grant);
      if (isChangeDone(policy, task)) await this.#confirm(task);
      else if (task.isWanted && !task.row.overwrite && grantStanding(policy, task.grant) === 'changed')
        await this.#reject(task, {
          kind: 'STATEMENT_DIFFERS',
          message: `The policy has a statement ${sid} that differs from this grant`,
          remedy: 'Check the statement in the policy of the bucket, which a repair overwrites',
        });
      else if (task.kind === 'drop' && findGonePrincipals(policy, task.grant, this.#isGone).length === 0)
        await this.#cancelDrop(task);
    }
  }

  /** Adds tasks for grants whose principal does not exist any more. */
  #addDrops(policy: BucketPolicy): void {
    this.#otherGrants = this.#otherGrants.filter((row) => {
      const principals = findGonePrincipals(policy, toGrant(row), this.#isGone);
      if (principals.length === 0) return true;
      const task = createTask('drop', row);
      this.#gonePrincipals.set(task, principals);
      this.#open.add(task);
      return false;
    });
  }

  /** Whether there is a reason to write the policy. A drop alone is none, unless a write for it has begun. */
  #hasWork(): boolean {
    return [...this.#open].some(({ kind, auditId }) => kind !== 'drop' || auditId !== null);
  }

  #forgetDrops(): RoundResult {
    this.#open.clear();
    return 'settled';
  }

  readonly #isGone = (principal: string): boolean =>
    isUniqueId(principal) || this.#unknownPrincipals.some((unknown) => isSamePrincipal(unknown, principal));

  /** @returns the text of the new policy; null to delete it. */
  async #planPolicy(policy: BucketPolicy): Promise<string | null> {
    const { text, tooLarge } = planPolicy(policy, [...this.#open]);
    for (const [task, bytes] of tooLarge)
      await this.#reject(task, {
        kind: 'POLICY_TOO_LARGE',
        message: `The policy would have ${bytes} bytes; S3 accepts at most ${POLICY_LIMIT}`,
        remedy: 'Remove grants or statements, or grant access to a whole account and share it within that account',
      });
    return text;
  }

  /**
   * Writes an audit entry for each grant before the policy, so that no change is missing in the audit log.
   * @returns false where the policy must not be written, because another change was requested meanwhile.
   */
  async #beginWrites(before: string | undefined, after: string | null): Promise<boolean> {
    let isStillWanted = true;
    for (const task of this.#open) {
      await this.#endAudit(task, 'TRIED_AGAIN');
      const auditId = await beginPolicyWrite(this.connection, task.row, this.#createAuditEntry(task, before, after));
      if (auditId !== undefined) task.auditId = auditId;
      else {
        this.#settle(task, { is: 'superseded' });
        isStillWanted = false;
      }
    }
    return isStillWanted;
  }

  #createAuditEntry({ kind, row }: GrantTask, before: string | undefined, after: string | null): AuditEntry {
    const isByPolony = kind === 'expire' || kind === 'drop';
    return {
      caller: isByPolony ? { kind: 'system', id: 'polony', name: 'polony' } : row.changed_by,
      action: `bucketAccess.${kind}`,
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

  async #endAudit(task: GrantTask, reason?: string): Promise<void> {
    if (task.auditId === null) return;
    await endAudit(this.connection, task.auditId, { reason });
    task.auditId = null;
  }

  async #abandonWrite(): Promise<RoundResult> {
    for (const task of this.#open) await this.#endAudit(task, 'POLICY_CHANGED_MEANWHILE');
    return 'superseded';
  }

  async #write(next: string | null, before: BucketPolicy): Promise<RoundResult> {
    const action = next === null ? 's3:DeleteBucketPolicy' : 's3:PutBucketPolicy';
    try {
      await putBucketPolicy(this.s3, this.#bucket, next);
    } catch (error) {
      return this.#handleRejection(error, action, before);
    }
    for (const task of this.#open) task.mayHaveWritten = true;
    await this.notePermission(action);
    return 'settled';
  }

  /** @throws PolicyRejectedTogether; ApplicationFailure where another attempt may succeed. */
  async #handleRejection(error: unknown, action: PermissionAction, before: BucketPolicy): Promise<RoundResult> {
    if (await this.#leaveOutUnknown(error, before)) return 'fewer';
    const failure = this.#explain(error, action, before);
    // The write may have reached S3: the next attempt finds out.
    if (!(failure instanceof GrantRejected)) throw failure;
    const { problem } = failure;
    if (problem.kind === 'ACCESS_DENIED') await this.notePermission(action, classifyAwsError(error));
    const changes = [...this.#open].filter(({ kind }) => kind !== 'drop');
    if (ABOUT_ONE_STATEMENT.includes(problem.kind) && changes.length > 1) {
      for (const task of this.#open) await this.#endAudit(task, problem.kind);
      throw new PolicyRejectedTogether(problem);
    }
    await this.#rejectAll(problem);
    return 'settled';
  }

  /**
   * Leaves out what names the principals that S3 does not know: new grants are rejected, and earlier ones dropped.
   * @returns whether there was something to leave out.
   */
  async #leaveOutUnknown(error: unknown, before: BucketPolicy): Promise<boolean> {
    const named = readUnknownPrincipals(error).filter((principal) => !this.#unknownPrincipals.includes(principal));
    if (named.length === 0) return false;
    this.#unknownPrincipals.push(...named);
    const isNamed = ({ row, isWanted }: GrantTask): boolean =>
      isWanted && named.some((each) => isSamePrincipal(each, row.principal));
    const rejected = [...this.#open].filter(isNamed);
    for (const task of rejected) await this.#reject(task, explainUnknownPrincipal(task.row.principal));
    const isDropped = (row: GrantRow): boolean => findGonePrincipals(before, toGrant(row), this.#isGone).length > 0;
    return rejected.length > 0 || this.#otherGrants.some(isDropped);
  }

  #explain(error: unknown, action: string, policy?: BucketPolicy) {
    const tasks = [...this.#open];
    return explainPolicyError(error, {
      action,
      bucket: this.#bucket,
      partition: tasks[0]!.row.partition,
      principals: tasks.flatMap(({ isWanted, row }) => (isWanted ? [row.principal] : [])),
      ownSids: tasks.flatMap(({ grant }) => grantSids(grant)),
      isGone: this.#isGone,
      ...(policy !== undefined && { policy }),
    });
  }

  async #isReadBack(): Promise<boolean> {
    for (const delay of READ_DELAYS_MS) {
      await sleep(delay);
      const { policy } = await this.#read();
      if ([...this.#open].every((task) => isChangeDone(policy, task))) return true;
    }
    return false;
  }

  async #confirmAll(): Promise<RoundResult> {
    for (const task of this.#open) await this.#confirm(task);
    return 'settled';
  }

  /**
   * Closes the audit entry of this write, or of one whose answer was lost. Without one, somebody has done it by hand.
   */
  async #confirm(task: GrantTask): Promise<void> {
    const written = task.auditId !== null;
    await this.#endAudit(task);
    this.#settle(task, { is: 'done', written, gonePrincipals: this.#gonePrincipals.get(task) ?? [] });
  }

  async #cancelDrop(task: GrantTask): Promise<void> {
    await this.#endAudit(task, 'NOT_NEEDED');
    await endPolicyWrite(this.connection, task.row.id);
    this.#open.delete(task);
  }

  async #rejectAll(problem: Blocked): Promise<void> {
    for (const task of this.#open) await this.#reject(task, problem);
  }

  /** @param problem with a remedy that does not say what happens afterwards */
  async #reject(task: GrantTask, problem: Blocked): Promise<void> {
    await this.#endAudit(task, problem.kind);
    if (task.kind === 'drop') {
      await endPolicyWrite(this.connection, task.row.id);
      this.#open.delete(task);
      return;
    }
    // Where no write went through, no policy has statements of the grant.
    if (!task.mayHaveWritten) await unmarkGrantSent(this.connection, task.row.id);
    this.#settle(task, { is: 'rejected', problem: addNextStep(problem, task.kind) });
  }

  #settle(task: GrantTask, outcome: TaskOutcome): void {
    this.#open.delete(task);
    this.#outcomes.set(task, outcome);
  }
}

function hasStatement(policy: BucketPolicy, sids: readonly string[]): boolean {
  return policy.statements.some(({ value }) => sids.includes(value.Sid as string));
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
