import { type Static, Type } from 'typebox';
import { SHOWN_STATES } from '../../domain/grants/grant.js';
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
  responseBody,
  Timestamp,
} from '../openapi/shared.js';
import { CappedPageQuery } from '../paging.js';

const PolicyStatement = Type.Unsafe<object>({
  type: 'object',
  additionalProperties: true,
  description: 'A statement of the bucket policy',
});

const AccessProblem = component(
  'AccessProblem',
  Type.Object(
    {
      kind: Type.String({
        description:
          'For programs, such as ACCESS_DENIED, PRINCIPAL_NOT_FOUND, DELETED_PRINCIPAL, POLICY_TOO_LARGE, ' +
          'PUBLIC_POLICY_BLOCKED',
      }),
      action: NullableString,
      resource: NullableString,
      message: Type.String(),
      remedy: Type.String(),
      statement: Type.Unsafe<object | null>({
        type: ['object', 'null'],
        additionalProperties: true,
        description: 'The policy statement that would allow the action',
      }),
    },
    closed,
  ),
);
const NullableAccessProblem = Type.Union([AccessProblem, Type.Null()]);
const PolicyProblem = Type.Union([AccessProblem, Type.Null()], {
  description:
    'Why polony cannot read the bucket policy, or why AWS rejects every change of it: statements of others for ' +
    'principals that do not exist (DELETED_PRINCIPAL)',
});

const GrantWarning = component(
  'GrantWarning',
  Type.Object(
    {
      code: Type.Unsafe<'KMS_KEY' | 'KMS_KEY_OF_AWS' | 'ENCRYPTION_NOT_CHECKED'>({
        type: 'string',
        enum: ['KMS_KEY', 'KMS_KEY_OF_AWS', 'ENCRYPTION_NOT_CHECKED'],
      }),
      message: Type.String(),
      key: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'The KMS key, as the bucket names it. Null if it is unknown, or the key that AWS manages',
      }),
      statement: Type.Unsafe<object | null>({
        type: ['object', 'null'],
        additionalProperties: true,
        description: 'A statement for the policy of the key',
      }),
    },
    { ...closed, description: 'What the principal needs beside the grant to read the bucket' },
  ),
);

const AccessGrant = component(
  'AccessGrant',
  Type.Object(
    {
      id: Type.String(),
      storageConnectionId: Type.String(),
      principal: Type.String({ description: 'ARN of a role, of a user, or of the root of an account' }),
      description: Type.String(),
      prefix: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'Relative to the prefix of the storage connection. Null for the whole bucket',
      }),
      uri: Type.String({ description: 'What the principal may read' }),
      state: Type.Unsafe<(typeof SHOWN_STATES)[number]>({
        type: 'string',
        enum: [...SHOWN_STATES],
        description:
          'active: the bucket policy contains the grant. ' +
          'missing, changed: somebody removed or changed its statements in the policy. ' +
          'pending, removing: polony has not finished writing the policy. ' +
          'failed: AWS rejected the grant, or its principal was deleted. expired: the grant ended at timeExpires',
      }),
      problem: NullableAccessProblem,
      warnings: Type.Array(GrantWarning, {
        description: 'Why the principal may be unable to read the bucket although the grant is active',
      }),
      statements: Type.Array(PolicyStatement, { description: 'The statements that belong in the bucket policy' }),
      foundStatements: Type.Optional(
        Type.Array(PolicyStatement, {
          description: 'In the states missing and changed: what the bucket policy has under the Sids of the grant',
        }),
      ),
      createdBy: Type.String(),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
      timeExpires: NullableTimestamp,
    },
    closed,
  ),
);

const ForeignStatement = component(
  'ForeignStatement',
  Type.Object(
    { sid: Type.String(), principal: NullableString, statement: PolicyStatement },
    { ...closed, description: 'A policy statement whose Sid looks like one of polony, but that belongs to no grant' },
  ),
);

const AccessGrantBody = Type.Object(
  {
    principal: Type.String({
      description:
        'ARN of an IAM role or user, or an account: 12 digits or an ARN such as arn:aws:iam::111122223333:root',
    }),
    description: Type.Optional(Type.String({ maxLength: 500, description: 'Who uses this grant' })),
    prefix: Type.Optional(
      Type.String({
        description:
          'Grants only this folder, relative to the prefix of the storage connection. ' +
          'Empty for the folder of the storage connection itself. If you omit it, you grant the whole bucket',
      }),
    ),
    timeExpires: Type.Optional(Type.String({ format: 'date-time', description: 'When the grant ends' })),
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
/** The body that creates a grant. */
export type AccessGrantBody = Static<typeof AccessGrantBody>;

const GrantParams = Type.Object({ id: Type.String(), grant_id: Type.String() });

const AccessGrantList = responseBody('One page of grants', {
  accessGrants: Type.Array(AccessGrant),
  foreignStatements: Type.Array(ForeignStatement, {
    description:
      'Policy statements whose Sids look like those of polony, but that belong to no grant. Only on the first page',
  }),
  policyProblem: PolicyProblem,
  nextPageToken: Type.String(),
});
const grantResponseBody = (description: string) => responseBody(description, { accessGrant: AccessGrant });
const GRANTED_OR_PENDING = 'The grant, whose state is active or pending';

const tags = ['StorageConnectionService'];

/** The operations on grants, as the OpenAPI document describes them. */
export const operations = {
  list: {
    operationId: 'StorageConnectionService_ListAccessGrants',
    tags,
    summary: 'List who may read the bucket, oldest first',
    description: 'polony reads the bucket policy for each request, so the list shows changes that others made.',
    params: IdParams,
    querystring: CappedPageQuery,
    response: { 200: AccessGrantList, ...errors(404) },
  },
  get: {
    operationId: 'StorageConnectionService_GetAccessGrant',
    tags,
    summary: 'Get a grant',
    params: GrantParams,
    response: {
      200: responseBody('The grant', { accessGrant: AccessGrant, policyProblem: PolicyProblem }),
      ...errors(404),
    },
  },
  create: {
    operationId: 'StorageConnectionService_CreateAccessGrant',
    tags,
    summary: 'Let a principal read the bucket',
    description:
      "Adds the vendor's statements to the bucket policy and keeps all other statements. " +
      'A principal of another account also needs the same actions in an IAM policy of its own account. ' +
      'If AWS does not finish within 20 seconds, the state is `pending` and polony continues in the background.',
    params: IdParams,
    headers: IdempotencyHeaders,
    body: AccessGrantBody,
    response: { 201: grantResponseBody(GRANTED_OR_PENDING), ...errors(404, 409, ...BODY, 422) },
  },
  repair: {
    operationId: 'StorageConnectionService_RepairAccessGrant',
    tags,
    summary: 'Write a grant into the bucket policy again',
    description:
      'Use it after AWS rejected a grant, or after somebody removed or changed its statements. ' +
      'polony overwrites statements that have the Sids of the grant but a different content.',
    params: GrantParams,
    response: { 200: grantResponseBody(GRANTED_OR_PENDING), ...errors(404, 409) },
  },
  delete: {
    operationId: 'StorageConnectionService_DeleteAccessGrant',
    tags,
    summary: 'Remove a grant from the bucket policy',
    description:
      'polony keeps all statements of others. If the policy has no other statement, polony deletes the policy. ' +
      'If AWS does not finish within 20 seconds, the state is `removing` and polony continues in the background.',
    params: GrantParams,
    response: {
      202: grantResponseBody('polony is removing the grant. Until then, the principal can still read the bucket'),
      204: NoContent,
      ...errors(404, 409),
    },
  },
};
