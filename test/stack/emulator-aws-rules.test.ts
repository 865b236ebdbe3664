/** @module-tag long */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DeleteUserCommand,
  DeleteUserPolicyCommand,
  GetRoleCommand,
  GetUserCommand,
  IAMClient,
  ListAccessKeysCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  UpdateAssumeRolePolicyCommand,
  UpdateRoleCommand,
} from '@aws-sdk/client-iam';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketPolicyCommand,
  GetBucketPolicyCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import {
  AssumeRoleCommand,
  type AssumeRoleCommandInput,
  type Credentials,
  GetCallerIdentityCommand,
  GetFederationTokenCommand,
  type GetFederationTokenCommandInput,
  STSClient,
} from '@aws-sdk/client-sts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';

// The rules of IAM, STS and S3 that local/ministack/aws_rules/ adds to ministack.
const REGION = 'us-west-2';
const PARTNER = '444455556666';
const BUCKET = 'lab';
let folder: string;
let guardian: Guardian;
let aws: LocalAws;
let iam: IAMClient;
let s3: S3Client;
/** STS as polony's own user. */
let service: STSClient;
/** STS as a user of the customer. */
let user: STSClient;
let count = 0;

interface Keys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}
const common = (credentials: Keys) => ({ region: REGION, endpoint: aws.endpoint, credentials, maxAttempts: 1 });
const rootOf = (accountId: string): Keys => ({ accessKeyId: accountId, secretAccessKey: aws.adminSecretAccessKey });
const keysOf = (issued: Partial<Credentials> | undefined): Keys => ({
  accessKeyId: issued!.AccessKeyId!,
  secretAccessKey: issued!.SecretAccessKey!,
  sessionToken: issued!.SessionToken,
});
/** The SDK names the errors that are in its model with `Exception` at the end. */
const refused = (code: string, message: string): unknown =>
  expect.objectContaining({
    name: expect.stringMatching(`^${code}(Exception)?$`) as unknown,
    message: expect.stringMatching(message) as unknown,
  });
const policy = (...statements: object[]): string => JSON.stringify({ Version: '2012-10-17', Statement: statements });
const ALL = policy({ Effect: 'Allow', Action: '*', Resource: '*' });
const trust = (principal: unknown): string =>
  policy({ Effect: 'Allow', Principal: principal, Action: 'sts:AssumeRole' });
const ROOT_OF_SERVICE = { AWS: 'arn:aws:iam::588258415937:root' };

async function makeRole(name: string, options: { MaxSessionDuration?: number; Path?: string } = {}): Promise<string> {
  const { Role } = await iam.send(
    new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: trust(ROOT_OF_SERVICE), ...options }),
  );
  await iam.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: 'all', PolicyDocument: ALL }));
  return Role!.Arn!;
}
async function removeRole(name: string): Promise<void> {
  await iam.send(new DeleteRolePolicyCommand({ RoleName: name, PolicyName: 'all' }));
  await iam.send(new DeleteRoleCommand({ RoleName: name }));
}
const assume = (input: Partial<AssumeRoleCommandInput> & { RoleArn: string }) =>
  service.send(new AssumeRoleCommand({ RoleSessionName: 'test', ...input }));
const federate = (input: Partial<GetFederationTokenCommandInput> = {}) =>
  user.send(new GetFederationTokenCommand({ Name: 'test', Policy: ALL, ...input }));
const putPolicy = (text: string): Promise<unknown> =>
  s3.send(new PutBucketPolicyCommand({ Bucket: BUCKET, Policy: text }));
const statement = (fields: object = {}): Record<string, unknown> => ({
  Sid: 'One',
  Effect: 'Allow',
  Principal: { AWS: `arn:aws:iam::${PARTNER}:root` },
  Action: 's3:GetObject',
  Resource: `arn:aws:s3:::${BUCKET}/*`,
  ...fields,
});
const read = async (client: S3Client, Key: string): Promise<string> =>
  (await client.send(new GetObjectCommand({ Bucket: BUCKET, Key }))).Body!.transformToString();
