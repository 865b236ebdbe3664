import { WITH_PREFIX, WITHOUT_ID } from '../../domain/auth/scopes.js';

/** What a scope can be for, in words, by resource and action. */
export interface ScopeResource {
  resource: string;
  text: string;
  actions: readonly { action: string; text: string }[];
  /** Whether a scope can be for one of them only. */
  hasIds: boolean;
}

/** All scopes (docs/reference/scopes.md). The API decides what a caller may give. */
export const SCOPE_RESOURCES: readonly ScopeResource[] = [
  {
    resource: 'runs',
    text: 'Runs',
    hasIds: true,
    actions: [
      { action: 'read', text: 'read runs' },
      { action: 'download', text: 'files of runs' },
      { action: 'operate', text: 'check an upload again' },
    ],
  },
  {
    resource: 'executions',
    text: 'Executions',
    hasIds: true,
    actions: [
      { action: 'read', text: 'read executions' },
      { action: 'download', text: 'files of executions' },
      { action: 'logs', text: 'logs of executions' },
      { action: 'create', text: 'start executions; needs to read runs and flows' },
      { action: 'operate', text: 'cancel and retry executions' },
    ],
  },
  {
    resource: 'instruments',
    text: 'Instruments',
    hasIds: true,
    actions: [{ action: 'read', text: 'read instruments' }],
  },
  {
    resource: 'storage',
    text: 'Storage',
    hasIds: true,
    actions: [
      { action: 'read', text: 'read storage connections' },
      { action: 'download', text: 'files of buckets' },
      { action: 'upload', text: 'credentials to upload a run' },
      { action: 'write', text: 'create, change, verify and delete storage connections' },
      { action: 'share', text: 'manage who may read a bucket' },
    ],
  },
  {
    resource: 'providers',
    text: 'Providers',
    hasIds: true,
    actions: [
      { action: 'read', text: 'read providers' },
      { action: 'write', text: 'create, change, verify and delete providers' },
    ],
  },
  {
    resource: 'compute',
    text: 'Compute',
    hasIds: true,
    actions: [
      { action: 'read', text: 'read compute connections' },
      { action: 'write', text: 'create, change, verify and delete compute connections' },
    ],
  },
  {
    resource: 'flows',
    text: 'Flows',
    hasIds: true,
    actions: [
      { action: 'read', text: 'read flows' },
      { action: 'write', text: 'create, change, verify and delete flows' },
    ],
  },
  {
    resource: 'webhooks',
    text: 'Webhooks',
    hasIds: true,
    actions: [
      { action: 'read', text: 'read webhooks' },
      { action: 'write', text: 'create, change and delete webhooks, which get events about everything' },
    ],
  },
  { resource: 'iam', text: 'IAM documents', hasIds: false, actions: [{ action: 'read', text: 'read IAM documents' }] },
  {
    resource: 'keys',
    text: 'API keys',
    hasIds: false,
    actions: [
      { action: 'read', text: 'read API keys' },
      { action: 'write', text: 'create, rotate, revoke and delete API keys' },
    ],
  },
  { resource: 'audit', text: 'Audit log', hasIds: false, actions: [{ action: 'read', text: 'read the audit log' }] },
  {
    resource: 'events',
    text: 'Events of AWS',
    hasIds: false,
    actions: [{ action: 'write', text: 'send events of EventBridge' }],
  },
  {
    resource: 'payloads',
    text: 'Payloads of Temporal',
    hasIds: false,
    actions: [
      { action: 'read', text: 'decrypt payloads' },
      { action: 'write', text: 'encrypt payloads' },
    ],
  },
];

/** What the reader chose for one scope. */
export interface ScopeChoice {
  resource: string;
  /** `*` for all actions. */
  action: string;
  /** Empty for all resources. */
  id: string;
  /** A folder of a storage connection; empty for all of it. */
  prefix: string;
}

/** Whether a scope can be for one resource only. */
export const canHaveId = ({ resource, action }: ScopeChoice): boolean =>
  SCOPE_RESOURCES.some((each) => each.resource === resource && each.hasIds) && !WITHOUT_ID.has(`${resource}:${action}`);

/** Whether a scope can be for a folder only. */
export const canHavePrefix = (choice: ScopeChoice): boolean =>
  canHaveId(choice) && choice.id !== '' && WITH_PREFIX.has(`${choice.resource}:${choice.action}`);

/** The text of a scope, as the API reads it. */
export function writeChoice(choice: ScopeChoice): string {
  const { resource, action, id, prefix } = choice;
  const base = `${resource}:${action}`;
  if (!canHaveId(choice) || id.trim() === '') return base;
  const folder = prefix.trim().replace(/^\/+/, '');
  return `${base}:${id.trim()}${canHavePrefix(choice) && folder !== '' ? `/${folder}` : ''}`;
}

/** Collections of scopes for what keys are often for. */
export const SCOPE_PRESETS: readonly { id: string; text: string; description: string; scopes: readonly string[] }[] = [
  {
    id: 'lims',
    text: 'LIMS',
    description: 'Follow runs and executions, and start executions',
    scopes: ['runs:read', 'flows:read', 'executions:read', 'executions:create'],
  },
  {
    id: 'reader',
    text: 'Reader',
    description: 'See everything of the lab, change nothing, download nothing',
    scopes: [
      ...['runs:read', 'executions:read', 'executions:logs', 'instruments:read'],
      ...['storage:read', 'providers:read', 'compute:read', 'flows:read'],
    ],
  },
  {
    id: 'download',
    text: 'Download',
    description: 'See runs and executions, and download their files',
    scopes: ['runs:read', 'runs:download', 'executions:read', 'executions:download'],
  },
  {
    id: 'operator',
    text: 'Operator',
    description: 'Run the lab: all of runs, executions and instruments; read the connections',
    scopes: ['runs:*', 'executions:*', 'instruments:read', 'storage:read', 'compute:read', 'flows:read'],
  },
  { id: 'all', text: 'Everything', description: 'All that polony can do, also what later versions add', scopes: ['*'] },
];

/** Reads a scope back, for the form. Everything (`*`) has no form. */
export function readChoice(scope: string): ScopeChoice | undefined {
  const [resource = '', action = '', ...rest] = scope.split(':');
  if (!SCOPE_RESOURCES.some((each) => each.resource === resource)) return undefined;
  const narrowed = rest.join(':');
  const slash = resource === 'storage' ? narrowed.indexOf('/') : -1;
  return slash < 0
    ? { resource, action, id: narrowed, prefix: '' }
    : { resource, action, id: narrowed.slice(0, slash), prefix: narrowed.slice(slash + 1) };
}
