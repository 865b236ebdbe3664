import { polonyClient } from '../../../client/index.js';
import { CliError, EXIT } from '../exit.js';
import { cell } from '../output.js';
import type { Profile } from '../profiles.js';
import { expectData, request } from '../requests.js';
import { FingerprintSet } from './fingerprintSet.js';
import { walkRunFolder, type WalkOptions } from './localFiles.js';

/** A run whose upload is complete, compared with a folder on this machine. */
export interface CompleteRun {
  id: string;
  /** Empty where the key may not see the run. */
  name: string;
  uri: string;
  /** Files that have the same size here and in the bucket. */
  files: number;
  /** Why the files were not compared; undefined where they were. */
  notCompared?: string;
}

/** Most files that an error names. */
const MAX_NAMED = 5;

/** The ID of the run that the API reports as complete; undefined for another error. */
export function completeRunIn({ answer }: CliError): string | undefined {
  const { reason, metadata } = answer ?? {};
  return reason === 'RUN_COMPLETE' && typeof metadata?.runId === 'string' ? metadata.runId : undefined;
}

/** What the key may not see gives the reason as a text. */
async function orWhyHidden<T>(load: Promise<T>): Promise<T | string> {
  try {
    return await load;
  } catch (error) {
    if (error instanceof CliError && [EXIT.denied, EXIT.notFound].includes(error.exit as never)) return error.message;
    throw error;
  }
}

const nameAndSize = (name: string, size: number): string => `${name}\n${size}`;

/** The names and sizes of the files of a run, which may be a million. */
async function loadSizes(api: Profile, id: string): Promise<FingerprintSet> {
  const sizes = new FingerprintSet();
  let pageToken: string | undefined;
  do {
    const query = { pageSize: 1000, ...(pageToken !== undefined && { pageToken }) };
    const page = await expectData(
      api,
      polonyClient(api).GET('/v1/runs/{run_id}/files', { params: { path: { run_id: id }, query } }),
    );
    for (const { path, size } of page.files) sizes.add(nameAndSize(path, Number(size)));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return sizes;
}

/**
 * Compares a folder with a complete run in the bucket, by the names and sizes of the files.
 * @param options.root real path of the folder
 * @throws CliError `conflict` when a file of the folder is missing in the bucket or has another size there
 */
export async function compareWithRun(
  api: Profile,
  id: string,
  { root, ...options }: WalkOptions & { root: string },
): Promise<CompleteRun> {
  const answer = await orWhyHidden(request(api, 'GET', '/v1/runs/{id}', { path: { id } }));
  const { run } = (typeof answer === 'string' ? {} : answer) as { run?: { name: string; output: { uri: string } } };
  const complete = { id, name: run?.name ?? '', uri: run?.output.uri ?? '', files: 0 };
  const sizes = await orWhyHidden(loadSizes(api, id));
  if (typeof sizes === 'string') return { ...complete, notCompared: sizes };
  const different: string[] = [];
  for await (const files of walkRunFolder(root, options))
    for (const { name, size } of files) {
      if (sizes.has(nameAndSize(name, size))) complete.files++;
      else different.push(name);
    }
  if (different.length === 0) return complete;
  const names = `${different.slice(0, MAX_NAMED).map(cell).join(', ')}${different.length > MAX_NAMED ? ', …' : ''}`;
  throw new CliError(
    `The run ${cell(complete.name)} (${id}) is complete in the bucket, and ${different.length} files of ${cell(root)} ` +
      `differ from it: ${names}. Nothing was uploaded, because analyses may be reading the run. If this is another ` +
      'run, give its folder another name',
    EXIT.conflict,
  );
}
