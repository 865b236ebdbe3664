import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { CycleCharts } from '../charts/CycleCharts.js';
import { Facts } from '../shared/Facts.js';
import { formatBases, formatNumber, formatPercent } from '../shared/format.js';

interface Source {
  source: string;
}

type Series = Schema<'InstrumentSeries'> | Schema<'ExecutionSeries'>;

/** Which files could not be read, and why. */
function SeriesFiles({ files, warnings }: Pick<Series, 'files' | 'warnings'>): ReactNode {
  const missing = files.filter(({ state }) => state !== 'read');
  if (missing.length === 0 && warnings.length === 0) return null;
  return (
    <Alert type="info" header="Some numbers are not here">
      <ul>
        {missing.map(({ name, message }) => (
          <li key={name}>
            {name}: {message}
          </li>
        ))}
        {warnings.map((warning) => (
          <li key={warning}>{warning}</li>
        ))}
      </ul>
    </Alert>
  );
}

/**
 * Totals, plots by cycle, lanes, index assignment and unassigned sequences, as far as the files have them.
 * @param source where they are from, which distinguishes tables with the same heading
 */
export function SeriesView({ series, source }: { series: Series; source: string }): ReactNode {
  const { totals, lanes, samples, indexAssignment, unassignedSequences } = series;
  return (
    <SpaceBetween size="l">
      <SeriesFiles files={series.files} warnings={series.warnings} />
      {totals !== null && (
        <Container header={<Header variant="h2">Totals</Header>}>
          <Facts
            columns={4}
            items={{
              Yield: formatBases(totals.yield),
              'Yield of samples': formatBases(totals.assignedYield),
              Polonies: formatNumber(totals.polonies),
              'Passing filter': formatPercent(totals.percentPassingFilter),
              '% Q30': formatPercent(totals.percentQ30),
              '% Q40': formatPercent(totals.percentQ40),
              'Mean quality score': formatNumber(totals.qualityScoreMean),
              'Error rate (PhiX)': formatPercent(totals.errorRate),
              Assigned: formatPercent(totals.percentAssigned),
              'With a mismatch': formatPercent(totals.percentMismatch),
            }}
          />
        </Container>
      )}
      {totals !== null && totals.reads.length > 0 && <CycleCharts reads={totals.reads} />}
      {lanes.length > 0 && (
        <Table
          header={<Header variant="h2">Lanes</Header>}
          ariaLabels={{ tableLabel: `Lanes, from ${source}` }}
          items={lanes}
          columnDefinitions={[
            { id: 'lane', header: 'Lane', isRowHeader: true, cell: ({ lane }) => lane },
            { id: 'yield', header: 'Yield', cell: (lane) => formatBases(lane.yield) },
            { id: 'polonies', header: 'Polonies', cell: (lane) => formatNumber(lane.polonies) },
            { id: 'pf', header: 'Passing filter', cell: (lane) => formatPercent(lane.percentPassingFilter) },
            { id: 'q30', header: '% Q30', cell: (lane) => formatPercent(lane.percentQ30) },
            { id: 'q40', header: '% Q40', cell: (lane) => formatPercent(lane.percentQ40) },
            { id: 'error', header: 'Error rate', cell: (lane) => formatPercent(lane.errorRate) },
            { id: 'assigned', header: 'Assigned', cell: (lane) => formatPercent(lane.percentAssigned) },
          ]}
        />
      )}
      {indexAssignment !== null && <IndexAssignment {...indexAssignment} source={source} />}
      {indexAssignment === null && samples.length > 0 && <Samples samples={samples} source={source} />}
      {unassignedSequences !== null && <Unassigned {...unassignedSequences} source={source} />}
    </SpaceBetween>
  );
}

/** "% of lane" or "% of run": the files say neither, so it follows from their sums. */
const percentHeader = (percentOf: 'run' | 'lane' | null): string => (percentOf === null ? '%' : `% of ${percentOf}`);

function Truncated({ isTruncated, shown }: { isTruncated: boolean; shown: number }): ReactNode {
  return (
    isTruncated && (
      <Box color="text-body-secondary">Only the first {formatNumber(shown)} rows are here. The file has all.</Box>
    )
  );
}

function IndexAssignment({
  percentOf,
  rows,
  isTruncated,
  source,
}: NonNullable<Series['indexAssignment']> & Source): ReactNode {
  return (
    <Table
      header={<Header variant="h2">Index assignment</Header>}
      ariaLabels={{ tableLabel: `Index assignment, from ${source}` }}
      items={rows}
      footer={<Truncated isTruncated={isTruncated} shown={rows.length} />}
      columnDefinitions={[
        { id: 'sample', header: 'Sample', isRowHeader: true, cell: ({ sampleName }) => sampleName },
        { id: 'lane', header: 'Lane', cell: ({ lane }) => lane },
        { id: 'i1', header: 'Index 1', cell: ({ index1 }) => <Box variant="code">{index1}</Box> },
        { id: 'i2', header: 'Index 2', cell: ({ index2 }) => <Box variant="code">{index2}</Box> },
        { id: 'polonies', header: 'Polonies', cell: ({ polonies }) => formatNumber(polonies) },
        { id: 'percent', header: percentHeader(percentOf), cell: ({ percent }) => formatPercent(percent) },
        { id: 'perfect', header: 'Without a mismatch', cell: ({ percentPerfect }) => formatPercent(percentPerfect) },
        { id: 'mismatch', header: 'With a mismatch', cell: ({ percentMismatch }) => formatPercent(percentMismatch) },
      ]}
    />
  );
}

function Samples({ samples, source }: Pick<Series, 'samples'> & Source): ReactNode {
  return (
    <Table
      header={<Header variant="h2">Samples</Header>}
      ariaLabels={{ tableLabel: `Samples, from ${source}` }}
      items={samples}
      columnDefinitions={[
        { id: 'sample', header: 'Sample', isRowHeader: true, cell: ({ sampleName }) => sampleName },
        { id: 'polonies', header: 'Polonies', cell: ({ polonies }) => formatNumber(polonies) },
        { id: 'yield', header: 'Yield', cell: (sample) => formatBases(sample.yield) },
        { id: 'q30', header: '% Q30', cell: ({ percentQ30 }) => formatPercent(percentQ30) },
        { id: 'mismatch', header: 'With a mismatch', cell: ({ percentMismatch }) => formatPercent(percentMismatch) },
      ]}
    />
  );
}

function Unassigned({
  percentOf,
  rows,
  isTruncated,
  source,
}: NonNullable<Series['unassignedSequences']> & Source): ReactNode {
  return (
    <Table
      header={<Header variant="h2">Most frequent unassigned index sequences</Header>}
      ariaLabels={{ tableLabel: `Most frequent unassigned index sequences, from ${source}` }}
      items={rows}
      empty="Every sequence belongs to a sample."
      footer={<Truncated isTruncated={isTruncated} shown={rows.length} />}
      columnDefinitions={[
        { id: 'lane', header: 'Lane', cell: ({ lane }) => lane },
        { id: 'i1', header: 'Index 1', isRowHeader: true, cell: ({ index1 }) => <Box variant="code">{index1}</Box> },
        { id: 'i2', header: 'Index 2', cell: ({ index2 }) => <Box variant="code">{index2}</Box> },
        { id: 'polonies', header: 'Polonies', cell: ({ polonies }) => formatNumber(polonies) },
        { id: 'percent', header: percentHeader(percentOf), cell: ({ percent }) => formatPercent(percent) },
      ]}
    />
  );
}
