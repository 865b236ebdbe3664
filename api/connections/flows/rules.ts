import type { FastifyRequest } from 'fastify';
import { checkAccountId, sameAccount } from '../../../domain/arn.js';
import { checkSharedWorkflow } from '../../../domain/connections/flow.js';
import { checkParameters } from '../../../domain/executions/parameters.js';
import { checkRunSettings } from '../../../domain/connections/runSettings.js';
import { findNamedUris, type NamedUri } from '../../../domain/executions/namedUris.js';
import { type FieldProblem, throwIfInvalid } from '../../../domain/errors.js';
import { checkJson, checkName, normalizeName } from '../../../domain/names.js';
import { type ComputeConnectionRow, findComputeConnection } from '../../../store/connections/compute.js';
import type { FlowFields, FlowRow } from '../../../store/connections/flows.js';
import { findProvider, type ProviderRow } from '../../../store/connections/providers.js';
import { findStorageConnection } from '../../../store/connections/storage.js';
import { listUses } from '../../../store/connections/uses.js';
import { type DbTransaction, isId } from '../../../store/database.js';
import { describeReference, inUseError } from '../../conflicts.js';
import { ApiError } from '../../errors.js';
import type { Caller } from '../../plugins/auth.js';
import { missingReference, requireReference } from '../../references.js';
import { checkBody } from '../../validation.js';
import { WORKFLOW_FIELDS } from './fields.js';
import type { FlowChange } from './schemas.js';

/**
 * Checks the body of a flow.
 * @param isChange whether fields that are absent keep their values.
 * @throws InputError with every problem of the body.
 */
export function checkFlowBody(request: FastifyRequest, isChange: boolean): void {
  const body = (typeof request.body === 'object' ? request.body : null) as FlowChange | null;
  const ownerId = typeof body?.workflowOwnerId === 'string' ? body.workflowOwnerId.trim() : undefined;
  checkBody(request, (check) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('sharedWorkflowId', (value) => checkSharedWorkflowField(value, ownerId, isChange)),
    typeof body?.sharedWorkflowId === 'string'
      ? []
      : check('workflowOwnerId', (value) => checkAccountId('workflowOwnerId', value.trim())),
    checkParameters('parameters', body?.parameters),
    checkJson('parameterNames', body?.parameterNames),
    checkJson('autoStart', body?.autoStart),
    checkJson('runSettings', body?.runSettings),
    request.validationError === undefined && body?.runSettings !== undefined
      ? checkRunSettings('runSettings', body.runSettings)
      : [],
  ]);
}

/** A change may omit the owner, because the flow has one already. */
function checkSharedWorkflowField(workflow: string, ownerId: string | undefined, isChange: boolean): FieldProblem[] {
  const { problems } = checkSharedWorkflow(WORKFLOW_FIELDS, workflow, ownerId);
  return isChange ? problems.filter(({ rule }) => rule !== 'REQUIRED') : problems;
}

/**
 * Checks that the resources that a flow refers to exist and fit together, and locks them until the flow is written.
 * @throws InputError with every problem.
 */
export async function checkFlowReferences(
  transaction: DbTransaction,
  caller: Caller,
  fields: FlowFields,
): Promise<void> {
  const compute = await requireReference(
    'compute connection',
    'computeConnectionId',
    fields.computeConnectionId,
    (id) => findComputeConnection(transaction, id, 'share'),
  );
  const provider = await findProvider(transaction, compute.provider_id, 'share');
  const problems = checkWorkflowRegion(caller, fields, compute);
  // One after another, because a transaction has one connection.
  for (const [index, id] of fields.storageConnectionIds.entries()) {
    const field = `autoStart.storageConnectionIds.${index}`;
    problems.push(...(await checkStorageConnection(transaction, caller, field, id, compute, provider)));
  }
  throwIfInvalid(problems);
}

function checkWorkflowRegion(
  caller: Caller,
  { sharedWorkflowRegion }: FlowFields,
  compute: ComputeConnectionRow,
): FieldProblem[] {
  if (sharedWorkflowRegion === null || sharedWorkflowRegion === compute.region) return [];
  return [
    {
      field: 'sharedWorkflowId',
      rule: 'SAME_REGION',
      message:
        `the workflow is shared in ${sharedWorkflowRegion}, but ${describeReference(caller, 'compute connection', compute)} is in ` +
        `${compute.region}: a share works only in its own region`,
    },
  ];
}

