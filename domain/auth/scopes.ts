import { type FieldProblem, InputError } from '../errors.js';

/**
 * Actions by resource. `read` is the vendor's (introduction of its API), and polony adds the others: `operate` retries,
 * cancels and checks again, `create` starts executions, `upload` issues credentials to write, `share` edits bucket
 * policies. The actions of `payloads` let the codec server decrypt and
 * encrypt what Temporal stores.
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
  payloads: ['read', 'write'],
} as const;

type Permissions = typeof ACTIONS_BY_RESOURCE;
export type Resource = keyof Permissions;
/** A resource and an action, such as `runs:read`. */
export type ScopeAction = { [R in Resource]: `${R}:${Permissions[R][number]}` }[Resource];

/** Actions that concern no single resource. A scope with an id would grant nothing. */
export const WITHOUT_ID: ReadonlySet<string> = new Set<ScopeAction>([
  'executions:create',
  'iam:read',
  'keys:read',
  'keys:write',
  'audit:read',
  'events:write',
  'payloads:read',
  'payloads:write',
]);
/** Actions that a prefix can narrow. Those that change or share a whole connection are not among them. */
export const WITH_PREFIX: ReadonlySet<string> = new Set<ScopeAction>([
  'storage:read',
  'storage:download',
  'storage:upload',
]);

/** Most scopes of one key, and most characters of one scope. */
export const MOST_SCOPES = 200;
const MOST_CHARACTERS = 1200;

/** The parts of a scope. */
export interface Scope {
  resource: Resource | '*';
  /** `*` for all actions of the resource. */
  action: string;
  /** Only for the resource with this id. */
  id?: string;
  /** A folder below the storage connection's prefix, with a slash at the end. */
  prefix?: string;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** polony's ids ignore case; serial numbers do not. */
const normalId = (id: string): string => (UUID.test(id) ? id.toLowerCase() : id);

/** Checks a scope's prefix. It must not contain what clients or file systems may interpret differently than S3. */
function prefixProblem(prefix: string): string | undefined {
  if (/[\u0000-\u001f\u007f]/.test(prefix) || /\p{Cs}/u.test(prefix)) return 'must not have control characters';
  if (
    prefix
      .replace(/\/$/, '')
      .split('/')
      .some((part) => part === '' || part === '.' || part === '..')
  )
    return 'must be folders, separated by single slashes, without . and ..';
  return undefined;
}

/** Parses a scope. @returns the problem as a text when it is invalid. */
function parseScope(text: string): Scope | string {
  if (text.length > MOST_CHARACTERS) return `must have at most ${MOST_CHARACTERS} characters`;
  if (text === '*') return { resource: '*', action: '*' };
  const [, resource = '', action = '', rest] = /^([a-z]+):([a-z]+|\*)(?::(.*))?$/s.exec(text) ?? [];
  if (!Object.hasOwn(ACTIONS_BY_RESOURCE, resource))
    return (
      'must be resource:action or resource:action:id, where the resource is one of ' +
      Object.keys(ACTIONS_BY_RESOURCE).join(', ')
    );
  const actions: readonly string[] = ACTIONS_BY_RESOURCE[resource as Resource];
  if (action !== '*' && !actions.includes(action))
    return `must have an action of ${resource}: ${actions.join(', ')}, or * for all`;
  const scope: Scope = { resource: resource as Resource, action };
  if (rest === undefined) return scope;
  const slash = resource === 'storage' ? rest.indexOf('/') : -1;
  const id = slash < 0 ? rest : rest.slice(0, slash);
  const covered: readonly string[] = permissionsOf(scope);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(id)) return 'the id must be 1 to 128 letters, digits and ._-';
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
 * Parses scopes: `resource:action[:resource_id]`, for storage also `…:id/prefix/`, `resource:*` for all actions of a
 * resource, and `*` for everything.
 * @throws InputError with all invalid scopes.
 */
export function parseScopes(field: string, texts: readonly string[]): Scope[] {
  const problems: FieldProblem[] = [];
  const scopes: Scope[] = [];
  for (const [index, text] of texts.entries()) {
    const scope = parseScope(text);
    if (typeof scope === 'string') problems.push({ field: `${field}.${index}`, rule: 'SCOPE', message: scope });
    else scopes.push(scope);
  }
  if (problems.length > 0) throw new InputError(problems);
  return scopes;
}

/** The valid scopes among texts of other systems. Invalid texts grant nothing. */
export function scopesAmong(texts: readonly string[]): Scope[] {
  return texts.map(parseScope).filter((scope) => typeof scope !== 'string');
}

/**
 * The resources whose ids exist before a scope can name them. Instruments do not: polony learns a serial number from the
 * first run, and an instrument that uploads its own runs needs its key before that.
 */
export const IDENTIFIED_RESOURCES = {
  runs: 'run',
  executions: 'execution',
  storage: 'storage connection',
  providers: 'provider',
  compute: 'compute connection',
  flows: 'flow',
  webhooks: 'webhook',
} as const satisfies Partial<Record<Resource, string>>;
export type IdentifiedResource = keyof typeof IDENTIFIED_RESOURCES;

/** Whether a scope names a single resource that must exist. */
export function namesResource(scope: Scope): scope is Scope & { resource: IdentifiedResource; id: string } {
  return scope.id !== undefined && Object.hasOwn(IDENTIFIED_RESOURCES, scope.resource);
}

/** Writes a scope as a text. */
export function writeScope({ resource, action, id, prefix }: Scope): string {
  return resource === '*'
    ? '*'
    : `${resource}:${action}${id === undefined ? '' : `:${id}`}${prefix === undefined ? '' : `/${prefix}`}`;
}

/** All pairs of resource and action that a scope covers. */
function permissionsOf({ resource, action }: Scope): ScopeAction[] {
  const resources = resource === '*' ? (Object.keys(ACTIONS_BY_RESOURCE) as Resource[]) : [resource];
  return resources.flatMap((each) =>
    ACTIONS_BY_RESOURCE[each]
      .filter((one) => action === '*' || one === action)
      .map((one) => `${each}:${one}` as ScopeAction),
  );
}

interface AllowedIds {
  /** Ids with their prefixes; `all` for a whole connection. */
  ids: Map<string, 'all' | string[]>;
  all: boolean;
}

/** What a caller may do. */
export class Authorization {
  readonly #grants = new Map<ScopeAction, AllowedIds>();

