import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteRolePolicyCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  UpdateAssumeRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { AcceptShareCommand, ListSharesCommand } from '@aws-sdk/client-omics';
import {
  CreateBucketCommand,
  GetBucketPolicyCommand,
  PutBucketPolicyCommand,
  PutPublicAccessBlockCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createActivities } from '../../activities/index.js';
import { AwsSessions } from '../../aws/sessions.js';
import { createKmsDataKeys } from '../../aws/kms.js';
import { adminClients } from '../../cli/customer.js';
import { iamDocuments } from '../../domain/iam/documents.js';
import { parseIamQuery } from '../../domain/iam/query.js';
import {
  ACTIONS,
  type Capability,
  type CredentialType,
  PERMISSIONS,
  type PermissionAction,
  findPermission,
  type Statement,
} from '../../domain/iam/permissions.js';
import {
  mergePermissions,
  type ProbeResult,
  reportCapabilities,
  type VerificationReport,
  type VerifiedKind,
} from '../../domain/verification/report.js';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import type { LocalInfo } from '../../local/stackFiles.js';
import { type Db, newId } from '../../store/database.js';
import { insertComputeConnection } from '../../store/connections/compute.js';
import { writeFlow } from '../../store/connections/flows.js';
import {
  findProvider,
  insertProvider,
  type ProviderFields,
  updateProvider,
} from '../../store/connections/providers.js';
import { insertStorageConnection, type StorageConnectionFields } from '../../store/connections/storage.js';
import { recordEvidence } from '../../store/verification/evidence.js';
import { loadVerifications } from '../../store/verification/reports.js';
import { providerSecretContext, type Secrets, createSecrets } from '../../store/secrets.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { trustPolicy } from '../../domain/iam/policies.js';
import { VERIFIED_KINDS } from '../../domain/verification/report.js';
import type { ResourceToVerify } from '../../store/verification/resources.js';
import { startTestPostgres } from '../postgres.js';

