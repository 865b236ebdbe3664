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

/** Status of a connection in the spelling of the vendor's API, without prefix. UNSPECIFIED until polony verified it. */
export type ConnectionStatus = 'UNSPECIFIED' | 'CONNECTED' | 'WARNING' | 'FAILED';

export interface ProvidersTable {
  id: string;
  name: string;
  default_region: string;
  credential_type: CredentialType;
  /** Only of roles. */
  role_arn: string | null;
  external_id: string | null;
  /** Whether the last verification could assume the role without its external ID. */
  is_role_open: Generated<boolean>;
  /** Only of access keys. The secret is encrypted; see store/secrets.ts. */
  access_key_id: string | null;
  secret_sealed: string | null;
  secret_key_id: string | null;
  /** The AWS account. Unknown for access keys until STS answers. */
  account_id: string | null;
  /** The longest session that verification got, in seconds. */
  session_seconds: number | null;
  status: Generated<ConnectionStatus>;
  status_description: Generated<string>;
  time_verified: Date | null;
  /** When polony last requested a session. */
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
  /** Without slashes at its ends. Empty: the whole bucket. */
  prefix: string;
  use_for_run_upload: boolean;
  use_for_data_exploration: boolean;
  /** Number of folders between the prefix and the instruments' folders. */
  run_depth: Generated<number>;
  /** Whether verification may write the bucket policy back unchanged, to test the permission. */
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
  /** The account that shares the workflow. */
  workflow_owner_id: string;
  /** Region in the ARN of the share, where the user gave the ARN. The compute connection must stay in it. */
  shared_workflow_region: string | null;
  parameter_names: Json<ParameterNames>;
  parameters: Json<Record<string, ParameterValue>>;
  /** Whether the flow analyses runs that the instrument ended as failed, if all their cycles are there. */
  accept_failed_outcome: Generated<boolean>;
  /** Whether the flow analyses runs that were stopped, with the cycles that are there. */
  accept_stopped_outcome: Generated<boolean>;
  /** Whether the flow analyses runs of which polony only knows that RunUploaded.json exists (no s3:GetObject). */
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

/** The storage connections whose complete runs start a flow automatically. */
export interface FlowStorageConnectionsTable {
  flow_id: string;
  storage_connection_id: string;
}

/**
 * The state of a run's upload. `refused`: polony rejected the run. `vanished`: its folder is no longer in the bucket.
 */
export type UploadState = 'uploading' | 'complete' | 'refused' | 'vanished';

/** What polony learnt of an instrument from its runs. Triggers on runs write these rows. */
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
  /** What polony waits for, or why it rejected the run. */
  upload_description: Generated<string>;
  blocked: NullableJson<Blocked>;
  outcome: RunOutcome | null;
  /** Whether flows that accept stopped runs can analyse the run although it was refused. */
  usable_if_stopped: Generated<boolean>;
  instrument_id: string | null;
  run_parameters: NullableJson<RunParameters>;
  /** Whether the run has a RunManifest.csv. */
  has_manifest: Generated<boolean>;
  /** Path of the folder above the run folder, below the prefix. At depth 0 it is the instrument's name. */
  parent_path: string;
  progress: NullableJson<UploadProgress>;
  /** Whether polony read RunUploaded.json, or only saw that it exists (no s3:GetObject). */
  checked: Generated<'content' | 'presence'>;
  /** Since when polony may list the files and not read them. */
  time_denied: Date | null;
  /** Metrics of Bases2Fastq, from the execution that completed last. */
  metrics: NullableJson<RunMetrics>;
  /** Metrics of the instrument. */
  instrument_metrics: NullableJson<RunMetrics>;
  /** Whether RunParameters.json and RunUploaded.json belong to different runs. */
  files_disagree: Generated<boolean>;
  /** ETags of the files that decided about the run, by name. */
  metadata_etags: NullableJson<Record<string, string>>;
  /** How often the run was set back to uploading. */
  check_round: Generated<number>;
  /** When the check began that found the end of the upload. */
  time_checked: Date | null;
  time_started: ColumnType<Date | null, never, Date | null>;
  /** Whether polony found the run. A person registered the others, and no flow starts for them automatically. */
  discovered: Generated<boolean>;
  time_created: Created;
  time_completed: Date | null;
  time_updated: Updated;
  /** When something that the API shows changed last. Triggers write it, by the clock of the database. */
  time_changed: ColumnType<Date, never, never>;
}

