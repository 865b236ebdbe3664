import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import pLimit from 'p-limit';

/** A key that encrypts secrets. */
export interface SecretKey {
  /** Polony stores it with each secret that the key encrypted, and finds the key by it. */
  id: string;
  /** @param context what the secret belongs to. Decryption needs the same context. */
  encrypt: (plain: Buffer, context: string) => Promise<Buffer>;
  decrypt: (sealed: Buffer, context: string) => Promise<Buffer>;
}

/** Length of the nonce and the tag of AES-256-GCM, in bytes (NIST SP 800-38D). */
const NONCE = 12;
const TAG = 16;

/**
 * Encrypts with AES-256-GCM and authenticates `context`.
 * @param key 32 bytes
 * @returns nonce, tag and encrypted text
 */
export function aesEncrypt(key: Buffer, plain: Buffer, context: string): Buffer {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
  const text = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), text]);
}

/**
 * Decrypts the result of {@link aesEncrypt}.
 * @throws Error where the key or context differ, or somebody changed the bytes
 */
export function aesDecrypt(key: Buffer, sealed: Buffer, context: string): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE), { authTagLength: TAG })
    .setAAD(Buffer.from(context))
    .setAuthTag(sealed.subarray(NONCE, NONCE + TAG));
  return Buffer.concat([decipher.update(sealed.subarray(NONCE + TAG)), decipher.final()]);
}

/** A key from the environment. @param key 32 bytes */
export function createLocalKey(id: string, key: Buffer): SecretKey {
  return {
    id,
    encrypt: async (plain, context) => aesEncrypt(key, plain, context),
    decrypt: async (sealed, context) => aesDecrypt(key, sealed, context),
  };
}

/** Creates and decrypts data keys, as AWS KMS does. */
export interface DataKeys {
  /** A new data key of 32 bytes, in plain and encrypted. */
  generate: (context: string) => Promise<{ key: Buffer; wrapped: Buffer }>;
  unwrap: (wrapped: Buffer, context: string) => Promise<Buffer>;
}

/** A key in AWS KMS. Each secret has its own data key, which is stored with it, encrypted (envelope encryption). */
export function createEnvelopeKey(id: string, dataKeys: DataKeys): SecretKey {
  return {
    id,
    async encrypt(plain, context) {
      const { key, wrapped } = await dataKeys.generate(context);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(wrapped.length);
      return Buffer.concat([length, wrapped, aesEncrypt(key, plain, context)]);
    },
    async decrypt(sealed, context) {
      const end = 2 + sealed.readUInt16BE(0);
      return aesDecrypt(await dataKeys.unwrap(sealed.subarray(2, end), context), sealed.subarray(end), context);
    },
  };
}

/** After how long {@link cacheDataKeys} asks for a new data key, in milliseconds. */
const REUSE_MS = 3_600_000;
/**
 * After how many texts it asks for a new data key, and after how many it encrypts no more with the old one. Both are far
 * below 2^32 texts, the bound for random nonces with one key (NIST SP 800-38D, section 8.3).
 */
const TEXTS = { renew: 1_000_000, most: 16_000_000 };
/** Most data keys that one process keeps to decrypt with. */
const MOST_KEYS = 1000;
/** Pause after a call that failed, in milliseconds. */
const PAUSE_MS = 5000;
/** How many data keys are unwrapped at the same time. KMS limits the calls of an account. */
const AT_ONCE = 10;

/**
 * Data keys for many small texts: it encrypts with one data key for an hour, and keeps the keys that it unwrapped, so
 * that KMS is asked rarely. All texts must have the same context.
 *
 * While KMS does not answer, it goes on with the data key that it has. It asks again after a pause, and not for each
 * text: with no usable key, calls within the pause fail at once.
 * @param now time in milliseconds
 * @param texts after how many texts a key is renewed, and how many it encrypts at most
 */
