import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler, sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildApp } from '../../api/app.js';
import { AwsSessions } from '../../aws/sessions.js';
import { EXECUTION_FILTER, EXECUTION_ORDER } from '../../domain/executions/filter.js';
import type { FilterFields } from '../../domain/filters/filter.js';
import { parseFilter } from '../../domain/filters/parse.js';
import { RUN_FILTER, RUN_ORDER } from '../../domain/runs/filter.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import type { Db } from '../../store/database.js';
import { updateExecution } from '../../store/executions/update.js';
import { countExecutions, countExecutionsByStatus, listExecutions } from '../../store/executions/list.js';
import { insertRuns } from '../../store/runs/discovery.js';
import { countRunsByStatus, listRuns } from '../../store/runs/list.js';
import { type RunChange, updateRun } from '../../store/runs/update.js';
import { createExecution } from '../../store/executions/create.js';
import { createProviderLoader } from '../../store/connections/providerLoader.js';
import type { Database, UploadState } from '../../store/schema.js';
import { Secrets } from '../../store/secrets.js';
import { answerChecker, type OpenApi, vendorContract } from '../openapi.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';
import { stubOrchestrator } from '../stubOrchestrator.js';

const ROOT = 'root-key-0123456789-abcdefgh';
interface Run {
  id: string;
  name: string;
  status: string;
  type: string;
  metrics: { sequencing: object | null };
  timeStarted: string | null;
}
interface Body {
  runs: Run[];
  executions: { id: string; name: string; status: string }[];
  totalCount: number;
  nextPageToken: string;
  previousPageToken: string;
  instruments: { serialNumber: string; softwareVersion: string | null; status: string; timeLastConnected: string }[];
  instrument: { serialNumber: string };
  metrics: { runId: string; runName: string; time: string; q30: number | null; percentAssigned: number | null }[];
  run: Run;
  details: { reason: string; metadata: { field: string; rule: string } }[];
  message: string;
  apiKey: { id: string };
  key: string;
}

let postgres: TestPostgres;
let db: Db;
let app: FastifyInstance;
let aws: AwsSessions;
let check: ReturnType<typeof answerChecker>;
let storage: { id: string };
const ids = new Map<string, string>();
const vendor = vendorContract();
delete (vendor.components.schemas.ErrorDetail as { properties: { domain: { const?: string } } }).properties.domain
  .const;
const vendorCheck = answerChecker(vendor);

async function get(url: string, key = ROOT): Promise<{ status: number; body: Body }> {
  const response = await app.inject({ method: 'GET', url, headers: { 'x-api-key': key } });
  const body = response.json<Body>();
  expect(check('GET', url, response.statusCode, body)).toEqual([]);
  // The vendor's contract has no metrics of instruments.
  if (!url.includes('/metrics')) expect(vendorCheck('GET', url, response.statusCode, body)).toEqual([]);
  return { status: response.statusCode, body };
}
/** For routes that the vendor's contract does not have. */
async function ask(url: string, key = ROOT): Promise<{ status: number; body: Body }> {
  const response = await app.inject({ method: 'GET', url, headers: { 'x-api-key': key } });
  const body = response.json<Body>();
  expect(check('GET', url, response.statusCode, body)).toEqual([]);
  return { status: response.statusCode, body };
}
async function post(url: string, payload: object): Promise<Body> {
  const response = await app.inject({ method: 'POST', url, headers: { 'x-api-key': ROOT }, payload });
  expect([url, response.statusCode]).toEqual([url, 201]);
  return response.json();
}
const parameters = (fields: object): NonNullable<RunChange['parameters']> =>
  parseRunParameters(JSON.stringify({ RunName: 'r', InstrumentName: 'AV1', ...fields }));
async function run(name: string, change: RunChange = {}, instrument = 'AV1'): Promise<void> {
  const folder = `20260101_${instrument}_${name}`;
  const id = (await insertRuns(db, storage.id, instrument, instrument, [{ folder, runName: name }])).get(folder)!.id;
  ids.set(name, id);
  await updateRun(db, id, {
    ...change,
    ...(change.parameters !== undefined && { parameters: { ...change.parameters, runName: name } }),
  });
}
const found = async (filter: string, what = 'runs'): Promise<string[]> => {
  const { status, body } = await get(`/v1/${what}?includeTotalCount=true&filter=${encodeURIComponent(filter)}`);
  expect([filter, status, body.message]).toEqual([filter, 200, undefined]);
  const names = (what === 'runs' ? body.runs : body.executions).map(({ name }) => name).sort();
  expect(body.totalCount).toBe(names.length);
  return names;
};

