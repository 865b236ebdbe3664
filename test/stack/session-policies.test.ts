import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createVerificationActivities } from '../../activities/verification/index.js';
import type { VerifiedKind } from '../../domain/verification/report.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { ROOT_KEY, startTestApi, type TestApi } from '../testApi.js';

// Sessions of polony and of its clients may do no more than a session policy allows. STS takes few characters in one,
// and judges it as a whole.
const REGION = 'us-west-2';
const EXTERNAL_ID = 'lab-7f3a';
let api: TestApi;
let admin: S3Client;
let verification: ReturnType<typeof createVerificationActivities>;
const clients: { destroy: () => void }[] = [];
const providers: Record<'role' | 'keys', string> = { role: '', keys: '' };
let count = 0;

interface Body {
  provider: { id: string };
  storageConnection: { id: string };
  computeConnection: { id: string };
  files: { path: string }[];
  s3: { prefix: string; accessKeyId: string; secretAccessKey: string; sessionToken: string };
  verification: { status: string; description: string; findings: { code: string; message: string }[] };
  message: string;
  details: { reason: string; metadata: Record<string, unknown> }[];
}
async function call(method: 'GET' | 'POST', url: string, payload?: object): Promise<{ status: number; body: Body }> {
  const response = await api.app.inject({
    method,
    url,
    headers: { 'x-api-key': ROOT_KEY },
    ...(payload !== undefined && { payload }),
  });
  return { status: response.statusCode, body: response.json<Body>() };
}
async function created(url: string, payload: object): Promise<Body> {
  const { status, body } = await call('POST', url, payload);
  expect([status, body.message]).toEqual([201, undefined]);
  return body;
}
const s3Of = (keys: { accessKeyId: string; secretAccessKey: string; sessionToken?: string }): S3Client => {
  const { accessKeyId, secretAccessKey, sessionToken } = keys;
  const client = new S3Client({
    region: REGION,
    endpoint: api.aws.endpoint,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) },
    forcePathStyle: true,
    maxAttempts: 1,
  });
  clients.push(client);
  return client;
};
const put = (Bucket: string, Key: string): Promise<unknown> =>
  admin.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }));
const makeBucket = async (): Promise<string> => {
  const Bucket = `lab-${++count}`;
  await admin.send(new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { LocationConstraint: REGION } }));
  return Bucket;
};
const connect = async (providerId: string, bucket: string, prefix: string): Promise<string> =>
  (
    await created('/v1/storage-connections', {
      name: `storage-${++count}`,
      providerId,
      region: REGION,
      bucket,
      prefix,
      useForRunUpload: true,
      useForDataExploration: true,
    })
  ).storageConnection.id;
const iamOfCustomer = (): IAMClient => {
  const client = new IAMClient({ region: REGION, endpoint: api.aws.endpoint, credentials: rootKeys() });
  clients.push(client);
  return client;
};
const addKeys = async (): Promise<string> => {
  const iam = iamOfCustomer();
  const UserName = `user-${++count}`;
  await iam.send(new CreateUserCommand({ UserName }));
  await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'all', PolicyDocument: ALL }));
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }));
  const { provider } = await created('/v1/providers', {
    name: UserName,
    defaultRegion: REGION,
    credentialType: 'accessKeys',
    accessKeyId: AccessKey!.AccessKeyId,
    secretAccessKey: AccessKey!.SecretAccessKey,
  });
  return provider.id;
};
const rootKeys = () => ({ accessKeyId: api.aws.adminAccessKeyId, secretAccessKey: api.aws.adminSecretAccessKey });
const ALL = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: ['s3:*', 'sts:*', 'omics:*', 'iam:PassRole'], Resource: '*' }],
});
const filesOf = (storageId: string) => call('GET', `/v1/storage-connections/${storageId}/files`);
const verificationOf = async (kind: VerifiedKind, collection: string, id: string) => {
  await verification.verifyResource(kind, id);
  const { verification: report } = (await call('GET', `/v1/${collection}/${id}/verification`)).body;
  return { ...report, status: report.status.replace('VERIFICATION_STATUS_', '') };
};

