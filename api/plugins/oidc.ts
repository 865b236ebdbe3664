import {
  createRemoteJWKSet,
  errors,
  type JWTPayload,
  jwtVerify,
  type JWTVerifyOptions,
  type JWTVerifyResult,
} from 'jose';
import type { OidcConfig } from '../../domain/settings.js';
import { scopesAmong } from '../../domain/auth/scopes.js';
import { sanitizeText } from '../../store/database.js';
import { checkCallerName } from '../../domain/auth/callerNames.js';
import { normalizeName, removeInvisible } from '../../domain/names.js';
import { ApiError } from '../errors.js';
import { type AuthenticatePerson, type Caller, createCaller } from './caller.js';

/** Asymmetric signatures. With a shared secret, others than the provider could sign a token. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
/**
 * Types of tokens that may come with a request, in the header or the claim `typ`: access tokens (RFC 9068, 2.1), tokens
 * without a special type, and those of Keycloak.
 */
const TOKEN_TYPES = new Set(['jwt', 'at+jwt', 'application/at+jwt', 'bearer', 'id']);
/** Longest life of a token, in seconds. */
const MOST_TOKEN_SECONDS = 86_400;
/** How long polony waits for the provider, in milliseconds. */
const TIMEOUT_MS = 5000;
/** The provider's keys are discovered again at most this often, in milliseconds. */
const REDISCOVER_MS = 30_000;
/** How far the provider's clock may be off, in seconds. */
const CLOCK_TOLERANCE = 30;
/** A valid subject (OpenID Connect Core 1.0, 2). Others could not be told apart, or not be stored. */
const SUBJECT = /^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/;
/** Longest name of a person, in characters. */
const NAME_CHARACTERS = 200;

/** A member of a claim by its path, such as `realm_access.roles`; a claim whose own name has dots comes first. */
function findClaim(payload: JWTPayload, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path];
  let value: unknown = payload;
  for (const name of path.split('.'))
    value =
      typeof value === 'object' && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : undefined;
  return value;
}

/** The values of a claim: a list, or a text with spaces between them as `scope` is (RFC 8693, 4.2). */
function listValues(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ').filter((value) => value !== '');
  return Array.isArray(claim) ? claim.filter((value) => typeof value === 'string') : [];
}

type Keys = ReturnType<typeof createRemoteJWKSet>;

/** What polony uses of a discovery document. */
export interface OidcEndpoints {
  authorization: URL;
  token: URL;
  /** How a client may authenticate at the token endpoint. */
  clientAuthentication: readonly string[];
}

/**
 * An identity provider: the keys that it signs with, and its endpoints. Nothing is requested before they are needed.
 */
export class OidcProvider {
  readonly #config: OidcConfig;
  #keys: Keys | undefined;
  #discovery: Promise<Keys> | undefined;
  #rediscovered = 0;

  constructor(config: OidcConfig) {
    this.#config = config;
  }

