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
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type StorageClass,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AwsSessions } from '../../aws/sessions.js';
import type { LocalAws } from '../../local/aws.js';
import { contentDisposition } from '../../domain/files/contentDisposition.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { newId } from '../../store/database.js';
import { updateExecution } from '../../store/executions/update.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { updateRun } from '../../store/runs/update.js';
import { createExecution } from '../../store/executions/create.js';
import { Secrets } from '../../store/secrets.js';
import { answerChecker, type OpenApi, vendorContract } from '../openapi.js';
import type { TestPostgres } from '../postgres.js';
import { ROOT_KEY as ROOT, startTestApi, type TestApi } from '../testApi.js';

const REGION = 'us-west-2';
const EXTERNAL_ID = 'lab-7f3a';
/** The content of objects that no answer may show. */
const SECRET = 'PATIENT-DATA-OF-SOMEBODY-ELSE';

interface File {
  path: string;
  name: string;
  size: number;
  lastModified: string;
  uri: string;
  downloadUrl?: string;
  storageClass: string | null;
}
interface S3Credentials {
  region: string;
  bucket: string;
  prefix: string | null;
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  expiration: string;
}
interface Answer {
  status: number;
  reason: string | undefined;
  field: string | undefined;
  body: {
    files: File[];
    subdirectories: string[];
    nextPageToken: string;
    isTruncated: boolean;
    s3: S3Credentials;
    details: { reason: string; metadata: Record<string, unknown> }[];
    message: string;
    error: string;
    log: string;
    storageConnections: { id: string; name: string }[];
    key: string;
    ignoredFolders: { folder: string; uri: string; reason: string; message: string }[];
    entries: { action: string; reason: string | null; status: number; detail: Record<string, unknown> }[];
  };
}

let api: TestApi;
let aws: LocalAws;
let postgres: TestPostgres;
let app: FastifyInstance;
let check: ReturnType<typeof answerChecker>;
let admin: S3Client;
let iam: IAMClient;
const clients: { destroy: () => void }[] = [];
const ids: Record<string, string> = {};

const s3Of = ({
  accessKeyId,
  secretAccessKey,
  sessionToken,
}: {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}): S3Client => {
  const client = new S3Client({
    region: REGION,
    endpoint: aws.endpoint,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) },
    forcePathStyle: true,
    maxAttempts: 1,
  });
  clients.push(client);
  return client;
};
const vendor = vendorContract();
delete (vendor.components.schemas.ErrorDetail as { properties: { domain: { const?: string } } }).properties.domain
  .const;
const vendorCheck = answerChecker(vendor);

async function call(
  method: 'GET' | 'POST' | 'PATCH',
  url: string,
  body?: object,
  key = ROOT,
  on = app,
): Promise<Answer> {
  const response = await on.inject({
    method,
    url,
    headers: { 'x-api-key': key },
    ...(body !== undefined && { payload: body }),
  });
  const answer = JSON.parse(response.body) as Answer['body'];
  expect(check(method, url, response.statusCode, answer)).toEqual([]);
  if (/\/(files|credentials|logs)(\?|$)/.test(url) && response.statusCode < 500)
    expect(vendorCheck(method, url, response.statusCode, answer)).toEqual([]);
  return {
    status: response.statusCode,
    body: answer,
    reason: answer.details?.[0]?.reason,
    field: answer.details?.[0]?.metadata.field as string | undefined,
  };
}
const keyFor = async (...scopes: string[]): Promise<string> =>
  (await call('POST', '/v1/api-keys', { name: `key-${Math.random()}`, scopes })).body.key;
const put = (
  Bucket: string,
  Key: string,
  Body: string | Uint8Array,
  more: { StorageClass?: StorageClass } = {},
): Promise<unknown> => admin.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
const query = (parameters: Record<string, string | number | boolean>): string =>
  new URLSearchParams(
    Object.entries(parameters).map(([name, value]): [string, string] => [name, String(value)]),
  ).toString();

const RUN = '20260115_AV1_R1';
const ODD = [
  'runs/a b+c&d=e;f@g$h!.txt',
  'runs/é.txt',
  'runs/e\u0301.txt',
  'runs/📁/x.txt',
  'runs/.hidden',
  'runs/%2e%2e/x.txt',
  'runs/two//slashes.txt',
  'runs/..dots',
  'runs/quote\'"<>.txt',
  'runs/(paren)[b]{c}#d.txt',
  'runs/bell\u0007.txt',
  'runs/line\r\nend.txt',
  'runs/ space at the ends ',
  'runs/&amp;&#13;.txt',
  'runs/plus+%20and%2B.txt',
];

beforeAll(async () => {
  api = await startTestApi();
  ({ app, aws, postgres } = api);
  const root = { accessKeyId: aws.adminAccessKeyId, secretAccessKey: aws.adminSecretAccessKey };
  admin = s3Of(root);
  iam = new IAMClient({ region: REGION, endpoint: aws.endpoint, credentials: root });
  clients.push(iam);
  for (const Bucket of ['lab', 'lab-other'])
    await admin.send(new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { LocationConstraint: REGION } }));
  // The role may read and write both buckets completely, so only polony can limit the access.
  const Statement = [{ Effect: 'Allow', Action: ['s3:*', 'kms:*'], Resource: '*' }];
  await iam.send(
    new CreateRoleCommand({
      RoleName: 'lab',
      MaxSessionDuration: 43_200,
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: `arn:aws:iam::${aws.serviceAccountId}:root` },
            Action: 'sts:AssumeRole',
            Condition: { StringEquals: { 'sts:ExternalId': EXTERNAL_ID } },
          },
        ],
      }),
    }),
  );
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: 'lab',
      PolicyName: 'all',
      PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement }),
    }),
  );
  await iam.send(new CreateUserCommand({ UserName: 'lab' }));
  await iam.send(
    new PutUserPolicyCommand({
      UserName: 'lab',
      PolicyName: 'all',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [...Statement, { Effect: 'Allow', Action: 'sts:GetFederationToken', Resource: '*' }],
      }),
    }),
  );
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: 'lab' }));

  const { db } = postgres;
  check = answerChecker(
    (await app.inject({ method: 'GET', url: '/openapi.json', headers: { 'x-api-key': ROOT } })).json<OpenApi>(),
  );

  const made = async (name: string, url: string, body: object): Promise<void> => {
    const answer = await call('POST', url, body);
    expect([name, answer.status, answer.body.message]).toEqual([name, 201, undefined]);
    ids[name] = (Object.values(answer.body)[0] as unknown as { id: string }).id;
  };
  await made('role', '/v1/providers', {
    name: 'role',
    defaultRegion: REGION,
    credentialType: 'role',
    roleArn: `arn:aws:iam::${aws.adminAccessKeyId}:role/lab`,
    externalId: EXTERNAL_ID,
  });
  await made('keys', '/v1/providers', {
    name: 'keys',
    defaultRegion: REGION,
    credentialType: 'accessKeys',
    accessKeyId: AccessKey!.AccessKeyId,
    secretAccessKey: AccessKey!.SecretAccessKey,
  });
  const storage = (name: string, fields: object): Promise<void> =>
    made(name, '/v1/storage-connections', {
      name,
      providerId: ids.role,
      region: REGION,
      bucket: 'lab',
      useForRunUpload: false,
      useForDataExploration: true,
      ...fields,
    });
  await storage('runs', { prefix: 'runs', useForRunUpload: true });
  await storage('secret', { prefix: 'runs-secret' });
  await storage('other', { bucket: 'lab-other' });
  await storage('off', { prefix: 'runs', useForDataExploration: false });
  await storage('byKeys', { prefix: 'runs', providerId: ids.keys });
  await storage('ignoring', { bucket: 'lab-other', prefix: 'ignoring', useForRunUpload: true });
  await storage('deep', { bucket: 'lab-other', prefix: 'deep', useForRunUpload: true, runDepth: 2 });
  await made('compute', '/v1/compute-connections', {
    name: 'omics',
    providerId: ids.role,
    executionRoleArn: `arn:aws:iam::${aws.adminAccessKeyId}:role/omics`,
    region: REGION,
  });
  await made('flow', '/v1/flows', {
    name: 'b2f',
    computeConnectionId: ids.compute,
    sharedWorkflowId: '1234567',
    workflowOwnerId: '588258415937',
  });
  const row = await db
    .selectFrom('storage_connections')
    .selectAll()
    .where('id', '=', ids.runs!)
    .executeTakeFirstOrThrow();
  for (const [name, runFolder] of [
    ['run', RUN],
    ['otherRun', `${RUN}-secret`],
  ] as const) {
    ids[name] = (await insertRuns(db, ids.runs!, 'AV1', 'AV1', [{ folder: runFolder, runName: runFolder }])).get(
      runFolder,
    )!.id;
  }
  const execution = async (name: string): Promise<string> =>
    (ids[name] = (
      await createExecution(db, {
        flow: { id: ids.flow!, name: 'b2f', computeConnectionId: ids.compute! },
        run: { id: ids.run!, name: RUN, storageConnectionId: ids.runs!, uploadState: 'complete' },
        storage: row,
        trigger: 'api',
        startedBy: 'test',
      })
    ).id!);
  await execution('pending');
  await updateExecution(db, await execution('execution'), {
    healthOmics: { runId: '7', runOutputUri: 's3://lab/runs/polony-executions/e1/7' },
  });
  await updateExecution(db, await execution('elsewhere'), {
    healthOmics: { runId: '8', runOutputUri: 's3://lab/runs-secret/e1' },
  });

  for (let at = 0; at < 25; at++)
    await put('lab', `runs/AV1/${RUN}/BaseCalls/R1_C${String(at).padStart(3, '0')}.zip`, `cycle ${at}`);
  await put('lab', `runs/AV1/${RUN}/RunParameters.json`, '{}');
  await put('lab', `runs/AV1/${RUN}/Stats/run.prodstats`, 'stats');
  await put('lab', `runs/AV1/${RUN}/Stats/`, '');
  await put('lab', `runs/AV1/${RUN}-secret/x.txt`, SECRET);
  await put('lab', 'runs/polony-executions/e1/7/RunStats.json', '{"a":1}');
  await put(
    'lab',
    'runs/polony-executions/e1/7/info/Bases2Fastq.log',
    `${'first line that is long\n'.repeat(50_000)}the last line`,
  );
  await put('lab', 'runs/polony-executions/e1/77/x', SECRET);
  for (const key of ODD) await put('lab', key, `odd ${key}`);
  for (const key of ['runs-secret/x.txt', 'runs-secret/AV1/y', 'secret.txt', 'run', 'runs', 'other/x', 'RUNS/x'])
    await put('lab', key, SECRET);
  await put('lab-other', 'x.txt', SECRET);
  await put('lab-other', 'runs/x.txt', SECRET);
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await api?.stop();
});

