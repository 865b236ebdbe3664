import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CreateRoleCommand, DeleteRoleCommand, GetRoleCommand, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import type { S3Client } from '@aws-sdk/client-s3';
import {
  CreateBucketCommand,
  GetBucketPolicyCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
} from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import type { FastifyInstance } from 'fastify';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { buildApp } from '../api/app.js';
import { createActivities } from '../activities/index.js';
import { AwsSessions } from '../aws/sessions.js';
import { adminClients } from '../cli/customer.js';
import type { Stack } from '../local/stack.js';
import { type Db, openDatabase } from '../store/database.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { createLocalKey } from '../encryption/keys.js';
import { Secrets } from '../store/secrets.js';
import { Orchestrator } from '../temporal/client.js';
import { taskQueues } from '../workflows/messages/taskQueues.js';
import { answerChecker, type OpenApi } from './openapi.js';
import { waitFor } from './support.js';
import { startTestStack, workflowSource, logErrorsOnly, WORKER_SETTINGS } from './testStack.js';

// Real PostgreSQL, Temporal and the enforcing AWS. Two APIs and two workers run in this process, each with its own
// connections.
const KEY = 'root-key-0123456789-abcdefgh';
export const region = 'us-west-2';
const OWN = '111122223333';
export const PARTNER = '444455556666';
export const QUEUE = 'polony';

export interface Grant {
  id: string;
  principal: string;
  prefix: string | null;
  uri: string;
  state: string;
  problem: { kind: string; message: string; action: string | null; statement: object | null } | null;
  warnings: { code: string; message: string; key: string | null; statement: object | null }[];
  statements: { Sid: string; Action?: string[] }[];
  foundStatements?: object[];
  timeExpires: string | null;
  description: string;
  createdBy: string;
}
export interface Body {
  verification?: { permissions: { action: string; result: string }[] };
  accessGrant: Grant;
  accessGrants: Grant[];
  foreignStatements: { sid: string; principal: string | null }[];
  policyProblem: { kind: string; message: string; remedy: string } | null;
  nextPageToken: string;
  storageConnection: { id: string };
  provider: { id: string };
  message: string;
  details: { reason: string; metadata: Record<string, unknown> }[];
  entries: {
    action: string;
    caller: { kind: string; name: string };
    reason: string | null;
    timeEnded: string | null;
    requestId: string;
    detail: Record<string, unknown> | null;
  }[];
  key: string;
}
interface Answer {
  status: number;
  body: Body;
  reason: string | undefined;
  metadata: Record<string, unknown>;
}

let stateDir: string;
let stack: Stack;
let connection: Connection;
export let temporal: Client;
export let admin: ReturnType<typeof adminClients>;
export let apps: { app: FastifyInstance; db: Db; aws: AwsSessions }[] = [];
export const workers: { worker: Worker; run: Promise<void>; db: Db; aws: AwsSessions; native: NativeConnection }[] = [];
let check: ReturnType<typeof answerChecker>;
/**
 * Intercepts the calls of the workers to S3, by command, if a test sets it. A return value of undefined lets the call
 * through.
 */
type Interceptor = (command: string, input: { Bucket?: string; Policy?: string }) => Promise<void> | void;
let intercept: Interceptor | undefined;
export function interceptS3(interceptor: Interceptor | undefined): void {
  intercept = interceptor;
}
const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);

export async function startWorker(): Promise<void> {
  const db = openDatabase(stack.info.databaseUrl, 5);
  const aws = new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) });
  const known = new WeakSet<S3Client>();
  const watched = new Proxy(aws, {
    get: (target, name: keyof AwsSessions) => {
      const member = (target as unknown as Record<string, unknown>)[name];
      if (typeof member !== 'function') return member;
      if (name !== 's3') return (member as (...args: unknown[]) => unknown).bind(target) as unknown;
      return (...args: [string, string]) => {
        const s3 = target.s3(...args);
        if (!known.has(s3)) {
          known.add(s3);
          s3.middlewareStack.add(
            (next, context) => async (command) => {
              await intercept?.(context.commandName as string, command.input as { Bucket?: string; Policy?: string });
              return next(command);
            },
            { step: 'initialize' },
          );
        }
        return s3;
      };
    },
  });
  const { main: activities } = createActivities({
    db,
    aws: watched,
    orchestrator: new Orchestrator(temporal, QUEUE),
    settings: WORKER_SETTINGS,
    watching: { register: async () => undefined },
  });
  // Each worker needs its own connection: one connection allows only one worker for each task queue.
  const native = await NativeConnection.connect({ address: stack.info.temporalAddress });
  const worker = await Worker.create({
    connection: native,
    taskQueue: taskQueues(QUEUE).main,
    ...workflowSource(),
    activities,
  });
  workers.push({ worker, run: worker.run(), db, aws, native });
}
export async function stopWorkers(): Promise<void> {
  for (const { worker, run, db, aws, native } of workers.splice(0)) {
    worker.shutdown();
    await run;
    await native.close();
    aws.close();
    await db.destroy();
  }
}

