import type { Operation } from './operations.js';

/**
 * Help texts of flags whose field has no description in the API, or one that does not fit a command: a flag takes a
 * name where a field takes an ID. By the operation and the field, or by the field alone.
 */
const FLAG_HELP: Readonly<Record<string, string>> = {
  credentialType: 'how polony enters the account',
  providerId: 'ID or name of the provider',
  computeConnectionId: 'ID or name of the compute connection',
  flowId: 'ID or name of the flow',
  runId: 'ID or name of the run',
  useForDataExploration: 'whether people may list and download files of the bucket through polony',
  autoStart:
    'when the flow starts by itself, whole: storageConnectionIds, instruments, runNames; null: never. ' +
    'The flags --auto-start-… are easier',
  description: 'text for people',
  enabled: 'whether polony sends events',
  state: 'only deliveries in this state',
  includeTotalCount: 'with --json, ask the API to count all items',
  region: 'AWS region of the bucket',
  bucket: 'the bucket of the storage connection',
  prefix: 'only below this folder',
  scopes:
    'each is resource:action, resource:action:<id or name>, storage:action:<id or name>/prefix/, resource:* or *. ' +
    'You can grant only scopes that you have yourself',
  'AuditService_ListAuditLog.callerId': 'only what this caller did: the ID or name of a key, or the ID of a person',
  'AuditService_ListAuditLog.resourceId': 'only what concerns this resource: its ID or name',
  'AuditService_ListAuditLog.requestId': 'only the request with this ID',
  'ExecutionService_CancelExecution.reason': 'why, for the audit log and the people who look at the execution',
  'IamDocumentService_CheckPolicy.prefix': 'the folder that holds run data',
  'WebhookService_ReplayWebhook.until': 'send events again that happened before this time',
  'WebhookService_ReplayWebhook.deliveryIds': 'send only these deliveries again',
  'EventService_TakeEvent.detail': 'the detail of the event',
};

/** What `--help` of a command says below its flags, where the description in the API is about the API. */
const COMMAND_HELP: Readonly<Record<string, string>> = {
  ProviderService_VerifyProvider:
    'This also verifies the connections and flows of the provider. See polony providers verification.',
  StorageConnectionService_VerifyStorageConnection: 'See polony storage verification.',
  ComputeConnectionService_VerifyComputeConnection: 'See polony compute verification.',
  FlowService_VerifyFlow: 'See polony flows verification.',
  AuthService_CreateApiKey:
    'The key is shown only once. If you lose it, revoke it and create another one. ' +
    'A key that you create with another key expires no later than that key.',
};

/** A description for a flag of an operation, as a sentence fragment without a full stop. */
export function flagHelp({ operationId, method }: Operation, field: string, ofApi: string): string {
  const text = FLAG_HELP[`${operationId}.${field}`] ?? (ofApi === '' ? FLAG_HELP[field] : undefined) ?? OWN[field] ?? ofApi;
  return method === 'PATCH' ? describeChange(text) : text;
}

/** Fields whose flag takes more than the field: the description of the API would mislead. */
const OWN: Readonly<Record<string, string | undefined>> = { scopes: FLAG_HELP.scopes };

/** What the API says about the default of a new resource does not hold for a change, which leaves the field as it is. */
function describeChange(text: string): string {
  const kept = text
    .replace(/\s*The default is [^.]*\.?$/, '')
    .replace(/\s*If you omit it, [^.]*\.?$/, '')
    .replace(/\.$/, '');
  return `${kept}; default: unchanged`;
}

/** What `--help` says below the flags; undefined where there is nothing to say. */
export function commandHelp({ operationId, description }: Operation): string | undefined {
  return COMMAND_HELP[operationId] ?? description;
}
