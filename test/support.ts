import type { apiClient } from '../cli/customer.js';
import type { Stack } from '../local/stack.js';

/** Milliseconds without any progress after which a wait gives up: far more than any machine needs between two steps. */
const STUCK_MS = 120_000;

/**
 * Asks again and again until there is an answer, however long that takes while there is progress.
 * @param progress something that changes while what is waited for comes nearer, such as a count; compared as JSON
 * @throws when neither an answer nor progress came for two minutes, with what was waited for and the last progress
 */
export async function waitFor<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  progress: () => unknown = () => undefined,
): Promise<T> {
  let last: string | undefined;
  let since = Date.now();
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    const now = JSON.stringify(await progress());
    if (now !== last) [last, since] = [now, Date.now()];
    if (Date.now() - since > STUCK_MS)
      throw new Error(
        `Nothing changed for ${STUCK_MS / 1000} s while waiting for: ${what}${last === undefined ? '' : ` (${last})`}`,
      );
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** `GET /v1/executions/{id}/details`, as far as tests look at it. */
export interface ExecutionDetails {
  execution: {
    id: string;
    status: string;
    statusDescription: string;
    errorMessage: string | null;
    output: { uri: string };
  };
  details: {
    healthOmics: { runId: string; uuid: string } | null;
    blocked: { action: string; statement: unknown } | null;
    cancelRequested: { requestedBy: string; reason: string } | null;
    workflowId: string;
    parameters: Record<string, unknown> | null;
    errorType: string | null;
  };
}

/** So long that a run is RUNNING until `finish` or a cancel ends it, however slow the machine is. */
export const HELD_MS = 86_400_000;

/** Sets the time of each status of HealthOmics runs, of those that enter it from now on. */
export async function setPace(stack: Stack, RUNNING: number): Promise<void> {
  await fetch(`${stack.aws.emulator.url}/_control/settings`, {
    method: 'POST',
    body: JSON.stringify({ pace: { PENDING: 50, STARTING: 50, RUNNING, STOPPING: 50 } }),
  });
}

/** Executions as their clients see them, and as HealthOmics does. */
export function executionsOf(stack: Stack, call: ReturnType<typeof apiClient>) {
  const details = (id: string): Promise<ExecutionDetails> => call('GET', `/v1/executions/${id}/details`);
  return {
    details,
    inStatus: (id: string, ...statuses: string[]): Promise<ExecutionDetails> =>
      waitFor(`${id} in ${statuses.join(' or ')}`, async () => {
        const answer = await details(id);
        return statuses.some((status) => answer.execution.status === `EXECUTION_STATUS_${status}`) && answer;
      }),
    runsOf: (id: string) => [...stack.aws.emulator.runs.values()].filter((run) => run.requestId === id),
    startCalls: (id: string) =>
      stack.aws.emulator.calls.filter((each) => each.operation === 'StartRun' && each.requestId === id),
  };
}
