import { sql } from 'kysely';
import type { RunSettings } from '../../domain/connections/runSettings.js';
import type {
  Blocked,
  ExecutionStatus,
  ExecutionSummary,
  HealthOmicsStatus,
  ParameterNames,
  ParameterValue,
  ResultFile,
} from '../../domain/executions/execution.js';
import type { ManifestReport } from '../../domain/runs/manifestCheck.js';
import type { Cycles } from '../../domain/runs/runParameters.js';
import type { RunOutcome } from '../../domain/runs/runUploaded.js';
import { builtOnce, type DbOrTransaction } from '../database.js';
import type { StartState, UploadState } from '../schema.js';

/** An execution in a list: with the flow, run, connections and provider that it refers to, without large members. */
export interface ListedExecution {
  id: string;
  name: string;
  status: ExecutionStatus;
  statusDescription: string;
  /** What StartRun is known to have done. */
  startState: StartState;
  /** Whether the workflow is known to exist in Temporal. */
  workflowStarted: boolean;
  /** What the execution waits for a person to fix. */
  blocked: Blocked | null;
  trigger: 'auto' | 'api';
  startedBy: string;
  /** Null for executions of earlier versions. */
  startedById: string | null;
  flow: {
    id: string;
    name: string;
    sharedWorkflowId: string;
    workflowOwnerId: string;
    parameterNames: ParameterNames;
    parameters: Record<string, ParameterValue>;
    settings: RunSettings;
    acceptFailedOutcome: boolean;
    acceptStoppedOutcome: boolean;
    acceptUnverified: boolean;
  };
  run: {
    id: string;
    name: string;
    instrumentName: string;
    /** Path of the folder above the run folder, below the prefix of the storage connection. */
    parentPath: string;
    runFolder: string;
    uploadState: UploadState;
    uploadDescription: string;
    /** When polony saw the end of the upload. */
    timeUploaded: Date | null;
    /** Whether flows that accept stopped runs can analyse the run although it was refused. */
    usableIfStopped: boolean;
    outcome: RunOutcome | null;
    checked: 'content' | 'presence';
    discovered: boolean;
    /** ETags of the files that decided about the run, by name; null where polony read none. */
    metadataEtags: Record<string, string> | null;
    cycles: Cycles | null;
    analysisLanes: string | null;
    platformVersion: string | null;
    /** `KitConfiguration` and `RunType` of RunParameters.json. */
    kit: string | null;
    type: string | null;
  };
  storage: { id: string; name: string; bucket: string; prefix: string; region: string };
  compute: { id: string; name: string; region: string; executionRoleArn: string };
  /** The provider of the compute connection: the account where HealthOmics runs. */
  provider: { id: string; name: string; account: string };
  /** The provider of the storage connection. Usually the same. */
  storageProviderId: string;
  outputUri: string;
  /** The parameters that StartRun was sent. */
  parameters: Record<string, ParameterValue> | null;
  workflowName: string | null;
  healthOmics: {
    runId: string;
    uuid: string | null;
    arn: string | null;
    status: HealthOmicsStatus | null;
    runOutputUri: string | null;
  } | null;
  cancel: { requestedBy: string; requestedById: string | null; reason: string | null; time: Date | null } | null;
  /** Number of its current HealthOmics run, from 1. */
  attempt: number;
  /** Override the parameters of the flow. */
  ownParameters: Record<string, ParameterValue>;
  /** Where the run manifest comes from: the run folder, a text given with the execution, or a URI. */
  manifestSource: 'run' | 'text' | 'uri';
  manifestUri: string | null;
  manifestReport: ManifestReport | null;
  /** The execution that this one repeats. */
  relaunchOf: string | null;
  /** How often its workflow was started again after somebody closed it from outside. */
  adoptions: number;
  summary: ExecutionSummary | null;
  /** Why it failed. The type is for programs. */
  error: { type: string; message: string } | null;
  timeCreated: Date;
  timeStarted: Date | null;
  timeCompleted: Date | null;
}

/** A single execution, with everything that starting and watching it needs. */
export interface ExecutionContext extends ListedExecution {
  /** The StartRun request that was sent. */
  startRequest: Record<string, unknown> | null;
  /** A run manifest in place of the one in the run folder. */
  manifest: { text: string } | { uri: string } | null;
}

