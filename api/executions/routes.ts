import { createHash } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { sameAccount, storageUri } from '../../domain/aws.js';
import { type FieldProblem, InputError, throwIfInvalid } from '../../domain/errors.js';
import { isFinalStatus, type ParameterValue } from '../../domain/executions/execution.js';
import { whyFlowRejects } from '../../domain/runs/completeness.js';
import { checkRunManifest, type ManifestedRun } from '../../domain/runs/manifestCheck.js';
import { checkJson, checkName, normalizeName } from '../../domain/names.js';
import { explainFailure } from '../../domain/executions/failures.js';
import { EXECUTIONS_FOLDER, nameRunFolder, parseRunFolderName } from '../../domain/runs/runFolder.js';
import { parseFilter, EXECUTION_FILTER } from '../../domain/filter.js';
import { findRevokedKeys } from '../../store/auth.js';
import { isId } from '../../store/database.js';
import { findComputeConnection } from '../../store/connections/compute.js';
import { findFlow } from '../../store/connections/flows.js';
import { findProvider } from '../../store/connections/providers.js';
import { findStorageConnection, listStorageConnectionsInBucket } from '../../store/connections/storage.js';
import { listAttempts } from '../../store/executions/attempts.js';
import { markCancelSignalled, recordCancelRequest } from '../../store/executions/cancel.js';
import { countExecutions, type ExecutionRow, getExecution, listExecutions } from '../../store/executions/list.js';
import { findExecution, loadManifest, loadResultFiles } from '../../store/executions/load.js';
import { markWorkflowStarted } from '../../store/executions/start.js';
import { findKnownRuns, insertRuns } from '../../store/runs/discovery.js';
import { lockRun } from '../../store/runs/load.js';
import { createExecution } from '../../store/executions/create.js';
import { executionWorkflowId } from '../../workflows/messages.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, withTimeout, withTemporalErrors, loggableError, notFoundError } from '../errors.js';
import { ExecutionFeed, type FedExecution, MOST_STREAMS } from './feed.js';
import { createIdempotently } from '../idempotency.js';
import { filteredList, FilteredPageQuery, pageBothWays } from '../paging.js';
import { type Caller, requireScope } from '../plugins/auth.js';
import { BODY, errors, Execution, ExecutionDetails, IdempotencyHeaders, IdParams, NoContent } from '../schemas.js';
import type { DbTransaction } from '../../store/database.js';
import { checkBody } from '../validation.js';

/** Of a run manifest that is given: that of 10,000 samples has about a million. */
const MANIFEST_CHARACTERS = 1_000_000;
/** In bytes, of a body with one: in JSON a line end takes two, and a letter beyond ASCII up to six. */
const MANIFEST_LIMIT = 2 * 1024 * 1024;

/** What it waits for and what to do, where the description does not say it already. */
function describe(row: ExecutionRow): string {
  if (row.blocked === null || isFinalStatus(row.status) || row.status_description.includes(row.blocked.remedy))
    return row.status_description;
  return `Blocked: ${row.blocked.message} ${row.blocked.remedy}`;
}

/** An execution as the vendor's contract has it. */
function showExecution(row: ExecutionRow) {
  return {
    id: row.id,
    name: row.name,
    status: `EXECUTION_STATUS_${row.status}`,
    statusDescription: describe(row),
    platform: 'aws_omics',
    workflow: { name: row.workflow_name ?? 'bases2fastq', version: row.summary?.analysisVersion ?? '' },
    flow: { id: row.flow_id, name: row.flow_name },
    inputs: [
      {
        run: {
          id: row.run_id,
          name: row.run_name,
          instrumentName: row.instrument_name,
          kitType: row.kit ?? '',
          runType: (row.run_type ?? 'Sequencing') === 'Sequencing' ? 'sequencing' : 'multiomics',
        },
      },
    ],
    output: {
      storageConnectionId: row.storage_connection_id,
      uri: row.run_output_uri === null ? '' : `${row.run_output_uri.replace(/\/+$/, '')}/`,
      kinds: row.status === 'COMPLETED' ? ['fastq'] : [],
    },
    startedBy: { id: row.started_by, email: '', name: row.started_by },
    timeCreated: row.time_created.toISOString(),
    timeStarted: row.time_started?.toISOString() ?? null,
    timeCompleted: row.time_completed?.toISOString() ?? null,
    errorMessage: row.status === 'FAILED' ? row.error_message : null,
  };
}

