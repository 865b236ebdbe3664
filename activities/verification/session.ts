import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { classifyAwsError } from '../../aws/errors.js';
import { type AwsSessions, type Session, SessionError } from '../../aws/sessions.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { partitionOf } from '../../domain/regions.js';
import type { Probe } from '../../domain/verification/report.js';
import type { ProviderRow } from '../../store/connections/providers.js';
import { SecretError } from '../../store/secrets.js';
import { getBlocked, toActivityFailure } from '../failures.js';
import type { SessionReport } from './inspection.js';
import { unprobed } from './probes.js';

/**
 * Gets a new session of a provider and asks AWS for its identity.
 * @throws ApplicationFailure where AWS is out of reach or throttles, which says nothing about the provider.
 */
export async function inspectSession(aws: AwsSessions, provider: ProviderRow): Promise<SessionReport> {
  let session: Session;
  try {
    aws.forget(provider.id);
    session = await aws.session(provider.id);
  } catch (error) {
    return reportRefusedSession(provider, error);
  }
  const federation: Probe[] = usesAccessKeys(provider)
    ? [
        {
          action: 'sts:GetFederationToken',
          resource: federatedUsers(provider),
          result: 'granted',
          detail: 'A session was created with the access keys',
        },
      ]
    : [];
  const { identity, probe } = await askIdentity(aws, provider);
  return {
    identity,
    sessionSeconds: session.seconds,
    probes: [...federation, probe],
    findings: [],
    leftOut: session.leftOut ?? [],
  };
}

function usesAccessKeys(provider: ProviderRow): boolean {
  return provider.credential_type === 'accessKeys';
}

function federatedUsers(provider: ProviderRow): string {
  return `arn:${partitionOf(provider.default_region)}:sts::${provider.account_id ?? '*'}:federated-user/*`;
}

function reportRefusedSession(provider: ProviderRow, error: unknown): SessionReport {
  const { kind, message, remedy } = explainRefusal(provider, error);
  return {
    identity: null,
    sessionSeconds: null,
    probes: [
      ...(usesAccessKeys(provider) ? [probeOfRefusedKeys(provider, error)] : []),
      unprobed('sts:GetCallerIdentity', '*', 'polony has no session, so it could not make the call'),
    ],
    findings: [{ severity: 'error', code: kind, message, remedy }],
    leftOut: [],
  };
}

/** @throws ApplicationFailure where the error says nothing about the provider. */
function explainRefusal(provider: ProviderRow, error: unknown): Blocked {
  const isAboutProvider = error instanceof SessionError || error instanceof SecretError;
  const failure = toActivityFailure(error, {
    action: usesAccessKeys(provider) ? 'sts:GetFederationToken' : 'sts:AssumeRole',
    resource: provider.role_arn ?? provider.access_key_id ?? '*',
  });
  const blocked = isAboutProvider ? getBlocked(failure) : undefined;
  if (blocked === undefined) throw failure;
  return blocked;
}

function probeOfRefusedKeys(provider: ProviderRow, error: unknown): Probe {
  const { kind, code, message } = classifyAwsError(error instanceof Error ? error.cause : error);
  // AWS also denies unknown keys, but no policy statement helps there.
  const isPermissionMissing = kind === 'denied' && code.startsWith('AccessDenied');
  return {
    action: 'sts:GetFederationToken',
    resource: federatedUsers(provider),
    result: isPermissionMissing ? 'denied' : 'unknown',
    detail: 'A session could not be created with the access keys',
    error: { code, message },
  };
}

async function askIdentity(
  aws: AwsSessions,
  provider: ProviderRow,
): Promise<{ identity: SessionReport['identity']; probe: Probe }> {
  const target = { action: 'sts:GetCallerIdentity', resource: '*' } as const;
  try {
    const sts = aws.sts(provider.id, provider.default_region);
    const { Arn = '', Account = '' } = await sts.send(new GetCallerIdentityCommand({}));
    return {
      identity: { arn: Arn, accountId: Account },
      probe: { ...target, result: 'granted', detail: `The session is ${Arn}` },
    };
  } catch (error) {
    const { kind, code, message } = classifyAwsError(error);
    return {
      identity: null,
      probe: {
        ...target,
        result: kind === 'denied' ? 'denied' : 'unknown',
        detail: 'AWS was asked for the identity of the session',
        error: { code, message },
      },
    };
  }
}
