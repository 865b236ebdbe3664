import type { AwsSessions } from '../aws/sessions.js';
import type { Db } from '../store/database.js';
import type { ExecutionContext } from '../store/executions/load.js';
import type { Watch } from '../store/executions/watches.js';
import type { Secrets } from '../store/secrets.js';
import type { Orchestrator } from '../temporal/client.js';
import type { WebhookSettings } from './webhooks/deliver.js';

/** What activities work with. */
export interface Dependencies {
  db: Db;
  aws: AwsSessions;
  /** Of the orchestrator, what activities use. */
  orchestrator: {
    executions: Pick<
      Orchestrator['executions'],
      | 'start'
      | 'endWaiting'
      | 'cancel'
      | 'adopt'
      | 'isRunning'
      | 'countRunning'
      | 'listClosed'
      | 'listUnknown'
      | 'listAll'
      | 'listOfRun'
      | 'findKnown'
      | 'describeEnd'
    >;
    runs: Pick<Orchestrator['runs'], 'startUpload' | 'checkUpload'>;
    schedules: Pick<Orchestrator['schedules'], 'removeDiscovery' | 'removeSweep'>;
    verification: Pick<Orchestrator['verification'], 'verify'>;
    grants: Pick<Orchestrator['grants'], 'settle'>;
    webhooks: Pick<Orchestrator['webhooks'], 'startDelivery'>;
    watches: Pick<Orchestrator['watches'], 'complete' | 'fail' | 'show' | 'restart'>;
  };
  settings: {
    /** Seconds between two GetRun calls for a watched run. */
    runPollSeconds: number;
    /** Seconds between two checks of a run that uploads. */
    uploadPollSeconds: number;
    /** Minutes without growth after which an upload counts as stalled. */
    stalledMinutes: number;
    /** StartRun calls per second in one account and region, by all workers together. */
    startRunsPerSecond: number;
    /**
     * Seconds before the second run of an execution whose first run failed for a transient reason; as many more before
     * each further run.
     */
    retryRunSeconds: number;
    /** What to do with a HealthOmics run whose workflow was terminated or lost. */
    closedWorkflows: 'adopt' | 'cancel';
    /** Size of this process's connection pool, at least 2; 10 where absent. */
    maxDbConnections?: number;
    /** Whether polony uses roles that can be assumed without their external ID; false where absent. */
    allowsOpenRoles?: boolean;
  };
  /** Watches HealthOmics runs (`RunWatching`). `scope`: the account and region. */
  watching: { register: (scope: string, watch: Watch, execution: ExecutionContext) => Promise<void> };
  /** Seals the records in buckets. Absent where polony keeps none. */
  secrets?: Secrets;
  /** Absent where this worker delivers no webhooks. */
  webhooks?: WebhookSettings;
}
