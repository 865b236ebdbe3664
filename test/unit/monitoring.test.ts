import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { exposeMetrics, METRICS, registry, setReadings } from '../../observability/metrics.js';
import { mergeMetrics } from '../../observability/metricsServer.js';
import { METRICS_REFERENCE_FILE, metricsReference } from '../../observability/reference.js';
import { alertRules, dashboardQueries, metricsIn, ruleQueries, runbooks } from '../dashboards.js';
import { findPrometheus } from '../promtool.js';

const folder = fileURLToPath(new URL('../../deploy/prometheus', import.meta.url));

describe('the dashboard and the rules', () => {
  it('use only metrics that are exported', () => {
    const defaults = new Registry();
    collectDefaultMetrics({ register: defaults });
    const known = new Set([
      ...METRICS.map(({ name }) => name),
      ...defaults.getMetricsAsArray().map(({ name }) => name),
    ]);
    defaults.clear();
    const queries = [...dashboardQueries(), ...ruleQueries()];
    expect(queries.length).toBeGreaterThan(60);
    const unknown = queries.flatMap(({ where, expression }) =>
      metricsIn(expression)
        // test/stack/observability.test.ts looks for those of Temporal's SDK in the answer of a worker.
        .filter((name) => !known.has(name) && !name.startsWith('temporal_'))
        .map((name) => `${where}: ${name}`),
    );
    expect(unknown).toEqual([]);
  });

  it('show every metric of polony', () => {
    const used = new Set([...dashboardQueries(), ...ruleQueries()].flatMap(({ expression }) => metricsIn(expression)));
    expect(METRICS.map(({ name }) => name).filter((name) => !used.has(name))).toEqual([]);
  });

  it('take the maximum of what all processes read, and not the sum', () => {
    const shared = METRICS.filter(({ aggregate }) => aggregate === 'max').map(({ name }) => name);
    for (const { where, expression } of [...dashboardQueries(), ...ruleQueries()])
      for (const name of shared)
        expect(expression, where).not.toMatch(new RegExp(`(sum|avg)(?: by \\([^)]*\\))? \\(?${name}\\b`));
  });

  it.each(alertRules().map((rule) => [rule.alert, rule] as const))('%s has a section in the runbooks', (name, rule) => {
    expect(rule.annotations.runbook_url).toBe(`docs/operations/runbooks.md#${name.toLowerCase()}`);
    expect(rule.labels.severity).toMatch(/^(critical|warning|info)$/);
    const section = runbooks()
      .split(/^## /m)
      .find((each) => each.startsWith(`${name}\n`));
    for (const part of ['**Meaning.**', '**Cause.**', '**Fix.**', '**Fixed when.**']) expect(section).toContain(part);
  });

  it('pass promtool', { tags: 'long' }, (context) => {
    const reasons: string[] = [];
    const tools = findPrometheus((reason) => reasons.push(reason));
    if (tools === undefined) return context.skip(`promtool is not available. ${reasons.join('. ')}`);
    for (const parameters of [
      ['check', 'rules', 'polony.rules.yml'],
      ['test', 'rules', 'polony.rules.test.yml'],
      ['check', 'config', 'prometheus.yml'],
    ]) {
      const { status, stdout, stderr } = spawnSync(tools.promtool, parameters, { cwd: folder, encoding: 'utf8' });
      expect(status, `${parameters.join(' ')}: ${stdout}${stderr}`).toBe(0);
    }
  });
});

describe('metrics', () => {
  it('keeps docs/reference/metrics.md equal to the output of `npm run docs:metrics`', () => {
    expect(readFileSync(METRICS_REFERENCE_FILE, 'utf8')).toBe(metricsReference());
  });

  it('have names and labels that follow the rules of Prometheus', () => {
    for (const { name, type, labels, help } of METRICS) {
      expect(name).toMatch(/^polony_[a-z_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      expect(help.endsWith('.')).toBe(true);
      for (const label of labels) expect(label).not.toMatch(/(_id|url|path)$/);
    }
    expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
  });

  it('are served by the processes that have them', async () => {
    expect(await exposeMetrics('api')).not.toContain('polony_get_run_waiting');
    expect(await exposeMetrics('worker')).not.toContain('polony_http_request_seconds');
  });

  it('of a source that does not answer are left out', async () => {
    setReadings('database', [
      { metric: 'blocked', labels: { kind: 'run', reason: 'QUOTA', provider: 'a"b\n' }, value: 2 },
    ]);
    expect(await exposeMetrics('api')).toContain('polony_blocked{kind="run",reason="QUOTA",provider="a\\"b\\n"} 2');
    setReadings('database', undefined);
    const text = await exposeMetrics('api');
    expect(text).not.toContain('QUOTA');
    expect(text).toMatch(/^polony_database_up 0$/m);
  });

  it('of Temporal are added without a second HELP or TYPE of the same family', () => {
    const own = '# HELP a_total Ours.\n# TYPE a_total counter\na_total 1\n';
    const other =
      '# HELP b B.\n# TYPE b gauge\nb{x="1"} 2\n\n# HELP a_total Theirs.\n# TYPE a_total counter\na_total 9\n# EOF\n';
    expect(mergeMetrics(own, other)).toBe(`${own}# HELP b B.\n# TYPE b gauge\nb{x="1"} 2\n`);
  });

  it('are in one registry of their own', () => {
    expect(registry.getSingleMetric('polony_build_info')).toBeDefined();
    expect(path.basename(METRICS_REFERENCE_FILE)).toBe('metrics.md');
  });
});
