import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  condition,
  continueAsNew,
  isCancellation,
  patched,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { RetryState } from '@temporalio/common';
import { code, plain } from '../domain/markdown.js';
import type { Activities } from '../activities/index.js';
import { blockedByValues, ownerOf, OWNERS } from '../domain/executions/blockedCause.js';
import type { GrantAgenda, GrantChange } from '../domain/grants/grant.js';
import { clearAtEnd, trackRetrySignals, getApplicationFailure, FAST_TAKEOVER, NOT_WAITING } from './blocking.js';
import { describePoints, time } from './details.js';
import { type GrantChangeRequest, type BucketAccessInput, changeGrantUpdate, DRAINING } from './messages/grants.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';

/**
 * Covers what AWS fixes by itself within a minute. What takes longer is tried again later, so that others need not
 * wait.
 */
const OPTIONS = {
  ...FAST_TAKEOVER,
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '15 seconds', maximumAttempts: 6 },
} as const;
const { changeAccess, settleAccess } = proxyActivities<Activities>(OPTIONS);

/** A change adds about ten events. After this many events the workflow continues in a new history. */
const LONG_HISTORY = 2000;
/**
 * From this many events on, the workflow rejects changes, so that a stream of them cannot keep it from continuing in a
 * new history. The number is well above LONG_HISTORY: a rejected change leaves no trace and wakes nothing, so a workflow
 * that waits must never be the one to reject.
 */
const REJECTING_HISTORY = 2500;
/** How long the workflow stays for the next change when it has nothing to wait for. */
const IDLE_MS = 30_000;
/**
 * A grant is removed this long after it expires, so that it has also expired by the clock of the worker that removes
 * it. AWS stops allowing access at the exact time.
 */
const EXPIRY_MARGIN_MS = 1000;
/** The longest timer. */
const LONGEST_WAIT_MS = 30 * 86_400_000;
/** Waits between attempts at outstanding changes: they double from the first to the longest. */
const RETRY_DELAY_MS = { first: 15_000, longest: 600_000 };

/** Histories from before this patch compute the time of the next attempt anew after each change. */
const KEEP_RETRY_TIME = 'keep-retry-time';

/** A requested change. The update handler waits until `outcome` is set. */
interface PendingChange {
  grantId: string;
  principal: string;
  outcome?: GrantChange | { error: unknown };
}

/** What the search attributes say. */
interface BucketState {
  status: string;
  blocked: boolean;
  /** The values of `PolonyBlockedBy`, as one text. */
  causes: string;
  /** Since when, in milliseconds since 1970. */
  since: number;
}

/**
 * Changes the policy of one bucket, one change after another, whoever requests them (the update `changeAccess`), and
 * removes expired grants. The store holds what each grant should be; the workflow brings the policy to that state. It
 * ends when it has nothing left to wait for, and the next change starts it again.
 */
export async function bucketAccess(input: BucketAccessInput): Promise<{ changes: number }> {
  const access = new BucketAccess(input);
  return clearAtEnd(() => access.run());
}

class BucketAccess {
  readonly #bucket: string;
  readonly #queue: PendingChange[] = [];
  readonly #retries = trackRetrySignals();
  #retriesDone = 0;
  #agenda: GrantAgenda;
  /** How many attempts in a row left changes outstanding. */
  #failedAttempts: number;
  /** When to try outstanding changes again, in milliseconds since 1970. */
  #retryAt: number | null;
  #changes: number;
  #shown: BucketState;

  constructor(input: BucketAccessInput) {
    this.#bucket = input.bucket;
    this.#agenda = input.agenda ?? { due: null, open: 0, problem: null };
    this.#failedAttempts = input.tries ?? 0;
    this.#retryAt = input.retryAt ?? null;
    this.#changes = input.changes ?? 0;
    const { status = '', blocked = false, causes = '', since = Date.now() } = input;
    this.#shown = { status, blocked, causes, since };
    this.#handleChangeRequests();
  }

