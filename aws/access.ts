import { OmicsClient } from '@aws-sdk/client-omics';
import { S3Client } from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { classifyAwsError } from './errors.js';

/** How polony gets into a customer's account. */
export interface ProviderAccess {
  roleArn: string;
  externalId: string;
  /** Region whose STS endpoint is asked. */
  region: string;
}

/** Temporary credentials of a provider's role. */
export interface Session {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  /** When AWS ends it. */
  expiration: Date;
}

/** A call that was refused although the session had been renewed, or a session that could not be had: which step it was tells the remedy. */
export class AssumeRoleError extends Error {
  override readonly name = 'AssumeRoleError';
  constructor(
    readonly roleArn: string,
    cause: unknown,
  ) {
    super(`AssumeRole of ${roleArn} failed: ${classifyAwsError(cause).message}`, { cause });
  }
}

export interface AwsAccessOptions {
  /** Finds a provider by id; throws when there is none. */
  loadProvider: (providerId: string) => Promise<ProviderAccess>;
  /** Session length to ask for, in seconds; AWS allows 900 to 43,200, and one hour at most where roles are chained. */
  sessionSeconds: number;
  now?: () => number;
}

interface Held {
  session: Session;
  acquiredAt: number;
}

/** One hour: what every role allows, and the most that a chained role gives (AWS STS, AssumeRole). */
const SECONDS_ALWAYS_ALLOWED = 3600;

/**
 * Sessions and clients of all providers in this process. A session is shared by all activities of a provider while it
 * lives, is renewed before it ends, one renewal at a time, and is never written anywhere.
 */
export class AwsAccess {
  readonly #options: AwsAccessOptions;
  readonly #sessions = new Map<string, Held>();
  readonly #renewals = new Map<string, Promise<Held>>();
  readonly #clients = new Map<string, { destroy: () => void }>();
  readonly #now: () => number;

  constructor(options: AwsAccessOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** The provider's session, renewed when it is about to end. @throws AssumeRoleError */
  async session(providerId: string): Promise<Session> {
    const held = this.#sessions.get(providerId);
    if (held !== undefined && this.#isFresh(held)) return held.session;
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
    const sts = this.#client(`sts/${provider.region}`, () => new STSClient({ region: provider.region, ...this.#common('STS') }));
    const assume = (seconds: number) =>
      sts.send(
        new AssumeRoleCommand({
          RoleArn: provider.roleArn,
          // Shows in the customer's CloudTrail.
          RoleSessionName: `polony-${providerId}`,
          ExternalId: provider.externalId,
          DurationSeconds: seconds,
        }),
      );
    const asked = this.#options.sessionSeconds;
    const acquiredAt = this.#now();
    let answer;
    try {
      try {
        answer = await assume(asked);
      } catch (error) {
        // ValidationError: longer than the role's maximum, or than chaining allows.
        if (asked <= SECONDS_ALWAYS_ALLOWED || classifyAwsError(error).kind !== 'invalid') throw error;
        answer = await assume(SECONDS_ALWAYS_ALLOWED);
      }
    } catch (error) {
      throw new AssumeRoleError(provider.roleArn, error);
    }
    const credentials = answer.Credentials;
    if (credentials?.AccessKeyId === undefined || credentials.SecretAccessKey === undefined || credentials.SessionToken === undefined) {
      throw new AssumeRoleError(provider.roleArn, new Error('STS answered without credentials'));
    }
    const held: Held = {
      session: {
        accessKeyId: credentials.AccessKeyId,
        secretAccessKey: credentials.SecretAccessKey,
        sessionToken: credentials.SessionToken,
        expiration: credentials.Expiration ?? new Date(acquiredAt + SECONDS_ALWAYS_ALLOWED * 1000),
      },
      acquiredAt,
    };
    this.#sessions.set(providerId, held);
    return held;
  }

  /**
   * Makes AWS calls for a provider. When AWS says that the session has ended (its clock counts, or somebody revoked it), it
   * is renewed and the calls are made once more. After a denial the session is dropped, so that the next try sees changed
   * roles and trust at once.
   */
  async use<T>(providerId: string, calls: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      await this.session(providerId);
      const used = this.#sessions.get(providerId);
      try {
        return await calls();
      } catch (error) {
        const { kind } = classifyAwsError(error);
        if ((kind === 'expired' || kind === 'denied') && this.#sessions.get(providerId) === used) this.#sessions.delete(providerId);
        if (kind === 'expired' && attempt < 3) continue;
        throw error;
      }
    }
  }

  /** HealthOmics of a provider in a region. `once` never repeats a call by itself, for calls whose every attempt must be accounted for. */
  omics(providerId: string, region: string, once = false): OmicsClient {
    return this.#client(`omics/${providerId}/${region}/${once}`, () => new OmicsClient({ region, ...this.#common('OMICS'), ...this.#credentials(providerId), ...(once && { maxAttempts: 1 }) }));
  }

  /** S3 of a provider in a region. */
  s3(providerId: string, region: string): S3Client {
    return this.#client(`s3/${providerId}/${region}`, () => {
      const common = this.#common('S3');
      return new S3Client({ region, ...common, ...this.#credentials(providerId), forcePathStyle: common.disableHostPrefix });
    });
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
      requestHandler: { connectionTimeout: 5_000, requestTimeout: 30_000, httpsAgent: { keepAlive: true, maxSockets: 100 }, httpAgent: { keepAlive: true, maxSockets: 100 } },
    };
  }
}
