import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { csvRow } from '../../domain/audit/csv.js';
import { type AuditFilter, type AuditRow, countAudit, listAudit } from '../../store/audit.js';
import type { Db } from '../../store/database.js';
import { presentAuditEntry } from './present.js';

/** Most entries of an export. */
export const EXPORT_LIMIT = 100_000;
/** How many entries one query reads. Few, because the detail of an entry can be a whole bucket policy. */
const BATCH = 200;

const COLUMNS = [
  'time',
  'timeEnded',
  'action',
  'callerKind',
  'callerId',
  'callerName',
  'address',
  'resourceType',
  'resourceId',
  'status',
  'reason',
  'requestId',
  'id',
  'detail',
];

/**
 * Sends entries of the audit log as CSV, newest first. It reads them while the client takes them, so that a slow client
 * costs no memory.
 * @param limit most entries
 */
export async function sendAuditExport(
  db: Db,
  reply: FastifyReply,
  filter: AuditFilter,
  limit = EXPORT_LIMIT,
): Promise<Readable> {
  const count = await countAudit(db, filter, limit + 1);
  void reply.headers({
    'content-type': 'text/csv; charset=utf-8; header=present',
    'content-disposition': 'attachment; filename="audit-log.csv"',
    'cache-control': 'no-store',
    'x-polony-entries': String(Math.min(count, limit)),
    'x-polony-more': String(count > limit),
  });
  return Readable.from(writeRows(db, filter, Math.min(count, limit)));
}

async function* writeRows(db: Db, filter: AuditFilter, count: number): AsyncGenerator<string> {
  yield csvRow(COLUMNS);
  let after: string | undefined;
  for (let left = count; left > 0; left -= BATCH) {
    const rows = await listAudit(db, filter, { limit: Math.min(left, BATCH), ...(after !== undefined && { after }) });
    if (rows.length === 0) return;
    after = rows.at(-1)!.id;
    yield rows.map(writeRow).join('');
  }
}

function writeRow(row: AuditRow): string {
  const entry = presentAuditEntry(row);
  const { caller, detail } = entry;
  return csvRow([
    entry.time,
    entry.timeEnded,
    entry.action,
    caller.kind,
    caller.id,
    caller.name,
    entry.address,
    entry.resourceType,
    entry.resourceId,
    entry.status,
    entry.reason,
    entry.requestId,
    entry.id,
    detail === null ? null : JSON.stringify(detail),
  ]);
}
