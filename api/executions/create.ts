import type { FastifyReply } from 'fastify';
import { throwIfInvalid } from '../../domain/errors.js';
import { isFinalStatus } from '../../domain/executions/execution.js';
import { checkParameters } from '../../domain/executions/parameters.js';
import { checkUriKey } from '../../domain/files/paths.js';
import { checkJson, checkName, normalizeName } from '../../domain/names.js';
import { findFlow } from '../../store/connections/flows.js';
import { type Db, type DbTransaction, isId } from '../../store/database.js';
import { findListedExecution, type ListedExecution, loadManifest } from '../../store/executions/load.js';
import { findRun } from '../../store/runs/load.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';
import { createIdempotently } from '../idempotency.js';
import type { RequestOf } from '../requests.js';
import { checkBody } from '../validation.js';
import { checkMayNameFolders, checkMayStart } from './access.js';
import { requireExecution } from './find.js';
import { checkManifestUri, type ManifestFacts, type RequestedManifest, withCheckedManifest } from './manifest.js';
import { presentExecution } from './present.js';
import { findReferences } from './references.js';
import { createRequestedExecution } from './requested.js';
import { findRunInFolder, registerRunFolder } from './runFolder.js';
import type { operations } from './schemas.js';
import { startWorkflow } from './startWorkflow.js';

type CreateRequest = RequestOf<typeof operations.create>;
type RelaunchRequest = RequestOf<typeof operations.relaunch>;

/** What a manifest is checked against, with the manifest. */
interface ManifestToCheck {
  manifest: RequestedManifest | undefined;
  facts: ManifestFacts;
}

/** Creates an execution of a flow for a run, and starts its workflow. */
export async function handleCreateExecution(
  dependencies: ApiDependencies,
  request: CreateRequest,
  reply: FastifyReply,
) {
  checkCreateBody(request);
  const { db } = dependencies;
  const { caller, body } = request;
  const { flowId, runId, runFolderUri, name, parameters, manifest } = body;
  checkMayStart(caller, { flowId, runId });
  if (runFolderUri !== undefined) checkMayNameFolders(caller);
  const references = findReferences(caller, body);
  const created = await withCheckedManifest(
    () => findManifestOfCreation(db, request),
    (checkedManifest) =>
      createIdempotently(db, request, reply, 201, async (transaction) => {
        const id = await createRequestedExecution(transaction, {
          flowId,
          runId: runId ?? (await registerRunFolder(transaction, caller, runFolderUri!)),
          name: name === undefined ? undefined : normalizeName(name),
          parameters,
          manifest,
          checkedManifest,
          startedBy: caller,
          references,
        });
        return { execution: presentExecution(await requireExecution(transaction, id)) };
      }),
  );
  await startWorkflow(dependencies, request.log, created.execution.id);
  return created;
}

async function findManifestOfCreation(db: Db, { body, caller }: CreateRequest): Promise<ManifestToCheck | undefined> {
  const { flowId, runFolderUri, parameters, manifest } = body;
  if (manifest === undefined) return undefined;
  const runId = runFolderUri === undefined ? body.runId : (await findRunInFolder(db, caller, runFolderUri))?.id;
  const flow = isId(flowId) ? await findFlow(db, flowId) : undefined;
  const run = runId !== undefined && isId(runId) ? await findRun(db, runId) : undefined;
  // polony knows nothing of a run folder that the request adds.
  return flow && { manifest, facts: { flow, run: { run_parameters: run?.parameters ?? null }, parameters } };
}

function checkCreateBody(request: CreateRequest): void {
  checkBody(request, (check, body) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    checkParameters('parameters', body.parameters),
    check('runFolderUri', (value) => [...checkJson('runFolderUri', value), ...checkUriKey('runFolderUri', value)]),
    checkManifestUri(body.manifest),
  ]);
  const { runId, runFolderUri } = request.body;
  if ((runId === undefined) === (runFolderUri === undefined))
    throwIfInvalid([{ field: 'runId', rule: 'ONE_OF', message: 'give either runId or runFolderUri' }]);
}

/** Creates an execution that repeats one that has ended, and starts its workflow. */
export async function handleRelaunchExecution(
  dependencies: ApiDependencies,
  request: RelaunchRequest,
  reply: FastifyReply,
) {
  checkBody(request, (check, body) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    checkParameters('parameters', body.parameters),
    checkManifestUri(body.manifest),
  ]);
  const { db } = dependencies;
  const { caller, params, body } = request;
  if (!caller.access.covers('executions:read', params.id)) throw notFoundError('execution', params.id);
  request.auditDetail = { relaunchOf: params.id };
  const references = findReferences(caller, body);
  const created = await withCheckedManifest(
    () => findManifestOfRelaunch(db, request),
    (checkedManifest) =>
      createIdempotently(db, request, reply, 201, async (transaction) => {
        const before = await requireEnded(transaction, request);
        const id = await createRequestedExecution(transaction, {
          flowId: before.flow.id,
          runId: before.run.id,
          name: body.name === undefined ? undefined : normalizeName(body.name),
          nameOfRepeated: before.name,
          parameters: body.parameters ?? before.ownParameters,
          manifest: await resolveManifest(transaction, body.manifest, before),
          checkedManifest,
          relaunchOf: before.id,
          startedBy: caller,
          references,
        });
        return { execution: presentExecution(await requireExecution(transaction, id)) };
      }),
  );
  await startWorkflow(dependencies, request.log, created.execution.id);
  return created;
}

async function findManifestOfRelaunch(db: Db, { body, params }: RelaunchRequest): Promise<ManifestToCheck | undefined> {
  const before = isId(params.id) ? await findListedExecution(db, params.id) : undefined;
  if (before === undefined) return undefined;
  const flow = await findFlow(db, before.flow.id);
  const run = await findRun(db, before.run.id);
  if (flow === undefined || run === undefined) return undefined;
  return {
    manifest: await resolveManifest(db, body.manifest, before),
    facts: {
      flow,
      run: { run_parameters: run.parameters },
      parameters: body.parameters ?? before.ownParameters,
    },
  };
}

/** @throws ApiError 409 when the execution to repeat is still under way */
async function requireEnded(transaction: DbTransaction, { caller, params }: RelaunchRequest): Promise<ListedExecution> {
  const execution = await requireExecution(transaction, params.id);
  checkMayStart(caller, { flowId: execution.flow.id, runId: execution.run.id });
  if (!isFinalStatus(execution.status))
    throw new ApiError(
      409,
      'EXECUTION_UNDER_WAY',
      'The execution has not ended, so it cannot be repeated yet. Wait for its end, or cancel it first',
      { status: `EXECUTION_STATUS_${execution.status}` },
    );
  return execution;
}

/**
 * The manifest of a relaunch: the one in the request, or else that of the repeated execution. `null` asks for the
 * run's own.
 */
async function resolveManifest(
  db: Db | DbTransaction,
  requested: RequestedManifest | null | undefined,
  before: ListedExecution,
): Promise<RequestedManifest | undefined> {
  return requested === undefined ? loadManifest(db, before.id) : (requested ?? undefined);
}
