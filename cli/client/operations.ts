import { readFileSync } from 'node:fs';
import { BLOCKED_COLUMN } from './blockedColumn.js';
import { column, type Column } from './output.js';

interface JsonSchema {
  $ref?: string;
  type?: string | string[];
  enum?: string[];
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  anyOf?: JsonSchema[];
}
interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required?: boolean;
  description?: string;
  schema: JsonSchema;
}
/** An operation of the API, as its document describes it. */
export interface Operation {
  operationId: string;
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  summary: string;
  description?: string;
  parameters: Parameter[];
  body?: JsonSchema;
}

interface Document {
  paths: Record<
    string,
    Record<
      string,
      {
        operationId: string;
        summary: string;
        description?: string;
        parameters?: Parameter[];
        requestBody?: { content: Record<string, { schema: JsonSchema }> };
      }
    >
  >;
}

/** The operations of the API by their ids. */
export function operations(): Map<string, Operation> {
  const document = JSON.parse(readFileSync(new URL('../../client/openapi.json', import.meta.url), 'utf8')) as Document;
  const found = new Map<string, Operation>();
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, { operationId, summary, description, parameters = [], requestBody }] of Object.entries(
      methods,
    )) {
      found.set(operationId, {
        operationId,
        method: method.toUpperCase() as Operation['method'],
        path,
        summary,
        parameters,
        ...(description !== undefined && { description }),
        ...(requestBody !== undefined && { body: requestBody.content['application/json']!.schema }),
      });
    }
  }
  return found;
}

/** The command of an operation. */
export interface ResourceCommand {
  group: string;
  verb: string;
  /** Columns of the table, for a list. */
  columns?: Column[];
  /** Name of the items in the answer, for a list whose answer has several lists. */
  items?: string;
}

const list = (group: string, paths: string[], verb = 'list', items?: string): ResourceCommand => ({
  group,
  verb,
  columns: paths.map((path) => column(path)),
  ...(items !== undefined && { items }),
});
const listWithBlocked = (group: string, paths: string[]): ResourceCommand => ({
  group,
  verb: 'list',
  columns: [...paths.map((path) => column(path)), BLOCKED_COLUMN],
});
const FILES = ['path', 'size', 'lastModified', 'storageClass'];

