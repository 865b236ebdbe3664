import { type FieldProblem, InputError, throwIfInvalid } from './errors.js';
import { isNetwork, type NetworkPolicy } from './webhooks/networks.js';
import { parseScopes } from './auth/scopes.js';
import { WEBHOOK_RETRY_SECONDS } from './webhooks/webhook.js';

/** The environment as `process.env` has it. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A key that secrets in the database are encrypted with: 32 bytes in base64, or a key of AWS KMS. */
export type EncryptionKey = { id: string; key: string } | { id: string; kmsKeyArn: string };

/** What every process of polony needs. */
export interface CommonConfig {
  databaseUrl: string;
  /** Largest number of connections that this process opens to PostgreSQL. */
  maxDbConnections: number;
  temporal: { address: string; namespace: string; apiKey?: string; tls?: boolean };
  /** Prefix of the task queues, see `taskQueues` in workflows/messages/taskQueues.ts. */
  taskQueue: string;
  logLevel: LogLevel;
  /** The first encrypts, the others decrypt what is older. Empty where no secrets are kept. */
  encryptionKeys: EncryptionKey[];
  /** How long something may stay blocked before it is given up, in days. */
  giveUpDays: number;
  /** How often a storage connection is searched for new runs, in seconds. */
  discoverSeconds: number;
  /** Which addresses beyond the public ones webhooks may have. */
  webhookNetworks: NetworkPolicy;
  /** Length of the AWS sessions that are asked for, in seconds. */
  sessionSeconds: number;
}

/** The OpenID Connect provider whose tokens people show. */
export interface OidcConfig {
  issuer: string;
  /** What `aud` must hold. */
  audience: string;
  /** Where its keys are; found by discovery where absent. */
  jwksUrl?: string;
  /** The claim that says what somebody may, dots between the names of members. */
  scopesClaim: string;
  /** Scopes by the values of that claim; absent where the values are scopes themselves. */
  scopeMap?: Record<string, string[]>;
}

export interface ApiConfig extends CommonConfig {
  apiKey: string;
  /** A key for `POST /v1/events` alone. */
  eventsKey?: string;
  host: string;
  /** 0 for any free port. */
  port: number;
  /** Where clients reach the API, without a slash at its end; absent when that is where it listens. */
  publicUrl?: string;
  /** `domain` in the details of errors. */
  errorDomain: string;
  /** Which proxies are believed about a client's address: none, all, or those of these addresses. A number of hops would trust whoever connects. */
  trustProxy: boolean | string[];
  /** The AWS account that polony itself runs in, which customers' roles are to trust; without it no trust policy can be written. */
  trustedAccountId?: string;
  oidc?: OidcConfig;
  /** Of one caller, in one process of the API; 0 for any number. */
  requestsPerMinute: number;
}

export interface WorkerConfig extends CommonConfig {
  uploadPollSeconds: number;
  runPollSeconds: number;
  /** Minutes without growth after which an upload counts as stalled. */
  stalledMinutes: number;
  sweepSeconds: number;
  /** How often everything is verified. */
  verifySeconds: number;
  /** How many HealthOmics runs one worker watches at once. */
  watchSlots: number;
  activitySlots: number;
  /** How many workflows are kept in memory. */
  workflowCache: number;
  /** StartRun calls a second in one account and region, of all workers together. */
  startRunsPerSecond: number;
  /** GetRun calls a second in one account and region, of all workers together. */
  getRunsPerSecond: number;
  /** Seconds before a run that failed for a reason that passes is started again; as many more before each further one. */
  retryRunSeconds: number;
  /** What becomes of a HealthOmics run whose workflow was terminated, or is no longer known to Temporal. */
  closedWorkflows: 'adopt' | 'cancel';
  /** Seconds between two tries of a webhook's delivery, one after the other. */
  webhookRetrySeconds: readonly number[];
  /** Where clients reach the API, for the links in webhooks. */
  publicUrl?: string;
  /** `host:port` where Prometheus finds the metrics; absent for none. */
  metricsAddress?: string;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Shortest API key that is accepted: 24 random letters and digits are more than 128 bits. */
export const API_KEY_LENGTH = 24;

/** Reads variables one by one and remembers everything that is wrong, by the variable's name. Values are never repeated: some are secrets. */
class Reader {
  readonly problems: FieldProblem[] = [];
  constructor(readonly env: Environment) {}

