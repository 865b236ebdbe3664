import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { About } from '../../cli/settings/define.js';
import { SettingsSchema } from '../../cli/settings/schema.js';

/** Where the schema is stored. Helm reads it. */
export const VALUES_SCHEMA_FILE = fileURLToPath(new URL('polony/values.schema.json', import.meta.url));

interface JsonSchema {
  [keyword: string]: unknown;
}

/** Settings that the chart derives from other values or from the ports of the containers. */
const SET_BY_THE_CHART = new Set([
  'AWS_REGION',
  'POLONY_BUILD_ID',
  'POLONY_CODEC_HOST',
  'POLONY_CODEC_ORIGINS',
  'POLONY_CODEC_PORT',
  'POLONY_DATABASE_CA_FILE',
  'POLONY_DATABASE_TLS',
  'POLONY_DEPLOYMENT_NAME',
  'POLONY_HEALTH_ADDRESS',
  'POLONY_HOST',
  'POLONY_METRICS_ADDRESS',
  'POLONY_PINNED_WORKFLOWS',
  'POLONY_PORT',
  'POLONY_TASK_QUEUE',
  'POLONY_TRUSTED_ACCOUNT_ID',
]);
/** Groups of settings that values of their own replace. */
const OTHER_VALUES = /^(TEMPORAL_|AWS_(ACCESS_KEY_ID|SESSION_TOKEN)$)/;
/** Settings of the API that the codec server takes over: templates/_helpers.tpl. */
const LOGIN = /^POLONY_(OIDC_.*|FAILED_LOGINS_PER_MINUTE|REQUESTS_PER_MINUTE|TRUST_PROXY|ERROR_DOMAIN)$/;

const flag: JsonSchema = { type: 'boolean' };
const integer = (minimum: number, maximum: number): JsonSchema => ({ type: 'integer', minimum, maximum });
const choice = (...words: string[]): JsonSchema => ({ enum: words });
const list = (items: JsonSchema): JsonSchema => ({ type: 'array', items });
/** A whole object of Kubernetes, which Kubernetes checks. */
const anyObject: JsonSchema = { type: 'object' };
const texts: JsonSchema = { type: 'object', additionalProperties: { type: 'string' } };
/** An object without other members, so that a misspelled name is an error. */
const object = (properties: Record<string, JsonSchema>): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
});

