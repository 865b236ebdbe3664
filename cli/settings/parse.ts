import { accessSync, constants } from 'node:fs';
import { throwIfInvalid } from '../../domain/errors.js';
import type { ApiConfig, CommonConfig, OidcConfig, WorkerConfig } from '../../domain/settings.js';
import { WEBHOOK_RETRY_SECONDS } from '../../domain/webhooks/webhook.js';
import { parseEncryptionKeys, parseNetworks, parseRetrySeconds, parseScopeMap, parseTrustProxy } from './formats.js';
import { type Environment, SettingsReader } from './read.js';
import {
  API_SETTINGS,
  type COMMON_SETTINGS,
  DATABASE_SETTINGS,
  MIGRATION_SETTINGS,
  type SettingsOf,
  WORKER_SETTINGS,
} from './schema.js';

type CommonValues = SettingsOf<typeof COMMON_SETTINGS>;
type ApiValues = SettingsOf<typeof API_SETTINGS>;

/**
 * Reads the settings of `polony api` from environment variables.
 * @throws InputError with all problems at once. Each field is a variable's name, and no message repeats a value.
 */
export function parseApiConfig(env: Environment): ApiConfig {
  const reader = new SettingsReader(env);
  const values = reader.readAll(API_SETTINGS);
  checkEventsKey(reader, values);
  const config: ApiConfig = {
    ...commonConfig(reader, values),
    apiKey: values.POLONY_API_KEY,
    ...(values.POLONY_EVENTS_KEY !== undefined && { eventsKey: values.POLONY_EVENTS_KEY }),
    host: values.POLONY_HOST,
    port: values.POLONY_PORT,
    publicUrl: withoutTrailingSlashes(values.POLONY_PUBLIC_URL),
    publicApiDocs: values.POLONY_PUBLIC_API_DOCS,
    errorDomain: values.POLONY_ERROR_DOMAIN,
    trustProxy: reader.decode('POLONY_TRUST_PROXY', values.POLONY_TRUST_PROXY, parseTrustProxy) ?? false,
    auditsReads: values.POLONY_AUDIT_READS,
    trustedAccountId: values.POLONY_TRUSTED_ACCOUNT_ID,
    requestsPerMinute: values.POLONY_REQUESTS_PER_MINUTE,
    failedLoginsPerMinute: values.POLONY_FAILED_LOGINS_PER_MINUTE,
    ...oidcConfig(reader, values),
  };
  throwIfInvalid(reader.problems);
  return config;
}

/**
 * Reads the settings of `polony worker` from environment variables.
 * @throws InputError like {@link parseApiConfig}.
 */
export function parseWorkerConfig(env: Environment): WorkerConfig {
  const reader = new SettingsReader(env);
  const values = reader.readAll(WORKER_SETTINGS);
  const retrySeconds = values.POLONY_WEBHOOK_RETRY_SECONDS;
  const config: WorkerConfig = {
    ...commonConfig(reader, values),
    uploadPollSeconds: values.POLONY_UPLOAD_POLL_SECONDS,
    runPollSeconds: values.POLONY_RUN_POLL_SECONDS,
    stalledMinutes: values.POLONY_STALLED_MINUTES,
    sweepSeconds: values.POLONY_SWEEP_SECONDS,
    verifySeconds: values.POLONY_VERIFY_SECONDS,
    watchSlots: values.POLONY_WATCH_SLOTS,
    activitySlots: values.POLONY_ACTIVITY_SLOTS,
    workflowCache: values.POLONY_WORKFLOW_CACHE,
    startRunsPerSecond: values.POLONY_START_RUNS_PER_SECOND,
    getRunsPerSecond: values.POLONY_GET_RUNS_PER_SECOND,
    retryRunSeconds: values.POLONY_RETRY_RUN_SECONDS,
    closedWorkflows: values.POLONY_CLOSED_WORKFLOWS,
    webhookRetrySeconds:
      reader.decode('POLONY_WEBHOOK_RETRY_SECONDS', retrySeconds, parseRetrySeconds) ?? WEBHOOK_RETRY_SECONDS,
    publicUrl: withoutTrailingSlashes(values.POLONY_PUBLIC_URL),
    metricsAddress: values.POLONY_METRICS_ADDRESS,
    healthAddress: values.POLONY_HEALTH_ADDRESS,
  };
  throwIfInvalid(reader.problems);
  return config;
}

/**
 * Reads the address of the database, for commands that need nothing else.
 * @throws InputError like {@link parseApiConfig}.
 */
export function parseDatabaseUrl(env: Environment): string {
  const reader = new SettingsReader(env);
  const url = databaseUrl(reader, reader.readAll(DATABASE_SETTINGS));
  throwIfInvalid(reader.problems);
  return url;
}

/**
 * Reads which role `polony migrate` gives rights to; undefined for none.
 * @throws InputError like {@link parseApiConfig}.
 */
export function parseRuntimeRole(env: Environment): { name: string; password?: string } | undefined {
  const reader = new SettingsReader(env);
  const { POLONY_RUNTIME_ROLE: name, POLONY_RUNTIME_PASSWORD: password } = reader.readAll(MIGRATION_SETTINGS);
  if (name === undefined && password !== undefined)
    reader.report(
      'POLONY_RUNTIME_PASSWORD',
      'CONFLICT',
      'has no effect without POLONY_RUNTIME_ROLE: set the role, too',
    );
  throwIfInvalid(reader.problems);
  return name === undefined ? undefined : { name, ...(password !== undefined && { password }) };
}

