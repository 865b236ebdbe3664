import type { FieldProblem } from './errors.js';

/** An ARN taken apart. */
export interface Arn {
  partition: string;
  service: string;
  region: string;
  account: string;
  resource: string;
}

/** Takes an ARN apart; undefined when the text is none. */
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

/** The regions where AWS HealthOmics runs workflows (AWS General Reference, HealthOmics endpoints). */
export const HEALTHOMICS_REGIONS = [
  'ap-northeast-1',
  'ap-northeast-2',
  'ap-southeast-1',
  'eu-central-1',
  'eu-west-1',
  'eu-west-2',
  'il-central-1',
  'us-east-1',
  'us-east-2',
  'us-west-2',
] as const;

/** The account of a role's ARN; the ARN was checked before it was stored. */
export function accountOfRole(roleArn: string): string {
  return parseArn(roleArn)?.account ?? '';
}

/** Whether two accounts are the same as far as is known: that of access keys is not until STS has answered. */
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
    /^role\/([\x21-\x7e]+\/)?[\w+=,.@-]{1,64}$/.test(arn.resource)
  )
    return [];
  return [
    {
      field,
      rule: 'ROLE_ARN',
      message: `must be the ARN of an IAM role, such as arn:aws:iam::111122223333:role/Element-ServiceUser; copy it from the role's page in the IAM console`,
    },
  ];
}

/**
 * Checks an external ID: alphanumeric and `@:,=-./_`, no spaces (the vendor's page), 2 to 1224 characters (STS AssumeRole).
 */
export function checkExternalId(field: string, value: string): FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (value.length < 2 || value.length > 1224)
    problems.push({
      field,
      rule: 'EXTERNAL_ID_LENGTH',
      message: `must have 2 to 1224 characters, this has ${value.length}`,
    });
  if (/\s/.test(value)) problems.push({ field, rule: 'EXTERNAL_ID_CHARACTERS', message: 'must not contain spaces' });
  else if (!/^[A-Za-z0-9@:,=\-./_]*$/.test(value))
    problems.push({ field, rule: 'EXTERNAL_ID_CHARACTERS', message: 'may contain letters, digits and @:,=-./_ only' });
  return problems;
}

/** Checks that a text has the form of an AWS region. Whether the region exists is AWS's to say. */
export function checkRegion(field: string, value: string): FieldProblem[] {
  if (/^[a-z]{2}(-[a-z]+)+-\d{1,2}$/.test(value)) return [];
  return [{ field, rule: 'AWS_REGION', message: 'must be an AWS region such as us-west-2' }];
}

/** Checks that a region has AWS HealthOmics. */
export function checkHealthOmicsRegion(field: string, value: string): FieldProblem[] {
  if ((HEALTHOMICS_REGIONS as readonly string[]).includes(value)) return [];
  return [
    {
      field,
      rule: 'HEALTHOMICS_REGION',
      message: `must be a region of AWS HealthOmics: ${HEALTHOMICS_REGIONS.join(', ')}`,
    },
  ];
}

/** Checks a bucket's name by S3's rules (S3 User Guide, general purpose bucket naming rules); `s3://` must not be in it. */
export function checkBucketName(field: string, value: string): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (/^s3:/i.test(value)) return problem('BUCKET_HAS_SCHEME', "must be the bucket's name alone, without s3://");
  if (value.includes('/'))
    return problem('BUCKET_HAS_PATH', "must be the bucket's name alone; put the folder in prefix");
  if (value.startsWith('arn:')) return problem('BUCKET_IS_ARN', "must be the bucket's name, not its ARN");
  if (value.length < 3 || value.length > 63)
    return problem('BUCKET_LENGTH', `must have 3 to 63 characters, this has ${value.length}`);
  if (!/^[a-z0-9.-]+$/.test(value))
    return problem('BUCKET_CHARACTERS', 'may contain lower-case letters, digits, dots and hyphens only');
  if (!/^[a-z0-9].*[a-z0-9]$/.test(value)) return problem('BUCKET_ENDS', 'must begin and end with a letter or digit');
  if (value.includes('..')) return problem('BUCKET_DOTS', 'must not have two dots in a row');
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(value)) return problem('BUCKET_IP', 'must not look like an IP address');
  const prefix = ['xn--', 'sthree-', 'amzn-s3-demo-'].find((reserved) => value.startsWith(reserved));
  if (prefix !== undefined) return problem('BUCKET_RESERVED', `must not begin with ${prefix}`);
  const suffix = ['-s3alias', '--ol-s3', '.mrap', '--x-s3', '--table-s3'].find((reserved) => value.endsWith(reserved));
  if (suffix !== undefined) return problem('BUCKET_RESERVED', `must not end with ${suffix}`);
  return [];
}

