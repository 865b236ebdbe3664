import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { accountOfRole } from '../../domain/aws.js';
import { refuse } from '../../domain/errors.js';
import { isEnded } from '../../domain/execution.js';
import { checkName, normalizeName } from '../../domain/names.js';
import { isId } from '../../store/database.js';
import { findExecution, insertExecution, markWorkflowStarted, noteCancelRequest } from '../../store/executions.js';
import { countExecutions, type ExecutionRow, getExecution, listExecutions } from '../../store/listing.js';
import * as store from '../../store/resources.js';
import { executionWorkflowId } from '../../workflows/messages.js';
import type { ApiDependencies } from '../app.js';
import { ApiError, notFound } from '../errors.js';
import { creating } from '../idempotency.js';
import { CountedPageQuery, pageBothWays } from '../paging.js';
import { ERRORS, Execution, ExecutionDetails, IdParams } from '../schemas.js';

/** An execution as the vendor's contract has it. */
function showExecution(row: ExecutionRow) {
  return {
    id: row.id,
    name: row.name,
    status: `EXECUTION_STATUS_${row.status}`,
    statusDescription: row.status_description,
    platform: 'aws_omics',
    workflow: { name: row.workflow_name ?? 'bases2fastq', version: row.summary?.analysisVersion ?? '' },
    flow: { id: row.flow_id, name: row.flow_name },
    inputs: [{ run: { id: row.run_id, name: row.run_name, instrumentName: row.instrument_name, kitType: row.kit ?? '', runType: (row.run_type ?? 'Sequencing') === 'Sequencing' ? 'sequencing' : 'multiomics' } }],
    output: { storageConnectionId: row.storage_connection_id, uri: row.run_output_uri === null ? '' : `${row.run_output_uri.replace(/\/+$/, '')}/`, kinds: row.status === 'COMPLETED' ? ['fastq'] : [] },
    startedBy: { id: row.started_by, email: '', name: row.started_by },
    timeCreated: row.time_created.toISOString(),
    timeStarted: row.time_started?.toISOString() ?? null,
    timeCompleted: row.time_completed?.toISOString() ?? null,
    errorMessage: row.error_message,
  };
}

function showDetails(row: ExecutionRow) {
  return {
    workflowId: executionWorkflowId(row.id),
    trigger: row.trigger,
    account: accountOfRole(row.role_arn),
    region: row.region,
    healthOmics: row.healthomics_run_id === null ? null : { runId: row.healthomics_run_id, uuid: row.healthomics_run_uuid, arn: row.healthomics_run_arn, status: row.healthomics_status, runOutputUri: row.run_output_uri },
    blocked: row.blocked,
    cancelRequested: row.cancel_requested_by === null ? null : { requestedBy: row.cancel_requested_by, reason: row.cancel_reason, time: row.time_cancel_requested?.toISOString() ?? null },
    parameters: row.parameters,
    summary: row.summary,
    errorType: row.error_type,
  };
}

