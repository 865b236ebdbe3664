import { EXECUTIONS_FOLDER } from '../runs/runFolder.js';
import { RUN_UPLOADED_FILE } from '../runs/runUploaded.js';

/** The part of an EventBridge event that polony uses. */
export type BucketOrRunEvent =
  | { kind: 'object'; bucket: string; key: string }
  | { kind: 'run'; account: string; region: string; runId: string; uuid?: string };

type Json = Record<string, unknown>;
const object = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
const text = (value: unknown, most = 1024): string | undefined =>
  typeof value === 'string' && value !== '' && value.length <= most ? value : undefined;

/**
 * Parses an EventBridge event: `Object Created` of S3, or `Run Status Change` of HealthOmics. Its keys are not
 * URL-encoded (Amazon S3 User Guide, "Ordering and format of events").
 * @returns undefined for other events, and for malformed ones.
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

/** Files whose upload should trigger a check: the end of the upload, and what polony needs to check completeness. */
const TRIGGERS = [RUN_UPLOADED_FILE, 'RunParameters.json'];

/** Finds the run folder of a key. Undefined when the key is not a trigger file in the root of a run folder. */
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
    !TRIGGERS.includes(file)
  )
    return undefined;
  return { parentPath: parts.join('/'), runFolder, file };
}