const readPolicy = async (): Promise<{ Statement: { Principal: { AWS: unknown } }[] }> =>
  JSON.parse((await s3.send(new GetBucketPolicyCommand({ Bucket: BUCKET }))).Policy!) as never;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-aws-rules-'));
  guardian = await createGuardian(folder);
  aws = await startLocalAws({ guardian, stateDir: folder, region: REGION });
  iam = new IAMClient(common(rootOf(aws.customerAccountId)));
  s3 = new S3Client({ ...common(rootOf(aws.customerAccountId)), forcePathStyle: true });
  service = new STSClient(common({ accessKeyId: aws.serviceAccessKeyId, secretAccessKey: aws.serviceSecretAccessKey }));
  await iam.send(new CreateUserCommand({ UserName: 'lab' }));
  await iam.send(new PutUserPolicyCommand({ UserName: 'lab', PolicyName: 'all', PolicyDocument: ALL }));
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: 'lab' }));
  user = new STSClient(common(keysOf(AccessKey)));
  await s3.send(new CreateBucketCommand({ Bucket: BUCKET, CreateBucketConfiguration: { LocationConstraint: REGION } }));
});
beforeEach(() => {
  count++;
});
afterAll(async () => {
  await guardian?.stopAll();
  await aws?.emulator.close();
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('a bucket policy', () => {
  const put = (fields: object): Promise<unknown> => putPolicy(policy(statement(fields)));

  it('is refused as a whole, with the principal, if a role or user does not exist', async () => {
    const known = await makeRole(`known-${count}`);
    const unknown = [
      `arn:aws:iam::${aws.customerAccountId}:role/nobody`,
      `arn:aws:iam::${aws.customerAccountId}:user/nobody`,
      `arn:aws:iam::${PARTNER}:role/nobody`,
      // The path belongs to the ARN.
      known.replace(':role/', ':role/path/'),
      known.replace(':role/', ':user/'),
      known.replace('arn:aws:', 'arn:aws-cn:'),
      'AROAJQABLZS4A3QDU576Q',
      `arn:aws:sts::${PARTNER}:assumed-role/nobody/session`,
      'nonsense',
      `arn:aws:iam::${PARTNER}:role/*`,
    ];
    for (const AWS of unknown) {
      const call = putPolicy(policy(statement(), statement({ Sid: 'Two', Principal: { AWS: [known, AWS] } })));
      await expect(call, AWS).rejects.toMatchObject({
        name: 'MalformedPolicy',
        message: 'Invalid principal in policy',
        Detail: `"AWS" : "${AWS}"`,
        $metadata: { httpStatusCode: 400 },
      });
    }
    await expect(s3.send(new GetBucketPolicyCommand({ Bucket: BUCKET }))).rejects.toMatchObject({
      name: 'NoSuchBucketPolicy',
    });
    await expect(put({ Principal: { Service: 'nobody' } })).rejects.toMatchObject({ Detail: '"Service" : "nobody"' });
    for (const principal of [
      { AWS: known },
      {
        AWS: [
          PARTNER,
          `arn:aws:iam::999988887777:root`,
          `arn:aws:sts::${aws.customerAccountId}:assumed-role/known-${count}/me`,
        ],
      },
      { Service: 'omics.amazonaws.com' },
    ])
      await put({ Principal: principal });
    await put({ Effect: 'Deny', Principal: '*' });
  });

  it('shows the unique ID of a deleted role or user, and follows no new one of that name', async () => {
    const name = `gone-${count}`;
    const arn = await makeRole(name);
    const { Role } = await iam.send(new GetRoleCommand({ RoleName: name }));
    const { User } = await iam.send(new CreateUserCommand({ UserName: name, Path: '/lab/' }));
    const kept = await makeRole(`kept-${count}`);
    const text = policy(
      statement({ Sid: arn, Principal: { AWS: [arn, kept] }, Condition: { ArnLike: { 'aws:PrincipalArn': arn } } }),
      statement({ Sid: 'User', Principal: { AWS: User!.Arn } }),
    );
    await putPolicy(text);
    await removeRole(name);
    await iam.send(new DeleteUserCommand({ UserName: name }));
    const shown = await readPolicy();
    // Sid and conditions are texts: they do not change.
    const ids = [Role!.RoleId!, User!.UserId!] as const;
    expect(shown).toEqual({
      ...(JSON.parse(text) as object),
      Statement: [
        statement({
          Sid: arn,
          Principal: { AWS: [ids[0], kept] },
          Condition: { ArnLike: { 'aws:PrincipalArn': arn } },
        }),
        statement({ Sid: 'User', Principal: { AWS: ids[1] } }),
      ],
    });
    expect(ids.map((id) => id.slice(0, 4))).toEqual(['AROA', 'AIDA']);
    await makeRole(name);
    expect(await readPolicy()).toEqual(shown);
    await expect(putPolicy(JSON.stringify(shown))).rejects.toMatchObject({
      message: 'Invalid principal in policy',
      Detail: `"AWS" : "${ids[0]}"`,
    });
    // The ID of a role that exists is its ARN.
    const { Role: again } = await iam.send(new GetRoleCommand({ RoleName: name }));
    await put({ Principal: { AWS: again!.RoleId } });
    expect((await readPolicy()).Statement[0]!.Principal.AWS).toBe(arn);
  });

  it('no longer applies to a role that was made again', async () => {
    const name = `again-${count}`;
    const partner = new IAMClient(common(rootOf(PARTNER)));
    const make = async (): Promise<S3Client> => {
      await partner.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: trust(ROOT_OF_SERVICE) }));
      await partner.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: 'all', PolicyDocument: ALL }));
      const session = await assume({ RoleArn: `arn:aws:iam::${PARTNER}:role/${name}` });
      return new S3Client({ ...common(keysOf(session.Credentials)), forcePathStyle: true });
    };
    await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'file', Body: 'x' }));
    const first = await make();
    await put({ Principal: { AWS: `arn:aws:iam::${PARTNER}:role/${name}` } });
    await read(first, 'file');
    await partner.send(new DeleteRolePolicyCommand({ RoleName: name, PolicyName: 'all' }));
    await partner.send(new DeleteRoleCommand({ RoleName: name }));
    await expect(read(await make(), 'file')).rejects.toMatchObject({ name: 'AccessDenied' });
    partner.destroy();
  });

  it('keeps its text, and has at most 20 KB', async () => {
    const text = `{ "Statement" : ${JSON.stringify(statement())}, "Version":"2008-10-17" }`;
    await putPolicy(text);
    expect((await s3.send(new GetBucketPolicyCommand({ Bucket: BUCKET }))).Policy).toBe(text);
    const empty = policy(statement({ Sid: '' })).length;
    await put({ Sid: 'ä'.repeat((20_480 - empty) / 2) });
    await expect(put({ Sid: 'ä'.repeat((20_482 - empty) / 2) })).rejects.toMatchObject({ name: 'PolicyTooLarge' });
  });

  it.each([
    ['not JSON', 'junk', 'Policies must be valid JSON'],
    ['a list', '[]', 'Policies must be valid JSON'],
    ['no statement', '{"Version":"2012-10-17"}', 'Missing required field Statement'],
    ['an empty list of statements', policy(), 'Statement is empty'],
    ['an unknown version', JSON.stringify({ Version: '2020-01-01', Statement: [statement()] }), 'valid version'],
    ['an unknown field', policy(statement({ Comment: 'x' })), 'Unknown field Comment'],
    ['no effect', policy(statement({ Effect: undefined })), 'Missing required field Effect'],
    ['another effect', policy(statement({ Effect: 'Perhaps' })), 'Invalid effect: Perhaps'],
    ['no principal', policy(statement({ Principal: undefined })), 'Missing required field Principal'],
    ['no action', policy(statement({ Action: undefined })), 'Missing required field Action'],
    ['an action of another service', policy(statement({ Action: 'sts:AssumeRole' })), 'invalid action'],
    ['no resource', policy(statement({ Resource: undefined })), 'Missing required field Resource'],
    ['a resource in another bucket', policy(statement({ Resource: 'arn:aws:s3:::lab-2/*' })), 'invalid resource'],
    ['a resource in another partition', policy(statement({ Resource: 'arn:aws-cn:s3:::lab/*' })), 'invalid resource'],
    ['an unknown condition', policy(statement({ Condition: { Like: { 'aws:x': 'y' } } })), 'invalid condition'],
    [
      'an action for objects on a bucket',
      policy(statement({ Resource: 'arn:aws:s3:::lab' })),
      'Action does not apply to any resource',
    ],
    [
      'an action for buckets on objects',
      policy(statement({ Action: ['s3:GetObject', 's3:ListBucket'] })),
      'Action does not apply to any resource',
    ],
    [
      'a condition that requests of an action lack',
      policy(
        statement({
          Action: ['s3:GetObject', 's3:ListBucket'],
          Resource: ['arn:aws:s3:::lab', 'arn:aws:s3:::lab/*'],
          Condition: { StringLike: { 's3:prefix': 'runs/*' } },
        }),
      ),
      'Conditions do not apply',
    ],
  ])('is refused with %s', async (_, text, message) =>
    expect(putPolicy(text)).rejects.toEqual(refused('MalformedPolicy', message)),
  );

  it('can be deleted while it names a deleted role', async () => {
    const name = `deleted-${count}`;
    await put({ Principal: { AWS: await makeRole(name) } });
    await removeRole(name);
    await s3.send(new DeleteBucketPolicyCommand({ Bucket: BUCKET }));
    await putPolicy(policy(statement()));
  });
});