// Real PostgreSQL, the enforcing AWS and the real activities. The findings do not depend on Temporal.
const region = 'us-west-2';
const account = '111122223333';
let folder: string;
let guardian: Guardian;
let local: LocalAws;
let admin: ReturnType<typeof adminClients>;
let db: Db;
let secrets: Secrets;
let aws: AwsSessions;
let activities: ReturnType<typeof createActivities>['main'];
let workflow: { id: string; ownerId: string };

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-verification-'));
  guardian = await createGuardian(folder);
  local = await startLocalAws({ guardian, stateDir: folder });
  admin = adminClients({
    awsEndpoint: local.endpoint,
    awsRegion: local.region,
    adminAccessKeyId: local.adminAccessKeyId,
    adminSecretAccessKey: local.adminSecretAccessKey,
  } as LocalInfo);
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: local.endpoint,
    AWS_ACCESS_KEY_ID: local.serviceAccessKeyId,
    AWS_SECRET_ACCESS_KEY: local.serviceSecretAccessKey,
  });
  ({ db } = await startTestPostgres({ maxConnections: 4 }));
  secrets = createSecrets([{ id: 'test', key: Buffer.alloc(32, 5).toString('base64') }], createKmsDataKeys);
  aws = new AwsSessions({ sessionSeconds: 43_200, ...createProviderLoader(db, secrets) });
  activities = createActivities({
    db,
    aws,
    orchestrator: {} as never,
    settings: {
      runPollSeconds: 1,
      uploadPollSeconds: 1,
      startRunsPerSecond: 100,
      retryRunSeconds: 1,
      stalledMinutes: 120,
      closedWorkflows: 'adopt',
    },
    watching: { register: async () => undefined },
  }).main;
  const share = (await admin.omics.send(new ListSharesCommand({ resourceOwner: 'OTHER' }))).shares![0]!;
  await admin.omics.send(new AcceptShareCommand({ shareId: share.shareId! }));
  workflow = { id: share.resourceId!, ownerId: share.ownerId! };
});
afterAll(async () => {
  aws?.close();
  await db?.destroy();
  await guardian?.stopAll();
  await local?.emulator.close();
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface SetUp {
  ids: Record<VerifiedKind, string>;
  bucket: string;
  prefix: string;
  executionRoleArn: string;
  roleName: string;
  externalId: string;
  /** Attaches the policy of the vendor to the credential, without the given actions. */
  allow: (without?: readonly PermissionAction[]) => Promise<void>;
}

let count = 0;
/** A customer with the documented policy for everything, and the four resources of polony that use it. */
async function setUp(
  type: CredentialType,
  prefix: string,
  fields: Partial<StorageConnectionFields> = {},
): Promise<SetUp> {
  const suffix = `v${++count}`;
  const [bucket, roleName, externalId] = [`lab-${suffix}`, `provider-${suffix}`, `external-${suffix}`];
  const executionRoleArn = `arn:aws:iam::${account}:role/omics-${suffix}`;
  await admin.s3.send(
    new CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: region } }),
  );
  await admin.s3.send(
    new PutBucketPolicyCommand({
      Bucket: bucket,
      Policy: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Sid: 'Theirs',
            Effect: 'Allow',
            Principal: { AWS: `arn:aws:iam::${account}:root` },
            Action: 's3:GetObjectTagging',
            Resource: `arn:aws:s3:::${bucket}/*`,
          },
        ],
      }),
    }),
  );
  const documents = iamDocuments(
    parseIamQuery({ credentialType: type, bucket, prefix, ...(type === 'role' && { externalId }) }),
    local.serviceAccountId,
  );
  const id = newId();
  let credential: ProviderFields['credential'];
  if (type === 'role') {
    await admin.iam.send(
      new CreateRoleCommand({
        RoleName: roleName,
        AssumeRolePolicyDocument: JSON.stringify(documents.trustPolicy),
        MaxSessionDuration: 43_200,
      }),
    );
    credential = { type, roleArn: `arn:aws:iam::${account}:role/${roleName}`, externalId };
  } else {
    await admin.iam.send(new CreateUserCommand({ UserName: roleName }));
    const { AccessKey } = await admin.iam.send(new CreateAccessKeyCommand({ UserName: roleName }));
    credential = {
      type,
      accessKeyId: AccessKey!.AccessKeyId!,
      secret: await secrets.seal(AccessKey!.SecretAccessKey!, providerSecretContext(id)),
    };
  }
  const allow = async (without: readonly PermissionAction[] = []): Promise<void> => {
    const statements = documents.permissionPolicy.Statement.map((statement: Statement) => ({
      ...statement,
      Action: [statement.Action].flat().filter((action) => !without.includes(action as PermissionAction)),
    })).filter(({ Action }) => Action.length > 0);
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: statements });
    await admin.iam.send(
      type === 'role'
        ? new PutRolePolicyCommand({ RoleName: roleName, PolicyName: 'polony', PolicyDocument })
        : (new PutUserPolicyCommand({ UserName: roleName, PolicyName: 'polony', PolicyDocument }) as never),
    );
  };
  await allow();
  await insertProvider(db, id, { name: `provider ${suffix}`, defaultRegion: region, credential });
  const storage = await insertStorageConnection(db, {
    name: `storage ${suffix}`,
    providerId: id,
    region,
    bucket,
    prefix,
    useForRunUpload: true,
    useForDataExploration: true,
    allowPolicyProbe: true,
    ...fields,
  });
  const compute = await insertComputeConnection(db, {
    name: `compute ${suffix}`,
    providerId: id,
    executionRoleArn,
    region,
  });
  const flow = await writeFlow(db, {
    name: `flow ${suffix}`,
    computeConnectionId: compute.id,
    sharedWorkflowId: workflow.id,
    workflowOwnerId: workflow.ownerId,
    sharedWorkflowRegion: null,
    parameterNames: {},
    parameters: {},
    storageConnectionIds: [],
  });
  return {
    ids: { provider: id, storageConnection: storage.id, computeConnection: compute.id, flow: flow.id },
    bucket,
    prefix,
    executionRoleArn,
    roleName,
    externalId,
    allow,
  };
}

