import {
  CAPABILITIES,
  type Capability,
  type PermissionAction,
  type PermissionScope,
  PERMISSIONS,
  findPermission,
  statementFor,
} from '../iam/permissions.js';
import { explainDenial, parseDenial, PROVIDER_IDENTITY } from '../iam/denials.js';

/** What polony verifies. */
export const VERIFIED_KINDS = ['provider', 'storageConnection', 'computeConnection', 'flow'] as const;
export type VerifiedKind = (typeof VERIFIED_KINDS)[number];

/** `unknown`: there is no harmless probe, or polony could not run it. */
export type ProbeResult = 'granted' | 'denied' | 'unknown';

/** The result of a probe. */
export interface Probe {
  action: PermissionAction;
  result: ProbeResult;
  /** The ARN of the resource that polony tried. */
  resource: string;
  /** What AWS answered. */
  error?: { code: string; message: string };
  /** How polony tried it, or why it could not. */
  detail: string;
}

/** A permission of the vendor's page, with the result of its probe. */
export interface PermissionReport {
  action: PermissionAction;
  requirement: 'required' | 'optional';
  result: ProbeResult;
  purpose: string;
  unlocks: string;
  /** Capabilities that need it, or work in part without it. */
  capabilities: Capability[];
  resource: string;
  detail: string;
  error: { code: string; message: string } | null;
  /** What to do about a denial, by the reason that AWS gives; null where AWS denied nothing. */
  remedy: string | null;
  /** The smallest statement that grants it; null when it is granted, or when AWS denies it for another reason. */
  statement: unknown;
}

/** What the permissions mean for a capability. `limited`: it works in part, or as far as polony knows. */
export interface CapabilityReport {
  capability: Capability;
  state: 'ready' | 'limited' | 'notReady';
  missing: PermissionAction[];
  unknown: PermissionAction[];
}

/** Something else that a person should know. */
export interface Finding {
  severity: 'error' | 'warning' | 'info';
  /** For programs, such as EXTERNAL_ID_IGNORED. */
  code: string;
  message: string;
  remedy: string;
}

export type VerifiedStatus = 'CONNECTED' | 'WARNING' | 'FAILED';

/** The result of a verification. */
export interface VerificationReport {
  status: VerifiedStatus;
  /** The status as a sentence. */
  description: string;
  permissions: PermissionReport[];
  capabilities: CapabilityReport[];
  findings: Finding[];
  /** The identity of the credentials; null when polony could not get them. */
  identity: { arn: string; accountId: string } | null;
  /** Length of the session that AWS gave, in seconds. */
  sessionSeconds: number | null;
}

/** Combines a probe with the table's row of its action. */
export function reportPermission(probe: Probe, scope: PermissionScope): PermissionReport {
  const { action, requirement, purpose, unlocks, neededBy, limits } = findPermission(probe.action)!;
  return {
    action,
    requirement: requirement === 'optional' ? 'optional' : 'required',
    result: probe.result,
    purpose,
    unlocks,
    capabilities: CAPABILITIES.filter((capability) => neededBy.includes(capability) || limits.includes(capability)),
    resource: probe.resource,
    detail: probe.detail,
    error: probe.error ?? null,
    ...explainProbe(probe, scope),
  };
}

function explainProbe(
  { action, result, resource, error }: Probe,
  scope: PermissionScope,
): Pick<PermissionReport, 'remedy' | 'statement'> {
  if (result === 'granted') return { remedy: null, statement: null };
  const denial = error === undefined ? {} : parseDenial(error.message, error.code);
  const isOtherAction = denial.action !== undefined && denial.action.toLowerCase() !== action.toLowerCase();
  // A probe without a denial says nothing about the permission, so that the statement may be what is missing.
  if (result === 'unknown' && !isOtherAction && denial.otherRemedy === undefined)
    return { remedy: null, statement: statementFor(action, scope) };
  const { remedy, statement } = explainDenial(denial, { action, resource }, { identity: PROVIDER_IDENTITY, scope });
  return { remedy: `${remedy}.`, statement: statement ?? null };
}

