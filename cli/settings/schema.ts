import { type Static, type TProperties, Type } from 'typebox';
import { CLOSED_WORKFLOW_POLICIES, DATABASE_TLS_MODES, LOG_LEVELS, MIN_API_KEY_LENGTH } from '../../domain/settings.js';
import { WEBHOOK_RETRY_SECONDS } from '../../domain/webhooks/webhook.js';
import { choice, decimal, flag, integer, optionalFlag, optionalText, type Program, text } from './define.js';
import { HOST_AND_PORT, isDatabaseUrl, isIdentityUrl, isPublicUrl, LISTEN_ADDRESS } from './formats.js';

const SERVICES: readonly Program[] = ['api', 'worker'];
const DATABASE: readonly Program[] = ['api', 'worker', 'codec', 'migrate', 'reencrypt', 'audit verify'];
const TEMPORAL: readonly Program[] = ['api', 'worker', 'migrate', 'promote'];
const LOGIN: readonly Program[] = ['api', 'codec'];
const API: readonly Program[] = ['api'];
const CODEC: readonly Program[] = ['codec'];
const WORKER: readonly Program[] = ['worker'];
const CLIENT: readonly Program[] = ['client'];
const LOCAL: readonly Program[] = ['local'];
const TESTS: readonly Program[] = ['tests'];

const database = {
  DATABASE_URL: text({
    description: 'Address of PostgreSQL. Percent-encode special characters in the user name and the password.',
    readBy: DATABASE,
    isSecret: true,
    example: 'postgres://user:password@host:5432/polony',
    whenMissing: 'set it to the address of PostgreSQL, such as postgres://user:password@host:5432/polony',
    check: isDatabaseUrl,
    problem:
      'must have the form postgres://user:password@host:port/database, ' +
      'with special characters of the user name and the password percent-encoded',
  }),
  POLONY_DATABASE_TLS: choice(DATABASE_TLS_MODES, {
    description:
      'TLS to PostgreSQL: `verify` checks the certificate and the name of the server, and `disable` uses no TLS. ' +
      '`address` does what `sslmode` in `DATABASE_URL` says: without it, there is no TLS.',
    readBy: DATABASE,
    default: 'address',
  }),
  POLONY_DATABASE_CA_FILE: optionalText({
    description:
      'File with the certificates that polony trusts for PostgreSQL, as PEM. It turns `verify` on. ' +
      'Without it, polony trusts the public authorities that Node.js knows.',
    readBy: DATABASE,
    example: '/etc/polony/rds-ca.pem',
  }),
  POLONY_STATEMENT_SECONDS: integer({
    description: 'After how many seconds PostgreSQL ends a statement of the API or the worker; 0 for no limit.',
    readBy: [...SERVICES, 'codec'],
    unit: 'seconds',
    default: 30,
    minimum: 0,
    maximum: 3600,
  }),
  POLONY_MAX_DB_CONNECTIONS: integer({
    description:
      'Largest number of connections to PostgreSQL for the queries of one process. A worker opens three more, and an API up to two.',
    readBy: [...SERVICES, 'codec'],
    unit: 'connections',
    default: 10,
    // A sweep holds one, a change of a bucket policy another, and both need a third.
    minimum: 3,
    maximum: 1000,
  }),
};

const runtimeRole = {
  POLONY_RUNTIME_ROLE: optionalText({
    description:
      'Role that the API and the worker connect as. `polony migrate` gives it the rights that they need, and only the ' +
      'right to add to the audit log. The role in the `DATABASE_URL` of `polony migrate` must be another one, which ' +
      'owns the tables.',
    readBy: ['migrate'],
    example: 'polony_app',
    check: (role) => Buffer.byteLength(role) <= 63,
    problem: 'must have at most 63 bytes',
  }),
  POLONY_RUNTIME_PASSWORD: optionalText({
    description:
      'Password of that role. With it, `polony migrate` creates the role if necessary, and sets the password. ' +
      'Its own role needs the right to do so (`CREATEROLE`).',
    readBy: ['migrate'],
    isSecret: true,
    pattern: /^[\x20-\x7e]*$/,
    problem: 'must consist of printable ASCII characters',
  }),
};

