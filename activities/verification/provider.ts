import { randomUUID } from 'node:crypto';
import { classifyAwsError } from '../../aws/errors.js';
import type { AwsSessions } from '../../aws/sessions.js';
import { parseArn } from '../../domain/arn.js';
import { describeShortExternalId, isShortExternalId } from '../../domain/connections/provider.js';
import { errorMessage } from '../../domain/errors.js';
import type { Finding } from '../../domain/verification/report.js';
import type { ProviderRow } from '../../store/connections/providers.js';
import { REQUIRE_EXTERNAL_ID } from '../failures.js';
import {
  describeLeftOut,
  emptyInspection,
  type InspectionPlan,
  LEFT_OUT_OF_SESSION_POLICY,
  remedyForLeftOut,
  type SessionReport,
} from './inspection.js';

/** The finding about a role that can be assumed without its external ID. */
export const EXTERNAL_ID_IGNORED = 'EXTERNAL_ID_IGNORED';
/** The finding where polony could not find that out. */
export const EXTERNAL_ID_UNTRIED = 'EXTERNAL_ID_UNTRIED';
/** The longest session that AWS gives. */
const LONGEST_SESSION_SECONDS = 43_200;

/**
 * Inspects a provider: whether its session is the right one, how long it is, and whether the external ID protects it.
 */
export function planProviderInspection(aws: AwsSessions, providerId: string, allowsOpenRoles: boolean): InspectionPlan {
  return {
    providerId,
    inspect: async (provider, session) => ({
      ...emptyInspection(),
      findings: [
        ...checkIdentity(provider, session),
        ...(await inspectExternalId(aws, provider, session, allowsOpenRoles)),
        ...checkExternalIdLength(provider),
        ...checkSessionLength(provider, session),
        ...reportLeftOutEntries(session),
      ],
    }),
  };
}

function checkIdentity(provider: ProviderRow, { identity }: SessionReport): Finding[] {
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
  provider: ProviderRow,
  { sessionSeconds }: SessionReport,
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

function reportLeftOutEntries({ leftOut }: SessionReport): Finding[] {
  return leftOut.map((each) => ({
    severity: 'warning',
    code: LEFT_OUT_OF_SESSION_POLICY,
    message: `${describeLeftOut(each)}. polony leaves it out, so the connection that uses it does not work`,
    remedy: remedyForLeftOut(each, 'that connection'),
  }));
}

function checkExternalIdLength({ external_id: externalId }: ProviderRow): Finding[] {
  return externalId !== null && isShortExternalId(externalId)
    ? [{ severity: 'info', ...describeShortExternalId(externalId) }]
    : [];
}

function checkSessionLength(provider: ProviderRow, { sessionSeconds }: SessionReport): Finding[] {
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