/** Derives the states of capabilities from permissions. Missing permissions have no effect. */
export function reportCapabilities(
  rows: readonly Pick<PermissionReport, 'action' | 'result'>[],
  capabilities: readonly Capability[],
): CapabilityReport[] {
  return capabilities.map((capability) => {
    const concerned = PERMISSIONS.filter(
      ({ neededBy, limits }) => neededBy.includes(capability) || limits.includes(capability),
    );
    const inState = (result: ProbeResult): PermissionAction[] =>
      concerned
        .filter(({ action }) => rows.some((row) => row.action === action && row.result === result))
        .map(({ action }) => action);
    const [missing, unknown] = [inState('denied'), inState('unknown')];
    const blocked = missing.some((action) => findPermission(action)!.neededBy.includes(capability));
    return {
      capability,
      state: blocked ? 'notReady' : missing.length + unknown.length > 0 ? 'limited' : 'ready',
      missing,
      unknown,
    };
  });
}

/**
 * Derives the status: FAILED when there is an error, or a capability in use cannot work; WARNING when somebody should
 * fix something, but everything in use works. Unknown permissions, and optional permissions of unused capabilities,
 * change nothing.
 */
export function concludeVerification(
  report: Pick<VerificationReport, 'permissions' | 'capabilities' | 'findings'>,
  used: readonly Capability[],
): { status: VerifiedStatus; description: string } {
  const inUse = report.capabilities.filter(({ capability }) => used.includes(capability));
  const broken = inUse.filter(({ state }) => state === 'notReady');
  const limited = inUse.filter(({ state, missing }) => state === 'limited' && missing.length > 0);
  const required = report.permissions.filter(
    ({ requirement, result }) => requirement === 'required' && result === 'denied',
  );
  const found = (severity: Finding['severity']): string[] =>
    report.findings.filter((finding) => finding.severity === severity).map((finding) => finding.message);
  const lacks = (capabilities: CapabilityReport[]): string[] =>
    capabilities.map(({ capability, missing }) => `${capability} lacks ${missing.join(', ')}`);
  const errors = [...found('error'), ...lacks(broken).map((text) => `${text}, so it does not work`)];
  const warnings = [
    ...found('warning'),
    ...lacks(limited).map((text) => `${text}, so it works only in part`),
    ...(broken.length + limited.length === 0 && required.length > 0
      ? [`Required and denied: ${required.map(({ action }) => action).join(', ')}`]
      : []),
  ];
  if (errors.length > 0) return { status: 'FAILED', description: [...errors, ...warnings].join('. ') };
  if (warnings.length > 0) return { status: 'WARNING', description: warnings.join('. ') };
  const unknown = [...new Set(inUse.flatMap((capability) => capability.unknown))];
  return {
    status: 'CONNECTED',
    description:
      unknown.length === 0
        ? 'All permissions in use are granted'
        : `All permissions that polony can probe are granted. It cannot probe ${unknown.join(', ')}, ` +
          'so it reports a denial when it needs the permission',
  };
}

const RESULTS_WORST_FIRST: readonly ProbeResult[] = ['denied', 'unknown', 'granted'];

/**
 * Merges the permissions of a provider, its connections and its flows into one table: the worst result of each
 * permission, and the name of the resource that has it.
 */
export function mergePermissions(
  parts: readonly { name: string; permissions: readonly PermissionReport[] }[],
  actions: readonly PermissionAction[],
): (PermissionReport & { of: string | null })[] {
  return actions.map((action) => {
    const rows = parts.flatMap(({ name, permissions }) =>
      permissions.filter((row) => row.action === action).map((row) => ({ ...row, of: name })),
    );
    rows.sort((one, other) => RESULTS_WORST_FIRST.indexOf(one.result) - RESULTS_WORST_FIRST.indexOf(other.result));
    if (rows[0] !== undefined) return rows[0];
    const nothing = 'polony has not verified a resource that uses it yet';
    return { ...reportPermission({ action, result: 'unknown', resource: '*', detail: nothing }, {}), of: null };
  });
}
