import { Argument, type Command, InvalidArgumentError } from 'commander';
import { connected, idOf } from './commands.js';
import { CliError, EXIT } from './exit.js';
import { cell, print } from './output.js';
import { type ConnectionOptions, connectionOf } from './profiles.js';

/** What is told of a transfer as it goes on. */
export interface TransferProgress {
  bytes: number;
  totalBytes: number;
  files: number;
  totalFiles: number;
}

/** A bar for people at a terminal; nothing for programs. */
export async function progressBar(
  shown: boolean,
): Promise<{ update: (progress: TransferProgress) => void; stop: () => void }> {
  if (!shown || !process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
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

/** Ends a transfer when this process is told to; what has come is gone on with the next time. */
export function abortOnSignal(): AbortSignal {
  const told = new AbortController();
  for (const [signal, exit] of [
    ['SIGINT', EXIT.interrupted],
    ['SIGTERM', EXIT.terminated],
  ] as const)
    process.once(signal, () =>
      told.abort(new CliError('Stopped; run the same command again, it goes on where it was', exit)),
    );
  return told.signal;
}

export const concurrency = (text: string): number => {
  if (!/^\d{1,2}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('must be a number from 1 to 99');
  return Number(text);
};

/** Downloads, and uploads of run folders. */
export function addTransferCommands(program: Command): void {
  connected(
    program
      .command('download')
      .description(
        'download the files of a run, an execution or a storage connection; what is there already is left, what was begun is gone on with',
      )
      .addArgument(new Argument('<kind>').choices(['run', 'execution', 'storage']))
      .argument('<id-or-name>')
      .argument('[prefix]', 'only what begins with this, relative to the resource')
      .option('--to <folder>', 'where to', '.')
      .option('--concurrency <number>', 'how many files at once', concurrency, 8),
  ).action(
    async (
      kind: 'run' | 'execution' | 'storage',
      given: string,
      prefix: string | undefined,
      flags: ConnectionOptions & { to: string; concurrency: number; json?: boolean },
    ) => {
      const api = connectionOf(flags);
      const id = await idOf(api, kind === 'storage' ? 'storage' : `${kind}s`, given);
      const { download } = await import('./download.js');
      const bar = await progressBar(flags.json !== true);
      const report = await download(
        api,
        { kind, id, ...(prefix !== undefined && { prefix }) },
        { to: flags.to, concurrency: flags.concurrency, onProgress: bar.update, signal: abortOnSignal() },
      ).finally(bar.stop);
      print(
        flags.json === true,
        report,
        () =>
          `${report.files} files, ${report.bytes} bytes${report.skipped === 0 ? '' : `; ${report.skipped} were there already`}${report.failed.length === 0 ? '' : `; ${report.failed.length} failed`}`,
      );
      if (report.failed.length === 0) return;
      if (flags.json !== true)
        for (const { path, reason } of report.failed) process.stderr.write(`${cell(path)}: ${reason}\n`);
      process.exitCode = EXIT.failed;
    },
  );

  connected(
    program
      .command('upload')
      .description(
        'upload a run folder as an instrument does, RunUploaded.json last; what is there already is left, what was begun is gone on with',
      )
      .argument('<run-folder>')
      .requiredOption('--storage <id-or-name>', 'the storage connection')
      .option(
        '--parent-path <path>',
        'the folders between its prefix and that of the instrument, where it has a runDepth',
      )
      .option('--partial', 'upload what there is of a run that has not ended or is not whole, without RunUploaded.json')
      .option(
        '--concurrency <number>',
        'how many files, or parts of large ones, at once; each takes up to 16 MiB of memory (of files beyond 160 GB more)',
        concurrency,
        4,
      ),
  ).action(
    async (
      folder: string,
      flags: ConnectionOptions & {
        storage: string;
        parentPath?: string;
        partial?: boolean;
        concurrency: number;
        json?: boolean;
      },
    ) => {
      const api = connectionOf(flags);
      const storageConnectionId = await idOf(api, 'storage', flags.storage);
      const { uploadRunFolder } = await import('./upload.js');
      const bar = await progressBar(flags.json !== true);
      const report = await uploadRunFolder(api, {
        storageConnectionId,
        folder,
        partial: flags.partial === true,
        concurrency: flags.concurrency,
        onProgress: bar.update,
        signal: abortOnSignal(),
        ...(flags.parentPath !== undefined && { parentPath: flags.parentPath }),
      }).finally(bar.stop);
      print(
        flags.json === true,
        report,
        () =>
          `${report.files} files, ${report.bytes} bytes to ${report.uri}${report.skipped === 0 ? '' : `; ${report.skipped} were there already`}${report.ended ? '' : '; the run has not ended'}`,
      );
    },
  );
}
