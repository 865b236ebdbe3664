import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify, type JWTVerifyGetKey } from 'jose';
import type { OidcConfig } from '../../domain/config.js';
import { scopesAmong } from '../../domain/scopes.js';
import { storable } from '../../store/database.js';
import { ApiError } from '../errors.js';
import { type AuthenticatePerson, person } from './auth.js';

/** Signatures by which only the provider can have made a token; those with a shared secret are not among them. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
/** Longest time that the provider has to answer. */
const TIMEOUT_MS = 5000;
/** How far its clock may be off, in seconds. */
const CLOCK_TOLERANCE = 30;
/** What a subject is (OpenID Connect Core 1.0, 2): anything else would not be told apart, or could not be kept. */
const SUBJECT = /^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$/;
/** Most characters of a person's name. */
const NAME_CHARACTERS = 200;

/** A member of a claim by its path, such as `realm_access.roles`; a claim whose own name has dots comes first. */
function claimOf(payload: JWTPayload, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path];
  let value: unknown = payload;
  for (const name of path.split('.')) value = typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
  return value;
}

/** The values of a claim: a list, or a text with spaces between them as `scope` is (RFC 8693, 4.2). */
function valuesOf(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ').filter((value) => value !== '');
  return Array.isArray(claim) ? claim.filter((value) => typeof value === 'string') : [];
}

async function keysOf({ issuer, jwksUrl }: OidcConfig): Promise<JWTVerifyGetKey> {
  if (jwksUrl !== undefined) return createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: TIMEOUT_MS });
  // OpenID Connect Discovery 1.0, 4: the document must name the issuer that it was asked for.
  const response = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: 'error' });
  const { issuer: named, jwks_uri: uri } = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown };
  if (!response.ok || named !== issuer || typeof uri !== 'string') throw new Error(`the discovery document of ${issuer} is not its own`);
  return createRemoteJWKSet(new URL(uri), { timeoutDuration: TIMEOUT_MS });
}

/**
 * People with tokens of an OpenID Connect provider: signature by its keys, issuer, audience and times are held; a claim says what they
 * may. Nothing is asked of the provider before the first token comes.
 */
export function people(config: OidcConfig): AuthenticatePerson {
  let keys: Promise<JWTVerifyGetKey> | undefined;
  return async (token) => {
    const invalid = (why: string): ApiError => new ApiError(401, 'INVALID_TOKEN', `This token is not valid: ${why}`);
    let payload: JWTPayload;
    try {
      keys ??= keysOf(config);
      ({ payload } = await jwtVerify(token, await keys, { issuer: config.issuer, audience: config.audience, algorithms: ALGORITHMS, clockTolerance: CLOCK_TOLERANCE, requiredClaims: ['exp', 'sub'] }));
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw invalid('it has expired; log in again');
      if (error instanceof errors.JWTClaimValidationFailed) throw invalid(`its ${error.claim} is not what polony expects`);
      if (error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout)) {
        // A set of keys that could not be read is told apart from one that has no such key.
        if (error instanceof errors.JWKSInvalid || error.code === 'ERR_JOSE_GENERIC') throw unavailable();
        throw invalid('its signature cannot be verified');
      }
      keys = undefined;
      throw unavailable();
    }
    const subject: unknown = payload.sub;
    if (typeof subject !== 'string' || !SUBJECT.test(subject)) throw invalid('its sub is not 1 to 255 ASCII characters');
    const values = valuesOf(claimOf(payload, config.scopesClaim));
    const texts = config.scopeMap === undefined ? values : values.flatMap((value) => (Object.hasOwn(config.scopeMap!, value) ? config.scopeMap![value]! : []));
    const text = (name: string): string | undefined => (typeof payload[name] === 'string' && payload[name] !== '' ? storable(payload[name]).slice(0, NAME_CHARACTERS) : undefined);
    return person(subject, text('name') ?? text('preferred_username') ?? text('email') ?? subject, text('email'), scopesAmong(texts), new Date(payload.exp! * 1000));
  };
}

function unavailable(): ApiError {
  return new ApiError(503, 'IDENTITY_PROVIDER_UNAVAILABLE', 'The provider of identities does not answer, so the token cannot be verified; try again');
}
