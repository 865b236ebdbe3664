import type { FastifyRequest } from 'fastify';
import { checkExecutionRole, checkHealthOmicsRole } from '../../../domain/connections/compute.js';
import { checkHealthOmicsRegion, HEALTHOMICS_PARTITION, partitionOf } from '../../../domain/regions.js';
import { sameAccount } from '../../../domain/arn.js';
import { type FieldProblem, throwIfInvalid } from '../../../domain/errors.js';
import { checkName, normalizeName } from '../../../domain/names.js';
import type { ComputeConnectionFields, ComputeConnectionRow } from '../../../store/connections/compute.js';
import { findProvider, type ProviderRow } from '../../../store/connections/providers.js';
import { listUses } from '../../../store/connections/uses.js';
import type { DbTransaction } from '../../../store/database.js';
import { describeReference, inUseError } from '../../conflicts.js';
import { ApiError } from '../../errors.js';
import type { Caller } from '../../plugins/auth.js';
import { checkBody } from '../../validation.js';

/**
 * Checks the body of a new or changed compute connection.
 * @throws InputError with every problem of the body.
 */
export function checkComputeBody(request: FastifyRequest): void {
  checkBody(request, (check) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('executionRoleArn', (value) => checkHealthOmicsRole('executionRoleArn', value.trim())),
    check('region', (value) => checkHealthOmicsRegion('region', value)),
  ]);
}

/** The fields as polony stores and compares them. */
export function normalizeComputeFields(fields: ComputeConnectionFields): ComputeConnectionFields {
  return {
    ...fields,
    providerId: fields.providerId.toLowerCase(),
    name: normalizeName(fields.name),
    executionRoleArn: fields.executionRoleArn.trim(),
  };
}

/**
 * Checks that the provider can pass the execution role to HealthOmics.
 * @throws InputError
 */
export function checkExecutionRoleOf(caller: Caller, provider: ProviderRow, executionRoleArn: string): void {
  throwIfInvalid(checkHealthOmicsProvider(caller, provider));
  const owner = { roleArn: provider.role_arn, account: provider.account_id };
  throwIfInvalid(checkExecutionRole('executionRoleArn', executionRoleArn, owner));
}

/** HealthOmics exists in one partition only. */
function checkHealthOmicsProvider(caller: Caller, provider: ProviderRow): FieldProblem[] {
  const partition = partitionOf(provider.default_region);
  if (partition === HEALTHOMICS_PARTITION) return [];
  return [
    {
      field: 'providerId',
      rule: 'HEALTHOMICS_PARTITION',
      message:
        `must be a provider of the partition ${HEALTHOMICS_PARTITION}, but ${describeReference(caller, 'provider', provider)} is in ` +
        `${partition}, ` +
        'where AWS HealthOmics does not exist',
    },
  ];
}

/** The fields that decide whose compute a connection uses. */
const COMPUTE_FIELDS = ['providerId', 'executionRoleArn', 'region'] as const;

/**
 * Checks that the caller may give a compute connection another provider, role or region. A caller that may change only
 * some connections must not choose whose credentials they use, what their HealthOmics runs may read, and who pays.
 * @throws ApiError 403 INSUFFICIENT_SCOPE
 */
export function checkMayChangeCompute(
  { access }: Caller,
  old: ComputeConnectionRow,
  fields: ComputeConnectionFields,
): void {
  const before = { providerId: old.provider_id, executionRoleArn: old.execution_role_arn, region: old.region };
  const changed = COMPUTE_FIELDS.filter((field) => fields[field] !== before[field]);
  if (changed.length === 0 || access.ids('compute:write') === 'all') return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    `This API key cannot change the ${changed.join(', ')} of a compute connection, because it lacks the scope ` +
      'compute:write for all compute connections. Use a key that has this scope.',
    { required_scope: 'compute:write', field: changed[0] },
  );
}

/**
 * Checks that a compute connection may move to another account or region. Its flows were checked against both, and the
 * HealthOmics runs of current executions live there.
 * @param provider the new one, or the old one where it stays.
 * @throws ApiError 409 IN_USE
 */
export async function checkMove(
  transaction: DbTransaction,
  caller: Caller,
  old: ComputeConnectionRow,
  fields: ComputeConnectionFields,
  provider: ProviderRow,
): Promise<void> {
  const oldProvider =
    fields.providerId === old.provider_id ? provider : await findProvider(transaction, old.provider_id);
  const isOtherAccount = !sameAccount(provider.account_id, oldProvider?.account_id);
  if (!isOtherAccount && fields.region === old.region) return;
  const uses = await listUses(transaction, 'compute_connections', old.id);
  if (uses.length === 0) return;
  throw inUseError(caller, {
    kind: 'compute connection',
    uses,
    consequence: `its ${isOtherAccount ? 'AWS account' : 'region'} cannot change`,
    remedy: 'Create another compute connection instead.',
    field: isOtherAccount ? 'providerId' : 'region',
  });
}
