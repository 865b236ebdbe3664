import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { crc32 } from 'node:zlib';
import { encodeCrc32 } from '../../cli/client/files/contentVerifier.js';
import { BUCKET, etagOf, ID, PREFIX, RUN_FOLDER, type SinkMessage, type SinkState } from './sinkMessages.js';

/**
 * An S3 that keeps only names and sizes, and hashes nothing: the client is what is measured. It is also the API of
 * polony as far as transfers need it. Runs in a process of its own, and tells the parent its address.
 *
 * Arguments: certificate and key (PEM files), or none for HTTP.
 */
interface StoredObject {
  size: number;
  modified: number;
}

const PAGE = 1000;
/** What objects contain, again and again. */
const CONTENT = Buffer.alloc(1024 * 1024, 'AVITI base calls ');

const objects = new Map<string, StoredObject>();
/** The keys in the order of S3; undefined after a change. */
let sorted: string[] | undefined;
const uploads = new Map<string, { key: string; parts: Map<number, number> }>();
const checksums = new Map<number, string>();
let made = 0;
const state: SinkState = { received: 0, writes: 0, sent: 0 };
let isRunComplete = false;
/** Who waits for bytes: from how many on, and what to call. */
let waiting: { bytes: number; call: () => void } | undefined;

function countBytes(received: number, sent: number): void {
  state.received += received;
  state.sent += sent;
  if (waiting === undefined || state.received + state.sent < waiting.bytes) return;
  waiting.call();
  waiting = undefined;
}

/** CRC32 of an object, which S3 gives to those that are written with one. Objects of one size are equal. */
function checksumOf(size: number): string {
  let known = checksums.get(size);
  if (known === undefined) {
    let sum = 0;
    for (let left = size; left > 0; left -= CONTENT.length) sum = crc32(CONTENT.subarray(0, left), sum);
    known = encodeCrc32(sum);
    checksums.set(size, known);
  }
  return known;
}

function store(key: string, size: number): void {
  if (!objects.has(key)) sorted = undefined;
  objects.set(key, { size, modified: Date.now() });
}

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** The first index of `keys` whose key is not before `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** ListObjectsV2, with and without a delimiter. */
function list(query: URLSearchParams): string {
  sorted ??= [...objects.keys()].sort();
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const most = Math.min(PAGE, Number(query.get('max-keys') ?? PAGE));
  let at = lowerBound(sorted, query.get('continuation-token') ?? prefix);
  const contents: string[] = [];
  const folders: string[] = [];
  while (at < sorted.length && contents.length + folders.length < most) {
    const key = sorted[at]!;
    if (!key.startsWith(prefix)) break;
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    if (end >= 0) {
      const folder = key.slice(0, end + 1);
      folders.push(`<CommonPrefixes><Prefix>${escape(folder)}</Prefix></CommonPrefixes>`);
      at = lowerBound(sorted, `${folder}\uffff`);
      continue;
    }
    const { size, modified } = objects.get(key)!;
    contents.push(
      `<Contents><Key>${escape(key)}</Key><LastModified>${new Date(modified).toISOString()}</LastModified>` +
        `<ETag>&quot;${etagOf(size).slice(1, -1)}&quot;</ETag><Size>${size}</Size>` +
        '<StorageClass>STANDARD</StorageClass></Contents>',
    );
    at++;
  }
  const next = sorted[at];
  const isTruncated = next?.startsWith(prefix) === true;
  return (
    `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${BUCKET}</Name>` +
    `<Prefix>${escape(prefix)}</Prefix><KeyCount>${contents.length + folders.length}</KeyCount>` +
    `<MaxKeys>${most}</MaxKeys><IsTruncated>${isTruncated}</IsTruncated>` +
    (isTruncated ? `<NextContinuationToken>${escape(next)}</NextContinuationToken>` : '') +
    `${contents.join('')}${folders.join('')}</ListBucketResult>`
  );
}

/** Takes a body and drops it. @returns its size */
function drain(request: IncomingMessage): Promise<number> {
  return new Promise((resolve, reject) => {
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      countBytes(chunk.length, 0);
    });
    request.on('end', () => {
      // With a trailing checksum, the body is longer than the object.
      resolve(Number(request.headers['x-amz-decoded-content-length'] ?? size));
    });
    request.on('error', reject);
  });
}

/** Sends bytes of an object. */
function send(response: ServerResponse, from: number, to: number): void {
  let at = from;
  const write = (): void => {
    while (at < to) {
      const offset = at % CONTENT.length;
      const chunk = CONTENT.subarray(offset, Math.min(CONTENT.length, offset + to - at));
      at += chunk.length;
      countBytes(0, chunk.length);
      if (!response.write(chunk)) return void response.once('drain', write);
    }
    response.end();
  };
  write();
}

function answerObject(request: IncomingMessage, response: ServerResponse, key: string): void {
  const found = objects.get(key);
  if (found === undefined) return void response.writeHead(404).end();
  const { size, modified } = found;
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const from = Number(first ?? 0);
  const to = last === undefined || last === '' ? size : Math.min(size, Number(last) + 1);
  const isPart = first !== undefined;
  response.writeHead(isPart ? 206 : 200, {
    etag: etagOf(size),
    'content-length': to - from,
    'last-modified': new Date(modified).toUTCString(),
    'accept-ranges': 'bytes',
    ...(isPart && { 'content-range': `bytes ${from}-${to - 1}/${size}` }),
    ...(!isPart &&
      request.headers['x-amz-checksum-mode'] === 'ENABLED' && {
        'x-amz-checksum-crc32': checksumOf(size),
        'x-amz-checksum-type': 'FULL_OBJECT',
      }),
  });
  if (request.method === 'HEAD') return void response.end();
  send(response, from, to);
}

const xml = (response: ServerResponse, text: string): void =>
  void response
    .writeHead(200, { 'content-type': 'application/xml' })
    .end(`<?xml version="1.0" encoding="UTF-8"?>${text}`);

async function answerS3(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const key = decodeURIComponent(url.pathname.slice(BUCKET.length + 2));
  const query = url.searchParams;
  const uploadId = query.get('uploadId');
  if (request.method === 'PUT' || request.method === 'POST') state.writes++;
  if (request.method === 'PUT') {
    const size = await drain(request);
    const part = query.get('partNumber');
    if (uploadId !== null && part !== null) uploads.get(uploadId)!.parts.set(Number(part), size);
    else store(key, size);
    return void response.writeHead(200, { etag: etagOf(size) }).end();
  }
  if (request.method === 'POST') {
    await drain(request);
    if (query.has('uploads')) {
      const id = `u${made++}`;
      uploads.set(id, { key, parts: new Map() });
      return xml(
        response,
        `<InitiateMultipartUploadResult><Bucket>${BUCKET}</Bucket><Key>${escape(key)}</Key>` +
          `<UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      );
    }
    const { parts } = uploads.get(uploadId!)!;
    uploads.delete(uploadId!);
    const size = [...parts.values()].reduce((sum, each) => sum + each, 0);
    store(key, size);
    return xml(
      response,
      `<CompleteMultipartUploadResult><Bucket>${BUCKET}</Bucket><Key>${escape(key)}</Key>` +
        `<ETag>${etagOf(size).replaceAll('"', '&quot;')}</ETag></CompleteMultipartUploadResult>`,
    );
  }
  if (key !== '') return answerObject(request, response, key);
  return xml(response, query.has('location') ? '<LocationConstraint>us-west-2</LocationConstraint>' : list(query));
}

