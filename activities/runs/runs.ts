import type { S3Client } from '@aws-sdk/client-s3';
import { activityInfo, Context } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { type AwsErrorKind, classifyAwsError } from '../../aws/errors.js';
import { hasObjects, listFolder, listFolders, listObjects, readText } from '../../aws/s3.js';
import { parseAvitiRunStats, type RunMetrics } from '../../domain/runs/instrumentMetrics.js';
import { joinKey } from '../../domain/aws.js';
import {
  type Completeness,
  CycleTally,
  whyBases2FastqRejects,
  whyFlowRejects,
  type RunFolderContent,
} from '../../domain/runs/completeness.js';
import { errorMessage } from '../../domain/errors.js';
import { isFinalStatus } from '../../domain/executions/execution.js';
import { EXECUTIONS_FOLDER, parseRunFolderName } from '../../domain/runs/runFolder.js';
import { parseRunParameters, type RunParameters } from '../../domain/runs/runParameters.js';
import { matchesAutoStart } from '../../domain/connections/runSettings.js';
import { parseRunUploaded, RUN_UPLOADED_FILE, type RunUploaded } from '../../domain/runs/runUploaded.js';
import { listUnattendedBuckets } from '../../store/grants.js';
import { hasRecentEvents, recordGenuineEvent } from '../../store/events.js';
import { listAutoStartFlows } from '../../store/connections/flows.js';
import { listCancelsToSignal, markCancelSignalled } from '../../store/executions/cancel.js';
import { type ExecutionContext, findExecution } from '../../store/executions/load.js';
import { closeStart, markWorkflowStarted } from '../../store/executions/start.js';
import {
  countStartedExecutions,
  filterOpenExecutions,
  listExecutionsToStart,
  listExecutionsWaitingForUpload,
  listStartedExecutionIds,
  recordAdoption,
} from '../../store/executions/sweep.js';
import { updateExecution } from '../../store/executions/update.js';
import { findKnownRuns, insertRuns, listRegisteredRuns } from '../../store/runs/discovery.js';
import { findRun, type RunContext } from '../../store/runs/load.js';
import { reopenRun, type RunChange, updateRun } from '../../store/runs/update.js';
import { listUnverified } from '../../store/verification/resources.js';
import { createExecution } from '../../store/executions/create.js';
import type { DiscoverRunsInput, RunUploadEnded } from '../../workflows/messages.js';
import type { Dependencies } from '../dependencies.js';
import { getBlocked, toActivityFailure } from '../failures.js';
import { withHeartbeat } from '../heartbeat.js';
import { sweepDeliveries } from '../webhooks/deliver.js';

/** A page of new runs is handed to Temporal this many at a time. */
const STARTS_AT_ONCE = 10;
/** The longest time between two looks at an upload of which events tell. */
const RARELY_MS = 600_000;
/** How long reading has to be denied before it is done without: a changed policy takes a while to hold everywhere. */
const DENIED_MS = 300_000;
/** Figures for each cycle of each read and lane take some megabytes. */
const MOST_STATS_BYTES = 32 * 1024 * 1024;
/** Trouble that another try may not meet. */
const PASSING: ReadonlySet<AwsErrorKind> = new Set<AwsErrorKind>([
  'expired',
  'throttled',
  'unreachable',
  'network',
  'internal',
]);
/** An execution that was accepted later may not be in Temporal's visibility yet. */
const LOST_AFTER_MS = 60_000;

