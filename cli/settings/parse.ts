import { accessSync, constants } from 'node:fs';
import { throwIfInvalid } from '../../domain/errors.js';
import type {
  ApiConfig,
  CodecConfig,
  CommonConfig,
  LoginConfig,
  MigrateConfig,
  OidcClient,
  OidcConfig,
  PromoteConfig,
  TemporalSettings,
  WorkerConfig,
  WorkerVersion,
  WorkerVersioning,
} from '../../domain/settings.js';
import { WEBHOOK_RETRY_SECONDS } from '../../domain/webhooks/webhook.js';
import {
  isIdentityUrl,
  parseEncryptionKeys,
  parseNetworks,
  parseOrigins,
  parsePayloadKeys,
  parseRetrySeconds,
  parseScopeMap,
  parseTrustProxy,
  parseWorkflowTypes,
} from './formats.js';
import { type Environment, SettingsReader } from './read.js';
import {
  API_SETTINGS,
  CODEC_SETTINGS,
  type COMMON_SETTINGS,
  DATABASE_SETTINGS,
  MIGRATION_SETTINGS,
  PROMOTE_SETTINGS,
  type SettingsOf,
  TEMPORAL_SETTINGS,
  WORKER_SETTINGS,
} from './schema.js';

type CommonValues = SettingsOf<typeof COMMON_SETTINGS>;
type ApiValues = SettingsOf<typeof API_SETTINGS>;
/** The values that a server with a login has. */
type LoginValues = SettingsOf<typeof CODEC_SETTINGS>;
type TemporalValues = Pick<CommonValues, Extract<keyof CommonValues, `TEMPORAL_${string}`>>;

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
    ...loginConfig(reader, values),
    ...(values.POLONY_EVENTS_KEY !== undefined && { eventsKey: values.POLONY_EVENTS_KEY }),
    host: values.POLONY_HOST,
    port: values.POLONY_PORT,
    publicUrl: withoutTrailingSlashes(values.POLONY_PUBLIC_URL),
    publicApiDocs: values.POLONY_PUBLIC_API_DOCS,
    servesConsole: values.POLONY_CONSOLE,
    ...(values.POLONY_CONSOLE_FOLDER !== undefined && { consoleFolder: values.POLONY_CONSOLE_FOLDER }),
    auditsReads: values.POLONY_AUDIT_READS,
    trustedAccountId: values.POLONY_TRUSTED_ACCOUNT_ID,
    ...oidcClientConfig(reader, values),
    ...(values.POLONY_TEMPORAL_UI_URL !== undefined && {
      temporalUiUrl: withoutTrailingSlashes(values.POLONY_TEMPORAL_UI_URL),
    }),
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
    ...versioningConfig(reader, values),
    uploadPollSeconds: values.POLONY_UPLOAD_POLL_SECONDS,
    runPollSeconds: values.POLONY_RUN_POLL_SECONDS,
    stalledMinutes: values.POLONY_STALLED_MINUTES,
    discoverSeconds: values.POLONY_DISCOVER_SECONDS,
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
    healthAddress: values.POLONY_HEALTH_ADDRESS,
  };
  throwIfInvalid(reader.problems);
  return config;
}

/**
 * Reads the settings of `polony codec` from environment variables.
 * @throws InputError like {@link parseApiConfig}.
 */
export function parseCodecConfig(env: Environment): CodecConfig {
  const reader = new SettingsReader(env);
  const values = reader.readAll(CODEC_SETTINGS);
  if (values.POLONY_PAYLOAD_KEYS === undefined)
    reader.reportMissing('POLONY_PAYLOAD_KEYS', 'set it to the value that the API and its workers have');
  const config: CodecConfig = {
    ...loginConfig(reader, values),
    databaseUrl: databaseUrl(reader, values),
    statementSeconds: values.POLONY_STATEMENT_SECONDS,
    maxDbConnections: values.POLONY_MAX_DB_CONNECTIONS,
    logLevel: values.POLONY_LOG_LEVEL,
    payloadKeys: payloadKeys(reader, values) ?? { encrypts: false, keys: [] },
    host: values.POLONY_CODEC_HOST,
    port: values.POLONY_CODEC_PORT,
    origins: reader.decode('POLONY_CODEC_ORIGINS', values.POLONY_CODEC_ORIGINS, parseOrigins) ?? [],
  };
  throwIfInvalid(reader.problems);
  return config;
}

