import type { Dependencies } from '../dependencies.js';
import { createDiscoveryActivities } from './discover.js';
import { createFlowStartActivities } from './startFlows.js';
import { createSweepActivities } from './sweep.js';
import { createUploadActivities } from './watchUpload.js';

/** The activities of `discoverRuns`, `runUpload` and `sweep`. All of them can be repeated. */
export function createRunActivities(dependencies: Dependencies) {
  return {
    ...createDiscoveryActivities(dependencies),
    ...createUploadActivities(dependencies),
    ...createFlowStartActivities(dependencies),
    ...createSweepActivities(dependencies),
  };
}
