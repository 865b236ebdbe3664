import type { IamChoice } from './choice.js';
import { writeAwsCli } from './formats/awsCli.js';
import { writeCloudFormation } from './formats/cloudFormation.js';
import { chooseNames, type DocumentParts, type RolePolicies } from './formats/parts.js';
import { writeTerraform } from './formats/terraform.js';
import { type PolicyDocument, scopePartition } from './permissions.js';
import { executionPermissionPolicy, executionTrustPolicy, permissionPolicy, trustPolicy } from './policies.js';

/** All IAM documents for one choice. */
export interface IamDocuments {
  /** Of the provider's role; null for a user. */
  trustPolicy: PolicyDocument | null;
  /** Of the provider's role or user. */
  permissionPolicy: PolicyDocument;
  /** Of the role that HealthOmics assumes; null without Bases2Fastq. */
  executionRole: RolePolicies | null;
  cloudFormation: string;
  terraform: string;
  awsCli: string;
}

/**
 * Writes all documents for a choice.
 * @param trustedAccountId the account whose polony may assume the role; a user needs none.
 * @throws InputError when a role lacks its external ID or trusted account.
 */
export function iamDocuments(choice: IamChoice, trustedAccountId: string | undefined): IamDocuments {
  const isRole = choice.credentialType === 'role';
  const parts: DocumentParts = {
    ...chooseNames(choice),
    trust: isRole ? trustPolicy(trustedAccountId ?? '', choice.externalId ?? '', scopePartition(choice)) : null,
    policy: permissionPolicy(choice),
    execution: choice.capabilities.includes('bases2fastq')
      ? { trustPolicy: executionTrustPolicy(choice), permissionPolicy: executionPermissionPolicy(choice) }
      : null,
  };
  return {
    trustPolicy: parts.trust,
    permissionPolicy: parts.policy,
    executionRole: parts.execution,
    cloudFormation: writeCloudFormation(parts),
    terraform: writeTerraform(parts),
    awsCli: writeAwsCli(parts),
  };
}

/** Creates an external ID that nobody can guess, from at least 16 random bytes. */
export function newExternalId(random: Uint8Array): string {
  if (random.length < 16) throw new RangeError('An external ID needs at least 16 random bytes');
  return `polony-${[...random].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
