import { OmicsClient } from '@aws-sdk/client-omics';
import { S3Client } from '@aws-sdk/client-s3';
import { STSClient } from '@aws-sdk/client-sts';
import type { ProviderAccess } from '../domain/iam/sessionPolicies.js';
import { ClientCache, clientSettings, s3ClientSettings } from './clients.js';
import { classifyAwsError } from './errors.js';
import { noteLeftOut } from './leftOut.js';
import { OpenRoleError, type Session, SessionError, StsSessions } from './stsSessions.js';

export { OpenRoleError, type ProviderAccess, type Session, SessionError };

export interface AwsSessionsOptions {
  /** Loads a provider by id; throws when there is none. */
  loadProvider: (providerId: string) => Promise<ProviderAccess>;
  /** Length of sessions to request, in seconds. AWS allows 900 to 43,200, and at most one hour for chained roles. */
  sessionSeconds: number;
  /** Called for every new session, also for a narrowed one. Its errors are ignored. */
  onSession?: (providerId: string) => Promise<void>;
  /** How long polony uses a session without loading the provider again, in milliseconds. Default: 30 seconds. */
  checkMs?: number;
  now?: () => number;
}

/** A session in memory. Times are in milliseconds since 1970. */
interface CachedSession {
  session: Session;
  acquiredAt: number;
  /** The provider's version when polony acquired the session. */
  version: string;
  /** When polony last saw that the provider still has this version. */
  checkedAt: number;
}

const PROVIDER_CHECK_MS = 30_000;
/** How often `use` repeats calls after AWS rejected an expired session. */
const MAX_ATTEMPTS = 3;

/**
 * Sessions and clients of all providers in this process. All activities of a provider share its session. polony renews
 * a session before it expires, runs one renewal at a time, and stores sessions only in memory.
 */
export class AwsSessions {
  readonly #options: AwsSessionsOptions;
  readonly #now: () => number;
  readonly #clients = new ClientCache();
  readonly #sts: StsSessions;
  readonly #sessions = new Map<string, CachedSession>();
  readonly #renewals = new Map<string, Promise<CachedSession>>();

  constructor(options: AwsSessionsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#sts = new StsSessions(this.#clients, options.sessionSeconds, this.#now);
  }

