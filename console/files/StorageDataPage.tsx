import SpaceBetween from '@cloudscape-design/components/space-between';
import { useParams } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useSession } from '../auth/session.js';
import { useOne } from '../connections/queries.js';
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
  const { data: connection } = useOne('storageConnection', can('storage:read', id) ? id : undefined);
  const name = connection?.name ?? id;
  usePageTitle({ text: 'Data Explorer', href: '/data' }, { text: name, href: `/data/${id}` });
  return (
    <FileBrowser
      isPage
      source={{ kind: 'storage', id }}
      storageId={id}
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