let turn = 0;
/** Every answer must match the served document. The two APIs receive requests in turn. */
export async function call(
  method: string,
  url: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { app } = apps[turn++ % apps.length]!;
  const response = await app.inject({
    method: method as 'GET',
    url,
    headers: { 'x-api-key': KEY, ...headers },
    ...(body !== undefined && { payload: body }),
  });
  const answer = (response.body === '' ? undefined : JSON.parse(response.body)) as Body;
  expect(check(method, url, response.statusCode, answer)).toEqual([]);
  return {
    status: response.statusCode,
    body: answer,
    reason: answer?.details?.[0]?.reason,
    metadata: answer?.details?.[0]?.metadata ?? {},
  };
}

/** A client of an account as its root user. ministack takes the account number as the access key of the root user. */
export const of = (account: string) => ({
  region,
  endpoint: stack.aws.endpoint,
  credentials: { accessKeyId: account, secretAccessKey: stack.aws.adminSecretAccessKey },
});

export interface Lab {
  bucket: string;
  providerId: string;
  storageId: string;
  grants: string;
  roleName: string;
  allow: (actions: string[]) => Promise<void>;
}
let count = 0;
export const SHARING = ['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy'];
/** A bucket of the customer with some files, and its storage connection. */
export async function lab(prefix = ''): Promise<Lab> {
  const suffix = `share-${++count}`;
  const bucket = `lab-${suffix}`;
  await admin.s3.send(
    new CreateBucketCommand({ Bucket: bucket, CreateBucketConfiguration: { LocationConstraint: region } }),
  );
  // The default of new buckets, except that public policies are allowed.
  await admin.s3.send(
    new PutPublicAccessBlockCommand({
      Bucket: bucket,
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        IgnorePublicAcls: true,
        BlockPublicPolicy: false,
        RestrictPublicBuckets: false,
      },
    }),
  );
  for (const Key of ['runs/A/x.txt', 'runs/B/x.txt', 'runs-secret/x.txt'])
    await admin.s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }));
  const roleName = `polony-${suffix}`;
  await admin.iam.send(
    new CreateRoleCommand({
      RoleName: roleName,
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: `arn:aws:iam::${stack.aws.serviceAccountId}:root` },
            Action: 'sts:AssumeRole',
            Condition: { StringEquals: { 'sts:ExternalId': 'lab-7f3a' } },
          },
        ],
      }),
    }),
  );
  const allow = async (Action: string[]): Promise<void> => {
    await admin.iam.send(
      new PutRolePolicyCommand({
        RoleName: roleName,
        PolicyName: 'polony',
        PolicyDocument: JSON.stringify({
          Version: '2012-10-17',
          Statement: [{ Effect: 'Allow', Action: ['s3:ListBucket', ...Action], Resource: `arn:aws:s3:::${bucket}` }],
        }),
      }),
    );
  };
  await allow(SHARING);
  const provider = await call('POST', '/v1/providers', {
    name: suffix,
    defaultRegion: region,
    credentialType: 'role',
    roleArn: `arn:aws:iam::${OWN}:role/${roleName}`,
    externalId: 'lab-7f3a',
  });
  expect(provider.status).toBe(201);
  const storage = await call('POST', '/v1/storage-connections', {
    name: suffix,
    providerId: provider.body.provider.id,
    region,
    bucket,
    prefix,
    useForRunUpload: false,
    useForDataExploration: true,
  });
  const storageId = storage.body.storageConnection.id;
  return {
    bucket,
    providerId: provider.body.provider.id,
    storageId,
    grants: `/v1/storage-connections/${storageId}/access-grants`,
    roleName,
    allow,
  };
}

export const policyOf = async (bucket: string): Promise<string | undefined> =>
  admin.s3.send(new GetBucketPolicyCommand({ Bucket: bucket })).then(
    ({ Policy }) => Policy,
    (error: { name?: string }) => {
      if (error.name === 'NoSuchBucketPolicy') return undefined;
      throw error;
    },
  );
export const statementsOf = async (bucket: string): Promise<{ Sid?: string }[]> =>
  (JSON.parse((await policyOf(bucket)) ?? '{"Statement":[]}') as { Statement: { Sid?: string }[] }).Statement;
export const setPolicy = (bucket: string, policy: unknown): Promise<unknown> =>
  admin.s3.send(
    new PutBucketPolicyCommand({
      Bucket: bucket,
      Policy: typeof policy === 'string' ? policy : JSON.stringify(policy),
    }),
  );