describe('a session policy', () => {
  const onPrefix = (prefix: string, action = 's3:GetObject'): string =>
    policy({ Effect: 'Allow', Action: action, Resource: `arn:aws:s3:::${BUCKET}/${prefix}*` });
  let RoleArn: string;
  beforeAll(async () => {
    RoleArn = await makeRole('policies');
  });
  const calls = (Policy: string): Promise<PromiseSettledResult<{ Credentials?: Credentials }>[]> =>
    Promise.allSettled([federate({ Policy }), assume({ RoleArn, Policy })]);

  it('has only characters up to U+00FF, or escapes of others', async () => {
    for (const odd of ['ラン', '€', '\u{1f600}', '\u0100'])
      for (const { status, ...result } of await calls(onPrefix(odd)))
        expect([status, (result as PromiseRejectedResult).reason]).toEqual([
          'rejected',
          refused(
            'ValidationError',
            "at 'policy' failed to satisfy constraint: Member must satisfy regular expression",
          ),
        ]);
    for (const { status } of await calls(onPrefix('läufe~\u00ff'))) expect(status).toBe('fulfilled');
    await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'ラン/x', Body: 'x' }));
    await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'リン/x', Body: 'x' }));
    for (const result of await calls(onPrefix('\\u30e9\\u30f3/').replaceAll('\\\\', '\\'))) {
      const { value } = result as PromiseFulfilledResult<{ Credentials?: Credentials }>;
      const narrow = new S3Client({ ...common(keysOf(value.Credentials)), forcePathStyle: true });
      await read(narrow, 'ラン/x');
      await expect(read(narrow, 'リン/x')).rejects.toMatchObject({
        name: 'AccessDenied',
      });
      narrow.destroy();
    }
  });

  it('has 2,048 characters, and a limit of its packed size', async () => {
    const rest = onPrefix('').length;
    for (const { status } of await calls(onPrefix('x'.repeat(2048 - rest)))) expect(status).toBe('fulfilled');
    for (const result of await calls(onPrefix('x'.repeat(2049 - rest))))
      expect((result as PromiseRejectedResult).reason).toEqual(
        refused('ValidationError', 'Member must have length less than or equal to 2048'),
      );
    // Nothing packs random characters.
    const bytes = Buffer.from(crypto.getRandomValues(new Uint8Array(1500))).toString('base64url');
    for (const result of await calls(onPrefix(bytes.slice(0, 2048 - rest))))
      expect((result as PromiseRejectedResult).reason).toEqual(refused('PackedPolicyTooLarge', 'allotted space'));
  });

  it('is refused if it is malformed', async () => {
    const statementOf = (fields: object): string =>
      policy({ Effect: 'Allow', Action: 's3:GetObject', Resource: '*', ...fields });
    for (const [text, message] of [
      ['junk', 'Syntax errors in policy'],
      ['{"Version":"2012-10-17"}', 'Syntax errors in policy'],
      [statementOf({ Principal: '*' }), 'should not specify a principal'],
      [statementOf({ Action: undefined }), 'must contain actions'],
      [statementOf({ Resource: undefined }), 'must contain resources'],
      [statementOf({ Action: 'GetObject' }), 'must be prefaced by a vendor'],
      [statementOf({ Resource: 'lab/*' }), 'must be in ARN format'],
      [statementOf({ Resource: 'arn:aws-cn:iam::111122223333:role/x' }), 'Partition "aws-cn" is not valid'],
      [statementOf({ Resource: 'arn:aws:iam:us-east-1:111122223333:role/x' }), 'cannot contain region'],
      [statementOf({ Sid: 'not alphanumeric' }), 'must be alpha-numeric'],
      [policy(...[1, 2].map(() => ({ Sid: 'A', Effect: 'Allow', Action: '*', Resource: '*' }))), 'must be unique'],
      [statementOf({ Condition: { Like: { 'aws:x': 'y' } } }), 'Invalid Condition type'],
      [onPrefix('\\ud800').replaceAll('\\\\', '\\'), 'Syntax errors in policy'],
    ] as const)
      for (const result of await calls(text))
        expect((result as PromiseRejectedResult).reason, text).toEqual(refused('MalformedPolicyDocument', message));
  });

  it('takes ${*}, ${?} and ${$} for these characters, and * and ? for wildcards', async () => {
    for (const Key of ['a*b/x', 'axb/x', 'a?b/x', '${x}/x', 'y/x', 'line\nend/x'])
      await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'x' }));
    const readable = async (prefix: string): Promise<string[]> => {
      const { Credentials: issued } = await federate({ Policy: onPrefix(prefix) });
      const narrow = new S3Client({ ...common(keysOf(issued)), forcePathStyle: true });
      const found: string[] = [];
      for (const Key of ['a*b/x', 'axb/x', 'a?b/x', '${x}/x', 'y/x', 'line\nend/x'])
        await read(narrow, Key).then(
          () => found.push(Key),
          () => undefined,
        );
      narrow.destroy();
      return found;
    };
    expect(await readable('a*b/')).toEqual(['a*b/x', 'axb/x', 'a?b/x']);
    expect(await readable('a${*}b/')).toEqual(['a*b/x']);
    expect(await readable('a${?}b/')).toEqual(['a?b/x']);
    expect(await readable('${$}{x}/')).toEqual(['${x}/x']);
    expect(await readable('line')).toEqual(['line\nend/x']);
  });
});

