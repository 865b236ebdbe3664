import type { ApplicationFailure } from '@temporalio/common';
import { classifyAwsError } from '../../aws/errors.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { type BucketPolicy, deletedPrincipals, openStatements } from '../../domain/grants/bucketPolicy.js';
import { parseDenial } from '../../domain/iam/denials.js';
import type { GrantRow } from '../../store/grants/load.js';
import { getBlocked, toActivityFailure, withoutContinuation } from '../failures.js';

/**
 * What to do for a grant: put it into the policy, remove it because somebody asked, or remove it because it expired.
 */
export type GrantTask = 'grant' | 'remove' | 'expire';

/** AWS, or the state of the policy, does not allow a change. Trying again does not help until a person acts. */
export class GrantRejected extends Error {
  constructor(readonly problem: Blocked) {
    super(problem.message);
  }
}

/** An AWS call that failed while a policy was changed. */
interface FailedPolicyCall {
  /** IAM action, for example `s3:PutBucketPolicy`. */
  action: string;
  row: GrantRow;
  task: GrantTask;
  /** The policy before the change, where it is known. */
  policy?: BucketPolicy;
}

type Explanation = Pick<Blocked, 'kind' | 'message' | 'remedy'>;

/** What an error of an AWS call means: a rejection where a person must act, otherwise what the activity fails with. */
export function explainPolicyError(error: unknown, call: FailedPolicyCall): GrantRejected | ApplicationFailure {
  const { action, row } = call;
  const resource = `arn:${row.partition}:s3:::${row.bucket}`;
  const explanation =
    explainBlockedPublicAccess(error, call) ?? explainBucketMismatch(error, row) ?? explainMalformed(error, call);
  if (explanation !== undefined) {
    const remedy = `${explanation.remedy}. ${describeNextStep(call.task)}`;
    return new GrantRejected({ ...explanation, action, resource, remedy });
  }
  const failure = toActivityFailure(error, {
    action,
    resource,
    whenNotFound: 'Check the bucket of the storage connection.',
  });
  const blocked = getBlocked(failure);
  return blocked === undefined
    ? failure
    : new GrantRejected({
        ...blocked,
        remedy: `${adaptRemedy(blocked.remedy, call.task)}${hintAtOpenStatements(call, error)}`,
      });
}

/** What happens after the remedy. polony does not repeat a grant that was rejected: its requester was told. */
export function describeNextStep(task: GrantTask): string {
  return task === 'grant' ? 'Then repair the grant.' : 'polony then tries again automatically.';
}

/** Executions continue automatically after the remedy of a failure; grants may not. */
function adaptRemedy(remedy: string, task: GrantTask): string {
  return `${withoutContinuation(remedy)}. ${describeNextStep(task)}`;
}

function findOpenStatements({ policy }: FailedPolicyCall): string[] {
  return policy === undefined ? [] : openStatements(policy);
}

/** S3 answers a plain AccessDenied where Block Public Access rejects a policy, so that may be the reason too. */
function hintAtOpenStatements(call: FailedPolicyCall, error: unknown): string {
  const open = findOpenStatements(call);
  if (parseDenial(classifyAwsError(error).message).deny !== undefined) return '';
  return call.action === 's3:PutBucketPolicy' && open.length > 0
    ? ' If the action is allowed already, S3 Block Public Access rejects the policy because of its statements for ' +
        `everybody: ${open.join(', ')}.`
    : '';
}

function explainBlockedPublicAccess(error: unknown, call: FailedPolicyCall): Explanation | undefined {
  const { kind, message } = classifyAwsError(error);
  if (kind !== 'denied' || !/BlockPublicPolicy|public polic/i.test(message)) return undefined;
  const open = findOpenStatements(call);
  const reason = open.length === 0 ? message : `it has statements for everybody: ${open.join(', ')}`;
  return {
    kind: 'PUBLIC_POLICY_BLOCKED',
    message: `S3 Block Public Access rejects the policy because it is public: ${reason}`,
    remedy:
      'polony only adds statements for one principal, which are never public. Restrict or remove the statements for ' +
      'everybody',
  };
}

function explainBucketMismatch(error: unknown, row: GrantRow): Explanation | undefined {
  const { code } = classifyAwsError(error);
  if (code === 'MethodNotAllowed')
    return {
      kind: 'NOT_BUCKET_OWNER',
      message:
        `The bucket ${row.bucket} does not belong to the provider's account. Only the account of a bucket may change ` +
        'its policy',
      remedy: 'Connect the bucket with a provider of its own account',
    };
  if (/Redirect|IllegalLocation|AuthorizationHeaderMalformed/.test(code))
    return {
      kind: 'WRONG_REGION',
      message: `The bucket ${row.bucket} is not in the region of its storage connection`,
      remedy: 'Correct the region of the storage connection',
    };
  return undefined;
}

function explainMalformed(error: unknown, call: FailedPolicyCall): Explanation | undefined {
  const { code, message } = classifyAwsError(error);
  if (!code.includes('MalformedPolicy')) return undefined;
  if (/principal/i.test(message)) return explainUnknownPrincipal(error, call);
  if (/size|large|exceed/i.test(message))
    return {
      kind: 'POLICY_TOO_LARGE',
      message: `S3 rejects the policy because it is too large: ${message}`,
      remedy: 'Remove grants or statements',
    };
  return {
    kind: 'MALFORMED_POLICY',
    message: `S3 rejects the policy: ${message}`,
    remedy: 'Correct what S3 names in the policy of the bucket',
  };
}

function explainUnknownPrincipal(error: unknown, { row, policy }: FailedPolicyCall): Explanation {
  const deleted = policy === undefined ? [] : deletedPrincipals(policy);
  if (deleted.length > 0) {
    const statements = deleted.map(({ name, ids }) => `${ids.join(', ')} in the statement ${name}`).join('; ');
    return {
      kind: 'DELETED_PRINCIPAL',
      message: `S3 rejects the policy because it names roles or users that were deleted: ${statements}`,
      remedy: 'Remove these statements from the policy, or remove the grants where polony added them',
    };
  }
  const { Detail: detail } = error as { Detail?: string };
  return {
    kind: 'PRINCIPAL_NOT_FOUND',
    message: `AWS does not know a principal of the policy: ${detail ?? row.principal}`,
    remedy: 'Check the ARN and its path. Roles and users must exist before you grant them access',
  };
}
