import {
  type ActivityOptions,
  proxyActivities,
  setHandler,
  upsertSearchAttributes,
  setCurrentDetails,
} from '@temporalio/workflow';
import { code, plain } from '../domain/markdown.js';
import type { Activities } from '../activities/index.js';
import type { VerifiedKind } from '../domain/verification/report.js';
import { describePoints, time } from './details.js';
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

/** Probes a resource. Probes again when a request to verify it comes meanwhile. */
async function verify(kind: VerifiedKind, { id, name }: VerifyInput): Promise<VerifyResult | null> {
  let isRequested = false;
  setHandler(
    verifyAgainSignal,
    () => {
      isRequested = true;
    },
    { description: 'Verifies once more after this pass. Safe at any time. Needs no input.' },
  );
  setCurrentDetails(
    describePoints(`**Verification of ${code(name)}**`, [
      ['Since', time(Date.now())],
      ['Waits for', 'AWS to answer the probes of each permission'],
      ['Continues', 'by itself'],
      ['Reset, terminate, cancel', 'safe: a verification changes nothing. The next one comes within a day'],
    ]),
  );
  let result: VerifyResult | null = null;
  do {
    // The probes that begin now answer every request until now.
    isRequested = false;
    result = await verifyResource.executeWithOptions(
      { ...OPTIONS, summary: toSummary(`Probe the permissions of ${name}`) },
      [kind, id],
    );
  } while (isRequested);
  if (result !== null) {
    upsertSearchAttributes([{ key: attributes.status, value: result.status }]);
    setCurrentDetails(
      describePoints(`**${result.status}**: ${plain(result.description)}`, [
        ['Ended', time(Date.now())],
        ['Verified', code(name)],
      ]),
    );
  }
  return result;
}

/** Verifies a provider: its identity, the length of its sessions, and its protection against the confused deputy. */
export async function verifyProvider(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('provider', input);
}
/** Verifies a storage connection: what its provider may do in the bucket. */
export async function verifyStorageConnection(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('storageConnection', input);
}
/** Verifies a compute connection: what its provider may do in HealthOmics. */
export async function verifyComputeConnection(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('computeConnection', input);
}
/** Verifies a flow: the shared workflow, and what its provider may do with it. */
export async function verifyFlow(input: VerifyInput): Promise<VerifyResult | null> {
  return verify('flow', input);
}

/** Starts the verification of every resource. A schedule runs it daily. */
export async function verifyAll(): Promise<number> {
  return startVerifications.executeWithOptions(
    { ...OPTIONS, heartbeatTimeout: '5 minutes', summary: 'Start the verification of every resource' },
    [],
  );
}
