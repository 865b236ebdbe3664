import type { AuditRow } from '../../store/audit.js';

/** An entry of the audit log as the API shows it. Without an outcome, `timeEnded` and `status` are null. */
export function presentAuditEntry(row: AuditRow) {
  const detail = { ...row.detail, ...row.outcome_detail };
  return {
    id: row.id,
    time: row.time.toISOString(),
    requestId: row.request_id,
    caller: { kind: row.caller_kind, id: row.caller_id, name: row.caller_name },
    address: row.address,
    action: row.action,
    resourceType: row.resource_type,
    resourceId: row.outcome_resource_id ?? row.resource_id,
    timeEnded: row.time_ended?.toISOString() ?? null,
    status: row.status,
    reason: row.reason,
    detail: Object.keys(detail).length === 0 ? null : detail,
  };
}