/** The command of each operation. Other operations have a command of their own or are not for people. */
export const COMMANDS: Readonly<Record<string, ResourceCommand>> = {
  AuthService_CreateApiKey: { group: 'keys', verb: 'create' },
  AuthService_ListApiKeys: list('keys', ['id', 'name', 'state', 'scopes', 'timeExpires', 'timeLastUsed']),
  AuthService_GetApiKey: { group: 'keys', verb: 'get' },
  AuthService_DeleteApiKey: { group: 'keys', verb: 'delete' },
  AuthService_RevokeApiKey: { group: 'keys', verb: 'revoke' },
  AuthService_RotateApiKey: { group: 'keys', verb: 'rotate' },
  AuditService_ListAuditLog: list('audit', [
    'time',
    'caller.name',
    'action',
    'resourceId',
    'status',
    'reason',
    'address',
    'requestId',
  ]),
  AuditService_ExportAuditLog: { group: 'audit', verb: 'export' },
  ...resource('ProviderService', 'Provider', 'providers', [
    'id',
    'name',
    'status',
    'credentialType',
    'accountId',
    'defaultRegion',
  ]),
  ...resource(
    'StorageConnectionService',
    'StorageConnection',
    'storage',
    ['id', 'name', 'status', 'uri'],
    'GetStorageConnectionDetails',
  ),
  ...resource('ComputeConnectionService', 'ComputeConnection', 'compute', [
    'id',
    'name',
    'status',
    'region',
    'executionRoleArn',
  ]),
  ...resource('FlowService', 'Flow', 'flows', ['id', 'name', 'status', 'sharedWorkflowId', 'workflowOwnerId']),
  ProviderService_VerifyDraft: { group: 'providers', verb: 'verify-draft' },
  StorageConnectionService_DiscoverRuns: { group: 'storage', verb: 'discover' },
  StorageConnectionService_ListIgnoredFolders: list(
    'storage',
    ['folder', 'reason', 'message'],
    'ignored',
    'ignoredFolders',
  ),
  StorageConnectionService_ListFiles: list('storage', FILES, 'files', 'files'),
  StorageConnectionService_GetDownloadUrl: { group: 'storage', verb: 'download-url' },
  StorageConnectionService_PreviewFile: { group: 'storage', verb: 'preview' },
  StorageConnectionService_CreateUploadCredentials: { group: 'storage', verb: 'upload-credentials' },
  StorageConnectionService_ListAccessGrants: {
    group: 'storage',
    verb: 'grants',
    columns: [
      ...['id', 'principal', 'state', 'prefix', 'description', 'timeExpires'].map((path) => column(path)),
      column('warnings.0.code', 'WARNING'),
    ],
    items: 'accessGrants',
  },
  StorageConnectionService_CreateAccessGrant: { group: 'storage', verb: 'grant' },
  StorageConnectionService_GetAccessGrant: { group: 'storage', verb: 'grant-get' },
  StorageConnectionService_DeleteAccessGrant: { group: 'storage', verb: 'grant-remove' },
  StorageConnectionService_RepairAccessGrant: { group: 'storage', verb: 'grant-repair' },
  InstrumentService_ListInstruments: list('instruments', [
    'serialNumber',
    'model',
    'status',
    'softwareVersion',
    'timeLastConnected',
  ]),
  InstrumentService_GetInstrument: { group: 'instruments', verb: 'get' },
  InstrumentService_ListInstrumentMetrics: list(
    'instruments',
    ['time', 'runName', 'status', 'totalYield', 'totalReads', 'q30', 'q40', 'errorRate', 'percentAssigned', 'runId'],
    'metrics',
    'metrics',
  ),
  InstrumentService_ListInstrumentStorageConnections: list('instruments', ['id', 'name', 'status', 'uri'], 'storage'),
  RunService_ListRuns: listWithBlocked('runs', [
    'id',
    'name',
    'status',
    'instrument.name',
    'type',
    'timeCreated',
    'timeCompleted',
  ]),
  RunService_ListRunFilterFields: list('runs', ['name', 'type', 'operators', 'description'], 'filter-fields', 'fields'),
  RunService_ListRunFilterValues: { group: 'runs', verb: 'filter-values' },
  RunService_CountRuns: { group: 'runs', verb: 'counts' },
  RunService_GetRunDetails: { group: 'runs', verb: 'get' },
  RunService_CheckManifest: { group: 'runs', verb: 'check-manifest' },
  RunService_GetRunSeries: { group: 'runs', verb: 'series' },
  RunService_RetryRun: { group: 'runs', verb: 'retry' },
  RunService_GetRunDownloadUrl: { group: 'runs', verb: 'download-url' },
  RunService_PreviewRunFile: { group: 'runs', verb: 'preview' },
  RunService_ListRunFiles: list('runs', FILES, 'files', 'files'),
  ExecutionService_CreateExecution: { group: 'executions', verb: 'start' },
  ExecutionService_ListExecutions: listWithBlocked('executions', [
    'id',
    'name',
    'status',
    'flow.name',
    'inputs.0.run.name',
    'timeCreated',
    'timeCompleted',
  ]),
  ExecutionService_ListExecutionFilterFields: list(
    'executions',
    ['name', 'type', 'operators', 'description'],
    'filter-fields',
    'fields',
  ),
  ExecutionService_ListExecutionFilterValues: { group: 'executions', verb: 'filter-values' },
  ExecutionService_CountExecutions: { group: 'executions', verb: 'counts' },
  ExecutionService_GetExecutionDetails: { group: 'executions', verb: 'get' },
  ExecutionService_GetExecutionSeries: { group: 'executions', verb: 'series' },
  ExecutionService_ListExecutionSteps: list(
    'executions',
    ['step', 'attempt', 'timeStarted', 'timeEnded', 'waitsFor'],
    'steps',
    'steps',
  ),
  ExecutionService_GetExecutionResults: list('executions', ['key', 'size'], 'results', 'files'),
  ExecutionService_GetExecutionDownloadUrl: { group: 'executions', verb: 'download-url' },
  ExecutionService_PreviewExecutionFile: { group: 'executions', verb: 'preview' },
  ExecutionService_ListExecutionFiles: list('executions', FILES, 'files', 'files'),
  ExecutionService_CancelExecution: { group: 'executions', verb: 'cancel' },
  ExecutionService_RetryExecution: { group: 'executions', verb: 'retry' },
  ExecutionService_RelaunchExecution: { group: 'executions', verb: 'relaunch' },
  ExecutionService_GetExecutionLogs: { group: 'executions', verb: 'logs' },
  WebhookService_CreateWebhook: { group: 'webhooks', verb: 'create' },
  WebhookService_ListWebhooks: list('webhooks', ['id', 'url', 'enabled', 'eventTypes', 'disabledReason']),
  WebhookService_GetWebhook: { group: 'webhooks', verb: 'get' },
  WebhookService_UpdateWebhook: { group: 'webhooks', verb: 'update' },
  WebhookService_DeleteWebhook: { group: 'webhooks', verb: 'delete' },
  WebhookService_RotateSecret: { group: 'webhooks', verb: 'rotate-secret' },
  WebhookService_TestWebhook: { group: 'webhooks', verb: 'test' },
  WebhookService_ListDeliveries: list(
    'webhooks',
    ['id', 'eventType', 'state', 'attempts', 'lastStatus', 'lastError', 'timeEvent', 'timeNext'],
    'deliveries',
  ),
  WebhookService_ReplayWebhook: { group: 'webhooks', verb: 'replay' },
  IamDocumentService_CheckPolicy: { group: 'policies', verb: 'check' },
};

