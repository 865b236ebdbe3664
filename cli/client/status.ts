import type { Command } from 'commander';
import { shellWord } from '../../domain/iam/formats/text.js';
import { describeBlocked } from './blockedColumn.js';
import { EXIT } from './exit.js';
import { addConnectionFlags, type Flags, parseWholeNumber } from './flags.js';
import { repeat } from './lists.js';
import { cell, type Column, column, listTable, print } from './output.js';
import { connectionOf } from './profiles.js';
import { findFailure, isUnhealthy, type Item, loadStatus, MAX_ROWS, type Part, type Status } from './statusParts.js';

const shortStatus = ({ status }: Item): string => cell(status);

/** Counts items by their status: `2 RUNNING, 1 PENDING`. */
function countByStatus(part: Part): string {
  if ('hidden' in part) return `not shown: ${cell(part.hidden)}`;
  if ('failed' in part) return `not known: ${cell(part.failed)}`;
  if (part.total === 0) return 'none';
  const counts = new Map<string, number>();
  for (const item of part.items) counts.set(shortStatus(item), (counts.get(shortStatus(item)) ?? 0) + 1);
  const texts = [...counts].map(([status, count]) => `${count} ${status}`);
  return part.total > part.items.length ? `${part.total}: ${texts.join(', ')}, …` : texts.join(', ');
}

/** A table below a line of the summary; nothing without rows. */
function rowsOf(part: Part, columns: readonly Column[], matches: (item: Item) => boolean = () => true): string[] {
  return 'items' in part ? tableOf(part.items.filter(matches), columns) : [];
}

function tableOf(rows: readonly unknown[], columns: readonly Column[]): string[] {
  if (rows.length === 0) return [];
  const table = listTable(rows.slice(0, MAX_ROWS), columns, true);
  const more = rows.length > MAX_ROWS ? [`… and ${rows.length - MAX_ROWS} more`] : [];
  return [...table.split('\n'), ...more].map((line) => `    ${line}`);
}

const BLOCKED = [
  column('blocked', 'SINCE', describeBlocked),
  column('blocked.message', 'WHY'),
  column('blocked.remedy', 'WHAT TO DO'),
];

const STALLED = [
  column('name'),
  column('instrument.name', 'INSTRUMENT'),
  column('details.progress.timeGrown', 'LAST DATA'),
  column('details.uploadDescription', 'WHY'),
];

function isStalled({ details }: Item): boolean {
  return (details as { progress?: { stalled?: boolean } | null } | undefined)?.progress?.stalled === true;
}

/** What is wrong with a provider, a connection or a flow. */
function describeProblem({ statusDescription, details }: Item): string {
  return cell(statusDescription ?? (details as { statusDescription?: string } | undefined)?.statusDescription);
}