const temporal = {
  TEMPORAL_ADDRESS: text({
    description:
      'Host and port of the Temporal server, without a scheme. ' +
      'Without it, `polony migrate` registers no search attributes, and the local stack starts its own server.',
    readBy: [...TEMPORAL, 'local'],
    example: 'localhost:7233',
    whenMissing:
      'set it to the host and port of the Temporal server, such as localhost:7233 or <namespace>.tmprl.cloud:7233',
    pattern: HOST_AND_PORT,
    problem: 'must be host:port without a scheme, such as localhost:7233',
  }),
  TEMPORAL_NAMESPACE: text({
    description: 'Namespace of the workflows. It must exist.',
    readBy: [...TEMPORAL, 'local'],
    default: 'default',
  }),
  TEMPORAL_API_KEY: optionalText({
    description: 'API key of Temporal Cloud. It implies TLS.',
    readBy: TEMPORAL,
    isSecret: true,
  }),
  TEMPORAL_TLS: optionalFlag({
    description:
      'Whether to use TLS for the connection to Temporal. It must not be `false` with `TEMPORAL_API_KEY` or one of the ' +
      'following variables.',
    readBy: TEMPORAL,
    defaultText: '`true` with `TEMPORAL_API_KEY` or one of the following variables, else `false`',
  }),
  TEMPORAL_TLS_SERVER_CA_CERT_PATH: optionalText({
    description:
      'File with the certificates that polony trusts for Temporal, as PEM. ' +
      'Without it, polony trusts the public authorities.',
    readBy: TEMPORAL,
    example: '/etc/polony/temporal-ca.pem',
  }),
  TEMPORAL_TLS_CLIENT_CERT_PATH: optionalText({
    description:
      'File with the certificate that polony shows to Temporal (mTLS), as PEM. ' +
      'Start polony again after you replaced the file.',
    readBy: TEMPORAL,
    example: '/etc/polony/temporal-client.pem',
  }),
  TEMPORAL_TLS_CLIENT_KEY_PATH: optionalText({
    description: 'File with the private key of that certificate, as PEM.',
    readBy: TEMPORAL,
    example: '/etc/polony/temporal-client.key',
  }),
  TEMPORAL_TLS_SERVER_NAME: optionalText({
    description: 'Name that the certificate of Temporal must have, if it differs from the host in `TEMPORAL_ADDRESS`.',
    readBy: TEMPORAL,
    example: 'temporal.example.org',
    pattern: /^[A-Za-z0-9._-]{1,253}$/,
    problem: 'must be a host name without a port',
  }),
  POLONY_TASK_QUEUE: text({
    description: 'Prefix of the task queues. The API and its workers must use the same value.',
    readBy: [...SERVICES, 'promote'],
    default: 'polony',
    pattern: /^[\x21-\x7e]{1,200}$/,
    problem: 'must be 1 to 200 printable characters without spaces',
  }),
};

const versioning = {
  POLONY_DEPLOYMENT_NAME: optionalText({
    description:
      'Name of the worker deployment in Temporal. It turns Worker Versioning on: a workflow runs only on workers whose ' +
      'version may run it. Workers get no tasks until `polony promote` has made a version the current one.',
    readBy: ['worker', 'promote'],
    example: 'polony',
    pattern: /^[A-Za-z0-9_-]{1,100}$/,
    problem: 'must be 1 to 100 letters, digits, hyphens and underscores',
  }),
  POLONY_BUILD_ID: optionalText({
    description:
      'Version of this worker in its deployment, such as the tag of its image. Required with `POLONY_DEPLOYMENT_NAME`. ' +
      'Workers with different code must have different build IDs.',
    readBy: ['worker', 'promote'],
    example: '1.4.0',
    pattern: /^[A-Za-z0-9._-]{1,100}$/,
    problem: 'must be 1 to 100 letters, digits, dots, hyphens and underscores',
  }),
  POLONY_PINNED_WORKFLOWS: optionalText({
    description:
      'Types of workflows that stay on the version they began with, separated by commas, or `*` for all. ' +
      'The others move to the current version with their next task.',
    readBy: WORKER,
    example: 'bases2fastq,runUpload',
    defaultText: 'none',
  }),
  POLONY_END_WHEN_DRAINED: flag({
    description:
      'Whether the worker ends, with exit code 0, when its version is drained: it is no longer the current one, and no ' +
      'workflow needs it any more.',
    readBy: WORKER,
    default: false,
  }),
};

