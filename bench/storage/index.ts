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
    await pages(report, server, bucket.env);
    await discovery(report, server, bucket);
  } finally {
    await server.stop();
    bucket.stop();
  }
}
