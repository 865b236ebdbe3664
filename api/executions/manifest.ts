import { type FieldProblem, throwIfInvalid } from '../../domain/errors.js';
import { checkUriKey, storageUri } from '../../domain/files/paths.js';
import type { ManifestedRun } from '../../domain/runs/manifestCheck.js';
import type { RunParameters } from '../../domain/runs/runParameters.js';
import type { FlowRow } from '../../store/connections/flows.js';
import { ApiError } from '../errors.js';
import { runTask } from '../tasks.js';

/** A run manifest in a request: its text, or where it is in S3. */
export type RequestedManifest = { content: string } | { uri: string };

/** What decides how a manifest is checked: it can change between the check and the creation of an execution. */
export interface ManifestFacts {
  flow: Pick<FlowRow, 'parameters' | 'run_settings'>;
  run: { run_parameters: Pick<RunParameters, 'cycles' | 'analysisLanes'> | null };
  /** The parameters of the execution. */
  parameters?: Record<string, unknown>;
}

/** The result of checking a manifest's text. */
export interface CheckedManifest {
  problems: FieldProblem[];
  /** What the text was checked against. */
  facts: string;
}

/** The flow or the run has changed since the manifest was checked. */
class StaleCheckError extends Error {}

/** How often a manifest is checked again because the flow or the run has changed meanwhile. */
const MOST_CHECKS = 3;

/** What a manifest is checked against. */
export function describeRun({ flow, run, parameters }: ManifestFacts): ManifestedRun {
  return {
    cycles: run.run_parameters?.cycles,
    analysisLanes: run.run_parameters?.analysisLanes,
    parameters: { ...flow.parameters, ...parameters },
  };
}

/** The text that must be checked. A flow may leave the decision to Bases2Fastq. */
function textToCheck(manifest: RequestedManifest | undefined, { flow }: ManifestFacts): string | undefined {
  return manifest !== undefined && 'content' in manifest && flow.run_settings.manifestErrors !== 'warn'
    ? manifest.content
    : undefined;
}

/**
 * Creates an execution with a manifest that has been checked. The check of a long text takes seconds, so it runs in a
 * thread, and before the transaction, which holds locks.
 * @param find what the manifest is checked against, as it is now; undefined where the creation will fail anyway.
 * @param create must call {@link requireCheckedManifest} with what it gets.
 * @throws what `create` throws; ApiError 409 CONFLICT when the flow or the run changes all the time
 */
export async function withCheckedManifest<T>(
  find: () => Promise<{ manifest: RequestedManifest | undefined; facts: ManifestFacts } | undefined>,
  create: (checked: CheckedManifest | undefined) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; attempt <= MOST_CHECKS; attempt++) {
    const found = await find();
    const checked = found && (await checkText(found.manifest, found.facts));
    try {
      return await create(checked);
    } catch (error) {
      if (!(error instanceof StaleCheckError)) throw error;
    }
  }
  throw new ApiError(
    409,
    'CONFLICT',
    'Other requests changed the flow or the run while polony checked the run manifest. Try again',
  );
}

async function checkText(
  manifest: RequestedManifest | undefined,
  facts: ManifestFacts,
): Promise<CheckedManifest | undefined> {
  const text = textToCheck(manifest, facts);
  if (text === undefined) return undefined;
  const run = describeRun(facts);
  const { errors } = await runTask('manifest.content', 'checkRunManifest', text, run);
  const problems = errors.map(({ rule, line, column, message }) => {
    const place = line === undefined ? '' : `line ${line}${column === undefined ? '' : ` column ${column}`}: `;
    return {
      field: 'manifest.content',
      rule: `MANIFEST_${rule.replaceAll('-', '_').toUpperCase()}`,
      message: `${place}${message}`,
    };
  });
  return { problems, facts: JSON.stringify(run) };
}

/**
 * Rejects a manifest that has problems. A text was checked before; a file in S3 is checked when the execution prepares,
 * so here only its place is.
 * @throws InputError; StaleCheckError when the text was checked against something else
 */
export function requireCheckedManifest(
  manifest: RequestedManifest | undefined,
  facts: ManifestFacts,
  checked: CheckedManifest | undefined,
  storage: { bucket: string; prefix: string; name: string },
): void {
  if (manifest !== undefined && 'uri' in manifest) throwIfInvalid(checkUri(manifest.uri, storage));
  if (textToCheck(manifest, facts) === undefined) return;
  if (checked?.facts !== JSON.stringify(describeRun(facts))) throw new StaleCheckError();
  throwIfInvalid(checked.problems);
}

/** Checks that a manifest lies in the storage connection of its run. */
export function checkUri(uri: string, storage: { bucket: string; prefix: string; name: string }): FieldProblem[] {
  const folder = storageUri(storage.bucket, storage.prefix);
  const isInside = uri.startsWith(folder.endsWith('/') ? folder : `${folder}/`) && !/[\u0000-\u001f]/.test(uri);
  if (isInside) return [];
  const message = `must lie in storage connection ${storage.name}, below ${folder}`;
  return [{ field: 'manifest.uri', rule: 'OUTSIDE_STORAGE_CONNECTION', message }];
}

/** Checks the key of a manifest in S3, in a body that the schema may not have accepted. */
export function checkManifestUri(manifest: unknown): FieldProblem[] {
  const { uri } = (manifest ?? {}) as { uri?: unknown };
  return typeof uri === 'string' ? checkUriKey('manifest.uri', uri) : [];
}
