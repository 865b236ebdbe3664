import type { AwsSessions } from '../aws/sessions.js';
import type { Db } from '../store/database.js';
import type { Orchestrator } from '../temporal/client.js';
import type { GetRunBudget } from './executions/getRunBudget.js';
import type { WebhookSettings } from './webhooks/deliver.js';

/** What activities work with. Tests give their own clock. */
export interface Dependencies {
  db: Db;
  aws: AwsSessions;
  orchestrator: Pick<
    Orchestrator,
    | 'startExecution'
    | 'adoptExecution'
    | 'countRunning'
    | 'isRunning'
    | 'unknownAmong'
    | 'cancelExecution'
    | 'closedExecutions'
    | 'endWaiting'
    | 'startRunUpload'
    | 'ensureDiscovery'
    | 'removeDiscovery'
    | 'verify'
    | 'startDelivery'
    | 'settleAccess'
  >;
  settings: {
    /** Seconds between two GetRun of a watched run. */
    runPollSeconds: number;
    /** Seconds between two looks at a run that uploads. */
    uploadPollSeconds: number;
    discoverSeconds: number;
    /** Minutes without growth after which an upload counts as stalled. */
    stalledMinutes: number;
    /** StartRun calls a second in one account and region, of all workers together. */
    startRunsPerSecond: number;
    /**
     * Seconds before a run that failed for a reason that passes is started again; as many more before each further one.
     */
    retryRunSeconds: number;
    /** What becomes of a HealthOmics run whose workflow was terminated, or is no longer known to Temporal. */
    closedWorkflows: 'adopt' | 'cancel';
    /** Of this process, at least 2; 10 where absent. */
    maxDbConnections?: number;
  };
  /** Shares GetRun among the runs that this worker watches. */
  polls: GetRunBudget;
  /** Absent where no webhooks are delivered. */
  webhooks?: WebhookSettings;
}
