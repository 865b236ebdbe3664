import type { GetRunCommandOutput } from '@aws-sdk/client-omics';
import { parseS3Uri } from '../../aws/s3.js';
import {
  findRunDir,
  type HealthOmicsStatus,
  isFinalStatus,
  toExecutionStatus,
} from '../../domain/executions/execution.js';
import type { ExecutionOrigin } from '../../domain/executions/origin.js';
import type { RecordedOrigin } from '../../domain/executions/record.js';
import { joinKey, storageUri } from '../../domain/files/paths.js';
import { EXECUTIONS_FOLDER, nameRunFolder } from '../../domain/runs/runFolder.js';
import { isId, newId } from '../../store/database.js';
import {
  ensureRunOf,
  insertForgottenExecution,
  type KnownRun,
  type KnownStart,
  listMissingReferences,
  matchFlow,
  runOutputUriOf,
} from '../../store/executions/recover.js';
import {
  findStartRule,
  isAtPlace,
  listComputePlaces,
  listFlowsOfWorkflow,
  type RecordPlace,
  type StartRule,
} from '../../store/reconcile/places.js';
import { executionWorkflowId } from '../../workflows/messages/executions.js';
import type { Dependencies } from '../dependencies.js';
import type { ForgottenExecutions } from '../executions/forgottenExecutions.js';
import { toKnownStart } from '../executions/startedExecution.js';
import type { AwsTruth, RunPlace, RunTruth } from './awsTruth.js';
import { type Continuation, type Evidence, isOwnRequest, judgeRun, type Step, toContinuation } from './facts.js';

/** How an execution that the database has forgotten goes back into it. */
interface Forgotten {
  run: string;
  why: string;
  steps: Step[];
  /** The execution as it will be. */
  continuation: Continuation;
  truth: RunTruth | undefined;
  todo?: string;
}

/** Why an execution cannot go back into the database, and what to do. */
interface Undecided {
  run: string;
  undecided: string;
  todo: string;
}

/** What is known of the origin of a forgotten execution, in terms of this database. */
interface Origin {
  origin: ExecutionOrigin;
  known: KnownStart | undefined;
  timeCreated: Date;
  why: string;
}

/** An execution whose record says that it completed, although nothing says which HealthOmics run did so. */
export const LOST_RUN = {
  undecided: 'Its record in the bucket says that it completed, and nothing says which HealthOmics run that was',
  todo: 'Look for its results in the output folder of the execution; to have them in polony, start it again',
};

/** HealthOmics does not say what a run is that may belong to an execution. */
export class UnansweredError extends Error {
  override readonly name = 'UnansweredError';
}

const ambiguousStorage = ({ bucket, prefix }: RecordPlace): Omit<Undecided, 'run'> => ({
  undecided:
    `Several storage connections have the bucket ${bucket} and the prefix ${JSON.stringify(prefix)}, and nothing says ` +
    'which of them the execution used. Different people may see them',
  todo: 'Delete the storage connections that must not show it, run polony reconcile again, and then create them again',
});

const WAITS_FOR_UPLOAD =
  'It waits until a worker has checked the upload of its run again. Start the workers, wait until the run is complete, ' +
  'and run polony reconcile again';

/** Plans how executions that the database has forgotten go back into it. */
export class ForgottenPlanner {
  constructor(
    private readonly db: Dependencies['db'],
    private readonly truth: AwsTruth,
    private readonly forgotten: ForgottenExecutions,
  ) {}

