import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { CreateBucketCommand, DeleteObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ForgottenExecutions } from '../../activities/executions/forgottenExecutions.js';
import { createUploadActivities } from '../../activities/runs/watchUpload.js';
import { describeRun, runFiles, runUploadedText, type SimulatedRun } from '../../local/instrument.js';
import { newId } from '../../store/database.js';
import { insertGrant } from '../../store/grants/request.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { updateRun } from '../../store/runs/update.js';
import { answerChecker, type OpenApi } from '../openapi.js';
import { ROOT_KEY as ROOT, startTestApi, type TestApi } from '../testApi.js';

// Attacks by callers with narrow keys, through HTTP. Each was possible once, or is a sibling of one that was.

const REGION = 'us-west-2';
const BUCKET = 'attacked';
const RUN = '20260115_AV1_R1';
const OTHER_RUN = '20260116_AV1_R2';

interface Answer {
  status: number;
  reason: string | undefined;
  metadata: Record<string, unknown>;
  body: Record<string, unknown> & { message?: string };
}

let api: TestApi;
let admin: S3Client;
let check: ReturnType<typeof answerChecker>;
const ids: Record<string, string> = {};
let counter = 0;

async function call(key: string, method: 'GET' | 'POST' | 'PATCH' | 'DELETE', url: string, payload?: object) {
  const response = await api.app.inject({ method, url, headers: { 'x-api-key': key }, ...(payload && { payload }) });
  const body = (response.body === '' ? {} : JSON.parse(response.body)) as Answer['body'];
  expect(check(method, url, response.statusCode, response.body === '' ? undefined : body)).toEqual([]);
  const detail = (body.details as { reason: string; metadata: Record<string, unknown> }[] | undefined)?.[0];
  return { status: response.statusCode, reason: detail?.reason, metadata: detail?.metadata ?? {}, body };
}
async function create(name: string, url: string, payload: object): Promise<void> {
  const { status, body } = await call(ROOT, 'POST', url, payload);
  expect([name, status, body.message]).toEqual([name, 201, undefined]);
  ids[name] = (Object.values(body)[0] as { id: string }).id;
}
async function keyFor(...scopes: string[]): Promise<string> {
  const { status, body } = await call(ROOT, 'POST', '/v1/api-keys', { name: `key-${++counter}`, scopes });
  expect([scopes, status, body.message]).toEqual([scopes, 201, undefined]);
  return body.key as string;
}
const put = (Key: string, Body: string): Promise<unknown> =>
  admin.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body }));
const start = (key: string, body: object): Promise<Answer> =>
  call(key, 'POST', '/v1/executions', { flowId: ids.flow, ...body });
/** The RunParameters.json of a run. */
const runParameters = (run: SimulatedRun): string =>
  String([...runFiles(run, 0)].find(({ path }) => path === 'RunParameters.json')!.content());
const countRuns = async (): Promise<number> =>
  Number(
    (
      await api.postgres.db
        .selectFrom('runs')
        .select((e) => e.fn.countAll().as('count'))
        .executeTakeFirstOrThrow()
    ).count,
  );

beforeAll(async () => {
  api = await startTestApi();
  const { aws } = api;
  const options = {
    region: REGION,
    endpoint: aws.endpoint,
    credentials: { accessKeyId: aws.adminAccessKeyId, secretAccessKey: aws.adminSecretAccessKey },
  };
  admin = new S3Client({ ...options, forcePathStyle: true });
  const iam = new IAMClient(options);
  check = answerChecker((await api.app.inject({ url: '/openapi.json' })).json<OpenApi>());
  await admin.send(
    new CreateBucketCommand({ Bucket: BUCKET, CreateBucketConfiguration: { LocationConstraint: REGION } }),
  );
  await iam.send(
    new CreateRoleCommand({
      RoleName: 'attacked',
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: `arn:aws:iam::${aws.serviceAccountId}:root` },
            Action: 'sts:AssumeRole',
            Condition: { StringEquals: { 'sts:ExternalId': 'lab-7f3a' } },
          },
        ],
      }),
    }),
  );
  // The role may read everything, so only polony can limit the access.
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: 'attacked',
      PolicyName: 'all',
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: '*' }],
      }),
    }),
  );
  iam.destroy();
  for (const name of ['provider', 'otherProvider'])
    await create(name, '/v1/providers', {
      name,
      defaultRegion: REGION,
      credentialType: 'role',
      roleArn: `arn:aws:iam::${aws.adminAccessKeyId}:role/attacked`,
      externalId: 'lab-7f3a',
    });
  const storage = (name: string, fields: object): Promise<void> =>
    create(name, '/v1/storage-connections', {
      name,
      providerId: ids.provider,
      region: REGION,
      bucket: BUCKET,
      useForRunUpload: false,
      useForDataExploration: true,
      ...fields,
    });
  await storage('runs', { prefix: 'runs', useForRunUpload: true });
  await storage('private', { prefix: 'private' });
  for (const name of ['compute', 'otherCompute'])
    await create(name, '/v1/compute-connections', {
      name,
      providerId: ids.provider,
      executionRoleArn: `arn:aws:iam::${aws.adminAccessKeyId}:role/omics`,
      region: REGION,
    });
  for (const [name, compute] of [
    ['flow', 'compute'],
    ['otherFlow', 'otherCompute'],
  ] as const)
    await create(name, '/v1/flows', {
      name,
      computeConnectionId: ids[compute],
      sharedWorkflowId: '1234567',
      workflowOwnerId: '588258415937',
    });
  const runs = [RUN, OTHER_RUN].map((folder) => ({ folder, runName: folder }));
  const inserted = await insertRuns(api.postgres.db, ids.runs!, 'AV1', 'AV1', runs);
  [ids.run, ids.otherRun] = [inserted.get(RUN)!.id, inserted.get(OTHER_RUN)!.id];
  for (const id of [ids.run, ids.otherRun])
    await updateRun(api.postgres.db, id, { uploadState: 'complete', outcome: 'completed' });
  await put('runs/clinical-reports/patient.csv', 'PATIENT');
  await put('private/clinical-reports/patient.csv', 'PATIENT');
  await put(`runs/AV1/${RUN}/RunParameters.json`, '{}');
});
afterAll(async () => {
  admin?.destroy();
  await api?.stop();
});

