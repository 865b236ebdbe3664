import http from 'node:http';
import https from 'node:https';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** Longest silence of a connection, in milliseconds, and how long one is kept for the next request. */
const SILENCE_MS = 60_000;
const IDLE_MS = 4000;
/** Bytes that a connection reads at once. TLS delivers 16 KiB. */
const READ_BYTES = 64 * 1024;
/** From so many bytes on that wait to be written, nothing more is read. */
const BATCH_BYTES = 512 * 1024;
/** What TLS has read already when reading stops. */
const REST_BYTES = 128 * 1024;
const MAX_HEAD_BYTES = 64 * 1024;
/** As much of an error answer is read. */
const MAX_TEXT_BYTES = 2000;

/** An answer to a request for an object. */
export interface ObjectAnswer {
  status: number;
  /** By their names in lower case. */
  headers: Record<string, string | undefined>;
  /** The content, in batches: each has all that came while the last one was used, and is valid until the next. */
  batches: () => AsyncGenerator<Buffer>;
  /** The beginning of an error answer. Ends the use of the answer. */
  text: () => Promise<string>;
  /** Ends the use of an answer that is not read to its end. */
  destroy: () => void;
}

/** Buffers for batches, used again and again. */
const freeBuffers: Buffer[] = [];
const takeBuffer = (): Buffer => freeBuffers.pop() ?? Buffer.allocUnsafeSlow(BATCH_BYTES + REST_BYTES);

/** Who gets what a connection receives. */
interface Receiver {
  /** @returns whether more may follow at once */
  take: (chunk: Buffer) => boolean;
  fail: (error: Error) => void;
}

/**
 * A connection for one request after the other. It reads into one buffer: `node:http` makes a new one for each 16 KiB
 * that TLS delivers, and collecting those as garbage takes as long as the rest of the transfer.
 */
class Connection {
  /** Those that wait for the next request, by their origins. */
  static readonly #idle = new Map<string, Connection[]>();
  readonly socket: Socket;
  receiver: Receiver | undefined;
  #error: Error | undefined;

