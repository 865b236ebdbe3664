/** @module-tag long */
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseDatabaseUrl } from '../../cli/settings/parse.js';
import { createGuardian, type Guardian } from '../../local/guardian.js';
import { type LocalPostgres, startPostgres } from '../../local/postgres.js';
import { openDatabase } from '../../store/database.js';
import { listen } from '../../store/events.js';
import { canMakeCertificates, makeAuthority, makeCertificate } from '../certificates.js';
import { waitFor } from '../support.js';

// A real PostgreSQL with TLS, whose certificate a private authority signed for 127.0.0.1 only.
const folder = mkdtempSync(path.join(os.tmpdir(), 'polony-tls-'));
const file = (name: string): string => path.join(folder, name);
let guardian: Guardian;
let postgres: LocalPostgres;

describe.skipIf(!canMakeCertificates)('TLS to PostgreSQL', () => {
  beforeAll(async () => {
    makeAuthority(folder, 'other');
    makeCertificate(folder, 'server', makeAuthority(folder, 'authority'), 'IP:127.0.0.1');
    guardian = await createGuardian(folder);
    postgres = await startPostgres({ guardian, stateDir: folder, durable: false });
    // The server accepts only a key that belongs to its user.
    const { uid, gid } = statSync(file('postgres'));
    for (const name of ['server.key', 'server.crt']) {
      chmodSync(file(name), 0o600);
      chownSync(file(name), uid, gid);
    }
    const db = openDatabase(postgres.url, 1);
    for (const [name, value] of [
      ['ssl_cert_file', file('server.crt')],
      ['ssl_key_file', file('server.key')],
      ['ssl', 'on'],
    ])
      await sql`alter system set ${sql.raw(name!)} = ${sql.lit(value)}`.execute(db);
    await sql`select pg_reload_conf()`.execute(db);
    await db.destroy();
    await waitFor('TLS', async () => (await connect({ POLONY_DATABASE_CA_FILE: file('authority.crt') })) === true);
  });
  afterAll(async () => {
    await guardian?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Connects as a process with these settings does. @returns whether the connection has TLS, or why there is none. */
  async function connect(settings: Record<string, string>, address = postgres.url): Promise<boolean | string> {
    const db = openDatabase(parseDatabaseUrl({ DATABASE_URL: address, ...settings }), 1);
    try {
      const query = sql<{ ssl: boolean }>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
      return (await query.execute(db)).rows[0]!.ssl;
    } catch (error) {
      return (error as Error).message;
    } finally {
      await db.destroy();
    }
  }

  it('connects with TLS to a server that a trusted authority has certified, and only with it', async () => {
    const trusted = { POLONY_DATABASE_CA_FILE: file('authority.crt') };
    expect(await connect({ ...trusted })).toBe(true);
    expect(await connect({ POLONY_DATABASE_TLS: 'verify', ...trusted })).toBe(true);
    expect(await connect({}, `${postgres.url}?sslmode=verify-full&sslrootcert=${file('authority.crt')}`)).toBe(true);
    expect(await connect({ POLONY_DATABASE_CA_FILE: file('other.crt') })).toMatch(/certificate/);
    expect(await connect({ POLONY_DATABASE_TLS: 'verify' })).toMatch(/certificate/);
    // `require` of libpq checks no certificate. polony does.
    expect(await connect({}, `${postgres.url}?sslmode=require`)).toMatch(/certificate/);
    expect(await connect({})).toBe(false);
    expect(await connect({ POLONY_DATABASE_TLS: 'disable' }, `${postgres.url}?sslmode=require`)).toBe(false);
  });

  it('checks the name of the server', async () => {
    const settings = { POLONY_DATABASE_CA_FILE: file('authority.crt') };
    expect(await connect(settings, postgres.url.replace('127.0.0.1', 'localhost'))).toMatch(/altnames|does not match/);
  });

  it('listens for notifications with TLS, too', async () => {
    const url = parseDatabaseUrl({ DATABASE_URL: postgres.url, POLONY_DATABASE_CA_FILE: file('authority.crt') });
    const received: string[] = [];
    let isListening = false;
    const stop = listen(url, { polony_test: (payload) => received.push(payload) }, () => (isListening = true));
    await waitFor('listening', () => isListening);
    const db = openDatabase(url, 1);
    await sql`select pg_notify('polony_test', 'hello')`.execute(db);
    const { rows } = await sql`select from pg_stat_ssl where not ssl and pid in (
    select pid from pg_stat_activity where backend_type = 'client backend')`.execute(db);
    expect(rows).toEqual([]);
    await waitFor('the notification', () => received.includes('hello'));
    await stop();
    await db.destroy();
  });

  it('rejects settings that contradict each other, and files that cannot be read', () => {
    const parse = (settings: Record<string, string>) => () =>
      parseDatabaseUrl({ DATABASE_URL: postgres.url, ...settings });
    writeFileSync(file('there.crt'), '');
    expect(parse({ POLONY_DATABASE_TLS: 'disable', POLONY_DATABASE_CA_FILE: file('there.crt') })).toThrow(
      /POLONY_DATABASE_CA_FILE/,
    );
    expect(parse({ POLONY_DATABASE_CA_FILE: file('missing.crt') })).toThrow(/POLONY_DATABASE_CA_FILE/);
    expect(parse({ POLONY_DATABASE_TLS: 'maybe' })).toThrow(/POLONY_DATABASE_TLS/);
  });
});
