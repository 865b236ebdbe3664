import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseApiConfig, parseWorkerConfig } from '../../cli/settings/parse.js';
import { SettingsSchema } from '../../cli/settings/schema.js';
import { isValuesSchemaCurrent } from '../../deploy/helm/valuesSchema.js';
import { PYTHON } from '../../local/pythonPackages.js';
import { ensurePython } from '../../local/python.js';
import { startHealthServer } from '../../worker/health.js';
import { taskQueues } from '../../workflows/messages/taskQueues.js';
import { ensureHelm, type HelmResult, runHelm } from './helm.js';
import {
  type Container,
  find,
  type Labels,
  listPods,
  type Manifest,
  matches,
  type PodSpec,
  ofKind,
  readManifests,
} from './manifests.js';

const exec = promisify(execFile);
const chart = fileURLToPath(new URL('../../deploy/helm/polony', import.meta.url));
const filesOfValues = readdirSync(path.join(chart, 'ci')).sort();
const MINIMAL = ['-f', path.join(chart, 'ci/minimal-values.yaml')];
/** The oldest version that Chart.yaml accepts, one in between, and the newest for which there are schemas. */
const KUBERNETES_VERSIONS = ['1.27', '1.31', '1.37'];
/** Kinds of other projects, for which the validator has no schema. The tests below check what the chart writes there. */
const FOREIGN_KINDS = ['PodMonitor', 'PrometheusRule', 'ScaledObject', 'ServiceMonitor', 'TriggerAuthentication'];
let helm: string;
let binDir: string;
/** What each file of values renders. */
const rendered = new Map<string, { text: string; manifests: Manifest[] }>();
const folder = mkdtempSync(path.join(tmpdir(), 'polony-chart-'));

const template = (...values: string[]): Promise<HelmResult> => runHelm(helm, 'template', chart, values);
async function render(...values: string[]): Promise<Manifest[]> {
  const { isOk, output, errors } = await template(...values);
  expect([isOk, errors]).toEqual([true, '']);
  return readManifests(output);
}
const valuesFile = (name: string): string => path.join(chart, 'ci', name);
const production = (): Manifest[] => rendered.get('production-values.yaml')!.manifests;
const all = (): Manifest[] => [...rendered.values()].flatMap(({ manifests }) => manifests);

