import {
  type ActivityOptions,
  proxyActivities,
  setHandler,
  upsertSearchAttributes,
  setCurrentDetails,
} from '@temporalio/workflow';
import type { Activities } from '../activities/index.js';
import type { VerifiedKind } from '../domain/verification/report.js';
import { attributes } from './messages/searchAttributes.js';
import { toSummary } from './messages/summary.js';
import { verifyAgainSignal, type VerifyInput, type VerifyResult } from './messages/verification.js';

const OPTIONS: ActivityOptions = {
  startToCloseTimeout: '5 minutes',
  retry: { initialInterval: '2 seconds', maximumInterval: '1 minute', maximumAttempts: 10 },
};
const { verifyResource, startVerifications } = proxyActivities<Activities>({
  ...OPTIONS,
  heartbeatTimeout: '5 minutes',
});

/** Probes a resource; once more where it was changed, or asked for again, meanwhile. */
async function verify(kind: VerifiedKind, { id, name }: VerifyInput): Promise<VerifyResult | null> {
  let asked = false;
  setHandler(verifyAgainSignal, () => {
    asked = true;
  });
  let result: VerifyResult | null = null;
  do {
    // What was asked for until now is answered by the pass that begins now.
    asked = false;
    result = await verifyResource.executeWithOptions(
      { ...OPTIONS, summary: toSummary(`Probe the permissions of ${name}`) },
      [kind, id],
    );
  } while (asked);
  if (result !== null) {
    upsertSearchAttributes([{ key: attributes.status, value: result.status }]);
    setCurrentDetails(`**${result.status}**: ${result.description}`);
  }
  return result;
}

/** Verifies a provider: whose its session is, how long, and whether it is safe against the confused deputy. */
export async function verifyProvider(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('provider', input);
}
/** Verifies a storage connection: what may be done in its folder. */
export async function verifyStorageConnection(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('storageConnection', input);
}
/** Verifies a compute connection: what may be done in HealthOmics. */
export async function verifyComputeConnection(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('computeConnection', input);
}
/** Verifies a flow: the shared workflow, and what may be done with it. */
export async function verifyFlow(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('flow', input);
}

/** Starts the verification of everything; daily. */
export async function verifyAll(): Promise<number> {
  return startVerifications();
}
