import { randomBytes } from 'node:crypto';
import { defaultPayloadConverter } from '@temporalio/common';
import { describe, expect, it, vi } from 'vitest';
import { parsePayloadKeys } from '../../cli/settings/formats.js';
import { aesDecrypt, aesEncrypt, cacheDataKeys, createLocalKey, type DataKeys } from '../../encryption/keys.js';
import { createPayloadCodec, encryptingKeyId, PayloadEncryption } from '../../temporal/codec.js';

const toPayload = (value: unknown) => defaultPayloadConverter.toPayload(value);
const one = createLocalKey('one', randomBytes(32));
const two = createLocalKey('two', randomBytes(32));

/** A KMS that counts its calls, and fails while `isDown`. */
function countingKms() {
  const master = randomBytes(32);
  const kms = { calls: 0, isDown: false };
  const dataKeys: DataKeys = {
    async generate(context) {
      kms.calls++;
      if (kms.isDown) throw new Error('KMS does not answer');
      const key = randomBytes(32);
      return { key, wrapped: aesEncrypt(master, key, context) };
    },
    async unwrap(wrapped, context) {
      kms.calls++;
      if (kms.isDown) throw new Error('KMS does not answer');
      return aesDecrypt(master, wrapped, context);
    },
  };
  return { kms, dataKeys };
}

describe('the codec of payloads', () => {
  it('returns what was encrypted, and shows only the id of the key', async () => {
    const codec = new PayloadEncryption([one], 'one');
    const plain = [toPayload({ run: 'geheim' }), toPayload(undefined), toPayload(new Uint8Array([1, 2, 3]))];
    const encrypted = await codec.encode(plain);
    for (const { metadata, data } of encrypted) {
      expect(Object.keys(metadata!)).toEqual(['encoding', 'encryption-key-id']);
      expect(Buffer.from(data!).toString('latin1')).not.toContain('geheim');
    }
    const decrypted = await codec.decode(encrypted);
    expect(decrypted.map((payload) => defaultPayloadConverter.fromPayload(payload))).toEqual([
      { run: 'geheim' },
      undefined,
      new Uint8Array([1, 2, 3]),
    ]);
  });

  it('reads what older keys and nobody encrypted, and encrypts with the first key', async () => {
    const old = await new PayloadEncryption([one], 'one').encode([toPayload('old')]);
    const rotated = new PayloadEncryption([two, one], 'two');
    const [fresh] = await rotated.encode([toPayload('new')]);
    expect(encryptingKeyId(fresh!)).toBe('two');
    const read = await rotated.decode([...old, fresh!, toPayload('plain')]);
    expect(read.map((payload) => defaultPayloadConverter.fromPayload(payload))).toEqual(['old', 'new', 'plain']);
  });

  it('names the key that is missing, and says when a key or the payload was changed', async () => {
    const encrypted = await new PayloadEncryption([one], 'one').encode([toPayload('text')]);
    await expect(new PayloadEncryption([two], 'two').decode(encrypted)).rejects.toThrow(
      'The payload key one is not configured. Add it to POLONY_PAYLOAD_KEYS.',
    );
    const wrong = createLocalKey('one', randomBytes(32));
    await expect(new PayloadEncryption([wrong], 'one').decode(encrypted)).rejects.toThrow('cannot be decrypted');
    const [{ metadata, data }] = encrypted as [{ metadata: Record<string, Uint8Array>; data: Uint8Array }];
    for (const length of [0, 11, 27, data.length - 1])
      await expect(
        new PayloadEncryption([one], 'one').decode([{ metadata, data: data.subarray(0, length) }]),
      ).rejects.toThrow('cannot be decrypted');
  });

  it('turns off with none as the first entry, and still reads', async () => {
    const key = randomBytes(32).toString('base64');
    const parse = (text: string) => {
      const parsed = parsePayloadKeys(text);
      if (!('value' in parsed)) throw new Error(parsed.violations[0]!.message);
      return createPayloadCodec(parsed.value, () => countingKms().dataKeys)!;
    };
    const encrypted = await parse(`one=${key}`).encode([toPayload('text')]);
    const off = parse(`none, one=${key}`);
    expect(await off.encode([toPayload('text')])).toEqual([toPayload('text')]);
    expect(defaultPayloadConverter.fromPayload((await off.decode(encrypted))[0]!)).toBe('text');
    expect(parsePayloadKeys('none')).toEqual({ value: { encrypts: false, keys: [] } });
    expect(parsePayloadKeys(`one=${key},none`)).toHaveProperty('violations');
  });
});

