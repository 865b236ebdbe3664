import type { ScopeAction } from '../domain/auth/scopes.js';
import type { ResourceUse } from '../store/connections/uses.js';
import { ApiError } from './errors.js';
import type { Caller } from './plugins/auth.js';

/** PostgreSQL's code for a violated unique index (unique_violation). */
export const UNIQUE_VIOLATION = '23505';
/** PostgreSQL's code for a row that refers to one that is gone (foreign_key_violation). */
export const FOREIGN_KEY_VIOLATION = '23503';

/**
 * Waits for a write, and turns a violation of the unique index of names into an answer. The index decides, so that two
 * requests cannot take the same name at the same time.
 * @param kind for people, such as `storage connection`.
 * @throws ApiError 409 NAME_TAKEN
 */
export async function mapUniqueViolation<T>(kind: string, name: string, write: Promise<T>): Promise<T> {
  try {
    return await write;
  } catch (error) {
    const { code, constraint } = error as { code?: string; constraint?: string };
    if (code === UNIQUE_VIOLATION && constraint?.endsWith('_name') === true)
      throw new ApiError(409, 'NAME_TAKEN', `Another ${kind} already has the name ${name}. Choose a different name.`, {
        field: 'name',
      });
    throw error;
  }
}

/**
 * Checks that a caller may give a resource another name. Names are unique, so a caller that may change only some
 * resources could find out the names of the others.
 * @throws ApiError 403 INSUFFICIENT_SCOPE, whether or not the name is taken
 */
export function checkMayRename(
  { access }: Pick<Caller, 'access'>,
  scope: ScopeAction,
  names: { old: string; new: string },
): void {
  if (names.new === names.old || access.ids(scope) === 'all') return;
  throw new ApiError(
    403,
    'INSUFFICIENT_SCOPE',
    `This API key cannot change the name, because it lacks the scope ${scope} for all resources: names are unique, so ` +
      'a conflict would tell the name of another one. Use a key that has this scope.',
    { required_scope: scope },
  );
}

/**
 * The scope that shows each kind of user of a resource. Grants have no scope of their own: sharing shows them, and a
 * grant may be for more of the bucket than a narrow scope covers.
 */
const SCOPE_TO_SEE: Record<Exclude<ResourceUse['kind'], 'access grant'>, ScopeAction> = {
  'storage connection': 'storage:read',
  'compute connection': 'compute:read',
  flow: 'flows:read',
  execution: 'executions:read',
  run: 'runs:read',
};

function maySee({ access }: Pick<Caller, 'access'>, { kind, id }: ResourceUse): boolean {
  return kind === 'access grant' ? access.ids('storage:share') === 'all' : access.covers(SCOPE_TO_SEE[kind], id);
}

/** The scope that shows each kind of resource that another one refers to. */
const SCOPE_TO_READ = {
  provider: 'providers:read',
  'storage connection': 'storage:read',
  'compute connection': 'compute:read',
} as const satisfies Record<string, ScopeAction>;

/** A resource that a request refers to, for messages: with its name only where the caller may read it. */
export function describeReference(
  { access }: Pick<Caller, 'access'>,
  kind: keyof typeof SCOPE_TO_READ,
  { id, name }: { id: string; name: string },
): string {
  return access.covers(SCOPE_TO_READ[kind], id) ? `${kind} ${name}` : `the ${kind}`;
}

/** Why a resource cannot be deleted or changed. */
export interface ResourceInUse {
  /** Of the resource, for people, such as `storage connection`. */
  kind: string;
  /** What uses it; at least one. */
  uses: readonly ResourceUse[];
  /** What cannot be done, such as `it cannot be deleted`. */
  consequence: string;
  /** A sentence that says what to do instead. */
  remedy: string;
  /** The field of the body that asks for it. */
  field?: string;
}

/**
 * The answer to a request that would harm what uses a resource: 409 IN_USE. Its message and its member `usedBy` name
 * everything that the caller may see. The message counts the rest.
 */
export function inUseError(
  caller: Pick<Caller, 'access'>,
  { kind, uses, consequence, remedy, field }: ResourceInUse,
): ApiError {
  const visible = uses.filter((use) => maySee(caller, use));
  const hidden = uses.length - visible.length;
  const users = [
    ...visible.map((use) => `${use.kind} ${use.name} (${use.id})`),
    ...(hidden === 0 ? [] : [`${hidden} that this key may not see`]),
  ].join(', ');
  return new ApiError(409, 'IN_USE', `The ${kind} is in use by ${users}, so ${consequence}. ${remedy}`, {
    ...(field !== undefined && { field }),
    usedBy: visible,
  });
}
