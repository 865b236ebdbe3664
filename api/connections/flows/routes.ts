import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { checkAccountId, checkSharedWorkflow, sameAccount } from '../../../domain/aws.js';
import { type FieldProblem, throwIfInvalid } from '../../../domain/errors.js';
import type { ParameterNames, ParameterValue } from '../../../domain/executions/execution.js';
import { checkJson, checkName, normalizeName } from '../../../domain/names.js';
import { type AutoStartFilter, checkRunSettings, type RunSettings } from '../../../domain/connections/runSettings.js';
import { isId } from '../../../store/database.js';
import { findComputeConnection } from '../../../store/connections/compute.js';
import { findFlow, type FlowFields, type FlowRow, listFlows, writeFlow } from '../../../store/connections/flows.js';
import { findProvider } from '../../../store/connections/providers.js';
import { findStorageConnection } from '../../../store/connections/storage.js';
import { listUses } from '../../../store/connections/uses.js';
import { inTransaction } from '../../../store/transaction.js';
import type { ApiDependencies } from '../../dependencies.js';
import { notFoundError } from '../../errors.js';
import { createIdempotently } from '../../idempotency.js';
import { pageForwards, PageQuery } from '../../paging.js';
import { type Caller, requireScope } from '../../plugins/auth.js';
import {
  BODY,
  errors,
  FlowBody,
  FlowChange,
  FlowResource,
  IdempotencyHeaders,
  IdParams,
  NoContent,
} from '../../schemas.js';
import {
  checkBody,
  softDelete,
  inUseError,
  mapUniqueViolation,
  requireReference,
  type Trx,
  requestVerification,
} from '../../common.js';

/** A body of a new flow or of a change. */
interface FlowInput {
  name?: string;
  computeConnectionId?: string;
  sharedWorkflowId?: string;
  workflowOwnerId?: string;
  autoStart?: { storageConnectionIds: string[] } & AutoStartFilter;
  runSettings?: RunSettings;
  acceptFailedOutcome?: boolean;
  acceptUnverified?: boolean;
  parameterNames?: ParameterNames;
  parameters?: Record<string, unknown>;
}

function showFlow(row: FlowRow) {
  return {
    id: row.id,
    name: row.name,
    computeConnectionId: row.compute_connection_id,
    sharedWorkflowId: row.shared_workflow_id,
    workflowOwnerId: row.workflow_owner_id,
    sharedWorkflowRegion: row.shared_workflow_region,
    autoStart: { storageConnectionIds: row.storage_connection_ids, ...row.auto_start_filter },
    runSettings: row.run_settings,
    acceptFailedOutcome: row.accept_failed_outcome,
    acceptUnverified: row.accept_unverified,
    parameterNames: row.parameter_names,
    parameters: row.parameters,
    status: `FLOW_STATUS_${row.status}`,
    statusDescription: row.status_description,
    timeVerified: row.time_verified?.toISOString() ?? null,
    timeUsed: row.time_used?.toISOString() ?? null,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}

/** @param isChange whether what is left out stays as it is. */
function checkFlowBody(request: FastifyRequest, isChange: boolean): void {
  const body = (typeof request.body === 'object' ? request.body : null) as FlowInput | null;
  const ownerId = typeof body?.workflowOwnerId === 'string' ? body.workflowOwnerId.trim() : undefined;
  checkBody(request, (check) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('sharedWorkflowId', (value) =>
      // A change may leave out the owner, which is known already.
      checkSharedWorkflow({ workflow: 'sharedWorkflowId', owner: 'workflowOwnerId' }, value, ownerId).problems.filter(
        (problem) => !(isChange && problem.rule === 'REQUIRED'),
      ),
    ),
    typeof body?.sharedWorkflowId === 'string'
      ? []
      : check('workflowOwnerId', (value) => checkAccountId('workflowOwnerId', value.trim())),
    checkJson('parameters', body?.parameters),
    checkJson('parameterNames', body?.parameterNames),
    checkJson('autoStart', body?.autoStart),
    checkJson('runSettings', body?.runSettings),
    request.validationError === undefined && body?.runSettings !== undefined
      ? checkRunSettings('runSettings', body.runSettings)
      : [],
  ]);
}