function showDetails(row: ExecutionRow, attempts: Awaited<ReturnType<typeof listAttempts>>) {
  return {
    workflowId: executionWorkflowId(row.id),
    trigger: row.trigger,
    account: row.account_id ?? '',
    region: row.region,
    computeConnectionId: row.compute_connection_id,
    healthOmics:
      row.healthomics_run_id === null
        ? null
        : {
            runId: row.healthomics_run_id,
            uuid: row.healthomics_run_uuid,
            arn: row.healthomics_run_arn,
            status: row.healthomics_status,
            runOutputUri: row.run_output_uri,
          },
    blocked: row.blocked,
    cancelRequested:
      row.cancel_requested_by === null
        ? null
        : {
            requestedBy: row.cancel_requested_by,
            reason: row.cancel_reason,
            time: row.time_cancel_requested?.toISOString() ?? null,
          },
    parameters: row.parameters,
    summary: row.summary,
    errorType: row.error_type,
    failure: row.status === 'FAILED' && row.error_type !== null ? explainFailure(row.error_type) : null,
    attempt: row.attempt,
    earlierAttempts: attempts.map((each) => ({
      attempt: each.attempt,
      runId: each.healthomics_run_id,
      uuid: each.healthomics_run_uuid,
      arn: each.healthomics_run_arn,
      runOutputUri: each.run_output_uri,
      failureReason: each.failure_reason,
      statusMessage: each.status_message,
      timeStarted: each.time_started?.toISOString() ?? null,
      timeEnded: each.time_ended.toISOString(),
    })),
    manifest: {
      source: row.has_manifest_text ? 'text' : row.manifest_uri !== null ? 'uri' : 'run',
      uri: row.manifest_uri,
      report: row.manifest_report,
    },
    relaunchOf: row.relaunch_of,
  };
}

