import pg from 'pg';
import type { FilterField, FilterFields } from '../domain/filters/filter.js';

/** The id of a row, counted from 1. They sort by their number, as real ones by their time. */
const idOf = (number: string): string => `('01920000-0000-7000-8000-' || lpad(to_hex(${number}), 12, '0'))::uuid`;

/** One of some values, by the number of the row. A factor mixes them, so that neighbours differ. */
const oneOf = (values: readonly string[], factor = 1): string =>
  `(array[${values.map((value) => pg.escapeLiteral(value)).join(', ')}])[1 + (n * ${factor}) % ${values.length}]`;

/** What every thousandth of the older rows has, and no other: a filter for it finds few of many rows. */
const RARE = 'Quokka';
const isRare = `(n % 1000 = 7 and n < total / 2)`;

const USUAL_RUN = {
  tiles: ['L1R02C01S1', 'L1R02C02S1'],
  cycles: { I1: 10, I2: 10, R1: 151, R2: 151 },
  readOrder: ['I1', 'I2', 'R1', 'R2'],
  operatorName: 'Ada',
  platformVersion: '3.3.2',
  lowDiversity: false,
  preparationWorkflow: 'Adept',
  libraryType: 'Linear',
  polonyDensity: 'Standard',
  filterMask: 'R1:Y15N*-R2:Y15N*',
  consumables: {},
};
const RARE_RUN = {
  ...USUAL_RUN,
  lowDiversity: true,
  kitConfiguration: `${RARE} kit`,
  preparationWorkflow: RARE,
  libraryType: RARE,
  polonyDensity: 'HighDensity',
  filterMask: RARE,
  panelName: `${RARE} panel`,
};
const MULTIOMICS_RUN = {
  ...USUAL_RUN,
  runType: 'Cytoprofiling',
  panelName: 'MAPK',
  wellLayout: 'TwelveWellCircle',
};
const RARE_MULTIOMICS_RUN = { ...USUAL_RUN, runType: 'ProteinScreening', panelName: RARE, wellLayout: 'OneWell' };
const KITS = ['2x150 High Output', '2x75 High Output', '2x300 Medium Output', '2x150 Medium Output', 'Individual'];
const TOPICS = [' of tumour panel ', ' of soil samples ', ' of the yeast screen ', ' of cohort '];

const PROGRESS = {
  ...{ objects: 10, bytes: 20_000, cycles: 10, expectedCycles: 40, stalled: false },
  timeGrown: '2026-01-01T00:00:00.000Z',
};
/** The metrics of a run are one of these. */
const METRICS = Array.from({ length: 31 }, (_each, at) => ({
  totalReads: 8e8 + ((at * 7) % 31) * 1e7,
  totalYield: 2e11 + ((at * 11) % 31) * 1e9,
  q30: 80 + ((at * 13) % 31) / 2,
  q40: 60 + ((at * 17) % 31) / 2,
  q50: (at * 19) % 31,
  avgQ: 38 + ((at * 3) % 31) / 5,
  errorRate: 0.1 + ((at * 5) % 31) / 100,
  phixAlignmentRate: ((at * 23) % 31) / 20,
}));

const jsonOf = (value: object): string => `${pg.escapeLiteral(JSON.stringify(value))}::jsonb`;

const RARE_METRICS = {
  ...{ totalReads: 5e9, totalYield: 9e11, q30: 99.5, q40: 99, q50: 98, avgQ: 49 },
  ...{ errorRate: 9, phixAlignmentRate: 8 },
};

/** One of some JSON values, by the number of the row. */
const oneJson = (values: readonly object[]): string =>
  `(array[${values.map(jsonOf).join(', ')}])[1 + n % ${values.length}]`;

/** The external ID of the provider. */
export const MANY_EXTERNAL_ID = 'many-7f3a';

/** Flows, connections and a provider with fixed ids, to which the rows refer. */
const REFERENCES = `
  insert into providers (id, name, default_region, credential_type, role_arn, external_id)
    values (${idOf('1')}, 'many', 'us-west-2', 'role', 'arn:aws:iam::111122223333:role/many', '${MANY_EXTERNAL_ID}');
  insert into storage_connections
      (id, name, provider_id, region, bucket, prefix, use_for_run_upload, use_for_data_exploration)
    select ${idOf('n')}, 'many ' || n, ${idOf('1')}, 'us-west-2', 'many-' || n, 'runs', true, true
    from generate_series(1, 8) n;
  insert into compute_connections (id, name, provider_id, execution_role_arn, region)
    values (${idOf('1')}, 'many', ${idOf('1')}, 'arn:aws:iam::111122223333:role/omics', 'us-west-2');
  insert into flows (id, name, compute_connection_id, shared_workflow_id, workflow_owner_id)
    select ${idOf('n')}, case when n = 20 then '${RARE} flow' else 'Bases2Fastq ' || n end, ${idOf('1')}, '1234567',
      '588258415937'
    from generate_series(1, 20) n;`;

