import { createHash, timingSafeEqual } from 'node:crypto';
import { parseScopes, scopesAmong } from '../../domain/auth/scopes.js';
import { type ApiKeyRow, findApiKey, recordKeyUse } from '../../store/auth.js';
import { type Db, isId } from '../../store/database.js';
import { ApiError } from '../errors.js';
import { type Authenticate, type Caller, createCaller } from './caller.js';

/** The form of keys that the API creates: `polony_<id in 32 digits>_<secret>`. Secret scanners can recognise them. */
const KEY_PATTERN = /^polony_([0-9a-f]{32})_([A-Za-z0-9_-]{43})$/;

/** The id of the root key. */
export const ROOT_ID = 'default';

/** The last use of a key is recorded at most this often, in milliseconds. */
const RECORD_USE_MS = 60_000;

/** What the store keeps of a key. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** The id of a key that the API created; undefined for any other text. */
function parseKeyId(key: string): string | undefined {
  const id = KEY_PATTERN.exec(key)?.[1]?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return id !== undefined && isId(id) ? id : undefined;
}

/**
 * Knows the keys of an installation: the root key and the events key from the settings, and the keys in the store.
 *
 * It compares hashes, in constant time, so that nobody can measure the length or the content of a key. It reads the
 * store at every request, so that a revoked key stops working at once.
 * @param apiKey the root key, which may do everything
 * @param eventsKey a key for `POST /v1/events` only
 */
export function apiKeyAuthenticator(db: Db, apiKey: string, eventsKey?: string): Authenticate {
  const root = createRootCaller();
  const events = createCaller('root', 'events', 'events', parseScopes('scopes', ['events:write']));
  const rootHash = hashKey(apiKey);
  const eventsHash = eventsKey === undefined ? undefined : hashKey(eventsKey);
  return async (key) => {
    const hash = hashKey(key);
    if (timingSafeEqual(hash, rootHash)) return root;
    if (eventsHash !== undefined && timingSafeEqual(hash, eventsHash)) return events;
    const id = parseKeyId(key);
    const found = id === undefined ? undefined : await findApiKey(db, id);
    if (found === undefined || !timingSafeEqual(hash, found.hash) || found.time_revoked !== null) return undefined;
    const now = Date.now();
    if (found.time_expires.getTime() <= now)
      throw new ApiError(
        401,
        'API_KEY_EXPIRED',
        `The API key ${found.name} expired at ${found.time_expires.toISOString()}. ` +
          'Ask your administrator for a new one',
      );
    return useKey(db, found);
  };
}

/** The caller of a key that is valid. Records that the key was used. */
async function useKey(db: Db, key: ApiKeyRow): Promise<Caller> {
  if (key.time_used === null || Date.now() - key.time_used.getTime() > RECORD_USE_MS) await recordKeyUse(db, key.id);
  // A scope that this version does not know grants nothing.
  return createCaller('key', key.id, key.name, scopesAmong(key.scopes), key.time_expires);
}

/** The caller of a key by its id, for sessions of the key; undefined where the key has ended. */
export async function findKeyCaller(db: Db, id: string): Promise<Caller | undefined> {
  const key = await findApiKey(db, id);
  if (key === undefined || key.time_revoked !== null || key.time_expires.getTime() <= Date.now()) return undefined;
  return useKey(db, key);
}

/** The caller of the key of the installation, which may do everything. */
export function createRootCaller(): Caller {
  return createCaller('root', ROOT_ID, ROOT_ID, parseScopes('scopes', ['*']));
}
