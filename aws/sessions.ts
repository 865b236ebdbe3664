import { OmicsClient } from '@aws-sdk/client-omics';
import { S3Client } from '@aws-sdk/client-s3';
import { AssumeRoleCommand, type Credentials, GetFederationTokenCommand, STSClient } from '@aws-sdk/client-sts';
import type { ProviderAccess } from '../domain/iam/sessionPolicies.js';
import { classifyAwsError } from './errors.js';

export type { ProviderAccess };

/** Temporary credentials of a provider's role. */
export interface Session {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  /** When AWS ends it. */
  expiration: Date;
  /** The length that was reached, in seconds. */
  seconds: number;
}

/** A session that could not be had: which step it was tells the remedy. */
export class SessionError extends Error {
  override readonly name = 'SessionError';
  /** @param principal the role, or the access key's id. */
  constructor(
    readonly action: 'sts:AssumeRole' | 'sts:GetFederationToken',
    readonly principal: string,
    cause: unknown,
  ) {
    super(`${action} of ${principal} failed: ${classifyAwsError(cause).message}`, { cause });
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

export interface AwsSessionsOptions {
  /** Finds a provider by id; throws when there is none. */
  loadProvider: (providerId: string) => Promise<ProviderAccess>;
  /** Session length to ask for, in seconds; AWS allows 900 to 43,200, and one hour at most where roles are chained. */
  sessionSeconds: number;
  /** Told of every new session; a failure of it does not matter. */
  onSession?: (providerId: string) => Promise<void>;
  /** How long a provider is taken to be as it was, in milliseconds; 30 seconds by default. */
  checkMs?: number;
  now?: () => number;
}

interface Held {
  session: Session;
  acquiredAt: number;
  version: string;
  /** When it was last known that the provider is as it was. */
  checkedAt: number;
}

/** What AssumeRole is asked for where it refuses a longer session: the lengths that the IAM console offers, then one hour, which every role allows and chained roles get at most (STS API Reference). */
const ROLE_SECONDS = [43_200, 28_800, 14_400, 7200, 3600];
const CHECK_MS = 30_000;

/**
 * Sessions and clients of all providers in this process. A session is shared by all activities of a provider while it
 * lives, is renewed before it ends, one renewal at a time, and is never written anywhere.
 */
export class AwsSessions {
  readonly #options: AwsSessionsOptions;
  readonly #sessions = new Map<string, Held>();
  readonly #renewals = new Map<string, Promise<Held>>();
  readonly #clients = new Map<string, { destroy: () => void }>();
  readonly #now: () => number;
  /** The length that a role was found to allow, by role. */
  readonly #reached = new Map<string, number>();

  constructor(options: AwsSessionsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** The provider's session, renewed when it is about to end or the provider was changed. @throws SessionError */
  async session(providerId: string): Promise<Session> {
    const held = this.#sessions.get(providerId);
    if (held !== undefined && this.#isFresh(held) && this.#now() - held.checkedAt < (this.#options.checkMs ?? CHECK_MS))
      return held.session;
    let renewal = this.#renewals.get(providerId);
    if (renewal === undefined) {
      renewal = this.#renew(providerId).finally(() => this.#renewals.delete(providerId));
      this.#renewals.set(providerId, renewal);
    }
    return (await renewal).session;
  }

  /** A fifth of its life before the end, five minutes at most: short sessions are used, long ones never run out in a call. */
  #isFresh(held: Held): boolean {
    const ends = held.session.expiration.getTime();
    const margin = Math.min(300_000, (ends - held.acquiredAt) / 5);
    return this.#now() < ends - margin;
  }

  async #renew(providerId: string): Promise<Held> {
    const provider = await this.#options.loadProvider(providerId);
    const before = this.#sessions.get(providerId);
    if (before !== undefined && before.version === provider.version && this.#isFresh(before)) {
      before.checkedAt = this.#now();
      return before;
    }
    const acquiredAt = this.#now();
    const session =
      provider.type === 'role'
        ? await this.#assumeRole(providerId, provider)
        : await this.#federate(providerId, provider);
    const held: Held = { session, acquiredAt, version: provider.version, checkedAt: acquiredAt };
    this.#sessions.set(providerId, held);
    await this.#options.onSession?.(providerId).catch(() => undefined);
    return held;
  }

  async #assumeRole(providerId: string, provider: ProviderAccess & { type: 'role' }): Promise<Session> {
    const sts = this.#client(
      `sts/${provider.region}`,
      () => new STSClient({ region: provider.region, ...this.#common('STS') }),
    );
    const asked = this.#options.sessionSeconds;
    const most = Math.min(asked, this.#reached.get(provider.roleArn) ?? asked);
    const lengths = [most, ...ROLE_SECONDS.filter((seconds) => seconds < most)];
    for (const [at, seconds] of lengths.entries()) {
      try {
        const { Credentials } = await sts.send(
          // The name shows in the customer's CloudTrail.
          new AssumeRoleCommand({
            RoleArn: provider.roleArn,
            RoleSessionName: `polony-${providerId}`,
            ExternalId: provider.externalId,
            DurationSeconds: seconds,
          }),
        );
        this.#reached.set(provider.roleArn, seconds);
        return sessionOf(Credentials, seconds, this.#now());
      } catch (error) {
        // ValidationError: longer than the role's maximum, or than chaining allows.
        const { kind, message } = classifyAwsError(error);
        if (kind !== 'invalid' || at === lengths.length - 1)
          throw new SessionError('sts:AssumeRole', provider.roleArn, error);
        if (/role chaining/i.test(message)) lengths.splice(at + 1, lengths.length, 3600);
      }
    }
    throw new Error('unreachable');
  }

  /** A session of a user's access keys, which themselves are used for nothing else (the page wants GetFederationToken for IAM users). */
  async #federate(providerId: string, provider: ProviderAccess & { type: 'accessKeys' }): Promise<Session> {
    const sts = new STSClient({
      region: provider.region,
      ...this.#common('STS'),
      credentials: { accessKeyId: provider.accessKeyId, secretAccessKey: provider.secretAccessKey },
    });
    const seconds = this.#options.sessionSeconds;
    try {
      for (const [at, policy] of provider.policies.entries()) {
        try {
          // The name, 2 to 32 characters, shows in the customer's CloudTrail; the random end of a version 7 id tells providers apart.
          const { Credentials } = await sts.send(
            new GetFederationTokenCommand({
              Name: `polony-${providerId.slice(-12)}`,
              Policy: policy,
              DurationSeconds: seconds,
            }),
          );
          return sessionOf(Credentials, seconds, this.#now());
        } catch (error) {
          if (classifyAwsError(error).code !== 'PackedPolicyTooLarge' || at === provider.policies.length - 1)
            throw error;
        }
      }
      throw new Error('There is no policy to ask a session with');
    } catch (error) {
      throw new SessionError('sts:GetFederationToken', provider.accessKeyId, error);
    } finally {
      sts.destroy();
    }
  }

  /**
   * Makes AWS calls for a provider. When AWS says that the session has ended (its clock counts, or somebody revoked it), it
   * is renewed and the calls are made once more. They are made once more too after a denial with a session from before: it
   * may be of a role or of keys that have been changed since, or narrower than what the provider is used for by now.
   */
  async use<T>(providerId: string, calls: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const known = this.#sessions.get(providerId);
      await this.session(providerId);
      const used = this.#sessions.get(providerId);
      try {
        return await calls();
      } catch (error) {
        const { kind } = classifyAwsError(error);
        if ((kind === 'expired' || kind === 'denied') && this.#sessions.get(providerId) === used)
          this.#sessions.delete(providerId);
        if (kind === 'expired' && attempt < 3) continue;
        if (kind === 'denied' && attempt === 1 && known !== undefined && known === used) continue;
        throw error;
      }
    }
  }

  /**
   * The provider's session, new where what is left of it is shorter than wanted and a new one would be longer by a minute at least:
   * for what ends with the session that signed it, such as a download URL.
   * @param seconds how long it should last
   */
  async sessionFor(providerId: string, seconds: number): Promise<Session> {
    const session = await this.session(providerId);
    const left = (session.expiration.getTime() - this.#now()) / 1000;
    if (left >= seconds || session.seconds - left < 60) return session;
    if (this.#sessions.get(providerId)?.session === session) this.#sessions.delete(providerId);
    return this.session(providerId);
  }

  /**
   * A session of its own that may do no more than a policy says, and than the provider may. It is not kept.
   * @param policy a session policy, at most 2,048 characters
   * @param seconds 900 to what the role allows, or 36 hours for access keys (STS API Reference)
   * @param name 2 to 32 characters; shows in the customer's CloudTrail
   * @throws SessionError; its cause is what STS has answered.
   */
  async narrowedSession(providerId: string, policy: string, seconds: number, name: string): Promise<Session> {
    const provider = await this.#options.loadProvider(providerId);
    if (provider.type === 'role') {
      const sts = this.#client(
        `sts/${provider.region}`,
        () => new STSClient({ region: provider.region, ...this.#common('STS') }),
      );
      try {
        const { Credentials } = await sts.send(
          new AssumeRoleCommand({
            RoleArn: provider.roleArn,
            RoleSessionName: name,
            ExternalId: provider.externalId,
            DurationSeconds: seconds,
            Policy: policy,
          }),
        );
        return sessionOf(Credentials, seconds, this.#now());
      } catch (error) {
        throw new SessionError('sts:AssumeRole', provider.roleArn, error);
      }
    }
    const sts = new STSClient({
      region: provider.region,
      ...this.#common('STS'),
      credentials: { accessKeyId: provider.accessKeyId, secretAccessKey: provider.secretAccessKey },
    });
    try {
      const { Credentials } = await sts.send(
        new GetFederationTokenCommand({ Name: name, Policy: policy, DurationSeconds: seconds }),
      );
      return sessionOf(Credentials, seconds, this.#now());
    } catch (error) {
      throw new SessionError('sts:GetFederationToken', provider.accessKeyId, error);
    } finally {
      sts.destroy();
    }
  }

  /** S3 that signs with this session and sends nothing, so that what it signs ends when that is known to end; no checksum of a request that has no body. The caller destroys it. */
  signer(session: Session, region: string): S3Client {
    const common = this.#common('S3');
    const { accessKeyId, secretAccessKey, sessionToken } = session;
    return new S3Client({
      region,
      ...common,
      credentials: { accessKeyId, secretAccessKey, sessionToken },
      forcePathStyle: common.disableHostPrefix,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  /** Forgets a provider's session, so that the next call gets a new one. */
  forget(providerId: string): void {
    this.#sessions.delete(providerId);
  }

  /** HealthOmics of a provider in a region. `once` never repeats a call by itself, for calls whose every attempt must be accounted for. */
  omics(providerId: string, region: string, once = false): OmicsClient {
    return this.#client(
      `omics/${providerId}/${region}/${once}`,
      () =>
        new OmicsClient({
          region,
          ...this.#common('OMICS'),
          ...this.#credentials(providerId),
          ...(once && { maxAttempts: 1 }),
        }),
    );
  }

  /** S3 of a provider in a region. */
  s3(providerId: string, region: string): S3Client {
    return this.#client(`s3/${providerId}/${region}`, () => {
      const common = this.#common('S3');
      return new S3Client({
        region,
        ...common,
        ...this.#credentials(providerId),
        forcePathStyle: common.disableHostPrefix,
      });
    });
  }

  /** S3 of a provider for probes: it follows a bucket to its own region, which is what a probe wants to find out. */
  s3Anywhere(providerId: string, region: string): S3Client {
    return this.#client(`s3-anywhere/${providerId}/${region}`, () => {
      const common = this.#common('S3');
      return new S3Client({
        region,
        ...common,
        ...this.#credentials(providerId),
        forcePathStyle: common.disableHostPrefix,
        followRegionRedirects: true,
      });
    });
  }

  /** STS with a provider's session. */
  sts(providerId: string, region: string): STSClient {
    return this.#client(
      `sts/${providerId}/${region}`,
      () => new STSClient({ region, ...this.#common('STS'), ...this.#credentials(providerId) }),
    );
  }

  /**
   * Tries to assume a role with polony's own identity, to see whether it can be; the session is thrown away.
   * @param externalId undefined for none.
   * @throws what STS answers.
   */
  async tryAssumeRole(roleArn: string, region: string, externalId: string | undefined): Promise<void> {
    const sts = this.#client(`sts/${region}`, () => new STSClient({ region, ...this.#common('STS') }));
    await sts.send(
      new AssumeRoleCommand({
        RoleArn: roleArn,
        RoleSessionName: 'polony-verification',
        DurationSeconds: 900,
        ...(externalId !== undefined && { ExternalId: externalId }),
      }),
    );
  }

  /** Closes all connections. */
  close(): void {
    for (const client of this.#clients.values()) client.destroy();
    this.#clients.clear();
    this.#sessions.clear();
  }

  #client<T extends { destroy: () => void }>(key: string, make: () => T): T {
    let client = this.#clients.get(key) as T | undefined;
    if (client === undefined) {
      client = make();
      this.#clients.set(key, client);
    }
    return client;
  }

  #credentials(providerId: string) {
    return {
      // An expiration in the past makes the SDK ask at each request, so that this class alone decides when a session is renewed.
      credentials: async () => ({ ...(await this.session(providerId)), expiration: new Date(0) }),
    };
  }

  #common(service: 'STS' | 'OMICS' | 'S3') {
    // The SDK reads the endpoint itself, from these.
    const endpoint = process.env[`AWS_ENDPOINT_URL_${service}`] ?? process.env.AWS_ENDPOINT_URL;
    return {
      maxAttempts: 3,
      // An endpoint that somebody named is used as it is, without `workflows-` before its host.
      disableHostPrefix: endpoint !== undefined && endpoint !== '',
      requestHandler: {
        connectionTimeout: 5_000,
        requestTimeout: 30_000,
        httpsAgent: { keepAlive: true, maxSockets: 100 },
        httpAgent: { keepAlive: true, maxSockets: 100 },
      },
    };
  }
}
