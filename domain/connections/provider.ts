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
