import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  ListAccessKeysCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateBucketCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AwsSessions, type ProviderAccess, SessionError } from '../../aws/sessions.js';
import { createKmsDataKeys } from '../../aws/kms.js';
import { adminClients } from '../../cli/customer.js';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import type { LocalInfo } from '../../local/stackFiles.js';
import { createSecrets } from '../../store/secrets.js';

let folder: string;
let guardian: Guardian;
let aws: LocalAws;
let clients: ReturnType<typeof adminClients>;
const region = 'us-west-2';
const user = 'Element-ServiceUser';

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-credentials-'));
  guardian = await createGuardian(folder);
  aws = await startLocalAws({ guardian, stateDir: folder });
  clients = adminClients({
    awsEndpoint: aws.endpoint,
    awsRegion: aws.region,
    adminAccessKeyId: aws.adminAccessKeyId,
    adminSecretAccessKey: aws.adminSecretAccessKey,
  } as LocalInfo);
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: aws.endpoint,
    AWS_ACCESS_KEY_ID: aws.adminAccessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.adminSecretAccessKey,
  });
  for (const Bucket of ['lab', 'other'])
    await clients.s3.send(
      new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { LocationConstraint: region } }),
    );
  await clients.iam.send(new CreateUserCommand({ UserName: user }));
  await allow('s3:ListBucket', 's3:PutObject', 'sts:GetFederationToken', 'sts:GetCallerIdentity');
});
afterAll(async () => {
  await guardian?.stopAll();
  await aws?.emulator.close();
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

const allow = (...Action: string[]): Promise<unknown> =>
  clients.iam.send(
    new PutUserPolicyCommand({
      UserName: user,
      PolicyName: 'polony',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action, Resource: '*' }],
      }),
    }),
  );

/** Creates an access key of the user, who may have two: the older one goes. */
async function keys(): Promise<{ accessKeyId: string; secretAccessKey: string }> {
  const { AccessKeyMetadata: old = [] } = await clients.iam.send(new ListAccessKeysCommand({ UserName: user }));
  if (old.length === 2)
    await clients.iam.send(new DeleteAccessKeyCommand({ UserName: user, AccessKeyId: old[0]!.AccessKeyId }));
  const { AccessKey } = await clients.iam.send(new CreateAccessKeyCommand({ UserName: user }));
  return { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! };
}

describe('access keys', () => {
  let provider: ProviderAccess;
  let loads = 0;
  const access = (options: { checkMs?: number } = {}): AwsSessions =>
    new AwsSessions({
      sessionSeconds: 3600,
      ...options,
      loadProvider: async () => {
        loads++;
        return provider;
      },
    });
  const use = (
    version: string,
    given: { accessKeyId: string; secretAccessKey: string },
    folders = [{ bucket: 'lab', prefix: 'runs' }],
  ): void => {
    provider = {
      type: 'accessKeys',
      region,
      version,
      ...given,
      scope: { partition: 'aws', folders, executionRoleArns: [] },
    };
  };
  const id = '01920000-0000-7000-8000-000000000000';
  const list = (aws: AwsSessions, bucket: string): Promise<unknown> =>
    aws.use(id, () => aws.s3(id, region).send(new ListObjectsV2Command({ Bucket: bucket, Prefix: 'runs/' })));

  it('are exchanged for a federated session that allows only what the provider is used for', async () => {
    use('1', await keys());
    const aws = access();
    const session = await aws.session(id);
    expect(session.accessKeyId).not.toBe((provider as { accessKeyId: string }).accessKeyId);
    const sts = new STSClient({ region, credentials: session });
    expect((await sts.send(new GetCallerIdentityCommand({}))).Arn).toMatch(/:federated-user\/polony-/);
    await list(aws, 'lab');
    await aws.use(id, () => aws.s3(id, region).send(new PutObjectCommand({ Bucket: 'lab', Key: 'runs/x', Body: 'x' })));
    // The user has this permission, the session does not.
    await expect(list(aws, 'other')).rejects.toMatchObject({ name: 'AccessDenied' });
    await expect(
      aws.use(id, () =>
        aws.s3(id, region).send(new PutObjectCommand({ Bucket: 'lab', Key: 'runs-secret/x', Body: 'x' })),
      ),
    ).rejects.toMatchObject({ name: 'AccessDenied' });
    aws.close();
  });

  it('are replaced without a failed call, at the latest when AWS refuses the old ones', async () => {
    const [first, second] = [await keys(), await keys()];
    use('1', first);
    const aws = access();
    await list(aws, 'lab');
    use('2', second);
    await clients.iam.send(new DeleteAccessKeyCommand({ UserName: user, AccessKeyId: first.accessKeyId }));
    const calls = Array.from({ length: 10 }, () => list(aws, 'lab'));
    await expect(Promise.all(calls)).resolves.toHaveLength(10);
    const before = (await aws.session(id)).accessKeyId;
    const third = await keys();
    use('3', third);
    expect((await aws.session(id)).accessKeyId).toBe(before);
    aws.close();
    const eager = access({ checkMs: 0 });
    const one = (await eager.session(id)).accessKeyId;
    use('4', second);
    expect((await eager.session(id)).accessKeyId).not.toBe(one);
    eager.close();
  });

  it('get a wider session at once after a new connection', async () => {
    const given = await keys();
    use('1', given);
    const aws = access();
    await list(aws, 'lab');
    use('2', given, [
      { bucket: 'lab', prefix: 'runs' },
      { bucket: 'other', prefix: '' },
    ]);
    await list(aws, 'other');
    aws.close();
  });

  it('are loaded from the database once for many AWS calls', async () => {
    use('1', await keys());
    const aws = access();
    loads = 0;
    for (let at = 0; at < 20; at++) await list(aws, 'lab');
    expect(loads).toBe(1);
    aws.close();
  });

  it('without sts:GetFederationToken report the missing permission', async () => {
    use('1', await keys());
    await allow('s3:ListBucket');
    const aws = access();
    await expect(aws.session(id)).rejects.toMatchObject({ name: SessionError.name, action: 'sts:GetFederationToken' });
    await allow('s3:ListBucket', 's3:PutObject', 'sts:GetFederationToken', 'sts:GetCallerIdentity');
    await aws.session(id);
    aws.close();
  });
});

it('encrypts secrets with a data key from KMS', async () => {
  const kms = new KMSClient({ region });
  const { KeyMetadata } = await kms.send(new CreateKeyCommand({}));
  const keyring = [{ id: 'kms', kmsKeyArn: KeyMetadata!.Arn! }];
  const sealed = await createSecrets(keyring, createKmsDataKeys).seal('geheim', 'provider/1');
  expect(Buffer.from(sealed.sealed, 'base64').includes('geheim')).toBe(false);
  expect(await createSecrets(keyring, createKmsDataKeys).open(sealed, 'provider/1')).toBe('geheim');
  await expect(createSecrets(keyring, createKmsDataKeys).open(sealed, 'provider/2')).rejects.toThrow(
    /cannot be decrypted/,
  );
});
