import { randomUUID } from 'node:crypto';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { parseArn } from '../domain/arn.js';
import { describeShortExternalId, isShortExternalId, REQUIRE_EXTERNAL_ID } from '../domain/connections/provider.js';
import { errorMessage } from '../domain/errors.js';
import { partitionOf } from '../domain/regions.js';
import type { Finding, Probe, VerificationReport } from '../domain/verification/report.js';
import { classifyAwsError } from './errors.js';
import type { AwsSessions } from './sessions.js';

/** The finding about a role that can be assumed without its external ID. */
export const EXTERNAL_ID_IGNORED = 'EXTERNAL_ID_IGNORED';
/** The finding where polony could not find that out. */
export const EXTERNAL_ID_UNTRIED = 'EXTERNAL_ID_UNTRIED';
/** The longest session that AWS gives. */
const LONGEST_SESSION_SECONDS = 43_200;

/** A provider, as far as its inspection needs it. */
export interface ProviderToInspect {
  credential_type: 'role' | 'accessKeys';
  role_arn: string | null;
  external_id: string | null;
  account_id: string | null;
  default_region: string;
}

/** A session of the provider. */
interface InspectedSession {
  identity: VerificationReport['identity'];
  /** Null where there is no session. */
  sessionSeconds: number | null;
}

/** What is wrong with the identity, the external ID and the length of a provider's session. */
export async function inspectProvider(
  aws: AwsSessions,
  provider: ProviderToInspect,
  session: InspectedSession,
  allowsOpenRoles: boolean,
): Promise<Finding[]> {
  return [
    ...checkIdentity(provider, session),
    ...(await inspectExternalId(aws, provider, session, allowsOpenRoles)),
    ...checkExternalIdLength(provider),
    ...checkSessionLength(provider, session),
  ];
}

/** The users that access keys of a provider get sessions as. */
function federatedUsers(provider: ProviderToInspect): string {
  return `arn:${partitionOf(provider.default_region)}:sts::${provider.account_id ?? '*'}:federated-user/*`;
}

/** The probe of access keys that gave a session. */
export function grantedFederation(provider: ProviderToInspect): Probe[] {
  if (provider.credential_type !== 'accessKeys') return [];
  return [
    {
      action: 'sts:GetFederationToken',
      resource: federatedUsers(provider),
      result: 'granted',
      detail: 'A session was created with the access keys',
    },
  ];
}

/** The probe of access keys that gave no session. @param error the SessionError */
export function refusedFederation(provider: ProviderToInspect, error: unknown): Probe[] {
  if (provider.credential_type !== 'accessKeys') return [];
  const { kind, code, message } = classifyAwsError(error instanceof Error ? error.cause : error);
  // AWS also denies unknown keys, but no policy statement helps there.
  const isPermissionMissing = kind === 'denied' && code.startsWith('AccessDenied');
  return [
    {
      action: 'sts:GetFederationToken',
      resource: federatedUsers(provider),
      result: isPermissionMissing ? 'denied' : 'unknown',
      detail: 'A session could not be created with the access keys',
      error: { code, message },
    },
  ];
}

/** Asks AWS for the identity of a provider's session. */
export async function askIdentity(
  aws: AwsSessions,
  id: string,
  region: string,
): Promise<{ identity: InspectedSession['identity']; probe: Probe }> {
  const target = { action: 'sts:GetCallerIdentity', resource: '*' } as const;
  try {
    const { Arn = '', Account = '' } = await aws.sts(id, region).send(new GetCallerIdentityCommand({}));
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

function checkIdentity(provider: ProviderToInspect, { identity }: InspectedSession): Finding[] {
  if (identity === null) return [];
  const findings: Finding[] = [];
  if (provider.account_id !== null && identity.accountId !== provider.account_id)
    findings.push({
      severity: 'error',
      code: 'OTHER_ACCOUNT',
      message:
        `The credentials belong to account ${identity.accountId}, but the provider is for account ` +
        `${provider.account_id}`,
      remedy: 'Give the provider credentials of its own account, or connect the other account as another provider.',
    });
  const role = parseArn(provider.role_arn ?? '')
    ?.resource.split('/')
    .at(-1);
  if (role !== undefined && !identity.arn.includes(`:assumed-role/${role}/`))
    findings.push({
      severity: 'error',
      code: 'OTHER_ROLE',
      message: `The session is ${identity.arn}, which is not a session of the role ${role}`,
      remedy: 'Check the role ARN of the provider.',
    });
  return findings;
}

/**
 * Tries to assume the role without the provider's external ID. Where that works, another customer of this installation
 * could use the role (AWS IAM User Guide, "The confused deputy problem").
 */
async function inspectExternalId(
  aws: AwsSessions,
  provider: ProviderToInspect,
  { sessionSeconds }: InspectedSession,
  allowsOpenRoles: boolean,
): Promise<Finding[]> {
  if (provider.role_arn === null || sessionSeconds === null) return [];
  const attempts: [string, string | undefined][] = [
    ['without an external ID', undefined],
    ['with a wrong external ID', `wrong-${randomUUID()}`],
  ];
  const findings: Finding[] = [];
  for (const [how, externalId] of attempts) {
    try {
      await aws.tryAssumeRole(provider.role_arn, provider.default_region, externalId);
    } catch (error) {
      if (classifyAwsError(error).kind !== 'denied') findings.push(externalIdUntried(how, error));
      continue;
    }
    findings.push(externalIdIgnored(provider.role_arn, how, allowsOpenRoles));
    break;
  }
  return findings;
}

function externalIdUntried(how: string, error: unknown): Finding {
  return {
    severity: 'info',
    code: EXTERNAL_ID_UNTRIED,
    message: `polony could not check whether the role can be assumed ${how}: ${errorMessage(error)}`,
    remedy: 'Verify the provider again later.',
  };
}

function externalIdIgnored(roleArn: string, how: string, allowsOpenRoles: boolean): Finding {
  return {
    severity: allowsOpenRoles ? 'warning' : 'error',
    code: EXTERNAL_ID_IGNORED,
    message:
      `The role ${roleArn} can be assumed ${how}. Another customer of this installation could reach this account ` +
      `through it (confused deputy)${allowsOpenRoles ? '' : ', so polony does not use it'}`,
    remedy: `${REQUIRE_EXTERNAL_ID}.`,
  };
}

function checkExternalIdLength({ external_id: externalId }: ProviderToInspect): Finding[] {
  return externalId !== null && isShortExternalId(externalId)
    ? [{ severity: 'info', ...describeShortExternalId(externalId) }]
    : [];
}

function checkSessionLength(provider: ProviderToInspect, { sessionSeconds }: InspectedSession): Finding[] {
  if (sessionSeconds === null || provider.role_arn === null || sessionSeconds >= LONGEST_SESSION_SECONDS) return [];
  return [
    {
      severity: 'info',
      code: 'SHORT_SESSION',
      message: `AWS gives sessions of ${sessionSeconds / 3600} hours for this role`,
      remedy:
        'No action is needed: polony renews sessions automatically. For longer sessions, set the maximum session ' +
        'duration of the role to 12 hours. Where polony itself runs with a role, AWS allows one hour at most.',
    },
  ];
}