export const account = (at: number): string => `arn:aws:iam::${String(700_000_000_000 + at)}:root`;
export const grant = async (at: Lab, body: object, headers?: Record<string, string>): Promise<Answer> =>
  call('POST', at.grants, body, headers);
/**
 * Creates a grant and waits until it is no longer pending, also if that takes longer than the API waits on a slow machine.
 * It may have expired by then.
 */
export const settled = async (at: Lab, body: object): Promise<Grant> => {
  const { status, body: answer } = await grant(at, body);
  expect(status, JSON.stringify(answer)).toBe(201);
  const made: Grant = answer.accessGrant;
  if (made.state !== 'pending') return made;
  return waitFor(`${made.id} to be settled`, async () => {
    const now = await stateOf(at, made.id);
    return now.state !== 'pending' && now;
  });
};
/** Creates a grant and waits as {@link settled} does. It is active. */
export const granted = async (at: Lab, body: object): Promise<Grant> => {
  const made = await settled(at, body);
  expect(made.state).toBe('active');
  return made;
};
/** Removes a grant and waits as {@link granted} does. */
export const removed = async (at: Lab, id: string): Promise<void> => {
  const { status } = await call('DELETE', `${at.grants}/${id}`);
  expect([202, 204]).toContain(status);
  if (status === 202)
    await waitFor(`${id} to be removed`, async () => (await call('GET', `${at.grants}/${id}`)).status === 404);
};
/** Creates a role in the customer's account. @returns its ARN. */
export const createRole = async (RoleName: string): Promise<string> => {
  const AssumeRolePolicyDocument = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: OWN }, Action: 'sts:AssumeRole' }],
  });
  return (await admin.iam.send(new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument }))).Role!.Arn!;
};
/** Deletes a role, after which the policies that name it show its unique ID. @returns that ID. */
export const deleteRole = async (RoleName: string): Promise<string> => {
  const { Role } = await admin.iam.send(new GetRoleCommand({ RoleName }));
  await admin.iam.send(new DeleteRoleCommand({ RoleName }));
  return Role!.RoleId!;
};

export const stateOf = async (at: Lab, id: string): Promise<Grant> =>
  (await call('GET', `${at.grants}/${id}`)).body.accessGrant;

/** The policy of the customer. A JSON parser and writer would not preserve its spelling and its numbers. */
export const theirs = (bucket: string): string =>
  `{"Id":"theirs","Statement":[{"Sid":"Public, [as] it {is}","Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:ListBucketVersions","Resource":"arn:aws:s3:::${bucket}","Condition":{"NumericLessThan":{"s3:max-keys":12345678901234567890}}},{"Effect":"Deny","NotPrincipal":{"AWS":["${OWN}","${PARTNER}"]},"Action":["s3:DeleteBucket"],"Resource":"arn:aws:s3:::${bucket}"}],"Version":"2008-10-17"}`;

/** Starts the stack, two APIs and two workers before the tests of a file, and stops them afterwards. */
export function useGrantStack(): void {
  beforeAll(async () => {
    logErrorsOnly();
    stateDir = mkdtempSync(path.join(tmpdir(), 'polony-sharing-'));
    stack = await startTestStack({ stateDir, processes: false });
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: stack.aws.endpoint,
      AWS_ACCESS_KEY_ID: stack.aws.serviceAccessKeyId,
      AWS_SECRET_ACCESS_KEY: stack.aws.serviceSecretAccessKey,
    });
    admin = adminClients(stack.info);
    connection = await Connection.connect({ address: stack.info.temporalAddress });
    temporal = new Client({ connection });
    for (let at = 0; at < 2; at++) {
      const db = openDatabase(stack.info.databaseUrl, 10);
      const aws = new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) });
      const app = await buildApp({
        db,
        secrets,
        aws,
        databaseUrl: stack.info.databaseUrl,
        orchestrator: new Orchestrator(temporal, QUEUE),
        apiKey: KEY,
        errorDomain: 'polony',
      });
      apps.push({ app, db, aws });
    }
    check = answerChecker(
      (
        await apps[0]!.app.inject({ method: 'GET', url: '/openapi.json', headers: { 'x-api-key': KEY } })
      ).json<OpenApi>(),
    );
    await startWorker();
    await startWorker();
  });
  afterEach(() => {
    intercept = undefined;
  });
  afterAll(async () => {
    await stopWorkers();
    for (const { app, db, aws } of apps) {
      await app.close();
      aws.close();
      await db.destroy();
    }
    apps = [];
    await connection?.close();
    await stack?.stop();
    rmSync(stateDir, { recursive: true, force: true });
  });
}
