import type { FilterFields } from '../filters/filter.js';
import type { OrderFields } from '../filters/order.js';

const string = { kind: 'string' } as const;
const date = { kind: 'date' } as const;
const number = { kind: 'number' } as const;

/** The statuses of a run in the vendor's contract, without `RUN_STATUS_`. */
export const CONTRACT_RUN_STATUSES = [
  'UNSPECIFIED',
  'CREATED',
  'PRIMING',
  'PRIMED',
  'SEQUENCING',
  'RUNNING',
  'PAUSING',
  'PAUSED',
  'STOPPING',
  'SEQUENCED',
  'COMPLETED',
  'FAILED',
  'STOPPED',
  'DISCARDED',
];
const RUN_TYPES = ['sequencing', 'multiomics'];

/** The keywords of runs in the vendor's contract, and whether the run is blocked or its upload stalled. */
export const RUN_FILTER = {
  name: string,
  id: string,
  description: string,
  tags: string,
  type: { kind: 'enum', values: RUN_TYPES },
  status: { kind: 'enum', values: CONTRACT_RUN_STATUSES, prefix: 'RUN_STATUS_' },
  blocked: { kind: 'boolean' },
  stalled: { kind: 'boolean' },
  'output.kind': { kind: 'enum', values: RUN_TYPES.map((type) => `${type}_run`) },
  time_created: date,
  time_started: date,
  time_completed: date,
  time_updated: date,
  'instrument.name': string,
  'instrument.serial_number': string,
  'instrument.model': string,
  'storage.connection_id': string,
  'setup.sequencing.kit_name': string,
  'setup.sequencing.library_structure': string,
  'setup.sequencing.prep_type': string,
  'setup.sequencing.polony_density': string,
  'setup.sequencing.filter_mask': string,
  'setup.sequencing.panel.name': string,
  'setup.sequencing.low_diversity': { kind: 'boolean' },
  'setup.sequencing.pmg_shift': number,
  'setup.multiomics.panel.name': string,
  'setup.multiomics.cartridge.name': string,
  'setup.multiomics.kit_type': {
    kind: 'enum',
    values: ['cytoprofiling', 'direct_in_sample_sequencing', 'antibody_screening', 'tissue', 'protein_screening'],
  },
  'setup.multiomics.well_layout': {
    kind: 'enum',
    values: [
      'twelve_well_circle',
      'twelve_well_square',
      'two_well',
      'one_well',
      'twelve_well_standard',
      'forty_eight_well',
    ],
  },
  'metrics.sequencing.total_reads': number,
  'metrics.sequencing.total_yield': number,
  'metrics.sequencing.estimated_reads': number,
  'metrics.sequencing.q30': number,
  'metrics.sequencing.q40': number,
  'metrics.sequencing.q50': number,
  'metrics.sequencing.avg_q': number,
  'metrics.sequencing.error_rate': number,
  'metrics.sequencing.phix_alignment_rate': number,
  'metrics.multiomics.total_cell_count': number,
  'metrics.multiomics.total_cell_confluency': number,
  'metrics.multiomics.total_percent_assigned': number,
} as const satisfies FilterFields;

/** The keywords that sort runs. Migration 0025 has their indexes. */
export const RUN_ORDER = {
  time_created: 'time',
  time_started: 'time',
  time_completed: 'time',
  time_updated: 'time',
  name: 'text',
  'instrument.name': 'text',
  status: 'text',
  'metrics.sequencing.total_yield': 'number',
  'metrics.sequencing.q30': 'number',
} as const satisfies OrderFields;
