/** Actions that concern no single resource. A scope with an ID does not allow them. */
export const WITHOUT_ID: ReadonlySet<string> = new Set([
  'executions:create',
  'iam:read',
  'keys:read',
  'keys:write',
  'audit:read',
  'events:write',
  'payloads:read',
  'payloads:write',
]);
/** Actions that a folder can narrow. A scope with a folder allows no others. */
export const WITH_PREFIX: ReadonlySet<string> = new Set(['storage:read', 'storage:download', 'storage:upload']);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** The IDs of polony ignore case; serial numbers do not. */
const normalId = (id: string): string => (UUID.test(id) ? id.toLowerCase() : id);

/**
 * Whether scopes allow something (docs/reference/scopes.md). The API decides again.
 * @param permission such as `runs:read`
 * @param id of one resource; without it, any resource will do
 */
export function allows(scopes: readonly string[], permission: string, id?: string): boolean {
  const [resource = '', action = ''] = permission.split(':');
  return scopes.some((scope) => {
    if (scope === '*') return true;
    const [ofResource, ofAction, ...rest] = scope.split(':');
    if (ofResource !== resource || (ofAction !== '*' && ofAction !== action)) return false;
    if (rest.length === 0) return true;
    const [only = '', folder] = rest.join(':').split(/\/(.*)/s);
    if (WITHOUT_ID.has(permission) || (folder !== undefined && folder !== '' && !WITH_PREFIX.has(permission)))
      return false;
    return id === undefined || normalId(only) === normalId(id);
  });
}

/**
 * Whether scopes allow something for every resource of its kind, as creations need.
 * @param permission such as `flows:write`, or `flows:*` for everything of flows
 */
export const allowsAll = (scopes: readonly string[], permission: string): boolean =>
  allows(
    scopes.filter((scope) => scope.split(':').length < 3),
    permission,
  );