/** Runs of five years: most completed and are sequencing runs, and only the newest upload. */
const RUNS = `
  insert into runs (id, storage_connection_id, instrument_name, parent_path, run_folder, run_name, upload_state,
      checked, outcome, blocked, run_parameters, instrument_metrics, progress, time_created, time_started,
      time_completed, time_updated)
    select ${idOf('n')}, ${idOf('1 + n % 8')}, name, name, '20260101_' || name || '_' || run, run, state,
      case when n % 97 = 0 then 'presence' else 'content' end, case when state <> 'uploading' then outcome end,
      case when n % 9973 = 0 then '{"kind": "ACCESS_DENIED", "message": "denied", "remedy": "allow it"}'::jsonb end,
      case when ${isRare} then ${jsonOf(RARE_RUN)} when n % 5000 = 1 then ${jsonOf(RARE_MULTIOMICS_RUN)}
          when n % 33 = 1 then ${jsonOf(MULTIOMICS_RUN)} else ${jsonOf(USUAL_RUN)} || kit end
        || jsonb_build_object('runName', run, 'instrumentName', name, 'date', at, 'runDescription',
          case when ${isRare} then '${RARE} genome' else 'Plate ' || n % 97 || topic || n % 4001 end),
      case when ${isRare} then ${jsonOf(RARE_METRICS)} when n % 91 > 0 then metrics end,
      case when state = 'uploading' then case when n % 10 = 0 then ${jsonOf({ ...PROGRESS, stalled: true })}
        else ${jsonOf(PROGRESS)} end end,
      at, case when n % 101 > 0 then at end, case when state <> 'uploading' then at + interval '1 day' end,
      at + n % 50 * interval '1 hour'
    from (select n, total, ${oneOf(TOPICS)} as topic, ${oneJson(METRICS)} as metrics,
        ${oneJson(KITS.map((kitConfiguration) => ({ kitConfiguration })))} as kit,
        case when ${isRare} then '${RARE}' || n % 3 else 'AV' || 240000 + n * 31 % 200 end as name,
        case when ${isRare} then '${RARE}-' else 'RUN-' end || lpad(n::text, 7, '0') as run,
        timestamptz '2021-01-01' + n * interval '5 years' / total as at,
        case when n > total - 400 then 'uploading' when n % 50 = 3 then 'refused' when n % 500 = 9 then 'vanished'
          else 'complete' end as state,
        case when n % 31 = 0 then 'failed' when n % 103 = 0 then 'stopped' when n % 107 = 0 then 'unknown'
          else 'completed' end as outcome
      from (select n, $1::bigint as total from generate_series($2::bigint, $3::bigint) n) as numbered) as each`;

/** An execution of each run. Only the newest are open. */
const EXECUTIONS = `
  insert into executions (id, name, flow_id, run_id, compute_connection_id, storage_connection_id, trigger, started_by,
      status, status_description, blocked, workflow_name, output_uri, time_created, time_started, time_completed,
      time_updated)
    select ${idOf('n')}, case when ${isRare} then '${RARE}-' else 'EX-' end || lpad(n::text, 7, '0'),
      ${idOf(`case when ${isRare} then 20 else 1 + n * 7 % 19 end`)}, ${idOf('n')}, ${idOf('1')}, ${idOf('1 + n % 8')},
      'auto', case when ${isRare} then '${RARE}' else ${oneOf(['polony', 'lims', 'ada', 'barbara', 'rosalind'], 3)} end,
      status, 'From the list', case when status = 'INITIALIZED' and n % 20 = 0
        then '{"kind": "ACCESS_DENIED", "message": "denied", "remedy": "allow it"}'::jsonb end,
      case when ${isRare} then '${RARE}' when n % 3 > 0 then 'bases2fastq ' || n % 3 end,
      's3://many-' || 1 + n % 8 || '/runs/' || n, at, case when status <> 'INITIALIZED' then at end,
      case when status in ('COMPLETED', 'FAILED', 'CANCELED') then at + interval '3 hours' end,
      at + n % 50 * interval '1 hour'
    from (select n, total, timestamptz '2021-01-02' + n * interval '5 years' / total as at,
        case when n > total - 300 then ${oneOf(['INITIALIZED', 'PENDING', 'RUNNING'])} when n % 20 = 3 then 'FAILED'
          when n % 40 = 7 then 'CANCELED' else 'COMPLETED' end as status
      from (select n, $1::bigint as total from generate_series($2::bigint, $3::bigint) n) as numbered) as each`;