  async run(): Promise<{ changes: number }> {
    this.#planRetry();
    this.#show();
    for (;;) {
      const next = this.#isRetryDue() ? undefined : this.#queue.shift();
      if (next !== undefined) {
        await this.#change(next);
      } else if (this.#isRetryDue()) {
        await this.#settle();
      } else if (this.#isRetryRequested()) {
        this.#retriesDone = this.#retries.count;
        await this.#settle();
      } else if (isHistoryLong()) {
        await this.#continueInNewHistory();
      } else {
        const due = this.#nextDueTime();
        if (await this.#waitForRequest(due)) continue;
        if (due !== null) await this.#settle();
        else if (await this.#isIdle()) return this.#end();
      }
    }
  }

  #handleChangeRequests(): void {
    setHandler(
      changeGrantUpdate,
      async ({ grantId, principal }) => {
        const pending: PendingChange = { grantId, principal };
        this.#queue.push(pending);
        await condition(() => pending.outcome !== undefined);
        if ('error' in pending.outcome!) throw pending.outcome.error;
        return pending.outcome as GrantChange;
      },
      {
        validator: (request: GrantChangeRequest) => this.#rejectInvalid(request),
        description:
          'polony sends it to bring the policy to the state that the database has for one grant. Input: {"bucket": "…", ' +
          '"grantId": "…", "principal": "…"}. Safe to repeat. Use the API to add or remove a grant.',
      },
    );
  }

  /** Runs before an update enters the history. */
  #rejectInvalid(request: GrantChangeRequest): void {
    if (typeof request?.grantId !== 'string' || !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(request.grantId))
      throw ApplicationFailure.nonRetryable('grantId must be the id of an access grant', 'InvalidChange');
    if (request.bucket !== this.#bucket)
      throw ApplicationFailure.nonRetryable(
        `This workflow changes the policy of ${this.#bucket}, not of ${String(request.bucket)}`,
        'InvalidChange',
      );
    // Accepted changes are made before the workflow continues in a new history. A rejected request can be sent again.
    if (workflowInfo().historyLength > REJECTING_HISTORY)
      throw ApplicationFailure.nonRetryable(
        'The workflow is about to continue in a new history; send the update again',
        DRAINING,
      );
  }

  async #change(pending: PendingChange): Promise<void> {
    try {
      const { agenda, ...outcome } = await changeAccess.executeWithOptions(
        { ...OPTIONS, summary: toSummary(`Change the policy for ${pending.principal}`) },
        [pending.grantId],
      );
      this.#agenda = agenda;
      this.#changes++;
      pending.outcome = outcome;
    } catch (error) {
      if (isOutOfAttempts(error)) {
        this.#noteUnavailable(error);
        pending.outcome = { state: 'pending', problem: this.#agenda.problem };
      } else pending.outcome = { error: getApplicationFailure(error) ?? error };
    }
    this.#planRetry();
    this.#show();
  }

  /** Removes expired grants and makes outstanding changes. */
  async #settle(): Promise<void> {
    try {
      this.#agenda = await settleAccess.executeWithOptions(
        { ...OPTIONS, summary: 'Remove expired grants and make outstanding changes' },
        [this.#bucket],
      );
    } catch (error) {
      if (isCancellation(error)) throw error;
      this.#noteUnavailable(error);
    }
    // Changes without a problem were requested meanwhile. They have not failed, so they need not wait longer.
    const { open, problem } = this.#agenda;
    this.#failedAttempts = open > 0 && problem !== null ? this.#failedAttempts + 1 : 0;
    this.#retryAt = null;
    this.#planRetry();
    this.#show();
  }

