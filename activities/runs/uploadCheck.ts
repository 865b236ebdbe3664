import type { ApplicationFailure } from '@temporalio/common';
import { classifyAwsError } from '../../aws/errors.js';
import { type Completeness, whyBases2FastqRejects } from '../../domain/runs/completeness.js';
import { errorMessage } from '../../domain/errors.js';
import { parseRunParameters, type RunParameters } from '../../domain/runs/runParameters.js';
import { doFilesDisagree } from '../../domain/runs/verifiedFolder.js';
import { parseRunUploaded, RUN_UPLOADED_FILE, type RunUploaded } from '../../domain/runs/runUploaded.js';
import { describeRetry } from '../../domain/runs/usability.js';
import type { Db } from '../../store/database.js';
import { hasRecentEvents } from '../../store/events.js';
import { judgeEndedUpload } from '../../domain/runs/usability.js';
import { endUpload, type RunChange, updateUpload } from '../../store/runs/update.js';
import { findRun, type RunContext } from '../../store/runs/load.js';
import type { UploadState } from '../../store/schema.js';
import type { RunUploadEnded, UploadWaitKind } from '../../workflows/messages/runs.js';
import type { Dependencies } from '../dependencies.js';
import { notYet } from './notYet.js';
import type { BaseCallsTally, RunFolderReader } from './runFolderReader.js';
import { recordProgress, STALLED } from './uploadProgress.js';

/**
 * How long reading must be denied before polony decides by the names of the files alone. A changed policy takes a while
 * to take effect everywhere.
 */
const DENIED_MS = 300_000;
/** Every so many attempts polony checks whether a run folder without `BaseCalls` still exists. */
const ATTEMPTS_PER_EXISTENCE_CHECK = 10;
/** How many missing files a message names. */
const NAMED_FILES = 5;

/** What RunUploaded.json says, as columns of the run. */
type KnownOutcome = Pick<RunChange, 'outcome' | 'instrumentId' | 'checked'>;

/**
 * One check of an upload. It ends with the result of the upload, which it also writes to the run, or throws `NotYet`.
 *
 * The rules: RunUploaded.json says that the upload ended and how the run ended; RunParameters.json says which files of
 * `BaseCalls` there must be (docs/reference/run-uploads.md).
 */
export class UploadCheck {
  #parameters: RunParameters | null;

  /**
   * @param attempt of the activity, from 1.
   * @param began when this check began, by the clock of Temporal.
   */
  constructor(
    private readonly db: Db,
    private readonly settings: Pick<Dependencies['settings'], 'uploadPollSeconds' | 'stalledMinutes'>,
    private readonly folder: RunFolderReader,
    private readonly run: RunContext,
    private readonly attempt: number,
    private readonly began: Date,
  ) {
    this.#parameters = run.parameters;
  }

