import type { FastifyRequest } from 'fastify';
import type { FieldProblem } from '../../domain/errors.js';
import { checkRelativePrefix, toFolderPrefix } from '../../domain/files/paths.js';
import { readPrincipal } from '../../domain/grants/bucketPolicy.js';
import { partitionOf } from '../../domain/regions.js';
import { checkJson } from '../../domain/names.js';
import { findStorageConnection, type StorageConnectionRow } from '../../store/connections/storage.js';
import type { DbTransaction } from '../../store/database.js';
import { findSameGrant, type GrantRow } from '../../store/grants/load.js';
import { recordGrantOutcome } from '../../store/grants/policyChanges.js';
import { type GrantFields, type GrantRequester, insertGrant } from '../../store/grants/request.js';
import { UNIQUE_VIOLATION } from '../conflicts.js';
import { ApiError, notFoundError } from '../errors.js';
import type { Caller } from '../plugins/auth.js';
import { checkBody, parseTimestamp } from '../validation.js';
import { grantUri } from './present.js';
import type { AccessGrantBody } from './schemas.js';

/** The folder of a storage connection, with a slash at its end; empty for the whole bucket. */
function rootFolder({ prefix }: StorageConnectionRow): string {
  return prefix === '' ? '' : `${prefix}/`;
}

/**
 * Checks the body of a new grant.
 * @throws InputError with every problem of the body.
 */
export function checkGrantBody(request: FastifyRequest, storage: StorageConnectionRow): void {
  const partition = partitionOf(storage.region);
  checkBody(request, (check) => [
    check('principal', (value) => readPrincipal('principal', value, partition).problems),
    check('description', (value) => checkJson('description', value)),
    check('prefix', (value) => checkRelativePrefix('prefix', value, rootFolder(storage))),
    check('timeExpires', checkInFuture),
  ]);
}

function checkInFuture(value: string): FieldProblem[] {
  if (parseTimestamp(value).getTime() > Date.now()) return [];
  return [{ field: 'timeExpires', rule: 'IN_THE_FUTURE', message: 'must be in the future' }];
}

/** The fields of a new grant. Its body has been checked. */
export function newGrantFields(storage: StorageConnectionRow, body: AccessGrantBody): GrantFields {
  const partition = partitionOf(storage.region);
  const prefix = body.prefix === undefined ? null : toFolderPrefix(body.prefix);
  const folder = rootFolder(storage) + (prefix ?? '');
  return {
    storageConnectionId: storage.id,
    bucket: storage.bucket,
    partition,
    principal: readPrincipal('principal', body.principal, partition).arn!,
    prefix,
    folder: prefix === null || folder === '' ? null : folder,
    description: body.description ?? '',
    expires: body.timeExpires === undefined ? null : wholeSeconds(parseTimestamp(body.timeExpires)),
  };
}

/** Conditions of bucket policies have no fractions of a second. */
function wholeSeconds(time: Date): Date {
  return new Date(Math.floor(time.getTime() / 1000) * 1000);
}

/**
 * The folder of the bucket whose grants a caller may see and change. A storage connection can have grants for the whole
 * bucket. A caller that may share only some storage connections must neither see nor repair nor remove these, because
 * they cover more of the bucket than its connections show.
 * @returns with a slash at its end; null for all grants of the storage connection
 */
export function folderToShare({ access }: Caller, storage: StorageConnectionRow): string | null {
  const root = rootFolder(storage);
  return root === '' || access.ids('storage:share') === 'all' ? null : root;
}

/** Whether a caller may see and change a grant of a storage connection. */
export function mayShare(caller: Caller, storage: StorageConnectionRow, { folder }: Pick<GrantRow, 'folder'>): boolean {
  const root = folderToShare(caller, storage);
  return root === null || folder?.startsWith(root) === true;
}

/**
 * Checks that a caller may grant a folder. A caller that may share only some storage connections must not share more of
 * the bucket than they show.
 * @param folder in the bucket; null for the whole bucket.
 * @throws ApiError 403 INSUFFICIENT_SCOPE
 */
export function checkMayGrantAccess(caller: Caller, storage: StorageConnectionRow, folder: string | null): void {
  if (mayShare(caller, storage, { folder })) return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    'This API key cannot share the whole bucket, because this storage connection covers only its folder ' +
      `${rootFolder(storage)}. ` +
      'Send a prefix ("" for that folder), or use a key with the scope storage:share for all storage connections.',
    { required_scope: 'storage:share' },
  );
}

/**
 * Locks the storage connection of a new grant until the grant is written.
 * @param storage as it was when the request was checked.
 * @throws ApiError 404, 409 STORAGE_CONNECTION_CHANGED
 */
export async function lockUnchanged(transaction: DbTransaction, storage: StorageConnectionRow): Promise<void> {
  const locked = await findStorageConnection(transaction, storage.id, 'share');
  if (locked === undefined) throw notFoundError('storage connection', storage.id);
  if (locked.bucket !== storage.bucket || locked.prefix !== storage.prefix || locked.region !== storage.region)
    throw new ApiError(
      409,
      'STORAGE_CONNECTION_CHANGED',
      'Another request changed the storage connection at the same time. Try again.',
    );
}

/**
 * Checks that the principal has no grant for the same folder of the bucket yet. Removes a failed grant that polony
 * never sent to AWS, because nothing of it can be in the bucket policy.
 * @throws ApiError 409 ALREADY_GRANTED. It names the other grant only to a caller that may see it.
 */
export async function checkNotGranted(
  transaction: DbTransaction,
  { access }: Caller,
  { bucket, principal, folder }: GrantFields,
): Promise<void> {
  const other = await findSameGrant(transaction, bucket, principal, folder);
  if (other === undefined) return;
  if (other.state === 'failed' && other.time_sent === null) {
    await recordGrantOutcome(transaction, other, 'removed');
    return;
  }
  const granted = `${principal} already has a grant for ${grantUri(bucket, folder)}`;
  if (!access.covers('storage:share', other.storage_connection_id))
    throw new ApiError(
      409,
      'ALREADY_GRANTED',
      `${granted}. It belongs to a storage connection that this key may not share, so ask an administrator.`,
    );
  throw new ApiError(
    409,
    'ALREADY_GRANTED',
    `${granted}: grant ${other.id}, whose state is ${other.state}. ` +
      `${other.state === 'failed' ? 'Repair' : 'Remove'} that grant first.`,
    { accessGrantId: other.id, storageConnectionId: other.storage_connection_id },
  );
}

/**
 * Writes a new grant, to be put into the bucket policy.
 * @throws ApiError 409 ALREADY_GRANTED when another request grants the same at the same time.
 */
export async function writeGrant(
  transaction: DbTransaction,
  fields: GrantFields,
  requester: GrantRequester,
): Promise<GrantRow> {
  try {
    return await insertGrant(transaction, fields, requester);
  } catch (error) {
    if ((error as { code?: string }).code !== UNIQUE_VIOLATION) throw error;
    throw new ApiError(
      409,
      'ALREADY_GRANTED',
      `Another request is granting the same to ${fields.principal} at the same time. List the grants to see it.`,
    );
  }
}

/**
 * Checks that a grant can be written into the bucket policy again.
 * @throws ApiError 409 BEING_REMOVED, EXPIRED
 */
export function checkRepairable({ state }: GrantRow): void {
  if (state === 'removing')
    throw new ApiError(
      409,
      'BEING_REMOVED',
      'polony is removing this grant from the bucket policy. When that is done, create a new grant.',
    );
  if (state === 'expired') throw new ApiError(409, 'EXPIRED', 'This grant has expired. Create a new grant.');
}
