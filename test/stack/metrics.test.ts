import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Db, newId } from '../../store/database.js';
import { readMetrics } from '../../store/metrics.js';
import { startTestPostgres, type TestPostgres } from '../postgres.js';

let postgres: TestPostgres;
let db: Db;

/** The values of a metric by its labels, joined with a slash. */
async function read(metric: string): Promise<Record<string, number>> {
  const readings = await readMetrics(db);
  return Object.fromEntries(
    readings
      .filter((each) => each.metric === metric)
      .map(({ labels, value }) => [Object.values(labels).join('/'), Math.round(value)]),
  );
}

const blocked = (kind: string): string =>
  JSON.stringify({ kind, message: '', remedy: '', since: new Date(Date.now() - 3_600_000).toISOString() });

beforeAll(async () => {
  postgres = await startTestPostgres();
  db = postgres.db;
  const ids = { compute: newId(), flow: newId(), storage: newId() };
  // More providers than a label may have values. The last one has most of what is blocked.
  for (let number = 0; number < 103; number++) {
    const provider = newId();
    await sql`insert into providers (id, name, default_region, credential_type, role_arn, external_id)
      values (${provider}, ${`lab ${number}`}, 'us-west-2', 'role', 'arn:aws:iam::111122223333:role/r', ${`x-${number}`})`.execute(
      db,
    );
    const compute = number === 102 ? ids.compute : newId();
    await sql`insert into compute_connections (id, name, provider_id, execution_role_arn, region)
      values (${compute}, ${`omics ${number}`}, ${provider}, 'arn', 'us-west-2')`.execute(db);
    const storage = number === 102 ? ids.storage : newId();
    await sql`insert into storage_connections (id, name, provider_id, region, bucket, prefix, use_for_run_upload,
      use_for_data_exploration) values (${storage}, ${`runs ${number}`}, ${provider}, 'us-west-2', 'b', '', true, true)`.execute(
      db,
    );
    await addRun(storage, `AV${number}`, 'uploading', { blocked: blocked('ACCESS_DENIED') });
  }
  await sql`insert into flows (id, name, compute_connection_id, shared_workflow_id, workflow_owner_id)
    values (${ids.flow}, 'b2f', ${ids.compute}, '1', '444455556666')`.execute(db);
  const run = await addRun(ids.storage, 'stalled', 'uploading', { progress: '{"stalled": true}' });
  await addRun(ids.storage, 'done', 'complete', { completed: '1 hour' });
  await addRun(ids.storage, 'long ago', 'complete', { completed: '2 days' });
  for (const [status, reason] of [
    ['INITIALIZED', 'QUOTA'],
    ['INITIALIZED', 'QUOTA'],
    ['INITIALIZED', null],
    ['RUNNING', null],
    ['COMPLETED', 'QUOTA'],
  ] as const) {
    const id = newId();
    await sql`insert into executions (id, name, flow_id, run_id, compute_connection_id, storage_connection_id, trigger,
        started_by, status, blocked, output_uri, time_created)
      values (${id}, 'e', ${ids.flow}, ${run}, ${ids.compute}, ${ids.storage}, 'api', 'me', ${status},
        ${reason === null ? null : blocked(reason)}::jsonb, 's3://b/', now() - interval '1 hour')`.execute(db);
    if (status === 'INITIALIZED' && reason === null)
      await sql`insert into start_queue (execution_id, scope, flow_id, due_at, time_queued)
        values (${id}, '111122223333/us-west-2', ${ids.flow}, now(), now() - interval '1 hour')`.execute(db);
  }
});
afterAll(() => postgres.stop());

async function addRun(
  storage: string,
  instrument: string,
  state: string,
  more: { blocked?: string; progress?: string; completed?: string },
): Promise<string> {
  const id = newId();
  await sql`insert into runs (id, storage_connection_id, instrument_name, run_folder, run_name, parent_path,
      upload_state, blocked, progress, time_completed)
    values (${id}, ${storage}, ${instrument}, 'f', 'r', ${instrument}, ${state}, ${more.blocked ?? null}::jsonb,
      ${more.progress ?? null}::jsonb, now() - ${more.completed ?? null}::interval)`.execute(db);
  return id;
}