  private constructor(private readonly url: URL) {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const onread = {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (length: number, buffer: Uint8Array): boolean => {
        if (this.receiver === undefined) this.socket.destroy(new Error('bytes that nobody asked for'));
        else return this.receiver.take((buffer as Buffer).subarray(0, length));
        return false;
      },
    };
    this.socket =
      url.protocol === 'https:'
        ? connectTls({
            ...{ host, port: Number(url.port || 443), onread, ALPNProtocols: ['http/1.1'] },
            ...(isIP(host) === 0 && { servername: host }),
          })
        : connectTcp({ host, port: Number(url.port || 80), onread });
    this.socket.setTimeout(SILENCE_MS);
    this.socket.on('timeout', () => this.socket.destroy(new Error('no data for a minute')));
    this.socket.on('error', (error) => (this.#error = error));
    this.socket.on('close', () => {
      this.#leaveIdle();
      this.receiver?.fail(this.#error ?? new Error('the server closed the connection'));
    });
  }

  static open(url: URL): { connection: Connection; isReused: boolean } {
    const idle = Connection.#idle.get(url.origin)?.pop();
    if (idle === undefined) return { connection: new Connection(url), isReused: false };
    idle.socket.ref();
    idle.socket.setTimeout(SILENCE_MS);
    return { connection: idle, isReused: true };
  }

  /** Keeps the connection for the next request. */
  release(): void {
    this.receiver = undefined;
    if (this.socket.destroyed) return;
    // The last bytes may have come after reading stopped: TLS delivers what it has decrypted.
    this.socket.resume();
    this.socket.unref();
    this.socket.setTimeout(IDLE_MS);
    const { origin } = this.url;
    Connection.#idle.set(origin, [...(Connection.#idle.get(origin) ?? []), this]);
  }

  #leaveIdle(): void {
    const idle = Connection.#idle.get(this.url.origin);
    const at = idle?.indexOf(this) ?? -1;
    if (at >= 0) idle!.splice(at, 1);
  }
}

/** @throws Error for what is not an answer in HTTP/1 */
function parseHead(text: string): Pick<ObjectAnswer, 'status' | 'headers'> & { isKept: boolean } {
  const [first = '', ...lines] = text.split('\r\n');
  const [, minor, status] = /^HTTP\/1\.([01]) (\d{3})(?: |$)/.exec(first) ?? [];
  if (status === undefined) throw new Error('the answer is not HTTP/1.1');
  const headers = Object.create(null) as Record<string, string>;
  for (const line of lines) {
    const [, name, value] = /^([^\s:]+):(.*)$/.exec(line) ?? [];
    if (name === undefined) throw new Error('a header of the answer is malformed');
    const key = name.toLowerCase();
    headers[key] = headers[key] === undefined ? value!.trim() : `${headers[key]}, ${value!.trim()}`;
  }
  const isKept = minor === '1' && !/\bclose\b/i.test(headers.connection ?? '');
  return { status: Number(status), headers, isKept };
}

/** @param end what shows that nothing follows, although the connection stays open */
async function startOf(batches: AsyncIterable<Buffer>, end?: RegExp): Promise<string> {
  let text = '';
  try {
    for await (const batch of batches) {
      text += batch.toString('latin1');
      if (text.length > MAX_TEXT_BYTES || end?.test(text) === true) break;
    }
  } catch {
    // The part that arrived is enough to find the error code.
  }
  return text;
}

/** One request and its answer on a connection. */
class Exchange implements Receiver, ObjectAnswer {
  status = 0;
  headers: ObjectAnswer['headers'] = {};
  /** Whether any byte of an answer has come. */
  hasBegun = false;
  #head = '';
  /** Bytes of the content that are still to come; infinite for an answer that does not say how many. */
  #left = Infinity;
  #filling = takeBuffer();
  #other = takeBuffer();
  #bytes = 0;
  #end: { error?: Error } | undefined;
  #wake: () => void = () => undefined;
  #isUsed = true;
  /** Whether the connection may serve another request afterwards. */
  #isKept = false;
  readonly #abort = (): void => void this.connection.socket.destroy(new Error('stopped'));

  constructor(
    private readonly connection: Connection,
    private readonly signal: AbortSignal | undefined,
    private readonly onHead: (error?: Error) => void,
  ) {
    connection.receiver = this;
    signal?.addEventListener('abort', this.#abort);
  }

  take(chunk: Buffer): boolean {
    this.hasBegun = true;
    try {
      this.#takeBody(this.status === 0 ? this.#takeHead(chunk) : chunk);
    } catch (error) {
      this.connection.socket.destroy(error as Error);
    }
    return this.#end !== undefined || this.#bytes < BATCH_BYTES;
  }

  /** @returns what follows the head */
  #takeHead(chunk: Buffer): Buffer {
    this.#head += chunk.toString('latin1');
    for (;;) {
      const at = this.#head.indexOf('\r\n\r\n');
      if (at < 0 && this.#head.length > MAX_HEAD_BYTES) throw new Error('the answer has no end of its headers');
      if (at < 0) return chunk.subarray(chunk.length);
      const { status, headers, isKept } = parseHead(this.#head.slice(0, at));
      this.#head = this.#head.slice(at + 4);
      // Others announce the answer itself.
      if (status < 200) continue;
      const length = headers['content-length'];
      if (length !== undefined && !/^\d{1,15}$/.test(length)) throw new Error('the answer has no valid length');
      this.#left = headers['transfer-encoding'] === undefined && length !== undefined ? Number(length) : Infinity;
      [this.status, this.headers, this.#isKept] = [status, headers, isKept];
      this.onHead();
      return chunk.subarray(chunk.length - this.#head.length);
    }
  }

  #takeBody(chunk: Buffer): void {
    if (this.status === 0) return;
    const length = Math.min(this.#left, chunk.length);
    if (this.#bytes + length > this.#filling.length)
      this.#filling = Buffer.concat([this.#filling.subarray(0, this.#bytes)], 2 * (this.#bytes + length));
    this.#bytes += chunk.copy(this.#filling, this.#bytes, 0, length);
    this.#left -= length;
    if (this.#left === 0) this.#finish(length < chunk.length);
    this.#wake();
  }

  #finish(hasMore: boolean): void {
    this.#end = {};
    this.signal?.removeEventListener('abort', this.#abort);
    if (!hasMore && this.#isKept) return this.connection.release();
    this.connection.receiver = undefined;
    this.connection.socket.destroy();
  }

  /** What the answer has not said when its connection ends. */
  fail(error: Error): void {
    this.#end ??= { error };
    this.signal?.removeEventListener('abort', this.#abort);
    if (this.status === 0) {
      this.destroy();
      this.onHead(error);
    }
    this.#wake();
  }

  async *batches(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        if (this.#end === undefined && this.#bytes === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
        if (this.#bytes > 0) {
          const ready = this.#filling.subarray(0, this.#bytes);
          [this.#filling, this.#other] = [this.#other, this.#filling];
          this.#bytes = 0;
          if (this.#end === undefined) this.connection.socket.resume();
          yield ready;
        } else if (this.#end?.error !== undefined) throw this.#end.error;
        else if (this.#end !== undefined) return;
      }
    } finally {
      this.destroy();
    }
  }

  async text(): Promise<string> {
    if (this.headers['transfer-encoding'] === undefined) return startOf(this.batches());
    const text = await startOf(this.batches(), /(?:^|\r\n)0\r\n\r\n$/);
    // Without the lengths of the chunks.
    return text.replace(/(?:^|\r\n)[0-9a-f]+\r\n/gi, '');
  }

  destroy(): void {
    if (!this.#isUsed) return;
    this.#isUsed = false;
    if (this.connection.receiver === this) {
      this.connection.receiver = undefined;
      this.signal?.removeEventListener('abort', this.#abort);
      this.connection.socket.destroy();
    }
    freeBuffers.push(this.#filling, this.#other);
  }

  /** Whether the answer says how long its content is. */
  get hasLength(): boolean {
    return this.#left !== Infinity;
  }
}

/** @throws the error of the connection; `undefined` where one that was kept has ended before the answer began */
function exchange(
  url: URL,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<Exchange | undefined> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const lines = Object.entries({ host: url.host, connection: 'keep-alive', ...headers }).map(([name, value]) => {
      if (/[\r\n]/.test(value)) throw new Error(`the header ${name} has a line break`);
      return `${name}: ${value}\r\n`;
    });
    const { connection, isReused } = Connection.open(url);
    const answer = new Exchange(connection, signal, (error) => {
      if (error === undefined) resolve(answer);
      else if (isReused && !answer.hasBegun && signal?.aborted !== true) resolve(undefined);
      else reject(error);
    });
    connection.socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1');
  });
}

/**
 * By `node:http`, for content of which the answer does not say the length, and through the proxy that Node.js is told
 * to use.
 */
function requestByNode(
  url: URL,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<ObjectAnswer> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).get(url, { headers, signal }, (response) =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers as Record<string, string>,
        batches: async function* () {
          for await (const chunk of response) yield chunk as Buffer;
        },
        text: () => startOf(response as AsyncIterable<Buffer>),
        destroy: () => void response.destroy(),
      }),
    );
    const giveUp = (): void => void request.destroy(new Error('no data for a minute'));
    request.on('error', reject).setTimeout(SILENCE_MS, giveUp);
  });
}

/** Whether Node.js is told to use the proxies of the environment (`NODE_USE_ENV_PROXY`, `--use-env-proxy`). */
const usesProxies = (): boolean => (https.globalAgent.options as { proxyEnv?: unknown }).proxyEnv !== undefined;

/**
 * Requests an object. `fetch` would decompress objects with a Content-Encoding; their size and checksums would not
 * match.
 * @throws the error of the connection
 */
export async function requestObject(
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal | undefined,
): Promise<ObjectAnswer> {
  const parsed = new URL(url);
  if (usesProxies()) return requestByNode(parsed, headers, signal);
  for (;;) {
    const answer = await exchange(parsed, headers, signal);
    if (answer === undefined) continue;
    if (answer.hasLength || answer.status >= 300) return answer;
    answer.destroy();
    return requestByNode(parsed, headers, signal);
  }
}
