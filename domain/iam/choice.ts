import type { Location } from './locations.js';
import type { Capability, CredentialType } from './permissions.js';

/** `vendor`: the templates of the vendor's page. `least`: the same actions on as few resources as possible. */
export const VARIANTS = ['vendor', 'least'] as const;
export type Variant = (typeof VARIANTS)[number];

/** Which IAM documents a person wants, after all checks. */
export interface IamChoice {
  credentialType: CredentialType;
  /** At least one, and none within another. */
  locations: Location[];
  capabilities: readonly Capability[];
  variant: Variant;
  /** Only for a role. */
  externalId?: string;
  executionRoleArn?: string;
  workflowId?: string;
  workflowOwnerId?: string;
  region?: string;
  accountId?: string;
}
