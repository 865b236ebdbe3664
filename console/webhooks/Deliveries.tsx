import Button from '@cloudscape-design/components/button';
import Link from '@cloudscape-design/components/link';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useNotify } from '../layout/notifications.js';
import { formatNumber } from '../shared/format.js';
import { type ListColumn, ListTable } from '../shared/ListTable.js';
import { useListSearch, useTexts } from '../shared/listSearch.js';
import { Status, statusText } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { useAction } from '../shared/useAction.js';
import { type Delivery, DeliveryDetails } from './DeliveryDetails.js';
import { ReplayDialog } from './ReplayDialog.js';

/** How often the page asks again while deliveries are on their way, in milliseconds. */
const WAITING_MS = 3_000;
const STATES = ['pending', 'retrying', 'delivered', 'failed'] as const;
const ALL = { value: '', label: 'All states' };

/** What a webhook got and what it will get, newest first. */
export function Deliveries({ webhookId, mayReplay }: { webhookId: string; mayReplay: boolean }): ReactNode {
  const notify = useNotify();
  const [{ state: given }, setTexts] = useTexts('state');
  const state = STATES.find((each) => each === given);
  const [{ pageToken }] = useListSearch();
  const [selected, setSelected] = useState<readonly Delivery[]>([]);
  const [shown, setShown] = useState<string>();
  const [isReplaying, setReplaying] = useState(false);
  const deliveries = useQuery({
    queryKey: ['deliveries', webhookId, state, pageToken],
    queryFn: () =>
      ask(
        api.GET('/v1/webhooks/{id}/deliveries', {
          params: {
            path: { id: webhookId },
            query: {
              pageSize: 100,
              ...(state !== undefined && { state }),
              ...(pageToken !== undefined && { pageToken }),
            },
          },
        }),
      ),
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data } }) =>
      data?.deliveries.some((each) => each.state === 'pending' || each.state === 'retrying') === true
        ? WAITING_MS
        : false,
  });
  const reload = (): void => void queryClient.invalidateQueries({ queryKey: ['deliveries', webhookId] });
  const replay = useAction(async (ids: string[]) => {
    try {
      const { replayed } = await ask(
        api.POST('/v1/webhooks/{id}/replay', { params: { path: { id: webhookId } }, body: { deliveryIds: ids } }),
      );
      onReplayed(replayed);
    } catch (error) {
      notify.failure(error, 'The events could not be sent again');
    }
  });
  const onReplayed = (replayed: number): void => {
    notify.success(
      replayed === 1 ? 'polony sends 1 event again.' : `polony sends ${formatNumber(replayed)} events again.`,
    );
    setSelected([]);
    setReplaying(false);
    reload();
  };
  const { data } = deliveries;
  const detail = data?.deliveries.find(({ id }) => id === shown);
  const options = [ALL, ...STATES.map((value) => ({ value: String(value), label: statusText(value) }))];
  return (
    <>
      <ListTable
        isPart
        name="deliveries"
        title="Deliveries"
        description="polony keeps them for 30 days, at most the newest 10,000."
        columns={columnsOf(setShown)}
        page={data === undefined ? undefined : { ...data, items: data.deliveries }}
        isLoading={deliveries.isPending}
        error={deliveries.error}
        onRetry={() => void deliveries.refetch()}
        {...(mayReplay && { selection: { items: selected, onChange: setSelected } })}
        empty={
          <SpaceBetween size="s">
            <b>No deliveries yet</b>
            <span>They appear when something happens that the webhook wants to know. Send a test event to try it.</span>
          </SpaceBetween>
        }
        search={{
          form: (
            <Select
              ariaLabel="State of the deliveries"
              selectedOption={options.find(({ value }) => value === (state ?? '')) ?? ALL}
              options={options}
              onChange={({ detail: { selectedOption } }) =>
                setTexts({ state: selectedOption.value === '' ? undefined : selectedOption.value })
              }
            />
          ),
          isActive: state !== undefined,
          onClear: () => setTexts({ state: undefined }),
        }}
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            <Button iconName="refresh" ariaLabel="Load the deliveries again" onClick={reload} />
            {mayReplay && (
              <Button
                disabled={selected.length === 0}
                loading={replay.isPending}
                onClick={() => void replay.run(selected.map(({ id }) => id))}
              >
                Replay chosen
              </Button>
            )}
            {mayReplay && <Button onClick={() => setReplaying(true)}>Replay a time range</Button>}
          </SpaceBetween>
        }
      />
      {detail !== undefined && (
        <DeliveryDetails
          delivery={detail}
          onReplay={mayReplay ? () => void replay.run([detail.id]) : undefined}
          isReplaying={replay.isPending}
          onClose={() => setShown(undefined)}
        />
      )}
      {isReplaying && <ReplayDialog webhookId={webhookId} onDone={onReplayed} onClose={() => setReplaying(false)} />}
    </>
  );
}

const columnsOf = (show: (id: string) => void): ListColumn<Delivery>[] => [
  {
    id: 'event',
    header: 'Event',
    isRowHeader: true,
    minWidth: 150,
    cell: ({ id, eventType }) => (
      <Link
        href="#"
        ariaLabel={`${eventType}: details of the delivery`}
        onFollow={(event) => {
          event.preventDefault();
          show(id);
        }}
      >
        {eventType}
      </Link>
    ),
  },
  { id: 'time', header: 'Time', cell: ({ timeEvent }) => <Time value={timeEvent} /> },
  { id: 'state', header: 'State', minWidth: 120, cell: ({ state }) => <Status value={state} /> },
  { id: 'attempts', header: 'Attempts', cell: ({ attempts }) => formatNumber(attempts) },
  {
    id: 'error',
    header: 'Last answer',
    minWidth: 160,
    cell: ({ lastStatus, lastError }) => lastError ?? lastStatus ?? '',
  },
  {
    id: 'next',
    header: 'Next attempt',
    cell: ({ timeNext }) => (timeNext === null ? '' : <Time value={timeNext} ago />),
  },
  { id: 'ended', header: 'Ended', isOptional: true, cell: ({ timeEnded }) => <Time value={timeEnded} /> },
  { id: 'eventId', header: 'webhook-id', isOptional: true, cell: ({ eventId }) => eventId },
];