beforeAll(async () => {
  [helm, { binDir }] = await Promise.all([ensureHelm(), ensurePython(PYTHON.kubernetesValidate)]);
  for (const name of filesOfValues) {
    const { isOk, output, errors } = await template('-f', valuesFile(name));
    expect([name, isOk, errors]).toEqual([name, true, '']);
    writeFileSync(path.join(folder, name), output);
    rendered.set(name, { text: output, manifests: readManifests(output) });
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the chart', () => {
  it.each(filesOfValues)('passes `helm lint` with %s', async (name) => {
    const { isOk, output, errors } = await runHelm(helm, 'lint', chart, ['-f', valuesFile(name)]);
    expect([isOk, output + errors]).toEqual([true, expect.stringContaining('0 chart(s) failed')]);
  });

  it.each(KUBERNETES_VERSIONS)(
    'renders objects that Kubernetes %s accepts, for every file of values',
    async (version) => {
      const files = filesOfValues.map((name) => path.join(folder, name));
      const { stdout, stderr } = await validate(version, files);
      const lines = (stdout + stderr).split('\n').filter(Boolean);
      const passed = lines.filter((line) => line.includes(' passed for resource ')).length;
      const foreign = lines.filter((line) => FOREIGN_KINDS.some((kind) => line.includes(`schema for kind ${kind} `)));
      expect(lines.filter((line) => !line.startsWith('INFO') && !foreign.includes(line))).toEqual([]);
      expect(passed + foreign.length).toBe(all().length);
      expect(passed).toBeGreaterThan(80);
    },
  );

  it('would not pass that check with a wrong object', async () => {
    const file = path.join(folder, 'wrong.yaml');
    writeFileSync(file, rendered.get('minimal-values.yaml')!.text.replaceAll('maxSurge', 'maxSurges'));
    const error = await validate('1.31', [file]).catch((reason: unknown) => reason as { stdout: string });
    expect(error).toMatchObject({ code: 1, stdout: expect.stringContaining("'maxSurges' was unexpected") as string });
  });

  it('has names that fit Kubernetes, also for a long release and a long build ID', async () => {
    const long = `${'a'.repeat(26)}.${'b'.repeat(26)}`;
    const values = ['--set', 'worker.versioning.enabled=true', '--set', `image.tag=${'v1.'.repeat(30)}`];
    const { output } = await template(...MINIMAL, ...values, '--name-template', long);
    for (const { metadata } of readManifests(output)) expect(metadata.name).toMatch(/^[a-z0-9-]{1,63}$/);
    for (const { template } of listPods(readManifests(output)))
      for (const label of Object.values(template.metadata.labels)) expect(label).toMatch(/^[A-Za-z0-9_.-]{1,63}$/);
  });

  it('gives each object a name of its own', () => {
    for (const [name, { manifests }] of rendered) {
      const names = manifests.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
      expect([name, names.filter((each, at) => names.indexOf(each) !== at)]).toEqual([name, []]);
    }
  });
});

function validate(version: string, files: string[]): Promise<{ stdout: string; stderr: string }> {
  return exec(path.join(binDir, 'kubernetes-validate'), ['-k', version, '--strict', ...files], {
    maxBuffer: 1 << 26,
  });
}

describe('the schema of the values', () => {
  it('is what `npm run chart:schema` makes of the settings', () => {
    expect(isValuesSchemaCurrent()).toBe(true);
  });

  it.each([
    ['api.replica=3', "at '/api': additional properties 'replica' not allowed"],
    ['apis.replicas=3', "at '': additional properties 'apis' not allowed"],
    ['api.replicas=three', "at '/api/replicas': got string, want integer"],
    ['settings.POLONY_LOGLEVEL=info', "at '/settings': additional properties 'POLONY_LOGLEVEL' not allowed"],
    ['settings.POLONY_LOG_LEVEL=loud', "at '/settings/POLONY_LOG_LEVEL': value must be one of"],
    ['worker.settings.POLONY_WATCH_SLOTS=0', "at '/worker/settings/POLONY_WATCH_SLOTS': minimum: got 0, want 1"],
    ['worker.settings.POLONY_TRUST_PROXY=false', "additional properties 'POLONY_TRUST_PROXY' not allowed"],
    ['api.settings.POLONY_API_KEY=secret', "additional properties 'POLONY_API_KEY' not allowed"],
    ['settings.POLONY_ENCRYPTION_KEYS=k1', "additional properties 'POLONY_ENCRYPTION_KEYS' not allowed"],
    ['api.settings.POLONY_PORT=9000', "additional properties 'POLONY_PORT' not allowed"],
    ['aws.trustedAccountId=111122223333', "at '/aws/trustedAccountId': got number, want string"],
    ['secretsAs=files,secretAs=env', "at '': additional properties 'secretAs' not allowed"],
    ['aws.identity=keys', "at '/aws/identity': value must be one of"],
    ['temporal.address=http://temporal:7233', "at '/temporal/address': 'http://temporal:7233' does not match"],
    ['image.repository=lab/polony:1.0', "at '/image/repository': 'lab/polony:1.0' does not match"],
    ['image.digest=sha256:abc', "at '/image/digest': 'sha256:abc' does not match"],
    ['podSecurityContext.runAsUser=0', "at '/podSecurityContext/runAsUser': minimum: got 0, want 1"],
    ['worker.terminationGracePeriodSeconds=20', 'minimum: got 20, want 31'],
    ['worker.autoscaling.type=hpa', "at '/worker/autoscaling/type': value must be one of"],
    ['codec.origins[0]=*', "at '/codec/origins/0': '*' does not match"],
    ['networkPolicy.egress.dnsPorts[0]=0', "at '/networkPolicy/egress/dnsPorts/0': minimum: got 0, want 1"],
    ['metrics.rules.runbookBase=docs', "at '/metrics/rules/runbookBase': 'docs' does not match"],
    ['metrics.port=80', "at '/metrics/port': minimum: got 80, want 1,024"],
  ])('rejects %s and says where and why', async (value, message) => {
    const { isOk, errors } = await template(...MINIMAL, '--set', value);
    expect([isOk, errors]).toEqual([false, expect.stringContaining(message)]);
  });

  it('accepts the defaults of values.yaml, and names at once all values that are required', async () => {
    const { isOk, errors } = await template();
    expect(isOk).toBe(false);
    for (const name of ['image.repository', 'database.existingSecret', 'temporal.address', 'api.existingSecret'])
      expect(errors).toContain(`- ${name} is not set: `);
    expect(errors).not.toContain("don't meet the specifications");
  });

  it.each([
    [['codec.enabled=true'], ['payloadEncryption.existingSecret is not set', 'codec.origins is empty']],
    [['aws.identity=irsa'], ['aws.roleArn is not set']],
    [['aws.identity=secret'], ['aws.existingSecret is not set']],
    [['serviceAccount.create=false'], ['serviceAccount.name is not set']],
    [['api.ingress.enabled=true'], ['api.ingress.host is not set']],
    [['api.terminationGracePeriodSeconds=30'], ['must be at least drainSeconds + 30']],
    [['worker.autoscaling.maxReplicas=1'], ['worker.autoscaling.minReplicas is greater than maxReplicas']],
    [['metrics.enabled=false', 'metrics.monitor=podMonitor'], ['metrics.monitor would find no metrics']],
    [['metrics.enabled=false', 'metrics.rules.enabled=true'], ['would say that all metrics are missing']],
    [['maintenance.stopOthers=true'], ['maintenance.stopOthers has no effect without maintenance.enabled=true']],
    [['worker.versioning.previous[0].tag=0.0.9'], ['has no effect without worker.versioning.enabled=true']],
    [
      ['worker.versioning.enabled=true', 'image.tag=a', 'worker.versioning.previous[0].tag=a'],
      ['has the build ID a twice'],
    ],
    [
      ['migration.runtimePasswordKey=PASSWORD'],
      ['migration.existingSecret is not set', 'migration.runtimeRole is not'],
    ],
  ])('rejects %j, which cannot work', async (values, messages) => {
    const { isOk, errors } = await template(...MINIMAL, ...values.flatMap((value) => ['--set', value]));
    expect(isOk).toBe(false);
    for (const message of messages) expect(errors).toContain(message);
  });
});

describe('every pod', () => {
  it('runs without root, on a read-only file system, without capabilities and without a token of Kubernetes', () => {
    for (const { owner, template } of listPods(all())) {
      const name = `${owner.kind}/${owner.metadata.name}`;
      const { spec } = template;
      expect([name, spec.automountServiceAccountToken]).toEqual([name, false]);
      expect(spec.securityContext, name).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(spec, name).not.toHaveProperty('hostNetwork');
      for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
        expect(container.securityContext, name).toEqual({
          allowPrivilegeEscalation: false,
          privileged: false,
          readOnlyRootFilesystem: true,
          runAsNonRoot: true,
          capabilities: { drop: ['ALL'] },
        });
        expect(container.resources.limits?.memory, name).toMatch(/^\d+[MG]i$/);
        expect(container.resources.requests, name).toMatchObject({ cpu: expect.any(String) as string });
        // Only the temporary folder can be written.
        for (const mount of container.volumeMounts ?? [])
          expect([name, mount.mountPath, mount.readOnly ?? false]).toEqual([
            name,
            mount.mountPath,
            mount.name !== 'tmp',
          ]);
      }
    }
    const minimal = listPods(rendered.get('minimal-values.yaml')!.manifests);
    for (const { template } of minimal) expect(template.spec.securityContext).toMatchObject({ runAsUser: 1000 });
    const openshift = listPods(rendered.get('openshift-values.yaml')!.manifests);
    for (const { template } of openshift) expect(template.spec.securityContext).not.toHaveProperty('runAsUser');
  });

  it('uses a service account that exists when it starts, and nothing else of the chart before an installation', () => {
    for (const [file, { manifests }] of rendered) {
      const isHook = ({ metadata }: Manifest): boolean => /pre-/.test(metadata.annotations?.['helm.sh/hook'] ?? '');
      const weight = ({ metadata }: Manifest): number => Number(metadata.annotations?.['helm.sh/hook-weight'] ?? 0);
      for (const { owner, template } of listPods(manifests).filter(() => file !== 'openshift-values.yaml')) {
        const account = find(manifests, 'ServiceAccount', template.spec.serviceAccountName);
        expect(account.automountServiceAccountToken).toBe(false);
        if (!isHook(owner)) continue;
        expect([owner.metadata.name, isHook(account), weight(account) < weight(owner)]).toEqual([
          owner.metadata.name,
          true,
          true,
        ]);
        expect(template.spec.containers.flatMap(({ envFrom }) => envFrom ?? [])).toEqual([]);
        const policies = ofKind(manifests, 'NetworkPolicy').filter(
          (policy) => isHook(policy) && matches(podSelector(policy), template.metadata.labels),
        );
        expect(policies.map((policy) => weight(policy) < weight(owner))).toEqual([true]);
      }
    }
  });

  it('uses only the service account of the values if the chart may make none, also for the migration', async () => {
    const values = ['serviceAccount.create=false', 'serviceAccount.name=shared', 'worker.versioning.enabled=true'];
    const manifests = await render(...MINIMAL, ...values.flatMap((value) => ['--set', value]));
    expect(ofKind(manifests, 'ServiceAccount')).toEqual([]);
    for (const { owner, template } of listPods(manifests))
      expect([owner.metadata.name, template.spec.serviceAccountName]).toEqual([owner.metadata.name, 'shared']);
  });

  it('gets variables that polony knows, each from one place, and secrets only from Secrets', () => {
    for (const { owner, template } of listPods(all()))
      for (const container of template.spec.containers) {
        const names = (container.env ?? []).map(({ name }) => name);
        expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
        for (const { name, value, valueFrom } of container.env ?? []) {
          if (!isSecretSetting(name.replace(/_FILE$/, ''))) continue;
          const source = name.endsWith('_FILE')
            ? fileSecret(template.spec, container, value!)
            : valueFrom?.secretKeyRef;
          expect([name, source?.name]).toEqual([name, expect.stringMatching(/^[a-z-]+$/)]);
          expect([name, source?.key]).toEqual([name, expect.stringMatching(/^[A-Z_]+$/)]);
        }
        if (owner.kind !== 'Pod') expect(names.filter((name) => !isKnown(name))).toEqual([]);
      }
    for (const { metadata, data } of ofKind(all(), 'ConfigMap')) {
      if (metadata.name.endsWith('-dashboard')) continue;
      expect(Object.keys(data!).filter((name) => !isKnown(name))).toEqual([]);
      expect(Object.keys(data!).filter(isSecretSetting)).toEqual([]);
    }
  });

  it('finds every volume and every ConfigMap that it names', () => {
    for (const { manifests } of rendered.values())
      for (const { template } of listPods(manifests))
        for (const { volumeMounts, envFrom } of template.spec.containers) {
          const volumes = (template.spec.volumes ?? []).map(({ name }) => name);
          for (const { name } of volumeMounts ?? []) expect(volumes).toContain(name);
          for (const { configMapRef } of envFrom ?? []) find(manifests, 'ConfigMap', configMapRef.name);
        }
  });

  it('has time to end: longer than polony takes after the pod has left the service', () => {
    for (const { owner, template } of listPods(ofKind(all(), 'Deployment'))) {
      const drain = Number(template.spec.containers[0]!.lifecycle?.preStop.exec.command[1] ?? 0);
      // cli/serving.ts ends a process that takes more than 30 seconds.
      expect([owner.metadata.name, template.spec.terminationGracePeriodSeconds! > drain + 30 - 1]).toEqual([
        owner.metadata.name,
        true,
      ]);
    }
  });
});

