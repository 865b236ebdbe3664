import { type RawBuilder, sql } from 'kysely';
import type { RUN_FILTER } from '../../domain/filter.js';
import type { FilterColumns } from '../filters.js';

const parameter = (name: string): RawBuilder<string | null> => sql`(r.run_parameters->>${sql.lit(name)})`;

const isSequencing = sql<boolean>`coalesce(r.run_parameters->>'runType', 'Sequencing') = 'Sequencing'`;

const ofSequencing = (value: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`case when ${isSequencing} then ${value} end`;

const ofMultiomics = (value: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`case when not ${isSequencing} then ${value} end`;

/** What the instrument has measured goes before what Bases2Fastq has, as in answers; of other runs none is shown. */
const metric = (name: string): RawBuilder<unknown> =>
  ofSequencing(sql`coalesce(r.instrument_metrics->>${sql.lit(name)}, r.metrics->>${sql.lit(name)})::float8`);

/** `TwelveWellStandard` as the contract spells it: `twelve_well_standard`. */
const snakeCase = (value: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`lower(regexp_replace(${value}, '([a-z0-9])([A-Z])', '\\1_\\2', 'g'))`;

export const runType = sql<
  'sequencing' | 'multiomics'
>`case when ${isSequencing} then 'sequencing' else 'multiomics' end`;

/**
 * The status of a run `r`, as the contract names it. What polony refused although the instrument called it complete (files missing, an
 * upload that did not end) is FAILED, what is gone from the bucket DISCARDED; an outcome that polony does not know or may not read stays
 * UNSPECIFIED. A cytoprofiling run is refused by our flows only; as a run it is complete.
 */
export const runStatus = sql<string>`case
  when r.upload_state = 'uploading' then 'SEQUENCING'
  when r.upload_state = 'vanished' then 'DISCARDED'
  when r.upload_state = 'complete' and r.checked = 'presence' then 'UNSPECIFIED'
  when r.outcome = 'stopped' then 'STOPPED'
  when r.outcome = 'unknown' then 'UNSPECIFIED'
  when r.outcome = 'completed' and (r.upload_state = 'complete' or not ${isSequencing}) then 'COMPLETED'
  else 'FAILED' end`;

/** The keywords of runs, in a query of runs `r`. */
export const RUN_COLUMNS: FilterColumns<typeof RUN_FILTER> = {
  name: sql`r.run_name`,
  id: sql`r.id::text`,
  description: parameter('runDescription'),
  tags: null,
  type: runType,
  status: runStatus,
  'output.kind': sql`case when r.upload_state <> 'uploading' then (${runType}) || '_run' end`,
  time_created: sql`r.time_created`,
  time_started: sql`r.time_started`,
  time_completed: sql`r.time_completed`,
  time_updated: sql`r.time_updated`,
  'instrument.name': sql`r.instrument_name`,
  'instrument.serial_number': sql`r.instrument_name`,
  'instrument.model': sql`'AVITI'`,
  'storage.connection_id': sql`r.storage_connection_id::text`,
  'setup.sequencing.kit_name': ofSequencing(parameter('kitConfiguration')),
  'setup.sequencing.library_structure': ofSequencing(sql`lower(${parameter('libraryType')})`),
  'setup.sequencing.prep_type': ofSequencing(parameter('preparationWorkflow')),
  'setup.sequencing.polony_density': ofSequencing(
    sql`case when ${parameter('polonyDensity')} ilike '%high%' then 'high' when ${parameter('polonyDensity')} ilike '%standard%' then 'standard' end`,
  ),
  'setup.sequencing.filter_mask': ofSequencing(parameter('filterMask')),
  'setup.sequencing.panel.name': ofSequencing(parameter('panelName')),
  'setup.sequencing.low_diversity': ofSequencing(sql`coalesce((r.run_parameters->>'lowDiversity')::boolean, false)`),
  'setup.sequencing.pmg_shift': null,
  'setup.multiomics.panel.name': ofMultiomics(parameter('panelName')),
  'setup.multiomics.cartridge.name': null,
  'setup.multiomics.kit_type': ofMultiomics(snakeCase(parameter('runType'))),
  'setup.multiomics.well_layout': ofMultiomics(snakeCase(parameter('wellLayout'))),
  'metrics.sequencing.total_reads': metric('totalReads'),
  'metrics.sequencing.total_yield': metric('totalYield'),
  'metrics.sequencing.estimated_reads': null,
  'metrics.sequencing.q30': metric('q30'),
  'metrics.sequencing.q40': metric('q40'),
  'metrics.sequencing.q50': metric('q50'),
  'metrics.sequencing.avg_q': metric('avgQ'),
  'metrics.sequencing.error_rate': metric('errorRate'),
  'metrics.sequencing.phix_alignment_rate': metric('phixAlignmentRate'),
  'metrics.multiomics.total_cell_count': null,
  'metrics.multiomics.total_cell_confluency': null,
  'metrics.multiomics.total_percent_assigned': null,
};
