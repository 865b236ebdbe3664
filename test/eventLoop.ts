import { closeSync, openSync, readSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';

/**
 * Measures how long single turns of the event loop take, in milliseconds of CPU of this thread. Unlike wall time, it
 * does not depend on what else the machine does.
 */
export class LoopMeter {
  readonly #file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  readonly #buffer = Buffer.alloc(64);
  readonly #delay = monitorEventLoopDelay({ resolution: 1 });
  #longest = 0;
  #last = 0;
  #isRunning = true;

  constructor() {
    this.#last = this.read();
    this.#delay.enable();
    this.#turn();
  }

  /** CPU time of this thread so far, in milliseconds (Linux: Documentation/scheduler/sched-stats). */
  read(): number {
    const length = readSync(this.#file, this.#buffer, 0, 64, 0);
    return Number(this.#buffer.toString('latin1', 0, length).split(' ')[0]) / 1e6;
  }

  #turn(): void {
    if (!this.#isRunning) return;
    const now = this.read();
    this.#longest = Math.max(this.#longest, now - this.#last);
    this.#last = now;
    setImmediate(() => this.#turn());
  }

  /** Begins a measurement with the next turn. */
  async reset(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#longest = 0;
    this.#delay.reset();
  }

  /** The longest turn since the last reset, and for information the longest delay, which includes other processes. */
  longest(): { cpuMs: number; delayMs: number } {
    return { cpuMs: this.#longest, delayMs: this.#delay.max / 1e6 };
  }

  close(): void {
    this.#isRunning = false;
    this.#delay.disable();
    closeSync(this.#file);
  }
}

/** What a fixed computation takes on a machine of 2024, in milliseconds of CPU. */
const REFERENCE_MS = 60;

/** How much slower than a machine of 2024 this one computes at the moment; at least 1. */
export function measureSlowness(meter: LoopMeter): number {
  const text = JSON.stringify(Array.from({ length: 20_000 }, (_, at) => ({ at, name: `name ${at}`, list: [at, at] })));
  const compute = (): void => {
    for (let round = 0; round < 3; round++) JSON.stringify(JSON.parse(text));
  };
  compute();
  const before = meter.read();
  compute();
  return Math.max(1, (meter.read() - before) / REFERENCE_MS);
}

export interface ClientRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body?: string;
}

/**
 * A client in a thread of its own, so that its work does not count. It also answers as AWS does, at `awsUrl`: STS with
 * a session, and S3 with as many objects as a listing asks for.
 */
export class ThreadClient {
  readonly #worker: Worker;
  readonly awsUrl: Promise<string>;

  constructor(apiUrl: string) {
    this.#worker = new Worker(CLIENT, { eval: true, workerData: { apiUrl }, execArgv: [] });
    this.awsUrl = new Promise((resolve) => this.#worker.once('message', resolve));
  }

  /** @returns the status, and the beginning of the body for error messages */
  async send(request: ClientRequest): Promise<{ status: number; text: string }> {
    const answer = new Promise<{ status: number; text: string }>((resolve) => this.#worker.once('message', resolve));
    this.#worker.postMessage(request);
    return answer;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

const CLIENT = `
const http = require('node:http');
const { parentPort, workerData } = require('node:worker_threads');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
parentPort.on('message', ({ method, path, headers, body }) => {
  let sent = false;
  const answer = (status, text) => {
    if (!sent) parentPort.postMessage({ status, text: text.slice(0, 300) });
    sent = true;
  };
  const request = http.request(workerData.apiUrl + path, { method, headers, agent }, (response) => {
    let text = '';
    const isStream = String(response.headers['content-type']).startsWith('text/event-stream');
    response.setEncoding('utf8').on('data', (chunk) => {
      if (text.length < 300) text += chunk;
      if (isStream) { answer(response.statusCode, text); request.destroy(); }
    });
    response.on('end', () => answer(response.statusCode, text));
  });
  request.on('error', (error) => answer(0, String(error)));
  request.end(body);
});
const credentials = '<Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>' +
  '<SessionToken>' + 'token'.repeat(200) + '</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>';
const session = '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>' + credentials +
  '<AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId><Arn>arn:aws:sts::111122223333:assumed-role/lab/b</Arn></AssumedRoleUser>' +
  '</AssumeRoleResult></AssumeRoleResponse>';
const listing = (prefix, count) => '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lab</Name>' +
  '<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>' + 'n'.repeat(500) + '</NextContinuationToken>' +
  Array.from({ length: count }, (_, at) => '<Contents><Key>' + prefix + 'f'.repeat(600) + at + '</Key><Size>1</Size>' +
  '<LastModified>2026-01-01T00:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>').join('') + '</ListBucketResult>';
const aws = http.createServer((request, response) => {
  request.resume().on('end', () => {
    const { searchParams, pathname } = new URL(request.url, 'http://x');
    response.setHeader('content-type', 'application/xml');
    if (request.method === 'POST') response.end(session);
    else if (searchParams.has('policy')) { response.statusCode = 404; response.end('<Error><Code>NoSuchBucketPolicy</Code></Error>'); }
    else if (searchParams.has('list-type')) response.end(listing(encodeURIComponent(searchParams.get('prefix') ?? '').replaceAll('%2F', '/'), Number(searchParams.get('max-keys'))));
    else response.end('line of a log with "quotes"\\n'.repeat(40000));
  });
});
aws.listen(0, '127.0.0.1', () => parentPort.postMessage('http://127.0.0.1:' + aws.address().port));
`;
