/** @module-tag long */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import {
  AcceptShareCommand,
  CancelRunCommand,
  GetRunCommand,
  GetWorkflowCommand,
  OmicsClient,
  StartRunCommand,
} from '@aws-sdk/client-omics';
import {
  CreateBucketCommand,
  DeleteBucketPolicyCommand,
  GetBucketLocationCommand,
  GetBucketPolicyCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { AssumeRoleCommand, GetCallerIdentityCommand, GetFederationTokenCommand, STSClient } from '@aws-sdk/client-sts';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluatePolicy, type IamRequest } from '../../domain/iam/evaluatePolicy.js';
import { parseIamPolicy } from '../../domain/iam/parsePolicy.js';
import { iamDocuments, type IamDocuments } from '../../domain/iam/documents.js';
import { policyText } from '../../domain/iam/policyText.js';
import { type IamQuery, parseIamQuery } from '../../domain/iam/query.js';
import {
  CAPABILITIES,
  CREDENTIAL_TYPES,
  type PermissionAction,
  permissionsForCapabilities,
} from '../../domain/iam/permissions.js';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';

/** All random values come from this seed. Set POLONY_TEST_SEED to repeat a run. */
const seed = Number(process.env.POLONY_TEST_SEED ?? Date.now() % 2_000_000_000);
const REGION = 'us-west-2';
const BUCKET = 'lab-aviti-one';
const NEIGHBOUR = 'lab-aviti-one-2';
const ROLE = 'arn:aws:iam::111122223333:role/omics-execution';
const EXTERNAL_ID = 'lab-7f3a';

interface Keys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

let stateDir: string;
let guardian: Guardian;
let aws: LocalAws;
let iam: IAMClient;
let admin: S3Client;
let counter = 0;
const clients: { destroy: () => void }[] = [];
const kept = <T extends { destroy: () => void }>(client: T): T => {
  clients.push(client);
  return client;
};

const common = (credentials: Keys) => ({ region: REGION, endpoint: aws.endpoint, credentials, maxAttempts: 1 });
const s3Of = (keys: Keys): S3Client => kept(new S3Client({ ...common(keys), forcePathStyle: true }));
const omicsOf = (keys: Keys): OmicsClient => kept(new OmicsClient({ ...common(keys), disableHostPrefix: true }));
const stsOf = (keys: Keys): STSClient => kept(new STSClient(common(keys)));
const serviceKeys = (): Keys => ({ accessKeyId: aws.serviceAccessKeyId, secretAccessKey: aws.serviceSecretAccessKey });
const keysOf = (
  credentials: { AccessKeyId?: string; SecretAccessKey?: string; SessionToken?: string } | undefined,
): Keys => ({
  accessKeyId: credentials!.AccessKeyId!,
  secretAccessKey: credentials!.SecretAccessKey!,
  sessionToken: credentials!.SessionToken,
});

beforeAll(async () => {
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-iam-'));
  guardian = await createGuardian(stateDir);
  aws = await startLocalAws({
    guardian,
    stateDir,
    region: REGION,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: 50, STOPPING: 50 } },
  });
  const root = { accessKeyId: aws.adminAccessKeyId, secretAccessKey: aws.adminSecretAccessKey };
  iam = kept(new IAMClient(common(root)));
  admin = s3Of(root);
  for (const bucket of [BUCKET, NEIGHBOUR])
    await admin.send(
      new CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: REGION } }),
    );
  await omicsOf(root).send(new AcceptShareCommand({ shareId: aws.workflow.shareId }));
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await aws?.stop();
  await guardian?.close();
  rmSync(stateDir, { recursive: true, force: true });
});

/** Whether AWS authorized a call. Only a denial counts as refused, so a missing resource counts as authorized. */
async function allowed(call: Promise<unknown>, refusedAction?: string): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    const { name, message } = error as Error;
    // AWS also refuses StartRun if iam:PassRole is missing.
    if (name === 'AccessDenied' || name === 'AccessDeniedException')
      return refusedAction !== undefined && !message.includes(`perform: ${refusedAction}`);
    if (['NoSuchBucketPolicy', 'NoSuchKey', 'ResourceNotFoundException', 'ValidationException'].includes(name))
      return true;
    throw error;
  }
}

