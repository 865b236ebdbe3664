import type { FastifyRequest } from 'fastify';
import {
  askIdentity,
  grantedFederation,
  inspectProvider,
  type ProviderToInspect,
  refusedFederation,
} from '../../../aws/providerInspection.js';
import { type AwsSessions, type ProviderAccess, SessionError } from '../../../aws/sessions.js';
import { partitionOf } from '../../../domain/regions.js';
import {
  concludeVerification,
  type Finding,
  type Probe,
  reportPermission,
  type VerificationReport,
} from '../../../domain/verification/report.js';
import { loggableError } from '../../../domain/errors.js';
import { newId } from '../../../store/database.js';
import { inTransaction } from '../../../store/transaction.js';
import { awsApiError } from '../../aws.js';
import type { ApiDependencies } from '../../dependencies.js';
import { ApiError, withTimeout } from '../../errors.js';
import type { RequestOf } from '../../requests.js';
import { Slots } from '../../slots.js';
import { presentDraftVerification } from '../../verification/present.js';
import { checkExternalIdIsOwn, checkNewProvider, generateExternalId } from './rules.js';
import type { operations, ProviderBody } from './schemas.js';

/** How many drafts a process verifies at once, how many requests wait, and how long one may take, in milliseconds. */
const slots = new Slots(4, 20, 'verifying too many providers');
const VERIFY_MS = 30_000;

/**
 * Verifies a provider that is not saved. This happens in the API, because what a workflow gets is stored in Temporal,
 * and access keys must not be.
 */
export async function verifyDraft(dependencies: ApiDependencies, request: RequestOf<typeof operations.verifyDraft>) {
  checkNewProvider(request);
  const access = accessOf(request.body);
  // A new id, because no provider has these credentials yet.
  const id = newId();
  if (access.type === 'role')
    await inTransaction(dependencies.db, (transaction) => checkExternalIdIsOwn(transaction, id, access));
  const sessions = dependencies.aws.ofDraft(access);
  try {
    const inspection = slots.use(() => inspect(request, sessions, id, access, dependencies.allowsOpenRoles ?? false));
    const report = await withTimeout(inspection, VERIFY_MS).catch((error: unknown) => {
      if (error instanceof ApiError) throw error;
      request.log.error({ error: loggableError(error) }, 'Verifying a provider that is not saved failed');
      throw new ApiError(
        503,
        'AWS_UNAVAILABLE',
        'AWS does not answer at the moment. Nothing was saved. Try again later',
      );
    });
    return {
      verification: presentDraftVerification(report),
      externalId: access.type === 'role' ? access.externalId : null,
    };
  } finally {
    sessions.close();
  }
}

/** The credentials in a body that has been checked. */
function accessOf(body: ProviderBody): ProviderAccess {
  const common = { region: body.defaultRegion, version: 'draft' };
  if (body.credentialType === 'role')
    return {
      ...common,
      type: 'role',
      roleArn: body.roleArn!.trim(),
      externalId: body.externalId ?? generateExternalId(),
    };
  return {
    ...common,
    type: 'accessKeys',
    accessKeyId: body.accessKeyId!.trim(),
    secretAccessKey: body.secretAccessKey!.trim(),
    // No connection uses it yet.
    scope: { partition: partitionOf(body.defaultRegion), folders: [], executionRoleArns: [] },
  };
}

async function inspect(
  request: FastifyRequest,
  sessions: AwsSessions,
  id: string,
  access: ProviderAccess,
  allowsOpenRoles: boolean,
): Promise<VerificationReport> {
  const provider: ProviderToInspect = {
    credential_type: access.type,
    role_arn: access.type === 'role' ? access.roleArn : null,
    external_id: access.type === 'role' ? access.externalId : null,
    account_id: null,
    default_region: access.region,
  };
  let sessionSeconds: number;
  try {
    sessionSeconds = (await sessions.session(id)).seconds;
  } catch (error) {
    return conclude(refusedFederation(provider, error), [explainRefusal(request, error, access)], null, null);
  }
  const { identity, probe } = await askIdentity(sessions, id, access.region);
  provider.account_id = identity?.accountId ?? null;
  const findings = await inspectProvider(sessions, provider, { identity, sessionSeconds }, allowsOpenRoles);
  return conclude([...grantedFederation(provider), probe], findings, identity, sessionSeconds);
}

/** @throws ApiError where the error says nothing about the credentials */
function explainRefusal(request: FastifyRequest, error: unknown, access: ProviderAccess): Finding {
  if (!(error instanceof SessionError)) throw error;
  const answer = awsApiError(request, error, { action: error.action, resource: error.principal });
  if (answer.status === 503) throw answer;
  return {
    severity: 'error',
    code: answer.reason,
    message: answer.message,
    remedy:
      access.type === 'role'
        ? "Correct the role's trust policy or the fields, and verify again. AWS needs some seconds to apply a change."
        : "Correct the access key, its user's policy or the fields, and verify again.",
  };
}

function conclude(
  probes: readonly Probe[],
  findings: Finding[],
  identity: VerificationReport['identity'],
  sessionSeconds: number | null,
): VerificationReport {
  const permissions = probes.map((probe) =>
    reportPermission(probe, { ...(identity !== null && { accountId: identity.accountId }) }),
  );
  const parts = { permissions, capabilities: [], findings };
  return { ...concludeVerification(parts, []), ...parts, identity, sessionSeconds };
}
