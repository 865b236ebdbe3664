import { DecryptCommand, GenerateDataKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { observeCalls } from './observeCalls.js';

/**
 * Data keys of AWS KMS, so that the environment contains no key. polony calls KMS for each secret that it writes or
 * reads.
 * @param keyArn of a symmetric KMS key; polony's own identity needs kms:GenerateDataKey and kms:Decrypt on it.
 */
export function createKmsDataKeys(keyArn: string) {
  const client = observeCalls(
    new KMSClient({
      region: keyArn.split(':')[3],
      maxAttempts: 5,
      // Without limits, a connection that was lost without a trace would hold up everything that waits for the key.
      requestHandler: { connectionTimeout: 3000, requestTimeout: 5000 },
    }),
  );
  return {
    async generate(context: string): Promise<{ key: Buffer; wrapped: Buffer }> {
      const { Plaintext, CiphertextBlob } = await client.send(
        new GenerateDataKeyCommand({ KeyId: keyArn, KeySpec: 'AES_256', EncryptionContext: { polony: context } }),
      );
      if (Plaintext === undefined || CiphertextBlob === undefined) throw new Error('KMS answered without a data key');
      return { key: Buffer.from(Plaintext), wrapped: Buffer.from(CiphertextBlob) };
    },
    async unwrap(wrapped: Buffer, context: string): Promise<Buffer> {
      const { Plaintext } = await client.send(
        new DecryptCommand({ KeyId: keyArn, CiphertextBlob: wrapped, EncryptionContext: { polony: context } }),
      );
      if (Plaintext === undefined) throw new Error('KMS answered without a data key');
      return Buffer.from(Plaintext);
    },
  };
}
