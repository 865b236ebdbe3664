import { randomUUID } from 'node:crypto';
import { CancelRunCommand, GetRunCommand, GetWorkflowCommand } from '@aws-sdk/client-omics';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetBucketEncryptionCommand,
  GetBucketLocationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetObjectCommand,
  GetPublicAccessBlockCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { SessionError } from '../../aws/sessions.js';
import { classifyAwsError } from '../../aws/errors.js';
import { accountOfRole, joinKey, parseArn } from '../../domain/aws.js';
import { errorMessage } from '../../domain/errors.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import { buildRunParameters } from '../../domain/executions/execution.js';
import {
  bucketArn,
  type Capability,
  objectsArn,
  type PermissionAction,
  type PermissionScope,
  workflowArn,
} from '../../domain/iam/permissions.js';
import {
  concludeVerification,
  type Finding,
  type Probe,
  type ProbeResult,
  reportCapabilities,
  reportPermission,
  type VerificationReport,
  type VerifiedKind,
  type VerifiedStatus,
} from '../../domain/verification/report.js';
import { isId } from '../../store/database.js';
import { findComputeConnection } from '../../store/connections/compute.js';
import { findFlow } from '../../store/connections/flows.js';
import { findProvider, type ProviderRow } from '../../store/connections/providers.js';
import { findStorageConnection } from '../../store/connections/storage.js';
import { loadEvidence } from '../../store/verification/evidence.js';
import { saveVerification } from '../../store/verification/reports.js';
import { iterateResourcesToVerify } from '../../store/verification/resources.js';
import { SecretError } from '../../store/secrets.js';
import type { Dependencies } from '../dependencies.js';
import { getBlocked, findDeniedAction, toActivityFailure } from '../failures.js';

/** Where probes write: beside the executions, so that discovery passes it by. The provider may not delete, so the files stay and are written over. */
const PROBE_FOLDER = `${EXECUTIONS_FOLDER}/verification`;
const PROBE_TEXT = 'Written by polony to verify that it may write here. It can be deleted at any time.\n';
/** Run ids count up from 7 digits; with 18 nines this one cannot exist. */
const NO_RUN = '999999999999999999';
/** A region's old names in GetBucketLocation (S3 API Reference). */
const regionOf = (location: string | undefined): string =>
  location === undefined || location === '' ? 'us-east-1' : location === 'EU' ? 'eu-west-1' : location;

/** What was found, before it is put together. */
interface Found {
  probes: Probe[];
  scope: PermissionScope;
  findings: Finding[];
  capabilities: Capability[];
  used: Capability[];
}

interface Entered {
  identity: VerificationReport['identity'];
  sessionSeconds: number | null;
  probes: Probe[];
  findings: Finding[];
}

