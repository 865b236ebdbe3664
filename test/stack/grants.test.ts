import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import {
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketEncryptionCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { sql } from 'kysely';
import { beforeAll, describe, expect, it } from 'vitest';
import { POLICY_LIMIT, policyBytes } from '../../domain/grants/bucketPolicy.js';
import { listUnattendedBuckets } from '../../store/grants/agenda.js';
import { insertGrant } from '../../store/grants/request.js';
import { Orchestrator } from '../../temporal/client.js';
import { bucketAccessWorkflowId } from '../../workflows/messages/grants.js';
import { waitFor } from '../support.js';
import { replay } from '../testStack.js';

import {
  interceptS3,
  useGrantStack,
  of,
  region,
  PARTNER,
  QUEUE,
  type Grant,
  type Lab,
  temporal,
  admin,
  apps,
  workers,
  startWorker,
  stopWorkers,
  call,
  SHARING,
  lab,
  policyOf,
  statementsOf,
  setPolicy,
  account,
  grant,
  granted,
  removed,
  settled,
  stateOf,
  theirs,
} from '../grantStack.js';

useGrantStack();

describe('a principal of another account', () => {
  let user: { arn: string; s3: S3Client };
  let role: { arn: string; s3: S3Client };
  let stranger: { arn: string; s3: S3Client };

  beforeAll(async () => {
    const iam = new IAMClient(of(PARTNER));
    const all = JSON.stringify({
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Action: ['s3:*', 'sts:AssumeRole'], Resource: '*' }],
    });
    const makeUser = async (UserName: string, Path?: string) => {
      await iam.send(new CreateUserCommand({ UserName, Path }));
      await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'all', PolicyDocument: all }));
      const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }));
      const credentials = { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! };
      return {
        arn: `arn:aws:iam::${PARTNER}:user${Path ?? '/'}${UserName}`,
        credentials,
        s3: new S3Client({ ...of(PARTNER), credentials, forcePathStyle: true }),
      };
    };
    user = await makeUser('analyst', '/lab/group/');
    const other = await makeUser('stranger');
    stranger = other;
    await iam.send(
      new CreateRoleCommand({
        RoleName: 'Analysis',
        AssumeRolePolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [
            { Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${PARTNER}:root` }, Action: 'sts:AssumeRole' },
          ],
        }),
      }),
    );
    await iam.send(new PutRolePolicyCommand({ RoleName: 'Analysis', PolicyName: 'all', PolicyDocument: all }));
    const sts = new STSClient({ ...of(PARTNER), credentials: other.credentials });
    const { Credentials } = await sts.send(
      new AssumeRoleCommand({ RoleArn: `arn:aws:iam::${PARTNER}:role/Analysis`, RoleSessionName: 'test' }),
    );
    role = {
      arn: `arn:aws:iam::${PARTNER}:role/Analysis`,
      s3: new S3Client({
        ...of(PARTNER),
        credentials: {
          accessKeyId: Credentials!.AccessKeyId!,
          secretAccessKey: Credentials!.SecretAccessKey!,
          sessionToken: Credentials!.SessionToken!,
        },
        forcePathStyle: true,
      }),
    };
  });

  const may = async (call: Promise<unknown>): Promise<boolean> =>
    call.then(
      () => true,
      (error: { name?: string }) => {
        expect(error.name).toBe('AccessDenied');
        return false;
      },
    );
  /** Whether the client may read run A, read run B, read outside the runs, list run A and list everything. */
  const reads = async (s3: S3Client, Bucket: string): Promise<boolean[]> => {
    const answers: boolean[] = [];
    for (const Key of ['runs/A/x.txt', 'runs/B/x.txt', 'runs-secret/x.txt'])
      answers.push(await may(s3.send(new GetObjectCommand({ Bucket, Key }))));
    answers.push(
      await may(s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'runs/A/' }))),
      await may(s3.send(new ListObjectsV2Command({ Bucket }))),
    );
    return answers;
  };
  const NOTHING = [false, false, false, false, false];
  const ALL = [true, true, true, true, true];

  it('can read after the grant only, and no longer after the removal, as a user, a role or an account', async () => {
    const at = await lab();
    for (const [principal, s3] of [
      [user.arn, user.s3],
      [role.arn, role.s3],
      [PARTNER, stranger.s3],
      [`arn:aws:iam::${PARTNER}:root`, user.s3],
    ] as const) {
      expect(await reads(s3, at.bucket)).toEqual(NOTHING);
      const made = await granted(at, { principal, description: 'Analysis group' });
      expect(await reads(s3, at.bucket)).toEqual(ALL);
      expect(await may(s3.send(new PutObjectCommand({ Bucket: at.bucket, Key: 'runs/A/y', Body: 'y' })))).toBe(false);
      if (principal === user.arn) {
        expect(await reads(stranger.s3, at.bucket)).toEqual(NOTHING);
        expect(made).toMatchObject({
          principal: user.arn,
          prefix: null,
          uri: `s3://${at.bucket}/`,
          description: 'Analysis group',
          createdBy: 'default',
          problem: null,
        });
        expect(await statementsOf(at.bucket)).toEqual([
          {
            Sid: `ElemBio_BucketReadAccess_${user.arn}`,
            Effect: 'Allow',
            Principal: { AWS: user.arn },
            Action: ['s3:GetObject', 's3:ListBucket', 's3:GetBucketLocation'],
            Resource: [`arn:aws:s3:::${at.bucket}`, `arn:aws:s3:::${at.bucket}/*`],
          },
        ]);
      }
      expect((await call('DELETE', `${at.grants}/${made.id}`)).status).toBe(204);
      expect(await reads(s3, at.bucket)).toEqual(NOTHING);
      // It was the only statement, so the policy is gone.
      expect(await policyOf(at.bucket)).toBeUndefined();
      expect((await call('GET', `${at.grants}/${made.id}`)).status).toBe(404);
    }
  });

  it('can read only the folder of a narrow grant', { tags: 'long' }, async () => {
    const at = await lab('runs');
    const first = await granted(at, { principal: user.arn, prefix: 'A' });
    expect([first.prefix, first.uri]).toEqual(['A/', `s3://${at.bucket}/runs/A/`]);
    expect(await reads(user.s3, at.bucket)).toEqual([true, false, false, true, false]);
    const second = await granted(at, { principal: user.arn, prefix: 'B/' });
    expect(await reads(user.s3, at.bucket)).toEqual([true, true, false, true, false]);
    const folder = await granted(at, { principal: role.arn, prefix: '' });
    expect([folder.prefix, folder.uri]).toEqual(['', `s3://${at.bucket}/runs/`]);
    expect(await reads(role.s3, at.bucket)).toEqual([true, true, false, true, false]);
    await call('DELETE', `${at.grants}/${first.id}`);
    expect(await reads(user.s3, at.bucket)).toEqual([false, true, false, false, false]);
    await call('DELETE', `${at.grants}/${second.id}`);
    await call('DELETE', `${at.grants}/${folder.id}`);
    expect(await policyOf(at.bucket)).toBeUndefined();
  });

  it(
    'can read until the grant expires: AWS enforces the time, the workers remove the statement later',
    { tags: 'long' },
    async () => {
      const at = await lab();
      await setPolicy(at.bucket, theirs(at.bucket));
      const kept = await granted(at, { principal: role.arn });
      let made: Grant;
      let ends: Date;
      // The loop doubles the time until the machine can read, and stop the workers, before the expiry.
      for (let seconds = 3; ; seconds *= 2) {
        ends = new Date(Math.ceil(Date.now() / 1000) * 1000 + seconds * 1000);
        const isOver = (): boolean => Date.now() >= ends.getTime();
        made = await settled(at, { principal: user.arn, timeExpires: ends.toISOString() });
        const before = await reads(user.s3, at.bucket);
        if (!isOver()) {
          expect(before).toEqual(ALL);
          await stopWorkers();
          if (!isOver()) break;
          await startWorker();
          await startWorker();
        }
        await call('DELETE', `${at.grants}/${made.id}`);
      }
      await waitFor(
        'its end',
        async () => Date.now() > ends.getTime() && !(await reads(user.s3, at.bucket)).includes(true),
      );
      expect((await statementsOf(at.bucket)).length).toBe(4);
      await startWorker();
      await startWorker();
      await waitFor('the statement to be out', async () => (await statementsOf(at.bucket)).length === 3);
      expect(
        await waitFor('the state', async () => (await stateOf(at, made.id)).state === 'expired' && 'expired'),
      ).toBe('expired');
      expect(await reads(role.s3, at.bucket)).toEqual(ALL);
      const { entries } = (await call('GET', `/v1/audit-log?action=bucketAccess.expire&resourceId=${at.storageId}`))
        .body;
      expect(entries).toMatchObject([
        {
          caller: { kind: 'system', name: 'polony' },
          requestId: `bucket-access/${at.bucket}`,
          detail: { accessGrantId: made.id },
        },
      ]);
      expect((await call('DELETE', `${at.grants}/${made.id}`)).status).toBe(204);
      await call('DELETE', `${at.grants}/${kept.id}`);
      expect(await policyOf(at.bucket)).toBe(theirs(at.bucket));
    },
  );
});

