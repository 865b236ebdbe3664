import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export type { Gauge };

/** The processes that serve metrics. */
export type MetricsProcess = 'api' | 'worker';

/** What the reference says of a metric. */
export interface MetricAbout {
  name: string;
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  labels: readonly string[];
  processes: readonly MetricsProcess[];
  /**
   * How to put the values of several processes together. `sum`: each process has its own part. `max`: each process
   * reads the same value from the database or from Temporal. `min`: one process that says no is enough.
   */
  aggregate: 'sum' | 'max' | 'min';
}

/** The metrics of this process. */
export const registry = new Registry();
const all: MetricAbout[] = [];

/** All metrics of polony, in the order of the reference. */
export const METRICS: readonly MetricAbout[] = all;

const BOTH = ['api', 'worker'] as const;
const API = ['api'] as const;
const WORKER = ['worker'] as const;

type Options<Label extends string> = Partial<Pick<MetricAbout, 'processes' | 'aggregate'>> & {
  labels?: readonly Label[];
};

function describe<Label extends string>(
  name: string,
  type: MetricAbout['type'],
  help: string,
  { labels = [], processes = BOTH, aggregate = 'sum' }: Options<Label>,
) {
  all.push({ name, type, help, labels, processes, aggregate });
  return { name, help, labelNames: [...labels], registers: [registry] };
}

function counter<Label extends string = never>(name: string, help: string, options: Options<Label> = {}) {
  return new Counter<Label>(describe(name, 'counter', help, options));
}

function gauge<Label extends string = never>(name: string, help: string, options: Options<Label> = {}) {
  return new Gauge<Label>(describe(name, 'gauge', help, options));
}

function histogram<Label extends string = never>(
  name: string,
  help: string,
  buckets: number[],
  options: Options<Label> = {},
) {
  return new Histogram<Label>({ ...describe(name, 'histogram', help, options), buckets });
}

const SHARED = { aggregate: 'max' } as const;
const WAIT_BUCKETS = [1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400];

export const buildInfo = gauge('polony_build_info', 'Always 1. The labels have the version of polony and Node.js.', {
  labels: ['version', 'node', 'process'],
  aggregate: 'max',
});

