/** The schedule that searches a storage connection for new runs. */
export function discoverScheduleId(storageConnectionId: string): string {
  return `discover/${storageConnectionId}`;
}
export const SWEEP_SCHEDULE_ID = 'sweep';
export const VERIFY_SCHEDULE_ID = 'verify-all';
