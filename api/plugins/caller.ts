import { Authorization, type Scope } from '../../domain/auth/scopes.js';
import type { AuditCaller } from '../../store/audit.js';

/** Who sends a request. */
export interface Caller extends AuditCaller {
  access: Authorization;
  scopes: readonly Scope[];
  email?: string;
  /** When the key or token expires; absent where it never does. */
  expires?: Date;
  /** Of a person: the values of the claim that its scopes follow from. */
  claimValues?: readonly string[];
  /** The session of a browser that the request comes from. */
  session?: CallerSession;
}

/** The session of a browser, as a request sees it. */
export interface CallerSession {
  id: string;
  expires: Date;
  /** Requests that change something must repeat it in a header. */
  csrfToken: string;
}

/** When the access of a caller ends: with its key or token, or with its session; undefined where it never does. */
export function accessEnds({ expires, session }: Caller): Date | undefined {
  if (expires === undefined || session === undefined) return expires ?? session?.expires;
  return new Date(Math.min(expires.getTime(), session.expires.getTime()));
}

/**
 * Finds the caller of an API key; undefined for a key that is not valid.
 * @throws ApiError 401 for one that has expired
 */
export type Authenticate = (key: string) => Promise<Caller | undefined>;
/** Finds the person who sends a token. @throws ApiError 401; 503 when the identity provider does not answer */
export type AuthenticatePerson = (token: string) => Promise<Caller>;
/** Finds the caller of a session by its secret; undefined for a session that has ended. */
export type AuthenticateSession = (secret: string) => Promise<Caller | undefined>;

export function createCaller(
  kind: Caller['kind'],
  id: string,
  name: string,
  scopes: readonly Scope[],
  expires?: Date,
): Caller {
  return { kind, id, name, scopes, access: new Authorization(scopes), ...(expires !== undefined && { expires }) };
}