beforeAll(async () => {
  postgres = await startTestPostgres();
  db = postgres.db;
  const secrets = new Secrets([]);
  aws = new AwsSessions({ sessionSeconds: 3600, ...createProviderLoader(db, secrets) });
  app = await buildApp({
    db,
    databaseUrl: postgres.url,
    secrets,
    aws,
    orchestrator: stubOrchestrator,
    apiKey: ROOT,
    errorDomain: 'polony',
  });
  check = answerChecker(
    (await app.inject({ method: 'GET', url: '/openapi.json', headers: { 'x-api-key': ROOT } })).json<OpenApi>(),
  );
  const { provider } = (await post('/v1/providers', {
    name: 'lab',
    defaultRegion: 'us-west-2',
    credentialType: 'role',
    roleArn: 'arn:aws:iam::111122223333:role/lab',
    externalId: 'lab-7f3a',
  })) as unknown as { provider: { id: string } };
  storage = (
    (await post('/v1/storage-connections', {
      name: 'runs',
      providerId: provider.id,
      region: 'us-west-2',
      bucket: 'lab',
      useForRunUpload: true,
      useForDataExploration: true,
    })) as unknown as { storageConnection: { id: string } }
  ).storageConnection;
  await run('uploading');
  await run('whole', {
    uploadState: 'complete',
    outcome: 'completed',
    timeCompleted: new Date('2026-02-03T10:00:00Z'),
    parameters: parameters({
      KitConfiguration: '2x150 High Output',
      LibraryType: 'Circular',
      LowDiversity: true,
      RunDescription: '50% of _all_',
      PlatformVersion: '3.2.1',
      Date: '2026-02-01T08:00:00.123456789Z',
      AdvancedSettings: { PolonyDensity: 'HighDensity' },
    }),
  });
  await run('failed', {
    uploadState: 'refused',
    outcome: 'failed',
    parameters: parameters({ KitConfiguration: '2x300', PlatformVersion: '3.3.0', Date: 'never' }),
  });
  await run('cells', {
    uploadState: 'refused',
    outcome: 'completed',
    parameters: parameters({ RunType: 'Cytoprofiling', PanelName: 'MAPK panel', WellLayout: 'TwelveWellStandard' }),
  });
  await run(
    'other',
    {
      uploadState: 'complete',
      outcome: 'completed',
      parameters: parameters({ InstrumentName: 'AV2', RunDescription: 'whole genome', PlatformVersion: '2.0.0' }),
    },
    'AV2',
  );
});
afterAll(async () => {
  await app?.close();
  aws?.close();
  await postgres?.stop();
});