describe('a session', () => {
  it('lasts 15 minutes at least, and no longer than AWS and the role allow', async () => {
    const name = `length-${count}`;
    const RoleArn = await makeRole(name);
    for (const seconds of [0, 899, 43_201])
      await expect(assume({ RoleArn, DurationSeconds: seconds })).rejects.toEqual(
        refused('ValidationError', `Value '${seconds}' at 'durationSeconds' failed to satisfy constraint`),
      );
    for (const seconds of [899, 129_601])
      await expect(federate({ DurationSeconds: seconds })).rejects.toEqual(
        refused('ValidationError', `Value '${seconds}' at 'durationSeconds' failed to satisfy constraint`),
      );
    await federate({ DurationSeconds: 129_600 });
    await assume({ RoleArn, DurationSeconds: 900 });
    await expect(assume({ RoleArn, DurationSeconds: 3601 })).rejects.toEqual(
      refused('ValidationError', 'exceeds the MaxSessionDuration set for this role'),
    );
    await iam.send(new UpdateRoleCommand({ RoleName: name, MaxSessionDuration: 43_200 }));
    await assume({ RoleArn, DurationSeconds: 43_200 });
  });

  it('of a role that a role assumes lasts an hour at most', async () => {
    const RoleArn = await makeRole(`first-${count}`, { MaxSessionDuration: 43_200 });
    const second = `second-${count}`;
    await makeRole(second, { MaxSessionDuration: 43_200 });
    await iam.send(new UpdateAssumeRolePolicyCommand({ RoleName: second, PolicyDocument: trust({ AWS: RoleArn }) }));
    const { Credentials: issued } = await assume({ RoleArn, DurationSeconds: 43_200 });
    const chained = new STSClient(common(keysOf(issued)));
    const call = (DurationSeconds: number) =>
      chained.send(
        new AssumeRoleCommand({
          RoleArn: RoleArn.replace('first', 'second'),
          RoleSessionName: 'test',
          DurationSeconds,
        }),
      );
    await call(3600);
    await expect(call(3601)).rejects.toEqual(refused('ValidationError', '1 hour session limit .* role chaining'));
    chained.destroy();
  });

  it('is refused if a name or external ID is too short, too long or has other characters', async () => {
    const RoleArn = await makeRole(`names-${count}`);
    for (const RoleSessionName of ['x', 'x'.repeat(65), 'a b', 'läufe'])
      await expect(assume({ RoleArn, RoleSessionName })).rejects.toEqual(refused('ValidationError', 'roleSessionName'));
    for (const ExternalId of ['x', 'x'.repeat(1225), 'a b'])
      await expect(assume({ RoleArn, ExternalId })).rejects.toEqual(refused('ValidationError', 'externalId'));
    for (const Name of ['x', 'x'.repeat(33), 'a/b'])
      await expect(federate({ Name })).rejects.toEqual(refused('ValidationError', "'name'"));
    await assume({ RoleArn, RoleSessionName: 'a+=,.@-_', ExternalId: 'a+=,.@:/-_' });
    await expect(assume({ RoleArn: 'arn:aws:iam::1:x' })).rejects.toEqual(refused('ValidationError', 'roleArn'));
  });

  it('of a role needs its whole ARN, and a caller that is neither root nor federated', async () => {
    const name = `path-${count}`;
    const RoleArn = await makeRole(name, { Path: '/lab/' });
    await assume({ RoleArn });
    for (const other of [RoleArn.replace('/lab/', '/'), `${RoleArn}-2`])
      await expect(assume({ RoleArn: other })).rejects.toEqual(
        refused(
          'AccessDenied',
          `^User: arn:aws:iam::\\d{12}:user/\\S+ is not authorized to perform: sts:AssumeRole on resource: ${other}$`,
        ),
      );
    const root = new STSClient(common(rootOf(aws.serviceAccountId)));
    await expect(root.send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'test' }))).rejects.toEqual(
      refused('AccessDenied', 'Roles may not be assumed by root accounts'),
    );
    const keys = keysOf((await federate()).Credentials);
    const federated = new STSClient(common(keys));
    await federated.send(new GetCallerIdentityCommand({}));
    await expect(federated.send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'test' }))).rejects.toMatchObject({
      name: 'AccessDenied',
    });
    await expect(federated.send(new GetFederationTokenCommand({ Name: 'test', Policy: ALL }))).rejects.toMatchObject({
      name: 'AccessDenied',
    });
    const iamOfFederated = new IAMClient(common(keys));
    await expect(iamOfFederated.send(new GetUserCommand({ UserName: 'lab' }))).rejects.toMatchObject({
      name: 'InvalidClientTokenId',
    });
    for (const client of [root, federated, iamOfFederated]) client.destroy();
  });
});

