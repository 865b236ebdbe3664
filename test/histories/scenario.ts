import { Context } from '@temporalio/activity';
import type { Client, WorkflowExecutionStatusName, WorkflowHandle, WorkflowStartOptions } from '@temporalio/client';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { Activities } from '../../activities/index.js';
import { createBlockedFailure } from '../../activities/failures.js';
import type { Blocked } from '../../domain/executions/execution.js';
import type * as workflows from '../../workflows/index.js';

export type WorkflowType = keyof typeof workflows;
export type ActivityType = keyof Activities;

/** The task queues of the recorder, named as an installation with the prefix `polony` names them. */
export const QUEUES = { main: 'polony', watch: 'polony-watch', webhooks: 'polony-webhooks' } as const;

/** One workflow run to record: what starts it, how its activities answer, and what happens to it from outside. */
export interface Scenario {
  workflow: WorkflowType;
  /** How the workflow ends. The history is written to `<workflow>/<outcome>.json`. */
  outcome: string;
  /** The input of the workflow; none where it is absent. */
  input?: unknown;
  /** Starts the workflow; by default with its input and nothing else. */
  start?: (client: Client, options: WorkflowStartOptions) => Promise<unknown>;
  /** Answers of the activities. An activity that is absent must not be called. */
  activities: (calls: Calls) => Partial<Activities>;
  /** Sends signals, updates and cancellations. */
  drive?: (run: Drive) => Promise<void>;
  /** The status in which the history is taken. A workflow that is still `RUNNING` is terminated afterwards. */
  status: WorkflowExecutionStatusName;
}

/** What a scenario needs to steer its workflow. */
export interface Drive {
  handle: WorkflowHandle;
  calls: Calls;
  /** Waits until an activity has failed and waits for its next attempt. */
  untilRetrying: (activity: ActivityType) => Promise<void>;
}

/** Counts the activity calls of one workflow run, attempts included. */
export class Calls {
  readonly #counts = new Map<ActivityType, number>();
  readonly #waiting: { activity: ActivityType; times: number; resolve: () => void }[] = [];

  /** Counts a call. @returns which call of this activity it is, from 1. */
  add(activity: ActivityType): number {
    const count = (this.#counts.get(activity) ?? 0) + 1;
    this.#counts.set(activity, count);
    for (const each of this.#waiting) if (each.activity === activity && each.times <= count) each.resolve();
    return count;
  }

  /** Waits until an activity has been called `times` times. */
  async until(activity: ActivityType, times = 1): Promise<void> {
    if ((this.#counts.get(activity) ?? 0) >= times) return;
    await new Promise<void>((resolve) => this.#waiting.push({ activity, times, resolve }));
  }
}

/** What an activity answers to one call: a value, a failure, or what a function returns or throws. */
export type Answer<T> = T | Error | (() => Promise<T>);

/** An activity that gives one answer after the other, and then repeats the last one. */
export function answers<T>(...list: [Answer<T>, ...Answer<T>[]]): () => Promise<T> {
  let next = 0;
  return async () => {
    const answer = list[Math.min(next++, list.length - 1)];
    if (answer instanceof Error) throw answer;
    return typeof answer === 'function' ? (answer as () => Promise<T>)() : (answer as T);
  };
}

/** Never answers: waits until the activity is cancelled or the worker stops. */
export async function hang(): Promise<never> {
  return Context.current().cancelled;
}

/** Answers only after the activity is cancelled, like a request that was already sent. */
export function onceCancelled<T>(answer: T | Error): () => Promise<T> {
  return async () => {
    await Context.current().cancelled.catch(() => undefined);
    if (answer instanceof Error) throw answer;
    return answer;
  };
}

/** What blocks the activities of the scenarios. */
export const denied: Blocked = {
  kind: 'ACCESS_DENIED',
  action: 'omics:StartRun',
  resource: '*',
  message: 'AccessDenied.',
  remedy: 'Allow it.',
};

/** A failure that blocks the workflow until a person fixes its cause. */
export const blocked = (action = denied.action): ApplicationFailure => createBlockedFailure({ ...denied, action });

/** A failure that Temporal retries only after the recording has ended. */
export const laterFailure = (type: string): ApplicationFailure =>
  ApplicationFailure.create({
    type,
    message: 'Not yet',
    nextRetryDelay: '1 hour',
    category: ApplicationFailureCategory.BENIGN,
  });

/** A failure that Temporal retries almost at once. */
export const soonFailure = (type: string): ApplicationFailure =>
  ApplicationFailure.create({ type, message: 'Try again', nextRetryDelay: '20 milliseconds' });

/** A failure that Temporal does not retry. */
export const finalFailure = (type: string): ApplicationFailure => ApplicationFailure.nonRetryable('It failed', type);

/** Waits for a number of milliseconds. */
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
