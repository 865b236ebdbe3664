import type { FastifyRequest } from 'fastify';
import { classifyAwsError, isPolicyRefused } from '../aws/errors.js';
import { readLeftOutNote } from '../aws/leftOut.js';
import { OpenRoleError, SessionError } from '../aws/sessions.js';
import { explainDenial, parseDenial, PROVIDER_IDENTITY } from '../domain/iam/denials.js';
import { SecretError } from '../store/secrets.js';
import { loggableError } from '../domain/errors.js';
import { ApiError } from './errors.js';

/** A call to AWS that a response depends on. */
export interface ApiAwsCall {
  /** The IAM action. */
  action: string;
  /** ARN. */
  resource: string;
}

type Classified = ReturnType<typeof classifyAwsError>;

/**
 * The response to a failed call to AWS. Where the caller or its AWS administrator can fix the cause, the message says
 * how; all other failures are 503, and the request can be repeated.
 */
export function awsApiError(request: FastifyRequest, error: unknown, call: ApiAwsCall): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof SecretError) {
    request.log.error({ error: loggableError(error) }, 'Decrypting a secret failed');
    return new ApiError(
      503,
      'SECRET_UNREADABLE',
      'polony cannot decrypt the secret of the provider. Ask the administrator of polony to start the API with every ' +
        'key of POLONY_ENCRYPTION_KEYS that encrypted secrets',
    );
  }
  if (error instanceof SessionError && error.cause instanceof OpenRoleError)
    return new ApiError(
      403,
      'EXTERNAL_ID_IGNORED',
      `${error.cause.message}, so polony does not use it. ` +
        "Require the provider's external ID in every statement of the role's trust policy, then try again",
      { action: error.action, resource: error.principal },
    );
  const classified = classifyAwsError(error instanceof SessionError ? error.cause : error);
  const known =
    error instanceof SessionError && ['denied', 'invalid', 'not-found', 'unknown'].includes(classified.kind)
      ? sessionApiError(error, classified)
      : callApiError(call, classified, readLeftOutNote(error));
  if (known !== undefined) return known;
  request.log.error({ error: loggableError(error), action: call.action }, 'A call to AWS failed');
  return new ApiError(
    503,
    'AWS_FAILED',
    `AWS answered ${call.action} with the error ${classified.code}. Try again; ` +
      'the log of polony has more under this request ID',
  );
}

function deniedError({ action, resource }: ApiAwsCall, message: string): ApiError {
  return new ApiError(403, 'AWS_ACCESS_DENIED', message, { action, resource });
}

/** AWS did not give polony a session of the provider. */
function sessionApiError({ action, principal, cause }: SessionError, { message }: Classified): ApiError {
  const remedy = isPolicyRefused(cause)
    ? 'the access key is not at fault: AWS does not accept the session policy that polony sends'
    : action === 'sts:AssumeRole'
      ? "check that the role exists, trusts polony's account and has the provider's external ID in its trust policy"
      : "check that the access key is active and that the user's policy allows sts:GetFederationToken";
  return deniedError(
    { action, resource: principal },
    `AWS refused ${action} of ${principal}: ${message}. Verify the provider; ${remedy}`,
  );
}

function explainDeniedCall(call: ApiAwsCall, { code, message }: Classified): string {
  const { remedy } = explainDenial(parseDenial(message, code), call, { identity: PROVIDER_IDENTITY });
  return `${remedy}. Then try again`;
}

/**
 * AWS gave a session and rejected the call; undefined for an unexpected error.
 * @param note what the session leaves out, which may be the reason
 */
function callApiError(call: ApiAwsCall, error: Classified, note?: string): ApiError | undefined {
  const { action, resource } = call;
  const { kind, code } = error;
  switch (kind) {
    case 'denied':
      return deniedError(
        call,
        note === undefined
          ? `AWS refused ${action} on ${resource}. ${explainDeniedCall(call, error)}`
          : `AWS refused ${action} on ${resource}. ${note}. Verify the storage connection to see whether that is the reason`,
      );
    case 'not-found':
      return new ApiError(
        404,
        'AWS_NOT_FOUND',
        `AWS does not find ${resource} (${code}); check the bucket of the storage connection`,
      );
    case 'invalid':
      if (!/Redirect|IllegalLocation|AuthorizationHeaderMalformed/.test(code)) return undefined;
      return new ApiError(
        404,
        'WRONG_REGION',
        `${resource} is not in the region of its storage connection; correct the region of the storage connection`,
      );
    case 'throttled':
    case 'unreachable':
    case 'network':
    case 'internal':
    case 'expired':
      return new ApiError(
        503,
        'AWS_UNAVAILABLE',
        `AWS does not answer ${action} at the moment (${code}). Try again later`,
      );
    default:
      return undefined;
  }
}
