import { randomBytes } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { checkPolicy } from '../../domain/iamCheck.js';
import { iamDocuments, newExternalId, parseIamQuery } from '../../domain/iamDocuments.js';
import type { ApiDependencies } from '../app.js';
import { ApiError } from '../errors.js';
import { BODY, errors, IamDocuments, IamDocumentsQuery, PolicyCheckBody, PolicyFindings } from '../schemas.js';

/** What a customer's IAM is to grant. Nothing is kept, and AWS is not asked. */
export function iamDocumentRoutes(scope: FastifyInstance, { trustedAccountId }: Pick<ApiDependencies, 'trustedAccountId'>): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['IamDocumentService'];

  app.get(
    '/v1/iam-documents',
    {
      schema: {
        operationId: 'IamDocumentService_GetIamDocuments', tags, summary: 'The IAM documents of a provider and of its execution role',
        description: "Equal to the vendor's templates, or narrowed to what is known. Optional permissions are in them only for the capabilities that want them.",
        querystring: IamDocumentsQuery, response: { 200: IamDocuments, ...errors(409) },
      },
    },
    async (request) => {
      const choice = parseIamQuery(request.query);
      const isRole = choice.credentialType === 'role';
      if (isRole && trustedAccountId === undefined) throw new ApiError(409, 'TRUSTED_ACCOUNT_NOT_SET', 'Set POLONY_TRUSTED_ACCOUNT_ID to the AWS account that polony runs in: a role has to trust it');
      const externalId = isRole ? (choice.externalId ?? newExternalId(randomBytes(20))) : undefined;
      return { externalId: externalId ?? null, ...iamDocuments({ ...choice, externalId }, trustedAccountId) };
    },
  );
  app.post(
    '/v1/iam-documents/check',
    {
      schema: {
        operationId: 'IamDocumentService_CheckPolicy', tags, summary: 'What a permission policy would give, statement by statement',
        description: 'Looks at this policy alone: boundaries, bucket policies and policies of the organization may take away more. Permissions that hold in some cases only are conditional.',
        body: PolicyCheckBody, response: { 200: PolicyFindings, ...errors(...BODY) },
      },
    },
    async (request) => checkPolicy(request.body),
  );
}
