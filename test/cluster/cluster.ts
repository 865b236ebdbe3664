import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { connectAccount, setUpCustomer, adminClients } from '../../cli/customer.js';
import { type LocalAws, startLocalAws } from '../../local/aws.js';
import { createGuardian, type GuardedChild, type Guardian, untilReady } from '../../local/guardian.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import { processEnvironment } from '../../local/polonyProcesses.js';
import { freePort } from '../../local/ports.js';
import { type LocalPostgres, startPostgres } from '../../local/postgres.js';
import type { LocalInfo } from '../../local/stackFiles.js';
import { openTemporal } from '../../temporal/connection.js';
import { Deployments } from '../../temporal/deployments.js';
import {
  ANSWER_MS,
  type Call,
  compareWithRuns,
  createCarefulClient,
  emptyOutcome,
  type Outcome,
  waitUntilEnded,
} from '../faults/outcome.js';
import { makeCertificates, SERVER_NAME } from './certificates.js';
import type { ServerPrograms } from './goTools.js';
import { createTemporalServer, type TemporalServer } from './temporalServer.js';

const run = promisify(execFile);
const DEPLOYMENT = 'polony';

export interface ClusterOptions {
  executions: number;
  programs: ServerPrograms;
  /** The compiled command line. */
  cliFile: string;
  onProgress?: (line: string) => void;
}

/** The result. All counts but `executions`, `runs` and `faults` must be 0. */
export interface ClusterReport extends Outcome {
  /** How many faults of each kind were injected. */
  faults: Record<string, number>;
  /** Payloads in the histories that are not encrypted. */
  readablePayloads: number;
  /** Whether the last worker of the old version ended by itself, once no workflow needed it. */
  oldVersionEnded: boolean;
}

/** Two APIs and three workers with a Temporal cluster on PostgreSQL. */
class Cluster {
  readonly apis: { url: string; port: number; child: GuardedChild }[] = [];
  readonly workers: GuardedChild[] = [];
  readonly faults: Record<string, number> = {};

  constructor(
    readonly guardian: Guardian,
    public postgres: LocalPostgres,
    readonly aws: LocalAws,
    readonly temporal: TemporalServer,
    readonly env: Record<string, string>,
    private readonly cliFile: string,
    private readonly stateDir: string,
  ) {}

  count(kind: string): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
  }

  async runCommand(args: string[], env: Record<string, string> = {}): Promise<string> {
    const { stdout } = await run(process.execPath, [this.cliFile, ...args], {
      env: { ...process.env, ...this.env, ...env },
    });
    return stdout;
  }

  async startApi(at: number): Promise<void> {
    const port = this.apis[at]?.port ?? (await freePort());
    const url = `http://127.0.0.1:${port}`;
    const child = this.#spawn(`api-${at}`, 'api', { POLONY_PORT: String(port) });
    this.apis[at] = { url, port, child };
    await untilReady(child, async () => (await fetch(`${url}/readyz`)).ok);
  }

  /** Starts a worker in place of the one that ran there. @param version its build ID */
  async startWorker(at: number, version: string, env: Record<string, string> = {}): Promise<void> {
    const child = this.#spawn(`worker-${at}`, 'worker', { POLONY_BUILD_ID: version, ...env });
    this.workers[at] = child;
    await untilReady(child, async () => child.logTail(1 << 20).includes('worker is running'));
  }

  promote(version: string): Promise<string> {
    return this.runCommand(['promote'], { POLONY_BUILD_ID: version });
  }

  /** Sends a request to one API after the other. */
  get call(): Call {
    return createCarefulClient(this.env.POLONY_API_KEY!, (attempt) => this.apis[attempt % this.apis.length]!.url);
  }

  async killPostgres(): Promise<void> {
    const port = Number(new URL(this.postgres.url).port);
    await this.postgres.kill();
    this.postgres = await startPostgres({
      guardian: this.guardian,
      stateDir: this.stateDir,
      durable: false,
      preferredPort: port,
    });
  }

  async kill(child: GuardedChild): Promise<void> {
    child.kill();
    await child.exited;
  }

  #spawn(name: string, command: string, env: Record<string, string>): GuardedChild {
    return this.guardian.spawn(name, process.execPath, [this.cliFile, command], { env: { ...this.env, ...env } });
  }
}

