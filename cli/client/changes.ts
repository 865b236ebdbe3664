import type { Command } from 'commander';
import { followEvents, type WatchTimes } from './events.js';
import { addConnectionFlags } from './flags.js';
import { resolveId } from './names.js';
import { cell, jsonText, write } from './output.js';
import { type ConnectionOptions, connectionOf, type Profile } from './profiles.js';

/** An event of the stream of changes: an object that has changed, or that changes were missed. */
export type WatchedChange =
  | { event: 'change'; topic: string; kind?: string; id: string; status: string; timeChanged: string }
  | { event: 'reset' };

/** What to follow. */
interface ChangesQuery {
  topics: string;
  runId?: string;
  executionId?: string;
}

/** How many objects the command remembers, to leave out events that come twice. */
const MOST_REMEMBERED = 10_000;

/**
 * Yields each change from now on. Connects again when a connection breaks or the API ends a stream. An event that comes
 * twice is left out.
 * @throws CliError when the caller may not see a topic or an object, or the API does not answer for five minutes
 */
export async function* watchChanges(
  api: Profile,
  query: ChangesQuery,
  times?: WatchTimes,
): AsyncGenerator<WatchedChange> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined) as [string, string][];
  const events = followEvents(api, `/v1/changes?${new URLSearchParams(given).toString()}`, {
    parse: ({ event, data }): WatchedChange | undefined => {
      if (event === 'reset') return { event };
      return event === 'change' ? { event, ...(JSON.parse(data) as object as ChangeData) } : undefined;
    },
    whenAway: 'Run the command again to follow later changes',
    ...(times !== undefined && { times }),
  });
  const shown = new Map<string, string>();
  for await (const change of events) {
    if (change.event === 'change') {
      const object = `${change.topic} ${change.kind ?? ''} ${change.id}`;
      const state = `${change.status} ${change.timeChanged}`;
      if (shown.get(object) === state) continue;
      shown.delete(object);
      shown.set(object, state);
      if (shown.size > MOST_REMEMBERED) shown.delete(shown.keys().next().value!);
    }
    yield change;
  }
}

type ChangeData = Omit<Extract<WatchedChange, { event: 'change' }>, 'event'>;

function lineOf(change: WatchedChange): string {
  if (change.event === 'reset') return `${new Date().toISOString()}  Changes were missed. List what you follow again.`;
  const { topic, kind, id, status, timeChanged } = change;
  return [timeChanged, kind === undefined ? topic : `${topic} ${kind}`, id, status].map(cell).join('  ');
}

type ChangesFlags = ConnectionOptions & { json?: boolean; topics: string; runId?: string; executionId?: string };

async function followChanges({ json, topics, runId, executionId, ...flags }: ChangesFlags): Promise<void> {
  const api = connectionOf(flags);
  const query: ChangesQuery = {
    topics,
    ...(runId !== undefined && { runId: await resolveId(api, 'runs', runId) }),
    ...(executionId !== undefined && { executionId: await resolveId(api, 'executions', executionId) }),
  };
  for await (const change of watchChanges(api, query))
    await write(`${json === true ? jsonText(change) : lineOf(change)}\n`);
}

/** Adds `polony changes`. */
export function addChangesCommand(program: Command): void {
  addConnectionFlags(
    program
      .command('changes')
      .description(
        'print a line when a run, an execution or a verification changes, until you press Ctrl-C; ' +
          '--json prints one JSON object a line',
      )
      .option(
        '--topics <topics>',
        'what to follow, separated by commas: runs, executions, verifications',
        'runs,executions,verifications',
      )
      .option('--run-id <id-or-name>', 'of runs and executions, only this run and its executions')
      .option('--execution-id <id-or-name>', 'of runs and executions, only this execution'),
  ).action(followChanges);
}