const codecServer = {
  POLONY_CODEC_HOST: text({
    description: 'Address or host name where the codec server listens.',
    readBy: CODEC,
    default: '127.0.0.1',
    example: '0.0.0.0',
    pattern: /^[A-Za-z0-9.:_-]+$/,
    problem: 'must be an address or host name without a port',
  }),
  POLONY_CODEC_PORT: integer({
    description: 'Port where the codec server listens; 0 for any free port.',
    readBy: CODEC,
    default: 8088,
    minimum: 0,
    maximum: 65_535,
  }),
  POLONY_CODEC_ORIGINS: optionalText({
    description:
      "Origins of Temporal's Web UI, separated by commas. Browsers let pages of these origins, and no others, read what " +
      'the codec server answers.',
    readBy: CODEC,
    example: 'https://temporal.example.org',
    defaultText: 'none: no browser may use it',
  }),
};

const secrets = {
  POLONY_ENCRYPTION_KEYS: optionalText({
    description:
      'Keys that encrypt secrets in the database: credentials of providers with access keys, and the signing secrets ' +
      'of webhooks. Write `id=key`, separated by commas. The first key encrypts, and all of them decrypt. ' +
      'A key is 32 random bytes in base64 (`openssl rand -base64 32`) or the ARN of an AWS KMS key. ' +
      'The API and its workers must use the same value.',
    readBy: [...SERVICES, 'reencrypt'],
    isSecret: true,
    example: 'k2=arn:aws:kms:us-west-2:111122223333:key/…',
  }),
  POLONY_PAYLOAD_KEYS: optionalText({
    description:
      'Keys that encrypt what polony stores in Temporal, with AES-256-GCM: arguments, results, failures, heartbeats, ' +
      'summaries and details. The format is that of `POLONY_ENCRYPTION_KEYS`. The first key encrypts, and all of them ' +
      'decrypt. If the first entry is `none`, nothing is encrypted, and the keys decrypt only. ' +
      'The API, its workers and the codec server must use the same value.',
    readBy: [...SERVICES, 'codec'],
    isSecret: true,
    example: 'p1=arn:aws:kms:us-west-2:111122223333:key/…',
    defaultText: 'nothing is encrypted',
  }),
};

const work = {
  POLONY_LOG_LEVEL: choice(LOG_LEVELS, {
    description:
      'Least important level that the log shows. Other commands print a stack trace with an error if it is `debug`.',
    readBy: [...SERVICES, 'codec', 'client', 'local'],
    default: 'info',
  }),
  POLONY_METRICS_ADDRESS: optionalText({
    description:
      'Address where Prometheus reads the metrics of this process, at `/metrics`. Without it there are none. ' +
      'Processes on one machine need different ports; port 0 takes any free one, which the log names. Do not make it public: the metrics need no key.',
    readBy: SERVICES,
    example: '0.0.0.0:9464',
    pattern: LISTEN_ADDRESS,
    problem: 'must be host:port, such as 0.0.0.0:9464',
  }),
  POLONY_GIVE_UP_DAYS: integer({
    description: 'How long a run or an execution may stay blocked before polony gives it up.',
    readBy: SERVICES,
    unit: 'days',
    default: 14,
    minimum: 1,
    maximum: 365,
  }),
  POLONY_DISCOVER_SECONDS: integer({
    description: 'How often polony searches a storage connection for new runs.',
    readBy: WORKER,
    unit: 'seconds',
    default: 60,
    minimum: 1,
    maximum: 86_400,
  }),
  POLONY_SESSION_SECONDS: integer({
    // AssumeRole accepts 900 seconds to 12 hours (STS API Reference).
    description:
      'Length of the AWS sessions that polony requests. If a role allows less, polony requests what the role allows.',
    readBy: SERVICES,
    unit: 'seconds',
    default: 43_200,
    minimum: 900,
    maximum: 43_200,
  }),
  POLONY_ALLOW_OPEN_ROLES: flag({
    description:
      "Whether polony uses a role that can be assumed without its provider's external ID. " +
      'Such a role lets one customer of this installation reach the account of another (confused deputy).',
    readBy: SERVICES,
    default: false,
  }),
  POLONY_PUBLIC_URL: optionalText({
    description:
      'Where clients reach the API: the base of links in webhooks, in `/openapi.json` and in EventBridge templates. ' +
      'Without it, links in webhooks are paths.',
    readBy: SERVICES,
    example: 'https://polony.example.org',
    check: isPublicUrl,
    problem: 'must be an http or https URL without a query, such as https://polony.example.org',
  }),
  POLONY_WEBHOOK_ALLOW_PRIVATE: flag({
    description:
      'Whether webhooks may call every private network. Link-local and cloud metadata addresses stay forbidden. ' +
      'Prefer `POLONY_WEBHOOK_ALLOWED_NETWORKS`.',
    readBy: SERVICES,
    default: false,
  }),
  POLONY_WEBHOOK_ALLOWED_NETWORKS: optionalText({
    description: 'Networks that webhooks may call besides public addresses: CIDR blocks, separated by commas.',
    readBy: SERVICES,
    example: '10.1.0.0/16,fd12:3456::/32',
  }),
};

