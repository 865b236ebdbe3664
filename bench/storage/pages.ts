import { once } from 'node:events';
import { listingKey, sealPageToken } from '../../api/files/pageTokens.js';
import { MANY_STORAGE } from '../../test/manyRuns.js';
import type { BenchServer } from '../api/server.js';
import { median, type Report } from '../report.js';
import { usageOf } from '../usage.js';
import { LARGE_PREFIX, OBJECTS } from './bucketMessages.js';
import { startProcess } from './processes.js';
import type { RawMessage } from './rawMessages.js';

/** Pages of 1,000 objects that make one measurement. */
const PAGES = 25;
const ROUNDS = 12;
/** Pages with download URLs that make one measurement, and how many measurements there are. Each URL is signed. */
const SIGNED_PAGES = 2;
const SIGNED_ROUNDS = 7;

const LISTING = listingKey({ bucket: 'many-1', root: 'runs/' }, LARGE_PREFIX.slice('runs/'.length), true);

/**
 * Lists pages of the API one after the other.
 * @returns the seconds that it takes, and the largest memory of the API between two pages, in MiB
 */
async function listPages(
  server: BenchServer,
  from: number,
  count: number,
  hasUrls = false,
): Promise<{ seconds: number; memory: number }> {
  let milliseconds = 0;
  let memory = 0;
  let pageToken = from === 0 ? '' : sealPageToken(LISTING, String(from));
  for (let at = 0; at < count; at++) {
    const query = new URLSearchParams({
      prefix: LARGE_PREFIX.slice('runs/'.length),
      pageSize: '1000',
      ...(pageToken !== '' && { pageToken }),
      ...(hasUrls && { includeDownloadUrl: 'true' }),
    });
    const began = performance.now();
    const text = await server.read(`/v1/storage-connections/${MANY_STORAGE}/files?${query.toString()}`);
    milliseconds += performance.now() - began;
    // What the reader does with a page is no part of the measurement.
    const count = text.split('"uri":').length - 1;
    if (count !== 1000) throw new Error(`A page of the API has ${count} files`);
    pageToken = /"nextPageToken":"([^"]*)"/.exec(text)![1]!;
    memory = Math.max(memory, usageOf(server.apiPid).memory);
  }
  return { seconds: milliseconds / 1000, memory };
}

/** The rows of the file explorer. */
export async function pages(report: Report, server: BenchServer, env: Record<string, string>): Promise<void> {
  const [raw] = await startProcess('./raw.ts', env);
  const listRaw = async (from: number): Promise<number> => {
    raw.send({ bucket: 'many-1', prefix: LARGE_PREFIX, from, pages: PAGES } satisfies RawMessage);
    const [{ seconds }] = (await once(raw, 'message')) as [{ seconds: number }];
    return seconds;
  };
  try {
    // Both sides compile their code first.
    await listPages(server, 0, PAGES);
    await listRaw(0);
    await listPages(server, 0, SIGNED_PAGES, true);
    const [api, alone, first, last]: number[][] = [[], [], [], []];
    const memory: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      // Elsewhere each time. The halves alternate, since V8's heap grows during the first rounds wherever they are.
      const position = Math.floor(round / 2) + (round % 2) * (ROUNDS / 2);
      const from = Math.floor(((OBJECTS - PAGES * 1000) * position) / (ROUNDS - 1) / 1000) * 1000;
      const listed = await listPages(server, from, PAGES);
      memory[position] = listed.memory;
      api!.push(PAGES / listed.seconds);
      alone!.push(PAGES / (await listRaw(from)));
    }
    for (let round = 0; round < SIGNED_ROUNDS; round++) {
      first!.push((await listPages(server, 0, SIGNED_PAGES, true)).seconds);
      last!.push((await listPages(server, OBJECTS - SIGNED_PAGES * 1000, SIGNED_PAGES, true)).seconds);
    }
    addRows(report, { api: median(api!), alone: median(alone!), first: median(first!), last: median(last!) });
    // Between two collections, V8 keeps what is no longer used, so the largest of several rounds counts.
    const begin = Math.max(...memory.slice(0, ROUNDS / 2));
    const end = Math.max(...memory.slice(ROUNDS / 2));
    report.row({
      name: 'memory of the API in the last half of 1,000,000 objects',
      unit: 'MiB',
      value: end,
      against: begin,
      of: 'in the first half',
      ratio: end / begin,
      reach: 'at most 1.2',
      met: end / begin <= 1.2,
    });
    report.note(`memory of the API while it lists, MiB: ${memory.map(Math.round).join(', ')}`);
  } finally {
    raw.disconnect();
  }
}

function addRows(
  report: Report,
  { api, alone, first, last }: { api: number; alone: number; first: number; last: number },
): void {
  report.row({
    name: 'pages of 1,000 of a prefix with 1,000,000 objects',
    unit: 'pages/s',
    value: api,
    against: alone,
    of: 'ListObjectsV2 with the same client',
    ratio: api / alone,
    reach: 'at least 0.8',
    met: api / alone >= 0.8,
  });
  report.row({
    name: 'the last pages of a prefix with 1,000,000 objects, with download URLs',
    unit: 's',
    value: last,
    against: first,
    of: 'the first pages',
    ratio: last / first,
    reach: 'at most 1.2',
    met: last / first <= 1.2,
  });
}
