import { Argument, type Command } from 'commander';
import { CliError, EXIT } from '../exit.js';
import { addConnectionFlags, parseConcurrency } from '../flags.js';
import { cell, print } from '../output.js';
import { type ConnectionOptions, connectionOf } from '../profiles.js';
import { resolveId } from '../names.js';
import type { CompleteRun } from './completeRun.js';
import type { DownloadReport } from './download.js';
import { limitHeapGrowth } from './heapGrowth.js';
import { abortOnSignal, createProgressBar } from './progress.js';
import type { UploadReport } from './upload.js';

interface DownloadFlags extends ConnectionOptions {
  to: string;
  concurrency: number;
  json?: boolean;
}

interface UploadFlags extends ConnectionOptions {
  storage: string;
  parentPath?: string;
  partial?: boolean;
  followSymlinks?: boolean;
  concurrency: number;
  json?: boolean;
}

type SourceKind = 'run' | 'execution' | 'storage';

function describeSkipped(skipped: number): string {
  return skipped === 0 ? '' : `; ${skipped} were already there`;
}

function describeDownload({ files, bytes, skipped, failed }: DownloadReport): string {
  const failures = failed.length === 0 ? '' : `; ${failed.length} failed`;
  return `${files} files, ${bytes} bytes${describeSkipped(skipped)}${failures}`;
}

function describeUpload({ files, bytes, uri, skipped, ended, completeBefore }: UploadReport): string {
  if (completeBefore !== undefined) return describeComplete(completeBefore);
  return `${files} files, ${bytes} bytes to ${uri}${describeSkipped(skipped)}${ended ? '' : '; the run has not ended'}`;
}

function describeComplete({ id, name, uri, files, notCompared }: CompleteRun): string {
  const run = `The run ${name === '' ? id : `${cell(name)} (${id})`} is already complete${uri === '' ? '' : ` in ${cell(uri)}`}`;
  const compared =
    notCompared === undefined
      ? `All ${files} files of the folder have the same size there`
      : `The files were not compared: ${notCompared}`;
  return `${run}, so nothing was uploaded. ${compared}`;
}

async function runDownload(
  kind: SourceKind,
  idOrName: string,
  prefix: string | undefined,
  flags: DownloadFlags,
): Promise<void> {
  limitHeapGrowth();
  const api = connectionOf(flags);
  const id = await resolveId(api, kind === 'storage' ? 'storage' : `${kind}s`, idOrName);
  const { download } = await import('./download.js');
  const bar = await createProgressBar(flags.json !== true);
  const report = await download(
    api,
    { kind, id, ...(prefix !== undefined && { prefix }) },
    { to: flags.to, concurrency: flags.concurrency, onProgress: bar.update, signal: abortOnSignal() },
  ).finally(bar.stop);
  print(flags.json === true, report, () => describeDownload(report));
  if (prefix !== undefined && prefix !== '' && report.files + report.skipped + report.failed.length === 0)
    throw new CliError(
      kind === 'storage'
        ? `There is no file in the folder ${cell(prefix)} of this storage connection`
        : `No file of this ${kind} begins with ${cell(prefix)}`,
      EXIT.notFound,
    );
  if (report.failed.length === 0) return;
  if (flags.json !== true)
    for (const { path, reason } of report.failed) process.stderr.write(`${cell(path)}: ${reason}\n`);
  process.exitCode = EXIT.failed;
}

async function runUpload(folder: string, flags: UploadFlags): Promise<void> {
  limitHeapGrowth();
  const api = connectionOf(flags);
  const storageConnectionId = await resolveId(api, 'storage', flags.storage);
  const { uploadRunFolder } = await import('./upload.js');
  const bar = await createProgressBar(flags.json !== true);
  const report = await uploadRunFolder(api, {
    storageConnectionId,
    folder,
    partial: flags.partial === true,
    followLinks: flags.followSymlinks === true,
    concurrency: flags.concurrency,
    onProgress: bar.update,
    signal: abortOnSignal(),
    ...(flags.parentPath !== undefined && { parentPath: flags.parentPath }),
  }).finally(bar.stop);
  print(flags.json === true, report, () => describeUpload(report));
}

/** Adds `polony download` and `polony upload`. */
export function addTransferCommands(program: Command): void {
  addConnectionFlags(
    program
      .command('download')
      .description(
        'download files of a run, an execution or a storage connection; skips complete files and resumes others',
      )
      .addArgument(new Argument('<kind>', 'what to download').choices(['run', 'execution', 'storage']))
      .argument('<id-or-name>', 'its ID or name')
      .argument(
        '[prefix]',
        'download only what starts with this, relative to the resource; of a storage connection, a folder',
      )
      .option('--to <folder>', 'target folder', '.')
      .option('--concurrency <number>', 'number of files at once', parseConcurrency, 8),
  ).action(runDownload);
  addConnectionFlags(
    program
      .command('upload')
      .description(
        'upload a run folder as an instrument does, RunUploaded.json last; skips files that are in the bucket and resumes others',
      )
      .argument('<run-folder>', 'folder that the instrument has written')
      .requiredOption('--storage <id-or-name>', 'storage connection to upload to (required)')
      .option(
        '--parent-path <path>',
        "folders between the connection's prefix and the instrument's folder, for a connection with a runDepth",
      )
      .option('--follow-symlinks', 'upload what symbolic links in the folder point to; without it, a link is an error')
      .option('--partial', 'upload an incomplete run as it is, without RunUploaded.json')
      .option('--concurrency <number>', 'number of files, or parts of large files, at once', parseConcurrency, 4),
  ).action(runUpload);
}
