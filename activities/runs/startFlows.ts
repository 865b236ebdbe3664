import { matchesAutoStart } from '../../domain/connections/runSettings.js';
import { whyRunIsUnusable } from '../../domain/runs/usability.js';
import { listExecutionsToStart, listExecutionsWaitingForUpload } from '../../store/executions/sweep.js';
import { markWorkflowStarted } from '../../store/executions/start.js';
import { createAutomaticExecutions, type EarlierStart } from '../../store/executions/automaticStart.js';
import { listAutoStartFlows } from '../../store/connections/flows.js';
import type { RunContext } from '../../store/runs/load.js';
import { updateRun } from '../../store/runs/update.js';
import type { RunUploadEnded } from '../../workflows/messages/runs.js';
import type { Dependencies } from '../dependencies.js';
import { findEarlierStart } from '../executions/earlierStarts.js';
import { endWaiting, startExecution } from '../executions/workflows.js';
import { FailureCollector } from './failureCollector.js';
import { loadRun } from './loadRun.js';

/** The activity of `runUpload` that runs when an upload has ended. */
export function createFlowStartActivities(dependencies: Pick<Dependencies, 'db' | 'aws' | 'orchestrator'>) {
  const { db, orchestrator } = dependencies;
  return {
    /**
     * Starts what waits for a run: the flows that are assigned to its storage connection (once each), and executions
     * that were created while it uploaded.
     */
    async startFlows(runId: string, ended: RunUploadEnded): Promise<{ executions: string[] }> {
      const run = await loadRun(db, runId);
      if (run.discovered && (ended.usable || run.usableIfStopped))
        await createExecutions(ended.usable ? { ...run, uploadState: 'complete' } : run);
      const executions: string[] = [];
      const failures = new FailureCollector();
      for (const execution of await listExecutionsWaitingForUpload(db, runId)) {
        await failures.attempt(`execution ${execution.id}`, async () => {
          await endWaiting(orchestrator.executions, execution, ended);
          await markWorkflowStarted(db, execution.id);
          executions.push(execution.id);
        });
      }
      for (const execution of await listExecutionsToStart(db, { runId })) {
        await failures.attempt(`execution ${execution.id}`, async () => {
          await startExecution(db, orchestrator.executions, execution);
          executions.push(execution.id);
        });
      }
      failures.throwIfAny();
      return { executions };
    },
  };

  /** Creates the executions of the flows that start automatically for a run. Each flow judges the run. */
  async function createExecutions(run: RunContext): Promise<void> {
    const runName = run.parameters?.runName ?? run.runName;
    const flows = (await listAutoStartFlows(db, run.storageConnectionId)).filter(
      (flow) =>
        whyRunIsUnusable(run, flow) === undefined &&
        matchesAutoStart(flow.filter, { instrumentName: run.instrumentName, runName }),
    );
    const forgotten = new Map<string, EarlierStart>();
    for (const { id, name } of flows) {
      const executionId = await findEarlierStart(dependencies, { id, name }, run);
      if (executionId !== undefined) forgotten.set(id, { flowName: name, executionId });
    }
    const earlierStarts = await createAutomaticExecutions(
      db,
      flows.filter(({ id }) => !forgotten.has(id)),
      {
        id: run.id,
        name: runName,
        storageConnectionId: run.storageConnectionId,
        instrumentRunId: run.parameters?.runId,
      },
      run.storage,
    );
    // Another execution costs money, and the results of the first are there. To repeat it, a person asks for it.
    for (const { flowName, executionId } of [...forgotten.values(), ...earlierStarts])
      await updateRun(db, run.id, {
        description:
          `${describeEnd(run)}. ${flowName} was started for it before (execution ${executionId}), ` +
          'so polony does not start it again automatically',
      });
  }
}

function describeEnd({ uploadState }: RunContext): string {
  return uploadState === 'complete' ? 'The run is complete' : 'The instrument ended the run as stopped';
}