/** Checks a flow against what it refers to, all of it locked until the flow is written. */
async function checkReferences(transaction: Trx, fields: FlowFields): Promise<void> {
  const compute = await requireReference(
    'compute connection',
    'computeConnectionId',
    fields.computeConnectionId,
    (id) => findComputeConnection(transaction, id, 'share'),
  );
  const provider = await findProvider(transaction, compute.provider_id, 'share');
  const problems: FieldProblem[] = [];
  if (fields.sharedWorkflowRegion !== null && fields.sharedWorkflowRegion !== compute.region) {
    problems.push({
      field: 'sharedWorkflowId',
      rule: 'SAME_REGION',
      message: `the workflow is shared in ${fields.sharedWorkflowRegion} and compute connection ${compute.name} is in ${compute.region}; a share works in its own region only`,
    });
  }
  for (const [at, id] of fields.storageConnectionIds.entries()) {
    const field = `autoStart.storageConnectionIds.${at}`;
    const storage = isId(id) ? await findStorageConnection(transaction, id, 'share') : undefined;
    if (storage === undefined) {
      problems.push({
        field,
        rule: 'STORAGE_CONNECTION_NOT_FOUND',
        message: `there is no storage connection ${id.slice(0, 100)}`,
      });
      continue;
    }
    if (storage.region !== compute.region)
      problems.push({
        field,
        rule: 'SAME_REGION',
        message: `storage connection ${storage.name} is in ${storage.region} and compute connection ${compute.name} is in ${compute.region}; the workflow runs in the bucket's region only`,
      });
    const storageProvider = await findProvider(transaction, storage.provider_id, 'share');
    if (!sameAccount(storageProvider?.account_id, provider?.account_id))
      problems.push({
        field,
        rule: 'SAME_ACCOUNT',
        message: `storage connection ${storage.name} is in another AWS account than compute connection ${compute.name}`,
      });
    if (!storage.use_for_run_upload)
      problems.push({
        field,
        rule: 'USED_FOR_RUN_UPLOAD',
        message: `storage connection ${storage.name} is not used for run upload, so no run would ever start the flow`,
      });
  }
  throwIfInvalid(problems);
}

/** What a key that may change some flows only newly names and may not see: that is not there for it, else it could start flows for whose runs it liked. */
function hiddenReferences({ access }: Caller, fields: FlowFields, old: FlowRow): FieldProblem[] {
  if (access.ids('flows:write') === 'all') return [];
  const compute =
    fields.computeConnectionId === old.compute_connection_id ||
    access.covers('compute:read', fields.computeConnectionId);
  return [
    ...(compute
      ? []
      : [
          {
            field: 'computeConnectionId',
            rule: 'COMPUTE_CONNECTION_NOT_FOUND',
            message: `there is no compute connection ${fields.computeConnectionId.slice(0, 100)}`,
          },
        ]),
    ...fields.storageConnectionIds.flatMap((id, at) =>
      old.storage_connection_ids.includes(id) || access.covers('storage:read', id)
        ? []
        : [
            {
              field: `autoStart.storageConnectionIds.${at}`,
              rule: 'STORAGE_CONNECTION_NOT_FOUND',
              message: `there is no storage connection ${id.slice(0, 100)}`,
            },
          ],
    ),
  ];
}

const filterOf = (autoStart: AutoStartFilter | undefined): AutoStartFilter => ({
  ...(autoStart?.instruments !== undefined && { instruments: autoStart.instruments }),
  ...(autoStart?.runNames !== undefined && { runNames: autoStart.runNames }),
});

/** Ids as PostgreSQL writes them, each once. */
const distinct = (ids: readonly string[]): string[] => [...new Set(ids.map((id) => id.toLowerCase()))];