const isKnown = (name: string): boolean =>
  Object.hasOwn(SettingsSchema.properties, name) ||
  Object.hasOwn(SettingsSchema.properties, name.replace(/_FILE$/, '')) ||
  /^(OTEL_[A-Z_]+|NODE_OPTIONS)$/.test(name);
const settings = SettingsSchema.properties as unknown as Record<string, { isSecret?: boolean } | undefined>;
const isSecretSetting = (name: string): boolean => settings[name]?.isSecret === true;
/** The Secret whose key is the file at this path in a container. */
function fileSecret(pod: PodSpec, container: Container, file: string): { name: string; key: string } | undefined {
  const mount = container.volumeMounts?.find(({ mountPath }) => file === `${mountPath}/value`);
  const volume = pod.volumes?.find(({ name }) => name === mount?.name);
  const secret = volume?.secret as { secretName: string; items: { key: string; path: string }[] } | undefined;
  const item = secret?.items.find(({ path: place }) => place === 'value');
  return item === undefined ? undefined : { name: secret!.secretName, key: item.key };
}
/** The names of all Secrets that a pod uses, as variables and as files. */
const secretsOf = (spec: PodSpec): string[] => [
  ...spec.containers.flatMap(({ env = [] }) => env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef?.name ?? [])),
  ...(spec.volumes ?? []).flatMap((volume) => (volume.secret as Labels | undefined)?.secretName ?? []),
];
const podSelector = (policy: Manifest): Labels =>
  (policy.spec as unknown as { podSelector: { matchLabels: Labels } }).podSelector.matchLabels;
