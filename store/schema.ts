import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { RunMetrics } from '../domain/runs/instrumentMetrics.js';
import type { UploadProgress } from '../domain/runs/completeness.js';
import type {
  Blocked,
  ExecutionStatus,
  ExecutionSummary,
  HealthOmicsStatus,
  ParameterNames,
  ParameterValue,
  ResultFile,
} from '../domain/executions/execution.js';
import type { ManifestReport } from '../domain/runs/manifestCheck.js';
import type { CredentialType } from '../domain/iam/permissions.js';
import type { RunParameters } from '../domain/runs/runParameters.js';
import type { GrantState } from '../domain/grants/grant.js';
import type { AutoStartFilter, RunSettings } from '../domain/connections/runSettings.js';
import type { RunOutcome } from '../domain/runs/runUploaded.js';
import type { DeliveryState } from '../domain/webhooks/webhook.js';
import type { VerificationReport, VerifiedKind, VerifiedStatus } from '../domain/verification/report.js';

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
  credential_type: CredentialType;
  /** Of a role. */
  role_arn: string | null;
  external_id: string | null;
  /** Of access keys. The secret is encrypted, see store/secrets.ts. */
  access_key_id: string | null;
  secret_sealed: string | null;
  secret_key_id: string | null;
  /** The AWS account; of access keys it is not known until STS has answered. */
  account_id: string | null;
  /** The length of its sessions that verification reached. */
  session_seconds: number | null;
  status: Generated<ConnectionStatus>;
  status_description: Generated<string>;
  time_verified: Date | null;
  /** When a session of it was last asked for. */
  time_used: Date | null;
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
  /** Folders between the prefix and the instruments' folders. */
  run_depth: Generated<number>;
  /** Whether verification may write the bucket policy back as it is, to see whether it may. */
  allow_policy_probe: Generated<boolean>;
  status: Generated<ConnectionStatus>;
  status_description: Generated<string>;
  time_verified: Date | null;
  time_used: Date | null;
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
  status: Generated<ConnectionStatus>;
  status_description: Generated<string>;
  time_verified: Date | null;
  time_used: Date | null;
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
  /** Whether a run that the instrument ended as failed is analysed where its cycles are all there. */
  accept_failed_outcome: Generated<boolean>;
  /** Whether a run is analysed of which is only known that RunUploaded.json is there (no s3:GetObject). */
  accept_unverified: Generated<boolean>;
  run_settings: ColumnType<RunSettings, string | undefined, string>;
  auto_start_filter: ColumnType<AutoStartFilter, string | undefined, string>;
  status: Generated<ConnectionStatus>;
  status_description: Generated<string>;
  time_verified: Date | null;
  time_used: Date | null;
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

/** What runs have shown of an instrument. Triggers on runs write it. */
export interface InstrumentsTable {
  serial_number: string;
  software_version: string | null;
  version_run: string | null;
  time_created: Date;
  time_updated: Date;
  time_last_connected: Date;
}

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
  /** Of the folder above the run folder, below the prefix: the instrument's name where the depth is 0. */
  parent_path: string;
  progress: NullableJson<UploadProgress>;
  /** Whether the end of the upload was read, or only seen to be there (no s3:GetObject). */
  checked: Generated<'content' | 'presence'>;
  /** Since when its files may be listed and not read. */
  time_denied: Date | null;
  /** What Bases2Fastq has measured, of the execution that completed last. */
  metrics: NullableJson<RunMetrics>;
  /** What the instrument has measured. */
  instrument_metrics: NullableJson<RunMetrics>;
  time_started: ColumnType<Date | null, never, Date | null>;
  /** Found by the search; else registered by somebody, and no flow starts for it by itself. */
  discovered: Generated<boolean>;
  time_created: Created;
  time_completed: Date | null;
  time_updated: Updated;
}

/**
 * What is known of an execution's StartRun: `sent` from before the call until AWS has answered it for certain, so that an
 * answer that was lost is asked for again (same requestId) before the execution is called canceled; `closed` once it is, so that
 * an attempt that was late cannot send it after all.
 */
export type StartState = 'none' | 'sent' | 'started' | 'closed';

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
  /** Whether the workflow has been told of the cancel; until then the sweep tells it. */
  cancel_signalled: Generated<boolean>;
  /** Which of its HealthOmics runs it is at, from 1. */
  attempt: Generated<number>;
  /** Laid over those of the flow. */
  own_parameters: ColumnType<Record<string, ParameterValue>, string | undefined, string>;
  /** A run manifest in place of the run's own: its text, or its `s3://` URI. */
  manifest_text: string | null;
  manifest_uri: string | null;
  manifest_report: NullableJson<ManifestReport>;
  relaunch_of: string | null;
  /** How often its workflow was started again after it had been closed from outside. */
  adoptions: Generated<number>;
  files: NullableJson<ResultFile[]>;
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

