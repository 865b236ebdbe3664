import Badge from '@cloudscape-design/components/badge';
import Box from '@cloudscape-design/components/box';
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown, { type ButtonDropdownProps } from '@cloudscape-design/components/button-dropdown';
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard';
import Header from '@cloudscape-design/components/header';
import Icon from '@cloudscape-design/components/icon';
import Link from '@cloudscape-design/components/link';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { ApiFailure } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { useNotify } from '../layout/notifications.js';
import { ButtonTo } from '../shared/ButtonTo.js';
import { Failure } from '../shared/Failure.js';
import { formatBytes } from '../shared/format.js';
import { Time } from '../shared/Time.js';
import { useAction } from '../shared/useAction.js';
import { CopyCommandDialog } from './CopyCommandDialog.js';
import { FilePreviewDialog } from './FilePreviewDialog.js';
import { foldersOf, isArchivedClass, isBinary, isReadable, nameOf } from './paths.js';
import { askDownloadUrl, type FileSource, listFolder, SCOPE_OF_FILES } from './source.js';

export interface FileBrowserProps {
  source: FileSource;
  /** The folder that is shown, with a slash at its end; empty for the uppermost. */
  prefix: string;
  onPrefixChange: (prefix: string) => void;
  /** The path of the file that is shown. Without it, the browser keeps that itself. */
  file?: string | undefined;
  onFileChange?: (path: string | undefined) => void;
  /** What the uppermost folder is called. */
  rootName?: string;
  /** Its S3 address, where it is known. */
  rootUri?: string | undefined;
  /** The storage connection that the folders can be shared by. */
  storageId: string;
  /** What an empty uppermost folder means. */
  empty?: ReactNode;
  /** Whether it is the main thing on its page. */
  isPage?: boolean;
}

interface Row {
  path: string;
  isFolder: boolean;
  size?: number;
  lastModified?: string;
  storageClass: string | null;
  uri?: string;
}

/** The tokens of the pages before, so that the reader can go back: S3 only goes forwards. */
type Pages = readonly (string | undefined)[];

/** The folders and files of a storage connection, a run or an execution. */
export function FileBrowser(props: FileBrowserProps): ReactNode {
  const { source, prefix, onPrefixChange } = props;
  const { can } = useSession();
  const [own, setOwn] = useState<string>();
  const [file, setFile] = props.onFileChange === undefined ? [own, setOwn] : [props.file, props.onFileChange];
  const scope = SCOPE_OF_FILES[source.kind];
  if (!can(scope, source.id))
    return (
      <Box padding="l" color="text-body-secondary">
        You may not see these files. Ask an administrator for the scope {scope}.
      </Box>
    );
  return (
    <Folder
      // Another folder begins at its first page.
      key={`${source.id} ${prefix}`}
      {...props}
      file={file}
      onFileChange={setFile}
      onPrefixChange={(next) => {
        setOwn(undefined);
        onPrefixChange(next);
      }}
    />
  );
}

type FolderProps = FileBrowserProps & { onFileChange: (path: string | undefined) => void };

