import { randomBytes } from 'node:crypto';
import { InputError } from '../domain/errors.js';
import { eventDocuments } from '../domain/events/documents.js';
import { iamDocuments, newExternalId } from '../domain/iam/documents.js';
import { permissionPolicy, trustPolicy } from '../domain/iam/policies.js';
import { type IamQuery, parseIamQuery } from '../domain/iam/query.js';

export const IAM_FORMATS = [
  'json',
  'cloudformation',
  'terraform',
  'aws-cli',
  'policy',
  'trust',
  'events-cloudformation',
  'events-terraform',
] as const;

export interface IamOptions extends Omit<IamQuery, 'capabilities'> {
  capabilities?: string;
  trustedAccountId?: string;
  format: string;
}

/** What `polony iam` prints. @throws InputError when an option is missing or wrong. */
export function iamText({ format, trustedAccountId, ...query }: IamOptions): string {
  if (!(IAM_FORMATS as readonly string[]).includes(format))
    throw new InputError([{ field: 'format', rule: 'ONE_OF', message: `must be ${IAM_FORMATS.join(', ')}` }]);
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  if (format === 'events-cloudformation' || format === 'events-terraform') {
    const [bucket, ...more] = [query.bucket ?? []].flat();
    if (bucket === undefined || more.length > 0)
      throw new InputError([
        { field: 'bucket', rule: 'ONE', message: 'must be one bucket: each bucket has its own rule' },
      ]);
    const documents = eventDocuments({ bucket, prefix: [query.prefix ?? []].flat()[0] });
    return format === 'events-terraform' ? documents.terraform : documents.cloudFormation;
  }
  const choice = parseIamQuery(query);
  if (format === 'policy') return json(permissionPolicy(choice));
  const isRole = choice.credentialType === 'role';
  if (!isRole && format === 'trust')
    throw new InputError([
      { field: 'format', rule: 'NO_TRUST', message: 'must not be trust: an IAM user has no trust policy' },
    ]);
  if (isRole && trustedAccountId === undefined) {
    throw new InputError([
      {
        field: 'trusted-account-id',
        rule: 'REQUIRED',
        message:
          'is required: the AWS account that polony runs in, which the role must trust. ' +
          'You can also set POLONY_TRUSTED_ACCOUNT_ID',
      },
    ]);
  }
  const externalId = isRole ? (choice.externalId ?? newExternalId(randomBytes(20))) : undefined;
  if (format === 'trust') return json(trustPolicy(trustedAccountId ?? '', externalId ?? ''));
  const documents = iamDocuments({ ...choice, externalId }, trustedAccountId);
  switch (format) {
    case 'cloudformation':
      return documents.cloudFormation;
    case 'terraform':
      return documents.terraform;
    case 'aws-cli':
      return documents.awsCli;
    default:
      return json({ externalId: externalId ?? null, ...documents });
  }
}

/** `polony iam`: prints IAM documents. */
export function iam(options: IamOptions): void {
  process.stdout.write(iamText(options));
}
