import type { ApiKeyRow } from '../../store/auth.js';

/** An API key as the API shows it, without its hash. */
export function presentApiKey(row: ApiKeyRow) {
  return {
    id: row.id,
    name: row.name,
    scopes: row.scopes,
    state: readKeyState(row),
    createdBy: row.created_by,
    createdById: row.created_by_id,
    timeCreated: row.time_created.toISOString(),
    timeExpires: row.time_expires.toISOString(),
    timeLastUsed: row.time_used?.toISOString() ?? null,
    timeRevoked: row.time_revoked?.toISOString() ?? null,
    revokedBy: row.revoked_by,
    revokedById: row.revoked_by_id,
  };
}

function readKeyState(row: ApiKeyRow): 'active' | 'expired' | 'revoked' {
  if (row.time_revoked !== null) return 'revoked';
  return row.time_expires.getTime() <= Date.now() ? 'expired' : 'active';
}
