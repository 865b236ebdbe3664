import { findExecution } from '../../store/executions/load.js';
import { filterUnknownExecutions, filterUnknownFlows } from '../../store/executions/recover.js';
import type { RunContext } from '../../store/runs/load.js';
import type { Dependencies } from '../dependencies.js';
import { ForgottenExecutions } from './forgottenExecutions.js';
import { readMarkerOfLostFlow, readStartMarker } from './startMarkers.js';

/**
 * Finds an execution that a flow started automatically for a run and that the database has forgotten, for example after
 * a restore of an older dump: by the marker in the bucket, and among the workflows that Temporal keeps. What Temporal
 * knows of it goes back into the database.
 * @returns the id of an execution that the database still does not have, or has for another copy of the run. The flow
 * must not start then.
 */
export async function findEarlierStart(
  { db, aws, orchestrator }: Pick<Dependencies, 'db' | 'aws' | 'orchestrator'>,
  flow: { id: string; name: string },
  run: RunContext,
): Promise<string | undefined> {
  const { storage } = run;
  const forgotten = new ForgottenExecutions(db, orchestrator.executions);
  const s3 = aws.s3(storage.providerId, storage.region);
  const marker = await aws.use(
    storage.providerId,
    async () =>
      (await readStartMarker(s3, storage, flow.id, run)) ??
      readMarkerOfLostFlow(s3, storage, flow.name, run, (ids) => filterUnknownFlows(db, ids)),
  );
  const names = { flow: flow.name, run: run.runName, storageConnection: storage.name };
  const candidates = new Set(await orchestrator.executions.listOfRun(names));
  if (marker !== undefined) candidates.add(marker.executionId);
  for (const id of await filterUnknownExecutions(db, [...candidates])) {
    const recovery = await forgotten.recover(id);
    // A workflow of an older version does not say for which folder it ran, so it may have been this one.
    if (recovery === 'incomplete' || (recovery === 'unknown' && id === marker?.executionId)) return id;
  }
  if (marker === undefined) return undefined;
  const earlier = await findExecution(db, marker.executionId);
  return earlier === undefined || earlier.run.id !== run.id ? marker.executionId : undefined;
}