const URI = `s3://${BUCKET}/runs/AV1/${RUN}/`;

describe('a run folder in a request', () => {
  const reports = `s3://${BUCKET}/runs/clinical-reports/`;
  const START = ['executions:create', 'executions:read', 'flows:read', 'runs:*'];

  it('must be one that the key may browse', async () => {
    const before = await countRuns();
    const blind = await keyFor(...START);
    for (const uri of [reports, `s3://${BUCKET}/private/clinical-reports/`, `s3://${BUCKET}/runs/absent`, 's3://x/y']) {
      const { status, reason, metadata } = await start(blind, { runFolderUri: uri });
      expect([uri, status, reason, metadata]).toMatchObject([
        uri,
        403,
        'INSUFFICIENT_SCOPE',
        { required_scope: 'storage:download', field: 'runFolderUri' },
      ]);
    }
    // Whether a folder exists that the key may not browse, the answer does not tell.
    const elsewhere = await keyFor(...START, `storage:download:${ids.runs!}/AV1/`, `storage:read`);
    const told = async (uri: string): Promise<unknown> => {
      const { status, body, metadata } = await start(elsewhere, { runFolderUri: uri });
      return [status, body.message, metadata.rule];
    };
    const absent = await told('s3://no-such-bucket/x');
    expect(absent).toEqual([400, expect.any(String), 'NOT_IN_A_STORAGE_CONNECTION']);
    for (const uri of [
      reports,
      `s3://${BUCKET}/private/clinical-reports/`,
      `s3://${BUCKET}/runs/AV1`.replace('AV1', 'AV'),
      `s3://${BUCKET}/runs/AV1/../clinical-reports/`,
      `s3://${BUCKET}/runs`,
    ])
      expect([uri, await told(uri)]).toEqual([uri, absent]);
    expect(await countRuns()).toBe(before);
  });

  it('must not be the output of executions, for any key', async () => {
    for (const path of [
      'runs/polony-executions',
      'runs/polony-executions/',
      'runs/polony-executions/e1/7',
      'runs/AV1/polony-executions/x',
    ]) {
      const { status, metadata } = await start(ROOT, { runFolderUri: `s3://${BUCKET}/${path}` });
      expect([path, status, metadata.rule]).toEqual([path, 400, 'EXECUTIONS_FOLDER']);
    }
  });

  it('shows its files only when the files of an instrument have proved that it is one of a run', async () => {
    const { db } = api.postgres;
    const namer = await keyFor(...START, `storage:download:${ids.runs!}/clinical-reports/`);
    const named = await start(namer, { runFolderUri: reports });
    expect([named.status, named.body.message]).toEqual([201, undefined]);
    const { inputs } = named.body.execution as { inputs: { run: { id: string } }[] };
    const id = inputs[0]!.run.id;
    const reader = await keyFor('runs:*');
    const shown = async (): Promise<unknown[]> => {
      const answers = [
        await call(reader, 'GET', `/v1/runs/${id}/files`),
        await call(reader, 'GET', `/v1/runs/${id}/files?includeDownloadUrl=true`),
        await call(reader, 'GET', `/v1/runs/${id}/credentials`),
        // The key that named the folder gets no more through the run.
        await call(namer, 'GET', `/v1/runs/${id}/credentials`),
      ];
      for (const { body } of answers) expect(JSON.stringify(body)).not.toContain('patient.csv');
      const { run } = (await call(reader, 'GET', `/v1/runs/${id}`)).body as { run: { manifest: object | null } };
      return [...answers.map(({ status, reason }) => reason ?? status), run.manifest];
    };
    const none = Array.from({ length: 4 }, () => 'RUN_NOT_VERIFIED');
    const upload = createUploadActivities({
      db,
      aws: api.access,
      settings: { uploadPollSeconds: 1, stalledMinutes: 1 } as never,
    });
    const checkUpload = (): Promise<unknown> =>
      new MockActivityEnvironment().run(() => upload.watchUpload(id, false, true)).catch(() => undefined);
    expect(await shown()).toEqual([...none, null]);
    const blind = await keyFor(...START);
    const read = async (key: string): Promise<unknown> => {
      const { status, metadata } = await start(key, { runId: id, parameters: { x: `${reports}patient.csv` } });
      return metadata.rule ?? status;
    };
    // The workflow reads with its own role.
    expect([await read(blind), await read(namer)]).toEqual(['OUTSIDE_RUN', 201]);
    await checkUpload();
    expect(await shown()).toEqual([...none, null]);
    // A run that polony could not read, with a manifest by its name.
    await updateRun(db, id, { uploadState: 'complete', checked: 'presence', hasManifest: true });
    expect(await shown()).toEqual([...none, { filename: 'RunManifest.csv' }]);
    await updateRun(db, id, { uploadState: 'uploading', checked: 'content', hasManifest: false });
    // The files of two different runs.
    const [one, other] = [describeRun({ runName: 'one' }), describeRun({ runName: 'two', instrumentName: 'AV9' })];
    await put('runs/clinical-reports/RunParameters.json', runParameters(one));
    await put('runs/clinical-reports/RunUploaded.json', runUploadedText(other, 'failed'));
    await checkUpload();
    expect(await shown()).toEqual([...none, null]);
    await put('runs/clinical-reports/RunUploaded.json', runUploadedText(one, 'failed'));
    await admin.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: 'runs/clinical-reports/patient.csv' }));
    await checkUpload();
    expect(await shown()).toEqual([200, 200, 200, 200, null]);
    await updateRun(db, id, { uploadState: 'uploading' });
    expect(await read(blind)).toBe(201);
  });
});

