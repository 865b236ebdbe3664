import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type MetricAbout, METRICS } from './metrics.js';

/** Where the reference of the metrics is. */
export const METRICS_REFERENCE_FILE = fileURLToPath(new URL('../docs/reference/metrics.md', import.meta.url));

const INTRODUCTION = `# Metrics

<!-- \`npm run docs:metrics\` writes this page from observability/metrics.ts. -->

The API and the worker serve these metrics at \`http://<POLONY_METRICS_ADDRESS>/metrics\`, in Prometheus' text format.
[Monitor an installation](../how-to/monitor.md) says how to collect and show them, and
[Runbooks](../operations/runbooks.md) what to do when an alert fires.

A scrape is answered also while PostgreSQL or Temporal is away. \`polony_database_up\` or \`polony_temporal_up\` is then 0,
and the metrics from there are absent. Their values are read at most every 5 seconds.

**How to aggregate.** Each process counts its own work, so add up the metrics with \`sum\`. All processes read the
metrics with \`max\` from the same database or the same Temporal: take the maximum, because a sum would count everything
once for each process. Those with \`min\` are 0 where at least one process says so.

The worker also serves the metrics of Temporal's SDK, which begin with \`temporal_\`. Both processes serve those of
Node.js (\`process_…\`, \`nodejs_…\`). Labels have few values: at most 100 accounts, instruments or providers; more are
together as \`other\`, or only the largest are there.
`;

const KINDS = `
## What waits

\`polony_oldest_waiting_seconds\` has these kinds:

- \`start\`: an execution that is not blocked and has no HealthOmics run yet, since its files and its request are there
- \`workflow\`: an accepted execution whose workflow has not started; the sweep starts it
- \`cancel\`: a requested cancel of an execution that has not ended
- \`webhook\`: an event whose delivery has not ended
- \`blocked\`: an execution that waits for a person
- \`upload\`: a run that uploads; the time since polony found it

## Keys

\`polony_api_key_expiry_timestamp_seconds\` is about keys of the API. Access keys of providers do not expire in AWS, and
polony does not know their age. When AWS refuses one, \`polony_session_renewals_total\` and \`polony_blocked\` say so.

## Outcomes of AWS calls

\`outcome\` is \`ok\`, or why the call failed: \`denied\`, \`expired\`, \`throttled\`, \`quota\`, \`not-found\`, \`invalid\`,
\`conflict\`, \`unreachable\`, \`network\`, \`internal\` or \`unknown\`. For sessions, \`open-role\` is a role that can be assumed
without its external ID.
`;

/** The reference of the metrics, as Markdown. */
export function metricsReference(): string {
  const rows = METRICS.map(describe);
  return `${INTRODUCTION}
<!-- prettier-ignore -->
| Metric | Type | Labels | Served by | Aggregate | Meaning |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
${KINDS}`;
}

function describe({ name, type, labels, processes, aggregate, help }: MetricAbout): string {
  const named = labels.map((label) => `\`${label}\``).join(', ');
  return `| \`${name}\` | ${type} | ${named} | ${processes.join(', ')} | ${aggregate} | ${help} |`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(METRICS_REFERENCE_FILE, metricsReference());