const tracing = {
  OTEL_EXPORTER_OTLP_ENDPOINT: optionalText({
    description:
      'Where traces go: the base URL of an OpenTelemetry collector that accepts OTLP over HTTP (protobuf). It turns ' +
      'tracing on.',
    readBy: SERVICES,
    example: 'http://collector:4318',
    check: isPublicUrl,
    problem: 'must be an http or https URL, such as http://collector:4318',
  }),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: optionalText({
    description: 'Complete URL for traces, in place of the base URL. It turns tracing on, too.',
    readBy: SERVICES,
    example: 'http://collector:4318/v1/traces',
    check: isPublicUrl,
    problem: 'must be an http or https URL, such as http://collector:4318/v1/traces',
  }),
  OTEL_EXPORTER_OTLP_HEADERS: optionalText({
    description: 'Headers for the collector, such as a key: `name=value`, separated by commas.',
    readBy: SERVICES,
    isSecret: true,
  }),
  OTEL_SERVICE_NAME: optionalText({
    description: 'Name of the service in traces.',
    readBy: SERVICES,
    defaultText: '`polony-api` or `polony-worker`',
  }),
  OTEL_RESOURCE_ATTRIBUTES: optionalText({
    description: 'Attributes of all spans: `name=value`, separated by commas.',
    readBy: SERVICES,
    example: 'deployment.environment=production',
  }),
  OTEL_TRACES_SAMPLER: optionalText({
    description: 'Which traces are recorded: one of the names that OpenTelemetry defines.',
    readBy: SERVICES,
    defaultText: '`parentbased_always_on`',
    example: 'parentbased_traceidratio',
  }),
  OTEL_TRACES_SAMPLER_ARG: optionalText({
    description: 'Argument of the sampler, such as the share of traces from 0 to 1.',
    readBy: SERVICES,
    example: '0.1',
  }),
  OTEL_SDK_DISABLED: flag({
    description: 'Turns tracing off, whatever the other variables say.',
    readBy: SERVICES,
    default: false,
  }),
};