/** The path of a resource; `name` is a key of `ids`. */
const resourcePath = (name: string): string => {
  if (name === 'run' || name === 'otherRun') return `/v1/runs/${ids[name]!}`;
  const isExecution = ['pending', 'execution', 'elsewhere'].includes(name);
  return `/v1/${isExecution ? 'executions' : 'storage-connections'}/${ids[name]!}`;
};
const filesOf = (
  name: string,
  parameters: Record<string, string | number | boolean> = {},
  key = ROOT,
): Promise<Answer> => call('GET', `${resourcePath(name)}/files?${query(parameters)}`, undefined, key);
const credentialsOf = (
  name: string,
  parameters: Record<string, string | number | boolean> = {},
  key = ROOT,
): Promise<Answer> => call('GET', `${resourcePath(name)}/credentials?${query(parameters)}`, undefined, key);
/** What each call came to: the name of its error, or that it was allowed. */
const outcomes = async (calls: Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(calls)).map((each) =>
    each.status === 'rejected' ? (each.reason as Error).name : 'allowed',
  );
const paths = ({ body }: Answer): string[] => body.files.map((file) => file.path);

describe('file lists', () => {
  it('list the files of a run with relative path, URI, size and storage class', async () => {
    const { body } = await filesOf('run');
    expect(body.files).toHaveLength(27);
    expect(body.files.at(-1)).toEqual({
      path: 'Stats/run.prodstats',
      name: 'run.prodstats',
      size: 5,
      lastModified: expect.stringMatching(/^20/) as string,
      uri: `s3://lab/runs/AV1/${RUN}/Stats/run.prodstats`,
      storageClass: expect.stringMatching(/STANDARD/) as string,
    });
    expect([body.nextPageToken, body.isTruncated, body.subdirectories]).toEqual(['', false, []]);
  });
  it('list one folder level or the names that start with a prefix', async () => {
    const top = await filesOf('run', { recursive: false });
    expect([paths(top), top.body.subdirectories]).toEqual([['RunParameters.json'], ['BaseCalls/', 'Stats/']]);
    expect(paths(await filesOf('run', { recursive: false, prefix: 'Stats/' }))).toEqual(['Stats/run.prodstats']);
    expect(paths(await filesOf('run', { prefix: 'BaseCalls/R1_C01' }))).toHaveLength(10);
    expect((await filesOf('runs', { recursive: false, prefix: 'AV1' })).body.subdirectories).toEqual([
      `AV1/${RUN}-secret/`,
      `AV1/${RUN}/`,
    ]);
    expect(paths(await filesOf('execution'))).toEqual(['RunStats.json', 'info/Bases2Fastq.log']);
    expect(paths(await filesOf('pending'))).toEqual([]);
    expect((await filesOf('elsewhere')).reason).toBe('OUTPUT_ELSEWHERE');
  });
  it('return pages without gaps or repeats, with paths and prefixes in one namespace', async () => {
    const all = paths(await filesOf('runs'));
    const seen: string[] = [];
    for (let token = ''; ;) {
      const page = await filesOf('runs', { pageSize: 4, ...(token !== '' && { pageToken: token }) });
      seen.push(...paths(page));
      expect(page.body.isTruncated).toBe(page.body.nextPageToken !== '');
      token = page.body.nextPageToken;
      if (token === '') break;
    }
    expect(seen).toEqual(all);
    for (const each of ODD) expect(all).toContain(each.slice('runs/'.length));
    expect(paths(await filesOf('run', { prefix: 'Stats/run.prodstats' }))).toEqual(['Stats/run.prodstats']);
  });
  it('contain download URLs that work for any name', async () => {
    const { body } = await filesOf('runs', { includeDownloadUrl: true, recursive: false });
    expect(body.files.length).toBeGreaterThan(5);
    for (const file of body.files) {
      const response = await fetch(file.downloadUrl!);
      expect([file.path, response.status, await response.text()]).toEqual([file.path, 200, `odd runs/${file.path}`]);
      const disposition = response.headers.get('content-disposition');
      expect(disposition).toBe(contentDisposition('attachment', file.name));
      // The SDK must not sign the checksum of an empty request.
      expect([...new URL(file.downloadUrl!).searchParams.keys()].filter((name) => !name.startsWith('X-Amz-'))).toEqual([
        'response-content-disposition',
        'x-id',
      ]);
    }
    const { body: one } = await call(
      'GET',
      `${resourcePath('run')}/files/download-url?${query({ path: 'Stats/run.prodstats', disposition: 'inline' })}`,
    );
    const { url, expirationSeconds } = one as unknown as { url: string; expirationSeconds: number };
    const inline = await fetch(url);
    expect([inline.headers.get('content-disposition'), await inline.text(), expirationSeconds]).toEqual([
      ...['inline; filename="run.prodstats"', 'stats', 3600],
    ]);
    const narrow = await keyFor(`storage:download:${ids.runs!}/AV1/`);
    const urlOf = (path: string) =>
      call('GET', `${resourcePath('runs')}/files/download-url?${query({ path })}`, undefined, narrow);
    expect([(await urlOf('AV1/x')).status, (await urlOf('AV2/x')).reason, (await urlOf('../x')).field]).toEqual([
      ...[200, 'INSUFFICIENT_SCOPE', 'path'],
    ]);
    expect((await filesOf('runs')).body.files[0]!.downloadUrl).toBeUndefined();
  });
  it('contain URLs that expire with the session that signed them', async () => {
    const expires = (url: string): number => Number(new URL(url).searchParams.get('X-Amz-Expires'));
    const urlsOf = async (on: FastifyInstance, seconds?: number): Promise<number> => {
      const parameters = query({
        includeDownloadUrl: true,
        pageSize: 1,
        ...(seconds !== undefined && { downloadUrlExpirationSeconds: seconds }),
      });
      const { body } = await call('GET', `/v1/runs/${ids.run!}/files?${parameters}`, undefined, ROOT, on);
      return expires(body.files[0]!.downloadUrl!);
    };
    expect(await urlsOf(app)).toBe(3600);
    expect(await urlsOf(app, 60)).toBe(60);
    expect(await urlsOf(app, 604_800)).toBeGreaterThan(42_000);
    expect(await urlsOf(app, 604_800)).toBeLessThanOrEqual(43_200);
    // A session that expires too early for a URL is renewed.
    let now = Date.now();
    const clock = new AwsSessions({
      sessionSeconds: 3600,
      now: () => now,
      ...createProviderLoader(postgres.db, new Secrets([])),
    });
    const first = await clock.session(ids.role!);
    now += 1_800_000;
    expect((await clock.sessionFor(ids.role!, 1000)).accessKeyId).toBe(first.accessKeyId);
    const renewed = await clock.sessionFor(ids.role!, 3000);
    expect(renewed.accessKeyId).not.toBe(first.accessKeyId);
    // By the clock of AWS the new session has just begun, so a longer session is not available.
    now = Date.now();
    expect((await clock.sessionFor(ids.role!, 604_800)).accessKeyId).toBe(renewed.accessKeyId);
    clock.close();
  });
  it('contain URLs that return the checksum on request', async () => {
    await admin.send(
      new PutObjectCommand({ Bucket: 'lab', Key: `runs/AV1/${RUN}/sum.txt`, Body: 'sum', ChecksumAlgorithm: 'SHA256' }),
    );
    const url = (await filesOf('run', { prefix: 'sum.txt', includeDownloadUrl: true, includeDownloadChecksum: true }))
      .body.files[0]!.downloadUrl!;
    expect(new URL(url).searchParams.get('X-Amz-SignedHeaders')).toBe('host;x-amz-checksum-mode');
    const response = await fetch(url, { headers: { 'x-amz-checksum-mode': 'ENABLED' } });
    expect([response.status, await response.text()]).toEqual([200, 'sum']);
    await admin.send(new DeleteObjectCommand({ Bucket: 'lab', Key: `runs/AV1/${RUN}/sum.txt` }));
  });
  it('show archived files without a download URL', async () => {
    await put('lab', 'runs/archive/deep.zip', 'x', { StorageClass: 'DEEP_ARCHIVE' });
    const [file] = (await filesOf('runs', { prefix: 'archive', includeDownloadUrl: true })).body.files;
    expect([file!.storageClass, file!.downloadUrl]).toEqual(['DEEP_ARCHIVE', undefined]);
    await admin.send(new DeleteObjectCommand({ Bucket: 'lab', Key: 'runs/archive/deep.zip' }));
  });
  it('are refused if data exploration is off', async () => {
    expect((await filesOf('off')).reason).toBe('DATA_EXPLORATION_OFF');
    expect((await credentialsOf('off')).reason).toBe('DATA_EXPLORATION_OFF');
    await postgres.db
      .updateTable('storage_connections')
      .set({ use_for_data_exploration: false })
      .where('id', '=', ids.runs!)
      .execute();
    expect([
      (await filesOf('run')).reason,
      (await filesOf('execution')).reason,
      (await credentialsOf('run')).reason,
    ]).toEqual(['DATA_EXPLORATION_OFF', 'DATA_EXPLORATION_OFF', 'DATA_EXPLORATION_OFF']);
    await postgres.db
      .updateTable('storage_connections')
      .set({ use_for_data_exploration: true })
      .where('id', '=', ids.runs!)
      .execute();
  });
  it('name the missing permission if AWS denies the listing', async () => {
    await iam.send(
      new PutRolePolicyCommand({
        RoleName: 'lab',
        PolicyName: 'all',
        PolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: 's3:GetObject', Resource: '*' }],
        }),
      }),
    );
    const { status, body } = await filesOf('run');
    expect([status, body.details[0]!.reason, body.message]).toEqual([
      403,
      'AWS_ACCESS_DENIED',
      'AWS refused s3:ListBucket on arn:aws:s3:::lab. ' +
        "Allow s3:ListBucket on arn:aws:s3:::lab in the policy of the provider's role or user. Then try again",
    ]);
    await iam.send(
      new PutRolePolicyCommand({
        RoleName: 'lab',
        PolicyName: 'all',
        PolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: ['s3:*', 'kms:*'], Resource: '*' }],
        }),
      }),
    );
  });
});

