import { setTimeout } from 'node:timers/promises';
import type { WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import { errorMessage } from '../domain/errors.js';
import type { WorkerVersioning } from '../domain/settings.js';
import type { Deployments } from '../temporal/deployments.js';

/** Pause between two looks at whether the version is drained, in milliseconds. */
const CHECK_MS = 30_000;
/**
 * How long a worker waits that starts with a version that is drained already, in milliseconds. Somebody may have started
 * it to go back to this version, and must have time to make it the current one.
 */
const GRACE_MS = 600_000;

/** The options of a worker for Worker Versioning; none where it is off. */
export function toDeploymentOptions(
  versioning: WorkerVersioning | undefined,
): Pick<WorkerOptions, 'workerDeploymentOptions'> {
  if (versioning === undefined) return {};
  const { deploymentName, buildId } = versioning;
  return {
    workerDeploymentOptions: {
      version: { deploymentName, buildId },
      useWorkerVersioning: true,
      // polony's changes of workflow code are patched, so that histories of the last release replay.
      defaultVersioningBehavior: 'AUTO_UPGRADE',
    },
  };
}

/**
 * Waits until no workflow needs this version any more. It must have been needed while this process ran, or the process
 * must have waited for a while.
 * @param now time in milliseconds
 * @returns false when `stopping` came first.
 */
export async function waitUntilDrained(
  versioning: WorkerVersioning,
  deployments: Pick<Deployments, 'describe'>,
  logger: Logger,
  stopping: AbortSignal,
  now: () => number = Date.now,
): Promise<boolean> {
  const began = now();
  let wasNeeded = false;
  for (;;) {
    try {
      const known = await deployments.describe(versioning);
      if (known?.isDrained === true && (wasNeeded || now() - began >= GRACE_MS)) return true;
      wasNeeded ||= known?.isDrained === false;
    } catch (error) {
      logger.warn({ reason: errorMessage(error) }, 'whether this version is drained cannot be looked up; trying again');
    }
    try {
      await setTimeout(CHECK_MS, undefined, { signal: stopping, ref: false });
    } catch {
      return false;
    }
  }
}