/**
 * The normal form of a prefix: no slash at its ends, so that `runs`, `/runs` and `runs/` are one; empty for the whole bucket.
 */
export function normalizePrefix(value: string): string {
  return value.trim().replace(/^\/+|\/+$/g, '');
}

/**
 * Checks a prefix in its normal form. Wildcards are refused since the prefix becomes part of IAM resources, where `*`, `?`
 * and `${` would grant more than this folder.
 */
export function checkPrefix(field: string, value: string): FieldProblem[] {
  const problem = (rule: string, message: string): FieldProblem[] => [{ field, rule, message }];
  if (/^s3:\/\//i.test(value))
    return problem('PREFIX_HAS_SCHEME', 'must be a folder inside the bucket, without s3:// and bucket name');
  if (new TextEncoder().encode(value).length > 512)
    return problem('PREFIX_LENGTH', 'must have at most 512 bytes, to leave room for run folders in a key of 1,024');
  if (/[\u0000-\u001f\u007f\\]/.test(value))
    return problem('PREFIX_CHARACTERS', 'must not contain control characters or backslashes');
  if (/[*?]|\$\{/.test(value))
    return problem('PREFIX_WILDCARD', 'must not contain *, ? or ${: they are wildcards in IAM policies');
  if (value !== '' && value.split('/').some((segment) => segment === '' || segment === '.' || segment === '..')) {
    return problem('PREFIX_SEGMENTS', 'must not have empty folders, . or ..');
  }
  return [];
}

/** Checks a twelve-digit AWS account. */
export function checkAccountId(field: string, value: string): FieldProblem[] {
  if (/^\d{12}$/.test(value)) return [];
  return [{ field, rule: 'AWS_ACCOUNT_ID', message: 'must be an AWS account ID of 12 digits' }];
}

/** A shared workflow as a person names it: the share's Resource ID, or its ARN, which says owner and region too. */
export interface SharedWorkflow {
  id: string;
  ownerId?: string;
  region?: string;
}

/** Reads a shared workflow's Resource ID (1 to 18 digits, HealthOmics WorkflowId) or its ARN; undefined when it is neither. */
export function parseSharedWorkflow(value: string): SharedWorkflow | undefined {
  const trimmed = value.trim();
  if (/^\d{1,18}$/.test(trimmed)) return { id: trimmed };
  const arn = parseArn(trimmed);
  const id = /^workflow\/(\d{1,18})$/.exec(arn?.resource ?? '')?.[1];
  // Without owner and region an ARN would say no more than the Resource ID, and HealthOmics never writes one so.
  if (arn?.service !== 'omics' || id === undefined || arn.account === '' || arn.region === '') return undefined;
  return { id, ownerId: arn.account, region: arn.region };
}

/**
 * Checks a shared workflow and the account that shares it. The owner may be left out where the ARN says it; said twice, both must agree.
 * @returns the workflow with its owner, or undefined beside at least one problem.
 */
export function checkSharedWorkflow(
  fields: { workflow: string; owner: string },
  value: string,
  workflowOwnerId: string | undefined,
): { problems: FieldProblem[]; workflow?: { id: string; ownerId: string; region?: string } } {
  const problems = workflowOwnerId === undefined ? [] : checkAccountId(fields.owner, workflowOwnerId);
  const shared = parseSharedWorkflow(value);
  if (shared === undefined) {
    problems.push({
      field: fields.workflow,
      rule: 'SHARED_WORKFLOW_ID',
      message:
        'must be the Resource ID of the shared workflow (1 to 18 digits), or its ARN such as arn:aws:omics:us-west-2:111122223333:workflow/1234567; copy it from the share in the HealthOmics console',
    });
  } else if (shared.region !== undefined) {
    problems.push(...checkHealthOmicsRegion(fields.workflow, shared.region));
  }
  const ownerId = workflowOwnerId ?? shared?.ownerId;
  if (shared !== undefined && ownerId === undefined) {
    problems.push({
      field: fields.owner,
      rule: 'REQUIRED',
      message: 'must be given: the account that shares the workflow, 12 digits; the Resource ID alone does not say it',
    });
  }
  if (shared?.ownerId !== undefined && workflowOwnerId !== undefined && shared.ownerId !== workflowOwnerId) {
    problems.push({
      field: fields.owner,
      rule: 'WORKFLOW_OWNER_MISMATCH',
      message: `must be ${shared.ownerId}, the account in the workflow's ARN, or be left out`,
    });
  }
  if (problems.length > 0 || shared === undefined || ownerId === undefined) return { problems };
  return { problems, workflow: { id: shared.id, ownerId, region: shared.region } };
}

/**
 * Checks an execution role against its provider: iam:PassRole works within one account only (IAM User Guide, "Granting
 * a user permissions to pass a role to an AWS service"), and the page wants a role of its own, which trusts omics.amazonaws.com.
 * @param provider its role where it has one, its account where that is known. All was checked before.
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
          "must not be the provider's own role: HealthOmics needs a separate execution role that trusts omics.amazonaws.com",
      },
    ];
  }
  const account = accountOfRole(executionRoleArn);
  if (provider.account !== null && account !== provider.account)
    return [
      {
        field,
        rule: 'EXECUTION_ROLE_ACCOUNT',
        message: `must be a role of the provider's account ${provider.account}, this is of ${account}: iam:PassRole does not cross accounts`,
      },
    ];
  return [];
}

/** Checks an access key's id: 20 characters, beginning with AKIA (IAM User Guide, unique identifiers). Temporary ones (ASIA) end, so they are none. */
export function checkAccessKeyId(field: string, value: string): FieldProblem[] {
  if (/^AKIA[A-Z0-9]{12,124}$/.test(value)) return [];
  const message = value.startsWith('ASIA')
    ? 'must be the access key of an IAM user: one that begins with ASIA belongs to a session and ends with it'
    : 'must be the access key ID of an IAM user: AKIA and 16 capital letters or digits';
  return [{ field, rule: 'ACCESS_KEY_ID', message }];
}

/** Checks a secret access key; its value is never repeated. */
export function checkSecretAccessKey(field: string, value: string): FieldProblem[] {
  return /^[A-Za-z0-9/+=]{40,128}$/.test(value)
    ? []
    : [
        {
          field,
          rule: 'SECRET_ACCESS_KEY',
          message:
            'must be the secret access key that IAM showed when the access key was made: 40 letters, digits, / and +',
        },
      ];
}

/** Whether two prefixes of one bucket, in their normal form, have a folder in common. `runs` and `runs2` have none. */
export function prefixesOverlap(one: string, other: string): boolean {
  if (one === '' || other === '') return true;
  return `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`);
}

/** `s3://bucket/prefix/…` of a connection, with exactly one slash at the end. */
export function storageUri(bucket: string, prefix: string, ...folders: string[]): string {
  return `s3://${[bucket, prefix, ...folders].filter((part) => part !== '').join('/')}/`;
}

/** The key of a file or folder below a connection's prefix. */
export function joinKey(prefix: string, ...parts: string[]): string {
  return [prefix, ...parts].filter((part) => part !== '').join('/');
}
