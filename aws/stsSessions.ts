import { randomUUID } from 'node:crypto';
import { AssumeRoleCommand, type Credentials, GetFederationTokenCommand, STSClient } from '@aws-sdk/client-sts';
import {
  entriesOf,
  isSameEntry,
  type LeftOutEntry,
  type ProviderAccess,
  narrowScope,
  type SessionEntry,
  sessionPolicies,
} from '../domain/iam/sessionPolicies.js';
import { type ClientCache, clientSettings } from './clients.js';
import { classifyAwsError, isPackedPolicyTooLarge, isPolicyRefused } from './errors.js';
import { counted } from '../observability/metrics.js';
import { observeCalls } from './observeCalls.js';
import { findRefusedEntries } from './refusedEntries.js';

type RoleProvider = ProviderAccess & { type: 'role' };
type AccessKeyProvider = ProviderAccess & { type: 'accessKeys' };

/** Temporary credentials of a provider. */
export interface Session {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  /** When the credentials expire. */
  expiration: Date;
  /** The length that AWS granted, in seconds. */
  seconds: number;
  /** What the session may not do although the provider is used for it, because AWS does not accept it in a policy. */
  leftOut?: readonly LeftOutEntry[];
}

/** polony could not get a session. The action tells which step failed, and so what a person can do. */
export class SessionError extends Error {
  override readonly name = 'SessionError';
  /** @param principal the role, or the ID of the access key. */
  constructor(
    readonly action: 'sts:AssumeRole' | 'sts:GetFederationToken',
    readonly principal: string,
    cause: unknown,
  ) {
    super(`${action} of ${principal} failed: ${classifyAwsError(cause).message}`, { cause });
  }
}

/**
 * The role can be assumed without the provider's external ID, so anybody who may use this installation could reach the
 * account through it. polony does not use such a role.
 */
export class OpenRoleError extends Error {
  override readonly name = 'OpenRoleError';
}

/** One hour: every role allows it, and chained roles allow no more (STS API Reference). */
const SHORTEST_ROLE_SECONDS = 3600;
/** Shorter lengths to request when a role does not allow a longer session: the choices of the IAM console. */
const ROLE_SECONDS = [43_200, 28_800, 14_400, 7200, SHORTEST_ROLE_SECONDS];

/** Requests sessions from STS. It keeps none. */
export class StsSessions {
  readonly #clients: ClientCache;
  readonly #sessionSeconds: number;
  readonly #now: () => number;
  /** What AWS did not accept in a session policy of a provider, for the provider's version. */
  readonly #leftOut = new Map<string, { version: string; entries: readonly LeftOutEntry[] }>();
  /** The longest session that a role allowed, by role. */
  readonly #allowedSeconds = new Map<string, number>();

  constructor(clients: ClientCache, sessionSeconds: number, now: () => number) {
    this.#clients = clients;
    this.#sessionSeconds = sessionSeconds;
    this.#now = now;
  }

  /**
   * Requests a session of a provider, as long as possible.
   * @throws SessionError
   */
  async open(providerId: string, provider: ProviderAccess): Promise<Session> {
    const action = provider.type === 'role' ? 'sts:AssumeRole' : 'sts:GetFederationToken';
    try {
      await this.#checkExternalId(provider);
      const session = await (provider.type === 'role'
        ? this.#openForRole(providerId, provider)
        : this.#openForUser(providerId, provider));
      counted.sessions.inc({ action, outcome: 'ok' });
      return session;
    } catch (error) {
      const cause = error instanceof SessionError ? error.cause : error;
      const outcome = cause instanceof OpenRoleError ? 'open-role' : classifyAwsError(cause).kind;
      counted.sessions.inc({ action, outcome });
      throw error;
    }
  }

  /**
   * Requests a session that may do no more than a policy allows.
   * @param name 2 to 32 characters
   * @throws SessionError
   */
  async openNarrowed(provider: ProviderAccess, policy: string, seconds: number, name: string): Promise<Session> {
    if (provider.type === 'accessKeys')
      return this.#withAccessKeys(provider, (sts) => this.#getFederationToken(sts, name, policy, seconds));
    await this.#checkExternalId(provider);
    try {
      return await this.#assumeRole(provider, name, seconds, policy);
    } catch (error) {
      throw new SessionError('sts:AssumeRole', provider.roleArn, error);
    }
  }

  /** Forgets what AWS did not accept in the session policies of a provider. */
  forget(providerId: string): void {
    this.#leftOut.delete(providerId);
  }

  /** Assumes a role for the shortest time, to find out whether polony can. @throws the error of STS */
  async tryAssumeRole(roleArn: string, region: string, externalId: string | undefined): Promise<void> {
    await this.#client(region).send(
      new AssumeRoleCommand({
        RoleArn: roleArn,
        RoleSessionName: 'polony-verification',
        DurationSeconds: 900,
        ...(externalId !== undefined && { ExternalId: externalId }),
      }),
    );
  }

