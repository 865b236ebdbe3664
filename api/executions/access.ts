import type { FieldProblem } from '../../domain/errors.js';
import { throwIfInvalid } from '../../domain/errors.js';
import type { ScopeAction } from '../../domain/auth/scopes.js';
import { ApiError } from '../errors.js';
import type { Caller } from '../plugins/auth.js';

/**
 * Checks that a caller may see the run and the flow that it starts an execution for: the execution shows the run, and
 * spends money in the account of the flow.
 * @param runId absent where the request names a run folder.
 * @throws ApiError 403; InputError when the caller may not see this run or this flow
 */
export function checkMayStart({ access }: Caller, { flowId, runId }: { flowId: string; runId?: string }): void {
  requireScopeToStart(access, 'runs:read', 'an execution shows its run');
  requireScopeToStart(access, 'flows:read', 'an execution runs on the compute connection of its flow');
  const problems: FieldProblem[] = [];
  if (!access.covers('flows:read', flowId)) problems.push(missing('flow', flowId));
  if (runId !== undefined && !access.covers('runs:read', runId)) problems.push(missing('run', runId));
  throwIfInvalid(problems);
}

function requireScopeToStart(access: Caller['access'], scope: ScopeAction, reason: string): void {
  if (access.covers(scope)) return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    `Starting executions also needs the scope \`${scope}\`, because ${reason}. Use an API key with both scopes`,
    { required_scope: scope },
  );
}

/** The problem of a run or flow that does not exist, or that the caller may not see. */
export function missing(kind: 'run' | 'flow', id: string): FieldProblem {
  return {
    field: `${kind}Id`,
    rule: `${kind.toUpperCase()}_NOT_FOUND`,
    message: `there is no ${kind} ${id.slice(0, 100)}`,
  };
}

/**
 * Checks that a caller may name run folders at all. Which ones, {@link maySeePath} says.
 * @throws ApiError 403
 */
export function checkMayNameFolders({ access }: Caller): void {
  if (access.ids('runs:read') !== 'all')
    throw folderError(
      'runs:read',
      '`runFolderUri` needs the scope `runs:read` for all runs, and this API key has it for some. Send `runId` instead',
    );
  if (!access.covers('storage:download'))
    throw folderError(
      'storage:download',
      '`runFolderUri` needs the scope `storage:download` for the folder, because it shows the folder to everybody who ' +
        'may see runs. Send `runId` instead, or use an API key with this scope',
    );
}

function folderError(scope: ScopeAction, message: string): ApiError {
  return new ApiError(403, 'INSUFFICIENT_SCOPE', message, { required_scope: scope, field: 'runFolderUri' });
}

/** A storage connection, as far as it decides who may see its folders. */
export interface StorageToSee {
  id: string;
  prefix: string;
}

/** The part of a key below a storage connection's prefix; undefined where the key is not below it. */
export function pathBelow({ prefix }: Pick<StorageToSee, 'prefix'>, key: string): string | undefined {
  if (prefix === '') return key;
  return key.startsWith(`${prefix}/`) ? key.slice(prefix.length + 1) : undefined;
}

/** Whether a caller may browse a folder or file of a storage connection. @param path below its prefix */
export function maySeePath({ access }: Caller, { id }: StorageToSee, path: string): boolean {
  const allowed = access.prefixes('storage:download', id);
  return allowed === 'all' || allowed.some((prefix) => path.startsWith(prefix) || `${path}/` === prefix);
}