  async plan(evidence: Evidence): Promise<Forgotten | Undecided> {
    const found = (await this.#fromRecord(evidence)) ?? fromTemporal(evidence) ?? (await this.#fromRun(evidence));
    if (found === undefined) return this.#giveUp(evidence);
    if ('undecided' in found) return found;
    const { id, workflow } = evidence;
    const { origin } = found;
    const run = origin.run.runName;
    const missing = await listMissingReferences(this.db, id, origin);
    if (missing.length > 0)
      return {
        run,
        undecided: `It cannot go back into the database: ${missing.join('; ')}`,
        todo: 'Create again what is missing, with the same names, and run polony reconcile again',
      };
    const rule = await findStartRule(this.db, origin.flowId, origin.computeConnectionId);
    const known =
      found.known &&
      (await this.findAnswer(found.known, origin.outputUri, rule!, {
        ids: [...evidence.traces.runs.map((each) => each.id), workflow?.healthOmicsRunId],
        inOutput: () => this.#listRunsInOutput(evidence),
      }));
    const problem = known && findProblem(evidence, origin, known, rule!);
    if (problem !== undefined) return { run, ...problem };
    const runId = known?.run?.runId ?? workflow?.healthOmicsRunId;
    const truth =
      runId === undefined
        ? undefined
        : await judgeRun(this.truth, origin.outputUri, rule!, { runId, uuid: known?.run?.uuid ?? null });
    const status = statusToInsert(truth, runId, workflow?.status);
    return {
      run,
      why: found.why,
      truth,
      continuation: {
        ...continuationOf(id, status, known),
        ...(known === undefined && runId !== undefined && startedAs(runId)),
      },
      steps: [known === undefined ? this.#recoverFromTemporal(id) : this.#insert(id, found, known, status)],
    };
  }

  /**
   * Completes what a record says: where the answer to StartRun was not recorded, other traces may say which run it
   * started.
   * @param where runs of the execution may be found, from the cheapest
   */
  async findAnswer(
    known: KnownStart,
    outputUri: string,
    place: RunPlace,
    where: { ids: readonly (string | undefined)[]; inOutput: () => Promise<string[]> },
  ): Promise<KnownStart> {
    if (known.run !== undefined || known.request === null) return known;
    const earlier = known.earlier.map(({ runId }) => runId);
    const ids = [...where.ids.filter((id) => id !== undefined), ...(await where.inOutput())];
    const newest = await this.findNewestRun(
      outputUri,
      place,
      [...new Set(ids)].filter((id) => !earlier.includes(id)),
    );
    return newest === undefined ? known : { ...known, run: newest.known };
  }

  /**
   * The newest of these runs that belongs to an execution; undefined where none does.
   * @throws UnansweredError where HealthOmics does not say it of one of them
   */
  async findNewestRun(
    outputUri: string,
    place: RunPlace,
    ids: readonly string[],
  ): Promise<{ known: KnownRun; createdAt: number; run: GetRunCommandOutput } | undefined> {
    const found = await Promise.all(ids.map((runId) => judgeRun(this.truth, outputUri, place, { runId, uuid: null })));
    for (const truth of found) if (truth.is === 'unknown') throw new UnansweredError(truth.why);
    const runs = found.flatMap((truth) =>
      truth.is === 'found' && truth.run.outputUri !== undefined
        ? [
            {
              known: toKnownRun(truth.run, outputUri),
              createdAt: truth.run.creationTime?.getTime() ?? 0,
              run: truth.run,
            },
          ]
        : [],
    );
    return runs.sort((one, other) => other.createdAt - one.createdAt)[0];
  }

  async #fromRecord({ id, record, traces, place }: Evidence): Promise<Origin | Undecided | undefined> {
    const recorded: (RecordedOrigin & { time: string }) | undefined = record?.starts[0] ?? record?.end;
    if (record === undefined || recorded === undefined || place === undefined) return undefined;
    const { flow, compute, time } = recorded;
    const run = recorded.origin.run.runName;
    const match = await matchFlow(this.db, recorded.origin, flow, compute);
    if (match === undefined)
      return {
        run,
        undecided:
          `Its flow ${flow.name} (shared workflow ${flow.sharedWorkflowId} of ${flow.workflowOwnerId}, ` +
          `${compute.region}, role ${compute.executionRoleArn}) is not in the database, or not clearly`,
        todo: 'Create the flow again with this name, shared workflow and role, and run polony reconcile again',
      };
    const rule = await findStartRule(this.db, match.flowId, match.computeConnectionId);
    const storageConnectionId = await this.#findStorage(recorded.origin.storageConnectionId, place, traces, rule);
    if (storageConnectionId === undefined) return { run, ...ambiguousStorage(place) };
    const origin = { ...recorded.origin, ...match, storageConnectionId };
    const known = toKnownStart(record, id, origin.outputUri) ?? {
      attempt: 1,
      request: null,
      hasEnded: true,
      earlier: [],
    };
    return { origin, known, timeCreated: timeOf(id) ?? new Date(time), why: 'found in the bucket' };
  }

  /** An execution of a version that kept no records, by its HealthOmics run. */
  async #fromRun(evidence: Evidence): Promise<Origin | Undecided | undefined> {
    const { id, traces, place } = evidence;
    const { marker } = traces;
    if (place === undefined) return undefined;
    const inOutput = await this.#listRunsInOutput(evidence);
    const outputUri = storageUri(place.bucket, place.prefix, EXECUTIONS_FOLDER, id);
    const ids = [...inOutput, ...traces.runs.map((run) => run.id)];
    if (ids.length === 0) return undefined;
    let unanswered: UnansweredError | undefined;
    for (const at of await this.#listPlaces(place, traces)) {
      const newest = await this.findNewestRun(outputUri, at, ids).catch((error: unknown) => {
        if (!(error instanceof UnansweredError)) throw error;
        unanswered ??= error;
        return undefined;
      });
      const origin = newest && (await this.#originOf(newest.run, place, traces));
      if (newest === undefined || origin === undefined) continue;
      if ('undecided' in origin) return origin;
      return {
        origin: { ...origin, trigger: marker === undefined ? 'api' : 'auto', outputUri },
        known: { attempt: 1, request: null, run: newest.known, earlier: [] },
        timeCreated: timeOf(id) ?? newest.run.creationTime ?? new Date(),
        why: 'found by its HealthOmics run',
      };
    }
    if (unanswered !== undefined) throw unanswered;
    return undefined;
  }

  /** Where the runs of a bucket's executions may be, the likeliest first. */
  async #listPlaces(place: RecordPlace, { runs }: Evidence['traces']): Promise<RunPlace[]> {
    if (runs.length > 0) return [runs[0]!.place];
    const places = await listComputePlaces(this.db);
    const isLikely = (each: RunPlace): number => (each.providerId === place.providerId ? 0 : 1);
    return places.sort((one, other) => isLikely(one) - isLikely(other));
  }

