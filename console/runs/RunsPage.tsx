import Button from '@cloudscape-design/components/button';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { useChanges } from '../app/changes.js';
import { api, ask, type Schema } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { formatBases, formatNumber, formatPercent } from '../shared/format.js';
import { LinkTo } from '../shared/LinkTo.js';
import { type ListColumn, ListTable } from '../shared/ListTable.js';
import { useListSearch } from '../shared/listSearch.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { useFilter } from '../shared/useFilter.js';

type Run = Schema<'Run'>;

const COLUMNS: readonly ListColumn<Run>[] = [
  {
    id: 'name',
    header: 'Name',
    orderBy: 'name',
    isRowHeader: true,
    minWidth: 180,
    cell: ({ id, name }) => <LinkTo href={`/runs/${id}`}>{name}</LinkTo>,
  },
  { id: 'status', header: 'Status', orderBy: 'status', minWidth: 140, cell: ({ status }) => <Status value={status} /> },
  {
    id: 'instrument',
    header: 'Instrument',
    orderBy: 'instrument.name',
    cell: ({ instrument }) => instrument.name || instrument.serialNumber,
  },
  {
    id: 'yield',
    header: 'Yield',
    orderBy: 'metrics.sequencing.total_yield',
    minWidth: 110,
    cell: ({ metrics }) => formatBases(metrics?.sequencing?.totalYield),
  },
  {
    id: 'q30',
    header: 'Q30',
    orderBy: 'metrics.sequencing.q30',
    minWidth: 100,
    cell: ({ metrics }) => formatPercent(metrics?.sequencing?.q30),
  },
  {
    id: 'reads',
    header: 'Reads',
    isOptional: true,
    cell: ({ metrics }) => formatNumber(metrics?.sequencing?.totalReads),
  },
  { id: 'kit', header: 'Kit', isOptional: true, cell: ({ setup }) => setup.sequencing?.kitName ?? '' },
  { id: 'operator', header: 'Operator', isOptional: true, cell: ({ operator }) => operator },
  { id: 'started', header: 'Started', isOptional: true, cell: ({ timeStarted }) => <Time value={timeStarted} /> },
  {
    id: 'created',
    header: 'First seen',
    orderBy: 'time_created',
    cell: ({ timeCreated }) => <Time value={timeCreated} />,
  },
  { id: 'completed', header: 'Completed', cell: ({ timeCompleted }) => <Time value={timeCompleted} /> },
];

/** All runs that the caller may see. */
export function RunsPage(): ReactNode {
  usePageTitle({ text: 'Runs', href: '/runs' });
  useChanges({ topics: ['runs'] });
  const { canAll } = useSession();
  const [search] = useListSearch();
  const filter = useFilter('runs');
  const runs = useQuery({
    queryKey: ['runs', 'list', search],
    queryFn: () =>
      ask(api.GET('/v1/runs', { params: { query: { ...search, pageSize: 100, includeTotalCount: true } } })),
    placeholderData: keepPreviousData,
  });
  const { data } = runs;
  return (
    <ListTable
      name="runs"
      title="Runs"
      columns={COLUMNS}
      page={data === undefined ? undefined : { ...data, items: data.runs }}
      isLoading={runs.isPending}
      error={runs.error}
      onRetry={() => void runs.refetch()}
      filter={filter}
      empty={
        <SpaceBetween size="s">
          <b>No runs yet</b>
          <span>A run appears when an instrument begins to upload it to a connected bucket.</span>
          {canAll('providers:write') && <LinkTo href="/setup">Connect a bucket</LinkTo>}
        </SpaceBetween>
      }
      actions={<Button iconName="refresh" ariaLabel="Load the runs again" onClick={() => void runs.refetch()} />}
    />
  );
}
