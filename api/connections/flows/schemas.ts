import { type Static, Type } from 'typebox';
import { component } from '../../openapi/components.js';
import {
  BODY,
  closed,
  closedNonEmpty,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  NullableString,
  oneOfThese,
  responseBody,
} from '../../openapi/shared.js';
import { PageQuery } from '../../paging.js';
import { NAME_DESCRIPTION, stateFields } from '../schemas.js';

const namePatterns = (description: string) =>
  Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 255 }), { maxItems: 100, description }));

const AutoStart = Type.Object(
  {
    storageConnectionIds: Type.Array(Type.String(), {
      maxItems: 100,
      description: 'Complete runs in these storage connections start the flow automatically',
    }),
    instruments: namePatterns('Only runs of these instruments start the flow. * matches any characters'),
    runNames: namePatterns('Only runs with these names start the flow. * matches any characters'),
  },
  closed,
);

const parameterName = Type.Optional(Type.String({ minLength: 1, maxLength: 128 }));
const ParameterNames = Type.Object(
  { runDir: parameterName, runManifest: parameterName, noProjects: parameterName },
  {
    ...closed,
    description:
      'Names of the workflow parameters that polony sets. ' +
      'For a name that you omit, polony looks for a known name in the parameter template of the workflow',
  },
);

const Parameters = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  additionalProperties: true,
  maxProperties: 100,
  description: 'Values of further workflow parameters, which must be in its parameter template',
});

const numericId = (description: string) => Type.Optional(Type.String({ pattern: '^[0-9]{1,18}$', description }));
const RunSettings = Type.Object(
  {
    runGroupId: numericId('ID of the HealthOmics run group, whose limits apply to the runs'),
    priority: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 100_000,
        description: 'Priority in the run group. Higher values start first',
      }),
    ),
    retentionMode: Type.Optional(oneOfThese('RETAIN', 'REMOVE')),
    storageType: Type.Optional(oneOfThese('DYNAMIC', 'STATIC')),
    storageCapacity: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100_000, description: 'Size of the STATIC storage, in GiB' }),
    ),
    cacheId: numericId('ID of the HealthOmics run cache'),
    cacheBehavior: Type.Optional(oneOfThese('CACHE_ON_FAILURE', 'CACHE_ALWAYS')),
    logLevel: Type.Optional(oneOfThese('OFF', 'FATAL', 'ERROR', 'ALL')),
    workflowVersionName: Type.Optional(
      Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$', description: 'Version of the shared workflow' }),
    ),
    tags: Type.Optional(
      Type.Unsafe<Record<string, string>>({
        type: 'object',
        additionalProperties: { type: 'string' },
        maxProperties: 50,
        description: 'Tags of the HealthOmics runs, in addition to the tags that polony sets',
      }),
    ),
    manifestErrors: Type.Optional(
      Type.Unsafe<'block' | 'warn'>({
        type: 'string',
        enum: ['block', 'warn'],
        description:
          'What happens when the run manifest has errors. block (the default): the execution waits for you. ' +
          'warn: polony reports the errors and starts the run, and Bases2Fastq decides',
      }),
    ),
    retries: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 5,
        description: 'How often polony restarts a HealthOmics run that failed for a transient reason. The default is 2',
      }),
    ),
  },
  { ...closed, description: 'How HealthOmics runs the flow' },
);

const Flow = component(
  'Flow',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      computeConnectionId: Type.String(),
      sharedWorkflowId: Type.String(),
      workflowOwnerId: Type.String(),
      sharedWorkflowRegion: NullableString,
      autoStart: AutoStart,
      parameterNames: ParameterNames,
      parameters: Parameters,
      runSettings: RunSettings,
      acceptFailedOutcome: Type.Boolean(),
      acceptStoppedOutcome: Type.Boolean(),
      acceptUnverified: Type.Boolean(),
      ...stateFields('FLOW_STATUS'),
    },
    closed,
  ),
);