/** The name of an object in Kubernetes, or empty. */
const objectName: JsonSchema = { type: 'string', pattern: '^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$' };
const key: JsonSchema = { type: 'string', pattern: '^[A-Za-z0-9._-]{1,253}$' };
const optionalKey: JsonSchema = { type: 'string', pattern: '^[A-Za-z0-9._-]{0,253}$' };
const port = integer(1, 65_535);
const digest: JsonSchema = { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' };
const tag: JsonSchema = { type: 'string', pattern: '^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$' };
/** What Temporal accepts as a build ID, or empty. */
const buildId: JsonSchema = { type: 'string', pattern: '^[A-Za-z0-9._-]{0,100}$' };
const env = list({
  type: 'object',
  required: ['name'],
  additionalProperties: false,
  properties: { name: { type: 'string', minLength: 1 }, value: { type: 'string' }, valueFrom: anyObject },
});
const resources = object({ requests: anyObject, limits: anyObject, claims: list(anyObject) });
const disruptionBudget = object({
  enabled: flag,
  maxUnavailable: { anyOf: [integer(1, 1000), { type: 'string', pattern: '^[1-9][0-9]?%$' }] },
});
const autoscaling = { minReplicas: integer(1, 1000), maxReplicas: integer(1, 1000) };
const utilization = integer(1, 100);
const service = object({ type: choice('ClusterIP', 'NodePort', 'LoadBalancer'), port, annotations: texts });
const ingress = object({
  enabled: flag,
  className: objectName,
  annotations: texts,
  host: { type: 'string', pattern: '^([a-z0-9*]([a-z0-9.-]*[a-z0-9])?)?$' },
  path: { type: 'string', pattern: '^/' },
  tlsSecret: objectName,
});
/** What the pods of every component have. */
const pods = {
  resources,
  podDisruptionBudget: disruptionBudget,
  terminationGracePeriodSeconds: integer(1, 3600),
  podLabels: texts,
  podAnnotations: texts,
  priorityClassName: objectName,
  nodeSelector: texts,
  tolerations: list(anyObject),
  affinity: anyObject,
  topologySpreadConstraints: list(anyObject),
  extraEnv: env,
  extraVolumes: list(anyObject),
  extraVolumeMounts: list(anyObject),
};

/** The settings that a value may hold: those that the programs read, except secrets and what the chart sets. */
function settings(isIncluded: (name: string, readBy: readonly string[]) => boolean): JsonSchema {
  const all = Object.entries(SettingsSchema.properties) as unknown as [string, JsonSchema & About][];
  const included = all.filter(
    ([name, { isSecret, readBy }]) =>
      isSecret !== true && !SET_BY_THE_CHART.has(name) && !OTHER_VALUES.test(name) && isIncluded(name, readBy),
  );
  const properties = included.map(
    ([name, { type, enum: words, minimum, maximum, description }]): [string, JsonSchema] => [
      name,
      { type, ...(words !== undefined && { enum: words }), minimum, maximum, description },
    ],
  );
  return {
    ...object(Object.fromEntries(properties)),
    // The variables of OpenTelemetry's own specification.
    patternProperties: { '^OTEL_[A-Z0-9_]+$': { type: 'string' } },
  };
}

/** The schema of the chart's values: JSON Schema, draft 7, which all versions of Helm 3 read. */
export function valuesSchema(): JsonSchema {
  const readsBoth = (readBy: readonly string[]): boolean => readBy.includes('api') && readBy.includes('worker');
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $comment: 'Generated by `npm run chart:schema` from deploy/helm/valuesSchema.ts and cli/settings/schema.ts.',
    title: 'Values of the chart polony',
    ...object({
      // Helm adds it to the values of a chart that another chart includes.
      global: anyObject,
      nameOverride: { type: 'string', pattern: '^([a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)?$' },
      fullnameOverride: { type: 'string', pattern: '^([a-z]([a-z0-9-]{0,38}[a-z0-9])?)?$' },
      image: object({
        // Without tag and digest.
        repository: { type: 'string', pattern: '^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._/-]*$' },
        tag,
        digest,
        pullPolicy: choice('Always', 'IfNotPresent', 'Never'),
      }),
      imagePullSecrets: list({
        type: 'object',
        required: ['name'],
        additionalProperties: false,
        properties: { name: objectName },
      }),
      podLabels: texts,
      podAnnotations: texts,
      extraEnv: env,
      secretsAs: choice('files', 'env'),
      ipFamily: choice('IPv4', 'IPv6'),
      podSecurityContext: object(
        Object.fromEntries(
          // 0 is root.
          ['runAsUser', 'runAsGroup', 'fsGroup'].map((name) => [name, { type: ['integer', 'null'], minimum: 1 }]),
        ),
      ),
      serviceAccount: object({ create: flag, name: objectName, annotations: texts }),
      aws: object({
        region: { type: 'string', pattern: '^[a-z]{2}(-[a-z]+)+-[0-9]$' },
        identity: choice('podIdentity', 'irsa', 'node', 'secret'),
        roleArn: { type: 'string', pattern: '^(arn:[a-z-]+:iam::[0-9]{12}:role/.+)?$' },
        existingSecret: objectName,
        trustedAccountId: { type: 'string', pattern: '^([0-9]{12})?$' },
      }),
      database: object({
        existingSecret: objectName,
        urlKey: key,
        passwordKey: optionalKey,
        port,
        tls: choice('verify', 'address', 'disable'),
        ca: object({ existingSecret: objectName, existingConfigMap: objectName, key }),
      }),
      migration: object({
        enabled: flag,
        existingSecret: objectName,
        urlKey: key,
        passwordKey: optionalKey,
        runtimeRole: { type: 'string', maxLength: 63 },
        runtimePasswordKey: optionalKey,
        backoffLimit: integer(0, 100),
        activeDeadlineSeconds: integer(60, 86_400),
        resources,
        podAnnotations: texts,
        nodeSelector: texts,
        tolerations: list(anyObject),
        extraEnv: env,
      }),
      temporal: object({
        address: { type: 'string', pattern: '^([^\\s/@]+:[0-9]{1,5})?$' },
        namespace: { type: 'string', minLength: 1 },
        taskQueue: { type: 'string', pattern: '^[!-~]{1,200}$' },
        apiKey: object({ existingSecret: objectName, key }),
        tls: object({
          enabled: flag,
          serverName: { type: 'string', pattern: '^[A-Za-z0-9._-]{0,253}$' },
          ca: object({ existingSecret: objectName, key }),
          clientCertificate: object({ existingSecret: objectName, certKey: key, keyKey: key }),
        }),
      }),
      encryption: object({ existingSecret: objectName, key }),
      payloadEncryption: object({ existingSecret: objectName, key }),
      settings: settings((_, readBy) => readsBoth(readBy)),
      api: object({
        ...pods,
        replicas: integer(0, 1000),
        existingSecret: objectName,
        apiKeyKey: key,
        eventsKeyKey: optionalKey,
        settings: settings((_, readBy) => readBy.includes('api')),
        autoscaling: object({ enabled: flag, ...autoscaling, targetCPUUtilizationPercentage: utilization }),
        service,
        ingress,
        drainSeconds: integer(0, 3600),
      }),
      worker: object({
        ...pods,
        replicas: integer(0, 1000),
        settings: settings((_, readBy) => readBy.includes('worker')),
        versioning: object({
          enabled: flag,
          deploymentName: { type: 'string', pattern: '^[A-Za-z0-9_-]{0,100}$' },
          buildId,
          pinnedWorkflows: { type: 'string', pattern: '^(\\*|[A-Za-z0-9]+(,[A-Za-z0-9]+)*)?$' },
          promote: flag,
          previous: list({
            ...object({ tag, digest, buildId, replicas: integer(1, 1000) }),
            anyOf: [{ required: ['tag'] }, { required: ['digest'] }],
          }),
        }),
        autoscaling: object({
          type: choice('none', 'cpu', 'keda'),
          ...autoscaling,
          cpu: object({ targetUtilizationPercentage: utilization }),
          keda: object({
            pollingIntervalSeconds: integer(1, 3600),
            scaleDownStabilizationSeconds: integer(0, 3600),
            targets: object({
              main: integer(1, 1_000_000),
              watch: integer(1, 1_000_000),
              webhooks: integer(1, 1_000_000),
            }),
            extraMetadata: texts,
          }),
        }),
        // Seconds in which a worker returns its tasks: worker/worker.ts and cli/serving.ts.
        terminationGracePeriodSeconds: integer(31, 3600),
      }),
      codec: object({
        ...pods,
        enabled: flag,
        replicas: integer(0, 1000),
        origins: list({ type: 'string', pattern: '^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$' }),
        settings: settings((name, readBy) => readBy.includes('codec') || LOGIN.test(name)),
        service,
        ingress,
        drainSeconds: integer(0, 3600),
      }),
      maintenance: object({ enabled: flag, stopOthers: flag, resources }),
      metrics: object({
        enabled: flag,
        port: integer(1024, 65_535),
        monitor: choice('none', 'serviceMonitor', 'podMonitor'),
        interval: { type: 'string', pattern: '^[0-9]+(ms|s|m)$' },
        labels: texts,
        rules: object({
          enabled: flag,
          labels: texts,
          runbookBase: { type: 'string', pattern: '^(https?://[^\\s?#]+)?$' },
        }),
        dashboard: object({ enabled: flag, labels: texts, annotations: texts }),
      }),
      networkPolicy: object({
        enabled: flag,
        ingress: object({ api: list(anyObject), codec: list(anyObject), metrics: list(anyObject) }),
        egress: object({
          dns: list(anyObject),
          database: list(anyObject),
          temporal: list(anyObject),
          dnsPorts: { ...list(port), minItems: 1 },
          databasePorts: list(port),
          temporalPorts: list(port),
          https: list(anyObject),
          httpsPorts: { ...list(port), minItems: 1 },
          extra: list(anyObject),
        }),
      }),
    }),
  };
}

/** The text of values.schema.json. */
export const valuesSchemaText = (): string => `${JSON.stringify(valuesSchema(), null, 2)}\n`;

/** Whether the stored schema is what this file makes. */
export const isValuesSchemaCurrent = (): boolean => readFileSync(VALUES_SCHEMA_FILE, 'utf8') === valuesSchemaText();

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url))
  writeFileSync(VALUES_SCHEMA_FILE, valuesSchemaText());
