/** What kind of trouble an AWS call met, and so what can be done about it. */
export type AwsErrorKind =
  | 'denied'
  | 'expired'
  | 'throttled'
  | 'quota'
  | 'not-found'
  | 'invalid'
  | 'conflict'
  /** The request surely never reached AWS: no connection was made. */
  | 'unreachable'
  /** Sent, but the answer did not come: AWS may have carried it out. */
  | 'network'
  | 'internal'
  | 'unknown';

/** An AWS error, classified. */
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

const EXPIRED = /^(ExpiredToken(Exception)?|RequestExpired|TokenRefreshRequired)$/;
const INVALID_CREDENTIALS =
  /^(InvalidClientTokenId|UnrecognizedClientException|InvalidAccessKeyId|InvalidToken|SignatureDoesNotMatch|IncompleteSignature|AuthFailure|MissingAuthenticationToken(Exception)?|InvalidSignatureException)$/;
const DENIED =
  /^(AccessDenied(Exception)?|UnauthorizedOperation|AccessDeniedFault|Forbidden|AllAccessDisabled|NotAuthorized)$/;
const THROTTLED =
  /^(Throttling(Exception|Error)?|ThrottledException|TooManyRequests(Exception)?|RequestThrottled(Exception)?|RequestLimitExceeded|SlowDown|BandwidthLimitExceeded|ProvisionedThroughputExceededException|PriorRequestNotComplete|TransactionInProgressException)$/;
const QUOTA = /^(ServiceQuotaExceeded(Exception)?|LimitExceeded(Exception)?)$/;
const NOT_FOUND = /^(ResourceNotFound(Exception)?|NoSuchKey|NoSuchBucket|NotFound|NoSuchEntity(Exception)?)$/;
const INVALID =
  /^(Validation(Exception|Error)?|InvalidRequest|InvalidParameterValue|InvalidBucketName|MalformedPolicyDocument|PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException)$/;
const CONFLICT = /^(Conflict(Exception)?|OperationAborted)$/;
const NEVER_SENT = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|CredentialsProviderError)$/;
const NETWORK =
  /^(ECONNRESET|EPIPE|ETIMEDOUT|ESOCKETTIMEDOUT|TimeoutError|NetworkingError|AbortError|RequestTimeout(Exception)?|ECONNABORTED)$/;

function byCode(code: string): AwsErrorKind | undefined {
  if (EXPIRED.test(code)) return 'expired';
  if (INVALID_CREDENTIALS.test(code) || DENIED.test(code)) return 'denied';
  if (THROTTLED.test(code)) return 'throttled';
  if (QUOTA.test(code)) return 'quota';
  if (NOT_FOUND.test(code)) return 'not-found';
  if (INVALID.test(code)) return 'invalid';
  if (CONFLICT.test(code)) return 'conflict';
  if (NEVER_SENT.test(code)) return 'unreachable';
  if (NETWORK.test(code)) return 'network';
  return undefined;
}

function byStatus(status: number | undefined): AwsErrorKind | undefined {
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

/** Classifies whatever an AWS SDK call threw. The code counts first, then the HTTP status, then what lies beneath. */
export function classifyAwsError(error: unknown): AwsError {
  const seen = (typeof error === 'object' && error !== null ? error : { message: String(error) }) as SdkError;
  const status = seen.$metadata?.httpStatusCode ?? seen.$response?.statusCode;
  const codes = [seen.name, seen.Code, seen.code].filter(
    (code): code is string => typeof code === 'string' && code !== '' && code !== 'Error',
  );
  let kind: AwsErrorKind | undefined;
  for (const code of codes) kind ??= byCode(code);
  if (seen.$retryable?.throttling === true) kind ??= 'throttled';
  kind ??= byStatus(status);
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
