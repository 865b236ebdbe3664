import { Type } from 'typebox';

/** Error body of every route (docs/design.md, API). */
export const ErrorBody = Type.Object({
  code: Type.Integer(),
  message: Type.String(),
  details: Type.Optional(Type.Array(Type.Object({ '@type': Type.Optional(Type.String()), reason: Type.String(), domain: Type.String(), metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown())) }))),
});
export const ERRORS = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody, 422: ErrorBody, 500: ErrorBody, 503: ErrorBody };

export const Timestamp = Type.String({ format: 'date-time' });
export const NullableTimestamp = Type.Union([Timestamp, Type.Null()]);
export const IdParams = Type.Object({ id: Type.String() });
const closed = { additionalProperties: false } as const;

export const Provider = Type.Object({ id: Type.String(), name: Type.String(), type: Type.String(), defaultRegion: Type.String(), credentialType: Type.String(), roleArn: Type.String(), externalId: Type.String(), timeCreated: Timestamp, timeUpdated: Timestamp }, closed);
export const ProviderBody = Type.Object(
  { name: Type.String(), defaultRegion: Type.String(), credentialType: Type.Literal('role'), roleArn: Type.String(), externalId: Type.String() },
  { ...closed, examples: [{ name: 'sequencing-account', defaultRegion: 'us-west-2', credentialType: 'role', roleArn: 'arn:aws:iam::111122223333:role/Element-ServiceUser', externalId: 'lab-7f3a' }] },
);

/** As the vendor's contract has it. */
export const StorageConnection = Type.Object({ id: Type.String(), name: Type.String(), type: Type.String(), status: Type.String(), uri: Type.String(), timeCreated: Timestamp, timeUpdated: Timestamp }, closed);
export const StorageDetails = Type.Object(
  { providerId: Type.String(), region: Type.String(), bucket: Type.String(), prefix: Type.String(), useForRunUpload: Type.Boolean(), useForDataExploration: Type.Boolean(), statusDescription: Type.String() },
  closed,
);
export const StorageBody = Type.Object(
  {
    name: Type.String(),
    providerId: Type.String(),
    region: Type.String(),
    bucket: Type.String(),
    prefix: Type.Optional(Type.String({ default: '' })),
    useForRunUpload: Type.Boolean(),
    useForDataExploration: Type.Boolean(),
  },
  { ...closed, examples: [{ name: 'aviti-runs', providerId: '01920000-0000-7000-8000-000000000000', region: 'us-west-2', bucket: 'lab-aviti', prefix: 'runs', useForRunUpload: true, useForDataExploration: true }] },
);

export const ComputeConnection = Type.Object({ id: Type.String(), name: Type.String(), type: Type.String(), providerId: Type.String(), executionRoleArn: Type.String(), region: Type.String(), timeCreated: Timestamp, timeUpdated: Timestamp }, closed);
export const ComputeBody = Type.Object(
  { name: Type.String(), providerId: Type.String(), executionRoleArn: Type.String(), region: Type.String() },
  { ...closed, examples: [{ name: 'healthomics', providerId: '01920000-0000-7000-8000-000000000000', executionRoleArn: 'arn:aws:iam::111122223333:role/omics-execution', region: 'us-west-2' }] },
);

const AutoStart = Type.Object({ storageConnectionIds: Type.Array(Type.String(), { maxItems: 100, uniqueItems: true }) }, closed);
const ParameterNames = Type.Object({ runDir: Type.Optional(Type.String()), runManifest: Type.Optional(Type.String()), noProjects: Type.Optional(Type.String()) }, closed);
const Parameters = Type.Record(Type.String(), Type.Any());
export const FlowResource = Type.Object(
  { id: Type.String(), name: Type.String(), computeConnectionId: Type.String(), sharedWorkflowId: Type.String(), workflowOwnerId: Type.String(), autoStart: AutoStart, parameterNames: ParameterNames, parameters: Parameters, timeCreated: Timestamp, timeUpdated: Timestamp },
  closed,
);
export const FlowBody = Type.Object(
  {
    name: Type.String(),
    computeConnectionId: Type.String(),
    sharedWorkflowId: Type.String({ description: "The share's Resource ID, or the workflow's ARN" }),
    workflowOwnerId: Type.Optional(Type.String({ description: 'The account that shares it; may be left out where the ARN is given' })),
    autoStart: Type.Optional(AutoStart),
    parameterNames: Type.Optional(ParameterNames),
    parameters: Type.Optional(Parameters),
  },
  { ...closed, examples: [{ name: 'bases2fastq', computeConnectionId: '01920000-0000-7000-8000-000000000000', sharedWorkflowId: '1234567', workflowOwnerId: '588258415937', autoStart: { storageConnectionIds: ['01920000-0000-7000-8000-000000000001'] } }] },
);

export const Output = Type.Object({ storageConnectionId: Type.String(), uri: Type.String(), kinds: Type.Array(Type.String()) }, closed);
const NullableString = Type.Union([Type.String(), Type.Null()]);
/** As the vendor's contract has it. */
export const Execution = Type.Object(
  {
    id: Type.String(),
    name: Type.String(),
    status: Type.String(),
    statusDescription: Type.String(),
    platform: Type.String(),
    workflow: Type.Object({ name: Type.String(), version: Type.String() }, closed),
    flow: Type.Object({ id: Type.String(), name: Type.String() }, closed),
    inputs: Type.Array(Type.Object({ run: Type.Object({ id: Type.String(), name: Type.String(), instrumentName: Type.String(), kitType: Type.String(), runType: Type.String() }, closed) })),
    output: Output,
    startedBy: Type.Object({ id: Type.String(), email: Type.String(), name: Type.String() }, closed),
    timeCreated: Timestamp,
    timeStarted: NullableTimestamp,
    timeCompleted: NullableTimestamp,
    errorMessage: NullableString,
  },
  closed,
);
export const ExecutionDetails = Type.Object(
  {
    workflowId: Type.String({ description: 'In Temporal' }),
    trigger: Type.String(),
    account: Type.String(),
    region: Type.String(),
    healthOmics: Type.Union([Type.Object({ runId: Type.String(), uuid: NullableString, arn: NullableString, status: NullableString, runOutputUri: NullableString }), Type.Null()]),
    blocked: Type.Any(),
    cancelRequested: Type.Union([Type.Object({ requestedBy: Type.String(), reason: NullableString, time: NullableTimestamp }), Type.Null()]),
    parameters: Type.Any(),
    summary: Type.Any(),
    errorType: NullableString,
  },
  closed,
);
