import type { DbOrTransaction } from '../database.js';
import type { UploadState } from '../schema.js';

/** A run whose upload has ended, and how. */
interface EndedUpload {
  id: string;
  uploadState: Exclude<UploadState, 'uploading'>;
  uploadDescription: string;
}

/** Runs whose upload has ended while executions still wait for it: these were created at the same moment. */
export async function listEndedUploadsWithWaitingExecutions(db: DbOrTransaction): Promise<EndedUpload[]> {
  const rows = await db
    .selectFrom('executions as e')
    .innerJoin('runs as r', 'r.id', 'e.run_id')
    .select(['r.id', 'r.upload_state', 'r.upload_description'])
    .distinct()
    .where('e.status', '=', 'UNTRIGGERED')
    .where('r.upload_state', '!=', 'uploading')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    uploadState: row.upload_state as EndedUpload['uploadState'],
    uploadDescription: row.upload_description,
  }));
}
