/** Why an AWS call failed. The kind decides what polony or a person can do. */
export type AwsErrorKind =
  | 'denied'
  | 'expired'
  | 'throttled'
  | 'quota'
  | 'not-found'
  | 'invalid'
  | 'conflict'
  /** The request certainly never reached AWS, because there was no connection. */
  | 'unreachable'
  /** polony sent the request but received no answer. AWS may have executed it. */
  | 'network'
  | 'internal'
  | 'unknown';

/** An AWS error and its kind. */
export interface AwsError {
  kind: AwsErrorKind;
  /** The error's code, for example `AccessDeniedException`. */
  code: string;
  message: string;
  httpStatus?: number;
  requestId?: string;
}

interface SdkError {
  name?: string;
  code?: string;
  Code?: string;
  message?: string;
  $metadata?: { httpStatusCode?: number; requestId?: string };
  $response?: { statusCode?: number };
  $retryable?: { throttling?: boolean };
  errno?: unknown;
  cause?: unknown;
  errors?: unknown[];
}

/** Codes of AWS, of its services, of the SDK and of Node.js, by kind. */
const CODES: Partial<Record<AwsErrorKind, readonly string[]>> = {
  expired: ['ExpiredToken', 'ExpiredTokenException', 'RequestExpired', 'TokenRefreshRequired'],
  denied: [
    'InvalidClientTokenId',
    'UnrecognizedClientException',
    'InvalidAccessKeyId',
    'InvalidToken',
    'SignatureDoesNotMatch',
    'IncompleteSignature',
    'AuthFailure',
    'MissingAuthenticationToken',
    'MissingAuthenticationTokenException',
    'InvalidSignatureException',
    'AccessDenied',
    'AccessDeniedException',
    'UnauthorizedOperation',
    'AccessDeniedFault',
    'Forbidden',
    'AllAccessDisabled',
    'NotAuthorized',
  ],
  throttled: [
    'Throttling',
    'ThrottlingException',
    'ThrottlingError',
    'ThrottledException',
    'TooManyRequests',
    'TooManyRequestsException',
    'RequestThrottled',
    'RequestThrottledException',
    'RequestLimitExceeded',
    'SlowDown',
    'BandwidthLimitExceeded',
    'ProvisionedThroughputExceededException',
    'PriorRequestNotComplete',
    'TransactionInProgressException',
  ],
  quota: ['ServiceQuotaExceeded', 'ServiceQuotaExceededException', 'LimitExceeded', 'LimitExceededException'],
  'not-found': [
    'ResourceNotFound',
    'ResourceNotFoundException',
    'NoSuchKey',
    'NoSuchBucket',
    'NotFound',
    'NoSuchEntity',
    'NoSuchEntityException',
  ],
  invalid: [
    'Validation',
    'ValidationException',
    'ValidationError',
    'InvalidRequest',
    'InvalidParameterValue',
    'InvalidBucketName',
    'MalformedPolicyDocument',
    'PermanentRedirect',
    'AuthorizationHeaderMalformed',
    'IllegalLocationConstraintException',
  ],
  conflict: ['Conflict', 'ConflictException', 'OperationAborted'],
  unreachable: ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH', 'CredentialsProviderError'],
  network: [
    'ECONNRESET',
    'EPIPE',
    'ETIMEDOUT',
    'ESOCKETTIMEDOUT',
    'TimeoutError',
    'NetworkingError',
    'AbortError',
    'RequestTimeout',
    'RequestTimeoutException',
    'ECONNABORTED',
  ],
};

const KIND_BY_CODE: ReadonlyMap<string, AwsErrorKind> = new Map(
  Object.entries(CODES).flatMap(([kind, codes]) => codes.map((code) => [code, kind as AwsErrorKind] as const)),
);

function kindOfStatus(status: number | undefined): AwsErrorKind | undefined {
  switch (status) {
    case undefined:
    case 200:
      return undefined;
    case 400:
      return 'invalid';
    case 401:
    case 403:
      return 'denied';
    case 402:
      return 'quota';
    case 404:
      return 'not-found';
    case 408:
      return 'network';
    case 409:
      return 'conflict';
    case 429:
      return 'throttled';
    default:
      return status >= 500 ? 'internal' : undefined;
  }
}

/** Classifies an error of an AWS SDK call: by its code, then by the HTTP status, then by its cause. */
export function classifyAwsError(error: unknown): AwsError {
  const seen = (typeof error === 'object' && error !== null ? error : { message: String(error) }) as SdkError;
  const status = seen.$metadata?.httpStatusCode ?? seen.$response?.statusCode;
  const codes = [seen.name, seen.Code, seen.code].filter(
    (code): code is string => typeof code === 'string' && code !== '' && code !== 'Error',
  );
  let kind: AwsErrorKind | undefined;
  for (const code of codes) kind ??= KIND_BY_CODE.get(code);
  if (seen.$retryable?.throttling === true) kind ??= 'throttled';
  kind ??= kindOfStatus(status);
  if (kind === undefined) {
    const beneath = seen.cause ?? seen.errors?.[0];
    if (beneath !== undefined) kind = classifyAwsError(beneath).kind;
  }
  return {
    kind: kind ?? 'unknown',
    code: codes[0] ?? 'Error',
    message: seen.message ?? String(error),
    ...(status !== undefined && { httpStatus: status }),
    ...(seen.$metadata?.requestId !== undefined && { requestId: seen.$metadata.requestId }),
  };
}

/** A handler for `catch`: undefined for an AWS error of one of these kinds. It throws every other error again. */
export function undefinedIf(...kinds: readonly AwsErrorKind[]): (error: unknown) => undefined {
  return (error) => {
    if (!kinds.includes(classifyAwsError(error).kind)) throw error;
  };
}

/**
 * Whether STS rejects a session policy because its packed form is too large. The codes of errors that are in the SDK's
 * model end in `Exception`.
 */
export function isPackedPolicyTooLarge(error: unknown): boolean {
  return classifyAwsError(error).code.startsWith('PackedPolicyTooLarge');
}

/** Whether IAM or STS rejects the text of a policy. */
export function isPolicyRefused(error: unknown): boolean {
  const { code, message } = classifyAwsError(error);
  return code.startsWith('MalformedPolicyDocument') || (code === 'ValidationError' && / at 'policy' /.test(message));
}