interface Probe {
  request: IamRequest;
  call: (session: Session) => Promise<boolean>;
}
interface Session {
  s3: S3Client;
  omics: OmicsClient;
}
const sessionOf = (keys: Keys): Session => ({ s3: s3Of(keys), omics: omicsOf(keys) });

const bucketArn = (bucket: string): string => `arn:aws:s3:::${bucket}`;
const s3Probe = (
  action: PermissionAction,
  resource: string,
  command: () => object,
  context: Record<string, string> = {},
): Probe => ({
  request: { action, resource, context: { ...context, 'aws:ResourceAccount': aws.customerAccountId } },
  call: async ({ s3 }) =>
    allowed(
      (s3.send(command() as never) as Promise<{ Body?: { transformToString: () => Promise<string> } }>).then((answer) =>
        answer.Body?.transformToString(),
      ),
    ),
});
const probes = {
  location: (bucket: string) =>
    s3Probe('s3:GetBucketLocation', bucketArn(bucket), () => new GetBucketLocationCommand({ Bucket: bucket })),
  list: (bucket: string, prefix: string) =>
    s3Probe(
      's3:ListBucket',
      bucketArn(bucket),
      () => new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 }),
      { 's3:prefix': prefix },
    ),
  put: (bucket: string, key: string) =>
    s3Probe(
      's3:PutObject',
      `${bucketArn(bucket)}/${key}`,
      () => new PutObjectCommand({ Bucket: bucket, Key: key, Body: 'x' }),
    ),
  get: (bucket: string, key: string) =>
    s3Probe('s3:GetObject', `${bucketArn(bucket)}/${key}`, () => new GetObjectCommand({ Bucket: bucket, Key: key })),
  getPolicy: (bucket: string) =>
    s3Probe('s3:GetBucketPolicy', bucketArn(bucket), () => new GetBucketPolicyCommand({ Bucket: bucket })),
  putPolicy: (bucket: string) =>
    s3Probe(
      's3:PutBucketPolicy',
      bucketArn(bucket),
      () =>
        new PutBucketPolicyCommand({
          Bucket: bucket,
          Policy: JSON.stringify({
            Version: '2012-10-17',
            Statement: [
              {
                Effect: 'Allow',
                Principal: { AWS: 'arn:aws:iam::444455556666:root' },
                Action: 's3:GetObject',
                Resource: `${bucketArn(bucket)}/none`,
              },
            ],
          }),
        }),
    ),
  deletePolicy: (bucket: string) =>
    s3Probe('s3:DeleteBucketPolicy', bucketArn(bucket), () => new DeleteBucketPolicyCommand({ Bucket: bucket })),
  workflow: (id: string): Probe => ({
    request: {
      action: 'omics:GetWorkflow',
      resource: `arn:aws:omics:${REGION}:${aws.serviceAccountId}:workflow/${id}`,
      context: {},
    },
    call: async ({ omics }) =>
      allowed(omics.send(new GetWorkflowCommand({ id, workflowOwnerId: aws.serviceAccountId }))),
  }),
  getRun: (): Probe => ({
    request: { action: 'omics:GetRun', resource: `arn:aws:omics:${REGION}:111122223333:run/9999999`, context: {} },
    call: async ({ omics }) => allowed(omics.send(new GetRunCommand({ id: '9999999' }))),
  }),
  cancelRun: (): Probe => ({
    request: { action: 'omics:CancelRun', resource: `arn:aws:omics:${REGION}:111122223333:run/9999999`, context: {} },
    call: async ({ omics }) => allowed(omics.send(new CancelRunCommand({ id: '9999999' }))),
  }),
  startRun: (id: string): Probe => ({
    request: {
      action: 'omics:StartRun',
      resource: `arn:aws:omics:${REGION}:${aws.serviceAccountId}:workflow/${id}`,
      context: {},
    },
    call: async ({ omics }) => allowed(startRun(omics, id, ROLE), 'omics:StartRun'),
  }),
  /** Requires a grant for StartRun itself, because AWS checks it first. */
  passRole: (roleArn: string): Probe => ({
    request: { action: 'iam:PassRole', resource: roleArn, context: { 'iam:PassedToService': 'omics.amazonaws.com' } },
    call: async ({ omics }) => allowed(startRun(omics, aws.workflow.id, roleArn), 'iam:PassRole'),
  }),
};
/** Omits the required workflow parameter, so that no run starts. */
const startRun = (omics: OmicsClient, workflowId: string, roleArn: string): Promise<unknown> =>
  omics.send(
    new StartRunCommand({
      workflowId,
      workflowOwnerId: aws.serviceAccountId,
      workflowType: 'PRIVATE',
      roleArn,
      outputUri: `s3://${BUCKET}/out/`,
      requestId: `r-${++counter}`,
      parameters: {},
    }),
  );

