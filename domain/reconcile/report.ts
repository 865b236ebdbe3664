/** What `polony reconcile` found out about one execution, and what it did or would do. */
export interface ReconciledExecution {
  id: string;
  /** Of the run that it analyses; empty where nothing says it. */
  run: string;
  /** Its status in the database before; `unknown` where the database did not have it. */
  before: string;
  /** What it is now, or will be as soon as a worker has continued it. */
  after: string;
  /** What shows that. */
  why: string;
  kind: 'changed' | 'unchanged' | 'undecided';
  healthOmicsRunId: string | null;
  /** What a person should do. */
  todo?: string;
}

/** Something other than an execution that was changed, or that a person must look at. */
export interface ReconcileNote {
  subject: 'AWS' | 'runs' | 'schedules' | 'grants' | 'webhooks' | 'keys' | 'Temporal';
  /** `changed`: done, or to be done. `attention`: only a person can decide. `info`: good to know. */
  kind: 'changed' | 'attention' | 'info';
  text: string;
  todo?: string;
}

/** The result of `polony reconcile`. */
export interface ReconcileReport {
  dryRun: boolean;
  executions: ReconciledExecution[];
  notes: ReconcileNote[];
  totals: {
    /** Executions that were looked at: open ones, and those that the database did not know. */
    examined: number;
    changed: number;
    unchanged: number;
    undecided: number;
    /** Open executions that no workflow follows; known only after a run that is not dry. */
    unwatched: number | null;
  };
}

/** Whether a report asks a person for something. */
export function needsPerson({ executions, notes, totals }: ReconcileReport): boolean {
  return (
    executions.some(({ kind }) => kind === 'undecided') ||
    notes.some(({ kind }) => kind === 'attention') ||
    (totals.unwatched ?? 0) > 0
  );
}

/** Whether everything is as it should be. */
export function hasNothingToDo({ executions, notes }: ReconcileReport): boolean {
  return [...executions, ...notes].every(({ kind }) => kind !== 'changed');
}