  async #listRunsInOutput({ id, place }: Pick<Evidence, 'id' | 'place'>): Promise<string[]> {
    return place === undefined ? [] : this.truth.listRunsInOutput(place, id);
  }

  async #originOf(
    { workflowId, roleArn, parameters, name, tags }: GetRunCommandOutput,
    place: RecordPlace,
    traces: Evidence['traces'],
  ): Promise<ExecutionOrigin | Undecided | undefined> {
    const flows = await listFlowsOfWorkflow(this.db, {
      sharedWorkflowId: workflowId ?? '',
      executionRoleArn: roleArn ?? '',
    });
    const named = flows.filter((flow) => name?.startsWith(`${flow.name} `));
    const flow = flows.find((each) => each.id === traces.marker?.flowId) ?? (named.length > 0 ? named : flows)[0];
    const runDir = flow && findRunDir(parameters, flow.runDirName);
    const folder = runDir === undefined ? undefined : belowPrefix(runDir, place);
    const run = folder === undefined ? undefined : nameRunFolder(folder);
    if (flow === undefined || run === undefined) return undefined;
    const runId = tags?.['polony:run'] ?? '';
    const rule = await findStartRule(this.db, flow.id, flow.computeConnectionId);
    const tagged = tags?.['polony:storage-connection'] ?? '';
    const storageConnectionId = await this.#findStorage(tagged, place, traces, rule);
    if (storageConnectionId === undefined) return { run: run.runName, ...ambiguousStorage(place) };
    return {
      name: name ?? `${flow.name} ${run.runName}`,
      flowId: flow.id,
      computeConnectionId: flow.computeConnectionId,
      storageConnectionId,
      run: { ...run, id: isId(runId) ? runId : newId(), discovered: true },
      trigger: 'api',
      startedBy: 'unknown',
      ownParameters: {},
      manifest: null,
      outputUri: '',
      relaunchOf: null,
    };
  }

  /**
   * The storage connection of an execution. Several may have the same bucket and prefix, with different people who may
   * see them.
   * @param known what its record or its run says
   * @returns undefined where nobody can tell
   */
  async #findStorage(
    known: string,
    place: RecordPlace,
    { places }: Evidence['traces'],
    rule: StartRule | undefined,
  ): Promise<string | undefined> {
    if (await isAtPlace(this.db, known, place)) return known;
    if (places.length <= 1) return place.id;
    const ofProvider = places.filter(({ providerId }) => providerId === rule?.providerId);
    return ofProvider.length === 1 ? ofProvider[0]!.id : undefined;
  }

  #insert(id: string, { origin, timeCreated }: Origin, known: KnownStart, status: Continuation['status']): Step {
    return async () => {
      const run = await ensureRunOf(this.db, id, origin);
      if (run === undefined) return 'What it refers to has gone from the database meanwhile';
      const execution = {
        id,
        origin,
        workflowId: executionWorkflowId(id),
        status: status as 'RUNNING',
        healthOmicsRunId: undefined,
        timeStarted: timeCreated,
        known,
      };
      // As in `ForgottenExecutions`: without a run, an execution reads the upload of its run, which is checked first.
      const isUnsent = known.run === undefined && known.request === null && known.hasEnded !== true;
      if (isUnsent && run.uploadState === 'uploading') return WAITS_FOR_UPLOAD;
      if (await insertForgottenExecution(this.db, execution, run.id, 'bucket')) return undefined;
      // Its flow has started automatically for the run meanwhile. It may do so once only, and this one is history.
      const asRequested = { ...execution, origin: { ...origin, trigger: 'api' as const } };
      await insertForgottenExecution(this.db, asRequested, run.id, 'bucket');
      return undefined;
    };
  }

  #recoverFromTemporal(id: string): Step {
    return async () => {
      const recovery = await this.forgotten.recover(id);
      return recovery === 'recovered' ? undefined : WAITS_FOR_UPLOAD;
    };
  }

  #giveUp({ id, workflow, traces, record, unreadable }: Evidence): Undecided {
    const { marker } = traces;
    const run = marker?.run ?? '';
    if (unreadable !== undefined)
      return {
        run,
        undecided: `Its record in the bucket cannot be read: ${unreadable}`,
        todo: 'Make the record readable (permissions, POLONY_ENCRYPTION_KEYS), and run polony reconcile again',
      };
    if (workflow !== undefined)
      return {
        run,
        undecided: 'An older version of polony started its workflow, which does not say what the execution is',
        todo: `temporal workflow show --workflow-id ${executionWorkflowId(id)}`,
      };
    const what =
      marker === undefined
        ? 'The bucket has a folder of it, but neither Temporal nor HealthOmics knows what it is'
        : `The flow ${marker.flow} was started for the run ${marker.run} at ${marker.time}, and nothing says which ` +
          'HealthOmics run that is';
    const console =
      marker === undefined ? 'with this output folder' : `named "${marker.flow} ${marker.run}" from that time on`;
    return {
      run,
      undecided: record === undefined ? what : 'Its record in the bucket is damaged',
      todo: `Look in the HealthOmics console for a run ${console}; polony starts the flow for this run only if you ask`,
    };
  }
}

