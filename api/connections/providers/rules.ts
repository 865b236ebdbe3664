import { randomBytes } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { accountOfRole, checkRoleArn } from '../../../domain/arn.js';
import {
  checkAccessKeyId,
  checkExternalId,
  checkRolePartition,
  checkSecretAccessKey,
} from '../../../domain/connections/provider.js';
import { checkRegion, partitionOf } from '../../../domain/regions.js';
import { type FieldProblem, throwIfInvalid } from '../../../domain/errors.js';
import { newExternalId } from '../../../domain/iam/documents.js';
import { CREDENTIAL_TYPES, type CredentialType } from '../../../domain/iam/permissions.js';
import { checkName, normalizeName } from '../../../domain/names.js';
import type { DbTransaction } from '../../../store/database.js';
import { listExecutionRoles } from '../../../store/connections/compute.js';
import { isExternalIdOfOthers, type ProviderFields, type ProviderRow } from '../../../store/connections/providers.js';
import { listUses } from '../../../store/connections/uses.js';
import { providerSecretContext, type SealedSecret, type Secrets } from '../../../store/secrets.js';
import { describeReference, inUseError } from '../../conflicts.js';
import { ApiError } from '../../errors.js';
import type { Caller } from '../../plugins/auth.js';
import { checkBody } from '../../validation.js';
import type { ProviderBody, ProviderChange } from './schemas.js';

/** What a provider holds to sign in to AWS. */
type Credential = ProviderFields['credential'];
type Field = keyof ProviderBody;

/** The fields of each credential type, and the credential type that each excludes. */
const FIELDS_OF = { role: ['roleArn', 'externalId'], accessKeys: ['accessKeyId', 'secretAccessKey'] } as const;
/** Those of them that a new provider needs. polony generates an external ID. */
const REQUIRED_OF = { role: ['roleArn'], accessKeys: FIELDS_OF.accessKeys } as const;
const OTHER_TYPE = { role: 'accessKeys', accessKeys: 'role' } as const;

/** The credential type that a provider will have, and the fields that the body must hold for it. */
interface CredentialRule {
  type: CredentialType;
  required: readonly Field[];
}

/**
 * Checks the body of a new provider.
 * @throws InputError with every problem of the body.
 */
export function checkNewProvider(request: FastifyRequest): void {
  checkProviderBody(request, ({ credentialType }) =>
    isCredentialType(credentialType) ? { type: credentialType, required: REQUIRED_OF[credentialType] } : undefined,
  );
}

/**
 * Checks the body of a change to a provider.
 * @param currentType the credential type before the change.
 * @throws InputError with every problem of the body.
 */
export function checkProviderChange(request: FastifyRequest, currentType: CredentialType): void {
  checkProviderBody(request, (body) => {
    const type = body.credentialType ?? currentType;
    return isCredentialType(type) ? { type, required: requiredOfChange(type, currentType, body) } : undefined;
  });
}

function isCredentialType(value: unknown): value is CredentialType {
  return CREDENTIAL_TYPES.includes(value as CredentialType);
}

/** A new credential type needs all its fields. A secret belongs to one key ID, so a change holds both or neither. */
function requiredOfChange(type: CredentialType, currentType: CredentialType, body: ProviderChange): readonly Field[] {
  const replacesKey = body.accessKeyId !== undefined || body.secretAccessKey !== undefined;
  return type !== currentType || (type === 'accessKeys' && replacesKey) ? REQUIRED_OF[type] : [];
}

function checkProviderBody(
  request: FastifyRequest,
  credentialRule: (body: ProviderChange) => CredentialRule | undefined,
): void {
  checkBody(request, (check, body) => [
    check('name', (value) => checkName('name', normalizeName(value))),
    check('defaultRegion', (value) => checkRegion('defaultRegion', value)),
    check('roleArn', (value) => checkRoleArn('roleArn', value.trim())),
    check('externalId', (value) => checkExternalId('externalId', value)),
    check('accessKeyId', (value) => checkAccessKeyId('accessKeyId', value.trim())),
    check('secretAccessKey', (value) => checkSecretAccessKey('secretAccessKey', value.trim())),
    checkCredentialFields(body, credentialRule(body)),
    checkGivenPartition(body),
  ]);
}

