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

/**
 * The search part of the address, and a function that changes it. Another filter or order begins at the first page.
 * Parts that only the page knows stay.
 */
export function useListSearch(): [ListSearch, (change: ListSearch) => void] {
  const all: Record<string, unknown> = useSearch({ strict: false });
  const search = readListSearch(all);
  const navigate = useNavigate();
  const change = (next: ListSearch): void => {
    const { filter: _filter, orderBy: _orderBy, pageToken: _pageToken, ...others } = all;
    const merged = 'pageToken' in next ? { ...search, ...next } : { ...search, ...next, pageToken: undefined };
    void navigate({ to: '.', search: { ...others, ...readListSearch(merged) } });
  };
  return [search, change];
}

/** Reads named texts of an address beside those of a list. */
export const readTexts =
  <Name extends string>(...names: readonly Name[]) =>
  (search: Record<string, unknown>): ListSearch & Partial<Record<Name, string>> => {
    const found = names.flatMap((name) => {
      const value = text(search[name]);
      return value === undefined ? [] : [[name, value]];
    });
    return { ...readListSearch(search), ...(Object.fromEntries(found) as Partial<Record<Name, string>>) };
  };

/**
 * Named texts of the address, and a function that changes some of them. Another text begins at the first page of a
 * list.
 */
export function useTexts<Name extends string>(
  ...names: readonly Name[]
): [Partial<Record<Name, string>>, (change: Partial<Record<Name, string | undefined>>) => void] {
  const all: Record<string, unknown> = useSearch({ strict: false });
  const read = readTexts(...names);
  const navigate = useNavigate();
  const change = (next: Partial<Record<Name, string | undefined>>): void => {
    void navigate({ to: '.', hash: true, search: read({ ...all, pageToken: undefined, ...next }) });
  };
  return [read(all), change];
}