const newKey = (): string => randomBytes(32).toString('base64');

async function startCluster(stateDir: string, guardian: Guardian, options: ClusterOptions): Promise<Cluster> {
  const certificatesFolder = path.join(stateDir, 'certificates');
  mkdirSync(certificatesFolder);
  const certificates = makeCertificates(certificatesFolder);
  const [postgres, aws] = await Promise.all([
    startPostgres({ guardian, stateDir, durable: false }),
    startLocalAws({
      guardian,
      stateDir,
      persist: true,
      omics: { pace: { PENDING: 200, STARTING: 200, RUNNING: 4000, STOPPING: 200 } },
    }),
  ]);
  const folder = path.join(stateDir, 'temporal-server');
  const temporal = await createTemporalServer(folder, guardian, options.programs, postgres, certificates);
  const { address, namespace } = temporal.settings;
  const keys = { apiKey: `polony_${randomBytes(24).toString('hex')}`, encryptionKey: newKey() };
  const servers = { postgres, aws, temporal: { address, namespace } } as Parameters<typeof processEnvironment>[0];
  const env = {
    ...processEnvironment(servers, keys),
    TEMPORAL_TLS_SERVER_CA_CERT_PATH: certificates.authority,
    TEMPORAL_TLS_SERVER_NAME: SERVER_NAME,
    TEMPORAL_TLS_CLIENT_CERT_PATH: certificates.client.certFile,
    TEMPORAL_TLS_CLIENT_KEY_PATH: certificates.client.keyFile,
    POLONY_DEPLOYMENT_NAME: DEPLOYMENT,
    // Executions stay on the version they began with, so that the old version has work to drain.
    POLONY_PINNED_WORKFLOWS: 'bases2fastq',
    POLONY_SWEEP_SECONDS: '5',
  };
  return new Cluster(guardian, postgres, aws, temporal, env, options.cliFile, stateDir);
}

/** Connects an account and lets an instrument upload a run. @returns what starting executions of it needs */
async function prepareRun(cluster: Cluster): Promise<{ flowId: string; runId: string }> {
  const { aws, call } = cluster;
  const info = {
    awsRegion: aws.region,
    awsEndpoint: aws.endpoint,
    adminAccessKeyId: aws.adminAccessKeyId,
    adminSecretAccessKey: aws.adminSecretAccessKey,
  } as LocalInfo;
  const account = await setUpCustomer(info, aws.serviceAccountId, 'cluster');
  const { flowId } = await connectAccount(call, account);
  const { s3 } = adminClients(info);
  const { bucket, prefix } = account;
  const run = describeRun({
    runName: 'CLUSTER',
    cycles: { R1: 1 },
    samples: [{ name: 'one', index1: '', index2: '' }],
    bytesPerCycle: 16,
  });
  await simulateInstrument({ s3, bucket, prefix, run }).done;
  s3.destroy();
  for (;;) {
    const { runs } = await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs');
    const found = runs.find(({ status }) => status === 'RUN_STATUS_COMPLETED');
    if (found !== undefined) return { flowId, runId: found.id };
    await setTimeout(200);
  }
}