const name = Type.Optional(Type.String({ description: '1 to 128 characters; by default the names of flow and run' }));
const parameters = Type.Optional(
  Type.Unsafe<Record<string, unknown>>({
    type: 'object',
    additionalProperties: true,
    maxProperties: 100,
    description: "Parameters of the workflow's template, laid over those of the flow",
  }),
);
const manifest = Type.Union(
  [
    Type.Object(
      { content: Type.String({ minLength: 1, maxLength: MANIFEST_CHARACTERS, description: 'RunManifest.csv itself' }) },
      { additionalProperties: false },
    ),
    Type.Object(
      {
        uri: Type.String({
          pattern: '^s3://[^/]+/.+[^/]$',
          maxLength: 1024,
          description: "Where it lies, in the run's storage connection",
        }),
      },
      { additionalProperties: false },
    ),
  ],
  { description: "A run manifest in place of the run's own, for this execution" },
);
const CreateBody = Type.Object(
  {
    flowId: Type.String(),
    runId: Type.Optional(Type.String()),
    runFolderUri: Type.Optional(
      Type.String({
        pattern: '^s3://[^/]+/.+$',
        maxLength: 1024,
        description:
          'Instead of a run: a run folder in a storage connection, wherever it lies there. It becomes a run that is checked like any other',
      }),
    ),
    name,
    parameters,
    manifest: Type.Optional(manifest),
  },
  {
    additionalProperties: false,
    examples: [{ flowId: '01920000-0000-7000-8000-000000000002', runId: '01920000-0000-7000-8000-000000000003' }],
  },
);
const RelaunchBody = Type.Object(
  {
    name,
    parameters,
    manifest: Type.Optional(
      Type.Union([manifest, Type.Null()], {
        description: "As of the execution that is repeated where it is left out; null for the run's own",
      }),
    ),
  },
  {
    additionalProperties: false,
    'x-optional': true,
    examples: [{ manifest: { content: '[Samples]\nSampleName,Index1,Index2\nS1,ACGTACGT,TGCATGCA\n' } }],
  },
);
const CancelBody = Type.Object(
  { reason: Type.Optional(Type.String({ maxLength: 1000, pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f]*$' })) },
  { additionalProperties: false, 'x-optional': true, examples: [{ reason: 'wrong run manifest' }] },
);

/** Whether the search for runs would find it too: then it is a run like any other, and flows start for it by themselves. */
function isSearched(
  storage: { use_for_run_upload: boolean; run_depth: number },
  { parentPath, runFolder, instrumentName }: { parentPath: string; runFolder: string; instrumentName: string },
): boolean {
  const above = parentPath.split('/');
  return (
    storage.use_for_run_upload &&
    above.length === storage.run_depth + 1 &&
    above[0] !== EXECUTIONS_FOLDER &&
    above.at(-1) === instrumentName &&
    parseRunFolderName(runFolder, instrumentName) !== undefined
  );
}

/** The run of a folder in S3; it is written where it is not known. @throws InputError where it lies in no storage connection. */
async function registerRun(transaction: DbTransaction, uri: string): Promise<string> {
  const [, bucket = '', key = ''] = /^s3:\/\/([^/]+)\/(.+)$/.exec(uri) ?? [];
  const within = (await listStorageConnectionsInBucket(transaction, bucket))
    .filter(({ prefix }) => prefix === '' || key.startsWith(`${prefix}/`))
    .sort((one, other) => other.prefix.length - one.prefix.length)[0];
  const named =
    within === undefined ? undefined : nameRunFolder(within.prefix === '' ? key : key.slice(within.prefix.length + 1));
  if (within === undefined || named === undefined)
    throw new InputError([
      {
        field: 'runFolderUri',
        rule: 'NOT_IN_A_STORAGE_CONNECTION',
        message: 'must be a folder below the prefix of a storage connection',
      },
    ]);
  const { parentPath, runFolder, instrumentName, runName } = named;
  const known = (await findKnownRuns(transaction, within.id, parentPath, [runFolder])).get(runFolder);
  if (known !== undefined) return known.id;
  const inserted = (
    await insertRuns(
      transaction,
      within.id,
      parentPath,
      instrumentName,
      [{ folder: runFolder, runName }],
      isSearched(within, named),
    )
  ).get(runFolder);
  // Somebody else may have written it at the same moment.
  return (inserted ?? (await findKnownRuns(transaction, within.id, parentPath, [runFolder])).get(runFolder))!.id;
}

/** What is wrong with a run manifest that is given: one that is here is checked at once, one that lies in S3 when it is used. */
function manifestProblems(
  manifest: { content: string } | { uri: string },
  storage: { bucket: string; prefix: string; name: string },
  run: ManifestedRun,
): FieldProblem[] {
  if ('content' in manifest) {
    const { errors } = checkRunManifest(manifest.content, run);
    return errors.map(({ rule, line, column, message }) => ({
      field: 'manifest.content',
      rule: `MANIFEST_${rule.replaceAll('-', '_').toUpperCase()}`,
      message: `${line === undefined ? '' : `line ${line}${column === undefined ? '' : ` column ${column}`}: `}${message}`,
    }));
  }
  const folder = storageUri(storage.bucket, storage.prefix);
  if (manifest.uri.startsWith(folder.endsWith('/') ? folder : `${folder}/`) && !/[\u0000-\u001f]/.test(manifest.uri))
    return [];
  return [
    {
      field: 'manifest.uri',
      rule: 'OUTSIDE_STORAGE_CONNECTION',
      message: `must lie in storage connection ${storage.name}, below ${folder}`,
    },
  ];
}

/** What a caller has named itself who may see some runs only; empty for others. */
interface NamedByCaller {
  manifestUri?: string;
  parameters?: Record<string, unknown>;
}

/**
 * What a caller names in S3 who may see some runs only, beside the folder of its run: the workflow reads with its own role, so that the
 * results and the problems of the execution would show it.
 * @param folder `s3://` URI with a slash at its end
 */
function foreignUris(folder: string, field: string, value: unknown): FieldProblem[] {
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([name, member]) => foreignUris(folder, `${field}.${name}`, member));
  // One text may name several.
  const uris = typeof value === 'string' ? value.split(/(?=s3:\/\/)/i).filter((part) => /^s3:/i.test(part)) : [];
  if (uris.every((uri) => uri.startsWith(folder) && !/\/\.{1,2}(\/|$)/.test(uri))) return [];
  return [
    { field, rule: 'OUTSIDE_RUN', message: `must lie in the run, below ${folder}: this key may not see all runs` },
  ];
}

/**
 * Writes an execution of a flow for a run; all that it refers to is locked until then.
 * @throws InputError, ApiError 409 where the run or the flow is not fit for it.
 */
async function createRequestedExecution(
  transaction: DbTransaction,
  input: {
    flowId: string;
    runId: string;
    name?: string;
    parameters?: Record<string, unknown>;
    manifest?: { content: string } | { uri: string };
    relaunchOf?: string;
  },
  startedBy: string,
  named: NamedByCaller = {},
): Promise<string> {
  const flow = isId(input.flowId) ? await findFlow(transaction, input.flowId, 'share') : undefined;
  const run = isId(input.runId) ? await lockRun(transaction, input.runId) : undefined;
  if (flow === undefined || run === undefined) {
    throw new InputError([
      ...(flow === undefined
        ? [{ field: 'flowId', rule: 'FLOW_NOT_FOUND', message: `there is no flow ${input.flowId.slice(0, 100)}` }]
        : []),
      ...(run === undefined
        ? [{ field: 'runId', rule: 'RUN_NOT_FOUND', message: `there is no run ${input.runId.slice(0, 100)}` }]
        : []),
    ]);
  }
  const refused = (reason: string, message: string): ApiError => new ApiError(409, reason, message, { field: 'runId' });
  if (run.upload_state === 'refused' || run.upload_state === 'vanished')
    throw refused('RUN_NOT_USABLE', `The run cannot be analysed: ${run.upload_description}`);
  const unfit =
    run.upload_state === 'complete'
      ? whyFlowRejects(
          { acceptFailedOutcome: flow.accept_failed_outcome, acceptUnverified: flow.accept_unverified },
          run,
        )
      : undefined;
  if (unfit !== undefined) throw refused('RUN_NOT_USABLE', `The run cannot be analysed: ${unfit}`);
  const storage = await findStorageConnection(transaction, run.storage_connection_id, 'share');
  if (storage === undefined)
    throw refused('STORAGE_CONNECTION_DELETED', 'The storage connection of the run was deleted');
  const compute = await findComputeConnection(transaction, flow.compute_connection_id, 'share');
  if (compute === undefined)
    throw refused('COMPUTE_CONNECTION_DELETED', 'The compute connection of the flow was deleted');
  const folder = storageUri(storage.bucket, storage.prefix, run.parent_path, run.run_folder);
  throwIfInvalid([
    ...foreignUris(folder, 'manifest.uri', named.manifestUri),
    ...foreignUris(folder, 'parameters', named.parameters),
  ]);
  if (compute.region !== storage.region)
    throw refused(
      'REGION_MISMATCH',
      `The run is in ${storage.region} and the flow runs in ${compute.region}; Bases2Fastq runs in the bucket's region only`,
    );
  const [flowProvider, storageProvider] = [
    await findProvider(transaction, compute.provider_id, 'share'),
    await findProvider(transaction, storage.provider_id, 'share'),
  ];
  if (!sameAccount(flowProvider?.account_id, storageProvider?.account_id))
    throw refused('ACCOUNT_MISMATCH', "The run is in another AWS account than the flow's compute connection");
  if (input.manifest !== undefined && !('content' in input.manifest && flow.run_settings.manifestErrors === 'warn'))
    throwIfInvalid(
      manifestProblems(input.manifest, storage, {
        cycles: run.run_parameters?.cycles,
        analysisLanes: run.run_parameters?.analysisLanes,
      }),
    );
  const { id } = await createExecution(transaction, {
    name: input.name,
    flow: { id: flow.id, name: flow.name, computeConnectionId: flow.compute_connection_id },
    run: { id: run.id, name: run.run_name, storageConnectionId: storage.id, uploadState: run.upload_state },
    storage,
    trigger: 'api',
    startedBy,
    parameters: input.parameters as Record<string, ParameterValue> | undefined,
    manifest:
      input.manifest === undefined || 'uri' in input.manifest ? input.manifest : { text: input.manifest.content },
    relaunchOf: input.relaunchOf,
  });
  if (id === undefined) throw new Error('an execution that the API starts has no double');
  return id;
}

/** Executions: flows applied to runs. */
export function executionRoutes(scope: FastifyInstance, { db, databaseUrl, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['ExecutionService'];
  const answer = (description: string) =>
    Type.Object({ execution: Execution }, { additionalProperties: false, description });

  async function execution(id: string, transaction?: DbTransaction): Promise<ExecutionRow> {
    const found = isId(id) ? await getExecution(transaction ?? db, id) : undefined;
    if (found === undefined) throw notFoundError('execution', id);
    return found;
  }
  const ended = (status: string): ApiError =>
    new ApiError(409, 'EXECUTION_ENDED', `The execution has ended as ${status}`, {
      status: `EXECUTION_STATUS_${status}`,
    });
  /** The workflow is no longer there although the store does not know of its end: it was terminated by hand, or is just writing it. */
  async function workflowEnded(id: string): Promise<ApiError> {
    const { status } = await execution(id);
    return isFinalStatus(status)
      ? ended(status)
      : new ApiError(
          409,
          'WORKFLOW_ENDED',
          `The workflow ${executionWorkflowId(id)} of the execution is not running; look at it in Temporal`,
        );
  }

  /** Whoever starts executions sees their runs by them, so it must be allowed to see those. */
  function checkRun(request: FastifyRequest, runId: string | undefined): void {
    const { access } = request.caller;
    if (!access.covers('runs:read'))
      throw new ApiError(403, 'INSUFFICIENT_SCOPE', 'To start executions of a run needs the scope runs:read too', {
        required_scope: 'runs:read',
      });
    if (runId !== undefined && !access.covers('runs:read', runId))
      throw new InputError([
        { field: 'runId', rule: 'RUN_NOT_FOUND', message: `there is no run ${runId.slice(0, 100)}` },
      ]);
    if (runId === undefined && access.ids('runs:read') !== 'all')
      throw new ApiError(
        403,
        'INSUFFICIENT_SCOPE',
        'A run folder is named with the scope runs:read for all runs; give the runId',
        { required_scope: 'runs:read', field: 'runFolderUri' },
      );
  }

  function namedBy(
    { access }: Caller,
    body: { manifest?: { content: string } | { uri: string } | null; parameters?: Record<string, unknown> },
  ): NamedByCaller {
    if (access.ids('runs:read') === 'all') return {};
    return {
      parameters: body.parameters,
      ...(body.manifest != null && 'uri' in body.manifest && { manifestUri: body.manifest.uri }),
    };
  }

  /** Its workflow's id is the execution's, so starting it on a repeated request, or again by the sweep, starts nothing twice. */
  async function handOver(log: FastifyBaseLogger, id: string): Promise<void> {
    try {
      const context = await findExecution(db, id);
      if (context !== undefined && !context.workflowStarted && !isFinalStatus(context.status)) {
        await withTimeout(orchestrator.startExecution(context));
        await markWorkflowStarted(db, context.id);
        const { run, storage } = context;
        // One that was found is followed already.
        if (run.uploadState === 'uploading' && !run.discovered)
          await withTimeout(
            orchestrator.startRunUpload({
              runId: run.id,
              storageConnectionId: storage.id,
              storageConnectionName: storage.name,
              instrumentName: run.instrumentName,
              parentPath: run.parentPath,
              runFolder: run.runFolder,
              runName: run.name,
            }),
          );
      }
    } catch (error) {
      log.warn(
        { error: loggableError(error), executionId: id },
        'the workflow could not be started yet; the sweep will',
      );
    }
  }

  app.post(
    '/v1/executions',
    {
      config: requireScope('executions:create'),
      attachValidation: true,
      bodyLimit: MANIFEST_LIMIT,
      schema: {
        operationId: 'ExecutionService_CreateExecution',
        tags,
        summary: 'Start a flow for a run',
        description: 'For a run that is still uploading it waits until that has ended.',
        headers: IdempotencyHeaders,
        body: CreateBody,
        response: { 201: answer('Accepted'), ...errors(409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      checkBody(request, (check, body) => [
        check('name', (value) => checkName('name', normalizeName(value))),
        checkJson('parameters', body.parameters),
        check('runFolderUri', (value) => checkJson('runFolderUri', value)),
      ]);
      const { name: given, runFolderUri, runId, ...rest } = request.body;
      if ((runId === undefined) === (runFolderUri === undefined))
        throwIfInvalid([{ field: 'runId', rule: 'ONE_OF', message: 'give either runId or runFolderUri' }]);
      checkRun(request, runId);
      const created = await createIdempotently(db, request, reply, 201, async (transaction) => {
        const id = await createRequestedExecution(
          transaction,
          {
            ...rest,
            runId: runId ?? (await registerRun(transaction, runFolderUri!)),
            name: given === undefined ? undefined : normalizeName(given),
          },
          request.caller.name,
          namedBy(request.caller, request.body),
        );
        return { execution: showExecution(await execution(id, transaction)) };
      });
      await handOver(request.log, created.execution.id);
      return created;
    },
  );
  app.post(
    '/v1/executions/:id/relaunch',
    {
      config: requireScope('executions:create'),
      attachValidation: true,
      bodyLimit: MANIFEST_LIMIT,
      schema: {
        operationId: 'ExecutionService_RelaunchExecution',
        tags,
        summary: 'Start an execution that has ended once more',
        description:
          'A new execution of the same flow for the same run, with its own HealthOmics run. What is left out is as it was; parameters are replaced as a whole.',
        headers: IdempotencyHeaders,
        params: IdParams,
        body: RelaunchBody,
        response: { 201: answer('Accepted'), ...errors(404, 409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      checkBody(request, (check, body) => [
        check('name', (value) => checkName('name', normalizeName(value))),
        checkJson('parameters', body.parameters),
      ]);
      const { id } = request.params;
      const body = request.body ?? {};
      if (!request.caller.access.covers('executions:read', id)) throw notFoundError('execution', id);
      request.auditDetail = { relaunchOf: id };
      const created = await createIdempotently(db, request, reply, 201, async (transaction) => {
        const before = await execution(id, transaction);
        checkRun(request, before.run_id);
        if (!isFinalStatus(before.status))
          throw new ApiError(409, 'EXECUTION_UNDER_WAY', 'The execution has not ended; cancel it first', {
            status: `EXECUTION_STATUS_${before.status}`,
          });
        const manifest =
          body.manifest === undefined ? await loadManifest(transaction, before.id) : (body.manifest ?? undefined);
        const input = {
          flowId: before.flow_id,
          runId: before.run_id,
          parameters: body.parameters ?? before.own_parameters,
          manifest,
          relaunchOf: before.id,
          name: body.name === undefined ? before.name : normalizeName(body.name),
        };
        return {
          execution: showExecution(
            await execution(
              await createRequestedExecution(transaction, input, request.caller.name, namedBy(request.caller, body)),
              transaction,
            ),
          ),
        };
      });
      await handOver(request.log, created.execution.id);
      return created;
    },
  );
  app.get(
    '/v1/executions',
    {
      config: requireScope('executions:read'),
      schema: {
        operationId: 'ExecutionService_ListExecutions',
        tags,
        summary: 'List executions, newest first',
        querystring: FilteredPageQuery,
        response: {
          200: Type.Object(
            {
              executions: Type.Array(Execution),
              nextPageToken: Type.String(),
              previousPageToken: Type.String(),
              totalCount: Type.Optional(Type.Integer()),
            },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const narrowed = {
        ids: request.caller.access.ids('executions:read'),
        filter: parseFilter(request.query.filter ?? '', EXECUTION_FILTER, new Date()),
      };
      const { items, ...tokens } = await pageBothWays(
        filteredList('executions', { filter: request.query.filter }),
        request.query,
        (slice) => listExecutions(db, slice, narrowed),
      );
      return {
        executions: items.map(showExecution),
        ...tokens,
        ...(request.query.includeTotalCount === true && { totalCount: await countExecutions(db, narrowed) }),
      };
    },
  );
  app.get(
    '/v1/executions/:id',
    {
      config: requireScope('executions:read', 'id'),
      schema: {
        operationId: 'ExecutionService_GetExecution',
        tags,
        summary: 'An execution',
        params: IdParams,
        response: { 200: answer('The execution'), ...errors(404) },
      },
    },
    async (request) => ({
      execution: showExecution(await execution(request.params.id)),
    }),
  );
  app.get(
    '/v1/executions/:id/details',
    {
      config: requireScope('executions:read', 'id'),
      schema: {
        operationId: 'ExecutionService_GetExecutionDetails',
        tags,
        summary: 'An execution with its HealthOmics run, its results and what it waits for',
        params: IdParams,
        response: {
          200: Type.Object(
            { execution: Execution, details: ExecutionDetails },
            { additionalProperties: false, description: 'The execution' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => {
      return show(await execution(request.params.id));
    },
  );
  const show = async (found: ExecutionRow) => ({
    execution: showExecution(found),
    details: showDetails(found, await listAttempts(db, found.id)),
  });
  async function fed(found: ExecutionRow): Promise<FedExecution> {
    const json = JSON.stringify(await show(found));
    return {
      version: createHash('sha256').update(json).digest('base64url').slice(0, 20),
      ended: isFinalStatus(found.status),
      json,
    };
  }
  const feed = new ExecutionFeed(
    databaseUrl,
    async (id) => {
      const found = await getExecution(db, id);
      return found && fed(found);
    },
    (callerIds) => findRevokedKeys(db, callerIds),
    (error) => scope.log.error({ error: loggableError(error) }, 'an execution could not be read for its streams'),
  );
  scope.addHook('preClose', async () => feed.close());
  app.get(
    '/v1/executions/:id/events',
    {
      config: requireScope('executions:read', 'id'),
      schema: {
        operationId: 'ExecutionService_WatchExecution',
        tags,
        summary: 'An execution, now and whenever it changes',
        description:
          'Server-sent events named `execution`, each with what `…/details` answers, until it has ended; who reads slowly is shown the latest. A stream lasts five minutes at most: connect anew with `Last-Event-ID`. Where that is the last of an execution that has ended, the answer is 204.',
        headers: Type.Object({
          'last-event-id': Type.Optional(
            Type.String({ maxLength: 100, description: 'The id of the last event that was seen' }),
          ),
        }),
        params: IdParams,
        response: {
          200: { description: 'The stream', content: { 'text/event-stream': { schema: Type.String() } } },
          204: NoContent,
          ...errors(404),
        },
      },
    },
    async (request, reply) => {
      const found = await execution(request.params.id);
      const known = request.headers['last-event-id'];
      if (isFinalStatus(found.status) && known !== undefined && known === (await fed(found)).version)
        return reply.code(204).send(null);
      if (!feed.admits(request.caller.id))
        throw new ApiError(
          429,
          'TOO_MANY_STREAMS',
          `This caller watches ${MOST_STREAMS} executions already; end one first`,
        );
      reply.hijack();
      reply.raw.writeHead(200, {
        ...(reply.getHeaders() as Record<string, string>),
        'content-type': 'text/event-stream; charset=utf-8',
        'x-accel-buffering': 'no',
      });
      if (request.method === 'HEAD') {
        reply.raw.end();
        return;
      }
      feed.add(reply.raw, found.id, request.caller.id, known, request.caller.expires);
    },
  );
  app.get(
    '/v1/executions/:id/results',
    {
      config: requireScope('executions:read', 'id'),
      schema: {
        operationId: 'ExecutionService_GetExecutionResults',
        tags,
        summary: 'The files that an execution has produced',
        description:
          'The first 1,000, with their keys below the output folder; summary.files of the details counts all.',
        params: IdParams,
        response: {
          200: Type.Object(
            {
              uri: Type.String(),
              files: Type.Array(
                Type.Object(
                  { key: Type.String(), size: Type.Integer({ description: 'Bytes' }) },
                  { additionalProperties: false },
                ),
              ),
              isTruncated: Type.Boolean(),
            },
            { additionalProperties: false, description: 'The files' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const found = await execution(request.params.id);
      const files = await loadResultFiles(db, found.id);
      return { uri: found.run_output_uri ?? '', files, isTruncated: (found.summary?.files.count ?? 0) > files.length };
    },
  );
  app.post(
    '/v1/executions/:id/cancel',
    {
      config: requireScope('executions:operate', 'id'),
      schema: {
        operationId: 'ExecutionService_CancelExecution',
        tags,
        summary: 'Cancel an execution',
        headers: IdempotencyHeaders,
        params: IdParams,
        body: CancelBody,
        response: { 202: answer('The cancel is noted'), ...errors(404, 409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { reason } = request.body;
      const requestedBy = request.caller.name;
      const noted = await createIdempotently(db, request, reply, 202, async (transaction) => {
        const found = await execution(id, transaction);
        if (isFinalStatus(found.status)) throw ended(found.status);
        await recordCancelRequest(transaction, found.id, requestedBy, reason);
        return { execution: showExecution(await execution(id, transaction)) };
      });
      const context = await findExecution(db, noted.execution.id);
      // On a repeated request it may have ended since, which is what was asked for.
      if (context === undefined || isFinalStatus(context.status)) return noted;
      if (!(await withTemporalErrors(request.log, orchestrator.cancelExecution(context, { requestedBy, reason }))))
        throw await workflowEnded(context.id);
      await markWorkflowStarted(db, context.id);
      await markCancelSignalled(db, context.id);
      return noted;
    },
  );
  app.post(
    '/v1/executions/:id/retry',
    {
      config: requireScope('executions:operate', 'id'),
      schema: {
        operationId: 'ExecutionService_RetryExecution',
        tags,
        summary: 'Try a blocked execution again now',
        params: IdParams,
        response: { 202: answer('It is tried'), ...errors(404, 409) },
      },
    },
    async (request, reply) => {
      const found = await execution(request.params.id);
      if (isFinalStatus(found.status)) throw ended(found.status);
      if (!(await withTemporalErrors(request.log, orchestrator.retryExecution(found.id)))) {
        const context = await findExecution(db, found.id);
        if (context === undefined || context.workflowStarted) throw await workflowEnded(found.id);
        // Accepted but not yet handed to Temporal: that is what is tried.
        await withTemporalErrors(request.log, orchestrator.startExecution(context));
        await markWorkflowStarted(db, found.id);
      }
      return reply.code(202).send({ execution: showExecution(found) });
    },
  );
}
