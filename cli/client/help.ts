import { flagName, type Operation } from './operations.js';

/**
 * What a flag takes, where the API does not describe the field or describes it for programs: a flag takes a name where
 * a field takes an ID. By the field.
 */
const FLAGS: Readonly<Record<string, string>> = {
  credentialType: 'how polony enters the account',
  providerId: 'ID or name of the provider',
  computeConnectionId: 'ID or name of the compute connection',
  flowId: 'ID or name of the flow',
  runId: 'ID or name of the run',
  useForDataExploration: 'whether people may list and download files of the bucket through polony',
  autoStart:
    'which runs start the flow automatically: an object with storageConnectionIds, instruments and runNames; ' +
    'the flags --auto-start-… are easier',
  scopes:
    'each is resource:action, resource:action:<ID or name>, storage:action:<ID or name>/<folder>/, resource:* or *; ' +
    'you can grant only scopes that you have yourself',
  description: 'text for people',
  enabled: 'whether polony sends events. The default is true',
  state: 'only deliveries in this state',
  bucket: 'the bucket of the storage connection',
  prefix: 'only what starts with this',
  region: 'an AWS region',
};

/** The same for a field of one operation. */
const FLAGS_OF_OPERATION: Readonly<Record<string, string>> = {
  'AuditService_ListAuditLog.callerId':
    'only what this caller did: the ID or name of an API key, or the ID of a person',
  'AuditService_ListAuditLog.resourceId': 'only what concerns this resource: its ID or name',
  'AuditService_ListAuditLog.requestId': 'only the request with this ID',
  'AuditService_ExportAuditLog.callerId':
    'only what this caller did: the ID or name of an API key, or the ID of a person',
  'AuditService_ExportAuditLog.resourceId': 'only what concerns this resource: its ID or name',
  'AuditService_ExportAuditLog.requestId': 'only the request with this ID',
  'AuthService_CreateApiKey.expiresInDays': 'days until the key ends. The default is 30',
  'AuthService_RotateApiKey.expiresInDays':
    'days until the new key ends. The default is the number of days that the old key was created for',
  'AuthService_RotateApiKey.graceHours': 'hours that the old key still works; 0 ends it at once. The default is 24',
  'ExecutionService_CancelExecution.reason': 'why; the audit log and the execution keep it',
  'ExecutionService_CreateExecution.manifest':
    'a run manifest in place of the run\'s own: {"content": …} or {"uri": …}; --manifest-file is easier',
  'RunService_CheckManifest.manifest':
    'a run manifest: {"content": …} or {"uri": …}; --manifest-file is easier. The default is that of the run folder',
  'ExecutionService_RelaunchExecution.manifest':
    'a run manifest: {"content": …}, {"uri": …}, or null for the run\'s own; --manifest-file is easier. ' +
    'The default is the manifest of the repeated execution',
  'IamDocumentService_CheckPolicy.prefix': 'the folder that holds run data. The default is the whole bucket',
  'IamDocumentService_CheckPolicy.region': 'the AWS region of the bucket and of HealthOmics. The default is any region',
  'IamDocumentService_CheckPolicy.policy': 'the permission policy as JSON, or @file',
  'WebhookService_ReplayWebhook.since': 'send events of this time and later again',
  'WebhookService_ReplayWebhook.until': 'send only events before this time again',
  'WebhookService_ReplayWebhook.deliveryIds': 'send only these deliveries again',
  'WebhookService_ReplayWebhook.onlyFailed': 'send only deliveries again that polony gave up. The default is false',
};

/** Fields whose flag takes more than the API describes. */
const OVERRIDES = new Set(['scopes', 'autoStart']);

/**
 * Describes the flag for a field of a body or a query parameter.
 * @param fromApi the description of the API; empty where it has none
 * @param isRequired whether the command fails without the field
 */
export function flagHelp(operation: Operation, field: string, fromApi: string, isRequired: boolean): string {
  const { operationId, method } = operation;
  const general = OVERRIDES.has(field) || fromApi === '' ? FLAGS[field] : undefined;
  const text = (FLAGS_OF_OPERATION[`${operationId}.${field}`] ?? general ?? fromApi).replace(/\.$/, '');
  const changed = nameFlags(operation, method === 'PATCH' ? withoutDefault(text) : text);
  return isRequired ? `${changed} (required)` : changed;
}

/** What the API says of a new resource does not hold for a change, which leaves other fields as they are. */
function withoutDefault(text: string): string {
  const kept = text
    .replace(/\.? The default is [^.]*$/, '')
    .replace(/\.? If you (?:omit it|leave it out or empty)(?:, |: )[^.]*$/, '');
  return `${kept}; unchanged without this flag`;
}

/** Replaces names of fields by the names of their flags: `runId` by `--run-id`. */
function nameFlags({ body, parameters }: Operation, text: string): string {
  const fields = [...Object.keys(body?.properties ?? {}), ...parameters.map(({ name }) => name)];
  return fields
    .filter((field) => /[A-Z]/.test(field))
    .reduce(
      (before, field) => before.replace(new RegExp(`(?<![\\w-])\`?${field}\`?(?!\\w)`, 'g'), `--${flagName(field)}`),
      text,
    );
}

/** What `--help` of a command says below its flags, where the description in the API is about the API. */
const COMMANDS: Readonly<Record<string, string>> = {
  ProviderService_VerifyProvider: 'This also verifies the connections and flows of the provider.',
  StorageConnectionService_VerifyStorageConnection: 'polony storage verification shows the last result.',
  ComputeConnectionService_VerifyComputeConnection: 'polony compute verification shows the last result.',
  FlowService_VerifyFlow: 'polony flows verification shows the last result.',
  AuthService_CreateApiKey:
    'The key is shown only once. If you lose it, revoke it and create another one. ' +
    'A key that you create with another key expires no later than that key.',
  RunService_GetRunDetails: '--watch waits for a run that polony has not found yet, for up to two minutes.',
  ExecutionService_GetExecutionDetails:
    '--watch waits for an execution with this name that has not started yet, for up to two minutes.',
};

/** What `--help` says below the flags; undefined where there is nothing to say. */
export function commandHelp(operation: Operation): string | undefined {
  const text = COMMANDS[operation.operationId] ?? operation.description;
  return text === undefined ? undefined : nameFlags(operation, text);
}
