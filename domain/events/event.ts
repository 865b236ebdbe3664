import { EXECUTIONS_FOLDER } from '../runs/runFolder.js';
import { RUN_UPLOADED_FILE } from '../runs/runUploaded.js';

/** What an event of EventBridge tells, as far as it matters here. */
export type BucketOrRunEvent =
  | { kind: 'object'; bucket: string; key: string }
  | { kind: 'run'; account: string; region: string; runId: string; uuid?: string };

type Json = Record<string, unknown>;
const object = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
const text = (value: unknown, most = 1024): string | undefined =>
  typeof value === 'string' && value !== '' && value.length <= most ? value : undefined;

/**
 * Reads an event of EventBridge: `Object Created` of S3 and `Run Status Change` of HealthOmics. Keys stand in them as they are, not
 * URL-encoded (Amazon S3 User Guide, "Ordering and format of events").
 * @returns undefined for all others, and for what is not as AWS writes it.
 */
export function parseEvent(event: unknown): BucketOrRunEvent | undefined {
  const { source, 'detail-type': type, detail: given, account, region } = object(event);
  const detail = object(given);
  if (source === 'aws.s3' && type === 'Object Created') {
    const bucket = text(object(detail.bucket).name, 63);
    const key = text(object(detail.object).key);
    return bucket === undefined || key === undefined ? undefined : { kind: 'object', bucket, key };
  }
  if (source === 'aws.omics' && type === 'Run Status Change') {
    const runId = text(detail.runId, 18) ?? /:run\/(\d{1,18})$/.exec(text(detail.arn) ?? '')?.[1];
    const [of, where] = [text(account, 12), text(region, 30)];
    return runId === undefined || of === undefined || where === undefined
      ? undefined
      : { kind: 'run', account: of, region: where, runId, uuid: text(detail.uuid, 64) };
  }
  return undefined;
}

/** The files of a run folder whose arrival is worth a look: the end of the upload, and what is needed to tell whether it is whole. */
const TELLING = [RUN_UPLOADED_FILE, 'RunParameters.json'];

/** Where a key lies in a storage connection: in the root of a run folder, that is. Undefined where it says nothing about a run. */
export function locateRunFolder(
  key: string,
  prefix: string,
  runDepth: number,
): { parentPath: string; runFolder: string; file: string } | undefined {
  if (prefix !== '' && !key.startsWith(`${prefix}/`)) return undefined;
  const parts = (prefix === '' ? key : key.slice(prefix.length + 1)).split('/');
  const file = parts.pop()!;
  const runFolder = parts.pop();
  if (
    runFolder === undefined ||
    parts.length !== runDepth + 1 ||
    parts.includes('') ||
    parts[0] === EXECUTIONS_FOLDER ||
    !TELLING.includes(file)
  )
    return undefined;
  return { parentPath: parts.join('/'), runFolder, file };
}
