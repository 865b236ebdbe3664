import { storageUri } from '../../domain/files/paths.js';
import type { Blocked } from '../../domain/executions/execution.js';
import {
  type BucketPolicy,
  type Grant,
  grantSids,
  grantStanding,
  grantStatements,
} from '../../domain/grants/bucketPolicy.js';
import { explainGonePrincipal, findGonePrincipals } from '../../domain/grants/gonePrincipals.js';
import type { ShownState } from '../../domain/grants/grant.js';
import { type GrantRow, toGrant } from '../../store/grants/load.js';
import type { WarnOfGrant } from './encryption.js';

/** Why AWS does not allow a grant, or why polony cannot read the bucket policy, as the API shows it. */
export function presentProblem(problem: Blocked | null) {
  if (problem === null) return null;
  return {
    kind: problem.kind,
    action: problem.action ?? null,
    resource: problem.resource ?? null,
    message: problem.message,
    remedy: problem.remedy,
    statement: (problem.statement as object | undefined) ?? null,
  };
}

/**
 * A grant as the API shows it.
 * @param policy the bucket policy now. Without it, the state is the one after the last change by polony.
 * @param warn what else the principal needs. Without it, nothing is said.
 */
export function presentGrant(row: GrantRow, policy?: BucketPolicy, warn?: WarnOfGrant) {
  const grant = toGrant(row);
  return {
    id: row.id,
    storageConnectionId: row.storage_connection_id,
    principal: row.principal,
    description: row.description,
    prefix: row.prefix,
    uri: grantUri(row.bucket, row.folder),
    ...presentState(row, grant, policy),
    warnings: (row.state === 'active' || row.state === 'pending') && warn !== undefined ? warn(row.principal) : [],
    statements: grantStatements(grant),
    createdBy: row.created_by,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
    timeExpires: row.time_expires?.toISOString() ?? null,
  };
}

/** What the policy makes of a grant that polony has written. */
function presentState(row: GrantRow, grant: Grant, policy: BucketPolicy | undefined) {
  const asRecorded = { state: row.state as ShownState, problem: presentProblem(row.problem) };
  if (row.state !== 'active' || policy === undefined) return asRecorded;
  const gone = findGonePrincipals(policy, grant);
  if (gone.length > 0)
    return { state: 'failed' as const, problem: presentProblem(explainGonePrincipal(row.principal, gone, false)) };
  const standing = grantStanding(policy, grant);
  if (standing === 'whole') return asRecorded;
  const sids = new Set<unknown>(grantSids(grant));
  const found = policy.statements.map(({ value }) => value).filter(({ Sid }) => sids.has(Sid));
  return { ...asRecorded, state: standing, foundStatements: found };
}

/** The URI of what a grant covers. @param folder in the bucket, with a slash at its end; null for the whole bucket. */
export function grantUri(bucket: string, folder: string | null): string {
  return storageUri(bucket, (folder ?? '').replace(/\/$/, ''));
}