  constructor(scopes: readonly Scope[]) {
    for (const scope of scopes) {
      for (const permission of permissionsOf(scope)) {
        // `resource:*` with an id or prefix does not grant actions that cannot be narrowed.
        if (scope.id !== undefined && WITHOUT_ID.has(permission)) continue;
        if (scope.prefix !== undefined && !WITH_PREFIX.has(permission)) continue;
        const grant: AllowedIds = this.#grants.get(permission) ?? { ids: new Map(), all: false };
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

  /** Whether the caller may do this with the resource or a part of it; without an id, with any resource. */
  covers(permission: ScopeAction, id?: string): boolean {
    const grant = this.#grants.get(permission);
    return grant !== undefined && (id === undefined || grant.all || grant.ids.has(normalId(id)));
  }

  /** The resources that the caller may do this with. */
  ids(permission: ScopeAction): 'all' | string[] {
    const grant = this.#grants.get(permission);
    return grant?.all === true ? 'all' : [...(grant?.ids.keys() ?? [])];
  }

  /** Folders of a storage connection, below its prefix, where the caller may do this. They end with a slash. */
  prefixes(permission: ScopeAction, id: string): 'all' | string[] {
    const grant = this.#grants.get(permission);
    return grant?.all === true ? 'all' : (grant?.ids.get(normalId(id)) ?? []);
  }

  /** Whether the caller may do everything that a scope allows, and so may give the scope to a new key. */
  includes(scope: Scope): boolean {
    return permissionsOf(scope).every((permission) => {
      if (scope.id === undefined) return this.ids(permission) === 'all';
      if (WITHOUT_ID.has(permission) || (scope.prefix !== undefined && !WITH_PREFIX.has(permission))) return true;
      const held = this.prefixes(permission, scope.id);
      return held === 'all' || (scope.prefix !== undefined && held.some((prefix) => scope.prefix!.startsWith(prefix)));
    });
  }
}

/**
 * The scopes that `GET /v1/auth` shows. `*` becomes the scopes of all resources, as in the vendor's API for its
 * unrestricted keys.
 */
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