function Folder(props: FolderProps): ReactNode {
  const { source, prefix, onPrefixChange, file, onFileChange, rootName = 'All files', empty, isPage = false } = props;
  const { storageId } = props;
  const { can } = useSession();
  const mayShare = can('storage:read', storageId) && can('storage:share', storageId);
  const notify = useNotify();
  const [pages, setPages] = useState<Pages>([undefined]);
  const [copied, setCopied] = useState<string>();
  const pageToken = pages.at(-1);
  const folder = useQuery({
    queryKey: ['files', source.kind, source.id, prefix, pageToken],
    queryFn: () => listFolder(source, prefix, pageToken),
    placeholderData: keepPreviousData,
  });
  const download = useAction(async (path: string) => {
    try {
      startDownload(await askDownloadUrl(source, path));
    } catch (error) {
      notify.failure(error, `${nameOf(path)} cannot be downloaded`);
    }
  });
  const { data } = folder;
  const rows: Row[] = [
    ...(data?.subdirectories ?? []).map((path) => ({ path, isFolder: true, storageClass: null })),
    ...(data?.files ?? [])
      // S3's own console writes an empty object for a folder.
      .filter(({ path }) => path !== prefix)
      .map((each) => ({ ...each, isFolder: false })),
  ];
  const uri = uriOf(rows, props.rootUri, prefix);
  const open = (row: Row): void => (row.isFolder ? onPrefixChange(row.path) : onFileChange(row.path));
  const act = (row: Row, id: string): void => {
    if (id === 'open') open(row);
    else if (id === 'download') void download.run(row.path);
    else if (id === 'command') setCopied(row.path);
    else if (id === 'uri' && row.uri !== undefined)
      navigator.clipboard.writeText(row.uri).then(
        () => notify.success(`Copied ${row.uri}`),
        () => notify.failure(`The browser does not allow copying. The address is ${row.uri}`),
      );
  };
  return (
    <>
      <Table<Row>
        variant={isPage ? 'full-page' : 'container'}
        stickyHeader={isPage}
        trackBy="path"
        items={rows}
        loading={folder.isPending}
        loadingText="Loading the folder"
        wrapLines
        columnDefinitions={columns(open, act)}
        columnDisplay={COLUMN_IDS.map((id) => ({ id, visible: true }))}
        ariaLabels={{ tableLabel: 'Files' }}
        header={
          <SpaceBetween size="xs">
            <Header
              variant={isPage ? 'awsui-h1-sticky' : 'h2'}
              actions={
                <SpaceBetween direction="horizontal" size="xs">
                  <Button
                    iconName="refresh"
                    ariaLabel="Load the folder again"
                    loading={folder.isRefetching}
                    onClick={() => void folder.refetch()}
                  />
                  {uri !== undefined && (
                    <CopyToClipboard
                      textToCopy={uri}
                      copyButtonText="Copy S3 address"
                      copySuccessText="Copied"
                      copyErrorText="The browser does not allow copying"
                    />
                  )}
                  <Button onClick={() => setCopied(prefix)}>Copy with the AWS CLI</Button>
                  {uri !== undefined && mayShare && (
                    <ButtonTo href={`/access/${storageId}?${new URLSearchParams({ share: uri }).toString()}`}>
                      Share
                    </ButtonTo>
                  )}
                </SpaceBetween>
              }
            >
              Files
            </Header>
            <BreadcrumbGroup
              ariaLabel="Folders"
              items={[
                { text: rootName, href: '#', prefix: '' },
                ...foldersOf(prefix).map((each) => ({ text: each.name, href: '#', prefix: each.prefix })),
              ]}
              onFollow={(event) => {
                event.preventDefault();
                onPrefixChange(event.detail.item.prefix);
              }}
            />
          </SpaceBetween>
        }
        pagination={
          (pages.length > 1 || (data?.nextPageToken ?? '') !== '') && (
            <SpaceBetween direction="horizontal" size="xxs">
              <Button
                iconName="angle-left"
                variant="icon"
                ariaLabel="Previous page"
                disabled={pages.length === 1}
                onClick={() => setPages(pages.slice(0, -1))}
              />
              <Box padding={{ top: 'xxs' }}>Page {pages.length}</Box>
              <Button
                iconName="angle-right"
                variant="icon"
                ariaLabel="Next page"
                disabled={folder.isPlaceholderData || (data?.nextPageToken ?? '') === ''}
                onClick={() => setPages([...pages, data?.nextPageToken])}
              />
            </SpaceBetween>
          )
        }
        empty={
          folder.isError ? (
            <FolderFailure error={folder.error} onRetry={() => void folder.refetch()} onPrefixChange={onPrefixChange} />
          ) : prefix === '' ? (
            (empty ?? 'There are no files yet.')
          ) : (
            <SpaceBetween size="s">
              <b>This folder is empty</b>
              <Button onClick={() => onPrefixChange('')}>Go to the uppermost folder</Button>
            </SpaceBetween>
          )
        }
      />
      {file !== undefined && (
        <FilePreviewDialog
          source={source}
          path={file}
          isDownloading={download.isPending}
          onDownload={() => void download.run(file)}
          onClose={() => onFileChange(undefined)}
        />
      )}
      {copied !== undefined && <CopyCommandDialog source={source} path={copied} onClose={() => setCopied(undefined)} />}
    </>
  );
}

/** Saves what the address answers. S3 gives the name of the file, and has the browser save it. */
function startDownload(url: string): void {
  const link = document.createElement('a');
  link.href = url;
  link.rel = 'noreferrer';
  // In a new tab where S3 answers with an error, so that the page stays.
  link.target = '_blank';
  link.click();
}

