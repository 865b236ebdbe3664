import type { FastifyRequest } from 'fastify';
import { checkBucketName, checkPrefix, normalizePrefix } from '../../../domain/connections/storage.js';
import { throwIfInvalid } from '../../../domain/errors.js';
import { checkRegion, checkRegionPartition, partitionOf } from '../../../domain/regions.js';
import { sameAccount } from '../../../domain/arn.js';
import { storageUri } from '../../../domain/files/paths.js';
import { checkName, normalizeName } from '../../../domain/names.js';
import { findProvider, type ProviderRow } from '../../../store/connections/providers.js';
import {
  findOverlappingConnection,
  findStorageConnection,
  hasRuns,
  type StorageConnectionFields,
  type StorageConnectionRow,
} from '../../../store/connections/storage.js';
import { listUses, type ResourceUse } from '../../../store/connections/uses.js';
import type { Db, DbTransaction } from '../../../store/database.js';
import { describeReference, inUseError } from '../../conflicts.js';
import { ApiError } from '../../errors.js';
import type { Caller } from '../../plugins/auth.js';
import { requireResource } from '../../references.js';
import { checkBody } from '../../validation.js';

const KIND = 'storage connection';

/** The fields that say where the data of a storage connection is. */
const LOCATION_FIELDS = ['providerId', 'region', 'bucket', 'prefix'] as const;
type LocationField = (typeof LOCATION_FIELDS)[number];

/**
 * Loads the storage connection that the path of a request names.
 * @throws ApiError 404 STORAGE_CONNECTION_NOT_FOUND
 */
export function requireStorageConnection(db: Db, id: string): Promise<StorageConnectionRow> {
  return requireResource(KIND, id, () => findStorageConnection(db, id));
}

/**
 * Checks the body of a new or changed storage connection.
 * @throws InputError with every problem of the body.
 */
export function checkStorageBody(request: FastifyRequest): void {
  checkBody(request, (check) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('region', (value) => checkRegion('region', value)),
    check('bucket', (value) => checkBucketName('bucket', value.trim())),
    check('prefix', (value) => checkPrefix('prefix', normalizePrefix(value))),
  ]);
}

/** The fields as polony stores and compares them. */
export function normalizeStorageFields(fields: StorageConnectionFields): StorageConnectionFields {
  return {
    ...fields,
    providerId: fields.providerId.toLowerCase(),
    name: normalizeName(fields.name),
    bucket: fields.bucket.trim(),
    prefix: normalizePrefix(fields.prefix),
  };
}

/**
 * Checks that the provider's account can reach the region.
 * @throws InputError PARTITION
 */
export function checkStorageRegion(caller: Caller, provider: ProviderRow, region: string): void {
  const partition = partitionOf(provider.default_region);
  throwIfInvalid(checkRegionPartition('region', region, partition, describeReference(caller, 'provider', provider)));
}

/** The fields that a stored storage connection was written with. */
export function storageFieldsOf(row: StorageConnectionRow): StorageConnectionFields {
  return {
    name: row.name,
    providerId: row.provider_id,
    region: row.region,
    bucket: row.bucket,
    prefix: row.prefix,
    useForRunUpload: row.use_for_run_upload,
    useForDataExploration: row.use_for_data_exploration,
    allowPolicyProbe: row.allow_policy_probe,
    runDepth: row.run_depth,
  };
}

/**
 * Checks that no other storage connection for run upload is in a folder above or below this one: polony would find the
 * same runs twice.
 * @param exceptId of the storage connection itself, where it exists.
 * @throws ApiError 409 PREFIX_OVERLAPS. It names the other connection only to a caller that may see it.
 */