  /** The trimmed value; undefined when it is not set or empty, as an empty line in a compose file means "not set". */
  optional(name: string): string | undefined {
    const value = this.env[name]?.trim();
    return value === undefined || value === '' ? undefined : value;
  }

  bad(name: string, rule: string, message: string): void {
    this.problems.push({ field: name, rule, message });
  }

  required(name: string, whatToDo: string): string {
    const value = this.optional(name);
    if (value === undefined) this.bad(name, 'REQUIRED', `is not set: ${whatToDo}`);
    return value ?? '';
  }

  integer(name: string, fallback: number, least: number, most: number, unit = ''): number {
    const text = this.optional(name);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (/^\d{1,9}$/.test(text) && value >= least && value <= most) return value;
    this.bad(
      name,
      'INTEGER',
      `must be a whole number${unit && ` of ${unit}`} from ${least} to ${most}; leave it out for ${fallback}`,
    );
    return fallback;
  }

  /** A number that may have a fraction. */
  number(name: string, fallback: number, least: number, most: number, unit: string): number {
    const text = this.optional(name);
    if (text === undefined) return fallback;
    const value = Number(text);
    if (/^\d{1,9}(\.\d{1,9})?$/.test(text) && value >= least && value <= most) return value;
    this.bad(
      name,
      'NUMBER',
      `must be a number of ${unit} from ${least} to ${most}, such as 0.5; leave it out for ${fallback}`,
    );
    return fallback;
  }

  boolean(name: string): boolean | undefined {
    const text = this.optional(name)?.toLowerCase();
    if (text === undefined) return undefined;
    if (['true', '1', 'yes', 'on'].includes(text)) return true;
    if (['false', '0', 'no', 'off'].includes(text)) return false;
    this.bad(name, 'BOOLEAN', 'must be true or false');
    return undefined;
  }

