import pLimit from 'p-limit';
import { CliError } from './exit.js';
import type { Profile } from './profiles.js';
import { itemsOf, request } from './requests.js';

/** Storage connections that are searched at once. */
const CONCURRENCY = 4;
/** How long the search takes at most, in milliseconds. Pages that were requested by then still arrive. */
const MAX_MS = 15_000;

/** A storage connection, as a list shows it. */
interface Searched {
  id: string;
  name: string;
}

/** Where folders look like runs and are ignored, and where nobody knows. Both have names of storage connections. */
export interface IgnoredFolders {
  found: { storageConnection: string }[];
  notSearched: { storageConnection: string; reason: string }[];
}

/** Whether a storage connection has an ignored folder; undefined if the time ended before all pages were read. */
async function hasIgnoredFolders(api: Profile, id: string, deadline: number): Promise<boolean | undefined> {
  let pageToken: string | undefined;
  do {
    if (Date.now() > deadline) return undefined;
    const query = { pageSize: 1, ...(pageToken !== undefined && { pageToken }) };
    const page = await request(api, 'GET', '/v1/storage-connections/{id}/ignored-folders', { path: { id }, query });
    if (itemsOf(api, page, 'ignoredFolders').length > 0) return true;
    // A page may be empty although more follow.
    pageToken = (page as { nextPageToken?: string }).nextPageToken;
  } while (pageToken !== undefined && pageToken !== '');
  return false;
}

/**
 * Searches storage connections for folders that look like runs and are ignored. The search is limited in time, and says
 * where it did not come to an end. A failure of one keeps no other from its answer.
 */
export async function searchIgnoredFolders(api: Profile, storage: readonly Searched[]): Promise<IgnoredFolders> {
  const result: IgnoredFolders = { found: [], notSearched: [] };
  const deadline = Date.now() + MAX_MS;
  const limit = pLimit(CONCURRENCY);
  const search = async ({ id, name }: Searched): Promise<{ name: string; has?: boolean; reason?: string }> => {
    try {
      const has = await hasIgnoredFolders(api, id, deadline);
      return has === undefined ? { name, reason: 'the search took too long' } : { name, has };
    } catch (error) {
      // polony looks for no runs there, so it ignores none.
      if (error instanceof CliError && error.answer?.reason === 'NOT_USED_FOR_RUN_UPLOAD') return { name, has: false };
      if (error instanceof CliError) return { name, reason: error.message };
      throw error;
    }
  };
  for (const { name, has, reason } of await Promise.all(storage.map((each) => limit(() => search(each))))) {
    if (reason !== undefined) result.notSearched.push({ storageConnection: name, reason });
    else if (has === true) result.found.push({ storageConnection: name });
  }
  return result;
}