/** Flows: the shared Bases2Fastq workflow on a compute connection, and the runs that start it by themselves. */
export function flowRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['FlowService'];
  const answer = (description: string) =>
    Type.Object({ flow: FlowResource }, { additionalProperties: false, description });

  app.post(
    '/v1/flows',
    {
      config: requireScope('flows:write'),
      attachValidation: true,
      schema: {
        operationId: 'FlowService_CreateFlow',
        tags,
        summary: 'Add a Bases2Fastq flow',
        headers: IdempotencyHeaders,
        body: FlowBody,
        response: { 201: answer('Created'), ...errors(409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      checkFlowBody(request, false);
      const { body } = request;
      const workflow = checkSharedWorkflow(
        { workflow: 'sharedWorkflowId', owner: 'workflowOwnerId' },
        body.sharedWorkflowId,
        body.workflowOwnerId?.trim(),
      ).workflow!;
      const fields: FlowFields = {
        name: normalizeName(body.name),
        computeConnectionId: body.computeConnectionId,
        sharedWorkflowId: workflow.id,
        workflowOwnerId: workflow.ownerId,
        sharedWorkflowRegion: workflow.region ?? null,
        parameterNames: body.parameterNames ?? {},
        parameters: (body.parameters ?? {}) as Record<string, ParameterValue>,
        storageConnectionIds: distinct(body.autoStart?.storageConnectionIds ?? []),
        autoStartFilter: filterOf(body.autoStart),
        runSettings: body.runSettings ?? {},
        acceptFailedOutcome: body.acceptFailedOutcome ?? false,
        acceptUnverified: body.acceptUnverified ?? true,
      };
      const made = await createIdempotently(db, request, reply, 201, async (transaction) => {
        await checkReferences(transaction, fields);
        return { flow: showFlow(await mapUniqueViolation('flow', fields.name, writeFlow(transaction, fields))) };
      });
      await requestVerification(request.log, orchestrator, [{ kind: 'flow', id: made.flow.id, name: made.flow.name }]);
      return made;
    },
  );
  app.get(
    '/v1/flows',
    {
      config: requireScope('flows:read'),
      schema: {
        operationId: 'FlowService_ListFlows',
        tags,
        summary: 'List flows, oldest first',
        querystring: PageQuery,
        response: {
          200: Type.Object(
            { flows: Type.Array(FlowResource), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const { items, nextPageToken } = await pageForwards('flows', request.query, (limit, after) =>
        listFlows(db, limit, after, request.caller.access.ids('flows:read')),
      );
      return { flows: items.map(showFlow), nextPageToken };
    },
  );
  app.get(
    '/v1/flows/:id',
    {
      config: requireScope('flows:read', 'id'),
      schema: {
        operationId: 'FlowService_GetFlow',
        tags,
        summary: 'A flow',
        params: IdParams,
        response: { 200: answer('The flow'), ...errors(404) },
      },
    },
    async (request) => {
      const { id } = request.params;
      const found = isId(id) ? await findFlow(db, id) : undefined;
      if (found === undefined) throw notFoundError('flow', id);
      return { flow: showFlow(found) };
    },
  );
  app.patch(
    '/v1/flows/:id',
    {
      config: requireScope('flows:write', 'id'),
      attachValidation: true,
      schema: {
        operationId: 'FlowService_UpdateFlow',
        tags,
        summary: 'Change a flow',
        description:
          'What is left out stays; autoStart, parameterNames, parameters and runSettings are replaced as a whole. Executions whose HealthOmics run has started keep what they started with; the compute connection can change only while none is under way.',
        params: IdParams,
        body: FlowChange,
        response: { 200: answer('Changed'), ...errors(404, 409, ...BODY) },
      },
    },
    async (request) => {
      checkFlowBody(request, true);
      const { id } = request.params;
      const body: FlowInput = request.body;
      if (!isId(id)) throw notFoundError('flow', id);
      const changed = await inTransaction(db, async (transaction) => {
        const old = await findFlow(transaction, id, 'update');
        if (old === undefined) throw notFoundError('flow', id);
        const shared =
          body.sharedWorkflowId === undefined
            ? undefined
            : checkSharedWorkflow(
                { workflow: 'sharedWorkflowId', owner: 'workflowOwnerId' },
                body.sharedWorkflowId,
                body.workflowOwnerId?.trim(),
              );
        const fields: FlowFields = {
          name: body.name === undefined ? old.name : normalizeName(body.name),
          computeConnectionId: body.computeConnectionId?.toLowerCase() ?? old.compute_connection_id,
          // Without an owner in the body it is the ARN's, else the one from before.
          sharedWorkflowId:
            body.sharedWorkflowId === undefined
              ? old.shared_workflow_id
              : (shared?.workflow?.id ?? body.sharedWorkflowId.trim()),
          workflowOwnerId: shared?.workflow?.ownerId ?? body.workflowOwnerId?.trim() ?? old.workflow_owner_id,
          sharedWorkflowRegion:
            body.sharedWorkflowId === undefined ? old.shared_workflow_region : (shared?.workflow?.region ?? null),
          parameterNames: body.parameterNames ?? old.parameter_names,
          parameters: (body.parameters as Record<string, ParameterValue> | undefined) ?? old.parameters,
          storageConnectionIds:
            body.autoStart === undefined ? old.storage_connection_ids : distinct(body.autoStart.storageConnectionIds),
          autoStartFilter: body.autoStart === undefined ? old.auto_start_filter : filterOf(body.autoStart),
          runSettings: body.runSettings ?? old.run_settings,
          acceptFailedOutcome: body.acceptFailedOutcome ?? old.accept_failed_outcome,
          acceptUnverified: body.acceptUnverified ?? old.accept_unverified,
        };
        if (fields.computeConnectionId !== old.compute_connection_id) {
          // Executions under way stay where they are, and would look for another region's workflow there.
          const uses = await listUses(transaction, 'flows', id);
          if (uses.length > 0)
            throw inUseError(request.caller, 'The compute connection cannot change', uses, 'computeConnectionId');
        }
        throwIfInvalid(hiddenReferences(request.caller, fields, old));
        await checkReferences(transaction, fields);
        return {
          flow: showFlow(await mapUniqueViolation('flow', fields.name, writeFlow(transaction, fields, id))),
        };
      });
      await requestVerification(request.log, orchestrator, [{ kind: 'flow', id, name: changed.flow.name }]);
      return changed;
    },
  );
  app.delete(
    '/v1/flows/:id',
    {
      config: requireScope('flows:write', 'id'),
      schema: {
        operationId: 'FlowService_DeleteFlow',
        tags,
        summary: 'Delete a flow of which no execution is under way',
        params: IdParams,
        response: { 204: NoContent, ...errors(404, 409) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await softDelete(db, request.caller, 'flow', 'flows', id, (transaction) => findFlow(transaction, id, 'update'));
      return reply.code(204).send(null);
    },
  );
}