/** No request may show, sign or give access to anything outside its place. */
describe('path attacks', () => {
  const PREFIXES = [
    '..',
    '../',
    '../secret.txt',
    '../runs-secret/',
    '../runs-secret/x.txt',
    'AV1/../../secret.txt',
    'AV1/..',
    './',
    '.',
    './x',
    'AV1/./x',
    '/',
    '//',
    '///',
    '/secret.txt',
    '/runs-secret/',
    '//secret.txt',
    '\\',
    '..\\',
    '..\\secret.txt',
    'AV1\\..\\..\\secret.txt',
    '%2e%2e/',
    '%2e%2e%2fsecret.txt',
    '%252e%252e%252f',
    '..%2f',
    '..%5c',
    '%c0%ae%c0%ae/',
    '..%00/',
    'x\0',
    '\0',
    '../\0',
    '\n',
    '\r\n',
    '\t',
    '\u007f',
    '\u202e',
    '\u2025/',
    '\u2024\u2024/',
    '\uff0e\uff0e/',
    '\u2215',
    '\uff0f',
    '..;/',
    '....//',
    '..../',
    '...',
    '* ',
    '*',
    '**',
    'AV?',
    '${aws:username}',
    '${*}',
    '?',
    '-secret',
    '-secret/',
    '-secret/x.txt',
    's3://lab/secret.txt',
    'https://lab.s3.amazonaws.com/secret.txt',
    'arn:aws:s3:::lab/secret.txt',
    'lab/secret.txt',
    'runs-secret/',
    'runs/',
    'runs/../../',
    'x'.repeat(1020),
    '📁'.repeat(256),
    ' ',
    ' ../',
    '../ ',
    '~',
    '~root',
    'file:///etc/passwd',
    '{"a":1}',
    "'; drop table runs; --",
    '<script>',
    'e\u0301',
    'é',
  ];
  it(`reach nothing outside the place with any of ${PREFIXES.length} prefixes`, { tags: 'long' }, async () => {
    expect(new Set(PREFIXES).size).toBeGreaterThanOrEqual(60);
    const places: [string, string][] = [
      ['runs', 'runs/'],
      ['run', `runs/AV1/${RUN}/`],
      ['execution', 'runs/polony-executions/e1/7/'],
      ['byKeys', 'runs/'],
    ];
    for (const [name, root] of places) {
      for (const prefix of PREFIXES) {
        for (const recursive of [true, false]) {
          const answer = await filesOf(name, { prefix, recursive, includeDownloadUrl: true });
          expect([name, prefix, [200, 400].includes(answer.status)]).toEqual([name, prefix, true]);
          if (answer.status === 400) {
            expect([prefix, answer.field]).toEqual([prefix, 'prefix']);
            continue;
          }
          expect(JSON.stringify(answer.body.subdirectories)).not.toMatch(/secret/);
          for (const file of answer.body.files) {
            expect(file.uri.startsWith(`s3://lab/${root}`)).toBe(true);
            const { pathname } = new URL(file.downloadUrl!);
            expect(decodeURIComponent(pathname).startsWith(`/lab/${root}`)).toBe(true);
          }
        }
      }
    }
  });
  it('are rejected or narrowed for credentials too', { tags: 'long' }, async () => {
    for (const prefix of PREFIXES) {
      const answer = await credentialsOf('runs', { prefix });
      expect([prefix, [200, 400].includes(answer.status)]).toEqual([prefix, true]);
      if (answer.status === 400) continue;
      expect(answer.body.s3.prefix!.startsWith('runs/')).toBe(true);
      const s3 = s3Of(answer.body.s3);
      for (const Key of ['secret.txt', 'runs-secret/x.txt', 'runs'])
        await expect(s3.send(new GetObjectCommand({ Bucket: 'lab', Key })), prefix).rejects.toMatchObject({
          name: 'AccessDenied',
        });
      await expect(s3.send(new ListObjectsV2Command({ Bucket: 'lab' }))).rejects.toMatchObject({
        name: 'AccessDenied',
      });
    }
  });
  it('are rejected with page tokens of other lists', async () => {
    const token = (await filesOf('secret', { pageSize: 1 })).body.nextPageToken;
    const own = (await filesOf('runs', { pageSize: 1 })).body.nextPageToken;
    for (const [name, parameters] of [
      ['runs', {}],
      ['run', {}],
      ['other', {}],
      ['execution', {}],
    ] as const)
      expect([name, (await filesOf(name, { ...parameters, pageToken: token })).reason]).toEqual([
        name,
        'INVALID_PAGE_TOKEN',
      ]);
    for (const pageToken of [
      'x',
      own.slice(0, -2),
      `${own}x`,
      `${own}=`,
      own.toLowerCase(),
      Buffer.from('{}').toString('base64url'),
      '../..',
      Buffer.from(`${Buffer.from(own, 'base64url').toString('utf8').slice(0, 16)}garbage`).toString('base64url'),
    ]) {
      expect([pageToken, (await filesOf('runs', { pageSize: 1, pageToken })).status]).toEqual([pageToken, 400]);
    }
    expect((await filesOf('runs', { pageSize: 1, pageToken: own, recursive: false })).reason).toBe(
      'INVALID_PAGE_TOKEN',
    );
    expect((await filesOf('runs', { pageSize: 1, pageToken: own, prefix: 'AV1' })).reason).toBe('INVALID_PAGE_TOKEN');
    expect((await filesOf('runs', { pageSize: 2, pageToken: own })).status).toBe(200);
  });
});

