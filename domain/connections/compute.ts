import { accountOfRole } from '../arn.js';
import type { FieldProblem } from '../errors.js';

/**
 * Checks an execution role against its provider: iam:PassRole works only within one account (IAM User Guide, "Granting
 * a user permissions to pass a role to an AWS service"), and the vendor's page asks for a separate role that trusts
 * omics.amazonaws.com.
 * @param provider its role, or null for access keys; its account, or null when polony does not know it yet.
 */
export function checkExecutionRole(
  field: string,
  executionRoleArn: string,
  provider: { roleArn: string | null; account: string | null },
): FieldProblem[] {
  if (executionRoleArn === provider.roleArn) {
    return [
      {
        field,
        rule: 'EXECUTION_ROLE_IS_PROVIDER_ROLE',
        message:
          "must not be the provider's own role. " +
          'Create a separate execution role for HealthOmics, which trusts omics.amazonaws.com.',
      },
    ];
  }
  const account = accountOfRole(executionRoleArn);
  if (provider.account !== null && account !== provider.account)
    return [
      {
        field,
        rule: 'EXECUTION_ROLE_ACCOUNT',
        message:
          `must be a role of the provider's account ${provider.account}, but belongs to ${account}. ` +
          'iam:PassRole does not work across accounts.',
      },
    ];
  return [];
}
