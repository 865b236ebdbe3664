import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { migrateTables } from '../../cli/processes.js';
import { isMigrated } from '../../store/database.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';

let postgres: TestPostgres;

beforeAll(async () => {
  postgres = await startTestPostgres();
});

afterAll(() => postgres.stop());

it('leaves the tables of a newer version as they are, so that one can go back to this one', async () => {
  const messages = await postgres.asOwner(async (owner) => {
    const before = await migrateTables(owner);
    await sql`insert into kysely_migration (name, timestamp) values ('9999_later', '2026-01-01T00:00:00Z')`.execute(
      owner,
    );
    return [before, await migrateTables(owner), await isMigrated(owner)];
  });
  expect(messages).toEqual([
    'The database is up to date.',
    expect.stringMatching(/^A newer version of polony migrated the database \(9999_later\)/),
    true,
  ]);
});

it('does not migrate tables that lack a migration of this version and have one of another', async () => {
  await postgres.asOwner(async (owner) => {
    await sql`insert into kysely_migration (name, timestamp) values ('9999_later', '2026-01-01T00:00:00Z')
      on conflict do nothing`.execute(owner);
    await sql`delete from kysely_migration where name = (select max(name) from kysely_migration where name < '9999')`.execute(
      owner,
    );
    await expect(migrateTables(owner)).rejects.toThrow(/9999_later/);
  });
});
