import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { buildApp } from '../api/app.js';
import { AwsSessions } from '../aws/sessions.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { Secrets } from '../store/secrets.js';
import { startOwnPostgres } from '../test/ownPostgres.js';
import { percentile, type Row, writeReport } from './report.js';
import { stubOrchestrator } from '../test/stubOrchestrator.js';

/**
 * Lists a prefix of 200,000 objects page by page through the API, with and without download URLs. Measures whether the
 * last pages take longer than the first ones, and whether memory grows. S3 is simulated: its pages cost almost nothing.
 */
const OBJECTS = Number(process.env.POLONY_BENCH_OBJECTS ?? 200_000);
const KEY = 'bench-key-0123456789-abcdefgh';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const measureHeapMiB = (): number => {
  collectGarbage();
  return process.memoryUsage().heapUsed / 1024 / 1024;
};

/** The AWS that the API calls: AssumeRole, and listings whose token is the index of the next object. */
const aws = createServer((request, response) => {
  if (request.method === 'POST') {
    const expiration = new Date(Date.now() + 43_200_000).toISOString();
    response.end(
      '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>' +
        '<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>' +
        `<SessionToken>token</SessionToken><Expiration>${expiration}</Expiration>` +
        '</Credentials></AssumeRoleResult></AssumeRoleResponse>',
    );
    return;
  }
  const query = new URL(request.url!, 'http://s3').searchParams;
  const from = Number(query.get('continuation-token') ?? 0);
  const end = Math.min(OBJECTS, from + Number(query.get('max-keys') ?? 1000));
  let contents = '';
  for (let at = from; at < end; at++) {
    const key = `runs/AV1/run/BaseCalls/file-${String(at).padStart(7, '0')}.zip`;
    contents +=
      `<Contents><Key>${key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>` +
      `<ETag>"d41d8cd98f00b204e9800998ecf8427e"</ETag><Size>${at}</Size>` +
      '<StorageClass>STANDARD</StorageClass></Contents>';
  }
  const isTruncated = end < OBJECTS;
  const token = isTruncated ? `<NextContinuationToken>${end}</NextContinuationToken>` : '';
  response.setHeader('content-type', 'application/xml');
  response.end(
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lab</Name>' +
      `<IsTruncated>${isTruncated}</IsTruncated>${token}${contents}</ListBucketResult>`,
  );
});
await new Promise<void>((resolve) => aws.listen(0, '127.0.0.1', resolve));
Object.assign(process.env, {
  AWS_ENDPOINT_URL: `http://127.0.0.1:${(aws.address() as AddressInfo).port}`,
  AWS_ACCESS_KEY_ID: 'x',
  AWS_SECRET_ACCESS_KEY: 'x',
});

const postgres = await startOwnPostgres();
const secrets = new Secrets([]);
const sessions = new AwsSessions({ sessionSeconds: 43_200, ...createProviderLoader(postgres.db, secrets) });
const app = await buildApp({
  db: postgres.db,
  databaseUrl: postgres.url,
  secrets,
  aws: sessions,
  orchestrator: stubOrchestrator,
  apiKey: KEY,
  errorDomain: 'polony',
});
const call = async <T>(method: 'GET' | 'POST', url: string, payload?: object): Promise<T> => {
  const response = await app.inject({
    method,
    url,
    headers: { 'x-api-key': KEY },
    ...(payload !== undefined && { payload }),
  });
  if (response.statusCode >= 400) throw new Error(response.body);
  return response.json();
};
const { provider } = await call<{ provider: { id: string } }>('POST', '/v1/providers', {
  name: 'lab',
  defaultRegion: 'us-west-2',
  credentialType: 'role',
  roleArn: 'arn:aws:iam::111122223333:role/lab',
  externalId: 'lab-7f3a',
});
const { storageConnection } = await call<{ storageConnection: { id: string } }>('POST', '/v1/storage-connections', {
  name: 'runs',
  providerId: provider.id,
  region: 'us-west-2',
  bucket: 'lab',
  prefix: 'runs',
  useForRunUpload: false,
  useForDataExploration: true,
});

const rows: Row[] = [];
for (const urls of [false, true]) {
  const times: number[] = [];
  const heaps: number[] = [];
  let seen = 0;
  for (let pageToken = ''; ;) {
    const begin = performance.now();
    const page = await call<{ files: unknown[]; nextPageToken: string }>(
      'GET',
      `/v1/storage-connections/${storageConnection.id}/files?includeDownloadUrl=${urls}` +
        (pageToken === '' ? '' : `&pageToken=${pageToken}`),
    );
    times.push(performance.now() - begin);
    seen += page.files.length;
    if (times.length % 10 === 0) heaps.push(measureHeapMiB());
    pageToken = page.nextPageToken;
    if (pageToken === '') break;
  }
  if (seen !== OBJECTS) throw new Error(`The API listed ${seen} of ${OBJECTS} objects`);
  const what = urls ? 'with download URLs' : 'without URLs';
  const part = Math.max(1, Math.floor(times.length / 10));
  // Skip the first pages: they also pay for compilation and connections.
  const [first, last] = [percentile(times.slice(part, 2 * part), 0.5), percentile(times.slice(-part), 0.5)];
  rows.push({
    name: `a page of 1,000 at the end, ${what}`,
    unit: 'ms',
    value: last,
    against: first,
    of: 'at the beginning',
    ratio: last / first,
    reach: 'at most 1.5',
    met: last / first <= 1.5,
  });
  const [before, after] = [percentile(heaps.slice(1, 6), 0.5), percentile(heaps.slice(-5), 0.5)];
  rows.push({
    name: `heap at the end, ${what}`,
    unit: 'MiB',
    value: after,
    against: before,
    of: 'at the beginning',
    ratio: after / before,
    reach: 'at most 1.2',
    met: after / before <= 1.2,
  });
}
writeReport(
  rows,
  [
    `${OBJECTS} objects, ${Math.ceil(OBJECTS / 1000)} pages. The simulated S3 runs in the same process; ` +
      'its time is part of the time of a page.',
  ],
  'files',
);
await app.close();
sessions.close();
await postgres.stop();
aws.close();
process.exit(rows.some(({ met }) => met === false) ? 1 : 0);
