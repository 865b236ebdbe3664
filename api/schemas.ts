import { type Static, Type } from 'typebox';
import { SHOWN_STATES } from '../domain/grants/grant.js';
import { ACTIONS, CAPABILITIES, CREDENTIAL_TYPES } from '../domain/iam/permissions.js';
import { VERIFIED_KINDS } from '../domain/verification/report.js';
import { VARIANTS } from '../domain/iam/documents.js';
import { component } from './openapi/components.js';
import {
  closed,
  closedNonEmpty as change,
  NullableString,
  NullableTimestamp,
  oneOf,
  oneOfThese,
  strings,
  Timestamp,
} from './openapi/shared.js';

// Until every subject has its own schemas, its routes import the shared ones from here.
export { addSchemas } from './openapi/components.js';
export {
  BODY,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  NullableTimestamp,
  Timestamp,
} from './openapi/shared.js';

const CONNECTION_STATUSES = ['UNSPECIFIED', 'CONNECTED', 'WARNING', 'FAILED'];
const CredentialType = oneOfThese(...CREDENTIAL_TYPES);
export const Provider = component(
  'Provider',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      type: Type.String(),
      defaultRegion: Type.String(),
      credentialType: CredentialType,
      roleArn: NullableString,
      externalId: NullableString,
      accessKeyId: NullableString,
      accountId: NullableString,
      sessionSeconds: Type.Unsafe<number | null>({
        type: ['integer', 'null'],
        description: 'Length of the sessions that AWS gave at the last verification',
      }),
      status: oneOf(CONNECTION_STATUSES.map((status) => `PROVIDER_STATUS_${status}`)),
      statusDescription: Type.String(),
      timeVerified: NullableTimestamp,
      timeUsed: NullableTimestamp,
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
    },
    closed,
  ),
);
const providerFields = {
  name: Type.String({ description: 'Unique, 1 to 128 characters' }),
  defaultRegion: Type.String({ description: 'An AWS region' }),
  credentialType: CredentialType,
  roleArn: Type.Optional(Type.String({ description: 'Of a role: its ARN' })),
  externalId: Type.Optional(
    Type.String({
      description: 'Of a role: letters, digits and @:,=-./_, 2 to 1224 characters, as in its trust policy',
    }),
  ),
  accessKeyId: Type.Optional(Type.String({ description: 'Of access keys: the ID, beginning with AKIA' })),
  secretAccessKey: Type.Optional(
    Type.String({ writeOnly: true, description: 'Of access keys: the secret; kept encrypted and never shown' }),
  ),
};
const providerExample = {
  name: 'sequencing-account',
  defaultRegion: 'us-west-2',
  credentialType: 'role',
  roleArn: 'arn:aws:iam::111122223333:role/Element-ServiceUser',
  externalId: 'lab-7f3a',
};
export const ProviderBody = Type.Object(providerFields, { ...closed, examples: [providerExample] });
export const ProviderChange = Type.Partial(Type.Object(providerFields), {
  ...change,
  examples: [{ roleArn: 'arn:aws:iam::111122223333:role/Element-ServiceUser-2' }],
});

