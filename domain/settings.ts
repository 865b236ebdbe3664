import type { NetworkPolicy } from './webhooks/networks.js';

/** A key that encrypts secrets in the database: 32 bytes in base64, or the ARN of an AWS KMS key. */
export type EncryptionKey = { id: string; key: string } | { id: string; kmsKeyArn: string };

/** Keys that encrypt the payloads of Temporal. */
export interface PayloadKeys {
  /** Whether the first key encrypts. Every key decrypts in any case. */
  encrypts: boolean;
  keys: readonly EncryptionKey[];
}

/** How to reach Temporal. */
export interface TemporalSettings {
  /** `host:port` */
  address: string;
  namespace: string;
  /** API key of Temporal Cloud, or a token of your own cluster. Turns TLS on. */
  apiKey?: string;
  tls?: boolean;
  /** File with the certificates to trust, as PEM. */
  caFile?: string;
  /** Files with the certificate and the private key that the client shows, as PEM. */
  clientCertificate?: { certFile: string; keyFile: string };
  /** Name that the server's certificate must have, if it is not the host of the address. */
  serverName?: string;
}

/** The version of the worker's code, for Worker Versioning. */
export interface WorkerVersion {
  deploymentName: string;
  buildId: string;
}

/** How Temporal chooses the workers of a workflow. */
export interface WorkerVersioning extends WorkerVersion {
  /** Types of workflows that stay on the version they began with. */
  pinnedWorkflows: readonly string[];
  /** Whether the worker ends when no workflow needs its version any more. */
  endsWhenDrained: boolean;
}

/** Levels of the log, from the most to the least detail. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Shortest API key that polony accepts: 24 random letters and digits are more than 128 bits. */
export const MIN_API_KEY_LENGTH = 24;

/** Whether to use TLS for PostgreSQL; `address` leaves it to the address. */
export const DATABASE_TLS_MODES = ['address', 'verify', 'disable'] as const;

/** What to do with a HealthOmics run whose workflow was terminated, or which Temporal no longer knows. */
export const CLOSED_WORKFLOW_POLICIES = ['adopt', 'cancel'] as const;
export type ClosedWorkflowPolicy = (typeof CLOSED_WORKFLOW_POLICIES)[number];

/** Settings of every polony process. cli/settings/ reads them from environment variables. */
export interface CommonConfig {
  /** With what the settings say about TLS, as `sslmode` and `sslrootcert`. */
  databaseUrl: string;
  /** After how many seconds PostgreSQL ends a statement; 0 for no limit. */
  statementSeconds: number;
  /** Largest number of connections that this process opens to PostgreSQL. */
  maxDbConnections: number;
  temporal: TemporalSettings;
  /** Keys for the payloads in Temporal; absent for no encryption. */
  payloadKeys?: PayloadKeys;
  /** Prefix of the task queues, see `taskQueues` in workflows/messages.ts. */
  taskQueue: string;
  logLevel: LogLevel;
  /** `host:port` where Prometheus reads metrics; absent for no metrics. */
  metricsAddress?: string;
  /** Whether traces are sent. OpenTelemetry reads the rest of its settings itself. */
  isTracing: boolean;
  /** The first key encrypts. Every key decrypts. Empty when this installation keeps no secrets. */
  encryptionKeys: EncryptionKey[];
  /** How long something may stay blocked before polony gives it up, in days. */
  giveUpDays: number;
  /** Which addresses, besides public ones, webhooks may have. */
  webhookNetworks: NetworkPolicy;
  /** Length of the AWS sessions that polony requests, in seconds. */
  sessionSeconds: number;
  /** Whether polony uses roles that can be assumed without their external ID. */
  allowsOpenRoles: boolean;
}

/** The OpenID Connect provider whose tokens people send. */
export interface OidcConfig {
  issuer: string;
  /** The value that `aud` must contain. */
  audience: string;
  /** Where the provider publishes its keys; polony discovers the address when this is absent. */
  jwksUrl?: string;
  /** The claim that holds a person's scopes. A dot separates the names of nested members. */
  scopesClaim: string;
  /** Scopes for each value of that claim; absent when the values are scopes themselves. */
  scopeMap?: Record<string, string[]>;
}