async function verify(kind: VerifiedKind, { ids }: SetUp): Promise<VerificationReport> {
  await activities.verifyResource(kind, ids[kind]);
  return (await loadVerifications(db, [ids[kind]]))[0]!.report;
}

/** The results for all resources that use the provider, as the report of the provider combines them. */
async function verifyAll(
  customer: SetUp,
  actions: readonly PermissionAction[],
): Promise<{
  rows: Record<string, ProbeResult>;
  notReady: Capability[];
  notWhole: Capability[];
  reports: VerificationReport[];
}> {
  const reports: VerificationReport[] = [];
  for (const kind of ['provider', 'storageConnection', 'computeConnection', 'flow'] as const)
    reports.push(await verify(kind, customer));
  const permissions = mergePermissions(
    reports.map((report, at) => ({ name: String(at), permissions: report.permissions })),
    actions,
  );
  const capabilities = reportCapabilities(permissions, [
    'runUpload',
    'dataExploration',
    'bases2fastq',
    'sharing',
    'cliCredentials',
  ]);
  const inState = (...states: string[]): Capability[] =>
    capabilities.filter(({ state }) => states.includes(state)).map(({ capability }) => capability);
  return {
    rows: Object.fromEntries(permissions.map((row) => [row.action, row.result])),
    notReady: inState('notReady'),
    notWhole: inState('notReady', 'limited'),
    reports,
  };
}

/** Actions that no harmless probe can test. */
const UNTOLD: readonly PermissionAction[] = ['omics:StartRun', 'iam:PassRole', 's3:DeleteBucketPolicy'];

