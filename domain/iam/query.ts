import { accountOfRole, checkAccountId } from '../arn.js';
import { parseSharedWorkflow, type SharedWorkflow } from '../connections/flow.js';
import { checkExternalId } from '../connections/provider.js';
import { checkBucketName, normalizePrefix } from '../connections/storage.js';
import { type FieldProblem, throwIfInvalid } from '../errors.js';
import { checkHealthOmicsRegion, checkRegion } from '../regions.js';
import { type IamChoice, VARIANTS } from './choice.js';
import { checkDocumentPrefix, checkExecutionRoleArn, checkSharedWorkflowText, FieldReader } from './fields.js';
import { compactJson } from './formats/text.js';
import { type Location, withoutNested } from './locations.js';
import {
  CAPABILITIES,
  type Capability,
  CREDENTIAL_TYPES,
  type CredentialType,
  type PolicyDocument,
} from './permissions.js';
import { executionPermissionPolicy, permissionPolicy } from './policies.js';

/** Which IAM documents a person wants, field by field as the API names them. */
export interface IamQuery {
  credentialType: string;
  bucket: string | readonly string[];
  /** One for all buckets, one for each bucket, or several for one bucket. */
  prefix?: string | readonly string[];
  /** All capabilities if absent; a text may list several, separated by commas. */
  capabilities?: string | readonly string[];
  externalId?: string;
  variant?: string;
  executionRoleArn?: string;
  workflowId?: string;
  workflowOwnerId?: string;
  region?: string;
  accountId?: string;
}

/**
 * The most characters, without white space, that IAM accepts for the inline policies of a user or role (IAM User Guide,
 * "IAM and STS character limits").
 */
const POLICY_LENGTH: Record<CredentialType, number> = { accessKeys: 2048, role: 10_240 };

/**
 * Parses a query for IAM documents.
 * @throws InputError with all problems at once.
 */
export function parseIamQuery(query: IamQuery): IamChoice {
  const reader = new FieldReader(query);
  const credentialType = reader.oneOf('credentialType', query.credentialType, CREDENTIAL_TYPES);
  const variant = reader.oneOf('variant', query.variant ?? 'vendor', VARIANTS);
  const capabilities = readCapabilities(reader, query);
  const locations = readLocations(reader, query);
  const { executionRoleArn, accountId } = readAccount(reader);
  const { workflow, ownerId } = readWorkflow(reader);
  const region = readRegion(reader, workflow, capabilities);
  const choice: IamChoice = {
    credentialType,
    locations,
    capabilities,
    variant,
    externalId: query.externalId === '' ? undefined : query.externalId,
    executionRoleArn,
    workflowId: workflow?.id,
    workflowOwnerId: ownerId,
    region,
    accountId,
  };
  if (choice.externalId !== undefined) reader.add(...checkExternalId('externalId', choice.externalId));
  if (reader.problems.length === 0) reader.add(...checkPolicyLength(choice));
  throwIfInvalid(reader.problems);
  return choice;
}

function readCapabilities(reader: FieldReader<IamQuery>, query: IamQuery): Capability[] {
  const names = listOf(query.capabilities)
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter((text) => text !== '');
  const unknown = names.filter((name) => !(CAPABILITIES as readonly string[]).includes(name));
  if (unknown.length > 0)
    reader.add({
      field: 'capabilities',
      rule: 'ONE_OF',
      message:
        `must be some of ${CAPABILITIES.join(', ')}. ` +
        `Remove ${unknown.map((name) => name.slice(0, 50)).join(', ')}.`,
    });
  return CAPABILITIES.filter((capability) => names.length === 0 || names.includes(capability));
}

