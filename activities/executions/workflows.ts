import { whyRunIsUnusable } from '../../domain/runs/usability.js';
import type { Db } from '../../store/database.js';
import type { ExecutionContext } from '../../store/executions/load.js';
import { markWorkflowStarted } from '../../store/executions/start.js';
import type { RunUploadEnded } from '../../workflows/messages/runs.js';
import type { Dependencies } from '../dependencies.js';

type ExecutionWorkflows = Dependencies['orchestrator']['executions'];

/** Starts the workflow of an execution. Nothing happens where it runs. */
export async function startExecution(
  db: Db,
  workflows: Pick<ExecutionWorkflows, 'start'>,
  execution: ExecutionContext,
): Promise<void> {
  await workflows.start(execution);
  await markWorkflowStarted(db, execution.id);
}

/** Tells an execution that waits for the upload of its run how the upload ended. */
export async function endWaiting(
  workflows: Pick<ExecutionWorkflows, 'endWaiting'>,
  execution: ExecutionContext,
  ended: RunUploadEnded,
): Promise<void> {
  await workflows.endWaiting(execution, judgeForFlow(execution, ended));
}

/**
 * A usable run is unusable for flows that accept neither failed nor unverified runs. A stopped run is usable for flows
 * that accept it.
 */
function judgeForFlow({ flow, run }: ExecutionContext, ended: RunUploadEnded): RunUploadEnded {
  if (!ended.usable && !run.usableIfStopped) return ended;
  const reason = whyRunIsUnusable(ended.usable ? { ...run, uploadState: 'complete' } : run, flow);
  return reason === undefined
    ? { usable: true, reason: ended.reason }
    : { usable: false, reason: `The run cannot be analysed: ${reason}` };
}
