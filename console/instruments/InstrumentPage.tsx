import Box from '@cloudscape-design/components/box';
import ColumnLayout from '@cloudscape-design/components/column-layout';
import Container from '@cloudscape-design/components/container';
import ContentLayout from '@cloudscape-design/components/content-layout';
import Header from '@cloudscape-design/components/header';
import LineChart from '@cloudscape-design/components/line-chart';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import Table from '@cloudscape-design/components/table';
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useChanges } from '../app/changes.js';
import { api, ask, type Schema } from '../app/client.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { Facts } from '../shared/Facts.js';
import { FailedPage, Failure } from '../shared/Failure.js';
import { formatBases, formatDate, formatNumber, formatPercent } from '../shared/format.js';
import { LinkTo } from '../shared/LinkTo.js';
import { useTexts } from '../shared/listSearch.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';

type Metrics = Schema<'InstrumentMetrics'>;

const MEASURES: readonly {
  title: string;
  of: (metrics: Metrics) => number | null;
  format: (value: number) => string;
}[] = [
  { title: '% Q30', of: ({ q30 }) => q30, format: formatPercent },
  { title: '% Q40', of: ({ q40 }) => q40, format: formatPercent },
  { title: 'Yield', of: ({ totalYield }) => totalYield, format: formatBases },
  { title: 'Polonies that pass the filter', of: ({ totalReads }) => totalReads, format: formatNumber },
  { title: 'Error rate (PhiX)', of: ({ errorRate }) => errorRate, format: formatPercent },
  { title: 'Assigned to samples', of: ({ percentAssigned }) => percentAssigned, format: formatPercent },
];

/** Days to look back; '' for all. */
const PERIODS = [
  { value: '30', label: 'The last 30 days' },
  { value: '90', label: 'The last 90 days' },
  { value: '365', label: 'The last year' },
  { value: 'all', label: 'All runs' },
];
const DEFAULT_PERIOD = '365';
/** Most runs in a plot. */
const MOST_RUNS = 500;
const DAY_MS = 86_400_000;

/** One measure of all runs, in the order of time. */
function Trend({ metrics, measure }: { metrics: readonly Metrics[]; measure: (typeof MEASURES)[number] }): ReactNode {
  const { title, of, format } = measure;
  const data = metrics.flatMap((each) => {
    const y = of(each);
    return y === null ? [] : [{ x: new Date(each.time), y }];
  });
  if (data.length === 0) return null;
  const times = data.map(({ x }) => x.getTime());
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const values = data.map(({ y }) => y);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = high === low ? Math.max(Math.abs(high) * 0.05, 0.5) : (high - low) * 0.1;
  return (
    <Container header={<Header variant="h2">{title}</Header>}>
      <LineChart
        series={[{ type: 'line', title, data, valueFormatter: format }]}
        height={200}
        xScaleType="time"
        // A single run would have an axis without length.
        xDomain={[new Date(first === last ? first - DAY_MS : first), new Date(first === last ? last + DAY_MS : last)]}
        yDomain={[Math.max(0, low - room), high + room]}
        hideFilter
        hideLegend
        xTitle="Time of the run"
        ariaLabel={`${title} over time`}
        i18nStrings={{
          chartAriaRoleDescription: 'line chart',
          xTickFormatter: formatDate,
          yTickFormatter: format,
          detailPopoverDismissAriaLabel: 'Close',
          xAxisAriaRoleDescription: 'horizontal axis',
          yAxisAriaRoleDescription: 'vertical axis',
        }}
      />
    </Container>
  );
}

/** The metrics of an instrument's runs, newest first. */
async function readMetrics(serial: string, since: string | undefined): Promise<Metrics[]> {
  const { metrics } = await ask(
    api.GET('/v1/instruments/{serial_number}/metrics', {
      params: {
        path: { serial_number: serial },
        query: { pageSize: MOST_RUNS, ...(since !== undefined && { since }) },
      },
    }),
  );
  return metrics;
}

/** An instrument: its runs, and how their metrics change. */
export function InstrumentPage(): ReactNode {
  const { serial = '' } = useParams({ strict: false });
  useChanges({ topics: ['runs'] });
  const [{ since: period = DEFAULT_PERIOD }, setTexts] = useTexts('since');
  const instrument = useQuery({
    queryKey: ['instruments', 'one', serial],
    queryFn: () => ask(api.GET('/v1/instruments/{serial_number}', { params: { path: { serial_number: serial } } })),
  });
  const metrics = useQuery({
    queryKey: ['instruments', 'metrics', serial, period],
    queryFn: () => {
      const days = Number(period);
      return readMetrics(serial, days > 0 ? new Date(Date.now() - days * DAY_MS).toISOString() : undefined);
    },
  });
  const name = instrument.data?.instrument.name || serial;
  usePageTitle(
    { text: 'Instruments', href: '/instruments' },
    { text: name, href: `/instruments/${encodeURIComponent(serial)}` },
  );
  if (instrument.isError)
    return (
      <FailedPage
        title={serial}
        error={instrument.error}
        what="The instrument could not be loaded"
        onRetry={() => void instrument.refetch()}
      />
    );
  if (instrument.data === undefined) return <Spinner size="large" />;
  const { model, status, softwareVersion, timeLastConnected } = instrument.data.instrument;
  const runs = metrics.data ?? [];
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={<Status value={status} />}
          actions={
            <Select
              ariaLabel="Period"
              options={PERIODS}
              selectedOption={PERIODS.find(({ value }) => value === period) ?? null}
              onChange={({ detail }) => setTexts({ since: detail.selectedOption.value })}
            />
          }
        >
          {name}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Container>
          <Facts
            columns={4}
            items={{
              'Serial number': serial,
              Model: model,
              Software: softwareVersion ?? '',
              'Last run': <Time value={timeLastConnected} ago />,
            }}
          />
        </Container>
        {metrics.isError && (
          <Failure
            error={metrics.error}
            what="The metrics could not be loaded"
            onRetry={() => void metrics.refetch()}
          />
        )}
        <ColumnLayout columns={2} minColumnWidth={320}>
          {MEASURES.map((measure) => (
            <Trend key={measure.title} metrics={runs} measure={measure} />
          ))}
        </ColumnLayout>
        <Table
          header={
            <Header
              variant="h2"
              {...(runs.length === MOST_RUNS && { description: `The newest ${formatNumber(MOST_RUNS)} runs` })}
            >
              Runs
            </Header>
          }
          ariaLabels={{ tableLabel: `Runs of ${name}` }}
          loading={metrics.isPending}
          loadingText="Loading the runs"
          items={runs.slice(0, 100)}
          trackBy="runId"
          wrapLines
          columnDefinitions={[
            {
              id: 'run',
              header: 'Run',
              isRowHeader: true,
              cell: ({ runId, runName }) => <LinkTo href={`/runs/${runId}`}>{runName}</LinkTo>,
            },
            { id: 'status', header: 'Status', minWidth: 130, cell: (each) => <Status value={each.status} /> },
            { id: 'time', header: 'Time', minWidth: 150, cell: ({ time }) => <Time value={time} /> },
            { id: 'side', header: 'Side', cell: ({ side }) => side ?? '' },
            { id: 'kit', header: 'Kit', cell: ({ kitName }) => kitName ?? '' },
            ...MEASURES.map(({ title, of, format }) => ({
              id: title,
              header: title,
              cell: (each: Metrics) => {
                const value = of(each);
                return value === null ? '' : format(value);
              },
            })),
          ]}
          empty={<Box textAlign="center">No run of this period is known.</Box>}
        />
      </SpaceBetween>
    </ContentLayout>
  );
}
