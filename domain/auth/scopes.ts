import { type FieldProblem, InputError } from '../errors.js';

/**
 * What a caller may be allowed, by resource. Those that read are the vendor's (introduction of its API); the others are ours:
 * `operate` retries, cancels and looks anew, `create` starts executions, `upload` hands out credentials to write, `share` edits bucket policies.
 */
export const ACTIONS_BY_RESOURCE = {
  runs: ['read', 'download', 'operate'],
  executions: ['read', 'download', 'logs', 'create', 'operate'],
  instruments: ['read'],
  storage: ['read', 'download', 'upload', 'write', 'share'],
  providers: ['read', 'write'],
  compute: ['read', 'write'],
  flows: ['read', 'write'],
  webhooks: ['read', 'write'],
  iam: ['read'],
  keys: ['read', 'write'],
  audit: ['read'],
  events: ['write'],
} as const;

type Permissions = typeof ACTIONS_BY_RESOURCE;
export type Resource = keyof Permissions;
/** A resource and an action, such as `runs:read`. */
export type ScopeAction = { [R in Resource]: `${R}:${Permissions[R][number]}` }[Resource];

/** What concerns no resource that is there already, or all of them: a scope for one of them would grant nothing. */
const WITHOUT_ID: ReadonlySet<string> = new Set<ScopeAction>([
  'executions:create',
  'iam:read',
  'keys:read',
  'keys:write',
  'audit:read',
  'events:write',
]);
/** What is narrowed by a prefix too. What changes or shares a whole connection is not. */
const WITH_PREFIX: ReadonlySet<string> = new Set<ScopeAction>(['storage:read', 'storage:download', 'storage:upload']);

/** Most scopes of one key, and most characters of one scope. */
export const MOST_SCOPES = 200;
const MOST_CHARACTERS = 1200;

/** One scope, taken apart. */
export interface Scope {
  resource: Resource | '*';
  /** `*` for all of the resource. */
  action: string;
  /** Of one resource only. */
  id?: string;
  /** Below the storage connection's own prefix, with a slash at its end. */
  prefix?: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Ids of ours are the same in capitals; serial numbers are not. */
const normalId = (id: string): string => (UUID.test(id) ? id.toLowerCase() : id);

/** What is wrong with a scope's prefix; S3 takes keys literally, so nothing that a client or a file system may read in two ways is allowed. */
function prefixProblem(prefix: string): string | undefined {
  if (/[\u0000-\u001f\u007f]/.test(prefix) || /\p{Cs}/u.test(prefix)) return 'must not have control characters';
  if (
    prefix
      .replace(/\/$/, '')
      .split('/')
      .some((part) => part === '' || part === '.' || part === '..')
  )
    return 'must be folders separated by single slashes, without . and ..';
  return undefined;
}

/** Takes a scope apart. @returns what is wrong with it, as a text, where it is none. */
function parse(text: string): Scope | string {
  if (text.length > MOST_CHARACTERS) return `must have at most ${MOST_CHARACTERS} characters`;
  if (text === '*') return { resource: '*', action: '*' };
  const [, resource = '', action = '', rest] = /^([a-z]+):([a-z]+|\*)(?::(.*))?$/s.exec(text) ?? [];
  if (!Object.hasOwn(ACTIONS_BY_RESOURCE, resource))
    return `must be resource:action or resource:action:id, with a resource of ${Object.keys(ACTIONS_BY_RESOURCE).join(', ')}`;
  const actions: readonly string[] = ACTIONS_BY_RESOURCE[resource as Resource];
  if (action !== '*' && !actions.includes(action))
    return `${resource} has the actions ${actions.join(', ')}, or * for all`;
  const scope: Scope = { resource: resource as Resource, action };
  if (rest === undefined) return scope;
  const slash = resource === 'storage' ? rest.indexOf('/') : -1;
  const id = slash < 0 ? rest : rest.slice(0, slash);
  const covered: readonly string[] = permissionsOf(scope);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(id)) return 'the id must have 1 to 128 letters, digits and ._-';
  if (covered.every((permission) => WITHOUT_ID.has(permission)))
    return `${resource}:${action} cannot be narrowed to an id`;
  if (slash < 0 || slash === rest.length - 1) return { ...scope, id: normalId(id) };
  if (!covered.some((permission) => WITH_PREFIX.has(permission)))
    return `${resource}:${action} cannot be narrowed to a prefix`;
  const prefix = rest.slice(slash + 1);
  const problem = prefixProblem(prefix);
  return problem === undefined
    ? { ...scope, id: normalId(id), prefix: prefix.endsWith('/') ? prefix : `${prefix}/` }
    : `the prefix ${problem}`;
}

