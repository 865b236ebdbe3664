import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify, type JWTVerifyOptions } from 'jose';
import type { OidcConfig } from '../../domain/settings.js';
import { scopesAmong } from '../../domain/auth/scopes.js';
import { sanitizeText } from '../../store/database.js';
import { ApiError } from '../errors.js';
import { type AuthenticatePerson, personCaller } from './auth.js';

/** Signatures by which only the provider can have made a token; those with a shared secret are not among them. */
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
/** Longest time that the provider has to answer. */
const TIMEOUT_MS = 5000;
/** Least time between two looks for where its keys have moved to. */
const LOOK_AGAIN_MS = 30_000;
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
  for (const name of path.split('.'))
    value =
      typeof value === 'object' && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : undefined;
  return value;
}

/** The values of a claim: a list, or a text with spaces between them as `scope` is (RFC 8693, 4.2). */
function valuesOf(claim: unknown): string[] {
  if (typeof claim === 'string') return claim.split(' ').filter((value) => value !== '');
  return Array.isArray(claim) ? claim.filter((value) => typeof value === 'string') : [];
}

type Keys = ReturnType<typeof createRemoteJWKSet>;

async function keysOf({ issuer, jwksUrl }: OidcConfig): Promise<Keys> {
  if (jwksUrl !== undefined) return createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: TIMEOUT_MS });
  // OpenID Connect Discovery 1.0, 4: the document must name the issuer that it was asked for.
  const response = await fetch(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, {
    signal: AbortSignal.timeout(TIMEOUT_MS),
    redirect: 'error',
  });
  const { issuer: named, jwks_uri: uri } = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown };
  if (!response.ok || named !== issuer || typeof uri !== 'string')
    throw new Error(`the discovery document of ${issuer} is not its own`);
  return createRemoteJWKSet(new URL(uri), { timeoutDuration: TIMEOUT_MS });
}

/** What a token says that one of these keys has signed. While keys are changed several may fit one that does not say which it is. */
async function payloadOf(token: string, keys: Keys, options: JWTVerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys, options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (refused) {
        if (!(refused instanceof errors.JWSSignatureVerificationFailed)) throw refused;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

/**
 * People with tokens of an OpenID Connect provider: signature by its keys, issuer, audience and times are held; a claim says what they
 * may. Nothing is asked of the provider before the first token comes.
 */
export function oidcAuthenticator(config: OidcConfig): AuthenticatePerson {
  const options: JWTVerifyOptions = {
    issuer: config.issuer,
    audience: config.audience,
    algorithms: ALGORITHMS,
    clockTolerance: CLOCK_TOLERANCE,
    requiredClaims: ['exp', 'sub'],
  };
  let keys: Keys | undefined;
  let finding: Promise<Keys> | undefined;
  let looked = 0;
  /** Where the keys are, looked for once however many ask. */
  const find = async (): Promise<Keys> => {
    finding ??= keysOf(config).finally(() => (finding = undefined));
    return (keys ??= await finding);
  };
  /** The keys may have moved. Those that are known are used until others have been read: tokens that anybody can send must not drop them. */
  const lookAgain = async (): Promise<void> => {
    if (config.jwksUrl !== undefined || Date.now() - looked < LOOK_AGAIN_MS) return;
    looked = Date.now();
    const found = await keysOf(config);
    await found.reload();
    keys = found;
  };
  return async (token) => {
    const invalid = (why: string): ApiError => new ApiError(401, 'INVALID_TOKEN', `This token is not valid: ${why}`);
    let payload: JWTPayload;
    try {
      payload = await payloadOf(token, keys ?? (await find()), options);
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw invalid('it has expired; log in again');
      if (error instanceof errors.JWTClaimValidationFailed)
        throw invalid(`its ${error.claim} is not what polony expects`);
      // A set of keys that could not be read is told apart from one that has no such key.
      const unread =
        !(error instanceof errors.JOSEError) ||
        error instanceof errors.JWKSTimeout ||
        error instanceof errors.JWKSInvalid ||
        error.code === 'ERR_JOSE_GENERIC';
      if (!unread) throw invalid('its signature cannot be verified');
      if (keys !== undefined) void lookAgain().catch(() => undefined);
      throw unavailable();
    }
    const subject: unknown = payload.sub;
    if (typeof subject !== 'string' || !SUBJECT.test(subject))
      throw invalid('its sub is not 1 to 255 ASCII characters');
    const values = valuesOf(claimOf(payload, config.scopesClaim));
    const texts =
      config.scopeMap === undefined
        ? values
        : values.flatMap((value) => (Object.hasOwn(config.scopeMap!, value) ? config.scopeMap![value]! : []));
    const text = (name: string): string | undefined =>
      typeof payload[name] === 'string' && payload[name] !== ''
        ? sanitizeText(payload[name]).slice(0, NAME_CHARACTERS)
        : undefined;
    return personCaller(
      subject,
      text('name') ?? text('preferred_username') ?? text('email') ?? subject,
      text('email'),
      scopesAmong(texts),
      new Date(payload.exp! * 1000),
    );
  };
}

function unavailable(): ApiError {
  return new ApiError(
    503,
    'IDENTITY_PROVIDER_UNAVAILABLE',
    'The provider of identities does not answer, so the token cannot be verified; try again',
  );
}