describe.each<[CredentialType, string]>([
  ['role', 'runs'],
  ['role', ''],
  ['accessKeys', 'runs/north'],
  ['accessKeys', ''],
])('the permissions of a %s provider with prefix "%s"', (type, prefix) => {
  const actions = ACTIONS.filter((action) => type === 'accessKeys' || action !== 'sts:GetFederationToken');
  let customer: SetUp;
  beforeAll(async () => {
    customer = await setUp(type, prefix);
    // Successful use records this evidence in production.
    await recordEvidence(
      db,
      customer.ids.provider,
      'omics:StartRun',
      `arn:aws:omics:${region}:${workflow.ownerId}:workflow/${workflow.id}`,
    );
    await recordEvidence(db, customer.ids.provider, 'iam:PassRole', customer.executionRoleArn);
    await recordEvidence(db, customer.ids.provider, 's3:DeleteBucketPolicy', `arn:aws:s3:::${customer.bucket}`);
  });

  it('are all granted with the documented policy, and all capabilities are ready', async () => {
    const { rows, notWhole, reports } = await verifyAll(customer, actions);
    expect(rows).toEqual(Object.fromEntries(actions.map((action) => [action, 'granted'])));
    expect(notWhole).toEqual([]);
    expect(reports.map((report) => [report.status, report.description])).toEqual(
      reports.map(() => ['CONNECTED', 'All permissions in use are granted']),
    );
    expect(reports[0]).toMatchObject({ identity: { accountId: account }, sessionSeconds: 43_200 });
    // The probe wrote the bucket policy back unchanged.
    expect((await admin.s3.send(new GetBucketPolicyCommand({ Bucket: customer.bucket }))).Policy).toContain('"Theirs"');
  });

  it.each(actions.filter((action) => !UNTOLD.includes(action)))(
    'without %s show only that one as denied, and only its capabilities as not ready',
    async (action) => {
      await customer.allow([action]);
      const { rows, notReady, notWhole, reports } = await verifyAll(customer, actions);
      const { neededBy, limits } = findPermission(action)!;
      if (action === 'sts:GetCallerIdentity') {
        // AWS allows this action to everyone (STS API Reference, GetCallerIdentity), and so does the local AWS.
        expect(rows[action]).toBe('granted');
      } else if (action === 'sts:GetFederationToken') {
        // Without a session, nothing else can be tested.
        expect(rows[action]).toBe('denied');
        expect(Object.entries(rows).filter(([other, result]) => other !== action && result === 'denied')).toEqual([]);
        expect(notReady).toHaveLength(5);
        expect(reports.map((report) => report.status)).toEqual(reports.map(() => 'FAILED'));
      } else {
        expect(rows).toEqual(
          Object.fromEntries(
            actions.map((other) => [
              other,
              other === action
                ? 'denied'
                : other === 's3:PutBucketPolicy' && action === 's3:GetBucketPolicy'
                  ? 'unknown'
                  : 'granted',
            ]),
          ),
        );
        expect(notReady).toEqual(expect.arrayContaining([...neededBy]));
        expect(notReady).toHaveLength(neededBy.length);
        expect([...notWhole].sort()).toEqual([...new Set([...neededBy, ...limits])].sort());
        const denied = reports.flatMap((report) => report.permissions).filter((row) => row.result === 'denied');
        expect(denied.length).toBeGreaterThan(0);
        for (const row of denied)
          expect(row).toMatchObject({
            error: { message: expect.any(String) as string },
            statement: { Effect: 'Allow', Action: [action] },
          });
      }
      await customer.allow();
    },
  );

  it('are unknown if no probe can test them and no use is recorded, and limit their capabilities', async () => {
    const fresh = await setUp(type, prefix);
    await fresh.allow(UNTOLD);
    const { rows, notReady, notWhole } = await verifyAll(fresh, actions);
    expect(rows).toEqual(
      Object.fromEntries(actions.map((action) => [action, UNTOLD.includes(action) ? 'unknown' : 'granted'])),
    );
    expect([notReady, notWhole]).toEqual([[], ['bases2fastq', 'sharing']]);
  });

  it.runIf(type === 'role')('are granted by the statement that a denied row suggests', async () => {
    const action = 's3:GetObject';
    await customer.allow([action]);
    const row = (await verify('storageConnection', customer)).permissions.find((each) => each.action === action)!;
    await admin.iam.send(
      new PutRolePolicyCommand({
        RoleName: customer.roleName,
        PolicyName: 'granted',
        PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [row.statement] }),
      }),
    );
    expect(
      (await verify('storageConnection', customer)).permissions.find((each) => each.action === action)!.result,
    ).toBe('granted');
    await admin.iam.send(new DeleteRolePolicyCommand({ RoleName: customer.roleName, PolicyName: 'granted' }));
    await customer.allow();
  });
});

const codes = (report: VerificationReport): string[] =>
  report.findings.filter((finding) => finding.severity !== 'info').map((finding) => finding.code);

describe('a role that can be assumed only later', () => {
  it('turns its provider and connections CONNECTED as soon as AWS gives a session', async () => {
    const customer = await setUp('role', 'runs');
    const trust = (externalId: string): Promise<unknown> =>
      admin.iam.send(
        new UpdateAssumeRolePolicyCommand({
          RoleName: customer.roleName,
          PolicyDocument: JSON.stringify(trustPolicy(local.serviceAccountId, externalId, 'aws')),
        }),
      );
    await trust('another');
    for (const kind of VERIFIED_KINDS) expect((await verify(kind, customer)).status, kind).toBe('FAILED');
    await trust(customer.externalId);

    const requested: ResourceToVerify[] = [];
    const loader = createProviderLoader(db, secrets, async (resource) => void requested.push(resource));
    const sessions = new AwsSessions({ sessionSeconds: 3600, ...loader });
    await sessions.session(customer.ids.provider);
    expect(requested.map(({ kind }) => kind)).toEqual(VERIFIED_KINDS);
    for (const { kind, id } of requested) {
      const result = await activities.verifyResource(kind, id);
      expect([kind, result?.status]).toEqual([kind, 'CONNECTED']);
    }

    requested.length = 0;
    sessions.forget(customer.ids.provider);
    await sessions.session(customer.ids.provider);
    expect(requested).toEqual([]);
    sessions.close();
  });
});

