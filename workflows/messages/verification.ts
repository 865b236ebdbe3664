import { defineSignal } from '@temporalio/workflow';
import type { VerifiedKind, VerifiedStatus } from '../../domain/verification/report.js';

/** `verify/<kind>/<id>`, where the kind is spelt as in the API's paths. */
export function verifyWorkflowId(kind: VerifiedKind, id: string): string {
  return `verify/${kind.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}/${id}`;
}

/** Input of the verification workflows. */
export interface VerifyInput {
  id: string;
  name: string;
}
/** What the verification workflows return; null when the resource was deleted meanwhile. */
export interface VerifyResult {
  status: VerifiedStatus;
  description: string;
}

/** Asks a running verification to check once more. Sent with a start, so that it starts one where none runs. */
export const verifyAgainSignal = defineSignal('verifyAgain');
