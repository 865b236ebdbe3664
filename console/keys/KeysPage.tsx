import Badge from '@cloudscape-design/components/badge';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Popover from '@cloudscape-design/components/popover';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ask, type Schema } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { ConfirmByName } from '../shared/ConfirmByName.js';
import { LinkTo } from '../shared/LinkTo.js';
import { type ListColumn, ListTable } from '../shared/ListTable.js';
import { useListSearch } from '../shared/listSearch.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { CreateKeyDialog, RotateKeyDialog } from './KeyDialogs.js';

type ApiKey = Schema<'ApiKey'>;
type Dialog = { kind: 'create' } | { kind: 'rotate' | 'revoke' | 'delete'; apiKey: ApiKey };

/** How many scopes a row shows. */
const SHOWN_SCOPES = 3;

function Scopes({ scopes, name }: { scopes: readonly string[]; name: string }): ReactNode {
  if (scopes.length <= SHOWN_SCOPES) return scopes.join(', ');
  return (
    <>
      {scopes.slice(0, SHOWN_SCOPES).join(', ')}{' '}
      <Popover
        header={`Scopes of ${name}`}
        dismissAriaLabel="Close"
        content={
          <ul>
            {scopes.map((scope) => (
              <li key={scope}>{scope}</li>
            ))}
          </ul>
        }
      >
        and {scopes.length - SHOWN_SCOPES} more
      </Popover>
    </>
  );
}

/** The actions that make sense for a key. */
const actionsOf = ({ state }: ApiKey): { id: 'rotate' | 'revoke' | 'delete'; text: string }[] => [
  ...(state === 'active'
    ? [
        { id: 'rotate' as const, text: 'Rotate' },
        { id: 'revoke' as const, text: 'Revoke' },
      ]
    : []),
  { id: 'delete', text: 'Delete' },
];

/** The API keys, and what can be done with them. */
export function KeysPage(): ReactNode {
  usePageTitle({ text: 'API keys', href: '/keys' });
  const { can, canAll, id: ownId } = useSession();
  const [{ pageToken }] = useListSearch();
  const [dialog, setDialog] = useState<Dialog>();
  const keys = useQuery({
    queryKey: ['keys', 'list', pageToken],
    queryFn: () =>
      ask(
        api.GET('/v1/api-keys', {
          params: { query: { pageSize: 100, ...(pageToken !== undefined && { pageToken }) } },
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const mayWrite = canAll('keys:write');
  const onDone = (): void => void queryClient.invalidateQueries({ queryKey: ['keys'] });
  const columns: ListColumn<ApiKey>[] = [
    {
      id: 'name',
      header: 'Name',
      isRowHeader: true,
      minWidth: 140,
      cell: ({ id, name }) => (
        <>
          {name} {id === ownId && <Badge color="blue">you</Badge>}
        </>
      ),
    },
    { id: 'state', header: 'State', minWidth: 110, cell: ({ state }) => <Status value={state} /> },
    { id: 'scopes', header: 'Scopes', minWidth: 180, cell: (key) => <Scopes scopes={key.scopes} name={key.name} /> },
    {
      id: 'used',
      header: 'Last used',
      minWidth: 150,
      cell: ({ timeLastUsed }) => (timeLastUsed === null ? 'Never' : <Time value={timeLastUsed} ago />),
    },
    { id: 'expires', header: 'Expires', minWidth: 150, cell: ({ timeExpires }) => <Time value={timeExpires} ago /> },
    { id: 'by', header: 'Created by', cell: ({ createdBy }) => createdBy },
    { id: 'created', header: 'Created', isOptional: true, cell: ({ timeCreated }) => <Time value={timeCreated} /> },
    {
      id: 'revoked',
      header: 'Revoked',
      isOptional: true,
      cell: ({ timeRevoked, revokedBy }) => (
        <>
          <Time value={timeRevoked} /> {revokedBy !== null && `by ${revokedBy}`}
        </>
      ),
    },
    { id: 'id', header: 'ID', isOptional: true, cell: ({ id }) => id },
    ...(can('audit:read')
      ? [
          {
            id: 'audit',
            header: 'Audit log',
            isOptional: true,
            cell: ({ id, name }: ApiKey) => (
              <LinkTo href={`/audit?callerId=${id}`} ariaLabel={`What ${name} did`}>
                What it did
              </LinkTo>
            ),
          },
        ]
      : []),
    ...(mayWrite
      ? [
          {
            id: 'actions',
            header: 'Actions',
            cell: (apiKey: ApiKey) => (
              <ButtonDropdown
                variant="inline-icon"
                expandToViewport
                ariaLabel={`Actions for the key ${apiKey.name}`}
                items={actionsOf(apiKey)}
                onItemClick={({ detail }) => {
                  const action = actionsOf(apiKey).find(({ id }) => id === detail.id);
                  if (action !== undefined) setDialog({ kind: action.id, apiKey });
                }}
              />
            ),
          },
        ]
      : []),
  ];
  const { data } = keys;
  return (
    <>
      <ListTable
        name="keys"
        title="API keys"
        description="Programs and people without an identity provider use them. Each may do only what its scopes say."
        columns={columns}
        page={data === undefined ? undefined : { items: data.apiKeys, nextPageToken: data.nextPageToken }}
        isLoading={keys.isPending}
        error={keys.error}
        onRetry={() => void keys.refetch()}
        empty={
          <SpaceBetween size="s">
            <b>No API keys yet</b>
            <span>
              Give each program and each person their own key, with only the scopes they need. The root key of the
              settings is not in this list.
            </span>
          </SpaceBetween>
        }
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            <Button iconName="refresh" ariaLabel="Load the keys again" onClick={() => void keys.refetch()} />
            {mayWrite && (
              <Button variant="primary" onClick={() => setDialog({ kind: 'create' })}>
                Create a key
              </Button>
            )}
          </SpaceBetween>
        }
      />
      <KeyDialog dialog={dialog} ownId={ownId} onDone={onDone} onClose={() => setDialog(undefined)} />
    </>
  );
}

interface KeyDialogProps {
  dialog: Dialog | undefined;
  ownId: string;
  onDone: () => void;
  onClose: () => void;
}

function KeyDialog({ dialog, ownId, onDone, onClose }: KeyDialogProps): ReactNode {
  if (dialog === undefined) return null;
  if (dialog.kind === 'create') return <CreateKeyDialog onDone={onDone} onClose={onClose} />;
  const { apiKey } = dialog;
  if (dialog.kind === 'rotate') return <RotateKeyDialog apiKey={apiKey} onDone={onDone} onClose={onClose} />;
  const params = { path: { id: apiKey.id } };
  const isDelete = dialog.kind === 'delete';
  return (
    <ConfirmByName
      action={isDelete ? 'Delete' : 'Revoke'}
      kind="the key"
      name={apiKey.name}
      consequence={
        <>
          {apiKey.state === 'active' && 'Programs that use this key stop working at once. '}
          {isDelete
            ? 'The key leaves the list. The audit log keeps what it did. '
            : 'The key stays in the list, and never works again. '}
          {apiKey.id === ownId && 'You are signed in with this key: this signs you out.'}
        </>
      }
      onConfirm={async () => {
        if (isDelete) await ask(api.DELETE('/v1/api-keys/{id}', { params }));
        else await ask(api.POST('/v1/api-keys/{id}/revoke', { params }));
        onDone();
      }}
      onClose={onClose}
    />
  );
}
