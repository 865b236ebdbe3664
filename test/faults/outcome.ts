import { setTimeout } from 'node:timers/promises';
import type { OmicsEmulator } from '../../local/omics/emulator.js';

/** How executions ended. All counts but `executions` and `runs` must be 0. */
export interface Outcome {
  executions: number;
  /** HealthOmics runs that were started. An execution has several if its earlier runs failed temporarily. */
  runs: number;
  /** Runs beyond the first one of each attempt. */
  duplicates: number;
  /** Executions that were accepted and did not end in time. */
  lost: number;
  /** Executions that ended while one of their runs had not. */
  leftRunning: number;
  /** Executions whose status does not match their last run. */
  wrongState: number;
  /** A description of each problem. */
  details: string[];
}

export function emptyOutcome(executions: number): Outcome {
  return { executions, runs: 0, duplicates: 0, lost: 0, leftRunning: 0, wrongState: 0, details: [] };
}

/** A client of the API that sends a request again until there is an answer. */
export type Call = <T>(method: string, where: string, body?: unknown, key?: string) => Promise<T>;

/** A killed part may take five minutes to start on a busy machine (local/guardian.ts), while another is killed. */
export const ANSWER_MS = 600_000;

/**
 * Creates a careful client: it sends the same request with the same idempotency key until there is an answer.
 * @param chooseUrl the address of the API for each attempt, from 0
 * @param mayRepeat whether it makes sense to try again
 */
export function createCarefulClient(
  apiKey: string,
  chooseUrl: (attempt: number) => string,
  mayRepeat: () => boolean = () => true,
): Call {
  return async <T>(method: string, where: string, body?: unknown, key?: string): Promise<T> => {
    const end = Date.now() + ANSWER_MS;
    for (let attempt = 0; ; attempt++) {
      let status = 0;
      try {
        const response = await fetch(`${chooseUrl(attempt)}${where}`, {
          method,
          headers: {
            'x-api-key': apiKey,
            ...(body !== undefined && { 'content-type': 'application/json' }),
            ...(key !== undefined && { 'idempotency-key': key }),
          },
          ...(body !== undefined && { body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(15_000),
        });
        status = response.status;
        if (response.ok) return (await response.json()) as T;
        throw new Error(`${method} ${where}: ${status} ${await response.text()}`);
      } catch (error) {
        if ((status >= 400 && status < 500) || !mayRepeat() || Date.now() > end) throw error;
      }
      await setTimeout(250);
    }
  };
}
/** The status of an execution without its prefix, and its description. */
export type States = Map<string, { status: string; description: string }>;

const ENDED = /COMPLETED|FAILED|CANCELED/;
const RUN_ENDED = ['COMPLETED', 'FAILED', 'CANCELLED', 'DELETED'];
const PAUSE_MS = 500;

/** Waits until all executions have ended. @param until time in ms. @returns the states of those that have */
export async function waitUntilEnded(ids: readonly string[], call: Call, until: number): Promise<States> {
  const states: States = new Map();
  for (; Date.now() < until && states.size < ids.length; await setTimeout(PAUSE_MS))
    for (let token = ''; ;) {
      const page = await call<{
        executions: { id: string; status: string; statusDescription: string }[];
        nextPageToken: string;
      }>('GET', `/v1/executions?pageSize=1000${token === '' ? '' : `&pageToken=${token}`}`);
      for (const { id, status, statusDescription } of page.executions)
        if (ENDED.test(status))
          states.set(id, { status: status.replace('EXECUTION_STATUS_', ''), description: statusDescription });
      token = page.nextPageToken;
      if (token === '') break;
    }
  return states;
}

/** Compares executions with the runs that HealthOmics has, and adds every problem to the outcome. */
export async function compareWithRuns(
  ids: readonly string[],
  states: States,
  runs: readonly (typeof OmicsEmulator.prototype.runs extends Map<string, infer Run> ? Run : never)[],
  outcome: Outcome,
  call: Call,
): Promise<void> {
  for (const id of ids) {
    const own = runs.filter((run) => run.requestId === id || run.requestId.startsWith(`${id}-`));
    const attempts = new Set(own.map((run) => run.requestId)).size;
    const state = states.get(id);
    const shown = own.map((run) => `${run.id} ${run.status}`).join(', ');
    const say = (what: string): void =>
      void outcome.details.push(`${id} (${state?.status ?? 'not ended'}; runs ${shown || 'none'}): ${what}`);
    if (own.length > attempts) {
      outcome.duplicates += own.length - attempts;
      say('several runs for one attempt');
    }
    // Another run may start only after one that failed temporarily.
    if (own.slice(0, -1).some((run) => run.status !== 'FAILED')) {
      outcome.duplicates++;
      say('another run although the one before had not failed');
    }
    if (state === undefined) {
      outcome.lost++;
      const { execution, details } = await call<{ execution: { statusDescription: string }; details: unknown }>(
        'GET',
        `/v1/executions/${id}/details`,
      );
      say(`did not end: ${execution.statusDescription} ${JSON.stringify(details)}`);
      continue;
    }
    if (own.some((run) => !RUN_ENDED.includes(run.status))) {
      outcome.leftRunning++;
      say('left running');
    }
    if (!fits(state.status, own.at(-1)?.status)) {
      outcome.wrongState++;
      say(state.description);
    }
  }
}

/** Whether the status of an execution matches its last run. */
function fits(status: string, lastRun: string | undefined): boolean {
  if (status === 'COMPLETED') return lastRun === 'COMPLETED';
  // If an execution is cancelled between two attempts, its last run has failed.
  if (status === 'CANCELED') return lastRun === undefined || lastRun === 'CANCELLED' || lastRun === 'FAILED';
  return lastRun === 'FAILED';
}