const apiServer = {
  POLONY_API_KEY: text({
    description:
      `Key with all permissions, of at least ${MIN_API_KEY_LENGTH} printable characters. ` +
      'Use it to create other keys. The client sends it if it is set there.',
    readBy: [...LOGIN, 'client'],
    isSecret: true,
    whenMissing:
      `choose a random key of at least ${MIN_API_KEY_LENGTH} characters, ` + 'for example with: openssl rand -hex 32',
    pattern: /^[\x21-\x7e]*$/,
    minLength: MIN_API_KEY_LENGTH,
    problem: 'must consist of printable ASCII characters without spaces',
  }),
  POLONY_EVENTS_KEY: optionalText({
    description: 'Key that is valid for `POST /v1/events` only. Give it to AWS EventBridge.',
    readBy: API,
    isSecret: true,
    pattern: /^[\x21-\x7e]*$/,
    minLength: MIN_API_KEY_LENGTH,
    problem: 'must consist of printable ASCII characters without spaces',
  }),
  POLONY_HOST: text({
    description: 'Address or host name where the API listens.',
    readBy: API,
    default: '127.0.0.1',
    example: '0.0.0.0',
    pattern: /^[A-Za-z0-9.:_-]+$/,
    problem: 'must be an address or host name without a port',
  }),
  POLONY_PORT: integer({
    description: 'Port where the API listens; 0 for any free port.',
    readBy: ['api', 'local'],
    default: 8080,
    minimum: 0,
    maximum: 65_535,
  }),
  POLONY_PUBLIC_API_DOCS: flag({
    description: 'Whether `/openapi.json` and `/docs` are readable without a key.',
    readBy: API,
    default: true,
  }),
  POLONY_CONSOLE: flag({
    description: 'Whether the API serves the console at `/`.',
    readBy: API,
    default: true,
  }),
  POLONY_CONSOLE_FOLDER: optionalText({
    description: 'Folder of another build of the console than the one that belongs to polony.',
    readBy: API,
    example: '/srv/polony-console',
  }),
  POLONY_ERROR_DOMAIN: text({
    description: "Value of `domain` in the details of errors. Clients of the vendor's API may expect its domain.",
    readBy: LOGIN,
    default: 'polony',
    example: 'cloud-api.elembio.io',
    pattern: /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/,
    problem: 'must be a name such as polony or cloud-api.elembio.io',
  }),
  POLONY_TRUST_PROXY: text({
    description:
      "Which reverse proxies may state a client's address in `X-Forwarded-For`: `false` for none, or their " +
      'addresses and networks, separated by commas (`loopback`, `linklocal` and `uniquelocal` are names of networks).',
    readBy: LOGIN,
    default: 'false',
    example: '10.0.0.0/8,loopback',
  }),
  POLONY_AUDIT_READS: flag({
    description:
      'Whether the audit log also records requests that only read. It then grows with every page that somebody looks at.',
    readBy: API,
    default: false,
  }),
  // No default: the account on the vendor's page is the vendor's, and a role that trusts it gives it the data.
  POLONY_TRUSTED_ACCOUNT_ID: optionalText({
    description:
      'ID of the AWS account that polony runs in. Trust policies name it, and without it polony writes none.',
    readBy: ['api', 'client'],
    example: '111122223333',
    pattern: /^\d{12}$/,
    problem: 'must be the ID of the AWS account that polony runs in, 12 digits',
  }),
  POLONY_TEMPORAL_UI_URL: optionalText({
    description: "Where people find Temporal's web page, for links to it. `GET /v1/installation` answers it.",
    readBy: API,
    example: 'https://temporal.example.org',
    check: isPublicUrl,
    problem: 'must be an http or https URL without a query, such as https://temporal.example.org',
  }),
  POLONY_REQUESTS_PER_MINUTE: integer({
    description: 'Largest number of requests of one caller to one API process; 0 for no limit.',
    readBy: LOGIN,
    unit: 'requests',
    default: 6000,
    minimum: 0,
    maximum: 1_000_000,
  }),
  POLONY_FAILED_LOGINS_PER_MINUTE: integer({
    description:
      'Different keys and tokens that are not valid which one address (IPv6: one /64 network) may send to one API ' +
      'process within a minute; 0 for no limit. More are refused without a check, except those that worked within 15 ' +
      'minutes. Behind a reverse proxy, set `POLONY_TRUST_PROXY`, or all clients share the address of the proxy.',
    readBy: LOGIN,
    unit: 'failed logins',
    default: 30,
    minimum: 0,
    maximum: 1_000_000,
  }),
};

const oidc = {
  POLONY_OIDC_ISSUER: optionalText({
    description: 'Issuer of the tokens that people may send instead of an API key. It turns OpenID Connect on.',
    readBy: LOGIN,
    example: 'https://login.example.org/realms/lab',
    check: isIdentityUrl,
    problem: 'must be an https URL',
  }),
  POLONY_OIDC_AUDIENCE: optionalText({
    description: 'Value that `aud` of a token must contain. Required with `POLONY_OIDC_ISSUER`.',
    readBy: LOGIN,
    example: 'polony',
  }),
  POLONY_OIDC_JWKS_URL: optionalText({
    description: 'Where the provider publishes its signing keys.',
    readBy: LOGIN,
    defaultText: 'discovered from the issuer',
    check: isIdentityUrl,
    problem: 'must be an https URL',
  }),
  POLONY_OIDC_SCOPES_CLAIM: text({
    description: "Claim that holds a person's scopes. A dot separates the names of nested members.",
    readBy: LOGIN,
    default: 'scope',
    example: 'realm_access.roles',
  }),
  POLONY_OIDC_SCOPE_MAP: optionalText({
    description: 'Scopes for each value of that claim, as JSON. Without it, the values are scopes themselves.',
    readBy: LOGIN,
    example: '{"lab-admins":["*"],"analysts":["runs:read","executions:*"]}',
  }),
};

