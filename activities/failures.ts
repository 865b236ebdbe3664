import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { OpenRoleError, SessionError } from '../aws/sessions.js';
import { type AwsError, classifyAwsError, isPolicyRefused } from '../aws/errors.js';
import { REQUIRE_EXTERNAL_ID } from '../domain/connections/provider.js';
import { InputError } from '../domain/errors.js';
import { type Blocked, describeBlocked } from '../domain/executions/execution.js';
import { type Denial, explainDenial, parseDenial, PROVIDER_IDENTITY } from '../domain/iam/denials.js';
import { findOtherRemedy } from '../domain/iam/otherReasons.js';
import type { PermissionScope } from '../domain/iam/permissions.js';
import { SecretError } from '../store/secrets.js';

/** An AWS call, so that its failure can say what is missing. */
export interface AwsCall {
  /** IAM action, for example `omics:StartRun`. */
  action: string;
  /** ARN of the resource that it was made on. */
  resource: string;
  /** What to do when AWS does not find the resource; a general remedy where it is absent. */
  whenNotFound?: string;
  /** Where permissions must hold, as far as known: for the statement that grants what is missing. */
  scope?: PermissionScope;
}

/** Whose policies decide about sessions: those with access keys, and those of AssumeRole. */
const PROVIDER_USER = "the provider's user";
const OWN_IDENTITY = "polony's own AWS identity";

/** How a remedy ends where the workflow needs nothing else. */
const CONTINUES = 'polony then continues automatically.';

/** @returns a remedy without what polony does afterwards, and without the punctuation before that. */
export function withoutContinuation(remedy: string): string {
  return remedy.replace(CONTINUES, '').replace(/[.;]? *$/, '');
}

/** A failure that a person can fix. Workflows wait for that instead of failing. */
export function createBlockedFailure(blocked: Blocked): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'Blocked',
    message: describeBlocked(blocked),
    details: [withOwner(blocked)],
  });
}

/** Names the operators of polony as those who must act, where the policy that denies a request is theirs. */
function withOwner(blocked: Blocked): Blocked {
  const { policy } = parseDenial(blocked.message);
  const isOurs =
    policy === 'vpcEndpoint' ||
    policy === 'session' ||
    // Who assumes a role is polony itself. Trust policies are the customer's.
    (blocked.kind === 'ROLE_NOT_ASSUMABLE' && policy === 'identity');
  return isOurs ? { ...blocked, owner: 'polony' } : blocked;
}

/** The {@link Blocked} of a failure that {@link createBlockedFailure} made. */
export function getBlocked(error: unknown): Blocked | undefined {
  return error instanceof ApplicationFailure && error.type === 'Blocked' ? (error.details?.[0] as Blocked) : undefined;
}

/**
 * What an error of an AWS call means to a workflow: blocked where a person can fix it, retried where it passes,
 * failed for good otherwise.
 */
export function toActivityFailure(error: unknown, call: AwsCall): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  if (error instanceof SessionError) return fromSessionError(error);
  if (error instanceof InputError) {
    return createBlockedFailure({
      kind: 'INVALID_FLOW',
      message: error.message,
      remedy:
        'If you gave the parameter to this execution, cancel it and start another one without it. Otherwise change the ' +
        `flow's parameters or parameterNames; ${CONTINUES}`,
    });
  }
  if (error instanceof SecretError) {
    return createBlockedFailure({
      kind: 'SECRET_UNREADABLE',
      message: error.message,
      remedy:
        'Start the workers with every key in POLONY_ENCRYPTION_KEYS that secrets were encrypted with, or send the ' +
        `provider's secret access key again with PATCH; ${CONTINUES}`,
    });
  }
  return fromAwsError(classifyAwsError(error), call);
}

function fromSessionError({ action, principal, cause }: SessionError): ApplicationFailure {
  if (cause instanceof OpenRoleError)
    return createBlockedFailure({
      kind: 'EXTERNAL_ID_IGNORED',
      action,
      resource: principal,
      message:
        `${cause.message}. Another customer of this installation could reach this account through it (confused ` +
        'deputy), so polony does not use it.',
      remedy: `${REQUIRE_EXTERNAL_ID}; ${CONTINUES}`,
    });
  const error = classifyAwsError(cause);
  if (!['denied', 'invalid', 'not-found', 'unknown'].includes(error.kind))
    return fromAwsError(error, { action, resource: principal });
  if (isPolicyRefused(cause)) return fromRefusedPolicy(error, principal);
  return action === 'sts:AssumeRole' ? fromRefusedRole(error, principal) : fromRefusedKeys(error, principal);
}

