import { randomBytes } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { eventDocuments } from '../../domain/events/documents.js';
import { iamDocuments, newExternalId } from '../../domain/iam/documents.js';
import { parseIamQuery } from '../../domain/iam/query.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { requireScope } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { runTask } from '../tasks.js';
import { operations } from './schemas.js';

/** IAM documents: what a customer must allow in AWS. These routes store nothing and do not call AWS. */
export function iamDocumentRoutes(
  scope: FastifyInstance,
  { publicUrl, trustedAccountId }: Pick<ApiDependencies, 'publicUrl' | 'trustedAccountId'>,
): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const mayRead = requireScope('iam:read');
  // Checking a policy is a POST only because policies are too long for a query, so it needs no audit entry.
  const mayCheck = requireScope('iam:read', undefined, { audit: false });

  app.get('/v1/iam-documents', { config: mayRead, schema: operations.getDocuments }, async (request) =>
    getIamDocuments(request, trustedAccountId),
  );
  app.get('/v1/iam-documents/events', { config: mayRead, schema: operations.getEventDocuments }, async ({ query }) =>
    eventDocuments({ ...query, url: query.url ?? eventsUrl(publicUrl) }),
  );
  app.post('/v1/iam-documents/check', { config: mayCheck, schema: operations.checkPolicy }, ({ body }) =>
    runTask('policy', 'checkPolicy', body),
  );
}

function getIamDocuments(request: RequestOf<typeof operations.getDocuments>, trustedAccountId: string | undefined) {
  const choice = parseIamQuery(request.query);
  const isRole = choice.credentialType === 'role';
  if (isRole && trustedAccountId === undefined)
    throw new ApiError(
      409,
      'TRUSTED_ACCOUNT_NOT_SET',
      'polony does not know which AWS account a role must trust. ' +
        'Set POLONY_TRUSTED_ACCOUNT_ID to the account that polony runs in, and restart polony.',
    );
  const externalId = isRole ? (choice.externalId ?? newExternalId(randomBytes(20))) : undefined;
  return { externalId: externalId ?? null, ...iamDocuments({ ...choice, externalId }, trustedAccountId) };
}

/** Where EventBridge can send events; undefined if polony has no public https URL. */
function eventsUrl(publicUrl: string | undefined): string | undefined {
  return publicUrl?.startsWith('https:') === true ? `${publicUrl}/v1/events` : undefined;
}
