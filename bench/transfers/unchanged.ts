import { existsSync } from 'node:fs';
import path from 'node:path';
import { walkRunFolder } from '../../cli/client/files/localFiles.js';
import { uploadIdentity } from '../../cli/client/files/upload.js';
import { UploadJournal } from '../../cli/client/files/uploadJournal.js';
import { measure, type Usage } from '../measure.js';
import { median, type Report } from '../report.js';
import { makeRunFolder } from './runFolder.js';
import { MEMORY, type Transfers, withTransfers } from './setup.js';
import { BUCKET, etagOf, ID, PREFIX } from './sinkMessages.js';

/** Files that polony and `aws s3 sync` are compared with. */
const COMPARED = 20_000;
const FILE_BYTES = 100;
const ROUNDS = 3;
/** Files that only polony looks at. They are empty, so that they fit into memory: none of them is read. */
const MANY = Number(process.env.POLONY_BENCH_FILES ?? 1_000_000);
const FILES_OF_FOLDER = 1000;
const MOST_MIB = 150;

/** A command that finds nothing to do. */
interface Side {
  /** For reports. */
  name: string;
  command: string[];
  /** Whether polony's API says that the run is complete. */
  complete: boolean;
}

/** Makes a run folder that is in the bucket, and the journal that its upload has left. @returns its path */
async function makeUploaded({ sink, work, env }: Transfers, count: number, bytes: number): Promise<string> {
  const files = Array.from(
    { length: count },
    (_, at) => [`Thumbnails/L${Math.floor(at / FILES_OF_FOLDER)}/T${at % FILES_OF_FOLDER}.png`, bytes] as const,
  );
  const folder = makeRunFolder(path.join(work, String(count)), files);
  const upload = { storageConnectionId: ID, bucket: BUCKET, prefix: PREFIX, folder };
  // Where the journals of the commands are, whose HOME is the folder to work in.
  process.env.XDG_CACHE_HOME = path.join(work, '.cache');
  const journal = await UploadJournal.open(uploadIdentity({ url: env.POLONY_API_URL! }, upload));
  await sink.tell({ clear: true });
  for await (const some of walkRunFolder(folder, {})) {
    await Promise.all(some.map((file) => journal.recordDone(file, etagOf(file.size))));
    await sink.tell({ put: some.map(({ name, size }) => [PREFIX + name, size]) });
  }
  await journal.close();
  return folder;
}

/** With --partial, the run stays one that may change, and polony compares all of it. */
const partialUpload = ({ polonyUpload }: Transfers, folder: string): Side => ({
  name: 'upload again of an unfinished run',
  command: polonyUpload(folder, '--partial'),
  complete: false,
});

const completeUpload = ({ polonyUpload }: Transfers, folder: string): Side => ({
  name: 'upload again of a complete run',
  command: polonyUpload(folder),
  complete: true,
});

/** @throws where the command sends something */
async function runSide({ sink, python, env }: Transfers, report: Report, side: Side): Promise<Usage> {
  const { writes } = await sink.tell({ complete: side.complete });
  const used = await measure(python, side.command, { env, timeoutMs: 1_800_000 });
  if ((await sink.tell()).writes !== writes) throw new Error(`${side.name} sent something`);
  const { wall, cpu, memory } = used;
  report.say(`  ${side.name}: ${wall.toFixed(1)} s, CPU ${cpu.toFixed(1)} s, ${memory.toFixed(0)} MiB`);
  return used;
}

/** The rows of an upload of many small files that are all in the bucket already. */
export async function unchanged(report: Report): Promise<void> {
  // Making and reading so many files must not measure a disk.
  const parent = existsSync(MEMORY) ? MEMORY : undefined;
  await withTransfers(
    report,
    async (transfers) => measureMany(transfers, report, await compare(transfers, report)),
    parent,
  );
}

/** @returns the memory of polony's upload of an unfinished run, in MiB */
async function compare(transfers: Transfers, report: Report): Promise<number> {
  const folder = await makeUploaded(transfers, COMPARED, FILE_BYTES);
  const sync: Side = {
    name: '`aws s3 sync` with nothing to do',
    command: transfers.aws('sync', '--no-progress', folder, transfers.remote),
    complete: false,
  };
  const uploads = [partialUpload(transfers, folder), completeUpload(transfers, folder)];
  const used = new Map<Side, Usage[]>([sync, ...uploads].map((side) => [side, []]));
  for (let round = 0; round < ROUNDS; round++)
    for (const [side, each] of used) each.push(await runSide(transfers, report, side));
  const of = (side: Side, measured: keyof Usage): number => median(used.get(side)!.map((each) => each[measured]));
  for (const side of uploads) {
    const ratio = of(side, 'wall') / of(sync, 'wall');
    report.row({
      name: `${side.name}, ${COMPARED.toLocaleString('en')} small files: time`,
      unit: 's',
      value: of(side, 'wall'),
      against: of(sync, 'wall'),
      of: sync.name,
      ratio,
      reach: 'at most 1',
      met: ratio <= 1,
    });
  }
  return of(uploads[0]!, 'memory');
}

/**
 * The upload of an unfinished run is the one that compares each file.
 * @param few its memory with few files, in MiB
 */
async function measureMany(transfers: Transfers, report: Report, few: number): Promise<void> {
  const side = partialUpload(transfers, await makeUploaded(transfers, MANY, 0));
  const { memory } = await runSide(transfers, report, side);
  report.row({
    name: `${side.name}, ${MANY.toLocaleString('en')} small files: peak memory`,
    unit: 'MiB',
    value: memory,
    against: few,
    of: `${COMPARED.toLocaleString('en')} files`,
    ratio: memory / few,
    reach: `at most ${MOST_MIB} MiB`,
    met: memory <= MOST_MIB,
  });
}
