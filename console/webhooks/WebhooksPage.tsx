import Button from '@cloudscape-design/components/button';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { LinkTo } from '../shared/LinkTo.js';
import { type ListColumn, ListTable } from '../shared/ListTable.js';
import { useListSearch } from '../shared/listSearch.js';
import { Time } from '../shared/Time.js';
import { type Webhook, WebhookForm } from './WebhookForm.js';
import { WebhookState } from './WebhookState.js';

const COLUMNS: readonly ListColumn<Webhook>[] = [
  {
    id: 'url',
    header: 'URL',
    isRowHeader: true,
    minWidth: 200,
    cell: ({ id, url }) => <LinkTo href={`/webhooks/${id}`}>{url}</LinkTo>,
  },
  { id: 'description', header: 'Description', cell: ({ description }) => description },
  { id: 'state', header: 'Sends events', minWidth: 120, cell: (webhook) => <WebhookState webhook={webhook} /> },
  {
    id: 'events',
    header: 'Events',
    cell: ({ eventTypes }) => (eventTypes.length === 0 ? 'All' : eventTypes.join(', ')),
  },
  { id: 'created', header: 'Created', cell: ({ timeCreated }) => <Time value={timeCreated} /> },
  { id: 'id', header: 'ID', isOptional: true, cell: ({ id }) => id },
];

/** The receivers of events. */
export function WebhooksPage(): ReactNode {
  usePageTitle({ text: 'Webhooks', href: '/webhooks' });
  const { canAll } = useSession();
  const [{ pageToken }] = useListSearch();
  const [isCreating, setCreating] = useState(false);
  const webhooks = useQuery({
    queryKey: ['webhooks', 'list', pageToken],
    queryFn: () =>
      ask(
        api.GET('/v1/webhooks', {
          params: { query: { pageSize: 100, ...(pageToken !== undefined && { pageToken }) } },
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const { data } = webhooks;
  const mayCreate = canAll('webhooks:write');
  const create = mayCreate && (
    <Button variant="primary" onClick={() => setCreating(true)}>
      Create a webhook
    </Button>
  );
  return (
    <>
      <ListTable
        name="webhooks"
        title="Webhooks"
        description="polony sends them events about runs, executions and connections."
        columns={COLUMNS}
        page={data === undefined ? undefined : { items: data.webhooks, nextPageToken: data.nextPageToken }}
        isLoading={webhooks.isPending}
        error={webhooks.error}
        onRetry={() => void webhooks.refetch()}
        empty={
          <SpaceBetween size="s">
            <b>No webhooks yet</b>
            <span>With a webhook, your LIMS learns at once when a run or an execution changes.</span>
          </SpaceBetween>
        }
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            <Button iconName="refresh" ariaLabel="Load the webhooks again" onClick={() => void webhooks.refetch()} />
            {create}
          </SpaceBetween>
        }
      />
      {isCreating && (
        <WebhookForm
          onDone={() => void queryClient.invalidateQueries({ queryKey: ['webhooks'] })}
          onClose={() => setCreating(false)}
        />
      )}
    </>
  );
}
