import { Context } from '@temporalio/activity';
import { judgeEndedUpload } from '../../domain/runs/usability.js';
import { listCancelsToSignal, markCancelSignalled } from '../../store/executions/cancel.js';
import { listExecutionsToStart, listExecutionsWaitingForUpload } from '../../store/executions/sweep.js';
import { markWorkflowStarted } from '../../store/executions/start.js';
import { listUnwatched } from '../../store/executions/watches.js';
import { listUnattendedBuckets } from '../../store/grants/agenda.js';
import { listRegisteredRuns } from '../../store/runs/discovery.js';
import { listEndedUploadsWithWaitingExecutions } from '../../store/runs/endedUploads.js';
import { unlessReconciling } from '../../store/reconcile/lock.js';
import { listUnverified } from '../../store/verification/resources.js';
import type { Dependencies } from '../dependencies.js';
import { withHeartbeat } from '../heartbeat.js';
import { sweepDeliveries } from '../webhooks/dispatch.js';
import { ForgottenExecutions } from '../executions/forgottenExecutions.js';
import { ClosedExecutions } from '../executions/closedExecutions.js';
import { recordEndInBucket } from '../executions/records.js';
import { endWaiting, startExecution } from '../executions/workflows.js';
import { FailureCollector } from './failureCollector.js';

/** Younger changes are left to the process that made them. */
const GRACE_MS = 10_000;
/** An activity registers its watch within seconds. After this time without one, its worker is dead. */
const UNWATCHED_MS = 60_000;
/** Most executions whose activity one sweep looks up. */
const MOST_UNWATCHED = 100;

/** How many executions the sweep started. */
interface SweepResult {
  executions: number;
}

export type SweepDependencies = Pick<Dependencies, 'db' | 'aws' | 'orchestrator' | 'secrets' | 'settings'>;

/** Logs a warning. */
export type Warn = (message: string, fields: Record<string, unknown>) => void;

/**
 * The activity of the workflow `sweep`, which schedules of older versions start. Workers sweep by themselves now; a
 * process of the older version may have created the schedule again.
 */
export function createSweepActivities(dependencies: SweepDependencies) {
  const sweeper = new Sweeper(dependencies, (message, fields) => {
    Context.current().log.warn(message, fields);
  });
  return {
    async handOver(): Promise<SweepResult> {
      return withHeartbeat(async () => {
        await dependencies.orchestrator.schedules.removeSweep();
        return sweeper.sweep();
      });
    },
  };
}

/**
 * Finishes what was written to the store but did not reach Temporal, because a process died or Temporal was out of
 * reach. Recovers executions whose workflow was closed from outside.
 */
export class Sweeper {
  #isFirst = true;

  constructor(
    private readonly dependencies: SweepDependencies,
    private readonly warn: Warn,
  ) {}

  /** Whether this process has not swept yet. */
  get isFirst(): boolean {
    return this.#isFirst;
  }

  /**
   * Sweeps once. While an operator reconciles the database, it does nothing: it would act on what they are about to
   * correct.
   * @param stopping ends the sweep before its next step
   * @throws `HandOverFailed` after all steps, where one of them failed.
   */
  async sweep(stopping?: AbortSignal): Promise<SweepResult> {
    const { db } = this.dependencies;
    const sweep = new Sweep(this.dependencies, this.#isFirst, this.warn);
    const result = await unlessReconciling(db, (lost) => {
      this.#isFirst = false;
      return sweep.run(stopping === undefined ? lost : AbortSignal.any([lost, stopping]));
    });
    return result ?? { executions: 0 };
  }
}

class Sweep {
  readonly #failures = new FailureCollector();
  readonly #before = new Date(Date.now() - GRACE_MS);
  readonly #result: SweepResult = { executions: 0 };
  readonly #db: SweepDependencies['db'];
  readonly #orchestrator: SweepDependencies['orchestrator'];
  readonly #closed: ClosedExecutions;
  readonly #forgotten: ForgottenExecutions;

  constructor(
    dependencies: SweepDependencies,
    /** Whether it is the first sweep of this process. */
    private readonly isFirst: boolean,
    warn: Warn,
  ) {
    const { db, orchestrator, settings } = dependencies;
    this.#db = db;
    this.#orchestrator = orchestrator;
    this.#forgotten = new ForgottenExecutions(db, orchestrator.executions, warn);
    this.#closed = new ClosedExecutions(db, orchestrator.executions, settings.closedWorkflows, (id) =>
      recordEndInBucket(dependencies, id),
    );
  }