/**
 * What polony knows of an execution's StartRun.
 * - `sent`: from before the call until AWS has answered. After a lost answer, polony sends the call again (same
 *   requestId) before it ends the execution as canceled.
 * - `closed`: the execution ended without StartRun, and a late activity must not send it.
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
  /** Null for executions of earlier versions, and for those that the database had forgotten. */
  started_by_id: string | null;
  status: ExecutionStatus;
  status_description: Generated<string>;
  blocked: NullableJson<Blocked>;
  start_state: Generated<StartState>;
  /** Whether it wrote the marker of its run folder, where a flow started it automatically. */
  start_claimed: Generated<boolean>;
  /** The StartRun request that was sent. Null once polony knows that it started nothing. */
  start_request: NullableJson<Record<string, unknown>>;
  workflow_name: string | null;
  parameters: NullableJson<Record<string, ParameterValue>>;
  output_uri: string;
  healthomics_run_id: string | null;
  /** HealthOmics reuses the ids of deleted runs; the uuid is unique. */
  healthomics_run_uuid: string | null;
  healthomics_run_arn: string | null;
  run_output_uri: string | null;
  healthomics_status: HealthOmicsStatus | null;
  cancel_requested_by: string | null;
  /** Null for requests of earlier versions. */
  cancel_requested_by_id: string | null;
  cancel_reason: string | null;
  time_cancel_requested: Date | null;
  /** Whether the workflow received the cancel request. Until then the sweep sends it. */
  cancel_signalled: Generated<boolean>;
  /** Number of its current HealthOmics run, from 1. */
  attempt: Generated<number>;
  /** Override the parameters of the flow. */
  own_parameters: ColumnType<Record<string, ParameterValue>, string | undefined, string>;
  /** A run manifest in place of the one in the run folder: its text, or its `s3://` URI. */
  manifest_text: string | null;
  manifest_uri: string | null;
  manifest_report: NullableJson<ManifestReport>;
  relaunch_of: string | null;
  /** How often its workflow was started again after somebody closed it from outside. */
  adoptions: Generated<number>;
  files: NullableJson<ResultFile[]>;
  summary: NullableJson<ExecutionSummary>;
  /** Type of the failure, for programs. */
  error_type: string | null;
  error_message: string | null;
  /** Whether the workflow is known to exist in Temporal. Until then the sweep starts it. */
  workflow_started: Generated<boolean>;
  time_created: Created;
  time_started: Date | null;
  time_completed: Date | null;
  time_updated: Updated;
  /** When something that the API shows changed last. Triggers write it, by the clock of the database. */
  time_changed: ColumnType<Date, never, never>;
}

/** A failed HealthOmics run of an execution that another run followed. */
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
  /** The id of the API key, followed by the idempotency key of the client. */
  key: string;
  /** SHA-256 of method, path and body. Polony rejects the same key with another request. */
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

/** Whether AWS granted actions in real use, for permissions that no harmless probe can test. */
export interface PermissionEvidenceTable {
  provider_id: string;
  action: string;
  resource: string;
  granted: boolean;
  error_code: string | null;
  error_message: string | null;
  time: ColumnType<Date, Date, Date>;
}

/** Sources of genuine events: AWS confirmed them. */
export interface EventSourcesTable {
  source: string;
  time_genuine: ColumnType<Date, Date, Date>;
}

/** Receivers of events. */
export interface WebhooksTable {
  id: string;
  url: string;
  description: string;
  /** Empty: all events. */
  event_types: string[];
  enabled: boolean;
  /** Why polony disabled the webhook. */
  disabled_reason: string | null;
  time_created: Created;
  time_updated: Updated;
}

/** Secrets that sign webhooks. They are encrypted; see store/secrets.ts. */
export interface WebhookSecretsTable {
  id: string;
  webhook_id: string;
  sealed: string;
  key_id: string;
  time_created: Created;
  /** Until when an old secret keeps signing. Null: the current secret. */
  time_expires: ColumnType<Date | null, Date | null | undefined, Date | null>;
}

/** An event for a webhook. Triggers write these rows in the transaction of the change (migration 0006). */
export interface WebhookDeliveriesTable {
  id: string;
  webhook_id: string;
  /** The same for every webhook that receives the event, and for every attempt. */
  event_id: string;
  event_type: string;
  /** PostgreSQL's bigint, as text. */
  event_sequence: ColumnType<string, never, never>;
  event_data: ColumnType<Record<string, unknown>, never, never>;
  time_event: ColumnType<Date, never, never>;
  state: Generated<DeliveryState>;
  /** From 1. Each replay adds one. */
  round: Generated<number>;
  attempts: Generated<number>;
  last_status: number | null;
  last_error: string | null;
  /** Whether the workflow of this round is known to have started. */
  handed_over: Generated<boolean>;
  time_handed: ColumnType<Date | null, never, Date | null>;
  time_next: ColumnType<Date | null, never, Date | null>;
  time_ended: ColumnType<Date | null, never, Date | null>;
}

