import { FINAL_STATUSES } from '../../domain/executions/execution.js';
import { type DbOrTransaction, isId } from '../database.js';

/** A storage connection whose bucket may know of executions. */
export interface RecordPlace {
  id: string;
  name: string;
  providerId: string;
  region: string;
  bucket: string;
  prefix: string;
}

/** The storage connections that exist, and deleted ones that open executions still use. */
export async function listRecordPlaces(db: DbOrTransaction): Promise<RecordPlace[]> {
  const rows = await db
    .selectFrom('storage_connections as s')
    .select(['s.id', 's.name', 's.provider_id', 's.region', 's.bucket', 's.prefix'])
    .where((where) =>
      where.or([
        where('s.time_deleted', 'is', null),
        where.exists(
          where
            .selectFrom('executions as e')
            .select('e.id')
            .whereRef('e.storage_connection_id', '=', 's.id')
            .where('e.status', 'not in', FINAL_STATUSES),
        ),
      ]),
    )
    .orderBy('s.id')
    .execute();
  return rows.map(({ provider_id: providerId, ...row }) => ({ ...row, providerId }));
}

/** Whether a storage connection exists or was deleted, and has this bucket and prefix. */
export async function isAtPlace(
  db: DbOrTransaction,
  id: string,
  { bucket, prefix }: Pick<RecordPlace, 'bucket' | 'prefix'>,
): Promise<boolean> {
  if (!isId(id)) return false;
  const row = await db
    .selectFrom('storage_connections')
    .select('id')
    .where('id', '=', id)
    .where('bucket', '=', bucket)
    .where('prefix', '=', prefix)
    .executeTakeFirst();
  return row !== undefined;
}

/** An account and region where HealthOmics may have runs of polony, and the shared workflows that it uses there. */
interface ComputePlace {
  providerId: string;
  region: string;
  /** Ids of shared workflows. */
  workflowIds: string[];
}

/** Where flows run, with each provider and region once. */
export async function listComputePlaces(db: DbOrTransaction): Promise<ComputePlace[]> {
  const rows = await db
    .selectFrom('compute_connections as c')
    .innerJoin('flows as f', 'f.compute_connection_id', 'c.id')
    .select(['c.provider_id', 'c.region', 'f.shared_workflow_id'])
    .where('c.time_deleted', 'is', null)
    .orderBy('c.id')
    .execute();
  const places = new Map<string, ComputePlace>();
  for (const { provider_id: providerId, region, shared_workflow_id: workflowId } of rows) {
    const key = `${providerId} ${region}`;
    const place = places.get(key) ?? { providerId, region, workflowIds: [] };
    if (!place.workflowIds.includes(workflowId)) place.workflowIds.push(workflowId);
    places.set(key, place);
  }
  return [...places.values()];
}

/** The ids of all executions that have not ended. */
export async function listOpenExecutionIds(db: DbOrTransaction): Promise<string[]> {
  const rows = await db
    .selectFrom('executions')
    .select('id')
    .where('status', 'not in', FINAL_STATUSES)
    .orderBy('id')
    .execute();
  return rows.map(({ id }) => id);
}

/** Which of these HealthOmics runs the database knows, as those of executions or of their earlier attempts. */
export async function filterUnknownRuns(db: DbOrTransaction, runIds: readonly string[]): Promise<string[]> {
  if (runIds.length === 0) return [];
  const [current, earlier] = await Promise.all([
    db.selectFrom('executions').select('healthomics_run_id as id').where('healthomics_run_id', 'in', runIds).execute(),
    db
      .selectFrom('execution_attempts')
      .select('healthomics_run_id as id')
      .where('healthomics_run_id', 'in', runIds)
      .execute(),
  ]);
  const known = new Set([...current, ...earlier].map(({ id }) => id));
  return runIds.filter((id) => !known.has(id));
}

/** What became of the flows that started automatically for the run folders of a storage connection. */
export async function listAutomaticStarts(
  db: DbOrTransaction,
  storageConnectionId: string,
): Promise<{ flowId: string; parentPath: string; runFolder: string }[]> {
  const rows = await db
    .selectFrom('executions as e')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .select(['e.flow_id', 'r.parent_path', 'r.run_folder'])
    .where('e.trigger', '=', 'auto')
    .where('e.storage_connection_id', '=', storageConnectionId)
    .execute();
  return rows.map((row) => ({ flowId: row.flow_id, parentPath: row.parent_path, runFolder: row.run_folder }));
}

/** What decides which StartRun polony would send for a flow with a compute connection. */
export interface StartRule {
  providerId: string;
  region: string;
  executionRoleArn: string;
  sharedWorkflowId: string;
  workflowOwnerId: string;
}

/** How a flow starts runs, deleted or not; undefined where the flow or the compute connection is unknown. */
export async function findStartRule(
  db: DbOrTransaction,
  flowId: string,
  computeConnectionId: string,
): Promise<StartRule | undefined> {
  if (!isId(flowId) || !isId(computeConnectionId)) return undefined;
  const [flow, compute] = await Promise.all([
    db.selectFrom('flows').selectAll().where('id', '=', flowId).executeTakeFirst(),
    db.selectFrom('compute_connections').selectAll().where('id', '=', computeConnectionId).executeTakeFirst(),
  ]);
  if (flow === undefined || compute === undefined) return undefined;
  return {
    providerId: compute.provider_id,
    region: compute.region,
    executionRoleArn: compute.execution_role_arn,
    sharedWorkflowId: flow.shared_workflow_id,
    workflowOwnerId: flow.workflow_owner_id,
  };
}

/** The flows of a shared workflow that run with a role, and the names that they give its parameters. */
export async function listFlowsOfWorkflow(
  db: DbOrTransaction,
  by: { sharedWorkflowId: string; executionRoleArn: string },
): Promise<{ id: string; name: string; computeConnectionId: string; runDirName: string | undefined }[]> {
  const rows = await db
    .selectFrom('flows as f')
    .innerJoin('compute_connections as c', 'c.id', 'f.compute_connection_id')
    .select(['f.id', 'f.name', 'f.parameter_names', 'c.id as compute_id'])
    .where('f.shared_workflow_id', '=', by.sharedWorkflowId)
    .where('c.execution_role_arn', '=', by.executionRoleArn)
    .orderBy('f.id')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    computeConnectionId: row.compute_id,
    runDirName: row.parameter_names.runDir,
  }));
}
