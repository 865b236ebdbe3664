import { insertReferences } from '../../test/manyRuns.js';
import { BenchServer } from '../api/server.js';
import type { Report } from '../report.js';
import { discovery } from './discovery.js';
import { pages } from './pages.js';
import { Bucket } from './processes.js';

/** The rows of listings of buckets: the file explorer, and the search for runs. */
export async function storage(report: Report): Promise<void> {
  const bucket = await Bucket.start();
  const server = await BenchServer.start();
  try {
    await insertReferences(server.ownerUrl);
    await server.startApi(bucket.env);
    const settled = server.untilSettled();
    await discovery(report, server, bucket);
    await settled;
    await pages(report, server, bucket.env);
  } finally {
    await server.stop();
    bucket.stop();
  }
}
