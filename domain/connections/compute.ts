import { accountOfRole, checkRoleArn, parseArn } from '../arn.js';
import type { FieldProblem } from '../errors.js';
import { HEALTHOMICS_PARTITION } from '../regions.js';

/** The longest ARN of a role that StartRun accepts, in characters (HealthOmics API Reference, StartRun). */
const ROLE_ARN_LIMIT = 128;

/** Checks the ARN of a role that HealthOmics is to assume. */
export function checkHealthOmicsRole(field: string, value: string): FieldProblem[] {
  const problems = checkRoleArn(field, value);
  if (problems.length > 0) return problems;
  const { partition } = parseArn(value)!;
  if (partition !== HEALTHOMICS_PARTITION)
    problems.push({
      field,
      rule: 'HEALTHOMICS_PARTITION',
      message: `must be a role of the partition ${HEALTHOMICS_PARTITION}: AWS HealthOmics does not exist in ${partition}`,
    });
  if (value.length > ROLE_ARN_LIMIT)
    problems.push({
      field,
      rule: 'EXECUTION_ROLE_ARN_LENGTH',
      message:
        `must have at most ${ROLE_ARN_LIMIT} characters, the limit of HealthOmics, but has ${value.length}. ` +
        'Use a role with a shorter name or path.',
    });
  return problems;
}

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