beforeAll(async () => {
  // polony notices new connections with the next call, and not after half a minute.
  api = await startTestApi({}, { checkMs: 0 });
  admin = s3Of(rootKeys());
  verification = createVerificationActivities({
    db: api.postgres.db,
    aws: api.access,
    orchestrator: {} as never,
    settings: { allowsOpenRoles: false },
  } as never);
  const iam = iamOfCustomer();
  const trust = {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { AWS: `arn:aws:iam::${api.aws.serviceAccountId}:root` },
        Action: 'sts:AssumeRole',
        Condition: { StringEquals: { 'sts:ExternalId': EXTERNAL_ID } },
      },
    ],
  };
  await iam.send(new CreateRoleCommand({ RoleName: 'lab', AssumeRolePolicyDocument: JSON.stringify(trust) }));
  await iam.send(new PutRolePolicyCommand({ RoleName: 'lab', PolicyName: 'all', PolicyDocument: ALL }));
  const { provider } = await created('/v1/providers', {
    name: 'role',
    defaultRegion: REGION,
    credentialType: 'role',
    roleArn: `arn:aws:iam::${api.aws.adminAccessKeyId}:role/lab`,
    externalId: EXTERNAL_ID,
  });
  providers.role = provider.id;
  providers.keys = await addKeys();
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await api?.stop();
});

describe('a provider with access keys', () => {
  it('works for all its connections, whatever their prefixes', { tags: 'long' }, async () => {
    const bucket = await makeBucket();
    const provider = await addKeys();
    const good = await connect(provider, bucket, 'good');
    await put(bucket, 'good/file');
    expect((await filesOf(good)).status).toBe(200);
    const prefixes = ['ラン', 'läufe', 'a&b', '\u{1f9ec}/x', '$x', 'e\u0301', 'q"{}', "it's"];
    for (const prefix of prefixes) {
      const odd = await connect(provider, bucket, prefix);
      await put(bucket, `${prefix}/file`);
      for (const id of [good, odd]) {
        const { status, body } = await filesOf(id);
        expect([prefix, status, body.files?.map(({ path }) => path)]).toEqual([prefix, 200, ['file']]);
      }
      expect((await verificationOf('storageConnection', 'storage-connections', odd)).status).toBe('CONNECTED');
    }
    expect((await verificationOf('storageConnection', 'storage-connections', good)).status).toBe('CONNECTED');
  });

  it('may not do more because of others with long prefixes', async () => {
    const bucket = await makeBucket();
    const other = await makeBucket();
    const provider = await addKeys();
    const good = await connect(provider, bucket, 'good');
    const long = await connect(provider, other, 'ラ'.repeat(170));
    const longer = await connect(provider, await makeBucket(), 'リ'.repeat(170));
    await put(bucket, 'good/file');
    await put(bucket, 'secret/file');
    for (const id of [good, long, longer]) expect((await filesOf(id)).status).toBe(200);
    const s3 = api.access.s3(provider, REGION);
    await expect(s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'secret/file' }))).rejects.toMatchObject({
      name: 'AccessDenied',
    });
  });

  it('leaves out what AWS does not accept, names it, and goes on with the rest', async () => {
    const bucket = await makeBucket();
    const provider = await addKeys();
    const good = await connect(provider, bucket, 'good');
    await put(bucket, 'good/file');
    const compute = (
      await created('/v1/compute-connections', {
        name: `compute-${++count}`,
        providerId: provider,
        executionRoleArn: 'arn:aws:iam::111122223333:role/omics',
        region: REGION,
      })
    ).computeConnection.id;
    // AWS does not accept ARNs of another partition. Earlier versions of polony did.
    const foreign = 'arn:aws-cn:iam::111122223333:role/omics';
    await api.postgres.db
      .updateTable('compute_connections')
      .set({ execution_role_arn: foreign })
      .where('id', '=', compute)
      .execute();
    expect((await filesOf(good)).status).toBe(200);
    expect((await verificationOf('storageConnection', 'storage-connections', good)).status).toBe('CONNECTED');
    const reason = new RegExp(`AWS does not accept ${foreign} in the session policy.*Partition "aws-cn" is not valid`);
    const broken = await verificationOf('computeConnection', 'compute-connections', compute);
    expect([broken.status, broken.findings[0]!.code]).toEqual(['FAILED', 'LEFT_OUT_OF_SESSION_POLICY']);
    expect(broken.description).toMatch(reason);
    const whole = await verificationOf('provider', 'providers', provider);
    // The status of a provider covers its connections.
    expect(whole.status).toBe('FAILED');
    expect(whole.description).toMatch(reason);
    await api.postgres.db
      .updateTable('compute_connections')
      .set({ execution_role_arn: 'arn:aws:iam::111122223333:role/omics' })
      .where('id', '=', compute)
      .execute();
    expect((await verificationOf('computeConnection', 'compute-connections', compute)).findings).toEqual([]);
    expect((await verificationOf('provider', 'providers', provider)).status).toBe('CONNECTED');
  });
});