describe('a workflow that somebody starts in Temporal for an execution that polony does not know', () => {
  /** Gives the execution back to the database, as after a restore of an older dump. @param memo what the workflow says */
  async function recover(memo: { outputUri?: string; run?: object }): Promise<{ id: string; recovery: string }> {
    const id = newId();
    const origin = {
      name: 'forged',
      flowId: ids.flow,
      computeConnectionId: ids.compute,
      storageConnectionId: ids.runs,
      run: {
        id: newId(),
        parentPath: 'panels',
        runFolder: 'secret',
        runName: 'secret',
        instrumentName: 'panels',
        discovered: true,
        ...memo.run,
      },
      trigger: 'api',
      startedBy: 'default',
      ownParameters: {},
      manifest: null,
      outputUri: memo.outputUri ?? `s3://${BUCKET}/runs/polony-executions/${id}/`,
      relaunchOf: null,
    };
    const workflows = {
      findKnown: async () => ({
        id,
        origin,
        workflowStatus: 'RUNNING',
        status: 'UNTRIGGERED',
        timeStarted: new Date(),
      }),
    };
    const forgotten = new ForgottenExecutions(api.postgres.db, workflows as never);
    return { id, recovery: await new MockActivityEnvironment().run(() => forgotten.recover(id)) };
  }

  it('acts in the name of nobody, and is in the audit log', async () => {
    const { id, recovery } = await recover({});
    expect(recovery).toBe('recovered');
    const { execution } = (await call(ROOT, 'GET', `/v1/executions/${id}`)).body as {
      execution: { startedBy: object };
    };
    expect(execution.startedBy).toMatchObject({ id: 'temporal' });
    const { entries } = (await call(ROOT, 'GET', `/v1/audit-log?resourceId=${id}`)).body as { entries: object[] };
    expect(entries).toMatchObject([
      {
        caller: { kind: 'temporal', name: 'via Temporal, not authenticated' },
        action: 'ExecutionService_CreateExecution',
        detail: { claimedBy: 'default', workflowId: `execution/${id}` },
      },
    ]);
  });

  it('makes no folder one of a run', async () => {
    const runId = newId();
    await recover({ run: { id: runId, runFolder: 'also-secret' } });
    const reader = await keyFor('runs:*');
    for (const path of ['files', 'credentials'])
      expect((await call(reader, 'GET', `/v1/runs/${runId}/${path}`)).reason).toBe('RUN_NOT_VERIFIED');
  });

  it('sends no results elsewhere', async () => {
    for (const outputUri of [
      's3://of-somebody-else/x/',
      `s3://${BUCKET}/runs/AV1/`,
      `s3://${BUCKET}/polony-executions/x/`,
    ]) {
      const { id, recovery } = await recover({ outputUri });
      expect([recovery, (await call(ROOT, 'GET', `/v1/executions/${id}`)).status]).toEqual(['incomplete', 404]);
    }
  });
});

describe('who started and cancelled an execution', () => {
  it('is told by an id, because another key can take the same name later', async () => {
    const scopes = ['executions:*', 'flows:read', 'runs:read'];
    const named = async (): Promise<{ id: string; key: string }> => {
      const { body } = await call(ROOT, 'POST', '/v1/api-keys', { name: 'the-same-name', scopes });
      return { id: (body.apiKey as { id: string }).id, key: body.key as string };
    };
    const first = await named();
    const { body } = await start(first.key, { runId: ids.run });
    await call(ROOT, 'POST', `/v1/api-keys/${first.id}/revoke`);
    const second = await named();
    const { id, startedBy } = body.execution as { id: string; startedBy: object };
    expect(startedBy).toEqual({ id: first.id, email: '', name: 'the-same-name' });
    await call(second.key, 'POST', `/v1/executions/${id}/cancel`, {});
    const { details } = (await call(ROOT, 'GET', `/v1/executions/${id}/details`)).body as {
      details: { cancelRequested: object };
    };
    expect(details.cancelRequested).toMatchObject({ requestedBy: 'the-same-name', requestedById: second.id });
  });
});

