import { Type } from 'typebox';
import { CAPABILITIES } from '../../domain/iam/permissions.js';
import { VERIFIED_KINDS } from '../../domain/verification/report.js';
import { component } from '../openapi/components.js';
import { closed, errors, IdParams, oneOf, responseBody, strings, Timestamp } from '../openapi/shared.js';
import type { KindEntry } from './kinds.js';

const AwsError = Type.Object({ code: Type.String(), message: Type.String() }, closed);

const PermissionReport = Type.Object(
  {
    action: Type.String(),
    requirement: oneOf(['required', 'optional']),
    result: oneOf(['granted', 'denied', 'unknown']),
    purpose: Type.String(),
    unlocks: Type.String(),
    capabilities: strings('Capabilities that need this permission, fully or in part'),
    resource: Type.String(),
    detail: Type.String({ description: 'How polony tested the permission, or why it did not' }),
    error: Type.Union([AwsError, Type.Null()], { description: 'The error that AWS returned' }),
    remedy: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      description: 'What to do about a denial, by the reason that AWS gives. Null if AWS denied nothing',
    }),
    statement: Type.Unsafe<unknown>({
      description:
        'The smallest policy statement that grants the permission. Null if it is granted, ' +
        'or if no Allow statement in the policy of the role or user can help',
    }),
    of: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      description: 'In the report of a provider: the name of the provider, connection or flow with this result',
    }),
  },
  closed,
);

const CapabilityReport = Type.Object(
  {
    capability: oneOf(CAPABILITIES),
    state: oneOf(['ready', 'limited', 'notReady']),
    missing: strings('Permissions that are denied'),
    unknown: strings('Permissions that polony could not test yet'),
  },
  closed,
);

const Finding = Type.Object(
  {
    severity: oneOf(['error', 'warning', 'info']),
    code: Type.String(),
    message: Type.String(),
    remedy: Type.String(),
  },
  closed,
);

const ReportPart = Type.Object(
  {
    kind: oneOf(VERIFIED_KINDS),
    id: Type.String(),
    name: Type.String(),
    status: Type.String(),
    description: Type.String(),
    timeCompleted: Timestamp,
  },
  closed,
);

const result = {
  status: oneOf(['CONNECTED', 'WARNING', 'FAILED'].map((status) => `VERIFICATION_STATUS_${status}`)),
  description: Type.String(),
  permissions: Type.Array(PermissionReport),
  capabilities: Type.Array(CapabilityReport),
  findings: Type.Array(Finding),
  identity: Type.Union([Type.Object({ arn: Type.String(), accountId: Type.String() }, closed), Type.Null()]),
  sessionSeconds: Type.Unsafe<number | null>({ type: ['integer', 'null'] }),
};
/** What the verification of a provider that is not saved found. */
export const DraftVerification = component('DraftVerification', Type.Object(result, closed));

const Verification = component(
  'Verification',
  Type.Object(
    {
      kind: oneOf(VERIFIED_KINDS),
      resourceId: Type.String(),
      ...result,
      parts: Type.Array(ReportPart, {
        description: 'In the report of a provider: the provider, connections and flows that it combines',
      }),
      timeStarted: Timestamp,
      timeCompleted: Timestamp,
    },
    closed,
  ),
);

/** The operations on the verification of one kind of resource, as the OpenAPI document describes them. */
export function verificationOperations({ kind, noun, service, typeName }: KindEntry) {
  const tags = [service];
  return {
    verify: {
      operationId: `${service}_Verify${typeName}`,
      tags,
      summary: `Verify a ${noun} now`,
      description:
        kind === 'provider'
          ? 'This also verifies the connections and flows of the provider. To read the results, get `…/verification`.'
          : 'To read the results, get `…/verification`.',
      params: IdParams,
      response: {
        202: responseBody('The Temporal workflows that verify it have started', {
          workflowIds: Type.Array(Type.String()),
        }),
        ...errors(404),
      },
    },
    get: {
      operationId: `${service}_Get${typeName}Verification`,
      tags,
      summary: `Get the last verification report of a ${noun}`,
      params: IdParams,
      response: { 200: responseBody('The report', { verification: Verification }), ...errors(404) },
    },
  };
}
