import type { ApplicationFailure } from '@temporalio/common';
import { classifyAwsError } from '../../aws/errors.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { type BucketPolicy, openStatements } from '../../domain/grants/bucketPolicy.js';
import {
  explainForeignPrincipals,
  explainUnknownPrincipal,
  type Explanation,
  type IsGone,
} from '../../domain/grants/gonePrincipals.js';
import { parseDenial } from '../../domain/iam/denials.js';
import { getBlocked, toActivityFailure, withoutContinuation } from '../failures.js';
import type { TaskKind } from './tasks.js';

/**
 * AWS, or the state of the policy, does not allow a change. Trying again does not help until a person acts. The remedy
 * does not say what happens afterwards: see {@link addNextStep}.
 */
export class GrantRejected extends Error {
  constructor(readonly problem: Blocked) {
    super(problem.message);
  }
}

/** An AWS call that failed while a policy was changed. */
interface FailedPolicyCall {
  /** IAM action, for example `s3:PutBucketPolicy`. */
  action: string;
  bucket: string;
  partition: string;
  /** The principals that were to get access. */
  principals: readonly string[];
  /** The policy before the change, where it is known. */
  policy?: BucketPolicy;
  /** Sids that the change replaces or removes. */
  ownSids: readonly string[];
  isGone?: IsGone;
}

/** What an error of an AWS call means: a rejection where a person must act, otherwise what the activity fails with. */
export function explainPolicyError(error: unknown, call: FailedPolicyCall): GrantRejected | ApplicationFailure {
  const { action, bucket, partition } = call;
  const resource = `arn:${partition}:s3:::${bucket}`;
  const explanation =
    explainBlockedPublicAccess(error, call) ?? explainBucketMismatch(error, call) ?? explainMalformed(error, call);
  if (explanation !== undefined) return new GrantRejected({ ...explanation, action, resource });
  const failure = toActivityFailure(error, {
    action,
    resource,
    whenNotFound: 'Check the bucket of the storage connection.',
  });
  const blocked = getBlocked(failure);
  if (blocked === undefined) return failure;
  // Executions continue automatically after the remedy of a failure; grants may not.
  const remedy = `${withoutContinuation(blocked.remedy)}${hintAtOpenStatements(call, error)}`;
  return new GrantRejected({ ...blocked, remedy });
}

/** Says in the remedy of a {@link GrantRejected} what happens afterwards. */
export function addNextStep(problem: Blocked, kind: TaskKind): Blocked {
  // polony does not repeat a grant that was rejected: its requester was told.
  const nextStep = kind === 'grant' ? 'Then repair the grant.' : 'polony then tries again automatically.';
  return { ...problem, remedy: `${problem.remedy}. ${nextStep}` };
}

function findOpenStatements({ policy }: FailedPolicyCall): string[] {
  return policy === undefined ? [] : openStatements(policy);
}

/** S3 answers a plain AccessDenied where Block Public Access rejects a policy, so that may be the reason too. */
function hintAtOpenStatements(call: FailedPolicyCall, error: unknown): string {
  const open = findOpenStatements(call);
  if (parseDenial(classifyAwsError(error).message).deny !== undefined) return '';
  return call.action === 's3:PutBucketPolicy' && open.length > 0
    ? '. If the action is allowed already, S3 Block Public Access rejects the policy because of its statements for ' +
        `everybody: ${open.join(', ')}`
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

function explainBucketMismatch(error: unknown, { bucket }: FailedPolicyCall): Explanation | undefined {
  const { code } = classifyAwsError(error);
  if (code === 'MethodNotAllowed')
    return {
      kind: 'NOT_BUCKET_OWNER',
      message:
        `The bucket ${bucket} does not belong to the provider's account. Only the account of a bucket may change ` +
        'its policy',
      remedy: 'Connect the bucket with a provider of its own account',
    };
  if (/Redirect|IllegalLocation|AuthorizationHeaderMalformed/.test(code))
    return {
      kind: 'WRONG_REGION',
      message: `The bucket ${bucket} is not in the region of its storage connection`,
      remedy: 'Correct the region of the storage connection',
    };
  return undefined;
}

function explainMalformed(error: unknown, call: FailedPolicyCall): Explanation | undefined {
  const { code, message } = classifyAwsError(error);
  if (!/MalformedPolicy|PolicyTooLarge/.test(code)) return undefined;
  if (/principal/i.test(message)) return explainPrincipals(error, call);
  if (code === 'PolicyTooLarge' || /size|large|exceed/i.test(message))
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

function explainPrincipals(error: unknown, { principals, policy, ownSids, isGone }: FailedPolicyCall): Explanation {
  const foreign = policy === undefined ? null : explainForeignPrincipals(policy, ownSids, isGone);
  if (foreign !== null) return foreign;
  const named = readUnknownPrincipals(error);
  return explainUnknownPrincipal((named.length > 0 ? named : principals).join(', '));
}

/**
 * The principals that S3 names when it rejects a policy because of them. The error has them in `Detail`, for example
 * `"AWS" : "arn:aws:iam::111122223333:role/Gone"`.
 */
export function readUnknownPrincipals(error: unknown): string[] {
  const { code, message } = classifyAwsError(error);
  const { Detail: detail } = error as { Detail?: unknown };
  if (!code.includes('MalformedPolicy') || !/principal/i.test(message) || typeof detail !== 'string') return [];
  return [...detail.matchAll(/arn:[^\s"]+|\bA[A-Z]{3}[A-Z0-9]{12,}\b|\b\d{12}\b/g)].map(([principal]) => principal);
}
