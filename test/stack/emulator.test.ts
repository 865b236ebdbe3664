/** @module-tag long */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import {
  AcceptShareCommand,
  CancelRunCommand,
  type GetRunCommandOutput,
  GetRunCommand,
  GetWorkflowCommand,
  ListRunsCommand,
  type ListRunsCommandInput,
  ListSharesCommand,
  OmicsClient,
  StartRunCommand,
  type StartRunCommandInput,
} from '@aws-sdk/client-omics';
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, type CustomerAccount, setUpCustomer } from '../../cli/customer.js';
import { parseRunStats } from '../../domain/executions/results.js';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import { describeRun, runFiles, simulateInstrument } from '../../local/instrument.js';
import { bases2FastqFiles } from '../../local/omics/bases2fastq.js';
import { controlOmics } from '../../local/omics/control.js';
import { OmicsEmulator } from '../../local/omics/emulator.js';
import type { Fault } from '../../local/omics/faults.js';
import { OPERATIONS, type Operation, type Shape } from '../../local/omics/model.js';
import { ensurePython, type PythonInstall } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import type { LocalInfo } from '../../local/stackFiles.js';
import { HELD_MS, waitFor } from '../support.js';

const PACE = { PENDING: 40, STARTING: 40, RUNNING: 40, STOPPING: 40 };
const execute = promisify(execFile);
const plugin = fileURLToPath(new URL('../../local/ministack/polony_omics.py', import.meta.url));

let folder: string;
let guardian: Guardian;
let aws: LocalAws;
let clients: ReturnType<typeof adminClients>;
/** Like the client of the administrator, but without retries, so that the test sees each refusal. */
let omics: OmicsClient;
let account: CustomerAccount;
let runFolder: string;
let python: PythonInstall;

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
let requests = 0;
const request = (input: Partial<StartRunCommandInput> = {}): StartRunCommandInput => ({
  workflowId: account.workflowId,
  workflowOwnerId: account.workflowOwnerId,
  roleArn: account.executionRoleArn,
  outputUri: `s3://${account.bucket}/runs/out`,
  requestId: `request-${++requests}`,
  storageType: 'DYNAMIC',
  parameters: { run_dir: `s3://${account.bucket}/${runFolder}`, no_projects: true },
  ...input,
});
const start = async (input: Partial<StartRunCommandInput> = {}): Promise<string> =>
  (await omics.send(new StartRunCommand(request(input)))).id!;
const get = (id: string): Promise<GetRunCommandOutput> => omics.send(new GetRunCommand({ id }));
const inStatus = (id: string, ...statuses: string[]): Promise<GetRunCommandOutput> =>
  waitFor(`run ${id} to be ${statuses.join(' or ')}`, async () => {
    const run = await get(id);
    return statuses.includes(run.status!) && run;
  });
const ended = (id: string): Promise<GetRunCommandOutput> => inStatus(id, 'COMPLETED', 'FAILED', 'CANCELLED');
const statuses = (id: string): string[] => aws.emulator.runs.get(id)!.history.map((each) => each.status);
const refusal = (name: string, status: number, message: unknown = expect.any(String)): unknown =>
  expect.objectContaining({ name, message, $metadata: expect.objectContaining({ httpStatusCode: status }) as unknown });
const control = <T = unknown>(method: 'GET' | 'POST' | 'DELETE', where: string, body?: unknown): Promise<T> =>
  controlOmics<T>(aws.emulator.control, method, where, body);
const fault = (each: Fault): Promise<unknown> => control('POST', 'faults', each);
const policy = (...statements: unknown[]): string => JSON.stringify({ Version: '2012-10-17', Statement: statements });

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polony-emulator-'));
  guardian = await createGuardian(folder);
  [aws, python] = await Promise.all([
    startLocalAws({ guardian, stateDir: folder, omics: { pace: PACE } }),
    ensurePython(PYTHON.awsClients),
  ]);
  const info = {
    awsEndpoint: aws.endpoint,
    awsRegion: aws.region,
    adminAccessKeyId: aws.adminAccessKeyId,
    adminSecretAccessKey: aws.adminSecretAccessKey,
  } as LocalInfo;
  clients = adminClients(info);
  omics = new OmicsClient({
    region: aws.region,
    endpoint: aws.endpoint,
    disableHostPrefix: true,
    maxAttempts: 1,
    credentials: { accessKeyId: aws.adminAccessKeyId, secretAccessKey: aws.adminSecretAccessKey },
  });

  // A share gives no access before it is accepted. The check is here because all other tests need the share accepted.
  const { id, ownerId, shareId } = aws.workflow;
  const { shares } = await omics.send(
    new ListSharesCommand({ resourceOwner: 'OTHER', filter: { status: ['PENDING'], type: ['WORKFLOW'] } }),
  );
  expect(shares).toEqual([
    expect.objectContaining({
      shareId,
      resourceId: id,
      ownerId,
      status: 'PENDING',
      resourceArn: `arn:aws:omics:us-west-2:${ownerId}:workflow/${id}`,
    }),
  ]);
  await expect(omics.send(new GetWorkflowCommand({ id, workflowOwnerId: ownerId }))).rejects.toEqual(
    refusal('ResourceNotFoundException', 404),
  );
  await expect(
    omics.send(
      new StartRunCommand({
        workflowId: id,
        workflowOwnerId: ownerId,
        roleArn: `arn:aws:iam::${aws.customerAccountId}:role/any`,
        outputUri: 's3://bucket/out',
        requestId: 'early',
      }),
    ),
  ).rejects.toEqual(refusal('ResourceNotFoundException', 404));

  account = await setUpCustomer(info, aws.serviceAccountId, 'emulator');
  const simulation = simulateInstrument({
    s3: clients.s3,
    bucket: account.bucket,
    prefix: account.prefix,
    run: describeRun({ runName: 'EMU' }),
  });
  await simulation.done;
  runFolder = simulation.folder;
});

afterEach(async () => {
  if (aws === undefined) return;
  await control('DELETE', 'faults');
  await control('POST', 'settings', { pace: PACE, quotas: null, maxConcurrentRuns: null });
  // Faults of the next test must not reach runs of this one.
  await waitFor('all runs to end', () => [...aws.emulator.runs.values()].every((run) => run.stoppedAt !== undefined));
});