describe('a key with a narrow scope', () => {
  it('for one storage connection sees nothing of another', async () => {
    const key = await keyFor(`storage:*:${ids.runs!}`);
    expect((await filesOf('runs', {}, key)).status).toBe(200);
    for (const name of ['secret', 'other', 'byKeys', 'off', 'deep']) {
      expect([name, (await filesOf(name, {}, key)).reason, (await credentialsOf(name, {}, key)).reason]).toEqual([
        name,
        'STORAGE_CONNECTION_NOT_FOUND',
        'STORAGE_CONNECTION_NOT_FOUND',
      ]);
      expect(
        (await call('POST', `/v1/storage-connections/${ids[name]!}/upload-credentials`, { runFolder: RUN }, key))
          .reason,
      ).toBe('STORAGE_CONNECTION_NOT_FOUND');
    }
    for (const name of ['run', 'execution']) expect((await filesOf(name, {}, key)).reason).toBe('INSUFFICIENT_SCOPE');
  });
  it('for a prefix can only ask within the prefix', async () => {
    const key = await keyFor(`storage:download:${ids.runs!}/AV1/${RUN}/`);
    expect(paths(await filesOf('runs', { prefix: `AV1/${RUN}` }, key))).toHaveLength(27);
    expect(paths(await filesOf('runs', { prefix: `AV1/${RUN}/Stats` }, key))).toEqual([
      `AV1/${RUN}/Stats/run.prodstats`,
    ]);
    for (const prefix of [
      '',
      'AV1',
      'AV1/',
      `AV1/${RUN}-secret`,
      `AV1/${RUN}-secret/`,
      `AV1/${RUN.slice(0, -1)}`,
      'runs',
      `av1/${RUN}`,
    ]) {
      const answer = await filesOf('runs', { prefix }, key);
      expect([prefix, answer.reason, answer.body.details[0]!.metadata.allowed_prefixes]).toEqual([
        prefix,
        'INSUFFICIENT_SCOPE',
        [`AV1/${RUN}/`],
      ]);
      expect((await credentialsOf('runs', { prefix }, key)).reason).toBe('INSUFFICIENT_SCOPE');
    }
    expect((await call('GET', `/v1/storage-connections/${ids.runs!}/files`, undefined, key)).reason).toBe(
      'INSUFFICIENT_SCOPE',
    );
    // The audit log records denied prefixes, although it does not record allowed lists.
    const { entries } = (
      await call('GET', `/v1/audit-log?resourceId=${ids.runs!}&action=StorageConnectionService_ListFiles`)
    ).body;
    expect(entries.filter(({ reason, status }) => reason === 'INSUFFICIENT_SCOPE' && status === 403)).toHaveLength(9);
  });
  it('for a run or an execution sees only its files', async () => {
    const key = await keyFor(
      `runs:download:${ids.run!}`,
      `executions:download:${ids.execution!}`,
      `executions:logs:${ids.execution!}`,
    );
    expect([(await filesOf('run', {}, key)).status, (await filesOf('execution', {}, key)).status]).toEqual([200, 200]);
    expect([
      (await filesOf('otherRun', {}, key)).reason,
      (await filesOf('pending', {}, key)).reason,
      (await filesOf('runs', {}, key)).reason,
    ]).toEqual(['RUN_NOT_FOUND', 'EXECUTION_NOT_FOUND', 'INSUFFICIENT_SCOPE']);
    const { body } = await credentialsOf('run', {}, key);
    await expect(
      s3Of(body.s3).send(new GetObjectCommand({ Bucket: 'lab', Key: `runs/AV1/${RUN}-secret/x.txt` })),
    ).rejects.toMatchObject({ name: 'AccessDenied' });
    expect((await call('GET', `/v1/executions/${ids.execution!}/logs`, undefined, key)).status).toBe(200);
    expect((await call('GET', `/v1/executions/${ids.pending!}/logs`, undefined, key)).status).toBe(404);
  });
});