const container = (manifests: readonly Manifest[], deployment: string): Container =>
  find(manifests, 'Deployment', deployment).spec!.template!.spec.containers[0]!;

/** The environment of a container as polony sees it, with a value for each secret. */
function environmentOf(manifests: readonly Manifest[], deployment: string): Record<string, string> {
  const secrets: Record<string, string> = {
    DATABASE_URL: 'postgres://polony@postgres:5432/polony',
    POLONY_ENCRYPTION_KEYS: `k1=${Buffer.alloc(32).toString('base64')}`,
    POLONY_PAYLOAD_KEYS: `p1=${Buffer.alloc(32).toString('base64')}`,
  };
  const { envFrom = [], env = [] } = container(manifests, deployment);
  return {
    ...Object.fromEntries(
      envFrom.flatMap(({ configMapRef }) => Object.entries(find(manifests, 'ConfigMap', configMapRef.name).data!)),
    ),
    ...Object.fromEntries(
      env.map(({ name, value, valueFrom }) => {
        const plain = name.replace(/_FILE$/, '');
        const secret = secrets[plain] ?? 'a-secret-of-more-than-24-characters';
        if (plain === name) return [name, valueFrom === undefined ? value! : secret];
        const file = path.join(folder, `${deployment}-${plain}`);
        writeFileSync(file, `${secret}\n`);
        return [name, file];
      }),
    ),
  };
}

describe('the settings', () => {
  it.each([
    ['minimal-values.yaml', 'lab-polony'],
    ['temporal-cloud-values.yaml', 'lab-polony'],
    ['openshift-values.yaml', 'polony-lab'],
  ])('of %s are accepted by the API and the worker', (file, name) => {
    const { manifests } = rendered.get(file)!;
    const api = parseApiConfig(environmentOf(manifests, `${name}-api`));
    expect(api).toMatchObject({ host: '0.0.0.0', port: 8080 });
    const worker = parseWorkerConfig(environmentOf(manifests, `${name}-worker`));
    expect(worker).toMatchObject({ healthAddress: '0.0.0.0:8081', taskQueue: api.taskQueue });
  });

  it('that are secret are files, except those that only a driver reads, or variables if you want', () => {
    const variables = (file: string, name: string): string[] =>
      container(rendered.get(file)!.manifests, name).env!.map((variable) => variable.name);
    expect(variables('production-values.yaml', 'lab-polony-api')).toEqual([
      'DATABASE_URL_FILE',
      'PGPASSWORD',
      'POLONY_ENCRYPTION_KEYS_FILE',
      'POLONY_PAYLOAD_KEYS_FILE',
      'POLONY_API_KEY_FILE',
      'POLONY_EVENTS_KEY_FILE',
      'OTEL_EXPORTER_OTLP_ENDPOINT',
    ]);
    expect(variables('openshift-values.yaml', 'polony-lab-api')).toEqual([
      'DATABASE_URL',
      'AWS_ACCESS_KEY_ID',
      'AWS_SECRET_ACCESS_KEY',
      'POLONY_API_KEY',
    ]);
  });

  it('keep large numbers as they are', () => {
    const { data } = find(production(), 'ConfigMap', 'lab-polony-api');
    expect(data).toMatchObject({ POLONY_REQUESTS_PER_MINUTE: '1000000', POLONY_GIVE_UP_DAYS: '30' });
  });

  it('of the login are those of the API in the codec server', () => {
    const api = find(production(), 'ConfigMap', 'lab-polony-api').data!;
    const codec = find(production(), 'ConfigMap', 'lab-polony-codec').data!;
    expect(codec).toMatchObject({
      POLONY_OIDC_ISSUER: api.POLONY_OIDC_ISSUER,
      POLONY_OIDC_AUDIENCE: 'polony',
      POLONY_CODEC_ORIGINS: 'https://temporal.example.org',
    });
    expect(codec).not.toHaveProperty('TEMPORAL_ADDRESS');
  });

  it('replace the pods of a component when they change, and no others', async () => {
    const checksum = (manifests: Manifest[], name: string): string =>
      find(manifests, 'Deployment', name).spec!.template!.metadata.annotations!['checksum/config']!;
    const before = rendered.get('minimal-values.yaml')!.manifests;
    const after = await render(...MINIMAL, '--set', 'worker.settings.POLONY_RUN_POLL_SECONDS=20');
    expect(checksum(after, 'lab-polony-worker')).not.toBe(checksum(before, 'lab-polony-worker'));
    expect(checksum(after, 'lab-polony-api')).toBe(checksum(before, 'lab-polony-api'));
  });

  it('listen on IPv6 if the cluster has it', () => {
    const { manifests } = rendered.get('keda-values.yaml')!;
    const config = find(manifests, 'ConfigMap', 'lab-polony-worker').data!;
    expect(config).toMatchObject({ POLONY_HEALTH_ADDRESS: '[::]:8081', POLONY_METRICS_ADDRESS: '[::]:9464' });
    expect(find(manifests, 'ConfigMap', 'lab-polony-api').data).toMatchObject({ POLONY_HOST: '::' });
  });
});