/** Signing people in, which only the API does. */
const oidcSignIn = {
  POLONY_OIDC_CLIENT_ID: optionalText({
    description:
      'ID of the client as which the API signs people in at the provider. It turns signing in with a browser on, and ' +
      'needs `POLONY_PUBLIC_URL`: the redirect URI to register is `<POLONY_PUBLIC_URL>/v1/session/oidc/callback`.',
    readBy: API,
    example: 'polony-console',
  }),
  POLONY_OIDC_CLIENT_SECRET: optionalText({
    description: 'Secret of that client. A public client has none.',
    readBy: API,
    isSecret: true,
  }),
};

const worker = {
  POLONY_UPLOAD_POLL_SECONDS: integer({
    description: 'How often the worker looks for new files of a run that an instrument uploads.',
    readBy: WORKER,
    unit: 'seconds',
    default: 60,
    minimum: 1,
    maximum: 86_400,
  }),
  POLONY_RUN_POLL_SECONDS: integer({
    description: 'How often the worker checks the status of a HealthOmics run.',
    readBy: WORKER,
    unit: 'seconds',
    default: 60,
    minimum: 1,
    maximum: 3600,
  }),
  POLONY_STALLED_MINUTES: integer({
    description: 'Time without growth after which an upload counts as stalled.',
    readBy: WORKER,
    unit: 'minutes',
    default: 120,
    minimum: 1,
    maximum: 100_000,
  }),
  POLONY_SWEEP_SECONDS: integer({
    description: 'How often the worker looks for work that has no workflow, and starts the workflow.',
    readBy: WORKER,
    unit: 'seconds',
    default: 60,
    minimum: 1,
    maximum: 86_400,
  }),
  POLONY_VERIFY_SECONDS: integer({
    description: 'How often the worker verifies every provider, connection and flow.',
    readBy: WORKER,
    unit: 'seconds',
    default: 86_400,
    minimum: 60,
    maximum: 31 * 86_400,
  }),
  POLONY_WATCH_SLOTS: integer({
    description:
      'How many activities that register HealthOmics runs to be watched one worker runs at the same time. The number of ' +
      'watched runs has no limit. Runs that an earlier version began to watch hold a slot until they change.',
    readBy: WORKER,
    unit: 'slots',
    default: 4000,
    minimum: 1,
    maximum: 100_000,
  }),
  POLONY_ACTIVITY_SLOTS: integer({
    description: 'How many other activities one worker runs at the same time.',
    readBy: WORKER,
    unit: 'slots',
    default: 100,
    minimum: 1,
    maximum: 10_000,
  }),
  POLONY_WORKFLOW_CACHE: integer({
    description: 'How many workflows one worker keeps in memory.',
    readBy: WORKER,
    unit: 'workflows',
    default: 100,
    minimum: 1,
    maximum: 100_000,
  }),
  // HealthOmics quotas by default: 1 StartRun and 10 GetRun calls per second; the rest is left for other programs.
  POLONY_START_RUNS_PER_SECOND: decimal({
    description:
      'Rate of StartRun calls in one account and region, for all workers together. Raise it with your quota.',
    readBy: WORKER,
    unit: 'calls per second',
    default: 1,
    minimum: 0.01,
    maximum: 1000,
  }),
  POLONY_GET_RUNS_PER_SECOND: decimal({
    description: 'Rate of GetRun calls in one account and region, for all workers together. Raise it with your quota.',
    readBy: WORKER,
    unit: 'calls per second',
    default: 8,
    minimum: 0.1,
    maximum: 1000,
  }),
  POLONY_RETRY_RUN_SECONDS: integer({
    description:
      'Delay before polony starts a run again after a temporary failure. The delay grows by this value each time.',
    readBy: WORKER,
    unit: 'seconds',
    default: 60,
    minimum: 0,
    maximum: 86_400,
  }),
  POLONY_CLOSED_WORKFLOWS: choice(CLOSED_WORKFLOW_POLICIES, {
    description:
      'What polony does with a HealthOmics run whose workflow somebody terminated: ' +
      'start a workflow that continues to watch it (`adopt`), or cancel the run (`cancel`).',
    readBy: WORKER,
    default: 'adopt',
  }),
  POLONY_WEBHOOK_RETRY_SECONDS: text({
    description: 'Delays between the attempts to deliver a webhook, in seconds: up to 30 numbers, separated by commas.',
    readBy: WORKER,
    default: WEBHOOK_RETRY_SECONDS.join(','),
  }),
  POLONY_HEALTH_ADDRESS: optionalText({
    description:
      'Address of the health checks of the worker: `/healthz` answers while it lives, `/readyz` while it works. ' +
      'Without it there are none.',
    readBy: WORKER,
    example: '0.0.0.0:8081',
    pattern: HOST_AND_PORT,
    problem: 'must be host:port, such as 0.0.0.0:8081',
  }),
};

