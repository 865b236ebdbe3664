import {
  CAPABILITIES,
  type Capability,
  type PermissionAction,
  type PermissionScope,
  PERMISSIONS,
  findPermission,
  statementFor,
} from '../iam/permissions.js';

/** What verification is about. */
export const VERIFIED_KINDS = ['provider', 'storageConnection', 'computeConnection', 'flow'] as const;
export type VerifiedKind = (typeof VERIFIED_KINDS)[number];

/** `unknown`: no harmless probe can tell, or none could be made. */
export type ProbeResult = 'granted' | 'denied' | 'unknown';

/** What a probe found. */
export interface Probe {
  action: PermissionAction;
  result: ProbeResult;
  /** The ARN it was tried on. */
  resource: string;
  /** What AWS answered. */
  error?: { code: string; message: string };
  /** How it was tried, or why it was not. */
  detail: string;
}

/** A row of the vendor's table with what was found. */
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
  /** The smallest statement that grants it, where it is not known to be granted. */
  statement: unknown;
}

/** What the rows make of a capability: `limited` works in part, or as far as can be told. */
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

/** What a verification found. */
export interface VerificationReport {
  status: VerifiedStatus;
  /** In a sentence. */
  description: string;
  permissions: PermissionReport[];
  capabilities: CapabilityReport[];
  findings: Finding[];
  /** Whose credentials were used, where they could be had. */
  identity: { arn: string; accountId: string } | null;
  /** Length of the session that AWS gave, in seconds. */
  sessionSeconds: number | null;
}

/** Puts a probe beside what the table says of its action. */
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
    statement: probe.result === 'granted' ? null : statementFor(action, scope),
  };
}

/** What these rows make of these capabilities. A row that is not among them says nothing here. */
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
 * Status and sentence: FAILED where an error was found or a capability in use cannot work, WARNING where something is to be
 * mended but what is in use goes on. Permissions that only no probe can tell, and optional ones of what is not used, are neither.
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
    ...lacks(limited).map((text) => `${text}, so it works in part only`),
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
        ? 'All that it is used for is granted'
        : `All that can be tried is granted; ${unknown.join(', ')} will be known by use`,
  };
}

const WORST: readonly ProbeResult[] = ['denied', 'unknown', 'granted'];

/**
 * One table for a provider out of its own rows and those of its connections and flows: each permission as the worst of them
 * has it, with the name of that one.
 */
export function mergePermissions(
  parts: readonly { name: string; permissions: readonly PermissionReport[] }[],
  actions: readonly PermissionAction[],
): (PermissionReport & { of: string | null })[] {
  return actions.map((action) => {
    const rows = parts.flatMap(({ name, permissions }) =>
      permissions.filter((row) => row.action === action).map((row) => ({ ...row, of: name })),
    );
    rows.sort((one, other) => WORST.indexOf(one.result) - WORST.indexOf(other.result));
    if (rows[0] !== undefined) return rows[0];
    const nothing = 'Nothing that uses it is connected and verified yet';
    return { ...reportPermission({ action, result: 'unknown', resource: '*', detail: nothing }, {}), of: null };
  });
}
