import { createHmac, pbkdf2Sync, createHash, randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import type { Db, DbOrTransaction } from './database.js';

/** The tables that can only grow. */
const APPEND_ONLY = ['audit_log', 'audit_outcomes'];
/** The tables that only triggers and migrations write. */
const READ_ONLY = ['audit_chain', 'kysely_migration', 'kysely_migration_lock'];

/** The role that the API and the worker connect as. */
interface RuntimeRole {
  name: string;
  /** Sets the password, and creates the role if it does not exist. Printable ASCII. Without it, the role must exist. */
  password?: string;
}

/**
 * Lets a role do what the API and the worker do, and nothing else: it changes rows, but neither tables nor the audit
 * log, to which it can only add. Call it after each migration, which may have added tables. It can be repeated.
 * @throws Error where the role does not exist, or still has rights over the audit log that nobody can revoke here.
 */
export async function grantRuntimeRole(db: Db, { name, password }: RuntimeRole): Promise<void> {
  // Everybody had this right before PostgreSQL 15. Where the schema belongs to somebody else, only they can revoke it.
  await sql`do $$ begin execute format('revoke create on schema %I from public', current_schema()); end $$`
    .execute(db)
    .catch(() => undefined);
  await db.transaction().execute(async (transaction) => {
    // Two processes that change the same rights at once would fail.
    await sql`select pg_advisory_xact_lock(hashtextextended('runtime-role', 0))`.execute(transaction);
    const role = sql.id(name);
    const { rows } = await sql`select from pg_roles where rolname = ${name}`.execute(transaction);
    const isThere = rows.length > 0;
    if (!isThere && password === undefined)
      throw new Error(
        `The database has no role ${name}. Create it, or set POLONY_RUNTIME_PASSWORD so that polony migrate creates it`,
      );
    if (!isThere) await sql`create role ${role} login`.execute(transaction);
    // Only the verifier travels to the server, so that no log of a statement holds the password.
    if (password !== undefined)
      await sql`alter role ${role} login password ${sql.lit(scramVerifier(password))}`.execute(transaction);
    const { rows: places } = await sql<{
      database: string;
      schema: string;
    }>`select current_database() as database, current_schema() as schema`.execute(transaction);
    const { database, schema } = places[0]!;
    await sql`grant connect on database ${sql.id(database)} to ${role}`.execute(transaction);
    await sql`grant usage on schema ${sql.id(schema)} to ${role}`.execute(transaction);
    await sql`grant select, insert, update, delete on all tables in schema ${sql.id(schema)} to ${role}`.execute(
      transaction,
    );
    await sql`grant usage, select on all sequences in schema ${sql.id(schema)} to ${role}`.execute(transaction);
    for (const table of [...APPEND_ONLY, ...READ_ONLY]) {
      const rights = APPEND_ONLY.includes(table) ? 'select, insert' : 'select';
      await sql`revoke all on ${sql.id(schema, table)} from public, ${role}`.execute(transaction);
      await sql`grant ${sql.raw(rights)} on ${sql.id(schema, table)} to ${role}`.execute(transaction);
    }
    if (await canChangeAuditLog(transaction, name))
      throw new Error(
        `The role ${name} can still change the audit log, because it is a superuser, owns the tables, or is a member ` +
          'of such a role. Choose another role for POLONY_RUNTIME_ROLE, one without these rights',
      );
  });
}

/**
 * Whether a role can change or remove entries of the audit log.
 * @param role default: the role of this connection
 */
export async function canChangeAuditLog(db: DbOrTransaction, role?: string): Promise<boolean> {
  const { rows } = await sql<{ can: boolean }>`
    select bool_or(
      has_table_privilege(r.rolname, c.oid, 'update, delete, truncate, trigger')
      -- A right on one column suffices to rewrite it.
      or has_any_column_privilege(r.rolname, c.oid, 'update')
      -- What can write files of the server, or run programs there, can become a superuser.
      or pg_has_role(r.rolname, 'pg_write_server_files', 'member')
      or pg_has_role(r.rolname, 'pg_execute_server_program', 'member')
      or pg_has_role(r.rolname, c.relowner, 'member')
      -- Whoever owns the database or the schema, or may create in it, can drop or replace the tables.
      or has_schema_privilege(r.rolname, c.relnamespace, 'create')
      or pg_has_role(r.rolname, n.nspowner, 'member')
      or r.rolcreaterole
      or (c.relname = 'audit_chain' and has_table_privilege(r.rolname, c.oid, 'insert'))
    ) as can
    from pg_class c join pg_namespace n on n.oid = c.relnamespace, pg_roles r
    where c.relname in ('audit_log', 'audit_outcomes', 'audit_chain') and c.relnamespace = current_schema()::regnamespace
      and r.rolname = ${role ?? sql`current_user`}`.execute(db);
  return rows[0]?.can ?? false;
}

/** Logs a warning where this process could change the audit log. Never throws. */
export async function warnOfRights(db: Db, log: { warn: (data: object, message: string) => void }): Promise<void> {
  const can = await canChangeAuditLog(db).catch(() => false);
  if (can)
    log.warn(
      { setting: 'POLONY_RUNTIME_ROLE' },
      'the database role of this process can change the audit log: connect as the role that polony migrate prepares',
    );
}

/** What PostgreSQL stores of a password (RFC 5803). */
function scramVerifier(password: string): string {
  const salt = randomBytes(16);
  const iterations = 4096;
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const hmac = (text: string): Buffer => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${hmac('Server Key').toString('base64')}`;
}
