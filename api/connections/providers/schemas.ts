import { type Static, Type } from 'typebox';
import { CREDENTIAL_TYPES } from '../../../domain/iam/permissions.js';
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
import { DraftVerification } from '../../verification/schemas.js';
import { NAME_DESCRIPTION, stateFields } from '../schemas.js';

const CredentialType = oneOfThese(...CREDENTIAL_TYPES);

const ProviderWarning = component(
  'ProviderWarning',
  Type.Object({ code: Type.String(), message: Type.String(), remedy: Type.String() }, closed),
);

const Provider = component(
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
      isRoleOpen: Type.Boolean({
        description:
          'Whether the last verification could assume the role without its external ID, or none could test that. polony ' +
          'then uses the role only after a test shows that it is closed',
      }),
      warnings: Type.Array(ProviderWarning, { description: 'What somebody should improve' }),
      accessKeyId: NullableString,
      accountId: NullableString,
      sessionSeconds: Type.Unsafe<number | null>({
        type: ['integer', 'null'],
        description: 'Length of the sessions that AWS granted at the last verification, in seconds',
      }),
      ...stateFields('PROVIDER_STATUS'),
    },
    closed,
  ),
);

const providerFields = {
  name: Type.String({ description: NAME_DESCRIPTION }),
  defaultRegion: Type.String({ description: 'An AWS region' }),
  credentialType: CredentialType,
  roleArn: Type.Optional(Type.String({ description: 'ARN of the role. Only for the credential type `role`' })),
  externalId: Type.Optional(
    Type.String({
      description:
        'External ID in the trust policy of the role: 2 to 1224 letters, digits and @:,=-./_. ' +
        'Omit it, and polony generates one that nobody can guess. No two AWS accounts may use the same one. ' +
        'Only for the credential type `role`',
    }),
  ),
  accessKeyId: Type.Optional(
    Type.String({ description: 'Access key ID, starting with AKIA. Only for the credential type `accessKeys`' }),
  ),
  secretAccessKey: Type.Optional(
    Type.String({
      writeOnly: true,
      description:
        'Secret access key. polony encrypts it and never returns it. Only for the credential type `accessKeys`',
    }),
  ),
};

const providerExample = {
  name: 'sequencing-account',
  defaultRegion: 'us-west-2',
  credentialType: 'role',
  roleArn: 'arn:aws:iam::111122223333:role/Element-ServiceUser',
  externalId: 'lab-7f3a',
};

const ProviderBody = Type.Object(providerFields, { ...closed, examples: [providerExample] });
/** The body that creates a provider. */
export type ProviderBody = Static<typeof ProviderBody>;

const ProviderChange = Type.Partial(Type.Object(providerFields), {
  ...closedNonEmpty,
  examples: [{ roleArn: 'arn:aws:iam::111122223333:role/Element-ServiceUser-2' }],
});
/** The body that changes a provider: what it leaves out stays. */
export type ProviderChange = Static<typeof ProviderChange>;

const ProviderList = responseBody('One page of providers', {
  providers: Type.Array(Provider),
  nextPageToken: Type.String(),
});
const providerResponse = (description: string) => responseBody(description, { provider: Provider });

const tags = ['ProviderService'];

/** The operations on providers, as the OpenAPI document describes them. */
export const operations = {
  create: {
    operationId: 'ProviderService_CreateProvider',
    tags,
    summary: 'Connect an AWS account',
    headers: IdempotencyHeaders,
    body: ProviderBody,
    response: { 201: providerResponse('The new provider'), ...errors(409, ...BODY, 422) },
  },
  verifyDraft: {
    operationId: 'ProviderService_VerifyDraft',
    tags,
    summary: 'Verify a provider before you create it',
    description:
      'polony tries the role or the access keys at once, and saves nothing. For a role without externalId, the response ' +
      'has a new one: put it into the trust policy, and send it in the next verification and in the creation.',
    body: ProviderBody,
    response: {
      200: responseBody('What polony found', {
        verification: DraftVerification,
        externalId: Type.Unsafe<string | null>({
          type: ['string', 'null'],
          description: 'The external ID that was tried; null for access keys',
        }),
      }),
      ...errors(409, ...BODY),
    },
  },
  list: {
    operationId: 'ProviderService_ListProviders',
    tags,
    summary: 'List providers, oldest first',
    querystring: PageQuery,
    response: { 200: ProviderList, ...errors() },
  },
  get: {
    operationId: 'ProviderService_GetProvider',
    tags,
    summary: 'Get a provider',
    params: IdParams,
    response: { 200: providerResponse('The provider'), ...errors(404) },
  },
  update: {
    operationId: 'ProviderService_UpdateProvider',
    tags,
    summary: 'Change a provider',
    description:
      'Fields that you leave out stay as they are. You can change the role at any time. ' +
      'The new role can belong to another AWS account only while no connection uses the provider. ' +
      'To rotate access keys, send both the new ID and the new secret. ' +
      'polony may use sessions of the old key for up to 30 more seconds, so deactivate the old key after that.',
    params: IdParams,
    body: ProviderChange,
    response: { 200: providerResponse('The changed provider'), ...errors(404, 409, ...BODY) },
  },
  delete: {
    operationId: 'ProviderService_DeleteProvider',
    tags,
    summary: 'Delete a provider that no connection uses',
    params: IdParams,
    response: { 204: NoContent, ...errors(404, 409) },
  },
};
