import type { Command } from 'commander';
import { Option } from 'commander';
import { cell, jsonText, write } from './client/output.js';
import type { Examination, Program } from './doctor/examine.js';
import type { Finding, Level } from './doctor/finding.js';

/** Adds `polony doctor`. @param version of polony */
export function addDoctor(program: Command, version: string): void {
  program
    .command('doctor')
    .description('check this installation from here, with the settings of the API or the worker')
    .addOption(
      new Option('--program <program>', 'the process whose settings are checked')
        .choices(['api', 'worker'])
        .default('worker'),
    )
    .option('--json', 'print the findings as JSON')
    .action((flags: { program: Program; json?: boolean }) => doctor(flags, version));
}

async function doctor({ program, json = false }: { program: Program; json?: boolean }, version: string) {
  const { examine } = await import('./doctor/examine.js');
  const examination = await examine(program, { env: process.env, version, now: Date.now });
  await write(json ? `${jsonText(examination, 2)}\n` : describeExamination(examination));
  if (examination.findings.some(({ level }) => level === 'failure')) process.exitCode = 1;
}

const MARKS: Record<Level, string> = { ok: 'ok      ', warning: 'WARNING ', failure: 'FAILURE ', skipped: 'skipped ' };

/** Findings for people. */
export function describeExamination({ findings }: Examination): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const line = ({ check, level, message, remedy }: Finding): string =>
    `${MARKS[level]} ${check.padEnd(width)}  ${cell(message)}` +
    (remedy === undefined ? '' : `\n${' '.repeat(width + 11)}To do: ${cell(remedy)}`);
  const count = (level: Level): number => findings.filter((each) => each.level === level).length;
  const [failures, warnings, skipped] = [count('failure'), count('warning'), count('skipped')];
  const total = `ok: ${count('ok')}, warnings: ${warnings}, failures: ${failures}, skipped: ${skipped}`;
  return `${findings.map(line).join('\n')}\n\n${total}\n`;
}
