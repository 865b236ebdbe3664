import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { defaultPayloadConverter } from '@temporalio/common';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildCodecApp } from '../../api/codec/app.js';
import { createLocalKey } from '../../encryption/keys.js';
import { createLogger } from '../../observability/log.js';
import { PayloadEncryption } from '../../temporal/codec.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';

const KEY = 'root-key-of-the-codec-server-tests';
const one = createLocalKey('one', randomBytes(32));
const codec = new PayloadEncryption([one], 'one');
const writesAs = (...keys: (typeof one)[]) => new PayloadEncryption(keys, keys[0]!.id);

let postgres: TestPostgres;
let app: FastifyInstance;
let lines: string[] = [];

beforeAll(async () => {
  postgres = await startTestPostgres();
  const destination = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(chunk.toString());
      done();
    },
  });
  app = await buildCodecApp({
    db: postgres.db,
    codec,
    apiKey: KEY,
    errorDomain: 'polony',
    trustProxy: false,
    requestsPerMinute: 0,
    failedLoginsPerMinute: 0,
    origins: ['https://temporal.example.org'],
    logger: createLogger('info', { destination }),
  });
});
afterAll(async () => {
  await app?.close();
  await postgres?.stop();
});

interface Json {
  metadata?: Record<string, unknown>;
  data?: unknown;
  [member: string]: unknown;
}
interface Answer {
  payloads: Json[];
  message?: string;
}

async function decode(payloads: unknown, url = '/decode'): Promise<{ status: number; body: Answer }> {
  lines = [];
  const answer = await app.inject({ method: 'POST', url, headers: { 'x-api-key': KEY }, payload: { payloads } });
  return { status: answer.statusCode, body: answer.json<Answer>() };
}
const toJson = ({
  metadata,
  data,
}: {
  metadata?: Record<string, Uint8Array> | null;
  data?: Uint8Array | null;
}): Json => ({
  metadata: Object.fromEntries(
    Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64')]),
  ),
  data: Buffer.from(data ?? []).toString('base64'),
});
const encrypted = async (value: unknown, by = codec): Promise<Json> =>
  toJson((await by.encode([defaultPayloadConverter.toPayload(value)]))[0]!);
const textOf = ({ data }: Json): string => Buffer.from(data as string, 'base64').toString();

describe('the codec server', () => {
  it('decrypts what it can, and leaves the rest as it is', async () => {
    const plain = toJson(defaultPayloadConverter.toPayload('plain'));
    const unknown = await encrypted('unknown', writesAs(createLocalKey('two', randomBytes(32))));
    const sameId = await encrypted('same', writesAs(createLocalKey('one', randomBytes(32))));
    const tampered = await encrypted('tampered');
    const bytes = Buffer.from(tampered.data as string, 'base64');
    bytes[bytes.length - 1]! ^= 1;
    const broken = { ...tampered, data: bytes.toString('base64') };
    const empty = { metadata: tampered.metadata!, data: '' };
    const { status, body } = await decode([await encrypted('secret'), plain, unknown, sameId, broken, empty]);
    expect(status).toBe(200);
    expect(body.payloads.slice(0, 2).map(textOf)).toEqual(['"secret"', '"plain"']);
    expect(body.payloads.slice(2, 5)).toEqual([unknown, sameId, broken]);
    expect(lines.join('')).not.toMatch(/secret|plain|tampered/);
  });

  it('logs one line for each reason, however many payloads have it', async () => {
    const unknown = await encrypted('x', writesAs(createLocalKey('two', randomBytes(32))));
    expect((await decode(Array.from({ length: 500 }, () => unknown))).status).toBe(200);
    const warnings = lines.filter((line) => line.includes('cannot be decrypted'));
    expect(warnings).toHaveLength(1);
    expect(JSON.parse(warnings[0]!)).toMatchObject({
      keyId: 'two',
      payloads: 500,
      reason: 'The payload key two is not configured. Add it to POLONY_PAYLOAD_KEYS.',
    });
    const others = await Promise.all(
      Array.from({ length: 100 }, (_, at) => encrypted('x', writesAs(createLocalKey(`k${at}`, randomBytes(32))))),
    );
    expect((await decode(others)).status).toBe(200);
    expect(lines.filter((line) => line.includes('cannot be decrypted')).length).toBeLessThanOrEqual(10);
  });

  it.each([
    ['data that is an object with a length', [{ data: { length: 4_000_000_000 } }]],
    ['metadata that is an object with a length', [{ metadata: { encoding: { length: 4_000_000_000 } } }]],
    ['data that is a number', [{ data: 5 }]],
    ['data that is not base64', [{ data: '%%' }]],
    ['data that is half of base64', [{ data: 'a' }]],
    ['metadata that is a text', [{ metadata: 'x' }]],
    ['a payload that is a number', [5]],
    ['a payload that is null', [null]],
    ['another member with a wrong type', [{ externalPayloads: [5] }]],
    ['payloads that are an object', { length: 5 }],
  ])('answers 400 for %s', async (_what, payloads) => {
    for (const url of ['/decode', '/encode']) {
      const { status, body } = await decode(payloads, url);
      expect(status, JSON.stringify(body)).toBe(400);
      expect(body.message).toContain('payloads');
    }
  });

  it('accepts members that newer servers may add, and base64 for URLs', async () => {
    const { status, body } = await decode([
      { data: 'YQ-_', somethingNew: 1, externalPayloads: [{ sizeBytes: '9' }] },
      {},
    ]);
    expect(status).toBe(200);
    expect(body.payloads[0]!.data).toBe('YQ+/');
  });

  it('encrypts for callers with the scope, and decrypts that again', async () => {
    const plain = toJson(defaultPayloadConverter.toPayload('the reason'));
    const { body } = await decode([plain], '/encode');
    expect(textOf(body.payloads[0]!)).not.toContain('the reason');
    expect((await decode(body.payloads)).body.payloads).toEqual([plain]);
  });
});
