import { CliError } from './exit.js';
import { cell, print, thingTable } from './output.js';
import type { Profile } from './profiles.js';
import { type PreparedRequest, request } from './requests.js';

/** A key in the answer to a rotation. */
interface Key {
  id: string;
  name: string;
  timeExpires: string;
}

/** The answer to a rotation. */
interface Rotated {
  apiKey: Key;
  key: string;
  replaced: Key;
  warnings?: string[];
}

/** For how many hours the old key stays while the new one is printed, if it is to end at once. */
const HOURS_TO_PRINT = 1;

/**
 * Replaces an API key and prints the new one before anything ends: the old key may be the only one that the user has.
 * So a key that is to end at once gets a short time first, and is revoked after the new key was printed.
 * @throws CliError that says until when the old key works, if it could not be revoked
 */
export async function rotateKey({ api, body, asJson, send }: PreparedRequest): Promise<void> {
  const endsAtOnce = body.graceHours === 0;
  const answer = (await send(endsAtOnce ? { ...body, graceHours: HOURS_TO_PRINT } : body)) as Rotated;
  print(asJson, answer, () => describeRotation(answer, api, endsAtOnce));
  if (!endsAtOnce) return;
  await endOldKey(api, answer.replaced);
  if (!asJson) process.stdout.write('The old key no longer works.\n');
}

async function endOldKey(api: Profile, { id, timeExpires }: Key): Promise<void> {
  try {
    await request(api, 'POST', '/v1/api-keys/{id}/revoke', { path: { id } });
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    throw new CliError(
      `${error.message}. So the old key still works until ${cell(timeExpires)}. End it with the new key: ` +
        `polony keys revoke ${cell(id)}`,
      error.exit,
    );
  }
}

/** The new key as a table, and what happens to the old one. */
function describeRotation({ warnings = [], ...answer }: Rotated, api: Profile, endsAtOnce: boolean): string {
  const { id, name, timeExpires } = answer.replaced;
  const old = `The old key is now named "${cell(name)}" (${cell(id)})`;
  const isOwn = api.apiKey.startsWith(`polony_${id.replaceAll('-', '')}_`);
  return [
    thingTable(answer),
    '',
    'Copy the new key now: you cannot get it again.',
    endsAtOnce
      ? `${old}. polony ends it now.`
      : `${old} and works until ${cell(timeExpires)}. Give the new key to all that use the old one before then. ` +
        `To end the old key earlier: polony keys revoke ${cell(id)}`,
    ...warnings.map((warning) => `Warning: ${cell(warning)}.`),
    ...(isOwn ? ['This command used the old key. Log in with the new one: polony login'] : []),
  ].join('\n');
}