/** Pairs buckets with prefixes. */
function readLocations(reader: FieldReader<IamQuery>, query: IamQuery): Location[] {
  const buckets = listOf(query.bucket).map((bucket) => bucket.trim());
  const prefixes = listOf(query.prefix).map(normalizePrefix);
  const nameField = (field: string, all: string[], index: number): string =>
    all.length > 1 ? `${field}.${index}` : field;
  if (buckets.length === 0) reader.add({ field: 'bucket', rule: 'REQUIRED', message: 'is required' });
  buckets.forEach((bucket, index) => reader.add(...checkBucketName(nameField('bucket', buckets, index), bucket)));
  prefixes.forEach((prefix, index) => reader.add(...checkDocumentPrefix(nameField('prefix', prefixes, index), prefix)));
  if (buckets.length > 1 && prefixes.length > 1 && buckets.length !== prefixes.length) {
    reader.add({
      field: 'prefix',
      rule: 'PREFIX_COUNT',
      message:
        `must be given once for all buckets, or once for each of the ${buckets.length} buckets in their order, ` +
        `but is given ${prefixes.length} times`,
    });
  }
  const pairs =
    buckets.length === 1 && prefixes.length > 1
      ? prefixes.map((prefix) => ({ bucket: buckets[0]!, prefix }))
      : buckets.map((bucket, index) => ({
          bucket,
          prefix: (prefixes.length > 1 ? prefixes[index] : prefixes[0]) ?? '',
        }));
  return withoutNested(pairs);
}

/** The customer's account: the one in the query, else the execution role's. */
function readAccount(reader: FieldReader<IamQuery>): { executionRoleArn?: string; accountId?: string } {
  const executionRoleArn = reader.optional('executionRoleArn', checkExecutionRoleArn);
  const accountOfArn = executionRoleArn === undefined ? '' : accountOfRole(executionRoleArn);
  const accountId = reader.optional('accountId', checkAccountId);
  if (accountId !== undefined && accountOfArn !== '' && accountId !== accountOfArn) {
    reader.add({
      field: 'executionRoleArn',
      rule: 'EXECUTION_ROLE_ACCOUNT',
      message: `must be a role of the account ${accountId}: iam:PassRole does not work across accounts`,
    });
  }
  return { executionRoleArn, accountId: accountId ?? (accountOfArn === '' ? undefined : accountOfArn) };
}

function readWorkflow(reader: FieldReader<IamQuery>): { workflow?: SharedWorkflow; ownerId?: string } {
  const text = reader.optional('workflowId', checkSharedWorkflowText);
  const workflow = text === undefined ? undefined : parseSharedWorkflow(text);
  const ownerId = reader.optional('workflowOwnerId', checkAccountId);
  if (workflow?.ownerId !== undefined && ownerId !== undefined && workflow.ownerId !== ownerId) {
    reader.add({
      field: 'workflowOwnerId',
      rule: 'WORKFLOW_OWNER_MISMATCH',
      message: `must be ${workflow.ownerId}, the account in the workflow's ARN, or be absent`,
    });
  }
  return { workflow, ownerId: ownerId ?? workflow?.ownerId };
}

function readRegion(
  reader: FieldReader<IamQuery>,
  workflow: SharedWorkflow | undefined,
  capabilities: readonly Capability[],
): string | undefined {
  const region = reader.optional('region', capabilities.includes('bases2fastq') ? checkHealthOmicsRegion : checkRegion);
  if (workflow?.region !== undefined && region !== undefined && workflow.region !== region) {
    reader.add({
      field: 'region',
      rule: 'WORKFLOW_REGION_MISMATCH',
      message: `must be ${workflow.region}, the region in the workflow's ARN: a shared workflow runs only there`,
    });
  }
  return region ?? workflow?.region;
}

/** Checks that IAM accepts the policies as inline policies. */
function checkPolicyLength(choice: IamChoice): FieldProblem[] {
  const documents: [CredentialType, PolicyDocument][] = [[choice.credentialType, permissionPolicy(choice)]];
  if (choice.capabilities.includes('bases2fastq')) documents.push(['role', executionPermissionPolicy(choice)]);
  const tooLong = documents.find(
    ([type, document]) => compactJson(document).replace(/\s/g, '').length > POLICY_LENGTH[type],
  );
  if (tooLong === undefined) return [];
  const [type] = tooLong;
  const limit = `IAM accepts ${POLICY_LENGTH[type]} characters for the inline policies of a`;
  return [
    {
      field: 'bucket',
      rule: 'POLICY_LENGTH',
      message:
        'must be fewer buckets, or have shorter prefixes: ' +
        (type === 'role' ? `${limit} role` : `${limit} user. A role accepts ${POLICY_LENGTH.role}.`),
    },
  ];
}

function listOf(value: string | readonly string[] | undefined): string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : [...value];
}
