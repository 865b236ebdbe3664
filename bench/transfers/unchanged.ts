import { existsSync } from 'node:fs';
import { measure, type Usage } from '../measure.js';
import { median, type Report } from '../report.js';
import type { Row } from '../row.js';
import { makeRunFolder } from './runFolder.js';
import { MEMORY, withTransfers } from './setup.js';

/** A million takes too long to upload first. `POLONY_BENCH_FILES` measures another number. */
const COUNT = Number(process.env.POLONY_BENCH_FILES ?? 20_000);
const WANTED = 1_000_000;
const FILES_OF_FOLDER = 1000;
const FILE_BYTES = 100;
const ROUNDS = 2;
const MOST_MIB = 150;

/** The row of as many files as the target names. */
function notMeasured(): Row {
  return {
    name: `upload again of ${WANTED.toLocaleString('en')} small files`,
    unit: 'MiB',
    value: 0,
    against: MOST_MIB,
    of: 'the target',
    ratio: 0,
    reach: `at most ${MOST_MIB} MiB`,
    met: false,
    problem:
      'takes longer than the bench may (POLONY_BENCH_FILES). Once, by hand, an unfinished run took 191 MiB and a ' +
      'complete one 201 MiB',
  };
}

/** The rows of an upload of many small files that are all in the bucket already. */
export async function unchanged(report: Report): Promise<void> {
  // Making and reading so many files must not measure a disk.
  const parent = existsSync(MEMORY) ? MEMORY : undefined;
  await withTransfers(
    report,
    async ({ sink, work, python, env, remote, aws, polonyUpload }) => {
      const files = Array.from(
        { length: COUNT },
        (_, at) =>
          [`Thumbnails/L${Math.floor(at / FILES_OF_FOLDER)}/T${at % FILES_OF_FOLDER}.png`, FILE_BYTES] as const,
      );
      const folder = makeRunFolder(work, files);
      const run = (command: readonly string[]): Promise<Usage> =>
        measure(python, command, { env, timeoutMs: 1_800_000 });
      // With --partial, the run stays one that may change, and the upload keeps its journal.
      await run(polonyUpload(folder, '--partial', '--concurrency', '16'));
      const sides = {
        sync: { command: aws('sync', '--no-progress', folder, remote), complete: false },
        again: { command: polonyUpload(folder, '--partial'), complete: false },
        complete: { command: polonyUpload(folder), complete: true },
      };
      // RunUploaded.json is not there after an upload with --partial.
      await run(sides.sync.command);
      const used: Record<keyof typeof sides, Usage[]> = { sync: [], again: [], complete: [] };
      for (let round = 0; round < ROUNDS; round++)
        for (const side of ['sync', 'again', 'complete'] as const) {
          const { received } = await sink.tell({ complete: sides[side].complete });
          used[side].push(await run(sides[side].command));
          if ((await sink.tell()).received !== received) throw new Error(`${side} sent something`);
          const { wall, cpu, memory } = used[side].at(-1)!;
          report.say(`  ${side}: ${wall.toFixed(1)} s, CPU ${cpu.toFixed(1)} s, ${memory.toFixed(0)} MiB`);
        }
      const of = (side: keyof typeof sides, measured: keyof Usage): number =>
        median(used[side].map((each) => each[measured]));
      const rows = [
        ['again', 'upload again of an unfinished run'],
        ['complete', 'upload again of a complete run'],
      ] as const;
      for (const [side, what] of rows) {
        const name = `${what}, ${COUNT.toLocaleString('en')} small files`;
        const ratio = of(side, 'wall') / of('sync', 'wall');
        report.row({
          name: `${name}: time`,
          unit: 's',
          value: of(side, 'wall'),
          against: of('sync', 'wall'),
          of: '`aws s3 sync` with nothing to do',
          ratio,
          reach: 'at most 1',
          met: ratio <= 1,
        });
        report.row({
          name: `${name}: peak memory`,
          unit: 'MiB',
          value: of(side, 'memory'),
          against: of('sync', 'memory'),
          of: '`aws s3 sync` with nothing to do',
          ratio: of(side, 'memory') / of('sync', 'memory'),
          reach: `at most ${MOST_MIB} MiB`,
          met: of(side, 'memory') <= MOST_MIB,
        });
      }
      if (COUNT < WANTED) report.row(notMeasured());
    },
    parent,
  );
}