describe('the probes', () => {
  it('ask the ports where the processes listen', () => {
    for (const [deployment, port] of [
      ['lab-polony-api', environmentOf(production(), 'lab-polony-api').POLONY_PORT],
      ['lab-polony-codec', environmentOf(production(), 'lab-polony-codec').POLONY_CODEC_PORT],
    ] as const) {
      const { ports, startupProbe, livenessProbe, readinessProbe } = container(production(), deployment);
      for (const probe of [startupProbe!, livenessProbe!, readinessProbe!])
        expect(String(ports!.find(({ name }) => name === probe.httpGet.port)!.containerPort)).toBe(port);
    }
    const { manifests } = rendered.get('minimal-values.yaml')!;
    const { ports, readinessProbe } = container(manifests, 'lab-polony-worker');
    const address = find(manifests, 'ConfigMap', 'lab-polony-worker').data!.POLONY_HEALTH_ADDRESS!;
    const port = ports!.find(({ name }) => name === readinessProbe!.httpGet.port)!.containerPort;
    expect(address).toBe(`0.0.0.0:${port}`);
  });

  it('use paths that the API documents, and that the worker answers', async () => {
    const document = parse(readFileSync(path.join(chart, '../../../client/openapi.json'), 'utf8')) as {
      paths: Record<string, unknown>;
    };
    const probesOf = (name: string): string[] => {
      const { startupProbe, livenessProbe, readinessProbe } = container(
        rendered.get('minimal-values.yaml')!.manifests,
        name,
      );
      return [startupProbe!, livenessProbe!, readinessProbe!].map(({ httpGet }) => httpGet.path);
    };
    expect(probesOf('lab-polony-api')).toEqual(['/healthz', '/healthz', '/readyz']);
    for (const probe of probesOf('lab-polony-api')) expect(Object.keys(document.paths)).toContain(probe);
    const health = { database: 'ok', temporal: 'ok', tasks: 'none' };
    const server = await startHealthServer('127.0.0.1:0', async () => health);
    const statuses = await Promise.all(
      probesOf('lab-polony-worker').map(async (probe) => (await fetch(`${server.url}${probe}`)).status),
    ).finally(() => server.close());
    // A worker that does not work yet lives, and is not ready.
    expect(statuses).toEqual([200, 200, 503]);
  });
});

describe('worker versions', () => {
  const workers = (manifests: Manifest[]): Manifest[] =>
    ofKind(manifests, 'Deployment').filter(({ metadata }) => metadata.name.includes('-worker'));

  it('run side by side, each with its image and build ID', () => {
    expect(
      workers(production()).map(({ metadata, spec }) => [
        metadata.name,
        spec!.template!.spec.containers[0]!.image.split('polony').pop(),
        spec!.template!.spec.containers[0]!.env!.find(({ name }) => name === 'POLONY_BUILD_ID')!.value,
        spec!.replicas,
      ]),
    ).toEqual([
      ['lab-polony-worker-0-1-0-4cbb8ad1c5b5', expect.stringMatching(/^@sha256:4cbb/), '0.1.0-4cbb8ad1c5b5', undefined],
      ['lab-polony-worker-0-0-9', ':0.0.9', '0.0.9', 2],
      ['lab-polony-worker-0-0-8-9a8b7c6d5e4f', expect.stringMatching(/^@sha256:9a8b/), '0.0.8-9a8b7c6d5e4f', 1],
    ]);
  });

  it('keep their pods when a newer version is installed beside them', async () => {
    const versioned = [...MINIMAL, '--set', 'worker.versioning.enabled=true'];
    const before = workers(await render(...versioned, '--set', 'image.tag=1.0.0'));
    const after = workers(
      await render(...versioned, '--set', 'image.tag=1.1.0', '--set', 'worker.versioning.previous[0].tag=1.0.0'),
    );
    expect(after.map(({ metadata }) => metadata.name)).toEqual(['lab-polony-worker-1-1-0', 'lab-polony-worker-1-0-0']);
    expect(after[1]!.spec!.template).toEqual(before[0]!.spec!.template);
    expect(after[1]!.spec!.selector).toEqual(before[0]!.spec!.selector);
  });

  it('are promoted after an installation, an upgrade and a rollback, with their own build ID', () => {
    const job = find(production(), 'Job', 'lab-polony-promote');
    expect(job.metadata.annotations!['helm.sh/hook']).toBe('post-install,post-upgrade,post-rollback');
    const { args, env } = job.spec!.template!.spec.containers[0]!;
    expect(args).toEqual(['promote']);
    expect(env).toEqual(
      expect.arrayContaining([
        { name: 'POLONY_DEPLOYMENT_NAME', value: 'polony' },
        { name: 'POLONY_BUILD_ID', value: '0.1.0-4cbb8ad1c5b5' },
      ]),
    );
    expect(env!.map(({ name }) => name)).not.toContain('DATABASE_URL');
  });
});