describe('the run list', () => {
  it.each<[string, string[]]>([
    ['', ['cells', 'failed', 'other', 'uploading', 'whole']],
    ['status:failed', ['failed']],
    ['status:failed,completed', ['cells', 'failed', 'other', 'whole']],
    ['status:RUN_STATUS_SEQUENCING', ['uploading']],
    ['status!=completed', ['failed', 'uploading']],
    ['type:multiomics', ['cells']],
    ['output.kind:sequencing_run', ['failed', 'other', 'whole']],
    ['name:OLE', ['whole']],
    ['name:"hol"', []],
    ['name:"whole"', ['whole']],
    ['whole', ['other', 'whole']],
    ['whole instrument.name:AV1', ['whole']],
    ['instrument.serial_number:"AV1" status:completed', ['cells', 'whole']],
    ['description:%', ['whole']],
    ['description:_', ['whole']],
    ['description:"50% of _all_"', ['whole']],
    ["description:'", []],
    ['tags:x', []],
    ['tags!=x', ['cells', 'failed', 'other', 'uploading', 'whole']],
    ['setup.sequencing.kit_name:"2x150 High Output"', ['whole']],
    ['setup.sequencing.kit_name!=2x150', ['cells', 'failed', 'other', 'uploading']],
    ['setup.sequencing.polony_density:high setup.sequencing.library_structure:circular', ['whole']],
    ['setup.sequencing.low_diversity:true', ['whole']],
    ['setup.sequencing.low_diversity:false', ['failed', 'other', 'uploading']],
    ['setup.multiomics.kit_type:cytoprofiling setup.multiomics.well_layout:twelve_well_standard', ['cells']],
    ['setup.multiomics.panel.name:mapk', ['cells']],
    ['setup.sequencing.panel.name:mapk', []],
    ['time_completed:2026-02-03', ['whole']],
    ['time_completed>=2026-02-03 time_completed<2026-02-04', ['whole']],
    ['time_completed>2026-02-03', []],
    ['time_completed<=2026-02-03', ['whole']],
    ['time_completed!=2026-02-03', ['cells', 'failed', 'other', 'uploading']],
    ['time_started<2026-02-02', ['whole']],
    ['time_created>=1h', ['cells', 'failed', 'other', 'uploading', 'whole']],
    ['time_created<1h', []],
    ['storage.connection_id:nothing', []],
    ['setup.sequencing.pmg_shift>0', []],
  ])('finds runs by "%s"', async (filter, expected) => {
    expect(await found(filter)).toEqual(expected);
  });
  it('accepts every filter keyword', async () => {
    const samples = { string: 'x', enum: '', date: '2026-01-01', number: '1', boolean: 'true' };
    for (const [what, fields] of [
      ['runs', RUN_FILTER],
      ['executions', EXECUTION_FILTER],
    ] as const) {
      for (const [keyword, field] of Object.entries<FilterFields[string]>(fields)) {
        for (const operator of field.kind === 'date' || field.kind === 'number'
          ? [':', '!=', '>=', '<=', '>', '<']
          : [':', '!='])
          await found(`${keyword}${operator}${field.kind === 'enum' ? field.values[0]! : samples[field.kind]}`, what);
      }
    }
  });
  it('filters by the status that it shows, for every state of a run', async () => {
    const shown = new Map<string, string[]>();
    const states: UploadState[] = ['uploading', 'complete', 'refused', 'vanished'];
    for (const uploadState of states) {
      for (const outcome of ['completed', 'failed', 'stopped', 'unknown', null] as const) {
        for (const checked of ['content', 'presence'] as const) {
          for (const RunType of ['Sequencing', 'Cytoprofiling']) {
            const name = `state-${uploadState}-${outcome}-${checked}-${RunType}`;
            await run(
              name,
              { uploadState, checked, parameters: parameters({ RunType }), ...(outcome !== null && { outcome }) },
              'AV3',
            );
            const { status } = (await get(`/v1/runs/${ids.get(name)!}`)).body.run;
            shown.set(status, [...(shown.get(status) ?? []), name]);
          }
        }
      }
    }
    expect([...shown.keys()].sort()).toEqual(
      ['COMPLETED', 'DISCARDED', 'FAILED', 'SEQUENCING', 'STOPPED', 'UNSPECIFIED'].map((each) => `RUN_STATUS_${each}`),
    );
    for (const [status, names] of shown)
      expect(await found(`status:${status} instrument.name:AV3`)).toEqual(names.sort());
  });
  it('returns pages in both directions, with only the runs that the key may see', async () => {
    const first = (await get('/v1/runs?pageSize=2&filter=instrument.name:AV1')).body;
    const second = (await get(`/v1/runs?pageSize=2&filter=instrument.name:AV1&pageToken=${first.nextPageToken}`)).body;
    expect([...first.runs, ...second.runs].map(({ name }) => name)).toEqual(['cells', 'failed', 'whole', 'uploading']);
    expect(second.nextPageToken).toBe('');
    for (const other of ['', '&filter=instrument.name:AV2', '&filter=instrument.name:AV1,AV2'])
      expect((await get(`/v1/runs?pageToken=${first.nextPageToken}${other}`)).body.details[0]!.reason).toBe(
        'INVALID_PAGE_TOKEN',
      );
    const all = (await get('/v1/runs?pageSize=1')).body.nextPageToken;
    expect([
      (await get(`/v1/runs?filter=&pageToken=${all}`)).status,
      (await get(`/v1/runs?filter=whole&pageToken=${all}`)).status,
    ]).toEqual([200, 400]);
    expect(
      (await get(`/v1/runs?pageSize=2&filter=instrument.name:AV1&pageToken=${second.previousPageToken}`)).body.runs,
    ).toEqual(first.runs);
    const { key } = await post('/v1/api-keys', {
      name: 'narrow',
      scopes: [`runs:read:${ids.get('whole')!}`, `runs:read:${ids.get('other')!}`],
    });
    expect((await get('/v1/runs?includeTotalCount=true&filter=instrument.name:AV1', key)).body).toMatchObject({
      runs: [{ name: 'whole' }],
      totalCount: 1,
    });
  });
  it('rejects forged page tokens, and accepts times before the first run', async () => {
    const made = (list: string, ...position: unknown[]): string => {
      const text = JSON.stringify([list, 'after', ...position]);
      return Buffer.from(createHash('sha256').update(text).digest('base64url').slice(0, 8) + text).toString(
        'base64url',
      );
    };
    const id = ids.get('whole')!;
    for (const list of ['runs', 'executions', 'instruments', 'storage-connections']) {
      for (const key of [[id], [[id]], { length: 1 }, 5, null, 'nul\0', [], true])
        expect([list, key, (await get(`/v1/${list}?pageToken=${made(list, key)}`)).status]).toEqual([list, key, 400]);
    }
    expect((await get(`/v1/runs?pageToken=${made('runs', id)}`)).status).toBe(200);
    expect((await get('/v1/storage-connections?pageSize=2147483647')).status).toBe(200);
    // Values that PostgreSQL would reject.
    for (const [orderBy, value, expected] of [
      ['time_started', '2026-02-28 00:00:00+00', 200],
      ['time_started', '2026-02-28 00:00:00+05:30', 200],
      ['time_started', '0001-12-31 19:03:58-04:56:02 BC', 200],
      ['time_started', '10000-01-01 08:59:59+09', 200],
      ['time_started', '-infinity', 200],
      ['time_started', '2026-02-30 00:00:00+00', 400],
      ['time_started', '2026-13-01 00:00:00+00', 400],
      ['time_started', '0000-01-01 00:00:00+00', 400],
      ['metrics.sequencing.q30', '5e-324', 200],
      ['metrics.sequencing.q30', '0', 200],
      ['metrics.sequencing.q30', '-Infinity', 200],
      ['metrics.sequencing.q30', '1e-999', 400],
      ['metrics.sequencing.q30', `0.${'0'.repeat(390)}1`, 400],
      ['metrics.sequencing.q30', '1e999', 400],
    ] as const) {
      const list = `runs?${createHash('sha256').update(JSON.stringify({ orderBy })).digest('base64url').slice(0, 8)}`;
      const { status } = await get(`/v1/runs?orderBy=${orderBy}&pageToken=${made(list, id, value)}`);
      expect([value, status]).toEqual([value, expected]);
    }
    expect(await found('time_created>=99999y instrument.name:AV2')).toEqual(['other']);
    expect(await found('time_created<99999mo')).toEqual([]);
  });
  it('reports the column of an error in the filter', async () => {
    const { status, body } = await get(`/v1/runs?filter=${encodeURIComponent('status:failed nmae:x')}`);
    expect([
      status,
      body.details[0]!.metadata.field,
      body.details[0]!.metadata.rule,
      body.message.startsWith('filter: at column 15: there is no keyword nmae'),
    ]).toEqual([400, 'filter', 'FILTER_KEYWORD', true]);
    expect((await get('/v1/executions?filter=type:sequencing')).status).toBe(400);
  });
});

