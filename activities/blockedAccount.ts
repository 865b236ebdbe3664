import type { ApplicationFailure } from '@temporalio/common';
import { findProvider } from '../store/connections/providers.js';
import type { Db } from '../store/database.js';
import { createBlockedFailure, getBlocked } from './failures.js';

/**
 * Adds the AWS account of the provider to a failure that blocks. Workflows of uploads and searches do not know it, and it
 * tells causes of blocks apart. @returns other failures as they are
 */
export async function withAccount(
  db: Db,
  providerId: string,
  failure: ApplicationFailure,
): Promise<ApplicationFailure> {
  const blocked = getBlocked(failure);
  if (blocked === undefined) return failure;
  const account = (await findProvider(db, providerId))?.account_id;
  return account == null ? failure : createBlockedFailure({ ...blocked, account });
}