describe('what a request names in S3', () => {
  const foreign = `s3://${BUCKET}/runs/clinical-reports/patient.csv`;
  let narrow: string;
  beforeEach(async () => {
    narrow ??= await keyFor('executions:create', 'executions:read', 'flows:read', `runs:read:${ids.run!}`);
  });
  const deep = (value: unknown, levels: number): unknown =>
    levels === 0 ? value : levels % 2 === 0 ? [deep(value, levels - 1)] : { a: deep(value, levels - 1) };

  it.each<[string, object]>([
    ['a value', { x: foreign }],
    ['the name of a member', { [foreign]: 'x' }],
    ['the name of a nested member', { x: { y: [{ [foreign]: 1 }] } }],
    ['a deep value', { x: deep(foreign, 12) }],
    ['a list', { x: ['a', [foreign]] }],
    ['upper case', { x: foreign.replace('s3', 'S3') }],
    ['s3a', { x: foreign.replace('s3', 's3a') }],
    ['s3n', { x: foreign.replace('s3', 'S3N') }],
    ['one slash', { x: `s3:/${BUCKET}/runs/x` }],
    ['no slash', { x: `s3:${BUCKET}/runs/x` }],
    ['backslashes', { x: foreign.replace('//', '\\\\') }],
    ['an argument', { x: `--settings=${foreign}` }],
    ['an argument with a dash before it', { x: `--from-${foreign}` }],
    ['a second URI', { x: `${URI}a,${foreign}` }],
    ['a folder above', { x: `${URI}../x` }],
    ['a folder above before a space', { x: `${URI}.. ` }],
    ...[
      '%2e%2e/x',
      '%2E%2E%2fx',
      '..%2Fx',
      '.%2e/x',
      'a/%2e%2e',
      '%252e%252e%252fx',
      '%25252e%25252e/x',
      '%25252525252e/x',
      'a%2f..%2fx',
      '..\\x',
      'a\\..\\x',
      '%2e%2e%5cx',
      'a%5c..%5cx',
      '.\t./x',
      '.%09./x',
      '%5c%2e%2e%5cx',
      '.\\./x',
      '%c0%ae%c0%ae/x',
      '%u002e%u002e/x',
      '\\u002e\\u002e/x',
      '\\x2e\\x2e/x',
      '\uff0e\uff0e/x',
      '%EF%BC%8E%EF%BC%8E/x',
      '..%00/x',
      '..%20',
      '..;/x',
      '..?x',
      '..%3fx',
      '..%23x',
      '{..,a}/x',
      './x',
      '%2e/x',
      'a%ff%2f%2e%2e%2fx',
    ].flatMap<[string, object]>((end) => [
      [`an encoded folder above: ${end}`, { x: URI + end }],
      [`an encoded folder above in the name of a member: ${end}`, { [URI + end]: 1 }],
    ]),
    ['an encoded folder above in JSON in a text', { x: JSON.stringify([{ [`${URI}%2e%2e/x`]: 1 }]) }],
    ['a folder that begins like the run', { x: `${URI.slice(0, -1)}-secret/x` }],
    ['the bucket', { x: `s3://${BUCKET}` }],
    ['another bucket', { x: 's3://another/x' }],
    ['an ARN', { x: `arn:aws:s3:::${BUCKET}/runs/x` }],
    ['an ARN of an access point', { x: 'ARN:aws-us-gov:s3:us-gov-west-1:111122223333:accesspoint/x' }],
    ['a virtual-hosted URL', { x: `https://${BUCKET}.s3.us-west-2.amazonaws.com/runs/x` }],
    ['a path-style URL', { x: `https://s3.us-west-2.amazonaws.com/${BUCKET}/runs/x` }],
    ['a legacy URL', { x: `https://s3-us-west-2.amazonaws.com/${BUCKET}/x` }],
    ['a legacy global URL in upper case', { x: `HTTPS://${BUCKET.toUpperCase()}.S3.AMAZONAWS.COM/x` }],
    ['a dual-stack URL', { x: `https://${BUCKET}.s3.dualstack.us-west-2.amazonaws.com/x` }],
    ['an accelerated URL', { x: `https://${BUCKET}.s3-accelerate.amazonaws.com/x` }],
    ['a URL of an access point', { x: 'https://x-111122223333.s3-accesspoint.us-west-2.amazonaws.com/x' }],
    ['a website', { x: `https://${BUCKET}.s3-website-us-west-2.amazonaws.com/x` }],
    ['a URL in China', { x: `https://${BUCKET}.s3.cn-north-1.amazonaws.com.cn/x` }],
    ['a URL with a user', { x: `https://example.org@${BUCKET}.s3.amazonaws.com/x` }],
    ['a URL with backslashes', { x: `https:\\\\${BUCKET}.s3.amazonaws.com/x` }],
    ['a URL with a dot at the end', { x: `https://${BUCKET}.s3.amazonaws.com./x` }],
    ['a URL with an encoded host', { x: `https://${BUCKET}.%733.amazonaws.com/x` }],
    ['a URL without TLS', { x: `http://${BUCKET}.s3.amazonaws.com/x` }],
    ['a presigned URL', { x: `https://${BUCKET}.s3.amazonaws.com/x?X-Amz-Signature=1` }],
    ['a URL that cannot be parsed', { x: 'https://[x' }],
    ['a file', { x: 'file:///etc/passwd' }],
    ['another scheme', { x: 'gs://bucket/x' }],
    ['JSON in a text', { x: JSON.stringify({ y: [foreign] }) }],
    ['escaped JSON in a text', { x: '{"y":"\\u0073\\u0033:\\/\\/attacked\\/x"}' }],
    ['a member of JSON in a text', { x: JSON.stringify({ [foreign]: 1 }) }],
    ['JSON in JSON in a text', { x: JSON.stringify([JSON.stringify({ y: foreign })]) }],
    ['a percent-encoded URI', { x: encodeURIComponent(foreign) }],
    ['a twice percent-encoded URI', { x: encodeURIComponent(encodeURIComponent(foreign)) }],
    ['a percent-encoded scheme', { x: `%73%33://${BUCKET}/x` }],
  ])('must lie in the run of a narrow key: rejects %s', async (_name, parameters) => {
    const { status, metadata } = await start(narrow, { runId: ids.run, parameters });
    expect([status, metadata.rule]).toEqual([400, 'OUTSIDE_RUN']);
    expect(metadata.field).toMatch(/^parameters\./);
  });

  it.each<[string, unknown]>([
    ['files of the run', `${URI}RunManifest.csv`],
    ['several files of the run', `${URI}a b,${URI}c.csv ${URI}d`],
    ['JSON about the run', JSON.stringify({ [`${URI}a`]: `${URI}b` })],
    ['files whose names have dots and encoded characters', [`${URI}.a/..b/c...d/a%20b`, `${URI}100%`, `${URI}a%2Fb`]],
    ['HealthOmics storage', 'omics://111122223333.storage.us-west-2.amazonaws.com/1/readSet/2'],
    ['other servers', 'https://example.org/s3/panel.bed?x=s3'],
    ['masks', 'I1:Y8N*, R1:Y*N; UmiMask,R1:Y6N*'],
    [
      'times, versions and numbers',
      ['12:30:00', 'bases2fastq:2.4', 5, null, true, 'a: b', 'C:', '100%', '%2', 'x:%20/'],
    ],
    ['settings', 'I1Mask,I1:Y8N*,1+2'],
  ])('may be %s', async (_name, value) => {
    const { status, body } = await start(narrow, { runId: ids.run, parameters: { x: value } });
    expect([status, body.message]).toEqual([201, undefined]);
  });

  it('may be a folder that the key may browse, or with all runs the folder of another run', async () => {
    const attempt = async (scopes: string[], uri: string): Promise<unknown[]> => {
      const key = await keyFor('executions:create', 'flows:read', ...scopes);
      const answers = [
        await start(key, { runId: ids.run, parameters: { x: uri } }),
        await start(key, { runId: ids.run, manifest: { uri } }),
      ];
      return answers.map(({ status, metadata }) => metadata.rule ?? status);
    };
    const other = `s3://${BUCKET}/runs/AV1/${OTHER_RUN}/RunManifest.csv`;
    expect(await attempt([`runs:read:${ids.run!}`], other)).toEqual(['OUTSIDE_RUN', 'OUTSIDE_RUN']);
    expect(await attempt(['runs:read'], other)).toEqual([201, 201]);
    expect(await attempt(['runs:read'], foreign)).toEqual(['OUTSIDE_RUN', 'OUTSIDE_RUN']);
    expect(
      await attempt(['runs:read'], `s3://${BUCKET}/runs/polony-executions/20260101_polony-executions_x/y`),
    ).toEqual(['OUTSIDE_RUN', 'OUTSIDE_RUN']);
    expect(await attempt(['runs:read', `storage:download:${ids.runs!}/clinical-reports/`], foreign)).toEqual([
      201, 201,
    ]);
    expect(await attempt(['runs:read', `storage:download:${ids.runs!}/AV1/`], foreign)).toEqual([
      'OUTSIDE_RUN',
      'OUTSIDE_RUN',
    ]);
    expect(await attempt(['runs:read', 'storage:download'], foreign)).toEqual([201, 201]);
  });

  it('must lie in a folder that the key may browse, both as it is written and decoded', async () => {
    const panels = `storage:download:${ids.runs!}/clinical-reports/%41/`;
    const key = await keyFor('executions:create', 'flows:read', `runs:read:${ids.run!}`, panels);
    const attempt = async (uri: string): Promise<unknown> => {
      const { status, metadata } = await start(key, { runId: ids.run, manifest: { uri } });
      return metadata.rule ?? status;
    };
    // S3 reads clinical-reports/%41/x, which the key may read. Others read clinical-reports/A/x.
    expect(await attempt(`s3://${BUCKET}/runs/clinical-reports/%41/x.csv`)).toBe('OUTSIDE_RUN');
    expect(await attempt(`${URI}%2e%2e/${OTHER_RUN}/RunManifest.csv`)).toBe('OUTSIDE_RUN');
    expect(await attempt(`${URI}a%20b.csv`)).toBe(201);
  });

  it('must not be a run folder of a narrow key that others read as another one', async () => {
    const key = await keyFor('executions:create', 'flows:read', 'runs:read', `storage:download:${ids.runs!}/mine/`);
    const rules = [];
    for (const folder of [
      'mine/%2e%2e/clinical-reports/AV1',
      'mine%2f..%2f/AV1',
      'mine/a%5c..%5c..%5cx/AV1',
      'mine/AV1',
    ]) {
      const uri = `s3://${BUCKET}/runs/${folder}/20260115_AV1_R9/`;
      const { status, metadata } = await start(key, { runFolderUri: uri });
      rules.push(metadata.rule ?? status);
    }
    expect(rules).toEqual([...Array.from({ length: 3 }, () => 'NOT_IN_A_STORAGE_CONNECTION'), 201]);
  });

  it('must lie in the run for a relaunch too', async () => {
    const { db } = api.postgres;
    const started = await start(narrow, { runId: ids.run });
    const { id } = started.body.execution as { id: string };
    await db.updateTable('executions').set({ status: 'FAILED' }).where('id', '=', id).execute();
    const relaunch = (body: object): Promise<Answer> => call(narrow, 'POST', `/v1/executions/${id}/relaunch`, body);
    for (const body of [{ parameters: { [foreign]: 1 } }, { manifest: { uri: foreign } }])
      expect((await relaunch(body)).metadata.rule).toBe('OUTSIDE_RUN');
    expect((await relaunch({})).status).toBe(201);
  });
});

