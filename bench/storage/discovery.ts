import { S3Client } from '@aws-sdk/client-s3';
import pg from 'pg';
import { Searches } from '../../activities/runs/searches.js';
import { s3ClientSettings } from '../../aws/clients.js';
import { listFolders } from '../../aws/s3.js';
import { AwsSessions } from '../../aws/sessions.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import { openDatabase } from '../../store/database.js';
import { Secrets } from '../../store/secrets.js';
import { MANY_STORAGE } from '../../test/manyRuns.js';
import { stubOrchestrator } from '../../test/stubOrchestrator.js';
import type { BenchServer } from '../api/server.js';
import { median, type Report } from '../report.js';
import { FOLDERS_EACH, folderOf, INSTRUMENTS } from './bucketMessages.js';
import type { Bucket } from './processes.js';

/** A search takes a fraction of a second. */
const ROUNDS = 11;
const FOLDERS = INSTRUMENTS.length * FOLDERS_EACH;
/** Pages of 1,000 folders, and the page with the instruments. */
const REQUESTS = INSTRUMENTS.length * Math.ceil(FOLDERS_EACH / 1000) + 1;

/** Inserts a run for each folder, whose upload has ended. */
async function insertRuns(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const folders = INSTRUMENTS.flatMap((instrument) =>
    Array.from({ length: FOLDERS_EACH }, (_each, at) => ({ instrument, folder: folderOf(instrument, at) })),
  );
  await client
    .query(
      `insert into runs (id, storage_connection_id, instrument_name, parent_path, run_folder, run_name, upload_state)
        select uuidv7(), $1, f.instrument, f.instrument, f.folder, f.folder, 'complete'
        from jsonb_to_recordset($2) f (instrument text, folder text)`,
      [MANY_STORAGE, JSON.stringify(folders)],
    )
    .then(() => client.query('update storage_connections set use_for_run_upload = (id = $1)', [MANY_STORAGE]))
    .then(() => client.query('vacuum analyze runs'))
    .finally(() => client.end());
}

/** CPU that this process uses for some work, in seconds. */
async function cpuOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

/** The rows of a search for runs that finds nothing new. */
export async function discovery(report: Report, server: BenchServer, bucket: Bucket): Promise<void> {
  await insertRuns(server.ownerUrl);
  Object.assign(process.env, bucket.env);
  const db = openDatabase(server.databaseUrl, 5);
  const aws = new AwsSessions({ sessionSeconds: 43_200, ...createProviderLoader(db, new Secrets([])) });
  const s3 = new S3Client({ region: 'us-west-2', ...s3ClientSettings() });
  const use = aws.use.bind(aws);
  let ended: (outcome: Promise<unknown>) => void = () => undefined;
  aws.use = async (providerId, work) => {
    const outcome = use(providerId, work);
    ended(outcome);
    return outcome;
  };
  /** The first search of a worker, which lists everything. */
  const search = async (): Promise<void> => {
    await db.updateTable('storage_connections').set({ time_used: null }).execute();
    const searches = new Searches(
      { db, aws, orchestrator: stubOrchestrator as never },
      86_400,
      () => true,
      report.note,
    );
    const outcome = new Promise((resolve) => (ended = resolve));
    await searches.renewed();
    const hasFound = await outcome;
    await searches.stop();
    if (hasFound !== false) throw new Error('The search found a run that is new');
  };
  const listAlone = async (): Promise<void> => {
    for (const prefix of ['runs/', ...INSTRUMENTS.map((instrument) => `runs/${instrument}/`)])
      for await (const folders of listFolders(s3, 'many-1', prefix)) if (folders.length === 0) break;
  };
  try {
    await search();
    await listAlone();
    const before = await bucket.countRequests();
    await search();
    const requests = (await bucket.countRequests()) - before;
    const [searches, lists]: number[][] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      searches!.push(await cpuOf(search));
      lists!.push(await cpuOf(listAlone));
    }
    addRows(report, requests, median(searches!), median(lists!));
  } finally {
    s3.destroy();
    aws.close();
    await db.destroy();
  }
}

function addRows(report: Report, requests: number, search: number, list: number): void {
  const what = `search of a bucket with ${FOLDERS.toLocaleString('en')} run folders and nothing new`;
  report.row({
    name: `${what}: list requests`,
    unit: 'requests',
    value: requests,
    against: REQUESTS,
    of: 'one for each 1,000 folders, and one for the instruments',
    ratio: requests / REQUESTS,
    reach: 'exactly 1',
    met: requests === REQUESTS,
  });
  report.row({
    name: `${what}: CPU`,
    unit: 's',
    value: search,
    against: list,
    of: 'the list requests alone',
    ratio: search / list,
    reach: 'at most 2',
    met: requests === REQUESTS && search / list <= 2,
  });
}