/** The S3 address of a folder, by the one of the uppermost folder or of a file. */
function uriOf(rows: readonly Row[], rootUri: string | undefined, prefix: string): string | undefined {
  if (rootUri !== undefined) return `${rootUri.replace(/\/$/, '')}/${prefix}`;
  const file = rows.find(({ uri }) => uri !== undefined);
  return file?.uri === undefined ? undefined : file.uri.slice(0, file.uri.length - file.path.length) + prefix;
}

/** An error. A key for some folders finds the way to them. */
function FolderFailure(props: {
  error: unknown;
  onRetry: () => void;
  onPrefixChange: (prefix: string) => void;
}): ReactNode {
  const { error, onRetry, onPrefixChange } = props;
  const allowed = error instanceof ApiFailure ? (error.metadata.allowed_prefixes ?? '') : '';
  const prefixes = allowed.split(',').map((each) => each.trim());
  if (allowed === '') return <Failure error={error} what="The folder could not be loaded" onRetry={onRetry} />;
  return (
    <SpaceBetween size="s">
      <b>You may see only some folders</b>
      {prefixes.map((prefix) => (
        <Button key={prefix} onClick={() => onPrefixChange(prefix)}>
          {prefix}
        </Button>
      ))}
    </SpaceBetween>
  );
}

const COLUMN_IDS = ['name', 'size', 'time', 'class', 'actions'];

function columns(open: (row: Row) => void, act: (row: Row, id: string) => void): TableProps.ColumnDefinition<Row>[] {
  return [
    { id: 'name', header: 'Name', isRowHeader: true, minWidth: 200, cell: (row) => <Name row={row} onOpen={open} /> },
    { id: 'size', header: 'Size', cell: ({ size, isFolder }) => (isFolder ? '' : formatBytes(size)) },
    {
      id: 'time',
      header: 'Changed',
      cell: ({ lastModified, isFolder }) => (isFolder ? '' : <Time value={lastModified} />),
    },
    { id: 'class', header: 'Storage class', cell: (row) => <StorageClass row={row} /> },
    {
      id: 'actions',
      header: 'Actions',
      minWidth: 90,
      cell: (row) => (
        <ButtonDropdown
          variant="inline-icon"
          expandToViewport
          ariaLabel={`Actions for ${nameOf(row.path)}`}
          items={actionsOf(row)}
          onItemClick={({ detail }) => act(row, detail.id)}
        />
      ),
    },
  ];
}

function Name({ row, onOpen }: { row: Row; onOpen: (row: Row) => void }): ReactNode {
  const name = nameOf(row.path);
  const opens = row.isFolder || (isReadable(row.path) && !isArchivedClass(row.storageClass));
  return (
    <>
      <Icon name={row.isFolder ? 'folder' : 'file'} />{' '}
      {opens ? (
        <Link
          href="#"
          onFollow={(event) => {
            event.preventDefault();
            onOpen(row);
          }}
        >
          {name === '' ? '(no name)' : name}
        </Link>
      ) : (
        name
      )}
      {row.isFolder && '/'}
    </>
  );
}

function StorageClass({ row }: { row: Row }): ReactNode {
  if (row.isFolder) return '';
  return (
    <>
      {row.storageClass ?? 'STANDARD'}{' '}
      {isArchivedClass(row.storageClass) && <Badge color="grey">Archived: restore it in S3 first</Badge>}
    </>
  );
}

function actionsOf(row: Row): ButtonDropdownProps.Items {
  if (row.isFolder)
    return [
      { id: 'open', text: 'Open' },
      { id: 'command', text: 'Copy with the AWS CLI' },
    ];
  const isArchived = isArchivedClass(row.storageClass);
  const why = { disabled: isArchived, disabledReason: 'The file is archived. Restore it in S3 first.' };
  return [
    {
      id: 'open',
      text: 'Preview',
      iconName: 'view-full',
      ...why,
      ...(isBinary(row.path) && { disabled: true, disabledReason: 'The file is neither text nor an image.' }),
    },
    { id: 'download', text: 'Download', iconName: 'download', ...why },
    { id: 'uri', text: 'Copy S3 address', iconName: 'copy' },
    { id: 'command', text: 'Copy with the AWS CLI', ...why },
  ];
}
