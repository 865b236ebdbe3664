import { type Static, Type } from 'typebox';
import { MOST_SCOPES } from '../../domain/auth/scopes.js';
import { component } from '../openapi/components.js';
import {
  BODY,
  closed,
  errors,
  IdParams,
  NoContent,
  NullableString,
  NullableTimestamp,
  oneOf,
  responseBody,
  Timestamp,
} from '../openapi/shared.js';
import { CappedPageQuery } from '../paging.js';

/** How many days an API key is valid. The limits and the default are the vendor's. */
export const KEY_DAYS = { least: 1, most: 365, usual: 30 };

/** For how many hours a rotated key still works. */
export const GRACE_HOURS = { most: 720, usual: 24 };

/** Never holds the key itself. */
const ApiKey = component(
  'ApiKey',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      scopes: Type.Array(Type.String()),
      state: oneOf(['active', 'expired', 'revoked']),
      createdBy: Type.String({ description: 'Name of the caller who created it. Only the id is certain' }),
      createdById: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'Id of the caller who created it, as in the audit log. Null for keys of earlier versions',
      }),
      timeCreated: Timestamp,
      timeExpires: Timestamp,
      timeLastUsed: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        format: 'date-time',
        description: 'Accurate to the minute',
      }),
      timeRevoked: NullableTimestamp,
      revokedBy: NullableString,
      revokedById: NullableString,
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
          createdById: 'default',
          timeCreated: '2026-01-10T09:00:00.000Z',
          timeExpires: '2026-04-10T09:00:00.000Z',
          timeLastUsed: null,
          timeRevoked: null,
          revokedBy: null,
          revokedById: null,
        },
      ],
    },
  ),
);

const ApiKeyBody = Type.Object(
  {
    name: Type.String({ description: 'Unique among active keys, 1 to 128 characters' }),
    scopes: Type.Array(Type.String(), {
      minItems: 1,
      maxItems: MOST_SCOPES,
      description:
        'Each is resource:action, resource:action:id, storage:action:id/prefix/, resource:* or *. ' +
        'You can grant only scopes that you have yourself. An ID must be that of an existing resource',
    }),
    expiresInDays: Type.Optional(
      Type.Integer({
        minimum: KEY_DAYS.least,
        maximum: KEY_DAYS.most,
        description: `The default is ${KEY_DAYS.usual}`,
      }),
    ),
  },
  {
    ...closed,
    examples: [{ name: 'lims', scopes: ['runs:read', 'executions:read', 'executions:create'], expiresInDays: 90 }],
  },
);
const RotateBody = Type.Object(
  {
    graceHours: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: GRACE_HOURS.most,
        description: `How long the old key still works. 0 revokes it immediately. The default is ${GRACE_HOURS.usual}`,
      }),
    ),
    expiresInDays: Type.Optional(
      Type.Integer({
        minimum: KEY_DAYS.least,
        maximum: KEY_DAYS.most,
        description: 'The default is the number of days that the old key was created for',
      }),
    ),
  },
  { ...closed, 'x-optional': true, examples: [{ graceHours: 24 }] },
);

/** The body that creates an API key. */
export type ApiKeyBody = Static<typeof ApiKeyBody>;

const apiKeyResponse = (description: string) => responseBody(description, { apiKey: ApiKey });

const tags = ['AuthService'];

/** The operations on callers and API keys, as the OpenAPI document describes them. */
export const operations = {
  whoAmI: {
    operationId: 'AuthService_GetAuth',
    tags,
    summary: 'Get the tenant and the scopes of the caller',
    response: {
      200: responseBody('The credentials are valid', { tenantId: Type.String(), scopes: Type.Array(Type.String()) }),
      ...errors(),
    },
  },
  createKey: {
    operationId: 'AuthService_CreateApiKey',
    tags,
    summary: 'Create an API key',
    description:
      'Only this response contains the key, because polony stores only its SHA-256 hash. ' +
      'For the same reason this operation ignores Idempotency-Key: if you lose the response, revoke the key and ' +
      'create another one. A key that you create with another key expires no later than that key.',
    body: ApiKeyBody,
    response: {
      201: responseBody('The new API key', {
        apiKey: ApiKey,
        key: Type.String({ description: 'The key. You cannot get it again' }),
      }),
      ...errors(409, ...BODY),
    },
  },
  listKeys: {
    operationId: 'AuthService_ListApiKeys',
    tags,
    summary: 'List API keys, oldest first',
    querystring: CappedPageQuery,
    response: {
      200: responseBody('One page of API keys', { apiKeys: Type.Array(ApiKey), nextPageToken: Type.String() }),
      ...errors(),
    },
  },
  getKey: {
    operationId: 'AuthService_GetApiKey',
    tags,
    summary: 'Get an API key',
    params: IdParams,
    response: { 200: apiKeyResponse('The API key'), ...errors(404) },
  },
  revokeKey: {
    operationId: 'AuthService_RevokeApiKey',
    tags,
    summary: 'Revoke an API key immediately',
    description: 'The key stays in the list. Revoking it again changes nothing.',
    params: IdParams,
    response: { 200: apiKeyResponse('The revoked API key, which no longer works'), ...errors(404) },
  },
  rotateKey: {
    operationId: 'AuthService_RotateApiKey',
    tags,
    summary: 'Replace an API key by a new one with the same name and scopes',
    description:
      'Only this response contains the new key. The old key gets another name and still works for some time, so that ' +
      'you can give the new key to the program. You must have all scopes of the key yourself. A key can replace itself, ' +
      'but the new key expires no later than the key of the request. With graceHours 0, the old key has ended when the ' +
      'response arrives: if the old key is your own and you lose the response, you have no key.',
    params: IdParams,
    body: RotateBody,
    response: {
      201: responseBody('The new API key', {
        apiKey: ApiKey,
        key: Type.String({ description: 'The key. You cannot get it again' }),
        replaced: ApiKey,
        warnings: Type.Array(Type.String(), {
          description: 'Says that the new key expires earlier than you asked, and why',
        }),
      }),
      ...errors(404, 409, ...BODY),
    },
  },
  deleteKey: {
    operationId: 'AuthService_DeleteApiKey',
    tags,
    summary: 'Revoke an API key immediately and remove it from the list',
    params: IdParams,
    response: { 204: NoContent, ...errors(404) },
  },
};
