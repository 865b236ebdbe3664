import { sameAccount } from '../../domain/arn.js';
import { storageUri } from '../../domain/files/paths.js';
import { InputError, throwIfInvalid } from '../../domain/errors.js';
import type { ParameterValue } from '../../domain/executions/execution.js';
import { nameRelaunch } from '../../domain/executions/relaunchName.js';
import { whyRunIsUnusable } from '../../domain/runs/usability.js';
import { whyFolderIsUnverified } from '../../domain/runs/verifiedFolder.js';
import { type ComputeConnectionRow, findComputeConnection } from '../../store/connections/compute.js';
import { findFlow, type FlowRow } from '../../store/connections/flows.js';
import { findProvider } from '../../store/connections/providers.js';
import { findStorageConnection, type StorageConnectionRow } from '../../store/connections/storage.js';
import { type DbTransaction, isId } from '../../store/database.js';
import { createExecution } from '../../store/executions/create.js';
import { listExecutionNames } from '../../store/executions/list.js';
import { lockRun } from '../../store/runs/load.js';
import { ApiError } from '../errors.js';
import type { Caller } from '../plugins/auth.js';
import { missing } from './access.js';
import { type CheckedManifest, type RequestedManifest, requireCheckedManifest } from './manifest.js';
import { checkReferences, type References } from './references.js';

/** An execution that a caller asks for. */
export interface ExecutionRequest {
  flowId: string;
  runId: string;
  name?: string;
  parameters?: Record<string, unknown>;
  manifest?: RequestedManifest;
  /** The result of checking the text of the manifest. */
  checkedManifest: CheckedManifest | undefined;
  relaunchOf?: string;
  /** The name of the execution that this one repeats: without a name of its own, it gets that one with a number. */
  nameOfRepeated?: string;
  startedBy: Pick<Caller, 'id' | 'name'>;
  /** What the caller names and may not be allowed to see. */
  references: References;
}

type RunToStart = NonNullable<Awaited<ReturnType<typeof lockRun>>>;

/** What an execution refers to. */
interface ExecutionParts {
  flow: FlowRow;
  run: RunToStart;
  storage: StorageConnectionRow;
  compute: ComputeConnectionRow;
}

/**
 * Checks an execution that a caller asks for, and creates it. Everything that it refers to stays locked until the
 * transaction ends, so that nobody deletes it meanwhile.
 * @returns the id of the execution
 * @throws InputError when a field is invalid; ApiError 409 when the run and the flow do not fit together; what
 * {@link requireCheckedManifest} throws
 */
export async function createRequestedExecution(transaction: DbTransaction, request: ExecutionRequest): Promise<string> {
  const { flow, run } = await lockFlowAndRun(transaction, request);
  checkUsable(run, flow);
  const parts = { flow, run, ...(await lockConnections(transaction, flow, run)) };
  const place = {
    folder: storageUri(parts.storage.bucket, parts.storage.prefix, run.parent_path, run.run_folder),
    isVerified:
      whyFolderIsUnverified({ ...run, parameters: run.run_parameters, filesDisagree: run.files_disagree }) ===
      undefined,
  };
  throwIfInvalid(await checkReferences(transaction, place, request.references));
  await checkPlace(transaction, parts);
  requireCheckedManifest(
    request.manifest,
    { flow, run, parameters: request.parameters },
    request.checkedManifest,
    parts.storage,
  );
  const { id } = await createExecution(transaction, {
    name: request.name ?? (await nameOfRelaunch(transaction, request)),
    flow: { id: flow.id, name: flow.name, computeConnectionId: flow.compute_connection_id },
    run: { id: run.id, name: run.run_name, storageConnectionId: parts.storage.id, uploadState: run.upload_state },
    storage: parts.storage,
    trigger: 'api',
    startedBy: request.startedBy.name,
    startedById: request.startedBy.id,
    parameters: request.parameters as Record<string, ParameterValue> | undefined,
    manifest: toStoredManifest(request.manifest),
    relaunchOf: request.relaunchOf,
  });
  if (id === undefined) throw new Error('Only automatic starts can find an execution that started before');
  return id;
}

/** The run is locked, so that two relaunches at the same time get different names. */
async function nameOfRelaunch(
  transaction: DbTransaction,
  { nameOfRepeated, flowId, runId }: ExecutionRequest,
): Promise<string | undefined> {
  if (nameOfRepeated === undefined) return undefined;
  return nameRelaunch(nameOfRepeated, await listExecutionNames(transaction, flowId, runId));
}

async function lockFlowAndRun(
  transaction: DbTransaction,
  { flowId, runId }: ExecutionRequest,
): Promise<{ flow: FlowRow; run: RunToStart }> {
  const flow = isId(flowId) ? await findFlow(transaction, flowId, 'share') : undefined;
  const run = isId(runId) ? await lockRun(transaction, runId) : undefined;
  if (flow !== undefined && run !== undefined) return { flow, run };
  throw new InputError([
    ...(flow === undefined ? [missing('flow', flowId)] : []),
    ...(run === undefined ? [missing('run', runId)] : []),
  ]);
}

/** The 409 of a run that does not fit. */
function runError(reason: string, message: string): ApiError {
  return new ApiError(409, reason, message, { field: 'runId' });
}

function checkUsable(run: RunToStart, flow: FlowRow): void {
  const why = whyRunIsUnusable(
    {
      id: run.id,
      uploadState: run.upload_state,
      uploadDescription: run.upload_description,
      outcome: run.outcome,
      usableIfStopped: run.usable_if_stopped,
      checked: run.checked,
    },
    {
      acceptFailedOutcome: flow.accept_failed_outcome,
      acceptStoppedOutcome: flow.accept_stopped_outcome,
      acceptUnverified: flow.accept_unverified,
    },
  );
  if (why !== undefined) throw runError('RUN_NOT_USABLE', `The run cannot be analysed: ${why}`);
}

async function lockConnections(
  transaction: DbTransaction,
  flow: FlowRow,
  run: RunToStart,
): Promise<Pick<ExecutionParts, 'storage' | 'compute'>> {
  const storage = await findStorageConnection(transaction, run.storage_connection_id, 'share');
  if (storage === undefined)
    throw runError(
      'STORAGE_CONNECTION_DELETED',
      'The storage connection of the run was deleted. Create one for the bucket again, and use the run that it finds',
    );
  const compute = await findComputeConnection(transaction, flow.compute_connection_id, 'share');
  if (compute === undefined)
    throw runError('COMPUTE_CONNECTION_DELETED', 'The compute connection of the flow was deleted. Use another flow');
  return { storage, compute };
}

/** HealthOmics reads the run from its own region and account. */
async function checkPlace(transaction: DbTransaction, { storage, compute }: ExecutionParts): Promise<void> {
  if (compute.region !== storage.region)
    throw runError(
      'REGION_MISMATCH',
      `The run is in ${storage.region} and the flow runs in ${compute.region}. ` +
        `HealthOmics reads from its own region only: use a flow in ${storage.region}`,
    );
  const flowProvider = await findProvider(transaction, compute.provider_id, 'share');
  const storageProvider = await findProvider(transaction, storage.provider_id, 'share');
  if (!sameAccount(flowProvider?.account_id, storageProvider?.account_id))
    throw runError(
      'ACCOUNT_MISMATCH',
      "The run and the flow's compute connection are in different AWS accounts. Use a flow in the account of the run",
    );
}

function toStoredManifest(manifest: RequestedManifest | undefined) {
  return manifest === undefined || 'uri' in manifest ? manifest : { text: manifest.content };
}