describe('the execution list', () => {
  it('filters executions, and runs show the metrics of their executions', async () => {
    const { provider_id: providerId } = await db
      .selectFrom('storage_connections')
      .selectAll()
      .where('id', '=', storage.id)
      .executeTakeFirstOrThrow();
    const { computeConnection } = (await post('/v1/compute-connections', {
      name: 'omics',
      providerId,
      executionRoleArn: 'arn:aws:iam::111122223333:role/omics',
      region: 'us-west-2',
    })) as unknown as { computeConnection: { id: string } };
    const { flow } = (await post('/v1/flows', {
      name: 'b2f',
      computeConnectionId: computeConnection.id,
      sharedWorkflowId: '1234567',
      workflowOwnerId: '588258415937',
    })) as unknown as { flow: { id: string } };
    const row = await db
      .selectFrom('storage_connections')
      .selectAll()
      .where('id', '=', storage.id)
      .executeTakeFirstOrThrow();
    const start = async (name: string, runName: string): Promise<string> =>
      (
        await createExecution(db, {
          name,
          flow: { id: flow.id, name: 'b2f', computeConnectionId: computeConnection.id },
          run: { id: ids.get(runName)!, name: runName, storageConnectionId: storage.id, uploadState: 'complete' },
          storage: row,
          trigger: 'api',
          startedBy: 'lims',
        })
      ).id!;
    const [one] = [await start('first', 'whole'), await start('second', 'other')];
    await updateExecution(db, one, {
      status: 'COMPLETED',
      timeCompleted: new Date('2026-02-05T00:00:00Z'),
      summary: {
        numPolonies: 764753786,
        totalYield: 228.228710818,
        percentQ30: 97.3,
        percentQ40: 92.9,
        qualityScoreMean: 43.1,
        samples: [],
        files: { count: 1, bytes: 1, fastq: 1 },
        warnings: [],
      },
    });
    for (const [filter, expected] of [
      ['', ['first', 'second']],
      ['status:completed', ['first']],
      ['status:initialized', ['second']],
      ['output.kind:fastq', ['first']],
      ['input.run.name:OTHER', ['second']],
      [`input.run.id:"${ids.get('whole')!}"`, ['first']],
      ['input.run.instrument_name:AV2', ['second']],
      ['flow.name:b2f', ['first', 'second']],
      ['workflow.name:bases2fastq', ['first', 'second']],
      ['started_by:lims', ['first', 'second']],
      ['platform:aws_omics', ['first', 'second']],
      ['platform:seqera', []],
      ['time_completed>=2026-02-05', ['first']],
      ['input.execution.id:x', []],
      ['AV2', ['second']],
    ] as [string, string[]][])
      expect([filter, await found(filter, 'executions')]).toEqual([filter, expected]);
    expect((await get(`/v1/runs/${ids.get('whole')!}`)).body.run.metrics.sequencing).toEqual({
      totalReads: 764753786,
      totalYield: 228228710818,
      q30: 97.3,
      q40: 92.9,
      avgQ: 43.1,
    });
    expect(await found('metrics.sequencing.q30>=97 metrics.sequencing.total_yield>228000000000')).toEqual(['whole']);
    expect(await found('metrics.sequencing.q30<97')).toEqual([]);
    // Metrics of the instrument take precedence over metrics of an execution.
    await updateRun(db, ids.get('whole')!, {
      instrumentMetrics: { totalReads: 800000000, q30: 96.1, errorRate: 0.31, phixAlignmentRate: 1.2 },
    });
    expect((await get(`/v1/runs/${ids.get('whole')!}`)).body.run.metrics.sequencing).toEqual({
      totalReads: 800000000,
      totalYield: 228228710818,
      q30: 96.1,
      q40: 92.9,
      avgQ: 43.1,
      errorRate: 0.31,
      phixAlignmentRate: 1.2,
    });
    expect(
      await found(
        'metrics.sequencing.q30<97 metrics.sequencing.error_rate<=0.31 ' +
          'metrics.sequencing.phix_alignment_rate>1 metrics.sequencing.q40>92',
      ),
    ).toEqual(['whole']);
    expect(await found('metrics.sequencing.error_rate>0.31')).toEqual([]);
    // A run of another type shows no sequencing metrics, so the filter does not find it.
    await updateRun(db, ids.get('cells')!, { instrumentMetrics: { q30: 50 } });
    expect([
      (await get(`/v1/runs/${ids.get('cells')!}`)).body.run.metrics.sequencing,
      await found('metrics.sequencing.q30<97'),
    ]).toEqual([null, ['whole']]);
  });
});

