import { CAPABILITIES, type CredentialType, permissionsForCredential } from '../../domain/iam/permissions.js';
import {
  type Finding,
  mergePermissions,
  reportCapabilities,
  type VerificationReport,
} from '../../domain/verification/report.js';
import type { ReportPart } from './present.js';

const WORST_FIRST = ['FAILED', 'WARNING', 'CONNECTED'] as const;

/**
 * Combines the reports of a provider, its connections and its flows into one.
 * @param own the report of the provider alone.
 * @param parts all reports that the caller may see, including the provider's own.
 */
export function combineReports(
  own: VerificationReport,
  parts: readonly ReportPart[],
  credentialType: CredentialType,
): VerificationReport {
  const permissions = mergePermissions(
    parts.map(({ name, report }) => ({ name, permissions: report.permissions })),
    permissionsForCredential(credentialType).map(({ action }) => action),
  );
  const status = WORST_FIRST.find((each) => parts.some(({ report }) => report.status === each)) ?? own.status;
  const problems = parts
    .filter(({ report }) => report.status !== 'CONNECTED')
    .map(({ name, report }) => `${name}: ${report.description}`);
  return {
    ...own,
    status,
    description: problems.length === 0 ? own.description : problems.join('. '),
    permissions,
    capabilities: reportCapabilities(permissions, CAPABILITIES),
    findings: parts.flatMap(namedFindings),
  };
}

/** The findings of a part, each with the name of the connection or flow that it is about. */
function namedFindings({ kind, name, report }: ReportPart): Finding[] {
  if (kind === 'provider') return report.findings;
  return report.findings.map((finding) => ({ ...finding, message: `${name}: ${finding.message}` }));
}
