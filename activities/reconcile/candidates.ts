import { classifyAwsError } from '../../aws/errors.js';
import { storageUri } from '../../domain/files/paths.js';
import type { ReconcileNote } from '../../domain/reconcile/report.js';
import { EXECUTIONS_FOLDER } from '../../domain/runs/runFolder.js';
import { filterUnknownExecutions } from '../../store/executions/recover.js';
import { filterOpenExecutions } from '../../store/executions/sweep.js';
import {
  filterUnknownRuns,
  listAutomaticStarts,
  listComputePlaces,
  listOpenExecutionIds,
  listRecordPlaces,
  type RecordPlace,
} from '../../store/reconcile/places.js';
import type { Dependencies } from '../dependencies.js';
import { listRecords } from '../executions/records.js';
import { listStartMarkers, type StartMarker, startMarkerKey } from '../executions/startMarkers.js';
import { type AwsTruth, executionOf, type RunPlace } from './awsTruth.js';

/** What is known of where an execution left traces. */
export interface Traces {
  /** The storage connections whose bucket and prefix know it. Several connections may have the same ones. */
  places: RecordPlace[];
  marker?: StartMarker & { flowId: string };
  /** HealthOmics runs that say that they belong to it, and where they are. */
  runs: { place: RunPlace; id: string }[];
}

/** Executions that may need to be reconciled, by id. */
export interface Candidates {
  executions: Map<string, Traces>;
  /** How many executions Temporal knows. */
  inTemporal: number;
  notes: ReconcileNote[];
}

/** Ids that one query compares. */
const PAGE = 500;

/**
 * Finds the executions that have not ended, and those that the database does not know: in Temporal, in the buckets, and
 * among the runs of HealthOmics where polony may list them.
 */
export async function findCandidates(
  { db, orchestrator }: Pick<Dependencies, 'db' | 'orchestrator'>,
  truth: AwsTruth,
): Promise<Candidates> {
  const found = new Finder(db, truth);
  for (const id of await listOpenExecutionIds(db)) found.add(id);
  let inTemporal = 0;
  for (const state of ['running', 'ended'] as const)
    await found.addUnlessKnown(count(orchestrator.executions.listAll(state), () => inTemporal++));
  const places = await listRecordPlaces(db);
  for (const place of places) await found.searchBucket(place);
  for (const place of await listComputePlaces(db)) await found.searchRuns(place, place.workflowIds, places);
  return { executions: found.executions, inTemporal, notes: found.notes };
}

async function* count<T>(items: AsyncIterable<T>, each: () => void): AsyncGenerator<T> {
  for await (const item of items) {
    each();
    yield item;
  }
}

class Finder {
  readonly executions = new Map<string, Traces>();
  readonly notes: ReconcileNote[] = [];

  constructor(
    private readonly db: Dependencies['db'],
    private readonly truth: AwsTruth,
  ) {}

  add(id: string, traces: Partial<Traces> = {}): void {
    const known = this.executions.get(id) ?? { places: [], runs: [] };
    const places = new Set([...known.places, ...(traces.places ?? [])]);
    const runs = [...known.runs, ...(traces.runs ?? [])];
    this.executions.set(id, { ...known, ...traces, places: [...places], runs });
  }

  /** Adds the executions that the database does not know, or that are open there. */
  async addUnlessKnown(ids: AsyncIterable<string>, traces: Partial<Traces> = {}): Promise<void> {
    let page: string[] = [];
    const compare = async (): Promise<void> => {
      for (const id of await this.#filter(page)) this.add(id, traces);
      page = [];
    };
    for await (const id of ids) {
      page.push(id);
      if (page.length === PAGE) await compare();
    }
    await compare();
  }

  async searchBucket(place: RecordPlace): Promise<void> {
    try {
      await this.truth.use(place.providerId, async () => {
        const s3 = this.truth.s3(place);
        await this.addUnlessKnown(flatten(listRecords(s3, place)), { places: [place] });
        await this.addUnlessKnown(flatten(this.truth.listOutputFolders(place)), { places: [place] });
        const starts = await listAutomaticStarts(this.db, place.id);
        const known = new Set(starts.map(({ flowId, ...run }) => startMarkerKey(place.prefix, flowId, run)));
        for await (const marker of listStartMarkers(s3, place, known))
          if ((await this.#filter([marker.executionId])).length > 0)
            this.add(marker.executionId, { places: [place], marker });
      });
    } catch (error) {
      this.notes.push({
        subject: 'AWS',
        kind: 'attention',
        text:
          `The bucket ${place.bucket} of the storage connection ${place.name} cannot be read, so polony does not know ` +
          `which executions it knows: ${classifyAwsError(error).message}`,
        todo: `polony storage verify ${place.name}, then run polony reconcile again`,
      });
    }
  }

  /** Looks for runs that the database does not know, where polony may list runs. */
  async searchRuns(place: RunPlace, workflowIds: readonly string[], places: readonly RecordPlace[]): Promise<void> {
    const ids = await this.truth.listRuns(place, workflowIds).catch((error: unknown) => {
      this.notes.push({
        subject: 'AWS',
        kind: 'attention',
        text: `ListRuns in ${place.region} failed: ${classifyAwsError(error).message}`,
        todo: 'Run polony reconcile again',
      });
      return undefined;
    });
    if (ids === undefined) return;
    for (let at = 0; at < ids.length; at += PAGE)
      for (const id of await filterUnknownRuns(this.db, ids.slice(at, at + PAGE))) {
        const found = await this.truth.getRun(place, id);
        if (found.is !== 'found') continue;
        const executionId = executionOf(found.run);
        if (executionId === undefined || (await this.#filter([executionId])).length === 0) continue;
        const known = places.filter(
          (each) =>
            found.run.outputUri?.replace(/\/?$/, '/') ===
            storageUri(each.bucket, each.prefix, EXECUTIONS_FOLDER, executionId),
        );
        // A run of another installation in the same account writes to a folder that no connection here has.
        if (known.length > 0) this.add(executionId, { places: known, runs: [{ place, id }] });
      }
  }

  async #filter(ids: readonly string[]): Promise<string[]> {
    return [...(await filterUnknownExecutions(this.db, ids)), ...(await filterOpenExecutions(this.db, ids))];
  }
}

async function* flatten<T>(pages: AsyncIterable<readonly T[]>): AsyncGenerator<T> {
  for await (const page of pages) yield* page;
}
