import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { useChanges } from '../app/changes.js';
import { api, ask, type Schema } from '../app/client.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { LinkTo } from '../shared/LinkTo.js';
import { type ListColumn, ListTable } from '../shared/ListTable.js';
import { useListSearch } from '../shared/listSearch.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';

type Instrument = Schema<'Instrument'> & { id: string };

const COLUMNS: readonly ListColumn<Instrument>[] = [
  {
    id: 'name',
    header: 'Name',
    isRowHeader: true,
    minWidth: 160,
    cell: ({ name, serialNumber }) => (
      <LinkTo href={`/instruments/${encodeURIComponent(serialNumber)}`}>{name || serialNumber}</LinkTo>
    ),
  },
  { id: 'serial', header: 'Serial number', cell: ({ serialNumber }) => serialNumber },
  { id: 'model', header: 'Model', cell: ({ model }) => model },
  { id: 'status', header: 'Status', cell: ({ status }) => <Status value={status} /> },
  { id: 'software', header: 'Software', cell: ({ softwareVersion }) => softwareVersion ?? '' },
  { id: 'seen', header: 'Last run', cell: ({ timeLastConnected }) => <Time value={timeLastConnected} ago /> },
];

/** All instruments, as far as their runs show them. */
export function InstrumentsPage(): ReactNode {
  usePageTitle({ text: 'Instruments', href: '/instruments' });
  useChanges({ topics: ['runs'] });
  const [{ pageToken }] = useListSearch();
  const instruments = useQuery({
    queryKey: ['instruments', 'list', pageToken],
    queryFn: () =>
      ask(
        api.GET('/v1/instruments', {
          params: { query: { pageSize: 100, ...(pageToken !== undefined && { pageToken }) } },
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const { data } = instruments;
  return (
    <ListTable
      name="instruments"
      title="Instruments"
      description="polony knows an instrument from its first run."
      columns={COLUMNS}
      page={
        data === undefined
          ? undefined
          : {
              nextPageToken: data.nextPageToken,
              items: data.instruments.map((instrument) => ({ ...instrument, id: instrument.serialNumber })),
            }
      }
      isLoading={instruments.isPending}
      error={instruments.error}
      onRetry={() => void instruments.refetch()}
      empty={
        <SpaceBetween size="s">
          <b>No instruments yet</b>
          <span>An instrument appears with the first run that it uploads to a connected bucket.</span>
        </SpaceBetween>
      }
    />
  );
}