/** Creates the resources of the documents and opens a session, as polony does. */
async function connect(documents: IamDocuments): Promise<{ keys: Keys; roleArn?: string }> {
  const name = `provider-${++counter}`;
  if (documents.trustPolicy === null) {
    await iam.send(new CreateUserCommand({ UserName: name }));
    await iam.send(
      new PutUserPolicyCommand({
        UserName: name,
        PolicyName: 'polony',
        PolicyDocument: policyText(documents.permissionPolicy),
      }),
    );
    const long = keysOf((await iam.send(new CreateAccessKeyCommand({ UserName: name }))).AccessKey);
    const { Credentials } = await stsOf(long).send(
      new GetFederationTokenCommand({
        Name: 'polony',
        Policy: JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }),
      }),
    );
    return { keys: keysOf(Credentials) };
  }
  const roleArn = await createRole(name, documents.trustPolicy, documents.permissionPolicy);
  return { roleArn, keys: await assume(roleArn) };
}
async function createRole(name: string, trust: unknown, granted: unknown): Promise<string> {
  await iam.send(
    new CreateRoleCommand({
      RoleName: name,
      MaxSessionDuration: 43_200,
      AssumeRolePolicyDocument: JSON.stringify(trust),
    }),
  );
  await iam.send(
    new PutRolePolicyCommand({ RoleName: name, PolicyName: 'polony', PolicyDocument: policyText(granted) }),
  );
  return `arn:aws:iam::${aws.customerAccountId}:role/${name}`;
}
async function assume(roleArn: string, externalId: string | undefined = EXTERNAL_ID): Promise<Keys> {
  return keysOf(
    (
      await stsOf(serviceKeys()).send(
        new AssumeRoleCommand({
          RoleArn: roleArn,
          RoleSessionName: 'polony',
          ExternalId: externalId,
          DurationSeconds: 43_200,
        }),
      )
    ).Credentials,
  );
}

const choices: fc.Arbitrary<IamQuery> = fc.record({
  credentialType: fc.constantFrom(...CREDENTIAL_TYPES),
  variant: fc.constantFrom('vendor', 'least'),
  prefix: fc.oneof(
    { weight: 1, arbitrary: fc.constant('') },
    {
      weight: 4,
      arbitrary: fc.constantFrom(
        'runs',
        'lab 1/runs',
        "it's",
        'a+b%20c',
        'läufe',
        '日本',
        'x$y',
        'q"{}',
        'runs-secret',
        '(a)!/~b',
      ),
    },
  ),
  capabilities: fc.subarray([...CAPABILITIES], { minLength: 1 }),
  bucket: fc.constant(BUCKET),
  externalId: fc.constant(EXTERNAL_ID),
});