  /** Where people sign in. @throws Error where the provider does not answer, or names no such addresses */
  async readEndpoints(): Promise<OidcEndpoints> {
    const document = await readDiscoveryDocument(this.#config.issuer);
    const { authorization_endpoint: authorization, token_endpoint: token } = document;
    const methods = document.token_endpoint_auth_methods_supported;
    return {
      authorization: this.#toEndpoint(authorization),
      token: this.#toEndpoint(token),
      // The default of OpenID Connect Discovery 1.0, 3.
      clientAuthentication: Array.isArray(methods) ? methods.map(String) : ['client_secret_basic'],
    };
  }

  /** An endpoint must use TLS, unless the provider itself does not, which only one on this machine may do. */
  #toEndpoint(value: unknown): URL {
    const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
    const isSecure = url?.protocol === 'https:' || url?.protocol === new URL(this.#config.issuer).protocol;
    if (url === undefined || !isSecure)
      throw new Error(`The discovery document of ${this.#config.issuer} does not name its https endpoints`);
    return url;
  }

  /**
   * Checks the signature, issuer, audience and times of a token.
   * @throws ApiError 401; 503 where the provider does not answer
   */
  async verify(token: string, audience: string): Promise<VerifiedToken> {
    const options: JWTVerifyOptions = {
      issuer: this.#config.issuer,
      audience,
      algorithms: ALGORITHMS,
      clockTolerance: CLOCK_TOLERANCE,
      requiredClaims: ['exp', 'sub'],
    };
    try {
      return await verifyToken(token, await this.#loadKeys(), options);
    } catch (error) {
      const apiError = toTokenError(error);
      if (apiError.status === 503) void this.#rediscover().catch(() => undefined);
      throw apiError;
    }
  }

  /** The keys. Requests that arrive during the discovery share it. */
  async #loadKeys(): Promise<Keys> {
    if (this.#keys !== undefined) return this.#keys;
    this.#discovery ??= discoverKeys(this.#config).finally(() => (this.#discovery = undefined));
    return (this.#keys ??= await this.#discovery);
  }

  /**
   * Discovers the keys again, in case that the provider moved them. The known keys stay in use until the others have
   * been read: otherwise anybody could disable them with a forged token.
   */
  async #rediscover(): Promise<void> {
    if (this.#keys === undefined || this.#config.jwksUrl !== undefined) return;
    if (Date.now() - this.#rediscovered < REDISCOVER_MS) return;
    this.#rediscovered = Date.now();
    const keys = await discoverKeys(this.#config);
    await keys.reload();
    this.#keys = keys;
  }
}

async function discoverKeys({ issuer, jwksUrl }: OidcConfig): Promise<Keys> {
  if (jwksUrl !== undefined) return createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: TIMEOUT_MS });
  const { jwks_uri: uri } = await readDiscoveryDocument(issuer);
  if (typeof uri !== 'string') throw new Error(`The discovery document of ${issuer} does not name its keys`);
  return createRemoteJWKSet(new URL(uri), { timeoutDuration: TIMEOUT_MS });
}

async function readDiscoveryDocument(issuer: string): Promise<Record<string, unknown>> {
  const response = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    redirect: 'error',
  });
  const document = (await response.json()) as Record<string, unknown>;
  // The document must name the issuer that it was requested for (OpenID Connect Discovery 1.0, 4.3).
  if (!response.ok || document.issuer !== issuer)
    throw new Error(`The discovery document of ${issuer} does not name this issuer`);
  return document;
}

type VerifiedToken = Pick<JWTVerifyResult, 'payload' | 'protectedHeader'>;

/** A token that one of these keys signed. While a provider changes its keys, several may match. */
async function verifyToken(token: string, keys: Keys, options: JWTVerifyOptions): Promise<VerifiedToken> {
  try {
    return await jwtVerify(token, keys, options);
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    for await (const key of error) {
      try {
        return await jwtVerify(token, key, options);
      } catch (mismatch) {
        if (!(mismatch instanceof errors.JWSSignatureVerificationFailed)) throw mismatch;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

/** Whether the keys could not be read. Otherwise they were read, and the token is at fault. */
function isProviderFailure(error: unknown): boolean {
  return (
    !(error instanceof errors.JOSEError) ||
    error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSInvalid ||
    error.code === 'ERR_JOSE_GENERIC'
  );
}

function invalidTokenError(why: string): ApiError {
  return new ApiError(401, 'INVALID_TOKEN', `This token is not valid: ${why}`);
}

function toTokenError(error: unknown): ApiError {
  if (error instanceof errors.JWTExpired) return invalidTokenError('it has expired; log in again');
  if (error instanceof errors.JWTClaimValidationFailed)
    return invalidTokenError(
      `its ${error.claim} is not what polony expects; check the client that requested it, or log in again`,
    );
  if (!isProviderFailure(error))
    return invalidTokenError('its signature cannot be verified; log in again at the identity provider of polony');
  return new ApiError(
    503,
    'IDENTITY_PROVIDER_UNAVAILABLE',
    'The identity provider does not answer, so polony cannot verify the token. Try again later',
  );
}

/**
 * Checks that a token is one for requests: no refresh or logout token. Providers that sign several kinds of tokens with
 * one key tell them apart in the header (RFC 8725, 3.11), Keycloak in a claim.
 * @throws ApiError 401
 */
export function checkKind(type: unknown, { typ }: JWTPayload): void {
  const isAccepted =
    (type === undefined || (typeof type === 'string' && TOKEN_TYPES.has(type.toLowerCase()))) &&
    (typ === undefined || (typeof typ === 'string' && TOKEN_TYPES.has(typ.toLowerCase())));
  if (!isAccepted) throw invalidTokenError('its typ is not one of an access token; log in again');
}

/** Checks that a token lives a day at most: nobody can revoke it before it expires. @throws ApiError 401 */
function checkLifetime({ exp, iat }: JWTPayload): void {
  const now = Math.floor(Date.now() / 1000);
  const start = typeof iat === 'number' ? Math.min(iat, now) : now;
  if (exp! - start > MOST_TOKEN_SECONDS + CLOCK_TOLERANCE)
    throw invalidTokenError(
      'it is valid for more than a day, and nobody could revoke it. Shorten the lifetime of tokens at the identity ' +
        'provider',
    );
}

/** Whether nobody could take a name for another one. Names of people may be longer than those of keys. */
function isUsableName(name: string): boolean {
  return checkCallerName('name', normalizeName(name)).every(({ rule }) => rule === 'NAME_LENGTH');
}

/** A person, as a verified token describes it. */
export interface Person {
  /** `person:` and the subject. */
  id: string;
  name: string;
  email?: string;
  /** The values of the claim that holds the scopes. */
  claimValues: readonly string[];
}

/** The person that the payload of a verified token describes. @throws ApiError 401 */
export function readPerson(payload: JWTPayload, { scopesClaim }: OidcConfig): Person {
  const subject: unknown = payload.sub;
  if (typeof subject !== 'string' || !SUBJECT.test(subject))
    throw invalidTokenError('its sub is not 1 to 255 ASCII characters');
  const text = (claim: string): string | undefined =>
    typeof payload[claim] === 'string' && payload[claim] !== ''
      ? removeInvisible(sanitizeText(payload[claim])).slice(0, NAME_CHARACTERS) || undefined
      : undefined;
  const email = text('email');
  const names = [text('name'), text('preferred_username'), email].filter((each) => each !== undefined);
  // A person may choose a name that looks like polony's own or like somebody else's; the subject cannot.
  const name = names.find(isUsableName) ?? `person:${subject}`;
  return {
    // The prefix keeps subjects apart from the ids of keys, whatever the provider names people.
    id: `person:${subject}`,
    name,
    ...(email !== undefined && { email }),
    claimValues: listValues(findClaim(payload, scopesClaim)),
  };
}

/** A person as a caller, with the scopes that the settings give it now. */
export function createPerson(person: Person, { scopeMap }: OidcConfig, expires: Date): Caller {
  const { id, name, email, claimValues } = person;
  const scopes =
    scopeMap === undefined
      ? claimValues
      : claimValues.flatMap((value) => (Object.hasOwn(scopeMap, value) ? scopeMap[value]! : []));
  const caller = createCaller('person', id, name, scopesAmong(scopes), expires);
  return { ...caller, claimValues, ...(email !== undefined && { email }) };
}

/**
 * Knows people by tokens of an OpenID Connect provider. It checks the signature, issuer, audience and times of a
 * token; a claim has the scopes of the person.
 */
export function oidcAuthenticator(config: OidcConfig, provider = new OidcProvider(config)): AuthenticatePerson {
  return async (token) => {
    const { payload, protectedHeader } = await provider.verify(token, config.audience);
    checkKind(protectedHeader.typ, payload);
    checkLifetime(payload);
    return createPerson(readPerson(payload, config), config, new Date(payload.exp! * 1000));
  };
}
