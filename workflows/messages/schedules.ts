/** The schedule that verifies everything. */
export const VERIFY_SCHEDULE_ID = 'verify-all';
/** How the schedules of older versions begin that searched a storage connection for new runs. */
export const DISCOVER_SCHEDULES = 'discover/';
/** The schedule of older versions that swept. */
export const SWEEP_SCHEDULE_ID = 'sweep';
