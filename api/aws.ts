import type { FastifyRequest } from 'fastify';
import { SessionError } from '../aws/sessions.js';
import { classifyAwsError } from '../aws/errors.js';
import { SecretError } from '../store/secrets.js';
import { ApiError, loggableError } from './errors.js';

/** A call to AWS that an answer depends on: the IAM action, and on what. */
export interface ApiAwsCall {
  action: string;
  /** ARN. */
  resource: string;
}

/** What a failed call to AWS is answered with: what a person can mend is told, with what to do; the rest is to be tried again. */
export function awsApiError(request: FastifyRequest, error: unknown, call: ApiAwsCall): ApiError {
  if (error instanceof ApiError) return error;
  const denied = (action: string, resource: string, message: string): ApiError =>
    new ApiError(403, 'AWS_ACCESS_DENIED', message, { action, resource });
  const { kind, code, message } = classifyAwsError(error instanceof SessionError ? error.cause : error);
  if (error instanceof SessionError && ['denied', 'invalid', 'not-found', 'unknown'].includes(kind)) {
    const remedy =
      error.action === 'sts:AssumeRole'
        ? "check that the role exists, trusts polony's account and has the provider's external ID in its trust policy"
        : "check that the access key is active and that the user's policy allows sts:GetFederationToken";
    return denied(
      error.action,
      error.principal,
      `AWS refused ${error.action} of ${error.principal}: ${message}. Verify the provider; ${remedy}`,
    );
  }
  if (error instanceof SecretError) {
    request.log.error({ error: loggableError(error) }, 'a secret cannot be read');
    return new ApiError(
      503,
      'SECRET_UNREADABLE',
      'The secret of the provider cannot be decrypted here; start the API with every key of POLONY_ENCRYPTION_KEYS that secrets were encrypted with',
    );
  }
  switch (kind) {
    case 'denied':
      return denied(
        call.action,
        call.resource,
        `AWS refused ${call.action} on ${call.resource}: allow it in the policy of the provider's role or user, then try again`,
      );
    case 'not-found':
      return new ApiError(
        404,
        'AWS_NOT_FOUND',
        `AWS does not find ${call.resource} (${code}); check the bucket of the storage connection`,
      );
    case 'invalid':
      if (/Redirect|IllegalLocation|AuthorizationHeaderMalformed/.test(code))
        return new ApiError(
          404,
          'WRONG_REGION',
          `${call.resource} is in another region than its storage connection says; correct the region there`,
        );
      break;
    case 'throttled':
    case 'unreachable':
    case 'network':
    case 'internal':
    case 'expired':
      return new ApiError(
        503,
        'AWS_UNAVAILABLE',
        `AWS does not answer ${call.action} at the moment (${code}); try again`,
      );
  }
  request.log.error({ error: loggableError(error), action: call.action }, 'a call to AWS failed');
  return new ApiError(
    503,
    'AWS_FAILED',
    `AWS answered ${call.action} with ${code}; polony's log has more under this request id`,
  );
}
