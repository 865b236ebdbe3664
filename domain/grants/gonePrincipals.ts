/**
 * Principals of bucket policies that do not exist any more.
 *
 * S3 stores the unique ID of a role or user. It shows the ARN while the role or user exists, and the ID (`AROA…`,
 * `AIDA…`) after that. A new role of the same name has another ID. S3 rejects every policy that contains such an ID, so
 * one of them holds up all changes of the policy (IAM User Guide, "AWS JSON policy elements: Principal").
 */
import type { Blocked } from '../executions/execution.js';
import { type BucketPolicy, type Grant, grantSids, listOf, nameStatement, normalizePrincipal } from './bucketPolicy.js';

/** Whether a principal, as a policy shows it, does not exist. */
export type IsGone = (principal: string) => boolean;

/** Whether a principal of a policy is the unique ID of a role or user. */
export function isUniqueId(principal: string): boolean {
  return /^A(ROA|IDA|GPA|NPA)[A-Z0-9]{12,}$/.test(principal);
}

/** Whether two spellings name the same principal. An account is its 12 digits, or the ARN of its root. */
export function isSamePrincipal(one: string, other: string): boolean {
  return normalizePrincipal(one) === normalizePrincipal(other);
}

/** A statement that names principals which do not exist. */
export interface GoneStatement {
  /** Its Sid, or its position. */
  name: string;
  /** The principals, as the policy shows them. */
  principals: string[];
}

/** Statements that name principals which do not exist. */
export function findGoneStatements(policy: BucketPolicy, isGone: IsGone = isUniqueId): GoneStatement[] {
  return policy.statements.flatMap((each, at) => {
    const principals = awsPrincipals(each.value).filter(isGone);
    return principals.length === 0 ? [] : [{ name: nameStatement(each, at), principals }];
  });
}

/**
 * The principals of a grant's statements, where none of them exists: then the statements allow nobody anything. Empty
 * where there are no statements, or where one also names somebody else, since a person must have added that.
 */
export function findGonePrincipals(policy: BucketPolicy, grant: Grant, isGone: IsGone = isUniqueId): string[] {
  const sids = grantSids(grant);
  const own = policy.statements.map(({ value }) => value).filter(({ Sid }) => sids.includes(Sid as string));
  const isAllGone = own.every((statement) => namesOnlyAws(statement) && awsPrincipals(statement).every(isGone));
  return isAllGone ? [...new Set(own.flatMap(awsPrincipals))] : [];
}

function namesOnlyAws({ Principal, NotPrincipal }: Record<string, unknown>): boolean {
  return NotPrincipal === undefined && isObject(Principal) && Object.keys(Principal).join() === 'AWS';
}

function awsPrincipals({ Principal, NotPrincipal }: Record<string, unknown>): string[] {
  return [Principal, NotPrincipal]
    .flatMap((member) => (isObject(member) && 'AWS' in member ? listOf(member.AWS) : []))
    .filter((principal) => typeof principal === 'string');
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** Why something about a grant is not as it should be. The remedy has no full stop at its end. */
export type Explanation = Pick<Blocked, 'kind' | 'message' | 'remedy'>;

/**
 * Why S3 rejects every change of a policy that has statements of others for principals which do not exist; null where it
 * has none. polony drops its own.
 * @param ownSids of statements that polony replaces or removes with its next change
 */
export function explainForeignPrincipals(
  policy: BucketPolicy,
  ownSids: readonly string[],
  isGone: IsGone = isUniqueId,
): Explanation | null {
  const gone = findGoneStatements(policy, isGone).filter(({ name }) => !ownSids.includes(name));
  if (gone.length === 0) return null;
  const statements = gone.map(({ name, principals }) => `${principals.join(', ')} in the statement ${name}`).join('; ');
  return {
    kind: 'DELETED_PRINCIPAL',
    message:
      'S3 rejects every change of the policy, because statements that others wrote or changed name roles or users ' +
      `that do not exist any more: ${statements}`,
    remedy:
      'Take these principals out of the statements in the bucket policy, or remove the statements if they name nobody ' +
      'else. polony never changes statements of others',
  };
}

/** Why S3 rejects a grant to somebody who does not exist. */
export function explainUnknownPrincipal(principal: string): Explanation {
  return {
    kind: 'PRINCIPAL_NOT_FOUND',
    message: `AWS does not know a principal of the policy: ${principal}`,
    remedy: 'Check the ARN and its path. Roles and users must exist before you grant them access',
  };
}

/**
 * Why a grant ended by itself: its principal was deleted.
 * @param shown what the policy has in its place
 * @param isDropped whether polony has taken its statements out of the policy
 */
export function explainGonePrincipal(principal: string, shown: readonly string[], isDropped: boolean): Blocked {
  const ids = shown.filter(isUniqueId);
  const seen = ids.length === 0 ? '' : ` The policy showed ${ids.join(', ')} in its place.`;
  return {
    kind: 'DELETED_PRINCIPAL',
    message:
      `${principal} was deleted, so this grant allows nobody anything.${seen} A role or user of the same name that was ` +
      'created since does not get the access',
    remedy:
      (isDropped
        ? 'polony took the statements out of the policy, because S3 rejects every policy with a deleted principal. '
        : 'polony takes the statements out with its next change of the policy. ') +
      'Remove the grant. If the principal exists again and needs the access, repair the grant.',
  };
}