/** Executions: flows applied to runs. */
export function executionRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const answer = Type.Object({ execution: Execution });

  async function execution(id: string): Promise<ExecutionRow> {
    const found = isId(id) ? await getExecution(db, id) : undefined;
    if (found === undefined) throw notFound('execution', id);
    return found;
  }

  app.post(
    '/v1/executions',
    {
      schema: {
        operationId: 'CreateExecution', tags: ['executions'], summary: 'Start a flow for a run',
        body: Type.Object({ flowId: Type.String(), runId: Type.String(), name: Type.Optional(Type.String()) }, { additionalProperties: false, examples: [{ flowId: '01920000-0000-7000-8000-000000000002', runId: '01920000-0000-7000-8000-000000000003' }] }),
        response: { 201: answer, ...ERRORS },
      },
    },
    async (request, reply) => {
      const { flowId, runId } = request.body;
      const name = request.body.name === undefined ? undefined : normalizeName(request.body.name);
      if (name !== undefined) refuse(checkName('name', name));
      const created = await creating(db, request, reply, async (transaction) => {
        const flow = isId(flowId) ? await store.findFlow(transaction, flowId, 'share') : undefined;
        // Locked, so that an upload that ends at this moment either is seen here or sees this execution.
        const run = isId(runId) ? await transaction.selectFrom('runs').selectAll().where('id', '=', runId).forUpdate().executeTakeFirst() : undefined;
        refuse([
          ...(flow === undefined ? [{ field: 'flowId', rule: 'NOT_FOUND', message: `there is no flow ${flowId}` }] : []),
          ...(run === undefined ? [{ field: 'runId', rule: 'NOT_FOUND', message: `there is no run ${runId}` }] : []),
        ]);
        if (run!.upload_state === 'refused' || run!.upload_state === 'vanished') throw new ApiError(409, 'RUN_NOT_USABLE', `The run cannot be analysed: ${run!.upload_description}`, { field: 'runId' });
        const storage = await store.findStorageConnection(transaction, run!.storage_connection_id, 'share');
        if (storage === undefined) throw new ApiError(409, 'STORAGE_CONNECTION_DELETED', 'The storage connection of the run was deleted', { field: 'runId' });
        const compute = await store.findComputeConnection(transaction, flow!.compute_connection_id, 'share');
        if (compute?.region !== storage.region) refuse([{ field: 'runId', rule: 'SAME_REGION', message: `the run is in ${storage.region} and the flow runs in ${compute?.region}; Bases2Fastq runs in the bucket's region only` }]);
        const [flowProvider, storageProvider] = [await store.findProvider(transaction, compute!.provider_id), await store.findProvider(transaction, storage.provider_id)];
        if (accountOfRole(flowProvider?.role_arn ?? '') !== accountOfRole(storageProvider?.role_arn ?? '')) refuse([{ field: 'runId', rule: 'SAME_ACCOUNT', message: "the run is in another AWS account than the flow's compute connection" }]);
        const id = await insertExecution(transaction, {
          name,
          flow: { id: flow!.id, name: flow!.name, computeConnectionId: flow!.compute_connection_id },
          run: { id: run!.id, name: run!.run_name, storageConnectionId: storage.id, uploadState: run!.upload_state },
          storage,
          trigger: 'api',
          startedBy: request.apiKey.name,
        });
        return { id: id! };
      });
      const context = await findExecution(db, created.id);
      if (context !== undefined && !context.workflowStarted) {
        try {
          await orchestrator.startExecution(context);
          await markWorkflowStarted(db, created.id);
        } catch (error) {
          // It is accepted; the sweep starts it.
          request.log.warn({ err: error, executionId: created.id }, 'the workflow could not be started yet');
        }
      }
      return reply.code(201).send({ execution: showExecution(await execution(created.id)) });
    },
  );
  app.get('/v1/executions', { schema: { operationId: 'ExecutionService_ListExecutions', tags: ['executions'], summary: 'List executions, newest first', querystring: CountedPageQuery, response: { 200: Type.Object({ executions: Type.Array(Execution), nextPageToken: Type.String(), previousPageToken: Type.String(), totalCount: Type.Optional(Type.Integer()) }), ...ERRORS } } }, async (request) => {
    const { items, ...tokens } = await pageBothWays('executions', request.query, (slice) => listExecutions(db, slice));
    return { executions: items.map(showExecution), ...tokens, ...(request.query.includeTotalCount === true && { totalCount: await countExecutions(db) }) };
  });
  app.get('/v1/executions/:id', { schema: { operationId: 'ExecutionService_GetExecution', tags: ['executions'], summary: 'An execution', params: IdParams, response: { 200: answer, ...ERRORS } } }, async (request) => ({ execution: showExecution(await execution(request.params.id)) }));
  app.get('/v1/executions/:id/details', { schema: { operationId: 'GetExecutionDetails', tags: ['executions'], summary: 'An execution with its HealthOmics run, results and what it waits for', params: IdParams, response: { 200: Type.Object({ execution: Execution, details: ExecutionDetails }), ...ERRORS } } }, async (request) => {
    const found = await execution(request.params.id);
    return { execution: showExecution(found), details: showDetails(found) };
  });
  app.post('/v1/executions/:id/cancel', { schema: { operationId: 'CancelExecution', tags: ['executions'], summary: 'Cancel an execution', params: IdParams, body: Type.Union([Type.Object({ reason: Type.Optional(Type.String({ maxLength: 1000 })) }, { additionalProperties: false }), Type.Null()]), response: { 202: answer, ...ERRORS } } }, async (request, reply) => {
    const found = await execution(request.params.id);
    const ended = new ApiError(409, 'EXECUTION_ENDED', `The execution has ended as ${found.status}`);
    if (isEnded(found.status)) throw ended;
    const context = (await findExecution(db, found.id))!;
    const reason = request.body?.reason;
    await noteCancelRequest(db, found.id, request.apiKey.name, reason);
    if (!(await orchestrator.cancelExecution(context, { requestedBy: request.apiKey.name, reason }))) throw ended;
    await markWorkflowStarted(db, found.id);
    return reply.code(202).send({ execution: showExecution(await execution(found.id)) });
  });
  app.post('/v1/executions/:id/retry', { schema: { operationId: 'RetryExecution', tags: ['executions'], summary: 'Try a blocked execution again now', params: IdParams, response: { 202: answer, ...ERRORS } } }, async (request, reply) => {
    const found = await execution(request.params.id);
    if (isEnded(found.status) || !(await orchestrator.retryExecution(found.id))) throw new ApiError(409, 'EXECUTION_ENDED', `The execution is not running: ${found.status}`);
    return reply.code(202).send({ execution: showExecution(found) });
  });
}
