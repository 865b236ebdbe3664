import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  condition,
  continueAsNew,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { RetryState } from '@temporalio/common';
import type { Activities } from '../activities/index.js';
import type { GrantAgenda, GrantChange } from '../domain/grants/grant.js';
import { trackRetrySignals, getApplicationFailure, FAST_TAKEOVER } from './blocking.js';
import { type GrantChangeRequest, type BucketAccessInput, changeGrantUpdate, DRAINING } from './messages/grants.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';

/** What AWS mends by itself within a minute; what lasts longer is waited for without holding up others. */
const OPTIONS = {
  ...FAST_TAKEOVER,
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '15 seconds', maximumAttempts: 6 },
} as const;
const { changeAccess, settleAccess } = proxyActivities<Activities>(OPTIONS);

/** Changes cost history, about ten events each; a workflow that has made many goes on in a new one. */
const LONG_HISTORY = 2000;
/** How long it stays for the next change when there is nothing to wait for. */
const IDLE_MS = 30_000;
/** So much after its time a grant is taken out, so that it is over by the clock of whoever does it; AWS itself stops allowing it in time. */
const LATER_MS = 1000;
/** Longest timer. */
const LOOK_AGAIN_MS = 30 * 86_400_000;
/** Waits between tries of what could not be done. */
const BACKOFF_MS = { first: 15_000, most: 600_000 };

interface Waiting {
  grantId: string;
  principal: string;
  ended?: GrantChange | { error: unknown };
}

/**
 * Changes the policy of one bucket, one change after the other, whoever asks for them (the update `changeAccess`), and takes out grants
 * whose time is over. What is wanted of a grant stands in the store; the workflow sees to it in turn. It ends when there is nothing left
 * to wait for, and is started again by the next change.
 */
export async function bucketAccess(input: BucketAccessInput): Promise<{ changes: number }> {
  const { bucket } = input;
  let agenda: GrantAgenda = input.agenda ?? { due: null, open: 0, problem: null };
  let tries = input.tries ?? 0;
  let changes = input.changes ?? 0;
  let seen = 0;
  const queue: Waiting[] = [];
  const retries = trackRetrySignals();
  const isLong = (): boolean => workflowInfo().historyLength > LONG_HISTORY || workflowInfo().continueAsNewSuggested;
  let shown: { status: string; blocked: boolean } = { status: input.status ?? '', blocked: input.blocked ?? false };

  setHandler(
    changeGrantUpdate,
    async ({ grantId, principal }) => {
      const own: Waiting = { grantId, principal };
      queue.push(own);
      await condition(() => own.ended !== undefined);
      if ('error' in own.ended!) throw own.ended.error;
      return own.ended as GrantChange;
    },
    {
      validator: (request: GrantChangeRequest) => {
        if (
          typeof request?.grantId !== 'string' ||
          !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(request.grantId)
        )
          throw ApplicationFailure.nonRetryable('grantId must be the id of an access grant', 'InvalidChange');
        if (request.bucket !== bucket)
          throw ApplicationFailure.nonRetryable(
            `This workflow changes the policy of ${bucket}, not of ${String(request.bucket)}`,
            'InvalidChange',
          );
        // Those that are accepted are carried out before it goes on in a new history; whoever asks again comes into that.
        if (isLong())
          throw ApplicationFailure.nonRetryable('The workflow is about to go on in a new history; ask again', DRAINING);
      },
    },
  );

  function show(): void {
    const { due, open, problem } = agenda;
    const status = open > 0 ? 'RETRYING' : due === null ? 'IDLE' : 'WAITING_FOR_EXPIRY';
    const blocked = problem !== null;
    if (status !== shown.status) upsertSearchAttributes([{ key: attributes.status, value: status }]);
    if (blocked !== shown.blocked) upsertSearchAttributes([{ key: attributes.blocked, value: blocked }]);
    shown = { status, blocked };
    const lines = [`**Policy of \`${bucket}\`**: ${changes} changes`];
    if (due !== null) lines.push(`The next grant expires at ${new Date(due).toISOString()}.`);
    if (problem !== null)
      lines.push(
        `**${open} not done yet: ${problem.kind}** ${problem.message}`,
        problem.remedy,
        'Tried again by itself, or at once on the signal `retry`.',
      );
    setCurrentDetails(lines.join('\n\n'));
  }

  /** What could not be done stays in the store and is tried again later. */
  const isUnavailable = (error: unknown): boolean =>
    error instanceof ActivityFailure &&
    (error.retryState === RetryState.MAXIMUM_ATTEMPTS_REACHED || error.retryState === RetryState.TIMEOUT);
  const unavailable = (error: unknown): GrantAgenda => ({
    ...agenda,
    open: Math.max(1, agenda.open),
    problem: {
      kind: 'UNAVAILABLE',
      message: getApplicationFailure(error)?.message ?? 'The change did not end in time',
      remedy: 'It is tried again by itself.',
    },
  });

  async function change(waiting: Waiting): Promise<void> {
    try {
      const { agenda: now, ...ended } = await changeAccess.executeWithOptions(
        { ...OPTIONS, summary: toSummary(`Change the policy for ${waiting.principal}`) },
        [waiting.grantId],
      );
      agenda = now;
      changes++;
      waiting.ended = ended;
    } catch (error) {
      if (isUnavailable(error)) {
        agenda = unavailable(error);
        waiting.ended = { state: 'pending', problem: agenda.problem };
      } else waiting.ended = { error: getApplicationFailure(error) ?? error };
    }
    show();
  }

  async function settle(): Promise<void> {
    try {
      agenda = await settleAccess.executeWithOptions(
        { ...OPTIONS, summary: 'Take out grants whose time is over, and what is left to be done' },
        [bucket],
      );
    } catch (error) {
      if (isCancellation(error)) throw error;
      agenda = unavailable(error);
    }
    tries = agenda.open > 0 ? tries + 1 : 0;
    show();
  }

  show();
  for (;;) {
    const next = queue.shift();
    if (next !== undefined) {
      await change(next);
      continue;
    }
    if (retries.count > seen) {
      seen = retries.count;
      await settle();
      continue;
    }
    if (isLong()) {
      await condition(allHandlersFinished);
      if (queue.length === 0)
        await continueAsNew<typeof bucketAccess>({
          bucket,
          agenda,
          tries,
          changes,
          status: shown.status,
          blocked: shown.blocked,
        });
      continue;
    }
    const until =
      agenda.open > 0
        ? Math.min(
            agenda.due ?? Infinity,
            Date.now() + Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(tries, 10)),
          )
        : agenda.due;
    const called = await condition(
      () => queue.length > 0 || retries.count > seen,
      until === null ? IDLE_MS : Math.min(LOOK_AGAIN_MS, Math.max(LATER_MS, until + LATER_MS - Date.now())),
    );
    if (called) continue;
    if (until !== null) {
      await settle();
      continue;
    }
    await condition(allHandlersFinished);
    if (queue.length === 0 && retries.count === seen) return { changes };
  }
}