/** A change that gives only one of the two is compared with the stored other one by {@link checkPartition}. */
function checkGivenPartition({ roleArn, defaultRegion }: ProviderChange): FieldProblem[] {
  return typeof roleArn === 'string' && typeof defaultRegion === 'string'
    ? checkRolePartition('roleArn', roleArn.trim(), defaultRegion)
    : [];
}

/** Reports fields that the credential type needs and the body lacks, and fields of the other credential type. */
function checkCredentialFields(body: ProviderChange, rule: CredentialRule | undefined): FieldProblem[] {
  if (rule === undefined) return [];
  const { type, required } = rule;
  const missing = required.filter((field) => body[field] === undefined);
  const foreign = FIELDS_OF[OTHER_TYPE[type]].filter((field) => body[field] !== undefined);
  return [
    ...missing.map((field) => ({
      field,
      rule: 'REQUIRED',
      message: `is required for the credential type ${type}`,
    })),
    ...foreign.map((field) => ({
      field,
      rule: 'CREDENTIAL_TYPE',
      message: `belongs to the credential type ${OTHER_TYPE[type]}, but this provider has the type ${type}: omit it`,
    })),
  ];
}

/**
 * Encrypts the secret access key of a provider.
 * @param id the provider's; the encrypted secret is bound to it.
 * @throws ApiError 409 ENCRYPTION_KEYS_MISSING
 */
export async function sealSecretAccessKey(
  secrets: Secrets,
  id: string,
  secretAccessKey: string,
): Promise<SealedSecret> {
  if (secrets.currentKeyId === undefined)
    throw new ApiError(
      409,
      'ENCRYPTION_KEYS_MISSING',
      'polony cannot store access keys, because it has no encryption key. ' +
        'Ask the operator to set POLONY_ENCRYPTION_KEYS for the API and the workers, ' +
        'or use a role, which has no secret.',
      { field: 'secretAccessKey' },
    );
  return secrets.seal(secretAccessKey.trim(), providerSecretContext(id));
}

/** A new external ID, which nobody can guess. */
export function generateExternalId(): string {
  return newExternalId(randomBytes(20));
}

/**
 * Checks that no provider of another AWS account has this external ID. Where two customers trust the same external ID,
 * it protects neither from the other. The error names no provider, because the caller may not know it.
 * @throws ApiError 409 EXTERNAL_ID_TAKEN
 */
export async function checkExternalIdIsOwn(
  transaction: DbTransaction,
  id: string,
  credential: Credential | { type: 'role'; roleArn: string; externalId: string },
): Promise<void> {
  if (credential.type !== 'role') return;
  if (!(await isExternalIdOfOthers(transaction, id, credential))) return;
  throw new ApiError(
    409,
    'EXTERNAL_ID_TAKEN',
    'A provider of another AWS account already has this external ID. An external ID protects an account only if no ' +
      'other account uses it. Omit externalId, so that polony generates one, or choose a different one.',
    { field: 'externalId' },
  );
}

/** The credential of a new provider. Its body has been checked. */
export async function newCredential(secrets: Secrets, id: string, body: ProviderBody): Promise<Credential> {
  if (body.credentialType === 'role')
    return { type: 'role', roleArn: body.roleArn!.trim(), externalId: body.externalId ?? generateExternalId() };
  return {
    type: 'accessKeys',
    accessKeyId: body.accessKeyId!.trim(),
    secret: await sealSecretAccessKey(secrets, id, body.secretAccessKey!),
  };
}

/**
 * The credential of a provider after a change. The body has been checked.
 * @param secret the new secret access key; undefined where it stays.
 */
