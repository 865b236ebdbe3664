import SpaceBetween from '@cloudscape-design/components/space-between';
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { api, ask } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { useTexts } from '../shared/listSearch.js';
import { LinkTo } from '../shared/LinkTo.js';
import { FileBrowser } from './FileBrowser.js';

/** The files of a storage connection. The folder and the file that is shown are in the address. */
export function StorageDataPage(): ReactNode {
  const { storageId } = useParams({ strict: false });
  const id = storageId ?? '';
  const { can } = useSession();
  const [{ prefix = '', file }, change] = useTexts('prefix', 'file');
  const storage = useQuery({
    // Not the key of the storage connection with its settings, which other pages read.
    queryKey: ['storage', 'place', id],
    queryFn: () => ask(api.GET('/v1/storage-connections/{id}', { params: { path: { id } } })),
    enabled: can('storage:read', id),
  });
  const connection = storage.data?.storageConnection;
  const name = connection?.name ?? id;
  usePageTitle({ text: 'Data Explorer', href: '/data' }, { text: name, href: `/data/${id}` });
  return (
    <FileBrowser
      isPage
      source={{ kind: 'storage', id }}
      rootName={connection?.uri ?? name}
      rootUri={connection?.uri}
      prefix={prefix}
      onPrefixChange={(next) => change({ prefix: next, file: undefined })}
      file={file}
      onFileChange={(path) => change({ file: path })}
      empty={
        <SpaceBetween size="s">
          <b>There are no files yet</b>
          <span>Instruments write their runs here when they upload.</span>
          {can('storage:read', id) && <LinkTo href={`/storage/${id}`}>See the storage connection</LinkTo>}
        </SpaceBetween>
      }
    />
  );
}
