import { type FlowAcceptance, whyFlowRejects } from './completeness.js';
import type { RunOutcome } from './runUploaded.js';

/** What decides whether a run can be analysed. */
export interface RunToUse {
  id: string;
  uploadState: 'uploading' | 'complete' | 'refused' | 'vanished';
  /** Why the run was refused or vanished, as its row says it; absent where the caller has not loaded it. */
  uploadDescription?: string;
  outcome: RunOutcome | null;
  /** Whether flows that accept stopped runs can analyse the run although it was refused. */
  usableIfStopped: boolean;
  checked: 'content' | 'presence';
}

/**
 * Why a run cannot be analysed: at all, or by this flow where one is given. A run that still uploads is usable as far
 * as anyone can tell: its outcome is judged when the upload ends.
 * @returns a reason that can follow "The run cannot be analysed: "; undefined where the run is usable.
 */
export function whyRunIsUnusable(run: RunToUse, flow?: FlowAcceptance): string | undefined {
  switch (run.uploadState) {
    case 'refused':
      if (run.usableIfStopped && flow?.acceptStoppedOutcome !== false) return undefined;
      return run.uploadDescription ?? 'polony rejected it when its upload ended; the run itself says why';
    case 'vanished':
      return run.uploadDescription ?? 'its folder is no longer in the bucket';
    case 'uploading':
      return undefined;
    case 'complete':
      return flow && whyFlowRejectsCompleteRun(run, flow);
  }
}

function whyFlowRejectsCompleteRun(run: RunToUse, flow: FlowAcceptance): string | undefined {
  const reason = whyFlowRejects(flow, run);
  return reason === undefined || run.outcome !== 'failed' ? reason : `${reason} ${describeRetry(run.id)}`;
}

/** What to do about a run that polony will not look at again by itself, although its files may have been replaced. */
export function describeRetry(runId: string): string {
  return (
    'If you uploaded the run again since, have polony check it again: ' +
    `send POST /v1/runs/${runId}/retry, or use polony runs retry ${runId}.`
  );
}

/** How an upload that is no longer followed ended, before a flow judges the run. */
export function judgeEndedUpload(run: Pick<RunToUse, 'uploadState'> & { uploadDescription: string }): {
  usable: boolean;
  reason: string;
} {
  return { usable: run.uploadState === 'complete', reason: run.uploadDescription };
}
