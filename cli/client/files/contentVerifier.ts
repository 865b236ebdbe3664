import { createHash } from 'node:crypto';
import { Crc32, Crc32c, Crc64Nvme } from '@aws-sdk/checksums/crc';

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

function crcSum(name: string, crc: Crc32 | Crc32c | Crc64Nvme, expected: string): Sum {
  return {
    name,
    add: (chunk) => crc.update(chunk),
    isExpected: async () => Buffer.from(await crc.digest()).toString('base64') === expected,
  };
}

/** Computes only the sums that S3 has named: each one costs more time than the transfer. */
export class ContentVerifier {
  bytes = 0;
  readonly #sums: Sum[] = [];

  constructor({ etag, encryption, checksums }: ExpectedContent) {
    // An ETag is the MD5 of the content, unless the object came in parts or is encrypted with KMS (S3 API Reference,
    // Object).
    const md5 = encryption === null || encryption === 'AES256' ? /^"([0-9a-f]{32})"$/.exec(etag ?? '')?.[1] : undefined;
    if (md5 !== undefined) this.#sums.push(hashSum('MD5', 'md5', 'hex', md5));
    const addSum = (name: string, create: (expected: string) => Sum): void => {
      const expected = checksums[`x-amz-checksum-${name.toLowerCase()}`];
      // With `-N` at its end it is a checksum of the checksums of N parts.
      if (expected !== undefined && !expected.includes('-')) this.#sums.push(create(expected));
    };
    addSum('SHA256', (expected) => hashSum('SHA256', 'sha256', 'base64', expected));
    addSum('SHA1', (expected) => hashSum('SHA1', 'sha1', 'base64', expected));
    // S3 gives every object without a checksum a CRC64NVME.
    addSum('CRC64NVME', (expected) => crcSum('CRC64NVME', new Crc64Nvme(), expected));
    addSum('CRC32C', (expected) => crcSum('CRC32C', new Crc32c(), expected));
    addSum('CRC32', (expected) => crcSum('CRC32', new Crc32(), expected));
  }

  add(chunk: Buffer): void {
    this.bytes += chunk.length;
    for (const { add } of this.#sums) add(chunk);
  }

  /** @returns which sum differs from what S3 says; undefined when all are equal */
  async findMismatch(): Promise<string | undefined> {
    for (const { name, isExpected } of this.#sums)
      if (!(await isExpected())) return `its ${name} differs from that of the object`;
    return undefined;
  }
}