describe('IAM', () => {
  const create = (fields: object): Promise<unknown> =>
    iam.send(
      new CreateRoleCommand({
        RoleName: `role-${count}`,
        AssumeRolePolicyDocument: trust(ROOT_OF_SERVICE),
        ...fields,
      }),
    );

  it('refuses a trust policy whose principal does not exist, when a role is made or changed', async () => {
    for (const [principal, shown] of [
      [{ AWS: 'arn:aws:iam::111122223333:role/nobody' }, '"AWS":"arn:aws:iam::111122223333:role/nobody"'],
      [{ AWS: ['588258415937', 'AIDAJQABLZS4A3QDU576Q'] }, '"AWS":"AIDAJQABLZS4A3QDU576Q"'],
      [{ AWS: '58825841593' }, '"AWS":"58825841593"'],
      [{ Service: 'omics' }, '"SERVICE":"omics"'],
    ] as const)
      await expect(create({ AssumeRolePolicyDocument: trust(principal) })).rejects.toEqual(
        refused('MalformedPolicyDocument', `Invalid principal in policy: ${shown}`),
      );
    await create({});
    const change = (PolicyDocument: string): Promise<unknown> =>
      iam.send(new UpdateAssumeRolePolicyCommand({ RoleName: `role-${count}`, PolicyDocument }));
    await expect(change(trust({ AWS: 'arn:aws:iam::111122223333:user/nobody' }))).rejects.toEqual(
      refused('MalformedPolicyDocument', ''),
    );
    const trusted = `trusted-${count}`;
    const { User } = await iam.send(new CreateUserCommand({ UserName: trusted }));
    await change(trust({ AWS: User!.Arn }));
    await iam.send(new DeleteUserCommand({ UserName: trusted }));
    const { Role } = await iam.send(new GetRoleCommand({ RoleName: `role-${count}` }));
    expect(decodeURIComponent(Role!.AssumeRolePolicyDocument!)).toBe(trust({ AWS: User!.UserId }));
  });

  it.each([
    ['not JSON', 'x', 'invalid Json'],
    ['a resource', policy({ ...statement({ Sid: 'A' }), Action: 'sts:AssumeRole' }), 'prohibited field Resource'],
    ['no principal', policy({ Effect: 'Allow', Action: 'sts:AssumeRole' }), 'Missing required field Principal'],
    ['other actions', trust('*').replace('sts:AssumeRole', 's3:GetObject'), 'STS AssumeRole actions'],
  ])('refuses a trust policy with %s', async (_, text, message) =>
    expect(create({ AssumeRolePolicyDocument: text })).rejects.toEqual(refused('MalformedPolicyDocument', message)),
  );

  it('checks names, paths, lengths and characters', async () => {
    for (const [fields, member] of [
      [{ RoleName: 'x'.repeat(65) }, 'roleName'],
      [{ RoleName: 'a b' }, 'roleName'],
      [{ RoleName: 'läufe' }, 'roleName'],
      [{ Path: 'lab' }, 'path'],
      [{ MaxSessionDuration: 3599 }, 'maxSessionDuration'],
      [{ MaxSessionDuration: 43_201 }, 'maxSessionDuration'],
      [{ Tags: [{ Key: 'k'.repeat(129), Value: 'v' }] }, 'tags\\.1\\.member\\.key'],
    ] as const)
      await expect(create(fields)).rejects.toEqual(refused('ValidationError', `at '${member}' failed to satisfy`));
    await create({});
    await expect(create({ RoleName: `ROLE-${count}` })).rejects.toEqual(refused('EntityAlreadyExists', ''));
    await expect(iam.send(new CreateUserCommand({ UserName: 'LAB' }))).rejects.toEqual(
      refused('EntityAlreadyExists', ''),
    );
    await expect(
      iam.send(
        new PutRolePolicyCommand({
          RoleName: `role-${count}`,
          PolicyName: 'all',
          PolicyDocument: policy({ Effect: 'Allow', Action: 's3:*', Resource: 'arn:aws:s3:::lab/ラン' }),
        }),
      ),
    ).rejects.toEqual(refused('ValidationError', "at 'policyDocument' failed to satisfy"));
  });

  it('limits the sizes of policies, without their white space', async () => {
    const RoleName = `role-${count}`;
    const UserName = `user-${count}`;
    await create({});
    await iam.send(new CreateUserCommand({ UserName }));
    const sized = (size: number): string => {
      const text = (filler: string): string =>
        policy({ Effect: 'Allow', Action: 's3:GetObject', Resource: `arn:aws:s3:::${filler}` });
      return text('x'.repeat(size - text('').length)).replace('{', '{  \n ');
    };
    const putRole = (PolicyName: string, size: number): Promise<unknown> =>
      iam.send(new PutRolePolicyCommand({ RoleName, PolicyName, PolicyDocument: sized(size) }));
    const putUser = (PolicyName: string, size: number): Promise<unknown> =>
      iam.send(new PutUserPolicyCommand({ UserName, PolicyName, PolicyDocument: sized(size) }));
    await putUser('one', 2048);
    await putUser('one', 2048);
    await expect(putUser('one', 2049)).rejects.toEqual(
      refused('LimitExceeded', `Maximum policy size of 2048 bytes exceeded for user ${UserName}`),
    );
    await putRole('one', 6000);
    await putRole('two', 4240);
    await expect(putRole('two', 4241)).rejects.toEqual(
      refused('LimitExceeded', `Maximum policy size of 10240 bytes exceeded for role ${RoleName}`),
    );
    const long = policy(
      ...Array.from({ length: 40 }, () => ({ Effect: 'Allow', Principal: '*', Action: 'sts:AssumeRole' })),
    );
    await expect(iam.send(new UpdateAssumeRolePolicyCommand({ RoleName, PolicyDocument: long }))).rejects.toEqual(
      refused('LimitExceeded', 'ACLSizePerRole'),
    );
    for (const [document, message] of [
      [policy({ ...statement({ Sid: 'A' }) }), 'should not specify a principal'],
      ['junk', 'Syntax errors'],
    ] as const)
      await expect(
        iam.send(new PutRolePolicyCommand({ RoleName, PolicyName: 'bad', PolicyDocument: document })),
      ).rejects.toEqual(refused('MalformedPolicyDocument', message));
  });

  it('gives a user two access keys', async () => {
    const UserName = `user-${count}`;
    await iam.send(new CreateUserCommand({ UserName }));
    for (let at = 0; at < 2; at++) await iam.send(new CreateAccessKeyCommand({ UserName }));
    await expect(iam.send(new CreateAccessKeyCommand({ UserName }))).rejects.toEqual(
      refused('LimitExceeded', 'AccessKeysPerUser: 2'),
    );
  });

  it('deletes roles and users only when they are empty', async () => {
    const name = `full-${count}`;
    await makeRole(name);
    await expect(iam.send(new DeleteRoleCommand({ RoleName: name }))).rejects.toEqual(refused('DeleteConflict', ''));
    await removeRole(name);
    await iam.send(new CreateUserCommand({ UserName: name }));
    await iam.send(new PutUserPolicyCommand({ UserName: name, PolicyName: 'all', PolicyDocument: ALL }));
    await iam.send(new CreateAccessKeyCommand({ UserName: name }));
    const remove = (): Promise<unknown> => iam.send(new DeleteUserCommand({ UserName: name }));
    await expect(remove()).rejects.toEqual(refused('DeleteConflict', ''));
    await iam.send(new DeleteUserPolicyCommand({ UserName: name, PolicyName: 'all' }));
    await expect(remove()).rejects.toEqual(refused('DeleteConflict', ''));
    const { AccessKeyMetadata: keys } = await iam.send(new ListAccessKeysCommand({ UserName: name }));
    await iam.send(new DeleteAccessKeyCommand({ UserName: name, AccessKeyId: keys![0]!.AccessKeyId }));
    await remove();
  });
});

