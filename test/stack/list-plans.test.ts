import {
  type CompiledQuery,
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
} from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXECUTION_FILTER, EXECUTION_ORDER } from '../../domain/executions/filter.js';
import { parseFilter } from '../../domain/filters/parse.js';
import { RUN_FILTER, RUN_ORDER } from '../../domain/runs/filter.js';
import type { Db } from '../../store/database.js';
import { listExecutions } from '../../store/executions/list.js';
import { listRuns } from '../../store/runs/list.js';
import type { Database } from '../../store/schema.js';
import { insertManyRuns, sampleFilters } from '../manyRuns.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';

/** So many that PostgreSQL reads all of them only where it has no index. */
const ROWS = 20_000;
const LIMIT = 101;
const POSITION = '01920000-0000-7000-8000-000000000010';

let postgres: TestPostgres;
let owner: pg.Client;

beforeAll(async () => {
  postgres = await startTestPostgres();
  await insertManyRuns(postgres.ownerUrl, ROWS);
  owner = new pg.Client({ connectionString: postgres.ownerUrl });
  await owner.connect();
});
afterAll(async () => {
  await owner?.end();
  await postgres?.stop();
});

/** The first statement that some work would execute. */
async function firstQuery(work: (db: Db) => Promise<unknown>): Promise<CompiledQuery> {
  const queries: CompiledQuery[] = [];
  const db = new Kysely<Database>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (of) => new PostgresIntrospector(of),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
    log: ({ query }) => void queries.push(query),
  });
  await work(db);
  return queries[0]!;
}

/** How PostgreSQL executes a statement, as it decides by itself. */
async function planOf({ sql, parameters }: CompiledQuery): Promise<string> {
  const { rows } = await owner.query<{ 'QUERY PLAN': string }>(`explain ${sql}`, [...parameters]);
  return rows.map((row) => row['QUERY PLAN']).join('\n');
}

const readsAll = expect.stringMatching(/Seq Scan on (runs|executions)/) as unknown;
const now = new Date('2026-01-01T00:00:00Z');

const planOfRuns = async (filter: string): Promise<string> =>
  planOf(await firstQuery((db) => listRuns(db, { limit: LIMIT }, { filter: parseFilter(filter, RUN_FILTER, now) })));
const planOfExecutions = async (filter: string): Promise<string> =>
  planOf(
    await firstQuery((db) =>
      listExecutions(db, { limit: LIMIT }, { filter: parseFilter(filter, EXECUTION_FILTER, now) }),
    ),
  );

describe('the plan of a list', () => {
  it.each(sampleFilters(RUN_FILTER))('of runs with the filter %s does not read all runs', async (filter) => {
    expect(await planOfRuns(filter)).not.toEqual(readsAll);
  });
  it.each(sampleFilters(EXECUTION_FILTER))(
    'of executions with the filter %s does not read all executions or runs',
    async (filter) => {
      expect(await planOfExecutions(filter)).not.toEqual(readsAll);
    },
  );
  it('reads all rows without the index, so many are they', async () => {
    await owner.query('begin');
    await owner.query('drop index runs_texts, executions_texts');
    const plans = [await planOfRuns('name:Quokka'), await planOfExecutions('name:Quokka')];
    await owner.query('rollback');
    expect(plans).toEqual([readsAll, readsAll]);
  });
  it.each(Object.keys(RUN_ORDER) as (keyof typeof RUN_ORDER)[])(
    'of runs by %s reads an index in order, at any page',
    async (keyword) => {
      const key = { text: 'a', number: '1', time: '2023-01-01 00:00:00+00' }[RUN_ORDER[keyword]];
      for (const descending of [true, false])
        for (const slice of [
          { limit: LIMIT },
          { limit: LIMIT, after: POSITION, key },
          { limit: LIMIT, before: POSITION, key },
        ]) {
          const plan = await planOf(await firstQuery((db) => listRuns(db, slice, { order: { keyword, descending } })));
          expect([slice, plan]).not.toEqual([slice, readsAll]);
        }
    },
  );
  it.each(Object.keys(EXECUTION_ORDER) as (keyof typeof EXECUTION_ORDER)[])(
    'of executions by %s reads an index in order, at any page',
    async (keyword) => {
      const key = EXECUTION_ORDER[keyword] === 'text' ? 'a' : '2023-01-01 00:00:00+00';
      for (const descending of [true, false])
        for (const slice of [
          { limit: LIMIT },
          { limit: LIMIT, after: POSITION, key },
          { limit: LIMIT, before: POSITION, key },
        ]) {
          const order = { keyword, descending };
          const plan = await planOf(await firstQuery((db) => listExecutions(db, slice, { order })));
          expect([slice, plan]).not.toEqual([slice, readsAll]);
        }
    },
  );
});