const FLOW_COLUMNS = [
  'f.id as flow_id',
  'f.name as flow_name',
  'f.shared_workflow_id',
  'f.workflow_owner_id',
  'f.parameter_names',
  'f.parameters as flow_parameters',
  'f.run_settings',
  'f.accept_failed_outcome',
  'f.accept_stopped_outcome',
  'f.accept_unverified',
] as const;

/** The query of every execution that is loaded or listed. */
export const listedExecutionQuery = builtOnce((db) =>
  db
    .selectFrom('executions as e')
    .innerJoin('flows as f', 'f.id', 'e.flow_id')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .innerJoin('storage_connections as s', 's.id', 'e.storage_connection_id')
    .innerJoin('compute_connections as c', 'c.id', 'e.compute_connection_id')
    .innerJoin('providers as p', 'p.id', 'c.provider_id')
    .select([
      'e.id',
      'e.name',
      'e.status',
      'e.status_description',
      'e.start_state',
      'e.workflow_started',
      'e.blocked',
      'e.trigger',
      'e.started_by',
      'e.started_by_id',
      'e.output_uri',
      'e.parameters',
      'e.workflow_name',
      'e.healthomics_run_id',
      'e.healthomics_run_uuid',
      'e.healthomics_run_arn',
      'e.healthomics_status',
      'e.run_output_uri',
      'e.cancel_requested_by',
      'e.cancel_requested_by_id',
      'e.cancel_reason',
      'e.time_cancel_requested',
      'e.attempt',
      'e.own_parameters',
      'e.manifest_uri',
      'e.manifest_report',
      'e.relaunch_of',
      'e.adoptions',
      'e.summary',
      'e.error_type',
      'e.error_message',
      'e.time_created',
      'e.time_started',
      'e.time_completed',
    ])
    .select(sql<boolean>`e.manifest_text is not null`.as('has_manifest_text'))
    .select(FLOW_COLUMNS)
    .select([
      'r.id as run_id',
      'r.run_name',
      'r.instrument_name',
      'r.run_folder',
      'r.parent_path',
      'r.outcome',
      'r.checked',
      'r.discovered',
      'r.upload_state',
      'r.metadata_etags',
      'r.upload_description',
      'r.time_completed as run_time_completed',
      'r.usable_if_stopped',
      // Single members, because run_parameters names every tile.
      sql<Cycles | null>`r.run_parameters->'cycles'`.as('cycles'),
      sql<string | null>`r.run_parameters->>'analysisLanes'`.as('analysis_lanes'),
      sql<string | null>`r.run_parameters->>'platformVersion'`.as('platform_version'),
      sql<string | null>`r.run_parameters->>'kitConfiguration'`.as('kit'),
      sql<string | null>`r.run_parameters->>'runType'`.as('run_type'),
    ])
    .select([
      's.id as storage_id',
      's.name as storage_name',
      's.bucket',
      's.prefix',
      's.region as storage_region',
      's.provider_id as storage_provider_id',
    ])
    .select(['c.id as compute_id', 'c.name as compute_name', 'c.region as compute_region', 'c.execution_role_arn'])
    .select(['p.id as provider_id', 'p.name as provider_name', 'p.account_id']),
);
type ListedExecutionRow = Awaited<ReturnType<ReturnType<typeof listedExecutionQuery>['executeTakeFirstOrThrow']>>;

/** A row of {@link listedExecutionQuery} as an execution. */
export function toListedExecution(row: ListedExecutionRow): ListedExecution {
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    statusDescription: row.status_description,
    startState: row.start_state,
    workflowStarted: row.workflow_started,
    blocked: row.blocked,
    trigger: row.trigger,
    startedBy: row.started_by,
    startedById: row.started_by_id,
    ...toFlowAndRun(row),
    ...toConnections(row),
    outputUri: row.output_uri,
    parameters: row.parameters,
    workflowName: row.workflow_name,
    healthOmics:
      row.healthomics_run_id === null
        ? null
        : {
            runId: row.healthomics_run_id,
            uuid: row.healthomics_run_uuid,
            arn: row.healthomics_run_arn,
            status: row.healthomics_status,
            runOutputUri: row.run_output_uri,
          },
    cancel:
      row.cancel_requested_by === null
        ? null
        : {
            requestedBy: row.cancel_requested_by,
            requestedById: row.cancel_requested_by_id,
            reason: row.cancel_reason,
            time: row.time_cancel_requested,
          },
    attempt: row.attempt,
    ownParameters: row.own_parameters,
    manifestSource: row.has_manifest_text ? 'text' : row.manifest_uri !== null ? 'uri' : 'run',
    manifestUri: row.manifest_uri,
    manifestReport: row.manifest_report,
    relaunchOf: row.relaunch_of,
    adoptions: row.adoptions,
    summary: row.summary,
    error: row.error_type === null ? null : { type: row.error_type, message: row.error_message ?? '' },
    timeCreated: row.time_created,
    timeStarted: row.time_started,
    timeCompleted: row.time_completed,
  };
}