describe('compute', () => {
  const START = ['executions:create', 'executions:read', 'runs:read'];

  it('is reached only through a flow that the key may read', async () => {
    const none = await start(await keyFor(...START), { runId: ids.run });
    expect([none.status, none.metadata.required_scope]).toEqual([403, 'flows:read']);
    const narrow = await keyFor(...START, `flows:read:${ids.flow!}`);
    expect((await start(narrow, { runId: ids.run })).status).toBe(201);
    const told = async (flowId: string): Promise<string> =>
      JSON.stringify((await call(narrow, 'POST', '/v1/executions', { flowId, runId: ids.run })).body)
        .replaceAll(flowId, 'ID')
        .replace(/"request_id":"[^"]+"/g, '');
    const absent = await told(ids.run!);
    expect(absent).toContain('FLOW_NOT_FOUND');
    expect(await told(ids.otherFlow!)).toBe(absent);
  });

  it('is reached by a relaunch only through a flow that the key may read', async () => {
    const { body } = await call(ROOT, 'POST', '/v1/executions', { flowId: ids.otherFlow, runId: ids.run });
    const { id } = body.execution as { id: string };
    await api.postgres.db.updateTable('executions').set({ status: 'FAILED' }).where('id', '=', id).execute();
    const relaunch = async (...scopes: string[]): Promise<unknown> => {
      const { status, metadata } = await call(
        await keyFor(...START, ...scopes),
        'POST',
        `/v1/executions/${id}/relaunch`,
      );
      return metadata.required_scope ?? metadata.rule ?? status;
    };
    expect(await relaunch()).toBe('flows:read');
    expect(await relaunch(`flows:read:${ids.flow!}`)).toBe('FLOW_NOT_FOUND');
    expect(await relaunch(`flows:read:${ids.otherFlow!}`)).toBe(201);
  });

  it('keeps its role, provider and region for a key that may change some connections', async () => {
    const account = api.aws.adminAccessKeyId;
    const narrow = await keyFor(`compute:*:${ids.compute!}`, 'providers:read', 'compute:read');
    const change = (body: object, key = narrow): Promise<Answer> =>
      call(key, 'PATCH', `/v1/compute-connections/${ids.compute!}`, body);
    for (const body of [
      { executionRoleArn: `arn:aws:iam::${account}:role/somebody-elses` },
      { providerId: ids.otherProvider },
      { region: 'us-east-1' },
      { name: 'taken', executionRoleArn: `arn:aws:iam::${account}:role/somebody-elses` },
      // A conflict would tell the names of others.
      { name: 'renamed' },
    ]) {
      const { status, metadata } = await change(body);
      expect([body, status, metadata.required_scope]).toEqual([body, 403, 'compute:write']);
    }
    expect((await change({ providerId: ids.provider!.toUpperCase() })).status).toBe(200);
    const wide = await keyFor('compute:write');
    expect((await change({ executionRoleArn: `arn:aws:iam::${account}:role/omics2` }, wide)).status).toBe(200);
  });

  it('is not chosen for a flow by a key that may change some flows', async () => {
    const narrow = await keyFor(`flows:*:${ids.flow!}`, 'compute:*');
    const change = (body: object, key = narrow): Promise<Answer> => call(key, 'PATCH', `/v1/flows/${ids.flow!}`, body);
    for (const body of [{ computeConnectionId: ids.otherCompute }, { name: 'renamed' }]) {
      const { status, metadata } = await change(body);
      expect([body, status, metadata.required_scope]).toEqual([body, 403, 'flows:write']);
    }
    expect((await change({ computeConnectionId: ids.compute })).status).toBe(200);
  });

  it('runs no other workflow, and reads no other places, for a key that may change some flows', async () => {
    const own = `s3://${BUCKET}/runs/panels/a.bed`;
    const change = (key: string, body: object): Promise<Answer> => call(key, 'PATCH', `/v1/flows/${ids.flow!}`, body);
    expect((await change(ROOT, { parameters: { panel: own } })).status).toBe(200);
    const narrow = await keyFor(`flows:*:${ids.flow!}`);
    const foreign = `s3://${BUCKET}/runs/clinical-reports/patient.csv`;
    for (const body of [
      { sharedWorkflowId: '7654321' },
      { workflowOwnerId: '111122223333' },
      { sharedWorkflowId: 'arn:aws:omics:us-west-2:111122223333:workflow/1234567' },
      { parameters: { panel: foreign } },
      { parameters: { panel: own, [foreign]: 1 } },
      { parameters: { panel: own, more: [{ x: `--settings=${foreign}` }] } },
      { parameters: { panel: own, more: foreign.replace('s3:', 'S3A:') } },
      { parameters: { panel: `arn:aws:s3:::${BUCKET}/runs/clinical-reports/patient.csv` } },
    ]) {
      const { status, metadata } = await change(narrow, body);
      expect([body, status, metadata.required_scope]).toEqual([body, 403, 'flows:write']);
    }
    expect((await change(narrow, { parameters: { panel: own, threads: 8 }, acceptUnverified: false })).status).toBe(
      200,
    );
    const browser = await keyFor(`flows:*:${ids.flow!}`, 'storage:download');
    expect((await change(browser, { parameters: { panel: foreign } })).status).toBe(200);
    expect((await change(await keyFor('flows:write'), { parameters: {}, acceptUnverified: true })).status).toBe(200);
  });

  it('keeps the identity of its provider for a key that may change some providers', async () => {
    const account = api.aws.adminAccessKeyId;
    const narrow = await keyFor(`providers:*:${ids.provider!}`);
    const change = (body: object, key = narrow): Promise<Answer> =>
      call(key, 'PATCH', `/v1/providers/${ids.provider!}`, body);
    for (const body of [
      { roleArn: `arn:aws:iam::${account}:role/somebody-elses` },
      { externalId: 'somebody-elses-external-id' },
      { name: 'renamed' },
      { credentialType: 'accessKeys', accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'x'.repeat(40) },
    ]) {
      const { status, metadata } = await change(body);
      expect([body, status, metadata.required_scope]).toEqual([body, 403, 'providers:write']);
    }
    const { roleArn } = (await call(narrow, 'GET', `/v1/providers/${ids.provider!}`)).body.provider as {
      roleArn: string;
    };
    expect((await change({ roleArn, externalId: 'lab-7f3a' })).status).toBe(200);
    const wide = await keyFor('providers:write');
    expect((await change({ externalId: 'lab-7f3a-2' }, wide)).status).toBe(200);
    expect((await change({ externalId: 'lab-7f3a' }, wide)).status).toBe(200);
  });
});

