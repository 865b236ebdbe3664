import type { FastifyRequest } from 'fastify';
import { InputError } from '../../../domain/errors.js';
import { joinMismatches, type IndexSeries, type UnassignedSeries } from '../../../domain/runs/indexSeries.js';
import type { StatsSeries } from '../../../domain/runs/series.js';
import type { SeriesFile } from '../../../domain/runs/seriesFiles.js';
import { isId } from '../../../store/database.js';
import { findLastCompleted } from '../../../store/executions/list.js';
import { findListedExecution, type ListedExecution, loadResultFiles } from '../../../store/executions/load.js';
import type { ApiDependencies } from '../../dependencies.js';
import { ApiError, notFoundError } from '../../errors.js';
import { findOutputPlace, findRunPlace, type Place } from '../../files/places.js';
import { type FileReport, type FileResult, nothingOf, type SeriesReader } from './reader.js';

/** The files in a run folder, and where they may be. */
const RUN_FILES = {
  'AvitiRunStats.json': ['AvitiRunStats.json', 'Stats/AvitiRunStats.json'],
  'IndexAssignment.csv': ['IndexAssignment.csv'],
} as const;
/** The files in the results of Bases2Fastq. */
const RESULT_FILES = ['RunStats.json', 'IndexAssignment.csv', 'UnassignedSequences.csv'] as const;

type Dependencies = Pick<ApiDependencies, 'db'> & { reader: SeriesReader };
/** Where files are, or why polony does not show them. */
type Shown = { place: Place; folders: readonly string[] } | { state: FileReport['state']; message: string };

/** The series of a run: what the instrument measured, and what the execution that completed last found. */
export async function readRunSeries(
  dependencies: Dependencies,
  request: FastifyRequest,
  runId: string,
  executionId: string | undefined,
) {
  const { db, reader } = dependencies;
  const { access } = request.caller;
  const shown = await findShown(async () => ({ place: await findRunPlace(db, runId), folders: [''] }), 'run');
  const read = <File extends keyof typeof RUN_FILES>(name: File): Promise<FileResult<File>> =>
    'place' in shown
      ? reader.read(name, { place: shown.place, paths: RUN_FILES[name], log: request.log })
      : Promise.resolve(notRead(name, shown));
  const [stats, index] = await Promise.all([
    read('AvitiRunStats.json'),
    // It names samples, as the run manifest does, which this scope protects too.
    access.covers('runs:download', runId)
      ? read('IndexAssignment.csv')
      : notRead('IndexAssignment.csv', {
          state: 'not_shown',
          message: 'It names samples, and this API key lacks the scope runs:download of the run',
        }),
  ]);
  const execution = await findExecutionOf(dependencies, request, runId, executionId);
  return {
    runId,
    instrument: presentSeries([stats.report, index.report], stats.content, index.content, null),
    execution:
      execution === undefined
        ? null
        : { executionId: execution.id, ...(await readExecutionSeries(dependencies, request, execution)) },
  };
}

/** @throws InputError; ApiError 404 for an execution that the caller may not see */
async function findExecutionOf(
  { db }: Dependencies,
  { caller }: FastifyRequest,
  runId: string,
  executionId: string | undefined,
): Promise<ListedExecution | undefined> {
  if (executionId === undefined) return findLastCompleted(db, runId, caller.access.ids('executions:read'));
  const isVisible = isId(executionId) && caller.access.covers('executions:read', executionId);
  const execution = isVisible ? await findListedExecution(db, executionId) : undefined;
  if (execution === undefined) throw notFoundError('execution', executionId);
  if (execution.run.id === runId.toLowerCase()) return execution;
  const message = `names an execution of the run ${execution.run.id}. Give an execution of this run`;
  throw new InputError([{ field: 'executionId', rule: 'OTHER_RUN', message }]);
}

/** The series in the results of an execution. */
export async function readExecutionSeries(
  { db, reader }: Dependencies,
  request: FastifyRequest,
  execution: ListedExecution,
) {
  const shown = await findShown(async () => {
    const place = await findOutputPlace(db, execution);
    return place && { place, folders: await findFolders(db, execution.id) };
  }, 'execution');
  const read = <File extends (typeof RESULT_FILES)[number]>(name: File): Promise<FileResult<File>> => {
    if (!('place' in shown)) return Promise.resolve(notRead(name, shown));
    const paths = shown.folders.map((folder) => `${folder}${name}`);
    return reader.read(name, { place: shown.place, paths, log: request.log });
  };
  const [stats, index, unassigned] = await Promise.all([
    read('RunStats.json'),
    read('IndexAssignment.csv'),
    read('UnassignedSequences.csv'),
  ]);
  const reports = [stats.report, index.report, unassigned.report];
  return presentSeries(reports, stats.content, index.content, unassigned.content);
}

/**
 * Folders where the results may be, below the output of the execution. Workflows may export to a folder of their own,
 * which the files of the execution show.
 */
async function findFolders(db: Dependencies['db'], executionId: string): Promise<string[]> {
  const files = await loadResultFiles(db, executionId);
  const keys = files.map(({ key }) => key).filter((key) => RESULT_FILES.some((name) => `/${key}`.endsWith(`/${name}`)));
  const folders = keys.map((key) => key.slice(0, key.lastIndexOf('/') + 1));
  // Projects and samples have files of the same names. Those of the run are the ones nearest to the root.
  const [nearest = ''] = folders.sort((one, other) => one.length - other.length);
  return [...new Set([nearest, ''])];
}

async function findShown(
  find: () => Promise<{ place: Place; folders: readonly string[] } | undefined>,
  what: 'run' | 'execution',
): Promise<Shown> {
  try {
    const found = await find();
    return (
      found ?? {
        state: 'missing',
        message: 'The execution has no output yet, because its HealthOmics run has not started',
      }
    );
  } catch (error) {
    const isAbsent = error instanceof ApiError && error.reason === `${what.toUpperCase()}_NOT_FOUND`;
    if (!(error instanceof ApiError) || isAbsent) throw error;
    return { state: 'not_shown', message: error.message };
  }
}

function notRead<File extends SeriesFile>(
  name: File,
  { state, message }: { state: FileReport['state']; message: string },
): FileResult<File> {
  return { report: { ...nothingOf(name), state, message }, content: null };
}

function presentSeries(
  files: FileReport[],
  stats: StatsSeries | null,
  index: IndexSeries | null,
  unassigned: UnassignedSeries | null,
) {
  const fromStats = stats === null || stats.unassigned.length === 0 ? null : stats.unassigned;
  return {
    files,
    warnings: stats?.warnings ?? [],
    softwareVersion: stats?.softwareVersion ?? null,
    totals: stats?.run ?? null,
    lanes: stats?.lanes ?? [],
    samples: (stats?.samples ?? []).map(({ occurrences: _, ...sample }) => sample),
    indexAssignment:
      index === null
        ? null
        : {
            percentOf: index.percentOf,
            rows: joinMismatches(index.rows, stats?.samples ?? []),
            isTruncated: index.isTruncated,
          },
    unassignedSequences:
      unassigned !== null && (unassigned.rows.length > 0 || fromStats === null)
        ? unassigned
        : fromStats === null
          ? null
          : { percentOf: 'lane' as const, rows: fromStats, isTruncated: false },
  };
}
