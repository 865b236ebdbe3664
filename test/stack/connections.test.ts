import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import { AwsSessions } from '../../aws/sessions.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { createLocalKey } from '../../encryption/keys.js';
import { Secrets } from '../../store/secrets.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { stubOrchestrator } from '../stubOrchestrator.js';

const ROOT = 'root-key-0123456789-abcdefgh';

interface Body {
  provider: { id: string };
  storageConnection: { id: string };
  details: { reason: string; metadata: { field: string; rule: string } }[];
}

let postgres: TestPostgres;
let app: FastifyInstance;
let aws: AwsSessions;
/** Makes names unique. */
let count = 0;

beforeAll(async () => {
  postgres = await startTestPostgres();
  const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);
  aws = new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(postgres.db, secrets) });
  app = await buildApp({
    db: postgres.db,
    databaseUrl: postgres.url,
    secrets,
    aws,
    orchestrator: stubOrchestrator,
    apiKey: ROOT,
    errorDomain: 'polony',
  });
});

afterAll(async () => {
  await app.close();
  aws.close();
  await postgres.stop();
});

async function call(method: 'POST' | 'PATCH', url: string, payload: object): Promise<{ status: number; body: Body }> {
  const response = await app.inject({ method, url, headers: { 'x-api-key': ROOT }, payload });
  return { status: response.statusCode, body: response.json() };
}

function createProvider(roleArn: string, defaultRegion: string) {
  const name = `provider ${++count}`;
  const fields = { name, credentialType: 'role', defaultRegion, roleArn, externalId: `lab-${count}-0123456789` };
  return call('POST', '/v1/providers', fields);
}

function createStorage(providerId: string, region: string) {
  const name = `storage ${++count}`;
  const use = { useForRunUpload: true, useForDataExploration: true };
  return call('POST', '/v1/storage-connections', { name, providerId, region, bucket: `lab-${count}`, ...use });
}

function createCompute(providerId: string, executionRoleArn: string, region = 'us-west-2') {
  return call('POST', '/v1/compute-connections', { name: `compute ${++count}`, providerId, region, executionRoleArn });
}

/** The status, and the field and rule of each problem. */
function problemsOf({ status, body }: { status: number; body: Body }): unknown[] {
  return [status, ...body.details.map(({ metadata }) => `${metadata.field} ${metadata.rule}`)];
}

describe('a provider of another partition', () => {
  let providerId: string;

  beforeAll(async () => {
    const created = await createProvider('arn:aws-us-gov:iam::111122223333:role/lab', 'us-gov-west-1');
    expect(created.status).toBe(201);
    providerId = created.body.provider.id;
  });

  it('has storage connections in its own partition only', async () => {
    expect((await createStorage(providerId, 'us-gov-east-1')).status).toBe(201);
    expect(problemsOf(await createStorage(providerId, 'us-west-2'))).toEqual([400, 'region PARTITION']);
  });

  it('has no compute connection, because HealthOmics does not exist there', async () => {
    const role = 'arn:aws:iam::111122223333:role/omics';
    expect(problemsOf(await createCompute(providerId, role))).toEqual([400, 'providerId HEALTHOMICS_PARTITION']);
    expect(problemsOf(await createCompute(providerId, role, 'us-gov-west-1'))).toEqual([
      400,
      'region HEALTHOMICS_REGION',
    ]);
  });

  it('needs a role and a default region of one partition', async () => {
    const role = 'arn:aws:iam::111122223333:role/lab';
    expect(problemsOf(await createProvider(role, 'cn-north-1'))).toEqual([400, 'roleArn PARTITION']);
    const url = `/v1/providers/${providerId}`;
    expect(problemsOf(await call('PATCH', url, { roleArn: role }))).toEqual([400, 'roleArn PARTITION']);
    expect(problemsOf(await call('PATCH', url, { defaultRegion: 'us-west-2' }))).toEqual([400, 'roleArn PARTITION']);
  });

  it('keeps its partition while it has connections', async () => {
    const { body } = await call('POST', '/v1/providers', {
      name: `provider ${++count}`,
      credentialType: 'accessKeys',
      defaultRegion: 'us-gov-west-1',
      accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'x'.repeat(40),
    });
    const url = `/v1/providers/${body.provider.id}`;
    expect((await createStorage(body.provider.id, 'us-gov-west-1')).status).toBe(201);
    expect((await call('PATCH', url, { defaultRegion: 'us-west-2' })).status).toBe(409);
    expect((await call('PATCH', url, { defaultRegion: 'us-gov-east-1' })).status).toBe(200);
  });
});

describe('limits of AWS', () => {
  let providerId: string;

  beforeAll(async () => {
    providerId = (await createProvider('arn:aws:iam::111122223333:role/lab', 'us-west-2')).body.provider.id;
  });

  it('apply to the ARN of an execution role', async () => {
    const arn = (length: number): string =>
      `arn:aws:iam::111122223333:role/${'p'.repeat(length - 42)}/${'r'.repeat(10)}`;
    expect(arn(129)).toHaveLength(129);
    expect(problemsOf(await createCompute(providerId, arn(129)))).toEqual([
      400,
      'executionRoleArn EXECUTION_ROLE_ARN_LENGTH',
    ]);
    expect((await createCompute(providerId, arn(128))).status).toBe(201);
  });

  it('apply to the characters of a prefix, which becomes part of the output URI', async () => {
    const fields = { name: `storage ${++count}`, providerId, region: 'us-west-2', bucket: 'lab' };
    const use = { useForRunUpload: true, useForDataExploration: true };
    const answer = await call('POST', '/v1/storage-connections', { ...fields, ...use, prefix: 'runs\u200b/a' });
    expect(problemsOf(answer)).toEqual([400, 'prefix PREFIX_CHARACTERS']);
  });

  it('apply to the keys of run folders and manifests, in bytes', async () => {
    const long = `s3://lab/${'ラ'.repeat(400)}`;
    const flowId = '01920000-0000-7000-8000-000000000002';
    const folder = await call('POST', '/v1/executions', { flowId, runFolderUri: long });
    expect(problemsOf(folder)).toEqual([400, 'runFolderUri KEY_LENGTH']);
    const manifest = await call('POST', '/v1/executions', { flowId, runId: flowId, manifest: { uri: long } });
    expect(problemsOf(manifest)).toEqual([400, 'manifest.uri KEY_LENGTH']);
  });
});
