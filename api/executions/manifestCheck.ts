import { readFile, type ReadFile } from '../../aws/files.js';
import { parseS3Uri } from '../../aws/s3.js';
import { InputError, throwIfInvalid } from '../../domain/errors.js';
import { checkParameters } from '../../domain/executions/parameters.js';
import { joinKey } from '../../domain/files/paths.js';
import { objectArn } from '../../domain/iam/permissions.js';
import type { ManifestReport } from '../../domain/runs/manifestCheck.js';
import { findManifestOverrides } from '../../domain/runs/manifestOverrides.js';
import { findFlow, type FlowRow } from '../../store/connections/flows.js';
import { isId } from '../../store/database.js';
import { findRun, type RunContext } from '../../store/runs/load.js';
import { awsApiError } from '../aws.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';
import { findRunPlace, type Place } from '../files/places.js';
import { RESTORE } from '../files/unreadable.js';
import type { Caller } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { runTask } from '../tasks.js';
import { checkBody } from '../validation.js';
import { maySeePath, missing } from './access.js';
import { checkManifestUri, checkUri, describeRun } from './manifest.js';
import type { operations } from './schemas.js';

type CheckRequest = RequestOf<typeof operations.checkManifest>;

/** Largest manifest that polony reads, in bytes; executions read as much. */
const MANIFEST_BYTES = 16 * 1024 * 1024;

/** Checks a run manifest as an execution would, and starts nothing. */
export async function handleCheckManifest(dependencies: ApiDependencies, request: CheckRequest) {
  checkBody(request, (_check, body) => [
    checkParameters('parameters', body.parameters),
    checkManifestUri(body.manifest),
  ]);
  const { body } = request;
  const { run, flow } = await findRunAndFlow(dependencies, request);
  const facts = {
    flow: { parameters: flow?.parameters ?? {}, run_settings: flow?.run_settings ?? {} },
    run: { run_parameters: run.parameters },
    parameters: body.parameters,
  };
  const { manifest } = body;
  const { source, content, report } = await readRequested(dependencies, request, run, flow);
  const field = manifest !== undefined && 'content' in manifest ? 'manifest.content' : 'manifest';
  const checked = report ?? (await runTask(field, 'checkRunManifest', content, describeRun(facts)));
  return {
    check: {
      source,
      // A flow may leave the decision to Bases2Fastq.
      stops: checked.errors.length > 0 && facts.flow.run_settings.manifestErrors !== 'warn',
      ...checked,
    },
  };
}

/** @throws ApiError 404; InputError for a flow that does not exist, or that the caller may not see */
async function findRunAndFlow(
  { db }: ApiDependencies,
  { params: { id }, body: { flowId }, caller: { access } }: CheckRequest,
): Promise<{ run: RunContext; flow: FlowRow | undefined }> {
  const run = isId(id) ? await findRun(db, id) : undefined;
  if (run === undefined) throw notFoundError('run', id);
  if (flowId === undefined) return { run, flow: undefined };
  const flow = isId(flowId) && access.covers('flows:read', flowId) ? await findFlow(db, flowId) : undefined;
  if (flow === undefined) throw new InputError([missing('flow', flowId)]);
  return { run, flow };
}

type Found = { source: 'run' | 'text' | 'uri' } & (
  | { content: string | Uint8Array; report?: undefined }
  /** There is nothing to check. */
  | { content: ''; report: ManifestReport }
);

async function readRequested(
  dependencies: ApiDependencies,
  request: CheckRequest,
  run: RunContext,
  flow: FlowRow | undefined,
): Promise<Found> {
  const { manifest, parameters } = request.body;
  if (manifest !== undefined && 'content' in manifest) return { source: 'text', content: manifest.content };
  const unchecked: ManifestReport = { errors: [], warnings: [], samples: 0, more: 0 };
  const overrides = findManifestOverrides({ ...flow?.parameters, ...parameters }, flow?.parameter_names.runManifest);
  if (manifest === undefined && overrides.replaceManifest) {
    const message = 'polony did not check the run manifest: a parameter of the flow or the request names another one';
    return { source: 'run', content: '', report: { ...unchecked, warnings: [{ rule: 'not-checked', message }] } };
  }
  const place = await findRunPlace(dependencies.db, run.id);
  const { bucket, prefix, name } = place.storage;
  if (manifest !== undefined) throwIfInvalid(checkUri(manifest.uri, { bucket, prefix, name }));
  const key =
    manifest === undefined
      ? joinKey(prefix, run.parentPath, run.runFolder, 'RunManifest.csv')
      : parseS3Uri(manifest.uri).key;
  requireMayRead(request.caller, run.id, place, key);
  const content = await readManifest(dependencies, request, place, key);
  if (content !== undefined) return { source: manifest === undefined ? 'run' : 'uri', content };
  if (manifest === undefined) {
    const message = 'The run has no RunManifest.csv. Bases2Fastq then assigns all reads to one sample.';
    return { source: 'run', content: '', report: { ...unchecked, warnings: [{ rule: 'no-manifest', message }] } };
  }
  const message = `there is no object ${manifest.uri}`;
  return { source: 'uri', content: '', report: { ...unchecked, errors: [{ rule: 'no-manifest', message }] } };
}

/** Findings quote the manifest, so that a check shows parts of the file. @throws ApiError 403 */
function requireMayRead(caller: Caller, runId: string, { storage, root }: Place, key: string): void {
  if (key.startsWith(root) && caller.access.covers('runs:download', runId)) return;
  const below = storage.prefix === '' ? key : key.slice(storage.prefix.length + 1);
  if (maySeePath(caller, storage, below)) return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    'To check a manifest in S3, this API key needs the scope `runs:download` for a file in the run folder, or ' +
      '`storage:download` for its folder. Send the text of the manifest, or use an API key with this scope',
    { required_scope: key.startsWith(root) ? 'runs:download' : 'storage:download' },
  );
}

/** @returns undefined where there is no such object */
async function readManifest(
  { aws }: ApiDependencies,
  request: CheckRequest,
  { storage, bucket }: Place,
  key: string,
): Promise<Uint8Array | undefined> {
  let file: ReadFile | undefined;
  try {
    file = await aws.use(storage.provider_id, () =>
      readFile(aws.s3(storage.provider_id, storage.region), bucket, key, { maxBytes: MANIFEST_BYTES }),
    );
  } catch (error) {
    throw awsApiError(request, error, { action: 's3:GetObject', resource: objectArn(bucket, key, storage.region) });
  }
  if (file === undefined) return undefined;
  if (file.state === 'read') return file.bytes;
  const uri = `s3://${bucket}/${key}`;
  throw file.state === 'archived'
    ? new ApiError(409, 'FILE_ARCHIVED', `${uri} is archived in S3 (Glacier), where nobody can read it. ${RESTORE}`)
    : new ApiError(
        409,
        'FILE_TOO_LARGE',
        `${uri} has ${file.size} bytes, and polony reads manifests of at most ${MANIFEST_BYTES}. Check the URI`,
      );
}