/** As the vendor's contract has it. */
export const StorageConnection = component(
  'StorageConnection',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      type: Type.String(),
      status: oneOf(CONNECTION_STATUSES.map((status) => `STORAGE_CONNECTION_STATUS_${status}`)),
      uri: Type.String(),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
    },
    {
      ...closed,
      examples: [
        {
          id: '01920000-0000-7000-8000-000000000001',
          name: 'aviti-runs',
          type: 's3',
          status: 'STORAGE_CONNECTION_STATUS_CONNECTED',
          uri: 's3://lab-aviti/runs',
          timeCreated: '2026-01-10T09:00:00.000Z',
          timeUpdated: '2026-01-10T09:00:00.000Z',
        },
      ],
    },
  ),
);
export const StorageDetails = component(
  'StorageConnectionDetails',
  Type.Object(
    {
      providerId: Type.String(),
      region: Type.String(),
      bucket: Type.String(),
      prefix: Type.String(),
      useForRunUpload: Type.Boolean(),
      useForDataExploration: Type.Boolean(),
      allowPolicyProbe: Type.Boolean(),
      runDepth: Type.Integer(),
      statusDescription: Type.String(),
      timeVerified: NullableTimestamp,
      timeUsed: NullableTimestamp,
    },
    closed,
  ),
);
const storageFields = {
  name: Type.String({ description: 'Unique, 1 to 128 characters' }),
  providerId: Type.String(),
  region: Type.String({ description: 'The region of the bucket' }),
  bucket: Type.String({ description: "The bucket's name, without s3://" }),
  prefix: Type.Optional(Type.String({ description: 'The folder for run data; the whole bucket where it is left out' })),
  useForRunUpload: Type.Boolean({ description: 'Instruments upload here, so runs are searched for' }),
  useForDataExploration: Type.Boolean(),
  allowPolicyProbe: Type.Optional(
    Type.Boolean({
      description:
        'Whether verification may write the bucket policy back as it is, to see whether it may; not unless said',
    }),
  ),
  runDepth: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 5,
      description: 'How many folders lie between the prefix and the folders of the instruments; 0 where it is left out',
    }),
  ),
};
export const StorageBody = Type.Object(storageFields, {
  ...closed,
  examples: [
    {
      name: 'aviti-runs',
      providerId: '01920000-0000-7000-8000-000000000000',
      region: 'us-west-2',
      bucket: 'lab-aviti',
      prefix: 'runs',
      useForRunUpload: true,
      useForDataExploration: true,
    },
  ],
});
export const StorageChange = Type.Partial(Type.Object(storageFields), {
  ...change,
  examples: [{ useForRunUpload: false }],
});

export const ComputeConnection = component(
  'ComputeConnection',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      type: Type.String(),
      providerId: Type.String(),
      executionRoleArn: Type.String(),
      region: Type.String(),
      status: oneOf(CONNECTION_STATUSES.map((each) => `COMPUTE_CONNECTION_STATUS_${each}`)),
      statusDescription: Type.String(),
      timeVerified: NullableTimestamp,
      timeUsed: NullableTimestamp,
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
    },
    closed,
  ),
);
const computeFields = {
  name: Type.String({ description: 'Unique, 1 to 128 characters' }),
  providerId: Type.String(),
  executionRoleArn: Type.String({ description: "A role of the provider's account that trusts omics.amazonaws.com" }),
  region: Type.String({ description: 'A region of AWS HealthOmics' }),
};
export const ComputeBody = Type.Object(computeFields, {
  ...closed,
  examples: [
    {
      name: 'healthomics',
      providerId: '01920000-0000-7000-8000-000000000000',
      executionRoleArn: 'arn:aws:iam::111122223333:role/omics-execution',
      region: 'us-west-2',
    },
  ],
});
export const ComputeChange = Type.Partial(Type.Object(computeFields), {
  ...change,
  examples: [{ executionRoleArn: 'arn:aws:iam::111122223333:role/omics-execution-2' }],
});