const client = {
  POLONY_API_URL: optionalText({
    description: 'Address of the API. The flag `--api-url` takes precedence.',
    readBy: CLIENT,
    example: 'https://polony.example.org',
    defaultText: 'address of the current profile',
  }),
  POLONY_PROFILE: optionalText({
    description: 'Name of the profile to use.',
    readBy: CLIENT,
    defaultText: 'current profile',
  }),
  POLONY_CONFIG: optionalText({
    description: 'File that stores the profiles.',
    readBy: CLIENT,
    defaultText: '`polony/config.json` in `XDG_CONFIG_HOME`',
  }),
  XDG_CONFIG_HOME: optionalText({
    description: 'Folder for settings.',
    readBy: CLIENT,
    defaultText: '`~/.config`',
  }),
  XDG_CACHE_HOME: optionalText({
    description: 'Folder for the state of interrupted uploads and downloads.',
    readBy: CLIENT,
    defaultText: '`~/.cache`',
  }),
};

const awsSdk = {
  AWS_REGION: optionalText({
    description: 'Region of calls that no connection gives a region for, such as AssumeRole.',
    readBy: SERVICES,
    example: 'us-west-2',
  }),
  AWS_ACCESS_KEY_ID: optionalText({
    description: "Access key of polony's own AWS identity. Leave it out on EC2, ECS or EKS with a role.",
    readBy: SERVICES,
  }),
  AWS_SECRET_ACCESS_KEY: optionalText({
    description: 'Secret of that access key.',
    readBy: SERVICES,
    isSecret: true,
  }),
  AWS_SESSION_TOKEN: optionalText({
    description: 'Session token, if the access key is temporary.',
    readBy: SERVICES,
    isSecret: true,
  }),
  AWS_ENDPOINT_URL: optionalText({
    description:
      'Endpoint that replaces those of AWS. `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_STS` and ' +
      '`AWS_ENDPOINT_URL_OMICS` replace the endpoint of one service.',
    readBy: [...SERVICES, 'client'],
  }),
  AWS_ENDPOINT_URL_S3: optionalText({
    description: 'Endpoint of S3.',
    readBy: [...SERVICES, 'client'],
  }),
  AWS_ENDPOINT_URL_STS: optionalText({ description: 'Endpoint of STS.', readBy: SERVICES }),
  AWS_ENDPOINT_URL_OMICS: optionalText({ description: 'Endpoint of HealthOmics.', readBy: SERVICES }),
  PGPASSWORD: optionalText({
    description: 'Password for PostgreSQL, if `DATABASE_URL` has none. It needs no percent-encoding.',
    readBy: DATABASE,
    isSecret: true,
  }),
};

const local = {
  POLONY_HOME: optionalText({
    description: 'Folder for the state of the local stack. Use one for each stack to run several side by side.',
    readBy: LOCAL,
    defaultText: '`.polony` in the current folder',
  }),
  POLONY_CACHE: optionalText({
    description:
      'Folder for downloaded programs, which all local stacks share. A polony that npm installed uses ' +
      '`~/.cache/polony/local`.',
    readBy: LOCAL,
    defaultText: '`.polony-cache` beside `package.json`',
  }),
  POLONY_PYTHON: optionalText({
    description: 'Python interpreter, version 3.10 or later.',
    readBy: LOCAL,
    defaultText: 'first `python3` on the `PATH`',
  }),
  TEMPORAL_UI_URL: optionalText({
    description: 'Address of the web UI of the server at `TEMPORAL_ADDRESS`. `polony local` prints it.',
    readBy: LOCAL,
  }),
};

