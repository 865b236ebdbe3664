import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { EncryptionKey } from '../domain/settings.js';

/** A key that secrets are encrypted with. */
export interface SecretKey {
  /** Stored beside what it has encrypted, so that the right key is found again. */
  id: string;
  /** @param context what the secret belongs to; it must be the same when it is decrypted. */
  encrypt: (plain: Buffer, context: string) => Promise<Buffer>;
  decrypt: (sealed: Buffer, context: string) => Promise<Buffer>;
}

/** A secret as it is stored. */
export interface SealedSecret {
  keyId: string;
  /** Base64. */
  sealed: string;
}

/** A secret that cannot be had: no keys are configured, its key is not among them, or it does not belong where it stands. */
export class SecretError extends Error {
  override readonly name = 'SecretError';
}

/** Length of the nonce and the tag of AES-256-GCM, in bytes (NIST SP 800-38D). */
const NONCE = 12;
const TAG = 16;

/** Encrypts with AES-256-GCM: nonce, tag, text. `context` is authenticated with it. */
export function aesEncrypt(key: Buffer, plain: Buffer, context: string): Buffer {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
  const text = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), text]);
}

/** @throws Error when key or context are other than they were, or the bytes were changed. */
export function aesDecrypt(key: Buffer, sealed: Buffer, context: string): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE), { authTagLength: TAG })
    .setAAD(Buffer.from(context))
    .setAuthTag(sealed.subarray(NONCE, NONCE + TAG));
  return Buffer.concat([decipher.update(sealed.subarray(NONCE + TAG)), decipher.final()]);
}

/** A key given by the environment. @param key 32 bytes. */
export function createLocalKey(id: string, key: Buffer): SecretKey {
  return {
    id,
    encrypt: async (plain, context) => aesEncrypt(key, plain, context),
    decrypt: async (sealed, context) => aesDecrypt(key, sealed, context),
  };
}

/** Makes and unwraps data keys, as AWS KMS does. */
export interface DataKeys {
  /** A new data key: 32 bytes, and the same encrypted. */
  generate: (context: string) => Promise<{ key: Buffer; wrapped: Buffer }>;
  unwrap: (wrapped: Buffer, context: string) => Promise<Buffer>;
}

/** A key in AWS KMS or the like: each secret has a data key of its own, stored encrypted before it (envelope encryption). */
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

/** Encrypts and decrypts what must not be read in the database. The first key encrypts; the others only decrypt what is older. */
export class Secrets {
  readonly #keys: readonly SecretKey[];
  constructor(keys: readonly SecretKey[]) {
    this.#keys = keys;
  }

  /** Id of the key that encrypts; undefined where none is configured. */
  get currentKeyId(): string | undefined {
    return this.#keys[0]?.id;
  }

  /** @throws SecretError where no key is configured. */
  async seal(secret: string, context: string): Promise<SealedSecret> {
    const key = this.#keys[0];
    if (key === undefined) throw new SecretError('No encryption key is configured: set POLONY_ENCRYPTION_KEYS');
    return { keyId: key.id, sealed: (await key.encrypt(Buffer.from(secret), context)).toString('base64') };
  }

  /** @throws SecretError where its key is not configured or it was sealed for something else. */
  async open({ keyId, sealed }: SealedSecret, context: string): Promise<string> {
    const key = this.#keys.find((each) => each.id === keyId);
    if (key === undefined)
      throw new SecretError(`The encryption key ${keyId} is not configured: add it to POLONY_ENCRYPTION_KEYS`);
    try {
      return (await key.decrypt(Buffer.from(sealed, 'base64'), context)).toString();
    } catch (error) {
      throw new SecretError(
        `A secret cannot be decrypted with the key ${keyId}: it is another key than the one that encrypted it, or the secret was moved or changed`,
        { cause: error },
      );
    }
  }
}

/** @param kms makes the data keys of a KMS key. */
export function createSecrets(keys: readonly EncryptionKey[], kms: (keyArn: string) => DataKeys): Secrets {
  return new Secrets(
    keys.map((key) =>
      'kmsKeyArn' in key
        ? createEnvelopeKey(key.id, kms(key.kmsKeyArn))
        : createLocalKey(key.id, Buffer.from(key.key, 'base64')),
    ),
  );
}

/** What the secret of a provider is bound to, so that it cannot be moved to another row. */
export function providerSecretContext(providerId: string): string {
  return `provider/${providerId}/secret-access-key`;
}

/** What a signing secret of a webhook is bound to. @param secretId of its row */
export function webhookSecretContext(secretId: string): string {
  return `webhook-secret/${secretId}/signing-secret`;
}