/** The activities of the verification workflows. They write nothing that matters, so they can be repeated. */
export function createVerificationActivities({ db, aws, orchestrator }: Dependencies) {
  /** Makes one call to see whether it is allowed. `grantedBy`: answers that prove the permission although the call fails. */
  async function probe(
    action: PermissionAction,
    resource: string,
    detail: string,
    call: () => Promise<unknown>,
    grantedBy: (code: string, kind: string) => boolean = () => false,
  ): Promise<Probe> {
    try {
      await call();
      return { action, resource, result: 'granted', detail };
    } catch (error) {
      const { kind, code, message } = classifyAwsError(error);
      if (grantedBy(code, kind)) return { action, resource, result: 'granted', detail };
      // AWS may refuse a call for another permission than the one that is tried: kms:Decrypt for an object that is encrypted with KMS, say.
      const named = kind === 'denied' ? findDeniedAction(error) : undefined;
      if (named !== undefined && named.toLowerCase() !== action.toLowerCase())
        return {
          action,
          resource,
          result: 'unknown',
          detail: `${detail}; AWS refused it for lack of ${named}`,
          error: { code, message },
        };
      const result: ProbeResult = kind === 'denied' ? 'denied' : 'unknown';
      return {
        action,
        resource,
        result,
        detail: result === 'denied' ? detail : `${detail}; AWS did not answer that`,
        error: { code, message },
      };
    }
  }
  const untold = (action: PermissionAction, resource: string, detail: string): Probe => ({
    action,
    resource,
    result: 'unknown',
    detail,
  });

  /** Gets a new session of a provider and asks whose it is. */
  async function enter(provider: ProviderRow): Promise<Entered> {
    const entered: Entered = { identity: null, sessionSeconds: null, probes: [], findings: [] };
    const users = provider.credential_type === 'accessKeys';
    const federation = `arn:aws:sts::${provider.account_id ?? '*'}:federated-user/*`;
    try {
      aws.forget(provider.id);
      entered.sessionSeconds = (await aws.session(provider.id)).seconds;
      if (users)
        entered.probes.push({
          action: 'sts:GetFederationToken',
          resource: federation,
          result: 'granted',
          detail: 'A session was made of the access keys',
        });
    } catch (error) {
      const blocked =
        error instanceof SessionError || error instanceof SecretError
          ? getBlocked(toActivityFailure(error, { action: 'sts:AssumeRole', resource: '*' }))
          : undefined;
      // Throttled, or out of reach: says nothing of the provider, so the activity is tried again.
      if (blocked === undefined)
        throw toActivityFailure(error, {
          action: users ? 'sts:GetFederationToken' : 'sts:AssumeRole',
          resource: provider.role_arn ?? provider.access_key_id ?? '*',
        });
      const beneath = classifyAwsError(error instanceof Error ? error.cause : error);
      // Keys that AWS does not know are denied too, but no statement mends that.
      const lacks = users && beneath.kind === 'denied' && /^AccessDenied/.test(beneath.code);
      if (users)
        entered.probes.push({
          action: 'sts:GetFederationToken',
          resource: federation,
          result: lacks ? 'denied' : 'unknown',
          detail: 'A session could not be made of the access keys',
          error: { code: beneath.code, message: beneath.message },
        });
      entered.probes.push(untold('sts:GetCallerIdentity', '*', 'There is no session to ask with'));
      entered.findings.push({
        severity: 'error',
        code: blocked.kind,
        message: blocked.message,
        remedy: blocked.remedy,
      });
      return entered;
    }
    try {
      const { Arn = '', Account = '' } = await aws
        .sts(provider.id, provider.default_region)
        .send(new GetCallerIdentityCommand({}));
      entered.identity = { arn: Arn, accountId: Account };
      entered.probes.push({
        action: 'sts:GetCallerIdentity',
        resource: '*',
        result: 'granted',
        detail: `The session is ${Arn}`,
      });
    } catch (error) {
      const { kind, code, message } = classifyAwsError(error);
      entered.probes.push({
        action: 'sts:GetCallerIdentity',
        resource: '*',
        result: kind === 'denied' ? 'denied' : 'unknown',
        detail: 'The session was asked whose it is',
        error: { code, message },
      });
    }
    return entered;
  }

  async function verifyProvider(provider: ProviderRow, entered: Entered): Promise<Found> {
    const { findings } = entered;
    const { identity, sessionSeconds } = entered;
    if (identity !== null) {
      if (provider.account_id !== null && identity.accountId !== provider.account_id) {
        findings.push({
          severity: 'error',
          code: 'OTHER_ACCOUNT',
          message: `The credentials are of account ${identity.accountId}, the provider is of ${provider.account_id}`,
          remedy:
            'Give the provider credentials of its own account, or connect the other account as a provider of its own.',
        });
      }
      const role = parseArn(provider.role_arn ?? '')
        ?.resource.split('/')
        .at(-1);
      if (role !== undefined && !identity.arn.includes(`:assumed-role/${role}/`)) {
        findings.push({
          severity: 'error',
          code: 'OTHER_ROLE',
          message: `The session is ${identity.arn}, not of the role ${role}`,
          remedy: 'Check the role ARN of the provider.',
        });
      }
    }
    if (provider.role_arn !== null && identity !== null) {
      const tries: [string, string | undefined][] = [
        ['without an external ID', undefined],
        ['with a wrong external ID', `wrong-${randomUUID()}`],
      ];
      for (const [how, externalId] of tries) {
        try {
          await aws.tryAssumeRole(provider.role_arn, provider.default_region, externalId);
        } catch (error) {
          if (classifyAwsError(error).kind === 'denied') continue;
          findings.push({
            severity: 'info',
            code: 'EXTERNAL_ID_UNTRIED',
            message: `Whether the role can be assumed ${how} could not be tried: ${errorMessage(error)}`,
            remedy: 'Verify again later.',
          });
          continue;
        }
        findings.push({
          severity: 'warning',
          code: 'EXTERNAL_ID_IGNORED',
          message: `The role ${provider.role_arn} can be assumed ${how}: another customer of this installation could reach this account through it (confused deputy)`,
          remedy:
            "Add the condition StringEquals sts:ExternalId with the provider's external ID to every statement of the role's trust policy that allows sts:AssumeRole.",
        });
        break;
      }
    }
    if (sessionSeconds !== null && provider.role_arn !== null && sessionSeconds < 43_200) {
      findings.push({
        severity: 'info',
        code: 'SHORT_SESSION',
        message: `AWS gives sessions of ${sessionSeconds / 3600} hours for this role`,
        remedy:
          "Sessions are renewed by themselves. For longer ones set the role's maximum session duration to 12 hours; where polony itself runs with a role, AWS allows one hour at most.",
      });
    }
    return { probes: [], scope: {}, findings: [], capabilities: [], used: [] };
  }

  /** Where the bucket is: AWS tells even some who may not ask. */
  async function locate(
    s3: S3Client,
    bucket: string,
  ): Promise<{ probe: Probe; region: string | undefined; missing: boolean }> {
    let region: string | undefined;
    const located = await probe('s3:GetBucketLocation', bucketArn(bucket), 'GetBucketLocation', async () => {
      region = regionOf((await s3.send(new GetBucketLocationCommand({ Bucket: bucket }))).LocationConstraint);
    });
    const missing = located.error?.code === 'NoSuchBucket';
    if (region === undefined && !missing) {
      region = await s3.send(new HeadBucketCommand({ Bucket: bucket })).then(
        (answer) => answer.BucketRegion,
        (error: { $response?: { headers?: Record<string, string> } }) =>
          error.$response?.headers?.['x-amz-bucket-region'],
      );
    }
    return { probe: located, region, missing };
  }

  async function settingsOf(s3: S3Client, bucket: string): Promise<Finding[]> {
    const findings: Finding[] = [];
    const hidden: string[] = [];
    const read = async (
      what: string,
      call: () => Promise<boolean>,
      absent: RegExp,
      finding: Finding,
    ): Promise<void> => {
      try {
        if (!(await call())) findings.push(finding);
      } catch (error) {
        if (absent.test(classifyAwsError(error).code)) findings.push(finding);
        else hidden.push(what);
      }
    };
    await read(
      'public access block',
      async () => {
        const { PublicAccessBlockConfiguration: block } = await s3.send(
          new GetPublicAccessBlockCommand({ Bucket: bucket }),
        );
        return [
          block?.BlockPublicAcls,
          block?.BlockPublicPolicy,
          block?.IgnorePublicAcls,
          block?.RestrictPublicBuckets,
        ].every((on) => on === true);
      },
      /NoSuchPublicAccessBlockConfiguration/,
      {
        severity: 'warning',
        code: 'PUBLIC_ACCESS_NOT_BLOCKED',
        message: `Public access to ${bucket} is not blocked whole`,
        remedy: 'Block all public access in the permissions of the bucket: it holds genomic data.',
      },
    );
    await read(
      'object ownership',
      async () => {
        const { OwnershipControls } = await s3.send(new GetBucketOwnershipControlsCommand({ Bucket: bucket }));
        return OwnershipControls?.Rules?.[0]?.ObjectOwnership === 'BucketOwnerEnforced';
      },
      /OwnershipControlsNotFoundError/,
      {
        severity: 'warning',
        code: 'ACLS_ENABLED',
        message: `ACLs of ${bucket} are not disabled`,
        remedy: 'Set the object ownership of the bucket to "Bucket owner enforced".',
      },
    );
    await read(
      'default encryption',
      async () => {
        const { ServerSideEncryptionConfiguration } = await s3.send(new GetBucketEncryptionCommand({ Bucket: bucket }));
        return (ServerSideEncryptionConfiguration?.Rules?.length ?? 0) > 0;
      },
      /ServerSideEncryptionConfigurationNotFoundError/,
      {
        severity: 'warning',
        code: 'NOT_ENCRYPTED',
        message: `${bucket} has no default encryption`,
        remedy: 'Switch on default encryption in the properties of the bucket.',
      },
    );
    if (hidden.length > 0) {
      findings.push({
        severity: 'info',
        code: 'SETTINGS_NOT_READABLE',
        message: `Not readable, so not checked: ${hidden.join(', ')} of ${bucket}`,
        remedy:
          'See for yourself that ACLs are disabled, public access is blocked and default encryption is on; the permissions that the vendor asks for do not include reading this.',
      });
    }
    return findings;
  }

  async function verifyStorage(
    id: string,
  ): Promise<{ providerId: string; run: (provider: ProviderRow) => Promise<Found> } | undefined> {
    const storage = await findStorageConnection(db, id);
    if (storage === undefined) return undefined;
    const { bucket, prefix } = storage;
    return {
      providerId: storage.provider_id,
      async run(provider) {
        const findings: Finding[] = [];
        let s3 = aws.s3Anywhere(provider.id, storage.region);
        const { probe: located, region, missing } = await locate(s3, bucket);
        const probes = [located];
        const scope: PermissionScope = { bucket, prefix, accountId: provider.account_id ?? undefined };
        const used: Capability[] = [
          ...(storage.use_for_run_upload ? (['runUpload'] as const) : []),
          ...(storage.use_for_data_exploration ? (['dataExploration'] as const) : []),
        ];
        const found: Found = {
          probes,
          scope,
          findings,
          capabilities: ['runUpload', 'dataExploration', 'sharing', 'cliCredentials'],
          used,
        };
        const objects = objectsArn(bucket, prefix);
        if (missing) {
          findings.push({
            severity: 'error',
            code: 'NO_SUCH_BUCKET',
            message: `There is no bucket ${bucket}`,
            remedy: "Create it, or correct the storage connection's bucket.",
          });
          for (const action of [
            's3:ListBucket',
            's3:PutObject',
            's3:GetObject',
            's3:GetBucketPolicy',
            's3:PutBucketPolicy',
            's3:DeleteBucketPolicy',
          ] as const)
            probes.push(untold(action, objects, 'There is no such bucket'));
          return found;
        }
        if (region !== undefined && region !== storage.region) {
          findings.push({
            severity: 'error',
            code: 'WRONG_REGION',
            message: `The bucket ${bucket} is in ${region}, not in ${storage.region}`,
            remedy: `Change the region of the storage connection to ${region}; HealthOmics needs bucket, compute connection and workflow share in one region.`,
          });
          s3 = aws.s3Anywhere(provider.id, region);
        }
        const listed = await probe(
          's3:ListBucket',
          bucketArn(bucket),
          `ListObjectsV2 below ${prefix === '' ? 'the root' : `${prefix}/`}`,
          () =>
            s3.send(
              new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix === '' ? '' : `${prefix}/`, MaxKeys: 1 }),
            ),
        );
        const single = joinKey(prefix, PROBE_FOLDER, 'single.txt');
        const put = await probe('s3:PutObject', objects, `${single} was written, whole and in parts`, async () => {
          await s3.send(
            new PutObjectCommand({ Bucket: bucket, Key: single, Body: PROBE_TEXT, ContentType: 'text/plain' }),
          );
          await putInParts(s3, bucket, joinKey(prefix, PROBE_FOLDER, 'multipart.txt'));
        });
        // Without ListBucket, S3 answers AccessDenied for a key that is not there (S3 API Reference, GetObject).
        const got = await probe(
          's3:GetObject',
          objects,
          `${single} was read`,
          async () =>
            (await s3.send(new GetObjectCommand({ Bucket: bucket, Key: single }))).Body?.transformToByteArray(),
          (code) => code === 'NoSuchKey',
        );
        if (got.result === 'denied' && put.result !== 'granted' && listed.result !== 'granted')
          Object.assign(got, {
            result: 'unknown',
            detail: 'There may be nothing to read, which AWS calls denied where listing is',
          });
        let policy: string | undefined;
        const policyRead = await probe(
          's3:GetBucketPolicy',
          bucketArn(bucket),
          'GetBucketPolicy',
          async () => {
            policy = (await s3.send(new GetBucketPolicyCommand({ Bucket: bucket }))).Policy;
          },
          (code) => code === 'NoSuchBucketPolicy',
        );
        const evidence = await loadEvidence(db, provider.id);
        const known = (action: PermissionAction, detail: string): Probe =>
          evidence(action, bucketArn(bucket)) ?? untold(action, bucketArn(bucket), detail);
        probes.push(listed, put, got, policyRead);
        if (storage.allow_policy_probe && policy !== undefined) {
          const unchanged = policy;
          probes.push(
            await probe('s3:PutBucketPolicy', bucketArn(bucket), 'The bucket policy was written back as it was', () =>
              s3.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: unchanged })),
            ),
          );
        } else
          probes.push(
            known(
              's3:PutBucketPolicy',
              storage.allow_policy_probe
                ? 'There is no bucket policy that could be written back'
                : 'No probe that changes nothing; allowPolicyProbe lets verification write the bucket policy back as it is',
            ),
          );
        probes.push(
          known('s3:DeleteBucketPolicy', 'No probe that changes nothing; known once a bucket policy was deleted'),
        );
        if (
          prefix !== '' &&
          located.result === 'granted' &&
          (listed.result === 'denied' || put.result === 'denied' || got.result === 'denied')
        ) {
          const beside =
            listed.result === 'denied' &&
            (await s3.send(new ListObjectsV2Command({ Bucket: bucket, MaxKeys: 1 })).then(
              () => true,
              () => false,
            ));
          findings.push({
            severity: 'info',
            code: 'PREFIX_NOT_COVERED',
            message: beside
              ? `The policy allows listing ${bucket}, but not below ${prefix}/`
              : `The policy reaches the bucket ${bucket}, but not everything below ${prefix}/`,
            remedy: `Compare the prefix in the policy with ${prefix}: objects need arn:aws:s3:::${bucket}/${prefix}/*, listing needs s3:prefix ${prefix}/*.`,
          });
        }
        findings.push(...(await settingsOf(s3, bucket)));
        return found;
      },
    };
  }

  /** Uploads a file of one part, as instruments upload large files. */
  async function putInParts(s3: S3Client, bucket: string, key: string): Promise<void> {
    const target = { Bucket: bucket, Key: key };
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ ...target, ContentType: 'text/plain' }));
    try {
      const { ETag } = await s3.send(new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: PROBE_TEXT }));
      await s3.send(
        new CompleteMultipartUploadCommand({
          ...target,
          UploadId,
          MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
        }),
      );
    } catch (error) {
      // The vendor's policy does not allow it, so the part may stay; a lifecycle rule of the bucket removes such.
      await s3.send(new AbortMultipartUploadCommand({ ...target, UploadId })).catch(() => undefined);
      throw error;
    }
  }

  /** What can be told of HealthOmics without starting anything. */
  async function omicsProbes(
    provider: ProviderRow,
    compute: { region: string; executionRoleArn: string },
    workflow?: { id: string; ownerId: string },
  ): Promise<{ probes: Probe[]; findings: Finding[] }> {
    const omics = aws.omics(provider.id, compute.region);
    const runs = `arn:aws:omics:${compute.region}:${provider.account_id ?? '*'}:run/*`;
    const notFound = (_code: string, kind: string): boolean => kind === 'not-found';
    const evidence = await loadEvidence(db, provider.id);
    const start =
      workflow === undefined
        ? '*'
        : workflowArn({ region: compute.region, workflowOwnerId: workflow.ownerId, workflowId: workflow.id });
    const passed =
      evidence('iam:PassRole', compute.executionRoleArn) ??
      untold('iam:PassRole', compute.executionRoleArn, 'No probe can tell; known by the first execution');
    const findings: Finding[] = [];
    if (passed.result === 'denied')
      findings.push({
        severity: 'info',
        code: 'EXECUTION_ROLE_NOT_PASSABLE',
        message: `The execution role ${compute.executionRoleArn} cannot be passed to HealthOmics`,
        remedy: 'Add the statement for iam:PassRole to the policy of the provider.',
      });
    if (provider.account_id !== null && accountOfRole(compute.executionRoleArn) !== provider.account_id)
      findings.push({
        severity: 'error',
        code: 'EXECUTION_ROLE_ACCOUNT',
        message: `The execution role ${compute.executionRoleArn} is not of the provider's account ${provider.account_id}`,
        remedy:
          "Give the compute connection an execution role of the provider's account: a role cannot be passed across accounts.",
      });
    const probes = [
      await probe(
        'omics:GetRun',
        runs,
        'GetRun of a run that cannot exist',
        () => omics.send(new GetRunCommand({ id: NO_RUN })),
        notFound,
      ),
      await probe(
        'omics:CancelRun',
        runs,
        'CancelRun of a run that cannot exist',
        () => omics.send(new CancelRunCommand({ id: NO_RUN })),
        notFound,
      ),
      evidence('omics:StartRun', start) ??
        untold('omics:StartRun', start, 'No probe can tell; known by the first execution'),
      passed,
    ];
    return { probes, findings };
  }

  async function verifyCompute(
    id: string,
  ): Promise<{ providerId: string; run: (provider: ProviderRow) => Promise<Found> } | undefined> {
    const compute = await findComputeConnection(db, id);
    if (compute === undefined) return undefined;
    return {
      providerId: compute.provider_id,
      async run(provider) {
        const scope: PermissionScope = {
          executionRoleArn: compute.execution_role_arn,
          region: compute.region,
          accountId: provider.account_id ?? undefined,
        };
        const { probes, findings } = await omicsProbes(provider, {
          region: compute.region,
          executionRoleArn: compute.execution_role_arn,
        });
        return { probes, scope, findings, capabilities: ['bases2fastq'], used: ['bases2fastq'] };
      },
    };
  }

  async function verifyFlow(
    id: string,
  ): Promise<{ providerId: string; run: (provider: ProviderRow) => Promise<Found> } | undefined> {
    const flow = await findFlow(db, id);
    const compute = flow && (await findComputeConnection(db, flow.compute_connection_id));
    if (flow === undefined || compute === undefined) return undefined;
    return {
      providerId: compute.provider_id,
      async run(provider) {
        const { region } = compute;
        const { shared_workflow_id: workflowId, workflow_owner_id: workflowOwnerId } = flow;
        const arn = workflowArn({ region, workflowOwnerId, workflowId });
        const findings: Finding[] = [];
        let missing = false;
        const got = await probe(
          'omics:GetWorkflow',
          arn,
          'GetWorkflow of the shared workflow',
          async () => {
            const workflow = await aws
              .omics(provider.id, region)
              .send(new GetWorkflowCommand({ id: workflowId, type: 'PRIVATE', workflowOwnerId }));
            if (workflow.status !== 'ACTIVE')
              findings.push({
                severity: 'error',
                code: 'WORKFLOW_NOT_ACTIVE',
                message: `The shared workflow ${workflowId} is ${workflow.status}`,
                remedy: 'Ask Element whether the share has been replaced.',
              });
            try {
              buildRunParameters(workflow.parameterTemplate ?? {}, flow.parameter_names, flow.parameters, {
                runDir: 's3://bucket/run',
              });
            } catch (error) {
              findings.push({
                severity: 'error',
                code: 'INVALID_FLOW',
                message: errorMessage(error),
                remedy: "Change the flow's parameters or parameterNames.",
              });
            }
          },
          (_code, kind) => (missing = kind === 'not-found'),
        );
        if (missing)
          findings.push({
            severity: 'error',
            code: 'SHARE_NOT_FOUND',
            message: `There is no workflow ${workflowId} of ${workflowOwnerId} in ${region}`,
            remedy: `Accept the share in the HealthOmics console of ${region}, and check the flow's shared workflow ID and owner; a share is only available in its own region.`,
          });
        const more = await omicsProbes(
          provider,
          { region, executionRoleArn: compute.execution_role_arn },
          { id: workflowId, ownerId: workflowOwnerId },
        );
        const scope: PermissionScope = {
          executionRoleArn: compute.execution_role_arn,
          region,
          workflowId,
          workflowOwnerId,
          accountId: provider.account_id ?? undefined,
        };
        return {
          probes: [got, ...more.probes],
          scope,
          findings: [...findings, ...more.findings],
          capabilities: ['bases2fastq'],
          used: ['bases2fastq'],
        };
      },
    };
  }

  return {
    /** Probes one resource and keeps the report. @returns null when it has been deleted. */
    async verifyResource(
      kind: VerifiedKind,
      id: string,
    ): Promise<{ status: VerifiedStatus; description: string } | null> {
      if (!isId(id)) throw ApplicationFailure.nonRetryable(`${id} is no id`, 'ResourceUnknown');
      const started = new Date();
      const plan =
        kind === 'storageConnection'
          ? await verifyStorage(id)
          : kind === 'computeConnection'
            ? await verifyCompute(id)
            : kind === 'flow'
              ? await verifyFlow(id)
              : { providerId: id, run: undefined };
      const provider = plan && (await findProvider(db, plan.providerId));
      if (plan === undefined || provider === undefined) return null;
      const entered = await enter(provider);
      if (provider.account_id === null && entered.identity !== null) provider.account_id = entered.identity.accountId;
      const found: Found =
        plan.run === undefined
          ? await verifyProvider(provider, entered)
          : entered.sessionSeconds === null
            ? { probes: [], scope: {}, findings: [], capabilities: [], used: [] }
            : await plan.run(provider);
      const permissions = [...entered.probes, ...found.probes].map((each) =>
        reportPermission(each, { ...found.scope, accountId: provider.account_id ?? undefined }),
      );
      const findings = [...entered.findings, ...found.findings];
      const capabilities = reportCapabilities(permissions, found.capabilities);
      const concluded = concludeVerification({ permissions, capabilities, findings }, found.used);
      const report: VerificationReport = {
        ...concluded,
        permissions,
        capabilities,
        findings,
        identity: entered.identity,
        sessionSeconds: entered.sessionSeconds,
      };
      await saveVerification(db, {
        kind,
        id,
        report,
        started,
        provider: { id: provider.id, accountId: provider.account_id, sessionSeconds: entered.sessionSeconds },
      });
      return concluded;
    },

    /** Starts the verification of everything. */
    async startVerifications(): Promise<number> {
      let count = 0;
      for await (const resource of iterateResourcesToVerify(db)) {
        await orchestrator.verify(resource);
        count++;
        if (count % 50 === 0) Context.current().heartbeat(count);
      }
      return count;
    },
  };
}
