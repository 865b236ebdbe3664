import type { apiClient } from '../cli/customer.js';
import type { Stack } from '../local/stack.js';

/** Asks again and again until there is an answer. @throws after the time, with what was waited for. */
export async function waitFor<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  seconds = 60,
): Promise<T> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`Waited ${seconds} s in vain: ${what}`);
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