it('counts executions that have not ended, and what blocks them', async () => {
  expect(await read('executions')).toEqual({ UNTRIGGERED: 0, INITIALIZED: 3, PENDING: 0, RUNNING: 1 });
  const groups = await read('blocked');
  expect(groups['execution/QUOTA/lab 102']).toBe(2);
  expect(Object.keys(groups).length).toBeLessThan(103);
  expect(groups['run/ACCESS_DENIED/other']).toBe(4);
  expect(Object.values(groups).reduce((sum, value) => sum + value, 0)).toBe(105);
});

it('counts uploads, with those that ended within a day', async () => {
  expect(await read('uploads')).toEqual({ uploading: 104, complete: 1, refused: 0, vanished: 0 });
  expect(await read('uploadsStalled')).toEqual({ stalled: 1 });
});

it('counts the runs that are watched in each account and region', async () => {
  await sql`insert into watches (execution_id, scope, task_token, probing)
    select id, '111122223333/us-west-2', 'token', false from executions where status <> 'COMPLETED'`.execute(db);
  expect(await read('watched')).toEqual({ '111122223333/us-west-2': 4 });
});

it('says how long things wait', async () => {
  expect(await read('startQueue')).toEqual({ '111122223333/us-west-2': 1 });
  expect((await read('startQueueAge'))['111122223333/us-west-2']).toBeGreaterThanOrEqual(3600);
  const oldest = await read('oldestWaiting');
  for (const kind of ['start', 'workflow', 'blocked']) expect(oldest[kind], kind).toBeGreaterThanOrEqual(3600);
  for (const kind of ['cancel', 'webhook']) expect(oldest[kind], kind).toBe(0);
});

it('names API keys that expire soon or have just expired, and no others', async () => {
  for (const [name, days, revoked] of [
    ['soon', 3, false],
    ['just expired', -2, false],
    ['later', 90, false],
    ['long expired', -30, false],
    ['revoked', 3, true],
  ] as const)
    await sql`insert into api_keys (id, name, hash, scopes, created_by, time_expires, time_revoked)
      values (${newId()}, ${name}, ${Buffer.alloc(32)}, '["runs:read"]', 'me', now() + ${`${days} days`}::interval,
        ${revoked ? new Date() : null})`.execute(db);
  const replaced = newId();
  await sql`insert into api_keys (id, name, hash, scopes, created_by, time_expires)
    values (${replaced}, ${`soon (replaced, ${replaced.slice(-8)})`}, ${Buffer.alloc(32)}, '["runs:read"]', 'me',
      now() + interval '1 day')`.execute(db);
  const names = Object.keys(await read('keyExpiry')).map((labels) => labels.split('/')[1]);
  expect(names).toEqual(['just expired', 'soon']);
});

it('counts webhooks, and the deliveries that their receivers do not accept', async () => {
  const [dead, off, gone] = [newId(), newId(), newId()];
  for (const [id, enabled, reason] of [
    [dead, true, null],
    [off, false, null],
    [gone, false, 'The receiver answered 410 Gone'],
  ] as const)
    await sql`insert into webhooks (id, url, description, event_types, enabled, disabled_reason)
      values (${id}, 'https://example.org', '', '{}', ${enabled}, ${reason})`.execute(db);
  for (const [webhook, state, ended] of [
    [dead, 'retrying', null],
    [dead, 'failed', '10 minutes'],
    [dead, 'failed', '2 days'],
    [dead, 'pending', null],
    [off, 'failed', '10 minutes'],
  ] as const)
    await sql`insert into webhook_deliveries (id, webhook_id, event_id, event_type, event_sequence, event_data,
        time_event, state, time_ended)
      values (${newId()}, ${webhook}, ${newId()}, 'run.failed', 1, '{}', now() - interval '1 hour', ${state},
        now() - ${ended}::interval)`.execute(db);
  expect(await read('webhooks')).toEqual({ enabled: 1, disabled: 1, gone: 1 });
  expect(await read('webhookDeliveries')).toEqual({ pending: 1, retrying: 1 });
  expect(await read('webhookFailing')).toEqual({ [dead]: 2 });
  expect((await read('oldestWaiting')).webhook).toBeGreaterThanOrEqual(3600);
});