describe(`generated documents under enforcement, seed ${seed}`, () => {
  it('grant what they claim, and nothing beside it', async () => {
    const inOrder: IamQuery[] = CREDENTIAL_TYPES.flatMap((credentialType) =>
      ['vendor', 'least'].map((variant) => ({
        credentialType,
        variant,
        bucket: BUCKET,
        prefix: 'runs',
        externalId: EXTERNAL_ID,
      })),
    );
    let probed = 0;
    for (const drawn of [...inOrder, ...fc.sample(choices, { numRuns: 40, seed })]) {
      const query = {
        ...drawn,
        ...(drawn.variant === 'least' && {
          executionRoleArn: ROLE,
          workflowId: aws.workflow.id,
          workflowOwnerId: aws.serviceAccountId,
          region: REGION,
        }),
      };
      const choice = parseIamQuery(query);
      const documents = iamDocuments(choice, aws.serviceAccountId);
      const granted = permissionsForCapabilities(choice.credentialType, choice.capabilities).map(
        ({ action }) => action,
      );
      const { keys } = await connect(documents);
      const session = sessionOf(keys);
      expect((await stsOf(keys).send(new GetCallerIdentityCommand({}))).Account).toBe(aws.customerAccountId);
      const { prefix } = choice.locations[0]!;
      const least = choice.variant === 'least';
      const under = prefix === '' ? '' : `${prefix}/`;
      const inside = `${under}AV1/file`;
      // Outside `runs` are `runs-secret`, the root, and names with the same start.
      const outside = prefix === '' ? [] : [`${prefix}-secret/file`, 'other/file', `${prefix}2`];
      const cases: [Probe, boolean][] = [
        [probes.location(BUCKET), true],
        [probes.list(BUCKET, under), true],
        [probes.list(BUCKET, `${under}AV1/`), true],
        [probes.put(BUCKET, inside), true],
        [probes.get(BUCKET, inside), true],
        [probes.getPolicy(BUCKET), true],
        [probes.putPolicy(BUCKET), true],
        [probes.deletePolicy(BUCKET), true],
        [probes.workflow(aws.workflow.id), true],
        [probes.getRun(), true],
        [probes.cancelRun(), true],
        [probes.startRun(aws.workflow.id), true],
        ...outside.flatMap((key): [Probe, boolean][] => [
          [probes.put(BUCKET, key), false],
          [probes.get(BUCKET, key), false],
          [probes.list(BUCKET, key), false],
        ]),
        ...(prefix === ''
          ? []
          : ([
              [probes.list(BUCKET, ''), false],
              [probes.list(BUCKET, prefix), false],
            ] as [Probe, boolean][])),
        ...[probes.location, probes.getPolicy, probes.putPolicy, probes.deletePolicy].map((probe): [Probe, boolean] => [
          probe(NEIGHBOUR),
          false,
        ]),
        [probes.list(NEIGHBOUR, under), false],
        [probes.put(NEIGHBOUR, inside), false],
        [probes.get(NEIGHBOUR, inside), false],
        [probes.workflow('7654321'), !least],
        [probes.startRun('7654321'), !least],
        ...(granted.includes('omics:StartRun')
          ? ([
              [probes.passRole(ROLE), true],
              [probes.passRole(`${ROLE}-2`), !least],
              [probes.passRole('arn:aws:iam::111122223333:role/Admin'), !least],
            ] as [Probe, boolean][])
          : []),
      ];
      const policy = parseIamPolicy(documents.permissionPolicy);
      const results = await Promise.all(
        cases.map(async ([{ request, call }, wanted]) => ({
          request,
          wanted: wanted && granted.includes(request.action as PermissionAction),
          enforced: await call(session),
          evaluated: evaluatePolicy(policy, request).decision === 'allowed',
        })),
      );
      for (const { request, wanted, enforced, evaluated } of results)
        expect({ query, request, enforced, evaluated }).toEqual({
          query,
          request,
          enforced: wanted,
          evaluated: wanted,
        });
      probed += results.length;
    }
    expect(probed).toBeGreaterThan(200);
  });

  it('reject a wrong external ID and another account', async () => {
    const { roleArn } = await connect(
      iamDocuments(
        parseIamQuery({ credentialType: 'role', bucket: BUCKET, externalId: EXTERNAL_ID }),
        aws.serviceAccountId,
      ),
    );
    await expect(assume(roleArn!, 'lab-7f3b')).rejects.toMatchObject({ name: 'AccessDenied' });
    await expect(
      stsOf(serviceKeys()).send(new AssumeRoleCommand({ RoleArn: roleArn, RoleSessionName: 'polony' })),
    ).rejects.toMatchObject({ name: 'AccessDenied' });
    const other = await createRole(
      `provider-${++counter}`,
      iamDocuments(parseIamQuery({ credentialType: 'role', bucket: BUCKET, externalId: EXTERNAL_ID }), '444455556666')
        .trustPolicy,
      { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] },
    );
    await expect(assume(other)).rejects.toMatchObject({ name: 'AccessDenied' });
  });

  it('let a run with the execution role read and write its folder, and nothing else', async () => {
    const prefix = 'lab 1/runs';
    const run = describeRun({ runName: 'IAM', bytesPerCycle: 64 });
    const { folder, done } = simulateInstrument({ s3: admin, bucket: BUCKET, prefix, run });
    await done;
    await simulateInstrument({ s3: admin, bucket: BUCKET, prefix: `${prefix}-secret`, run }).done;
    for (const variant of ['vendor', 'least']) {
      const executionRoleArn = `arn:aws:iam::${aws.customerAccountId}:role/execution-${variant}`;
      const documents = iamDocuments(
        parseIamQuery({
          credentialType: 'role',
          bucket: BUCKET,
          prefix,
          externalId: EXTERNAL_ID,
          variant,
          executionRoleArn,
          workflowId: aws.workflow.id,
          workflowOwnerId: aws.serviceAccountId,
          region: REGION,
        }),
        aws.serviceAccountId,
      );
      await createRole(
        `execution-${variant}`,
        documents.executionRole!.trustPolicy,
        documents.executionRole!.permissionPolicy,
      );
      const { keys } = await connect(documents);
      const omics = omicsOf(keys);
      const ends = async (runDir: string, out: string, roleArn = executionRoleArn): Promise<string> => {
        const { id } = await omics.send(
          new StartRunCommand({
            workflowId: aws.workflow.id,
            workflowOwnerId: aws.serviceAccountId,
            workflowType: 'PRIVATE',
            roleArn,
            outputUri: `s3://${BUCKET}/${out}/`,
            requestId: `r-${++counter}`,
            parameters: { run_dir: `s3://${BUCKET}/${runDir}` },
          }),
        );
        let status: string | undefined;
        await expect
          .poll(async () => (status = (await omics.send(new GetRunCommand({ id }))).status), {
            timeout: 300_000,
            interval: 100,
          })
          .toMatch(/COMPLETED|FAILED/);
        return status!;
      };
      const secret = folder.replace(prefix, `${prefix}-secret`);
      expect([variant, await ends(folder, `${prefix}/out-${variant}`)]).toEqual([variant, 'COMPLETED']);
      const beyond = await Promise.all([
        ends(folder, `elsewhere-${variant}`),
        ends(secret, `${prefix}/out-${variant}`),
      ]);
      expect([variant, ...beyond]).toEqual([
        variant,
        ...(variant === 'least' ? ['FAILED', 'FAILED'] : ['COMPLETED', 'COMPLETED']),
      ]);
      if (variant === 'least') {
        // The confused deputy problem: a role that trusts HealthOmics only for another account.
        const foreign = iamDocuments(
          parseIamQuery({
            credentialType: 'role',
            bucket: BUCKET,
            externalId: EXTERNAL_ID,
            variant,
            accountId: '444455556666',
          }),
          aws.serviceAccountId,
        ).executionRole!;
        await iam.send(
          new CreateRoleCommand({
            RoleName: 'execution-foreign',
            AssumeRolePolicyDocument: JSON.stringify(foreign.trustPolicy),
          }),
        );
        await iam.send(
          new PutRolePolicyCommand({
            RoleName: 'execution-foreign',
            PolicyName: 'polony',
            PolicyDocument: policyText(documents.executionRole!.permissionPolicy),
          }),
        );
        const wide = omicsOf(
          await assume(
            await createRole(`provider-${++counter}`, documents.trustPolicy, {
              Version: '2012-10-17',
              Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
            }),
          ),
        );
        const { id } = await wide.send(
          new StartRunCommand({
            workflowId: aws.workflow.id,
            workflowOwnerId: aws.serviceAccountId,
            workflowType: 'PRIVATE',
            roleArn: `arn:aws:iam::${aws.customerAccountId}:role/execution-foreign`,
            outputUri: `s3://${BUCKET}/${prefix}/x/`,
            requestId: `r-${++counter}`,
            parameters: { run_dir: `s3://${BUCKET}/${folder}` },
          }),
        );
        await expect
          .poll(async () => (await wide.send(new GetRunCommand({ id }))).status, { timeout: 300_000, interval: 100 })
          .toBe('FAILED');
      }
    }
  });
});

