import type { Blocked } from '../executions/execution.js';

/**
 * Where a grant stands: to be written, written, refused, to be taken out again, taken out because its time was over or because somebody
 * removed it.
 */
export type GrantState = 'pending' | 'active' | 'failed' | 'removing' | 'expired' | 'removed';

/** What is shown of a grant: of those that were written also whether the bucket's policy still says so. */
export const SHOWN_STATES = ['active', 'missing', 'changed', 'pending', 'failed', 'removing', 'expired'] as const;
export type ShownState = (typeof SHOWN_STATES)[number];

/** What became of a change. */
export interface GrantChange {
  state: GrantState;
  /** Why it is not as it should be. */
  problem: Blocked | null;
}

/** What is still to be done in a bucket. */
export interface GrantAgenda {
  /** When the next grant expires, in milliseconds since 1970; null for never. */
  due: number | null;
  /** Grants that are to be written or taken out and are not yet. */
  open: number;
  /** Of the first of these. */
  problem: Blocked | null;
}