/** The activities of `discoverRuns`, `runUpload` and `sweep`. All of them can be repeated. */
export function createRunActivities({ db, aws, orchestrator, settings }: Dependencies) {
  function notYet(message: string, rarely = false): ApplicationFailure {
    const usual = settings.uploadPollSeconds * 1000;
    return ApplicationFailure.create({
      type: 'NotYet',
      message,
      nextRetryDelay: rarely ? Math.max(usual, Math.min(10 * usual, RARELY_MS)) : usual,
      category: ApplicationFailureCategory.BENIGN,
    });
  }

  async function load(runId: string): Promise<RunContext> {
    const run = await findRun(db, runId);
    if (run === undefined) throw ApplicationFailure.nonRetryable(`Run ${runId} is not in the store`, 'RunUnknown');
    return run;
  }

  /** What lies in the root of a run folder: one request, since run folders hold a dozen files there. */
  async function contentOf(s3: S3Client, bucket: string, folder: string): Promise<RunFolderContent> {
    for await (const page of listFolder(s3, bucket, `${folder}/`)) return page;
    return { folders: [], files: [] };
  }

  /** Lists the `BaseCalls`: a file for each read and cycle, so some hundreds however large the run is. */
  async function tally(
    s3: S3Client,
    bucket: string,
    folder: string,
    parameters: RunParameters | null,
  ): Promise<{ objects: number; bytes: number; completeness: Completeness }> {
    const cycles = new CycleTally(parameters?.cycles ?? {});
    let [objects, bytes] = [0, 0];
    for await (const page of listObjects(s3, bucket, `${folder}/BaseCalls/`)) {
      for (const object of page) {
        objects++;
        bytes += object.size;
        cycles.add(object.key.slice(folder.length + 1), object.size);
      }
    }
    return { objects, bytes, completeness: cycles.result() };
  }

  /** Notes how far an upload is, where that has changed. @returns what to say of one that has stalled. */
  async function noteProgress(
    run: RunContext,
    seen: Awaited<ReturnType<typeof tally>>,
    missing: boolean,
  ): Promise<string> {
    const { objects, bytes, completeness } = seen;
    const before = run.progress;
    const grown =
      before === null ||
      before.objects !== objects ||
      before.bytes !== bytes ||
      before.expectedCycles !== completeness.expected;
    const timeGrown = grown ? new Date().toISOString() : before.timeGrown;
    const minutes = (Date.now() - Date.parse(timeGrown)) / 60_000;
    const stalled = minutes >= settings.stalledMinutes;
    if (grown || before.stalled !== stalled || missing !== (before.missingCount !== undefined)) {
      await updateRun(db, run.id, {
        progress: {
          objects,
          bytes,
          cycles: completeness.present,
          expectedCycles: completeness.expected,
          ...(missing && { missing: completeness.missing, missingCount: completeness.missingCount }),
          timeGrown,
          stalled,
        },
      });
    }
    const cycles =
      completeness.expected === 0 ? '' : `; ${completeness.present} of ${completeness.expected} cycles are there`;
    return `${cycles}${stalled ? `; the upload has stalled: nothing has come for ${Math.floor(minutes)} minutes, look at the instrument and its connection` : ''}`;
  }

  async function lookAt(run: RunContext, attempt: number): Promise<RunUploadEnded> {
    const { bucket, prefix, region, providerId } = run.storage;
    const s3 = aws.s3(providerId, region);
    const folder = joinKey(prefix, run.parentPath, run.runFolder);
    let parameters = run.parameters;
    const readParameters = async (): Promise<void> => {
      const text = await readText(s3, bucket, `${folder}/RunParameters.json`);
      if (text === undefined || text.trim() === '') return;
      let read: RunParameters;
      try {
        read = parseRunParameters(text);
      } catch (error) {
        throw notYet(errorMessage(error));
      }
      if (JSON.stringify(read) === JSON.stringify(parameters)) return;
      parameters = read;
      await updateRun(db, run.id, { parameters });
    };
    const refuse = async (reason: string, known: RunChange = {}): Promise<RunUploadEnded> => {
      await updateRun(db, run.id, {
        ...known,
        ...(known.checked === 'content' && (await measured(s3, bucket, folder))),
        uploadState: 'refused',
        description: reason,
        blocked: null,
        timeCompleted: new Date(),
      });
      return { usable: false, reason };
    };
    let text: string | undefined;
    try {
      if (parameters === null) await readParameters();
      text = await readText(s3, bucket, `${folder}/${RUN_UPLOADED_FILE}`, 1024 * 1024);
    } catch (error) {
      // s3:GetObject is optional in the vendor's table, and so is reading. A denial may pass, so it has to come again.
      if (classifyAwsError(error).kind !== 'denied' || !(await mayOnlyList(s3, bucket, folder))) throw error;
      if (run.timeDenied === null) await updateRun(db, run.id, { timeDenied: new Date() });
      if (Date.now() - (run.timeDenied?.getTime() ?? Date.now()) < DENIED_MS)
        throw notYet(
          'The files of the run may not be read (s3:GetObject); trying again for 5 minutes before going by what can be listed',
        );
      const content = await contentOf(s3, bucket, folder);
      const other = whyBases2FastqRejects(null, undefined, content);
      if (other !== undefined) return refuse(other, { checked: 'presence' });
      if (!content.files.includes(RUN_UPLOADED_FILE)) {
        throw notYet(
          `RunUploaded.json is not there yet: the instrument is still uploading${await noteProgress(run, await tally(s3, bucket, folder, null), false)}`,
        );
      }
      const reason =
        'RunUploaded.json is there; neither the outcome of the run nor its cycles were checked, since the provider may not read them (s3:GetObject); flows whose acceptUnverified is false do not analyse it';
      await updateRun(db, run.id, {
        uploadState: 'complete',
        checked: 'presence',
        hasManifest: content.files.includes('RunManifest.csv'),
        blocked: null,
        description: reason,
        timeCompleted: new Date(),
      });
      return { usable: true, reason };
    }
    if (run.timeDenied !== null) await updateRun(db, run.id, { timeDenied: null });
    if (text === undefined) {
      const seen = await tally(s3, bucket, folder, parameters);
      if (seen.objects === 0 && attempt % 10 === 0 && !(await hasObjects(s3, bucket, `${folder}/`))) {
        await updateRun(db, run.id, {
          uploadState: 'vanished',
          description: 'The run folder is no longer in the bucket',
          timeCompleted: new Date(),
        });
        return { usable: false, reason: 'The run folder is no longer in the bucket' };
      }
      throw notYet(
        `RunUploaded.json is not there yet: the instrument is still uploading${await noteProgress(run, seen, false)}`,
        await hasRecentEvents(db, `s3/${bucket}`),
      );
    }
    let uploaded: RunUploaded | undefined;
    try {
      uploaded = parseRunUploaded(text);
    } catch (error) {
      throw notYet(
        `${errorMessage(error)}; waiting for it to be replaced${await noteProgress(run, await tally(s3, bucket, folder, parameters), false)}`,
      );
    }
    if (uploaded === undefined)
      throw notYet(
        `RunUploaded.json is empty: its transfer has not finished, or it is damaged; waiting${await noteProgress(run, await tally(s3, bucket, folder, parameters), false)}`,
      );
    const known = { outcome: uploaded.outcome, instrumentId: uploaded.instrumentId, checked: 'content' as const };
    // Once more at the end: it may have been replaced since it was first seen.
    await readParameters();
    const other = whyBases2FastqRejects(parameters, uploaded);
    if (other !== undefined) return refuse(other, known);
    // What was stopped is not whole, and what is not known is not guessed as success.
    if (uploaded.outcome !== 'completed' && uploaded.outcome !== 'failed')
      return refuse(
        `The instrument ended the run with ${uploaded.outcomeText}; only completed runs are analysed`,
        known,
      );
    if (parameters === null) throw notYet('RunUploaded.json is there but RunParameters.json is not; waiting for it');
    if (parameters.cycles === undefined)
      return refuse('RunParameters.json names no cycles, so it cannot be told whether the run is whole', known);
    const seen = await tally(s3, bucket, folder, parameters);
    const { expected, missing, missingCount } = seen.completeness;
    if (expected === 0)
      return refuse(
        'RunParameters.json names no cycle of a read that is known, so it cannot be told whether the run is whole',
        known,
      );
    if (missingCount > 0) {
      const lacks = `${missingCount} of ${expected} files are missing or empty: ${missing.slice(0, 5).join(', ')}${missingCount > 5 ? ', …' : ''}`;
      const slow = await noteProgress(run, seen, true);
      // A run that has failed is not whole by chance; nothing more will come.
      if (uploaded.outcome === 'failed')
        return refuse(
          `The instrument ended the run with ${uploaded.outcomeText}, and ${lacks}; it cannot be analysed`,
          known,
        );
      throw notYet(`RunUploaded.json is there but ${lacks}; waiting for them${slow}`);
    }
    await noteProgress(run, seen, false);
    const hasManifest = await hasObjects(s3, bucket, `${folder}/RunManifest.csv`);
    const reason =
      uploaded.outcome === 'completed'
        ? 'The run is complete'
        : `The instrument ended the run with ${uploaded.outcomeText}, though all ${expected} cycles are there; only flows with acceptFailedOutcome analyse it`;
    await updateRun(db, run.id, {
      ...known,
      ...(await measured(s3, bucket, folder)),
      uploadState: 'complete',
      hasManifest,
      blocked: null,
      description: reason,
      timeCompleted: new Date(),
    });
    return { usable: true, reason };
  }

  /** What the instrument has measured, once the run has ended. A run without it, or with one that cannot be read, is no worse a run. */
  async function measured(s3: S3Client, bucket: string, folder: string): Promise<{ instrumentMetrics?: RunMetrics }> {
    try {
      // In the root as run folders have it, or where the vendor's table of output files says.
      const text =
        (await readText(s3, bucket, `${folder}/AvitiRunStats.json`, MOST_STATS_BYTES)) ??
        (await readText(s3, bucket, `${folder}/Stats/AvitiRunStats.json`, MOST_STATS_BYTES));
      return text === undefined ? {} : { instrumentMetrics: parseAvitiRunStats(text) };
    } catch (error) {
      if (PASSING.has(classifyAwsError(error).kind)) throw error;
      Context.current().log.warn('What the instrument has measured is not known', {
        runFolder: folder,
        reason: errorMessage(error),
      });
      return {};
    }
  }

  /** Whether the folder may be listed, so that only reading is denied. */
  async function mayOnlyList(s3: S3Client, bucket: string, folder: string): Promise<boolean> {
    try {
      await hasObjects(s3, bucket, `${folder}/`);
      return true;
    } catch {
      return false;
    }
  }

  /** Does things that have nothing to do with each other, so that one that cannot be done keeps no other from being done. */
  function oneByOne() {
    const failed: string[] = [];
    return {
      async try(what: string, work: () => Promise<unknown>): Promise<void> {
        try {
          await work();
        } catch (error) {
          // Temporal's client says only that it failed; what the server said lies beneath.
          const cause = error instanceof Error && error.cause !== undefined ? `: ${errorMessage(error.cause)}` : '';
          failed.push(`${what}: ${errorMessage(error)}${cause}`);
        }
      },
      /** @throws when something could not be done, so that it is tried again. */
      finish(): void {
        if (failed.length > 0)
          throw ApplicationFailure.create({
            type: 'HandOverFailed',
            message: `${failed.length} could not be handed over: ${failed.slice(0, 10).join('; ')}`,
          });
      },
    };
  }

  /** What an execution is told: what the instrument ended as failed, and what could not be checked, is fit for flows that accept it only. */
  function endedFor({ flow, run }: ExecutionContext, ended: RunUploadEnded): RunUploadEnded {
    const unfit = ended.usable ? whyFlowRejects(flow, run) : undefined;
    return unfit === undefined ? ended : { usable: false, reason: `The run cannot be analysed: ${unfit}` };
  }

  /** How often a workflow that does not stay is started again. */
  const ADOPTIONS = 3;

  /**
   * An execution whose workflow was closed from outside (terminated, timed out, failed) or is no longer known to Temporal: nobody
   * watches its HealthOmics run any more. The run is adopted again or cancelled, as the setting says; one that was never
   * started ends with its workflow, unless Temporal lost that.
   */
  async function closed(executionId: string, lost: boolean): Promise<void> {
    const execution = await findExecution(db, executionId);
    if (execution === undefined || isFinalStatus(execution.status)) return;
    const unstarted = execution.healthOmics === null && execution.startState !== 'sent';
    // Closed once and started again since, it is still among those that were closed in the last day.
    if (!lost && (await orchestrator.isRunning(executionId))) return;
    if ((unstarted ? lost : settings.closedWorkflows === 'adopt') && execution.adoptions < ADOPTIONS) {
      if ((await recordAdoption(db, executionId)) !== undefined) await orchestrator.adoptExecution(execution);
      return;
    }
    if (!unstarted && execution.adoptions < 2 * ADOPTIONS) {
      // By the workflow, which asks once more after a StartRun that was not answered, and sees the run to its end.
      if ((await recordAdoption(db, executionId)) !== undefined)
        await orchestrator.adoptExecution(execution, {
          requestedBy: 'polony',
          reason: 'Its workflow was closed from outside',
        });
      return;
    }
    if (unstarted && !(await closeStart(db, executionId))) return;
    const what = unstarted
      ? 'no HealthOmics run was started'
      : `its HealthOmics run ${execution.healthOmics?.runId ?? '(started, but its id is not known)'} could neither be watched nor cancelled, since its workflow was closed again and again; look at it in the HealthOmics console`;
    await updateExecution(db, executionId, {
      status: 'FAILED',
      statusDescription: `Its workflow was closed from outside; ${what}`,
      blocked: null,
      error: {
        type: 'WorkflowClosed',
        message: `Its workflow was closed from outside (terminated, timed out or failed); ${what}`,
      },
      timeCompleted: new Date(),
    });
  }

  /** Executions under way that Temporal knows nothing of. Looked for only where the numbers differ. */
  async function lostExecutions(before: Date): Promise<string[]> {
    if ((await countStartedExecutions(db, before)) <= (await orchestrator.countRunning())) return [];
    const lost: string[] = [];
    for (let after: string | undefined; ;) {
      const ids = await listStartedExecutionIds(db, before, after);
      if (ids.length === 0) return lost;
      Context.current().heartbeat();
      lost.push(...(await orchestrator.unknownAmong(ids)));
      after = ids.at(-1);
    }
  }

  /** See `handOver`. */
  async function handOverAll(): Promise<{ executions: number; storageConnections: number }> {
    const each = oneByOne();
    const aWhileAgo = new Date(Date.now() - 10_000);
    const executions = await listExecutionsToStart(db, { createdBefore: aWhileAgo });
    for (const execution of executions) {
      await each.try(`execution ${execution.id}`, async () => {
        await orchestrator.startExecution(execution);
        await markWorkflowStarted(db, execution.id);
      });
    }
    for (const execution of await listCancelsToSignal(db, aWhileAgo)) {
      await each.try(`cancel of execution ${execution.id}`, async () => {
        await orchestrator.cancelExecution(execution, {
          requestedBy: execution.cancel?.requestedBy,
          reason: execution.cancel?.reason ?? undefined,
        });
        await markWorkflowStarted(db, execution.id);
        await markCancelSignalled(db, execution.id);
      });
    }
    // An execution that still waits although its run's upload has ended was created while that was being written.
    const late = await db
      .selectFrom('executions as e')
      .innerJoin('runs as r', 'r.id', 'e.run_id')
      .select(['r.id', 'r.upload_state', 'r.upload_description'])
      .distinct()
      .where('e.status', '=', 'UNTRIGGERED')
      .where('r.upload_state', '!=', 'uploading')
      .execute();
    for (const run of late) {
      for (const execution of await listExecutionsWaitingForUpload(db, run.id)) {
        await each.try(`execution ${execution.id}`, () =>
          orchestrator.endWaiting(
            execution,
            endedFor(execution, { usable: run.upload_state === 'complete', reason: run.upload_description }),
          ),
        );
      }
    }
    for (const id of await filterOpenExecutions(db, await orchestrator.closedExecutions()))
      await each.try(`execution ${id}, whose workflow was closed`, () => closed(id, false));
    await each.try('executions that Temporal has lost', async () => {
      for (const id of await lostExecutions(new Date(Date.now() - LOST_AFTER_MS)))
        await each.try(`execution ${id}, whose workflow is lost`, () => closed(id, true));
    });
    await each.try('deliveries of webhooks', () => sweepDeliveries(db, orchestrator));
    for (const left of await listUnattendedBuckets(db))
      await each.try(`policy of ${left.bucket}`, () =>
        orchestrator.settleAccess({ bucket: left.bucket, storageConnectionName: left.storage_connection }),
      );
    for (const resource of await listUnverified(db, aWhileAgo))
      await each.try(`verification of ${resource.name}`, () => orchestrator.verify(resource));
    for (const run of await listRegisteredRuns(db, aWhileAgo))
      await each.try(`upload of ${run.runName}`, () => orchestrator.startRunUpload(run));
    const connections = await db
      .selectFrom('storage_connections')
      .select(['id', 'name'])
      .where('use_for_run_upload', '=', true)
      .where('time_deleted', 'is', null)
      .execute();
    for (const connection of connections) {
      await each.try(`schedule of ${connection.name}`, () =>
        orchestrator.ensureDiscovery(
          { storageConnectionId: connection.id, storageConnectionName: connection.name },
          settings.discoverSeconds,
          false,
        ),
      );
    }
    each.finish();
    return { executions: executions.length, storageConnections: connections.length };
  }

  return {
    /**
     * Lists the run folders of a storage connection, one request per 1,000 folders, and starts following those that are new; of a
     * single one where an event tells of it. What lies in run folders is not looked at.
     */
    async discoverRunFolders(
      input: DiscoverRunsInput,
    ): Promise<{ instruments: number; runFolders: number; started: number }> {
      const id = input.storageConnectionId;
      const storage = await db.selectFrom('storage_connections').selectAll().where('id', '=', id).executeTakeFirst();
      const found = { instruments: 0, runFolders: 0, started: 0 };
      if (storage === undefined || storage.time_deleted !== null || !storage.use_for_run_upload) {
        // Its schedule is left over from a moment when Temporal could not be reached.
        await orchestrator.removeDiscovery(id);
        return found;
      }
      const s3 = aws.s3(storage.provider_id, storage.region);
      const troubles: unknown[] = [];
      const fail = async (description: string): Promise<void> => {
        // Written when it changes only: this runs every minute, for each connection.
        if (storage.status !== 'FAILED' || storage.status_description !== description)
          await db
            .updateTable('storage_connections')
            .set({ status: 'FAILED', status_description: description })
            .where('id', '=', id)
            .execute();
      };

      /** Follows those of these folders that are not known, or whose upload goes on; a run that had vanished is there again. */
      async function follow(parentPath: string, folders: readonly string[]): Promise<number> {
        const instrument = parentPath.slice(parentPath.lastIndexOf('/') + 1);
        const runs = folders.flatMap((folder) => {
          const name = parseRunFolderName(folder, instrument);
          return name === undefined ? [] : [{ folder, runName: name.runName }];
        });
        found.runFolders += runs.length;
        const known = await findKnownRuns(
          db,
          id,
          parentPath,
          runs.map((run) => run.folder),
        );
        const inserted = await insertRuns(
          db,
          id,
          parentPath,
          instrument,
          runs.filter((run) => !known.has(run.folder)),
        );
        for (const run of known.values())
          if (run.uploadState === 'vanished' && (await reopenRun(db, run.id))) run.uploadState = 'uploading';
        const open = [...known, ...inserted].filter(([, run]) => run.uploadState === 'uploading');
        for (let at = 0; at < open.length; at += STARTS_AT_ONCE) {
          const started = await Promise.all(
            open.slice(at, at + STARTS_AT_ONCE).map(([runFolder, run]) =>
              orchestrator.startRunUpload({
                runId: run.id,
                storageConnectionId: id,
                storageConnectionName: storage!.name,
                instrumentName: instrument,
                parentPath,
                runFolder,
                runName: run.runName,
              }),
            ),
          );
          found.started += started.filter(Boolean).length;
          Context.current().heartbeat(found);
        }
        return runs.length;
      }

      /** @param levels of folders between this one and those of the instruments */
      async function search(parentPath: string, levels: number): Promise<void> {
        const below = joinKey(storage!.prefix, parentPath);
        let runs = 0;
        try {
          for await (const folders of listFolders(s3, storage!.bucket, below === '' ? '' : `${below}/`)) {
            Context.current().heartbeat(found);
            if (levels < 0) runs += await follow(parentPath, folders);
            else
              for (const folder of folders)
                if (parentPath !== '' || folder !== EXECUTIONS_FOLDER)
                  await search(parentPath === '' ? folder : `${parentPath}/${folder}`, levels - 1);
          }
        } catch (error) {
          if (parentPath === '' || Context.current().cancellationSignal.aborted) throw error;
          // One folder that cannot be listed must not hide the runs of all others.
          troubles.push(error);
        }
        if (runs > 0) found.instruments++;
      }

      try {
        await aws.use(storage.provider_id, async () => {
          if (input.only === undefined) await search('', storage.run_depth);
          else if (
            await hasObjects(
              s3,
              storage.bucket,
              `${joinKey(storage.prefix, input.only.parentPath, input.only.runFolder)}/${RUN_UPLOADED_FILE}`,
            )
          )
            await follow(input.only.parentPath, [input.only.runFolder]);
          if (troubles.length > 0) throw troubles[0] as Error;
        });
      } catch (error) {
        const failure = toActivityFailure(error, {
          action: 's3:ListBucket',
          resource: `arn:aws:s3:::${storage.bucket}`,
          whenNotFound: "Check the storage connection's bucket and region.",
          scope: { bucket: storage.bucket, prefix: storage.prefix },
        });
        const blocked = getBlocked(failure);
        if (blocked !== undefined) await fail(`${blocked.message} ${blocked.remedy}`);
        throw failure;
      }
      if (input.only !== undefined) {
        if (found.started > 0) await recordGenuineEvent(db, `s3/${storage.bucket}`).catch(() => undefined);
        return found;
      }
      // Verification says more than that the search went through; after a failure it is asked again.
      if (storage.status === 'FAILED' || storage.status === 'UNSPECIFIED')
        await orchestrator.verify({ kind: 'storageConnection', id, name: storage.name });
      await db.updateTable('storage_connections').set({ time_used: new Date() }).where('id', '=', id).execute();
      return found;
    },

    /**
     * Looks once whether a run's upload has ended; while it has not, fails as `NotYet` with the time of the next look, which
     * costs no history. `probing`: the workflow waits for a person; say when there is nothing to wait for any more.
     */
    async watchUpload(runId: string, probing: boolean, byEvent = false): Promise<RunUploadEnded> {
      const run = await load(runId);
      if (run.uploadState === 'complete') return { usable: true, reason: run.description };
      if (run.uploadState !== 'uploading') return { usable: false, reason: `The run was ${run.uploadState}` };
      if (run.storage.deleted) {
        await updateRun(db, runId, {
          uploadState: 'vanished',
          description: 'The storage connection was deleted',
          timeCompleted: new Date(),
        });
        return { usable: false, reason: 'The storage connection was deleted' };
      }
      if (!run.storage.useForRunUpload && run.discovered) {
        const paused =
          'The storage connection is not used for run upload any more; the run is looked at again once it is';
        await updateRun(db, runId, { description: paused });
        throw notYet(paused);
      }
      const { bucket, prefix } = run.storage;
      try {
        const ended = await withHeartbeat(() =>
          aws.use(run.storage.providerId, () => lookAt(run, activityInfo().attempt)),
        );
        if (byEvent && ended.usable && activityInfo().attempt === 1)
          await recordGenuineEvent(db, `s3/${bucket}`).catch(() => undefined);
        return ended;
      } catch (error) {
        const failure = toActivityFailure(error, {
          action: 's3:GetObject',
          resource: `arn:aws:s3:::${bucket}/${joinKey(prefix, '*')}`,
          scope: { bucket, prefix },
        });
        const blocked = getBlocked(failure);
        await updateRun(db, runId, { blocked: blocked ?? null, description: failure.message });
        if (probing && failure.type === 'NotYet')
          throw ApplicationFailure.nonRetryable('No longer blocked', 'Unblocked');
        throw failure;
      }
    },

    /** Gives up on an upload that did not end in time. */
    async giveUpUpload(runId: string, reason: string): Promise<void> {
      const { progress } = await load(runId);
      const lacks =
        progress?.missing === undefined
          ? ''
          : `; ${progress.missingCount} files are missing or empty: ${progress.missing.join(', ')}`;
      await updateRun(db, runId, {
        uploadState: 'refused',
        description: `${reason}${lacks}`,
        blocked: null,
        timeCompleted: new Date(),
      });
    },

    /** Starts what waits for a run: the flows assigned to its storage connection (once each) and executions that were created while it uploaded. */
    async startFlows(runId: string, ended: RunUploadEnded): Promise<{ executions: string[] }> {
      const run = await load(runId);
      if (ended.usable) {
        const runName = run.parameters?.runName ?? run.runName;
        const flows = (run.discovered ? await listAutoStartFlows(db, run.storageConnectionId) : []).filter(
          (flow) =>
            whyFlowRejects(flow, run) === undefined &&
            matchesAutoStart(flow.filter, { instrumentName: run.instrumentName, runName }),
        );
        await db.transaction().execute(async (transaction) => {
          for (const flow of flows) {
            const created = await createExecution(transaction, {
              flow,
              run: {
                id: run.id,
                name: runName,
                storageConnectionId: run.storageConnectionId,
                uploadState: 'complete',
                instrumentRunId: run.parameters?.runId,
              },
              storage: run.storage,
              trigger: 'auto',
              startedBy: 'polony',
            });
            // Another execution costs money, and the results of the first are there. To repeat it, a person asks for it.
            if (created.id === undefined && created.startedBefore !== undefined)
              await updateRun(transaction, runId, {
                description: `The run is complete; ${flow.name} was started for it before (execution ${created.startedBefore}), so not again by itself`,
              });
          }
        });
      }
      const executions: string[] = [];
      const each = oneByOne();
      for (const execution of await listExecutionsWaitingForUpload(db, runId)) {
        await each.try(`execution ${execution.id}`, async () => {
          await orchestrator.endWaiting(execution, endedFor(execution, ended));
          await markWorkflowStarted(db, execution.id);
          executions.push(execution.id);
        });
      }
      for (const execution of await listExecutionsToStart(db, { runId })) {
        await each.try(`execution ${execution.id}`, async () => {
          await orchestrator.startExecution(execution);
          await markWorkflowStarted(db, execution.id);
          executions.push(execution.id);
        });
      }
      each.finish();
      return { executions };
    },

    /**
     * Hands over to Temporal what was written but, because a process died or Temporal was away, not started or told; and ends
     * executions whose workflow was closed from outside.
     */
    async handOver(): Promise<{ executions: number; storageConnections: number }> {
      return withHeartbeat(handOverAll);
    },
  };
}
