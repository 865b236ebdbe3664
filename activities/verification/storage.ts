import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetBucketLocationCommand,
  GetBucketPolicyCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { AwsSessions } from '../../aws/sessions.js';
import { joinKey } from '../../domain/files/paths.js';
import { canAllowHelp, parseDenial } from '../../domain/iam/denials.js';
import { bucketArn, type Capability, objectsArn, type PermissionAction } from '../../domain/iam/permissions.js';
import { partitionOf } from '../../domain/regions.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import type { Finding, Probe } from '../../domain/verification/report.js';
import type { Db } from '../../store/database.js';
import { findStorageConnection, type StorageConnectionRow } from '../../store/connections/storage.js';
import type { ProviderRow } from '../../store/connections/providers.js';
import { loadEvidence } from '../../store/verification/evidence.js';
import { checkBucketSettings } from './bucketSettings.js';
import { type Inspection, type InspectionPlan, reportLeftOut, type SessionReport } from './inspection.js';
import { probe, unprobed } from './probes.js';

/**
 * Where probes write: next to the executions, so that the search for runs skips it. The provider may not delete files,
 * so they stay and later probes overwrite them.
 */
const PROBE_FOLDER = `${EXECUTIONS_FOLDER}/verification`;
const PROBE_TEXT = 'polony wrote this file to verify that it may write here. You can delete it at any time.\n';
/** What cannot be probed in a bucket that does not exist. */
const BUCKET_ACTIONS: readonly PermissionAction[] = [
  's3:ListBucket',
  's3:PutObject',
  's3:GetObject',
  's3:GetBucketPolicy',
  's3:PutBucketPolicy',
  's3:DeleteBucketPolicy',
];

/** Inspects a storage connection: what its provider may do in the bucket, and how the bucket is set up. */
export async function planStorageInspection(db: Db, aws: AwsSessions, id: string): Promise<InspectionPlan | undefined> {
  const storage = await findStorageConnection(db, id);
  return (
    storage && {
      providerId: storage.provider_id,
      inspect: (provider, session) => new StorageInspection(db, aws, storage, provider, session).inspect(),
    }
  );
}

class StorageInspection {
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #objects: string;
  readonly #partition: string;
  readonly #findings: Finding[] = [];
  #s3: S3Client;

  constructor(
    private readonly db: Db,
    private readonly aws: AwsSessions,
    private readonly storage: StorageConnectionRow,
    private readonly provider: ProviderRow,
    private readonly session: SessionReport,
  ) {
    this.#bucket = storage.bucket;
    this.#prefix = storage.prefix;
    this.#partition = partitionOf(storage.region);
    this.#objects = objectsArn(storage.bucket, storage.prefix, this.#partition);
    this.#s3 = aws.s3Anywhere(provider.id, storage.region);
  }

  async inspect(): Promise<Inspection> {
    const { storage, provider } = this;
    const used: Capability[] = [
      ...(storage.use_for_run_upload ? (['runUpload'] as const) : []),
      ...(storage.use_for_data_exploration ? (['dataExploration'] as const) : []),
    ];
    this.#findings.push(...reportLeftOut({ bucket: this.#bucket, prefix: this.#prefix }, this.session));
    return {
      probes: await this.#probeAll(),
      scope: {
        bucket: this.#bucket,
        prefix: this.#prefix,
        partition: this.#partition,
        accountId: provider.account_id ?? undefined,
      },
      findings: this.#findings,
      capabilities: ['runUpload', 'dataExploration', 'sharing', 'cliCredentials'],
      used,
    };
  }

