import { Type } from 'typebox';
import { EXECUTION_STATUSES } from '../../domain/executions/execution.js';
import { EXECUTION_ORDER } from '../../domain/executions/filter.js';
import { EXECUTION_STEPS } from '../../domain/executions/steps.js';
import { PARAMETER_CHARACTERS } from '../../domain/executions/parameters.js';
import { component } from '../openapi/components.js';
import {
  BODY,
  closed,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  NullableString,
  NullableTimestamp,
  oneOf,
  responseBody,
  Timestamp,
} from '../openapi/shared.js';
import { filterFieldsResponse, FilterValuesQuery, filterValuesResponse } from '../filterFields.js';
import { FilterQuery, OrderedPageQuery } from '../paging.js';
import { Blocked, NullableBlocked, Output, RunWarnings } from '../runs/schemas.js';

/** Longest run manifest in a request body, in characters. The manifest of 10,000 samples has about a million. */
const MANIFEST_CHARACTERS = 1_000_000;
/** Largest request body with a manifest, in bytes. In JSON a line break takes two bytes, other characters up to six. */
export const MANIFEST_BODY_LIMIT = 2 * 1024 * 1024;

/** An execution in the shape of the vendor's contract. */
const Execution = component(
  'Execution',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      status: oneOf(EXECUTION_STATUSES.map((status) => `EXECUTION_STATUS_${status}`)),
      statusDescription: Type.String(),
      platform: Type.String(),
      workflow: Type.Object({ name: Type.String(), version: Type.String() }, closed),
      flow: Type.Object({ id: Type.String(), name: Type.String() }, closed),
      inputs: Type.Array(
        Type.Object(
          {
            run: Type.Object(
              {
                id: Type.String(),
                name: Type.String(),
                instrumentName: Type.String(),
                kitType: Type.String(),
                runType: Type.String(),
              },
              closed,
            ),
          },
          closed,
        ),
      ),
      output: Output,
      startedBy: Type.Object({ id: Type.String(), email: Type.String(), name: Type.String() }, closed),
      timeCreated: Timestamp,
      timeStarted: NullableTimestamp,
      timeCompleted: NullableTimestamp,
      errorMessage: NullableString,
    },
    {
      ...closed,
      examples: [
        {
          id: '01920000-0000-7000-8000-000000000006',
          name: 'b2f NA12878',
          status: 'EXECUTION_STATUS_RUNNING',
          statusDescription: 'HealthOmics run 1234567 is RUNNING',
          platform: 'aws_omics',
          workflow: { name: 'bases2fastq', version: '' },
          flow: { id: '01920000-0000-7000-8000-000000000002', name: 'b2f' },
          inputs: [
            {
              run: {
                id: '01920000-0000-7000-8000-000000000003',
                name: 'NA12878',
                instrumentName: 'AV240001',
                kitType: '',
                runType: 'sequencing',
              },
            },
          ],
          output: {
            storageConnectionId: '01920000-0000-7000-8000-000000000001',
            uri: 's3://lab-aviti/runs/polony-executions/01920000-0000-7000-8000-000000000006/1234567/',
            kinds: [],
          },
          startedBy: { id: '01920000-0000-7000-8000-000000000009', email: '', name: 'lims' },
          timeCreated: '2026-01-16T04:00:00.000Z',
          timeStarted: '2026-01-16T04:00:05.000Z',
          timeCompleted: null,
          errorMessage: null,
        },
      ],
    },
  ),
);

const anyObject = (description: string) =>
  Type.Unsafe<object | null>({ type: ['object', 'null'], additionalProperties: true, description });
