import type { FilterFields } from '../filters/filter.js';
import type { OrderFields } from '../filters/order.js';
import { EXECUTION_STATUSES } from './execution.js';

const string = { kind: 'string' } as const;
const date = { kind: 'date' } as const;

/** The keywords of executions in the vendor's contract, the id, and whether the execution is blocked. */
export const EXECUTION_FILTER = {
  name: string,
  id: string,
  status: { kind: 'enum', values: ['UNSPECIFIED', ...EXECUTION_STATUSES], prefix: 'EXECUTION_STATUS_' },
  blocked: { kind: 'boolean' },
  platform: { kind: 'enum', values: ['aws_omics', 'seqera', 'dnanexus', 'catalyst'] },
  'output.kind': { kind: 'enum', values: ['fastq', 'bam', 'vcf', 'cram', 'parquet'] },
  time_created: date,
  time_started: date,
  time_completed: date,
  time_updated: date,
  'input.run.id': string,
  'input.run.name': string,
  'input.run.instrument_name': string,
  'input.execution.id': string,
  'input.execution.name': string,
  'flow.name': string,
  'workflow.name': string,
  started_by: string,
} as const satisfies FilterFields;

/** The keywords that sort executions. Migration 0025 has their indexes. */
export const EXECUTION_ORDER = {
  time_created: 'time',
  time_started: 'time',
  time_completed: 'time',
  time_updated: 'time',
  name: 'text',
  status: 'text',
  'flow.name': 'text',
  'input.run.name': 'text',
  started_by: 'text',
} as const satisfies OrderFields;