// -- Random policies ------------------------------------------------------------------------------------------------

const some = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | T[]> =>
  fc.oneof(values, fc.array(values, { minLength: 1, maxLength: 3 }));
const actions = fc.constantFrom(
  '*',
  's3:*',
  'S3:GetObject',
  's3:Get*',
  's3:ListBucket',
  's3:PutObject',
  's3:*Object',
  's3:?etObject',
  's3:GetBucketLocation',
  'omics:*',
  'omics:GetRun',
  'omics:CancelRun',
  'omics:GetWorkflow',
  'iam:PassRole',
  'sts:*',
);
const resources = fc.constantFrom(
  '*',
  `arn:aws:s3:::${BUCKET}`,
  `arn:aws:s3:::${BUCKET}*`,
  `arn:aws:s3:::${BUCKET}/*`,
  `arn:aws:s3:::${BUCKET}/runs/*`,
  `arn:aws:s3:::${BUCKET}/runs*`,
  `arn:aws:s3:::${BUCKET}/*/AV?/*`,
  `arn:aws:s3:::*/file`,
  'arn:aws:s3:::lab-AVITI-one/*',
  'arn:aws:omics:*:*:run/*',
  `arn:aws:omics:${REGION}:111122223333:run/9*`,
  'arn:aws:omics:*:*:workflow/*',
);
const conditions = fc.oneof(
  { weight: 4, arbitrary: fc.constant(undefined) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          'StringLike',
          'StringNotLike',
          'StringEquals',
          'StringNotEquals',
          'StringLikeIfExists',
          'StringEqualsIgnoreCase',
          'ForAnyValue:StringLike',
          'ForAllValues:StringLike',
          'StringNotEqualsIgnoreCase',
        ),
        fc.constantFrom('s3:prefix', 'S3:Prefix'),
        some(fc.constantFrom('runs/*', 'runs/', 'RUNS/', '', '*', 'r?ns/*')),
      )
      .map(([operator, key, value]) => ({ [operator]: { [key]: value } })),
  },
  { weight: 1, arbitrary: fc.boolean().map((absent) => ({ Null: { 's3:prefix': String(absent) } })) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('111122223333', '444455556666')
      .map((account) => ({ StringEquals: { 'aws:ResourceAccount': account } })),
  },
);
const statements = fc
  .record({
    Effect: fc.constantFrom('Allow', 'Allow', 'Allow', 'Deny'),
    actions: some(actions),
    exceptActions: fc.nat(5),
    resources: some(resources),
    exceptResources: fc.nat(5),
    Condition: conditions,
  })
  .map(({ Effect, actions: Action, exceptActions, resources: Resource, exceptResources, Condition }) => ({
    Effect,
    ...(exceptActions === 0 ? { NotAction: Action } : { Action }),
    ...(exceptResources === 0 ? { NotResource: Resource } : { Resource }),
    ...(Condition && { Condition }),
  }));