/**
 * Reads the settings of `polony promote` from environment variables.
 * @throws InputError like {@link parseApiConfig}.
 */
export function parsePromoteConfig(env: Environment): PromoteConfig {
  const reader = new SettingsReader(env);
  const values = reader.readAll(PROMOTE_SETTINGS);
  if (values.POLONY_DEPLOYMENT_NAME === undefined)
    reader.reportMissing('POLONY_DEPLOYMENT_NAME', 'set it to the value that the workers have');
  const config: PromoteConfig = {
    temporal: temporalConfig(reader, values),
    taskQueue: values.POLONY_TASK_QUEUE,
    version: workerVersion(reader, values) ?? { deploymentName: '', buildId: '' },
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
 * Reads the settings of `polony migrate` from environment variables.
 * @throws InputError like {@link parseApiConfig}.
 */
export function parseMigrateConfig(env: Environment): MigrateConfig {
  const reader = new SettingsReader(env);
  const hasTemporal = reader.has('TEMPORAL_ADDRESS');
  const address = hasTemporal ? {} : { TEMPORAL_ADDRESS: 'none:7233' };
  const temporalReader = new SettingsReader({ ...env, ...address });
  const temporal = temporalConfig(temporalReader, temporalReader.readAll(TEMPORAL_SETTINGS));
  reader.problems.push(...temporalReader.problems);
  const config: MigrateConfig = {
    databaseUrl: databaseUrl(reader, reader.readAll(DATABASE_SETTINGS)),
    ...(hasTemporal && { temporal }),
    ...runtimeRole(reader),
  };
  throwIfInvalid(reader.problems);
  return config;
}

/** Which role `polony migrate` gives rights to. */
function runtimeRole(reader: SettingsReader): Pick<MigrateConfig, 'runtimeRole'> {
  const { POLONY_RUNTIME_ROLE: name, POLONY_RUNTIME_PASSWORD: password } = reader.readAll(MIGRATION_SETTINGS);
  if (name === undefined && password !== undefined)
    reader.report(
      'POLONY_RUNTIME_PASSWORD',
      'CONFLICT',
      'has no effect without POLONY_RUNTIME_ROLE: set the role, too',
    );
  return name === undefined ? {} : { runtimeRole: { name, ...(password !== undefined && { password }) } };
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

const TLS_FILES = [
  'TEMPORAL_TLS_SERVER_CA_CERT_PATH',
  'TEMPORAL_TLS_CLIENT_CERT_PATH',
  'TEMPORAL_TLS_CLIENT_KEY_PATH',
] as const;

function temporalConfig(reader: SettingsReader, values: TemporalValues): TemporalSettings {
  const { TEMPORAL_API_KEY: apiKey, TEMPORAL_TLS: tls, TEMPORAL_TLS_SERVER_NAME: serverName } = values;
  const [caFile, certFile, keyFile] = TLS_FILES.map((name) => values[name]);
  checkTemporalTls(reader, values);
  return {
    address: values.TEMPORAL_ADDRESS,
    namespace: values.TEMPORAL_NAMESPACE,
    ...(apiKey !== undefined && { apiKey }),
    ...(tls !== undefined && { tls }),
    ...(caFile !== undefined && { caFile }),
    ...(certFile !== undefined && keyFile !== undefined && { clientCertificate: { certFile, keyFile } }),
    ...(serverName !== undefined && { serverName }),
  };
}

function checkTemporalTls(reader: SettingsReader, values: TemporalValues): void {
  if (values.TEMPORAL_TLS === false) {
    if (values.TEMPORAL_API_KEY !== undefined)
      reader.report(
        'TEMPORAL_TLS',
        'CONFLICT',
        'must not be false with TEMPORAL_API_KEY, because the key would travel unencrypted',
      );
    for (const name of [...TLS_FILES, 'TEMPORAL_TLS_SERVER_NAME'] as const)
      if (values[name] !== undefined)
        reader.report(name, 'CONFLICT', 'has no effect with TEMPORAL_TLS=false: remove one of them');
  }
  for (const name of TLS_FILES) {
    const file = values[name];
    if (file !== undefined && !isReadable(file)) reader.report(name, 'FILE', 'must name a file that polony can read');
  }
  const { TEMPORAL_TLS_CLIENT_CERT_PATH: certFile, TEMPORAL_TLS_CLIENT_KEY_PATH: keyFile } = values;
  if (certFile !== undefined && keyFile === undefined)
    reader.reportMissing('TEMPORAL_TLS_CLIENT_KEY_PATH', 'set it to the file with the private key of the certificate');
  if (keyFile !== undefined && certFile === undefined)
    reader.reportMissing('TEMPORAL_TLS_CLIENT_CERT_PATH', 'set it to the file with the certificate of the private key');
}

function payloadKeys(reader: SettingsReader, values: Pick<CommonValues, 'POLONY_PAYLOAD_KEYS'>) {
  return reader.decode('POLONY_PAYLOAD_KEYS', values.POLONY_PAYLOAD_KEYS, parsePayloadKeys);
}

type VersionValues = Pick<SettingsOf<typeof PROMOTE_SETTINGS>, 'POLONY_DEPLOYMENT_NAME' | 'POLONY_BUILD_ID'>;

function workerVersion(reader: SettingsReader, values: VersionValues): WorkerVersion | undefined {
  const { POLONY_DEPLOYMENT_NAME: deploymentName, POLONY_BUILD_ID: buildId } = values;
  if (deploymentName === undefined) return undefined;
  if (buildId === undefined)
    reader.reportMissing('POLONY_BUILD_ID', "set it to the version of the worker's code, such as the tag of its image");
  return { deploymentName, buildId: buildId ?? '' };
}

const NEED_DEPLOYMENT = ['POLONY_BUILD_ID', 'POLONY_PINNED_WORKFLOWS', 'POLONY_END_WHEN_DRAINED'] as const;

function versioningConfig(
  reader: SettingsReader,
  values: SettingsOf<typeof WORKER_SETTINGS>,
): { versioning?: WorkerVersioning } {
  const version = workerVersion(reader, values);
  if (version === undefined) {
    for (const name of NEED_DEPLOYMENT.filter((each) => reader.has(each)))
      reader.report(name, 'CONFLICT', 'has no effect without POLONY_DEPLOYMENT_NAME: set the name, or remove this');
    return {};
  }
  const pinned = values.POLONY_PINNED_WORKFLOWS;
  return {
    versioning: {
      ...version,
      pinnedWorkflows: reader.decode('POLONY_PINNED_WORKFLOWS', pinned, parseWorkflowTypes) ?? [],
      endsWhenDrained: values.POLONY_END_WHEN_DRAINED,
    },
  };
}

function commonConfig(reader: SettingsReader, values: CommonValues): CommonConfig {
  const keys = payloadKeys(reader, values);
  const networks = values.POLONY_WEBHOOK_ALLOWED_NETWORKS;
  return {
    databaseUrl: databaseUrl(reader, values),
    statementSeconds: values.POLONY_STATEMENT_SECONDS,
    maxDbConnections: values.POLONY_MAX_DB_CONNECTIONS,
    temporal: temporalConfig(reader, values),
    ...(keys !== undefined && { payloadKeys: keys }),
    taskQueue: values.POLONY_TASK_QUEUE,
    logLevel: values.POLONY_LOG_LEVEL,
    metricsAddress: values.POLONY_METRICS_ADDRESS,
    isTracing: isTracing(values),
    encryptionKeys: reader.decode('POLONY_ENCRYPTION_KEYS', values.POLONY_ENCRYPTION_KEYS, parseEncryptionKeys) ?? [],
    giveUpDays: values.POLONY_GIVE_UP_DAYS,
    webhookNetworks: {
      allowPrivate: values.POLONY_WEBHOOK_ALLOW_PRIVATE,
      allowedNetworks: reader.decode('POLONY_WEBHOOK_ALLOWED_NETWORKS', networks, parseNetworks) ?? [],
    },
    sessionSeconds: values.POLONY_SESSION_SECONDS,
    allowsOpenRoles: values.POLONY_ALLOW_OPEN_ROLES,
  };
}

/** Traces are off until somebody says where they go. */
function isTracing(values: CommonValues): boolean {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: all, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces } = values;
  return !values.OTEL_SDK_DISABLED && (all !== undefined || traces !== undefined);
}

/** The events key leaves the installation, so it must not open anything else. */
function checkEventsKey(reader: SettingsReader, values: ApiValues): void {
  if (values.POLONY_EVENTS_KEY !== undefined && values.POLONY_EVENTS_KEY === values.POLONY_API_KEY)
    reader.report('POLONY_EVENTS_KEY', 'DIFFERENT', 'must differ from POLONY_API_KEY, because AWS receives it');
}

type LoginNames =
  | `POLONY_OIDC_${'ISSUER' | 'AUDIENCE' | 'JWKS_URL' | 'SCOPES_CLAIM' | 'SCOPE_MAP'}`
  | 'POLONY_API_KEY'
  | 'POLONY_ERROR_DOMAIN'
  | 'POLONY_TRUST_PROXY'
  | 'POLONY_REQUESTS_PER_MINUTE'
  | 'POLONY_FAILED_LOGINS_PER_MINUTE';

/** What the API and the codec server read alike, so that the same keys and tokens work at both. */
function loginConfig(reader: SettingsReader, values: Pick<LoginValues, LoginNames>): LoginConfig {
  return {
    apiKey: values.POLONY_API_KEY,
    errorDomain: values.POLONY_ERROR_DOMAIN,
    trustProxy: reader.decode('POLONY_TRUST_PROXY', values.POLONY_TRUST_PROXY, parseTrustProxy) ?? false,
    requestsPerMinute: values.POLONY_REQUESTS_PER_MINUTE,
    failedLoginsPerMinute: values.POLONY_FAILED_LOGINS_PER_MINUTE,
    ...oidcConfig(reader, values),
  };
}

const NEED_ISSUER = [
  'POLONY_OIDC_AUDIENCE',
  'POLONY_OIDC_JWKS_URL',
  'POLONY_OIDC_SCOPES_CLAIM',
  'POLONY_OIDC_SCOPE_MAP',
] as const;

function oidcConfig(reader: SettingsReader, values: Pick<LoginValues, LoginNames>): { oidc?: OidcConfig } {
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

/** The client as which the API signs people in. */
function oidcClientConfig(reader: SettingsReader, values: ApiValues): { oidcClient?: OidcClient } {
  const { POLONY_OIDC_CLIENT_ID: clientId, POLONY_OIDC_CLIENT_SECRET: clientSecret, POLONY_PUBLIC_URL: url } = values;
  if (!reader.has('POLONY_OIDC_CLIENT_ID')) {
    if (reader.has('POLONY_OIDC_CLIENT_SECRET'))
      reader.report(
        'POLONY_OIDC_CLIENT_SECRET',
        'CONFLICT',
        'has no effect without POLONY_OIDC_CLIENT_ID: set the client, or remove this',
      );
    return {};
  }
  if (!reader.has('POLONY_OIDC_ISSUER'))
    reader.report(
      'POLONY_OIDC_CLIENT_ID',
      'CONFLICT',
      'has no effect without POLONY_OIDC_ISSUER: set the issuer, or remove this',
    );
  if (!reader.has('POLONY_PUBLIC_URL'))
    reader.reportMissing('POLONY_PUBLIC_URL', 'set it: the provider sends people back to an address below it');
  else if (url !== undefined && !isIdentityUrl(url))
    reader.report(
      'POLONY_PUBLIC_URL',
      'TLS',
      'must be an https URL where POLONY_OIDC_CLIENT_ID is set: over plain HTTP, others could take over the sign-in',
    );
  return { oidcClient: { clientId: clientId ?? '', ...(clientSecret !== undefined && { clientSecret }) } };
}

function withoutTrailingSlashes(url: string | undefined): string | undefined {
  return url?.replace(/\/+$/, '');
}
