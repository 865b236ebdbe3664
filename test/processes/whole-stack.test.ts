import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, apiClient, setUpCustomer } from '../../cli/customer.js';
import { createGuardian, type Guardian, processStart } from '../../local/guardian.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import { controlOmics } from '../../local/omics/control.js';
import { startPostgres } from '../../local/postgres.js';
import { type LocalInfo, readLocalInfo } from '../../local/stackFiles.js';
import { waitFor } from '../support.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** polony's own account in the local AWS, as on the vendor's page. */
const SERVICE_ACCOUNT = '588258415937';

interface Running {
  home: string;
  /** The process of npm or of the command itself. */
  process: ChildProcess;
  output: () => string;
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  info: LocalInfo;
}
interface Execution {
  execution: { id: string; status: string; statusDescription: string };
  details: { healthOmics: { runId: string } | null };
}

const homes = [
  mkdtempSync(path.join(tmpdir(), 'polony-whole-a-')),
  mkdtempSync(path.join(tmpdir(), 'polony-whole-b-')),
] as const;
const started: ChildProcess[] = [];

/** Starts `npm run local` or its command alone, in a process group of its own, as a shell does. */
function launch(home: string, how: 'npm' | 'command'): Omit<Running, 'info'> {
  const [command, args] =
    how === 'npm' ? ['npm', ['run', 'local']] : [process.execPath, ['--import', 'tsx', 'cli/main.ts', 'local']];
  // A user's shell does not have the variables of the npm that runs the tests.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|TEMPORAL_|AWS_|VITEST)/.test(name)),
  );
  const child = spawn(command, args, {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...env, POLONY_HOME: home },
  });
  started.push(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal })),
  );
  return { home, process: child, output: () => text, exited };
}

/** Starts a stack and waits until it has printed its addresses. */
async function start(home: string, how: 'npm' | 'command'): Promise<Running> {
  const begun = launch(home, how);
  let over = false;
  void begun.exited.then(() => (over = true));
  await waitFor(
    'the stack to print its addresses',
    () => {
      if (over) throw new Error(`The stack ended:\n${begun.output()}`);
      return begun.output().includes('Press Ctrl-C to stop the stack');
    },
    () => [begun.output(), processesOf(home), workOf(home)],
  );
  return { ...begun, info: readLocalInfo(home)! };
}

