import type { Report } from './report.js';

/** A part of the bench: rows that are measured together, in a process of their own. */
export interface Part {
  /** After so many minutes, the part counts as one that hangs. */
  minutes: number;
  /** Whether it runs at the same time as the part before. Such parts mostly wait, and hardly disturb each other. */
  besideLast?: true;
  run: (report: Report) => Promise<void>;
}

/** In the order in which they run. */
export const PARTS: Readonly<Record<string, Part>> = {
  upload: {
    minutes: 4,
    run: async (report) => (await import('./transfers/copies.js')).uploads(report),
  },
  download: {
    minutes: 4,
    run: async (report) => (await import('./transfers/copies.js')).downloads(report),
  },
  resume: {
    minutes: 4,
    run: async (report) => (await import('./transfers/resume.js')).resumptions(report),
  },
  unchanged: {
    minutes: 6,
    run: async (report) => (await import('./transfers/unchanged.js')).unchanged(report),
  },
  lists: {
    minutes: 6,
    run: async (report) => (await import('./api/lists.js')).lists(report),
  },
  live: {
    minutes: 2,
    run: async (report) => (await import('./api/live.js')).live(report),
  },
  storage: {
    minutes: 4,
    run: async (report) => (await import('./storage/index.js')).storage(report),
  },
  executions: {
    minutes: 4,
    run: async (report) => (await import('./executions.js')).executions(report),
  },
  searches: {
    minutes: 4,
    run: async (report) => (await import('./searches.js')).searches(report),
  },
  events: {
    minutes: 3,
    besideLast: true,
    run: async (report) => (await import('./events.js')).events(report),
  },
  idle: {
    minutes: 4,
    besideLast: true,
    run: async (report) => (await import('./idle.js')).idle(report),
  },
  accounts: {
    minutes: 3,
    run: async (report) => (await import('./accounts.js')).accounts(report),
  },
  watching: {
    minutes: 7,
    run: async (report) => (await import('./watching.js')).watching(report),
  },
  processes: {
    minutes: 5,
    run: async (report) => (await import('./processes.js')).processes(report),
  },
};