const statement = Type.Unsafe<unknown>({
  description: 'The smallest policy statement that grants it; null where it is granted',
});
/** What a verification found. */
export const Verification = component(
  'Verification',
  Type.Object(
    {
      kind: oneOf(VERIFIED_KINDS),
      resourceId: Type.String(),
      status: oneOf(['CONNECTED', 'WARNING', 'FAILED'].map((status) => `VERIFICATION_STATUS_${status}`)),
      description: Type.String(),
      permissions: Type.Array(
        Type.Object(
          {
            action: Type.String(),
            requirement: oneOf(['required', 'optional']),
            result: oneOf(['granted', 'denied', 'unknown']),
            purpose: Type.String(),
            unlocks: Type.String(),
            capabilities: strings('Those that need it, or work in part without it'),
            resource: Type.String(),
            detail: Type.String({ description: 'How it was tried, or why it was not' }),
            error: Type.Union([Type.Object({ code: Type.String(), message: Type.String() }, closed), Type.Null()], {
              description: 'What AWS answered',
            }),
            statement,
            of: Type.Unsafe<string | null>({
              type: ['string', 'null'],
              description: 'Of a provider: the connection or flow that this was found with',
            }),
          },
          closed,
        ),
      ),
      capabilities: Type.Array(
        Type.Object(
          {
            capability: oneOf(CAPABILITIES),
            state: oneOf(['ready', 'limited', 'notReady']),
            missing: strings('Denied'),
            unknown: strings('Not known yet'),
          },
          closed,
        ),
      ),
      findings: Type.Array(
        Type.Object(
          {
            severity: oneOf(['error', 'warning', 'info']),
            code: Type.String(),
            message: Type.String(),
            remedy: Type.String(),
          },
          closed,
        ),
      ),
      identity: Type.Union([Type.Object({ arn: Type.String(), accountId: Type.String() }, closed), Type.Null()]),
      sessionSeconds: Type.Unsafe<number | null>({ type: ['integer', 'null'] }),
      parts: Type.Array(
        Type.Object(
          {
            kind: oneOf(VERIFIED_KINDS),
            id: Type.String(),
            name: Type.String(),
            status: Type.String(),
            description: Type.String(),
          },
          closed,
        ),
        { description: 'Of a provider: what it was put together of' },
      ),
      timeStarted: Timestamp,
      timeCompleted: Timestamp,
    },
    closed,
  ),
);

