import type { Client } from '@temporalio/client';
import type { temporal } from '@temporalio/proto';
import type { Reading } from '../observability/metrics.js';
import type { taskQueues } from '../workflows/messages/taskQueues.js';

/** A task queue, as Temporal sees it. */
export interface TaskQueueState {
  name: string;
  kind: 'workflow' | 'activity';
  /**
   * Workers that polled it within the last two minutes and get its new tasks. With Worker Versioning, those are the
   * workers of the current version.
   */
  pollers: number;
  /** Tasks that no worker has taken, as Temporal estimates. */
  backlog: number;
  /** Age of the oldest of them, in seconds. */
  backlogAgeSeconds: number;
}

/** A worker that waits for a task asks again after at most a minute (Temporal's long poll). */
const POLLER_MS = 120_000;
/** Values of Temporal's enum TaskQueueType. */
const TYPES = { workflow: 1, activity: 2 } as const;
/** Value of Temporal's enum WorkerVersioningMode. */
const VERSIONED = 2;

/** Asks Temporal for the task queues of this installation. @throws where Temporal does not answer */
export async function describeTaskQueues(
  client: Client,
  queues: ReturnType<typeof taskQueues>,
): Promise<TaskQueueState[]> {
  const asked = [
    { name: queues.main, kind: 'workflow' as const },
    ...Object.values(queues).map((name) => ({ name, kind: 'activity' as const })),
  ];
  return Promise.all(asked.map((each) => describeOne(client, each)));
}

async function describeOne(
  client: Client,
  { name, kind }: Pick<TaskQueueState, 'name' | 'kind'>,
): Promise<TaskQueueState> {
  const { pollers, stats, versioningInfo } = await client.workflowService.describeTaskQueue({
    namespace: client.options.namespace,
    taskQueue: { name },
    taskQueueType: TYPES[kind],
    reportStats: true,
  });
  const since = Date.now() - POLLER_MS;
  const seconds = (time: { seconds?: unknown; nanos?: number | null } | null | undefined): number =>
    Number(time?.seconds ?? 0) + (time?.nanos ?? 0) / 1e9;
  const active = (pollers ?? []).filter(
    (poller) => seconds(poller.lastAccessTime) * 1000 > since && getsTasks(poller, versioningInfo),
  );
  return {
    name,
    kind,
    pollers: new Set(active.map(({ identity }) => identity)).size,
    backlog: Number(stats?.approximateBacklogCount ?? 0),
    backlogAgeSeconds: seconds(stats?.approximateBacklogAge),
  };
}

type Versioning = Pick<
  temporal.api.taskqueue.v1.ITaskQueueVersioningInfo,
  'currentDeploymentVersion' | 'rampingDeploymentVersion'
>;

/**
 * Whether a worker gets new tasks. Temporal lists workers of every version, also of one that nobody has made the current
 * one, and of an old one that only ends its pinned workflows.
 */
export function getsTasks(
  { deploymentOptions }: temporal.api.taskqueue.v1.IPollerInfo,
  versioning: Versioning | null | undefined,
): boolean {
  // A server without worker deployments.
  if (versioning == null) return true;
  const { currentDeploymentVersion: current, rampingDeploymentVersion: ramping } = versioning;
  const mode = deploymentOptions?.workerVersioningMode as number | null | undefined;
  if (mode !== VERSIONED) return current == null;
  return [current, ramping].some(
    (version) =>
      version != null &&
      version.buildId === deploymentOptions?.buildId &&
      version.deploymentName === deploymentOptions?.deploymentName,
  );
}

/** The same as values of metrics. */
export function toReadings(states: readonly TaskQueueState[]): Reading[] {
  return states.flatMap(({ name, kind, pollers, backlog, backlogAgeSeconds }): Reading[] => {
    const labels = { task_queue: name, kind };
    return [
      { metric: 'pollers', labels, value: pollers },
      { metric: 'backlog', labels, value: backlog },
      { metric: 'backlogAge', labels, value: backlogAgeSeconds },
    ];
  });
}