const Failure = Type.Object(
  {
    reason: Type.String(),
    owner: oneOf(['customer', 'vendor', 'aws', 'polony']),
    what: Type.String(),
    toDo: Type.String(),
    transient: Type.Boolean(),
  },
  closed,
);
const EarlierAttempt = Type.Object(
  {
    attempt: Type.Integer(),
    runId: Type.String(),
    uuid: NullableString,
    arn: NullableString,
    runOutputUri: NullableString,
    failureReason: NullableString,
    statusMessage: NullableString,
    timeStarted: NullableTimestamp,
    timeEnded: Timestamp,
  },
  closed,
);
/** What polony knows of an execution beyond the vendor's contract. */
const ExecutionDetails = component(
  'ExecutionDetails',
  Type.Object(
    {
      workflowId: Type.String({ description: 'The workflow ID in Temporal' }),
      trigger: oneOf(['auto', 'api']),
      account: Type.String(),
      region: Type.String(),
      computeConnectionId: Type.String(),
      healthOmics: Type.Union([
        Type.Object(
          {
            runId: Type.String(),
            uuid: NullableString,
            arn: NullableString,
            status: NullableString,
            runOutputUri: NullableString,
          },
          closed,
        ),
        Type.Null(),
      ]),
      blocked: NullableBlocked,
      blockedSince: NullableTimestamp,
      cancelRequested: Type.Union([
        Type.Object(
          {
            requestedBy: Type.String(),
            requestedById: Type.Union([Type.String(), Type.Null()], {
              description: 'The ID of the caller, as in the audit log. Names can be alike',
            }),
            reason: NullableString,
            time: NullableTimestamp,
          },
          closed,
        ),
        Type.Null(),
      ]),
      parameters: anyObject('The parameters that polony sent to HealthOmics'),
      summary: anyObject('What Bases2Fastq produced'),
      errorType: NullableString,
      failure: Type.Union([Failure, Type.Null()], {
        description: 'Why the execution failed: who can fix it, what happened, and what to do',
      }),
      attempt: Type.Integer({ description: 'The number of the current HealthOmics run. The first is 1' }),
      earlierAttempts: Type.Array(EarlierAttempt, {
        description: 'HealthOmics runs that failed for a transient reason',
      }),
      manifest: Type.Object(
        {
          source: oneOf(['run', 'text', 'uri']),
          uri: NullableString,
          report: anyObject(
            'The result of the manifest check: errors and warnings with rule, line, column and message',
          ),
        },
        closed,
      ),
      warnings: RunWarnings,
      relaunchOf: NullableString,
    },
    closed,
  ),
);

