import { parseArgs } from 'node:util';
import { runFaults } from './faults.js';

// npm run faults -- --executions N --seed S; the last line is the report as JSON.
const { values } = parseArgs({
  options: {
    executions: { type: 'string', default: '300' },
    seed: { type: 'string' },
    'crash-every': { type: 'string', default: '8' },
  },
});
const whole = (name: string, text: string): number => {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  process.stderr.write(`--${name} must be a whole number above 0\n`);
  process.exit(2);
};
const seed = values.seed === undefined ? Math.floor(Math.random() * 1e9) + 1 : whole('seed', values.seed);
process.stdout.write(`seed ${seed}\n`);
const report = await runFaults({
  executions: whole('executions', values.executions),
  seed,
  crashEvery: whole('crash-every', values['crash-every']),
  onProgress: (line) => void process.stdout.write(`${line}\n`),
});
for (const line of report.details) process.stdout.write(`WRONG ${line}\n`);
const { details: _, ...shown } = report;
process.stdout.write(`${JSON.stringify(shown)}\n`);
process.exit(
  report.duplicates + report.lost + report.leftRunning + report.wrongState + report.details.length > 0 ? 1 : 0,
);
