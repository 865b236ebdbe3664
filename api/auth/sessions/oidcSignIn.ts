import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { JWTPayload } from 'jose';
import type { OidcClient, OidcConfig } from '../../../domain/settings.js';
import { ApiError } from '../../errors.js';
import type { Caller } from '../../plugins/caller.js';
import { checkKind, createPerson, type OidcEndpoints, type OidcProvider, readPerson } from '../../plugins/oidc.js';

/** How long polony waits for the provider, in milliseconds. */
const TIMEOUT_MS = 5000;
/** For how long the endpoints of the provider are known, in milliseconds. */
const ENDPOINTS_MS = 600_000;
/** Largest answer of the token endpoint, in characters. */
const ANSWER_CHARACTERS = 200_000;
/** Where the provider sends people back, below the address of the API. */
const CALLBACK_PATH = '/v1/session/oidc/callback';

/** The parameters that the provider sends people back with. */
export interface CallbackQuery {
  code?: string;
  state?: string;
  error?: string;
  iss?: string;
}

/**
 * Signs people in at an OpenID Connect provider: authorization code (OpenID Connect Core 1.0, 3.1) with PKCE (RFC
 * 7636).
 *
 * State, nonce and verifier follow from one secret, which is in a cookie of the browser that began. So only that
 * browser can finish, and nothing is stored for people who do not.
 */
export class OidcSignIn {
  #endpoints: { read: Promise<OidcEndpoints>; until: number } | undefined;

  constructor(
    private readonly config: OidcConfig,
    private readonly client: OidcClient,
    private readonly provider: OidcProvider,
    private readonly publicUrl: string,
  ) {}

  /** The path below which browsers reach polony; empty for the whole host. */
  get basePath(): string {
    return new URL(this.publicUrl).pathname.replace(/\/$/, '');
  }

  /** The address of the provider to send a browser to. @throws ApiError 503 */
  async begin(secret: string): Promise<URL> {
    const { authorization } = await this.#readEndpoints();
    const url = new URL(authorization);
    const parameters = {
      response_type: 'code',
      client_id: this.client.clientId,
      redirect_uri: this.#redirectUri,
      scope: 'openid profile email',
      state: derive(secret, 'state'),
      nonce: derive(secret, 'nonce'),
      code_challenge: createHash('sha256').update(derive(secret, 'verifier')).digest('base64url'),
      code_challenge_method: 'S256',
    };
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return url;
  }

  /** Checks that this browser began, and that the provider agreed. @returns the code @throws ApiError 401 */
  checkCallback({ code, state, error, iss }: CallbackQuery, secret: string): string {
    const isOurs = state !== undefined && isSame(state, derive(secret, 'state'));
    // An answer of another provider (RFC 9207).
    if (!isOurs || (iss !== undefined && iss !== this.config.issuer))
      throw signInError('SIGN_IN_STATE_INVALID', 'Another sign-in was begun in this browser, or it took too long');
    if (error === 'access_denied') throw signInError('SIGN_IN_DENIED', 'The identity provider denied the sign-in');
    if (error !== undefined || code === undefined)
      throw signInError(
        'SIGN_IN_FAILED',
        `The identity provider reports an error${/^[a-z_]{1,60}$/.test(error ?? '') ? `: ${error}` : ''}`,
      );
    return code;
  }

  /**
   * Finds out who signed in.
   * @param expires when the session will end
   * @throws ApiError 401, 403 for a person without scopes, 503 where the provider does not answer
   */
  async finish(code: string, secret: string, expires: Date): Promise<Caller> {
    const { idToken, accessToken } = await this.#exchange(code, derive(secret, 'verifier'));
    const { payload, protectedHeader } = await this.provider.verify(idToken, this.client.clientId);
    checkKind(protectedHeader.typ, payload);
    if (typeof payload.nonce !== 'string' || !isSame(payload.nonce, derive(secret, 'nonce')))
      throw signInError('INVALID_TOKEN', 'The ID token has another nonce than the one that polony sent');
    this.#checkAuthorizedParty(payload);
    const person = readPerson(payload, this.config);
    const claimValues =
      person.claimValues.length === 0 && accessToken !== undefined
        ? await this.#readAccessToken(accessToken, person.id)
        : person.claimValues;
    const caller = createPerson({ ...person, claimValues }, this.config, expires);
    if (caller.scopes.length === 0)
      throw new ApiError(
        403,
        'NO_SCOPES',
        `Your tokens give you no scope of polony in the claim ${this.config.scopesClaim}. Ask your administrator`,
      );
    return caller;
  }

