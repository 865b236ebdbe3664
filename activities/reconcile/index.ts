import pLimit from 'p-limit';
import { errorMessage } from '../../domain/errors.js';
import type { ReconciledExecution, ReconcileNote, ReconcileReport } from '../../domain/reconcile/report.js';
import { recordReconciliation } from '../../store/reconcile/counts.js';
import { withReconcileLock } from '../../store/reconcile/lock.js';
import { listOpenExecutionIds } from '../../store/reconcile/places.js';
import { AwsTruth } from './awsTruth.js';
import { type Candidates, findCandidates } from './candidates.js';
import { ExecutionPlanner, type Plan, type ReconcileDependencies } from './planExecution.js';
import { planSurroundings, type SurroundingOrchestrator, type SurroundingSettings } from './surroundings.js';

/** What {@link reconcile} works with. */
type ReconcileParts = Omit<ReconcileDependencies, 'orchestrator' | 'settings'> & {
  orchestrator: ReconcileDependencies['orchestrator'] & SurroundingOrchestrator;
  settings: ReconcileDependencies['settings'] & SurroundingSettings;
};

export interface ReconcileOptions {
  /** Changes nothing: neither the database, nor Temporal, nor AWS. */
  dryRun: boolean;
  /** How long to wait for a sweep that is under way, in milliseconds. */
  waitMs?: number;
  /** Says what is being done. */
  onProgress?: (line: string) => void;
}

/** Executions that are planned or changed at the same time. */
const AT_ONCE = 8;
const WAIT_MS = 60_000;

/**
 * Brings the database, Temporal and AWS together again, after one or two of them were restored or lost. It starts no
 * HealthOmics run that it knows of a second time, and leaves none without a workflow. It can be interrupted, and
 * repeated. Sweeps wait meanwhile.
 * @throws ReconcileBusyError where a sweep or another reconciliation does not end; errors of the database and of
 * Temporal. What AWS does not answer is in the report.
 */
export async function reconcile(parts: ReconcileParts, options: ReconcileOptions): Promise<ReconcileReport> {
  const { waitMs = WAIT_MS } = options;
  return withReconcileLock(parts.db, waitMs, (lost) => new Reconciliation(parts, options, lost).run());
}

class Reconciliation {
  readonly #truth: AwsTruth;
  readonly #planner: ExecutionPlanner;
  readonly #say: (line: string) => void;

  constructor(
    private readonly parts: ReconcileParts,
    private readonly options: ReconcileOptions,
    /** Aborts when sweeps may work again; a plan may be outdated then. */
    private readonly lost: AbortSignal,
  ) {
    this.#truth = new AwsTruth(parts.aws);
    this.#planner = new ExecutionPlanner(parts, this.#truth);
    this.#say = options.onProgress ?? ((): void => undefined);
  }

  async run(): Promise<ReconcileReport> {
    const { dryRun } = this.options;
    this.#say('Looking for executions in the database, Temporal, the buckets and HealthOmics');
    const candidates = await findCandidates(this.parts, this.#truth);
    this.#say(`Comparing ${candidates.executions.size} executions`);
    const executions = await this.#reconcileExecutions(candidates);
    const notes = [...candidates.notes, ...describeTemporal(candidates), ...(await this.#reconcileRest())];
    const count = (kind: ReconciledExecution['kind']): number => executions.filter((each) => each.kind === kind).length;
    const totals = {
      examined: executions.length,
      changed: count('changed'),
      unchanged: count('unchanged'),
      undecided: count('undecided'),
      unwatched: dryRun ? null : await this.#countUnwatched(),
    };
    const report = { dryRun, executions, notes, totals };
    const hasChanged = [...executions, ...notes].some(({ kind }) => kind === 'changed');
    if (!dryRun && hasChanged)
      await recordReconciliation(this.parts.db, {
        totals,
        notes: notes.filter(({ kind }) => kind === 'changed').map(({ text }) => text),
      });
    return report;
  }

  async #reconcileExecutions({ executions }: Candidates): Promise<ReconciledExecution[]> {
    const results = await pLimit(AT_ONCE).map([...executions].sort(byId), async ([id, traces]) => {
      try {
        const plan = await this.#planner.plan(id, traces);
        if (!this.options.dryRun && plan.steps.length > 0) this.#say(`${id}: ${plan.result.after}`);
        return this.options.dryRun ? plan.result : await this.#apply(plan);
      } catch (error) {
        return {
          id,
          run: '',
          before: 'unknown',
          after: 'unknown',
          why: errorMessage(error),
          kind: 'undecided' as const,
          healthOmicsRunId: null,
          todo: 'Run polony reconcile again',
        };
      }
    });
    return results;
  }

  /** Carries a plan out. */
  async #apply({ result, steps }: Plan): Promise<ReconciledExecution> {
    for (const step of steps) {
      this.lost.throwIfAborted();
      const problem = await step();
      if (problem !== undefined)
        return { ...result, after: result.before, kind: 'undecided', why: `${result.why}. ${problem}` };
    }
    return result;
  }

  async #reconcileRest(): Promise<ReconcileNote[]> {
    const { db, orchestrator, settings } = this.parts;
    const notes: ReconcileNote[] = [];
    for (const { note, apply: applyNow } of await planSurroundings(db, orchestrator, settings, this.#truth)) {
      this.lost.throwIfAborted();
      if (!this.options.dryRun) await applyNow?.();
      notes.push(note);
    }
    return notes;
  }

  async #countUnwatched(): Promise<number> {
    const { db, orchestrator } = this.parts;
    const open = await listOpenExecutionIds(db);
    const areRunning = await pLimit(AT_ONCE).map(open, (id) => orchestrator.executions.isRunning(id));
    return areRunning.filter((isRunning) => !isRunning).length;
  }
}

const byId = ([one]: [string, unknown], [other]: [string, unknown]): number => (one < other ? -1 : 1);

function describeTemporal({ inTemporal, executions }: Candidates): ReconcileNote[] {
  if (inTemporal > 0 || executions.size === 0) return [];
  return [
    {
      subject: 'Temporal',
      kind: 'info',
      text:
        'Temporal knows no execution: it was lost, or TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE name another one than ' +
        'before',
    },
  ];
}
