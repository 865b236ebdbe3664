import { sql } from 'kysely';
import type { RunSettings } from '../../domain/connections/runSettings.js';
import type {
  Blocked,
  ExecutionStatus,
  HealthOmicsStatus,
  ParameterNames,
  ParameterValue,
  ResultFile,
} from '../../domain/executions/execution.js';
import type { Cycles } from '../../domain/runs/runParameters.js';
import type { RunOutcome } from '../../domain/runs/runUploaded.js';
import type { DbOrTransaction } from '../database.js';
import type { StartState, UploadState } from '../schema.js';

/** All that starting and watching an execution needs, in one row. */
export interface ExecutionContext {
  id: string;
  name: string;
  status: ExecutionStatus;
  startState: StartState;
  /** What StartRun was sent with. */
  startRequest: Record<string, unknown> | null;
  workflowStarted: boolean;
  /** What it is known to wait for. */
  blocked: Blocked | null;
  trigger: 'auto' | 'api';
  startedBy: string;
  flow: {
    id: string;
    name: string;
    sharedWorkflowId: string;
    workflowOwnerId: string;
    parameterNames: ParameterNames;
    parameters: Record<string, ParameterValue>;
    settings: RunSettings;
    acceptFailedOutcome: boolean;
    acceptUnverified: boolean;
  };
  run: {
    id: string;
    name: string;
    instrumentName: string;
    parentPath: string;
    runFolder: string;
    uploadState: UploadState;
    outcome: RunOutcome | null;
    checked: 'content' | 'presence';
    discovered: boolean;
    cycles: Cycles | null;
    analysisLanes: string | null;
    platformVersion: string | null;
  };
  storage: { id: string; name: string; bucket: string; prefix: string; region: string };
  compute: { id: string; name: string; region: string; executionRoleArn: string };
  /** The provider of the compute connection: the account where HealthOmics runs. */
  provider: { id: string; name: string; account: string };
  /** The provider of the storage connection: usually the same. */
  storageProviderId: string;
  outputUri: string;
  parameters: Record<string, ParameterValue> | null;
  workflowName: string | null;
  healthOmics: {
    runId: string;
    uuid: string | null;
    status: HealthOmicsStatus | null;
    runOutputUri: string | null;
  } | null;
  cancel: { requestedBy: string; reason: string | null } | null;
  /** Which of its HealthOmics runs it is at, from 1. */
  attempt: number;
  /** Laid over those of the flow. */
  ownParameters: Record<string, ParameterValue>;
  /** A run manifest in place of the run's own. */
  manifest: { text: string } | { uri: string } | null;
  /** How often its workflow was started again after it had been closed from outside. */
  adoptions: number;
}

export function contextQuery(db: DbOrTransaction) {
  return db
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
      'e.start_state',
      'e.start_request',
      'e.workflow_started',
      'e.blocked',
      'e.trigger',
      'e.started_by',
      'e.output_uri',
      'e.parameters',
      'e.workflow_name',
      'e.healthomics_run_id',
      'e.healthomics_run_uuid',
      'e.healthomics_status',
      'e.run_output_uri',
      'e.cancel_requested_by',
      'e.cancel_reason',
      'e.attempt',
      'e.own_parameters',
      'e.manifest_text',
      'e.manifest_uri',
      'e.adoptions',
      'f.id as flow_id',
      'f.name as flow_name',
      'f.shared_workflow_id',
      'f.workflow_owner_id',
      'f.parameter_names',
      'f.parameters as flow_parameters',
      'f.run_settings',
      'f.accept_failed_outcome',
      'f.accept_unverified',
      'r.checked',
      'r.id as run_id',
      'r.run_name',
      'r.instrument_name',
      'r.run_folder',
      'r.parent_path',
      'r.outcome',
      'r.discovered',
      'r.upload_state',
      // Not the whole: it names every tile.
      sql<Cycles | null>`r.run_parameters->'cycles'`.as('cycles'),
      sql<string | null>`r.run_parameters->>'analysisLanes'`.as('analysis_lanes'),
      sql<string | null>`r.run_parameters->>'platformVersion'`.as('platform_version'),
      's.id as storage_id',
      's.name as storage_name',
      's.bucket',
      's.prefix',
      's.region as storage_region',
      's.provider_id as storage_provider_id',
      'c.id as compute_id',
      'c.name as compute_name',
      'c.region as compute_region',
      'c.execution_role_arn',
      'p.id as provider_id',
      'p.name as provider_name',
      'p.account_id',
    ]);
}

export function toContext(
  row: Awaited<ReturnType<ReturnType<typeof contextQuery>['executeTakeFirstOrThrow']>>,
): ExecutionContext {
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    startState: row.start_state,
    startRequest: row.start_request,
    workflowStarted: row.workflow_started,
    blocked: row.blocked,
    trigger: row.trigger,
    startedBy: row.started_by,
    flow: {
      id: row.flow_id,
      name: row.flow_name,
      sharedWorkflowId: row.shared_workflow_id,
      workflowOwnerId: row.workflow_owner_id,
      parameterNames: row.parameter_names,
      parameters: row.flow_parameters,
      settings: row.run_settings,
      acceptFailedOutcome: row.accept_failed_outcome,
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
      cycles: row.cycles,
      analysisLanes: row.analysis_lanes,
      platformVersion: row.platform_version,
    },
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
    outputUri: row.output_uri,
    parameters: row.parameters,
    workflowName: row.workflow_name,
    healthOmics:
      row.healthomics_run_id === null
        ? null
        : {
            runId: row.healthomics_run_id,
            uuid: row.healthomics_run_uuid,
            status: row.healthomics_status,
            runOutputUri: row.run_output_uri,
          },
    cancel:
      row.cancel_requested_by === null ? null : { requestedBy: row.cancel_requested_by, reason: row.cancel_reason },
    attempt: row.attempt,
    ownParameters: row.own_parameters,
    manifest:
      row.manifest_text !== null
        ? { text: row.manifest_text }
        : row.manifest_uri !== null
          ? { uri: row.manifest_uri }
          : null,
    adoptions: row.adoptions,
  };
}

/** An execution with all that it refers to; undefined when there is none. */
export async function findExecution(db: DbOrTransaction, id: string): Promise<ExecutionContext | undefined> {
  const row = await contextQuery(db).where('e.id', '=', id).executeTakeFirst();
  return row && toContext(row);
}

/** The run manifest that an execution was given, as the API takes it. */
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

/** Files of its results, as many as are kept. */
export async function loadResultFiles(db: DbOrTransaction, id: string): Promise<ResultFile[]> {
  return (await db.selectFrom('executions').select('files').where('id', '=', id).executeTakeFirst())?.files ?? [];
}
