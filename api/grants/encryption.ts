import type { FastifyRequest } from 'fastify';
import { getBucketKey, type BucketKey } from '../../aws/bucketEncryption.js';
import { loggableError } from '../../domain/errors.js';
import { type GrantWarning, warnOfKey, warnOfUnknownEncryption } from '../../domain/grants/keyWarning.js';
import { findProvider } from '../../store/connections/providers.js';
import type { StorageConnectionRow } from '../../store/connections/storage.js';
import type { ApiDependencies } from '../dependencies.js';
import { withTimeout } from '../errors.js';

const READ_TIMEOUT_MS = 5_000;

/** Says what a principal needs beside a grant to read the bucket. */
export type WarnOfGrant = (principal: string) => GrantWarning[];

/**
 * Reads how a bucket is encrypted, with one call for all its grants. Never throws: the vendor's permissions do not
 * include this call, and a grant does not depend on it.
 */
export async function readGrantWarnings(
  { db, aws }: Pick<ApiDependencies, 'db' | 'aws'>,
  request: FastifyRequest,
  { provider_id: providerId, region, bucket }: StorageConnectionRow,
): Promise<WarnOfGrant> {
  let bucketKey: BucketKey;
  try {
    const reading = aws.use(providerId, () => getBucketKey(aws.s3(providerId, region), bucket));
    bucketKey = await withTimeout(reading, READ_TIMEOUT_MS);
  } catch (error) {
    request.log.debug({ error: loggableError(error), bucket }, 'Cannot read the encryption of a bucket');
    return () => [warnOfUnknownEncryption(bucket)];
  }
  if (bucketKey === null) return () => [];
  const { key } = bucketKey;
  const account = (await findProvider(db, providerId))?.account_id ?? null;
  return (principal) => {
    const warning = warnOfKey(principal, { bucket, region, account, key });
    return warning === undefined ? [] : [warning];
  };
}
