import type { Connection } from '@temporalio/client';
import type { Payload } from '@temporalio/common';
import { isNotFound } from './errors.js';
import { INDEXED_VALUE_TYPE, type SearchAttributeType } from './searchAttributes.js';

/** What a Temporal server says about itself. */
export async function readServerVersion(connection: Connection): Promise<string> {
  return (await connection.workflowService.getSystemInfo({})).serverVersion ?? 'unknown';
}

/** A namespace; undefined where the server has none with this name. */
export async function readNamespace(
  connection: Connection,
  namespace: string,
): Promise<{ retentionHours: number } | undefined> {
  try {
    const { config } = await connection.workflowService.describeNamespace({ namespace });
    const seconds = Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0);
    return { retentionHours: seconds / 3600 };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Which search attributes a namespace lacks, and which have another type than needed. */
export async function compareSearchAttributes(
  connection: Connection,
  namespace: string,
  needed: Readonly<Record<string, SearchAttributeType>>,
): Promise<{ missing: string[]; wrong: string[] }> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const existing: Record<string, number | null | undefined> = { ...customAttributes };
  const names = Object.keys(needed);
  return {
    missing: names.filter((name) => !(name in existing)),
    wrong: names.filter((name) => name in existing && existing[name] !== INDEXED_VALUE_TYPE[needed[name]!]),
  };
}

/** A process that takes tasks from a task queue. */
export interface Poller {
  identity: string;
  /** Of its code; the SDK derives it from the workflow bundle where worker versioning is off. */
  buildId: string | undefined;
  /** Where worker versioning is on. */
  deploymentName: string | undefined;
  lastSeen: Date | undefined;
}

const TASK_QUEUE_TYPE = { workflow: 1, activity: 2 } as const;

/** Who takes tasks of a kind from a task queue. Temporal forgets a poller about five minutes after its last poll. */
export async function listPollers(
  connection: Connection,
  namespace: string,
  taskQueue: string,
  kind: keyof typeof TASK_QUEUE_TYPE,
): Promise<Poller[]> {
  const { pollers } = await connection.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: TASK_QUEUE_TYPE[kind],
  });
  return (pollers ?? []).map(({ identity, deploymentOptions, workerVersionCapabilities, lastAccessTime }) => ({
    identity: identity ?? '',
    buildId: deploymentOptions?.buildId ?? workerVersionCapabilities?.buildId ?? undefined,
    deploymentName: deploymentOptions?.deploymentName || undefined,
    lastSeen: lastAccessTime == null ? undefined : new Date(Number(lastAccessTime.seconds ?? 0) * 1000),
  }));
}

/** The payloads of a schedule: what polony stored with it. None where there is no such schedule. */
export async function readSchedulePayloads(
  connection: Connection,
  namespace: string,
  scheduleId: string,
): Promise<Payload[]> {
  try {
    const { schedule } = await connection.workflowService.describeSchedule({ namespace, scheduleId });
    const { input, userMetadata, memo } = schedule?.action?.startWorkflow ?? {};
    const { summary } = userMetadata ?? {};
    const inMemo = Object.values(memo?.fields ?? {});
    return [...(input?.payloads ?? []), ...(summary == null ? [] : [summary]), ...inMemo];
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}