describe('download credentials', () => {
  it.each(['runs', 'byKeys'])('of %s allow reads below their prefix and nothing else', async (name) => {
    const asked = Date.now();
    const { body } = await credentialsOf(name, { prefix: `AV1/${RUN}`, expirationSeconds: 900 });
    expect(body.s3).toMatchObject({ region: REGION, bucket: 'lab', prefix: `runs/AV1/${RUN}/` });
    // AWS rounds to seconds.
    expect(Date.parse(body.s3.expiration)).toBeGreaterThan(asked + 899_000);
    expect(Date.parse(body.s3.expiration)).toBeLessThanOrEqual(Date.now() + 900_000);
    const s3 = s3Of(body.s3);
    const text = await (
      await s3.send(new GetObjectCommand({ Bucket: 'lab', Key: `runs/AV1/${RUN}/RunParameters.json` }))
    ).Body!.transformToString();
    expect(text).toBe('{}');
    expect(
      (await s3.send(new ListObjectsV2Command({ Bucket: 'lab', Prefix: `runs/AV1/${RUN}/` }))).KeyCount,
    ).toBeGreaterThan(25);
    const refused: Promise<unknown>[] = [
      ...['secret.txt', 'runs-secret/x.txt', `runs/AV1/${RUN}-secret/x.txt`, 'runs/.hidden', `runs/AV1/${RUN}`].map(
        (Key) => s3.send(new GetObjectCommand({ Bucket: 'lab', Key })),
      ),
      s3.send(new GetObjectCommand({ Bucket: 'lab-other', Key: 'x.txt' })),
      ...['', 'runs/', 'runs/AV1/', `runs/AV1/${RUN}`, 'runs-secret/'].map((Prefix) =>
        s3.send(new ListObjectsV2Command({ Bucket: 'lab', Prefix })),
      ),
      s3.send(new ListObjectsV2Command({ Bucket: 'lab' })),
      s3.send(new PutObjectCommand({ Bucket: 'lab', Key: `runs/AV1/${RUN}/new.txt`, Body: 'x' })),
      s3.send(new DeleteObjectCommand({ Bucket: 'lab', Key: `runs/AV1/${RUN}/RunParameters.json` })),
    ];
    expect(await outcomes(refused)).toEqual(refused.map(() => 'AccessDenied'));
  });
  it('cover exactly their run or execution', async () => {
    expect((await credentialsOf('run')).body.s3.prefix).toBe(`runs/AV1/${RUN}/`);
    expect((await credentialsOf('run', { prefix: 'Stats/ru' })).body.s3.prefix).toBe(`runs/AV1/${RUN}/Stats/ru`);
    const { body } = await credentialsOf('execution');
    expect(body.s3.prefix).toBe('runs/polony-executions/e1/7/');
    await expect(
      s3Of(body.s3).send(new GetObjectCommand({ Bucket: 'lab', Key: 'runs/polony-executions/e1/77/x' })),
    ).rejects.toMatchObject({ name: 'AccessDenied' });
    expect((await credentialsOf('pending')).reason).toBe('NO_OUTPUT_YET');
    expect((await credentialsOf('other')).body.s3.prefix).toBeNull();
  });
  it('last as long as requested, within the limits of AWS', async () => {
    for (const [name, most] of [
      ['runs', 43_200],
      ['byKeys', 129_600],
    ] as const) {
      const asked = Date.now();
      expect(Date.parse((await credentialsOf(name, { expirationSeconds: most })).body.s3.expiration)).toBeGreaterThan(
        asked + (most - 1) * 1000,
      );
      expect(
        Date.parse((await credentialsOf(name, { expirationSeconds: 0 })).body.s3.expiration) - Date.now(),
      ).toBeLessThanOrEqual(3_600_000);
      for (const expirationSeconds of [1, 899, most + 1, -1])
        expect([name, expirationSeconds, (await credentialsOf(name, { expirationSeconds })).field]).toEqual([
          name,
          expirationSeconds,
          'expirationSeconds',
        ]);
    }
  });
  it('appear in the audit log without their secrets', async () => {
    const { body } = await credentialsOf('run', { prefix: 'Stats/' });
    const log = JSON.stringify(
      (await call('GET', `/v1/audit-log?resourceId=${ids.run!}&action=RunService_GetRunDownloadCredentials`)).body
        .entries,
    );
    expect(log).toContain(`s3://lab/runs/AV1/${RUN}/Stats/`);
    for (const secret of [body.s3.secretAccessKey, body.s3.sessionToken, body.s3.accessKeyId])
      expect(log).not.toContain(secret);
  });
});

describe('upload credentials', () => {
  const upload = (name: string, body: object, key = ROOT): Promise<Answer> =>
    call('POST', `/v1/storage-connections/${ids[name]!}/upload-credentials`, body, key);
  it('allow writing and listing one run folder, and no reads', async () => {
    const { status, body } = await upload('runs', { runFolder: '20260301_AV7_new', expirationSeconds: 900 });
    expect([status, body.s3.prefix]).toEqual([201, 'runs/AV7/20260301_AV7_new/']);
    const s3 = s3Of(body.s3);
    const inside = { Bucket: 'lab', Key: 'runs/AV7/20260301_AV7_new/BaseCalls/R1_C001.zip' };
    await s3.send(new PutObjectCommand({ ...inside, Body: 'x' }));
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ ...inside, Key: `${inside.Key}2` }));
    await s3.send(new UploadPartCommand({ ...inside, Key: `${inside.Key}2`, UploadId, PartNumber: 1, Body: 'x' }));
    expect(
      (await s3.send(new ListObjectsV2Command({ Bucket: 'lab', Prefix: 'runs/AV7/20260301_AV7_new/' }))).KeyCount,
    ).toBe(1);
    const refused: Promise<unknown>[] = [
      s3.send(new GetObjectCommand(inside)),
      s3.send(new DeleteObjectCommand(inside)),
      ...[
        'runs/AV7/20260301_AV7_new',
        'runs/AV7/20260301_AV7_new2/x',
        'runs/AV7/x',
        `runs/AV1/${RUN}/x`,
        'secret.txt',
        'runs-secret/x',
      ].map((Key) => s3.send(new PutObjectCommand({ Bucket: 'lab', Key, Body: 'x' }))),
      s3.send(new PutObjectCommand({ Bucket: 'lab-other', Key: inside.Key, Body: 'x' })),
      ...[`runs/AV1/${RUN}/RunParameters.json`, 'secret.txt'].map((Key) =>
        s3.send(new GetObjectCommand({ Bucket: 'lab', Key })),
      ),
      ...['', 'runs/', 'runs/AV7/', 'runs/AV7/20260301_AV7_new2/'].map((Prefix) =>
        s3.send(new ListObjectsV2Command({ Bucket: 'lab', Prefix })),
      ),
    ];
    expect(await outcomes(refused)).toEqual(refused.map(() => 'AccessDenied'));
  });
  it('are issued only for valid run folders in connections for run upload', async () => {
    expect((await upload('secret', { runFolder: RUN })).reason).toBe('RUN_UPLOAD_OFF');
    for (const body of [
      { runFolder: 'nothing' },
      { runFolder: '../x' },
      { runFolder: '20260301_AV7_a/b' },
      { runFolder: '20260301_AV7_*' },
      { runFolder: '20260301_AV7_..', instrumentName: '..' },
      { runFolder: '20261301_AV7_x' },
      { runFolder: '20260301_AV7_x', instrumentName: 'AV8' },
      { runFolder: '20260301_AV7_x\0' },
      { runFolder: '20260301_../.._x', instrumentName: '../..' },
    ]) {
      expect([body, (await upload('runs', body)).field]).toEqual([body, 'runFolder']);
    }
    for (const parentPath of ['a', '../b', 'polony-executions'])
      expect((await upload('runs', { runFolder: '20260301_AV7_x', parentPath })).field).toBe('parentPath');
    for (const parentPath of ['', 'a', 'a/b/c', 'a//b', 'a/..', '/a/b', 'polony-executions/b'])
      expect([parentPath, (await upload('deep', { runFolder: '20260301_AV7_x', parentPath })).field]).toEqual([
        parentPath,
        'parentPath',
      ]);
    expect((await upload('deep', { runFolder: '20260301_AV7_x', parentPath: 'site/2026' })).body.s3.prefix).toBe(
      'deep/site/2026/AV7/20260301_AV7_x/',
    );
  });
  it('are refused for a run with a complete upload', async () => {
    expect((await upload('runs', { runFolder: RUN })).status).toBe(201);
    await updateRun(postgres.db, ids.run!, { uploadState: 'complete' });
    expect((await upload('runs', { runFolder: RUN })).reason).toBe('RUN_COMPLETE');
  });
  it('are limited by the scopes of the key', async () => {
    const key = await keyFor(`storage:upload:${ids.runs!}/AV7/`, 'instruments:read:AV7');
    expect((await upload('runs', { runFolder: '20260301_AV7_x' }, key)).status).toBe(201);
    expect((await upload('runs', { runFolder: '20260301_AV77_x' }, key)).reason).toBe('INSUFFICIENT_SCOPE');
    expect((await upload('deep', { runFolder: '20260301_AV7_x', parentPath: 'a/b' }, key)).status).toBe(404);
    const setup = await call('GET', '/v1/instruments/AV7/storage-connections', undefined, key);
    expect(setup.body.storageConnections.map(({ name }) => name)).toEqual(['runs']);
    expect((await call('GET', '/v1/instruments/AV8/storage-connections', undefined, key)).status).toBe(404);
    expect(
      (await call('GET', '/v1/instruments/AV7/storage-connections')).body.storageConnections.map(({ name }) => name),
    ).toEqual(['runs', 'ignoring', 'deep']);
  });
});

