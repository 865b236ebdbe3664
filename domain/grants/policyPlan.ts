import {
  type BucketPolicy,
  type Grant,
  grantSids,
  grantStanding,
  grantStatements,
  policyBytes,
  POLICY_LIMIT,
  putStatements,
  removeStatements,
  serializeBucketPolicy,
} from './bucketPolicy.js';

/** A grant that is to be in a policy, or not to be there. */
export interface WantedChange {
  grant: Grant;
  isWanted: boolean;
}

/** Whether a policy is already as a change wants it. */
export function isChangeDone(policy: BucketPolicy, { grant, isWanted }: WantedChange): boolean {
  if (isWanted) return grantStanding(policy, grant) === 'whole';
  const sids = grantSids(grant);
  return !policy.statements.some(({ value }) => sids.includes(value.Sid as string));
}

/** A policy with several changes. */
export interface PolicyPlan<T extends WantedChange> {
  /** Null to delete the policy. */
  text: string | null;
  /** The grants that do not fit beside the others, with the size that the policy would have in bytes. */
  tooLarge: Map<T, number>;
}

/**
 * Makes all changes in one policy, because S3 judges a policy as a whole. Grants are removed first, so that the others
 * have their room. They are added in order, as long as they fit.
 */
export function planPolicy<T extends WantedChange>(policy: BucketPolicy, changes: readonly T[]): PolicyPlan<T> {
  const unwanted = changes.filter(({ isWanted }) => !isWanted);
  let next = removeStatements(
    policy,
    unwanted.flatMap(({ grant }) => grantSids(grant)),
  );
  const tooLarge = new Map<T, number>();
  for (const change of changes) {
    if (!change.isWanted) continue;
    const larger = putStatements(next, grantStatements(change.grant));
    const bytes = policyBytes(serializeBucketPolicy(larger) ?? '');
    if (bytes > POLICY_LIMIT) tooLarge.set(change, bytes);
    else next = larger;
  }
  return { text: serializeBucketPolicy(next), tooLarge };
}
