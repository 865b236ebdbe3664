import type { FieldProblem } from './errors.js';

/** The parts of an ARN. */
export interface Arn {
  partition: string;
  service: string;
  region: string;
  account: string;
  resource: string;
}

/** Parses an ARN; undefined when the text is not an ARN. */
export function parseArn(text: string): Arn | undefined {
  const match = /^arn:(aws[a-z-]*):([a-z0-9-]+):([a-z0-9-]*):(\d{12}|):(.+)$/.exec(text);
  if (!match) return undefined;
  const [, partition, service, region, account, resource] = match as unknown as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  return { partition, service, region, account, resource };
}

/** The account in a role's ARN. The caller has checked the ARN; the answer is empty for any other text. */
export function accountOfRole(roleArn: string): string {
  return parseArn(roleArn)?.account ?? '';
}

/**
 * Whether two accounts are the same as far as polony knows. It does not know the account of access keys until STS has
 * answered.
 */
export function sameAccount(one: string | null | undefined, other: string | null | undefined): boolean {
  return one == null || other == null || one === other;
}

/** Checks the ARN of an IAM role: `arn:aws:iam::<12 digits>:role/[path/]name` (IAM User Guide, IAM identifiers). */
export function checkRoleArn(field: string, value: string): FieldProblem[] {
  const arn = parseArn(value);
  if (
    arn?.service === 'iam' &&
    arn.region === '' &&
    arn.account !== '' &&
    /^role\/([\x21-\x7e]{1,510}\/)?[\w+=,.@-]{1,64}$/.test(arn.resource)
  )
    return [];
  return [
    {
      field,
      rule: 'ROLE_ARN',
      message:
        'must be the ARN of an IAM role, such as arn:aws:iam::111122223333:role/Element-ServiceUser. ' +
        "Copy it from the role's page in the IAM console.",
    },
  ];
}

/** Checks a twelve-digit AWS account. */
export function checkAccountId(field: string, value: string): FieldProblem[] {
  if (/^\d{12}$/.test(value)) return [];
  return [{ field, rule: 'AWS_ACCOUNT_ID', message: 'must be an AWS account ID of 12 digits' }];
}
