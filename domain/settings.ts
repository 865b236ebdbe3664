import type { NetworkPolicy } from './webhooks/networks.js';

/** A key that encrypts secrets in the database: 32 bytes in base64, or the ARN of an AWS KMS key. */
export type EncryptionKey = { id: string; key: string } | { id: string; kmsKeyArn: string };

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
  temporal: { address: string; namespace: string; apiKey?: string; tls?: boolean };
  /** Prefix of the task queues, see `taskQueues` in workflows/messages.ts. */
  taskQueue: string;
  logLevel: LogLevel;
  /** The first key encrypts. Every key decrypts. Empty when this installation keeps no secrets. */
  encryptionKeys: EncryptionKey[];
  /** How long something may stay blocked before polony gives it up, in days. */
  giveUpDays: number;
  /** How often polony searches a storage connection for new runs, in seconds. */
  discoverSeconds: number;
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

/** Settings of `polony api`. */
export interface ApiConfig extends CommonConfig {
  apiKey: string;
  /** A key that is valid for `POST /v1/events` only. */
  eventsKey?: string;
  host: string;
  /** 0 for any free port. */
  port: number;
  /** Where clients reach the API, without a slash at the end; absent when clients use the listening address. */
  publicUrl?: string;
  /** Whether `/openapi.json` and `/docs` are readable without a key. */
  publicApiDocs: boolean;
  /** `domain` in the details of errors. */
  errorDomain: string;
  /**
   * Which proxies may state a client's address: none, or those with these addresses. A number of hops is not
   * accepted, because any client that connects directly could then forge its address.
   */
  trustProxy: boolean | string[];
  /** Whether the audit log also has requests that only read. */
  auditsReads: boolean;
  /** The AWS account that polony runs in and that customers' roles trust. Without it polony writes no trust policy. */
  trustedAccountId?: string;
  oidc?: OidcConfig;
  /** Limit for one caller in one API process; 0 for no limit. */
  requestsPerMinute: number;
  /** Failed logins of one address in one API process; 0 for no limit. */
  failedLoginsPerMinute: number;
}

/** Settings of `polony worker`. */
export interface WorkerConfig extends CommonConfig {
  uploadPollSeconds: number;
  runPollSeconds: number;
  /** Minutes without growth after which an upload counts as stalled. */
  stalledMinutes: number;
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
  /** `host:port` where Prometheus reads metrics; absent for no metrics. */
  metricsAddress?: string;
  /** `host:port` of the health checks; absent for none. */
  healthAddress?: string;
}