describe('the bucket policy', () => {
  it('keeps the statements of others byte for byte, and is restored after the removal', async () => {
    const at = await lab();
    await setPolicy(at.bucket, theirs(at.bucket));
    const made = await granted(at, { principal: account(1) });
    expect(await policyOf(at.bucket)).toBe(
      theirs(at.bucket).replace('}],"Version"', `},${JSON.stringify(made.statements[0])}],"Version"`),
    );
    await call('DELETE', `${at.grants}/${made.id}`);
    expect(await policyOf(at.bucket)).toBe(theirs(at.bucket));
  });

  it('is in the audit log before and after each change, with the caller', async () => {
    const at = await lab();
    await setPolicy(at.bucket, theirs(at.bucket));
    const made = await granted(at, { principal: account(1) });
    const between = await policyOf(at.bucket);
    await call('DELETE', `${at.grants}/${made.id}`);
    const { entries } = (await call('GET', `/v1/audit-log?resourceId=${at.storageId}`)).body;
    const own = entries.filter(({ action }) => action.startsWith('bucketAccess.'));
    expect(own.map(({ action, caller, reason, detail }) => ({ action, caller: caller.kind, reason, detail }))).toEqual([
      {
        action: 'bucketAccess.remove',
        caller: 'root',
        reason: null,
        detail: {
          accessGrantId: made.id,
          bucket: at.bucket,
          principal: account(1),
          folder: null,
          before: between,
          after: theirs(at.bucket),
        },
      },
      {
        action: 'bucketAccess.grant',
        caller: 'root',
        reason: null,
        detail: {
          accessGrantId: made.id,
          bucket: at.bucket,
          principal: account(1),
          folder: null,
          before: theirs(at.bucket),
          after: between,
        },
      },
    ]);
    // The audit entry of the API request has the same request id.
    expect(
      entries
        .filter(({ requestId }) => requestId === own[1]!.requestId)
        .map(({ action }) => action)
        .sort(),
    ).toEqual(['StorageConnectionService_CreateAccessGrant', 'bucketAccess.grant']);
    expect(own.every(({ timeEnded }) => timeEnded !== null)).toBe(true);
  });

  it(
    'shows statements that were removed or changed by hand, and is repaired on request',
    { tags: 'long' },
    async () => {
      const at = await lab();
      const [one, two] = [
        await granted(at, { principal: account(1) }),
        await granted(at, { principal: account(2), prefix: 'runs/' }),
      ];
      const whole = await policyOf(at.bucket);
      const states = async (): Promise<string[]> =>
        (await call('GET', at.grants)).body.accessGrants.map(({ state }) => state);
      expect(await states()).toEqual(['active', 'active']);
      await setPolicy(
        at.bucket,
        whole!
          .replace('"s3:ListBucket","s3:GetBucketLocation"', '"s3:ListBucket","s3:PutObject"')
          .replace('runs/*"]}}', 'runs/*"]},"Bool":{"aws:SecureTransport":"true"}}'),
      );
      expect(await states()).toEqual(['changed', 'changed']);
      // The answers say what the policy has in place of the statements.
      const [first, second] = (await call('GET', at.grants)).body.accessGrants;
      expect(first!.foundStatements).toEqual([
        { ...one.statements[0], Action: ['s3:GetObject', 's3:ListBucket', 's3:PutObject'] },
      ]);
      expect(second!.foundStatements).toHaveLength(2);
      expect((await call('GET', `${at.grants}/${one.id}`)).body.accessGrant.foundStatements).toEqual(
        first!.foundStatements,
      );
      const stray = {
        Sid: `ElemBio_BucketReadAccess_${account(9)}`,
        Effect: 'Allow',
        Principal: { AWS: account(9) },
        Action: 's3:GetObject',
        Resource: `arn:aws:s3:::${at.bucket}/*`,
      };
      await setPolicy(at.bucket, { Version: '2012-10-17', Statement: [stray] });
      const list = (await call('GET', at.grants)).body;
      expect([list.accessGrants.map(({ state }) => state), list.foreignStatements, list.policyProblem]).toEqual([
        ['missing', 'missing'],
        [{ sid: stray.Sid, principal: account(9), statement: stray }],
        null,
      ]);
      expect(list.accessGrants.map(({ foundStatements }) => foundStatements)).toEqual([[], []]);
      for (const { id } of [one, two])
        expect((await call('POST', `${at.grants}/${id}/repair`)).body.accessGrant).toMatchObject({
          id,
          state: 'active',
        });
      expect(await statementsOf(at.bucket)).toEqual([stray, ...one.statements, ...two.statements]);
      // A repair of a correct statement writes nothing.
      interceptS3((command) => expect(command).not.toBe('PutBucketPolicyCommand'));
      expect((await call('POST', `${at.grants}/${one.id}/repair`)).body.accessGrant.state).toBe('active');
      interceptS3(undefined);
      // Without a repair request, polony does not replace a foreign statement that has the Sid of a new grant.
      const refused = await grant(at, { principal: account(9) });
      expect([refused.status, refused.reason]).toEqual([409, 'STATEMENT_DIFFERS']);
      expect(await statementsOf(at.bucket)).toContainEqual(stray);
      const id = refused.metadata.accessGrantId as string;
      expect((await stateOf(at, id)).state).toBe('failed');
      expect((await call('POST', `${at.grants}/${id}/repair`)).body.accessGrant.state).toBe('active');
      expect((await statementsOf(at.bucket)).map(({ Sid }) => Sid)[0]).toBe(stray.Sid);
      expect(await statementsOf(at.bucket)).not.toContainEqual(stray);
      // polony adopts a statement that is already correct, such as one that the vendor created.
      await setPolicy(at.bucket, {
        Version: '2012-10-17',
        Statement: [
          { ...(JSON.parse(JSON.stringify(one.statements[0]).replaceAll(account(1), account(5))) as object) },
        ],
      });
      interceptS3((command) => expect(command).not.toBe('PutBucketPolicyCommand'));
      await granted(at, { principal: account(5) });
    },
  );

  it('is reported as unreadable, with the last known states, if polony may not read it', async () => {
    const at = await lab();
    const made = await granted(at, { principal: account(1) });
    await at.allow([]);
    const { body } = await call('GET', at.grants);
    expect([body.policyProblem, body.accessGrants.map(({ id, state }) => [id, state])]).toMatchObject([
      { kind: 'AWS_ACCESS_DENIED', statement: { Action: ['s3:GetBucketPolicy'] } },
      [[made.id, 'active']],
    ]);
  });
});

