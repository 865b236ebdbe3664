import { createKmsDataKeys } from '../../../aws/kms.js';
import { errorMessage } from '../../../domain/errors.js';
import { listEndingKeys, listSomeSecrets } from '../../../store/doctor.js';
import { createSecrets } from '../../../store/secrets.js';
import { createPayloadCodec } from '../../../temporal/codec.js';
import { readSchedulePayloads } from '../../../temporal/doctor.js';
import { VERIFY_SCHEDULE_ID } from '../../../workflows/messages/schedules.js';
import type { DoctorContext } from '../context.js';
import { type Check, failure, ok, warning } from '../finding.js';

/** API keys that end within this time are named. */
const ENDING_MS = 14 * 86_400_000;

/** The checks of keys. No secret leaves them. */
export function keyChecks(context: DoctorContext): Check[] {
  return [
    { name: 'encryption keys', run: () => checkEncryptionKeys(context) },
    { name: 'payload keys', run: () => checkPayloadKeys(context) },
    { name: 'API keys', run: () => checkApiKeys(context) },
  ];
}

async function checkEncryptionKeys({ config, needDb }: DoctorContext) {
  const { encryptionKeys } = config;
  const secrets = createSecrets(encryptionKeys, createKmsDataKeys);
  const stored = await listSomeSecrets(await needDb());
  const current = secrets.currentKeyId;
  if (current === undefined && stored.length === 0)
    return [
      warning(
        'No encryption key is configured, so polony can store neither access keys nor secrets of webhooks',
        'Set POLONY_ENCRYPTION_KEYS, for example to main=$(openssl rand -base64 32)',
      ),
    ];
  const findings = [];
  for (const { id } of encryptionKeys) {
    const single = createSecrets(
      encryptionKeys.filter((key) => key.id === id),
      createKmsDataKeys,
    );
    try {
      const sealed = await single.seal('polony doctor', 'doctor');
      if ((await single.open(sealed, 'doctor')) !== 'polony doctor') throw new Error('it decrypts another text');
    } catch (error) {
      findings.push(
        failure(
          `The encryption key ${id} does not work: ${errorMessage((error as { cause?: unknown }).cause ?? error)}`,
          'For a KMS key: allow kms:GenerateDataKey and kms:Decrypt on it to the identity of polony, and check its region',
        ),
      );
    }
  }
  const ids = [...new Set(stored.map(({ keyId }) => keyId))];
  for (const id of ids) {
    const isConfigured = encryptionKeys.some((key) => key.id === id);
    if (!isConfigured) {
      findings.push(
        failure(
          `The database has secrets that the key ${id} encrypted, and the key is not configured`,
          `Add ${id}=… to POLONY_ENCRYPTION_KEYS from your backup of the keys`,
        ),
      );
      continue;
    }
    for (const secret of stored.filter(({ keyId }) => keyId === id)) {
      const problem = await secrets.open(secret, secret.context).then(
        () => undefined,
        (error: unknown) => errorMessage(error),
      );
      if (problem === undefined) continue;
      findings.push(
        failure(
          `A secret of the database cannot be decrypted (${secret.context}): ${problem}`,
          `Give ${id} in POLONY_ENCRYPTION_KEYS the key that encrypted it, from your backup of the keys`,
        ),
      );
      break;
    }
    if (id !== current)
      findings.push(warning(`The database still has secrets of the older key ${id}`, 'polony reencrypt'));
  }
  if (findings.length > 0) return findings;
  return [ok(`The key ${current} encrypts, and all stored secrets that were tried decrypt`)];
}

/** Tries every payload key, and reads what the workers have stored in Temporal. */
async function checkPayloadKeys({ config, needTemporal }: DoctorContext) {
  const { payloadKeys } = config;
  const findings = [];
  for (const key of payloadKeys?.keys ?? []) {
    const single = createPayloadCodec({ encrypts: true, keys: [key] }, createKmsDataKeys)!;
    try {
      await single.decode(await single.encode([{ metadata: {}, data: Buffer.from('polony doctor') }]));
    } catch (error) {
      findings.push(
        failure(
          `The payload key ${key.id} does not work: ${errorMessage((error as { cause?: unknown }).cause ?? error)}`,
          'For a KMS key: allow kms:GenerateDataKey and kms:Decrypt on it to the identity of polony, and check its region',
        ),
      );
    }
  }
  if (findings.length > 0) return findings;
  const { namespace } = config.temporal;
  const stored = await readSchedulePayloads(await needTemporal(), namespace, VERIFY_SCHEDULE_ID);
  const codec = createPayloadCodec(payloadKeys ?? { encrypts: false, keys: [] }, createKmsDataKeys)!;
  try {
    await codec.decode(stored);
  } catch (error) {
    return [
      failure(
        `What the workers stored in Temporal cannot be read: ${errorMessage(error)}`,
        'Give this process the POLONY_PAYLOAD_KEYS of the workers',
      ),
    ];
  }
  if (payloadKeys?.encrypts !== true)
    return [ok('Payloads in Temporal are not encrypted (POLONY_PAYLOAD_KEYS), and this process can read them')];
  return [ok(`The key ${payloadKeys.keys[0]!.id} encrypts payloads, and this process can read those in Temporal`)];
}

async function checkApiKeys({ needDb, now }: DoctorContext) {
  const ending = await listEndingKeys(await needDb(), new Date(now() + ENDING_MS));
  if (ending.length === 0) return [ok('No API key ends within two weeks')];
  // The id, because a shell would split a name that has spaces.
  return ending.map(({ id, name, timeExpires }) =>
    warning(`The API key ${name} ends at ${timeExpires.toISOString()}`, `polony keys rotate ${id}`),
  );
}
