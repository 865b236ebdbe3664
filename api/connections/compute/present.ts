import type { ComputeConnectionRow } from '../../../store/connections/compute.js';
import { presentState } from '../present.js';

/** A compute connection as the API shows it. */
export function presentComputeConnection(row: ComputeConnectionRow) {
  return {
    id: row.id,
    name: row.name,
    type: 'aws_omics',
    providerId: row.provider_id,
    executionRoleArn: row.execution_role_arn,
    region: row.region,
    ...presentState('COMPUTE_CONNECTION_STATUS', row),
  };
}