export function changedCredential(
  old: ProviderRow,
  body: ProviderChange,
  secret: SealedSecret | undefined,
): Credential {
  if ((body.credentialType ?? old.credential_type) === 'role')
    return {
      type: 'role',
      roleArn: body.roleArn?.trim() ?? old.role_arn!,
      externalId: body.externalId ?? old.external_id ?? generateExternalId(),
    };
  return {
    type: 'accessKeys',
    accessKeyId: body.accessKeyId?.trim() ?? old.access_key_id!,
    secret: secret ?? { sealed: old.secret_sealed!, keyId: old.secret_key_id! },
  };
}

/** Whether a change gives polony another identity in AWS, so that earlier findings no longer hold. */
export function isOtherIdentity(old: ProviderRow, credential: Credential, secret: SealedSecret | undefined): boolean {
  if (credential.type === 'accessKeys') return secret !== undefined;
  return credential.roleArn !== old.role_arn || credential.externalId !== old.external_id;
}

/**
 * Checks that the caller may give a provider another identity in AWS: a role, an external ID, or access keys. A caller
 * that may change only some providers must not choose whose account the connections of the provider use.
 * @throws ApiError 403 INSUFFICIENT_SCOPE
 */
export function checkMayChangeIdentity({ access }: Caller): void {
  if (access.ids('providers:write') === 'all') return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    'This API key cannot change the role, the external ID or the access keys of a provider, because it lacks the scope ' +
      'providers:write for all providers. Use a key that has this scope.',
    { required_scope: 'providers:write' },
  );
}

/**
 * Checks that a provider's role and region are in one partition, and that a provider with connections stays in its own:
 * their buckets do not exist in another.
 * @throws ApiError 409 IN_USE
 * @throws InputError PARTITION
 */
export async function checkPartition(
  transaction: DbTransaction,
  caller: Caller,
  old: ProviderRow,
  { defaultRegion, credential }: ProviderFields,
): Promise<void> {
  if (credential.type === 'role') throwIfInvalid(checkRolePartition('roleArn', credential.roleArn, defaultRegion));
  if (partitionOf(defaultRegion) === partitionOf(old.default_region)) return;
  const uses = await listUses(transaction, 'providers', old.id);
  if (uses.length > 0)
    throw inUseError(caller, {
      kind: 'provider',
      uses,
      consequence: 'its default region cannot be in another partition',
      remedy: 'Create a provider for the other partition.',
      field: 'defaultRegion',
    });
}

/**
 * Checks that a provider may take another role. Execution roles, buckets and current executions belong to the account
 * of the old role, and HealthOmics needs an execution role that is not the provider's own.
 * @throws ApiError 409 IN_USE
 * @throws InputError EXECUTION_ROLE_IS_PROVIDER_ROLE
 */
export async function checkRoleChange(
  transaction: DbTransaction,
  caller: Caller,
  old: ProviderRow,
  roleArn: string,
): Promise<void> {
  if (roleArn === old.role_arn) return;
  const staysInAccount = old.account_id === null || accountOfRole(roleArn) === old.account_id;
  const uses = staysInAccount ? [] : await listUses(transaction, 'providers', old.id);
  if (uses.length > 0)
    throw inUseError(caller, {
      kind: 'provider',
      uses,
      consequence: 'its role cannot belong to another AWS account',
      remedy: 'Choose a role of the same account, or create a provider for the other account.',
      field: 'roleArn',
    });
  const roles = await listExecutionRoles(transaction, old.id);
  const same = roles.find((compute) => compute.execution_role_arn === roleArn);
  if (same !== undefined)
    throwIfInvalid([
      {
        field: 'roleArn',
        rule: 'EXECUTION_ROLE_IS_PROVIDER_ROLE',
        message:
          `must not be the execution role of ${describeReference(caller, 'compute connection', same)}, ` +
          'because HealthOmics needs a separate execution role',
      },
    ]);
}
