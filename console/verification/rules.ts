/** What the rules below need of a permission in a report. */
interface PermissionResult {
  result: string;
  statement?: unknown;
  of?: string | null;
}

/** What they need of a report. */
interface ReportLike<Row extends PermissionResult> {
  resourceId: string;
  status: string;
  description: string;
  permissions: readonly Row[];
  parts: readonly { id: string; name: string; status: string; description: string }[];
}

/** A policy with the statements that grant what is denied; undefined where no statement can help. */
export function missingPolicy(rows: readonly PermissionResult[]): string | undefined {
  const texts = new Set(
    rows.flatMap(({ result, statement }) =>
      result !== 'granted' && statement != null ? [JSON.stringify(statement)] : [],
    ),
  );
  if (texts.size === 0) return undefined;
  const statements = [...texts].map((text) => JSON.parse(text) as unknown);
  return JSON.stringify({ Version: '2012-10-17', Statement: statements }, null, 2);
}

/** What a report says about its own resource: that of a provider also has those of its connections and flows. */
export function ownPart<Row extends PermissionResult>(
  report: ReportLike<Row>,
): { status: string; description: string; permissions: readonly Row[] } {
  const own = report.parts.find(({ id }) => id === report.resourceId);
  if (own === undefined) return report;
  return {
    status: own.status,
    description: own.description,
    permissions: report.permissions.filter(({ of }) => of == null || of === own.name),
  };
}

/** Whether polony can work with what a report is about. Optional permissions may be missing. */
export function isUsable(report: ReportLike<PermissionResult> | null | undefined): boolean {
  return report != null && !ownPart(report).status.endsWith('FAILED');
}
