import type { FastifyBaseLogger } from 'fastify';
import type { AwsSessions } from '../aws/sessions.js';
import type { OidcClient, OidcConfig } from '../domain/settings.js';
import type { NetworkPolicy } from '../domain/webhooks/networks.js';
import type { Db } from '../store/database.js';
import type { Secrets } from '../store/secrets.js';
import type { Orchestrator } from '../temporal/client.js';
import type { Notices } from './notices.js';
import type { Authenticate } from './plugins/caller.js';

/** What the API needs from other folders, and its settings. */
export interface ApiDependencies {
  db: Db;
  /** The URL of the same database. The API opens a connection of its own to it, to listen for changes. */
  databaseUrl: string;
  /** Of the orchestrator, what the API uses. */
  orchestrator: Pick<Orchestrator, 'check'> & {
    executions: Pick<Orchestrator['executions'], 'start' | 'cancel' | 'retry'>;
    runs: Pick<Orchestrator['runs'], 'startUpload' | 'checkUpload' | 'discoverFolder' | 'search'>;
    verification: Pick<Orchestrator['verification'], 'verify'>;
    grants: Pick<Orchestrator['grants'], 'change'>;
  };
  /** Access to AWS through the providers. */
  aws: AwsSessions;
  /** Encrypts the secrets of access keys and webhooks. */
  secrets: Secrets;
  apiKey: string;
  /** A key for `POST /v1/events` only. */
  eventsKey?: string;
  /** For tests: replaces the keys of the installation. */
  authenticate?: Authenticate;
  oidc?: OidcConfig;
  /** The client as which the API signs people in; absent where it does not. Needs `oidc` and `publicUrl`. */
  oidcClient?: OidcClient;
  /** The limit of one caller; absent or 0 for no limit. */
  requestsPerMinute?: number;
  /** Failed logins of one address within a minute; 0, the default, for no limit. */
  failedLoginsPerMinute?: number;
  /** `domain` in the details of errors. */
  errorDomain: string;
  publicUrl?: string;
  /** Whether `/openapi.json` and `/docs` are readable without a key; true where absent. */
  publicApiDocs?: boolean;
  trustProxy?: boolean | string[];
  /** Whether the audit log also has requests that only read; false where absent. */
  auditsReads?: boolean;
  /** Whether polony uses roles that can be assumed without their external ID; false where absent. */
  allowsOpenRoles?: boolean;
  /** The AWS account that customers' roles must trust. */
  trustedAccountId?: string;
  /** Of the connection to Temporal, what people may know. */
  temporal?: { namespace: string };
  /** Where Temporal's web page is; absent where the installation has none. */
  temporalUiUrl?: string;
  /** Folder with the built console; absent where the API serves none. */
  consoleFolder?: string;
  /** The private networks that webhooks may send to; none where absent. */
  webhookNetworks?: NetworkPolicy;
  /** For tests: replaces the system's resolver. */
  resolve?: (host: string) => Promise<string[]>;
  logger?: FastifyBaseLogger;
}

/** What routes need: also what they share in one app. */
export interface RouteDependencies extends ApiDependencies {
  /** What the database notifies polony of. */
  notices: Notices;
}