  /**
   * Where a role was seen to be open, finds out whether it still is.
   * @throws SessionError whose cause is an {@link OpenRoleError}, or the error of STS that prevented an answer.
   */
  async #checkExternalId(provider: ProviderAccess): Promise<void> {
    if (provider.type !== 'role' || provider.mustTestExternalId !== true) return;
    const { roleArn, region } = provider;
    for (const externalId of [undefined, `wrong-${randomUUID()}`]) {
      const isOpen = await this.tryAssumeRole(roleArn, region, externalId).then(
        () => true,
        (error: unknown) => {
          if (classifyAwsError(error).kind === 'denied') return false;
          throw new SessionError('sts:AssumeRole', roleArn, error);
        },
      );
      if (isOpen)
        throw new SessionError(
          'sts:AssumeRole',
          roleArn,
          new OpenRoleError(
            `The role ${roleArn} can be assumed ${externalId === undefined ? 'without an' : 'with a wrong'} external ID`,
          ),
        );
    }
  }

  /** Requests shorter sessions until the role allows one. The session's name appears in the customer's CloudTrail. */
  async #openForRole(providerId: string, provider: RoleProvider): Promise<Session> {
    let lengths = this.#lengthsFor(provider.roleArn);
    for (;;) {
      const [seconds, ...shorter] = lengths as [number, ...number[]];
      try {
        return await this.#assumeRole(provider, `polony-${providerId}`, seconds);
      } catch (error) {
        // STS calls a session invalid that is longer than the role's maximum, or than role chaining allows.
        const { kind, message } = classifyAwsError(error);
        if (kind !== 'invalid' || shorter.length === 0)
          throw new SessionError('sts:AssumeRole', provider.roleArn, error);
        lengths = /role chaining/i.test(message) ? [SHORTEST_ROLE_SECONDS] : shorter;
      }
    }
  }

  /** Lengths to request, in seconds, the longest first. */
  #lengthsFor(roleArn: string): number[] {
    const longest = Math.min(this.#sessionSeconds, this.#allowedSeconds.get(roleArn) ?? this.#sessionSeconds);
    return [longest, ...ROLE_SECONDS.filter((seconds) => seconds < longest)];
  }

  async #assumeRole(provider: RoleProvider, name: string, seconds: number, policy?: string): Promise<Session> {
    const { Credentials } = await this.#client(provider.region).send(
      new AssumeRoleCommand({
        RoleArn: provider.roleArn,
        RoleSessionName: name,
        ExternalId: provider.externalId,
        DurationSeconds: seconds,
        ...(policy !== undefined && { Policy: policy }),
      }),
    );
    if (policy === undefined) this.#allowedSeconds.set(provider.roleArn, seconds);
    return sessionOf(Credentials, seconds, this.#now());
  }

  /**
   * Requests a session with a user's access keys, which polony uses for nothing else (the vendor's page asks for
   * GetFederationToken). Where AWS does not accept the policy, it finds the entry at fault and leaves it out, so that the
   * provider's other connections go on. The name has at most 32 characters; the end of a version 7 UUID is random, so it
   * distinguishes providers.
   */
  #openForUser(providerId: string, provider: AccessKeyProvider): Promise<Session> {
    const name = `polony-${providerId.slice(-12)}`;
    return this.#withAccessKeys(provider, async (sts) => {
      const request = (policies: readonly string[]): Promise<Session> => this.#requestWithPolicies(sts, name, policies);
      const known = this.#leftOut.get(providerId);
      if (known?.version === provider.version) return this.#requestWithout(known.entries, provider, request);
      this.#leftOut.delete(providerId);
      try {
        return await request(sessionPolicies(provider.scope));
      } catch (error) {
        const refused = isPolicyRefused(error) ? await this.#findRefused(provider, error, request) : undefined;
        if (refused === undefined) throw error;
        const session = await this.#requestWithout(refused, provider, request);
        this.#leftOut.set(providerId, { version: provider.version, entries: refused });
        return session;
      }
    });
  }

  /** STS packs a policy before it compares its size, so polony tries a wider policy if one is too large. */
  async #requestWithPolicies(sts: STSClient, name: string, policies: readonly string[]): Promise<Session> {
    for (const [index, policy] of policies.entries()) {
      try {
        return await this.#getFederationToken(sts, name, policy, this.#sessionSeconds);
      } catch (error) {
        const isLast = index === policies.length - 1;
        if (isLast || !isPackedPolicyTooLarge(error)) throw error;
      }
    }
    throw new Error('There is no policy to request a session with');
  }

  async #requestWithout(
    leftOut: readonly LeftOutEntry[],
    { scope }: AccessKeyProvider,
    request: (policies: readonly string[]) => Promise<Session>,
  ): Promise<Session> {
    const kept = entriesOf(scope).filter((entry) => !leftOut.some((each) => isSameEntry(each.entry, entry)));
    return { ...(await request(sessionPolicies(narrowScope(scope, kept)))), leftOut };
  }

  /** @returns undefined where the entries are not at fault. */
  async #findRefused(
    { scope }: AccessKeyProvider,
    refusal: unknown,
    request: (policies: readonly string[]) => Promise<Session>,
  ): Promise<LeftOutEntry[] | undefined> {
    const entries = entriesOf(scope);
    if (entries.length === 0) return undefined;
    const describe = (error: unknown): string => classifyAwsError(error).message.replace(/\.$/, '');
    const findRefusal = async (some: readonly SessionEntry[]): Promise<string | undefined> => {
      try {
        await request(sessionPolicies(narrowScope(scope, some)));
        return undefined;
      } catch (error) {
        if (isPolicyRefused(error)) return describe(error);
        throw error;
      }
    };
    if ((await findRefusal([])) !== undefined) return undefined;
    return findRefusedEntries(entries, describe(refusal), findRefusal);
  }

  async #getFederationToken(sts: STSClient, name: string, policy: string, seconds: number): Promise<Session> {
    const { Credentials } = await sts.send(
      new GetFederationTokenCommand({ Name: name, Policy: policy, DurationSeconds: seconds }),
    );
    return sessionOf(Credentials, seconds, this.#now());
  }

  /** Calls STS with access keys. The client is not cached, so that the keys do not stay in memory. */
  async #withAccessKeys<T>(provider: AccessKeyProvider, call: (sts: STSClient) => Promise<T>): Promise<T> {
    const { accessKeyId, secretAccessKey, region } = provider;
    const credentials = { accessKeyId, secretAccessKey };
    const sts = observeCalls(new STSClient({ region, ...clientSettings('STS'), credentials }));
    try {
      return await call(sts);
    } catch (error) {
      throw new SessionError('sts:GetFederationToken', accessKeyId, error);
    } finally {
      sts.destroy();
    }
  }

  /** STS with polony's own identity. */
  #client(region: string): STSClient {
    return this.#clients.get(`sts/${region}`, () => new STSClient({ region, ...clientSettings('STS') }));
  }
}

function sessionOf(credentials: Credentials | undefined, seconds: number, now: number): Session {
  if (
    credentials?.AccessKeyId === undefined ||
    credentials.SecretAccessKey === undefined ||
    credentials.SessionToken === undefined
  )
    throw new Error('STS answered without credentials');
  return {
    accessKeyId: credentials.AccessKeyId,
    secretAccessKey: credentials.SecretAccessKey,
    sessionToken: credentials.SessionToken,
    expiration: credentials.Expiration ?? new Date(now + seconds * 1000),
    seconds,
  };
}