const AutoStart = Type.Object(
  {
    storageConnectionIds: Type.Array(Type.String(), {
      maxItems: 100,
      description: 'Complete runs of these start the flow by themselves',
    }),
    instruments: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 255 }), {
        maxItems: 100,
        description: 'Only runs of these instruments; * stands for any characters',
      }),
    ),
    runNames: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 255 }), {
        maxItems: 100,
        description: 'Only runs with these names; * stands for any characters',
      }),
    ),
  },
  closed,
);
const parameterName = Type.Optional(Type.String({ minLength: 1, maxLength: 128 }));
const ParameterNames = Type.Object(
  { runDir: parameterName, runManifest: parameterName, noProjects: parameterName },
  {
    ...closed,
    description:
      "Which of the workflow's parameters stand for what polony sets; what is left out is looked up among known names",
  },
);
const Parameters = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  additionalProperties: true,
  maxProperties: 100,
  description: "Further parameters of the workflow's template",
});
const numericId = (description: string) => Type.Optional(Type.String({ pattern: '^[0-9]{1,18}$', description }));
const RunSettings = Type.Object(
  {
    runGroupId: numericId('Run group that runs count in'),
    priority: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100_000, description: 'In the run group; higher ones come first' }),
    ),
    retentionMode: Type.Optional(oneOfThese('RETAIN', 'REMOVE')),
    storageType: Type.Optional(oneOfThese('DYNAMIC', 'STATIC')),
    storageCapacity: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100_000, description: 'GiB of STATIC storage' }),
    ),
    cacheId: numericId('Run cache'),
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
        description: "Of the HealthOmics runs, beside polony's own",
      }),
    ),
    manifestErrors: Type.Optional(
      Type.Unsafe<'block' | 'warn'>({
        type: 'string',
        enum: ['block', 'warn'],
        description:
          'Whether a run manifest with errors blocks, as it does where this is left out, or Bases2Fastq decides',
      }),
    ),
    retries: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 5,
        description: 'How often a run that failed for a reason that passes is started again; 2 where it is left out',
      }),
    ),
  },
  { ...closed, description: 'How HealthOmics runs the flow' },
);
export const FlowResource = component(
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
      acceptUnverified: Type.Boolean(),
      status: oneOf(CONNECTION_STATUSES.map((each) => `FLOW_STATUS_${each}`)),
      statusDescription: Type.String(),
      timeVerified: NullableTimestamp,
      timeUsed: NullableTimestamp,
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
    },
    closed,
  ),
);
const flowFields = {
  name: Type.String({ description: 'Unique, 1 to 128 characters' }),
  computeConnectionId: Type.String(),
  sharedWorkflowId: Type.String({ description: "The share's Resource ID, or the workflow's ARN" }),
  workflowOwnerId: Type.Optional(
    Type.String({ description: 'The account that shares it; may be left out where the ARN is given' }),
  ),
  autoStart: Type.Optional(AutoStart),
  parameterNames: Type.Optional(ParameterNames),
  parameters: Type.Optional(Parameters),
  runSettings: Type.Optional(RunSettings),
  acceptFailedOutcome: Type.Optional(
    Type.Boolean({
      description:
        'Analyse runs too that the instrument ended as failed, where all their cycles are there; not unless said',
    }),
  ),
  acceptUnverified: Type.Optional(
    Type.Boolean({
      description:
        'Analyse runs too whose outcome and cycles cannot be checked, since the provider lacks s3:GetObject, which is optional; so unless it is false',
    }),
  ),
};
export const FlowBody = Type.Object(flowFields, {
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
export const FlowChange = Type.Partial(Type.Object(flowFields), {
  ...change,
  examples: [{ autoStart: { storageConnectionIds: [] } }],
});

/** A key of the API; its secret is shown once, by whoever makes it. */
export const ApiKeyResource = component(
  'ApiKey',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      scopes: Type.Array(Type.String()),
      state: oneOf(['active', 'expired', 'revoked']),
      createdBy: Type.String(),
      timeCreated: Timestamp,
      timeExpires: Timestamp,
      timeLastUsed: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        format: 'date-time',
        description: 'To the minute',
      }),
      timeRevoked: NullableTimestamp,
      revokedBy: NullableString,
    },
    {
      ...closed,
      examples: [
        {
          id: '01920000-0000-7000-8000-000000000004',
          name: 'lims',
          scopes: ['runs:read', 'executions:read', 'executions:create'],
          state: 'active',
          createdBy: 'default',
          timeCreated: '2026-01-10T09:00:00.000Z',
          timeExpires: '2026-04-10T09:00:00.000Z',
          timeLastUsed: null,
          timeRevoked: null,
          revokedBy: null,
        },
      ],
    },
  ),
);
/** An entry of the audit log. */
export const AuditEntryResource = component(
  'AuditEntry',
  Type.Object(
    {
      id: Type.String(),
      time: Timestamp,
      requestId: Type.String(),
      caller: Type.Object(
        { kind: oneOf(['root', 'key', 'person', 'system']), id: Type.String(), name: Type.String() },
        closed,
      ),
      address: NullableString,
      action: Type.String({ description: 'The operationId' }),
      resourceType: NullableString,
      resourceId: NullableString,
      timeEnded: NullableTimestamp,
      status: Type.Unsafe<number | null>({ type: ['integer', 'null'], description: 'HTTP status of the answer' }),
      reason: NullableString,
      detail: Type.Unsafe<Record<string, unknown> | null>({ type: ['object', 'null'], additionalProperties: true }),
    },
    {
      ...closed,
      examples: [
        {
          id: '01920000-0000-7000-8000-000000000005',
          time: '2026-01-16T05:00:00.000Z',
          requestId: 'b3f1c2d4-0000-4000-8000-000000000000',
          caller: { kind: 'key', id: '01920000-0000-7000-8000-000000000004', name: 'lims' },
          address: '192.0.2.7',
          action: 'ExecutionService_CancelExecution',
          resourceType: 'executions',
          resourceId: '01920000-0000-7000-8000-000000000006',
          timeEnded: '2026-01-16T05:00:00.120Z',
          status: 202,
          reason: null,
          detail: { fields: ['reason'] },
        },
      ],
    },
  ),
);

const policy = (description: string) =>
  Type.Unsafe<object>({ type: 'object', additionalProperties: true, description });
const nullablePolicy = (description: string) =>
  Type.Unsafe<object | null>({ type: ['object', 'null'], additionalProperties: true, description });
