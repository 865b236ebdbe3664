import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** A measurement beside what it is measured against, both in the same unit and taken in the same run. */
export interface Row {
  name: string;
  unit: string;
  value: number;
  against: number;
  /** What `against` is. */
  of: string;
  /** `value` ÷ `against`, or their difference where that is what counts. */
  ratio: number;
  /** What the ratio is to reach, as a sentence; absent where it is only told. */
  reach?: string;
  met?: boolean;
}

const round = (value: number): number => Number(value.toPrecision(4));

/** Writes `bench/report/<name>.json` and `.md`, and the table to standard output. */
export function writeReport(rows: readonly Row[], notes: readonly string[], name = 'report'): void {
  const folder = fileURLToPath(new URL('./report/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  const shown = rows.map((row) => ({
    ...row,
    value: round(row.value),
    against: round(row.against),
    ratio: round(row.ratio),
  }));
  writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(shown, null, 2)}\n`);
  const lines = [
    '| measured | value | against | ratio | reach | met |',
    '|---|---|---|---|---|---|',
    ...shown.map(
      (row) =>
        `| ${row.name} | ${row.value} ${row.unit} | ${row.against} ${row.unit} (${row.of}) | ${row.ratio} | ${row.reach ?? ''} | ${row.met === undefined ? '' : row.met ? 'yes' : '**no**'} |`,
    ),
    ...(notes.length > 0 ? ['', ...notes.map((note) => `- ${note}`)] : []),
  ];
  writeFileSync(path.join(folder, `${name}.md`), `${lines.join('\n')}\n`);
  process.stdout.write(`\n${lines.join('\n')}\n`);
}

/** The value that a share of the measurements does not exceed. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