describe('execution logs', () => {
  it('contain the last lines of the log and the reason of a failure', async () => {
    const { body } = await call('GET', `/v1/executions/${ids.execution!}/logs`);
    expect([
      body.error,
      body.log.startsWith('first line'),
      body.log.endsWith('the last line'),
      body.log.length <= 1024 * 1024,
    ]).toEqual(['', true, true, true]);
    expect((await call('GET', `/v1/executions/${ids.pending!}/logs`)).body).toEqual({ error: '', log: '' });
    await updateExecution(postgres.db, ids.pending!, {
      status: 'FAILED',
      error: { type: 'RUN_TASK_FAILED', message: 'a task failed' },
    });
    expect((await call('GET', `/v1/executions/${ids.pending!}/logs`)).body.error).toMatch(/^a task failed\n/);
  });
});

describe('folders that look like runs and that polony ignores', () => {
  const ignored = (name: string, parameters: Record<string, string | number> = {}, key = ROOT): Promise<Answer> =>
    call('GET', `/v1/storage-connections/${ids[name]!}/ignored-folders?${query(parameters)}`, undefined, key);
  /** All pages. */
  async function listAll(pageSize: number): Promise<{ found: [string, string][]; pages: number }> {
    const found: [string, string][] = [];
    for (let pages = 1, pageToken = ''; ; pages++) {
      const { status, body } = await ignored('ignoring', { pageSize, ...(pageToken !== '' && { pageToken }) });
      expect(status).toBe(200);
      expect(body.ignoredFolders.length).toBeLessThanOrEqual(pageSize);
      found.push(...body.ignoredFolders.map(({ folder, reason }): [string, string] => [folder, reason]));
      pageToken = body.nextPageToken;
      if (pageToken === '') return { found, pages };
    }
  }
  const EXPECTED: [string, string][] = [
    ['20260115_AV1_TOP', 'DEPTH'],
    ['AV1/20260115_AV2_COPY', 'OTHER_INSTRUMENT'],
    ['AV1/20261332_AV1_R', 'DATE'],
    ['AV1/260115_AV1_R', 'NAME_FORM'],
    ['AV1/My run (1)', 'NAME_FORM'],
    ['AV1/backup/20260115_AV1_R', 'DEPTH'],
    ['AV1/backup/old', 'DEPTH'],
    ['AV1/backup/x/20260115_AV1_R', 'DEPTH'],
    ['polony-executions/20260115_AV1_R', 'EXECUTIONS_FOLDER'],
  ];

  beforeAll(async () => {
    for (const key of [
      '20260115_AV1_TOP/RunParameters.json',
      'AV1/20260115_AV1_GOOD/RunUploaded.json',
      'AV1/20260115_AV2_COPY/x',
      'AV1/20261332_AV1_R/x',
      'AV1/260115_AV1_R/x',
      'AV1/My run (1)/RunUploaded.json',
      'AV1/backup/20260115_AV1_R/x',
      'AV1/backup/old/RunParameters.json',
      'AV1/backup/x/20260115_AV1_R/x',
      'AV1/notes/a.txt',
      'polony-executions/20260115_AV1_R/x',
      `polony-executions/${newId()}/7/20260115_AV1_R/x`,
    ])
      await put('lab-other', `ignoring/${key}`, 'x');
    // More folders than a page may look into.
    for (let at = 0; at < 60; at++) await put('lab-other', `ignoring/B/sample-${at}/x`, 'x');
  });

  it('are listed with the reason, in the order of S3', async () => {
    const { found, pages } = await listAll(100);
    expect(found).toEqual(EXPECTED);
    // A page has a limited number of requests to S3, even if it finds nothing.
    expect(pages).toBeGreaterThan(1);
    expect((await ignored('ignoring')).body.ignoredFolders[0]).toMatchObject({
      uri: 's3://lab-other/ignoring/20260115_AV1_TOP/',
      message: expect.stringContaining('Move it') as string,
    });
  });
  it('are the same in pages of any size', { tags: 'long' }, async () => {
    for (const pageSize of [1, 2, 4]) expect((await listAll(pageSize)).found).toEqual(EXPECTED);
  });
  it('are shown to a key for a folder of the storage connection only as far as it may see them', async () => {
    const key = await keyFor(`storage:read:${ids.ignoring!}/AV1/backup/`);
    const { body } = await ignored('ignoring', {}, key);
    expect(body.ignoredFolders.map(({ folder }) => folder)).toEqual([
      'AV1/backup/20260115_AV1_R',
      'AV1/backup/old',
      'AV1/backup/x/20260115_AV1_R',
    ]);
    expect((await ignored('ignoring', {}, await keyFor('runs:read'))).status).toBe(403);
  });
  it('are not told to a key for some folders by the tokens of pages', async () => {
    const folders = ['AV1/backup/20260115_AV1_R', 'AV1/backup/old', 'polony-executions/20260115_AV1_R'];
    const scopes = [...folders, 'AV1/absent'].map((folder) => `storage:read:${ids.ignoring!}/${folder}/`);
    const key = await keyFor(...scopes);
    const readToken = (token: string): unknown => JSON.parse(Buffer.from(token, 'base64url').toString().slice(16));
    const found: string[] = [];
    const tokens: unknown[] = [];
    for (let pageToken: string | undefined; pageToken !== '';) {
      const { status, body } = await ignored('ignoring', { pageSize: 1, ...(pageToken && { pageToken }) }, key);
      expect(status).toBe(200);
      found.push(...body.ignoredFolders.map(({ folder }) => folder));
      pageToken = body.nextPageToken;
      if (pageToken !== '') tokens.push(readToken(pageToken));
    }
    expect(found).toEqual(folders);
    // Between these folders lie others, such as AV1/backup/x.
    expect(tokens).toEqual([['AV1', 'backup', 'old'], ['polony-executions']]);
  });
  it('are not listed for a storage connection that polony does not search, nor from a page of another', async () => {
    expect((await ignored('off')).reason).toBe('NOT_USED_FOR_RUN_UPLOAD');
    const { nextPageToken } = (await ignored('ignoring', { pageSize: 1 })).body;
    expect((await ignored('deep', { pageToken: nextPageToken })).reason).toBe('INVALID_PAGE_TOKEN');
  });
});