describe('a denial by an explicit Deny', () => {
  it('has a remedy that names the Deny, and offers no statement', async () => {
    const customer = await setUp('role', 'runs');
    await admin.iam.send(
      new PutRolePolicyCommand({
        RoleName: customer.roleName,
        PolicyName: 'guardrail',
        PolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Deny', Action: 'omics:GetRun', Resource: '*' }],
        }),
      }),
    );
    const { permissions } = await verify('computeConnection', customer);
    const denied = permissions.find(({ action }) => action === 'omics:GetRun')!;
    expect(denied).toMatchObject({ result: 'denied', statement: null });
    expect(denied.remedy).toContain('Remove the Deny that matches omics:GetRun');
  });
});

describe('a finding', () => {
  it('reports a role that can be assumed without its external ID', async () => {
    const customer = await setUp('role', '');
    const trust = (Condition?: unknown): Promise<unknown> =>
      admin.iam.send(
        new UpdateAssumeRolePolicyCommand({
          RoleName: customer.roleName,
          PolicyDocument: JSON.stringify({
            Version: '2012-10-17',
            Statement: [
              {
                Effect: 'Allow',
                Principal: { AWS: `arn:aws:iam::${local.serviceAccountId}:root` },
                Action: 'sts:AssumeRole',
                ...(Condition !== undefined && { Condition }),
              },
            ],
          }),
        }),
      );
    expect(codes(await verify('provider', customer))).toEqual([]);
    await trust();
    const open = await verify('provider', customer);
    expect([open.status, codes(open)]).toEqual(['FAILED', ['EXTERNAL_ID_IGNORED']]);
    expect(open.findings[0]!.message).toContain('without an external ID');
    // The condition exists but accepts any external ID.
    await trust({ StringLike: { 'sts:ExternalId': '*' } });
    expect(codes(await verify('provider', customer))).toEqual(['EXTERNAL_ID_IGNORED']);
    await trust({ StringEquals: { 'sts:ExternalId': customer.externalId } });
    expect(codes(await verify('provider', customer))).toEqual([]);
    await trust({ StringEquals: { 'sts:ExternalId': 'another' } });
    const shut = await verify('provider', customer);
    expect([shut.status, codes(shut)]).toEqual(['FAILED', ['ROLE_NOT_ASSUMABLE']]);
    expect((await verify('storageConnection', customer)).status).toBe('FAILED');
  });

  it('makes polony refuse an open role until it is fixed, and then use it without a person', async () => {
    const customer = await setUp('role', '');
    const { provider } = customer.ids;
    const trust = (policy: unknown): Promise<unknown> =>
      admin.iam.send(
        new UpdateAssumeRolePolicyCommand({ RoleName: customer.roleName, PolicyDocument: JSON.stringify(policy) }),
      );
    const requested: ResourceToVerify[] = [];
    const strict = createProviderLoader(db, secrets, async (resource) => void requested.push(resource));
    const sessions = new AwsSessions({ sessionSeconds: 3600, checkMs: 0, ...strict });
    const lenient = new AwsSessions({
      sessionSeconds: 3600,
      ...createProviderLoader(db, secrets, async () => undefined, true),
    });
    const isRoleOpen = async (): Promise<boolean | undefined> => (await findProvider(db, provider))?.is_role_open;
    const closed = trustPolicy(local.serviceAccountId, customer.externalId, 'aws');
    const [statement] = closed.Statement;
    await sessions.session(provider);
    await trust({ ...closed, Statement: [{ ...statement, Condition: { StringLike: { 'sts:ExternalId': '*' } } }] });
    await verify('provider', customer);
    expect(await isRoleOpen()).toBe(true);
    // Also a session that polony got before is not used any more.
    for (const use of [
      () => sessions.session(provider),
      () => sessions.narrowedSession(provider, '{}', 900, 'polony-test'),
    ])
      await expect(use()).rejects.toThrow(/can be assumed with a wrong external ID/);
    const storage = await verify('storageConnection', customer);
    expect([storage.status, codes(storage)]).toEqual(['FAILED', ['EXTERNAL_ID_IGNORED']]);
    // A setting overrides it.
    expect((await lenient.session(provider)).accessKeyId).not.toBe('');
    requested.length = 0;

    await trust(closed);
    await sessions.session(provider);
    expect(requested.map(({ kind }) => kind)).toEqual(['provider', 'storageConnection']);
    expect(codes(await verify('provider', customer))).toEqual([]);
    expect(await isRoleOpen()).toBe(false);
    sessions.close();
    lenient.close();
  });

  it('makes polony test a role before each use while no verification could test it', async () => {
    const customer = await setUp('role', '');
    const { provider } = customer.ids;
    const closed = trustPolicy(local.serviceAccountId, customer.externalId, 'aws');
    const trust = (condition: object): Promise<unknown> =>
      admin.iam.send(
        new UpdateAssumeRolePolicyCommand({
          RoleName: customer.roleName,
          PolicyDocument: JSON.stringify({ ...closed, Statement: [{ ...closed.Statement[0], Condition: condition }] }),
        }),
      );
    const throttled = Object.assign(new Error('Rate exceeded'), { name: 'ThrottlingException' });
    const trial = vi.spyOn(aws, 'tryAssumeRole').mockRejectedValue(throttled);
    const { findings } = await verify('provider', customer);
    expect(findings.filter(({ code }) => code === 'EXTERNAL_ID_UNTRIED')).toHaveLength(2);
    expect((await findProvider(db, provider))?.is_role_open).toBe(true);
    await trust({ StringLike: { 'sts:ExternalId': '*' } });
    const sessions = new AwsSessions({ sessionSeconds: 3600, checkMs: 0, ...createProviderLoader(db, secrets) });
    await expect(sessions.session(provider)).rejects.toThrow(/can be assumed with a wrong external ID/);
    await trust(closed.Statement[0]!.Condition!);
    await sessions.session(provider);
    trial.mockRestore();
    expect(codes(await verify('provider', customer))).toEqual([]);
    expect((await findProvider(db, provider))?.is_role_open).toBe(false);
    // What a verification found out before stays true where a later one cannot tell.
    vi.spyOn(aws, 'tryAssumeRole').mockRejectedValue(throttled);
    await verify('provider', customer);
    expect((await findProvider(db, provider))?.is_role_open).toBe(false);
    vi.restoreAllMocks();
    sessions.close();
  });

  it('says nothing about a role that the provider got while it was verified', async () => {
    const customer = await setUp('role', '');
    const { provider } = customer.ids;
    const before = (await findProvider(db, provider))!;
    vi.spyOn(aws, 'tryAssumeRole').mockImplementationOnce(async () => {
      const credential = { type: 'role' as const, roleArn: before.role_arn!, externalId: 'another-external-id' };
      await updateProvider(db, provider, { name: before.name, defaultRegion: region, credential }, true);
      throw Object.assign(new Error('denied'), { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } });
    });
    await verify('provider', customer);
    vi.restoreAllMocks();
    expect(await findProvider(db, provider)).toMatchObject({ session_seconds: null, is_role_open: false });
  });

  it('mentions a short external ID', async () => {
    const customer = await setUp('role', '');
    const { findings } = await verify('provider', customer);
    expect(findings.map(({ code, severity }) => [code, severity])).toContainEqual(['EXTERNAL_ID_SHORT', 'info']);
  });

  it('reports the real region of a bucket, and the checks continue there', async () => {
    const customer = await setUp('role', 'runs', { region: 'eu-central-1' });
    const report = await verify('storageConnection', customer);
    expect([report.status, codes(report)]).toEqual(['FAILED', ['WRONG_REGION']]);
    expect(report.findings[0]!.message).toContain(`is in ${region}, not in eu-central-1`);
    expect(report.permissions.find((row) => row.action === 's3:PutObject')!.result).toBe('granted');
  });

  it('reports a missing bucket', async () => {
    const customer = await setUp('role', '', { bucket: 'lab-not-there' });
    await admin.iam.send(
      new PutRolePolicyCommand({
        RoleName: customer.roleName,
        PolicyName: 'polony',
        PolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }],
        }),
      }),
    );
    expect(codes(await verify('storageConnection', customer))).toEqual(['NO_SUCH_BUCKET']);
  });

  it('reports a prefix that the policy does not cover', async () => {
    const customer = await setUp('role', 'runs');
    await db
      .updateTable('storage_connections')
      .set({ prefix: 'runs-secret' })
      .where('id', '=', customer.ids.storageConnection)
      .execute();
    const report = await verify('storageConnection', customer);
    expect(report.status).toBe('FAILED');
    expect(report.findings.map((finding) => finding.code)).toContain('PREFIX_NOT_COVERED');
    // No object could be written, so there is none to read. Without s3:ListBucket, AWS denies that read too.
    expect(report.permissions.filter((row) => row.result !== 'granted').map((row) => [row.action, row.result])).toEqual(
      [
        ['s3:ListBucket', 'denied'],
        ['s3:PutObject', 'denied'],
        ['s3:GetObject', 'unknown'],
        ['s3:DeleteBucketPolicy', 'unknown'],
      ],
    );
  });

  it('reports a share that is not found, and parameters that do not match the workflow', async () => {
    const customer = await setUp('role', '');
    await db.updateTable('flows').set({ shared_workflow_id: '7654321' }).where('id', '=', customer.ids.flow).execute();
    const report = await verify('flow', customer);
    expect([report.status, codes(report)]).toEqual(['FAILED', ['SHARE_NOT_FOUND']]);
    expect(report.permissions.find((row) => row.action === 'omics:GetWorkflow')!.result).toBe('granted');
    await db
      .updateTable('flows')
      .set({ shared_workflow_id: workflow.id, parameters: JSON.stringify({ nothing_like_it: 1 }) })
      .where('id', '=', customer.ids.flow)
      .execute();
    expect(codes(await verify('flow', customer))).toEqual(['INVALID_FLOW']);
  });

  it('reports settings that differ from the recommendation if polony may read them', async () => {
    const customer = await setUp('role', '');
    expect((await verify('storageConnection', customer)).findings.map((finding) => finding.code)).toEqual([
      'SETTINGS_NOT_READABLE',
    ]);
    await admin.iam.send(
      new PutRolePolicyCommand({
        RoleName: customer.roleName,
        PolicyName: 'more',
        PolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [
            {
              Effect: 'Allow',
              Action: [
                's3:GetBucketPublicAccessBlock',
                's3:GetBucketOwnershipControls',
                's3:GetEncryptionConfiguration',
              ],
              Resource: '*',
            },
          ],
        }),
      }),
    );
    await admin.s3.send(
      new PutPublicAccessBlockCommand({
        Bucket: customer.bucket,
        PublicAccessBlockConfiguration: {
          BlockPublicAcls: true,
          BlockPublicPolicy: false,
          IgnorePublicAcls: true,
          RestrictPublicBuckets: true,
        },
      }),
    );
    const report = await verify('storageConnection', customer);
    expect(report.status).toBe('WARNING');
    expect(codes(report)).toContain('PUBLIC_ACCESS_NOT_BLOCKED');
  });

  it('reports a provider whose account has changed', async () => {
    const customer = await setUp('accessKeys', '');
    await verify('provider', customer);
    expect((await findProvider(db, customer.ids.provider))!.account_id).toBe(account);
    await db
      .updateTable('providers')
      .set({ account_id: '444455556666' })
      .where('id', '=', customer.ids.provider)
      .execute();
    const report = await verify('provider', customer);
    expect([report.status, codes(report)]).toEqual(['FAILED', ['OTHER_ACCOUNT']]);
  });
});

it('has a probe for every permission', () => {
  expect(PERMISSIONS.map(({ action }) => action)).toEqual([...ACTIONS]);
});
