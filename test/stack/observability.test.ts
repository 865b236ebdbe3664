/** @module-tag long */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { adminClients, apiClient, type Connected, connectAccount, setUpCustomer } from '../../cli/customer.js';
import { describeRun, simulateInstrument } from '../../local/instrument.js';
import type { GuardedChild } from '../../local/guardian.js';
import { freePort } from '../../local/ports.js';
import type { Stack } from '../../local/stack.js';
import { METRICS } from '../../observability/metrics.js';
import { alertRules, dashboardQueries, metricsIn, ruleQueries } from '../dashboards.js';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../otlpReceiver.js';
import { findPrometheus } from '../promtool.js';
import { executionsOf, HELD_MS, setPace, waitFor } from '../support.js';
import { logErrorsOnly, replay, startTestStack } from '../testStack.js';

// The API and the worker are real processes with tracing and metrics on. Each gets a free port for its metrics.
let stateDir: string;
let stack: Stack;
let receiver: OtlpReceiver;
let connection: Connection;
let temporal: Client;
let call: ReturnType<typeof apiClient>;
let connected: Connected;
let runId: string;
let { details, inStatus, runsOf } = {} as ReturnType<typeof executionsOf>;

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const REQUEST_ID = 'request-of-the-test';
/** What another program sends along with its trace. */
const BAGGAGE = 'patient-4711';

interface Line {
  [field: string]: unknown;
  msg: string;
}
const logOf = (child: GuardedChild): string => child.logTail(1 << 22);
const linesOf = (child: GuardedChild): Line[] =>
  logOf(child)
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
const metricsUrl = (child: GuardedChild): string =>
  linesOf(child).find(({ msg }) => msg === 'metrics are served')!.url as string;
const scrape = async (child: GuardedChild): Promise<string> => (await fetch(metricsUrl(child))).text();
/** The value of a series. The order of its labels does not matter. */
const valueOf = (text: string, series: string): number | undefined => {
  const parse = (each: string): string => {
    const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})?$/.exec(each) ?? [];
    return [name, ...(labels.match(/\w+="[^"]*"/g) ?? []).sort()].join(' ');
  };
  const line = text.split('\n').find((each) => parse(each.slice(0, each.lastIndexOf(' '))) === parse(series));
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
};

async function startExecution(headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(`${stack.info.apiUrl}/v1/executions`, {
    method: 'POST',
    headers: { 'x-api-key': stack.info.apiKey, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ flowId: connected.flowId, runId }),
  });
  expect(response.status).toBe(201);
  return ((await response.json()) as { execution: { id: string } }).execution.id;
}

beforeAll(async () => {
  logErrorsOnly();
  stateDir = mkdtempSync(path.join(tmpdir(), 'polony-observability-'));
  receiver = await startOtlpReceiver();
  stack = await startTestStack({
    stateDir,
    omics: { pace: { PENDING: 50, STARTING: 50, RUNNING: 300, STOPPING: 50 } },
    env: {
      POLONY_METRICS_ADDRESS: '127.0.0.1:0',
      POLONY_LOG_LEVEL: 'debug',
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_TRACES_SAMPLER: '',
    },
  });
  call = apiClient(stack.info);
  ({ details, inStatus, runsOf } = executionsOf(stack, call));
  connection = await Connection.connect({ address: stack.info.temporalAddress });
  temporal = new Client({ connection });
  const account = await setUpCustomer(stack.info, stack.aws.serviceAccountId, 'observed');
  connected = await connectAccount(call, account);
  const { s3 } = adminClients(stack.info);
  const run = describeRun({ runName: 'OBSERVED', cycles: { R1: 4, I1: 8, I2: 8 } });
  await simulateInstrument({ s3, bucket: account.bucket, prefix: account.prefix, run }).done;
  s3.destroy();
  runId = await waitFor(
    'the run to be complete',
    async () =>
      (await call<{ runs: { id: string; status: string }[] }>('GET', '/v1/runs')).runs.find(
        ({ status }) => status === 'RUN_STATUS_COMPLETED',
      )?.id,
  );
});
afterAll(async () => {
  await connection?.close();
  await stack?.stop();
  await receiver?.close();
  rmSync(stateDir, { recursive: true, force: true });
});

