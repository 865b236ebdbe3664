import { rmSync } from 'node:fs';
import path from 'node:path';
import { DeleteRolePolicyCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { adminClients, type apiClient, type CustomerAccount } from '../cli/customer.js';
import { controlOmics } from '../local/omics/control.js';
import type { Stack } from '../local/stack.js';

/** A wait gives up after so many milliseconds without progress: far more than a slow machine needs for one step. */
const STUCK_MS = 120_000;
/** No round of questions counts as more than this, because a machine that stands still makes no progress either. */
const LONGEST_ROUND_MS = 2000;
/**
 * Pauses between two questions grow from the first to the longest, so that waiting leaves the processor to the work.
 */
const PAUSE_MS = { first: 20, longest: 250 };

/**
 * Polls until there is an answer. It may take any time as long as there is progress.
 * @param what what the caller waits for, for the error message
 * @param ask returns the answer, or undefined or false if there is none yet
 * @param progress returns something that changes while the answer comes nearer, such as a count; compared as JSON
 * @throws Error after two minutes with neither an answer nor progress, without the time that the machine stood still
 */
export async function waitFor<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  progress: () => unknown = () => undefined,
): Promise<T> {
  let last: string | undefined;
  let quietMs = 0;
  let roundBegan = Date.now();
  for (let pause = PAUSE_MS.first; ; pause = Math.min(PAUSE_MS.longest, pause * 1.5)) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    const now = JSON.stringify(await progress());
    quietMs = now === last ? quietMs + Math.min(LONGEST_ROUND_MS, Date.now() - roundBegan) : 0;
    last = now;
    roundBegan = Date.now();
    if (quietMs > STUCK_MS)
      throw new Error(
        `Nothing changed for ${STUCK_MS / 1000} s while waiting for: ${what}${last === undefined ? '' : ` (${last})`}`,
      );
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** The parts of `GET /v1/executions/{id}/details` that the tests use. */
export interface ExecutionDetails {
  execution: {
    id: string;
    name: string;
    status: string;
    statusDescription: string;
    errorMessage: string | null;
    output: { uri: string };
  };
  details: {
    healthOmics: { runId: string; uuid: string } | null;
    blocked: { action: string; statement: unknown; since?: string } | null;
    cancelRequested: { requestedBy: string; reason: string } | null;
    workflowId: string;
    parameters: Record<string, unknown> | null;
    errorType: string | null;
  };
}

/** Milliseconds for which a run stays RUNNING unless `finish` or a cancel ends it: longer than any test. */
export const HELD_MS = 86_400_000;

/** Sets how many milliseconds HealthOmics runs stay in RUNNING, for runs that enter it from now on. */
export async function setPace(stack: Stack, RUNNING: number): Promise<void> {
  await controlOmics(stack.aws.emulator.control, 'POST', 'settings', {
    pace: { PENDING: 50, STARTING: 50, RUNNING, STOPPING: 50 },
  });
}

/** Reads executions through the API and from the HealthOmics emulator. */
export function executionsOf(stack: Stack, call: ReturnType<typeof apiClient>) {
  const details = (id: string): Promise<ExecutionDetails> => call('GET', `/v1/executions/${id}/details`);
  return {
    details,
    inStatus: (id: string, ...statuses: string[]): Promise<ExecutionDetails> =>
      waitFor(`execution ${id} to be ${statuses.join(' or ')}`, async () => {
        const answer = await details(id);
        return statuses.some((status) => answer.execution.status === `EXECUTION_STATUS_${status}`) && answer;
      }),
    runsOf: (id: string) => [...stack.aws.emulator.runs.values()].filter((run) => run.requestId === id),
    /** All HealthOmics runs of an execution, of every attempt. */
    attemptsOf: (id: string) =>
      [...stack.aws.emulator.runs.values()].filter(
        ({ requestId }) => requestId === id || requestId.startsWith(`${id}-`),
      ),
    startCalls: (id: string) =>
      stack.aws.emulator.calls.filter((each) => each.operation === 'StartRun' && each.requestId === id),
  };
}

/** Denies actions to the role of a customer's provider, whatever its policies allow, and allows them again. */
export function denialsOf(stack: Stack, { providerRoleArn }: Pick<CustomerAccount, 'providerRoleArn'>) {
  const { iam } = adminClients(stack.info);
  const policy = { RoleName: providerRoleArn.split('/').at(-1)!, PolicyName: 'denied' };
  return {
    deny: (...Action: string[]): Promise<unknown> =>
      iam.send(
        new PutRolePolicyCommand({
          ...policy,
          PolicyDocument: JSON.stringify({
            Version: '2012-10-17',
            Statement: [{ Effect: 'Deny', Action, Resource: '*' }],
          }),
        }),
      ),
    allow: (): Promise<unknown> => iam.send(new DeleteRolePolicyCommand(policy)),
  };
}

/** Starts the Temporal server of a stack anew, without any of its data. */
export async function loseTemporal(stack: Stack, stateDir: string): Promise<void> {
  await stack.temporal.kill();
  rmSync(path.join(stateDir, 'temporal'), { recursive: true, force: true });
  await stack.crash('temporal');
}
