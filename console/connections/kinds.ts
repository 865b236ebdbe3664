import type { ScopeAction } from '../../domain/auth/scopes.js';
import { api, ask, type Schema } from '../app/client.js';

/** What a person connects; the API verifies each. */
export type Kind = 'provider' | 'storageConnection' | 'computeConnection' | 'flow';

/** The names of a kind in addresses, scopes and texts. */
export interface KindNames {
  kind: Kind;
  /** The address of its list. */
  href: string;
  /** The first part of the keys of its queries, which {@link useChanges} knows. */
  query: 'providers' | 'storage' | 'compute' | 'flows';
  title: string;
  /** Such as "storage connection". */
  noun: string;
  plural: string;
  read: ScopeAction;
  write: ScopeAction;
}

export const KINDS: Readonly<Record<Kind, KindNames>> = {
  provider: {
    kind: 'provider',
    href: '/providers',
    query: 'providers',
    title: 'Providers',
    noun: 'provider',
    plural: 'providers',
    read: 'providers:read',
    write: 'providers:write',
  },
  storageConnection: {
    kind: 'storageConnection',
    href: '/storage',
    query: 'storage',
    title: 'Storage',
    noun: 'storage connection',
    plural: 'storage connections',
    read: 'storage:read',
    write: 'storage:write',
  },
  computeConnection: {
    kind: 'computeConnection',
    href: '/compute',
    query: 'compute',
    title: 'Compute',
    noun: 'compute connection',
    plural: 'compute connections',
    read: 'compute:read',
    write: 'compute:write',
  },
  flow: {
    kind: 'flow',
    href: '/flows',
    query: 'flows',
    title: 'Flows',
    noun: 'flow',
    plural: 'flows',
    read: 'flows:read',
    write: 'flows:write',
  },
};

/** Whether a part of an address names a kind. */
export const isKind = (text: string): text is Kind => Object.hasOwn(KINDS, text);

/** What cards and pages show of every kind. */
export interface Connected {
  id: string;
  name: string;
  status: string;
  statusDescription: string;
  timeVerified: string | null;
  timeUsed: string | null;
  timeCreated: string;
  timeUpdated: string;
}

export type Provider = Schema<'Provider'>;
export type ComputeConnection = Schema<'ComputeConnection'>;
export type Flow = Schema<'Flow'>;
/** A storage connection with its settings, which the API answers separately. */
export type Storage = Schema<'StorageConnection'> & Schema<'StorageConnectionDetails'>;

/** Joins the two parts of an answer about a storage connection. */
export const joinStorage = (answer: {
  storageConnection: Schema<'StorageConnection'>;
  details: Schema<'StorageConnectionDetails'>;
}): Storage => ({ ...answer.details, ...answer.storageConnection });

const path = (id: string) => ({ params: { path: { id } } });

/** Reads one of them. @throws ApiFailure */
export const READERS = {
  provider: async (id: string): Promise<Provider> => (await ask(api.GET('/v1/providers/{id}', path(id)))).provider,
  storageConnection: async (id: string): Promise<Storage> =>
    joinStorage(await ask(api.GET('/v1/storage-connections/{id}/details', path(id)))),
  computeConnection: async (id: string): Promise<ComputeConnection> =>
    (await ask(api.GET('/v1/compute-connections/{id}', path(id)))).computeConnection,
  flow: async (id: string): Promise<Flow> => (await ask(api.GET('/v1/flows/{id}', path(id)))).flow,
} as const;

/** What each kind is in the API. */
export interface OfKind {
  provider: Provider;
  storageConnection: Storage;
  computeConnection: ComputeConnection;
  flow: Flow;
}

/** Deletes one of them. @throws ApiFailure 409 while something uses it */
export const DELETERS: Readonly<Record<Kind, (id: string) => Promise<unknown>>> = {
  provider: (id) => ask(api.DELETE('/v1/providers/{id}', path(id))),
  storageConnection: (id) => ask(api.DELETE('/v1/storage-connections/{id}', path(id))),
  computeConnection: (id) => ask(api.DELETE('/v1/compute-connections/{id}', path(id))),
  flow: (id) => ask(api.DELETE('/v1/flows/{id}', path(id))),
};

/** One page of a list; the items of the storage list have no settings. */
export interface KindPage<T> {
  items: readonly T[];
  nextPageToken: string;
}

/** Reads a page of each list. @throws ApiFailure */
export const LISTERS = {
  provider: async (pageToken?: string, pageSize = 30): Promise<KindPage<Provider>> => {
    const page = await ask(api.GET('/v1/providers', query(pageSize, pageToken)));
    return { items: page.providers, nextPageToken: page.nextPageToken };
  },
  storageConnection: async (pageToken?: string, pageSize = 30): Promise<KindPage<Schema<'StorageConnection'>>> => {
    const page = await ask(api.GET('/v1/storage-connections', query(pageSize, pageToken)));
    return { items: page.storageConnections, nextPageToken: page.nextPageToken };
  },
  computeConnection: async (pageToken?: string, pageSize = 30): Promise<KindPage<ComputeConnection>> => {
    const page = await ask(api.GET('/v1/compute-connections', query(pageSize, pageToken)));
    return { items: page.computeConnections, nextPageToken: page.nextPageToken };
  },
  flow: async (pageToken?: string, pageSize = 30): Promise<KindPage<Flow>> => {
    const page = await ask(api.GET('/v1/flows', query(pageSize, pageToken)));
    return { items: page.flows, nextPageToken: page.nextPageToken };
  },
} as const;

function query(pageSize: number, pageToken: string | undefined) {
  return { params: { query: { pageSize, ...(pageToken !== undefined && pageToken !== '' && { pageToken }) } } };
}