/** The storage connection `many 1`: the prefix `runs` of the bucket `many-1`. */
export const MANY_STORAGE = '01920000-0000-7000-8000-000000000001';

/** Inserts what runs refer to, among it {@link MANY_STORAGE}. */
export async function insertReferences(url: string): Promise<void> {
  const client = await connect(url);
  await client.query(REFERENCES).finally(() => client.end());
}

/** The indexes of runs and executions that no constraint has, as statements that create them. */
const INDEXES = `
  select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition from pg_index i
  where i.indrelid in ('runs'::regclass, 'executions'::regclass)
    and not exists (select from pg_constraint c where c.conindid = i.indexrelid)`;

/**
 * Fills the lists with so many runs and an execution of each, distributed like those of a busy installation; see
 * {@link RARE}. The database is one without rows.
 * @param url of the database, as a role that may do everything
 */
export async function insertManyRuns(url: string, count: number): Promise<void> {
  const clients = await Promise.all([0, 1].map(() => connect(url)));
  const [one, other] = clients as [pg.Client, pg.Client];
  try {
    await one.query(REFERENCES);
    // To create an index of many rows is many times faster than to insert them into it.
    const { rows } = await one.query<{ name: string; definition: string }>(INDEXES);
    for (const { name } of rows) await one.query(`drop index ${name}`);
    const middle = Math.floor(count / 2);
    await Promise.all([
      one.query(RUNS, [count, 1, middle]),
      other.query(RUNS, [count, middle + 1, count]).then(() => other.query(EXECUTIONS, [count, 1, count])),
    ]);
    const definitions = rows.map(({ definition }) => definition);
    // The first one takes the longest.
    definitions.sort((first, second) => Number(second.includes('gin')) - Number(first.includes('gin')));
    await Promise.all(
      clients.map(async (client) => {
        for (let next = definitions.shift(); next !== undefined; next = definitions.shift()) await client.query(next);
      }),
    );
    // As autovacuum does soon after so many changes.
    await one.query('vacuum analyze');
  } finally {
    for (const client of clients) await client.end();
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  // Without the triggers, which would tell of each row, and the checks of foreign keys.
  await client.query('set session_replication_role = replica');
  await client.query("set maintenance_work_mem = '2GB'");
  // The other connection uses the other core.
  await client.query('set max_parallel_maintenance_workers = 0');
  return client;
}

/** By the kind of a filter word, a value that few rows have. */
const SAMPLES: Readonly<Record<FilterField['kind'], (field: FilterField) => string>> = {
  string: () => `:${RARE}`,
  enum: (field) => `:${field.kind === 'enum' ? field.values[0] : ''}`,
  boolean: () => ':true',
  date: () => ':2023-02-03',
  number: () => '>40',
};
/** The words for which that value finds nothing, or everything. */
const OWN_SAMPLES: Readonly<Record<string, string>> = {
  'setup.sequencing.polony_density': ':high',
  'metrics.sequencing.error_rate': '>5',
  'metrics.sequencing.phix_alignment_rate': '>5',
  'metrics.sequencing.q30': '>99',
  'metrics.sequencing.q40': '>98',
  'metrics.sequencing.q50': '>97',
  'metrics.sequencing.avg_q': '>48',
  'metrics.sequencing.total_reads': '>4000000000',
  'metrics.sequencing.total_yield': '>800000000000',
  status: ':failed',
  id: ':01920000-0000-7000-8000-000000001234',
  'input.run.id': ':01920000-0000-7000-8000-000000001234',
  'storage.connection_id': ':01920000-0000-7000-8000-000000000003',
};

/** A filter of runs or executions for each word, and one without a word. Most find few rows, and none of the newest. */
export function sampleFilters(fields: FilterFields): string[] {
  return [
    ...Object.entries(fields).map(([name, field]) => `${name}${OWN_SAMPLES[name] ?? SAMPLES[field.kind](field)}`),
    RARE,
  ];
}
