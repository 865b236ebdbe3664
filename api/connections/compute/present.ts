import type { ComputeConnectionRow } from '../../../store/connections/compute.js';

/** A compute connection as the API shows it. */
export function presentComputeConnection(row: ComputeConnectionRow) {
  return {
    id: row.id,
    name: row.name,
    type: 'aws_omics',
    providerId: row.provider_id,
    executionRoleArn: row.execution_role_arn,
    region: row.region,
    status: `COMPUTE_CONNECTION_STATUS_${row.status}`,
    statusDescription: row.status_description,
    timeVerified: row.time_verified?.toISOString() ?? null,
    timeUsed: row.time_used?.toISOString() ?? null,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
  };
}