describe('previews and reports of files', () => {
  const PNG = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
    'base64',
  );
  interface Preview {
    kind: string;
    contentType: string;
    encoding: string;
    content: string;
    isTruncated: boolean;
    size: number;
  }
  const preview = async (name: string, path: string, key = ROOT) => {
    const { status, reason, body } = await call(
      'GET',
      `${resourcePath(name)}/files/preview?${query({ path })}`,
      undefined,
      key,
    );
    return { status, reason, message: body.message, preview: (body as unknown as { preview: Preview }).preview };
  };
  const report = (name: string, path: string, key = ROOT) =>
    app.inject({ url: `${resourcePath(name)}/files/report?${query({ path })}`, headers: { 'x-api-key': key } });
  beforeAll(async () => {
    await put('lab', 'runs/shown/a.png', PNG);
    await put('lab', 'runs/shown/disguised.html.png', '<script>alert(1)</script>');
    await put('lab', 'runs/shown/x.svg', '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>');
    await put('lab', 'runs/shown/t?*.csv', 'é,a\n'.repeat(500_000));
    await put('lab', 'runs/shown/large.png', Buffer.concat([PNG, Buffer.alloc(1024 * 1024)]));
    await put('lab', 'runs/shown/x.zip', Buffer.from([0x50, 0x4b, 3, 4, 0, 0xff]));
    await put('lab', 'runs/shown/empty.txt', '');
    await put('lab', 'runs/shown/cold.json', '{}', { StorageClass: 'GLACIER' });
    await put('lab', 'runs/polony-executions/e1/7/R1_QC.html', '<!doctype html><script>document.title="x"</script>');
  });

  it('show texts, images and JSON by their content', async () => {
    expect((await preview('execution', 'RunStats.json')).preview).toMatchObject({
      ...{ kind: 'json', contentType: 'application/json', encoding: 'text', content: '{"a":1}', isTruncated: false },
      ...{ size: 7, path: 'RunStats.json' },
    });
    const image = (await preview('runs', 'shown/a.png')).preview;
    expect([image.kind, image.contentType, image.encoding]).toEqual(['image', 'image/png', 'base64']);
    expect(Buffer.from(image.content, 'base64')).toEqual(PNG);
    expect((await preview('runs', 'shown/disguised.html.png')).preview).toMatchObject({ contentType: 'text/plain' });
    expect((await preview('runs', 'shown/x.svg')).preview).toMatchObject({ kind: 'text', contentType: 'text/plain' });
    expect((await preview('runs', 'shown/empty.txt')).preview).toMatchObject({ content: '', size: 0 });
    const { preview: csv } = await preview('runs', 'shown/t?*.csv');
    expect([csv.kind, csv.isTruncated, csv.size, Buffer.byteLength(csv.content)]).toEqual([
      ...['csv', true, 2_500_000],
      // A character that begins before the end of the MiB is left out.
      1024 * 1024 - 1,
    ]);
  });
  it('say why a file has no preview', async () => {
    const reasonOf = async (name: string, path: string): Promise<unknown[]> => {
      const { status, reason } = await preview(name, path);
      return [status, reason];
    };
    expect(await reasonOf('runs', 'shown/large.png')).toEqual([409, 'FILE_TOO_LARGE']);
    expect(await reasonOf('runs', 'shown/x.zip')).toEqual([409, 'FILE_NOT_PREVIEWABLE']);
    expect(await reasonOf('runs', 'shown/cold.json')).toEqual([409, 'FILE_ARCHIVED']);
    expect(await reasonOf('runs', 'shown/none')).toEqual([404, 'FILE_NOT_FOUND']);
    expect(await reasonOf('pending', 'RunStats.json')).toEqual([404, 'NO_OUTPUT_YET']);
    expect(await reasonOf('elsewhere', 'x')).toEqual([404, 'OUTPUT_ELSEWHERE']);
    expect(await reasonOf('off', 'AV1/x')).toEqual([403, 'DATA_EXPLORATION_OFF']);
    for (const path of ['../secret.txt', '/x', 'shown/', '..\\x', 'a/./b'])
      expect([path, ...(await reasonOf('runs', path))]).toEqual([path, 400, 'INVALID_FIELD']);
  });
  it('stay in the folders that the key may see, and appear in the audit log', async () => {
    const key = await keyFor(`storage:download:${ids.runs!}/shown/`, 'audit:read');
    expect((await preview('runs', 'shown/a.png', key)).status).toBe(200);
    expect((await preview('runs', `AV1/${RUN}/RunParameters.json`, key)).reason).toBe('INSUFFICIENT_SCOPE');
    expect((await preview('secret', 'x.txt', key)).status).toBe(404);
    const { entries } = (await call('GET', '/v1/audit-log?pageSize=5', undefined, key)).body;
    expect(entries.map(({ detail }) => detail?.uri)).toContain('s3://lab/runs/shown/a.png');
    expect((await report('runs', 'shown/x.svg', key)).json<Answer['body']>().details[0]!.reason).toBe(
      'FILE_NOT_A_REPORT',
    );
  });
  it('run reports in an origin of their own that loads nothing', async () => {
    const { statusCode, headers, body } = await report('execution', 'R1_QC.html');
    expect([statusCode, body]).toEqual([200, '<!doctype html><script>document.title="x"</script>']);
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'x-content-type-options': 'nosniff',
      'cache-control': 'private, no-store',
      'content-disposition': 'inline; filename="R1_QC.html"',
      'cross-origin-resource-policy': 'same-origin',
    });
    const policy = String(headers['content-security-policy']).split('; ');
    expect(policy).toEqual(
      expect.arrayContaining(['sandbox allow-scripts', "default-src 'none'", "frame-ancestors 'self'"]),
    );
    expect(policy.join(' ')).not.toMatch(/allow-same-origin|connect-src|https?:/);
    const { key } = { key: await keyFor('runs:download') };
    expect((await report('execution', 'R1_QC.html', key)).statusCode).toBe(403);
  });
});

