import type { Blocked } from '../executions/execution.js';

/**
 * The state of a grant. `pending`: polony will write it. `active`: it is in the bucket's policy. `failed`: polony could
 * not write it. `removing`: polony will remove it. `expired` and `removed`: polony removed it.
 */
export type GrantState = 'pending' | 'active' | 'failed' | 'removing' | 'expired' | 'removed';

/** The states that answers show. `missing` and `changed`: the bucket's policy no longer contains what polony wrote. */
export const SHOWN_STATES = ['active', 'missing', 'changed', 'pending', 'failed', 'removing', 'expired'] as const;
export type ShownState = (typeof SHOWN_STATES)[number];

/** The result of a change. */
export interface GrantChange {
  state: GrantState;
  /** Why polony could not change it. */
  problem: Blocked | null;
}

/** The work that remains for a bucket. */
export interface GrantAgenda {
  /** When the next grant expires, in milliseconds since 1970; null for never. */
  due: number | null;
  /** Number of grants that polony must still write or remove. */
  open: number;
  /** The problem of the first of these grants. */
  problem: Blocked | null;
}