/** The calls of polony's API that transfers make. */
async function answerApi(request: IncomingMessage, response: ServerResponse, url: URL, base: string): Promise<void> {
  // Not counted: transfers are bytes of objects.
  await once(request.resume(), 'end');
  const json = (body: object): void =>
    void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (url.pathname.endsWith('/upload-credentials') && isRunComplete)
    return void response
      .writeHead(409, { 'content-type': 'application/json' })
      .end(JSON.stringify({ message: 'complete', details: [{ reason: 'RUN_COMPLETE', metadata: { runId: ID } }] }));
  if (/^\/v1\/runs\/[^/]+$/.test(url.pathname))
    return json({ run: { id: ID, name: RUN_FOLDER, output: { uri: `s3://${BUCKET}/${PREFIX}` } } });
  if (url.pathname.endsWith('/upload-credentials'))
    return json({
      s3: {
        region: 'us-west-2',
        bucket: BUCKET,
        prefix: PREFIX,
        accessKeyId: 'ASIABENCH',
        secretAccessKey: 'secret',
        sessionToken: 'token',
        expiration: new Date(Date.now() + 3_600_000).toISOString(),
      },
    });
  sorted ??= [...objects.keys()].sort();
  const prefix = url.searchParams.get('prefix') ?? PREFIX;
  const from = Number(url.searchParams.get('pageToken') ?? lowerBound(sorted, prefix));
  const to = Math.min(lowerBound(sorted, `${prefix}\uffff`), from + Number(url.searchParams.get('pageSize') ?? 100));
  return json({
    files: sorted.slice(from, to).map((key) => ({
      path: key.slice(prefix.length),
      name: key.slice(key.lastIndexOf('/') + 1),
      size: objects.get(key)!.size,
      lastModified: new Date(objects.get(key)!.modified).toISOString(),
      uri: `s3://${BUCKET}/${key}`,
      storageClass: 'STANDARD',
      downloadUrl: `${base}/${BUCKET}/${key}`,
    })),
    subdirectories: [],
    nextPageToken: to < sorted.length && sorted[to]!.startsWith(prefix) ? `${to}` : '',
    isTruncated: false,
  });
}

const [certFile, keyFile] = process.argv.slice(2);
let base = '';
const answer = (request: IncomingMessage, response: ServerResponse): void => {
  const url = new URL(request.url!, base);
  const answered = url.pathname.startsWith('/v1/')
    ? answerApi(request, response, url, base)
    : answerS3(request, response, url);
  answered.catch(() => response.destroy());
};
const server =
  certFile === undefined
    ? createServer(answer)
    : createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile!) }, answer);
// A client that keeps connections for its own time must not meet one that the sink closes.
server.keepAliveTimeout = 600_000;
process.on('message', ({ id, put, clear, complete, afterBytes }: SinkMessage) => {
  if (clear === true) {
    objects.clear();
    sorted = undefined;
  }
  for (const [key, size] of put ?? []) store(key, size);
  isRunComplete = complete ?? isRunComplete;
  const reply = (): void => void process.send!({ id, state });
  if (afterBytes === undefined) reply();
  else waiting = { bytes: state.received + state.sent + afterBytes, call: reply };
});
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  base = `${certFile === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.send!({ base });
});