/** Starts executions one after the other and cancels every tenth. @returns their ids */
async function startExecutions(
  { call, count }: Pick<Cluster, 'call' | 'count'>,
  executions: number,
  target: { flowId: string; runId: string },
): Promise<string[]> {
  const ids: string[] = [];
  const cancels: Promise<unknown>[] = [];
  for (let at = 0; at < executions; at++) {
    const key = `cluster-${at}`;
    const { execution } = await call<{ execution: { id: string } }>('POST', '/v1/executions', target, key);
    ids.push(execution.id);
    if (at % 10 === 9) {
      count('cancels');
      cancels.push(
        setTimeout(at * 20).then(() =>
          call('POST', `/v1/executions/${execution.id}/cancel`, { reason: 'cluster' }).catch((error: unknown) =>
            // The execution had already ended.
            / 409 /.test(String(error)) ? undefined : Promise.reject(error as Error),
          ),
        ),
      );
    }
    await setTimeout(300);
  }
  await Promise.all(cancels);
  return ids;
}

/** Kills each process in turn, and replaces the workers by another version, one after the other. */
async function disturb(cluster: Cluster, newKeys: string, onProgress: (line: string) => void): Promise<void> {
  const { workers, temporal } = cluster;
  const step = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    onProgress(`  ${what}`);
    await work();
    cluster.count(what.replace(/ \d$/, ''));
    await setTimeout(2000);
  };
  const restartWorker =
    (at: number, version: string, env: Record<string, string> = {}) =>
    async () => {
      await cluster.kill(workers[at]!);
      await cluster.startWorker(at, version, env);
    };
  for (const at of [0, 1])
    await step(`killing API ${at}`, async () => {
      await cluster.kill(cluster.apis[at]!.child);
      await cluster.startApi(at);
    });
  for (const at of [0, 1, 2]) await step(`killing worker ${at}`, restartWorker(at, 'one'));
  await step('killing Temporal', async () => {
    await temporal.kill();
    await temporal.start();
  });
  await step('killing PostgreSQL', () => cluster.killPostgres());
  // The new version encrypts with the new key. All processes can read both since their start.
  cluster.env.POLONY_PAYLOAD_KEYS = newKeys;
  await step('replacing worker 0', restartWorker(0, 'two'));
  await step('promoting the new version', () => cluster.promote('two'));
  await step('replacing worker 1', restartWorker(1, 'two'));
  await step('restarting the old version', restartWorker(2, 'one', { POLONY_END_WHEN_DRAINED: 'true' }));
  await step('killing worker 0', restartWorker(0, 'two'));
  for (const at of [0, 1])
    await step(`replacing API ${at}`, async () => {
      await cluster.apis[at]!.child.stop();
      await cluster.startApi(at);
    });
}

/** All payloads of all histories that are not encrypted. Search attributes stay readable. */
async function findReadablePayloads({ temporal }: Cluster): Promise<string[]> {
  const { client, connection } = openTemporal(temporal.settings);
  try {
    const found: string[] = [];
    const { executions } = await connection.workflowService.listWorkflowExecutions({
      namespace: temporal.settings.namespace,
      pageSize: 1000,
    });
    for (const { execution } of executions) {
      const history = await client.workflow.getHandle(execution!.workflowId!, execution!.runId!).fetchHistory();
      for (const event of history.events ?? [])
        for (const { place, encoding } of findPayloads(event))
          if (encoding !== 'binary/encrypted')
            found.push(`${execution!.workflowId} event ${String(event.eventId)}: ${place}`);
    }
    return found;
  } finally {
    await connection.close();
  }
}

/** Headers have the id of a request and of a trace, which no codec encrypts. Search attributes stay readable. */
const NOT_ENCRYPTED = ['searchAttributes', 'header'];

/** The SDK's core writes the names of patches itself, past the codec. They are words of polony's code. */
const PATCH_MARKER = 'core_patch';
/** The server itself gives this reason for the end of an activity that was canceled before a worker took it. */
const OF_SERVER = '"ACTIVITY_ID_NOT_STARTED"';

