import { whyRunIsUnusable } from '../../domain/runs/usability.js';
import type { RunUploadEnded } from '../../workflows/messages/runs.js';
import type { Dependencies } from '../dependencies.js';
import { loadExecution } from './context.js';

export function createUploadJudgementActivities({ db }: Pick<Dependencies, 'db'>) {
  return {
    /**
     * How the upload of an execution's run ended, for its flow. The message that tells a workflow of the end comes
     * through Temporal, where anybody with access can write anything. So the store decides.
     * @returns null while the run is uploading
     */
    async judgeUpload(executionId: string): Promise<RunUploadEnded | null> {
      const { run, flow } = await loadExecution(db, executionId);
      if (run.uploadState === 'uploading') return null;
      const reason = whyRunIsUnusable(run, flow);
      return reason === undefined ? { usable: true, reason: run.uploadDescription } : { usable: false, reason };
    },
  };
}