describe('the instrument list', () => {
  it('contains the metrics of the runs of an instrument over time, as far as the key may see the runs', async () => {
    await updateRun(db, ids.get('whole')!, { instrumentMetrics: { totalReads: 800000000, q30: 96.1 } });
    const { body } = await get('/v1/instruments/AV1/metrics');
    // Runs of another type have no such metrics.
    expect(body.metrics.map(({ runName, q30 }) => [runName, q30])).toEqual([
      ['failed', null],
      ['whole', 96.1],
      ['uploading', null],
    ]);
    expect(body.metrics[1]).toMatchObject({
      runId: ids.get('whole'),
      status: 'RUN_STATUS_COMPLETED',
      kitName: '2x150 High Output',
      polonyDensity: 'HighDensity',
      totalReads: 800000000,
      errorRate: null,
    });
    const names = async (query: string, key = ROOT): Promise<string[]> =>
      (await get(`/v1/instruments/AV1/metrics?${query}`, key)).body.metrics.map(({ runName }) => runName);
    const start = '2026-02-01T08:00:00.123Z';
    expect(await names(`until=2026-02-02T00:00:00Z`)).toEqual(['whole']);
    expect([await names(`since=${start}`), await names(`until=${start}`)]).toEqual([
      ['failed', 'whole', 'uploading'],
      [],
    ]);
    const first = (await get('/v1/instruments/AV1/metrics?pageSize=2')).body;
    expect(await names(`pageSize=2&pageToken=${first.nextPageToken}`)).toEqual(['uploading']);
    expect((await get(`/v1/instruments/AV2/metrics?pageSize=2&pageToken=${first.nextPageToken}`)).status).toBe(400);
    expect((await get('/v1/instruments/AV9/metrics')).status).toBe(404);
    const { key } = await post('/v1/api-keys', {
      name: 'one run',
      scopes: ['instruments:read:AV1', `runs:read:${ids.get('failed')!}`],
    });
    expect(await names('', key)).toEqual(['failed']);
    // The share of assigned polonies is a result of an execution.
    let keys = 0;
    const assignedFor = async (...scopes: string[]): Promise<(number | null)[]> => {
      const created = await post('/v1/api-keys', {
        name: `results ${++keys}`,
        scopes: ['instruments:read', 'runs:read', ...scopes],
      });
      return (await get('/v1/instruments/AV1/metrics', created.key)).body.metrics
        .filter(({ runName }) => runName === 'whole')
        .map(({ percentAssigned }) => percentAssigned);
    };
    const of = sql`where run_id = ${ids.get('whole')!}`;
    const { rows } = await sql<{ id: string; status: string; summary: unknown }>`
      select id, status, summary from executions ${of} order by id desc limit 1`.execute(db);
    const { id, status, summary } = rows[0]!;
    await sql`update executions set status = 'COMPLETED', summary = '{"percentAssignedReads": 87.5}' where id = ${id}`.execute(
      db,
    );
    expect(await assignedFor('executions:read')).toEqual([87.5]);
    expect(await assignedFor(`executions:read:${id}`)).toEqual([87.5]);
    const other = await sql<{ id: string }>`
      select id from executions where run_id <> ${ids.get('whole')!} limit 1`.execute(db);
    expect(await assignedFor(`executions:read:${other.rows[0]!.id}`)).toEqual([null]);
    expect(await assignedFor()).toEqual([null]);
    await sql`
      update executions set status = ${status}, summary = ${summary === null ? null : JSON.stringify(summary)}
      where id = ${id}`.execute(db);
    const { key: none } = await post('/v1/api-keys', { name: 'no run', scopes: ['instruments:read:AV1'] });
    expect([await names('', none), (await get('/v1/instruments/AV2/metrics', none)).status]).toEqual([[], 404]);
  });
  it('contains the instruments of all runs, with the software version of the latest run', async () => {
    const { body } = await get('/v1/instruments');
    expect(
      body.instruments.map(({ serialNumber, softwareVersion, status }) => [serialNumber, softwareVersion, status]),
    ).toEqual([
      ['AV1', '3.3.0', 'INSTRUMENT_STATUS_ACTIVE'],
      ['AV2', '2.0.0', 'INSTRUMENT_STATUS_ACTIVE'],
      ['AV3', null, 'INSTRUMENT_STATUS_ACTIVE'],
    ]);
    // An update of an older run does not change the version.
    await updateRun(db, ids.get('whole')!, {
      parameters: parameters({ KitConfiguration: '2x150 High Output', PlatformVersion: '3.2.2' }),
    });
    expect((await get('/v1/instruments/AV1')).body.instrument).toMatchObject({
      serialNumber: 'AV1',
      name: 'AV1',
      model: 'AVITI',
      softwareVersion: '3.3.0',
    });
    for (const serial of ['AV9', 'av1', '%00', '..%2F', encodeURIComponent("'; --")])
      expect([serial, (await get(`/v1/instruments/${serial}`)).status]).toEqual([serial, 404]);
    await db
      .updateTable('instruments')
      .set({ time_last_connected: sql`now() - interval '1 year'` })
      .where('serial_number', '=', 'AV3')
      .execute();
    expect((await get('/v1/instruments')).body.instruments[2]!.status).toBe('INSTRUMENT_STATUS_INACTIVE');
  });
  it('returns pages and only the instruments that the key may see', async () => {
    const first = (await get('/v1/instruments?pageSize=2')).body;
    const second = (await get(`/v1/instruments?pageSize=2&pageToken=${first.nextPageToken}`)).body;
    expect([...first.instruments, ...second.instruments].map(({ serialNumber }) => serialNumber)).toEqual([
      'AV1',
      'AV2',
      'AV3',
    ]);
    expect((await get('/v1/instruments?pageSize=5000')).status).toBe(200);
    const { key } = await post('/v1/api-keys', { name: 'av2', scopes: ['instruments:read:AV2'] });
    expect((await get('/v1/instruments', key)).body.instruments.map(({ serialNumber }) => serialNumber)).toEqual([
      'AV2',
    ]);
    expect([(await get('/v1/instruments/AV2', key)).status, (await get('/v1/instruments/AV1', key)).status]).toEqual([
      200, 404,
    ]);
  });
});