/** What the API and the worker count themselves. */
export const counted = {
  httpRequests: histogram(
    'polony_http_request_seconds',
    'Time that the API took to answer requests, by route and HTTP status. Event streams are not in it.',
    [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    { labels: ['method', 'route', 'code'], processes: API },
  ),
  openStreams: gauge('polony_http_open_streams', 'Event streams that are open.', { processes: API }),
  awsCalls: histogram(
    'polony_aws_call_seconds',
    'Time of calls to AWS with all their retries, by action and outcome. The body of a download is not in it.',
    [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    { labels: ['action', 'outcome'] },
  ),
  awsRetries: counter(
    'polony_aws_call_retries_total',
    'Attempts of calls to AWS after the first one. The SDK repeats throttled and failed calls.',
    { labels: ['action'] },
  ),
  sessions: counter(
    'polony_session_renewals_total',
    'Sessions that polony requested from STS to enter the accounts of providers, by outcome.',
    { labels: ['action', 'outcome'] },
  ),
  executionsEnded: counter('polony_executions_ended_total', 'Executions that ended, by status.', {
    labels: ['status'],
    processes: WORKER,
  }),
  uploadToStart: histogram(
    'polony_upload_to_start_seconds',
    'Time from the end of an upload to StartRun of its first attempt. For executions that were requested later: from ' +
      'the request.',
    WAIT_BUCKETS,
    { processes: WORKER },
  ),
  endToNotice: histogram(
    'polony_end_to_notice_seconds',
    'Time from the end of a HealthOmics run, as HealthOmics states it, to the poll that saw it.',
    WAIT_BUCKETS,
    { processes: WORKER },
  ),
  webhookAttempts: counter(
    'polony_webhook_attempts_total',
    'Attempts to deliver webhooks: delivered, retrying (another attempt follows), failed (given up), gone (HTTP 410).',
    { labels: ['outcome'], processes: WORKER },
  ),
  getRunLimit: gauge(
    'polony_get_run_limit_per_second',
    'POLONY_GET_RUNS_PER_SECOND: the budget of GetRun calls in one account and region, for all workers together.',
    { processes: WORKER, aggregate: 'max' },
  ),
  getRunShare: gauge(
    'polony_get_run_share_per_second',
    "This worker's share of the GetRun budget, after slowing down because of throttling.",
    { labels: ['account', 'region'], processes: WORKER },
  ),
  getRunWaiting: gauge('polony_get_run_waiting', 'Polls of HealthOmics runs that are due and wait for the budget.', {
    labels: ['account', 'region'],
    processes: WORKER,
  }),
  getRunWatched: gauge('polony_get_run_watched', 'HealthOmics runs that this worker watches.', {
    labels: ['account', 'region'],
    processes: WORKER,
  }),
  searches: counter(
    'polony_searches_total',
    'Searches of storage connections by workers, by outcome: nothing (no workflow was needed), found (a workflow ' +
      'follows new runs), failed (a workflow shows why).',
    { labels: ['outcome'], processes: WORKER },
  ),
  sweeps: counter('polony_sweeps_total', 'Sweeps by workers, by outcome: done or failed.', {
    labels: ['outcome'],
    processes: WORKER,
  }),
  startRunLimit: gauge(
    'polony_start_run_limit_per_second',
    'POLONY_START_RUNS_PER_SECOND: the rate of StartRun calls in one account and region, for all workers together.',
    { processes: WORKER, aggregate: 'max' },
  ),
};

// A counter begins with 0 and not with its first event: Prometheus sees an increase only between two values, and an
// alert would not see what happened before the first scrape.
for (const status of ['COMPLETED', 'FAILED', 'CANCELED']) counted.executionsEnded.inc({ status }, 0);
for (const outcome of ['nothing', 'found', 'failed']) counted.searches.inc({ outcome }, 0);
for (const outcome of ['done', 'failed']) counted.sweeps.inc({ outcome }, 0);
for (const outcome of ['delivered', 'retrying', 'failed', 'gone']) counted.webhookAttempts.inc({ outcome }, 0);

/** Whether the sources of the metrics below answer. */
export const sources = {
  database: gauge('polony_database_up', 'Whether PostgreSQL answered the queries of the metrics: 1 or 0.', {
    aggregate: 'min',
  }),
  temporal: gauge('polony_temporal_up', 'Whether Temporal answered the question for its task queues: 1 or 0.', {
    aggregate: 'min',
  }),
  temporalSdk: gauge(
    'polony_temporal_sdk_metrics_up',
    "Whether the metrics of Temporal's SDK are in this answer: 1 or 0.",
    { processes: WORKER, aggregate: 'min' },
  ),
};

/** A value that was read from the database or from Temporal. */
export interface Reading {
  metric: SharedMetric;
  labels?: Readonly<Record<string, string>>;
  value: number;
}

/** What every process reads from the database. */
const fromDatabase = {
  executions: gauge('polony_executions', 'Executions that have not ended, by status.', {
    labels: ['status'],
    ...SHARED,
  }),
  blocked: gauge(
    'polony_blocked',
    'Executions, runs and grants that wait for a person, by reason and provider. See docs/reference/errors.md.',
    { labels: ['kind', 'reason', 'provider'], ...SHARED },
  ),
  uploads: gauge(
    'polony_uploads',
    'Runs by the state of their upload. Those that ended count for a day: complete, refused, vanished.',
    { labels: ['state'], ...SHARED },
  ),
  uploadsStalled: gauge(
    'polony_uploads_stalled',
    'Uploads that have not grown for POLONY_STALLED_MINUTES, by instrument.',
    { labels: ['instrument'], ...SHARED },
  ),
  startQueue: gauge('polony_start_queue_length', 'Executions that wait for their turn to call StartRun.', {
    labels: ['account', 'region'],
    ...SHARED,
  }),
  startQueueAge: gauge(
    'polony_start_queue_oldest_seconds',
    'How long the execution that has waited longest in the queue of StartRun has waited.',
    { labels: ['account', 'region'], ...SHARED },
  ),
  startQueuePause: gauge(
    'polony_start_queue_throttle_pause_seconds',
    'Pause between two StartRun calls beyond the configured rate, because AWS throttled them.',
    { labels: ['account', 'region'], ...SHARED },
  ),
  watched: gauge('polony_watched_runs', 'HealthOmics runs that all workers watch together.', {
    labels: ['account', 'region'],
    ...SHARED,
  }),
  oldestWaiting: gauge(
    'polony_oldest_waiting_seconds',
    'Age of the oldest item that waits, by what it waits for: start, workflow, cancel, webhook, blocked, upload.',
    { labels: ['kind'], ...SHARED },
  ),
  webhooks: gauge('polony_webhooks', 'Webhooks by state: enabled, disabled (by a person), gone (polony disabled it).', {
    labels: ['state'],
    ...SHARED,
  }),
  webhookDeliveries: gauge('polony_webhook_deliveries_open', 'Deliveries of webhooks that have not ended, by state.', {
    labels: ['state'],
    ...SHARED,
  }),
  webhookFailing: gauge(
    'polony_webhook_failing_deliveries',
    'Deliveries whose receiver has not accepted them: retrying, or given up in the last hour.',
    { labels: ['webhook'], ...SHARED },
  ),
  keyExpiry: gauge(
    'polony_api_key_expiry_timestamp_seconds',
    'When API keys expire that have 30 days or less, or that expired in the last week. Keys that were revoked or replaced are not in it.',
    { labels: ['key', 'name'], ...SHARED },
  ),
  connections: gauge('polony_connections', 'Providers, connections and flows by the status of their verification.', {
    labels: ['kind', 'status'],
    ...SHARED,
  }),
};

/** What every process reads from Temporal. */
const fromTemporal = {
  pollers: gauge(
    'polony_task_queue_pollers',
    'Workers that poll a task queue and get its new tasks: with Worker Versioning, those of the current version.',
    {
      labels: ['task_queue', 'kind'],
      ...SHARED,
    },
  ),
  backlog: gauge(
    'polony_task_queue_backlog',
    'Tasks in a task queue that no worker has taken, as Temporal estimates.',
    {
      labels: ['task_queue', 'kind'],
      ...SHARED,
    },
  ),
  backlogAge: gauge('polony_task_queue_backlog_age_seconds', 'Age of the oldest task that no worker has taken.', {
    labels: ['task_queue', 'kind'],
    ...SHARED,
  }),
};

const shared = { ...fromDatabase, ...fromTemporal };
export type SharedMetric = keyof typeof shared;

/** Metrics of a source that does not answer must not keep their last values. */
const BY_SOURCE: Record<'database' | 'temporal', readonly SharedMetric[]> = {
  database: Object.keys(fromDatabase) as SharedMetric[],
  temporal: Object.keys(fromTemporal) as SharedMetric[],
};

/** Replaces the values of a source. @param readings undefined where it does not answer. */
export function setReadings(source: 'database' | 'temporal', readings: readonly Reading[] | undefined): void {
  for (const metric of BY_SOURCE[source]) shared[metric].reset();
  for (const { metric, labels, value } of readings ?? []) (shared[metric] as Gauge).set({ ...labels }, value);
  // prom-client gives a gauge without labels the value 0 when it is reset: there is none among these.
  sources[source].set(readings === undefined ? 0 : 1);
}

/** Sets a gauge whenever it is read. */
export function onCollect<Label extends string>(metric: Gauge<Label>, set: (metric: Gauge<Label>) => void): void {
  Object.assign(metric, { collect: () => set(metric) });
}

/** The text that a process serves, in Prometheus' format. */
export async function exposeMetrics(process: MetricsProcess): Promise<string> {
  const left = new Set(all.filter(({ processes }) => !processes.includes(process)).map(({ name }) => name));
  const names = registry.getMetricsAsArray().map(({ name }) => name);
  const texts = await Promise.all(
    names.filter((name) => !left.has(name)).map((name) => registry.getSingleMetricAsString(name)),
  );
  return `${texts.join('\n\n')}\n`;
}