function fromRefusedRole(error: AwsError, role: string): ApplicationFailure {
  const call = { action: 'sts:AssumeRole', resource: role };
  const denial = parseDenial(error.message, error.code);
  // AWS reports a wrong external ID as a trust policy that does not allow the call.
  const isTrustMissing =
    denial.deny !== 'explicit' &&
    (denial.policy === 'resource' || denial.policy === 'trust') &&
    (denial.action ?? call.action).toLowerCase() === call.action.toLowerCase();
  const remedy =
    isReasonKnown(denial) && !isTrustMissing
      ? explainDenial(denial, call, { identity: OWN_IDENTITY }).remedy
      : "Check that the role exists, that its trust policy names polony's account, and that the trust policy has the " +
        "provider's external ID";
  return createBlockedFailure({
    kind: 'ROLE_NOT_ASSUMABLE',
    ...call,
    message: `AWS refused to let polony assume ${role}: ${error.message}`,
    remedy: `${remedy}; ${CONTINUES}`,
  });
}

function fromRefusedPolicy(error: AwsError, accessKeyId: string): ApplicationFailure {
  return createBlockedFailure({
    kind: 'SESSION_POLICY_REFUSED',
    action: 'sts:GetFederationToken',
    resource: accessKeyId,
    message: `AWS does not accept the session policy that polony sends for the access key ${accessKeyId}: ${error.message}`,
    remedy:
      'The access key is not at fault. Look for unusual characters in the prefixes and execution roles of the ' +
      `provider's connections, or use a provider with a role, which needs no session policy; ${CONTINUES}`,
  });
}

function fromRefusedKeys(error: AwsError, accessKeyId: string): ApplicationFailure {
  const call = { action: 'sts:GetFederationToken', resource: '*' };
  // AWS also denies unknown and inactive keys, where no statement helps.
  const isPermissionMissing = error.kind === 'denied' && error.code.startsWith('AccessDenied');
  const denial = parseDenial(error.message, error.code);
  const explained = explainDenial({ ...denial, resource: '*' }, call, { identity: PROVIDER_USER });
  const remedy =
    isPermissionMissing && isReasonKnown(denial)
      ? explained.remedy
      : "Check that the access key is active and that the user's policy allows sts:GetFederationToken. If the access " +
        'keys were replaced, send the provider the new ones with PATCH';
  return createBlockedFailure({
    kind: 'ACCESS_KEYS_REFUSED',
    action: call.action,
    resource: accessKeyId,
    message: `AWS refused a session for the access key ${accessKeyId}: ${error.code}: ${error.message}`,
    remedy: `${remedy}; ${CONTINUES}`,
    ...(isPermissionMissing && explained.statement !== undefined && { statement: explained.statement }),
  });
}

/** Whether AWS says why it refuses a request: which kind of policy denies it, that a Deny does, or another reason. */
function isReasonKnown({ deny, policy, otherRemedy }: Denial): boolean {
  return deny !== undefined || policy !== undefined || otherRemedy !== undefined;
}

function fromAwsError(error: AwsError, call: AwsCall): ApplicationFailure {
  const message = `${call.action} on ${call.resource}: ${error.code}: ${error.message}`;
  const block = (kind: string, remedy: string): ApplicationFailure =>
    createBlockedFailure({ kind, action: call.action, resource: call.resource, message, remedy });
  switch (error.kind) {
    case 'denied':
      return fromDenial(error, call, message);
    case 'quota':
      return block('QUOTA', `Raise the quota in Service Quotas, or wait until other runs have ended; ${CONTINUES}`);
    case 'not-found':
      return block('NOT_FOUND', call.whenNotFound ?? `Check that it exists in this account and region; ${CONTINUES}`);
    case 'invalid':
      return block(
        'INVALID_REQUEST',
        `${findOtherRemedy(error.code, '') ?? 'Correct what AWS names in the flow or its connections'}; ${CONTINUES}`,
      );
    case 'throttled':
      return createTransientFailure('Throttled', message);
    case 'conflict':
      return createTransientFailure('Conflict', message);
    case 'expired':
      return createTransientFailure('ExpiredSession', message);
    case 'unreachable':
    case 'network':
      return createTransientFailure('Network', message);
    case 'internal':
      return createTransientFailure('AwsInternal', message);
    case 'unknown':
      return ApplicationFailure.create({ type: 'Unexpected', message });
  }
}

function fromDenial(error: AwsError, call: AwsCall, message: string): ApplicationFailure {
  const denial = parseDenial(error.message, error.code);
  const { remedy, statement, resource } = explainDenial(denial, call, {
    identity: PROVIDER_IDENTITY,
    scope: call.scope,
  });
  return createBlockedFailure({
    kind: 'ACCESS_DENIED',
    action: denial.action ?? call.action,
    resource: resource ?? call.resource,
    message,
    remedy: `${remedy}; ${CONTINUES}`,
    ...(statement !== undefined && { statement }),
  });
}

/** Temporal retries it. Benign: it passes, so it is no reason for an alert. */
function createTransientFailure(type: string, message: string): ApplicationFailure {
  return ApplicationFailure.create({ type, message, category: ApplicationFailureCategory.BENIGN });
}
