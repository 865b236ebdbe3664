import { CliError, EXIT, type Exit } from './exit.js';
import { nounOf, resolveId } from './names.js';
import { cell, jsonText, write } from './output.js';
import type { Profile } from './profiles.js';
import { request } from './requests.js';
import { exitCodeOf, isFinalApiStatus, watchExecution } from './watch.js';

/** How long to wait for a resource that does not exist yet, and for an API that is away, in milliseconds. */
const LIMITS = { appears: 120_000, away: 300_000 };
const POLL_MS = 1000;

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, POLL_MS));

/** Prints an execution at each change until it ends. The exit code says how it ended. */
export async function followExecution(api: Profile, id: string, asJson: boolean): Promise<void> {
  let status = '';
  let shown = '';
  for await (const event of watchExecution(api, id)) {
    status = event.execution.status;
    const text = `${cell(status)}  ${cell(event.execution.statusDescription)}`;
    // What changed may be something that the line does not show.
    if (!asJson && text === shown) continue;
    shown = text;
    await write(`${asJson ? jsonText(event) : `${new Date().toISOString()}  ${text}`}\n`);
  }
  if (!isFinalApiStatus(status)) {
    throw new CliError(
      'The API ended the stream before the execution ended; run polony executions get to see where it stands',
      EXIT.unavailable,
    );
  }
  process.exitCode = exitCodeOf(status);
}

interface RunAnswer {
  run: { status: string };
  details: {
    uploadState: string;
    uploadDescription: string;
    blocked: { message: string } | null;
    progress: { objects: number; cycles: number; expectedCycles: number; stalled: boolean } | null;
  };
}

function describeRun({ run, details }: RunAnswer): string {
  const { uploadState, uploadDescription, progress } = details;
  const count =
    uploadState !== 'uploading' || progress === null
      ? ''
      : `  ${progress.cycles} of ${progress.expectedCycles} cycle files${progress.stalled ? ', stalled' : ''}`;
  return `${cell(run.status)}  ${cell(uploadDescription)}${count}`;
}

function exitCodeOfRun({ run, details }: RunAnswer): Exit {
  if (details.uploadState !== 'complete') return EXIT.executionFailed;
  if (run.status === 'RUN_STATUS_STOPPED') return EXIT.executionCanceled;
  return run.status === 'RUN_STATUS_FAILED' ? EXIT.executionFailed : EXIT.ok;
}

/** Prints a run at each change until its upload has ended. The exit code says how it ended. */
export async function followRun(api: Profile, id: string, asJson: boolean): Promise<void> {
  let shown = '';
  let answeredAt = Date.now();
  for (;;) {
    try {
      const answer = (await request(api, 'GET', '/v1/runs/{id}/details', { path: { id } })) as RunAnswer;
      answeredAt = Date.now();
      const text = asJson ? jsonText(answer) : describeRun(answer);
      if (text !== shown) await write(`${asJson ? '' : `${new Date().toISOString()}  `}${text}\n`);
      shown = text;
      if (answer.details.uploadState !== 'uploading') {
        process.exitCode = exitCodeOfRun(answer);
        return;
      }
    } catch (error) {
      const isAway = error instanceof CliError && error.exit === EXIT.unavailable;
      if (!isAway || Date.now() - answeredAt > LIMITS.away) throw error;
    }
    await pause();
  }
}

/** The ID of a resource by its name, which may not exist yet: polony finds runs after their first files. */
export async function waitForId(api: Profile, group: string, idOrName: string): Promise<string> {
  const end = Date.now() + LIMITS.appears;
  for (let isFirst = true; ; isFirst = false) {
    try {
      return await resolveId(api, group, idOrName);
    } catch (error) {
      const isMissing = error instanceof CliError && error.exit === EXIT.notFound;
      if (!isMissing || Date.now() > end) throw error;
      const minutes = LIMITS.appears / 60_000;
      if (isFirst)
        process.stderr.write(
          `There is no ${nounOf(group)} named ${cell(idOrName)} yet. Waiting for it, for up to ${minutes} minutes\n`,
        );
    }
    await pause();
  }
}
