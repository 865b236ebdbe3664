import { randomBytes } from 'node:crypto';
import { InputError } from '../domain/errors.js';
import { eventDocuments } from '../domain/events/documents.js';
import type { IamChoice } from '../domain/iam/choice.js';
import { iamDocuments, newExternalId } from '../domain/iam/documents.js';
import { permissionPolicy, trustPolicy } from '../domain/iam/policies.js';
import { scopePartition } from '../domain/iam/permissions.js';
import { policyText } from '../domain/iam/policyText.js';
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
  if (!isFormat(format))
    throw new InputError([{ field: 'format', rule: 'ONE_OF', message: `must be ${IAM_FORMATS.join(', ')}` }]);
  switch (format) {
    case 'events-cloudformation':
      return eventDocumentsOf(query).cloudFormation;
    case 'events-terraform':
      return eventDocumentsOf(query).terraform;
    case 'policy':
      return jsonText(permissionPolicy(parseIamQuery(query)));
    default:
      return roleOrUserText(format, parseIamQuery(query), trustedAccountId);
  }
}

type IamFormat = (typeof IAM_FORMATS)[number];

function isFormat(format: string): format is IamFormat {
  return (IAM_FORMATS as readonly string[]).includes(format);
}

function jsonText(value: unknown): string {
  return `${policyText(value, 2)}\n`;
}

function eventDocumentsOf(query: Pick<IamQuery, 'bucket' | 'prefix'>): ReturnType<typeof eventDocuments> {
  const [bucket, ...more] = [query.bucket ?? []].flat();
  if (bucket === undefined || more.length > 0)
    throw new InputError([
      { field: 'bucket', rule: 'ONE', message: 'must be one bucket: each bucket has its own rule' },
    ]);
  return eventDocuments({ bucket, prefix: [query.prefix ?? []].flat()[0] });
}

/** Documents that create the role, with its trust policy, or the user. */
function roleOrUserText(
  format: Exclude<IamFormat, 'policy' | `events-${string}`>,
  choice: IamChoice,
  trustedAccountId: string | undefined,
): string {
  checkTrust(format, choice, trustedAccountId);
  const isRole = choice.credentialType === 'role';
  const externalId = isRole ? (choice.externalId ?? newExternalId(randomBytes(20))) : undefined;
  if (format === 'trust')
    return jsonText(trustPolicy(trustedAccountId ?? '', externalId ?? '', scopePartition(choice)));
  const documents = iamDocuments({ ...choice, externalId }, trustedAccountId);
  switch (format) {
    case 'cloudformation':
      return documents.cloudFormation;
    case 'terraform':
      return documents.terraform;
    case 'aws-cli':
      return documents.awsCli;
    case 'json':
      return jsonText({ externalId: externalId ?? null, ...documents });
  }
}

/** A role needs a trusted account, and a user has no trust policy. @throws InputError */
function checkTrust(format: IamFormat, { credentialType }: IamChoice, trustedAccountId: string | undefined): void {
  if (credentialType !== 'role' && format === 'trust')
    throw new InputError([
      { field: 'format', rule: 'NO_TRUST', message: 'must not be trust: an IAM user has no trust policy' },
    ]);
  if (credentialType === 'role' && trustedAccountId === undefined)
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

/** `polony iam`: prints IAM documents. */
export function iam(options: IamOptions): void {
  process.stdout.write(iamText(options));
}
