import type { FastifyRequest } from 'fastify';
import { getBucketPolicy } from '../../aws/bucketPolicy.js';
import type { Blocked } from '../../domain/executions/execution.js';
import {
  type BucketPolicy,
  type Grant,
  grantSids,
  parseBucketPolicy,
  PolicyError,
} from '../../domain/grants/bucketPolicy.js';
import { explainForeignPrincipals, findGonePrincipals } from '../../domain/grants/gonePrincipals.js';
import { partitionOf } from '../../domain/regions.js';
import type { StorageConnectionRow } from '../../store/connections/storage.js';
import { type GrantRow, loadGrant } from '../../store/grants/load.js';
import { awsApiError } from '../aws.js';
import type { ApiDependencies } from '../dependencies.js';
import { loggableError } from '../../domain/errors.js';
import { ApiError, notFoundError, withTimeout } from '../errors.js';
import type { WarnOfGrant } from './encryption.js';
import { presentGrant } from './present.js';

/** How long a request waits for a change of the bucket policy. The workflow continues after that. */
const CHANGE_TIMEOUT_MS = 20_000;
const READ_TIMEOUT_MS = 10_000;
const READ_ACTION = 's3:GetBucketPolicy';

/**
 * Reads the bucket policy as it is now.
 * @param grants that the policy may contain
 * @returns the policy, and why it cannot be read or changed.
 */
export async function readBucketPolicy(
  aws: ApiDependencies['aws'],
  request: FastifyRequest,
  { provider_id: providerId, region, bucket }: StorageConnectionRow,
  grants: readonly Grant[],
): Promise<{ policy?: BucketPolicy; problem: Blocked | null }> {
  const resource = `arn:${partitionOf(region)}:s3:::${bucket}`;
  try {
    const reading = aws.use(providerId, () => getBucketPolicy(aws.s3(providerId, region), bucket));
    const policy = parseBucketPolicy(await withTimeout(reading, READ_TIMEOUT_MS));
    const dropped = grants.filter((grant) => findGonePrincipals(policy, grant).length > 0);
    const foreign = explainForeignPrincipals(policy, dropped.flatMap(grantSids));
    return { policy, problem: foreign && { ...foreign, resource, action: 's3:PutBucketPolicy' } };
  } catch (error) {
    return { problem: readProblem(request, error, resource) };
  }
}

function readProblem(request: FastifyRequest, error: unknown, resource: string): Blocked {
  if (error instanceof PolicyError)
    return {
      kind: 'POLICY_NOT_UNDERSTOOD',
      resource,
      message: error.message,
      remedy: 'Correct the bucket policy',
    };
  const { reason, message } = awsApiError(request, error, { action: READ_ACTION, resource });
  return {
    kind: reason,
    action: READ_ACTION,
    resource,
    message,
    remedy: 'Until this works, the states of the grants are those after the last change by polony',
    ...(reason === 'AWS_ACCESS_DENIED' && {
      statement: { Effect: 'Allow', Action: [READ_ACTION], Resource: resource },
    }),
  };
}

/**
 * Changes the bucket policy to what the store says, and waits for the result. If that takes too long, or Temporal is
 * unavailable, the change continues in the background: the sweep starts it if nothing else did.
 * @returns the grant as it is now.
 */
export async function requestPolicyChange(
  { db, orchestrator }: Pick<ApiDependencies, 'db' | 'orchestrator'>,
  request: FastifyRequest,
  storage: StorageConnectionRow,
  { id, bucket, principal }: GrantRow,
): Promise<GrantRow> {
  try {
    const target = { bucket, storageConnectionName: storage.name };
    const change = orchestrator.grants.change(target, { grantId: id, principal }, CHANGE_TIMEOUT_MS);
    await withTimeout(change, CHANGE_TIMEOUT_MS);
  } catch (error) {
    request.log.warn(
      { error: loggableError(error), accessGrantId: id },
      'the change of the bucket policy is not finished; it continues in the background',
    );
  }
  return loadGrant(db, id);
}

/**
 * The answer to a request that wanted a grant in the bucket policy.
 * @throws ApiError when AWS rejected the grant, or 404 when it was removed in the meantime.
 */
export function presentGrantResponse(row: GrantRow, warn: WarnOfGrant) {
  if (row.state === 'removed') throw notFoundError('access grant', row.id);
  if (row.state === 'failed' && row.problem !== null) throw rejectionError(row, row.problem);
  return { accessGrant: presentGrant(row, undefined, warn) };
}

/** The error for a change that AWS rejected, or that conflicts with the bucket policy. */
export function rejectionError(row: GrantRow, problem: Blocked): ApiError {
  const { kind, message, remedy, action, resource, statement } = problem;
  const allowing = statement === undefined ? '' : ` This statement allows it: ${JSON.stringify(statement)}`;
  return new ApiError(kind === 'UNAVAILABLE' ? 503 : 409, kind, `${message}. ${remedy}${allowing}`.replace('..', '.'), {
    accessGrantId: row.id,
    ...(action !== undefined && { action }),
    ...(resource !== undefined && { resource }),
    ...(statement !== undefined && { statement }),
  });
}