describe('an execution', () => {
  let id: string;
  beforeAll(async () => {
    id = await startExecution({
      traceparent: `00-${TRACE_ID}-00f067aa0ba902b7-01`,
      baggage: `note=${BAGGAGE}`,
      'x-request-id': REQUEST_ID,
    });
    await inStatus(id, 'COMPLETED');
  });

  it('is one trace from the request to StartRun', async () => {
    const find = (name: string): ReceivedSpan | undefined =>
      // Without omics:TagResource, the first StartRun is denied and the one without tags succeeds.
      receiver.spans.find(
        (span) => span.traceId === TRACE_ID && span.name === name && span.facts['polony.aws.outcome'] !== 'denied',
      );
    const chain = [
      ['polony-api', 'POST /v1/executions'],
      ['polony-api', 'StartWorkflow:bases2fastq'],
      ['polony-worker', 'RunWorkflow:bases2fastq'],
      ['polony-worker', 'StartActivity:startRun'],
      ['polony-worker', 'RunActivity:startRun'],
      ['polony-worker', 'omics:StartRun'],
    ] as const;
    await waitFor(
      'all spans',
      () => chain.every(([, name]) => find(name) !== undefined),
      () => chain.filter(([, name]) => find(name) !== undefined).length,
    );
    const spans = chain.map(([, name]) => find(name)!);
    expect(spans.map(({ service, name }) => [service, name])).toEqual(chain);
    expect(spans.map(({ parentSpanId }) => parentSpanId)).toEqual([
      '00f067aa0ba902b7',
      ...spans.slice(0, -1).map(({ spanId }) => spanId),
    ]);
    expect(spans[0]!.facts).toMatchObject({ 'polony.requestId': REQUEST_ID, 'polony.executionId': id });
    expect(spans.at(-1)!.facts).toMatchObject({ 'polony.aws.outcome': 'ok', 'cloud.region': 'us-west-2' });
    expect(spans.at(-1)!.facts['aws.request_id']).toBeTypeOf('string');
  });

  it('has its ids in the lines of the API, the worker and the workflow', async () => {
    const request = linesOf(stack.api!).find((line) => line.requestId === REQUEST_ID && line.msg === 'request');
    expect(request).toMatchObject({ executionId: id, status: 201, traceId: TRACE_ID });
    const { runId: healthOmicsRunId } = (await details(id)).details.healthOmics!;
    const lines = linesOf(stack.worker!).filter((line) => line.executionId === id);
    const workflow = lines.find(({ msg }) => msg === 'Workflow completed');
    expect(workflow).toMatchObject({ requestId: REQUEST_ID, workflowId: `execution/${id}`, healthOmicsRunId });
    expect(workflow!.workflowRunId).toMatch(/^[0-9a-f-]{36}$/);
    const activity = lines.find((line) => line.msg === 'Activity completed' && line.activityType === 'startRun');
    expect(activity).toMatchObject({
      requestId: REQUEST_ID,
      runId,
      providerId: connected.providerId,
      healthOmicsRunId,
      traceId: TRACE_ID,
    });
  });

  it('is measured', async () => {
    const [api, worker] = [await scrape(stack.api!), await scrape(stack.worker!)];
    const posts = 'polony_http_request_seconds_count{method="POST",route="/v1/executions",code="201"}';
    expect(valueOf(api, posts)).toBe(1);
    expect(valueOf(worker, 'polony_aws_call_seconds_count{action="omics:StartRun",outcome="ok"}')).toBe(1);
    expect(valueOf(worker, 'polony_executions_ended_total{status="COMPLETED"}')).toBe(1);
    expect(valueOf(worker, 'polony_upload_to_start_seconds_count')).toBe(1);
    expect(valueOf(worker, 'polony_end_to_notice_seconds_count')).toBe(1);
    expect(valueOf(worker, 'polony_session_renewals_total{action="sts:AssumeRole",outcome="ok"}')).toBeGreaterThan(0);
  });

  it('sends only the trace on to Temporal, and not what came along with it', async () => {
    const { events } = await temporal.workflow.getHandle(`execution/${id}`).fetchHistory();
    const headers = events!.flatMap(({ workflowExecutionStartedEventAttributes: start, ...event }) => [
      ...Object.values(start?.header?.fields ?? {}),
      ...Object.values(event.activityTaskScheduledEventAttributes?.header?.fields ?? {}),
    ]);
    const texts = headers.map(({ data }) => Buffer.from(data ?? []).toString());
    expect(texts.some((text) => text.includes(TRACE_ID))).toBe(true);
    expect(texts.join()).not.toContain(BAGGAGE);
    expect(receiver.bytes()).not.toContain(BAGGAGE);
  });

  it('leaves no secret in logs and traces', () => {
    const secrets = [
      stack.info.apiKey,
      stack.env.POLONY_ENCRYPTION_KEYS!.split('=')[1]!,
      stack.env.AWS_SECRET_ACCESS_KEY!,
      new URL(stack.env.DATABASE_URL!).password,
    ].filter((secret) => secret.length >= 8);
    expect(secrets.length).toBeGreaterThan(2);
    const everything = `${logOf(stack.api!)}${logOf(stack.worker!)}${receiver.bytes()}`;
    for (const secret of secrets) expect(everything.includes(secret)).toBe(false);
    expect(everything).not.toMatch(/X-Amz-Signature=[0-9a-f]|AWS4-HMAC-SHA256 Credential/);
  });
});

