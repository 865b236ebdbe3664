import type { AwsAccess } from '../aws/access.js';
import type { Db } from '../store/database.js';
import type { Orchestrator } from '../temporal/client.js';

/** What activities work with. Tests give their own clock. */
export interface Dependencies {
  db: Db;
  aws: AwsAccess;
  orchestrator: Pick<Orchestrator, 'startExecution' | 'cancelExecution' | 'closedExecutions' | 'endWaiting' | 'startRunUpload' | 'ensureDiscovery' | 'removeDiscovery' | 'verify'>;
  settings: {
    /** Seconds between two GetRun of a watched run. */
    runPollSeconds: number;
    /** Seconds between two looks at a run that uploads. */
    uploadPollSeconds: number;
    discoverSeconds: number;
  };
  /** Waits; rejects when the signal aborts. Temporal's `sleep` of the activity by default. */
  sleep?: (milliseconds: number) => Promise<void>;
}

/** The folder below a storage connection's prefix that executions write to; never searched for runs. */
export const EXECUTIONS_FOLDER = 'polony-executions';