describe('series of runs and executions', () => {
  interface Series {
    files: { name: string; state: string; message: string; uri: string | null }[];
    totals: { yield: number | null; percentQ30: number | null } | null;
    lanes: { lane: number }[];
    indexAssignment: { percentOf: string | null; rows: { sampleName: string; percentPerfect: number | null }[] } | null;
    unassignedSequences: { rows: { index1: string }[] } | null;
  }
  interface RunSeries {
    instrument: Series;
    execution: (Series & { executionId: string }) | null;
  }
  const seriesOf = async (name: string, parameters: Record<string, string> = {}, key = ROOT) => {
    const answer = await call('GET', `${resourcePath(name)}/series?${query(parameters)}`, undefined, key);
    return { ...answer, series: answer.body as unknown as RunSeries & { series: Series } };
  };
  const states = ({ files }: Series): string[][] => files.map(({ name, state }) => [name, state]);
  const folder = `runs/AV1/${RUN}`;
  const results = 'runs/polony-executions/e2/9/out';
  beforeAll(async () => {
    const row = await postgres.db
      .selectFrom('storage_connections')
      .selectAll()
      .where('id', '=', ids.runs!)
      .executeTakeFirstOrThrow();
    const { id } = await createExecution(postgres.db, {
      flow: { id: ids.flow!, name: 'b2f', computeConnectionId: ids.compute! },
      run: { id: ids.run!, name: RUN, storageConnectionId: ids.runs!, uploadState: 'complete' },
      storage: row,
      trigger: 'api',
      startedBy: 'test',
    });
    ids.completed = id!;
    await updateExecution(postgres.db, id!, {
      status: 'COMPLETED',
      healthOmics: { runId: '9', runOutputUri: 's3://lab/runs/polony-executions/e2/9' },
      files: [
        { key: 'out/Samples/p/s1/RunStats.json', size: 1 },
        { key: 'out/RunStats.json', size: 1 },
      ],
    });
    const cycles = [{ Cycle: 1, PercentQ30: 95, AverageQScore: 41, PercentPhixErrorRate: 0 }];
    await put(
      'lab',
      `${folder}/Stats/AvitiRunStats.json`,
      JSON.stringify({ RunStats: { TotalYield: 270, Reads: [{ Read: 'R1', Cycles: cycles }] } }),
    );
    await put('lab', `${folder}/IndexAssignment.csv`, 'SampleName,NumPoloniesAssigned\npatient,5\n');
    await put(
      'lab',
      `${results}/RunStats.json`,
      JSON.stringify({
        TotalYield: 1.5,
        Lanes: [{ Lane: 1, UnassignedSequences: [{ I1: 'GG', Count: 3 }] }],
        SampleStats: [
          {
            SampleName: 's1',
            Occurrences: [{ Lane: 1, ExpectedSequence: 'AC', NumPolonies: 10, PercentMismatch: 10 }],
          },
        ],
      }),
    );
    await put(
      'lab',
      `${results}/IndexAssignment.csv`,
      'SampleName,I1,Lane,NumPoloniesAssigned,PercentPoloniesAssigned\ns1,AC,1,10,50\n',
    );
  });

  it('have the values of the files, and say which file gave what', async () => {
    const { status, series } = await seriesOf('run');
    expect(status).toBe(200);
    expect(states(series.instrument)).toEqual([
      ['AvitiRunStats.json', 'read'],
      ['IndexAssignment.csv', 'read'],
    ]);
    expect(series.instrument).toMatchObject({
      totals: { yield: 270, percentQ30: 95, errorRate: null, reads: [{ read: 'R1', cycles: { percentQ30: [95] } }] },
      indexAssignment: { rows: [{ sampleName: 'patient', polonies: 5, percent: null }] },
      unassignedSequences: null,
    });
    expect(series.execution).toMatchObject({
      executionId: ids.completed,
      totals: { yield: 1_500_000_000 },
      indexAssignment: { percentOf: 'lane', rows: [{ sampleName: 's1', percentPerfect: 90, percentMismatch: 10 }] },
      unassignedSequences: { percentOf: 'lane', rows: [{ lane: '1', index1: 'GG', polonies: 3 }] },
    });
    expect(states(series.execution!)).toEqual([
      ['RunStats.json', 'read'],
      ['IndexAssignment.csv', 'read'],
      ['UnassignedSequences.csv', 'missing'],
    ]);
    expect(series.execution!.files[0]!.uri).toBe(`s3://lab/${results}/RunStats.json`);
    const own = (await call('GET', `/v1/executions/${ids.completed!}/series`)).body as unknown as { series: Series };
    expect(own.series).toEqual(series.execution);
  });
  it('follow a file that changes, and say why a file was not read', async () => {
    const state = async (): Promise<unknown> => {
      const [file] = (await seriesOf('run')).series.instrument.files;
      return [file!.state, file!.message];
    };
    await put('lab', `${folder}/AvitiRunStats.json`, '{"RunStats":');
    const damaged = [
      'damaged',
      expect.stringMatching(/AvitiRunStats\.json: not valid JSON.*upload it again/) as string,
    ];
    expect(await state()).toEqual(damaged);
    // The second answer comes from memory.
    expect(await state()).toEqual(damaged);
    await put('lab', `${folder}/AvitiRunStats.json`, '{}', { StorageClass: 'GLACIER' });
    expect(await state()).toEqual(['archived', expect.stringContaining('Restore it in S3') as string]);
    await put('lab', `${folder}/AvitiRunStats.json`, '{"RunStats":{"TotalYield":7}}');
    expect((await seriesOf('run')).series.instrument.totals!.yield).toBe(7);
    expect(states((await seriesOf('pending')).series.series).map(([, each]) => each)).toEqual(Array(3).fill('missing'));
    expect((await seriesOf('elsewhere')).series.series.files[0]).toMatchObject({
      state: 'not_shown',
      message: expect.stringContaining('outside the storage connection') as string,
    });
  });
  it('show a key only the executions and the samples that it may see', async () => {
    const runOnly = (await seriesOf('run', {}, await keyFor(`runs:read:${ids.run!}`))).series;
    expect(runOnly.execution).toBeNull();
    expect(runOnly.instrument.totals!.yield).toBe(7);
    expect([states(runOnly.instrument)[1], runOnly.instrument.indexAssignment]).toEqual([
      ['IndexAssignment.csv', 'not_shown'],
      null,
    ]);
    expect(JSON.stringify(runOnly)).not.toContain('patient');
    const other = await keyFor('runs:read', `executions:read:${ids.execution!}`);
    expect((await seriesOf('run', {}, other)).series.execution).toBeNull();
    expect((await seriesOf('run', { executionId: ids.completed! }, other)).status).toBe(404);
    expect((await seriesOf('run', { executionId: ids.execution! }, other)).series.execution!.executionId).toBe(
      ids.execution,
    );
    const inCapitals = `/v1/runs/${ids.run!.toUpperCase()}/series?executionId=${ids.execution!.toUpperCase()}`;
    expect((await call('GET', inCapitals)).status).toBe(200);
    const wrong = await seriesOf('otherRun', { executionId: ids.execution! });
    expect([wrong.status, wrong.field]).toEqual([400, 'executionId']);
    expect((await seriesOf('otherRun', {}, await keyFor(`runs:read:${ids.run!}`))).status).toBe(404);
  });
});

describe('checks of run manifests', () => {
  interface Check {
    source: string;
    stops: boolean;
    errors: { rule: string; line?: number }[];
    warnings: { rule: string }[];
    samples: number;
  }
  const checkOf = async (body: object, key = ROOT, run = 'run') => {
    const answer = await call('POST', `${resourcePath(run)}/manifest-checks`, body, key);
    return { ...answer, check: (answer.body as unknown as { check: Check }).check };
  };
  const manifest = (...rows: string[]): string => ['[Samples]', 'SampleName,Index1,Index2', ...rows, ''].join('\n');
  const GOOD = manifest('S1,AAAAAAAA,CCCCCCCC');
  const BAD = manifest('S1,AAXA,CCCCCCCC');

  it('find in a text what starting an execution would find, and start nothing', async () => {
    const count = ((await call('GET', '/v1/executions')).body as unknown as { executions: unknown[] }).executions
      .length;
    const good = await checkOf({ manifest: { content: GOOD } });
    expect([good.status, good.check]).toMatchObject([200, { source: 'text', stops: false, errors: [], samples: 1 }]);
    const bad = await checkOf({ manifest: { content: BAD }, flowId: ids.flow });
    expect(bad.check).toMatchObject({ stops: true, errors: [{ line: 3 }] });
    // An execution that starts reports MANIFEST_INDEX_CHARACTERS.
    expect(bad.check.errors.map(({ rule }) => rule)).toEqual(['index-characters']);
    const { executions } = (await call('GET', '/v1/executions')).body as unknown as { executions: unknown[] };
    expect(executions.length).toBe(count);
  });
  it('read the manifest of the run or another one in S3, as far as the key may see it', async () => {
    expect((await checkOf({})).check).toMatchObject({ source: 'run', warnings: [{ rule: 'no-manifest' }] });
    await put('lab', `runs/AV1/${RUN}/RunManifest.csv`, BAD);
    await put('lab', 'runs/manifests/good.csv', GOOD);
    expect((await checkOf({})).check).toMatchObject({ source: 'run', stops: true, errors: [{ line: 3 }] });
    const uri = 's3://lab/runs/manifests/good.csv';
    expect((await checkOf({ manifest: { uri } })).check).toMatchObject({ source: 'uri', stops: false, samples: 1 });
    expect((await checkOf({ manifest: { uri: `${uri}.none` } })).check).toMatchObject({
      stops: true,
      errors: [{ rule: 'no-manifest' }],
    });
    const outside = await checkOf({ manifest: { uri: 's3://lab/secret.txt' } });
    expect([outside.status, outside.field]).toEqual([400, 'manifest.uri']);
    const reader = await keyFor(`runs:read:${ids.run!}`);
    expect((await checkOf({ manifest: { content: GOOD } }, reader)).status).toBe(200);
    expect((await checkOf({}, reader)).reason).toBe('INSUFFICIENT_SCOPE');
    expect((await checkOf({ flowId: ids.flow, manifest: { content: GOOD } }, reader)).field).toBe('flowId');
    expect((await checkOf({ manifest: { content: GOOD } }, reader, 'otherRun')).status).toBe(404);
    const downloader = await keyFor(`runs:read:${ids.run!}`, `runs:download:${ids.run!}`);
    expect((await checkOf({}, downloader)).check.stops).toBe(true);
    expect((await checkOf({ manifest: { uri } }, downloader)).reason).toBe('INSUFFICIENT_SCOPE');
    const folder = await keyFor('runs:read', `storage:download:${ids.runs!}/manifests/`);
    expect((await checkOf({ manifest: { uri } }, folder)).check.stops).toBe(false);
  });
});