afterAll(async () => {
  omics?.destroy();
  await guardian?.stopAll();
  await aws?.emulator.close();
  await guardian?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('request validation', () => {
  it('uses the same service model as botocore', async () => {
    const code = `
import json, sys, botocore.session
model = botocore.session.get_session().get_service_model('omics')
def type_of(s):
    if getattr(s, 'is_document_type', False): return 'document'
    return 'string' if s.type_name == 'timestamp' else s.type_name
def shape(s):
    found = {'type': type_of(s)}
    for name in ('min', 'max', 'pattern'):
        if name in s.metadata: found[name] = s.metadata[name]
    if s.metadata.get('enum'): found['values'] = s.metadata['enum']
    if s.type_name == 'list': found['member'] = shape(s.member)
    if s.type_name == 'map': found.update(key=shape(s.key), value=shape(s.value))
    if found['type'] == 'structure': found['members'] = {k: shape(v) for k, v in s.members.items()}
    if 'location' in s.serialization: found['in'] = s.serialization['location']
    return found
out = {}
for name in sys.argv[1:]:
    op = model.operation_model(name)
    out[name] = {'method': op.http['method'], 'uri': op.http['requestUri'], 'status': op.http['responseCode'],
                 'required': op.input_shape.required_members, 'members': shape(op.input_shape)['members']}
print(json.dumps(out))`;
    const { stdout } = await execute(python.pythonBin, ['-c', code, ...Object.keys(OPERATIONS)]);
    const model = JSON.parse(stdout) as Record<string, { members: Record<string, Shape> }>;
    expect(Object.keys(model)).toHaveLength(7);
    expect(OPERATIONS as Record<string, Operation>).toEqual(model);
  });

  const long = (length: number): string => 'x'.repeat(length);
  it.each<[string, Partial<Record<keyof StartRunCommandInput, unknown>>, string]>([
    [
      'no role',
      { roleArn: undefined },
      "Value null at 'roleArn' failed to satisfy constraint: Member must not be null",
    ],
    ['no output', { outputUri: undefined }, "Value null at 'outputUri'"],
    ['an output outside S3', { outputUri: 'https://example.org/out' }, 'outputUri is not an S3 URI'],
    ['an output that is too long', { outputUri: `s3://bucket/${long(750)}` }, 'length less than or equal to 750'],
    ['a workflow that is a name', { workflowId: 'bases2fastq' }, 'regular expression pattern: [0-9]+'],
    ['a workflow id of 19 digits', { workflowId: '1'.repeat(19) }, 'length less than or equal to 18'],
    ['neither workflow nor run', { workflowId: undefined }, 'workflowId or runId'],
    ['a run to duplicate', { runId: '1000000' }, 'cannot be duplicated'],
    ['an owner of 11 digits', { workflowOwnerId: '12345678901' }, 'regular expression pattern: [0-9]{12}'],
    ['an ARN that is no role', { roleArn: 'arn:aws:iam::111122223333:user/someone' }, 'not the ARN of a role'],
    [
      'a role ARN of 129 characters',
      { roleArn: `arn:aws:iam::111122223333:role/${long(98)}` },
      'length less than or equal to 128',
    ],
    ['a storage type that is none', { storageType: 'ELASTIC' }, 'enum value set: [STATIC, DYNAMIC]'],
    ['a name of 129 characters', { name: long(129) }, 'length less than or equal to 128'],
    ['a name with a control character', { name: 'a\tb' }, 'regular expression pattern'],
    ['an empty requestId', { requestId: '' }, 'length greater than or equal to 1'],
    ['a priority below zero', { priority: -1 }, 'value greater than or equal to 0'],
    ['a storage capacity that is text', { storageCapacity: 'much' }, 'be an integer'],
    ['a tag without a key', { tags: { '': 'value' } }, "'tags.key'"],
    ['a tag whose value is too long', { tags: { key: long(257) } }, "'tags.key.value'"],
    ['parameters that are a list', { parameters: [1] }, 'be an object'],
    [
      'a parameter outside the template',
      { parameters: { run_dir: 's3://a/b', toString: 'x' } },
      'The parameter toString is not in the parameter template',
    ],
    [
      'no value for a required parameter',
      { parameters: { no_projects: true } },
      'The required parameter run_dir is missing',
    ],
  ])('rejects StartRun with %s as a ValidationException', async (_what, input, message) => {
    const before = aws.emulator.runs.size;
    await expect(omics.send(new StartRunCommand(request(input as Partial<StartRunCommandInput>)))).rejects.toEqual(
      refusal('ValidationException', 400, expect.stringContaining(message)),
    );
    expect(aws.emulator.runs.size).toBe(before);
  });

  it('validates the other operations too', async () => {
    const invalid = refusal('ValidationException', 400);
    await expect(get('not-a-number')).rejects.toEqual(invalid);
    await expect(omics.send(new CancelRunCommand({ id: '1'.repeat(19) }))).rejects.toEqual(invalid);
    await expect(
      omics.send(new GetWorkflowCommand({ id: account.workflowId, type: 'SHARED' as never })),
    ).rejects.toEqual(invalid);
    await expect(
      omics.send(new GetWorkflowCommand({ id: account.workflowId, export: ['ALL' as never] })),
    ).rejects.toEqual(invalid);
    await expect(omics.send(new ListRunsCommand({ maxResults: 101 }))).rejects.toEqual(invalid);
    await expect(omics.send(new ListRunsCommand({ maxResults: 0 }))).rejects.toEqual(invalid);
    await expect(omics.send(new ListRunsCommand({ status: 'DONE' as never }))).rejects.toEqual(invalid);
    await expect(omics.send(new ListRunsCommand({ startingToken: 'made-up' }))).rejects.toEqual(invalid);
    await expect(omics.send(new ListSharesCommand({ resourceOwner: 'ALL' as never }))).rejects.toEqual(invalid);
    await expect(omics.send(new ListSharesCommand({ resourceOwner: 'OTHER', filter: { status: [] } }))).rejects.toEqual(
      invalid,
    );
    for (const ask of [
      () => get('999'),
      () => omics.send(new CancelRunCommand({ id: '999' })),
      () => omics.send(new AcceptShareCommand({ shareId: 'nothing' })),
      () => omics.send(new GetWorkflowCommand({ id: '999' })),
    ]) {
      await expect(ask()).rejects.toEqual(refusal('ResourceNotFoundException', 404));
    }
  });

  it('answers damaged requests and keeps running', async () => {
    const secret = (JSON.parse(readFileSync(path.join(folder, 'aws', 'secrets.json'), 'utf8')) as { shared: string })
      .shared;
    const raw = (method: string, where: string, body?: string) =>
      fetch(`${aws.emulator.url}${where}`, {
        method,
        body,
        headers: {
          'x-polony-secret': secret,
          'x-polony-account': aws.customerAccountId,
          'x-polony-region': aws.region,
        },
      });
    expect((await raw('POST', '/run', '{"roleArn":')).status).toBe(400);
    expect((await raw('POST', '/run', '[]')).status).toBe(400);
    expect((await raw('PUT', '/run', '{}')).status).toBe(404);
    await expect(raw('GET', '/run/%E0%A4%A')).rejects.toThrow();
    expect((await fetch(`${aws.emulator.url}/run`)).status).toBe(403);
    expect((await raw('GET', '/run')).status).toBe(200);
  });
});

describe('a shared workflow', () => {
  it('needs its owner and its own region, and can be accepted once', async () => {
    const { id, ownerId, shareId } = aws.workflow;
    const workflow = await omics.send(new GetWorkflowCommand({ id, workflowOwnerId: ownerId, type: 'PRIVATE' }));
    expect(workflow).toMatchObject({
      id,
      status: 'ACTIVE',
      type: 'PRIVATE',
      name: 'bases2fastq',
      parameterTemplate: { run_dir: { description: expect.any(String) as string }, no_projects: { optional: true } },
    });
    const missing = refusal('ResourceNotFoundException', 404);
    await expect(omics.send(new GetWorkflowCommand({ id }))).rejects.toEqual(missing);
    await expect(start({ workflowOwnerId: undefined })).rejects.toEqual(missing);
    await expect(start({ workflowOwnerId: '999999999999' })).rejects.toEqual(missing);
    for (const none of [{ workflowType: 'READY2RUN' as const }, { workflowVersionName: 'v2' }, { cacheId: '1' }])
      await expect(start(none)).rejects.toEqual(missing);
    const elsewhere = new OmicsClient({
      region: 'eu-west-1',
      endpoint: aws.endpoint,
      disableHostPrefix: true,
      credentials: { accessKeyId: aws.adminAccessKeyId, secretAccessKey: aws.adminSecretAccessKey },
    });
    await expect(elsewhere.send(new StartRunCommand(request()))).rejects.toEqual(missing);
    expect((await elsewhere.send(new ListSharesCommand({ resourceOwner: 'OTHER' }))).shares).toEqual([]);
    elsewhere.destroy();
    await expect(omics.send(new AcceptShareCommand({ shareId }))).rejects.toEqual(refusal('ConflictException', 409));
    expect((await omics.send(new ListSharesCommand({ resourceOwner: 'OTHER' }))).shares).toMatchObject([
      { status: 'ACTIVE' },
    ]);
    expect((await omics.send(new ListSharesCommand({ resourceOwner: 'SELF' }))).shares).toEqual([]);
  });

  it('can have any status that the control API sets', async () => {
    const { id, ownerId } = aws.workflow;
    for (const status of ['CREATING', 'UPDATING', 'DELETED', 'FAILED', 'INACTIVE']) {
      await control('POST', 'workflows', { id, status });
      expect((await omics.send(new GetWorkflowCommand({ id, workflowOwnerId: ownerId }))).status).toBe(status);
      await expect(start()).rejects.toEqual(refusal('ValidationException', 400, expect.stringContaining(status)));
    }
    await control('POST', 'workflows', { id, status: 'ACTIVE' });
    await expect(control('POST', 'workflows', { id, status: 'BROKEN' })).rejects.toThrow('400');
  });

  it('can name its parameters freely', async () => {
    const { shareId } = await control<{ shareId: string }>('POST', 'workflows', {
      ...{
        id: '77',
        ownerId: aws.serviceAccountId,
        region: aws.region,
        name: 'other',
        subscriberId: aws.customerAccountId,
      },
      parameterTemplate: { input: {}, flat: { optional: true } },
      parameterNames: { runDir: 'input', noProjects: 'flat' },
    });
    await expect(start({ workflowId: '77' })).rejects.toEqual(refusal('ResourceNotFoundException', 404));
    await omics.send(new AcceptShareCommand({ shareId }));
    const id = await start({ workflowId: '77', parameters: { input: `s3://${account.bucket}/${runFolder}` } });
    expect(await ended(id)).toMatchObject({ status: 'COMPLETED' });
    const { Contents } = await clients.s3.send(
      new ListObjectsV2Command({ Bucket: account.bucket, Prefix: `runs/out/${id}/Samples/alpha/` }),
    );
    expect(Contents?.length).toBeGreaterThan(0);
  });
});

describe('a requestId', () => {
  it('returns the same run for the same request, and rejects another request', async () => {
    const input = request({
      name: 'twice',
      parameters: { run_dir: `s3://${account.bucket}/${runFolder}`, no_projects: true },
    });
    const [one, other] = await Promise.all([
      omics.send(new StartRunCommand(input)),
      omics.send(
        new StartRunCommand({
          ...input,
          parameters: { no_projects: true, run_dir: `s3://${account.bucket}/${runFolder}` },
        }),
      ),
    ]);
    expect(other).toMatchObject({ id: one.id, uuid: one.uuid, runOutputUri: one.runOutputUri });
    expect(one.runOutputUri).toBe(`${input.outputUri}/${one.id}`);
    for (const changed of [
      { name: 'other' },
      { parameters: { ...(input.parameters as object), num_unassigned: 3 } },
      { roleArn: `${account.executionRoleArn}-2` },
      { storageType: 'STATIC' as const },
    ]) {
      await expect(omics.send(new StartRunCommand({ ...input, ...changed }))).rejects.toEqual(
        refusal('ConflictException', 409),
      );
    }
    await ended(one.id!);
    expect((await omics.send(new StartRunCommand(input))).status).toBe('COMPLETED');
  });
});

describe('a run', () => {
  it('passes through every status in order and returns its request', async () => {
    const id = await start({ name: 'order', tags: { lab: 'north' }, priority: 5, runGroupId: '12', logLevel: 'ALL' });
    const run = await ended(id);
    expect(statuses(id)).toEqual(['PENDING', 'STARTING', 'RUNNING', 'STOPPING', 'COMPLETED']);
    expect(run).toMatchObject({
      ...{
        id,
        status: 'COMPLETED',
        name: 'order',
        tags: { lab: 'north' },
        priority: 5,
        runGroupId: '12',
        logLevel: 'ALL',
        storageType: 'DYNAMIC',
        retentionMode: 'RETAIN',
        workflowType: 'PRIVATE',
        workflowOwnerId: aws.serviceAccountId,
      },
      ...{
        arn: `arn:aws:omics:us-west-2:${aws.customerAccountId}:run/${id}`,
        roleArn: account.executionRoleArn,
        parameters: { run_dir: `s3://${account.bucket}/${runFolder}`, no_projects: true },
        runOutputUri: `s3://${account.bucket}/runs/out/${id}`,
      },
    });
    expect(run.failureReason).toBeUndefined();
    expect(run.creationTime!.getTime()).toBeLessThanOrEqual(run.startTime!.getTime());
    expect(run.startTime!.getTime()).toBeLessThan(run.stopTime!.getTime());
    for (const own of ['fingerprint', 'accountId', 'requestId', 'cancelRequested', 'history'])
      expect(run).not.toHaveProperty(own);
  });

  it('takes the time that the general pace or its own pace sets', async () => {
    await control('POST', 'settings', { pace: { ...PACE, STARTING: 300 } });
    await fault({ operation: 'StartRun', kind: 'pace', pace: { RUNNING: HELD_MS }, count: 1 });
    const [own, other] = [await start(), await start()];
    await ended(other);
    expect(statuses((await inStatus(own, 'RUNNING')).id!)).toEqual(['PENDING', 'STARTING', 'RUNNING']);
    for (const id of [own, other]) {
      const { startedAt, history } = aws.emulator.runs.get(id)!;
      expect(history.find((each) => each.status === 'RUNNING')!.at - startedAt!).toBeGreaterThanOrEqual(295);
    }
    aws.emulator.finish(own);
    await ended(own);
  });

  it('waits in PENDING while the maximum number of runs is active, first come first served', async () => {
    await control('POST', 'settings', { maxConcurrentRuns: 2 });
    const ids: string[] = [];
    for (let at = 0; at < 5; at++) ids.push(await start());
    let most = 0;
    await waitFor('all runs to end', () => {
      const runs = ids.map((id) => aws.emulator.runs.get(id)!);
      most = Math.max(most, runs.filter((run) => run.status !== 'PENDING' && run.stoppedAt === undefined).length);
      return runs.every((run) => run.status === 'COMPLETED');
    });
    expect(most).toBe(2);
    const events = ids
      .flatMap((id) =>
        aws.emulator.runs.get(id)!.history.map(({ status, at }) => ({
          id,
          at,
          change: status === 'STARTING' ? 1 : status === 'COMPLETED' ? -1 : 0,
        })),
      )
      .sort((one, other) => one.at - other.at || one.change - other.change);
    let running = 0;
    for (const { change } of events) expect((running += change)).toBeLessThanOrEqual(2);
    expect(events.filter((each) => each.change === 1).map((each) => each.id)).toEqual(ids);
  });

  it('starts from PENDING when the limit is raised, or ends when it is cancelled', async () => {
    await control('POST', 'settings', { maxConcurrentRuns: 0 });
    const [kept, dropped] = [await start(), await start()];
    await pause(150);
    expect([(await get(kept)).status, (await get(dropped)).status]).toEqual(['PENDING', 'PENDING']);
    await omics.send(new CancelRunCommand({ id: dropped }));
    expect(await ended(dropped)).toMatchObject({ status: 'CANCELLED' });
    expect(statuses(dropped)).toEqual(['PENDING', 'STOPPING', 'CANCELLED']);
    expect((await get(dropped)).startTime).toBeUndefined();
    await control('POST', 'settings', { maxConcurrentRuns: null });
    expect(await ended(kept)).toMatchObject({ status: 'COMPLETED' });
  });

  it('can be cancelled before its end only, and exports nothing then', async () => {
    await control('POST', 'settings', { pace: { ...PACE, RUNNING: HELD_MS, STOPPING: 5000 } });
    const id = await start();
    await inStatus(id, 'RUNNING');
    expect((await omics.send(new CancelRunCommand({ id }))).$metadata.httpStatusCode).toBe(202);
    expect((await get(id)).status).toBe('STOPPING');
    // The User Guide allows CancelRun in STOPPING too.
    await omics.send(new CancelRunCommand({ id }));
    expect(await ended(id)).toMatchObject({ status: 'CANCELLED' });
    expect(statuses(id)).toEqual(['PENDING', 'STARTING', 'RUNNING', 'STOPPING', 'CANCELLED']);
    await expect(omics.send(new CancelRunCommand({ id }))).rejects.toEqual(refusal('ConflictException', 409));
    expect(
      (await clients.s3.send(new ListObjectsV2Command({ Bucket: account.bucket, Prefix: `runs/out/${id}/` }))).KeyCount,
    ).toBe(0);
    // The service may also answer with a conflict, so a fault produces that answer.
    await fault({ operation: 'CancelRun', kind: 'conflict', count: 1 });
    await expect(omics.send(new CancelRunCommand({ id }))).rejects.toEqual(refusal('ConflictException', 409));
  });

  it('can be deleted after its end', async () => {
    const id = await start();
    await expect(control('DELETE', `runs/${id}`)).rejects.toThrow('409');
    await ended(id);
    await control('DELETE', `runs/${id}`);
    await expect(get(id)).rejects.toEqual(refusal('ResourceNotFoundException', 404));
  });

  it('is listed by page, name, status and run group, with only the members of a list', async () => {
    const ids = [];
    for (let at = 0; at < 5; at++) ids.push(await start({ name: 'listed', runGroupId: at < 2 ? '100' : '200' }));
    const list = async (input: ListRunsCommandInput) =>
      (await omics.send(new ListRunsCommand(input))).items!.map((item) => item.id);
    const found: string[] = [];
    let token: string | undefined;
    let pages = 0;
    do {
      const page = await omics.send(new ListRunsCommand({ name: 'listed', maxResults: 2, startingToken: token }));
      expect(page.items!.length).toBeLessThanOrEqual(2);
      found.push(...page.items!.map((item) => item.id!));
      token = page.nextToken;
      pages++;
    } while (token !== undefined);
    expect([pages, found]).toEqual([3, ids]);
    expect(await list({ runGroupId: '100' })).toEqual(ids.slice(0, 2));
    expect(await list({ name: 'listed', runGroupId: '200' })).toEqual(ids.slice(2));
    expect(await list({ name: 'liste' })).toEqual([]);
    expect(await list({ batchId: '1' })).toEqual([]);
    await Promise.all(ids.map(ended));
    expect(await list({ name: 'listed', status: 'COMPLETED' })).toEqual(ids);
    expect(await list({ name: 'listed', status: 'RUNNING' })).toEqual([]);
    const { items } = await omics.send(new ListRunsCommand({ name: 'listed', maxResults: 1 }));
    expect(items![0]).toMatchObject({
      id: ids[0],
      status: 'COMPLETED',
      workflowId: account.workflowId,
      storageType: 'DYNAMIC',
    });
    for (const hidden of ['roleArn', 'parameters', 'uuid', 'runOutputUri'])
      expect(items![0]).not.toHaveProperty(hidden);
  });

  it('continues after a restart of the emulator', async () => {
    const stateFile = path.join(folder, 'kept.json');
    const options = { secret: 'a secret of the test', stateFile, pace: PACE };
    const workflow = {
      id: '5',
      ownerId: '222233334444',
      region: 'eu-west-1',
      name: 'own',
      status: 'ACTIVE',
      parameterTemplate: {},
    } as const;
    const headers = {
      'x-polony-secret': options.secret,
      'x-polony-account': '222233334444',
      'x-polony-region': 'eu-west-1',
    };
    const first = new OmicsEmulator({ ...options, pace: { ...PACE, STARTING: 60_000 } });
    await first.listen();
    first.shareWorkflow(workflow, '111122223333');
    const body = JSON.stringify({
      workflowId: '5',
      roleArn: 'arn:aws:iam::222233334444:role/x',
      outputUri: 's3://bucket/out',
      requestId: 'kept',
    });
    const { id } = (await (await fetch(`${first.url}/run`, { method: 'POST', headers, body })).json()) as {
      id: string;
    };
    await waitFor('the run to start', () => first.runs.get(id)?.status === 'STARTING');
    await first.close();
    const second = new OmicsEmulator(options);
    await second.listen();
    second.faults.push({ operation: 'run', kind: 'failRun', failureReason: 'SERVICE_ERROR' });
    second.connect('http://127.0.0.1:9');
    const run = await waitFor('the run to end', () => second.runs.get(id)?.status === 'FAILED' && second.runs.get(id));
    expect(run.history.map((each) => each.status)).toEqual(['PENDING', 'STARTING', 'RUNNING', 'STOPPING', 'FAILED']);
    const again = (await (await fetch(`${second.url}/run`, { method: 'POST', headers, body })).json()) as {
      id: string;
    };
    expect(again.id).toBe(id);
    await second.close();
  });
});

describe('simulated failures', () => {
  it('throttles calls beyond the quota, separately for each operation', async () => {
    await control('POST', 'settings', { quotas: { StartRun: 0.001, GetRun: 0.001 } });
    const id = await start();
    await expect(start()).rejects.toEqual(refusal('ThrottlingException', 429, 'Rate exceeded'));
    const calls = await Promise.allSettled(Array.from({ length: 6 }, () => get(id)));
    expect(calls.filter((call) => call.status === 'fulfilled')).toHaveLength(1);
    await omics.send(new ListRunsCommand({}));
    await control('POST', 'settings', { quotas: { GetRun: 3 } });
    await waitFor('the quota to allow a call again', () => get(id).catch(() => undefined));
  });

  it.each([
    ['throttle', 'ThrottlingException', 429],
    ['internal', 'InternalServerException', 500],
    ['denied', 'AccessDeniedException', 403],
    ['conflict', 'ConflictException', 409],
    ['quota', 'ServiceQuotaExceededException', 402],
    ['timeout', 'RequestTimeoutException', 408],
  ] as const)('%s: fails the next calls with %s and HTTP %i, then none', async (kind, name, status) => {
    await fault({ operation: 'StartRun', kind, count: 2 });
    const before = aws.emulator.runs.size;
    for (let at = 0; at < 2; at++)
      await expect(start()).rejects.toEqual(
        refusal(
          name,
          status,
          kind === 'denied'
            ? expect.stringMatching(/^User: arn:.* is not authorized to perform: omics:StartRun on resource: /)
            : undefined,
        ),
      );
    expect(aws.emulator.runs.size).toBe(before);
    expect(await control('GET', 'faults')).toEqual([]);
    await omics.send(new ListRunsCommand({}));
    await start();
  });

  it('drops an answer but creates the run, and the same requestId returns it', async () => {
    await fault({ operation: 'StartRun', kind: 'dropAnswer', count: 1 });
    const input = request();
    await expect(omics.send(new StartRunCommand(input))).rejects.toMatchObject({ code: 'ECONNRESET' });
    const [run] = [...aws.emulator.runs.values()].filter((each) => each.requestId === input.requestId);
    expect((await omics.send(new StartRunCommand(input))).id).toBe(run!.id);
  });

  it('delays an answer and creates the run only then', async () => {
    await fault({ operation: 'StartRun', kind: 'slow', delayMs: 1000, count: 1 });
    const id = await start();
    const call = aws.emulator.calls.find((each) => each.operation === 'StartRun' && each.runId === id)!;
    expect(aws.emulator.runs.get(id)!.createdAt - call.at).toBeGreaterThanOrEqual(995);
    expect(await control('GET', 'faults')).toEqual([]);
  });

  it('fails a run with a given reason', async () => {
    await fault({
      operation: 'run',
      kind: 'failRun',
      failureReason: 'INSTANCE_RESERVATION_FAILED',
      statusMessage: 'no instances',
      count: 1,
    });
    const id = await start();
    expect(await ended(id)).toMatchObject({
      status: 'FAILED',
      failureReason: 'INSTANCE_RESERVATION_FAILED',
      statusMessage: 'no instances',
    });
    expect(statuses(id)).toEqual(['PENDING', 'STARTING', 'RUNNING', 'STOPPING', 'FAILED']);
    expect(await ended(await start())).toMatchObject({ status: 'COMPLETED' });
  });

  it('rejects unknown faults', async () => {
    await expect(fault({ operation: 'StartRuns', kind: 'throttle' })).rejects.toThrow('400');
    await expect(fault({ operation: 'StartRun', kind: 'explode' as never })).rejects.toThrow('kind must be one of');
    await expect(fault({ operation: 'run', kind: 'throttle' })).rejects.toThrow('operation run needs the kind failRun');
    await expect(fault({ operation: 'StartRun', kind: 'failRun' })).rejects.toThrow(
      'kind failRun needs the operation run',
    );
    await expect(fault({ operation: 'GetRun', kind: 'pace' })).rejects.toThrow(
      'kind pace needs the operation StartRun',
    );
    await expect(fault({ operation: 'StartRun', kind: 'throttle', delayMs: 10 })).rejects.toThrow(
      'delayMs needs the kind slow',
    );
    await expect(fault({ operation: 'GetRun', kind: 'denied', failureReason: 'X' })).rejects.toThrow(
      'failureReason needs the kind failRun',
    );
    await expect(fault({ operation: 'StartRun', kind: 'throttle', pace: { PENDING: 1 } })).rejects.toThrow(
      'pace needs the kind pace',
    );
  });
});

describe('the execution role', () => {
  const role = async (name: string, service: string, ...statements: unknown[]): Promise<string> => {
    await clients.iam.send(
      new CreateRoleCommand({
        RoleName: name,
        AssumeRolePolicyDocument: policy({
          Effect: 'Allow',
          Principal: { Service: service },
          Action: 'sts:AssumeRole',
        }),
      }),
    );
    if (statements.length > 0)
      await clients.iam.send(
        new PutRolePolicyCommand({ RoleName: name, PolicyName: 'data', PolicyDocument: policy(...statements) }),
      );
    return `arn:aws:iam::${aws.customerAccountId}:role/${name}`;
  };
  const may = (...actions: string[]): unknown => ({
    Effect: 'Allow',
    Action: actions,
    Resource: [`arn:aws:s3:::${account.bucket}`, `arn:aws:s3:::${account.bucket}/*`],
  });

  it.each<[string, () => Promise<Partial<StartRunCommandInput>>, string, RegExp]>([
    [
      'may not read',
      async () => ({ roleArn: await role('no-read', 'omics.amazonaws.com', may('s3:PutObject', 's3:ListBucket')) }),
      'IMPORT_FAILED',
      /RunParameters\.json.*(AccessDenied|not authorized)/,
    ],
    [
      'may not list',
      async () => ({ roleArn: await role('no-list', 'omics.amazonaws.com', may('s3:PutObject', 's3:GetObject')) }),
      'IMPORT_FAILED',
      /AccessDenied|not authorized/,
    ],
    [
      'may not write',
      async () => ({ roleArn: await role('no-write', 'omics.amazonaws.com', may('s3:GetObject', 's3:ListBucket')) }),
      'EXPORT_FAILED',
      /runs\/out\/\d+\/.*(AccessDenied|not authorized)/,
    ],
    [
      'does not trust HealthOmics',
      async () => ({ roleArn: await role('no-trust', 'ec2.amazonaws.com', may('s3:*')) }),
      'ASSUME_ROLE_FAILED',
      /trust policy/,
    ],
    [
      'does not exist',
      async () => ({ roleArn: `arn:aws:iam::${aws.customerAccountId}:role/nobody` }),
      'ASSUME_ROLE_FAILED',
      /does not exist/,
    ],
    [
      'looks for a run that is not there',
      async () => ({ parameters: { run_dir: `s3://${account.bucket}/runs/none` } }),
      'INPUT_URI_NOT_FOUND',
      /runs\/none/,
    ],
    ['is given no S3 URI', async () => ({ parameters: { run_dir: '/mnt/run' } }), 'INVALID_URI_INPUT', /\/mnt\/run/],
    [
      'writes to a bucket that is not there',
      async () => ({ outputUri: 's3://no-such-bucket-anywhere/out' }),
      'EXPORT_FAILED',
      /no-such-bucket-anywhere/,
    ],
  ])('fails the run as AWS does if it %s', async (_what, input, failureReason, message) => {
    const id = await start(await input());
    expect(await ended(id)).toMatchObject({
      status: 'FAILED',
      failureReason,
      statusMessage: expect.stringMatching(message) as string,
    });
    expect(statuses(id)).toEqual(['PENDING', 'STARTING', 'RUNNING', 'STOPPING', 'FAILED']);
  });

  it('must be passed by the caller: StartRun without iam:PassRole is denied before a run exists', async () => {
    const before = aws.emulator.runs.size;
    await clients.iam.send(new CreateUserCommand({ UserName: 'no-pass' }));
    await clients.iam.send(
      new PutUserPolicyCommand({
        UserName: 'no-pass',
        PolicyName: 'omics',
        PolicyDocument: policy(
          { Effect: 'Allow', Action: 'omics:*', Resource: '*' },
          {
            Effect: 'Allow',
            Action: 'iam:PassRole',
            Resource: account.executionRoleArn,
            Condition: { StringEquals: { 'iam:PassedToService': 'ec2.amazonaws.com' } },
          },
        ),
      }),
    );
    const { AccessKey: key } = await clients.iam.send(new CreateAccessKeyCommand({ UserName: 'no-pass' }));
    const client = new OmicsClient({
      region: aws.region,
      endpoint: aws.endpoint,
      disableHostPrefix: true,
      credentials: { accessKeyId: key!.AccessKeyId!, secretAccessKey: key!.SecretAccessKey! },
    });
    await expect(client.send(new StartRunCommand(request()))).rejects.toEqual(
      refusal('AccessDeniedException', 403, expect.stringContaining('iam:PassRole')),
    );
    client.destroy();
    expect(aws.emulator.runs.size).toBe(before);
  });
});

describe('another AWS client', () => {
  /** A user of the customer account, created as the administrator of a lab does it. The test grants its permissions. */
  async function user(name: string): Promise<{ env: Record<string, string>; grantPassRole: () => Promise<unknown> }> {
    const grant = (policyName: string, ...statements: unknown[]) =>
      clients.iam.send(
        new PutUserPolicyCommand({ UserName: name, PolicyName: policyName, PolicyDocument: policy(...statements) }),
      );
    await clients.iam.send(new CreateUserCommand({ UserName: name }));
    await grant('omics', {
      Effect: 'Allow',
      Action: ['omics:StartRun', 'omics:GetRun', 'omics:ListRuns', 'omics:GetWorkflow', 'omics:CancelRun'],
      Resource: '*',
    });
    const { AccessKey: key } = await clients.iam.send(new CreateAccessKeyCommand({ UserName: name }));
    const env = {
      PATH: process.env.PATH ?? '',
      HOME: folder,
      AWS_ENDPOINT_URL: aws.endpoint,
      AWS_REGION: aws.region,
      AWS_DEFAULT_REGION: aws.region,
      AWS_ACCESS_KEY_ID: key!.AccessKeyId!,
      AWS_SECRET_ACCESS_KEY: key!.SecretAccessKey!,
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_PAGER: '',
      // These clients put `workflows-` before the host of HealthOmics, but the host is an IP address here.
      AWS_DISABLE_HOST_PREFIX_INJECTION: 'true',
    };
    return {
      env,
      grantPassRole: () =>
        grant('pass', {
          Effect: 'Allow',
          Action: 'iam:PassRole',
          Resource: account.executionRoleArn,
          Condition: { StringEquals: { 'iam:PassedToService': 'omics.amazonaws.com' } },
        }),
    };
  }

  it('boto3 gets AccessDeniedException without iam:PassRole, and completes a run with it', async () => {
    const { env, grantPassRole } = await user('boto3');
    delete (env as Partial<typeof env>).AWS_DISABLE_HOST_PREFIX_INJECTION;
    const code = `
import json, sys, time, boto3, botocore.exceptions
from botocore.config import Config
omics = boto3.client('omics', config=Config(inject_host_prefix=False, retries={'max_attempts': 1}))
request = json.loads(sys.argv[1])
out = {'workflow': omics.get_workflow(id=request['workflowId'], workflowOwnerId=request['workflowOwnerId'])['status']}
try:
    started = omics.start_run(**request)
    while omics.get_run(id=started['id'])['status'] not in ('COMPLETED', 'FAILED', 'CANCELLED'):
        time.sleep(0.05)
    run = omics.get_run(id=started['id'])
    pages = omics.get_paginator('list_runs').paginate(PaginationConfig={'PageSize': 3})
    out.update(id=started['id'], status=run['status'], created=run['creationTime'].year,
               listed=[listed['workflowName'] for page in pages for listed in page['items']])
    narrowed = dict(request, requestId='narrowed', sessionPolicy=sys.argv[2], outputUriPrefixMode='NONE_WITH_OVERWRITE')
    started = omics.start_run(**narrowed)
    while omics.get_run(id=started['id'])['status'] not in ('COMPLETED', 'FAILED', 'CANCELLED'):
        time.sleep(0.05)
    narrowed = omics.get_run(id=started['id'])
    out['narrowed'] = {name: narrowed[name] for name in ('status', 'failureReason', 'statusMessage', 'runOutputUri')}
    out['refused'] = []
    from_file = dict(request, requestId='from-file', requesterPaysEnabled=True, parametersUri='s3://bucket/some.json')
    for parameters in ({'parameters': from_file.pop('parameters')}, {}):
        try:
            omics.start_run(**from_file, **parameters)
        except botocore.exceptions.ClientError as error:
            out['refused'].append(error.response['Error']['Message'])
    try:
        omics.cancel_run(id=out['id'])
    except omics.exceptions.ConflictException as error:
        out['cancel'] = error.response['ResponseMetadata']['HTTPStatusCode']
except botocore.exceptions.ClientError as error:
    answer = error.response
    out.update(code=answer['Error']['Code'], message=answer['Error']['Message'],
               http=answer['ResponseMetadata']['HTTPStatusCode'])
print(json.dumps(out))`;
    const input = request();
    const run = async () =>
      JSON.parse(
        (
          await execute(
            python.pythonBin,
            ['-c', code, JSON.stringify(input), policy({ Effect: 'Allow', Action: 's3:ListBucket', Resource: '*' })],
            { env },
          )
        ).stdout,
      ) as Record<string, unknown>;
    expect(await run()).toMatchObject({
      workflow: 'ACTIVE',
      code: 'AccessDeniedException',
      http: 403,
      message: expect.stringContaining('iam:PassRole') as string,
    });
    await grantPassRole();
    const passed = await run();
    expect(passed).toMatchObject({ status: 'COMPLETED', cancel: 409, created: new Date().getUTCFullYear() });
    // All runs except the one that it started after the listing. Its request has members that the JavaScript SDK of the
    // lockfile does not know.
    expect(passed.listed).toEqual(
      [...aws.emulator.runs.values()].slice(0, -1).map((run) => (run.workflowId === '77' ? 'other' : 'bases2fastq')),
    );
    expect(passed.refused).toEqual([
      'Specify either parameters or parametersUri, not both',
      expect.stringContaining('reads no parameters from a file'),
    ]);
    expect(passed.narrowed).toMatchObject({
      status: 'FAILED',
      failureReason: 'IMPORT_FAILED',
      statusMessage: expect.stringMatching(/AccessDenied|not authorized/) as string,
      runOutputUri: input.outputUri,
    });
    expect(aws.emulator.runs.get(passed.id as string)!.startedBy).toBe(
      `arn:aws:iam::${aws.customerAccountId}:user/boto3`,
    );
  });

  it('the AWS CLI gets the same answers, also for list-runs, get-workflow and cancel-run', async () => {
    const { env, grantPassRole } = await user('cli');
    // The `aws` script does the same as `python -m awscli`, but its shebang line may not work here.
    const cli = async (...args: string[]) => {
      const { stdout } = await execute(python.pythonBin, ['-m', 'awscli', 'omics', ...args, '--output', 'json'], {
        env,
      });
      return (stdout.trim() === '' ? {} : JSON.parse(stdout)) as Record<string, unknown>;
    };
    const input = request({ name: 'by the CLI' });
    const startRun = () =>
      cli(
        'start-run',
        '--workflow-id',
        input.workflowId!,
        '--workflow-owner-id',
        input.workflowOwnerId!,
        '--role-arn',
        input.roleArn!,
        '--output-uri',
        input.outputUri!,
        '--name',
        input.name!,
        '--storage-type',
        'DYNAMIC',
        '--parameters',
        JSON.stringify(input.parameters),
      );
    await expect(startRun()).rejects.toThrow(/AccessDeniedException.*StartRun.*iam:PassRole/s);
    await grantPassRole();
    const started = await startRun();
    expect(started).toMatchObject({ status: 'PENDING', arn: expect.stringContaining(':run/') as string });
    await ended(started.id as string);
    const [run, listed, cancelled] = await Promise.all([
      cli('get-run', '--id', started.id as string),
      cli('list-runs', '--name', 'by the CLI'),
      cli('cancel-run', '--id', started.id as string).catch((error: Error) => error.message),
    ]);
    expect(run).toMatchObject({ status: 'COMPLETED', runOutputUri: started.runOutputUri });
    expect(listed).toMatchObject({ items: [{ id: started.id }] });
    expect(cancelled).toContain('ConflictException');
  });
});

describe('the stand-in for Bases2Fastq', () => {
  /** What it writes for a run manifest. The other files of the run come from the simulated instrument. */
  function results(
    manifest: string | undefined,
    cycles = { I1: 8, I2: 8, R1: 12, R2: 12 },
    options = { noProjects: true },
  ) {
    const inputs = Object.fromEntries(
      [...runFiles(describeRun({ runName: 'UNIT', cycles }), 0)].map((file) => [file.path, file.content]),
    );
    const files = new Map(
      bases2FastqFiles(
        inputs['RunParameters.json']!() as string,
        manifest ?? (inputs['RunManifest.csv']!() as string),
        { ...options, analysisId: 'a' },
      ),
    );
    const text = (name: string): string => files.get(name)!.toString();
    return {
      files,
      text,
      stats: JSON.parse(text('RunStats.json')) as Stats,
      reads: (name: string): string[] =>
        gunzipSync(files.get(name) as Buffer)
          .toString()
          .trimEnd()
          .split('\n'),
    };
  }
  interface Stats {
    NumPolonies: number;
    Lanes: { Lane: number; NumPolonies: number }[];
    SampleStats: {
      SampleName: string;
      NumPolonies: number;
      Occurrences: { Lane: number; ExpectedSequence: string; NumPolonies: number }[];
      Reads: { MeanReadLength: number; PerReadGCCountHistogram: number[] }[];
    }[];
  }
  const manifest = (...lines: string[]): string => ['[Settings]', 'SettingName,Value,Lane', ...lines].join('\n');

  it('writes valid FASTQ files in the --no-projects layout as the execution role, marked as simulated', async () => {
    const id = await start();
    await ended(id);
    const prefix = `runs/out/${id}/`;
    const keys = (
      (await clients.s3.send(new ListObjectsV2Command({ Bucket: account.bucket, Prefix: prefix }))).Contents ?? []
    ).map((object) => object.Key!.slice(prefix.length));
    const samples = ['sample-1', 'sample-2', 'sample-3'];
    expect(keys.sort()).toEqual(
      [
        ...[
          'EMU_QC.html',
          'IndexAssignment.csv',
          'Metrics.csv',
          'RunManifest.csv',
          'RunManifest.json',
          'RunParameters.json',
          'RunStats.json',
          'UnassignedSequences.csv',
          'info/Bases2Fastq.log',
        ],
        ...samples.flatMap((sample) =>
          ['R1.fastq.gz', 'R2.fastq.gz', 'stats.json'].map((name) => `Samples/${sample}/${sample}_${name}`),
        ),
      ].sort(),
    );
    const read = async (name: string): Promise<Buffer> =>
      Buffer.from(
        await (
          await clients.s3.send(new GetObjectCommand({ Bucket: account.bucket, Key: prefix + name }))
        ).Body!.transformToByteArray(),
      );
    const runStats = (await read('RunStats.json')).toString();
    expect(runStats.split('\n')).toHaveLength(1);
    expect(parseRunStats(runStats)).toMatchObject({
      // Three samples, and three indexes in each lane that no sample has.
      numPolonies: 3096,
      samples: samples.map((name) => ({ name, numPolonies: 1000 })),
    });
    expect((await read('info/Bases2Fastq.log')).toString()).toMatch(/^SIMULATION: .*not by Element/);
    expect((await read('EMU_QC.html')).toString()).toContain('SIMULATION');
    const lines = gunzipSync(await read('Samples/sample-2/sample-2_R2.fastq.gz'))
      .toString()
      .trimEnd()
      .split('\n');
    expect(lines).toHaveLength(4 * 1000);
    expect(new Set(lines.filter((_line, at) => at % 4 === 0)).size).toBe(1000);
    for (let at = 0; at < lines.length; at += 4) {
      expect(lines[at]).toMatch(/^@SIMULATED:EMU:\w+:[12]:L[12]\w+:\d+:\d+ 2:N:0:GGATCCTA\+CATGCATG$/);
      expect(lines[at + 1]).toMatch(/^[ACGT]{11,12}$/);
      expect(lines[at + 2]).toBe('+');
      expect(lines[at + 3]).toHaveLength(lines[at + 1]!.length);
    }
  });

  it('writes statistics that match the files', () => {
    const { stats, reads } = results(undefined);
    const sequences = reads('Samples/sample-1/sample-1_R1.fastq.gz').filter((_line, at) => at % 4 === 1);
    const qualities = [
      ...reads('Samples/sample-1/sample-1_R1.fastq.gz')
        .filter((_line, at) => at % 4 === 3)
        .join(''),
    ].map((char) => char.charCodeAt(0) - 33);
    expect(stats.SampleStats[0]!.Reads[0]!.MeanReadLength).toBe(sequences[0]!.length);
    const gc = stats.SampleStats[0]!.Reads[0]!.PerReadGCCountHistogram;
    const counted = gc.map(
      (_count, at) => sequences.filter((sequence) => sequence.replace(/[AT]/g, '').length === at).length,
    );
    expect(gc).toEqual(counted);
    const share = (least: number): number =>
      (100 * qualities.filter((quality) => quality >= least).length) / qualities.length;
    expect(stats).toMatchObject({
      QualityScoreMean: qualities.reduce((sum, each) => sum + each, 0) / qualities.length,
      PercentQ30: share(30),
      PercentQ40: share(40),
      PercentQ50: share(50),
    });
  });

  it('writes DefaultSample for a default manifest and for a manifest without samples', () => {
    for (const text of [
      '[Samples]\nSampleName,Index1,Index2,Lane,Project\nDefaultSample,,,1+2,DefaultProject\n',
      '[RunValues]\nKeyName, Value\n',
    ]) {
      const { files, stats, text: of } = results(text);
      expect([...files.keys()].filter((name) => name.endsWith('.fastq.gz'))).toEqual([
        'Samples/DefaultSample/DefaultSample_R1.fastq.gz',
        'Samples/DefaultSample/DefaultSample_R2.fastq.gz',
      ]);
      expect(stats.SampleStats.map((sample) => sample.SampleName)).toEqual(['DefaultSample']);
      expect(JSON.parse(of('RunManifest.json'))).toMatchObject({
        Settings: [{ Lane: 1, I1MaskManifest: 'I1:N*', I1Mask: [{ Read: 'I1', Cycles: [] }] }, { Lane: 2 }],
      });
    }
  });

  it('merges several index rows of a sample into one sample, only in its lanes', () => {
    const { files, stats, text } = results(
      manifest(
        '[Samples]',
        'SampleName,Index1,Index2,Lane,Project',
        'PhiX,ACGTACGT,AAAACCCC,1,Control',
        'PhiX,CCCCAAAA,GGGGTTTT,1,Control',
        'PhiX,GGGGTTTT,ACACACAC,1,Control',
        'both,TTTTAAAA,CACACACA,,',
      ),
    );
    expect([...files.keys()].filter((name) => name.startsWith('Samples/PhiX/'))).toEqual([
      'Samples/PhiX/PhiX_R1.fastq.gz',
      'Samples/PhiX/PhiX_R2.fastq.gz',
      'Samples/PhiX/PhiX_stats.json',
    ]);
    expect(stats.SampleStats[0]).toMatchObject({
      SampleName: 'PhiX',
      NumPolonies: 1000,
      Occurrences: [
        { Lane: 1, NumPolonies: 333 },
        { Lane: 1, NumPolonies: 333 },
        { Lane: 1, NumPolonies: 334 },
      ],
    });
    // With the indexes that no sample has.
    expect(stats.Lanes.map((lane) => lane.NumPolonies)).toEqual([1548, 532]);
    const rows = text('IndexAssignment.csv')
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(','));
    expect(rows.filter((row) => row[1] === 'PhiX').map((row) => [row[4], row[5]])).toEqual([
      ['1', '333'],
      ['1', '333'],
      ['1', '334'],
    ]);
    expect(rows.filter((row) => row[1] === 'both').map((row) => [row[4], row[5]])).toEqual([
      ['1+2', '1000'],
      ['1', '500'],
      ['2', '500'],
    ]);
    expect(JSON.parse(text('RunManifest.json'))).toMatchObject({
      Samples: [
        {
          SampleName: 'PhiX',
          Indexes: [{ Lane: 1, Index1: 'ACGTACGT', Index2: 'AAAACCCC' }, { Lane: 1 }, { Lane: 1 }],
        },
        { Indexes: [{ Lane: 1 }, { Lane: 2 }] },
      ],
    });
  });

  it('accepts one index, one read, and masks', () => {
    const { files, reads, stats } = results(
      manifest('R1FastQMask,R1:N2Y*', 'I1FastQ,True', '[Samples]', 'SampleName,Index1', 'only,ACGTACGT'),
      { I1: 8, I2: 0, R1: 12, R2: 0 },
    );
    expect([...files.keys()].filter((name) => name.startsWith('Samples/'))).toEqual([
      'Samples/only/only_I1.fastq.gz',
      'Samples/only/only_R1.fastq.gz',
      'Samples/only/only_stats.json',
    ]);
    expect(reads('Samples/only/only_R1.fastq.gz')[0]).toMatch(/ 1:N:0:ACGTACGT$/);
    expect(reads('Samples/only/only_R1.fastq.gz')[1]).toHaveLength(10);
    expect(reads('Samples/only/only_I1.fastq.gz')[1]).toHaveLength(8);
    expect(stats.SampleStats[0]!.Occurrences.map((each) => each.ExpectedSequence)).toEqual(['ACGTACGT', 'ACGTACGT']);
  });

  it('rejects indexes that do not match the index cycles, unless a mask makes them match', () => {
    const sample = ['[Samples]', 'SampleName,Index1,Index2', 'short,ACGTAC,TTGACCAA'];
    expect(() => results(manifest(...sample))).toThrow(
      /RunManifest\.csv, line 5: Index1 ACGTAC of short has 6 bases, but lane 1 has 8/,
    );
    expect(results(manifest('I1Mask,I1:Y6N2', ...sample)).stats.SampleStats).toHaveLength(1);
    expect(() => results(manifest('I1Mask,I1:Y6N2,1', ...sample))).toThrow(/lane 2 has 8/);
    expect(() => results(undefined, { I1: 8, I2: 8, R1: 0, R2: 0 })).toThrow(/no cycles of R1 or R2/);
  });

  it('merges equal names in two projects into one folder only with --no-projects', () => {
    const text = manifest(
      '[Samples]',
      'SampleName,Index1,Index2,Lane,Project',
      'same,ACGTACGT,AAAACCCC,1,alpha',
      'same,CCCCAAAA,GGGGTTTT,2,beta',
    );
    expect(results(text).stats.SampleStats.map((sample) => sample.NumPolonies)).toEqual([1000]);
    const apart = results(text, undefined, { noProjects: false });
    expect([...apart.files.keys()].filter((name) => name.endsWith('R1.fastq.gz'))).toEqual([
      'Samples/alpha/same/same_R1.fastq.gz',
      'Samples/beta/same/same_R1.fastq.gz',
    ]);
  });

  it('fails the run for a manifest that Bases2Fastq rejects', async () => {
    const id = await start({
      parameters: {
        run_dir: `s3://${account.bucket}/${runFolder}`,
        run_manifest: `s3://${account.bucket}/${runFolder}/RunParameters.json`,
      },
    });
    expect(await ended(id)).toMatchObject({
      status: 'FAILED',
      failureReason: 'WORKFLOW_RUN_FAILED',
      statusMessage: expect.stringContaining('RunManifest.csv') as string,
    });
  });
});

describe('the omics plugin of ministack', () => {
  const env = {
    PATH: process.env.PATH ?? '',
    AUTH: 'true',
    OMICS_SHARED_SECRET: 'x'.repeat(16),
    OMICS_UPSTREAM: 'http://127.0.0.1:9',
  };
  /** Runs `before`, loads the plugin as a module, which checks ministack, then runs `after`; returns `out`. */
  async function load(before: string, after = ''): Promise<unknown> {
    const { pythonBin } = await ensurePython(PYTHON.ministack);
    const code = [
      'import json, sys, importlib.util',
      'out = None',
      before,
      // As if Python ran the file.
      "sys.path.insert(0, sys.argv[1].rpartition('/')[0])",
      "spec = importlib.util.spec_from_file_location('polony_omics', sys.argv[1])",
      'plugin = importlib.util.module_from_spec(spec)',
      'spec.loader.exec_module(plugin)',
      after,
      'print(json.dumps(out))',
    ].join('\n');
    const { stdout } = await execute(pythonBin, ['-B', '-c', code, plugin], { env });
    return JSON.parse(stdout.trim().split('\n').at(-1)!);
  }

  it('requires the version of ministack that the stack installs', () => {
    expect(PYTHON.ministack.packages).toContain(
      `ministack==${/^MINISTACK_VERSION = "(.+)"$/m.exec(readFileSync(plugin, 'utf8'))![1]}`,
    );
  });

  it('checks at its start every name of ministack that it uses', async () => {
    const folder = path.dirname(plugin);
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.py'));
    const source = files.map((file) => readFileSync(path.join(folder, file), 'utf8')).join('\n');
    const used = [
      ...new Set([...source.matchAll(/\bministack\.(\w+)\.(\w+)/gi)].map((match) => `${match[1]}.${match[2]}`)),
    ]
      .filter((name) => !/^(core|services)\./.test(name))
      .sort();
    expect(used.length).toBeGreaterThan(25);
    const aliases: Record<string, string> = { evaluator: 'iam_evaluator' };
    const unchecked = used.filter((each) => {
      const [module, attribute] = each.split('.') as [string, string];
      const name = aliases[module] ?? module;
      return ![`(${name}, "${attribute}"`, `("${name}", "${attribute}"`].some((entry) => source.includes(entry));
    });
    expect(unchecked).toEqual([]);
    const missing = [
      'def is_missing(module, name): return not hasattr(getattr(plugin.MINISTACK, module), name)',
      `out = [each for each in ${JSON.stringify(used)} if is_missing(*each.split('.'))]`,
    ].join('\n');
    expect(await load('', missing)).toEqual([]);
  });

  it.each([
    [
      'another version',
      "from importlib import metadata\nmetadata.version = lambda name: '9.9.9'",
      /polony_omics: needs ministack==[\d.]+, found 9\.9\.9/,
    ],
    [
      'a name that is gone',
      'from ministack.services import sts\ndel sts.register_session',
      /polony_omics: ministack [\d.]+ has no ministack\.services\.sts\.register_session/,
    ],
    [
      'a name that takes other arguments',
      'from ministack.core import iam_evaluator\niam_evaluator.enforce = lambda one: None',
      /polony_omics: ministack\.core\.iam_evaluator\.enforce of ministack [\d.]+ takes other arguments/,
    ],
  ])('stops before it serves and reports %s', async (_what, before, message) => {
    await expect(load(before)).rejects.toMatchObject({ code: 3, stderr: expect.stringMatching(message) as string });
  });
});