const tests = {
  POLONY_TEST_SEED: optionalText({
    description: 'Seed of a property test, to repeat a run that failed.',
    readBy: TESTS,
    defaultText: 'a new one for each run',
  }),
  POLONY_SCHEMATHESIS_SECONDS: optionalText({
    description: 'Duration of the test that sends generated requests to the API.',
    readBy: TESTS,
    defaultText: '`20`',
  }),
  POLONY_DOCKER_COMPOSE: optionalText({
    description: 'Binary of the Docker Compose plugin, if the `docker` command does not find it.',
    readBy: TESTS,
  }),
  POLONY_BENCH_FILES: optionalText({
    description: 'Number of files that the part `unchanged` of `npm run bench` looks at without another client.',
    readBy: TESTS,
    defaultText: '`1000000`',
  }),
  POLONY_BENCH_ROWS: optionalText({
    description: 'Number of runs of `npm run bench:console`.',
    readBy: TESTS,
    defaultText: '`100000`',
  }),
};

/** Variables that the API and the worker share. */
export const COMMON_SETTINGS = { ...database, ...temporal, ...secrets, ...work, ...tracing };
export const DATABASE_SETTINGS = database;
export const MIGRATION_SETTINGS = runtimeRole;
export const TEMPORAL_SETTINGS = temporal;
export const API_SETTINGS = { ...COMMON_SETTINGS, ...apiServer, ...oidc, ...oidcSignIn };
export const WORKER_SETTINGS = { ...COMMON_SETTINGS, ...versioning, ...worker };

/** Variables of `polony codec`, which needs the login of the API and no connection to Temporal. */
export const CODEC_SETTINGS = {
  ...database,
  ...codecServer,
  ...oidc,
  POLONY_PAYLOAD_KEYS: secrets.POLONY_PAYLOAD_KEYS,
  POLONY_LOG_LEVEL: work.POLONY_LOG_LEVEL,
  POLONY_API_KEY: apiServer.POLONY_API_KEY,
  POLONY_ERROR_DOMAIN: apiServer.POLONY_ERROR_DOMAIN,
  POLONY_TRUST_PROXY: apiServer.POLONY_TRUST_PROXY,
  POLONY_REQUESTS_PER_MINUTE: apiServer.POLONY_REQUESTS_PER_MINUTE,
  POLONY_FAILED_LOGINS_PER_MINUTE: apiServer.POLONY_FAILED_LOGINS_PER_MINUTE,
};
/** Variables of `polony promote`. */
export const PROMOTE_SETTINGS = {
  ...temporal,
  POLONY_DEPLOYMENT_NAME: versioning.POLONY_DEPLOYMENT_NAME,
  POLONY_BUILD_ID: versioning.POLONY_BUILD_ID,
};

/** All groups in the order of the reference page. */
export const SETTING_GROUPS: readonly { title: string; introduction?: string; settings: TProperties }[] = [
  { title: 'Database', settings: database },
  { title: 'Migration', settings: runtimeRole },
  { title: 'Temporal', settings: temporal },
  { title: 'Worker Versioning', settings: versioning },
  { title: 'Secrets', settings: secrets },
  { title: 'API and worker', settings: work },
  { title: 'API', settings: apiServer },
  {
    title: 'OpenID Connect',
    introduction: 'Without `POLONY_OIDC_ISSUER`, the API refuses to start if one of the others is set.',
    settings: { ...oidc, ...oidcSignIn },
  },
  { title: 'Worker', settings: worker },
  { title: 'Codec server', settings: codecServer },
  {
    title: 'Tracing',
    introduction:
      'Tracing is off without an endpoint. The OpenTelemetry library reads these, and all other variables that it ' +
      'documents for traces and the OTLP exporter.',
    settings: tracing,
  },
  {
    title: 'Client commands',
    introduction:
      'The client also reads `POLONY_API_KEY`. Flags take precedence over variables, and variables over profiles.',
    settings: client,
  },
  {
    title: 'Libraries',
    introduction: 'The AWS SDK and the PostgreSQL driver read these, and all other variables that they document.',
    settings: awsSdk,
  },
  { title: 'Local stack', settings: local },
  { title: 'Tests and benchmarks', settings: tests },
];

/** Every environment variable of polony. */
export const SettingsSchema = Type.Object(
  Object.assign({}, ...SETTING_GROUPS.map(({ settings }) => settings)) as TProperties,
);

/** Values of a group of variables after parsing. */
export type SettingsOf<Group extends TProperties> = Static<ReturnType<typeof Type.Object<Group>>>;