export async function checkOverlap(
  transaction: DbTransaction,
  { access }: Caller,
  fields: StorageConnectionFields,
  exceptId?: string,
): Promise<void> {
  if (!fields.useForRunUpload) return;
  const other = await findOverlappingConnection(transaction, fields.bucket, fields.prefix, exceptId);
  if (other === undefined) return;
  const isVisible = access.covers('storage:read', other.id);
  const otherName = isVisible
    ? `storage connection ${other.name} (${other.id}) in ${storageUri(other.bucket, other.prefix)}`
    : 'another storage connection, which this key may not see';
  throw new ApiError(
    409,
    'PREFIX_OVERLAPS',
    `This folder overlaps with the folder of ${otherName}. Both are used for run upload, ` +
      'so polony would find the same runs twice. Choose a prefix outside that folder.',
    { field: 'prefix', ...(isVisible && { storageConnectionId: other.id }) },
  );
}

/**
 * Checks that a storage connection may be changed, apart from {@link checkOverlap}.
 * @param fields as they will be. @param provider that of these fields.
 * @throws ApiError 409 HAS_RUNS, IN_USE
 */
export async function checkStorageChange(
  transaction: DbTransaction,
  caller: Caller,
  old: StorageConnectionRow,
  fields: StorageConnectionFields,
  provider: ProviderRow,
): Promise<void> {
  const moved = movedFields(old, fields);
  if (moved.length > 0 && (await hasRuns(transaction, old.id)))
    throw new ApiError(
      409,
      'HAS_RUNS',
      `The storage connection has runs, so its ${moved.join(', ')} cannot change. Create another storage connection.`,
      { field: moved[0] },
    );
  const uses = await listUses(transaction, 'storage_connections', old.id);
  checkGrantsAllow(caller, moved, uses);
  await checkFlowsAllow(transaction, caller, old, fields, provider, uses);
}

/**
 * Checks that the caller may move a storage connection. A caller that may change only some connections must not choose
 * which part of which bucket they show.
 * @throws ApiError 403 INSUFFICIENT_SCOPE
 */
export function checkMayMove({ access }: Caller, old: StorageConnectionRow, fields: StorageConnectionFields): void {
  const moved = movedFields(old, fields);
  if (moved.length === 0 || access.ids('storage:write') === 'all') return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    `This API key cannot change the ${moved.join(', ')} of a storage connection, because it lacks the scope ` +
      'storage:write for all storage connections. Use a key that has this scope.',
    { required_scope: 'storage:write' },
  );
}

function movedFields(old: StorageConnectionRow, fields: StorageConnectionFields): LocationField[] {
  const before = storageFieldsOf(old);
  return LOCATION_FIELDS.filter((field) => fields[field] !== before[field]);
}

/** Grants are written for the bucket, folder and region of their storage connection. */
function checkGrantsAllow(caller: Caller, moved: readonly LocationField[], uses: readonly ResourceUse[]): void {
  const grants = uses.filter((use) => use.kind === 'access grant');
  const granted = moved.filter((field) => field !== 'providerId');
  if (grants.length === 0 || granted.length === 0) return;
  throw inUseError(caller, {
    kind: KIND,
    uses: grants,
    consequence: `its ${granted.join(', ')} cannot change`,
    remedy: 'Remove these grants first.',
    field: granted[0],
  });
}

/** Flows were checked against these fields. After a change they would start in the wrong place, or never. */
async function checkFlowsAllow(
  transaction: DbTransaction,
  caller: Caller,
  old: StorageConnectionRow,
  fields: StorageConnectionFields,
  provider: ProviderRow,
  uses: readonly ResourceUse[],
): Promise<void> {
  const flows = uses.filter((use) => use.kind === 'flow');
  if (flows.length === 0) return;
  const refuse = (consequence: string, field: keyof StorageConnectionFields): ApiError =>
    inUseError(caller, {
      kind: KIND,
      uses: flows,
      consequence,
      remedy: 'Remove the storage connection from autoStart of these flows first.',
      field,
    });
  if (fields.region !== old.region) throw refuse('its region cannot change', 'region');
  const oldProvider =
    fields.providerId === old.provider_id ? provider : await findProvider(transaction, old.provider_id);
  if (!sameAccount(provider.account_id, oldProvider?.account_id))
    throw refuse('its AWS account cannot change', 'providerId');
  if (!fields.useForRunUpload && old.use_for_run_upload)
    throw refuse('run upload cannot be switched off', 'useForRunUpload');
}