export function cacheDataKeys(dataKeys: DataKeys, now: () => number = Date.now, texts = TEXTS): DataKeys {
  const writing = new WritingKey(dataKeys, now, texts);
  const reading = new ReadingKeys(dataKeys, now);
  return {
    async generate(context) {
      const used = await writing.use(context);
      void reading.keep(used.wrapped, Promise.resolve(used.key));
      return used;
    },
    unwrap: (wrapped, context) => reading.unwrap(wrapped, context),
  };
}

type DataKey = Awaited<ReturnType<DataKeys['generate']>>;

/** The data key that encrypts. */
class WritingKey {
  #current: { key: DataKey; renewAt: number; texts: number } | undefined;
  #next: Promise<void> | undefined;
  readonly #failure: Pause;

  constructor(
    private readonly dataKeys: DataKeys,
    private readonly now: () => number,
    private readonly texts: typeof TEXTS,
  ) {
    this.#failure = new Pause(now);
  }

  /** The key for one text. @throws where there is none, and KMS gives none */
  async use(context: string): Promise<DataKey> {
    const isOld =
      this.#current === undefined || this.now() >= this.#current.renewAt || this.#current.texts >= this.texts.renew;
    const renewal = isOld ? this.#renew(context) : undefined;
    // Many texts may wait for one renewal, and together use a key up.
    while (this.#current === undefined || this.#current.texts >= this.texts.most) await this.#renew(context);
    this.#current.texts++;
    // Nobody waits for the renewal of a key that can still be used.
    renewal?.catch(() => undefined);
    return this.#current.key;
  }

  #renew(context: string): Promise<void> {
    this.#next ??= this.#failure
      .guard(() => this.dataKeys.generate(context))
      .then((key) => void (this.#current = { key, renewAt: this.now() + REUSE_MS, texts: 0 }))
      .finally(() => (this.#next = undefined));
    return this.#next;
  }
}

/** The data keys that decrypt: those that were used last. */
class ReadingKeys {
  readonly #known = new Map<string, Promise<Buffer>>();
  readonly #failures = new Map<string, Pause>();
  readonly #limit = pLimit(AT_ONCE);

  constructor(
    private readonly dataKeys: DataKeys,
    private readonly now: () => number,
  ) {}

  unwrap(wrapped: Buffer, context: string): Promise<Buffer> {
    const name = wrapped.toString('base64');
    const known = this.#known.get(name);
    if (known !== undefined) return this.keep(wrapped, known);
    const failure = this.#failures.get(name) ?? new Pause(this.now);
    const key = failure.guard(() => this.#limit(() => this.dataKeys.unwrap(wrapped, context)));
    key.then(
      () => this.#failures.delete(name),
      () => {
        // A failure is not kept as a key: after the pause, the next call may succeed.
        if (this.#known.get(name) === key) this.#known.delete(name);
        this.#failures.delete(name);
        this.#failures.set(name, failure);
        removeOldest(this.#failures);
      },
    );
    return this.keep(wrapped, key);
  }

  /** Keeps a key. It was used last, so it is removed last. */
  keep(wrapped: Buffer, key: Promise<Buffer>): Promise<Buffer> {
    const name = wrapped.toString('base64');
    this.#known.delete(name);
    this.#known.set(name, key);
    removeOldest(this.#known);
    return key;
  }
}

/** A pause after a failure, in which the same call fails with the same error, without being made. */
class Pause {
  #last: { error: unknown; until: number } | undefined;
  constructor(private readonly now: () => number) {}

  async guard<T>(call: () => Promise<T>): Promise<T> {
    if (this.#last !== undefined && this.now() < this.#last.until) throw this.#last.error;
    try {
      const result = await call();
      this.#last = undefined;
      return result;
    } catch (error) {
      this.#last = { error, until: this.now() + PAUSE_MS };
      throw error;
    }
  }
}

function removeOldest(map: Map<string, unknown>): void {
  const oldest = map.size > MOST_KEYS ? map.keys().next().value : undefined;
  if (oldest !== undefined) map.delete(oldest);
}
