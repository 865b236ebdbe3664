import type { FieldProblem } from '../../domain/errors.js';
import { findNamedUris, type NamedUri } from '../../domain/executions/namedUris.js';
import { listReadings } from '../../domain/executions/uriReadings.js';
import { isInSearchedRunFolder } from '../../domain/runs/searchedFolder.js';
import { listStorageConnectionsInBucket, type StorageConnectionRow } from '../../store/connections/storage.js';
import type { DbTransaction } from '../../store/database.js';
import type { Caller } from '../plugins/auth.js';
import { maySeePath, pathBelow } from './access.js';
import type { RequestedManifest } from './manifest.js';

/** Most buckets that the texts of one request may name. */
const MOST_BUCKETS = 10;

/** What a request names outside itself, and the caller who must be allowed to see it. */
export interface References {
  caller: Caller;
  uris: readonly NamedUri[];
}

/**
 * Finds what a request names in S3 and elsewhere. The workflow reads it with its own role, and the results and problems
 * of the execution show what it read, so a caller could read through it what it may not see.
 */
export function findReferences(
  caller: Caller,
  body: { manifest?: RequestedManifest | null; parameters?: Record<string, unknown> },
): References {
  // Such a caller may read everything in S3 that polony knows of.
  if (caller.access.ids('storage:download') === 'all') return { caller, uris: [] };
  const manifest = body.manifest != null && 'uri' in body.manifest ? body.manifest.uri : undefined;
  return {
    caller,
    uris: [...findNamedUris('manifest.uri', manifest), ...findNamedUris('parameters', body.parameters)],
  };
}

/**
 * The references that lead to what the caller may not see: anything but the run folder, folders that its scope
 * `storage:download` covers, and, for a caller that may see all runs, other run folders.
 * @param folder `s3://` URI of the run folder, with a slash at its end
 * @param isVerified whether the folder is known to be one of a run; otherwise the scope `storage:download` decides
 */
export async function checkReferences(
  transaction: DbTransaction,
  { folder, isVerified }: { folder: string; isVerified: boolean },
  { caller, uris }: References,
): Promise<FieldProblem[]> {
  const problems = new Map<string, FieldProblem>();
  const connections = new Map<string, StorageConnectionRow[]>();
  const report = (field: string, rule: string, message: string): void => {
    if (!problems.has(field)) problems.set(field, { field: field.slice(0, 200), rule, message });
  };
  for (const { field, kind, uri } of uris) {
    if (kind === 'other') {
      report(
        field,
        'OUTSIDE_RUN',
        'must name nothing but places in S3, as s3://bucket/key, omics:// and https:// URIs that are not of S3, ' +
          'because this API key may not read all storage connections',
      );
      continue;
    }
    const readings = listReadings(uri);
    if (readings === undefined) {
      report(
        field,
        'OUTSIDE_RUN',
        'must not have folders named . or .., also not encoded, because some programs would read from another folder, ' +
          'and this API key may not see every folder',
      );
    } else if (!(await maySeeAll(readings))) {
      report(
        field,
        'OUTSIDE_RUN',
        (isVerified
          ? `must lie in the run folder, below ${folder}, because this API key may not see other places. The scope ` +
            '`storage:download` allows the folders that it covers. '
          : 'must lie in a folder that the scope `storage:download` of this API key covers: nothing shows that ' +
            `${folder} is the folder of a run. `) +
          'A URI with encoded characters must lie there both as it is written and decoded',
      );
    }
  }
  return [...problems.values()];

  async function maySeeAll(readings: Iterable<string>): Promise<boolean> {
    for (const reading of readings)
      if (!(isVerified && reading.startsWith(folder)) && !(await maySee(reading))) return false;
    return true;
  }

  async function maySee(uri: string): Promise<boolean> {
    const [, bucket = '', key = ''] = /^s3:\/\/([^/]+)\/(.+)$/s.exec(uri) ?? [];
    if (!connections.has(bucket)) {
      if (bucket === '' || connections.size === MOST_BUCKETS) return false;
      connections.set(bucket, await listStorageConnectionsInBucket(transaction, bucket));
    }
    return connections.get(bucket)!.some((storage) => {
      const path = pathBelow(storage, key);
      return path !== undefined && (maySeePath(caller, storage, path) || isInVisibleRun(caller, storage, path));
    });
  }
}

function isInVisibleRun({ access }: Caller, storage: StorageConnectionRow, path: string): boolean {
  const searched = { useForRunUpload: storage.use_for_run_upload, runDepth: storage.run_depth };
  return access.ids('runs:read') === 'all' && isInSearchedRunFolder(searched, path);
}