/** The address of the database with the settings of TLS in it. */
function databaseUrl(reader: SettingsReader, values: SettingsOf<typeof DATABASE_SETTINGS>): string {
  const { DATABASE_URL: address, POLONY_DATABASE_TLS: tls, POLONY_DATABASE_CA_FILE: caFile } = values;
  if (caFile !== undefined && tls === 'disable')
    reader.report('POLONY_DATABASE_CA_FILE', 'CONFLICT', 'has no effect with POLONY_DATABASE_TLS=disable: remove one');
  if (caFile !== undefined && !isReadable(caFile))
    reader.report('POLONY_DATABASE_CA_FILE', 'FILE', 'must name a file that polony can read');
  if (address === '' || (tls === 'address' && caFile === undefined)) return address;
  const url = new URL(address);
  url.searchParams.set('sslmode', tls === 'disable' ? 'disable' : 'verify-full');
  if (caFile !== undefined) url.searchParams.set('sslrootcert', caFile);
  return url.href;
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function commonConfig(reader: SettingsReader, values: CommonValues): CommonConfig {
  const { TEMPORAL_API_KEY: apiKey, TEMPORAL_TLS: tls } = values;
  if (apiKey !== undefined && tls === false)
    reader.report(
      'TEMPORAL_TLS',
      'CONFLICT',
      'must not be false with TEMPORAL_API_KEY, because the key would travel unencrypted',
    );
  const networks = values.POLONY_WEBHOOK_ALLOWED_NETWORKS;
  return {
    databaseUrl: databaseUrl(reader, values),
    statementSeconds: values.POLONY_STATEMENT_SECONDS,
    maxDbConnections: values.POLONY_MAX_DB_CONNECTIONS,
    temporal: {
      address: values.TEMPORAL_ADDRESS,
      namespace: values.TEMPORAL_NAMESPACE,
      ...(apiKey !== undefined && { apiKey }),
      ...(tls !== undefined && { tls }),
    },
    taskQueue: values.POLONY_TASK_QUEUE,
    logLevel: values.POLONY_LOG_LEVEL,
    encryptionKeys: reader.decode('POLONY_ENCRYPTION_KEYS', values.POLONY_ENCRYPTION_KEYS, parseEncryptionKeys) ?? [],
    giveUpDays: values.POLONY_GIVE_UP_DAYS,
    discoverSeconds: values.POLONY_DISCOVER_SECONDS,
    webhookNetworks: {
      allowPrivate: values.POLONY_WEBHOOK_ALLOW_PRIVATE,
      allowedNetworks: reader.decode('POLONY_WEBHOOK_ALLOWED_NETWORKS', networks, parseNetworks) ?? [],
    },
    sessionSeconds: values.POLONY_SESSION_SECONDS,
    allowsOpenRoles: values.POLONY_ALLOW_OPEN_ROLES,
  };
}

/** The events key leaves the installation, so it must not open anything else. */
function checkEventsKey(reader: SettingsReader, values: ApiValues): void {
  if (values.POLONY_EVENTS_KEY !== undefined && values.POLONY_EVENTS_KEY === values.POLONY_API_KEY)
    reader.report('POLONY_EVENTS_KEY', 'DIFFERENT', 'must differ from POLONY_API_KEY, because AWS receives it');
}

const NEED_ISSUER = [
  'POLONY_OIDC_AUDIENCE',
  'POLONY_OIDC_JWKS_URL',
  'POLONY_OIDC_SCOPES_CLAIM',
  'POLONY_OIDC_SCOPE_MAP',
] as const;

function oidcConfig(reader: SettingsReader, values: ApiValues): { oidc?: OidcConfig } {
  if (!reader.has('POLONY_OIDC_ISSUER')) {
    for (const name of NEED_ISSUER.filter((each) => reader.has(each)))
      reader.report(name, 'CONFLICT', 'has no effect without POLONY_OIDC_ISSUER: set the issuer, or remove this');
    return {};
  }
  if (!reader.has('POLONY_OIDC_AUDIENCE'))
    reader.reportMissing(
      'POLONY_OIDC_AUDIENCE',
      'set it to the value of `aud` in tokens for polony; without it, polony would accept tokens for other services',
    );
  const jwksUrl = values.POLONY_OIDC_JWKS_URL;
  const scopeMap = reader.decode('POLONY_OIDC_SCOPE_MAP', values.POLONY_OIDC_SCOPE_MAP, parseScopeMap);
  return {
    oidc: {
      issuer: values.POLONY_OIDC_ISSUER ?? '',
      audience: values.POLONY_OIDC_AUDIENCE ?? '',
      scopesClaim: values.POLONY_OIDC_SCOPES_CLAIM,
      ...(jwksUrl !== undefined && { jwksUrl }),
      ...(scopeMap !== undefined && { scopeMap }),
    },
  };
}

function withoutTrailingSlashes(url: string | undefined): string | undefined {
  return url?.replace(/\/+$/, '');
}