describe('a change of the bucket policy', () => {
  it.each(SHARING)('without %s is refused, and the answer names the statement that allows it', async (action) => {
    const at = await lab();
    const deleting = action === 's3:DeleteBucketPolicy';
    const before = deleting ? await granted(at, { principal: account(1) }) : undefined;
    await at.allow(SHARING.filter((each) => each !== action));
    const refused =
      before === undefined
        ? await grant(at, { principal: account(1) })
        : await call('DELETE', `${at.grants}/${before.id}`);
    expect([refused.status, refused.reason, refused.metadata.action, refused.metadata.statement]).toEqual([
      409,
      'ACCESS_DENIED',
      action,
      { Effect: 'Allow', Action: [action], Resource: `arn:aws:s3:::${at.bucket}` },
    ]);
    const shown = async (): Promise<string> =>
      (await call('GET', `/v1/storage-connections/${at.storageId}/verification`)).body.verification?.permissions.find(
        (row) => row.action === action,
      )?.result ?? 'none';
    await waitFor('the verification to tell of it', async () => (await shown()) === 'denied');
    const id = refused.metadata.accessGrantId as string;
    expect(await stateOf(at, id)).toMatchObject({
      state: deleting ? 'removing' : 'failed',
      problem: { kind: 'ACCESS_DENIED', action },
    });
    expect(await statementsOf(at.bucket)).toHaveLength(deleting ? 1 : 0);
    await at.allow(SHARING);
    if (deleting) {
      // The removal was requested, so the workflow repeats it. The signal makes it repeat at once.
      await temporal.workflow.getHandle(bucketAccessWorkflowId(at.bucket)).signal('retry');
      await waitFor('the grant to be out', async () => (await policyOf(at.bucket)) === undefined);
      await waitFor('the state', async () => (await call('GET', `${at.grants}/${id}`)).status === 404);
    } else {
      expect((await call('POST', `${at.grants}/${id}/repair`)).body.accessGrant.state).toBe('active');
      expect(await statementsOf(at.bucket)).toHaveLength(1);
    }
  });

  it('warns of a KMS key that the principal cannot use, with the statement for its policy', async () => {
    const at = await lab();
    await at.allow([...SHARING, 's3:GetEncryptionConfiguration']);
    const key = 'arn:aws:kms:us-west-2:111122223333:key/0a1b2c3d-0000-4000-8000-000000000001';
    const encrypt = (KMSMasterKeyID?: string) =>
      admin.s3.send(
        new PutBucketEncryptionCommand({
          Bucket: at.bucket,
          ServerSideEncryptionConfiguration: {
            Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms', KMSMasterKeyID } }],
          },
        }),
      );
    const { id, warnings: before } = await granted(at, { principal: account(31) });
    expect(before).toEqual([]);

    await encrypt(key);
    const repaired = await call('POST', `${at.grants}/${id}/repair`);
    const expected = [
      {
        code: 'KMS_KEY',
        key,
        message: expect.stringContaining('kms:Decrypt') as string,
        statement: {
          Effect: 'Allow',
          Principal: { AWS: account(31) },
          Action: 'kms:Decrypt',
          Resource: '*',
          Condition: { StringEquals: { 'kms:ViaService': 's3.us-west-2.amazonaws.com' } },
        },
      },
    ];
    expect(repaired.body.accessGrant.warnings).toEqual(expected);
    expect((await stateOf(at, id)).warnings).toEqual(expected);
    const second = await granted(at, { principal: account(32) });
    expect(second.warnings).toMatchObject([{ code: 'KMS_KEY', statement: { Principal: { AWS: account(32) } } }]);

    await encrypt();
    const listed = await call('GET', at.grants);
    expect(listed.body.accessGrants.map((each) => each.warnings.map(({ code }) => code))).toEqual([
      ['KMS_KEY_OF_AWS'],
      ['KMS_KEY_OF_AWS'],
    ]);
  });
  it('says that it could not check the encryption of the bucket, and is written all the same', async () => {
    const at = await lab();
    expect(await granted(at, { principal: account(33) })).toMatchObject({
      state: 'active',
      warnings: [{ code: 'ENCRYPTION_NOT_CHECKED', key: null, statement: null }],
    });
  });
  it('that failed can be replaced by a new request, or deleted', async () => {
    const at = await lab();
    await at.allow([]);
    const first = await grant(at, { principal: account(1) });
    const second = await grant(at, { principal: account(1) });
    expect([first.reason, second.reason, first.metadata.accessGrantId === second.metadata.accessGrantId]).toEqual([
      'ACCESS_DENIED',
      'ACCESS_DENIED',
      false,
    ]);
    expect((await call('GET', at.grants)).body.accessGrants.map(({ id }) => id)).toEqual([
      second.metadata.accessGrantId,
    ]);
    expect((await call('DELETE', `${at.grants}/${second.metadata.accessGrantId as string}`)).status).toBe(204);
    expect((await call('GET', at.grants)).body.accessGrants).toEqual([]);
  });

  it('names the public statement if Block Public Access rejects it', async () => {
    const at = await lab();
    const open = {
      Version: '2012-10-17',
      Statement: [
        {
          Sid: 'Open',
          Effect: 'Allow',
          Principal: '*',
          Action: 's3:GetObject',
          Resource: `arn:aws:s3:::${at.bucket}/public/*`,
        },
      ],
    };
    await setPolicy(at.bucket, open);
    await admin.s3.send(
      new PutPublicAccessBlockCommand({
        Bucket: at.bucket,
        PublicAccessBlockConfiguration: { BlockPublicPolicy: true },
      }),
    );
    const refused = await grant(at, { principal: account(1) });
    expect([refused.status, refused.reason]).toEqual([409, 'PUBLIC_POLICY_BLOCKED']);
    expect(refused.body.message).toContain('Open');
    expect(JSON.parse((await policyOf(at.bucket))!)).toEqual(open);
    await setPolicy(at.bucket, { ...open, Statement: [{ ...open.Statement[0], Principal: { AWS: account(3) } }] });
    await granted(at, { principal: account(1) });
  });

  it('never sends a policy of more than 20 KB', { tags: 'long' }, async () => {
    const at = await lab();
    const filler = {
      Sid: 'Large',
      Effect: 'Deny',
      Principal: { AWS: account(3) },
      Action: 's3:DeleteObject',
      Resource: Array.from({ length: 200 }, (_, index) => `arn:aws:s3:::${at.bucket}/${'x'.repeat(40)}${index}/*`),
    };
    await setPolicy(at.bucket, { Version: '2012-10-17', Statement: [filler] });
    const before = await policyOf(at.bucket);
    expect(policyBytes(before!)).toBeLessThan(POLICY_LIMIT);
    await setPolicy(at.bucket, {
      Version: '2012-10-17',
      Statement: [filler, { ...filler, Sid: 'More', Resource: filler.Resource.slice(0, 10) }],
    });
    const answers: (string | undefined)[] = [];
    for (let number = 10; number < 30; number++) answers.push((await grant(at, { principal: account(number) })).reason);
    expect(new Set(answers)).toEqual(new Set([undefined, 'POLICY_TOO_LARGE']));
    expect(policyBytes((await policyOf(at.bucket))!)).toBeLessThanOrEqual(POLICY_LIMIT);
    expect((await statementsOf(at.bucket)).length - 2).toBe(answers.filter((reason) => reason === undefined).length);
  });

  it('reads the policy again after a concurrent change and keeps the changes of others', { tags: 'long' }, async () => {
    const at = await lab();
    const own = (number: number) => ({
      Sid: `Theirs${number}`,
      Effect: 'Allow',
      Principal: { AWS: account(3) },
      Action: 's3:GetObjectTagging',
      Resource: `arn:aws:s3:::${at.bucket}/${number}/*`,
    });
    let reads = 0;
    let edits = 0;
    const edit = async (): Promise<void> => {
      await setPolicy(at.bucket, {
        Version: '2012-10-17',
        Statement: [...(await statementsOf(at.bucket)), own(++edits)],
      });
    };
    // One change between the first read and the read before the write, and one right after the write.
    let written: { Sid?: string }[] = [];
    interceptS3(async (command) => {
      if (command === 'GetBucketPolicyCommand' && ++reads === 2) await edit();
      if (command === 'PutBucketPolicyCommand') written = await statementsOf(at.bucket);
      else if (written.length > 0 && edits === 1) {
        edits++;
        await setPolicy(at.bucket, { Version: '2012-10-17', Statement: [...written, own(2)] });
      }
    });
    const made = await granted(at, { principal: account(1) });
    interceptS3(undefined);
    expect(await statementsOf(at.bucket)).toEqual([own(1), own(2), ...made.statements]);
    const { entries } = (await call('GET', `/v1/audit-log?action=bucketAccess.grant&resourceId=${at.storageId}`)).body;
    expect(entries.map(({ reason }) => reason)).toEqual([null, 'POLICY_CHANGED_MEANWHILE', 'POLICY_CHANGED_MEANWHILE']);
    // A change before every write.
    interceptS3(async (command) => {
      if (command === 'GetBucketPolicyCommand') await edit();
    });
    const refused = await grant(at, { principal: account(2) });
    interceptS3(undefined);
    expect([refused.status, refused.reason]).toEqual([409, 'POLICY_CHANGED_MEANWHILE']);
    expect((await statementsOf(at.bucket)).filter(({ Sid }) => Sid?.startsWith('Theirs'))).toHaveLength(edits);
    expect(
      (await call('POST', `${at.grants}/${refused.metadata.accessGrantId as string}/repair`)).body.accessGrant.state,
    ).toBe('active');
  });

  it('ignores an old version of the policy that S3 may return for a moment', async () => {
    const at = await lab();
    await setPolicy(at.bucket, theirs(at.bucket));
    const made = await granted(at, { principal: account(1) });
    const removed = await granted(at, { principal: account(2) });
    const old = await policyOf(at.bucket);
    await call('DELETE', `${at.grants}/${removed.id}`);
    const now = await policyOf(at.bucket);
    // Three reads return the policy from before the removal. After that, reads return the current policy.
    let stale = 3;
    interceptS3(async (command) => {
      if (command === 'GetBucketPolicyCommand') await setPolicy(at.bucket, stale-- > 0 ? old! : now!);
      if (command === 'PutBucketPolicyCommand') interceptS3(undefined);
    });
    const third = await granted(at, { principal: account(3) });
    expect((await statementsOf(at.bucket)).map(({ Sid }) => Sid).slice(2)).toEqual(
      [...made.statements, ...third.statements].map(({ Sid }) => Sid),
    );
  });

  it('is written once after a lost answer', async () => {
    const at = await lab();
    let puts = 0;
    const { db } = workers[0]!;
    interceptS3(async (command, { Policy }) => {
      if (command !== 'PutBucketPolicyCommand' || ++puts > 1) return;
      await setPolicy(at.bucket, Policy);
      throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
    });
    const made = await granted(at, { principal: account(1) });
    expect([puts, (await statementsOf(at.bucket)).length]).toEqual([1, 1]);
    const entries = await db
      .selectFrom('audit_log as a')
      .leftJoin('audit_outcomes as o', 'o.audit_id', 'a.id')
      .select(['a.id', 'o.reason', 'o.time'])
      .where('a.action', '=', 'bucketAccess.grant')
      .where('a.resource_id', '=', at.storageId)
      .execute();
    expect(entries).toMatchObject([{ reason: null, time: expect.any(Date) as Date }]);
    expect((await stateOf(at, made.id)).state).toBe('active');
  });
});