/** A HealthOmics run of an execution that failed and was followed by another. */
export interface ExecutionAttemptsTable {
  execution_id: string;
  attempt: number;
  healthomics_run_id: string;
  healthomics_run_uuid: string | null;
  healthomics_run_arn: string | null;
  run_output_uri: string | null;
  healthomics_status: HealthOmicsStatus | null;
  failure_reason: string | null;
  status_message: string | null;
  time_started: Date | null;
  time_ended: ColumnType<Date, Date | undefined, never>;
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

/** The last verification of each resource. */
export interface VerificationsTable {
  resource_id: string;
  kind: VerifiedKind;
  status: VerifiedStatus;
  report: Json<VerificationReport>;
  time_started: ColumnType<Date, Date, Date>;
  time_completed: ColumnType<Date, Date, Date>;
}

/** What use has shown of permissions that no harmless probe can tell. */
export interface PermissionEvidenceTable {
  provider_id: string;
  action: string;
  resource: string;
  granted: boolean;
  error_code: string | null;
  error_message: string | null;
  time: ColumnType<Date, Date, Date>;
}

/** Where events have come from that were found to be true. */
export interface EventSourcesTable {
  source: string;
  time_genuine: ColumnType<Date, Date, Date>;
}

/** Where events are told. */
export interface WebhooksTable {
  id: string;
  url: string;
  description: string;
  /** None for all. */
  event_types: string[];
  enabled: boolean;
  /** Why polony has switched it off. */
  disabled_reason: string | null;
  time_created: Created;
  time_updated: Updated;
}

/** What webhooks are signed with. The secret is encrypted, see store/secrets.ts. */
export interface WebhookSecretsTable {
  id: string;
  webhook_id: string;
  sealed: string;
  key_id: string;
  time_created: Created;
  /** Until then it signs along; null for the one that signs first. */
  time_expires: ColumnType<Date | null, Date | null | undefined, Date | null>;
}

/** An event that a webhook is to be told. Triggers write them, in the transaction of the change (migration 0006). */
export interface WebhookDeliveriesTable {
  id: string;
  webhook_id: string;
  /** The same for every webhook that is told of the event, and for every try. */
  event_id: string;
  event_type: string;
  /** PostgreSQL's bigint, as text. */
  event_sequence: ColumnType<string, never, never>;
  event_data: ColumnType<Record<string, unknown>, never, never>;
  time_event: ColumnType<Date, never, never>;
  state: Generated<DeliveryState>;
  /** From 1; one more for each replay. */
  round: Generated<number>;
  attempts: Generated<number>;
  last_status: number | null;
  last_error: string | null;
  /** Whether its workflow is known to have been started for this round. */
  handed_over: Generated<boolean>;
  time_handed: ColumnType<Date | null, never, Date | null>;
  time_next: ColumnType<Date | null, never, Date | null>;
  time_ended: ColumnType<Date | null, never, Date | null>;
}

/** Keys of the API. */
export interface ApiKeysTable {
  id: string;
  name: string;
  /** SHA-256 of the secret part. */
  hash: Buffer;
  scopes: ColumnType<string[], string, never>;
  created_by: string;
  time_created: Created;
  time_expires: Date;
  time_used: ColumnType<Date | null, never, Date>;
  time_revoked: ColumnType<Date | null, never, Date>;
  revoked_by: ColumnType<string | null, never, string>;
  time_deleted: ColumnType<Date | null, never, Date>;
}

/** Who did what. Rows can be added only. */
export interface AuditLogTable {
  id: string;
  time: Created;
  request_id: string;
  caller_kind: 'root' | 'key' | 'person' | 'system';
  caller_id: string;
  caller_name: string;
  address: string | null;
  action: string;
  resource_type: string | null;
  resource_id: string | null;
  detail: ColumnType<Record<string, unknown> | null, string | null, never>;
}

/** What became of an entry of the audit log. Rows can be added only. */
export interface AuditOutcomesTable {
  audit_id: string;
  time: Created;
  status: number | null;
  reason: string | null;
  resource_id: string | null;
  detail: ColumnType<Record<string, unknown> | null, string | null, never>;
}

/** Who may read a bucket, as its policy is to say. */
export interface AccessGrantsTable {
  id: string;
  storage_connection_id: string;
  bucket: string;
  partition: string;
  /** ARN. */
  principal: string;
  /** Relative to the storage connection's own; null for the whole bucket. */
  prefix: string | null;
  /** What the keys begin with; null for the whole bucket. */
  folder: string | null;
  description: string;
  state: GrantState;
  /** Whether statements with its Sids that say something else are written anew. */
  overwrite: Generated<boolean>;
  problem: NullableJson<Blocked>;
  created_by: string;
  changed_by: Json<{ kind: 'root' | 'key' | 'person' | 'system'; id: string; name: string }>;
  request_id: string;
  /** The entry of the audit log of a write that was begun. */
  audit_id: string | null;
  /** From just before the first write: before that the policy surely holds nothing of it. */
  time_sent: Date | null;
  time_written: Date | null;
  time_tried: Date | null;
  time_expires: Date | null;
  time_created: Created;
  time_updated: Updated;
}

export interface Database {
  access_grants: AccessGrantsTable;
  instruments: InstrumentsTable;
  api_keys: ApiKeysTable;
  audit_log: AuditLogTable;
  audit_outcomes: AuditOutcomesTable;
  webhooks: WebhooksTable;
  webhook_secrets: WebhookSecretsTable;
  webhook_deliveries: WebhookDeliveriesTable;
  event_sources: EventSourcesTable;
  verifications: VerificationsTable;
  permission_evidence: PermissionEvidenceTable;
  providers: ProvidersTable;
  storage_connections: StorageConnectionsTable;
  compute_connections: ComputeConnectionsTable;
  flows: FlowsTable;
  flow_storage_connections: FlowStorageConnectionsTable;
  runs: RunsTable;
  executions: ExecutionsTable;
  execution_attempts: ExecutionAttemptsTable;
  idempotency_keys: IdempotencyKeysTable;
}
