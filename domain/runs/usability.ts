import { whyFlowRejects } from './completeness.js';
import type { RunOutcome } from './runUploaded.js';

/** What decides whether a run can be analysed. */
export interface RunToUse {
  uploadState: 'uploading' | 'complete' | 'refused' | 'vanished';
  /** Why the run was refused or vanished, as its row says it; absent where the caller has not loaded it. */
  uploadDescription?: string;
  outcome: RunOutcome | null;
  checked: 'content' | 'presence';
}

/** What a flow accepts beyond completed, verified runs. */
export interface FlowToUse {
  acceptFailedOutcome: boolean;
  acceptUnverified: boolean;
}

/**
 * Why a run cannot be analysed: at all, or by this flow where one is given. A run that still uploads is usable as far
 * as anyone can tell: its outcome is judged when the upload ends.
 * @returns a reason that can follow "The run cannot be analysed: "; undefined where the run is usable.
 */
export function whyRunIsUnusable(run: RunToUse, flow?: FlowToUse): string | undefined {
  switch (run.uploadState) {
    case 'refused':
      return run.uploadDescription ?? 'polony rejected it when its upload ended; the run itself says why';
    case 'vanished':
      return run.uploadDescription ?? 'its folder is no longer in the bucket';
    case 'uploading':
      return undefined;
    case 'complete':
      return flow && whyFlowRejects(flow, run);
  }
}

/** How an upload that is no longer followed ended, before a flow judges the run. */
export function judgeEndedUpload(run: Pick<RunToUse, 'uploadState'> & { uploadDescription: string }): {
  usable: boolean;
  reason: string;
} {
  return { usable: run.uploadState === 'complete', reason: run.uploadDescription };
}
