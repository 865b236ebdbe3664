import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import ProgressBar from '@cloudscape-design/components/progress-bar';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import Table from '@cloudscape-design/components/table';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { useChanges } from '../app/changes.js';
import { api, ask, type Schema } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { KINDS } from '../connections/kinds.js';
import { useChoices } from '../connections/queries.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { Clamped } from '../shared/Clamped.js';
import { Facts } from '../shared/Facts.js';
import { Failure } from '../shared/Failure.js';
import { formatNumber } from '../shared/format.js';
import { LinkTo } from '../shared/LinkTo.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';

/** Rows of each list; the counts say how many there are. */
const ROWS = 10;

/** Midnight in the reader's time zone. */
function today(): string {
  const now = new Date();
  return new Date(now.getFullYear(), now.getMonth(), now.getDate()).toISOString();
}

const FILTERS = {
  uploading: 'status:created,priming,primed,sequencing,running,pausing,paused,stopping,sequenced',
  running: 'status:pending,running',
  waiting: 'status:untriggered,initialized blocked:false',
  failedToday: () => `status:failed time_completed>="${today()}"`,
  finishedToday: () => `status:completed time_completed>="${today()}"`,
  runsToday: () => `status:completed time_completed>="${today()}"`,
};

const listAddress = (list: string, filter: string): string => `/${list}?filter=${encodeURIComponent(filter)}`;

interface Column<T> {
  id: string;
  header: string;
  cell: (item: T) => ReactNode;
  isRowHeader?: boolean;
  minWidth?: number;
}

interface SectionProps<T> {
  title: string;
  /** The whole list. */
  href: string;
  query: { data: T[] | undefined; count: number | undefined; error: Error | null; onRetry: () => void };
  columns: readonly Column<T>[];
  empty: string;
}

/** The first rows of a list, with a link to all of it. */
function Section<T>({ title, href, query, columns, empty }: SectionProps<T>): ReactNode {
  const { data, count, error, onRetry } = query;
  if (error !== null) return <Failure error={error} what={`${title} could not be loaded`} onRetry={onRetry} />;
  return (
    <Table<T>
      header={
        <Header
          variant="h2"
          {...(count !== undefined && { counter: `(${formatNumber(count)})` })}
          actions={<LinkTo href={href}>Show all</LinkTo>}
        >
          {title}
        </Header>
      }
      ariaLabels={{ tableLabel: title }}
      loading={data === undefined}
      loadingText={`Loading ${title.toLowerCase()}`}
      items={data ?? []}
      wrapLines
      contentDensity="compact"
      columnDefinitions={columns}
      empty={<Box color="text-body-secondary">{empty}</Box>}
    />
  );
}

type Execution = Schema<'Execution'>;
type Run = Schema<'Run'>;

function useExecutions(name: string, filter: string) {
  const { can } = useSession();
  const found = useQuery({
    queryKey: ['executions', 'overview', name],
    queryFn: () =>
      ask(
        api.GET('/v1/executions', {
          params: { query: { filter, pageSize: ROWS, orderBy: 'time_updated desc', includeTotalCount: true } },
        }),
      ),
    enabled: can('executions:read'),
  });
  return {
    data: found.data?.executions,
    count: found.data?.totalCount,
    error: found.error,
    onRetry: () => void found.refetch(),
  };
}

function useRuns(name: string, filter: string) {
  const { can } = useSession();
  const found = useQuery({
    queryKey: ['runs', 'overview', name],
    queryFn: () =>
      ask(
        api.GET('/v1/runs', {
          params: { query: { filter, pageSize: ROWS, orderBy: 'time_updated desc', includeTotalCount: true } },
        }),
      ),
    enabled: can('runs:read'),
  });
  return {
    data: found.data?.runs,
    count: found.data?.totalCount,
    error: found.error,
    onRetry: () => void found.refetch(),
  };
}

