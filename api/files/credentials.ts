import type { FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { classifyAwsError, isPackedPolicyTooLarge, isPolicyRefused } from '../../aws/errors.js';
import type { Session } from '../../aws/sessions.js';
import { InputError } from '../../domain/errors.js';
import {
  type CredentialPurpose,
  issuedCredentialsPolicy,
  SESSION_POLICY_LIMIT,
} from '../../domain/iam/sessionPolicies.js';
import { findProvider, type ProviderRow } from '../../store/connections/providers.js';
import type { StorageConnectionRow } from '../../store/connections/storage.js';
import type { Caller } from '../plugins/auth.js';
import { awsApiError } from '../aws.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError } from '../errors.js';
import { noOutputError, type Place, resolvePrefix } from './places.js';
import { type operations, SESSION_SECONDS } from './schemas.js';

/** What credentials are issued for. */
export interface CredentialRequest {
  purpose: CredentialPurpose;
  storage: StorageConnectionRow;
  /** The beginning of all keys that the credentials cover. */
  keyPrefix: string;
  /** 0 or undefined: the default. */
  expirationSeconds?: number;
}

type CredentialsQuery = Static<typeof operations.credentialsOfRun.querystring>;

/**
 * Issues credentials to read a prefix of a place.
 * @param place undefined for an execution that has no output yet
 * @throws ApiError 404 NO_OUTPUT_YET; what {@link issueCredentials} throws
 */
export async function issueReadCredentials(
  dependencies: ApiDependencies,
  request: FastifyRequest,
  place: Place | undefined,
  query: CredentialsQuery,
) {
  if (place === undefined) throw noOutputError();
  const prefix = await resolvePrefix(dependencies.db, request, place, query.prefix);
  return issueCredentials(dependencies, request, {
    purpose: 'read',
    storage: place.storage,
    keyPrefix: place.root + prefix,
    expirationSeconds: query.expirationSeconds,
  });
}

/**
 * Issues short-lived credentials for a part of a bucket.
 * @throws InputError when the prefix or the lifetime does not fit; ApiError when AWS rejects the call
 */
export async function issueCredentials(
  dependencies: ApiDependencies,
  request: FastifyRequest,
  { purpose, storage, keyPrefix, expirationSeconds = 0 }: CredentialRequest,
) {
  const provider = await findProvider(dependencies.db, storage.provider_id);
  if (provider === undefined)
    throw new ApiError(
      404,
      'PROVIDER_NOT_FOUND',
      'The provider of the storage connection was deleted, so polony has no access to AWS. ' +
        'Give the storage connection another provider',
    );
  const seconds = expirationSeconds === 0 ? SESSION_SECONDS.default : expirationSeconds;
  checkLifetime(seconds, purpose, provider);
  const policy = issuedCredentialsPolicy(purpose, storage.bucket, keyPrefix, storage.region);
  const uri = `s3://${storage.bucket}/${keyPrefix}`;
  if (policy.length > SESSION_POLICY_LIMIT) throw prefixTooLongError(uri, policy.length);
  const session = await openCredentialsSession(dependencies, request, provider, {
    policy,
    seconds,
    name: sessionNameOf(request.caller, purpose, provider),
    uri,
  });
  request.auditDetail = {
    ...request.auditDetail,
    uri,
    kind: purpose,
    expiration: session.expiration.toISOString(),
  };
  return {
    s3: {
      region: storage.region,
      bucket: storage.bucket,
      prefix: keyPrefix === '' ? null : keyPrefix,
      accessKeyId: session.accessKeyId,
      secretAccessKey: session.secretAccessKey,
      sessionToken: session.sessionToken,
      expiration: session.expiration.toISOString(),
    },
  };
}

/**
 * The name of a session, which appears in the customer's CloudTrail and names the caller. `SourceIdentity` would need
 * `sts:SetSourceIdentity` in the trust policy of every customer (decision 39). AssumeRole accepts 64 characters of
 * `[\w+=,.@-]`, GetFederationToken 32 (STS API Reference). The end of a version 7 UUID is random.
 */
function sessionNameOf({ id, kind }: Caller, purpose: CredentialPurpose, provider: ProviderRow): string {
  const most = provider.credential_type === 'role' ? 64 : 32;
  const start = `polony-${purpose}-`;
  const plain = id.replace(/^person:/, '').replace(/[^A-Za-z0-9_+=,.@-]/g, '-');
  const left = most - start.length;
  const who = plain.length <= left ? plain : kind === 'key' ? plain.slice(-12) : plain.slice(0, left);
  return `${start}${who}`;
}

function checkLifetime(seconds: number, purpose: CredentialPurpose, provider: ProviderRow): void {
  const { least, mostOfRole, mostOfAccessKeys, mostOfUpload } = SESSION_SECONDS;
  const mostOfProvider = provider.credential_type === 'role' ? mostOfRole : mostOfAccessKeys;
  const most = purpose === 'upload' ? mostOfUpload : mostOfProvider;
  if (seconds < least || seconds > most)
    throw lifetimeError(`must be ${least} to ${most} seconds with the credentials of this provider`);
}

async function openCredentialsSession(
  { aws }: ApiDependencies,
  request: FastifyRequest,
  provider: ProviderRow,
  { policy, seconds, name, uri }: { policy: string; seconds: number; name: string; uri: string },
): Promise<Session> {
  try {
    return await aws.narrowedSession(provider.id, policy, seconds, name);
  } catch (error) {
    const cause = (error as Error).cause ?? error;
    const { message } = classifyAwsError(cause);
    if (/DurationSeconds exceeds/i.test(message)) throw lifetimeError(explainDuration(message, provider));
    if (isPackedPolicyTooLarge(cause)) throw prefixTooLongError(uri, policy.length);
    if (isPolicyRefused(cause)) throw prefixRefusedError(uri, message);
    throw awsApiError(request, error, {
      action: 'sts:AssumeRole',
      resource: provider.role_arn ?? provider.access_key_id ?? '',
    });
  }
}

/** Why STS rejects a lifetime (STS API Reference, AssumeRole: DurationSeconds; IAM User Guide: role chaining). */
function explainDuration(message: string, provider: ProviderRow): string {
  return /chaining/i.test(message)
    ? 'must be at most 3600, because polony itself uses a role, and AWS limits chained roles to an hour'
    : `is more than the role ${provider.role_arn ?? ''} allows. Send a lower value, or raise the maximum session ` +
        'duration of the role';
}

function lifetimeError(message: string): InputError {
  return new InputError([{ field: 'expirationSeconds', rule: 'SESSION_LENGTH', message }]);
}

/** @param characters of the policy, where each character beyond U+00FF counts six times */
function prefixTooLongError(uri: string, characters: number): InputError {
  const message =
    `makes the session policy for ${uri} too long for AWS: it has ${characters} characters, of at most ` +
    `${SESSION_POLICY_LIMIT} before AWS packs it. Choose a folder with a shorter path`;
  return new InputError([{ field: 'prefix', rule: 'PREFIX_LENGTH', message }]);
}

function prefixRefusedError(uri: string, reason: string): InputError {
  const message = `cannot be in a session policy: AWS does not accept the policy for ${uri}: ${reason}`;
  return new InputError([{ field: 'prefix', rule: 'PREFIX_REFUSED', message }]);
}
