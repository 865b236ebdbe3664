import { sql } from 'kysely';
import { type Db, listMigrations } from './database.js';
import { providerSecretContext, type SealedSecret, webhookSecretContext } from './secrets.js';
import { canChangeAuditLog } from './runtimeRole.js';

/** What PostgreSQL says about itself and this connection. */
interface DatabaseFacts {
  version: string;
  /** Such as 16. */
  major: number;
  isEncrypted: boolean;
  /** Its clock. */
  time: Date;
  role: string;
}

/** Asks PostgreSQL what it is. Also proves that a connection can be made. */
export async function readDatabaseFacts(db: Db): Promise<DatabaseFacts> {
  const { rows } = await sql<{ version: string; number: string; ssl: boolean | null; time: Date; role: string }>`
    select current_setting('server_version') as version, current_setting('server_version_num') as number,
      (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as ssl, clock_timestamp() as time,
      current_user as role`.execute(db);
  const { version, number, ssl, time, role } = rows[0]!;
  return { version, major: Math.floor(Number(number) / 10_000), isEncrypted: ssl === true, time, role };
}

/** The shortest of a few round trips, in milliseconds. */
export async function measureRoundTrip(db: Db): Promise<number> {
  let shortest = Infinity;
  for (let count = 0; count < 3; count++) {
    const begin = performance.now();
    await sql`select 1`.execute(db);
    shortest = Math.min(shortest, performance.now() - begin);
  }
  return shortest;
}

/** Which migrations the database lacks, and which it has that this build does not know. */
export async function compareMigrations(db: Db): Promise<{ applied: number; missing: string[]; unknown: string[] }> {
  const { known, applied } = await listMigrations(db);
  return {
    applied: applied.length,
    missing: known.filter((name) => !applied.includes(name)),
    unknown: applied.filter((name) => !known.includes(name)),
  };
}

/** Tables of which only rows may be added or read, with the rights that are needed. */
const FEWER_RIGHTS: Readonly<Record<string, string>> = {
  audit_log: 'select, insert',
  audit_outcomes: 'select, insert',
  audit_chain: 'select',
  kysely_migration: 'select',
  kysely_migration_lock: 'select',
};

/** What the role of this connection lacks to run the API and the worker, and whether it may change the audit log. */
export async function checkRights(db: Db): Promise<{ lacking: string[]; canChangeAuditLog: boolean }> {
  const { rows } = await sql<{ name: string }>`
    select relname as name from pg_class
    where relkind = 'r' and relnamespace = current_schema()::regnamespace order by relname`.execute(db);
  const lacking: string[] = [];
  for (const { name } of rows)
    for (const right of (FEWER_RIGHTS[name] ?? 'select, insert, update, delete').split(', ')) {
      const answer = await sql<{ has: boolean }>`
        select has_table_privilege(current_user, (current_schema() || '.' || quote_ident(${name})), ${right}) as has`.execute(
        db,
      );
      if (answer.rows[0]?.has !== true) lacking.push(`${right} on ${name}`);
    }
  return { lacking, canChangeAuditLog: await canChangeAuditLog(db) };
}

/** A sealed secret of the database, and what it belongs to. */
interface StoredSecret extends SealedSecret {
  context: string;
}

/** How many secrets of each key are tried. */
const SECRETS_TRIED = 5;

/** Some of the secrets that each encryption key encrypted, newest first. */
export async function listSomeSecrets(db: Db): Promise<StoredSecret[]> {
  const { rows } = await sql<{ kind: string; id: string; sealed: string; key_id: string }>`
    select kind, id, sealed, key_id from (
      select *, row_number() over (partition by kind, key_id order by id desc) as number from (
        select 'provider' as kind, id, secret_sealed as sealed, secret_key_id as key_id from providers
          where secret_key_id is not null and time_deleted is null
        union all select 'webhook', id, sealed, key_id from webhook_secrets
      ) each_secret
    ) numbered where number <= ${SECRETS_TRIED}`.execute(db);
  return rows.map(({ kind, id, sealed, key_id: keyId }) => ({
    keyId,
    sealed,
    context: kind === 'provider' ? providerSecretContext(id) : webhookSecretContext(id),
  }));
}

/** An API key that will expire. */
interface EndingKey {
  id: string;
  name: string;
  timeExpires: Date;
}

/**
 * API keys that end before a time and need a successor. Revoked keys need none. A key that was rotated has one, has the
 * name that `retiredName` gave it, and ends as planned.
 */
export async function listEndingKeys(db: Db, before: Date): Promise<EndingKey[]> {
  const rows = await db
    .selectFrom('api_keys')
    .select(['id', 'name', 'time_expires'])
    .where('time_revoked', 'is', null)
    .where(sql<boolean>`name not like '% (replaced, ' || right(id::text, 8) || ')'`)
    .where('time_expires', '<', before)
    .where('time_expires', '>', new Date())
    .orderBy('time_expires')
    .execute();
  return rows.map((row) => ({ id: row.id, name: row.name, timeExpires: row.time_expires }));
}

/** The regions that the connections use, by service. */
export async function listUsedRegions(db: Db): Promise<{ sts: string[]; s3: string[]; omics: string[] }> {
  const [sts, s3, omics] = await Promise.all([
    db
      .selectFrom('providers')
      .select('default_region as region')
      .where('time_deleted', 'is', null)
      .distinct()
      .execute(),
    db.selectFrom('storage_connections').select('region').where('time_deleted', 'is', null).distinct().execute(),
    db.selectFrom('compute_connections').select('region').where('time_deleted', 'is', null).distinct().execute(),
  ]);
  const regions = (rows: { region: string }[]): string[] => rows.map(({ region }) => region).sort();
  return { sts: regions(sts), s3: regions(s3), omics: regions(omics) };
}
