import { parseAllDocuments } from 'yaml';

/** An object of Kubernetes, as far as the tests look at it. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels?: Labels; annotations?: Labels };
  data?: Record<string, string>;
  automountServiceAccountToken?: boolean;
  spec?: Record<string, unknown> & { template?: PodTemplate; selector?: unknown; replicas?: number };
}
export type Labels = Record<string, string>;
export interface Variable {
  name: string;
  value?: string;
  valueFrom?: { secretKeyRef?: { name: string; key: string } };
}
interface Probe {
  httpGet: { path: string; port: string };
}
export interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  securityContext: Record<string, unknown>;
  envFrom?: { configMapRef: { name: string } }[];
  env?: Variable[];
  ports?: { name: string; containerPort: number }[];
  startupProbe?: Probe;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
  lifecycle?: { preStop: { exec: { command: string[] } } };
  resources: { requests?: Labels; limits?: Labels };
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
}
export interface PodSpec {
  serviceAccountName: string;
  automountServiceAccountToken: boolean;
  securityContext: Record<string, unknown>;
  terminationGracePeriodSeconds?: number;
  containers: Container[];
  initContainers?: Container[];
  volumes?: Record<string, unknown>[];
  topologySpreadConstraints?: unknown[];
}
export interface PodTemplate {
  metadata: { labels: Labels; annotations?: Labels };
  spec: PodSpec;
}

/** Reads what `helm template` printed. */
export function readManifests(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document) => {
      if (document.errors.length > 0) throw document.errors[0]!;
      return document.toJS() as Manifest | null;
    })
    .filter((manifest) => manifest !== null);
}

export const ofKind = (manifests: readonly Manifest[], kind: string): Manifest[] =>
  manifests.filter((manifest) => manifest.kind === kind);

/** The object with this kind and name. @throws Error where there is none. */
export function find(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const candidates = ofKind(manifests, kind);
  const found = candidates.find(({ metadata }) => metadata.name === name);
  if (found !== undefined) return found;
  throw new Error(`There is no ${kind} ${name}, but ${candidates.map(({ metadata }) => metadata.name).join(', ')}`);
}

/** Every template of a pod, with the object that makes it. */
export function listPods(manifests: readonly Manifest[]): { owner: Manifest; template: PodTemplate }[] {
  return manifests.flatMap((owner) => {
    if (owner.kind === 'Pod')
      return [{ owner, template: { metadata: owner.metadata, spec: owner.spec } as unknown as PodTemplate }];
    return owner.spec?.template === undefined ? [] : [{ owner, template: owner.spec.template }];
  });
}

/** Whether labels satisfy a selector of labels. */
export const matches = (selector: Labels, labels: Labels): boolean =>
  Object.entries(selector).every(([name, value]) => labels[name] === value);