export const IamDocuments = Type.Object(
  {
    externalId: NullableString,
    trustPolicy: nullablePolicy("Of the provider's role; null for access keys"),
    permissionPolicy: policy("Of the provider's role or user"),
    executionRole: Type.Union(
      [
        Type.Object(
          { trustPolicy: policy('HealthOmics may use it'), permissionPolicy: policy('What a run needs') },
          closed,
        ),
        Type.Null(),
      ],
      { description: 'Null where bases2fastq is not wanted' },
    ),
    cloudFormation: Type.String({ description: 'The same as a CloudFormation template; needs CAPABILITY_NAMED_IAM' }),
    terraform: Type.String({ description: 'The same for Terraform' }),
    awsCli: Type.String({ description: 'The same as commands for sh' }),
  },
  { ...closed, description: 'The documents' },
);
const oneOrMore = (description: string) =>
  Type.Unsafe<string | string[]>({
    anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, maxItems: 50 }],
    description,
  });
const executionScope = {
  executionRoleArn: Type.Optional(Type.String({ description: 'The execution role, where it is known' })),
  workflowId: Type.Optional(Type.String({ description: "The share's Resource ID, or the workflow's ARN" })),
  workflowOwnerId: Type.Optional(Type.String({ description: 'The account that shares the workflow' })),
  region: Type.Optional(Type.String()),
  accountId: Type.Optional(
    Type.String({ description: "The customer's account; that of executionRoleArn where it is left out" }),
  ),
};
export const IamDocumentsQuery = Type.Object(
  {
    credentialType: oneOf(CREDENTIAL_TYPES),
    bucket: oneOrMore('Repeated for several buckets'),
    prefix: Type.Optional(oneOrMore('One for all buckets, one for each in their order, or several of one bucket')),
    capabilities: Type.Optional(
      oneOrMore(`Of ${CAPABILITIES.join(', ')}; repeated, or separated by commas; all where left out`),
    ),
    externalId: Type.Optional(Type.String({ description: 'For a role; a new random one where it is left out' })),
    variant: Type.Optional(
      Type.Unsafe<string>({
        type: 'string',
        enum: [...VARIANTS],
        description: "vendor (the default): the vendor's templates; least: the same actions on as little as possible",
      }),
    ),
    ...executionScope,
  },
  closed,
);
export const PolicyCheckBody = Type.Object(
  {
    policy: Type.Unsafe<unknown>({
      type: ['object', 'string'],
      description: 'The permission policy, as JSON or as its text',
    }),
    credentialType: Type.Optional(oneOf(CREDENTIAL_TYPES)),
    bucket: Type.Optional(Type.String({ description: 'Looked up in the policy where it is left out' })),
    prefix: Type.Optional(Type.String()),
    ...executionScope,
  },
  {
    ...closed,
    examples: [
      {
        policy: {
          Version: '2012-10-17',
          Statement: [
            { Effect: 'Allow', Action: ['s3:GetObject', 's3:PutObject'], Resource: 'arn:aws:s3:::lab-aviti/runs/*' },
          ],
        },
        credentialType: 'role',
        bucket: 'lab-aviti',
        prefix: 'runs',
      },
    ],
  },
);
const Actions = Type.Array(oneOf(ACTIONS));
export const PolicyFindings = Type.Object(
  {
    credentialType: oneOf(CREDENTIAL_TYPES),
    locations: Type.Array(Type.Object({ bucket: Type.String(), prefix: Type.String() }, closed), {
      description: 'What it was checked on; empty for any bucket',
    }),
    statements: Type.Array(
      Type.Object(
        {
          index: Type.Integer(),
          sid: NullableString,
          effect: oneOf(['Allow', 'Deny']),
          permissions: Type.Array(
            Type.Object(
              {
                action: oneOf(ACTIONS),
                wholly: Type.Boolean({ description: 'Whether in all cases' }),
                reasons: Type.Array(Type.String()),
              },
              closed,
            ),
          ),
          otherActions: Type.Array(Type.String(), {
            description: 'Actions, or patterns of actions, that polony does not ask for',
          }),
        },
        closed,
      ),
    ),
    permissions: Type.Array(
      Type.Object(
        {
          action: oneOf(ACTIONS),
          requirement: oneOf(['required', 'requiredForUsers', 'optional']),
          purpose: Type.String(),
          unlocks: Type.String(),
          state: oneOf(['granted', 'denied', 'conditional']),
          reasons: Type.Array(Type.String()),
          statements: Type.Array(policy('A statement that would grant it')),
        },
        closed,
      ),
    ),
    capabilities: Type.Array(
      Type.Object(
        {
          capability: oneOf(CAPABILITIES),
          state: oneOf(['ready', 'limited', 'notReady']),
          missing: Actions,
          conditional: Actions,
          unknown: Actions,
        },
        closed,
      ),
    ),
  },
  { ...closed, description: 'What it would give' },
);

