import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Kysely, sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { appendAudit, beginAudit, endAudit } from '../../store/audit.js';
import { verifyAuditChain } from '../../store/auditChain.js';
import { type Db, isMigrated, openDatabase } from '../../store/database.js';
import { up as addAuditChain } from '../../store/migrations/0017_audit_chain.js';
import { canChangeAuditLog, grantRuntimeRole } from '../../store/runtimeRole.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { cliFile } from '../testStack.js';

// The audit log on a real PostgreSQL, as the role of the API and the worker, and as an attacker who owns the tables.
let postgres: TestPostgres;
let db: Db;

beforeAll(async () => {
  postgres = await startTestPostgres();
  db = postgres.db;
});
afterAll(async () => {
  await postgres?.stop();
});

const caller = { kind: 'key', id: 'k1', name: 'lims – Ω' } as const;
const entry = (action: string) => ({
  caller,
  action,
  requestId: 'request-1',
  address: '192.0.2.7',
  resourceId: 'r1',
  detail: { text: 'a "quoted" value\n', number: 1.5, list: [1, null] },
});

/** What an owner of the tables can do, who turns the protection off. */
const tamper = (statement: string): Promise<unknown> =>
  postgres.asOwner((owner) =>
    owner.connection().execute(async (connection) => {
      await sql`set session_replication_role = replica`.execute(connection);
      await sql.raw(statement).execute(connection);
    }),
  );

describe('the role of the API and the worker', () => {
  beforeAll(() => appendAudit(db, entry('Before')));
  it.each([
    "update audit_log set caller_name = 'x'",
    'delete from audit_log',
    'truncate audit_log cascade',
    'drop table audit_log cascade',
    'alter table audit_log disable trigger all',
    'drop trigger append_only on audit_log',
    'create trigger more before insert on audit_log for each row execute function audit_is_append_only()',
    'update audit_outcomes set status = 200',
    'delete from audit_outcomes',
    'truncate audit_outcomes',
    "insert into audit_chain (number, source, audit_id, hash) values (99, 'entry', gen_random_uuid(), '')",
    'update audit_chain set number = number + 1',
    'delete from audit_chain',
    "select append_to_audit_chain('entry', gen_random_uuid(), 'x')",
    'create or replace function chain_audit_entry() returns trigger language plpgsql as $$ begin return null; end $$',
    'create table more (id integer)',
    'set session_replication_role = replica',
    "update kysely_migration set name = 'x'",
    'alter role current_user superuser',
  ])('may not: %s', async (statement) => {
    const before = await verifyAuditChain(db);
    await expect(sql.raw(statement).execute(db)).rejects.toThrow(/permission denied|must be owner|no privileges|Only/i);
    expect(await verifyAuditChain(db)).toEqual(before);
  });
  it('cannot put a temporary table in the place of the chain', async () => {
    await db.connection().execute(async (connection) => {
      await sql`create temporary table audit_chain (number bigint, source text, audit_id uuid, hash bytea)`.execute(
        connection,
      );
      await beginAudit(connection, entry('Hidden'));
      await sql`drop table pg_temp.audit_chain`.execute(connection);
    });
    expect((await verifyAuditChain(db)).problems).toEqual([]);
  });
  it('adds to the log, and knows whether the database is migrated', async () => {
    await endAudit(db, await beginAudit(db, entry('Allowed')), { status: 200 });
    // PostgreSQL only warns that this grants nothing.
    await sql`grant update on audit_log to current_user`.execute(db);
    expect([await isMigrated(db), await canChangeAuditLog(db)]).toEqual([true, false]);
    expect(await postgres.asOwner((owner) => canChangeAuditLog(owner))).toBe(true);
  });
  it('must not be one that can change the log', async () => {
    await expect(postgres.asOwner((owner) => grantRuntimeRole(owner, { name: 'polony' }))).rejects.toThrow(
      /The role polony can still change the audit log/,
    );
    await expect(postgres.asOwner((owner) => grantRuntimeRole(owner, { name: 'nobody_here' }))).rejects.toThrow(
      /no role nobody_here.*POLONY_RUNTIME_PASSWORD/,
    );
  });
  it.each([
    'grant update (detail) on audit_log to',
    'grant trigger on audit_outcomes to',
    'grant insert on audit_chain to',
    'grant pg_write_all_data to',
    'grant pg_write_server_files to',
    'grant pg_execute_server_program to',
    'alter role createrole',
  ])('must not be one that can change the log in another way: %s', async (statement) => {
    const name = `app_${postgres.ownerUrl.slice(-8)}_more`;
    await postgres.asOwner(async (owner) => {
      await sql`create role ${sql.id(name)} login`.execute(owner);
      try {
        await grantRuntimeRole(owner, { name });
        expect(await canChangeAuditLog(owner, name)).toBe(false);
        const isAlter = statement.startsWith('alter role');
        const rest = statement.replace(/^alter role /, '');
        await sql`${sql.raw(isAlter ? 'alter role' : statement)} ${sql.id(name)} ${sql.raw(isAlter ? rest : '')}`.execute(
          owner,
        );
        expect(await canChangeAuditLog(owner, name)).toBe(true);
      } finally {
        await sql`drop owned by ${sql.id(name)}`.execute(owner);
        await sql`drop role ${sql.id(name)}`.execute(owner);
      }
    });
  });
  it('gets its password and its rights from polony migrate, as often as that runs', async () => {
    const name = `app_${postgres.ownerUrl.slice(-8)}`;
    const password = 'p@ss:w/rd "$x" %41';
    await postgres.asOwner((owner) => grantRuntimeRole(owner, { name, password }));
    await postgres.asOwner((owner) => grantRuntimeRole(owner, { name, password }));
    const url = new URL(postgres.ownerUrl);
    Object.assign(url, { username: name, password: encodeURIComponent(password) });
    const other = openDatabase(url.href, 1);
    try {
      await appendAudit(other, entry('Other'), { status: 200 });
      await expect(sql`delete from audit_log`.execute(other)).rejects.toThrow('permission denied');
    } finally {
      await other.destroy();
      await postgres.asOwner(async (owner) => {
        await sql`drop owned by ${sql.id(name)}`.execute(owner);
        await sql`drop role ${sql.id(name)}`.execute(owner);
      });
    }
  });
  it('has statements that end in time', async () => {
    const limited = openDatabase(postgres.url, 1, 1);
    try {
      await expect(sql`select pg_sleep(60)`.execute(limited)).rejects.toThrow('statement timeout');
    } finally {
      await limited.destroy();
    }
  });
});