/** What a person must do something about. */
function attention(status: Status): string[] {
  const {
    resources,
    blockedExecutions,
    blockedRuns,
    activeRuns,
    webhooks,
    failingWebhooks,
    apiKeys,
    ignoredFolders,
    notSearchedForIgnoredFolders: notSearched,
  } = status;
  const bad = Object.entries(resources).flatMap(([group, part]) =>
    !('items' in part)
      ? []
      : part.items
          .filter(isUnhealthy)
          .map(
            (item) =>
              `  ${shortStatus(item).padEnd(9)}${group} ${cell(item.name)}: ${describeProblem(item)} ` +
              `(polony ${group} verification ${shellWord(cell(item.name))})`,
          ),
  );
  const failed = findFailure(status);
  return [
    ...bad,
    ...(status.ready.ok ? [] : [`  NOT READY  ${status.ready.detail}`]),
    ...(failed === undefined ? [] : [`  UNKNOWN  polony cannot tell what waits for you: ${cell(failed)}`]),
    ...titled('  Blocked executions', rowsOf(blockedExecutions, [column('execution.name', 'NAME'), ...BLOCKED])),
    ...titled('  Blocked runs', rowsOf(blockedRuns, [column('run.name', 'NAME'), ...BLOCKED])),
    ...titled('  Uploads that have stalled', rowsOf(activeRuns, STALLED, isStalled)),
    ...titled(
      '  Failed in the last 24 hours',
      rowsOf(
        status.endedExecutions,
        ['id', 'name', 'statusDescription'].map((path) => column(path)),
        (item) => shortStatus(item) === 'FAILED',
      ),
    ),
    ...titled(
      '  Runs that failed or were stopped in the last 24 hours',
      rowsOf(
        status.endedRuns,
        ['id', 'name', 'status', 'description'].map((path) => column(path)),
        (item) => ['FAILED', 'STOPPED'].includes(shortStatus(item)),
      ),
    ),
    ...titled(
      '  Webhooks whose receiver does not accept events',
      rowsOf(failingWebhooks, [
        column('url'),
        column('delivery.lastError', 'LAST ERROR'),
        column('delivery.timeNext', 'NEXT ATTEMPT'),
      ]),
    ),
    ...titled('  Webhooks that polony switched off', rowsOf(webhooks, [column('url'), column('disabledReason')])),
    ...titled('  API keys that end soon', rowsOf(apiKeys, [column('name'), column('timeExpires')])),
    ...ignoredFolders.map(
      ({ storageConnection }) =>
        `  ${cell(storageConnection)} has folders that look like runs but are ignored: ` +
        `see polony storage ignored ${shellWord(cell(storageConnection))}`,
    ),
    ...titled(
      '  Storage connections that were not searched for ignored folders (polony storage ignored <name> does)',
      tableOf(notSearched, [column('storageConnection'), column('reason')]),
    ),
  ];
}

function titled(title: string, rows: string[]): string[] {
  return rows.length === 0 ? [] : [title, ...rows];
}

function describeStatus(status: Status): string {
  const problems = attention(status);
  const resources = Object.entries(status.resources).map(([group, part]): [string, string] => [
    group.replace(/^./, (letter) => letter.toUpperCase()),
    countByStatus(part),
  ]);
  const summary: [string, string][] = [
    ['API', `${status.url}, ${status.ready.ok ? 'ready' : 'NOT READY'} (${status.ready.detail})`],
    ...resources,
    ['Runs in progress', countByStatus(status.activeRuns)],
    ['Executions in progress', countByStatus(status.activeExecutions)],
    ['Runs, last 24 hours', countByStatus(status.endedRuns)],
    ['Executions, last 24 hours', countByStatus(status.endedExecutions)],
  ];
  const width = Math.max(...summary.map(([name]) => name.length)) + 2;
  return [
    ...summary.map(([name, text]) => `${name.padEnd(width)}${text}`),
    '',
    problems.length === 0 ? 'Nothing needs attention.' : 'Needs attention:',
    ...problems,
    ...titled('\nIn progress', [
      ...rowsOf(status.activeRuns, [
        column('name', 'RUN'),
        column('status'),
        column('details.progress.cycles', 'CYCLE FILES'),
        column('details.progress.expectedCycles', 'OF'),
        column('details.progress.stalled', 'STALLED', (stalled) => (stalled === true ? 'yes' : '')),
        column('timeCreated'),
      ]),
      ...rowsOf(status.activeExecutions, [
        column('name', 'EXECUTION'),
        column('status'),
        column('statusDescription', 'DESCRIPTION'),
        column('timeCreated'),
      ]),
    ]),
  ].join('\n');
}

async function showStatus(flags: Flags & { watch?: number | true }): Promise<void> {
  const api = connectionOf(flags);
  const show = async (): Promise<void> => {
    const status = await loadStatus(api);
    print(flags.json === true, status, () => describeStatus(status));
    process.exitCode = status.ready.ok && findFailure(status) === undefined ? EXIT.ok : EXIT.unavailable;
  };
  return flags.watch === undefined ? show() : repeat(show, flags.watch);
}

/** Adds `polony status`. */
export function addStatusCommand(program: Command): void {
  addConnectionFlags(
    program
      .command('status')
      .description(
        'show on one screen whether polony works, what waits for a person, what is in progress, ' +
          'and what happened in the last 24 hours',
      )
      .option('--watch [seconds]', 'show it again every so many seconds; default: 5', parseWholeNumber),
  ).action(showStatus);
}