describe.each(['role', 'keys'] as const)('credentials of a provider with %s', (type) => {
  /** Names that instruments and people give to folders, each with one that a careless policy would match too. */
  const NAMES: [string, string][] = [
    ['20260115_AV1_ラン', '20260115_AV1_リン'],
    ['20260115_AV1_a*b', '20260115_AV1_axb'],
    ['20260115_AV1_a?b', '20260115_AV1_axb'],
    ['20260115_AV1_${aws:username}', '20260115_AV1_lab'],
    ['20260115_AV1_${*}', '20260115_AV1_*'],
    ['20260115_AV1_$$', '20260115_AV1_$'],
    ['20260115_AV1_\u{1f9ec}', '20260115_AV1_\u{1f9ed}'],
    ['20260115_AV1_bell\u0007', '20260115_AV1_bell'],
    ['20260115_AV1_c1\u0085', '20260115_AV1_c1'],
    ['20260115_AV1_q"\\\\', '20260115_AV1_q'],
    [`20260115_AV1_${'ラ'.repeat(100)}`, `20260115_AV1_${'ラ'.repeat(99)}`],
  ];

  it('can read a run folder of any name, and nothing beside it', async () => {
    const bucket = await makeBucket();
    const storage = await connect(providers[type], bucket, 'runs');
    const rows = NAMES.map(([folder]) => ({ folder, runName: folder }));
    const runs = await insertRuns(api.postgres.db, storage, 'AV1', 'AV1', rows);
    for (const [folder, sibling] of NAMES) {
      await put(bucket, `runs/AV1/${folder}/file`);
      await put(bucket, `runs/AV1/${sibling}/file`);
      const { status, body } = await call('GET', `/v1/runs/${runs.get(folder)!.id}/credentials`);
      expect([folder, status, body.s3?.prefix]).toEqual([folder, 200, `runs/AV1/${folder}/`]);
      const s3 = s3Of(body.s3);
      const read = async (Key: string): Promise<string> =>
        (await s3.send(new GetObjectCommand({ Bucket: bucket, Key }))).Body!.transformToString();
      expect(await read(`runs/AV1/${folder}/file`)).toBe('x');
      const list = (Prefix: string) => s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix }));
      expect((await list(`runs/AV1/${folder}/`)).Contents).toHaveLength(1);
      await expect(read(`runs/AV1/${sibling}/file`), folder).rejects.toMatchObject({ name: 'AccessDenied' });
      await expect(list(`runs/AV1/${sibling}/`), folder).rejects.toMatchObject({ name: 'AccessDenied' });
    }
  });

  it('can upload a run folder with any characters, and nothing beside it', async () => {
    const bucket = await makeBucket();
    const storage = await connect(providers[type], bucket, 'ラン');
    const url = `/v1/storage-connections/${storage}/upload-credentials`;
    const { s3: credentials } = await created(url, { runFolder: '20260115_AV1_ラン' });
    const s3 = s3Of(credentials);
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'ラン/AV1/20260115_AV1_ラン/file', Body: 'x' }));
    await expect(
      s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'ラン/AV1/20260115_AV1_リン/file', Body: 'x' })),
    ).rejects.toMatchObject({ name: 'AccessDenied' });
  });

  it('are refused with the reason if the path is too long for a policy', async () => {
    const bucket = await makeBucket();
    const storage = await connect(providers[type], bucket, '');
    const folder = `20260115_AV1_${'ラ'.repeat(200)}`;
    const runs = await insertRuns(api.postgres.db, storage, 'AV1', 'AV1', [{ folder, runName: folder }]);
    const { status, body } = await call('GET', `/v1/runs/${runs.get(folder)!.id}/credentials`);
    expect([status, body.details[0]!.metadata.rule]).toEqual([400, 'PREFIX_LENGTH']);
    expect(body.message).toContain('too long for AWS');
  });
});