const flowFields = {
  name: Type.String({ description: NAME_DESCRIPTION }),
  computeConnectionId: Type.String(),
  sharedWorkflowId: Type.String({ description: 'The Resource ID of the share, or the ARN of the workflow' }),
  workflowOwnerId: Type.Optional(
    Type.String({
      description:
        'The AWS account that shares the workflow. You may omit it if sharedWorkflowId is the ARN of the workflow',
    }),
  ),
  autoStart: Type.Optional(AutoStart),
  parameterNames: Type.Optional(ParameterNames),
  parameters: Type.Optional(Parameters),
  runSettings: Type.Optional(RunSettings),
  acceptFailedOutcome: Type.Optional(
    Type.Boolean({
      description:
        'Whether the flow also analyses runs that the instrument ended as failed, if all their cycles exist. ' +
        'The default is false',
    }),
  ),
  acceptStoppedOutcome: Type.Optional(
    Type.Boolean({
      description:
        'Whether the flow also analyses runs that somebody stopped, with the cycles that exist. The default is false',
    }),
  ),
  acceptUnverified: Type.Optional(
    Type.Boolean({
      description:
        'Whether the flow also analyses runs whose outcome and cycles polony cannot check, because the provider ' +
        'lacks the optional permission s3:GetObject. The default is true',
    }),
  ),
};

const FlowBody = Type.Object(flowFields, {
  ...closed,
  examples: [
    {
      name: 'bases2fastq',
      computeConnectionId: '01920000-0000-7000-8000-000000000000',
      sharedWorkflowId: '1234567',
      workflowOwnerId: '588258415937',
      autoStart: { storageConnectionIds: ['01920000-0000-7000-8000-000000000001'] },
    },
  ],
});
/** The body that creates a flow. */
export type FlowBody = Static<typeof FlowBody>;

const FlowChange = Type.Partial(Type.Object(flowFields), {
  ...closedNonEmpty,
  examples: [{ autoStart: { storageConnectionIds: [] } }],
});
/** The body that changes a flow: what it leaves out stays. */
export type FlowChange = Static<typeof FlowChange>;

const FlowList = responseBody('One page of flows', { flows: Type.Array(Flow), nextPageToken: Type.String() });
const flowResponse = (description: string) => responseBody(description, { flow: Flow });

const tags = ['FlowService'];

/** The operations on flows, as the OpenAPI document describes them. */
export const operations = {
  create: {
    operationId: 'FlowService_CreateFlow',
    tags,
    summary: 'Add a Bases2Fastq flow',
    headers: IdempotencyHeaders,
    body: FlowBody,
    response: { 201: flowResponse('The new flow'), ...errors(409, ...BODY, 422) },
  },
  list: {
    operationId: 'FlowService_ListFlows',
    tags,
    summary: 'List flows, oldest first',
    querystring: PageQuery,
    response: { 200: FlowList, ...errors() },
  },
  get: {
    operationId: 'FlowService_GetFlow',
    tags,
    summary: 'Get a flow',
    params: IdParams,
    response: { 200: flowResponse('The flow'), ...errors(404) },
  },
  update: {
    operationId: 'FlowService_UpdateFlow',
    tags,
    summary: 'Change a flow',
    description:
      'Fields that you leave out stay as they are. ' +
      'autoStart, parameterNames, parameters and runSettings are each replaced as a whole. ' +
      'A change does not affect executions whose HealthOmics run has started. ' +
      'You can change the compute connection only while the flow has no current executions.',
    params: IdParams,
    body: FlowChange,
    response: { 200: flowResponse('The changed flow'), ...errors(404, 409, ...BODY) },
  },
  delete: {
    operationId: 'FlowService_DeleteFlow',
    tags,
    summary: 'Delete a flow that has no current executions',
    params: IdParams,
    response: { 204: NoContent, ...errors(404, 409) },
  },
};
