import { writeScope } from '../../../domain/auth/scopes.js';
import { accessEnds, type Caller } from '../../plugins/caller.js';

/** Who a caller is, as the API shows it to that caller. */
export function presentSession(caller: Caller) {
  return {
    kind: caller.kind,
    id: caller.id,
    name: caller.name,
    email: caller.email ?? null,
    scopes: caller.scopes.map(writeScope),
    timeExpires: accessEnds(caller)?.toISOString() ?? null,
    csrfToken: caller.session?.csrfToken ?? null,
  };
}