/**
 * Takes scopes apart: `resource:action[:resource_id]`, for storage `…:id/prefix/` too, `resource:*` for all of a resource and `*` for everything.
 * @throws InputError that names the field and each that is none.
 */
export function parseScopes(field: string, texts: readonly string[]): Scope[] {
  const problems: FieldProblem[] = [];
  const scopes: Scope[] = [];
  for (const [index, text] of texts.entries()) {
    const scope = parse(text);
    if (typeof scope === 'string') problems.push({ field: `${field}.${index}`, rule: 'SCOPE', message: scope });
    else scopes.push(scope);
  }
  if (problems.length > 0) throw new InputError(problems);
  return scopes;
}

/** The scopes among these texts; what is none grants nothing. For what other systems say of a person. */
export function scopesAmong(texts: readonly string[]): Scope[] {
  return texts.map(parse).filter((scope) => typeof scope !== 'string');
}

/** A scope as a text. */
export function writeScope({ resource, action, id, prefix }: Scope): string {
  return resource === '*'
    ? '*'
    : `${resource}:${action}${id === undefined ? '' : `:${id}`}${prefix === undefined ? '' : `/${prefix}`}`;
}

/** The single permissions that a scope is about. */
function permissionsOf({ resource, action }: Scope): ScopeAction[] {
  const resources = resource === '*' ? (Object.keys(ACTIONS_BY_RESOURCE) as Resource[]) : [resource];
  return resources.flatMap((each) =>
    ACTIONS_BY_RESOURCE[each]
      .filter((one) => action === '*' || one === action)
      .map((one) => `${each}:${one}` as ScopeAction),
  );
}

interface Grant {
  /** Ids with their prefixes; `all` for a whole connection. */
  ids: Map<string, 'all' | string[]>;
  all: boolean;
}

/** What a caller may do. */
export class Authorization {
  readonly #grants = new Map<ScopeAction, Grant>();

  constructor(scopes: readonly Scope[]) {
    for (const scope of scopes) {
      for (const permission of permissionsOf(scope)) {
        // A family that is narrowed does not grant what cannot be narrowed so.
        if (scope.id !== undefined && WITHOUT_ID.has(permission)) continue;
        if (scope.prefix !== undefined && !WITH_PREFIX.has(permission)) continue;
        const grant: Grant = this.#grants.get(permission) ?? { ids: new Map(), all: false };
        this.#grants.set(permission, grant);
        if (scope.id === undefined) {
          grant.all = true;
          continue;
        }
        const before = grant.ids.get(scope.id) ?? [];
        grant.ids.set(scope.id, scope.prefix === undefined || before === 'all' ? 'all' : [...before, scope.prefix]);
      }
    }
  }

  /** Whether it may do this with the resource of this id or a part of it; without an id, with any resource. */
  covers(permission: ScopeAction, id?: string): boolean {
    const grant = this.#grants.get(permission);
    return grant !== undefined && (id === undefined || grant.all || grant.ids.has(normalId(id)));
  }

  /** Which resources it may do this with. */
  ids(permission: ScopeAction): 'all' | string[] {
    const grant = this.#grants.get(permission);
    return grant?.all === true ? 'all' : [...(grant?.ids.keys() ?? [])];
  }

  /** Below which prefixes of a storage connection it may do this: folders relative to the connection's own prefix, each with a slash at its end. */
  prefixes(permission: ScopeAction, id: string): 'all' | string[] {
    const grant = this.#grants.get(permission);
    return grant?.all === true ? 'all' : (grant?.ids.get(normalId(id)) ?? []);
  }

  /** Whether all that a scope allows is allowed here too, so that its holder may hand it on. */
  includes(scope: Scope): boolean {
    return permissionsOf(scope).every((permission) => {
      if (scope.id === undefined) return this.ids(permission) === 'all';
      if (WITHOUT_ID.has(permission) || (scope.prefix !== undefined && !WITH_PREFIX.has(permission))) return true;
      const held = this.prefixes(permission, scope.id);
      return held === 'all' || (scope.prefix !== undefined && held.some((prefix) => scope.prefix!.startsWith(prefix)));
    });
  }
}

/** What `GET /v1/auth` tells: a caller that may do everything has the scopes of all families (the vendor's API says so of its unrestricted keys). */
export function shownScopes(scopes: readonly Scope[]): string[] {
  return [
    ...new Set(
      scopes.flatMap((scope) =>
        scope.resource === '*'
          ? Object.keys(ACTIONS_BY_RESOURCE).map((resource) => `${resource}:*`)
          : [writeScope(scope)],
      ),
    ),
  ];
}
