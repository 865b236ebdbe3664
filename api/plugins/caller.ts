import { Authorization, type Scope } from '../../domain/auth/scopes.js';
import type { AuditCaller } from '../../store/audit.js';

/** Who sends a request. */
export interface Caller extends AuditCaller {
  access: Authorization;
  scopes: readonly Scope[];
  email?: string;
  /** When the key or token expires; absent where it never does. */
  expires?: Date;
}

/**
 * Finds the caller of an API key; undefined for a key that is not valid.
 * @throws ApiError 401 for one that has expired
 */
export type Authenticate = (key: string) => Promise<Caller | undefined>;
/** Finds the person who sends a token. @throws ApiError 401; 503 when the identity provider does not answer */
export type AuthenticatePerson = (token: string) => Promise<Caller>;

export function createCaller(
  kind: Caller['kind'],
  id: string,
  name: string,
  scopes: readonly Scope[],
  expires?: Date,
): Caller {
  return { kind, id, name, scopes, access: new Authorization(scopes), ...(expires !== undefined && { expires }) };
}