  /**
   * The change stays in the store and is tried again later. So is what has expired by now: its time must not bring the
   * next attempt forward.
   */
  #noteUnavailable(error: unknown): void {
    const { due } = this.#agenda;
    this.#agenda = {
      ...this.#agenda,
      due: due !== null && due <= Date.now() ? null : due,
      open: Math.max(1, this.#agenda.open),
      problem: {
        kind: 'UNAVAILABLE',
        message: getApplicationFailure(error)?.message ?? 'The change did not end in time',
        remedy: 'polony tries again automatically.',
      },
    };
  }

  /** In milliseconds since 1970: when to settle next. Null where nothing is outstanding and no grant expires. */
  #nextDueTime(): number | null {
    const { open, due } = this.#agenda;
    if (open === 0) return due;
    return Math.min(due ?? Infinity, this.#retryAt ?? Date.now() + this.#retryDelay());
  }

  #retryDelay(): number {
    return Math.min(RETRY_DELAY_MS.longest, RETRY_DELAY_MS.first * 2 ** Math.min(this.#failedAttempts, 10));
  }

  /** Sets the time of the next attempt. It stays until then, so that a stream of other changes cannot put it off. */
  #planRetry(): void {
    if (this.#agenda.open === 0) this.#retryAt = null;
    else if (patched(KEEP_RETRY_TIME)) this.#retryAt ??= Date.now() + this.#retryDelay();
  }

  /** Whether outstanding changes must be tried again before other changes are made. */
  #isRetryDue(): boolean {
    return this.#retryAt !== null && Date.now() >= this.#retryAt;
  }

  /** Waits until then, or for a change or the signal `retry`. @returns whether one of these came. */
  #waitForRequest(due: number | null): Promise<boolean> {
    return condition(
      () => this.#queue.length > 0 || this.#isRetryRequested(),
      due === null
        ? IDLE_MS
        : Math.min(LONGEST_WAIT_MS, Math.max(EXPIRY_MARGIN_MS, due + EXPIRY_MARGIN_MS - Date.now())),
      {
        summary: due === null ? 'End unless a change comes' : 'Wait for an expiry, or to try outstanding changes again',
      },
    );
  }

  #isRetryRequested(): boolean {
    return this.#retries.count > this.#retriesDone;
  }

  /** Whether there is still nothing to do once all update handlers have answered. */
  async #isIdle(): Promise<boolean> {
    await condition(allHandlersFinished);
    return this.#queue.length === 0 && !this.#isRetryRequested();
  }

  async #continueInNewHistory(): Promise<void> {
    await condition(allHandlersFinished);
    if (this.#queue.length > 0) return;
    await continueAsNew<typeof bucketAccess>({
      bucket: this.#bucket,
      agenda: this.#agenda,
      tries: this.#failedAttempts,
      ...(this.#retryAt !== null && { retryAt: this.#retryAt }),
      changes: this.#changes,
      status: this.#shown.status,
      blocked: this.#shown.blocked,
      causes: this.#shown.causes,
      since: this.#shown.since,
    });
  }

  #end(): { changes: number } {
    // Histories from before this patch have no command here.
    if (patched('clear-at-end')) upsertSearchAttributes(NOT_WAITING);
    return { changes: this.#changes };
  }

  #show(): void {
    const { due, open, problem } = this.#agenda;
    const status = open > 0 ? 'RETRYING' : due === null ? 'IDLE' : 'WAITING_FOR_EXPIRY';
    const blocked = problem !== null;
    const values = problem === null ? [] : blockedByValues([problem], {});
    const causes = values.join('\n');
    const shown = this.#shown;
    const hasOtherCause = blocked === shown.blocked && causes !== shown.causes;
    const since = status === shown.status && blocked === shown.blocked && !hasOtherCause ? shown.since : Date.now();
    const waitingSince = { key: attributes.waitingSince, value: new Date(since) };
    if (status !== shown.status) upsertSearchAttributes([{ key: attributes.status, value: status }, waitingSince]);
    // Histories from before the patch have no command where only the cause changes.
    if (blocked !== shown.blocked || (hasOtherCause && patched('blocked-by')))
      upsertSearchAttributes([
        { key: attributes.blocked, value: blocked },
        { key: attributes.blockedBy, value: blocked ? values : null },
        waitingSince,
      ]);
    this.#shown = { status, blocked, causes, since };
    setCurrentDetails(this.#describe());
  }

  /** As Markdown, for the Temporal UI. */
  #describe(): string {
    const { due, open, problem } = this.#agenda;
    const state = describePoints(`**Policy of ${code(this.#bucket)}**: ${this.#changes} changes`, [
      ['Since', time(this.#shown.since)],
      ['Next grant expires', due === null ? undefined : time(due)],
      ['Waits for', open > 0 ? undefined : due === null ? 'the next change, or ends in a moment' : 'that time'],
      ['Reset, terminate, cancel', 'safe: the database has what each grant should be, and the sweep continues'],
    ]);
    if (problem === null) return state;
    const { kind, action, resource, message, remedy } = problem;
    const missing = [action, resource].flatMap((part) => (part === undefined ? [] : [code(part)])).join(' on ');
    const problems = describePoints(`**${open} changes outstanding: ${kind}**`, [
      ['Missing', missing],
      ['Answer', code(message)],
      ['Who must act', OWNERS[ownerOf(problem)]],
      ['To do', plain(remedy)],
      [
        'Continues',
        `by itself${this.#retryAt === null ? '' : ` at ${time(this.#retryAt)}`}; at once with the signal ${code('retry')}`,
      ],
    ]);
    return `${state}\n\n${problems}`;
  }
}

function isHistoryLong(): boolean {
  return workflowInfo().historyLength > LONG_HISTORY || workflowInfo().continueAsNewSuggested;
}

/** Whether an activity ended because its attempts or its time ran out. */
function isOutOfAttempts(error: unknown): boolean {
  return (
    error instanceof ActivityFailure &&
    (error.retryState === RetryState.MAXIMUM_ATTEMPTS_REACHED || error.retryState === RetryState.TIMEOUT)
  );
}
