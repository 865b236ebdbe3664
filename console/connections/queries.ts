import { type UseQueryResult, useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { queryClient } from '../app/queryClient.js';
import { type Kind, type KindPage, KINDS, LISTERS, type OfKind, READERS } from './kinds.js';

const keyOfOne = (kind: Kind, id: string | undefined) => [KINDS[kind].query, 'one', id];

/** How old the answer may be that {@link readOne} takes in place of another question, in milliseconds. */
const RECENT_MS = 1_000;

/** Reads one provider, connection or flow, together with the {@link useOne} that asks for it at the same time. */
export const readOne = <K extends Kind>(kind: K, id: string): Promise<OfKind[K]> =>
  queryClient.fetchQuery({
    queryKey: keyOfOne(kind, id),
    queryFn: () => READERS[kind](id) as Promise<OfKind[K]>,
    staleTime: RECENT_MS,
  });

/** Reads one provider, connection or flow. Without an id, it reads nothing. */
export function useOne<K extends Kind>(kind: K, id: string | undefined): UseQueryResult<OfKind[K]> {
  return useQuery({
    queryKey: keyOfOne(kind, id),
    queryFn: () => READERS[kind](id!) as Promise<OfKind[K]>,
    enabled: id !== undefined,
  });
}

/** Items of the list of a kind, and a function that reads more of them. */
export function useList<K extends Kind>(kind: K) {
  const list = useInfiniteQuery({
    queryKey: [KINDS[kind].query, 'list'],
    queryFn: ({ pageParam }) =>
      LISTERS[kind](pageParam) as Promise<KindPage<Awaited<ReturnType<(typeof LISTERS)[K]>>['items'][number]>>,
    initialPageParam: '',
    getNextPageParam: ({ nextPageToken }) => (nextPageToken === '' ? undefined : nextPageToken),
  });
  return { ...list, items: list.data?.pages.flatMap(({ items }) => items) };
}

/** A choice of a form. */
export interface NamedId {
  id: string;
  name: string;
}

/** The most choices of a form. */
const MOST_CHOICES = 1_000;

/** Everything of a kind that the caller may see, for choices in forms. */
export function useChoices(kind: Kind, isEnabled = true): UseQueryResult<readonly NamedId[]> {
  return useQuery({
    queryKey: [KINDS[kind].query, 'choices'],
    queryFn: async () => (await LISTERS[kind](undefined, MOST_CHOICES)).items.map(({ id, name }) => ({ id, name })),
    enabled: isEnabled,
  });
}

/** Reads everything again that shows providers, connections, flows or their reports. */
export function refreshConnections(): Promise<void> {
  const names = new Set<unknown>(['verification', ...Object.values(KINDS).map((each) => each.query)]);
  return queryClient.invalidateQueries({ predicate: ({ queryKey }) => names.has(queryKey[0]) });
}
