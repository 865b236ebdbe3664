import { checkPolicy } from '../domain/iam/policyCheck.js';
import { checkRunManifest } from '../domain/runs/manifestCheck.js';
import { parseSeriesFile } from '../domain/runs/seriesFiles.js';

/**
 * Work whose duration depends on what a client or a file contains. It runs in a thread, so that it cannot stop the
 * event loop of a process. Arguments and results must be plain data.
 */
export const TASKS = { checkPolicy, checkRunManifest, parseSeriesFile };

export type Tasks = typeof TASKS;
export type TaskName = keyof Tasks;

/** What a process sends to a thread. */
export interface TaskMessage {
  task: TaskName;
  args: unknown[];
}

/** What a thread answers. */
export type TaskAnswer = { result: unknown } | { problems: unknown[] } | { error: unknown };