/** Operations without a generated command: machines use them, or they have a command of their own. */
export const NO_COMMANDS: readonly string[] = [
  'Health_Live',
  'Health_Ready',
  'EventService_TakeEvent',
  'AuthService_GetAuth',
  // For browsers.
  'SessionService_GetSignInMethods',
  'SessionService_CreateSession',
  'SessionService_DeleteSession',
  'SessionService_StartOidcSignIn',
  'SessionService_FinishOidcSignIn',
  // polony whoami, sign-in-link and installation
  'SessionService_GetSession',
  'SessionService_CreateSignInLink',
  'InstallationService_GetInstallation',
  'ExecutionService_WatchExecution',
  // polony changes
  'ChangeService_WatchChanges',
  'StorageConnectionService_GetDownloadCredentials',
  'RunService_GetRunDownloadCredentials',
  'ExecutionService_GetExecutionDownloadCredentials',
  // Pages of a browser. `download` gets them for people.
  'StorageConnectionService_GetReport',
  'RunService_GetRunReport',
  'ExecutionService_GetExecutionReport',
  // `get` shows the details too.
  'StorageConnectionService_GetStorageConnection',
  'RunService_GetRun',
  'ExecutionService_GetExecution',
  // The flag --blocked of the lists.
  'RunService_ListBlockedRuns',
  'ExecutionService_ListBlockedExecutions',
  // polony iam
  'IamDocumentService_GetIamDocuments',
  'IamDocumentService_GetEventDocuments',
];

/** The commands of a resource that people create. @param get the operation of `get`, without the service */
function resource(
  service: string,
  name: string,
  group: string,
  columns: string[],
  get = `Get${name}`,
): Record<string, ResourceCommand> {
  return {
    [`${service}_List${name}s`]: list(group, columns),
    [`${service}_Create${name}`]: { group, verb: 'create' },
    [`${service}_${get}`]: { group, verb: 'get' },
    [`${service}_Update${name}`]: { group, verb: 'update' },
    [`${service}_Delete${name}`]: { group, verb: 'delete' },
    [`${service}_Verify${name}`]: { group, verb: 'verify' },
    [`${service}_Get${name}Verification`]: { group, verb: 'verification' },
  };
}

/** Descriptions of the groups of commands. */
export const GROUPS: Readonly<Record<string, string>> = {
  providers: 'AWS accounts, and the role or access keys that polony uses in them',
  storage: 'storage connections: buckets, their files, and grants to read them',
  compute: 'compute connections: AWS HealthOmics in an account and region',
  flows: 'Bases2Fastq flows',
  instruments: 'instruments that have uploaded runs',
  runs: 'sequencing runs that instruments have uploaded',
  executions: 'flows applied to runs',
  webhooks: 'receivers of events',
  keys: 'API keys',
  audit: 'audit log: who did what',
  policies: 'checks of a policy; polony iam prints the policies that an account needs',
};

/** The kind of value that a flag takes. */
export type FlagKind = 'text' | 'number' | 'boolean' | 'texts' | 'json';

/** The kind of flag for a field of a body or a query parameter. */
export function flagKind(schema: JsonSchema): FlagKind {
  const types = [schema.type].flat();
  if (types.includes('integer') || types.includes('number')) return 'number';
  if (types.includes('boolean')) return 'boolean';
  if (types.includes('array')) return [schema.items?.type].flat().includes('string') ? 'texts' : 'json';
  if (types.includes('string')) return 'text';
  if (
    schema.anyOf !== undefined &&
    schema.anyOf.every((each) => each.type === 'string' || (each.type === 'array' && each.items?.type === 'string'))
  )
    return 'texts';
  return 'json';
}

/** Turns `useForRunUpload` into `use-for-run-upload`. */
export function flagName(name: string): string {
  return name.replace(/(?<=[a-z0-9])[A-Z]/g, '-$&').toLowerCase();
}