  async #probeAll(): Promise<Probe[]> {
    const { located, region } = await this.#probeLocation();
    if (located.error?.code === 'NoSuchBucket') {
      this.#reportMissingBucket();
      return [located, ...BUCKET_ACTIONS.map((action) => unprobed(action, this.#objects, 'The bucket does not exist'))];
    }
    if (region !== undefined && region !== this.storage.region) this.#useOtherRegion(region);
    const listed = await this.#probeList();
    const put = await this.#probePut();
    const got = await this.#probeGet(listed, put);
    const policy = await this.#probePolicy();
    if (located.result === 'granted') await this.#checkPrefix([listed, put, got]);
    this.#findings.push(...(await checkBucketSettings(this.#s3, this.#bucket)));
    return [located, listed, put, got, ...policy];
  }

  /** Finds the region of the bucket. S3 tells it even some callers that may not ask for it. */
  async #probeLocation(): Promise<{ located: Probe; region: string | undefined }> {
    let region: string | undefined;
    const located = await probe(
      {
        action: 's3:GetBucketLocation',
        resource: bucketArn(this.#bucket, this.#partition),
        detail: 'GetBucketLocation',
      },
      async () => {
        const { LocationConstraint } = await this.#s3.send(new GetBucketLocationCommand({ Bucket: this.#bucket }));
        region = toRegion(LocationConstraint);
      },
    );
    if (region === undefined && located.error?.code !== 'NoSuchBucket') region = await this.#readRegionHeader();
    return { located, region };
  }

  async #readRegionHeader(): Promise<string | undefined> {
    return this.#s3.send(new HeadBucketCommand({ Bucket: this.#bucket })).then(
      (answer) => answer.BucketRegion,
      (error: { $response?: { headers?: Record<string, string> } }) =>
        error.$response?.headers?.['x-amz-bucket-region'],
    );
  }