describe('a provider that is not saved', () => {
  interface Draft {
    verification: Body['verification'] & {
      identity: { arn: string; accountId: string } | null;
      sessionSeconds: number | null;
      permissions: { action: string; result: string }[];
    };
    externalId: string | null;
  }
  const verify = async (fields: object) => {
    const { status, body } = await call('POST', '/v1/providers/verify-draft', {
      name: 'draft',
      defaultRegion: REGION,
      ...fields,
    });
    return { status, body, ...(body as unknown as Draft) };
  };
  const role = (more: object = {}, name = 'lab') =>
    verify({ credentialType: 'role', roleArn: `arn:aws:iam::${api.aws.adminAccessKeyId}:role/${name}`, ...more });
  const codes = ({ verification: { status, findings } }: Draft) => [
    status.replace('VERIFICATION_STATUS_', ''),
    ...findings.filter(({ code }) => code !== 'SHORT_SESSION').map(({ code }) => code),
  ];

  it('is verified with a role, and nothing is saved', async () => {
    const good = await role({ externalId: EXTERNAL_ID });
    expect([good.status, good.externalId]).toEqual([200, EXTERNAL_ID]);
    expect(codes(good)[0]).toBe('CONNECTED');
    expect(good.verification.identity!.arn).toContain(':assumed-role/lab/');
    expect(good.verification.sessionSeconds).toBeGreaterThanOrEqual(3600);
    // polony generates an external ID, which the trust policy does not have yet.
    const generated = await role();
    expect(codes(generated)).toEqual(['FAILED', 'AWS_ACCESS_DENIED']);
    expect(generated.externalId!.length).toBeGreaterThan(20);
    const { providers: saved } = (await call('GET', '/v1/providers')).body as unknown as {
      providers: { name: string }[];
    };
    expect(saved.map(({ name }) => name)).not.toContain('draft');
    const other = await verify({
      credentialType: 'role',
      roleArn: 'arn:aws:iam::999988887777:role/x',
      externalId: EXTERNAL_ID,
    });
    expect([other.status, other.body.details[0]!.reason]).toEqual([409, 'EXTERNAL_ID_TAKEN']);
  });
  it('is reported where its role can be assumed without the external ID', async () => {
    const trust = {
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Allow',
          Principal: { AWS: `arn:aws:iam::${api.aws.serviceAccountId}:root` },
          Action: 'sts:AssumeRole',
        },
      ],
    };
    await iamOfCustomer().send(
      new CreateRoleCommand({ RoleName: 'open', AssumeRolePolicyDocument: JSON.stringify(trust) }),
    );
    expect(codes(await role({}, 'open'))).toEqual(['FAILED', 'EXTERNAL_ID_IGNORED']);
  });
  it('is verified with access keys, whose secret appears nowhere', async () => {
    const iam = iamOfCustomer();
    await iam.send(new CreateUserCommand({ UserName: 'draft' }));
    await iam.send(new PutUserPolicyCommand({ UserName: 'draft', PolicyName: 'all', PolicyDocument: ALL }));
    const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: 'draft' }));
    const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey } = AccessKey!;
    const keys = { credentialType: 'accessKeys', accessKeyId, secretAccessKey };
    const good = await verify(keys);
    expect([good.externalId, codes(good)]).toEqual([null, ['CONNECTED']]);
    expect(good.verification.permissions.map(({ action, result }) => [action, result])).toEqual([
      ['sts:GetFederationToken', 'granted'],
      ['sts:GetCallerIdentity', 'granted'],
    ]);
    const wrong = await verify({ ...keys, secretAccessKey: `${secretAccessKey!.slice(0, -4)}AAAA` });
    expect([wrong.status, wrong.verification.identity, codes(wrong)[0]]).toEqual([200, null, 'FAILED']);
    const logged = (await call('GET', '/v1/audit-log?pageSize=50')).body;
    for (const text of [JSON.stringify(good.body), JSON.stringify(wrong.body), JSON.stringify(logged)])
      expect(text).not.toContain(secretAccessKey!.slice(0, -4));
    const invalid = await verify({ credentialType: 'accessKeys', accessKeyId: 'x', secretAccessKey });
    expect([invalid.status, invalid.body.details[0]!.metadata.field]).toEqual([400, 'accessKeyId']);
  });
});