  /** A text that must match, or be absent. */
  matching(name: string, pattern: RegExp, message: string): string | undefined {
    const text = this.optional(name);
    if (text === undefined || pattern.test(text)) return text;
    this.bad(name, 'FORMAT', message);
    return undefined;
  }
}

const HOST_AND_PORT =
  /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;

function readCommon(read: Reader): CommonConfig {
  const databaseUrl = read.required(
    'DATABASE_URL',
    'give the address of PostgreSQL, such as postgres://user:password@host:5432/polony',
  );
  if (databaseUrl !== '' && !isDatabaseUrl(databaseUrl)) {
    read.bad(
      'DATABASE_URL',
      'FORMAT',
      'must have the form postgres://user:password@host:port/database, with special characters of user and password percent-encoded',
    );
  }
  const address = read.required(
    'TEMPORAL_ADDRESS',
    'give host and port of the Temporal server, such as localhost:7233 or <namespace>.tmprl.cloud:7233',
  );
  if (address !== '' && !HOST_AND_PORT.test(address))
    read.bad('TEMPORAL_ADDRESS', 'FORMAT', 'must be host:port without a scheme, such as localhost:7233');
  const level = read.optional('POLONY_LOG_LEVEL')?.toLowerCase() ?? 'info';
  if (!(LOG_LEVELS as readonly string[]).includes(level))
    read.bad('POLONY_LOG_LEVEL', 'ONE_OF', `must be one of ${LOG_LEVELS.join(', ')}`);
  const apiKey = read.optional('TEMPORAL_API_KEY');
  const tls = read.boolean('TEMPORAL_TLS');
  if (apiKey !== undefined && tls === false)
    read.bad('TEMPORAL_TLS', 'CONFLICT', 'must not be false beside TEMPORAL_API_KEY: the key would travel unencrypted');
  return {
    databaseUrl,
    maxDbConnections: read.integer('POLONY_MAX_DB_CONNECTIONS', 10, 2, 1000, 'connections'),
    temporal: {
      address,
      namespace: read.optional('TEMPORAL_NAMESPACE') ?? 'default',
      ...(apiKey !== undefined && { apiKey }),
      ...(tls !== undefined && { tls }),
    },
    taskQueue:
      read.matching(
        'POLONY_TASK_QUEUE',
        /^[\x21-\x7e]{1,200}$/,
        'must be 1 to 200 printable characters without spaces',
      ) ?? 'polony',
    logLevel: level as LogLevel,
    encryptionKeys: readEncryptionKeys(read),
    giveUpDays: read.integer('POLONY_GIVE_UP_DAYS', 14, 1, 365, 'days'),
    discoverSeconds: read.integer('POLONY_DISCOVER_SECONDS', 60, 1, 86_400, 'seconds'),
    webhookNetworks: readWebhookNetworks(read),
    // AssumeRole takes 900 seconds to 12 hours (STS API Reference); where a role allows less, less is asked for.
    sessionSeconds: read.integer('POLONY_SESSION_SECONDS', 43_200, 900, 43_200, 'seconds'),
  };
}

function readWebhookNetworks(read: Reader): NetworkPolicy {
  const allowPrivate = read.boolean('POLONY_WEBHOOK_ALLOW_PRIVATE') ?? false;
  const allowedNetworks =
    read
      .optional('POLONY_WEBHOOK_ALLOWED_NETWORKS')
      ?.split(',')
      .map((network) => network.trim()) ?? [];
  if (!allowedNetworks.every(isNetwork))
    read.bad(
      'POLONY_WEBHOOK_ALLOWED_NETWORKS',
      'FORMAT',
      'must be networks in CIDR notation separated by commas, such as 10.1.0.0/16,fd12:3456::/32',
    );
  return { allowPrivate, allowedNetworks };
}

function readWebhookRetries(read: Reader): readonly number[] {
  const name = 'POLONY_WEBHOOK_RETRY_SECONDS';
  const seconds =
    read
      .optional(name)
      ?.split(',')
      .map((text) => (/^\s*\d{1,6}\s*$/.test(text) ? Number(text) : NaN)) ?? WEBHOOK_RETRY_SECONDS;
  if (seconds.length <= 30 && seconds.every((each) => each >= 1 && each <= 604_800)) return seconds;
  read.bad(
    name,
    'FORMAT',
    `must be up to 30 whole numbers of seconds from 1 to 604800, separated by commas; leave it out for ${WEBHOOK_RETRY_SECONDS.join(',')}`,
  );
  return WEBHOOK_RETRY_SECONDS;
}

function readEncryptionKeys(read: Reader): EncryptionKey[] {
  const name = 'POLONY_ENCRYPTION_KEYS';
  const keys: EncryptionKey[] = [];
  for (const [at, text] of (read.optional(name)?.split(',') ?? []).entries()) {
    const [, id, value = ''] = /^\s*([A-Za-z0-9._-]{1,64})=(.*?)\s*$/.exec(text) ?? [];
    if (id === undefined)
      read.bad(name, 'FORMAT', `entry ${at + 1} must be id=key; several are separated by commas, the first encrypts`);
    else if (keys.some((key) => key.id === id)) read.bad(name, 'UNIQUE', `has two keys with the id ${id}`);
    else if (/^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:(key|alias)\/.+$/.test(value)) keys.push({ id, kmsKeyArn: value });
    else if (/^[A-Za-z0-9+/]{43}=$/.test(value)) keys.push({ id, key: value });
    else
      read.bad(
        name,
        'FORMAT',
        `the key ${id} must be 32 random bytes in base64, for example of: openssl rand -base64 32; or the ARN of a KMS key`,
      );
  }
  return keys;
}

function isDatabaseUrl(text: string): boolean {
  if (!/^postgres(ql)?:\/\//.test(text)) return false;
  try {
    const url = new URL(text);
    return url.pathname.length > 1 && (url.hostname !== '' || url.searchParams.has('host'));
  } catch {
    return false;
  }
}

/**
 * Reads the configuration of `polony api`.
 * @throws InputError with all that is wrong at once; each field is the name of a variable, and no value is repeated.
 */
export function parseApiConfig(env: Environment): ApiConfig {
  const read = new Reader(env);
  const common = readCommon(read);
  const apiKey = read.required(
    'POLONY_API_KEY',
    `choose a random key of at least ${API_KEY_LENGTH} characters, for example with: openssl rand -hex 32`,
  );
  if (apiKey !== '' && !/^[\x21-\x7e]*$/.test(apiKey))
    read.bad('POLONY_API_KEY', 'FORMAT', 'must have printable ASCII characters only, and no spaces');
  else if (apiKey !== '' && apiKey.length < API_KEY_LENGTH)
    read.bad('POLONY_API_KEY', 'LENGTH', `must have at least ${API_KEY_LENGTH} characters`);
  const eventsKey = read.optional('POLONY_EVENTS_KEY');
  if (eventsKey !== undefined && !/^[\x21-\x7e]*$/.test(eventsKey))
    read.bad('POLONY_EVENTS_KEY', 'FORMAT', 'must have printable ASCII characters only, and no spaces');
  else if (eventsKey !== undefined && eventsKey.length < API_KEY_LENGTH)
    read.bad('POLONY_EVENTS_KEY', 'LENGTH', `must have at least ${API_KEY_LENGTH} characters`);
  else if (eventsKey !== undefined && eventsKey === apiKey)
    read.bad('POLONY_EVENTS_KEY', 'DIFFERENT', 'must not be POLONY_API_KEY: it is handed to AWS');
  const config: ApiConfig = {
    ...common,
    apiKey,
    ...(eventsKey !== undefined && { eventsKey }),
    host:
      read.matching(
        'POLONY_HOST',
        /^[A-Za-z0-9.:_-]+$/,
        'must be an address or host name to listen on, without port',
      ) ?? '127.0.0.1',
    port: read.integer('POLONY_PORT', 8080, 0, 65_535),
    publicUrl: readPublicUrl(read),
    errorDomain:
      read.matching(
        'POLONY_ERROR_DOMAIN',
        /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/,
        'must be a name such as polony or cloud-api.elembio.io',
      ) ?? 'polony',
    trustProxy: readTrustProxy(read),
    // No default: the page's account is the vendor's, and whoever trusts a wrong account hands it the data.
    trustedAccountId: read.matching(
      'POLONY_TRUSTED_ACCOUNT_ID',
      /^\d{12}$/,
      'must be the ID of the AWS account that polony runs in, 12 digits',
    ),
    requestsPerMinute: read.integer('POLONY_REQUESTS_PER_MINUTE', 6000, 0, 1_000_000, 'requests'),
    ...readOidc(read),
  };
  throwIfInvalid(read.problems);
  return config;
}

/** An address of the provider of identities. Without TLS whoever is on the way could hand out keys; on the same machine nobody is. */
function readIdentityUrl(read: Reader, name: string): string | undefined {
  const text = read.optional(name);
  if (text === undefined) return undefined;
  try {
    const { protocol, hostname, hash, username } = new URL(text);
    if (
      (protocol === 'https:' || (protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(hostname))) &&
      hash === '' &&
      username === ''
    )
      return text;
  } catch {
    // Said below.
  }
  read.bad(name, 'FORMAT', 'must be an https URL');
  return undefined;
}

function readOidc(read: Reader): { oidc?: OidcConfig } {
  const issuer = readIdentityUrl(read, 'POLONY_OIDC_ISSUER');
  const jwksUrl = readIdentityUrl(read, 'POLONY_OIDC_JWKS_URL');
  if (read.optional('POLONY_OIDC_ISSUER') === undefined) {
    for (const name of ['AUDIENCE', 'JWKS_URL', 'SCOPES_CLAIM', 'SCOPE_MAP'].map((end) => `POLONY_OIDC_${end}`)) {
      if (read.optional(name) !== undefined) read.bad(name, 'CONFLICT', 'is of no use without POLONY_OIDC_ISSUER');
    }
    return {};
  }
  const audience = read.required(
    'POLONY_OIDC_AUDIENCE',
    'give what the provider writes into `aud` of the tokens for polony; without it tokens for others would be taken',
  );
  const scopeMap = readScopeMap(read);
  return {
    oidc: {
      issuer: issuer ?? '',
      audience,
      scopesClaim: read.optional('POLONY_OIDC_SCOPES_CLAIM') ?? 'scope',
      ...(jwksUrl !== undefined && { jwksUrl }),
      ...(scopeMap !== undefined && { scopeMap }),
    },
  };
}

function readScopeMap(read: Reader): Record<string, string[]> | undefined {
  const name = 'POLONY_OIDC_SCOPE_MAP';
  const text = read.optional(name);
  if (text === undefined) return undefined;
  let map: unknown;
  try {
    map = JSON.parse(text);
  } catch {
    // Said below.
  }
  if (
    typeof map !== 'object' ||
    map === null ||
    Array.isArray(map) ||
    !Object.values(map).every((scopes) => Array.isArray(scopes) && scopes.every((scope) => typeof scope === 'string'))
  ) {
    read.bad(name, 'FORMAT', 'must be JSON such as {"lab-admins":["*"],"analysts":["runs:read","executions:*"]}');
    return undefined;
  }
  for (const [value, scopes] of Object.entries(map as Record<string, string[]>)) {
    try {
      parseScopes(name, scopes);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      for (const { message } of error.problems)
        read.bad(name, 'SCOPE', `has a scope of ${value} that is none: ${message}`);
    }
  }
  return map as Record<string, string[]>;
}

function readPublicUrl(read: Reader): string | undefined {
  const text = read.optional('POLONY_PUBLIC_URL');
  if (text === undefined) return undefined;
  try {
    const url = new URL(text);
    if (/^https?:$/.test(url.protocol) && url.search === '' && url.hash === '' && url.username === '')
      return text.replace(/\/+$/, '');
  } catch {
    // Said below.
  }
  read.bad(
    'POLONY_PUBLIC_URL',
    'FORMAT',
    'must be an http or https URL without query, such as https://polony.example.org',
  );
  return undefined;
}

function readTrustProxy(read: Reader): boolean | string[] {
  const text = read.optional('POLONY_TRUST_PROXY');
  if (text === undefined || text === 'false') return false;
  if (text === 'true') return true;
  const addresses = text.split(',').map((address) => address.trim());
  if (
    addresses.every(
      (address) =>
        /^([0-9a-fA-F]*:[0-9a-fA-F.:]*|\d+(\.\d+){3})(\/\d{1,3})?$/.test(address) ||
        ['loopback', 'linklocal', 'uniquelocal'].includes(address),
    )
  )
    return addresses;
  read.bad(
    'POLONY_TRUST_PROXY',
    'FORMAT',
    'must be true, false, or addresses separated by commas such as 10.0.0.0/8,loopback',
  );
  return false;
}

/**
 * Reads the configuration of `polony worker`.
 * @throws InputError as {@link parseApiConfig}.
 */
export function parseWorkerConfig(env: Environment): WorkerConfig {
  const read = new Reader(env);
  const config: WorkerConfig = {
    ...readCommon(read),
    uploadPollSeconds: read.integer('POLONY_UPLOAD_POLL_SECONDS', 60, 1, 86_400, 'seconds'),
    runPollSeconds: read.integer('POLONY_RUN_POLL_SECONDS', 30, 1, 3600, 'seconds'),
    stalledMinutes: read.integer('POLONY_STALLED_MINUTES', 120, 1, 100_000, 'minutes'),
    sweepSeconds: read.integer('POLONY_SWEEP_SECONDS', 60, 1, 86_400, 'seconds'),
    verifySeconds: read.integer('POLONY_VERIFY_SECONDS', 86_400, 60, 31 * 86_400, 'seconds'),
    watchSlots: read.integer('POLONY_WATCH_SLOTS', 4000, 1, 100_000, 'slots'),
    activitySlots: read.integer('POLONY_ACTIVITY_SLOTS', 100, 1, 10_000, 'slots'),
    workflowCache: read.integer('POLONY_WORKFLOW_CACHE', 100, 1, 100_000, 'workflows'),
    // HealthOmics quotas by default: StartRun 1 a second, GetRun 10, of which some are left for others.
    startRunsPerSecond: read.number('POLONY_START_RUNS_PER_SECOND', 1, 0.01, 1000, 'calls a second'),
    getRunsPerSecond: read.number('POLONY_GET_RUNS_PER_SECOND', 8, 0.1, 1000, 'calls a second'),
    retryRunSeconds: read.integer('POLONY_RETRY_RUN_SECONDS', 60, 0, 86_400, 'seconds'),
    closedWorkflows: readClosedWorkflows(read),
    webhookRetrySeconds: readWebhookRetries(read),
    publicUrl: readPublicUrl(read),
    metricsAddress: read.matching('POLONY_METRICS_ADDRESS', HOST_AND_PORT, 'must be host:port, such as 0.0.0.0:9464'),
  };
  throwIfInvalid(read.problems);
  return config;
}

function readClosedWorkflows(read: Reader): 'adopt' | 'cancel' {
  const text = read.optional('POLONY_CLOSED_WORKFLOWS')?.toLowerCase() ?? 'adopt';
  if (text === 'adopt' || text === 'cancel') return text;
  read.bad('POLONY_CLOSED_WORKFLOWS', 'ONE_OF', 'must be adopt or cancel');
  return 'adopt';
}
