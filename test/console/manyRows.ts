import pg from 'pg';
import { type apiClient, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import { describeRun, runFiles } from '../../local/instrument.js';
import type { Stack } from '../../local/stack.js';
import { waitFor } from '../support.js';

/** The instruments of the runs: `AV0`, `AV1`, … */
const INSTRUMENTS = 20;

/** The id of a row, counted from 1. They sort by their number, as real ones by their time. */
const idOf = (number: string): string => `('01920000-0000-7000-8000-' || lpad(to_hex(${number}), 12, '0'))::uuid`;

/**
 * Fills the lists with so many runs `RUN-000001`, `RUN-000002`, …, and an execution `EX-…` of each. Every hundredth run
 * uploads, every hundredth execution runs, and every twentieth has failed. The worker of the stack ends before that, so
 * that nothing happens to them.
 */
export async function fillLists(stack: Stack, call: ReturnType<typeof apiClient>, rows: number): Promise<void> {
  const account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'many');
  const connected = await connectAccount(call, account);
  await waitFor('the verification of the connections', async () => {
    const path = `/v1/providers/${connected.providerId}/verification`;
    const answer = await call<{ verification: { parts: unknown[] } }>('GET', path).catch(() => undefined);
    return answer?.verification.parts.length === 4;
  });
  stack.worker?.kill();
  const run = describeRun();
  const file = [...runFiles(run)].find((each) => each.path === 'RunParameters.json')!;
  const parameters = JSON.stringify(parseRunParameters(String(file.content())));
  const client = new pg.Client({ connectionString: stack.info.databaseUrl });
  await client.connect();
  try {
    // Without the triggers, which would tell of each row, and the checks of foreign keys.
    await client.query('set session_replication_role = replica');
    await client.query(
      `insert into runs (id, storage_connection_id, instrument_name, parent_path, run_folder, run_name, upload_state,
          outcome, run_parameters, instrument_metrics, progress, time_created, time_started, time_completed)
        select ${idOf('n')}, $1, name, name, '20260101_' || name || '_' || run, run,
          case when n % 100 = 0 then 'uploading' else 'complete' end,
          case when n % 100 > 0 then 'completed' end,
          $2::jsonb || jsonb_build_object('runName', run, 'instrumentName', name, 'date', at),
          jsonb_build_object('totalReads', 1e6 * n, 'totalYield', 3e8 * n, 'q30', 60 + 40.0 * n / $3, 'avgQ', 40),
          jsonb_build_object('objects', 10, 'bytes', 20000, 'cycles', 10, 'expectedCycles', 40, 'stalled', false,
            'timeGrown', '2026-01-01T00:00:00.000Z'),
          at, at, case when n % 100 > 0 then at + interval '1 day' end
        from (select n, 'AV' || n % $4::integer as name, 'RUN-' || lpad(n::text, 6, '0') as run,
          timestamptz '2026-01-01' + n * interval '1 minute' as at from generate_series(1, $5::integer) n) as each`,
      [connected.storageConnectionId, parameters, rows, INSTRUMENTS, rows],
    );
    await client.query(
      `insert into instruments (serial_number, software_version, time_created, time_updated, time_last_connected)
        select instrument_name, '3.3.2', min(time_created), now(), max(time_updated) from runs group by 1`,
    );
    await client.query(
      `insert into executions (id, name, flow_id, run_id, compute_connection_id, storage_connection_id, trigger,
          started_by, status, status_description, output_uri, time_created, time_started, time_completed)
        select ${idOf('n')}, 'EX-' || lpad(n::text, 6, '0'), $1, ${idOf('n')}, $2, $3, 'auto', 'polony', status,
          'From the test', 's3://lab-aviti-many/runs/' || n, at, at, case when status <> 'RUNNING' then at + interval '1 hour' end
        from (select n, timestamptz '2026-01-02' + n * interval '1 minute' as at,
          case when n % 100 = 0 then 'RUNNING' when n % 20 = 0 then 'FAILED' else 'COMPLETED' end as status
          from generate_series(1, $4::integer) n) as each`,
      [connected.flowId, connected.computeConnectionId, connected.storageConnectionId, rows],
    );
    // As autovacuum does soon after so many changes.
    await client.query('vacuum analyze runs');
    await client.query('vacuum analyze executions');
  } finally {
    await client.end();
  }
}
