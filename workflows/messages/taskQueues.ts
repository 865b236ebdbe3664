/**
 * The task queues of an installation. Watching has its own queue, so that thousands of watched runs do not take the
 * slots of other activities. Webhooks have their own too, because their receivers may be slow.
 * @param prefix the setting POLONY_TASK_QUEUE
 */
export function taskQueues(prefix: string): { main: string; watch: string; webhooks: string } {
  return { main: prefix, watch: `${prefix}-watch`, webhooks: `${prefix}-webhooks` };
}
