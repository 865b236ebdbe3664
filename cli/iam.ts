import { randomBytes } from 'node:crypto';
import { InputError } from '../domain/errors.js';
import { eventDocuments } from '../domain/events/documents.js';
import type { IamChoice } from '../domain/iam/choice.js';
import { iamDocuments, newExternalId } from '../domain/iam/documents.js';
import { permissionPolicy, trustPolicy } from '../domain/iam/policies.js';
import { scopePartition } from '../domain/iam/permissions.js';
import { policyText } from '../domain/iam/policyText.js';
import { type IamQuery, parseIamQuery } from '../domain/iam/query.js';
import { CliError, EXIT } from './client/exit.js';
import { type ConnectionOptions, connectionOf, hasConnection, type Profile } from './client/profiles.js';
import { request } from './client/requests.js';

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
  /** The https address of `POST /v1/events`, for the event documents. */
  url?: string;
  format: string;
}

/** What `polony iam` prints. @throws InputError when an option is missing or wrong. */
export function iamText({ format, trustedAccountId, url, ...query }: IamOptions): string {
  if (!isFormat(format))
    throw new InputError([{ field: 'format', rule: 'ONE_OF', message: `must be ${IAM_FORMATS.join(', ')}` }]);
  switch (format) {
    case 'events-cloudformation':
      return eventDocumentsOf(query, url).cloudFormation;
    case 'events-terraform':
      return eventDocumentsOf(query, url).terraform;
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

function eventDocumentsOf(
  { bucket, prefix }: Pick<IamQuery, 'bucket' | 'prefix'>,
  url: string | undefined,
): ReturnType<typeof eventDocuments> {
  return eventDocuments({ bucket: single(bucket), prefix: [prefix ?? []].flat()[0], url });
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
  return pickDocument(format, {
    externalId: externalId ?? null,
    ...iamDocuments({ ...choice, externalId }, trustedAccountId),
  });
}

/** The members of an answer of `GET /v1/iam-documents` that formats show. */
interface ShownDocuments {
  [others: string]: unknown;
  cloudFormation: string;
  terraform: string;
  awsCli: string;
}

function pickDocument(format: 'json' | 'cloudformation' | 'terraform' | 'aws-cli', documents: ShownDocuments): string {
  switch (format) {
    case 'cloudformation':
      return documents.cloudFormation;
    case 'terraform':
      return documents.terraform;
    case 'aws-cli':
      return documents.awsCli;
    case 'json':
      return jsonText(documents);
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
          'Log in with polony login, and the API says which one it is; or set POLONY_TRUSTED_ACCOUNT_ID',
      },
    ]);
}

/** The flags of `polony iam`. */
export interface IamFlags extends IamOptions, ConnectionOptions {
  json?: boolean;
}

/**
 * `polony iam`: prints IAM documents. What only an installation knows comes from its API: the account that roles must
 * trust, and the address for events. Without an API, it comes from flags and the environment.
 */
export async function iam({ apiUrl, apiKey, profile, url, json, ...options }: IamFlags): Promise<void> {
  const format = json === true ? 'json' : options.format;
  const trustedAccountId = options.trustedAccountId ?? (process.env.POLONY_TRUSTED_ACCOUNT_ID || undefined);
  const connection = { apiUrl, apiKey, profile };
  const isKnown = options.trustedAccountId !== undefined || url !== undefined;
  const localText = (): string => iamText({ ...options, url, format, trustedAccountId });
  const needsApi = !isKnown && asksInstallation(options.credentialType, format) && hasConnection(connection);
  process.stdout.write(
    needsApi ? await textFromApi(connectionOf(connection), { ...options, format }, localText) : localText(),
  );
}

/** Whether a document contains what only an installation of polony knows. */
function asksInstallation(credentialType: string, format: string): boolean {
  return format.startsWith('events-') || (credentialType === 'role' && format !== 'policy');
}

/**
 * Asks the API for the documents.
 * @param localText what to print where the API does not answer, but the environment has the account too
 * @throws CliError with the way out
 */
async function textFromApi(api: Profile, options: IamOptions, localText: () => string): Promise<string> {
  const { format, trustedAccountId: _none, ...query } = options;
  if (!isFormat(format)) return localText();
  const isEvents = format.startsWith('events-');
  const { bucket, prefix } = query;
  try {
    const path = isEvents ? '/v1/iam-documents/events' : '/v1/iam-documents';
    const answer = await request(api, 'GET', path, {
      // One bucket has one rule: the API takes a single bucket there.
      query: isEvents ? { bucket: single(bucket), prefix: [prefix ?? []].flat()[0] } : { ...query },
    });
    return textOf(format, answer as ApiDocuments);
  } catch (error) {
    if (!(error instanceof CliError) || error.exit === EXIT.usage) throw error;
    if (isEvents || process.env.POLONY_TRUSTED_ACCOUNT_ID) {
      process.stderr.write(`${error.message}. Polony writes the documents without the API.\n`);
      return localText();
    }
    throw new CliError(
      `${error.message}. To write the documents without the API, give --trusted-account-id`,
      error.exit,
    );
  }
}

type ApiDocuments = ShownDocuments & { trustPolicy: unknown; permissionPolicy: unknown };

function textOf(format: IamFormat, documents: ApiDocuments): string {
  switch (format) {
    case 'events-cloudformation':
      return documents.cloudFormation;
    case 'events-terraform':
      return documents.terraform;
    case 'trust':
      return jsonText(documents.trustPolicy);
    case 'policy':
      return jsonText(documents.permissionPolicy);
    default:
      return pickDocument(format, documents);
  }
}

/** @throws InputError for no bucket and for several */
function single(buckets: string | readonly string[]): string {
  const [bucket, ...more] = [buckets ?? []].flat();
  if (bucket === undefined || more.length > 0)
    throw new InputError([
      { field: 'bucket', rule: 'ONE', message: 'must be one bucket: each bucket has its own rule' },
    ]);
  return bucket;
}
