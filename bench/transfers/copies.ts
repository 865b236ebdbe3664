import { rmSync } from 'node:fs';
import path from 'node:path';
import { measure, type Usage } from '../measure.js';
import { median, type Report } from '../report.js';
import { bytesOf, LARGE_RUN, makeRunFolder } from './runFolder.js';
import { type Transfers, withTransfers } from './setup.js';
import { PREFIX } from './sinkMessages.js';

/** A round of the three clients takes half a minute and more. There is no other one where it takes longer than this. */
const ROUNDS = { most: 2, longestMs: 40_000 };
const COPY = ['cp', '--recursive', '--no-progress', '--quiet'];

type Who = 'polony' | 'aws' | 'crt';
type Commands = Record<Who, readonly string[]>;

/** The rows of uploads to the end. */
export async function uploads(report: Report): Promise<void> {
  await withTransfers(report, async (transfers) => {
    const { sink, work, aws, remote } = transfers;
    const folder = makeRunFolder(work, LARGE_RUN);
    await measureRounds(report, transfers, {
      what: 'upload',
      commands: {
        polony: transfers.polonyUpload(folder),
        aws: aws(...COPY, folder, remote),
        crt: await transfers.crt('upload', folder),
      },
      before: () => sink.tell({ clear: true }),
    });
  });
}

/** The rows of downloads to the end. */
export async function downloads(report: Report): Promise<void> {
  await withTransfers(report, async (transfers) => {
    const { sink, work, aws, remote } = transfers;
    const target = path.join(work, 'downloaded');
    await sink.tell({ put: LARGE_RUN.map(([name, size]) => [`${PREFIX}${name}`, size]) });
    await measureRounds(report, transfers, {
      what: 'download',
      commands: {
        polony: transfers.polonyDownload(target),
        aws: aws(...COPY, remote, target),
        crt: await transfers.crt('download', target),
      },
      before: async () => rmSync(target, { recursive: true, force: true }),
    });
  });
}

async function measureRounds(
  report: Report,
  { sink, python, env }: Transfers,
  { what, commands, before }: { what: 'upload' | 'download'; commands: Commands; before: () => Promise<unknown> },
): Promise<void> {
  const used: Record<Who, Usage[]> = { polony: [], aws: [], crt: [] };
  const began = performance.now();
  for (let round = 0; round < ROUNDS.most && performance.now() - began < ROUNDS.longestMs; round++)
    for (const who of ['polony', 'aws', 'crt'] as const) {
      await before();
      const { received, sent } = await sink.tell();
      used[who].push(await measure(python, commands[who], { env }));
      const now = await sink.tell();
      if (now.received - received + now.sent - sent < bytesOf(LARGE_RUN))
        throw new Error(`${who} did not ${what} everything`);
      const { wall, cpu, memory } = used[who].at(-1)!;
      report.say(`  ${what}, ${who}: ${wall.toFixed(1)} s, CPU ${cpu.toFixed(1)} s, ${memory.toFixed(0)} MiB`);
    }
  addRows(report, `${what} of 4 GiB in 2,000 files`, used);
}

function addRows(report: Report, what: string, used: Record<Who, Usage[]>): void {
  const of = (who: Who, measured: 'wall' | 'cpu'): number => median(used[who].map((each) => each[measured]));
  const peakOf = (who: Who): number => Math.max(...used[who].map(({ memory }) => memory));
  const against = (who: 'aws' | 'crt', measured: 'wall' | 'cpu', most: number): void =>
    report.row({
      name: `${what}: ${measured === 'wall' ? 'time' : 'CPU'}${who === 'aws' ? '' : ', against the CRT client'}`,
      unit: 's',
      value: of('polony', measured),
      against: of(who, measured),
      of: who === 'aws' ? '`aws s3 cp --recursive`' : 'the CRT client',
      ratio: of('polony', measured) / of(who, measured),
      reach: `at most ${most}`,
      met: of('polony', measured) / of(who, measured) <= most,
    });
  against('aws', 'wall', 1);
  against('aws', 'cpu', 1);
  against('crt', 'wall', 1.2);
  report.row({
    name: `${what}: peak memory`,
    unit: 'MiB',
    value: peakOf('polony'),
    against: peakOf('aws'),
    of: '`aws s3 cp --recursive`',
    ratio: peakOf('polony') / peakOf('aws'),
    reach: 'at most 150 MiB',
    met: peakOf('polony') <= 150,
  });
}
