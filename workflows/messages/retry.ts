import { defineSignal } from '@temporalio/workflow';

/** Tries a blocked step again at once instead of at its next probe. Executions, uploads and bucket access take it. */
export const retrySignal = defineSignal('retry');
