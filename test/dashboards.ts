import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const read = (file: string): string => readFileSync(fileURLToPath(new URL(`../${file}`, import.meta.url)), 'utf8');

/** A query of a panel or a rule. */
export interface Query {
  where: string;
  expression: string;
}

interface Panel {
  title: string;
  targets?: { expr: string }[];
}

/** All queries of the dashboard. */
export function dashboardQueries(): Query[] {
  const { panels } = JSON.parse(read('deploy/grafana/polony.json')) as { panels: Panel[] };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ where: `panel "${title}"`, expression: expr })),
  );
}

export interface Rule {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string };
  annotations: { summary: string; description: string; runbook_url: string };
}

/** All alert rules. */
export function alertRules(): Rule[] {
  const { groups } = parse(read('deploy/prometheus/polony.rules.yml')) as { groups: { rules: Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

/** The queries of all alert rules. */
export function ruleQueries(): Query[] {
  return alertRules().map(({ alert, expr }) => ({ where: `rule ${alert}`, expression: expr }));
}

/** The names of the metrics in a query, as their families are called. */
export function metricsIn(expression: string): string[] {
  const names = expression.replace(/"[^"]*"/g, '').match(/\b(?:polony|temporal|process|nodejs)_[a-z0-9_]+\b/g) ?? [];
  return [...new Set(names.map((name) => name.replace(/_(bucket|sum|count)$/, '')))];
}

export const runbooks = (): string => read('docs/operations/runbooks.md');
