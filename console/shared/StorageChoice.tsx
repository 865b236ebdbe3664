import type { ScopeAction } from '../../domain/auth/scopes.js';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { api, ask, type Schema } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { LinkTo } from './LinkTo.js';
import { ListTable } from './ListTable.js';
import { useListSearch } from './listSearch.js';
import { Status } from './Status.js';

export interface StorageChoiceProps {
  title: string;
  description: string;
  /** What the caller must be allowed to do with a storage connection, such as `storage:share`. */
  scope: ScopeAction;
  /** The first part of the addresses of the pages, such as `/data`. */
  path: string;
}

/** The storage connections of which a page can be opened. */
export function StorageChoice({ title, description, scope, path }: StorageChoiceProps): ReactNode {
  const { can, canAll } = useSession();
  const maySee = can('storage:read');
  const [{ pageToken }] = useListSearch();
  const storage = useQuery({
    queryKey: ['storage', 'choice', pageToken],
    enabled: maySee,
    queryFn: () =>
      ask(
        api.GET('/v1/storage-connections', {
          params: { query: { pageSize: 100, ...(pageToken !== undefined && { pageToken }) } },
        }),
      ),
  });
  const { data } = storage;
  return (
    <ListTable<Schema<'StorageConnection'>>
      name="storage-choice"
      title={title}
      description={description}
      columns={[
        {
          id: 'name',
          header: 'Storage connection',
          isRowHeader: true,
          minWidth: 160,
          cell: ({ id, name }) => (can(scope, id) ? <LinkTo href={`${path}/${id}`}>{name}</LinkTo> : name),
        },
        { id: 'uri', header: 'Bucket and prefix', cell: ({ uri }) => uri },
        { id: 'status', header: 'Status', cell: ({ status }) => <Status value={status} /> },
      ]}
      page={data === undefined ? undefined : { items: data.storageConnections, nextPageToken: data.nextPageToken }}
      isLoading={storage.isLoading}
      error={storage.error}
      onRetry={() => void storage.refetch()}
      empty={
        !maySee ? (
          <SpaceBetween size="s">
            <b>You may not see the list of storage connections</b>
            <span>Ask an administrator for the scope storage:read, or open the address of a storage connection.</span>
          </SpaceBetween>
        ) : (
          <SpaceBetween size="s">
            <b>No storage connections yet</b>
            <span>Connect a bucket first.</span>
            {canAll('providers:write') && <LinkTo href="/setup">Connect a bucket</LinkTo>}
          </SpaceBetween>
        )
      }
    />
  );
}