const anyStatement = Type.Unsafe<object>({
  type: 'object',
  additionalProperties: true,
  description: 'A statement of the bucket policy',
});
/** Why something of AWS is not as it should be. */
export const AccessProblem = component(
  'AccessProblem',
  Type.Object(
    {
      kind: Type.String({
        description:
          'For programs, such as ACCESS_DENIED, PRINCIPAL_NOT_FOUND, DELETED_PRINCIPAL, POLICY_TOO_LARGE, PUBLIC_POLICY_BLOCKED',
      }),
      action: NullableString,
      resource: NullableString,
      message: Type.String(),
      remedy: Type.String(),
      statement: Type.Unsafe<object | null>({
        type: ['object', 'null'],
        additionalProperties: true,
        description: 'The statement that would allow it',
      }),
    },
    closed,
  ),
);
export const NullableAccessProblem = Type.Unsafe<Static<typeof AccessProblem> | null>({
  anyOf: [{ $ref: 'AccessProblem#' }, { type: 'null' }],
});
/** Reading that is granted by the policy of a bucket. */
export const AccessGrantResource = component(
  'AccessGrant',
  Type.Object(
    {
      id: Type.String(),
      storageConnectionId: Type.String(),
      principal: Type.String({ description: 'ARN of a role, a user or the root of an account' }),
      description: Type.String(),
      prefix: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: "Relative to the storage connection's own; null for the whole bucket",
      }),
      uri: Type.String({ description: 'What may be read' }),
      state: Type.Unsafe<(typeof SHOWN_STATES)[number]>({
        type: 'string',
        enum: [...SHOWN_STATES],
        description:
          'active: stands in the policy as it was written; missing, changed: somebody has taken it out or changed it; pending, removing: under way; failed: refused; expired: over',
      }),
      problem: NullableAccessProblem,
      statements: Type.Array(anyStatement, { description: 'As they stand in the policy, or should' }),
      createdBy: Type.String(),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
      timeExpires: NullableTimestamp,
    },
    closed,
  ),
);
export const ForeignStatement = component(
  'ForeignStatement',
  Type.Object(
    { sid: Type.String(), principal: NullableString, statement: anyStatement },
    { ...closed, description: 'A statement with a Sid like ours that no grant is known of' },
  ),
);
export const AccessGrantBody = Type.Object(
  {
    principal: Type.String({
      description: 'ARN of an IAM role or user, or an account: 12 digits or arn:aws:iam::111122223333:root',
    }),
    description: Type.Optional(Type.String({ maxLength: 500, description: 'Whom it is for' })),
    prefix: Type.Optional(
      Type.String({
        description:
          "Only what lies in this folder, relative to the storage connection's own; empty for that folder itself. The whole bucket where it is left out",
      }),
    ),
    timeExpires: Type.Optional(Type.String({ format: 'date-time', description: 'When it ends' })),
  },
  {
    ...closed,
    examples: [
      {
        principal: 'arn:aws:iam::444455556666:role/Analysis',
        description: 'Analysis group',
        prefix: 'AV240001/20260115_AV240001_RUN/',
        timeExpires: '2030-01-31T00:00:00Z',
      },
    ],
  },
);