describe('metrics', () => {
  it('are complete, and each family is there once', async () => {
    for (const [child, name] of [
      [stack.api!, 'api'],
      [stack.worker!, 'worker'],
    ] as const) {
      const text = await scrape(child);
      const families = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, family]) => family);
      expect(new Set(families).size).toBe(families.length);
      expect(families).toEqual(
        expect.arrayContaining(METRICS.filter(({ processes }) => processes.includes(name)).map((each) => each.name)),
      );
      expect(valueOf(text, 'polony_database_up')).toBe(1);
      expect(valueOf(text, 'polony_temporal_up')).toBe(1);
      expect(text).toMatch(
        new RegExp(`^polony_build_info\\{version="[0-9.]+",node="[0-9.]+",process="${name}"\\} 1$`, 'm'),
      );
      expect(valueOf(text, 'polony_task_queue_pollers{task_queue="polony",kind="workflow"}')).toBe(1);
      expect(families.includes('temporal_worker_task_slots_available')).toBe(name === 'worker');
    }
    const other = await fetch(metricsUrl(stack.api!).replace('/metrics', '/v1/runs'));
    expect(other.status).toBe(404);
  });

  it('of Temporal in the dashboard are served by the worker', async () => {
    const text = await scrape(stack.worker!);
    const names = dashboardQueries().flatMap(({ expression }) => metricsIn(expression));
    for (const name of names.filter((each) => each.startsWith('temporal_')))
      expect(text).toMatch(new RegExp(`^# TYPE ${name} `, 'm'));
  });

  it('have no label with an ID of a request, an execution or a run', async () => {
    await fetch(`${stack.info.apiUrl}/v1/executions/0198c0de-1111-7222-8333-444455556666/nothing`);
    await fetch(`${stack.info.apiUrl}/no/such/route/${'x'.repeat(100)}`);
    for (const child of [stack.api!, stack.worker!]) {
      const text = await scrape(child);
      expect(text).not.toContain('0198c0de');
      expect(text).not.toContain('xxxxx');
      expect(text).not.toContain(runId);
    }
  });

  it('answer while the database is away, and say so', async () => {
    await stack.postgres.kill();
    try {
      for (const child of [stack.api!, stack.worker!]) {
        const text = await waitFor('the metrics to say that the database is away', async () => {
          const answer = await scrape(child);
          return valueOf(answer, 'polony_database_up') === 0 && answer;
        });
        expect(text).not.toMatch(/^polony_executions\{/m);
        expect(text).toMatch(/^polony_build_info\{/m);
      }
    } finally {
      await stack.crash('postgres');
    }
    await waitFor(
      'the database to be back',
      async () => valueOf(await scrape(stack.worker!), 'polony_database_up') === 1,
    );
  });

  it('name the setting where their address is in use', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => holder.once('listening', resolve));
    const { port } = holder.address() as AddressInfo;
    const before = stack.env.POLONY_METRICS_ADDRESS!;
    stack.env.POLONY_METRICS_ADDRESS = `127.0.0.1:${port}`;
    await expect(stack.startWorker()).rejects.toThrow(/POLONY_METRICS_ADDRESS\): another process uses it/);
    stack.env.POLONY_METRICS_ADDRESS = before;
    holder.close();
  });
});