  get #redirectUri(): string {
    return `${this.publicUrl}${CALLBACK_PATH}`;
  }

  async #readEndpoints(): Promise<OidcEndpoints> {
    if (this.#endpoints === undefined || this.#endpoints.until <= Date.now()) {
      const read = this.provider.readEndpoints();
      this.#endpoints = { read, until: Date.now() + ENDPOINTS_MS };
      read.catch(() => (this.#endpoints = undefined));
    }
    try {
      return await this.#endpoints.read;
    } catch {
      throw unavailable();
    }
  }

  /** Exchanges a code for tokens (RFC 6749, 4.1.3). @throws ApiError 401; 503 */
  async #exchange(code: string, verifier: string): Promise<{ idToken: string; accessToken?: string }> {
    const { token, clientAuthentication } = await this.#readEndpoints();
    const { clientId, clientSecret } = this.client;
    const body = new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      redirect_uri: this.#redirectUri,
      code_verifier: verifier,
    });
    const headers: Record<string, string> = { accept: 'application/json' };
    if (clientSecret !== undefined && clientAuthentication.includes('client_secret_basic'))
      headers.authorization = `Basic ${Buffer.from(`${encode(clientId)}:${encode(clientSecret)}`).toString('base64')}`;
    else {
      body.set('client_id', clientId);
      if (clientSecret !== undefined) body.set('client_secret', clientSecret);
    }
    let status: number;
    let answer: unknown;
    try {
      const response = await fetch(token, {
        method: 'POST',
        headers,
        body,
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      status = response.status;
      answer = parseAnswer(await response.text());
    } catch {
      // The cause can hold what was sent.
      throw unavailable();
    }
    if (status >= 500) throw unavailable();
    const { id_token: idToken, access_token: accessToken } = (answer ?? {}) as Record<string, unknown>;
    if (status !== 200 || typeof idToken !== 'string')
      throw signInError('SIGN_IN_FAILED', 'The identity provider did not exchange the code of this sign-in for tokens');
    return { idToken, ...(typeof accessToken === 'string' && { accessToken }) };
  }

  /** A token for several parties names the one that asked for it (OpenID Connect Core 1.0, 3.1.3.7). */
  #checkAuthorizedParty({ aud, azp }: JWTPayload): void {
    const needsParty = Array.isArray(aud) && aud.length > 1;
    if ((needsParty || azp !== undefined) && azp !== this.client.clientId)
      throw signInError('INVALID_TOKEN', 'The ID token was made for another client');
  }

  /** Some providers put roles into the access token only. It counts if polony would accept it with a request. */
  async #readAccessToken(token: string, personId: string): Promise<readonly string[]> {
    try {
      const { payload, protectedHeader } = await this.provider.verify(token, this.config.audience);
      checkKind(protectedHeader.typ, payload);
      const person = readPerson(payload, this.config);
      return person.id === personId ? person.claimValues : [];
    } catch (error) {
      if (error instanceof ApiError && error.status === 503) throw error;
      // Many access tokens are for the provider itself, in a form of its own.
      return [];
    }
  }
}

/** One of the values of a sign-in. Nobody can compute another one of them from it. */
function derive(secret: string, what: 'state' | 'nonce' | 'verifier'): string {
  return createHmac('sha256', secret).update(`oidc ${what}`).digest('base64url');
}

function isSame(one: string, other: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(one), hash(other));
}

/** As in a form (RFC 6749, 2.3.1). */
const encode = (text: string): string => new URLSearchParams({ '': text }).toString().slice(1);

function parseAnswer(text: string): unknown {
  if (text.length > ANSWER_CHARACTERS) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function signInError(reason: string, message: string): ApiError {
  return new ApiError(401, reason, `${message}. Sign in again`);
}

function unavailable(): ApiError {
  return new ApiError(
    503,
    'IDENTITY_PROVIDER_UNAVAILABLE',
    'The identity provider does not answer, so nobody can sign in there. Try again later',
  );
}