describe('data keys for payloads', () => {
  it('ask KMS once an hour to encrypt, and once for each data key to decrypt', async () => {
    const { kms, dataKeys } = countingKms();
    let time = 0;
    const writer = cacheDataKeys(dataKeys, () => time);
    const wrapped: Buffer[] = [];
    for (let hour = 0; hour < 3; hour++) {
      await writer.generate('c');
      await new Promise((resolve) => setImmediate(resolve));
      for (let each = 0; each < 50; each++) wrapped.push((await writer.generate('c')).wrapped);
      time += 3_600_000;
    }
    expect(kms.calls).toBe(3);
    const reader = cacheDataKeys(dataKeys);
    await Promise.all(wrapped.map((each) => reader.unwrap(each, 'c')));
    expect(kms.calls).toBe(6);
    // A process reads what it wrote without KMS.
    await writer.unwrap(wrapped.at(-1)!, 'c');
    expect(kms.calls).toBe(6);
  });

  it('ask again after a failure, and a pause', async () => {
    const { kms, dataKeys } = countingKms();
    let time = 0;
    const cached = cacheDataKeys(dataKeys, () => time);
    kms.isDown = true;
    for (let each = 0; each < 20; each++) await expect(cached.generate('c')).rejects.toThrow('KMS does not answer');
    expect(kms.calls).toBe(1);
    kms.isDown = false;
    time += 5000;
    const { key, wrapped } = await cached.generate('c');
    const other = cacheDataKeys(dataKeys, () => time);
    kms.isDown = true;
    kms.calls = 0;
    for (let each = 0; each < 20; each++)
      await expect(other.unwrap(wrapped, 'c')).rejects.toThrow('KMS does not answer');
    expect(kms.calls).toBe(1);
    kms.isDown = false;
    time += 5000;
    expect(await other.unwrap(wrapped, 'c')).toEqual(key);
  });

  it('go on with the old data key while KMS is away, and ask for a new one now and then', async () => {
    const { kms, dataKeys } = countingKms();
    let time = 0;
    const cached = cacheDataKeys(dataKeys, () => time);
    const old = await cached.generate('c');
    kms.isDown = true;
    kms.calls = 0;
    for (time = 3_600_000; time < 3_660_000; time += 100) expect(await cached.generate('c')).toEqual(old);
    // A minute, with a call every five seconds.
    expect(kms.calls).toBe(12);
    kms.isDown = false;
    time += 5000;
    await cached.generate('c');
    await vi.waitFor(async () => expect(await cached.generate('c')).not.toEqual(old));
    expect(kms.calls).toBe(13);
  });

  it('encrypt only so many texts with one data key, also while KMS is away', async () => {
    const { kms, dataKeys } = countingKms();
    const cached = cacheDataKeys(dataKeys, () => 0, { renew: 3, most: 5 });
    const used = new Set<string>();
    const use = async (): Promise<void> => void used.add((await cached.generate('c')).wrapped.toString('hex'));
    await use();
    kms.isDown = true;
    for (let each = 0; each < 4; each++) await use();
    expect(used.size).toBe(1);
    await expect(cached.generate('c')).rejects.toThrow('KMS does not answer');
  });

  it('share the first data key among texts at the same time', async () => {
    const { kms, dataKeys } = countingKms();
    const cached = cacheDataKeys(dataKeys, () => 0, { renew: 3, most: 5 });
    const keys = await Promise.all(Array.from({ length: 12 }, () => cached.generate('c')));
    const counts = new Map<string, number>();
    for (const { wrapped } of keys) {
      const name = wrapped.toString('hex');
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(count).toBeLessThanOrEqual(5);
    expect(kms.calls).toBeLessThanOrEqual(4);
  });

  it('are unwrapped ten at a time', async () => {
    const { dataKeys } = countingKms();
    const keys = await Promise.all(Array.from({ length: 50 }, () => dataKeys.generate('c')));
    let [asking, most] = [0, 0];
    const cached = cacheDataKeys({
      ...dataKeys,
      async unwrap(wrapped, context) {
        most = Math.max(most, ++asking);
        await new Promise((resolve) => setImmediate(resolve));
        asking--;
        return dataKeys.unwrap(wrapped, context);
      },
    });
    const unwrapped = await Promise.all(keys.map(({ wrapped }) => cached.unwrap(wrapped, 'c')));
    expect(unwrapped).toEqual(keys.map(({ key }) => key));
    expect(most).toBe(10);
  });

  it('forget the data keys that were used least recently', async () => {
    const { kms, dataKeys } = countingKms();
    const keys = await Promise.all(Array.from({ length: 1001 }, () => dataKeys.generate('c')));
    const cached = cacheDataKeys(dataKeys);
    for (const { wrapped } of keys) await cached.unwrap(wrapped, 'c');
    const before = kms.calls;
    await cached.unwrap(keys.at(-1)!.wrapped, 'c');
    expect(kms.calls).toBe(before);
    await cached.unwrap(keys[0]!.wrapped, 'c');
    expect(kms.calls).toBe(before + 1);
  });
});
