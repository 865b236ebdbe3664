import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { sql } from 'kysely';
import { Leases } from '../../activities/leases.js';
import type { Db } from '../../store/database.js';
import { startTestPostgres } from '../postgres.js';

let db: Db;
beforeAll(async () => {
  ({ db } = await startTestPostgres());
});
afterAll(async () => {
  await db?.destroy();
});
afterEach(() => {
  vi.restoreAllMocks();
});

it('gives a lease to one process, and to the next once it has expired or was given back', async () => {
  const [one, other] = [new Leases(db), new Leases(db)];
  expect(await one.take(['a', 'b'])).toEqual(['a', 'b']);
  expect(await other.take(['b', 'c'])).toEqual(['c']);
  expect(await one.take(['a', 'b', 'c'])).toEqual(['a', 'b']);
  expect([one.isHeld('a'), other.isHeld('a'), other.isHeld('c')]).toEqual([true, false, true]);

  await sql`update leases set expires_at = now() - interval '1 second' where name = 'a'`.execute(db);
  expect(await other.take(['a', 'b'])).toEqual(['a']);
  // The first learns of it with its next renewal.
  expect(await one.take(['a', 'b'])).toEqual(['b']);
  expect(one.isHeld('a')).toBe(false);

  await one.release(['b']);
  expect(await other.take(['b'])).toEqual(['b']);
  await other.close();
  expect(other.isHeld('c')).toBe(false);
  expect(await other.take(['d'])).toEqual([]);
  expect(await one.take(['a', 'b', 'c'])).toEqual(['a', 'b', 'c']);
});

it('keeps a lease that is younger than the list of members, and gives back one that stays idle', async () => {
  const leases = new Leases(db);
  await leases.take(['young/a', 'young/b']);
  expect(await leases.takeShare('young', ['a'])).toEqual(['a']);
  expect(leases.isHeld('young/b')).toBe(true);
  expect(await leases.takeShare('young', ['a', 'b'])).toEqual(['a', 'b']);
  await leases.takeShare('young', ['a']);
  await leases.takeShare('young', ['a']);
  expect([leases.isHeld('young/a'), leases.isHeld('young/b')]).toEqual([true, false]);
  await leases.close();
});

it('counts a lease as lost before another process can take it', async () => {
  const now = vi.spyOn(performance, 'now').mockReturnValue(1000);
  const leases = new Leases(db);
  const {
    rows: [before],
  } = await sql<{ now: Date }>`select now()`.execute(db);
  await leases.take(['e']);
  const row = await db.selectFrom('leases').select('expires_at').where('name', '=', 'e').executeTakeFirstOrThrow();
  now.mockReturnValue(1000 + 24_000);
  expect(leases.isHeld('e')).toBe(true);
  now.mockReturnValue(1000 + 25_001);
  expect(leases.isHeld('e')).toBe(false);
  expect(row.expires_at.getTime() - before!.now.getTime()).toBeGreaterThanOrEqual(30_000);
});

it('begins a new term with a lease that it did not hold for a moment', async () => {
  const now = vi.spyOn(performance, 'now').mockReturnValue(1000);
  const leases = new Leases(db);
  expect(leases.termOf('term')).toBeUndefined();
  await leases.take(['term']);
  const first = leases.termOf('term');
  now.mockReturnValue(1000 + 10_000);
  await leases.take(['term']);
  expect(leases.termOf('term')).toBe(first);
  // Late, but before anybody else has taken it.
  now.mockReturnValue(1000 + 10_000 + 25_001);
  await leases.take(['term']);
  expect([leases.termOf('term'), leases.termOf('term') === first]).toEqual([expect.any(Number), false]);
  await leases.close();
  expect(leases.termOf('term')).toBeUndefined();
});

it('counts a lease as lost after the machine was suspended, while the steady clock stood still', async () => {
  const leases = new Leases(db);
  await leases.take(['suspended']);
  expect(leases.isHeld('suspended')).toBe(true);
  vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 60_000);
  expect(leases.isHeld('suspended')).toBe(false);
  vi.restoreAllMocks();
  await leases.close();
});

it('holds a lease exactly if the database says so, when it is given back and taken at the same time', async () => {
  const leases = new Leases(db);
  const isInDatabase = async (): Promise<boolean> =>
    (await db.selectFrom('leases').select('name').where('name', '=', 'crossing').execute()).length === 1;
  for (let round = 0; round < 20; round++) {
    await leases.take(['crossing']);
    const [release, take] = [() => leases.release(['crossing']), () => leases.take(['crossing'])];
    await Promise.all((round % 2 === 0 ? [release, take] : [take, release]).map((each) => each()));
    expect(leases.isHeld('crossing')).toBe(await isInDatabase());
  }
  await leases.close();
});

it('asks for many leases at the same time with one statement, and renews before those that come later', async () => {
  let goOn: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (goOn = resolve));
  const taken: string[][] = [];
  const slow = db.withPlugin({
    transformQuery: ({ node }) => node,
    transformResult: async ({ result }) => {
      taken.push(result.rows.map(({ name }) => String(name)));
      if (taken.length === 1) await held;
      return result;
    },
  });
  const leases = new Leases(slow);
  const ask = (kind: string) => Array.from({ length: 100 }, (_, at) => leases.takeIfFree(`${kind}-${at}`));
  const asked = ask('asked');
  await vi.waitFor(() => expect(taken).toHaveLength(1));
  const renewed = leases.take(['first']);
  const later = ask('later');
  goOn();
  await Promise.all([...asked, renewed, ...later]);
  expect(taken.map((names) => [names.length, names[0]!.split('-')[0]])).toEqual([
    [100, 'asked'],
    [1, 'first'],
    [100, 'later'],
  ]);
  expect(leases.held).toHaveLength(201);
  await leases.close();
});

it('leaves a lease that is more than its share to another process, also when an activity asks for it', async () => {
  const [one, other] = [new Leases(db), new Leases(db)];
  const members = ['a', 'b'];
  expect(await one.takeShare('shared', members)).toEqual(members);
  expect(await other.takeShare('shared', members)).toEqual([]);
  expect(await one.takeShare('shared', members)).toEqual(['a']);
  await one.takeIfFree('shared/b');
  expect(one.isHeld('shared/b')).toBe(false);
  expect(await other.takeShare('shared', members)).toEqual(['b']);
  // Once there is no other, all are its share again.
  await other.close();
  expect(await one.takeShare('shared', members)).toEqual(members);
  await one.close();
});

it('gives each of many leases to one of the processes that ask at the same time', async () => {
  const names = Array.from({ length: 50 }, (_, at) => `many-${at}`);
  const processes = Array.from({ length: 4 }, () => new Leases(db));
  const taken = await Promise.all(processes.map((each, at) => each.take(at % 2 === 0 ? names : [...names].reverse())));
  expect(taken.flat().sort()).toEqual([...names].sort());
});

it('forgets what processes left behind that died, when one ends', async () => {
  const holder = '0198c0de-1111-7222-8333-444455556666';
  await sql`insert into leases (name, holder, expires_at) values
    ('dead', ${holder}, now() - interval '2 hours'), ('alive', ${holder}, now() + interval '30 seconds')`.execute(db);
  await new Leases(db).close();
  const rows = await db.selectFrom('leases').select('name').where('holder', '=', holder).execute();
  expect(rows).toEqual([{ name: 'alive' }]);
});
