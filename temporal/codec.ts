import type { Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import type { PayloadKeys } from '../domain/settings.js';
import { cacheDataKeys, createEnvelopeKey, createLocalKey, type DataKeys, type SecretKey } from '../encryption/keys.js';

const ProtoPayload = proto.temporal.api.common.v1.Payload;

/** The metadata of an encrypted payload. `encoding` is the name that Temporal's own samples use. */
const ENCODING = 'encoding';
const ENCRYPTED = 'binary/encrypted';
const KEY_ID = 'encryption-key-id';
/** Binds the bytes to their purpose: a secret of the database does not decrypt as a payload. */
const CONTEXT = 'temporal/payload';

/** A payload cannot be decrypted. The message says which key is missing, and never contains the payload. */
export class PayloadKeyError extends Error {
  override readonly name = 'PayloadKeyError';
}

/**
 * Encrypts the payloads of Temporal with AES-256-GCM: arguments, results, details of failures, heartbeats, memos,
 * summaries. Search attributes stay readable, because the server indexes them. The first key encrypts. All of them
 * decrypt. Payloads that nobody encrypted stay as they are, so that encryption can be turned on while workflows run.
 */
export class PayloadEncryption implements PayloadCodec {
  readonly #keys: ReadonlyMap<string, SecretKey>;
  readonly #current: SecretKey | undefined;

  /** @param current id of the key that encrypts; undefined for no encryption of new payloads. */
  constructor(keys: readonly SecretKey[], current: string | undefined) {
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.#current = current === undefined ? undefined : this.#keys.get(current);
  }

  /** Whether new payloads are encrypted. */
  get isEncrypting(): boolean {
    return this.#current !== undefined;
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const key = this.#current;
    return key === undefined ? payloads : Promise.all(payloads.map((payload) => encrypt(payload, key)));
  }

  /** @throws PayloadKeyError where a key is not configured, or is another key than the one that encrypted. */
  async decode(payloads: Payload[]): Promise<Payload[]> {
    return Promise.all(payloads.map((payload) => this.#decrypt(payload)));
  }

  async #decrypt(payload: Payload): Promise<Payload> {
    const keyId = encryptingKeyId(payload);
    if (keyId === undefined) return payload;
    const key = this.#keys.get(keyId);
    if (key === undefined)
      throw new PayloadKeyError(`The payload key ${keyId} is not configured. Add it to POLONY_PAYLOAD_KEYS.`);
    try {
      const plain = await key.decrypt(Buffer.from(payload.data ?? []), CONTEXT);
      return ProtoPayload.toObject(ProtoPayload.decode(plain));
    } catch (error) {
      throw new PayloadKeyError(
        `A payload cannot be decrypted with the key ${keyId}. Either POLONY_PAYLOAD_KEYS gives this id to another key ` +
          'than the one that encrypted the payload, or AWS KMS does not answer, or somebody changed the payload.',
        { cause: error },
      );
    }
  }
}

async function encrypt(payload: Payload, key: SecretKey): Promise<Payload> {
  const plain = Buffer.from(ProtoPayload.encode(payload).finish());
  return {
    metadata: { [ENCODING]: Buffer.from(ENCRYPTED), [KEY_ID]: Buffer.from(key.id) },
    data: await key.encrypt(plain, CONTEXT),
  };
}

/** Id of the key that encrypted a payload; undefined where it is not encrypted by polony. */
export function encryptingKeyId({ metadata }: Payload): string | undefined {
  const encoding = metadata?.[ENCODING];
  if (encoding == null || Buffer.from(encoding).toString() !== ENCRYPTED) return undefined;
  return Buffer.from(metadata?.[KEY_ID] ?? []).toString();
}

/**
 * The codec of the settings; undefined where no payload key is configured.
 * @param kms creates the data keys of a KMS key
 */
export function createPayloadCodec(
  keys: PayloadKeys | undefined,
  kms: (keyArn: string) => DataKeys,
): PayloadEncryption | undefined {
  if (keys === undefined) return undefined;
  const secretKeys = keys.keys.map((key) =>
    'kmsKeyArn' in key
      ? createEnvelopeKey(key.id, cacheDataKeys(kms(key.kmsKeyArn)))
      : createLocalKey(key.id, Buffer.from(key.key, 'base64')),
  );
  return new PayloadEncryption(secretKeys, keys.encrypts ? secretKeys[0]?.id : undefined);
}
