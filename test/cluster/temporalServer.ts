import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import type { TemporalSettings } from '../../domain/settings.js';
import { type GuardedChild, type Guardian, untilReady } from '../../local/guardian.js';
import { freePort } from '../../local/ports.js';
import type { LocalPostgres } from '../../local/postgres.js';
import { toConnectionOptions } from '../../temporal/connection.js';
import { type Certificates, SERVER_NAME } from './certificates.js';
import type { ServerPrograms } from './goTools.js';

const run = promisify(execFile);
const NAMESPACE = 'polony';
const DATABASES = { temporal: 'temporal', visibility: 'temporal_visibility' };

/** A Temporal server on PostgreSQL that accepts only clients with a certificate. */
export interface TemporalServer {
  /** How clients reach it. */
  settings: TemporalSettings;
  start: () => Promise<void>;
  /** Kills it, as a crash does. */
  kill: () => Promise<void>;
}

/**
 * Creates the databases and the configuration of a Temporal server, starts it, and creates the namespace.
 * @param folder for its configuration
 */
export async function createTemporalServer(
  folder: string,
  guardian: Guardian,
  programs: ServerPrograms,
  postgres: LocalPostgres,
  certificates: Certificates,
): Promise<TemporalServer> {
  mkdirSync(folder, { recursive: true });
  await createSchemas(programs, postgres);
  const ports = await choosePorts();
  const configFile = path.join(folder, 'temporal.yaml');
  const dynamicFile = path.join(folder, 'dynamic.yaml');
  writeFileSync(dynamicFile, DYNAMIC_CONFIG);
  // JSON is YAML.
  writeFileSync(configFile, JSON.stringify(createConfig(ports, postgres, certificates, dynamicFile), null, 2));
  const settings: TemporalSettings = {
    address: `127.0.0.1:${ports.frontend.grpcPort}`,
    namespace: NAMESPACE,
    caFile: certificates.authority,
    clientCertificate: certificates.client,
    serverName: SERVER_NAME,
  };
  let child: GuardedChild | undefined;
  const start = async (): Promise<void> => {
    const server = guardian.spawn('temporal-server', programs.server, [
      ...['--config-file', configFile, '--allow-no-auth', 'start'],
    ]);
    child = server;
    await untilReady(server, () => ensureNamespace(settings));
  };
  await start();
  return {
    settings,
    start,
    kill: async () => {
      child?.kill();
      await child?.exited;
    },
  };
}

/** As `temporal-sql-tool` does for a new installation. */
async function createSchemas({ sql }: ServerPrograms, postgres: LocalPostgres): Promise<void> {
  const { hostname, port, username, password } = new URL(postgres.url);
  const env = {
    ...process.env,
    SQL_PLUGIN: 'postgres12',
    SQL_HOST: hostname,
    SQL_PORT: port,
    SQL_USER: username,
    SQL_PASSWORD: decodeURIComponent(password),
  };
  for (const [schema, database] of Object.entries(DATABASES)) {
    const tool = (...args: string[]) => run(sql, args, { env: { ...env, SQL_DATABASE: database } });
    await tool('create-database');
    await tool('setup-schema', '-v', '0.0');
    await tool('update-schema', '--schema-name', `postgresql/v12/${schema}`);
  }
}

const SERVICES = ['frontend', 'history', 'matching', 'worker'] as const;
type Ports = Record<(typeof SERVICES)[number], { grpcPort: number; membershipPort: number }>;

/** The server stores its ports as smallint. */
const [LOWEST_PORT, HIGHEST_PORT] = [20_000, 32_767];

async function choosePorts(): Promise<Ports> {
  const ports: number[] = [];
  while (ports.length < SERVICES.length * 2) {
    const wanted = randomInt(LOWEST_PORT, HIGHEST_PORT + 1);
    if (!ports.includes(wanted) && (await freePort(wanted)) === wanted) ports.push(wanted);
  }
  const entries = SERVICES.map((name, at) => [name, { grpcPort: ports[2 * at]!, membershipPort: ports[2 * at + 1]! }]);
  return Object.fromEntries(entries) as Ports;
}

/** Versions count as drained after seconds instead of minutes, and a single test may ask as often as it wants. */
const DYNAMIC_CONFIG = `
matching.wv.VersionDrainageStatusVisibilityGracePeriod: [{ value: 5s }]
matching.wv.VersionDrainageStatusRefreshInterval: [{ value: 5s }]
frontend.namespaceRPS.visibility: [{ value: 1000 }]
frontend.persistenceMaxQPS: [{ value: 20000 }]
history.persistenceMaxQPS: [{ value: 20000 }]
system.forceSearchAttributesCacheRefreshOnRead: [{ value: true }]
`;

function createConfig(ports: Ports, postgres: LocalPostgres, certificates: Certificates, dynamicFile: string): object {
  const { host, username, password } = new URL(postgres.url);
  const datastore = (databaseName: string): object => ({
    sql: {
      pluginName: 'postgres12',
      databaseName,
      connectAddr: host,
      connectProtocol: 'tcp',
      user: username,
      password: decodeURIComponent(password),
      maxConns: 20,
      maxIdleConns: 20,
    },
  });
  const { authority, server, client } = certificates;
  const trust = { serverName: SERVER_NAME, rootCaFiles: [authority] };
  const frontend = `127.0.0.1:${ports.frontend.grpcPort}`;
  return {
    log: { stdout: true, level: 'warn' },
    persistence: {
      defaultStore: 'default',
      visibilityStore: 'visibility',
      numHistoryShards: 4,
      datastores: { default: datastore(DATABASES.temporal), visibility: datastore(DATABASES.visibility) },
    },
    global: {
      membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' },
      tls: {
        frontend: {
          server: { ...server, requireClientAuth: true, clientCaFiles: [authority] },
          client: trust,
        },
        systemWorker: { ...client, client: trust },
      },
    },
    services: Object.fromEntries(SERVICES.map((name) => [name, { rpc: { ...ports[name], bindOnIP: '127.0.0.1' } }])),
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: { enabled: true, initialFailoverVersion: 1, rpcName: 'frontend', rpcAddress: frontend },
      },
    },
    publicClient: { hostPort: frontend },
    dynamicConfigClient: { filepath: dynamicFile, pollInterval: '60s' },
  };
}

const [NOT_FOUND, ALREADY_EXISTS] = [5, 6];

/** @returns whether clients can use the namespace, which this creates. */
async function ensureNamespace(settings: TemporalSettings): Promise<boolean> {
  const connection = await Connection.connect({ ...toConnectionOptions(settings), connectTimeout: 5000 });
  try {
    await connection.workflowService.describeNamespace({ namespace: NAMESPACE });
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
    await connection.workflowService
      .registerNamespace({ namespace: NAMESPACE, workflowExecutionRetentionPeriod: { seconds: 86_400 as never } })
      .catch((failure: unknown) => {
        if ((failure as { code?: unknown }).code !== ALREADY_EXISTS) throw failure;
      });
    return false;
  } finally {
    await connection.close();
  }
}
