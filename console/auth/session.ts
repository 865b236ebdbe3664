import { useQuery } from '@tanstack/react-query';
import { ask, api, setCsrfToken } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { allows, allowsAll } from './allows.js';

/** Who is signed in, and what that caller may do. */
export interface Session {
  kind: string;
  id: string;
  name: string;
  scopes: readonly string[];
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
    scopes: session.scopes,
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

/** The session, and what its caller may do. */
export function useSession(): Session & {
  can: (permission: string, id?: string) => boolean;
  canAll: (permission: string) => boolean;
} {
  const { data } = useQuery({ queryKey: KEY, queryFn: readSession, staleTime: Infinity, retry: false });
  const session = data ?? { kind: '', id: '', name: '', scopes: [], expiresAt: undefined };
  return {
    ...session,
    can: (permission, id) => allows(session.scopes, permission, id),
    canAll: (permission) => allowsAll(session.scopes, permission),
  };
}