/** All processes that were started for a state folder and still run, whatever their parent is now. */
function processesOf(home: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && processStart(Number(name)) !== null)
    .flatMap((pid) => {
      try {
        const ours = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`POLONY_HOME=${home}`);
        return ours
          ? [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 120)}`]
          : [];
      } catch {
        return [];
      }
    });
}
/**
 * How much the processes for a state folder have worked, in steps of ten seconds of a processor. Beside busy processes,
 * a worker bundles its workflows for minutes without a word.
 */
function workOf(home: string): number {
  const ticks = processesOf(home).map((process) => {
    try {
      const [, fields] = readFileSync(`/proc/${process.split(' ')[0]}/stat`, 'utf8').split(') ');
      const [user, system] = fields!.split(' ').slice(11, 13);
      return Number(user) + Number(system);
    } catch {
      return 0; // It has ended.
    }
  });
  return Math.floor(ticks.reduce((sum, each) => sum + each, 0) / 1000);
}
const waitUntilNothingRuns = (home: string): Promise<boolean> =>
  waitFor(
    'all processes to end',
    () => processesOf(home).length === 0,
    () => processesOf(home),
  );

async function withTemporal<T>(info: LocalInfo, use: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address: info.temporalAddress });
  try {
    return await use(new Client({ connection, namespace: info.namespace }));
  } finally {
    await connection.close();
  }
}

/** Sends to every address of local.json a request that only the right part can answer. */
async function expectEveryAnswer(info: LocalInfo): Promise<void> {
  const key = { headers: { 'x-api-key': info.apiKey } };
  expect((await fetch(`${info.apiUrl}/readyz`)).status).toBe(200);
  expect((await fetch(`${info.apiUrl}/v1/runs`)).status).toBe(401);
  expect((await fetch(`${info.apiUrl}/v1/runs`, key)).status).toBe(200);
  expect(await (await fetch(info.openapiUrl, key)).json()).toMatchObject({
    openapi: expect.stringMatching(/^3\.1/) as string,
  });
  expect((await fetch(info.temporalUiUrl)).status).toBe(200);
  await withTemporal(info, (client) => client.workflowService.describeNamespace({ namespace: info.namespace }));
  const { s3, iam, omics } = adminClients(info);
  expect(await s3.config.region()).toBe(info.awsRegion);
  const buckets = await fetch(`${info.awsEndpoint}/_ministack/health`);
  expect(buckets.status).toBe(200);
  for (const client of [s3, iam, omics]) client.destroy();
  const database = new pg.Client({ connectionString: info.databaseUrl });
  await database.connect();
  await database.query('select 1 from executions limit 1').finally(() => database.end());
}

let one: Running;
let other: Running;
let call: ReturnType<typeof apiClient>;
let flowId: string;
let runId: string;
let object: { Bucket: string; Key: string };

const execution = (id: string): Promise<Execution> => call('GET', `/v1/executions/${id}/details`);
const inStatus = (id: string, status: string): Promise<Execution> =>
  waitFor(`execution ${id} to be ${status}`, async () => {
    const answer = await execution(id);
    if (/FAILED|CANCELED/.test(answer.execution.status)) throw new Error(answer.execution.statusDescription);
    return answer.execution.status === `EXECUTION_STATUS_${status}` && answer;
  });
/** Starts an execution whose HealthOmics run ends only after a restart, when the emulator has its normal pace again. */
async function startLongExecution(): Promise<{ id: string; healthOmicsRunId: string }> {
  const control = { url: one.info.omicsControlUrl!, secret: one.info.omicsControlSecret! };
  await controlOmics(control, 'POST', 'settings', {
    pace: { PENDING: 50, STARTING: 50, RUNNING: 3_600_000, STOPPING: 50 },
  });
  const { id } = (await call<Execution>('POST', '/v1/executions', { flowId, runId })).execution;
  return { id, healthOmicsRunId: (await inStatus(id, 'RUNNING')).details.healthOmics!.runId };
}
/** Expects after a restart that all data is there and that the execution ends with the same HealthOmics run. */
async function expectContinuation(before: LocalInfo, running: { id: string; healthOmicsRunId: string }): Promise<void> {
  const { pids: _pids, omicsControlUrl: _control, ...addresses } = one.info;
  expect(addresses).toEqual(Object.fromEntries(Object.keys(addresses).map((name) => [name, before[name]])));
  call = apiClient(one.info);
  expect((await call<{ flows: { id: string }[] }>('GET', '/v1/flows')).flows.map((flow) => flow.id)).toEqual([flowId]);
  const { s3 } = adminClients(one.info);
  expect((await s3.send(new HeadObjectCommand(object))).ContentLength).toBeGreaterThan(0);
  s3.destroy();
  const ended = await inStatus(running.id, 'COMPLETED');
  expect(ended.details.healthOmics?.runId).toBe(running.healthOmicsRunId);
}

beforeAll(async () => {
  [one, other] = await Promise.all([start(homes[0], 'npm'), start(homes[1], 'command')]);
});
afterAll(async () => {
  for (const child of started) {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // The process has already ended, as it should.
    }
  }
  for (const home of homes) {
    if (process.platform === 'linux') await waitUntilNothingRuns(home);
    rmSync(home, { recursive: true, force: true });
  }
});

describe.skipIf(process.platform !== 'linux')('two stacks side by side', () => {
  it('write all their addresses to local.json, and answer at each of them', async () => {
    for (const { info } of [one, other]) {
      for (const name of [
        'apiUrl',
        'apiKey',
        'openapiUrl',
        'temporalAddress',
        'temporalUiUrl',
        'namespace',
        'awsEndpoint',
        'awsRegion',
        'adminAccessKeyId',
        'adminSecretAccessKey',
        'databaseUrl',
      ]) {
        expect(info[name], name).toEqual(expect.stringMatching(/./));
      }
      expect(Object.keys(info.pids).sort()).toEqual([
        'api',
        'guardian',
        'ministack',
        'polony',
        'postgres',
        'temporal',
        'worker',
      ]);
      for (const pid of Object.values(info.pids)) expect(processStart(pid)).not.toBeNull();
      await expectEveryAnswer(info);
    }
    const all = [one, other].flatMap(({ info }) => [
      info.apiUrl,
      info.apiKey,
      info.temporalAddress,
      info.temporalUiUrl,
      info.awsEndpoint,
      info.adminSecretAccessKey,
      info.databaseUrl,
      ...Object.values(info.pids),
    ]);
    expect(new Set(all).size).toBe(all.length);
  });

  it('keep running when a third stack is rejected because its state folder is in use', async () => {
    const third = launch(homes[1], 'command');
    expect((await third.exited).code).toBe(1);
    expect(third.output()).toMatch(new RegExp(`already runs.*process ${other.info.pids.polony}`));
    await expectEveryAnswer(other.info);
  });

  it('stop at Ctrl-C and resume after a restart', async () => {
    const account = await setUpCustomer(one.info, SERVICE_ACCOUNT, 'whole');
    call = apiClient(one.info);
    const region = one.info.awsRegion;
    const { provider } = await call<{ provider: { id: string } }>('POST', '/v1/providers', {
      name: 'lab',
      defaultRegion: region,
      credentialType: 'role',
      roleArn: account.providerRoleArn,
      externalId: account.externalId,
    });
    await call('POST', '/v1/storage-connections', {
      name: 'runs',
      providerId: provider.id,
      region,
      bucket: account.bucket,
      prefix: account.prefix,
      useForRunUpload: true,
      useForDataExploration: true,
    });
    const { computeConnection } = await call<{ computeConnection: { id: string } }>('POST', '/v1/compute-connections', {
      name: 'omics',
      providerId: provider.id,
      executionRoleArn: account.executionRoleArn,
      region,
    });
    flowId = (
      await call<{ flow: { id: string } }>('POST', '/v1/flows', {
        name: 'b2f',
        computeConnectionId: computeConnection.id,
        sharedWorkflowId: account.workflowId,
        workflowOwnerId: account.workflowOwnerId,
        autoStart: { storageConnectionIds: [] },
      })
    ).flow.id;
    const { s3 } = adminClients(one.info);
    const simulation = simulateInstrument({
      s3,
      bucket: account.bucket,
      prefix: account.prefix,
      run: describeRun({ runName: 'WHOLE' }),
    });
    await simulation.done;
    s3.destroy();
    object = { Bucket: account.bucket, Key: `${simulation.folder.replace(/\/$/, '')}/RunUploaded.json` };
    runId = await waitFor(
      'polony to find the complete run',
      async () =>
        (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
          (run) => run.status === 'RUN_STATUS_COMPLETED',
        )?.id,
    );
    const running = await startLongExecution();
    const before = one.info;
    const workflowRun = await withTemporal(
      before,
      async (client) => (await client.workflow.getHandle(`execution/${running.id}`).describe()).runId,
    );

    // A terminal sends SIGINT to npm, its shell and the command at once. npm then sends it to the command again.
    process.kill(-one.process.pid!, 'SIGINT');
    await one.exited;
    expect(processesOf(homes[0])).toEqual([]);
    expect(existsSync(path.join(homes[0], 'local.json'))).toBe(false);
    expect(one.output()).toContain('Stopping');
    await expectEveryAnswer(other.info);

    one = await start(homes[0], 'command');
    await expectContinuation(before, running);
    expect(
      await withTemporal(
        one.info,
        async (client) => (await client.workflow.getHandle(`execution/${running.id}`).describe()).runId,
      ),
    ).toBe(workflowRun);
  });

  it('leave no process and no local.json when they are killed, and resume after a restart', async () => {
    const running = await startLongExecution();
    const before = one.info;
    process.kill(before.pids.polony!, 'SIGKILL');
    await one.exited;
    expect(readLocalInfo(homes[0])).toBeUndefined();
    // This restart comes while the guardian of the killed stack still stops its parts.
    one = await start(homes[0], 'npm');
    for (const pid of Object.values(before.pids)) expect(processStart(pid)).toBeNull();
    await expectContinuation(before, running);
  });

  it('stop when npm or the command alone gets SIGTERM', async () => {
    await expectEveryAnswer(other.info);
    one.process.kill('SIGTERM');
    process.kill(other.info.pids.polony!, 'SIGTERM');
    await waitFor('the stack to stop', () => other.output().includes('Stopping'));
    // npm and process managers send SIGTERM again. That must not cut the stop short.
    process.kill(other.info.pids.polony!, 'SIGTERM');
    expect(await other.exited).toEqual({ code: 0, signal: null });
    expect(processesOf(homes[1])).toEqual([]);
    await one.exited;
    await waitUntilNothingRuns(homes[0]);
    for (const home of homes) expect(existsSync(path.join(home, 'local.json'))).toBe(false);
  });

  it('leave nothing when they get SIGTERM or are killed before they have started', async () => {
    const [told, killed] = [launch(homes[0], 'command'), launch(homes[1], 'command')];
    await Promise.all(
      homes.map((home) =>
        waitFor('the first parts to run', () => processesOf(home).some((line) => line.includes('postgres'))),
      ),
    );
    told.process.kill('SIGTERM');
    killed.process.kill('SIGKILL');
    expect(await told.exited).toEqual({ code: 1, signal: null });
    await killed.exited;
    // The process that looks for Python ends by itself a moment later.
    await Promise.all(homes.map(waitUntilNothingRuns));
    for (const home of homes) expect(existsSync(path.join(home, 'local.json'))).toBe(false);
  });
});

it('starts PostgreSQL on another port if another process takes the chosen one first', async () => {
  const home = mkdtempSync(path.join(tmpdir(), 'polony-whole-port-'));
  const guardian = await createGuardian(home);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const taken = String((other.address() as AddressInfo).port);
  const ports: string[] = [];
  const late: Guardian = {
    pid: guardian.pid,
    stopAll: () => guardian.stopAll(),
    close: () => guardian.close(),
    spawn: (name, command, args, options) => {
      ports.push(args[args.indexOf('-p') + 1]!);
      return guardian.spawn(
        name,
        command,
        args.map((arg, index) => (args[index - 1] === '-p' && ports.length === 1 ? taken : arg)),
        options,
      );
    },
  };
  try {
    const postgres = await startPostgres({ guardian: late, stateDir: home, durable: false });
    expect(ports).toHaveLength(2);
    expect(new URL(postgres.url).port).toBe(ports[1]);
    expect(ports[1]).not.toBe(ports[0]);
  } finally {
    await guardian.close();
    other.close();
    rmSync(home, { recursive: true, force: true });
  }
});