describe(`the policy evaluator, seed ${seed}`, () => {
  it('reaches the same decisions as the enforcing AWS', async () => {
    const name = `evaluated-${++counter}`;
    const { trustPolicy } = iamDocuments(
      parseIamQuery({ credentialType: 'role', bucket: BUCKET, externalId: EXTERNAL_ID }),
      aws.serviceAccountId,
    );
    const roleArn = await createRole(name, trustPolicy, {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }],
    });
    const session = sessionOf(await assume(roleArn));
    const asked = [
      probes.location(BUCKET),
      probes.location(NEIGHBOUR),
      probes.list(BUCKET, ''),
      probes.list(BUCKET, 'runs/'),
      probes.list(BUCKET, 'RUNS/'),
      probes.list(NEIGHBOUR, 'runs/x'),
      probes.get(BUCKET, 'runs/AV1/file'),
      probes.get(BUCKET, 'runs-secret/file'),
      probes.put(BUCKET, 'runs/file'),
      probes.get(NEIGHBOUR, 'runs/file'),
      probes.getRun(),
      probes.cancelRun(),
      probes.workflow('7654321'),
    ];
    let [granted, refused] = [0, 0];
    for (const Statement of fc.sample(fc.array(statements, { minLength: 1, maxLength: 4 }), {
      numRuns: 150,
      seed,
    })) {
      const document = { Version: '2012-10-17', Statement };
      const policy = parseIamPolicy(document);
      await iam.send(
        new PutRolePolicyCommand({ RoleName: name, PolicyName: 'polony', PolicyDocument: JSON.stringify(document) }),
      );
      const results = await Promise.all(
        asked.map(async ({ request, call }) => ({
          request,
          enforced: await call(session),
          decision: evaluatePolicy(policy, request),
        })),
      );
      for (const { request, enforced, decision } of results) {
        // A shared workflow belongs to another account, which the probe does not contain.
        if (decision.decision === 'conditional' && request.context['aws:ResourceAccount'] === undefined) continue;
        expect({ document, request, decision: decision.decision === 'allowed', reasons: decision.reasons }).toEqual({
          document,
          request,
          decision: enforced,
          reasons: decision.reasons,
        });
        if (enforced) granted++;
        else refused++;
      }
    }
    expect(granted).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(100);
  });
});