  /**
   * The provider's session. polony renews it when it expires soon, or when the provider has changed.
   * @throws SessionError
   */
  async session(providerId: string): Promise<Session> {
    const cached = this.#sessions.get(providerId);
    if (cached !== undefined && this.#isFresh(cached) && this.#isChecked(cached)) return cached.session;
    let renewal = this.#renewals.get(providerId);
    if (renewal === undefined) {
      renewal = this.#renew(providerId).finally(() => this.#renewals.delete(providerId));
      this.#renewals.set(providerId, renewal);
    }
    return (await renewal).session;
  }

  /**
   * Makes AWS calls for a provider. If AWS says that the session has expired (its clock decides, or somebody revoked
   * the session), polony renews it and repeats the calls. It also repeats them once after a denial with a cached
   * session: the session may be of a role or of keys that have changed since, or allow less than the provider allows
   * now.
   */
  async use<T>(providerId: string, calls: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const before = this.#sessions.get(providerId);
      await this.session(providerId);
      const used = this.#sessions.get(providerId);
      try {
        return await calls();
      } catch (error) {
        const { kind } = classifyAwsError(error);
        const isRejected = kind === 'expired' || kind === 'denied';
        if (isRejected && this.#sessions.get(providerId) === used) this.#sessions.delete(providerId);
        const wasCached = before !== undefined && before === used;
        const canRepeat =
          (kind === 'expired' && attempt < MAX_ATTEMPTS) || (kind === 'denied' && attempt === 1 && wasCached);
        if (!canRepeat) throw kind === 'denied' ? noteLeftOut(error, used?.session.leftOut ?? []) : error;
      }
    }
  }

  /**
   * The provider's session for something that ends with the session, such as a download URL. polony renews the session
   * if it ends too early and a new one would last at least a minute longer.
   * @param seconds how long the session should last
   */
  async sessionFor(providerId: string, seconds: number): Promise<Session> {
    const session = await this.session(providerId);
    const remaining = (session.expiration.getTime() - this.#now()) / 1000;
    if (remaining >= seconds || session.seconds - remaining < 60) return session;
    if (this.#sessions.get(providerId)?.session === session) this.#sessions.delete(providerId);
    return this.session(providerId);
  }

  /**
   * A separate session that may do no more than a policy allows, and no more than the provider may. polony does not
   * cache it.
   * @param policy a session policy, at most 2,048 characters of U+0020 to U+00FF
   * @param seconds 900 to what the role allows, or to 36 hours for access keys (STS API Reference)
   * @param name 2 to 32 characters; it appears in the customer's CloudTrail
   * @throws SessionError; its cause is the error of STS.
   */
  async narrowedSession(providerId: string, policy: string, seconds: number, name: string): Promise<Session> {
    const provider = await this.#options.loadProvider(providerId);
    const session = await this.#sts.openNarrowed(provider, policy, seconds, name);
    await this.#options.onSession?.(providerId).catch(() => undefined);
    return session;
  }

  /**
   * Assumes a role with polony's own identity, to find out whether it can. polony discards the session.
   * @param externalId undefined for none.
   * @throws the error of STS
   */
  tryAssumeRole(roleArn: string, region: string, externalId: string | undefined): Promise<void> {
    return this.#sts.tryAssumeRole(roleArn, region, externalId);
  }

  /**
   * Sessions of a provider that is not saved, with any id. They are apart from those of the others, so that nobody else
   * can use them. The caller closes them.
   */
  ofDraft(provider: ProviderAccess): AwsSessions {
    const { sessionSeconds, now } = this.#options;
    return new AwsSessions({
      sessionSeconds,
      ...(now !== undefined && { now }),
      loadProvider: async () => provider,
    });
  }

  /** Discards what is known about a provider's sessions, so that the next call gets a new one. */
  forget(providerId: string): void {
    this.#sessions.delete(providerId);
    this.#sts.forget(providerId);
  }

  /**
   * An S3 client that signs URLs with this session and sends nothing. The caller knows when the session ends, and so
   * when the URLs end. A request without a body needs no checksum. The caller destroys the client.
   */
  signer(session: Session, region: string): S3Client {
    const { accessKeyId, secretAccessKey, sessionToken } = session;
    return new S3Client({
      region,
      ...s3ClientSettings(),
      credentials: { accessKeyId, secretAccessKey, sessionToken },
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  /**
   * HealthOmics of a provider in a region.
   * @param once never repeats a call by itself, for calls whose every attempt counts.
   */
  omics(providerId: string, region: string, once = false): OmicsClient {
    const create = (): OmicsClient =>
      new OmicsClient({
        region,
        ...clientSettings('OMICS'),
        credentials: this.#credentialsOf(providerId),
        ...(once && { maxAttempts: 1 }),
      });
    return this.#clients.get(`omics/${providerId}/${region}/${once}`, create);
  }

  /** S3 of a provider in a region. */
  s3(providerId: string, region: string): S3Client {
    const create = (): S3Client =>
      new S3Client({ region, ...s3ClientSettings(), credentials: this.#credentialsOf(providerId) });
    return this.#clients.get(`s3/${providerId}/${region}`, create);
  }

  /** S3 of a provider for probes. It follows a bucket to its own region, because a probe wants to find the region. */
  s3Anywhere(providerId: string, region: string): S3Client {
    const create = (): S3Client =>
      new S3Client({
        region,
        ...s3ClientSettings(),
        credentials: this.#credentialsOf(providerId),
        followRegionRedirects: true,
      });
    return this.#clients.get(`s3-anywhere/${providerId}/${region}`, create);
  }

  /** STS with a provider's session. */
  sts(providerId: string, region: string): STSClient {
    const create = (): STSClient =>
      new STSClient({ region, ...clientSettings('STS'), credentials: this.#credentialsOf(providerId) });
    return this.#clients.get(`sts/${providerId}/${region}`, create);
  }

  /** Closes all connections. */
  close(): void {
    this.#clients.destroy();
    this.#sessions.clear();
  }

  /** polony renews a session when a fifth of its life remains, but at most five minutes before it expires. */
  #isFresh({ session, acquiredAt }: CachedSession): boolean {
    const end = session.expiration.getTime();
    const margin = Math.min(300_000, (end - acquiredAt) / 5);
    return this.#now() < end - margin;
  }

  #isChecked({ checkedAt }: CachedSession): boolean {
    return this.#now() - checkedAt < (this.#options.checkMs ?? PROVIDER_CHECK_MS);
  }

  async #renew(providerId: string): Promise<CachedSession> {
    const provider = await this.#options.loadProvider(providerId);
    const cached = this.#sessions.get(providerId);
    if (cached !== undefined && cached.version === provider.version && this.#isFresh(cached)) {
      cached.checkedAt = this.#now();
      return cached;
    }
    const acquiredAt = this.#now();
    const session = await this.#sts.open(providerId, provider);
    const renewed: CachedSession = { session, acquiredAt, version: provider.version, checkedAt: acquiredAt };
    this.#sessions.set(providerId, renewed);
    await this.#options.onSession?.(providerId).catch(() => undefined);
    return renewed;
  }

  /** Credentials for a client. The SDK must ask at each request, because this class alone decides when to renew. */
  #credentialsOf(providerId: string) {
    return async () => ({ ...(await this.session(providerId)), expiration: new Date(0) });
  }
}
