import { BASE_PATH } from '../app/base.js';
import { ApiFailure, readFailure } from '../app/client.js';
import type { AuditSearch } from './search.js';

/** Saves what a search finds as a file. @throws ApiFailure */
export async function exportAudit(search: AuditSearch): Promise<{ count: number; hasMore: boolean }> {
  const query = new URLSearchParams(search).toString();
  let response: Response;
  try {
    response = await fetch(`${BASE_PATH}/v1/audit-log/export${query === '' ? '' : `?${query}`}`, {
      credentials: 'same-origin',
    });
  } catch {
    throw new ApiFailure('The API does not answer. Check your connection, and try again.', 0, 'NO_ANSWER', undefined);
  }
  if (!response.ok) throw readFailure(response, await response.json().catch(() => undefined));
  // The browser keeps a large blob on the disk.
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement('a');
  link.href = address;
  link.download = `audit-log-${new Date().toISOString().slice(0, 10)}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  return {
    count: Number(response.headers.get('x-polony-entries')),
    hasMore: response.headers.get('x-polony-more') === 'true',
  };
}