describe('counts and orders', () => {
  it('describes the keywords, and lists the values that occur among what the key may see', async () => {
    for (const [what, fields, order] of [
      ['runs', RUN_FILTER, RUN_ORDER],
      ['executions', EXECUTION_FILTER, EXECUTION_ORDER],
    ] as const) {
      const described = (await ask(`/v1/${what}/filter-fields`)).body as unknown as {
        fields: { name: string; isSortable: boolean; listsValues: boolean; values: string[]; description: string }[];
      };
      expect(described.fields.map(({ name }) => name)).toEqual(Object.keys(fields));
      expect(
        described.fields
          .filter(({ isSortable }) => isSortable)
          .map(({ name }) => name)
          .sort(),
      ).toEqual(Object.keys(order).sort());
      for (const { name, listsValues, values, description } of described.fields) {
        expect([name, description.length > 3]).toEqual([name, true]);
        const { status } = await ask(`/v1/${what}/filter-values?field=${name}`);
        expect([name, status]).toEqual([name, listsValues ? 200 : 400]);
        for (const value of values) expect((await get(`/v1/${what}?filter=${name}:${value}`)).status).toBe(200);
      }
    }
    const values = async (field: string, prefix = '', key = ROOT): Promise<string[]> =>
      (
        (await ask(`/v1/runs/filter-values?field=${field}&prefix=${encodeURIComponent(prefix)}`, key))
          .body as unknown as { values: string[] }
      ).values;
    expect(await values('instrument.name', 'av')).toEqual(expect.arrayContaining(['AV1', 'AV2']));
    expect(await values('name', 'OTH')).toEqual(['other']);
    expect(await values('name', '%')).toEqual([]);
    expect(await values('setup.sequencing.kit_name')).toEqual(['2x150 High Output', '2x300']);
    expect(await values('tags')).toEqual([]);
    const { key } = await post('/v1/api-keys', { name: 'values', scopes: [`runs:read:${ids.get('other')!}`] });
    expect(await values('instrument.name', '', key)).toEqual(['AV2']);
    const named = async (by: string): Promise<string[]> =>
      ((await ask('/v1/executions/filter-values?field=name', by)).body as unknown as { values: string[] }).values;
    expect(await named(ROOT)).toEqual(['first', 'second']);
    const { id } = await db
      .selectFrom('executions')
      .select('id')
      .where('name', '=', 'second')
      .executeTakeFirstOrThrow();
    const narrow = await post('/v1/api-keys', { name: 'one execution', scopes: [`executions:read:${id}`] });
    expect(await named(narrow.key)).toEqual(['second']);
    expect((await get('/v1/executions/filter-values?field=name', key)).status).toBe(403);
    expect((await ask('/v1/runs/filter-values?field=nmae')).body.details[0]!.metadata.rule).toBe('FILTER_KEYWORD');
    expect((await ask('/v1/runs/filter-values?field=time_created')).body.details[0]!.metadata).toMatchObject({
      field: 'field',
      rule: 'FILTER_VALUES',
    });
  });
  it('counts by status what the filter selects and the key may see, and finds what is blocked or stalled', async () => {
    const progress = {
      ...{ objects: 1, bytes: 1, cycles: 1, expectedCycles: 2, stalled: true },
      timeGrown: '2026-01-01T00:00:00.000Z',
    };
    const blocked = { kind: 'ACCESS_DENIED', message: 'denied', remedy: 'allow it' };
    await run('slow', { progress }, 'AV5');
    await run('stuck', { progress: { ...progress, stalled: false }, blocked }, 'AV5');
    // What an upload that has ended was like does not matter.
    await run('done', { uploadState: 'complete', outcome: 'completed', progress }, 'AV5');
    const count = async (filter: string, key = ROOT) =>
      (await ask(`/v1/runs/counts?filter=${encodeURIComponent(filter)}`, key)).body as unknown as {
        counts: Record<string, number>;
      };
    const counted = await count('instrument.name:AV5');
    expect(counted).toMatchObject({ blocked: 1, stalled: 1, total: 3 });
    expect(Object.entries(counted.counts).filter(([, number]) => number > 0)).toEqual([
      ['RUN_STATUS_SEQUENCING', 2],
      ['RUN_STATUS_COMPLETED', 1],
    ]);
    // Indexes alone answer for all runs, and they count the same.
    expect(await count('')).toEqual(await count('time_created>=2000-01-01'));
    expect(await found('instrument.name:AV5 blocked:true')).toEqual(['stuck']);
    expect(await found('instrument.name:AV5 stalled:true')).toEqual(['slow']);
    expect(await found('instrument.name:AV5 stalled:false')).toEqual(['done', 'stuck']);
    expect(await found('instrument.name:AV5 blocked!=true stalled!=true')).toEqual(['done']);
    const { key } = await post('/v1/api-keys', { name: 'counts', scopes: [`runs:read:${ids.get('slow')!}`] });
    expect(await count('', key)).toMatchObject({ blocked: 0, stalled: 1, total: 1 });
    expect((await ask('/v1/executions/counts', key)).status).toBe(403);
    expect((await ask('/v1/runs/counts?filter=nmae:x')).body.details[0]!.metadata.rule).toBe('FILTER_KEYWORD');
  });
  it('continues each order of executions on every page, forwards and backwards', async () => {
    const page = async (orderBy: string, size: number, token = '') => {
      const { status, body } = await get(
        `/v1/executions?pageSize=${size}&orderBy=${encodeURIComponent(orderBy)}&pageToken=${token}`,
      );
      expect([orderBy, status]).toEqual([orderBy, 200]);
      return { ...body, ids: (body.executions as { id: string }[]).map(({ id }) => id) };
    };
    // Several executions have the same run, flow and name, so that pages end between equal values.
    await sql`
      insert into executions select (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(),
        'name', 'copy ' || n % 3, 'time_created', now() - n % 4 * interval '1 day', 'started_by', 'copy'))).*
      from executions e, generate_series(1, 5) n`.execute(db);
    for (const keyword of Object.keys(EXECUTION_ORDER))
      for (const orderBy of [keyword, `${keyword} desc`]) {
        const { ids: all } = await page(orderBy, 1000);
        expect(all.length).toBeGreaterThan(4);
        const forwards: string[] = [];
        let last = '';
        for (let token: string | undefined; token !== '';) {
          const { ids, nextPageToken } = await page(orderBy, 3, token);
          forwards.push(...ids);
          last = token ?? '';
          token = nextPageToken;
        }
        expect([orderBy, forwards]).toEqual([orderBy, all]);
        let { ids: backwards, previousPageToken } = await page(orderBy, 3, last);
        while (previousPageToken !== '') {
          const before = await page(orderBy, 3, previousPageToken);
          backwards = [...before.ids, ...backwards];
          previousPageToken = before.previousPageToken;
        }
        expect([orderBy, backwards]).toEqual([orderBy, all]);
      }
    await sql`delete from executions where started_by = 'copy'`.execute(db);
  });

  it('sorts by every keyword in both directions, and pages continue in that order', async () => {
    const metrics = (q30: number) => ({ q30, totalYield: q30 * 1e9 });
    await run('b', { instrumentMetrics: metrics(80), timeCompleted: new Date('2026-01-02') }, 'AV6');
    await run('C', { instrumentMetrics: metrics(90.5), timeCompleted: new Date('2026-01-01') }, 'AV6');
    await run('a', { uploadState: 'refused', outcome: 'failed' }, 'AV6');
    await run('D', { instrumentMetrics: metrics(80) }, 'av6');
    const sorted = async (orderBy: string): Promise<string[]> => {
      const names: string[] = [];
      let before: Body | undefined;
      for (let token = ''; ;) {
        const { status, body } = await get(
          `/v1/runs?pageSize=1&filter=instrument.name:av6&orderBy=${encodeURIComponent(orderBy)}&pageToken=${token}`,
        );
        expect([orderBy, status, body.runs.length]).toEqual([orderBy, 200, 1]);
        if (before !== undefined) {
          const back = await get(
            `/v1/runs?pageSize=1&filter=instrument.name:av6&orderBy=${encodeURIComponent(orderBy)}` +
              `&pageToken=${body.previousPageToken}`,
          );
          expect(back.body.runs).toEqual(before.runs);
        }
        before = body;
        names.push(body.runs[0]!.name);
        token = body.nextPageToken;
        if (token === '') return names;
      }
    };
    const orders: Record<keyof typeof RUN_ORDER, string> = {
      time_created: 'bCaD',
      time_started: 'bCaD',
      time_completed: 'aDCb',
      time_updated: 'bCaD',
      name: 'abCD',
      'instrument.name': 'bCaD',
      status: 'abCD',
      'metrics.sequencing.total_yield': 'abDC',
      'metrics.sequencing.q30': 'abDC',
    };
    for (const [keyword, expected] of Object.entries(orders)) {
      expect([keyword, (await sorted(keyword)).join('')]).toEqual([keyword, expected]);
      expect([keyword, (await sorted(`${keyword} desc`)).join('')]).toEqual([
        keyword,
        [...expected].reverse().join(''),
      ]);
    }
    expect(await sorted('  metrics.sequencing.q30   DESC ')).toEqual(['C', 'D', 'b', 'a']);
    const token = (await get('/v1/runs?pageSize=1&orderBy=name')).body.nextPageToken;
    for (const orderBy of ['', 'name desc', 'status'])
      expect((await get(`/v1/runs?orderBy=${orderBy}&pageToken=${token}`)).body.details[0]!.reason).toBe(
        'INVALID_PAGE_TOKEN',
      );
    for (const [orderBy, rule] of [
      ['description', 'ORDER_KEYWORD'],
      ['__proto__', 'ORDER_KEYWORD'],
      ['name down', 'ORDER_DIRECTION'],
      ['name,status', 'ORDER_KEYWORDS'],
    ])
      expect((await get(`/v1/runs?orderBy=${orderBy}`)).body.details[0]!.metadata).toMatchObject({
        field: 'orderBy',
        rule,
      });
    expect((await ask('/v1/runs/blocked?orderBy=time_updated%20desc')).status).toBe(200);
    expect((await get('/v1/executions?orderBy=instrument.name')).status).toBe(400);
  });
  it('sorts and counts with indexes', async () => {
    const plan = async (query: string): Promise<string> =>
      postgres.asOwner((owner) =>
        owner.connection().execute(async (connection) => {
          await sql`set enable_seqscan = off`.execute(connection);
          await sql`set enable_sort = off`.execute(connection);
          const { rows } = await sql.raw<{ 'QUERY PLAN': string }>(`explain ${query}`).execute(connection);
          return rows.map((row) => row['QUERY PLAN']).join('\n');
        }),
      );
    const compiled = async (work: (logged: Db) => Promise<unknown>): Promise<string> => {
      const queries: string[] = [];
      const logging = new Kysely<Database>({
        dialect: {
          createAdapter: () => new PostgresAdapter(),
          createDriver: () => new DummyDriver(),
          createIntrospector: (of) => new PostgresIntrospector(of),
          createQueryCompiler: () => new PostgresQueryCompiler(),
        },
        log: ({ query }) => {
          queries.push(
            query.parameters.reduceRight<string>(
              (text, value, at) => text.replaceAll(`$${at + 1}`, `'${String(value)}'`),
              query.sql,
            ),
          );
        },
      });
      await work(logging).catch(() => undefined);
      return queries[0]!;
    };
    const indexOf = (keyword: string): string =>
      ({
        time_created: 'by_created',
        time_started: 'by_started',
        time_completed: 'by_completed',
        time_updated: 'by_updated',
        'instrument.name': 'by_instrument',
        'metrics.sequencing.total_yield': 'by_yield',
        'metrics.sequencing.q30': 'by_q30',
        'flow.name': 'flows_by_name',
        'input.run.name': 'runs_by_name',
        started_by: 'by_starter',
      })[keyword] ?? `by_${keyword}`;
    for (const keyword of Object.keys(RUN_ORDER) as (keyof typeof RUN_ORDER)[]) {
      const query = await compiled((logged) =>
        listRuns(logged, { limit: 10 }, { order: { keyword, descending: true } }),
      );
      expect([keyword, await plan(query)]).toEqual([keyword, expect.stringContaining(`runs_${indexOf(keyword)}`)]);
    }
    for (const keyword of Object.keys(EXECUTION_ORDER) as (keyof typeof EXECUTION_ORDER)[]) {
      const query = await compiled((logged) =>
        listExecutions(logged, { limit: 10 }, { order: { keyword, descending: true } }),
      );
      expect([keyword, await plan(query)]).toEqual([keyword, expect.stringContaining(indexOf(keyword))]);
    }
    const filtered = async (filter: string): Promise<string> =>
      plan(
        await compiled((logged) =>
          listRuns(logged, { limit: 10 }, { filter: parseFilter(filter, RUN_FILTER, new Date()) }),
        ),
      );
    expect(await filtered('blocked:true')).toContain('runs_blocked');
    // Two indexes begin with what is uploading, and PostgreSQL estimates with few rows which is cheaper.
    expect(await filtered('stalled:true')).toMatch(/runs_uploading|runs_by_outcome/);
    expect(await plan(await compiled((logged) => countRunsByStatus(logged)))).toMatch(
      /Index Only Scan using runs_by_outcome.*runs_blocked.*(runs_uploading|runs_by_outcome)/s,
    );
    expect(await plan(await compiled((logged) => countExecutions(logged)))).not.toMatch(/ on (runs|flows) /);
    expect(await plan(await compiled((logged) => countExecutionsByStatus(logged)))).toMatch(
      /executions_by_status.*executions_blocked/s,
    );
  });
});
