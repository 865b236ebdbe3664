import { type FieldProblem, InputError } from '../../domain/errors.js';
import { ApiError } from '../errors.js';
import type { Caller } from '../plugins/auth.js';
import type { RequestedManifest } from './manifest.js';

/**
 * Checks that a caller may see the run that it starts an execution for: the execution shows the run.
 * @param runId absent where the request names a run folder, which may be that of any run
 * @throws ApiError 403; InputError when the caller may not see this run
 */
export function checkRunAccess({ access }: Caller, runId: string | undefined): void {
  if (!access.covers('runs:read'))
    throw new ApiError(
      403,
      'INSUFFICIENT_SCOPE',
      'Starting executions also needs the scope `runs:read`, because an execution shows its run. ' +
        'Use an API key with both scopes',
      { required_scope: 'runs:read' },
    );
  if (runId !== undefined && !access.covers('runs:read', runId))
    throw new InputError([
      { field: 'runId', rule: 'RUN_NOT_FOUND', message: `there is no run ${runId.slice(0, 100)}` },
    ]);
  if (runId === undefined && access.ids('runs:read') !== 'all')
    throw new ApiError(
      403,
      'INSUFFICIENT_SCOPE',
      '`runFolderUri` needs the scope `runs:read` for all runs, and this API key has it for some. Send `runId` instead',
      { required_scope: 'runs:read', field: 'runFolderUri' },
    );
}

/** What a caller names in S3 and may not be allowed to see: empty for a caller that may see all runs. */
export interface UncheckedReferences {
  manifestUri?: string;
  parameters?: Record<string, unknown>;
}

/** The references in a request that {@link checkRunReferences} must check. */
export function uncheckedReferences(
  { access }: Caller,
  body: { manifest?: RequestedManifest | null; parameters?: Record<string, unknown> },
): UncheckedReferences {
  if (access.ids('runs:read') === 'all') return {};
  return {
    parameters: body.parameters,
    ...(body.manifest != null && 'uri' in body.manifest && { manifestUri: body.manifest.uri }),
  };
}

/**
 * The references that lead outside the run folder. The workflow reads S3 with its own role, and the results and
 * problems of the execution show what it read, so a caller that may see some runs could read others through it.
 * @param folder `s3://` URI of the run folder, with a slash at its end
 */
export function checkRunReferences(folder: string, references: UncheckedReferences): FieldProblem[] {
  return [
    ...findOutsideUris(folder, 'manifest.uri', references.manifestUri),
    ...findOutsideUris(folder, 'parameters', references.parameters),
  ];
}

function findOutsideUris(folder: string, field: string, value: unknown): FieldProblem[] {
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([name, member]) => findOutsideUris(folder, `${field}.${name}`, member));
  // One text may name several.
  const uris = typeof value === 'string' ? value.split(/(?=s3:\/\/)/i).filter((part) => /^s3:/i.test(part)) : [];
  const areInside = uris.every((uri) => uri.startsWith(folder) && !/\/\.{1,2}(\/|$)/.test(uri));
  if (areInside) return [];
  const message = `must lie in the run folder, below ${folder}, because this API key may not see all runs`;
  return [{ field, rule: 'OUTSIDE_RUN', message }];
}
