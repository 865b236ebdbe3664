import type { EncryptionKey } from '../domain/settings.js';
import { createEnvelopeKey, createLocalKey, type DataKeys, type SecretKey } from '../encryption/keys.js';

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
