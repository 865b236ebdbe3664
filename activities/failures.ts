import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { SessionError } from '../aws/sessions.js';
import { type AwsError, classifyAwsError } from '../aws/errors.js';
import { InputError } from '../domain/errors.js';
import type { Blocked } from '../domain/executions/execution.js';
import { findPermission, type PermissionScope, statementFor } from '../domain/iam/permissions.js';
import { SecretError } from '../store/secrets.js';

/** Which AWS call was made, so that its refusal can say what is missing. */
export interface AwsCall {
  /** IAM action, for example `omics:StartRun`. */
  action: string;
  /** ARN of what it was made on. */
  resource: string;
  /** What to do when AWS does not find it; where absent, the refusal says it. */
  whenNotFound?: string;
  /** What is known of where permissions must hold, for the statement that grants what lacks. */
  scope?: PermissionScope;
}

/** A failure that a person can mend. Workflows wait on it instead of failing (docs/design.md, Workflows). */
export function createBlockedFailure(blocked: Blocked): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'Blocked',
    message: `${blocked.message} ${blocked.remedy}`,
    details: [blocked],
  });
}

/** The {@link Blocked} of a failure that {@link createBlockedFailure} made. */
export function getBlocked(error: unknown): Blocked | undefined {
  return error instanceof ApplicationFailure && error.type === 'Blocked' ? (error.details?.[0] as Blocked) : undefined;
}

function retryable(type: string, message: string): ApplicationFailure {
  return ApplicationFailure.create({ type, message, category: ApplicationFailureCategory.BENIGN });
}

/**
 * What an error of an AWS call means to a workflow: blocked where a person can mend it, retried where time can,
 * failed for good where neither can.
 */
export function toActivityFailure(error: unknown, call: AwsCall): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  if (error instanceof InputError) {
    return createBlockedFailure({
      kind: 'INVALID_FLOW',
      message: error.message,
      remedy: "Change the flow's parameters or parameterNames; it goes on by itself.",
    });
  }
  if (error instanceof SessionError) {
    const { action, principal } = error;
    const beneath = classifyAwsError(error.cause);
    if (!['denied', 'invalid', 'not-found', 'unknown'].includes(beneath.kind))
      return ofKind(beneath, { action, resource: principal });
    return createBlockedFailure(
      action === 'sts:AssumeRole'
        ? {
            kind: 'ROLE_NOT_ASSUMABLE',
            action,
            resource: principal,
            message: `AWS refused to let polony assume ${principal}: ${beneath.message}`,
            remedy:
              "Check that the role exists, that its trust policy names polony's account, and that the provider's external ID is the one in the trust policy.",
          }
        : {
            kind: 'ACCESS_KEYS_REFUSED',
            action,
            resource: principal,
            message: `AWS refused a session for the access key ${principal}: ${beneath.code}: ${beneath.message}`,
            remedy:
              "Check that the access key is active and that the user's policy allows sts:GetFederationToken; give the provider new keys by PATCH where they were replaced.",
            ...(beneath.kind === 'denied' && { statement: { Effect: 'Allow', Action: [action], Resource: '*' } }),
          },
    );
  }
  if (error instanceof SecretError) {
    return createBlockedFailure({
      kind: 'SECRET_UNREADABLE',
      message: error.message,
      remedy:
        'Start the workers with every key that secrets were encrypted with in POLONY_ENCRYPTION_KEYS, or give the provider its secret access key anew by PATCH; it goes on by itself.',
    });
  }
  return ofKind(classifyAwsError(error), call);
}

/** One call may need several permissions (StartRun: iam:PassRole too); AWS's words name the one that lacks, and on what. */
const NAMED = /not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+) on resource:? "?(arn:[^\s"]+|\*)/;

/** The action that a denial is about, where AWS says it. */
export function findDeniedAction(error: unknown): string | undefined {
  return NAMED.exec(classifyAwsError(error).message)?.[1];
}

/** For a row of the vendor's table all that it needs, so that a person mends it in one go; AWS names one resource at a time. */
function statementOf(action: string, resource: string, scope: PermissionScope | undefined): unknown {
  const row = findPermission(action);
  return row !== undefined && scope !== undefined
    ? statementFor(row.action, scope)
    : { Effect: 'Allow', Action: [action], Resource: resource };
}

function ofKind(error: AwsError, call: AwsCall): ApplicationFailure {
  const said = `${call.action} on ${call.resource}: ${error.code}: ${error.message}`;
  switch (error.kind) {
    case 'denied': {
      const named = NAMED.exec(error.message);
      const action = named?.[1] ?? call.action;
      const resource = named?.[2]?.replace(/[.,]$/, '') ?? call.resource;
      return createBlockedFailure({
        kind: 'ACCESS_DENIED',
        action,
        resource,
        message: said,
        remedy: `Allow ${action} on ${resource} in the policy of the provider's role; it goes on by itself.`,
        statement: statementOf(action, resource, call.scope),
      });
    }
    case 'quota':
      return createBlockedFailure({
        kind: 'QUOTA',
        action: call.action,
        resource: call.resource,
        message: said,
        remedy: 'Raise the quota in Service Quotas, or wait until other runs have ended; it goes on by itself.',
      });
    case 'not-found':
      return createBlockedFailure({
        kind: 'NOT_FOUND',
        action: call.action,
        resource: call.resource,
        message: said,
        remedy: call.whenNotFound ?? 'Check that it exists in this account and region; it goes on by itself.',
      });
    case 'invalid':
      return createBlockedFailure({
        kind: 'INVALID_REQUEST',
        action: call.action,
        resource: call.resource,
        message: said,
        remedy: 'Correct what AWS names in the flow or its connections; it goes on by itself.',
      });
    case 'throttled':
      return retryable('Throttled', said);
    case 'conflict':
      return retryable('Conflict', said);
    case 'expired':
      return retryable('ExpiredSession', said);
    case 'unreachable':
    case 'network':
      return retryable('Network', said);
    case 'internal':
      return retryable('AwsInternal', said);
    case 'unknown':
      return ApplicationFailure.create({ type: 'Unexpected', message: said });
  }
}