  /** @throws ApplicationFailure `NotYet` while the upload goes on; errors of AWS calls. */
  async check(): Promise<RunUploadEnded> {
    let text: string | undefined;
    try {
      if (this.#parameters === null) await this.#readParameters();
      text = await this.folder.readRunUploaded();
    } catch (error) {
      // The vendor's table of permissions calls s3:GetObject optional.
      if (classifyAwsError(error).kind !== 'denied' || !(await this.folder.isListable())) throw error;
      return this.#checkWithoutReading();
    }
    if (this.run.timeDenied !== null) await updateUpload(this.db, this.run.id, { timeDenied: null });
    if (text === undefined) return this.#checkWithoutRunUploaded();
    return this.#checkRunUploaded(await this.#parseRunUploaded(text));
  }

  /** Reading is denied and listing is not: decides by the names of the files. */
  async #checkWithoutReading(): Promise<RunUploadEnded> {
    const { timeDenied, id } = this.run;
    if (timeDenied === null) await updateUpload(this.db, id, { timeDenied: new Date() });
    if (Date.now() - (timeDenied?.getTime() ?? Date.now()) < DENIED_MS)
      throw this.#notYet(
        'The provider may not read the files of the run (s3:GetObject). polony keeps trying for 5 minutes, ' +
          'then decides by the names of the files',
        'permission',
      );
    const content = await this.folder.listRoot();
    const unsupported = whyBases2FastqRejects(null, undefined, content);
    if (unsupported !== undefined) return this.#refuse(unsupported, { checked: 'presence' });
    if (!content.files.includes(RUN_UPLOADED_FILE))
      throw await this.#notYetUploaded(await this.folder.tallyBaseCalls(null));
    return this.#complete(
      'RunUploaded.json is there. Neither the outcome of the run nor its cycles were checked, since the provider may ' +
        'not read them (s3:GetObject); flows whose acceptUnverified is false do not analyse the run',
      { checked: 'presence', hasManifest: content.files.includes('RunManifest.csv') },
    );
  }

  async #checkWithoutRunUploaded(): Promise<RunUploadEnded> {
    const tally = await this.folder.tallyBaseCalls(this.#parameters);
    const mayHaveVanished = tally.objects === 0 && this.attempt % ATTEMPTS_PER_EXISTENCE_CHECK === 0;
    if (mayHaveVanished && (await this.folder.isEmpty())) {
      return this.#end({ uploadState: 'vanished', description: 'The run folder is no longer in the bucket' });
    }
    throw await this.#notYetUploaded(tally, await hasRecentEvents(this.db, `s3/${this.run.storage.bucket}`));
  }

  /** @throws ApplicationFailure `NotYet` where it is empty or damaged: the instrument may replace it. */
  async #parseRunUploaded(text: string): Promise<RunUploaded> {
    let problem = 'RunUploaded.json is empty: its transfer has not finished, or it is damaged';
    try {
      const uploaded = parseRunUploaded(text);
      if (uploaded !== undefined) return uploaded;
    } catch (error) {
      problem = errorMessage(error);
    }
    const progress = await this.#recordProgress(await this.folder.tallyBaseCalls(this.#parameters));
    throw this.#notYet(`${problem}; waiting for it to be replaced${progress}`, 'replacement');
  }

  async #checkRunUploaded(uploaded: RunUploaded): Promise<RunUploadEnded> {
    const known: KnownOutcome = {
      outcome: uploaded.outcome,
      instrumentId: uploaded.instrumentId,
      checked: 'content',
    };
    // Read again: the instrument may have replaced it since the first read.
    await this.#readParameters();
    await this.#noteDisagreement(uploaded);
    const unsupported = whyBases2FastqRejects(this.#parameters, { runType: uploaded.runType });
    if (unsupported !== undefined) return this.#refuse(unsupported, known);
    if (uploaded.outcome === 'stopped') return this.#refuseStopped(uploaded, known);
    if (uploaded.outcome === 'unknown')
      return this.#refuseUntilRetried(
        `The instrument ended the run with ${uploaded.outcomeText}, which polony does not know. It analyses only ` +
          'completed runs',
        known,
      );
    if (this.#parameters === null)
      throw this.#notYet('RunUploaded.json is there but RunParameters.json is not; waiting for it', 'parameters');
    if (this.#parameters.cycles === undefined)
      return this.#refuseUntilRetried(
        'RunParameters.json names no cycles, so polony cannot tell whether the run is complete',
        known,
      );
    return this.#checkBaseCalls(uploaded, known);
  }

  /** Bases2Fastq does not care. The API does not show the files of such a folder when a person named it. */
  async #noteDisagreement(uploaded: RunUploaded): Promise<void> {
    const filesDisagree = this.#parameters !== null && doFilesDisagree(this.#parameters, uploaded);
    if (filesDisagree !== this.run.filesDisagree) await updateUpload(this.db, this.run.id, { filesDisagree });
  }

  /** A stopped run is not whole. Flows that accept stopped runs can analyse the cycles that are there. */
  async #refuseStopped({ outcomeText }: RunUploaded, known: KnownOutcome): Promise<RunUploadEnded> {
    const tally = await this.folder.tallyBaseCalls(this.#parameters);
    await this.#recordProgress(tally);
    const { present, expected } = tally.completeness;
    const ended = `The instrument ended the run with ${outcomeText}`;
    if (present === 0)
      return this.#refuseUntilRetried(`${ended}, and no cycle is there, so there is nothing to analyse`, known);
    return this.#refuseUntilRetried(
      `${ended}; ${present} of ${expected} cycles are there. Only flows with acceptStoppedOutcome analyse it`,
      { ...known, usableIfStopped: true, hasManifest: await this.folder.hasRunManifest() },
    );
  }

  async #checkBaseCalls(uploaded: RunUploaded, known: KnownOutcome): Promise<RunUploadEnded> {
    const tally = await this.folder.tallyBaseCalls(this.#parameters);
    const { expected, missingCount } = tally.completeness;
    if (expected === 0)
      return this.#refuseUntilRetried(
        'RunParameters.json names no cycle of a known read, so polony cannot tell whether the run is complete',
        known,
      );
    if (missingCount > 0) return this.#refuseOrWaitForFiles(tally, uploaded, known);
    await this.#recordProgress(tally);
    return this.#complete(
      uploaded.outcome === 'completed'
        ? 'The run is complete'
        : `The instrument ended the run with ${uploaded.outcomeText}, but all ${expected} cycles are there; ` +
            `only flows with acceptFailedOutcome analyse it. ${describeRetry(this.run.id)}`,
      { ...known, ...(await this.#readMetrics()), hasManifest: await this.folder.hasRunManifest() },
    );
  }

  async #refuseOrWaitForFiles(
    tally: BaseCallsTally,
    uploaded: RunUploaded,
    known: KnownOutcome,
  ): Promise<RunUploadEnded> {
    const missing = describeMissing(tally.completeness);
    const progress = await this.#recordProgress(tally, true);
    // A failed run has ended early: its missing files will not come.
    if (uploaded.outcome === 'failed')
      return this.#refuseUntilRetried(
        `The instrument ended the run with ${uploaded.outcomeText}, and ${missing}; it cannot be analysed`,
        known,
      );
    throw this.#notYet(`RunUploaded.json is there but ${missing}; waiting for them${progress}`, 'files');
  }

  async #readParameters(): Promise<void> {
    const text = await this.folder.readRunParameters();
    if (text === undefined) return;
    let read: RunParameters;
    try {
      read = parseRunParameters(text);
    } catch (error) {
      throw this.#notYet(errorMessage(error), 'parameters');
    }
    if (JSON.stringify(read) === JSON.stringify(this.#parameters)) return;
    this.#parameters = read;
    await updateUpload(this.db, this.run.id, { parameters: read });
  }

  async #complete(reason: string, change: RunChange): Promise<RunUploadEnded> {
    const metadataEtags = { ...this.folder.etags };
    return this.#end({ ...change, metadataEtags, uploadState: 'complete', description: reason });
  }

  /** Refuses a run that another upload into the same folder would mend. */
  async #refuseUntilRetried(reason: string, change: RunChange): Promise<RunUploadEnded> {
    return this.#refuse(`${reason}. ${describeRetry(this.run.id)}`, change);
  }

  async #refuse(reason: string, change: RunChange): Promise<RunUploadEnded> {
    const metrics = change.checked === 'content' ? await this.#readMetrics() : {};
    return this.#end({ ...change, ...metrics, uploadState: 'refused', description: reason });
  }

  /** Records the end, and returns it; or the one that a check found that began later. */
  async #end(change: RunChange & { uploadState: UploadState; description: string }): Promise<RunUploadEnded> {
    const { uploadState, description: uploadDescription } = change;
    const ended = { ...change, blocked: null, timeCompleted: new Date() };
    if (await endUpload(this.db, this.run, this.began, ended))
      return judgeEndedUpload({ uploadState, uploadDescription });
    const run = await findRun(this.db, this.run.id);
    if (run === undefined || run.uploadState === 'uploading')
      throw this.#notYet('The run was set back to uploading during the check; polony checks it again', 'end');
    return judgeEndedUpload({ uploadState: run.uploadState, uploadDescription: run.description });
  }

  async #readMetrics(): Promise<Pick<RunChange, 'instrumentMetrics'>> {
    const instrumentMetrics = await this.folder.readInstrumentMetrics();
    return instrumentMetrics === undefined ? {} : { instrumentMetrics };
  }

  async #recordProgress(tally: BaseCallsTally, isWaitingForFiles = false): Promise<string> {
    return recordProgress(this.db, this.run, tally, this.settings.stalledMinutes, isWaitingForFiles);
  }

  async #notYetUploaded(tally: BaseCallsTally, isRare = false): Promise<ApplicationFailure> {
    const progress = await this.#recordProgress(tally);
    const message = `RunUploaded.json is not there yet: the instrument is still uploading${progress}`;
    return this.#notYet(message, 'end', isRare);
  }

  #notYet(message: string, waitsFor: UploadWaitKind, isRare = false): ApplicationFailure {
    const isStalled = message.includes(STALLED);
    return notYet(message, this.settings.uploadPollSeconds, isStalled ? `${waitsFor} stalled` : waitsFor, isRare);
  }
}

function describeMissing({ expected, missing, missingCount }: Completeness): string {
  const named = [...missing.slice(0, NAMED_FILES), ...(missingCount > NAMED_FILES ? ['…'] : [])].join(', ');
  return `${missingCount} of ${expected} files are missing or empty: ${named}`;
}
