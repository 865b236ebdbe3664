import { useNavigate, useSearch } from '@tanstack/react-router';

/** What the address of a list has. */
export interface ListSearch {
  filter?: string;
  orderBy?: string;
  pageToken?: string;
}

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined;

/** Reads the search part of an address; unknown parts are dropped. */
export function readListSearch(search: Record<string, unknown>): ListSearch {
  const [filter, orderBy, pageToken] = [text(search.filter), text(search.orderBy), text(search.pageToken)];
  return {
    ...(filter !== undefined && { filter }),
    ...(orderBy !== undefined && { orderBy }),
    ...(pageToken !== undefined && { pageToken }),
  };
}

/** The search part of the address, and a function that changes it. Another filter or order begins at the first page. */
export function useListSearch(): [ListSearch, (change: ListSearch) => void] {
  const search = readListSearch(useSearch({ strict: false }));
  const navigate = useNavigate();
  const change = (next: ListSearch): void => {
    const merged = 'pageToken' in next ? { ...search, ...next } : { ...search, ...next, pageToken: undefined };
    void navigate({ to: '.', search: readListSearch(merged) });
  };
  return [search, change];
}