/** The payloads in a part of a history: where they are, and how they are encoded. */
function findPayloads(value: unknown, place = ''): { place: string; encoding: string }[] {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return [];
  const { metadata, markerName, data } = value as {
    metadata?: { encoding?: Uint8Array } | null;
    markerName?: string;
    data?: Uint8Array;
  };
  if (markerName === PATCH_MARKER || (data != null && Buffer.from(data).toString() === OF_SERVER)) return [];
  if (metadata?.encoding !== undefined) return [{ place, encoding: Buffer.from(metadata.encoding).toString() }];
  return Object.entries(value).flatMap(([name, each]) =>
    NOT_ENCRYPTED.includes(name) ? [] : findPayloads(each, `${place}.${name}`),
  );
}

/** Waits until Temporal says that no workflow needs the old version, and its worker has ended. */
async function waitForOldVersion({ temporal, workers }: Cluster): Promise<boolean> {
  const { connection } = openTemporal(temporal.settings);
  try {
    const deployments = new Deployments(connection, temporal.settings.namespace);
    for (const end = Date.now() + ANSWER_MS; Date.now() < end; await setTimeout(1000)) {
      const version = await deployments.describe({ deploymentName: DEPLOYMENT, buildId: 'one' });
      if (version?.isDrained === true) break;
    }
    const exit = await Promise.race([workers[2]!.exited, setTimeout(120_000, undefined, { ref: false })]);
    return exit?.code === 0;
  } finally {
    await connection.close();
  }
}

/**
 * Runs executions on a Temporal cluster with TLS, two APIs and three workers, while each process in turn is killed,
 * replaced by another version, and restarted, and the payload key is rotated. Then it compares the executions with the
 * log of the HealthOmics emulator.
 */
export async function runCluster(options: ClusterOptions): Promise<ClusterReport> {
  const { executions, onProgress = (): void => undefined } = options;
  const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-cluster-'));
  const guardian = await createGuardian(stateDir);
  let cluster: Cluster | undefined;
  try {
    cluster = await startCluster(stateDir, guardian, options);
    const [first, second] = [`k1=${newKey()}`, `k2=${newKey()}`];
    cluster.env.POLONY_PAYLOAD_KEYS = `${first},${second}`;
    onProgress(await cluster.runCommand(['migrate'], { DATABASE_URL: cluster.postgres.url, ...runtimeRole(cluster) }));
    await Promise.all([0, 1].map((at) => cluster!.startApi(at)));
    await Promise.all([0, 1, 2].map((at) => cluster!.startWorker(at, 'one')));
    onProgress(await cluster.promote('one'));
    const target = await prepareRun(cluster);
    const report: ClusterReport = {
      faults: cluster.faults,
      readablePayloads: 0,
      oldVersionEnded: false,
      ...emptyOutcome(executions),
    };
    const [ids] = await Promise.all([
      startExecutions({ call: cluster.call, count: (kind) => cluster!.count(kind) }, executions, target),
      disturb(cluster, `${second},${first}`, onProgress),
    ]);
    onProgress('  waiting until all executions end');
    const states = await waitUntilEnded(ids, cluster.call, Date.now() + ANSWER_MS);
    const runs = [...cluster.aws.emulator.runs.values()];
    report.runs = runs.length;
    await compareWithRuns(ids, states, runs, report, cluster.call);
    onProgress('  waiting until no workflow needs the old version');
    report.oldVersionEnded = await waitForOldVersion(cluster);
    const readable = await findReadablePayloads(cluster);
    report.readablePayloads = readable.length;
    report.details.push(...readable.slice(0, 20).map((each) => `readable payload in ${each}`));
    return report;
  } finally {
    await guardian.stopAll();
    await cluster?.aws.emulator.close();
    await guardian.close();
    rmSync(stateDir, { recursive: true, force: true });
  }
}

function runtimeRole({ postgres }: Cluster): Record<string, string> {
  const { name, password } = postgres.runtimeRole;
  return { POLONY_RUNTIME_ROLE: name, POLONY_RUNTIME_PASSWORD: password };
}
