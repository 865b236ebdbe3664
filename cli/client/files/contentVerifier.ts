import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Crc32c, Crc64Nvme } from '@aws-sdk/checksums/crc';

/** What S3 says about the content of an object (headers of GetObject). */
export interface ExpectedContent {
  etag: string | null;
  /** `x-amz-server-side-encryption` */
  encryption: string | null;
  /** By the name of the header, such as `x-amz-checksum-sha256`. */
  checksums: Record<string, string>;
}

interface Sum {
  name: string;
  add: (chunk: Buffer) => void;
  isExpected: () => boolean | Promise<boolean>;
}

function hashSum(name: string, algorithm: string, encoding: 'hex' | 'base64', expected: string): Sum {
  const hash = createHash(algorithm);
  return { name, add: (chunk) => void hash.update(chunk), isExpected: () => hash.digest(encoding) === expected };
}

/** A CRC32 as S3 writes it: the four bytes, highest first, in base64. */
export function encodeCrc32(sum: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(sum);
  return bytes.toString('base64');
}

function crc32Sum(expected: string): Sum {
  let sum = 0;
  return {
    name: 'CRC32',
    add: (chunk) => void (sum = crc32(chunk, sum)),
    isExpected: () => encodeCrc32(sum) === expected,
  };
}

function crcSum(name: string, crc: Crc32c | Crc64Nvme, expected: string): Sum {
  return {
    name,
    add: (chunk) => crc.update(chunk),
    isExpected: async () => Buffer.from(await crc.digest()).toString('base64') === expected,
  };
}

/** The fastest sum of those that S3 has named. @returns undefined where it named none of the whole object */
function fastestSum({ etag, encryption, checksums }: ExpectedContent): Sum | undefined {
  const find = (name: string): string | undefined => {
    const expected = checksums[`x-amz-checksum-${name}`];
    // With `-N` at its end it is a checksum of the checksums of N parts.
    return expected?.includes('-') === true ? undefined : expected;
  };
  // An ETag is the MD5 of the content, unless the object came in parts or is encrypted with KMS (S3 API Reference,
  // Object).
  const md5 = encryption === null || encryption === 'AES256' ? /^"([0-9a-f]{32})"$/.exec(etag ?? '')?.[1] : undefined;
  // In this order by their speed: a GiB takes a third of a second with the first one, and four seconds with the last.
  const sums: [expected: string | undefined, create: (expected: string) => Sum][] = [
    [find('crc32'), crc32Sum],
    [find('sha1'), (expected) => hashSum('SHA1', 'sha1', 'base64', expected)],
    [find('sha256'), (expected) => hashSum('SHA256', 'sha256', 'base64', expected)],
    [md5, (expected) => hashSum('MD5', 'md5', 'hex', expected)],
    [find('crc32c'), (expected) => crcSum('CRC32C', new Crc32c(), expected)],
    // S3 gives every object without a checksum a CRC64NVME.
    [find('crc64nvme'), (expected) => crcSum('CRC64NVME', new Crc64Nvme(), expected)],
  ];
  for (const [expected, create] of sums) if (expected !== undefined) return create(expected);
  return undefined;
}

/**
 * Compares content with what S3 says of it. Each sum covers the whole content, and S3 has checked that they agree, so
 * one is enough: each one costs more time than the transfer.
 */
export class ContentVerifier {
  bytes = 0;
  readonly #sum: Sum | undefined;

  constructor(expected: ExpectedContent) {
    this.#sum = fastestSum(expected);
  }

  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    this.#sum?.add(chunk);
  }

  /** @returns which sum differs from what S3 says; undefined when it is equal or S3 has none */
  async findMismatch(): Promise<string | undefined> {
    if (this.#sum === undefined || (await this.#sum.isExpected())) return undefined;
    return `its ${this.#sum.name} differs from that of the object`;
  }
}
