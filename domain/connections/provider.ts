import { parseArn } from '../arn.js';
import type { FieldProblem } from '../errors.js';
import { partitionOf } from '../regions.js';

/**
 * Checks an external ID: letters, digits and `@:,=-./_`, no spaces (the vendor's page), 2 to 1224 characters (STS API
 * Reference, AssumeRole).
 */
export function checkExternalId(field: string, value: string): FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (value.length < 2 || value.length > 1224)
    problems.push({
      field,
      rule: 'EXTERNAL_ID_LENGTH',
      message: `must have 2 to 1224 characters, but has ${value.length}`,
    });
  if (/\s/.test(value)) problems.push({ field, rule: 'EXTERNAL_ID_CHARACTERS', message: 'must not contain spaces' });
  else if (!/^[A-Za-z0-9@:,=\-./_]*$/.test(value))
    problems.push({ field, rule: 'EXTERNAL_ID_CHARACTERS', message: 'may contain only letters, digits and @:,=-./_' });
  return problems;
}

/** External IDs of fewer characters can be guessed: 16 random hexadecimal digits are 64 bits. */
const SHORT_EXTERNAL_ID = 16;

/** Whether an external ID is so short that somebody could guess it. */
export function isShortExternalId(value: string): boolean {
  return value.length < SHORT_EXTERNAL_ID;
}

/** What is wrong with a short external ID, and what to do. */
export function describeShortExternalId(value: string): { code: string; message: string; remedy: string } {
  return {
    code: 'EXTERNAL_ID_SHORT',
    message:
      `The external ID has only ${value.length} characters. Somebody who guesses it could reach this account through ` +
      'polony',
    remedy:
      "Generate a new one with the IAM documents, add it to the role's trust policy beside the old one, give it to the " +
      'provider, and remove the old one from the trust policy.',
  };
}

/** Checks that a role and the region where polony calls STS are in one partition. */
export function checkRolePartition(field: string, roleArn: string, defaultRegion: string): FieldProblem[] {
  const role = parseArn(roleArn)?.partition;
  const partition = partitionOf(defaultRegion);
  if (role === undefined || role === partition) return [];
  return [
    {
      field,
      rule: 'PARTITION',
      message:
        `must be in the partition ${partition} of the default region ${defaultRegion}, but is in ${role}. ` +
        'Correct the ARN, or choose a default region of its partition.',
    },
  ];
}

/**
 * Checks the ID of an access key: it begins with AKIA (IAM User Guide, unique identifiers). Keys that begin with ASIA
 * are temporary, so a provider cannot use them.
 */
export function checkAccessKeyId(field: string, value: string): FieldProblem[] {
  if (/^AKIA[A-Z0-9]{12,124}$/.test(value)) return [];
  const message = value.startsWith('ASIA')
    ? 'must be the access key of an IAM user. A key that begins with ASIA belongs to a session and expires with it.'
    : 'must be the access key ID of an IAM user: AKIA and 16 capital letters or digits';
  return [{ field, rule: 'ACCESS_KEY_ID', message }];
}

/** Checks a secret access key. The problem never repeats its value. */
export function checkSecretAccessKey(field: string, value: string): FieldProblem[] {
  return /^[A-Za-z0-9/+=]{40,128}$/.test(value)
    ? []
    : [
        {
          field,
          rule: 'SECRET_ACCESS_KEY',
          message:
            'must be the secret access key that IAM showed when you created the key: 40 letters, digits, / and +',
        },
      ];
}

/** What to do about a role that can be assumed without its external ID. */
export const REQUIRE_EXTERNAL_ID =
  "Add the condition StringEquals sts:ExternalId with the provider's external ID to every statement of the role's trust " +
  'policy that allows sts:AssumeRole';
