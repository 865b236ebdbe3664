import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { measure } from '../measure.js';
import type { Report } from '../report.js';
import { bytesOf, LARGE_RUN, makeRunFolder } from './runFolder.js';
import { type Transfers, withTransfers } from './setup.js';
import { PREFIX, type SinkState } from './sinkMessages.js';

const MOST_AGAIN = 0.01;

/** The rows of transfers that are killed halfway and run again. */
export async function resumptions(report: Report): Promise<void> {
  await withTransfers(report, async (transfers) => {
    const folder = makeRunFolder(transfers.work, LARGE_RUN);
    await killHalfway(report, transfers, 'upload', transfers.polonyUpload(folder), ({ received }) => received);
    await transfers.sink.tell({ clear: true, put: LARGE_RUN.map(([name, size]) => [`${PREFIX}${name}`, size]) });
    const target = path.join(transfers.work, 'downloaded');
    await killHalfway(report, transfers, 'download', transfers.polonyDownload(target), ({ sent }) => sent);
  });
}

async function killHalfway(
  report: Report,
  { sink, python, env }: Transfers,
  what: string,
  command: readonly string[],
  countOf: (state: SinkState) => number,
): Promise<void> {
  const bytes = bytesOf(LARGE_RUN);
  const before = countOf(await sink.tell());
  const half = sink.tell({ afterBytes: bytes / 2 });
  const began = performance.now();
  const child = spawn(command[0]!, command.slice(1), { env, stdio: 'ignore' });
  const ended = once(child, 'exit');
  if ((await Promise.race([half, ended.then(() => undefined)])) === undefined)
    throw new Error(`${what} ended before half of it was there`);
  child.kill('SIGKILL');
  await ended;
  const firstSeconds = (performance.now() - began) / 1000;
  const { wall } = await measure(python, command, { env });
  const transferred = countOf(await sink.tell()) - before;
  if (transferred < bytes) throw new Error(`${what} did not end with everything`);
  const ratio = transferred / bytes;
  report.row({
    name: `${what} after a kill halfway: bytes that are sent`,
    unit: 'MiB',
    value: transferred / 2 ** 20,
    against: bytes / 2 ** 20,
    of: 'all bytes once',
    ratio,
    reach: `at most ${1 + MOST_AGAIN}`,
    met: ratio <= 1 + MOST_AGAIN,
  });
  report.note(
    `${what} after a kill halfway: the second half took ${(wall / firstSeconds).toFixed(2)} of the time of the first`,
  );
}
