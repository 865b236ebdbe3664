import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MANY_EXTERNAL_ID } from '../../test/manyRuns.js';
import { type BucketMessage, FOLDERS_EACH, INSTRUMENTS, LARGE_PREFIX, OBJECTS, folderOf } from './bucketMessages.js';

// An S3 that answers AssumeRole and ListObjectsV2, and does little else: the client is measured. Nothing is stored; what
// a page has follows from its number. Runs in a process of its own, and tells the parent its address.

const MODIFIED = '2026-01-01T00:00:00.000Z';
let requests = 0;

const session = (): string =>
  '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>' +
  '<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>' +
  `<Expiration>${new Date(Date.now() + 43_200_000).toISOString()}</Expiration>` +
  '</Credentials></AssumeRoleResult></AssumeRoleResponse>';

/** What a role answers whose trust policy requires an external ID, as polony demands. */
const refusal =
  '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>' +
  '<Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>';

const object = (at: number): string =>
  `<Contents><Key>${LARGE_PREFIX}BaseCalls/file-${String(at).padStart(7, '0')}.zip</Key>` +
  `<LastModified>${MODIFIED}</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>` +
  `<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>` +
  `<Size>${at}</Size><StorageClass>STANDARD</StorageClass></Contents>`;
const folder = (key: string): string => `<CommonPrefixes><Prefix>${key}</Prefix></CommonPrefixes>`;

/** How many entries a prefix has, and each of them. */
function contentOf(prefix: string): { count: number; entry: (at: number) => string } {
  if (prefix.startsWith(LARGE_PREFIX)) return { count: OBJECTS, entry: object };
  if (prefix === 'runs/') return { count: INSTRUMENTS.length, entry: (at) => folder(`runs/${INSTRUMENTS[at]}/`) };
  const instrument = prefix.split('/')[1]!;
  return { count: FOLDERS_EACH, entry: (at) => folder(`${prefix}${folderOf(instrument, at)}/`) };
}

function list(query: URLSearchParams): string {
  const prefix = query.get('prefix') ?? '';
  const { count, entry } = contentOf(prefix);
  const from = Number(query.get('continuation-token') ?? 0);
  const end = Math.min(count, from + Number(query.get('max-keys') ?? 1000));
  let entries = '';
  for (let at = from; at < end; at++) entries += entry(at);
  const isTruncated = end < count;
  return (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
    `<Name>many-1</Name><Prefix>${prefix}</Prefix><KeyCount>${end - from}</KeyCount><MaxKeys>1000</MaxKeys>` +
    `<EncodingType>url</EncodingType><IsTruncated>${isTruncated}</IsTruncated>` +
    (isTruncated ? `<NextContinuationToken>${end}</NextContinuationToken>` : '') +
    `${entries}</ListBucketResult>`
  );
}

const server = createServer((request, response) => {
  response.setHeader('content-type', 'application/xml');
  if (request.method === 'POST') {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const isAllowed = new URLSearchParams(body).get('ExternalId') === MANY_EXTERNAL_ID;
      response.writeHead(isAllowed ? 200 : 403).end(isAllowed ? session() : refusal);
    });
    return;
  }
  requests++;
  response.end(list(new URL(request.url!, 'http://s3').searchParams));
});
server.keepAliveTimeout = 600_000;
process.on('message', ({ id }: BucketMessage) => process.send!({ id, requests }));
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () =>
  process.send!({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }),
);
