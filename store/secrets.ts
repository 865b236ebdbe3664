import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { EncryptionKey } from '../domain/settings.js';

/** A key that encrypts secrets. */
export interface SecretKey {
  /** Polony stores it with each secret that the key encrypted, and finds the key by it. */
  id: string;
  /** @param context what the secret belongs to. Decryption needs the same context. */
  encrypt: (plain: Buffer, context: string) => Promise<Buffer>;
  decrypt: (sealed: Buffer, context: string) => Promise<Buffer>;
}

/** An encrypted secret. */
export interface SealedSecret {
  keyId: string;
  /** Base64. */
  sealed: string;
}

/**
 * A secret cannot be encrypted or decrypted: no key is configured, its key is missing, or the secret was moved or
 * changed. The message says what to do.
 */
export class SecretError extends Error {
  override readonly name = 'SecretError';
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

/**
 * Encrypts and decrypts secrets, which nobody may read in the database. The first key encrypts. The others decrypt
 * secrets that they encrypted earlier.
 */
export class Secrets {
  readonly #keys: readonly SecretKey[];
  constructor(keys: readonly SecretKey[]) {
    this.#keys = keys;
  }

  /** Id of the key that encrypts; undefined where no key is configured. */
  get currentKeyId(): string | undefined {
    return this.#keys[0]?.id;
  }

  /** Encrypts a secret for a context. @throws SecretError where no key is configured */
  async seal(secret: string, context: string): Promise<SealedSecret> {
    const key = this.#keys[0];
    if (key === undefined) throw new SecretError('No encryption key is configured. Set POLONY_ENCRYPTION_KEYS.');
    return { keyId: key.id, sealed: (await key.encrypt(Buffer.from(secret), context)).toString('base64') };
  }

  /**
   * Decrypts a secret.
   * @throws SecretError where its key is not configured, or the secret belongs to another context
   */
  async open({ keyId, sealed }: SealedSecret, context: string): Promise<string> {
    const key = this.#keys.find((each) => each.id === keyId);
    if (key === undefined)
      throw new SecretError(`The encryption key ${keyId} is not configured. Add it to POLONY_ENCRYPTION_KEYS.`);
    try {
      return (await key.decrypt(Buffer.from(sealed, 'base64'), context)).toString();
    } catch (error) {
      throw new SecretError(
        `A secret cannot be decrypted with the key ${keyId}. Either POLONY_ENCRYPTION_KEYS gives this id to ` +
          'another key than the one that encrypted the secret, or somebody moved or changed the secret in the database. ' +
          'Restore the key, or enter the secret again.',
        { cause: error },
      );
    }
  }
}

/** The keys of the settings. @param kms creates the data keys of a KMS key */
export function createSecrets(keys: readonly EncryptionKey[], kms: (keyArn: string) => DataKeys): Secrets {
  return new Secrets(
    keys.map((key) =>
      'kmsKeyArn' in key
        ? createEnvelopeKey(key.id, kms(key.kmsKeyArn))
        : createLocalKey(key.id, Buffer.from(key.key, 'base64')),
    ),
  );
}

/** The context of a provider's secret. Moved to another row, the secret does not decrypt. */
export function providerSecretContext(providerId: string): string {
  return `provider/${providerId}/secret-access-key`;
}

/** The context of a webhook's signing secret. @param secretId the id of its row */
export function webhookSecretContext(secretId: string): string {
  return `webhook-secret/${secretId}/signing-secret`;
}
