import type { FastifyReply } from 'fastify';
import { type FieldProblem, throwIfInvalid } from '../../domain/errors.js';
import { isFinalStatus } from '../../domain/executions/execution.js';
import { checkUriKey } from '../../domain/files/paths.js';
import { checkJson, checkName, normalizeName } from '../../domain/names.js';
import type { DbTransaction } from '../../store/database.js';
import type { ListedExecution } from '../../store/executions/load.js';
import { loadManifest } from '../../store/executions/load.js';
import { checkBody } from '../validation.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';
import { createIdempotently } from '../idempotency.js';
import type { RequestOf } from '../requests.js';
import { requireExecution } from './find.js';
import type { RequestedManifest } from './manifest.js';
import { presentExecution } from './present.js';
import { createRequestedExecution } from './requested.js';
import { checkRunAccess, uncheckedReferences } from './runAccess.js';
import { registerRunFolder } from './runFolder.js';
import type { operations } from './schemas.js';
import { startWorkflow } from './startWorkflow.js';

type CreateRequest = RequestOf<typeof operations.create>;
type RelaunchRequest = RequestOf<typeof operations.relaunch>;

/** Creates an execution of a flow for a run, and starts its workflow. */
export async function handleCreateExecution(
  dependencies: ApiDependencies,
  request: CreateRequest,
  reply: FastifyReply,
) {
  checkCreateBody(request);
  const { flowId, runId, runFolderUri, name, parameters, manifest } = request.body;
  checkRunAccess(request.caller, runId);
  const created = await createIdempotently(dependencies.db, request, reply, 201, async (transaction) => {
    const id = await createRequestedExecution(transaction, {
      flowId,
      runId: runId ?? (await registerRunFolder(transaction, runFolderUri!)),
      name: name === undefined ? undefined : normalizeName(name),
      parameters,
      manifest,
      startedBy: request.caller.name,
      references: uncheckedReferences(request.caller, request.body),
    });
    return { execution: presentExecution(await requireExecution(transaction, id)) };
  });
  await startWorkflow(dependencies, request.log, created.execution.id);
  return created;
}

function checkCreateBody(request: CreateRequest): void {
  checkBody(request, (check, body) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    checkJson('parameters', body.parameters),
    check('runFolderUri', (value) => [...checkJson('runFolderUri', value), ...checkUriKey('runFolderUri', value)]),
    checkManifestUri(body.manifest),
  ]);
  const { runId, runFolderUri } = request.body;
  if ((runId === undefined) === (runFolderUri === undefined))
    throwIfInvalid([{ field: 'runId', rule: 'ONE_OF', message: 'give either runId or runFolderUri' }]);
}

function checkManifestUri(manifest: unknown): FieldProblem[] {
  const { uri } = (manifest ?? {}) as { uri?: unknown };
  return typeof uri === 'string' ? checkUriKey('manifest.uri', uri) : [];
}

/** Creates an execution that repeats one that has ended, and starts its workflow. */
export async function handleRelaunchExecution(
  dependencies: ApiDependencies,
  request: RelaunchRequest,
  reply: FastifyReply,
) {
  checkBody(request, (check, body) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    checkJson('parameters', body.parameters),
    checkManifestUri(body.manifest),
  ]);
  const { caller, params, body } = request;
  if (!caller.access.covers('executions:read', params.id)) throw notFoundError('execution', params.id);
  request.auditDetail = { relaunchOf: params.id };
  const created = await createIdempotently(dependencies.db, request, reply, 201, async (transaction) => {
    const before = await requireEnded(transaction, request);
    const id = await createRequestedExecution(transaction, {
      flowId: before.flow.id,
      runId: before.run.id,
      name: body.name === undefined ? undefined : normalizeName(body.name),
      nameOfRepeated: before.name,
      parameters: body.parameters ?? before.ownParameters,
      manifest: await resolveManifest(transaction, body.manifest, before),
      relaunchOf: before.id,
      startedBy: caller.name,
      references: uncheckedReferences(caller, body),
    });
    return { execution: presentExecution(await requireExecution(transaction, id)) };
  });
  await startWorkflow(dependencies, request.log, created.execution.id);
  return created;
}

/** @throws ApiError 409 when the execution to repeat is still under way */
async function requireEnded(transaction: DbTransaction, { caller, params }: RelaunchRequest): Promise<ListedExecution> {
  const execution = await requireExecution(transaction, params.id);
  checkRunAccess(caller, execution.run.id);
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
  transaction: DbTransaction,
  requested: RequestedManifest | null | undefined,
  before: ListedExecution,
): Promise<RequestedManifest | undefined> {
  return requested === undefined ? loadManifest(transaction, before.id) : (requested ?? undefined);
}
