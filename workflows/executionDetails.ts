import { code, plain } from '../domain/markdown.js';
import { omicsLogUrl, omicsRunUrl, parseFolderUri, s3FolderUrl } from '../domain/console.js';
import { type ExecutionStatus, isFinalStatus } from '../domain/executions/execution.js';
import { describePoints, link, type Point, time } from './details.js';
import type { Bases2FastqInput, CancelRequest } from './messages/executions.js';

/** A request to cancel, as the workflow received it. */
export interface ReceivedCancel {
  request: CancelRequest;
  /** In milliseconds since 1970. */
  at: number;
  /** How it came: by the signal, or by a cancellation of the workflow. */
  by: 'signal' | 'cancellation';
  /** Who requested it, as the database knows it; absent until an activity has looked it up. */
  confirmedBy?: string;
}

/** What the details of an execution show. */
export interface ShownExecution {
  status: ExecutionStatus;
  step: string;
  /** Since when it is at this step, in milliseconds since 1970. */
  since: number;
  /** What makes it continue. */
  continues: string;
  /** Whether it waits for a person. What blocks it is shown apart. */
  isBlocked: boolean;
  healthOmicsRunId: string | undefined;
  cancel: ReceivedCancel | undefined;
  /** Who must do what, once it failed. */
  toDo: string | undefined;
}

/** The caller by which the database names requests that did not come from the API; see `store/audit.ts`. */
const NOT_AUTHENTICATED = 'via Temporal, not authenticated';

/** Who cancelled an execution. Anybody can write any name into a signal, so polony says who has only claimed it. */
export function describeWho({ request, by, confirmedBy }: ReceivedCancel): string {
  if (confirmedBy !== undefined && confirmedBy !== NOT_AUTHENTICATED) return `${confirmedBy} (through the API)`;
  const how = by === 'signal' ? 'Temporal signal' : 'cancellation of the workflow in Temporal';
  const claim =
    by === 'signal' && request.requestedBy !== undefined ? `, which says it is from ${request.requestedBy}` : '';
  const isOpen = confirmedBy === undefined && claim !== '';
  return isOpen ? `not confirmed yet (${how}${claim})` : `unknown (${how}${claim})`;
}

/** Why an execution was cancelled. */
export function describeWhy({ request }: ReceivedCancel): string {
  return request.reason ?? 'no reason given';
}

/** The current details of an execution, as Markdown. */
export function describeExecution(input: Bases2FastqInput, shown: ShownExecution): string {
  const { status, step, since, continues, healthOmicsRunId: runId } = shown;
  const hasEnded = isFinalStatus(status);
  return describePoints(`**${status}**: ${plain(step)}`, [
    [hasEnded ? 'Ended' : 'Since', time(since)],
    ['Continues', hasEnded || shown.isBlocked ? undefined : continues],
    ['To do', shown.toDo === undefined ? undefined : plain(shown.toDo)],
    ['HealthOmics run', runId && `${link(runId, omicsRunUrl(input.region, runId))}${describeLog(input, runId)}`],
    ...describeSubject(input),
    ...describeCancel(shown.cancel),
    ...describeSafety(shown),
  ]);
}

function describeLog({ region }: Bases2FastqInput, runId: string): string {
  const url = omicsLogUrl(region, runId);
  return url === undefined ? '' : `, [engine log](${url})`;
}

function describeSubject(input: Bases2FastqInput): Point[] {
  const { flowName, runName, instrumentName, providerName, account, region } = input;
  const folder = (uri: string | undefined): string | undefined => {
    const location = uri === undefined ? undefined : parseFolderUri(uri, input.storageRegion ?? region);
    return location && link(uri!, s3FolderUrl(location));
  };
  return [
    ['Flow', code(flowName)],
    ['Run', `${code(runName)} of ${code(instrumentName)}`],
    ['Run folder', folder(input.runFolderUri) ?? code(input.runFolder)],
    ['Results', folder(input.outputUri)],
    ['Provider', `${code(providerName)}, account ${code(account === '' ? 'unknown' : account)}, ${code(region)}`],
    ['Execution', code(input.executionId)],
  ];
}

function describeCancel(cancel: ReceivedCancel | undefined): Point[] {
  if (cancel === undefined) return [];
  return [
    ['Cancel requested', time(cancel.at)],
    ['Who', plain(describeWho(cancel))],
    ['Why', plain(describeWhy(cancel))],
  ];
}

/** Whether a person may reset, terminate or cancel the workflow (test/stack/temporal-reset.test.ts). */
function describeSafety({ status, healthOmicsRunId, isBlocked }: ShownExecution): Point[] {
  const hasRun = healthOmicsRunId !== undefined;
  const once = 'safe at every event: no second HealthOmics run starts';
  if (isFinalStatus(status))
    return [
      ['Reset', `${once}. The execution stays ${status}; to analyse the run again, relaunch it`],
      ['Terminate, cancel', 'no effect, because the execution has ended'],
    ];
  const failed = 'the execution ends as FAILED without a HealthOmics run';
  const terminated = hasRun
    ? 'does not stop the HealthOmics run: polony starts this workflow again and watches the run on, or cancels the run ' +
      'where `POLONY_CLOSED_WORKFLOWS` is `cancel`, or after the third time'
    : isBlocked
      ? `polony starts this workflow again, or ${failed} where \`POLONY_CLOSED_WORKFLOWS\` is \`cancel\`, or after the third time`
      : failed;
  return [
    ['Reset', hasRun ? `${once}, and the one that exists is watched on` : once],
    ['Terminate', `safe, but ${terminated}`],
    [
      'Cancel',
      `safe, with the API, the signal ${code('cancel')} or a cancellation of the workflow: ` +
        (hasRun ? 'polony sends CancelRun' : 'no HealthOmics run starts, or the one that was started is cancelled'),
    ],
  ];
}
