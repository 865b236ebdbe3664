import type { ReconciledExecution, ReconcileNote, ReconcileReport } from '../domain/reconcile/report.js';
import { hasNothingToDo, needsPerson } from '../domain/reconcile/report.js';
import { cell, column, jsonText, lines, listTable, write } from './client/output.js';
import { CliError, EXIT } from './client/exit.js';
import { parseWorkerConfig } from './settings/parse.js';

/** Something is left that only a person can decide (docs/reference/cli.md). */
const EXIT_NEEDS_PERSON = 9;

interface ReconcileFlags {
  dryRun?: boolean;
  json?: boolean;
}

/** `polony reconcile`: brings the database, Temporal and AWS together again after a restore. */
export async function reconcileCommand({ dryRun = false, json = false }: ReconcileFlags): Promise<void> {
  const config = parseWorkerConfig(process.env);
  // The commands of other processes do not need this code.
  const [{ reconcileInstallation }, { ReconcileBusyError }] = await Promise.all([
    import('../worker/reconcile.js'),
    import('../store/reconcile/lock.js'),
  ]);
  const onProgress = (line: string): void => void process.stderr.write(`${lines(line)}\n`);
  let report: ReconcileReport;
  try {
    report = await reconcileInstallation(config, { dryRun, onProgress });
  } catch (error) {
    throw error instanceof ReconcileBusyError ? new CliError(error.message, EXIT.conflict) : error;
  }
  await write(json ? `${jsonText(report, 2)}\n` : describeReport(report));
  if (needsPerson(report)) process.exitCode = EXIT_NEEDS_PERSON;
}

/** A report for people. */
export function describeReport(report: ReconcileReport): string {
  const { executions, notes, dryRun, totals } = report;
  const would = dryRun ? 'would be ' : '';
  const parts: string[] = [];
  const shown = executions.filter(({ kind }) => kind === 'changed');
  if (shown.length > 0)
    parts.push(`Executions that ${dryRun ? 'would be' : 'were'} reconciled:\n${describeExecutions(shown)}`);
  const undecided = executions.filter(({ kind }) => kind === 'undecided');
  if (undecided.length > 0) parts.push(`Executions that polony cannot decide about:\n${describeExecutions(undecided)}`);
  const changed = notes.filter(({ kind }) => kind === 'changed');
  if (changed.length > 0)
    parts.push(`Besides executions, these ${dryRun ? 'would be' : 'were'} changed:\n${describeNotes(changed)}`);
  const attention = notes.filter(({ kind }) => kind === 'attention');
  if (attention.length > 0) parts.push(`These need you:\n${describeNotes(attention)}`);
  const info = notes.filter(({ kind }) => kind === 'info');
  if (info.length > 0) parts.push(`Good to know after a restore:\n${describeNotes(info)}`);
  const unwatched = totals.unwatched === null ? '' : `, ${totals.unwatched} open without a running workflow`;
  parts.push(
    `${totals.examined} executions examined: ${totals.changed} ${would}reconciled, ${totals.unchanged} as they should ` +
      `be, ${totals.undecided} undecided${unwatched}.`,
  );
  if (hasNothingToDo(report)) parts.push('There is nothing to do.');
  else if (dryRun) parts.push('Nothing was changed. Run polony reconcile without --dry-run to do this.');
  else parts.push('A running worker continues the executions. Run polony reconcile again to see that nothing is left.');
  return `${parts.join('\n\n')}\n`;
}

function describeExecutions(executions: readonly ReconciledExecution[]): string {
  const rows = executions.map(({ id, run, before, after, healthOmicsRunId }) => ({
    id,
    run,
    change: `${before} → ${after}`,
    healthOmicsRunId,
  }));
  const columns = [
    column('id', 'EXECUTION'),
    column('run', 'RUN'),
    column('change', 'BEFORE → AFTER'),
    column('healthOmicsRunId', 'HEALTHOMICS RUN'),
  ];
  const reasons = executions.map(
    ({ id, why, todo }) => `  ${id}: ${cell(why)}.${todo === undefined ? '' : `\n    To do: ${cell(todo)}`}`,
  );
  return `${listTable(rows, columns, true)}\nWhy:\n${reasons.join('\n')}`;
}

function describeNotes(notes: readonly ReconcileNote[]): string {
  return notes
    .map(
      ({ subject, text, todo }) =>
        `  ${subject}: ${cell(text)}.${todo === undefined ? '' : `\n    To do: ${cell(todo)}`}`,
    )
    .join('\n');
}