/** The client as which the API signs people in at the OpenID Connect provider. */
export interface OidcClient {
  clientId: string;
  /** Absent for a public client. */
  clientSecret?: string;
}

/** Settings of a server where people and programs log in. */
export interface LoginConfig {
  /** The key with all permissions. */
  apiKey: string;
  /** `domain` in the details of errors. */
  errorDomain: string;
  /**
   * Which proxies may state a client's address: none, or those with these addresses. A number of hops is not
   * accepted, because any client that connects directly could then forge its address.
   */
  trustProxy: boolean | string[];
  oidc?: OidcConfig;
  /** Limit for one caller in one process; 0 for no limit. */
  requestsPerMinute: number;
  /** Failed logins of one address in one process; 0 for no limit. */
  failedLoginsPerMinute: number;
}

/** Settings of `polony codec`. */
export interface CodecConfig
  extends LoginConfig, Pick<CommonConfig, 'databaseUrl' | 'statementSeconds' | 'maxDbConnections' | 'logLevel'> {
  payloadKeys: PayloadKeys;
  host: string;
  /** 0 for any free port. */
  port: number;
  /** Origins of the pages that may read answers in a browser. */
  origins: readonly string[];
}

/** Settings of `polony migrate`. */
export interface MigrateConfig {
  databaseUrl: string;
  /** Absent where polony registers no search attributes. */
  temporal?: TemporalSettings;
  /** The role that gets the rights of the API and the workers. */
  runtimeRole?: { name: string; password?: string };
}

/** Settings of `polony promote`. */
export interface PromoteConfig {
  temporal: TemporalSettings;
  /** Prefix of the task queues that the workers of the version must poll. */
  taskQueue: string;
  version: WorkerVersion;
}

/** Settings of `polony api`. */
export interface ApiConfig extends CommonConfig, LoginConfig {
  /** A key that is valid for `POST /v1/events` only. */
  eventsKey?: string;
  host: string;
  /** 0 for any free port. */
  port: number;
  /** Where clients reach the API, without a slash at the end; absent when clients use the listening address. */
  publicUrl?: string;
  /** Whether `/openapi.json` and `/docs` are readable without a key. */
  publicApiDocs: boolean;
  /** Whether the audit log also has requests that only read. */
  auditsReads: boolean;
  /** The AWS account that polony runs in and that customers' roles trust. Without it polony writes no trust policy. */
  trustedAccountId?: string;
  /** Absent where people do not sign in at a provider. Needs `publicUrl`. */
  oidcClient?: OidcClient;
  /** Where Temporal's web page is, without a slash at the end; absent where there is none. */
  temporalUiUrl?: string;
  /** Whether the API serves the console at `/`. */
  servesConsole: boolean;
  /** Folder of another build of the console than the one that belongs to this program. */
  consoleFolder?: string;
}

/** Settings of `polony worker`. */
export interface WorkerConfig extends CommonConfig {
  /** Absent where every worker takes every task. */
  versioning?: WorkerVersioning;
  uploadPollSeconds: number;
  runPollSeconds: number;
  /** Minutes without growth after which an upload counts as stalled. */
  stalledMinutes: number;
  /** How often polony searches a storage connection for new runs, in seconds. */
  discoverSeconds: number;
  sweepSeconds: number;
  /** How often polony verifies all resources, in seconds. */
  verifySeconds: number;
  /** How many HealthOmics runs one worker watches at the same time. */
  watchSlots: number;
  activitySlots: number;
  /** How many workflows the worker keeps in memory. */
  workflowCache: number;
  /** StartRun calls per second in one account and region, for all workers together. */
  startRunsPerSecond: number;
  /** GetRun calls per second in one account and region, for all workers together. */
  getRunsPerSecond: number;
  /** Seconds before polony starts a run again after a temporary failure. The delay grows by this value each time. */
  retryRunSeconds: number;
  closedWorkflows: ClosedWorkflowPolicy;
  /** Seconds between two attempts to deliver a webhook, in order. */
  webhookRetrySeconds: readonly number[];
  /** Where clients reach the API, for the links in webhooks. */
  publicUrl?: string;
  /** `host:port` of the health checks; absent for none. */
  healthAddress?: string;
}