/** Why the StartRun of a record can neither be believed nor repeated; undefined where it can. */
function findProblem(
  { id, record, workflow }: Evidence,
  origin: ExecutionOrigin,
  known: KnownStart,
  rule: StartRule,
): Omit<Undecided, 'run'> | undefined {
  if (known.run !== undefined) return undefined;
  if (record?.end?.status === 'COMPLETED') return LOST_RUN;
  const isRepeated = known.request !== null && known.hasEnded !== true && workflow === undefined;
  if (!isRepeated || isOwnRequest(id, origin, known, rule)) return undefined;
  return {
    undecided: 'Its record in the bucket has a StartRun for another workflow, role or output than its flow has',
    todo: `Set the flow back to what it was, or look in HealthOmics for a run with the output ${origin.outputUri}`,
  };
}

/** Ids are UUIDs of version 7, which begin with the time of their creation in milliseconds (RFC 9562). */
function timeOf(id: string): Date | undefined {
  if (id[14] !== '7') return undefined;
  const time = new Date(parseInt(id.replaceAll('-', '').slice(0, 12), 16));
  return time.getTime() > Date.now() ? undefined : time;
}

function belowPrefix(uri: string, { bucket, prefix }: RecordPlace): string | undefined {
  try {
    const { bucket: name, key } = parseS3Uri(uri);
    const root = prefix === '' ? '' : `${joinKey(prefix)}/`;
    return name === bucket && key.startsWith(root) ? key.slice(root.length) : undefined;
  } catch {
    return undefined;
  }
}

function toKnownRun(run: GetRunCommandOutput & { id?: string }, outputUri: string): KnownRun {
  const runId = run.id ?? '';
  return {
    runId,
    uuid: run.uuid ?? null,
    arn: run.arn ?? null,
    runOutputUri: run.runOutputUri ?? runOutputUriOf(outputUri, runId),
  };
}

function statusToInsert(truth: RunTruth | undefined, runId: string | undefined, known: string | undefined): string {
  if (runId === undefined) return known ?? 'INITIALIZED';
  if (truth?.is !== 'found') return 'PENDING';
  const status = toExecutionStatus(truth.run.status as HealthOmicsStatus);
  // Its workflow records the end, once it has the results.
  return isFinalStatus(status) ? 'RUNNING' : status;
}

function continuationOf(id: string, status: string, known: KnownStart | undefined): Continuation {
  return {
    id,
    status,
    attempt: 1,
    healthOmics: null,
    startState: 'none',
    blocked: null,
    adoptions: 0,
    cancel: null,
    workflowStarted: true,
    ...(known !== undefined && toContinuation(known)),
  };
}

const startedAs = (runId: string): Pick<Continuation, 'healthOmics' | 'startState'> => ({
  startState: 'started',
  healthOmics: { runId, uuid: null, arn: null, status: null, runOutputUri: null },
});

function fromTemporal({ id, workflow }: Evidence): Origin | undefined {
  if (workflow?.origin === undefined) return undefined;
  return {
    origin: workflow.origin,
    known: undefined,
    timeCreated: timeOf(id) ?? workflow.timeStarted,
    why: 'found in Temporal',
  };
}