/** What waits for a person: runs and executions, with the missing permission. */
function useBlocked() {
  const { can } = useSession();
  const query = { pageSize: ROWS, includeTotalCount: true };
  const executions = useQuery({
    queryKey: ['executions', 'overview', 'blocked'],
    queryFn: () => ask(api.GET('/v1/executions/blocked', { params: { query } })),
    enabled: can('executions:read'),
  });
  const runs = useQuery({
    queryKey: ['runs', 'overview', 'blocked'],
    queryFn: () => ask(api.GET('/v1/runs/blocked', { params: { query } })),
    enabled: can('runs:read'),
  });
  const isLoading = executions.isLoading || runs.isLoading;
  const rows = [
    ...(runs.data?.runs ?? []).map(({ run, blocked }) => ({
      href: `/runs/${run.id}`,
      kind: 'Run',
      name: run.name,
      blocked,
    })),
    ...(executions.data?.executions ?? []).map(({ execution, blocked }) => ({
      href: `/executions/${execution.id}`,
      kind: 'Execution',
      name: execution.name,
      blocked,
    })),
  ];
  return {
    data: isLoading ? undefined : rows,
    count: isLoading ? undefined : (executions.data?.totalCount ?? 0) + (runs.data?.totalCount ?? 0),
    error: executions.error ?? runs.error,
    onRetry: () => {
      void executions.refetch();
      void runs.refetch();
    },
  };
}

const EXECUTION: readonly Column<Execution>[] = [
  {
    id: 'name',
    header: 'Execution',
    isRowHeader: true,
    cell: ({ id, name }) => <LinkTo href={`/executions/${id}`}>{name}</LinkTo>,
  },
  { id: 'status', header: 'Status', minWidth: 140, cell: ({ status }) => <Status value={status} /> },
  { id: 'detail', header: 'What happens', cell: ({ statusDescription }) => <Clamped text={statusDescription} /> },
];
const TIME: Column<Execution> = {
  id: 'time',
  header: 'Time',
  cell: ({ timeCompleted, timeStarted, timeCreated }) => (
    <Time value={timeCompleted ?? timeStarted ?? timeCreated} ago />
  ),
};

/** How far an upload is. */
function UploadProgress({ id }: { id: string }): ReactNode {
  const details = useQuery({
    queryKey: ['runs', 'details', id],
    queryFn: () => ask(api.GET('/v1/runs/{id}/details', { params: { path: { id } } })),
  });
  if (details.data === undefined) return details.isError ? '' : <Spinner />;
  const { progress, uploadDescription } = details.data.details;
  if (progress === null || progress.expectedCycles === 0) return uploadDescription;
  return (
    <ProgressBar
      value={Math.min(100, (progress.cycles / progress.expectedCycles) * 100)}
      ariaLabel="Cycles that are there"
      additionalInfo={
        <>
          {formatNumber(progress.cycles)} of {formatNumber(progress.expectedCycles)} cycles
          {progress.stalled && <Status value="STALLED" text=" The upload has stalled" />}
        </>
      }
    />
  );
}

const RUN: readonly Column<Run>[] = [
  {
    id: 'name',
    header: 'Run',
    isRowHeader: true,
    cell: ({ id, name }) => <LinkTo href={`/runs/${id}`}>{name}</LinkTo>,
  },
  { id: 'instrument', header: 'Instrument', cell: ({ instrument }) => instrument.name || instrument.serialNumber },
];

/** Leads to the setup where nothing is connected. Without it, a new installation is a page of empty lists. */
function SetupHint({ isQuiet }: { isQuiet: boolean }): ReactNode {
  const { can, canAll } = useSession();
  const { read, write } = KINDS.provider;
  // Where something happens, something is connected.
  const providers = useChoices('provider', isQuiet && can(read) && canAll(write));
  if (!isQuiet || providers.data?.length !== 0) return null;
  return (
    <Alert type="info" header="No AWS account is connected yet">
      <LinkTo href="/setup">Connect your account</LinkTo>, the bucket of your instruments and Bases2Fastq, step by step.
    </Alert>
  );
}