describe('a message about what a request refers to', () => {
  it('names only what the key may read', async () => {
    const role = `arn:aws:iam::${api.aws.adminAccessKeyId}:role/named`;
    const provider = {
      name: 'of-messages',
      defaultRegion: REGION,
      credentialType: 'role',
      roleArn: `${role}-provider`,
    };
    await create('ofMessages', '/v1/providers', provider);
    const compute = {
      name: 'confidential-compute',
      providerId: ids.ofMessages,
      executionRoleArn: role,
      region: REGION,
    };
    await create('confidential', '/v1/compute-connections', compute);
    const flow = {
      name: 'of-messages',
      computeConnectionId: ids.confidential,
      sharedWorkflowId: 'arn:aws:omics:us-east-1:588258415937:workflow/1234567',
      autoStart: { storageConnectionIds: [ids.private] },
    };
    const answers = async (...more: string[]): Promise<string> => {
      const key = await keyFor('flows:write', 'providers:write', ...more);
      const [created, changed] = [
        await call(key, 'POST', '/v1/flows', flow),
        await call(key, 'PATCH', `/v1/providers/${ids.ofMessages!}`, { roleArn: role }),
      ];
      expect([created.status, changed.status]).toEqual([400, 400]);
      return `${created.body.message} ${changed.body.message}`;
    };
    const hidden = await answers();
    expect(hidden).not.toMatch(/confidential-compute|storage connection private/);
    expect(hidden).toContain('the storage connection is not used for run upload');
    const shown = await answers('compute:read', 'storage:read');
    expect(shown.match(/compute connection confidential-compute/g)).toHaveLength(2);
    expect(shown).toContain('storage connection private is not used for run upload');
  });
});

