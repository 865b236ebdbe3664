import type { FileHandle } from 'node:fs/promises';
import { Readable, type Writable } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { S3Client } from '@aws-sdk/client-s3';
import { CliError } from '../exit.js';
import { encodeCrc32 } from './contentVerifier.js';
import { type LocalFile, openLocalFile } from './localFiles.js';

/** Bytes that are read at once. */
const CHUNK_BYTES = 256 * 1024;
/** Contents up to this size are kept from the first reading, so that small files are opened once. */
const KEPT_BYTES = CHUNK_BYTES;

/** Buffers to read into, used again and again: a new one for each reading would keep the garbage collector at work. */
const freeBuffers: Buffer[] = [];
const takeBuffer = (): Buffer => freeBuffers.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);

const changedDuringUpload = (name: string): CliError =>
  new CliError(`${name} changed during its upload; run the same command again`);

/**
 * Reads bytes of a file into a buffer. Network file systems may return fewer than requested.
 * @returns the part of the buffer that has bytes of the file
 * @throws CliError at the end of the file
 */
async function readInto(
  buffer: Buffer,
  handle: FileHandle,
  { name }: LocalFile,
  at: number,
  most: number,
): Promise<Buffer> {
  const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, most), at);
  if (bytesRead === 0) throw changedDuringUpload(name);
  return buffer.subarray(0, bytesRead);
}

const write = (destination: Writable, chunk: Buffer): Promise<void> =>
  new Promise((resolve, reject) => {
    destination.write(chunk, (error) => (error == null ? resolve() : reject(error)));
  });

/**
 * A part of a file. The SDK sends a stream by `pipe`. This one reads the next bytes while it writes the last ones, and
 * ends the request with its own error, which would stay open otherwise.
 */
class PartStream extends Readable {
  constructor(
    private readonly local: LocalFile,
    private readonly start: number,
    private readonly length: number,
  ) {
    super();
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T): T {
    const request = destination as unknown as Writable;
    this.#send(request).then(
      () => request.end(),
      (error: Error) => request.destroy(error),
    );
    return destination;
  }

  async #send(request: Writable): Promise<void> {
    const { local, start, length } = this;
    let [buffer, other] = [takeBuffer(), takeBuffer()];
    const handle = await openLocalFile(local);
    let written: Promise<void> = Promise.resolve();
    try {
      for (let sent = 0; sent < length;) {
        const chunk = await readInto(buffer, handle, local, start + sent, length - sent);
        await written;
        written = write(request, chunk);
        // Awaited in the next round. A failure must not count as unhandled until then.
        written.catch(() => undefined);
        sent += chunk.length;
        [buffer, other] = [other, buffer];
      }
      await written;
      freeBuffers.push(buffer, other);
    } finally {
      await handle.close();
    }
  }
}

/**
 * What a request sends of a local file. Each attempt reads it again, so the SDK can retry the request, and memory does
 * not grow with the size of files. {@link addFileBodies} teaches a client to send it.
 */
export class FileBody {
  private constructor(
    private readonly local: LocalFile,
    private readonly start: number,
    readonly length: number,
    /** CRC32 of the content, in base64. S3 refuses other content. */
    readonly crc32: string,
    private readonly kept: Buffer | undefined,
  ) {}

  /**
   * Reads a part of a file, for its checksum.
   * @throws CliError when the file has changed since it was listed
   */
  static async read(local: LocalFile, start: number, length: number): Promise<FileBody> {
    const handle = await openLocalFile(local);
    const buffer = takeBuffer();
    try {
      let sum = 0;
      let kept: Buffer | undefined = length === 0 ? Buffer.alloc(0) : undefined;
      for (let read = 0; read < length;) {
        const chunk = await readInto(buffer, handle, local, start + read, length - read);
        sum = crc32(chunk, sum);
        if (chunk.length === length && length <= KEPT_BYTES) kept = Buffer.from(chunk);
        read += chunk.length;
      }
      const now = await handle.stat();
      if (now.size !== local.size || now.mtimeMs !== local.mtimeMs) throw changedDuringUpload(local.name);
      return new FileBody(local, start, length, encodeCrc32(sum), kept);
    } finally {
      freeBuffers.push(buffer);
      await handle.close();
    }
  }

  /** The content for one attempt. The file is opened with the first byte that is read. */
  open(): Readable | Buffer {
    if (this.kept !== undefined) return this.kept;
    return new PartStream(this.local, this.start, this.length);
  }
}

/**
 * Lets a client send a {@link FileBody}. It is opened below the SDK's retries and signing, so each attempt gets a new
 * stream. The signature leaves the content out, as that of the AWS CLI does; TLS and the checksum protect it.
 */
export function addFileBodies(s3: S3Client): void {
  s3.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { body?: unknown };
      if (!(request.body instanceof FileBody)) return next(args);
      const copy = Object.assign(Object.create(Object.getPrototypeOf(request) as object), request) as typeof request;
      copy.body = request.body.open();
      return next({ ...args, request: copy });
    },
    { step: 'deserialize', name: 'openFileBody' },
  );
}