/** What is going on now, what waits for a person, and what happened today. */
export function OverviewPage(): ReactNode {
  usePageTitle({ text: 'Overview', href: '/' });
  const { can } = useSession();
  useChanges({ topics: ['runs', 'executions'] });
  const seesRuns = can('runs:read');
  const seesExecutions = can('executions:read');
  const blocked = useBlocked();
  const blockedAddress = listAddress(seesExecutions ? 'executions' : 'runs', 'blocked:true');
  const uploading = useRuns('uploading', FILTERS.uploading);
  const arrived = useRuns('today', FILTERS.runsToday());
  const running = useExecutions('running', FILTERS.running);
  const waiting = useExecutions('waiting', FILTERS.waiting);
  const failed = useExecutions('failed', FILTERS.failedToday());
  const finished = useExecutions('finished', FILTERS.finishedToday());
  const counts: Record<string, ReactNode> = {
    ...(seesRuns && { Uploading: <CountLink count={uploading.count} href={listAddress('runs', FILTERS.uploading)} /> }),
    ...(seesExecutions && {
      Running: <CountLink count={running.count} href={listAddress('executions', FILTERS.running)} />,
      'Waiting for their turn': <CountLink count={waiting.count} href={listAddress('executions', FILTERS.waiting)} />,
    }),
    'Waiting for a person': <CountLink count={blocked.count} href={blockedAddress} />,
    ...(seesExecutions && {
      'Failed today': <CountLink count={failed.count} href={listAddress('executions', FILTERS.failedToday())} />,
      'Finished today': <CountLink count={finished.count} href={listAddress('executions', FILTERS.finishedToday())} />,
    }),
  };
  return (
    <SpaceBetween size="l">
      <Header variant="h1">Overview</Header>
      <SetupHint
        isQuiet={[uploading, arrived, running, waiting, failed, finished, blocked].every(({ count }) => count === 0)}
      />
      <Container>
        <Facts items={counts} columns={3} />
      </Container>
      <Section
        title="Waits for a person"
        href={blockedAddress}
        query={blocked}
        empty="Nothing waits for a person."
        columns={[
          {
            id: 'name',
            header: 'Name',
            isRowHeader: true,
            cell: ({ href, name }) => <LinkTo href={href}>{name}</LinkTo>,
          },
          { id: 'kind', header: 'Kind', cell: ({ kind }) => kind },
          { id: 'permission', header: 'Missing permission', cell: (each) => each.blocked.action ?? '' },
          { id: 'message', header: 'What happened', cell: (each) => <Clamped text={each.blocked.message} /> },
          { id: 'since', header: 'Since', cell: (each) => <Time value={each.blocked.since} ago /> },
        ]}
      />
      {seesRuns && (
        <Section
          title="Uploading"
          href={listAddress('runs', FILTERS.uploading)}
          query={uploading}
          empty="No instrument uploads a run now."
          columns={[...RUN, { id: 'progress', header: 'Upload', cell: ({ id }) => <UploadProgress id={id} /> }]}
        />
      )}
      {seesExecutions && (
        <SpaceBetween size="l">
          <Section
            title="Running"
            href={listAddress('executions', FILTERS.running)}
            query={running}
            empty="No execution runs now."
            columns={[...EXECUTION, TIME]}
          />
          <Section
            title="Failed today"
            href={listAddress('executions', FILTERS.failedToday())}
            query={failed}
            empty="No execution failed today."
            columns={[...EXECUTION, TIME]}
          />
          <Section
            title="Finished today"
            href={listAddress('executions', FILTERS.finishedToday())}
            query={finished}
            empty="No execution finished today."
            columns={[...EXECUTION, TIME]}
          />
        </SpaceBetween>
      )}
      {seesRuns && (
        <Section
          title="Runs that were completed today"
          href={listAddress('runs', FILTERS.runsToday())}
          query={arrived}
          empty="No run was completed today."
          columns={[
            ...RUN,
            { id: 'time', header: 'Completed', cell: ({ timeCompleted }) => <Time value={timeCompleted} ago /> },
          ]}
        />
      )}
    </SpaceBetween>
  );
}

function CountLink({ count, href }: { count: number | undefined; href: string }): ReactNode {
  if (count === undefined) return <Spinner />;
  return (
    <LinkTo href={href} fontSize="heading-xl">
      {formatNumber(count)}
    </LinkTo>
  );
}
