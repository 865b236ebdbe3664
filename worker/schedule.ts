import { errorMessage } from '../domain/errors.js';
import type { WorkerConfig } from '../domain/settings.js';
import { doWithin } from '../observability/deadline.js';
import type { Orchestrator } from '../temporal/client.js';

/** How long Temporal may take to make or change a schedule. */
const SCHEDULE_MS = 30_000;

/**
 * Makes the schedule of verifications, or changes it to the settings.
 * @throws Error that names the schedule and says why Temporal does not make it; the reason of `stopping` once that ends it
 */
export async function makeSchedule(
  { verifySeconds, temporal }: Pick<WorkerConfig, 'verifySeconds' | 'temporal'>,
  { schedules }: { schedules: Pick<Orchestrator['schedules'], 'ensureVerification'> },
  stopping: AbortSignal,
): Promise<void> {
  try {
    await doWithin(SCHEDULE_MS, stopping, () => schedules.ensureVerification(verifySeconds));
  } catch (error) {
    stopping.throwIfAborted();
    // The SDK's own message says only what failed. Its cause is the error of gRPC.
    const reason = errorMessage(error instanceof Error ? (error.cause ?? error) : error);
    throw new Error(`The schedule of verifications was not made by Temporal at ${temporal.address}: ${reason}`, {
      cause: error,
    });
  }
}