const name = Type.Optional(
  Type.String({ description: '1 to 128 characters. The default is the name of the flow and the name of the run' }),
);
const relaunchName = Type.Optional(
  Type.String({
    description:
      '1 to 128 characters. The default is the name of the repeated execution with a number: b2f NA12878 (2)',
  }),
);
const parameters = Type.Optional(
  Type.Unsafe<Record<string, unknown>>({
    type: 'object',
    additionalProperties: true,
    maxProperties: 100,
    description:
      "Parameters of the workflow's template. They override those of the flow. " +
      `At most ${PARAMETER_CHARACTERS.toLocaleString('en-US')} characters as JSON`,
  }),
);
const manifest = Type.Union(
  [
    Type.Object(
      {
        content: Type.String({
          minLength: 1,
          maxLength: MANIFEST_CHARACTERS,
          description: 'The text of RunManifest.csv',
        }),
      },
      closed,
    ),
    Type.Object(
      {
        uri: Type.String({
          pattern: '^s3://[^/]+/.+[^/]$',
          maxLength: 1024,
          description: "The S3 URI of a manifest in the run's storage connection",
        }),
      },
      closed,
    ),
  ],
  { description: "A run manifest that this execution uses instead of the run's own" },
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
          'Instead of runId: the S3 URI of a run folder anywhere in a storage connection. It needs the scope ' +
          'storage:download for this folder. polony adds it as a run and checks it like any other run. Its files are ' +
          'shown when RunParameters.json has proved that it is one',
      }),
    ),
    name,
    parameters,
    manifest: Type.Optional(manifest),
  },
  {
    ...closed,
    examples: [{ flowId: '01920000-0000-7000-8000-000000000002', runId: '01920000-0000-7000-8000-000000000003' }],
  },
);
const RelaunchBody = Type.Object(
  {
    name: relaunchName,
    parameters,
    manifest: Type.Optional(
      Type.Union([manifest, Type.Null()], {
        description: "The default is the manifest of the repeated execution. null: the run's own manifest",
      }),
    ),
  },
  {
    ...closed,
    'x-optional': true,
    examples: [{ manifest: { content: '[Samples]\nSampleName,Index1,Index2\nS1,ACGTACGT,TGCATGCA\n' } }],
  },
);
const CancelBody = Type.Object(
  { reason: Type.Optional(Type.String({ maxLength: 1000, pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f]*$' })) },
  { ...closed, 'x-optional': true, examples: [{ reason: 'wrong run manifest' }] },
);

const PageQuery = OrderedPageQuery(Object.keys(EXECUTION_ORDER));

const tags = ['ExecutionService'];
const oneExecution = (description: string) => responseBody(description, { execution: Execution });

const CheckBody = Type.Object(
  {
    flowId: Type.Optional(
      Type.String({ description: 'The flow whose parameters and settings count. The default is none' }),
    ),
    parameters,
    manifest: Type.Optional(manifest),
  },
  { ...closed, examples: [{ manifest: { content: '[Samples]\n' } }] },
);
const ManifestFindings = Type.Array(
  component(
    'ManifestFinding',
    Type.Object(
      {
        rule: Type.String({ description: 'For programs, such as index-length' }),
        line: Type.Optional(Type.Integer({ description: 'Counted from 1' })),
        column: Type.Optional(Type.Integer({ description: 'Counted from 1' })),
        message: Type.String(),
      },
      closed,
    ),
  ),
);
const ManifestCheck = component(
  'ManifestCheck',
  Type.Object(
    {
      source: oneOf(['run', 'text', 'uri']),
      stops: Type.Boolean({ description: 'Whether an execution with this manifest would not start' }),
      errors: ManifestFindings,
      warnings: ManifestFindings,
      samples: Type.Integer({ description: 'How many sample names the manifest has' }),
      more: Type.Integer({ description: 'How many findings are not listed' }),
    },
    closed,
  ),
);

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  create: {
    operationId: 'ExecutionService_CreateExecution',
    tags,
    summary: 'Start a flow for a run',
    description:
      'While the run is still uploading, the execution waits for the upload to end. ' +
      'The scopes runs:read for the run and flows:read for the flow are needed too.',
    headers: IdempotencyHeaders,
    body: CreateBody,
    response: { 201: oneExecution('Accepted'), ...errors(409, ...BODY, 422) },
  },
  checkManifest: {
    operationId: 'RunService_CheckManifest',
    tags: ['RunService'],
    summary: 'Check a run manifest for a run, without starting anything',
    description:
      'The same check as before an execution starts. The default manifest is that of the run folder. A manifest in S3 ' +
      'needs the scope `runs:download` or `storage:download`, and a flow `flows:read`.',
    params: IdParams,
    body: CheckBody,
    response: { 200: responseBody('What the check found', { check: ManifestCheck }), ...errors(404, 409, ...BODY) },
  },
  relaunch: {
    operationId: 'ExecutionService_RelaunchExecution',
    tags,
    summary: 'Repeat an execution that has ended',
    description:
      'Creates a new execution of the same flow for the same run, with its own HealthOmics run. ' +
      'Fields that you leave out keep their values. `parameters` replaces all parameters.',
    headers: IdempotencyHeaders,
    params: IdParams,
    body: RelaunchBody,
    response: { 201: oneExecution('Accepted'), ...errors(404, 409, ...BODY, 422) },
  },
  list: {
    operationId: 'ExecutionService_ListExecutions',
    tags,
    summary: 'List executions, newest first',
    querystring: PageQuery,
    response: {
      200: responseBody('A page of executions', {
        executions: Type.Array(Execution),
        nextPageToken: Type.String(),
        previousPageToken: Type.String(),
        totalCount: Type.Optional(Type.Integer()),
      }),
      ...errors(),
    },
  },
  listBlocked: {
    operationId: 'ExecutionService_ListBlockedExecutions',
    tags,
    summary: 'List the executions that wait for a person, newest first',
    description: 'Each with what blocks it, since when, and what to do.',
    querystring: PageQuery,
    response: {
      200: responseBody('A page of blocked executions', {
        executions: Type.Array(Type.Object({ execution: Execution, blocked: Blocked }, closed)),
        nextPageToken: Type.String(),
        previousPageToken: Type.String(),
        totalCount: Type.Optional(Type.Integer()),
      }),
      ...errors(),
    },
  },
  listFilterFields: {
    operationId: 'ExecutionService_ListExecutionFilterFields',
    tags,
    summary: 'List the keywords that filter executions',
    response: filterFieldsResponse,
  },
  listFilterValues: {
    operationId: 'ExecutionService_ListExecutionFilterValues',
    tags,
    summary: 'List values that occur among executions, for a filter',
    description: 'For keywords without an index, the values of the 10,000 newest executions.',
    querystring: FilterValuesQuery,
    response: filterValuesResponse,
  },
  count: {
    operationId: 'ExecutionService_CountExecutions',
    tags,
    summary: 'Count executions by status',
    querystring: FilterQuery,
    response: {
      200: responseBody('How many executions have each status', {
        counts: Type.Object(
          Object.fromEntries(EXECUTION_STATUSES.map((status) => [`EXECUTION_STATUS_${status}`, Type.Integer()])),
          closed,
        ),
        blocked: Type.Integer({ description: 'How many of them wait for a person' }),
        total: Type.Integer(),
      }),
      ...errors(),
    },
  },
  get: {
    operationId: 'ExecutionService_GetExecution',
    tags,
    summary: 'Get an execution',
    params: IdParams,
    response: { 200: oneExecution('The execution'), ...errors(404) },
  },
  getDetails: {
    operationId: 'ExecutionService_GetExecutionDetails',
    tags,
    summary: 'Get an execution with its HealthOmics run, its results and what blocks it',
    params: IdParams,
    response: {
      200: responseBody('The execution and its details', { execution: Execution, details: ExecutionDetails }),
      ...errors(404),
    },
  },
  listSteps: {
    operationId: 'ExecutionService_ListExecutionSteps',
    tags,
    summary: 'List the steps that an execution has reached, with their times',
    description:
      'Oldest first. Each step ends when the next one begins. A HealthOmics run that failed for a transient reason is ' +
      'followed by the steps of the next attempt.',
    params: IdParams,
    response: {
      200: responseBody('The steps', {
        steps: Type.Array(
          Type.Object(
            {
              step: oneOf(EXECUTION_STEPS),
              attempt: Type.Integer({ description: 'The number of the HealthOmics run. The first is 1' }),
              timeStarted: Timestamp,
              timeEnded: NullableTimestamp,
              waitsFor: Type.Unsafe<string | null>({
                type: ['string', 'null'],
                description: 'What the current step waits for; null for the other steps',
              }),
            },
            closed,
          ),
        ),
        blocked: NullableBlocked,
        blockedSince: NullableTimestamp,
      }),
      ...errors(404),
    },
  },
  watch: {
    operationId: 'ExecutionService_WatchExecution',
    tags,
    summary: 'Follow an execution as a stream of events',
    description:
      'Sends a server-sent event named `execution` now and at every change, until the execution ends. ' +
      'Each event has the body of `…/details`. A client that reads slowly skips to the latest state. ' +
      'A stream lasts at most five minutes: then reconnect with `Last-Event-ID`. ' +
      'If that event was the last one of an execution that has ended, the response is 204.',
    headers: Type.Object({
      'last-event-id': Type.Optional(
        Type.String({ maxLength: 100, description: 'The ID of the last event that you received' }),
      ),
    }),
    params: IdParams,
    response: {
      200: { description: 'The stream', content: { 'text/event-stream': { schema: Type.String() } } },
      204: NoContent,
      ...errors(404),
    },
  },
  getResults: {
    operationId: 'ExecutionService_GetExecutionResults',
    tags,
    summary: 'List the files that an execution produced',
    description:
      'The first 1,000 files, with their keys relative to the output folder. ' +
      '`summary.files` of the details has the total.',
    params: IdParams,
    response: {
      200: responseBody('The files', {
        uri: Type.String(),
        files: Type.Array(Type.Object({ key: Type.String(), size: Type.Integer({ description: 'Bytes' }) }, closed)),
        isTruncated: Type.Boolean(),
      }),
      ...errors(404),
    },
  },
  cancel: {
    operationId: 'ExecutionService_CancelExecution',
    tags,
    summary: 'Cancel an execution',
    headers: IdempotencyHeaders,
    params: IdParams,
    body: CancelBody,
    response: { 202: oneExecution('polony cancels the execution'), ...errors(404, 409, ...BODY, 422) },
  },
  retry: {
    operationId: 'ExecutionService_RetryExecution',
    tags,
    summary: 'Retry a blocked execution now',
    params: IdParams,
    response: { 202: oneExecution('polony retries the execution'), ...errors(404, 409) },
  },
};
