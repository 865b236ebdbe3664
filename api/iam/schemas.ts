import { Type } from 'typebox';
import { VARIANTS } from '../../domain/iam/choice.js';
import { MOST_POLICY_CHARACTERS, MOST_POLICY_TEXT } from '../../domain/iam/parsePolicy.js';
import { ACTIONS, CAPABILITIES, CREDENTIAL_TYPES } from '../../domain/iam/permissions.js';
import { BODY, closed, errors, NullableString, oneOf, responseBody } from '../openapi/shared.js';

const policy = (description: string) =>
  Type.Unsafe<object>({ type: 'object', additionalProperties: true, description });
const nullablePolicy = (description: string) =>
  Type.Unsafe<object | null>({ type: ['object', 'null'], additionalProperties: true, description });
const oneOrMore = (description: string) =>
  Type.Unsafe<string | string[]>({
    anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, maxItems: 50 }],
    description,
  });

/** What narrows the permissions for HealthOmics runs. */
const executionScope = {
  executionRoleArn: Type.Optional(Type.String({ description: 'The ARN of the execution role, if you know it' })),
  workflowId: Type.Optional(Type.String({ description: 'The Resource ID of the share, or the ARN of the workflow' })),
  workflowOwnerId: Type.Optional(Type.String({ description: 'The AWS account that shares the workflow' })),
  region: Type.Optional(Type.String()),
  accountId: Type.Optional(
    Type.String({ description: "The customer's AWS account. The default is the account of executionRoleArn" }),
  ),
};

const IamDocumentsQuery = Type.Object(
  {
    credentialType: oneOf(CREDENTIAL_TYPES),
    bucket: oneOrMore('Repeat it for several buckets'),
    prefix: Type.Optional(
      oneOrMore('One for all buckets, or one for each bucket in the same order, or several for one bucket'),
    ),
    capabilities: Type.Optional(
      oneOrMore(`Any of ${CAPABILITIES.join(', ')}. Repeat it, or separate values with commas. The default is all`),
    ),
    externalId: Type.Optional(
      Type.String({ description: 'The external ID for a role. The default is a new random one' }),
    ),
    variant: Type.Optional(
      Type.Unsafe<string>({
        type: 'string',
        enum: [...VARIANTS],
        description:
          "vendor (the default): the vendor's templates. least: the same actions on as few resources as possible",
      }),
    ),
    ...executionScope,
  },
  closed,
);

const ExecutionRole = Type.Object(
  {
    trustPolicy: policy('Lets HealthOmics use the role'),
    permissionPolicy: policy('The permissions that a HealthOmics run needs'),
  },
  closed,
);

const IamDocuments = responseBody('The documents', {
  externalId: NullableString,
  trustPolicy: nullablePolicy("Trust policy of the provider's role. Null for access keys"),
  permissionPolicy: policy("Permission policy of the provider's role or user"),
  executionRole: Type.Union([ExecutionRole, Type.Null()], {
    description: 'Null if you did not ask for the capability bases2fastq',
  }),
  cloudFormation: Type.String({ description: 'The same as a CloudFormation template. It needs CAPABILITY_NAMED_IAM' }),
  terraform: Type.String({ description: 'The same for Terraform' }),
  awsCli: Type.String({ description: 'The same as shell commands for the AWS CLI' }),
});

const EventDocumentsQuery = Type.Object(
  {
    bucket: Type.String(),
    prefix: Type.Optional(Type.String()),
    url: Type.Optional(
      Type.String({
        description: 'The https URL of POST /v1/events. The default is that path below POLONY_PUBLIC_URL',
      }),
    ),
  },
  closed,
);

const EventDocuments = responseBody('The documents', {
  cloudFormation: Type.String({ description: 'A CloudFormation template. It needs CAPABILITY_IAM' }),
  terraform: Type.String(),
});

const PolicyCheckBody = Type.Object(
  {
    policy: Type.Unsafe<unknown>({
      type: ['object', 'string'],
      maxLength: MOST_POLICY_TEXT,
      description:
        'The permission policy, as a JSON object or as text. ' +
        `Without white space it has at most ${MOST_POLICY_CHARACTERS.toLocaleString('en-US')} characters, as in IAM`,
    }),
    credentialType: Type.Optional(oneOf(CREDENTIAL_TYPES)),
    bucket: Type.Optional(Type.String({ description: 'The default is the bucket that the policy names' })),
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

const StatementFindings = Type.Object(
  {
    index: Type.Integer(),
    sid: NullableString,
    effect: oneOf(['Allow', 'Deny']),
    permissions: Type.Array(
      Type.Object(
        {
          action: oneOf(ACTIONS),
          wholly: Type.Boolean({ description: 'Whether the statement applies in all cases' }),
          reasons: Type.Array(Type.String()),
        },
        closed,
      ),
    ),
    otherActions: Type.Array(Type.String(), {
      description: 'Actions, or patterns of actions, that polony does not need',
    }),
  },
  closed,
);

const PermissionFindings = Type.Object(
  {
    action: oneOf(ACTIONS),
    requirement: oneOf(['required', 'requiredForUsers', 'optional']),
    purpose: Type.String(),
    unlocks: Type.String(),
    state: oneOf(['granted', 'denied', 'conditional']),
    reasons: Type.Array(Type.String()),
    statements: Type.Array(policy('A statement that would grant the permission')),
  },
  closed,
);

const CapabilityFindings = Type.Object(
  {
    capability: oneOf(CAPABILITIES),
    state: oneOf(['ready', 'limited', 'notReady']),
    missing: Actions,
    conditional: Actions,
    unknown: Actions,
  },
  closed,
);

const PolicyFindings = responseBody('What the policy grants', {
  credentialType: oneOf(CREDENTIAL_TYPES),
  locations: Type.Array(Type.Object({ bucket: Type.String(), prefix: Type.String() }, closed), {
    description: 'The buckets and folders that polony checked the policy for. Empty for any bucket',
  }),
  statements: Type.Array(StatementFindings),
  permissions: Type.Array(PermissionFindings),
  capabilities: Type.Array(CapabilityFindings),
});

const tags = ['IamDocumentService'];

/** The operations on IAM documents, as the OpenAPI document describes them. */
export const operations = {
  getDocuments: {
    operationId: 'IamDocumentService_GetIamDocuments',
    tags,
    summary: 'Get the IAM documents for a provider and its execution role',
    description:
      "The documents equal the vendor's templates, or are narrowed to the resources that you name. " +
      'They contain optional permissions only for the capabilities that you ask for.',
    querystring: IamDocumentsQuery,
    response: { 200: IamDocuments, ...errors(409) },
  },
  getEventDocuments: {
    operationId: 'IamDocumentService_GetEventDocuments',
    tags,
    summary: 'Get the documents that make EventBridge send events to polony',
    description:
      'The documents create the rules, the API destination, the connection and the role for events about uploads ' +
      'and HealthOmics runs. They take the key POLONY_EVENTS_KEY as a parameter.',
    querystring: EventDocumentsQuery,
    response: { 200: EventDocuments, ...errors() },
  },
  checkPolicy: {
    operationId: 'IamDocumentService_CheckPolicy',
    tags,
    summary: 'Check what a permission policy grants, statement by statement',
    description:
      'polony reads only this policy. Permissions boundaries, bucket policies and policies of your AWS organization ' +
      'can still deny what it grants. A permission that applies only in some cases is `conditional`.',
    body: PolicyCheckBody,
    response: { 200: PolicyFindings, ...errors(...BODY) },
  },
};
