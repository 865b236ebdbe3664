import type { FastifyBaseLogger } from 'fastify';
import type { ResourceToVerify } from '../../store/verification/resources.js';
import type { ApiDependencies } from '../dependencies.js';
import { loggableError } from '../../domain/errors.js';
import { withTimeout } from '../errors.js';

/**
 * Starts the verification of resources that were created or changed. Does not fail when Temporal is unavailable: the
 * resources are already saved, and the sweep verifies them later.
 */
export async function requestVerification(
  log: FastifyBaseLogger,
  { verification }: Pick<ApiDependencies['orchestrator'], 'verification'>,
  resources: readonly ResourceToVerify[],
): Promise<void> {
  try {
    for (const resource of resources) await withTimeout(verification.verify(resource));
  } catch (error) {
    log.warn(
      { error: loggableError(error), resources: resources.length },
      'cannot start the verification now; the sweep will start it',
    );
  }
}
