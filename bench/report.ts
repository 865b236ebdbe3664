import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { plotRatios, plotSeries } from './plots.js';
import type { Row } from './row.js';
import { triedFor } from './tried.js';

/** Where a part of the bench puts what it measures. */
export interface Report {
  /** Tells the person who waits what happens. */
  say: (line: string) => void;
  /** Something that a reader of the rows must know. */
  note: (text: string) => void;
  row: (row: Row) => void;
  /** Until this part of the bench must end. Parts that follow need some of that time. */
  secondsLeft: () => number;
}

const round = (value: number): number => Number(value.toPrecision(4));

/** A row as a line of the table. */
export function lineOf({ name, value, against, unit, of, ratio, reach, met, problem }: Row): string {
  const result = met === undefined ? '' : met ? 'yes' : '**no**';
  if (problem !== undefined) return `| ${name} | ${problem} | | | ${reach ?? ''} | ${result} |`;
  return (
    `| ${name} | ${round(value)} ${unit} | ${round(against)} ${unit} (${of}) | ${round(ratio)} | ${reach ?? ''} | ` +
    `${result} |`
  );
}

/**
 * Writes `bench/report/<name>.json` and `.md` with its plots (`.svg`), and the table to standard output. The Markdown
 * shows absolute figures for the reader; only ratios can be compared with another machine.
 */
export function writeReport(rows: readonly Row[], notes: readonly string[], fileName = 'report'): void {
  const folder = fileURLToPath(new URL('./report/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  const shown = rows.map((row) => ({
    ...row,
    value: round(row.value),
    against: round(row.against),
    ratio: round(row.ratio),
    ...(row.met === false && { tried: triedFor(row.name) }),
  }));
  writeFileSync(path.join(folder, `${fileName}.json`), `${JSON.stringify(shown, null, 2)}\n`);
  const plots = new Map([
    [`${fileName}.svg`, plotRatios(shown)],
    ...[...new Set(shown.flatMap(({ series }) => series?.title ?? []))].map((title): [string, string] => [
      `${fileName}-${title.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.svg`,
      plotSeries(title, shown),
    ]),
  ]);
  for (const [file, plot] of plots) writeFileSync(path.join(folder, file), plot);
  const lines = [
    '| measured | value | against | ratio | reach | met |',
    '|---|---|---|---|---|---|',
    ...shown.map(lineOf),
    ...(notes.length > 0 ? ['', ...notes.map((note) => `- ${note}`)] : []),
    ...shown.flatMap(({ name, tried = [] }) =>
      tried.length === 0 ? [] : ['', `Tried for "${name}":`, '', ...tried.map((each) => `- ${each}`)],
    ),
  ];
  const images = [...plots.keys()].map((file) => `![${file}](${file})`);
  writeFileSync(path.join(folder, `${fileName}.md`), `${[...lines, '', ...images].join('\n')}\n`);
  process.stdout.write(`\n${lines.join('\n')}\n`);
}

/** The value that the given share (0 to 1) of the measurements does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export const mean = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0) / values.length;

export function median(values: readonly number[]): number {
  const upper = [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
  return values.length % 2 === 1 ? upper : (percentile(values, 0.5) + upper) / 2;
}
