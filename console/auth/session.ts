import { useQuery } from '@tanstack/react-query';
import { Authorization, type ScopeAction, scopesAmong } from '../../domain/auth/scopes.js';
import { ask, api, setCsrfToken } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';

/** Who is signed in, and what that caller may do. */
export interface Session {
  kind: string;
  id: string;
  name: string;
  /** What the caller may do. The API decides again. */
  access: Authorization;
  expiresAt: string | undefined;
}

const KEY = ['session'];

/** The session of the cookie. @throws ApiFailure 401 where nobody is signed in */
async function readSession(): Promise<Session> {
  const { session } = await ask(api.GET('/v1/session'));
  setCsrfToken(session.csrfToken ?? undefined);
  return {
    kind: session.kind,
    id: session.id,
    name: session.name,
    access: new Authorization(scopesAmong(session.scopes)),
    expiresAt: session.timeExpires ?? undefined,
  };
}

/** Reads the session once for each load of the page. */
export const loadSession = (): Promise<Session> =>
  queryClient.ensureQueryData({ queryKey: KEY, queryFn: readSession, staleTime: Infinity, retry: false });

/** Forgets everything that the caller could see. */
export function forgetSession(): void {
  setCsrfToken(undefined);
  queryClient.clear();
}

/** Exchanges a key or a one-time token for a session. @throws ApiFailure */
export async function signIn(credential: { apiKey: string } | { signInToken: string }): Promise<void> {
  forgetSession();
  await ask(api.POST('/v1/session', { body: credential }));
  await loadSession();
}

/** Ends the session. */
export async function signOut(): Promise<void> {
  await ask(api.DELETE('/v1/session'));
  forgetSession();
}

const NOBODY: Session = { kind: '', id: '', name: '', access: new Authorization([]), expiresAt: undefined };

/** The session, and what its caller may do. */
export function useSession(): Session & {
  /** Whether the caller may do something with a resource; without an ID, with any. */
  can: (permission: ScopeAction, id?: string) => boolean;
  /** Whether the caller may do something with every resource of its kind, as creations need. */
  canAll: (permission: ScopeAction) => boolean;
  /** Whether the caller may give a scope to a new key. */
  canGive: (scope: string) => boolean;
} {
  const { data: session = NOBODY } = useQuery({
    queryKey: KEY,
    queryFn: readSession,
    staleTime: Infinity,
    retry: false,
  });
  const { access } = session;
  return {
    ...session,
    can: (permission, id) => access.covers(permission, id),
    canAll: (permission) => access.ids(permission) === 'all',
    canGive: (scope) => scopesAmong([scope]).every((each) => access.includes(each)),
  };
}
