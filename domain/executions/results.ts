import type { ExecutionSummary } from './execution.js';
import { FileFormatError } from '../errors.js';
import { splitLine } from '../runs/manifest.js';
import { parseJsonObject } from '../runs/runParameters.js';

function finiteNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function nonEmptyText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * Parses `RunStats.json` of Bases2Fastq 1.7 to 2.4.
 * @throws FileFormatError when it is empty or not a JSON object.
 */
export function parseRunStats(content: string): Omit<ExecutionSummary, 'files' | 'warnings' | 'metrics'> {
  const json = parseJsonObject('RunStats.json', content);
  const samples = Array.isArray(json.SampleStats) ? (json.SampleStats as unknown[]) : [];
  return {
    analysisId: nonEmptyText(json.AnalysisID),
    analysisVersion: nonEmptyText(json.AnalysisVersion),
    totalYield: finiteNumber(json.TotalYield),
    assignedYield: finiteNumber(json.AssignedYield),
    numPolonies: finiteNumber(json.NumPolonies),
    percentAssignedReads: finiteNumber(json.PercentAssignedReads),
    percentMismatch: finiteNumber(json.PercentMismatch),
    percentQ30: finiteNumber(json.PercentQ30),
    percentQ40: finiteNumber(json.PercentQ40),
    qualityScoreMean: finiteNumber(json.QualityScoreMean),
    // Not in the files of Bases2Fastq 1.7.
    percentQ50: finiteNumber(json.PercentQ50),
    lanes: (Array.isArray(json.Lanes) ? (json.Lanes as unknown[]) : []).flatMap((lane) => {
      if (typeof lane !== 'object' || lane === null) return [];
      const stats = lane as Record<string, unknown>;
      return [
        {
          lane: finiteNumber(stats.Lane) ?? 0,
          numPolonies: finiteNumber(stats.NumPolonies),
          totalYield: finiteNumber(stats.TotalYield),
          percentAssignedReads: finiteNumber(stats.PercentAssignedReads),
          percentQ30: finiteNumber(stats.PercentQ30),
        },
      ];
    }),
    samples: samples.flatMap((sample) => {
      if (typeof sample !== 'object' || sample === null) return [];
      const stats = sample as Record<string, unknown>;
      const name = nonEmptyText(stats.SampleName);
      return name === undefined
        ? []
        : [
            {
              name,
              numPolonies: finiteNumber(stats.NumPolonies),
              yield: finiteNumber(stats.Yield),
              percentQ30: finiteNumber(stats.PercentQ30),
            },
          ];
    }),
  };
}

/** Parses CSV with headings. Each row has its cells by heading in lower case. @throws FileFormatError with the line. */
function* rowsOf(file: string, content: string): Generator<Record<string, string>> {
  let headings: string[] | undefined;
  for (const [at, line] of content
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n|\r/)
    .entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const cells = splitLine(line, at + 1, file).map((cell) => cell.text);
    if (headings === undefined) headings = cells.map((cell) => cell.toLowerCase());
    else yield Object.fromEntries(headings.map((heading, column) => [heading, cells[column] ?? '']));
  }
}

/**
 * Sums `IndexAssignment.csv`: the number of polonies of each sample, and their share in percent. The file has rows for
 * the lanes `1+2`, `1` and `2` for each index of a sample, and this function counts no polony twice.
 * @throws FileFormatError when it lacks the columns of Bases2Fastq.
 */
export function parseIndexAssignment(
  content: string,
): { name: string; numPolonies: number; percentPolonies: number }[] {
  const file = 'IndexAssignment.csv';
  const rows = [...rowsOf(file, content)];
  if (rows[0] !== undefined && !('samplename' in rows[0] && 'numpoloniesassigned' in rows[0]))
    throw new FileFormatError(file, 'the columns SampleName and NumPoloniesAssigned are missing', 1);
  const samples = new Map<
    string,
    {
      both: Map<string, { polonies: number; percent: number }>;
      lanes: Map<string, { polonies: number; percent: number }>;
    }
  >();
  for (const row of rows) {
    const name = row.samplename!;
    const index = `${row.i1 ?? ''}+${row.i2 ?? ''}`;
    const sample = samples.get(name) ?? { both: new Map(), lanes: new Map() };
    samples.set(name, sample);
    const value = { polonies: Number(row.numpoloniesassigned) || 0, percent: Number(row.percentpoloniesassigned) || 0 };
    if (/^1\s*\+\s*2$/.test(row.lane ?? '')) sample.both.set(index, value);
    else sample.lanes.set(`${index}/${row.lane ?? ''}`, value);
  }
  const totals = [...samples].map(([name, { both, lanes }]) => {
    // The row for both lanes is the sum of the rows for each lane. An index in only one lane has no such row.
    const counted = [
      ...both.values(),
      ...[...lanes].filter(([key]) => !both.has(key.slice(0, key.lastIndexOf('/')))).map(([, value]) => value),
    ];
    return {
      name,
      numPolonies: counted.reduce((sum, each) => sum + each.polonies, 0),
      percent: counted.reduce((sum, each) => sum + each.percent, 0),
    };
  });
  return totals.map(({ name, numPolonies, percent }) => ({ name, numPolonies, percentPolonies: percent }));
}

/**
 * Parses `Metrics.csv`: metrics of the whole run by the names of Bases2Fastq, without those of single lanes, at most
 * 200.
 * @throws FileFormatError when it lacks the columns Metric and Value.
 */
export function parseMetrics(content: string): Record<string, number | string> {
  const metrics: Record<string, number | string> = {};
  let count = 0;
  for (const row of rowsOf('Metrics.csv', content)) {
    const name = row.metric ?? row.name;
    if (name === undefined || row.value === undefined)
      throw new FileFormatError('Metrics.csv', 'the columns Metric and Value are missing', 1);
    if (name === '' || (row.lane !== undefined && /^[12]$/.test(row.lane.trim()) && name in metrics)) continue;
    if (count++ >= 200) break;
    metrics[name.slice(0, 100)] =
      row.value !== '' && Number.isFinite(Number(row.value)) ? Number(row.value) : row.value.slice(0, 200);
  }
  return metrics;
}
