import { randomBytes } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { eventDocuments } from '../../domain/events/documents.js';
import { checkPolicy } from '../../domain/iam/policyCheck.js';
import { iamDocuments, newExternalId } from '../../domain/iam/documents.js';
import { parseIamQuery } from '../../domain/iam/query.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { requireScope } from '../plugins/auth.js';
import { BODY, errors, IamDocuments, IamDocumentsQuery, PolicyCheckBody, PolicyFindings } from '../schemas.js';

/** What a customer's IAM is to grant. Nothing is kept, and AWS is not asked. */
export function iamDocumentRoutes(
  scope: FastifyInstance,
  { publicUrl, trustedAccountId }: Pick<ApiDependencies, 'publicUrl' | 'trustedAccountId'>,
): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['IamDocumentService'];

  app.get(
    '/v1/iam-documents',
    {
      config: requireScope('iam:read'),
      schema: {
        operationId: 'IamDocumentService_GetIamDocuments',
        tags,
        summary: 'The IAM documents of a provider and of its execution role',
        description:
          "Equal to the vendor's templates, or narrowed to what is known. Optional permissions are in them only for the capabilities that want them.",
        querystring: IamDocumentsQuery,
        response: { 200: IamDocuments, ...errors(409) },
      },
    },
    async (request) => {
      const choice = parseIamQuery(request.query);
      const isRole = choice.credentialType === 'role';
      if (isRole && trustedAccountId === undefined)
        throw new ApiError(
          409,
          'TRUSTED_ACCOUNT_NOT_SET',
          'Set POLONY_TRUSTED_ACCOUNT_ID to the AWS account that polony runs in: a role has to trust it',
        );
      const externalId = isRole ? (choice.externalId ?? newExternalId(randomBytes(20))) : undefined;
      return { externalId: externalId ?? null, ...iamDocuments({ ...choice, externalId }, trustedAccountId) };
    },
  );
  app.get(
    '/v1/iam-documents/events',
    {
      config: requireScope('iam:read'),
      schema: {
        operationId: 'IamDocumentService_GetEventDocuments',
        tags,
        summary: 'What has EventBridge tell polony of uploads and runs',
        description: 'Rules, API destination, connection and role. The key (POLONY_EVENTS_KEY) is a parameter of them.',
        querystring: Type.Object(
          {
            bucket: Type.String(),
            prefix: Type.Optional(Type.String()),
            url: Type.Optional(
              Type.String({ description: 'https URL of POST /v1/events, where that is not below POLONY_PUBLIC_URL' }),
            ),
          },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object(
            {
              cloudFormation: Type.String({ description: 'A CloudFormation template; needs CAPABILITY_IAM' }),
              terraform: Type.String(),
            },
            { additionalProperties: false, description: 'The documents' },
          ),
          ...errors(),
        },
      },
    },
    async ({ query }) =>
      eventDocuments({
        ...query,
        url: query.url ?? (publicUrl?.startsWith('https:') === true ? `${publicUrl}/v1/events` : undefined),
      }),
  );
  app.post(
    '/v1/iam-documents/check',
    {
      config: requireScope('iam:read', undefined, { audit: false }),
      schema: {
        operationId: 'IamDocumentService_CheckPolicy',
        tags,
        summary: 'What a permission policy would give, statement by statement',
        description:
          'Looks at this policy alone: boundaries, bucket policies and policies of the organization may take away more. Permissions that hold in some cases only are conditional.',
        body: PolicyCheckBody,
        response: { 200: PolicyFindings, ...errors(...BODY) },
      },
    },
    async (request) => checkPolicy(request.body),
  );
}
