/** How a check ended. `skipped`: something that it needs does not work, which another finding names. */
export type Level = 'ok' | 'warning' | 'failure' | 'skipped';

/** What a check found. */
export interface Finding {
  /** The name of the check, such as `search attributes`. */
  check: string;
  level: Level;
  /** What was found. */
  message: string;
  /** What to do. */
  remedy?: string;
}

/** A check of one part of an installation. It must not change anything. */
export interface Check {
  name: string;
  /** @returns what it found; at least one finding */
  run: () => Promise<Omit<Finding, 'check'>[]>;
  /** Milliseconds after which the check counts as failed. */
  timeoutMs?: number;
}

export const ok = (message: string): Omit<Finding, 'check'> => ({ level: 'ok', message });
export const warning = (message: string, remedy: string): Omit<Finding, 'check'> => ({
  level: 'warning',
  message,
  remedy,
});
export const failure = (message: string, remedy: string): Omit<Finding, 'check'> => ({
  level: 'failure',
  message,
  remedy,
});

/** Another check names what is wrong. */
export class NeedsError extends Error {
  override readonly name = 'NeedsError';
}
