import type { FastifyBaseLogger } from 'fastify';
import { isFinalStatus } from '../../domain/executions/execution.js';
import { type ExecutionContext, findExecution } from '../../store/executions/load.js';
import { markWorkflowStarted } from '../../store/executions/start.js';
import type { ApiDependencies } from '../dependencies.js';
import { loggableError } from '../../domain/errors.js';
import { withTimeout } from '../errors.js';

type StartDependencies = Pick<ApiDependencies, 'db' | 'orchestrator'>;

/**
 * Starts the workflow of a new execution. Its workflow id is the execution's, so a repeated request or the sweep starts
 * nothing twice. Never throws: if Temporal does not answer, the sweep starts the workflow later.
 */
export async function startWorkflow(
  dependencies: StartDependencies,
  log: FastifyBaseLogger,
  id: string,
): Promise<void> {
  try {
    const execution = await findExecution(dependencies.db, id);
    if (execution === undefined || execution.workflowStarted || isFinalStatus(execution.status)) return;
    await withTimeout(dependencies.orchestrator.executions.start(execution));
    await markWorkflowStarted(dependencies.db, execution.id);
    await startUploadOfNewRun(dependencies, execution);
  } catch (error) {
    log.warn(
      { error: loggableError(error), executionId: id },
      'Starting the workflow of an execution failed. The sweep will start it',
    );
  }
}

/** The upload of a discovered run has a workflow already; that of a run folder in a request has none. */
async function startUploadOfNewRun(
  { orchestrator }: StartDependencies,
  { run, storage }: ExecutionContext,
): Promise<void> {
  if (run.uploadState !== 'uploading' || run.discovered) return;
  await withTimeout(
    orchestrator.runs.startUpload({
      runId: run.id,
      storageConnectionId: storage.id,
      storageConnectionName: storage.name,
      instrumentName: run.instrumentName,
      parentPath: run.parentPath,
      runFolder: run.runFolder,
      runName: run.name,
      bucket: storage,
    }),
  );
}
