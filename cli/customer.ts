import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { AcceptShareCommand, ListSharesCommand, OmicsClient } from '@aws-sdk/client-omics';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { iamDocuments } from '../domain/iam/documents.js';
import { policyText } from '../domain/iam/policyText.js';
import { parseIamQuery } from '../domain/iam/query.js';
import type { LocalInfo } from '../local/stackFiles.js';

/** The customer's AWS account, as its admin sets it up with plain AWS calls and the steps of the vendor's page. */
export interface CustomerAccount {
  bucket: string;
  prefix: string;
  providerRoleArn: string;
  externalId: string;
  executionRoleArn: string;
  workflowId: string;
  workflowOwnerId: string;
}

/** AWS clients with the credentials of the customer's admin. */
export function adminClients(info: LocalInfo) {
  const common = {
    region: info.awsRegion,
    endpoint: info.awsEndpoint,
    credentials: { accessKeyId: info.adminAccessKeyId, secretAccessKey: info.adminSecretAccessKey },
  };
  return {
    s3: new S3Client({ ...common, forcePathStyle: true }),
    iam: new IAMClient(common),
    omics: new OmicsClient({ ...common, disableHostPrefix: true }),
  };
}

/**
 * Creates the bucket, the provider role and the execution role, and accepts the workflow share.
 * @param suffix makes the names unique, so that one account can be set up several times.
 * @param without actions that the admin forgets in the policy of the provider role.
 * @throws when no workflow is shared with the account.
 */
export async function setUpCustomer(
  info: LocalInfo,
  serviceAccountId: string,
  suffix: string,
  without: readonly string[] = [],
): Promise<CustomerAccount> {
  const accountId = info.adminAccessKeyId;
  const { s3, iam, omics } = adminClients(info);
  const bucket = `lab-aviti-${suffix}`;
  const prefix = 'runs';
  const externalId = `lab-${suffix}`;
  await s3.send(
    new CreateBucketCommand({
      Bucket: bucket,
      CreateBucketConfiguration: { LocationConstraint: info.awsRegion as never },
    }),
  );
  const providerRole = `Element-ServiceUser-${suffix}`;
  const executionRole = `omics-execution-${suffix}`;
  const executionRoleArn = `arn:aws:iam::${accountId}:role/${executionRole}`;
  // The vendor's templates, as polony generates them for the capabilities that the demo uses.
  const choice = parseIamQuery({
    credentialType: 'role',
    bucket,
    prefix,
    capabilities: 'runUpload,dataExploration,bases2fastq',
    externalId,
    executionRoleArn,
  });
  const documents = iamDocuments(choice, serviceAccountId);
  const createRole = async (
    RoleName: string,
    trust: unknown,
    granted: unknown,
    MaxSessionDuration?: number,
  ): Promise<void> => {
    await iam.send(
      new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument: policyText(trust), MaxSessionDuration }),
    );
    await iam.send(new PutRolePolicyCommand({ RoleName, PolicyName: 'polony', PolicyDocument: policyText(granted) }));
  };
  const Statement = documents.permissionPolicy.Statement.map((statement) => ({
    ...statement,
    Action: [statement.Action].flat().filter((action) => !without.includes(action)),
  })).filter(({ Action }) => Action.length > 0);
  await createRole(
    providerRole,
    documents.trustPolicy,
    without.length === 0 ? documents.permissionPolicy : { ...documents.permissionPolicy, Statement },
    43_200,
  );
  await createRole(executionRole, documents.executionRole!.trustPolicy, documents.executionRole!.permissionPolicy);
  const { shares } = await omics.send(new ListSharesCommand({ resourceOwner: 'OTHER' }));
  const share = shares?.[0];
  if (share?.shareId === undefined || share.resourceId === undefined || share.ownerId === undefined)
    throw new Error(`No workflow is shared with the account ${accountId}. Share one with it first`);
  if (share.status === 'PENDING') await omics.send(new AcceptShareCommand({ shareId: share.shareId }));
  for (const client of [s3, iam, omics]) client.destroy();
  return {
    bucket,
    prefix,
    providerRoleArn: `arn:aws:iam::${accountId}:role/${providerRole}`,
    externalId,
    executionRoleArn,
    workflowId: share.resourceId,
    workflowOwnerId: share.ownerId,
  };
}

/** Adds statements to a role, in an inline policy of their own. */
export async function addStatements(info: LocalInfo, roleArn: string, statements: readonly unknown[]): Promise<void> {
  const { iam } = adminClients(info);
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: roleArn.split('/').at(-1),
      PolicyName: 'polony-added',
      PolicyDocument: policyText({ Version: '2012-10-17', Statement: statements }),
    }),
  );
  iam.destroy();
}

/** A client of polony's API. It sends and returns JSON, and throws the API's error message. */
export function apiClient(info: Pick<LocalInfo, 'apiUrl' | 'apiKey'>) {
  return async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(`${info.apiUrl}${path}`, {
      method,
      headers: { 'x-api-key': info.apiKey, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const answer = (text === '' ? undefined : JSON.parse(text)) as T;
    if (response.ok) return answer;
    const { message = text } = (answer ?? {}) as { message?: string };
    throw new Error(`${method} ${path} failed with status ${response.status}: ${message}`);
  };
}

/** The ids of what {@link connectAccount} creates. */
export interface Connected {
  providerId: string;
  storageConnectionId: string;
  computeConnectionId: string;
  flowId: string;
}

interface ConnectOptions {
  providerName?: string;
  storageConnectionName?: string;
  computeConnectionName?: string;
  /** Makes the flow start for every run of the storage connection, or for those that these filters select. */
  autoStart?: boolean | object;
  /** More fields of the flow. */
  [flowField: string]: unknown;
}

/**
 * Connects an account through the API, as its owner would: provider, storage connection, compute connection and flow.
 */
export async function connectAccount(
  call: <T>(method: string, path: string, body?: unknown) => Promise<T>,
  account: CustomerAccount,
  options: ConnectOptions = {},
): Promise<Connected> {
  const {
    providerName = 'lab',
    storageConnectionName = 'runs',
    computeConnectionName = 'omics',
    autoStart = false,
    ...fields
  } = options;
  const { provider } = await call<{ provider: { id: string } }>('POST', '/v1/providers', {
    name: providerName,
    defaultRegion: 'us-west-2',
    credentialType: 'role',
    roleArn: account.providerRoleArn,
    externalId: account.externalId,
  });
  const { storageConnection } = await call<{ storageConnection: { id: string } }>('POST', '/v1/storage-connections', {
    name: storageConnectionName,
    providerId: provider.id,
    region: 'us-west-2',
    bucket: account.bucket,
    prefix: account.prefix,
    useForRunUpload: true,
    useForDataExploration: true,
  });
  const { computeConnection } = await call<{ computeConnection: { id: string } }>('POST', '/v1/compute-connections', {
    name: computeConnectionName,
    providerId: provider.id,
    executionRoleArn: account.executionRoleArn,
    region: 'us-west-2',
  });
  const { flow } = await call<{ flow: { id: string } }>('POST', '/v1/flows', {
    name: 'b2f',
    computeConnectionId: computeConnection.id,
    sharedWorkflowId: account.workflowId,
    workflowOwnerId: account.workflowOwnerId,
    ...(autoStart !== false && {
      autoStart: { storageConnectionIds: [storageConnection.id], ...(typeof autoStart === 'object' && autoStart) },
    }),
    ...fields,
  });
  return {
    providerId: provider.id,
    storageConnectionId: storageConnection.id,
    computeConnectionId: computeConnection.id,
    flowId: flow.id,
  };
}
