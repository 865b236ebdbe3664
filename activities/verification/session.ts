import { askIdentity, grantedFederation, refusedFederation } from '../../aws/providerInspection.js';
import { type AwsSessions, type Session, SessionError } from '../../aws/sessions.js';
import type { Blocked } from '../../domain/executions/execution.js';
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
  const { identity, probe } = await askIdentity(aws, provider.id, provider.default_region);
  return {
    identity,
    sessionSeconds: session.seconds,
    probes: [...grantedFederation(provider), probe],
    findings: [],
    leftOut: session.leftOut ?? [],
  };
}

function usesAccessKeys(provider: ProviderRow): boolean {
  return provider.credential_type === 'accessKeys';
}

function reportRefusedSession(provider: ProviderRow, error: unknown): SessionReport {
  const { kind, message, remedy } = explainRefusal(provider, error);
  return {
    identity: null,
    sessionSeconds: null,
    probes: [
      ...refusedFederation(provider, error),
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
