import type { VerificationReport, VerifiedKind } from '../../domain/verification/report.js';
import type { StoredVerification } from '../../store/verification/reports.js';
import type { ResourceToVerify } from '../../store/verification/resources.js';

/** A resource whose report is part of a provider's report. */
export interface ReportPart extends ResourceToVerify {
  report: VerificationReport;
  timeCompleted: Date;
}

/** The provider, connection or flow that a row was found with; only rows of combined reports have it. */
type Row = VerificationReport['permissions'][number] & { of?: string | null };

/**
 * A verification as the API shows it.
 * @param parts of a provider: the reports that this one combines.
 */
export function presentVerification(
  { kind, id, report, timeStarted, timeCompleted }: StoredVerification,
  parts: readonly ReportPart[] = [],
) {
  const { status, ...rest } = report;
  return {
    ...rest,
    kind,
    resourceId: id,
    status: presentStatus(status),
    permissions: presentPermissions(report),
    parts: parts.map(presentPart),
    timeStarted: timeStarted.toISOString(),
    timeCompleted: timeCompleted.toISOString(),
  };
}

function presentPermissions({ permissions }: VerificationReport) {
  return permissions.map((row: Row) => ({
    ...row,
    // Reports of older versions have no remedy.
    remedy: row.remedy ?? null,
    of: row.of ?? null,
  }));
}

/** The report of a provider that is not saved. */
export function presentDraftVerification(report: VerificationReport) {
  return { ...report, status: presentStatus(report.status), permissions: presentPermissions(report) };
}

function presentPart({ kind, id, name, report, timeCompleted }: ReportPart): {
  kind: VerifiedKind;
  id: string;
  name: string;
  status: string;
  description: string;
  timeCompleted: string;
} {
  const status = presentStatus(report.status);
  return { kind, id, name, status, description: report.description, timeCompleted: timeCompleted.toISOString() };
}

function presentStatus(status: VerificationReport['status']): string {
  return `VERIFICATION_STATUS_${status}`;
}
