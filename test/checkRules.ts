import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findPrometheus } from './promtool.js';

// `npm run check:rules`: checks the alert rules and runs their tests.
const folder = fileURLToPath(new URL('../deploy/prometheus', import.meta.url));
const tools = findPrometheus((line) => process.stderr.write(`${line}\n`), true);
if (tools === undefined) {
  process.stderr.write('promtool is not available. Install Prometheus 2.40 or later, or Go, and try again.\n');
  process.exit(1);
}
for (const parameters of [
  ['check', 'config', path.join(folder, 'prometheus.yml')],
  ['check', 'rules', path.join(folder, 'polony.rules.yml')],
  ['test', 'rules', path.join(folder, 'polony.rules.test.yml')],
]) {
  const { status } = spawnSync(tools.promtool, parameters, { stdio: 'inherit', cwd: folder });
  if (status !== 0) process.exit(status ?? 1);
}