function toFlowAndRun(row: ListedExecutionRow): Pick<ListedExecution, 'flow' | 'run'> {
  return {
    flow: {
      id: row.flow_id,
      name: row.flow_name,
      sharedWorkflowId: row.shared_workflow_id,
      workflowOwnerId: row.workflow_owner_id,
      parameterNames: row.parameter_names,
      parameters: row.flow_parameters,
      settings: row.run_settings,
      acceptFailedOutcome: row.accept_failed_outcome,
      acceptStoppedOutcome: row.accept_stopped_outcome,
      acceptUnverified: row.accept_unverified,
    },
    run: {
      id: row.run_id,
      name: row.run_name,
      instrumentName: row.instrument_name,
      parentPath: row.parent_path,
      runFolder: row.run_folder,
      outcome: row.outcome,
      checked: row.checked,
      discovered: row.discovered,
      uploadState: row.upload_state,
      metadataEtags: row.metadata_etags,
      uploadDescription: row.upload_description,
      timeUploaded: row.run_time_completed,
      usableIfStopped: row.usable_if_stopped,
      cycles: row.cycles,
      analysisLanes: row.analysis_lanes,
      platformVersion: row.platform_version,
      kit: row.kit,
      type: row.run_type,
    },
  };
}

function toConnections(
  row: ListedExecutionRow,
): Pick<ListedExecution, 'storage' | 'compute' | 'provider' | 'storageProviderId'> {
  return {
    storage: {
      id: row.storage_id,
      name: row.storage_name,
      bucket: row.bucket,
      prefix: row.prefix,
      region: row.storage_region,
    },
    compute: {
      id: row.compute_id,
      name: row.compute_name,
      region: row.compute_region,
      executionRoleArn: row.execution_role_arn,
    },
    provider: { id: row.provider_id, name: row.provider_name, account: row.account_id ?? '' },
    storageProviderId: row.storage_provider_id,
  };
}

/** An execution as in a list, without its large members; undefined where there is no such execution. */
export async function findListedExecution(db: DbOrTransaction, id: string): Promise<ListedExecution | undefined> {
  const row = await listedExecutionQuery(db).where('e.id', '=', id).executeTakeFirst();
  return row && toListedExecution(row);
}

/** {@link listedExecutionQuery} with the members that lists leave out. */
export const executionQuery = builtOnce((db) =>
  listedExecutionQuery(db).select(['e.start_request', 'e.manifest_text']),
);

/** A row of {@link executionQuery} as an execution. */
export function toExecutionContext(
  row: Awaited<ReturnType<ReturnType<typeof executionQuery>['executeTakeFirstOrThrow']>>,
): ExecutionContext {
  const uri = row.manifest_uri === null ? null : { uri: row.manifest_uri };
  return {
    ...toListedExecution(row),
    startRequest: row.start_request,
    manifest: row.manifest_text === null ? uri : { text: row.manifest_text },
  };
}

/** An execution with everything that it refers to; undefined where there is no such execution. */
export async function findExecution(db: DbOrTransaction, id: string): Promise<ExecutionContext | undefined> {
  const row = await executionQuery(db).where('e.id', '=', id).executeTakeFirst();
  return row && toExecutionContext(row);
}

/** The run manifest that an execution was given, in the form of the API's requests. */
export async function loadManifest(
  db: DbOrTransaction,
  id: string,
): Promise<{ content: string } | { uri: string } | undefined> {
  const row = await db
    .selectFrom('executions')
    .select(['manifest_text', 'manifest_uri'])
    .where('id', '=', id)
    .executeTakeFirst();
  if (row?.manifest_text != null) return { content: row.manifest_text };
  return row?.manifest_uri == null ? undefined : { uri: row.manifest_uri };
}

/** Files of its results. The number is limited; `summary.files` counts all. */
export async function loadResultFiles(db: DbOrTransaction, id: string): Promise<ResultFile[]> {
  return (await db.selectFrom('executions').select('files').where('id', '=', id).executeTakeFirst())?.files ?? [];
}