describe('a grant for more than a key may share', () => {
  const principal = (name: string): string => `arn:aws:iam::444455556666:role/${name}`;

  it('does not exist for the key in any operation', async () => {
    const { db } = api.postgres;
    const grant = async (name: string, folder: string | null): Promise<string> =>
      (
        await insertGrant(
          db,
          {
            storageConnectionId: ids.runs!,
            bucket: BUCKET,
            partition: 'aws',
            principal: principal(name),
            prefix: folder === null ? null : folder.slice('runs/'.length),
            folder,
            description: '',
            expires: null,
          },
          { by: { kind: 'root', id: 'default', name: 'default' }, requestId: 'x' },
        )
      ).id;
    const whole = await grant('whole', null);
    const beside = await grant('beside', 'runs-secret/');
    const own = await grant('own', 'runs/AV1/');
    const exact = await grant('exact', 'runs/');
    const key = await keyFor(`storage:share:${ids.runs!}`, `storage:*:${ids.runs!}`);
    const list = `/v1/storage-connections/${ids.runs!}/access-grants`;
    const listed = async (by: string, query = ''): Promise<{ ids: string[]; next: string }> => {
      const { body } = await call(by, 'GET', `${list}${query}`);
      const { accessGrants, nextPageToken } = body as { accessGrants: { id: string }[]; nextPageToken: string };
      return { ids: accessGrants.map(({ id }) => id), next: nextPageToken };
    };
    expect((await listed(key)).ids).toEqual([own, exact]);
    expect((await listed(ROOT)).ids).toEqual([whole, beside, own, exact]);
    const first = await listed(key, '?pageSize=1');
    expect(first.ids).toEqual([own]);
    expect(await listed(key, `?pageSize=1&pageToken=${first.next}`)).toEqual({ ids: [exact], next: '' });
    for (const id of [whole, beside]) {
      await db.updateTable('access_grants').set({ state: 'failed' }).where('id', '=', id).execute();
      for (const answer of [
        await call(key, 'GET', `${list}/${id}`),
        await call(key, 'POST', `${list}/${id}/repair`),
        await call(key, 'DELETE', `${list}/${id}`),
      ])
        expect([answer.status, answer.reason]).toEqual([404, 'ACCESS_GRANT_NOT_FOUND']);
      const { state } = await db
        .selectFrom('access_grants')
        .select('state')
        .where('id', '=', id)
        .executeTakeFirstOrThrow();
      expect(state).toBe('failed');
    }
    expect((await call(key, 'GET', `${list}/${own}`)).status).toBe(200);
    expect((await call(key, 'POST', `${list}/${own}/repair`)).status).toBe(200);
    expect((await call(key, 'DELETE', `${list}/${own}`)).status).toBe(202);
    const refused = await call(key, 'POST', list, { principal: principal('new') });
    expect([refused.status, refused.reason]).toEqual([403, 'INSUFFICIENT_SCOPE']);
    // What prevents the deletion of the storage connection is only counted.
    const inUse = await call(key, 'DELETE', `/v1/storage-connections/${ids.runs!}`);
    expect([inUse.reason, JSON.stringify(inUse.body).includes('role/whole')]).toEqual(['IN_USE', false]);
    const wide = await keyFor('storage:share');
    expect((await call(wide, 'POST', `${list}/${whole}/repair`)).status).toBe(200);
  });
});

describe('an Idempotency-Key', () => {
  it('of another caller reveals no answer', async () => {
    const scopes = ['executions:create', 'executions:read', 'flows:read', 'runs:read'];
    const repeat = async (key: string): Promise<{ status: number; id: string | undefined; replayed: unknown }> => {
      const response = await api.app.inject({
        method: 'POST',
        url: '/v1/executions',
        headers: { 'x-api-key': key, 'idempotency-key': 'the-same' },
        payload: { flowId: ids.flow, runId: ids.run },
      });
      const { execution } = response.json<{ execution?: { id: string } }>();
      return { status: response.statusCode, id: execution?.id, replayed: response.headers['idempotency-replayed'] };
    };
    const [one, other] = [await keyFor(...scopes), await keyFor(...scopes)];
    const first = await repeat(one);
    const second = await repeat(other);
    expect([first.status, second.status, second.replayed]).toEqual([201, 201, undefined]);
    expect(second.id).not.toBe(first.id);
    expect(await repeat(one)).toMatchObject({ id: first.id, replayed: 'true' });
    // Without the scopes, nobody gets the answer that the same caller would get.
    expect(await repeat(await keyFor('runs:read'))).toMatchObject({ status: 403, id: undefined });
  });
});

describe('the name of a run folder in a request for upload credentials', () => {
  it.each([
    { runFolder: '20260115_.._R1' },
    { runFolder: '20260115_._R1' },
    { runFolder: '20260115_.._R1', instrumentName: '..' },
    { runFolder: '20260115_AV1_R1', parentPath: '..' },
    { runFolder: '20260115_AV1_R1', parentPath: 'x/..' },
    { runFolder: '20260115_AV1_R1/../x' },
    { runFolder: '20260115_AV1_*' },
    { runFolder: '20260115_AV1_${aws:username}' },
    { runFolder: '20260115_polony-executions_R1' },
    { runFolder: '20260115_AV1_\u202eR1\u0000' },
  ])('leads nowhere else: %j', async (body) => {
    const { status } = await call(ROOT, 'POST', `/v1/storage-connections/${ids.runs!}/upload-credentials`, body);
    expect(status).toBe(400);
  });
});

