import { type Insertable, type Selectable, sql } from 'kysely';
import { type Db, type DbOrTransaction, type DbTransaction, sanitizeJson } from './database.js';
import type { SessionsTable, SignInLinksTable } from './schema.js';

export type SessionRow = Selectable<SessionsTable>;
export type SignInLinkRow = Selectable<SignInLinksTable>;

/** For whom a session or a sign-in link stands, as the store keeps it. */
export interface SignedInCaller {
  kind: 'key' | 'root' | 'person';
  id: string;
  name: string;
  /** For the root key: see {@link SessionsTable}. */
  rootProof?: Buffer;
  /** For a person. */
  issuer?: string;
  email?: string;
  claimValues?: readonly string[];
}

/** A new session or link. polony stores only the SHA-256 of its secret. */
export interface NewSignIn {
  id: string;
  hash: Buffer;
  caller: SignedInCaller;
  timeExpires: Date;
}

/** Most sessions and links of one caller. A new one ends the oldest. */
const MOST_SESSIONS = 100;
const MOST_LINKS = 20;
/** How many ended rows one sign-in removes. */
const REMOVED_ROWS = 100;

function columnsOf({ id, hash, caller, timeExpires }: NewSignIn): Insertable<SessionsTable> {
  return {
    id,
    hash,
    caller_kind: caller.kind,
    caller_id: caller.id,
    caller_name: caller.name,
    key_id: caller.kind === 'key' ? caller.id : null,
    root_proof: caller.rootProof ?? null,
    issuer: caller.issuer ?? null,
    email: caller.email ?? null,
    claim_values: sanitizeJson(caller.claimValues ?? []),
    time_expires: timeExpires,
  };
}

/** Removes rows that have ended, and the oldest ones of a caller that has too many: the table must not grow. */
async function removeRows(
  transaction: DbTransaction,
  table: 'sessions' | 'sign_in_links',
  callerId: string,
  most: number,
): Promise<void> {
  await sql`
    delete from ${sql.table(table)} where id in (
      select id from ${sql.table(table)} where time_expires <= ${new Date()}
      order by time_expires limit ${REMOVED_ROWS} for update skip locked
    )`.execute(transaction);
  await sql`
    delete from ${sql.table(table)} where id in (
      select id from ${sql.table(table)} where caller_id = ${callerId} order by id desc offset ${most}
    )`.execute(transaction);
}

/** Begins a session. */
export async function insertSession(transaction: DbTransaction, session: NewSignIn): Promise<void> {
  await transaction.insertInto('sessions').values(columnsOf(session)).execute();
  await removeRows(transaction, 'sessions', session.caller.id, MOST_SESSIONS);
}

/** A session that has not expired, by the hash of its secret. Whether its caller still exists is not checked here. */
export async function findSession(db: DbOrTransaction, hash: Buffer): Promise<SessionRow | undefined> {
  return db
    .selectFrom('sessions')
    .selectAll()
    .where('hash', '=', hash)
    .where('time_expires', '>', new Date())
    .executeTakeFirst();
}

/** Ends a session. */
export async function deleteSession(db: DbOrTransaction, hash: Buffer): Promise<void> {
  await db.deleteFrom('sessions').where('hash', '=', hash).execute();
}

/** Which of these sessions have ended. */
export async function findEndedSessions(db: Db, ids: readonly string[]): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  const rows = await db
    .selectFrom('sessions')
    .select('id')
    .where('id', 'in', ids)
    .where('time_expires', '>', new Date())
    .execute();
  const going = new Set(rows.map(({ id }) => id));
  return new Set(ids.filter((id) => !going.has(id)));
}

/** Records that a session was used now. Call it at most once a minute for each session. */
export async function recordSessionUse(db: Db, id: string): Promise<void> {
  await db.updateTable('sessions').set({ time_used: new Date() }).where('id', '=', id).execute();
}

/** Stores a link that signs in once. @param from the session that makes it, and the latest end of what it makes */
export async function insertSignInLink(
  transaction: DbTransaction,
  link: NewSignIn,
  from: { sessionId?: string; sessionExpires?: Date },
): Promise<void> {
  await transaction
    .insertInto('sign_in_links')
    .values({ ...columnsOf(link), session_id: from.sessionId ?? null, session_expires: from.sessionExpires ?? null })
    .execute();
  await removeRows(transaction, 'sign_in_links', link.caller.id, MOST_LINKS);
}

/** Uses a link up. Of several requests with the same one, the first gets it. @returns undefined where it has ended */
export async function takeSignInLink(db: DbOrTransaction, hash: Buffer): Promise<SignInLinkRow | undefined> {
  return db
    .deleteFrom('sign_in_links')
    .where('hash', '=', hash)
    .where('time_expires', '>', new Date())
    .returningAll()
    .executeTakeFirst();
}
