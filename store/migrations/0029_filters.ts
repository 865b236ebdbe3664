import { type Kysely, sql } from 'kysely';

/**
 * Indexes for every word that filters runs and executions. Without them, PostgreSQL reads all rows where a filter finds
 * few: of a million runs, that takes seconds.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await createTrigrams(db);
  for (const index of [...runIndexes(), ...executionIndexes()]) await sql.raw(`create index ${index}`).execute(db);
  // An index of an expression has no statistics yet, without which PostgreSQL does not know when to use it.
  for (const table of ['runs', 'executions', 'flows']) await sql.raw(`analyze ${table}`).execute(db);
}

/** What finds a part of a text. @throws Error where the extension is missing and this role may not create it */
async function createTrigrams(db: Kysely<unknown>): Promise<void> {
  try {
    await sql`create extension if not exists pg_trgm`.execute(db);
  } catch (cause) {
    throw new Error(
      `The database needs PostgreSQL's extension pg_trgm, and this role cannot create it: ${(cause as Error).message}. ` +
        'Run "create extension pg_trgm" in the database as an administrator, and migrate again',
      { cause },
    );
  }
}

/** PostgreSQL uses the statistics of an expression only where its index has all rows. */
function runIndexes(): string[] {
  const parameter = (name: string): string => `(run_parameters->>'${name}')`;
  const sequencing = `coalesce(run_parameters->>'runType', 'Sequencing') = 'Sequencing'`;
  const ofSequencing = (value: string): string => `(case when ${sequencing} then ${value} end)`;
  const ofMultiomics = (value: string): string => `(case when not ${sequencing} then ${value} end)`;
  const snakeCase = (value: string): string => `lower(regexp_replace(${value}, '([a-z0-9])([A-Z])', '\\1_\\2', 'g'))`;
  const metric = (name: string): string =>
    `(case when ${sequencing} then coalesce(instrument_metrics->>'${name}', metrics->>'${name}')::float8 end)`;
  const type = `(case when ${sequencing} then 'sequencing' else 'multiomics' end)`;
  const output = `(case when upload_state <> 'uploading' then ${type} || '_run' end)`;
  const kitType = ofMultiomics(snakeCase(parameter('runType')));
  const wellLayout = ofMultiomics(snakeCase(parameter('wellLayout')));
  const density = ofSequencing(
    `case when ${parameter('polonyDensity')} ilike '%high%' then 'high'
      when ${parameter('polonyDensity')} ilike '%standard%' then 'standard' end`,
  );
  return [
    textIndex('runs', [
      'run_name',
      'instrument_name',
      '(id::text)',
      parameter('runDescription'),
      ofSequencing(parameter('kitConfiguration')),
      ofSequencing(`lower(${parameter('libraryType')})`),
      ofSequencing(parameter('preparationWorkflow')),
      density,
      ofSequencing(parameter('filterMask')),
      ofSequencing(parameter('panelName')),
      ofMultiomics(parameter('panelName')),
    ]),
    `runs_by_type on runs (${type}, id)`,
    `runs_by_output on runs (${output}, id)`,
    `runs_by_kit_type on runs (${kitType}, id)`,
    `runs_by_well_layout on runs (${wellLayout}, id)`,
    `runs_by_diversity on runs (${ofSequencing(`coalesce((run_parameters->>'lowDiversity')::boolean, false)`)}, id)`,
    `runs_started on runs (time_started) where time_started is not null`,
    ...Object.entries({
      reads: 'totalReads',
      yield: 'totalYield',
      q30: 'q30',
      q40: 'q40',
      q50: 'q50',
      avg_q: 'avgQ',
      error_rate: 'errorRate',
      phix: 'phixAlignmentRate',
    }).map(([name, member]) => `runs_of_${name} on runs (${metric(member)})`),
  ];
}

function executionIndexes(): string[] {
  return [
    textIndex('executions', ['name', '(id::text)', `(coalesce(workflow_name, 'bases2fastq'))`, 'started_by']),
    `executions_started on executions (time_started) where time_started is not null`,
    `executions_completed on executions (time_completed) where time_completed is not null`,
    `executions_by_output on executions ((case when status = 'COMPLETED' then 'fastq' end), id)`,
  ];
}

/** An index of the parts of texts, and of whole texts. */
const textIndex = (table: string, columns: readonly string[]): string =>
  `${table}_texts on ${table} using gin (${columns.map((column) => `${column} gin_trgm_ops`).join(', ')})`;
