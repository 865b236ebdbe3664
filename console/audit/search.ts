/** What a search in the audit log has, by the names of the API. All of it is in the address. */
export const AUDIT_TEXTS = ['callerId', 'action', 'resourceId', 'requestId', 'since', 'until'] as const;
export type AuditText = (typeof AUDIT_TEXTS)[number];
export type AuditSearch = Partial<Record<AuditText, string>>;
