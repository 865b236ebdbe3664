import type { FastifyBaseLogger } from 'fastify';
import type { AwsSessions } from '../aws/sessions.js';
import type { OidcConfig } from '../domain/settings.js';
import type { NetworkPolicy } from '../domain/webhooks/networks.js';
import type { Db } from '../store/database.js';
import type { Secrets } from '../store/secrets.js';
import type { Orchestrator } from '../temporal/client.js';
import type { Authenticate } from './plugins/auth.js';

/** What the API works with. */
export interface ApiDependencies {
  db: Db;
  /** Of the same database, to listen on. */
  databaseUrl: string;
  orchestrator: Pick<
    Orchestrator,
    | 'check'
    | 'startExecution'
    | 'cancelExecution'
    | 'retryExecution'
    | 'startRunUpload'
    | 'lookAtRunUpload'
    | 'discoverFolder'
    | 'retryRunUpload'
    | 'ensureDiscovery'
    | 'removeDiscovery'
    | 'discoverNow'
    | 'verify'
    | 'changeAccess'
  >;
  /** Access to AWS through the providers. */
  aws: AwsSessions;
  /** Encrypts the secrets of access keys and webhooks. */
  secrets: Secrets;
  apiKey: string;
  /** A key for events alone. */
  eventsKey?: string;
  /** In place of the keys of the installation. */
  authenticate?: Authenticate;
  oidc?: OidcConfig;
  /** Of one caller; any number where absent. */
  requestsPerMinute?: number;
  discoverSeconds: number;
  /** `domain` in the details of errors. */
  errorDomain: string;
  publicUrl?: string;
  trustProxy?: boolean | string[];
  /** The account that customers' roles are to trust. */
  trustedAccountId?: string;
  /** Which addresses beyond the public ones webhooks may have; none where absent. */
  webhookNetworks?: NetworkPolicy;
  /** For tests: in place of the system's resolver. */
  resolve?: (host: string) => Promise<string[]>;
  logger?: FastifyBaseLogger;
}