  #reportMissingBucket(): void {
    this.#findings.push({
      severity: 'error',
      code: 'NO_SUCH_BUCKET',
      message: `The bucket ${this.#bucket} does not exist`,
      remedy: 'Create the bucket, or correct the bucket of the storage connection.',
    });
  }

  #useOtherRegion(region: string): void {
    this.#findings.push({
      severity: 'error',
      code: 'WRONG_REGION',
      message: `The bucket ${this.#bucket} is in ${region}, not in ${this.storage.region}`,
      remedy:
        `Change the region of the storage connection to ${region}. HealthOmics needs the bucket, the compute ` +
        'connection and the workflow share in one region.',
    });
    this.#s3 = this.aws.s3Anywhere(this.provider.id, region);
  }

  async #probeList(): Promise<Probe> {
    const prefix = this.#prefix === '' ? '' : `${this.#prefix}/`;
    return probe(
      {
        action: 's3:ListBucket',
        resource: bucketArn(this.#bucket, this.#partition),
        detail: `ListObjectsV2 below ${prefix === '' ? 'the root' : prefix}`,
      },
      () => this.#s3.send(new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix, MaxKeys: 1 })),
    );
  }

  async #probePut(): Promise<Probe> {
    const key = this.#probeKey('single.txt');
    return probe(
      { action: 's3:PutObject', resource: this.#objects, detail: `Wrote ${key} in one request and in parts` },
      async () => {
        await this.#s3.send(
          new PutObjectCommand({ Bucket: this.#bucket, Key: key, Body: PROBE_TEXT, ContentType: 'text/plain' }),
        );
        await this.#putInParts(this.#probeKey('multipart.txt'));
      },
    );
  }

  /** Uploads a file of one part, as instruments upload large files. */
  async #putInParts(key: string): Promise<void> {
    const target = { Bucket: this.#bucket, Key: key };
    const { UploadId } = await this.#s3.send(
      new CreateMultipartUploadCommand({ ...target, ContentType: 'text/plain' }),
    );
    try {
      const { ETag } = await this.#s3.send(
        new UploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: PROBE_TEXT }),
      );
      await this.#s3.send(
        new CompleteMultipartUploadCommand({
          ...target,
          UploadId,
          MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
        }),
      );
    } catch (error) {
      // The vendor's policy does not allow this, so the part may stay. A lifecycle rule of the bucket removes such
      // parts.
      await this.#s3.send(new AbortMultipartUploadCommand({ ...target, UploadId })).catch(() => undefined);
      throw error;
    }
  }

  async #probeGet(listed: Probe, put: Probe): Promise<Probe> {
    const key = this.#probeKey('single.txt');
    const got = await probe(
      { action: 's3:GetObject', resource: this.#objects, detail: `Read ${key}` },
      async () =>
        (await this.#s3.send(new GetObjectCommand({ Bucket: this.#bucket, Key: key }))).Body?.transformToByteArray(),
      ({ code }) => code === 'NoSuchKey',
    );
    // Without s3:ListBucket, S3 answers AccessDenied for a key that does not exist (S3 API Reference, GetObject).
    const mayNotExist = put.result !== 'granted' && listed.result !== 'granted';
    return got.result === 'denied' && mayNotExist
      ? {
          ...got,
          result: 'unknown',
          detail: 'The file may not exist. S3 denies reading such a file to those who may not list the bucket',
        }
      : got;
  }

  /** The three permissions of bucket policies. */
  async #probePolicy(): Promise<Probe[]> {
    const resource = bucketArn(this.#bucket, this.#partition);
    let policy: string | undefined;
    const read = await probe(
      { action: 's3:GetBucketPolicy', resource, detail: 'GetBucketPolicy' },
      async () => {
        policy = (await this.#s3.send(new GetBucketPolicyCommand({ Bucket: this.#bucket }))).Policy;
      },
      ({ code }) => code === 'NoSuchBucketPolicy',
    );
    const evidence = await loadEvidence(this.db, this.provider.id);
    const findEvidence = (action: PermissionAction, reason: string): Probe =>
      evidence(action, resource) ?? unprobed(action, resource, reason);
    const write =
      this.storage.allow_policy_probe && policy !== undefined
        ? await this.#probePutPolicy(policy)
        : findEvidence('s3:PutBucketPolicy', this.#whyPolicyNotWritten());
    return [
      read,
      write,
      findEvidence(
        's3:DeleteBucketPolicy',
        'No probe can tell without a change. It will be known when polony deletes a bucket policy',
      ),
    ];
  }

  async #probePutPolicy(policy: string): Promise<Probe> {
    return probe(
      {
        action: 's3:PutBucketPolicy',
        resource: bucketArn(this.#bucket, this.#partition),
        detail: 'Wrote the bucket policy back unchanged',
      },
      () => this.#s3.send(new PutBucketPolicyCommand({ Bucket: this.#bucket, Policy: policy })),
    );
  }

  #whyPolicyNotWritten(): string {
    return this.storage.allow_policy_probe
      ? 'There is no bucket policy that polony could write back'
      : 'No probe can tell without a write. With allowPolicyProbe, verification writes the bucket policy back ' +
          'unchanged';
  }

  /** Reports where the policy allows access to the bucket, but not to the prefix. */
  async #checkPrefix(probes: readonly Probe[]): Promise<void> {
    const missing = probes.filter(isPermissionMissing);
    if (this.#prefix === '' || missing.length === 0) return;
    const isListDenied = missing.some(({ action }) => action === 's3:ListBucket');
    const mayListElsewhere = isListDenied && (await this.#mayListBucket());
    const prefix = this.#prefix;
    this.#findings.push({
      severity: 'info',
      code: 'PREFIX_NOT_COVERED',
      message: mayListElsewhere
        ? `The policy allows listing ${this.#bucket}, but not below ${prefix}/`
        : `The policy covers the bucket ${this.#bucket}, but not everything below ${prefix}/`,
      remedy:
        `Compare the prefix in the policy with ${prefix}: objects need ${this.#objects}, ` +
        `listing needs s3:prefix ${prefix}/*.`,
    });
  }

  async #mayListBucket(): Promise<boolean> {
    return this.#s3.send(new ListObjectsV2Command({ Bucket: this.#bucket, MaxKeys: 1 })).then(
      () => true,
      () => false,
    );
  }

  #probeKey(file: string): string {
    return joinKey(this.#prefix, PROBE_FOLDER, file);
  }
}

/** Whether an Allow statement may be missing. A Deny, or a policy of another kind, has nothing to do with the prefix. */
function isPermissionMissing({ result, error }: Probe): boolean {
  return result === 'denied' && canAllowHelp(parseDenial(error?.message ?? '', error?.code));
}

/** The region that GetBucketLocation means by its old names (S3 API Reference, GetBucketLocation). */
function toRegion(location: string | undefined): string {
  if (location === undefined || location === '') return 'us-east-1';
  return location === 'EU' ? 'eu-west-1' : location;
}