  /**
   * @param lost aborts when an operator may reconcile the database, or the process stops
   * @throws `HandOverFailed` after all steps, where one of them failed.
   */
  async run(lost: AbortSignal): Promise<SweepResult> {
    const steps: Record<string, () => Promise<void>> = {
      executions: () => this.#startExecutions(),
      'cancel requests': () => this.#signalCancels(),
      'executions that wait for an upload': () => this.#endWaiting(),
      'executions whose workflow was closed': () => this.#recoverClosed(),
      'executions whose workflow is lost': () => this.#recoverLost(),
      'runs that nobody watches': () => this.#watchAgain(),
      'executions that the database forgot': () => this.#recoverForgotten(),
      'webhook deliveries': () => sweepDeliveries(this.#db, this.#orchestrator.webhooks),
      'bucket policies': () => this.#settleBuckets(),
      verifications: () => this.#verify(),
      'registered runs': () => this.#followRegisteredRuns(),
    };
    for (const [name, step] of Object.entries(steps)) {
      lost.throwIfAborted();
      await this.#failures.attempt(name, step);
    }
    this.#failures.throwIfAny();
    return this.#result;
  }

  async #startExecutions(): Promise<void> {
    const executions = await listExecutionsToStart(this.#db, { createdBefore: this.#before });
    this.#result.executions = executions.length;
    for (const execution of executions)
      await this.#failures.attempt(`execution ${execution.id}`, () =>
        startExecution(this.#db, this.#orchestrator.executions, execution),
      );
  }

  async #signalCancels(): Promise<void> {
    for (const execution of await listCancelsToSignal(this.#db, this.#before)) {
      await this.#failures.attempt(`cancel of execution ${execution.id}`, async () => {
        await this.#orchestrator.executions.cancel(execution, {
          requestedBy: execution.cancel?.requestedBy,
          reason: execution.cancel?.reason ?? undefined,
        });
        await markWorkflowStarted(this.#db, execution.id);
        await markCancelSignalled(this.#db, execution.id);
      });
    }
  }

  /** An execution that was created at the moment when the upload of its run ended may have missed it. */
  async #endWaiting(): Promise<void> {
    for (const run of await listEndedUploadsWithWaitingExecutions(this.#db)) {
      const ended = judgeEndedUpload(run);
      for (const execution of await listExecutionsWaitingForUpload(this.#db, run.id))
        await this.#failures.attempt(`execution ${execution.id}`, () =>
          endWaiting(this.#orchestrator.executions, execution, ended),
        );
    }
  }

  async #recoverClosed(): Promise<void> {
    for (const id of await this.#closed.listClosed())
      await this.#failures.attempt(`execution ${id}, whose workflow was closed`, () => this.#closed.recover(id, false));
  }

  async #recoverLost(): Promise<void> {
    for (const id of await this.#closed.listLost())
      await this.#failures.attempt(`execution ${id}, whose workflow is lost`, () => this.#closed.recover(id, true));
  }

  /** After a start of the worker, the database may be an older one. */
  async #recoverForgotten(): Promise<void> {
    const ids = await this.#forgotten.listRunning();
    if (this.isFirst) ids.push(...(await this.#forgotten.listEnded()));
    for (const id of ids)
      await this.#failures.attempt(`execution ${id}, which the database forgot`, async () => {
        await this.#forgotten.recover(id);
      });
  }

  async #settleBuckets(): Promise<void> {
    for (const { bucket, storage_connection: storageConnectionName } of await listUnattendedBuckets(this.#db))
      await this.#failures.attempt(`policy of ${bucket}`, () =>
        this.#orchestrator.grants.settle({ bucket, storageConnectionName }),
      );
  }

  async #verify(): Promise<void> {
    for (const resource of await listUnverified(this.#db, this.#before))
      await this.#failures.attempt(`verification of ${resource.name}`, () =>
        this.#orchestrator.verification.verify(resource),
      );
  }

  async #followRegisteredRuns(): Promise<void> {
    for (const run of await listRegisteredRuns(this.#db, this.#before))
      await this.#failures.attempt(`upload of ${run.runName}`, () => this.#orchestrator.runs.startUpload(run));
  }

  /** A worker that died may have taken the activity that watches a run, and not have registered it. */
  async #watchAgain(): Promise<void> {
    const before = new Date(Date.now() - UNWATCHED_MS);
    for (const id of await listUnwatched(this.#db, before, MOST_UNWATCHED))
      await this.#failures.attempt(`watching of execution ${id}`, () => this.#orchestrator.watches.restart(id, before));
  }
}