describe('a path', () => {
  it.each([
    '/docs/static/..%2f..%2f..%2fpackage.json',
    '/docs/static/%2e%2e/%2e%2e/package.json',
    '/docs/static/..\\..\\package.json',
    '/docs/../v1/auth',
    '/docs/%2e%2e/v1/auth',
    '//v1/auth',
    '/openapi.json/../v1/auth',
    '/healthz/../v1/auth',
    '/healthz%2f..%2fv1/auth',
  ])('in another spelling shows nothing without a key: %s', async (url) => {
    const { statusCode, body } = await api.app.inject({ url });
    expect([401, 403, 404]).toContain(statusCode);
    expect(body).not.toContain('tenantId');
    expect(body).not.toContain('dependencies');
  });
});

describe('a body', () => {
  const send = async (url: string, payload: string): Promise<Answer> => {
    const response = await api.app.inject({
      method: 'POST',
      url,
      headers: { 'x-api-key': ROOT, 'content-type': 'application/json' },
      payload,
    });
    const body = response.json<Answer['body']>();
    const detail = (body.details as { reason: string; metadata: Record<string, unknown> }[])[0];
    return { status: response.statusCode, reason: detail?.reason, metadata: detail?.metadata ?? {}, body };
  };

  it.each<[string, string, string]>([
    ['/v1/flows', `{"name":"x","parameters":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`, 'parameters TOO_DEEP'],
    ['/v1/flows', `{"name":"]]]\\"[[","parameters":${'['.repeat(33)}${']'.repeat(33)}}`, 'parameters TOO_DEEP'],
    ['/v1/events', `{"detail":${'[{"x":'.repeat(20_000)}1${'}]'.repeat(20_000)}}`, 'detail TOO_DEEP'],
    ['/v1/iam-documents/check', `{"policy":${'['.repeat(100_000)}`, 'policy TOO_DEEP'],
    [
      '/v1/iam-documents/check',
      JSON.stringify({ policy: `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}` }),
      'policy TOO_DEEP',
    ],
    ['/v1/api-keys', '['.repeat(100_000), 'body TOO_DEEP'],
    ['/v1/api-keys', `{"name":"x","scopes":[${'1,'.repeat(120_000)}1]}`, 'scopes TOO_MANY_VALUES'],
    ['/v1/api-keys', `{"name":"x","scopes":[${'"runs:read",'.repeat(300)}"x"]}`, 'scopes MAX_ITEMS'],
    ['/v1/api-keys', JSON.stringify({ name: 'x'.repeat(200_000), scopes: ['*'] }), 'name MAX_LENGTH'],
    ['/v1/flows', JSON.stringify({ name: 'x', parameters: { a: 'x'.repeat(60_000) } }), 'parameters TOO_LONG'],
    [
      '/v1/iam-documents/check',
      JSON.stringify({
        policy: {
          Version: '2012-10-17',
          Statement: { Effect: 'Allow', Action: '*', Resource: `arn:${'x'.repeat(11_000)}` },
        },
      }),
      'policy POLICY_LENGTH',
    ],
  ])('that is too large or too deep is rejected with the field: %s %#', async (url, payload, expected) => {
    const { status, body } = await send(url, payload);
    expect(status).toBe(400);
    const problems = (body.details as { metadata: { field: string; rule: string; description: string } }[]).map(
      ({ metadata }) => metadata,
    );
    expect(problems.map(({ field, rule }) => `${field} ${rule}`)).toContain(expected);
    // The limit is in the message.
    expect(problems.find(({ field, rule }) => `${field} ${rule}` === expected)!.description).toMatch(/\d/);
  });

  it('with a policy of hundreds of buckets or a manifest of thousands of samples is answered', async () => {
    const Resource = Array.from({ length: 380 }, (_, at) => `arn:aws:s3:::bucket-${at}`);
    const policy = { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: 's3:*', Resource } };
    const checked = await call(ROOT, 'POST', '/v1/iam-documents/check', { policy });
    expect([checked.status, (checked.body.locations as object[]).length]).toEqual([200, 380]);
    const rows = Array.from(
      { length: 10_000 },
      (_, at) => `S${at},${Array.from({ length: 8 }, (__, base) => 'ACGT'[(at >> (2 * base)) & 3]).join('')}\n`,
    );
    const manifest = { content: `[Samples]\nSampleName,Index1\n${rows.join('')}` };
    expect((await start(ROOT, { runId: ids.run, manifest })).status).toBe(201);
    const wrong = await start(ROOT, { runId: ids.run, manifest: { content: `${manifest.content}S1,XX\n` } });
    expect([wrong.status, wrong.metadata.field, wrong.metadata.rule]).toEqual([
      400,
      'manifest.content',
      'MANIFEST_INDEX_CHARACTERS',
    ]);
  });

  it('that repeats a request gets the first answer, also when its manifest would be rejected by now', async () => {
    const { db } = api.postgres;
    const repeat = async (): Promise<Answer> => {
      const response = await api.app.inject({
        method: 'POST',
        url: '/v1/executions',
        headers: { 'x-api-key': ROOT, 'idempotency-key': 'with-manifest' },
        payload: {
          flowId: ids.flow,
          runId: ids.run,
          manifest: { content: '[Samples]\nSampleName,Index1\nS1,ACGT\nS2,CCCC\n' },
        },
      });
      return { status: response.statusCode, body: response.json() } as Answer;
    };
    const first = await repeat();
    expect(first.status).toBe(201);
    await db
      .updateTable('runs')
      .set({
        run_parameters: JSON.stringify({
          runName: 'R1',
          instrumentName: 'AV1',
          runType: 'Sequencing',
          cycles: { I1: 8, R1: 10 },
          readOrder: [],
          tiles: [],
          consumables: {},
        }) as never,
      })
      .where('id', '=', ids.run!)
      .execute();
    const again = await repeat();
    expect([again.status, again.body]).toEqual([201, first.body]);
    const fresh = await start(ROOT, {
      runId: ids.run,
      manifest: { content: '[Samples]\nSampleName,Index1\nS1,ACGT\nS2,CCCC\n' },
    });
    expect([fresh.status, fresh.metadata.rule]).toEqual([400, 'MANIFEST_INDEX_LENGTH']);
  });
});
