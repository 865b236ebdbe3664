import Box from '@cloudscape-design/components/box';
import ColumnLayout from '@cloudscape-design/components/column-layout';
import Container from '@cloudscape-design/components/container';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Header from '@cloudscape-design/components/header';
import LineChart, { type LineChartProps } from '@cloudscape-design/components/line-chart';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { formatNumber, formatPercent } from '../shared/format.js';

type Reads = readonly Schema<'ReadSeries'>[];
type Measure = Exclude<keyof Schema<'CycleSeries'>, 'cycle'>;
type Series = LineChartProps<number>['series'];

const PERCENT = { format: formatPercent, unit: '%' };
const PLOTS: readonly { measure: Measure; title: string; format: (value: number) => string }[] = [
  { measure: 'percentQ30', title: '% Q30 by cycle', format: PERCENT.format },
  { measure: 'percentQ40', title: '% Q40 by cycle', format: PERCENT.format },
  { measure: 'qualityScoreMean', title: 'Mean quality score by cycle', format: (value) => formatNumber(value) },
  { measure: 'errorRate', title: 'Error rate by cycle (PhiX), %', format: PERCENT.format },
];
const BASES: readonly [Measure, string][] = [
  ['percentA', 'A'],
  ['percentC', 'C'],
  ['percentG', 'G'],
  ['percentT', 'T'],
  ['percentN', 'N'],
];

/** One value for each cycle; cycles without a value are left out. */
function points(cycles: Schema<'CycleSeries'>, measure: Measure): { x: number; y: number }[] {
  const values = cycles[measure] as readonly (number | null)[] | null;
  return (values ?? []).flatMap((y, at) => (y === null ? [] : [{ x: cycles.cycle[at]!, y }]));
}

/** A range of the vertical axis with some room, which shows differences. */
function rangeOf(series: Series, isPercent: boolean): [number, number] {
  const values = series.flatMap((each) => ('data' in each ? each.data.map(({ y }) => y) : []));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max((high - low) * 0.1, 0.5);
  const bottom = Math.max(0, Math.floor(low - room));
  const top = Math.ceil(high + room);
  return [bottom, isPercent ? Math.min(100, top) : top];
}

interface PlotProps {
  title: string;
  series: Series;
  format: (value: number) => string;
  isPercent?: boolean;
}

/** A plot by cycle, and its numbers as a table for those who cannot see it. */
function Plot({ title, series, format, isPercent = false }: PlotProps): ReactNode {
  const shown = series.filter((each) => 'data' in each && each.data.length > 0);
  if (shown.length === 0) return null;
  const cycles = [...new Set(shown.flatMap((each) => ('data' in each ? each.data.map(({ x }) => x) : [])))].sort(
    (a, b) => a - b,
  );
  const valueAt = (each: Series[number], cycle: number): number | undefined =>
    'data' in each ? each.data.find(({ x }) => x === cycle)?.y : undefined;
  return (
    <Container header={<Header variant="h3">{title}</Header>}>
      <LineChart
        series={shown}
        height={220}
        xScaleType="linear"
        xTitle="Cycle"
        xDomain={[cycles[0]!, Math.max(cycles.at(-1)!, cycles[0]! + 1)]}
        yDomain={rangeOf(shown, isPercent)}
        hideFilter
        ariaLabel={title}
        i18nStrings={{
          chartAriaRoleDescription: 'line chart',
          xTickFormatter: (cycle) => formatNumber(Number(cycle)),
          yTickFormatter: (value) => format(value),
          detailPopoverDismissAriaLabel: 'Close',
          legendAriaLabel: 'Legend',
          xAxisAriaRoleDescription: 'horizontal axis',
          yAxisAriaRoleDescription: 'vertical axis',
        }}
      />
      <ExpandableSection headerText="Numbers" headingTagOverride="h4">
        <Table
          variant="embedded"
          contentDensity="compact"
          ariaLabels={{ tableLabel: title }}
          items={cycles.map((cycle) => ({ cycle }))}
          columnDefinitions={[
            { id: 'cycle', header: 'Cycle', isRowHeader: true, cell: ({ cycle }) => formatNumber(cycle) },
            ...shown.map((each) => ({
              id: each.title,
              header: each.title,
              cell: ({ cycle }: { cycle: number }) => {
                const value = valueAt(each, cycle);
                return value === undefined ? '' : format(value);
              },
            })),
          ]}
        />
      </ExpandableSection>
    </Container>
  );
}

/** Quality, error rate and base composition by cycle. */
export function CycleCharts({ reads }: { reads: Reads }): ReactNode {
  const plots = PLOTS.map(({ measure, title, format }) => ({
    title,
    format,
    isPercent: measure !== 'qualityScoreMean',
    series: reads.map<Series[number]>(({ read, cycles }) => ({
      type: 'line',
      title: read,
      data: points(cycles, measure),
      valueFormatter: format,
    })),
  }));
  const compositions = reads.map(({ read, cycles }) => ({
    title: `Bases of ${read} by cycle, %`,
    format: PERCENT.format,
    isPercent: true,
    series: BASES.map<Series[number]>(([measure, base]) => ({
      type: 'line',
      title: base,
      data: points(cycles, measure),
      valueFormatter: PERCENT.format,
    })),
  }));
  const all = [...plots, ...compositions].filter(({ series }) =>
    series.some((each) => 'data' in each && each.data.length > 0),
  );
  if (all.length === 0) return <Box color="text-body-secondary">The files have no values by cycle.</Box>;
  return (
    <SpaceBetween size="m">
      <ColumnLayout columns={2} minColumnWidth={320}>
        {all.map((plot) => (
          <Plot key={plot.title} {...plot} />
        ))}
      </ColumnLayout>
    </SpaceBetween>
  );
}
