import { defineSignal } from '@temporalio/workflow';

/** What the API sends with the signal. */
export interface RetryRequest {
  /** The id of the entry of the audit log for the request of the API that the signal comes from. It proves that. */
  auditId?: string;
}

/** What a retry is about, for the audit log. */
export interface RetryTarget {
  kind: 'execution' | 'run' | 'storageConnection';
  id: string;
}

/** Tries a blocked step again at once instead of at its next probe. Executions, uploads and bucket access take it. */
export const retrySignal = defineSignal<[RetryRequest?]>('retry');
