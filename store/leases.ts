import { sql } from 'kysely';
import type { DbOrTransaction } from './database.js';

/**
 * Takes the leases that are free or have expired, and keeps those that the holder has.
 * @param holder the process, as a UUID
 * @param names what to do for all, such as the watching in one account and region
 * @returns the names that the holder has now, for so many seconds
 */
export async function takeLeases(
  db: DbOrTransaction,
  holder: string,
  names: readonly string[],
  seconds: number,
): Promise<string[]> {
  if (names.length === 0) return [];
  // Sorted, so that workers that take several at once cannot wait for each other in a circle.
  const { rows } = await sql<{ name: string }>`
    insert into leases (name, holder, expires_at)
    select name, ${holder}, now() + make_interval(secs => ${seconds}) from unnest(${[...names].sort()}::text[]) as name
    on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
      where leases.holder = excluded.holder or leases.expires_at < now()
    returning name`.execute(db);
  return rows.map(({ name }) => name);
}

/**
 * Gives leases back, so that another process can take them at once. Forgets those that processes left behind that died.
 * @param names all where absent
 */
export async function releaseLeases(db: DbOrTransaction, holder: string, names?: readonly string[]): Promise<void> {
  await sql`
    with gone as (
      select name from leases
      where expires_at < now() - interval '1 hour'
        or holder = ${holder} and (${names === undefined} or name = any(${[...(names ?? [])]}::text[]))
      -- As those that are taken are sorted.
      order by name collate "C"
      for update)
    delete from leases where name in (select name from gone)`.execute(db);
}

/** @returns those of the names that nobody holds, in random order so that processes rarely ask for the same. */
export async function listFreeLeases(db: DbOrTransaction, names: readonly string[], limit: number): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select name from unnest(${[...names]}::text[]) as name
    where not exists (select 1 from leases where leases.name = name.name and expires_at >= now())
    order by random() limit ${limit}`.execute(db);
  return rows.map(({ name }) => name);
}

/** How many processes hold a lease of a kind: those whose names begin with it and a slash. */
export async function countHolders(db: DbOrTransaction, kind: string): Promise<number> {
  const { rows } = await sql<{ holders: number }>`
    select count(distinct holder)::int as holders from leases
    where name like ${`${kind}/%`} and expires_at >= now()`.execute(db);
  return rows[0]?.holders ?? 0;
}