async function checkStorageConnection(
  transaction: DbTransaction,
  caller: Caller,
  field: string,
  id: string,
  compute: ComputeConnectionRow,
  provider: ProviderRow | undefined,
): Promise<FieldProblem[]> {
  const storage = isId(id) ? await findStorageConnection(transaction, id, 'share') : undefined;
  if (storage === undefined) return [missingReference('storage connection', field, id)];
  const problems: FieldProblem[] = [];
  const itself = describeReference(caller, 'storage connection', storage);
  const computeItself = describeReference(caller, 'compute connection', compute);
  if (storage.region !== compute.region)
    problems.push({
      field,
      rule: 'SAME_REGION',
      message:
        `${itself} is in ${storage.region}, but ${computeItself} is in ` +
        `${compute.region}: the workflow must run in the region of the bucket`,
    });
  const storageProvider = await findProvider(transaction, storage.provider_id, 'share');
  if (!sameAccount(storageProvider?.account_id, provider?.account_id))
    problems.push({
      field,
      rule: 'SAME_ACCOUNT',
      message: `${itself} and ${computeItself} are in different AWS accounts: ` + 'choose two in the same account',
    });
  if (!storage.use_for_run_upload)
    problems.push({
      field,
      rule: 'USED_FOR_RUN_UPLOAD',
      message:
        `${itself} is not used for run upload, so no run in it can start the flow: ` +
        'set its useForRunUpload to true first',
    });
  return problems;
}

/** The fields that decide whose compute runs a flow, and whose code it runs there. */
function identityOf(flow: FlowFields | FlowRow): Record<string, string> {
  return 'compute_connection_id' in flow
    ? {
        computeConnectionId: flow.compute_connection_id,
        sharedWorkflowId: flow.shared_workflow_id,
        workflowOwnerId: flow.workflow_owner_id,
      }
    : {
        computeConnectionId: flow.computeConnectionId,
        sharedWorkflowId: flow.sharedWorkflowId,
        workflowOwnerId: flow.workflowOwnerId,
      };
}

/**
 * Checks that the caller may give a flow another compute connection or workflow, and name further places in S3. To read
 * a compute connection is not to use it. The workflow runs with the execution role, which may read what the caller may
 * not see.
 * @throws ApiError 403 INSUFFICIENT_SCOPE
 */
function checkMayChangeIdentity({ access }: Caller, old: FlowRow, fields: FlowFields): void {
  if (access.ids('flows:write') === 'all') return;
  const [before, after] = [identityOf(old), identityOf(fields)];
  const changed = Object.keys(before).filter((field) => before[field] !== after[field]);
  if (changed.length > 0)
    throw new ApiError(
      403,
      'INSUFFICIENT_SCOPE',
      `This API key cannot change the ${changed.join(', ')} of a flow, because it lacks the scope flows:write for all ` +
        'flows. Use a key that has this scope.',
      { required_scope: 'flows:write', field: changed[0] },
    );
  const named = addedPlaces(old, fields);
  if (named.length > 0 && access.ids('storage:download') !== 'all')
    throw new ApiError(
      403,
      'INSUFFICIENT_SCOPE',
      `This API key cannot name further places in parameters, such as ${named[0]!.uri.slice(0, 200)}, because it lacks ` +
        'the scopes flows:write for all flows and storage:download for all storage connections. Use a key that has one ' +
        'of these scopes.',
      { required_scope: 'flows:write', field: named[0]!.field.slice(0, 200) },
    );
}

/** What the parameters of a flow name in S3 and elsewhere, and did not name before. */
function addedPlaces(old: FlowRow, { parameters }: FlowFields): NamedUri[] {
  const before = new Set(findNamedUris('parameters', old.parameters).map(({ uri }) => uri));
  return findNamedUris('parameters', parameters).filter(({ uri }) => !before.has(uri));
}

/**
 * Checks that a flow may be changed.
 * @throws ApiError 403 INSUFFICIENT_SCOPE, 409 IN_USE
 * @throws InputError with every problem.
 */
export async function checkFlowChange(
  transaction: DbTransaction,
  caller: Caller,
  old: FlowRow,
  fields: FlowFields,
): Promise<void> {
  checkMayChangeIdentity(caller, old, fields);
  // Current executions stay in the region of the old compute connection, where the other workflow may not be shared.
  if (fields.computeConnectionId !== old.compute_connection_id) {
    const uses = await listUses(transaction, 'flows', old.id);
    if (uses.length > 0)
      throw inUseError(caller, {
        kind: 'flow',
        uses,
        consequence: 'its compute connection cannot change',
        remedy: 'Wait until these executions end, or cancel them.',
        field: 'computeConnectionId',
      });
  }
  throwIfInvalid(hiddenReferences(caller, fields, old));
  await checkFlowReferences(transaction, caller, fields);
}

/**
 * Reports resources that a change adds and that the caller may not see, as if they did not exist. Otherwise a caller
 * that may change only some flows could start them for any runs.
 */
function hiddenReferences({ access }: Caller, fields: FlowFields, old: FlowRow): FieldProblem[] {
  if (access.ids('flows:write') === 'all') return [];
  const problems: FieldProblem[] = [];
  for (const [index, id] of fields.storageConnectionIds.entries()) {
    if (!old.storage_connection_ids.includes(id) && !access.covers('storage:read', id))
      problems.push(missingReference('storage connection', `autoStart.storageConnectionIds.${index}`, id));
  }
  return problems;
}
