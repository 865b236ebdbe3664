import type { Dependencies } from '../dependencies.js';
import { createCancelActivities } from './cancel.js';
import { createEndActivities } from './end.js';
import { createUploadJudgementActivities } from './judgeUpload.js';
import { createPrepareActivities } from './prepare.js';
import { createResultActivities } from './results.js';
import { createStartActivities } from './start.js';
import { createWatchActivities } from './watch.js';

/** The activities of `bases2fastq`, by task queue. Each can be repeated safely. */
export function createExecutionActivities(dependencies: Dependencies) {
  return {
    main: {
      ...createUploadJudgementActivities(dependencies),
      ...createPrepareActivities(dependencies),
      ...createStartActivities(dependencies),
      ...createCancelActivities(dependencies),
      ...createResultActivities(dependencies),
      ...createEndActivities(dependencies),
    },
    watch: createWatchActivities(dependencies),
  };
}