describe('the hash chain', () => {
  let ids: string[];
  beforeEach(async () => {
    await tamper('delete from audit_chain; delete from audit_outcomes; delete from audit_log');
    ids = [];
    for (const name of ['One', 'Two', 'Three'])
      ids.push(await appendAudit(db, entry(name), { status: 201, reason: 'R' }));
  });
  const verify = async (anchor?: { number: number; hash: string }) => (await verifyAuditChain(db, anchor)).problems;

  it('is intact after concurrent and long transactions, also ones that are rolled back', async () => {
    const long = db.transaction().execute(async (transaction) => {
      await appendAudit(transaction, entry('Long'));
      // The others do not wait for this transaction.
      await Promise.all(Array.from({ length: 40 }, (_, index) => appendAudit(db, entry(`Many${index}`))));
      await appendAudit(transaction, entry('Long again'));
    });
    const failed = db.transaction().execute(async (transaction) => {
      await appendAudit(transaction, entry('Never'));
      throw new Error('rolled back');
    });
    await expect(failed).rejects.toThrow('rolled back');
    await long;
    expect(await verifyAuditChain(db)).toMatchObject({ links: 6 + 84, head: { number: 90 }, problems: [] });
  });
  it.each([
    ["update audit_log set caller_name = 'somebody else' where action = 'Two'", /entry .* changed/],
    ["update audit_log set detail = '{}' where action = 'Two'", /entry .* changed/],
    ["update audit_log set address = null where action = 'Two'", /entry .* changed/],
    ["update audit_log set time = time + interval '1 microsecond' where action = 'Two'", /entry .* changed/],
    ['update audit_outcomes set status = 403', /outcome .* changed/],
    ['update audit_outcomes set reason = null', /outcome .* changed/],
    [
      "delete from audit_outcomes where audit_id in (select id from audit_log where action = 'Two')",
      /outcome .* removed/,
    ],
    ['delete from audit_chain where number = 3', /links 3 to 3 .* missing|no link for the entry/],
    [
      "insert into audit_log (id, request_id, caller_kind, caller_id, caller_name, action) values (gen_random_uuid(), 'r', 'key', 'k', 'k', 'Forged')",
      /no link for the entry/,
    ],
    [
      'update audit_chain set number = -number where number in (2, 3); update audit_chain set number = 5 + number where number < 0',
      /missing|changed/,
    ],
  ])('shows that somebody did: %s', async (statement, problem) => {
    await tamper(statement);
    expect((await verify()).join('\n')).toMatch(problem);
  });
  it('shows with an anchor that the end was cut off, or the chain computed anew', async () => {
    const { head } = await verifyAuditChain(db);
    await appendAudit(db, entry('Later'));
    expect(await verify(head)).toEqual([]);
    const number = head.number - 2;
    await tamper(`
      delete from audit_outcomes where audit_id in (select audit_id from audit_chain where number > ${number});
      delete from audit_log where id in (select audit_id from audit_chain where number > ${number});
      delete from audit_chain where number > ${number}`);
    expect(await verify()).toEqual([]);
    expect((await verify(head)).join()).toMatch(/does not reach your anchor/);
    await tamper(`
      delete from audit_chain;
      update audit_log set caller_name = 'x';
      do $$ declare e audit_log; begin for e in select * from audit_log loop
        perform append_to_audit_chain('entry', e.id, audit_entry_text(e)); end loop; end $$;
      do $$ declare o audit_outcomes; begin for o in select * from audit_outcomes loop
        perform append_to_audit_chain('outcome', o.audit_id, audit_outcome_text(o)); end loop; end $$`);
    expect(await verify()).toEqual([]);
    expect((await verify({ number: 2, hash: head.hash })).join()).toMatch(/computed anew/);
  });
  it('begins with the entries that were there before the upgrade', async () => {
    const old = await startTestPostgres();
    try {
      await old.asOwner(async (owner) => {
        await sql`drop table audit_chain`.execute(owner);
        await sql`drop function chain_audit_entry, chain_audit_outcome, append_to_audit_chain, audit_entry_text,
          audit_outcome_text, audit_time, audit_field cascade`.execute(owner);
      });
      for (let index = 0; index < 3; index++) await appendAudit(old.db, entry(`Old${index}`), { status: 200 });
      await beginAudit(old.db, entry('Unfinished'));
      await old.asOwner(async (owner) => {
        await owner.transaction().execute((transaction) => addAuditChain(transaction as unknown as Kysely<unknown>));
        expect(await verifyAuditChain(owner)).toMatchObject({ links: 7, problems: [] });
      });
      // As during an upgrade, before the rights are granted.
      await appendAudit(old.db, entry('New'), { status: 200 });
      expect(await old.asOwner((owner) => verifyAuditChain(owner))).toMatchObject({ links: 9, problems: [] });
    } finally {
      await old.stop();
    }
  });
  it('is checked by polony audit verify, which names what is wrong', { tags: 'long' }, async () => {
    const run = (...args: string[]) =>
      promisify(execFile)(process.execPath, [cliFile(), 'audit', 'verify', ...args], {
        env: { PATH: process.env.PATH, HOME: process.env.HOME, DATABASE_URL: postgres.url },
      }).then(
        ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
        (error: { code: number; stdout: string; stderr: string }) => error,
      );
    const { code, stdout } = await run();
    expect([code, stdout]).toEqual([0, expect.stringMatching(/intact: 6 entries .* Head: 6:[0-9a-f]{64}\n$/)]);
    const anchor = /Head: (\S+)/.exec(stdout)![1]!;
    expect((await run('--anchor', anchor)).code).toBe(0);
    expect((await run('--anchor', 'x')).code).toBe(2);
    await tamper(`update audit_log set caller_name = 'x' where id = '${ids[1]}'`);
    const changed = await run();
    expect([changed.code, changed.stderr]).toEqual([1, expect.stringContaining(`The entry ${ids[1]}`)]);
  });
});
