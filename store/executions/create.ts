import { sql } from 'kysely';
import { storageUri } from '../../domain/files/paths.js';
import type { ParameterValue } from '../../domain/executions/execution.js';
import { type DbOrTransaction, newId, sanitizeJson, sanitizeText } from '../database.js';
import type { UploadState } from '../schema.js';

/** What a new execution is named after, where it reads and writes, and who wants it. */
export interface NewExecution {
  /** 1 to 128 characters. Left out: the names of the flow and the run. */
  name?: string;
  flow: { id: string; name: string; computeConnectionId: string };
  run: {
    id: string;
    name: string;
    storageConnectionId: string;
    /** An execution of a run that is still uploading waits for it. */
    uploadState: UploadState;
    /** The id that the instrument gave the run. Copies of a run folder share it. */
    instrumentRunId?: string;
  };
  storage: { bucket: string; prefix: string };
  /** `auto`: a flow starts for a run at most once, also under another storage connection or folder. */
  trigger: 'auto' | 'api';
  startedBy: string;
  /** The id of the caller: names can be alike. */
  startedById?: string;
  /** Parameters of the workflow. They override those of the flow. */
  parameters?: Record<string, ParameterValue>;
  /** A run manifest in place of the one in the run folder. */
  manifest?: { text: string } | { uri: string };
  /** The execution that this one repeats. */
  relaunchOf?: string;
}

/**
 * The id of the new execution. Without one, the flow has started for this run before: `startedBefore` names that
 * execution where it belongs to a copy of the run.
 */
export type CreatedExecution = { id: string } | { id: undefined; startedBefore: string | undefined };

/**
 * Creates an execution. It begins as `INITIALIZED`, or as `UNTRIGGERED` while its run is uploading.
 *
 * The row of the run stays locked until the transaction ends. Either the end of an upload sees the new execution, or
 * the caller saw the end of the upload.
 * @param transaction the transaction in which the caller read the run; see `lockRun`
 */
export async function createExecution(
  transaction: DbOrTransaction,
  execution: NewExecution,
): Promise<CreatedExecution> {
  await transaction.selectFrom('runs').select('id').where('id', '=', execution.run.id).forUpdate().execute();
  if (execution.trigger === 'auto') {
    const startedBefore = await findAutomaticStartOfCopy(transaction, execution.flow.id, execution.run);
    if (startedBefore !== undefined) return { id: undefined, startedBefore };
  }
  const id = await insertExecution(transaction, execution);
  return id === undefined ? { id, startedBefore: undefined } : { id };
}

/**
 * The execution that a flow started automatically for a copy of this run: the same run of the instrument in another
 * folder or under another storage connection.
 */
async function findAutomaticStartOfCopy(
  transaction: DbOrTransaction,
  flowId: string,
  run: { id: string; instrumentRunId?: string },
): Promise<string | undefined> {
  if (run.instrumentRunId === undefined) return undefined;
  // Two copies whose uploads end at the same moment wait for each other until the transaction ends.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`auto/${flowId}/${run.instrumentRunId}`}, 0))`.execute(
    transaction,
  );
  const row = await transaction
    .selectFrom('executions as e')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .select('e.id')
    .where('e.flow_id', '=', flowId)
    .where('e.trigger', '=', 'auto')
    .where('r.id', '!=', run.id)
    .where(sql<string>`r.run_parameters->>'runId'`, '=', run.instrumentRunId)
    .limit(1)
    .executeTakeFirst();
  return row?.id;
}

/** @returns undefined where the flow has started automatically for this run before. */
async function insertExecution(transaction: DbOrTransaction, execution: NewExecution): Promise<string | undefined> {
  const id = newId();
  const waits = execution.run.uploadState === 'uploading';
  const row = await transaction
    .insertInto('executions')
    .values({
      id,
      name: execution.name ?? `${execution.flow.name} ${execution.run.name}`,
      flow_id: execution.flow.id,
      run_id: execution.run.id,
      compute_connection_id: execution.flow.computeConnectionId,
      storage_connection_id: execution.run.storageConnectionId,
      trigger: execution.trigger,
      started_by: execution.startedBy,
      started_by_id: execution.startedById ?? null,
      status: waits ? 'UNTRIGGERED' : 'INITIALIZED',
      status_description: waits ? 'Waiting for the upload of the run to end' : 'Accepted',
      // HealthOmics adds a folder for each of its runs below this one.
      output_uri: storageUri(execution.storage.bucket, execution.storage.prefix, 'polony-executions', id),
      ...(execution.parameters !== undefined && { own_parameters: sanitizeJson(execution.parameters) }),
      ...(execution.manifest !== undefined &&
        ('text' in execution.manifest
          ? { manifest_text: sanitizeText(execution.manifest.text) }
          : { manifest_uri: execution.manifest.uri })),
      ...(execution.relaunchOf !== undefined && { relaunch_of: execution.relaunchOf }),
    })
    .onConflict((conflict) => conflict.columns(['flow_id', 'run_id']).where('trigger', '=', 'auto').doNothing())
    .returning('id')
    .executeTakeFirst();
  return row?.id;
}
