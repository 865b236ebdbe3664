import type { Capability, PermissionScope } from '../../domain/iam/permissions.js';
import { describeEntry, isSameEntry, type LeftOutEntry, type SessionEntry } from '../../domain/iam/sessionPolicies.js';
import type { Finding, Probe, VerificationReport } from '../../domain/verification/report.js';
import type { ProviderRow } from '../../store/connections/providers.js';

/** What the session of a provider showed. */
export interface SessionReport {
  /** Null where there is no session, or AWS did not tell. */
  identity: VerificationReport['identity'];
  /** Null where there is no session. */
  sessionSeconds: number | null;
  probes: Probe[];
  findings: Finding[];
  /** What AWS does not accept in the session policy, so that the session may not do it. */
  leftOut: readonly LeftOutEntry[];
}

/** What an inspection of one resource showed. */
export interface Inspection {
  probes: Probe[];
  /** Where the permissions must hold, for the policy statements in the report. */
  scope: PermissionScope;
  findings: Finding[];
  /** What the resource can be used for. */
  capabilities: Capability[];
  /** What it is used for: these must work. */
  used: Capability[];
}

/** The finding about an entry that polony leaves out of the session policy of a provider with access keys. */
export const LEFT_OUT_OF_SESSION_POLICY = 'LEFT_OUT_OF_SESSION_POLICY';

/** How to inspect one resource with the session of its provider. */
export interface InspectionPlan {
  providerId: string;
  inspect: (provider: ProviderRow, session: SessionReport) => Promise<Inspection>;
}

/** The inspection of what cannot be inspected, or has no probes of its own. */
export function emptyInspection(): Inspection {
  return { probes: [], scope: {}, findings: [], capabilities: [], used: [] };
}

/** Reports that the session policy of its provider lacks what a connection is for. */
export function reportLeftOut(entry: SessionEntry, { leftOut }: SessionReport): Finding[] {
  return leftOut
    .filter((each) => isSameEntry(each.entry, entry))
    .map((each) => ({
      severity: 'error' as const,
      code: LEFT_OUT_OF_SESSION_POLICY,
      message:
        `${describeLeftOut(each)}. polony leaves it out, so that the other connections of the provider work. This one ` +
        'does not work',
      remedy: remedyForLeftOut(each, 'this connection'),
    }));
}

/** Says which entry a session policy lacks, and why. */
export function describeLeftOut({ entry, reason, isUntried }: LeftOutEntry): string {
  return isUntried === true
    ? `polony does not know whether the session policy of the provider may contain ${describeEntry(entry)}: ${reason}`
    : `AWS does not accept ${describeEntry(entry)} in the session policy of the provider: ${reason}`;
}

/** @param what the connection, in words */
export function remedyForLeftOut({ isUntried }: LeftOutEntry, what: string): string {
  return isUntried === true
    ? 'Correct the entries that AWS does not accept, which the verification of the provider names, and verify the ' +
        'provider again. Or use a provider with a role, which needs no session policy.'
    : `Use another prefix or execution role for ${what}, or a provider with a role, which needs no session policy.`;
}