describe('grant requests', () => {
  it('report all bad fields and change nothing', async () => {
    const at = await lab();
    const problems = async (body: object): Promise<unknown[]> => {
      const { status, body: answer } = await grant(at, body);
      expect(status).toBe(400);
      return answer.details.map(({ metadata }) => `${String(metadata.field)} ${String(metadata.rule)}`).sort();
    };
    expect(
      await problems({ principal: '*', prefix: '../x', timeExpires: '2020-01-01T00:00:00Z', description: 'a\0b' }),
    ).toEqual([
      'description CHARACTERS',
      'prefix PREFIX_SEGMENTS',
      'principal PRINCIPAL_WILDCARD',
      'timeExpires IN_THE_FUTURE',
    ]);
    expect(await problems({ principal: `arn:aws:sts::${PARTNER}:assumed-role/Analysis/me`, prefix: 'runs/*' })).toEqual(
      ['prefix PREFIX_WILDCARD', 'principal PRINCIPAL_SESSION'],
    );
    expect(await problems({ prefix: 'x', timeExpires: 'soon', bucket: 'other' })).toEqual([
      'bucket UNKNOWN_FIELD',
      'principal REQUIRED',
      'timeExpires FORMAT',
    ]);
    expect((await call('GET', at.grants)).body.accessGrants).toEqual([]);
    for (const url of [
      '/v1/storage-connections/none/access-grants',
      `/v1/storage-connections/${at.providerId}/access-grants`,
    ])
      expect((await call('GET', url)).status).toBe(404);
    for (const id of ['none', at.providerId]) {
      expect((await call('GET', `${at.grants}/${id}`)).status).toBe(404);
      expect((await call('DELETE', `${at.grants}/${id}`)).status).toBe(404);
      expect((await call('POST', `${at.grants}/${id}/repair`)).status).toBe(404);
    }
  });

  it('with the same Idempotency-Key create one grant', async () => {
    const at = await lab();
    const key = { 'idempotency-key': 'grant-1' };
    const answers = await Promise.all(Array.from({ length: 5 }, () => grant(at, { principal: account(1) }, key)));
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.accessGrant.id}`)).size).toBe(1);
    expect(await statementsOf(at.bucket)).toHaveLength(1);
    const again = await grant(at, { principal: account(1) });
    expect([again.status, again.reason]).toEqual([409, 'ALREADY_GRANTED']);
    expect((await grant(at, { principal: account(2) }, key)).reason).toBe('IDEMPOTENCY_KEY_REUSED');
    await call('DELETE', `${at.grants}/${answers[0]!.body.accessGrant.id}`);
    expect((await grant(at, { principal: account(1) }, key)).status).toBe(201);
    expect(await policyOf(at.bucket)).toBeUndefined();
  });

  it('for two storage connections share one bucket policy, and each connection shows its own grants', async () => {
    const at = await lab('runs');
    const { body } = await call('POST', '/v1/storage-connections', {
      name: `${at.bucket}-2`,
      providerId: at.providerId,
      region,
      bucket: at.bucket,
      prefix: 'runs-secret',
      useForRunUpload: false,
      useForDataExploration: true,
    });
    const other: Lab = {
      ...at,
      storageId: body.storageConnection.id,
      grants: `/v1/storage-connections/${body.storageConnection.id}/access-grants`,
    };
    const [one, two] = await Promise.all([
      granted(at, { principal: account(1), prefix: '' }),
      granted(other, { principal: account(1), prefix: '' }),
    ]);
    expect(await statementsOf(at.bucket)).toHaveLength(4);
    for (const [mine, theirs, own] of [
      [at, other, one],
      [other, at, two],
    ] as const) {
      const list = (await call('GET', mine.grants)).body;
      expect([list.accessGrants.map(({ id, state }) => [id, state]), list.foreignStatements]).toEqual([
        [[own.id, 'active']],
        [],
      ]);
      expect((await call('GET', `${theirs.grants}/${own.id}`)).status).toBe(404);
      expect((await call('DELETE', `${theirs.grants}/${own.id}`)).status).toBe(404);
    }
    const whole = await granted(at, { principal: account(2) });
    const same = await grant(other, { principal: account(2) });
    expect([same.status, same.reason, same.metadata.accessGrantId]).toEqual([409, 'ALREADY_GRANTED', whole.id]);
    // A storage connection with grants cannot be deleted or moved.
    const kept = await call('DELETE', `/v1/storage-connections/${other.storageId}`);
    expect([kept.status, kept.reason, kept.metadata.usedBy]).toEqual([
      409,
      'IN_USE',
      [{ kind: 'access grant', id: two.id, name: account(1) }],
    ]);
    const moved = await call('PATCH', `/v1/storage-connections/${other.storageId}`, { prefix: 'elsewhere' });
    expect([moved.status, moved.reason, moved.metadata.field]).toEqual([409, 'IN_USE', 'prefix']);
    await call('DELETE', `${other.grants}/${two.id}`);
    expect((await call('DELETE', `/v1/storage-connections/${other.storageId}`)).status).toBe(204);
    expect(await statementsOf(at.bucket)).toHaveLength(3);
  });

  it('with a key for one storage connection cannot share anything else', async () => {
    const at = await lab('runs');
    const foreign = await lab();
    const made = await granted(foreign, { principal: account(1) });
    const keyFor = async (scope: string): Promise<Record<string, string>> => ({
      'x-api-key': (await call('POST', '/v1/api-keys', { name: scope, scopes: [scope] })).body.key,
    });
    const key = await keyFor(`storage:share:${at.storageId}`);
    const whole = await grant(at, { principal: account(1) }, key);
    expect([whole.status, whole.reason]).toEqual([403, 'INSUFFICIENT_SCOPE']);
    expect((await grant(at, { principal: account(1), prefix: '' }, key)).status).toBe(201);
    expect((await grant(foreign, { principal: account(2) }, key)).status).toBe(404);
    expect((await call('GET', foreign.grants, undefined, key)).status).toBe(404);
    expect((await call('DELETE', `${foreign.grants}/${made.id}`, undefined, key)).status).toBe(404);
    // The path of one storage connection does not give access to a grant of another.
    expect((await call('DELETE', `${at.grants}/${made.id}`, undefined, key)).status).toBe(404);
    expect((await call('POST', `${at.grants}/${made.id}/repair`, undefined, key)).status).toBe(404);
    const reader = await keyFor(`storage:write:${at.storageId}`);
    expect((await call('GET', at.grants, undefined, reader)).reason).toBe('INSUFFICIENT_SCOPE');
    expect((await grant(at, { principal: account(3), prefix: '' }, reader)).reason).toBe('INSUFFICIENT_SCOPE');
    expect((await stateOf(foreign, made.id)).state).toBe('active');
  });

  it('wait while another worker still holds the lock of the bucket', async () => {
    const at = await lab();
    const { db } = apps[0]!;
    let free: (() => void) | undefined;
    const holding = new Promise<void>((resolve) => (free = resolve));
    const held = db.connection().execute(async (own) => {
      await sql`select pg_advisory_lock(hashtextextended(${`bucket-policy/${at.bucket}`}, 0))`.execute(own);
      await holding;
      await sql`select pg_advisory_unlock(hashtextextended(${`bucket-policy/${at.bucket}`}, 0))`.execute(own);
    });
    let puts = 0;
    interceptS3((command) => void (command === 'PutBucketPolicyCommand' && puts++));
    const answer = grant(at, { principal: account(1) });
    await waitFor('the change to wait for it', async () => {
      const pending = await temporal.workflow
        .getHandle(bucketAccessWorkflowId(at.bucket))
        .describe()
        .then(
          ({ raw }) => raw.pendingActivities ?? [],
          () => [],
        );
      return pending.some(({ attempt }) => (attempt ?? 0) > 1);
    });
    expect([puts, await policyOf(at.bucket)]).toEqual([0, undefined]);
    free!();
    await held;
    expect((await answer).body.accessGrant.state).toBe('active');
    expect(puts).toBe(1);
  });

  it('are completed by the sweep if their workflow was terminated or never started', async () => {
    const at = await lab();
    await stopWorkers();
    const { db } = apps[0]!;
    const answer = grant(at, { principal: account(1) });
    await waitFor('the workflow', async () =>
      temporal.workflow
        .getHandle(bucketAccessWorkflowId(at.bucket))
        .describe()
        .then(
          ({ status }) => status.name === 'RUNNING',
          () => false,
        ),
    );
    await temporal.workflow.getHandle(bucketAccessWorkflowId(at.bucket)).terminate('by hand');
    const { status, body } = await answer;
    expect([status, body.accessGrant.state]).toEqual([201, 'pending']);
    expect((await listUnattendedBuckets(db)).map(({ bucket }) => bucket)).not.toContain(at.bucket);
    await db
      .updateTable('access_grants')
      .set({ time_updated: new Date(Date.now() - 60_000) })
      .where('id', '=', body.accessGrant.id)
      .execute();
    expect(await listUnattendedBuckets(db)).toContainEqual({
      bucket: at.bucket,
      storage_connection: at.bucket.replace('lab-', ''),
    });
    await startWorker();
    await startWorker();
    await new Orchestrator(temporal, QUEUE).grants.settle({ bucket: at.bucket, storageConnectionName: 'test' });
    await waitFor('the grant', async () => (await stateOf(at, body.accessGrant.id)).state === 'active');
  });
});

describe('outstanding changes of a bucket', () => {
  const settle = (at: Lab): Promise<void> =>
    new Orchestrator(temporal, QUEUE).grants.settle({ bucket: at.bucket, storageConnectionName: 'x' });
  const insert = async (at: Lab, number: number): Promise<string> =>
    (
      await insertGrant(
        apps[0]!.db,
        {
          storageConnectionId: at.storageId,
          bucket: at.bucket,
          partition: 'aws',
          principal: account(number),
          prefix: null,
          folder: null,
          description: '',
          expires: null,
        },
        { by: { kind: 'system', id: 'test', name: 'test' }, requestId: 'test' } as never,
      )
    ).id;

  it('never add a grant whose removal was requested before the write', async () => {
    const at = await lab();
    const [one, two] = [await insert(at, 1), await insert(at, 2)];
    const policies: string[] = [];
    let removal: Promise<unknown> | undefined;
    interceptS3(async (command, { Bucket, Policy }) => {
      if (Bucket !== at.bucket) return;
      if (command === 'PutBucketPolicyCommand') policies.push(Policy!);
      if (removal !== undefined) return;
      removal = call('DELETE', `${at.grants}/${two}`);
      await waitFor('the removal to be requested', async () => (await stateOf(at, two)).state === 'removing');
    });
    await settle(at);
    await waitFor('the first grant', async () => (await stateOf(at, one)).state === 'active');
    await removal;
    await waitFor('the removal', async () => ['removed', undefined].includes((await stateOf(at, two))?.state));
    expect(policies.filter((policy) => policy.includes(account(2)))).toEqual([]);
    expect(policies).toHaveLength(1);
  });

  it('are made in one write', { tags: 'long' }, async () => {
    const at = await lab();
    const old = [await granted(at, { principal: account(1) }), await granted(at, { principal: account(2) })];
    await stopWorkers();
    const policies: unknown[] = [];
    interceptS3((command, { Bucket, Policy }) => {
      if (Bucket === at.bucket && command === 'PutBucketPolicyCommand') policies.push(Policy);
    });
    const answers = [
      ...old.map(({ id }) => call('DELETE', `${at.grants}/${id}`)),
      ...[3, 4, 5].map((number) => grant(at, { principal: account(number), prefix: 'runs/' })),
    ];
    await waitFor('all to be requested', async () => {
      const { accessGrants } = (await call('GET', at.grants)).body;
      return accessGrants.filter(({ state }) => ['pending', 'removing'].includes(state)).length === 5;
    });
    await startWorker();
    await startWorker();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([204, 204, 201, 201, 201]);
    expect(policies).toEqual([await policyOf(at.bucket)]);
    expect(await statementsOf(at.bucket)).toHaveLength(6);
    // Each has its entry in the audit log, with the same policy before and after.
    const { entries } = (await call('GET', `/v1/audit-log?resourceId=${at.storageId}`)).body;
    const last = entries.filter(
      ({ action, detail }) => action.startsWith('bucketAccess') && detail!.after === policies[0],
    );
    expect(last.map(({ action }) => action).sort()).toEqual([
      ...Array<string>(3).fill('bucketAccess.grant'),
      ...Array<string>(2).fill('bucketAccess.remove'),
    ]);
  });

  it('include a repair that is requested while a write fails', async () => {
    const at = await lab();
    let repair: ReturnType<typeof call> | undefined;
    interceptS3(async (command, { Bucket }) => {
      if (Bucket !== at.bucket || command !== 'PutBucketPolicyCommand' || repair !== undefined) return;
      const [pending] = (await call('GET', at.grants)).body.accessGrants;
      repair = call('POST', `${at.grants}/${pending!.id}/repair`);
      await waitFor('the repair to be requested', async () => {
        const { db } = apps[0]!;
        return db
          .selectFrom('access_grants')
          .select('id')
          .where('id', '=', pending!.id)
          .where('overwrite', '=', true)
          .executeTakeFirst();
      });
      throw Object.assign(new Error('Access Denied'), { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } });
    });
    const first = await grant(at, { principal: account(1) });
    expect((await repair!).body.accessGrant).toMatchObject({ state: 'active', problem: null });
    expect(await statementsOf(at.bucket)).toHaveLength(1);
    // The first request shares the outcome of the repair.
    expect(first.status).toBe(201);
  });

  it('do not wait for one that keeps failing', async () => {
    const at = await lab();
    const [one, two] = [await insert(at, 1), await insert(at, 2)];
    interceptS3((command, { Bucket, Policy }) => {
      if (Bucket !== at.bucket || command !== 'PutBucketPolicyCommand' || !Policy!.includes(account(1))) return;
      throw new S3ServiceException({
        name: 'InternalError',
        $fault: 'server',
        message: 'We encountered an internal error',
        $metadata: { httpStatusCode: 500 },
      });
    });
    await settle(at);
    await waitFor('the second grant', async () => (await stateOf(at, two)).state === 'active');
    expect((await stateOf(at, one)).state).toBe('pending');
  });
});

it('reaches the exact policy after concurrent changes through two APIs and two workers', { tags: 'long' }, async () => {
  const at = await lab();
  await setPolicy(at.bucket, theirs(at.bucket));
  const old = await Promise.all(Array.from({ length: 5 }, (_, number) => granted(at, { principal: account(number) })));
  const [made] = await Promise.all([
    Promise.all(Array.from({ length: 10 }, (_, number) => granted(at, { principal: account(100 + number) }))),
    Promise.all(old.map(({ id }) => removed(at, id))),
  ]);
  expect(
    (await statementsOf(at.bucket))
      .slice(2)
      .map(({ Sid }) => Sid)
      .sort(),
  ).toEqual(made.flatMap(({ statements }) => statements.map(({ Sid }) => Sid)).sort());
});

it('shows the state of a grant in Temporal, and replays', { tags: 'long' }, async () => {
  const at = await lab();
  const made = await granted(at, {
    principal: account(1),
    timeExpires: new Date(Date.now() + 3_600_000).toISOString(),
  });
  const handle = temporal.workflow.getHandle(bucketAccessWorkflowId(at.bucket));
  const shown = await waitFor('the search attributes', async () => {
    const { typedSearchAttributes } = await handle.describe();
    const values = Object.fromEntries([...typedSearchAttributes.getAll()].map(({ key, value }) => [key.name, value]));
    return values.PolonyStatus === 'WAITING_FOR_EXPIRY' && values;
  });
  expect(shown).toMatchObject({ PolonyBlocked: false, PolonyStorageConnection: at.bucket.replace('lab-', '') });
  const { events } = await handle.fetchHistory();
  const summaries = events!.flatMap((event) =>
    event.userMetadata?.summary?.data === undefined ? [] : [Buffer.from(event.userMetadata.summary.data!).toString()],
  );
  expect(summaries).toEqual([
    `"Access to the bucket ${at.bucket}"`,
    `"Change the policy for ${account(1)}"`,
    '"Wait for an expiry, or to try outstanding changes again"',
  ]);
  await expect(
    handle.executeUpdate('changeAccess', { args: [{ bucket: 'another', grantId: made.id, principal: 'x' }] }),
  ).rejects.toMatchObject({ cause: { message: expect.stringContaining('not of another') as string } });
  await expect(
    handle.executeUpdate('changeAccess', { args: [{ bucket: at.bucket, grantId: 'x', principal: 'x' }] }),
  ).rejects.toMatchObject({ cause: { type: 'InvalidChange' } });
  // If the tests above ran, this includes their workflows.
  const workflows: { workflowId: string; runId: string }[] = [];
  for await (const workflow of temporal.workflow.list({ query: 'WorkflowType = "bucketAccess"' }))
    workflows.push(workflow);
  expect(workflows.length).toBeGreaterThanOrEqual(1);
  await replay(temporal, workflows);
});
