import { CliError, EXIT } from '../exit.js';

/** How far a transfer is: sizes in bytes, and numbers of files. */
export interface TransferProgress {
  bytes: number;
  totalBytes: number;
  files: number;
  totalFiles: number;
}

/** A progress bar on standard error. It shows nothing when standard error is not a terminal. */
export interface ProgressBar {
  update: (progress: TransferProgress) => void;
  stop: () => void;
}

/** Creates a progress bar. @param isShown whether the user wants one */
export async function createProgressBar(isShown: boolean): Promise<ProgressBar> {
  if (!isShown || !process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  const { SingleBar, Presets } = await import('cli-progress');
  const bar = new SingleBar(
    {
      format: '{bar} {percentage}%  {megabytes} MB  {files}/{totalFiles} files  {eta_formatted}',
      stream: process.stderr,
      hideCursor: true,
      etaBuffer: 100,
    },
    Presets.shades_classic,
  );
  bar.start(1, 0, { megabytes: 0, files: 0, totalFiles: 0 });
  return {
    update: ({ bytes, totalBytes, files, totalFiles }) => {
      bar.setTotal(Math.max(1, totalBytes));
      bar.update(bytes, { megabytes: Math.round(bytes / 1e6), files, totalFiles });
    },
    stop: () => bar.stop(),
  };
}

/** Aborts when the process receives SIGINT or SIGTERM. Run again, the command resumes where it stopped. */
export function abortOnSignal(): AbortSignal {
  const controller = new AbortController();
  const exits = [
    ['SIGINT', EXIT.interrupted],
    ['SIGTERM', EXIT.terminated],
  ] as const;
  for (const [signal, exit] of exits)
    process.once(signal, () => controller.abort(new CliError('Stopped. To resume, run the same command again', exit)));
  return controller.signal;
}