/** Keys of the API. */
export interface ApiKeysTable {
  id: string;
  /** A key that was replaced has another name from then on. */
  name: string;
  /** SHA-256 of the secret part. */
  hash: Buffer;
  scopes: ColumnType<string[], string, never>;
  created_by: string;
  /** Null for keys of earlier versions. */
  created_by_id: string | null;
  time_created: Created;
  time_expires: Date;
  time_used: ColumnType<Date | null, never, Date>;
  time_revoked: ColumnType<Date | null, never, Date>;
  revoked_by: ColumnType<string | null, never, string>;
  revoked_by_id: ColumnType<string | null, never, string>;
  time_deleted: ColumnType<Date | null, never, Date>;
}

/** For whom a session or a sign-in link stands. */
interface SignedInColumns {
  id: string;
  /** SHA-256 of the secret. */
  hash: Buffer;
  caller_kind: 'key' | 'root' | 'person';
  caller_id: string;
  caller_name: string;
  /** Of a key. */
  key_id: string | null;
  /** Of the root key: proves that it has not changed. Says nothing without the secret. */
  root_proof: Buffer | null;
  /** Of a person: who vouches for it, and the values of the claim that its scopes follow from. */
  issuer: string | null;
  email: string | null;
  claim_values: Json<string[]>;
  time_created: Created;
  time_expires: Date;
}

/** Sessions of browsers. */
export interface SessionsTable extends SignedInColumns {
  time_used: ColumnType<Date | null, never, Date>;
}

/** Links that sign in once. */
export interface SignInLinksTable extends SignedInColumns {
  /** The session that made it, and ends it. */
  session_id: string | null;
  /** The latest end of the session that it makes. */
  session_expires: Date | null;
}

/** Who did what. You can only add rows. */
export interface AuditLogTable {
  id: string;
  time: Created;
  request_id: string;
  caller_kind: 'root' | 'key' | 'person' | 'system' | 'temporal' | 'anonymous';
  caller_id: string;
  caller_name: string;
  address: string | null;
  action: string;
  resource_type: string | null;
  resource_id: string | null;
  detail: ColumnType<Record<string, unknown> | null, string | null, never>;
}

/** The outcome of an entry of the audit log. You can only add rows. */
export interface AuditOutcomesTable {
  audit_id: string;
  time: Created;
  status: number | null;
  reason: string | null;
  resource_id: string | null;
  detail: ColumnType<Record<string, unknown> | null, string | null, never>;
}

/** A link of the hash chain over the audit log. Triggers write it. */
export interface AuditChainTable {
  /** From 1, without gaps. */
  number: ColumnType<string, never, never>;
  source: 'entry' | 'outcome';
  audit_id: string;
  hash: Buffer;
}

/** Who may read a bucket through its policy. */
export interface AccessGrantsTable {
  id: string;
  storage_connection_id: string;
  bucket: string;
  partition: string;
  /** ARN. */
  principal: string;
  /** Below the prefix of the storage connection. Null: the whole bucket. */
  prefix: string | null;
  /** The beginning of the keys. Null: the whole bucket. */
  folder: string | null;
  description: string;
  state: GrantState;
  /** Whether polony replaces statements with its Sids that somebody edited. */
  overwrite: Generated<boolean>;
  problem: NullableJson<Blocked>;
  created_by: string;
  changed_by: Json<{ kind: 'root' | 'key' | 'person' | 'system'; id: string; name: string }>;
  request_id: string;
  /** The entry of the audit log for a write that has begun. */
  audit_id: string | null;
  /** Set just before the first write. Before that, the policy surely contains nothing of the grant. */
  time_sent: Date | null;
  time_written: Date | null;
  time_tried: Date | null;
  time_expires: Date | null;
  time_created: Created;
  time_updated: Updated;
}

/** When an execution entered a step. Triggers write these rows. */
export interface ExecutionStepsTable {
  execution_id: string;
  attempt: number;
  /** The position in the list of `domain/executions/steps.ts`. */
  step: number;
  time_started: ColumnType<Date, never, never>;
}

/** Who does what one process does for all. */
export interface LeasesTable {
  name: string;
  /** The process that does it. */
  holder: string;
  expires_at: Date;
}

/** An activity that waits for the HealthOmics run of an execution to change. */
export interface WatchesTable {
  execution_id: string;
  /** The account and region whose quotas the polls count against. */
  scope: string;
  /** With it, any process can complete the activity. */
  task_token: Buffer;
  /** The status that the workflow knows; null where it knows none. */
  from_status: ExecutionStatus | null;
  /** Whether the workflow waits for a person. */
  probing: boolean;
  time_registered: Created;
}

export interface Database {
  access_grants: AccessGrantsTable;
  instruments: InstrumentsTable;
  api_keys: ApiKeysTable;
  sessions: SessionsTable;
  sign_in_links: SignInLinksTable;
  audit_log: AuditLogTable;
  audit_outcomes: AuditOutcomesTable;
  audit_chain: AuditChainTable;
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
  execution_steps: ExecutionStepsTable;
  idempotency_keys: IdempotencyKeysTable;
  leases: LeasesTable;
  watches: WatchesTable;
}
