import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { Blocked, ExecutionStatus, ExecutionSummary, HealthOmicsStatus, ParameterNames, ParameterValue } from '../domain/execution.js';
import type { RunParameters } from '../domain/runParameters.js';
import type { RunOutcome } from '../domain/runUploaded.js';

type Created = ColumnType<Date, Date | undefined, never>;
type Updated = ColumnType<Date, Date | undefined, Date>;
type Json<T> = ColumnType<T, string, string>;
type NullableJson<T> = ColumnType<T | null, string | null | undefined, string | null>;

/** Status of a connection as the vendor's contract names it without its prefix; UNSPECIFIED until polony has tried it. */
export type ConnectionStatus = 'UNSPECIFIED' | 'CONNECTED' | 'WARNING' | 'FAILED';

export interface ProvidersTable {
  id: string;
  name: string;
  default_region: string;
  credential_type: 'role';
  role_arn: string;
  external_id: string;
  time_created: Created;
  time_updated: Updated;
  time_deleted: Date | null;
}

export interface StorageConnectionsTable {
  id: string;
  name: string;
  provider_id: string;
  region: string;
  bucket: string;
  /** In its normal form: no slash at its ends, empty for the whole bucket. */
  prefix: string;
  use_for_run_upload: boolean;
  use_for_data_exploration: boolean;
  status: Generated<ConnectionStatus>;
  status_description: Generated<string>;
  time_discovered: Date | null;
  time_created: Created;
  time_updated: Updated;
  time_deleted: Date | null;
}

export interface ComputeConnectionsTable {
  id: string;
  name: string;
  provider_id: string;
  execution_role_arn: string;
  region: string;
  time_created: Created;
  time_updated: Updated;
  time_deleted: Date | null;
}

export interface FlowsTable {
  id: string;
  name: string;
  compute_connection_id: string;
  /** Resource ID of the share. */
  shared_workflow_id: string;
  /** The account that shares it. */
  workflow_owner_id: string;
  /** Region of the share where its ARN was given; the compute connection must stay in it. */
  shared_workflow_region: string | null;
  parameter_names: Json<ParameterNames>;
  parameters: Json<Record<string, ParameterValue>>;
  time_created: Created;
  time_updated: Updated;
  time_deleted: Date | null;
}

/** The storage connections whose complete runs start a flow by themselves. */
export interface FlowStorageConnectionsTable {
  flow_id: string;
  storage_connection_id: string;
}

/** Where the upload of a run stands. */
export type UploadState = 'uploading' | 'complete' | 'refused' | 'vanished';

export interface RunsTable {
  id: string;
  storage_connection_id: string;
  /** The folder above the run folder. */
  instrument_name: string;
  run_folder: string;
  run_name: string;
  upload_state: Generated<UploadState>;
  /** What polony waits for, or why the run was refused. */
  upload_description: Generated<string>;
  blocked: NullableJson<Blocked>;
  outcome: RunOutcome | null;
  instrument_id: string | null;
  run_parameters: NullableJson<RunParameters>;
  /** Whether the run has a RunManifest.csv. */
  has_manifest: Generated<boolean>;
  time_created: Created;
  time_completed: Date | null;
  time_updated: Updated;
}

/**
 * What is known of an execution's StartRun: `sent` from before the call until AWS has answered it for certain, so that an
 * answer that was lost is asked for again (same requestId) before the execution is called canceled.
 */
export type StartState = 'none' | 'sent' | 'started';

export interface ExecutionsTable {
  id: string;
  name: string;
  flow_id: string;
  run_id: string;
  compute_connection_id: string;
  storage_connection_id: string;
  trigger: 'auto' | 'api';
  started_by: string;
  status: ExecutionStatus;
  status_description: Generated<string>;
  blocked: NullableJson<Blocked>;
  start_state: Generated<StartState>;
  /** The StartRun request, while it is not known that it started nothing. */
  start_request: NullableJson<Record<string, unknown>>;
  workflow_name: string | null;
  parameters: NullableJson<Record<string, ParameterValue>>;
  output_uri: string;
  healthomics_run_id: string | null;
  /** Run ids are reused after deletion; the uuid is not. */
  healthomics_run_uuid: string | null;
  healthomics_run_arn: string | null;
  run_output_uri: string | null;
  healthomics_status: HealthOmicsStatus | null;
  cancel_requested_by: string | null;
  cancel_reason: string | null;
  time_cancel_requested: Date | null;
  summary: NullableJson<ExecutionSummary>;
  /** Named type of the failure, for programs. */
  error_type: string | null;
  error_message: string | null;
  /** Whether the Temporal workflow is known to exist; until then the sweep starts it again. */
  workflow_started: Generated<boolean>;
  time_created: Created;
  time_started: Date | null;
  time_completed: Date | null;
  time_updated: Updated;
}

export interface IdempotencyKeysTable {
  /** The key as the client gave it, behind the id of the API key that it was used with. */
  key: string;
  /** SHA-256 of method, path and body: the same key with another request is refused. */
  request_hash: string;
  status_code: number;
  response: JSONColumnType<Record<string, unknown>>;
  time_created: Created;
}

export interface Database {
  providers: ProvidersTable;
  storage_connections: StorageConnectionsTable;
  compute_connections: ComputeConnectionsTable;
  flows: FlowsTable;
  flow_storage_connections: FlowStorageConnectionsTable;
  runs: RunsTable;
  executions: ExecutionsTable;
  idempotency_keys: IdempotencyKeysTable;
}
