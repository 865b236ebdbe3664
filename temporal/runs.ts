import type { WorkflowStartOptions } from '@temporalio/client';
import { TypedSearchAttributes } from '@temporalio/common';
import { code } from '../domain/markdown.js';
import { attributes } from '../workflows/messages/searchAttributes.js';
import {
  type DiscoverRunsInput,
  lookSignal,
  type RunUploadInput,
  runUploadWorkflowId,
  searchAgainSignal,
  searchWorkflowId,
} from '../workflows/messages/runs.js';
import { toSummary } from '../workflows/messages/summary.js';
import { WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import { isWorkflowRunning, runFolderUri, startUnlessTaken, type TemporalContext, toKeyword } from './context.js';

/** A run whose upload to follow, and the bucket that it uploads to. */
export type UploadToFollow = RunUploadInput & { bucket?: { bucket: string; prefix: string; region: string } };

/** The workflows that follow the uploads of runs. */
export class RunClient {
  readonly #context: TemporalContext;
  constructor(context: TemporalContext) {
    this.#context = context;
  }

  /** Starts following the upload of a run. @returns false where polony follows it already */
  async startUpload(input: UploadToFollow): Promise<boolean> {
    return startUnlessTaken(() => this.#context.client.workflow.start(WORKFLOWS.runUpload, this.#uploadOptions(input)));
  }

  /** Whether polony follows the upload of a run. */
  async isFollowed({ storageConnectionId, parentPath, instrumentName, runFolder }: RunUploadInput): Promise<boolean> {
    const id = runUploadWorkflowId(storageConnectionId, parentPath ?? instrumentName, runFolder);
    return isWorkflowRunning(this.#context, id);
  }

  /**
   * Has an upload checked now, also a blocked one: by its workflow or, where polony does not follow it any more, by a
   * new one. No request is lost while a workflow ends: Temporal lets it end only after it has seen the signal, and then
   * it checks the upload before it ends. The signal `retry` does not have that effect.
   */
  async checkUpload(input: UploadToFollow): Promise<void> {
    await this.#context.client.workflow.signalWithStart(WORKFLOWS.runUpload, {
      ...this.#uploadOptions(input),
      signal: lookSignal,
    });
  }

  #uploadOptions({ bucket, ...input }: UploadToFollow): WorkflowStartOptions & { args: [RunUploadInput] } {
    const { queues, giveUpDays } = this.#context;
    const { storageConnectionId, instrumentName, runFolder, parentPath = instrumentName } = input;
    const place = bucket && {
      runFolderUri: runFolderUri(bucket, { parentPath, runFolder }),
      storageRegion: bucket.region,
    };
    return {
      workflowId: runUploadWorkflowId(storageConnectionId, parentPath, runFolder),
      taskQueue: queues.main,
      args: [{ maximumDays: giveUpDays, giveUpDays, ...place, ...input }],
      // The row of the run says whether the upload has ended. A person may have a rejected run checked again.
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.status, value: 'UPLOADING' },
        { key: attributes.blocked, value: false },
        { key: attributes.waitingSince, value: new Date() },
        { key: attributes.run, value: toKeyword(input.runName) },
        { key: attributes.instrument, value: toKeyword(instrumentName) },
        { key: attributes.storageConnection, value: toKeyword(input.storageConnectionName) },
      ]),
      staticSummary: toSummary(`Upload of ${input.runName} from ${instrumentName}`),
      staticDetails:
        `Run folder ${code(runFolder)} in storage connection ${code(input.storageConnectionName)}. ` +
        `Run ${input.runId}.`,
    };
  }

  /**
   * Searches a storage connection for runs now. Where a search is under way, another one follows it, so that no request
   * is lost. A blocked one tries again at once.
   */
  async search(input: DiscoverRunsInput): Promise<void> {
    await this.#searchAgain(this.#searchOptions(input));
  }

  /** Searches a storage connection, unless a search is under way. */
  async startSearch(input: DiscoverRunsInput): Promise<void> {
    const { client } = this.#context;
    await startUnlessTaken(() => client.workflow.start(WORKFLOWS.discoverRuns, this.#searchOptions(input)));
  }

  /** Whether a workflow searches a storage connection, or is blocked meanwhile. */
  async isSearching(storageConnectionId: string): Promise<boolean> {
    return isWorkflowRunning(this.#context, searchWorkflowId(storageConnectionId));
  }

  /**
   * Searches for the one run folder that an event names, and follows its upload where it has ended.
   * @param again whether another search follows one that is under way: the event may be newer than what it has seen
   */
  async discoverFolder(
    input: DiscoverRunsInput & { only: { parentPath: string; runFolder: string } },
    again: boolean,
  ): Promise<void> {
    const options = this.#searchOptions(input);
    if (again) await this.#searchAgain(options);
    else await startUnlessTaken(() => this.#context.client.workflow.start(WORKFLOWS.discoverRuns, options));
  }

  async #searchAgain(options: WorkflowStartOptions & { args: [DiscoverRunsInput] }): Promise<void> {
    await this.#context.client.workflow.signalWithStart(WORKFLOWS.discoverRuns, {
      ...options,
      signal: searchAgainSignal,
    });
  }

  #searchOptions(input: DiscoverRunsInput): WorkflowStartOptions & { args: [DiscoverRunsInput] } {
    const { queues, giveUpDays } = this.#context;
    const { storageConnectionId, storageConnectionName, only } = input;
    return {
      workflowId:
        only === undefined
          ? searchWorkflowId(storageConnectionId)
          : `discover-run/${storageConnectionId}/${only.parentPath}/${only.runFolder}`,
      taskQueue: queues.main,
      args: [{ giveUpDays, ...input }],
      typedSearchAttributes: new TypedSearchAttributes([
        { key: attributes.blocked, value: false },
        { key: attributes.waitingSince, value: new Date() },
        { key: attributes.storageConnection, value: toKeyword(storageConnectionName) },
      ]),
      staticSummary: toSummary(
        only === undefined
          ? `Search for new runs in ${storageConnectionName}`
          : `Look for the run folder ${only.runFolder} in ${storageConnectionName}`,
      ),
    };
  }
}