describe('S3', () => {
  it('accepts keys of 1,024 bytes', async () => {
    await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'ü'.repeat(512), Body: 'x' }));
    const Key = `${'ü'.repeat(512)}x`;
    await expect(s3.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'x' }))).rejects.toMatchObject({
      name: 'KeyTooLongError',
    });
    await expect(s3.send(new GetObjectCommand({ Bucket: BUCKET, Key }))).rejects.toMatchObject({
      name: 'KeyTooLongError',
    });
    await expect(s3.send(new HeadObjectCommand({ Bucket: BUCKET, Key }))).rejects.toMatchObject({
      $metadata: { httpStatusCode: 400 },
    });
  });

  it('lists 1,000 keys at most, and refuses tokens and numbers that it did not give', async () => {
    const list = (fields: object) => s3.send(new ListObjectsV2Command({ Bucket: BUCKET, ...fields }));
    expect((await list({ MaxKeys: 5000 })).MaxKeys).toBe(1000);
    await expect(list({ MaxKeys: -1 })).rejects.toEqual(refused('InvalidArgument', 'maxKeys'));
    for (const ContinuationToken of ['nonsense', 'YQ', '!'])
      await expect(list({ ContinuationToken })).rejects.toEqual(refused('InvalidArgument', 'continuation token'));
    for (const Key of ['list/1', 'list/2']) await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'x' }));
    const { NextContinuationToken } = await list({ Prefix: 'list/', MaxKeys: 1 });
    expect((await list({ Prefix: 'list/', ContinuationToken: NextContinuationToken })).Contents![0]!.Key).toBe(
      'list/2',
    );
  });

  it('completes a multipart upload only of known parts in their order, which are large enough', async () => {
    const at = { Bucket: BUCKET, Key: 'parts' };
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(at));
    const upload = async (PartNumber: number, size: number) => {
      const { ETag } = await s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber, Body: Buffer.alloc(size) }));
      return { PartNumber, ETag };
    };
    const [large, small, last] = [await upload(1, 5 * 1024 * 1024), await upload(2, 10), await upload(3, 10)];
    const complete = (Parts: object[]): Promise<unknown> =>
      s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }));
    await expect(complete([])).rejects.toMatchObject({ name: 'MalformedXML' });
    await expect(complete([last, large])).rejects.toMatchObject({ name: 'InvalidPartOrder' });
    await expect(complete([large, large])).rejects.toMatchObject({ name: 'InvalidPartOrder' });
    await expect(complete([{ ...large, ETag: '"0"' }])).rejects.toMatchObject({ name: 'InvalidPart' });
    await expect(complete([{ ...large, PartNumber: 9 }])).rejects.toMatchObject({ name: 'InvalidPart' });
    await expect(complete([large, small, last])).rejects.toMatchObject({ name: 'EntityTooSmall' });
    await complete([large, last]);
    // A repeated request gets the same answer.
    await complete([large, last]);
  });

  it('does not copy an object to itself without a change', async () => {
    await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'copy me', Body: 'x' }));
    const copy = (fields: object = {}): Promise<unknown> =>
      s3.send(new CopyObjectCommand({ Bucket: BUCKET, Key: 'copy me', CopySource: `${BUCKET}/copy%20me`, ...fields }));
    await expect(copy()).rejects.toEqual(refused('InvalidRequest', 'copy an object to itself'));
    await copy({ MetadataDirective: 'REPLACE' });
    await copy({ Key: 'copy' });
  });
});