describe('a Prometheus that collects the metrics', () => {
  let prometheus: ChildProcess | undefined;
  let folder: string;
  afterAll(() => {
    prometheus?.kill('SIGKILL');
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  it('answers every query of the dashboard with data', async (context) => {
    const reasons: string[] = [];
    const tools = findPrometheus((reason) => reasons.push(reason));
    if (tools?.prometheus === undefined) return context.skip(`Prometheus is not available. ${reasons.join('. ')}`);
    await makeEverythingHappen();
    folder = mkdtempSync(path.join(tmpdir(), 'polony-prometheus-'));
    const port = await freePort();
    writeFileSync(path.join(folder, 'prometheus.yml'), configuration());
    prometheus = spawn(
      tools.prometheus,
      [
        `--config.file=${path.join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${path.join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    );
    const query = async (expression: string): Promise<unknown[]> => {
      const parameters = new URLSearchParams({ query: expression.replaceAll('$__rate_interval', '1m') });
      const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?${parameters.toString()}`);
      const { status, error, data } = (await response.json()) as {
        status: string;
        error?: string;
        data?: { result: unknown[] };
      };
      expect(status, `${expression}: ${error}`).toBe('success');
      return data!.result;
    };
    await waitFor('Prometheus to answer', async () => {
      try {
        return (await query('up == 1')).length === 2;
      } catch {
        return false;
      }
    });
    const queries = dashboardQueries();
    const withoutData = async (): Promise<string[]> => {
      const empty: string[] = [];
      for (const { where, expression } of queries)
        if ((await query(expression)).length === 0) empty.push(`${where}: ${expression}`);
      return empty;
    };
    let empty: string[] = [];
    await waitFor(
      'every query to have data',
      async () => {
        await fetch(`${stack.info.apiUrl}/v1/runs`, { headers: { 'x-api-key': stack.info.apiKey } });
        empty = await withoutData();
        return empty.length === 0;
      },
      () => empty,
    ).catch((error: unknown) => {
      expect(empty).toEqual([]);
      throw error;
    });
    for (const { expression } of ruleQueries()) await query(expression);
    // What must be noticed is noticed.
    for (const alert of ['PolonyBlocked', 'PolonyUploadStalled', 'PolonyStartQueueFull', 'PolonyWebhookFails'])
      expect(await query(alertRules().find((rule) => rule.alert === alert)!.expr), alert).not.toEqual([]);
  });

  const configuration = (): string => {
    const target = (name: string, child: GuardedChild): string =>
      `  - job_name: polony-${name}\n    static_configs: [{ targets: ['${new URL(metricsUrl(child)).host}'] }]\n`;
    return (
      'global: { scrape_interval: 1s }\nscrape_configs:\n' + target('api', stack.api!) + target('worker', stack.worker!)
    );
  };

  /** Makes each metric have a value: a blocked execution, a stalled upload, a queue, a webhook without a receiver. */
  async function makeEverythingHappen(): Promise<void> {
    await call('POST', '/v1/webhooks', { url: `http://127.0.0.1:${await freePort()}/` });
    await call('POST', '/v1/api-keys', { name: 'expires', scopes: ['runs:read'], expiresInDays: 3 });
    await setPace(stack, HELD_MS);
    const held = await startExecution();
    await inStatus(held, 'RUNNING');
    stack.aws.emulator.faults.push({ operation: 'StartRun', kind: 'denied' });
    const blocked = await startExecution();
    await waitFor('an execution to be blocked', async () => (await details(blocked)).details.blocked !== null);
    const client = new pg.Client({ connectionString: stack.postgres.url });
    await client.connect();
    try {
      await client.query(
        `insert into runs (id, storage_connection_id, instrument_name, run_folder, run_name, parent_path, upload_state, progress)
         select gen_random_uuid(), storage_connection_id, 'AV-stalled', 'stalled', 'stalled', parent_path, 'uploading',
           '{"stalled": true}' from runs limit 1`,
      );
      await client.query(
        `insert into start_queue (execution_id, scope, flow_id, due_at, time_queued)
         select id, '999988887777/us-west-2', flow_id, now(), now() - interval '1 hour' from executions where id = $1`,
        [held],
      );
      await client.query(`insert into start_pace (scope, penalty) values ('999988887777/us-west-2', 4)`);
    } finally {
      await client.end();
    }
  }
});

describe('turning tracing on and off', () => {
  it('changes nothing for workflows that run', async () => {
    stack.aws.emulator.faults.splice(0);
    await setPace(stack, HELD_MS);
    const endpoint = stack.env.OTEL_EXPORTER_OTLP_ENDPOINT!;
    const restart = async (isOn: boolean): Promise<void> => {
      // An empty value counts as not set.
      stack.env.OTEL_EXPORTER_OTLP_ENDPOINT = isOn ? endpoint : '';
      await stack.crash('api');
      await stack.crash('worker');
    };
    const traced = await startExecution();
    await inStatus(traced, 'RUNNING');
    await restart(false);
    const untraced = await startExecution();
    await inStatus(untraced, 'RUNNING');
    const { history } = await describeStart(untraced);
    expect(history).not.toContain('_tracer-data');
    await restart(true);
    for (const id of [traced, untraced]) stack.aws.emulator.finish(runsOf(id)[0]!.id);
    for (const id of [traced, untraced]) await inStatus(id, 'COMPLETED');
    await replay(temporal, [{ workflowId: `execution/${traced}` }, { workflowId: `execution/${untraced}` }]);
    expect(logOf(stack.worker!)).not.toMatch(/nondetermin|unregistered external sink/i);
  });

  async function describeStart(id: string): Promise<{ history: string }> {
    const { events } = await temporal.workflow.getHandle(`execution/${id}`).fetchHistory();
    return { history: JSON.stringify(events) };
  }
});