describe('the maintenance pod', () => {
  const podOf = (name: string): PodSpec => find(production(), 'Deployment', name).spec!.template!.spec;

  it('has the settings, Secrets, identity and place of the current worker, and can be reached by nobody', () => {
    const worker = podOf('lab-polony-worker-0-1-0-4cbb8ad1c5b5');
    const maintenance = podOf('lab-polony-maintenance');
    const { name, command, resources, ...same } = maintenance.containers[0]!;
    expect([name, resources.limits]).toEqual(['maintenance', { memory: '2Gi' }]);
    expect(worker.containers[0]).toMatchObject(same);
    for (const member of ['env', 'envFrom', 'volumeMounts'] as const)
      expect(same[member]).toEqual(worker.containers[0]![member]);
    expect(command![0]).toBe('node');
    expect([maintenance.serviceAccountName, maintenance.volumes]).toEqual([worker.serviceAccountName, worker.volumes]);
    const rules = (of: string): { ingress: unknown; egress: unknown } =>
      find(production(), 'NetworkPolicy', of).spec as unknown as { ingress: unknown; egress: unknown };
    expect(rules('lab-polony-maintenance').egress).toEqual(rules('lab-polony-worker').egress);
    expect(rules('lab-polony-maintenance').ingress).toEqual([]);
  });

  it('sleeps, and ends at once on SIGTERM as the first process of a container', async () => {
    const [command, ...parameters] = podOf('lab-polony-maintenance').containers[0]!.command!;
    expect(command).toBe('node');
    // What it prints when the handler is there tells the test when to send the signal.
    const ready = "process.on('newListener', (name) => name === 'SIGTERM' && setImmediate(() => console.log(name)));";
    const preload = `data:text/javascript,${encodeURIComponent(ready)}`;
    const child = spawn(process.execPath, ['--import', preload, ...parameters], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    // A process without a handler would end by the signal, which the kernel does not send to the first process.
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('can be all that runs, so that a restored database meets no worker', async () => {
    for (const name of ['production-values.yaml', 'keda-values.yaml']) {
      const set = ['maintenance.enabled=true', 'maintenance.stopOthers=true'].flatMap((each) => ['--set', each]);
      const manifests = await render('-f', valuesFile(name), ...set);
      const running = ofKind(manifests, 'Deployment').filter(({ spec }) => spec!.replicas !== 0);
      expect(running.map(({ metadata }) => metadata.name)).toEqual(['lab-polony-maintenance']);
      for (const kind of ['HorizontalPodAutoscaler', 'ScaledObject']) expect(ofKind(manifests, kind)).toEqual([]);
      // No worker could be promoted. The migration still runs.
      expect(ofKind(manifests, 'Job').map(({ metadata }) => metadata.name)).toEqual(['lab-polony-migration']);
    }
  });

  it('is there only if you turn it on', () => {
    const { manifests } = rendered.get('minimal-values.yaml')!;
    expect(manifests.filter(({ metadata }) => metadata.name.endsWith('-maintenance'))).toEqual([]);
  });

  /** The commands of the documentation that begin so, as one line each. */
  function commands(start: string): string[] {
    const docs = path.join(chart, '../../../docs');
    return readdirSync(docs, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.md'))
      .map((file) => readFileSync(path.join(docs, file), 'utf8').replace(/\\\n\s*/g, ''))
      .flatMap((text) => text.match(new RegExp(`${start} [^\`\n]*`, 'g')) ?? []);
  }

  it('and the other Deployments have the names that the documentation uses', async () => {
    const manifests = await render(...MINIMAL, '--set', 'fullnameOverride=polony', '--set', 'maintenance.enabled=true');
    const names = commands('kubectl').flatMap((command) => /deployment\/([a-z-]+)/.exec(command)?.[1] ?? []);
    expect(names).toContain('polony-maintenance');
    for (const name of names) find(manifests, 'Deployment', name);
  });

  it('and everything else can be installed with the flags that the documentation uses', async () => {
    const flags = commands('helm upgrade').map((command) => command.match(/--set \S+/g) ?? []);
    expect(flags.flat()).toContain('--set maintenance.stopOthers=true');
    for (const set of new Set(flags.map((each) => each.join(' ')))) {
      const manifests = await render('-f', valuesFile('production-values.yaml'), ...set.split(' ').filter(Boolean));
      expect(ofKind(manifests, 'Deployment').length).toBeGreaterThan(3);
    }
  });
});

describe('selectors', () => {
  it('of Deployments, Services, budgets and policies find exactly the pods that they are for', () => {
    for (const { manifests } of rendered.values()) {
      const deployments = ofKind(manifests, 'Deployment');
      const pods = deployments.map(({ metadata, spec }) => ({ name: metadata.name, ...spec!.template!.metadata }));
      const selected = (selector: Labels): string[] =>
        pods.filter(({ labels }) => matches(selector, labels)).map(({ name }) => name);
      for (const { metadata, spec } of deployments)
        expect(selected((spec!.selector as { matchLabels: Labels }).matchLabels)).toEqual([metadata.name]);
      for (const { metadata, spec } of ofKind(manifests, 'PodDisruptionBudget'))
        expect(selected((spec!.selector as { matchLabels: Labels }).matchLabels)).toEqual([metadata.name]);
      for (const service of ofKind(manifests, 'Service')) {
        const names = selected(service.spec!.selector as Labels);
        expect(names.length).toBeGreaterThan(0);
        for (const { targetPort } of (service.spec as unknown as { ports: { targetPort: string }[] }).ports)
          for (const name of names)
            expect(container(manifests, name).ports!.map((port) => port.name)).toContain(targetPort);
      }
    }
  });

  it('of network policies leave no pod of polony without one', () => {
    for (const { manifests } of rendered.values()) {
      for (const { owner, template } of listPods(manifests).filter(({ owner }) => owner.kind !== 'Pod')) {
        const policies = ofKind(manifests, 'NetworkPolicy').filter((policy) =>
          matches(podSelector(policy), template.metadata.labels),
        );
        expect([owner.metadata.name, policies.length]).toEqual([owner.metadata.name, 1]);
      }
    }
  });
});

describe('network policies', () => {
  interface Rule {
    ports: { port: number | string; protocol: string }[];
    to?: unknown[];
    from?: unknown[];
  }
  const policy = (manifests: Manifest[], name: string): { ingress: Rule[]; egress: Rule[] } =>
    find(manifests, 'NetworkPolicy', name).spec as unknown as { ingress: Rule[]; egress: Rule[] };
  const portsOf = (rules: Rule[]): (number | string)[] => rules.flatMap(({ ports }) => ports.map(({ port }) => port));

  it('let each component reach what it needs and nothing else', () => {
    const { manifests } = rendered.get('minimal-values.yaml')!;
    const dns = [53, 53, 5353, 5353];
    expect(portsOf(policy(manifests, 'lab-polony-api').egress)).toEqual([...dns, 5432, 7233, 443, 80]);
    expect(portsOf(policy(manifests, 'lab-polony-migration').egress)).toEqual([...dns, 5432, 7233]);
    // 4318 is `networkPolicy.egress.extra`, which jobs have too.
    expect(portsOf(policy(production(), 'lab-polony-migration').egress)).toEqual([...dns, 5432, 7233, 4318]);
    expect(portsOf(policy(production(), 'lab-polony-promote').egress)).toEqual([...dns, 7233, 4318]);
    expect(portsOf(policy(production(), 'lab-polony-codec').egress)).toEqual([...dns, 5432, 443, 4318]);
  });

  it('name the ports of the pods behind a Service where those differ', async () => {
    const { manifests } = rendered.get('openshift-values.yaml')!;
    expect(container(manifests, 'polony-lab-worker').image).toContain('polony');
    expect(find(manifests, 'ConfigMap', 'polony-lab-worker').data!.TEMPORAL_ADDRESS).toBe('temporal-frontend:443');
    expect(portsOf(policy(manifests, 'polony-lab-worker').egress)).toEqual([53, 53, 5353, 5353, 5432, 7236, 443]);
    const ports = ['dnsPorts={5353}', 'databasePorts={6432,5433}', 'temporalPorts={7236}'];
    const set = ports.flatMap((each) => ['--set', `networkPolicy.egress.${each}`]);
    const changed = await render(...MINIMAL, ...set);
    for (const name of ['worker', 'migration'])
      expect(portsOf(policy(changed, `lab-polony-${name}`).egress).slice(0, 5)).toEqual([5353, 5353, 6432, 5433, 7236]);
  });

  it('let nobody call a worker but Prometheus, and nobody read metrics but its namespace', () => {
    for (const name of ['api', 'worker']) {
      const { ingress } = policy(production(), `lab-polony-${name}`);
      const metrics = ingress.filter(({ ports }) => ports.some(({ port }) => port === 'metrics'));
      expect(metrics.map(({ from }) => from)).toEqual([
        [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
      ]);
      expect(portsOf(ingress)).toEqual(name === 'api' ? ['http', 'metrics'] : ['metrics']);
    }
    expect(policy(production(), 'lab-polony-migration').ingress).toEqual([]);
  });

  it('open the metadata service of the node only to pods that take their identity from there', () => {
    for (const [file, address] of [
      ['minimal-values.yaml', '169.254.170.23/32'],
      ['keda-values.yaml', '169.254.169.254/32'],
      ['production-values.yaml', undefined],
    ] as const) {
      const { egress } = policy(rendered.get(file)!.manifests, 'lab-polony-worker');
      const blocks = egress.flatMap(({ to = [] }) => to as { ipBlock?: { cidr: string; except?: string[] } }[]);
      const local = blocks.map(({ ipBlock }) => ipBlock?.cidr).filter((cidr) => cidr?.startsWith('169.254.'));
      expect([file, local]).toEqual([file, address === undefined ? [] : [address]]);
      expect(blocks.find(({ ipBlock }) => ipBlock?.cidr === '0.0.0.0/0')?.ipBlock!.except).toEqual(['169.254.0.0/16']);
    }
  });
});

describe('objects of other projects, for which there is no schema', () => {
  it('scale workers by every task queue that they poll, and never to none', () => {
    const { manifests } = rendered.get('keda-values.yaml')!;
    const [scaled] = ofKind(manifests, 'ScaledObject');
    const spec = scaled!.spec as unknown as {
      scaleTargetRef: { name: string };
      minReplicaCount: number;
      triggers: { type: string; metadata: Labels; authenticationRef: { name: string } }[];
    };
    expect(find(manifests, 'Deployment', spec.scaleTargetRef.name).spec).not.toHaveProperty('replicas');
    expect(spec.minReplicaCount).toBeGreaterThan(0);
    expect(spec.triggers.map(({ metadata }) => metadata.taskQueue).sort()).toEqual(
      Object.values(taskQueues('polony')).sort(),
    );
    // The parameters of KEDA's scaler `temporal` (https://keda.sh/docs/latest/scalers/temporal/).
    const known =
      /^(endpoint|namespace|taskQueue|queueTypes|targetQueueSize|activationTargetQueueSize|tlsServerName|minConnectTimeout|unsafeSsl|workerDeploymentName|workerDeploymentBuildId)$/;
    for (const { type, metadata, authenticationRef } of spec.triggers) {
      expect(type).toBe('temporal');
      expect(Object.keys(metadata).filter((name) => !known.test(name))).toEqual([]);
      expect(Object.values(metadata).every((value) => typeof value === 'string')).toBe(true);
      const { secretTargetRef } = find(manifests, 'TriggerAuthentication', authenticationRef.name).spec as unknown as {
        secretTargetRef: { parameter: string }[];
      };
      expect(secretTargetRef.map(({ parameter }) => parameter)).toEqual(['cert', 'key']);
    }
  });

  interface Endpoint {
    port: string;
    relabelings: object[];
  }
  /** deploy/prometheus/polony.rules.yml selects jobs with this name. */
  const ALERTED_JOB = { targetLabel: 'job', replacement: expect.stringMatching(/^polony-(api|worker)$/) as string };

  it('monitor ports that exist, with the labels that Prometheus selects', () => {
    for (const monitor of ofKind(production(), 'ServiceMonitor')) {
      expect(monitor.metadata.labels).toMatchObject({ release: 'prometheus' });
      const spec = monitor.spec as unknown as { selector: { matchLabels: Labels }; endpoints: Endpoint[] };
      const services = ofKind(production(), 'Service').filter(({ metadata }) =>
        matches(spec.selector.matchLabels, metadata.labels!),
      );
      expect(services.map(({ metadata }) => metadata.name)).toEqual([`${monitor.metadata.name}-metrics`]);
      const ports = (services[0]!.spec as unknown as { ports: { name: string }[] }).ports.map(({ name }) => name);
      for (const { port, relabelings } of spec.endpoints) {
        expect(ports).toContain(port);
        expect(relabelings).toEqual([ALERTED_JOB]);
      }
    }
    const { manifests } = rendered.get('temporal-cloud-values.yaml')!;
    for (const monitor of ofKind(manifests, 'PodMonitor')) {
      const spec = monitor.spec as unknown as {
        selector: { matchLabels: Labels };
        podMetricsEndpoints: Endpoint[];
      };
      const pods = listPods(ofKind(manifests, 'Deployment')).filter(({ template }) =>
        matches(spec.selector.matchLabels, template.metadata.labels),
      );
      expect(pods).toHaveLength(1);
      for (const { port, relabelings } of spec.podMetricsEndpoints) {
        expect(pods[0]!.template.spec.containers[0]!.ports!.map(({ name }) => name)).toContain(port);
        expect(relabelings).toEqual([ALERTED_JOB]);
      }
    }
  });
});

describe('monitoring', () => {
  const source = (file: string): string => readFileSync(path.join(chart, '../..', file), 'utf8');
  interface Rules {
    groups: { rules: { alert: string; annotations: Labels }[] }[];
  }
  const rules = parse(source('prometheus/polony.rules.yml')) as Rules;

  it('has the alert rules of the repository, as Prometheus reads them', async () => {
    const set = ['--set', 'metrics.rules.enabled=true'];
    const [plain, ...others] = ofKind(await render(...MINIMAL, ...set), 'PrometheusRule');
    expect(others).toEqual([]);
    expect(plain!.spec).toEqual(rules);
  });

  it('links the alerts to where the runbooks are', () => {
    const [rule] = ofKind(production(), 'PrometheusRule');
    expect(rule!.metadata.labels).toMatchObject({ release: 'prometheus' });
    const linked = structuredClone(rules);
    for (const { annotations } of linked.groups.flatMap((group) => group.rules))
      annotations.runbook_url = `https://git.example.org/lab/polony/blob/main/${annotations.runbook_url}`;
    expect(rule!.spec).toEqual(linked);
  });

  it('has the dashboard of the repository where the sidecar of Grafana finds it', () => {
    const { metadata, data } = find(production(), 'ConfigMap', 'lab-polony-dashboard');
    expect(metadata.labels).toMatchObject({ grafana_dashboard: '1' });
    expect(metadata.annotations).toEqual({ grafana_folder: 'Sequencing' });
    expect(Object.keys(data!)).toEqual(['polony.json']);
    expect(JSON.parse(data!['polony.json']!)).toEqual(JSON.parse(source('grafana/polony.json')));
  });

  it('is off by default', () => {
    const { manifests } = rendered.get('minimal-values.yaml')!;
    expect(ofKind(manifests, 'PrometheusRule')).toEqual([]);
    expect(ofKind(manifests, 'ConfigMap').map(({ metadata }) => metadata.name)).toEqual([
      'lab-polony-api',
      'lab-polony-worker',
    ]);
  });
});

describe('the rendered chart', () => {
  it('has no Secret, and names only Secrets of the values', () => {
    expect(ofKind(all(), 'Secret')).toEqual([]);
    const used = new Set(listPods(production()).flatMap(({ template }) => secretsOf(template.spec)));
    expect([...used].sort()).toEqual([
      'polony-api',
      'polony-database',
      'polony-database-owner',
      'polony-encryption',
      'polony-payload-encryption',
      'temporal-ca',
      'temporal-client',
    ]);
  });

  it('gives the owner of the tables to the migration only', () => {
    for (const { owner, template } of listPods(production())) {
      const secrets = secretsOf(template.spec);
      expect([owner.metadata.name, secrets.includes('polony-database-owner')]).toEqual([
        owner.metadata.name,
        owner.metadata.name === 'lab-polony-migration',
      ]);
    }
  });

  it('serves the API and the codec server at hosts of their own, with TLS', () => {
    const hosts = ofKind(production(), 'Ingress').map(({ spec }) => {
      const { rules, tls } = spec as unknown as { rules: { host: string }[]; tls: { hosts: string[] }[] };
      return [rules.map(({ host }) => host), tls.flatMap((each) => each.hosts)];
    });
    expect(hosts).toEqual([
      [['polony.example.org'], ['polony.example.org']],
      [['codec.example.org'], ['codec.example.org']],
    ]);
    expect(find(production(), 'ConfigMap', 'lab-polony-worker').data!.POLONY_PUBLIC_URL).toBe(
      'https://polony.example.org',
    );
  });
});
