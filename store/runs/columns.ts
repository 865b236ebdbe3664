import { type RawBuilder, sql } from 'kysely';
import type { RUN_FILTER } from '../../domain/runs/filter.js';
import type { FilterColumns } from '../filters.js';

const parameter = (name: string): RawBuilder<string | null> => sql`(r.run_parameters->>${sql.lit(name)})`;

const isSequencing = sql<boolean>`coalesce(r.run_parameters->>'runType', 'Sequencing') = 'Sequencing'`;

const ofSequencing = (value: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`case when ${isSequencing} then ${value} end`;

const ofMultiomics = (value: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`case when not ${isSequencing} then ${value} end`;

/** Metrics of the instrument go before those of Bases2Fastq, as in the API's answers. Only sequencing runs have any. */
const metric = (name: string): RawBuilder<unknown> =>
  ofSequencing(sql`coalesce(r.instrument_metrics->>${sql.lit(name)}, r.metrics->>${sql.lit(name)})::float8`);

/** A metric as the indexes sort it. */
export const knownMetric = (name: string): RawBuilder<unknown> => sql`(coalesce(${metric(name)}, '-infinity'::float8))`;

/** `TwelveWellStandard` in the spelling of the vendor's API: `twelve_well_standard`. */
const snakeCase = (value: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`lower(regexp_replace(${value}, '([a-z0-9])([A-Z])', '\\1_\\2', 'g'))`;

/** The type of a run `r`. Runs whose RunParameters.json names no type are sequencing runs. */
export const runType = sql<
  'sequencing' | 'multiomics'
>`case when ${isSequencing} then 'sequencing' else 'multiomics' end`;

const statusOf = (sequencing: RawBuilder<boolean>): RawBuilder<string> => sql<string>`case
  when r.upload_state = 'uploading' then 'SEQUENCING'
  when r.upload_state = 'vanished' then 'DISCARDED'
  when r.upload_state = 'complete' and r.checked = 'presence' then 'UNSPECIFIED'
  when r.outcome = 'stopped' then 'STOPPED'
  when r.outcome = 'unknown' then 'UNSPECIFIED'
  when r.outcome = 'completed' and (r.upload_state = 'complete' or not ${sequencing}) then 'COMPLETED'
  else 'FAILED' end`;

/**
 * The status of a run `r`, in the spelling of the vendor's API.
 * - FAILED: polony rejected the run although the instrument completed it, because files are missing or the upload did
 *   not end.
 * - DISCARDED: the run folder is no longer in the bucket.
 * - UNSPECIFIED: polony does not know the outcome, or may not read it.
 * - COMPLETED: also for cytoprofiling runs. Bases2Fastq does not support them, but the run itself is complete.
 */
export const runStatus = statusOf(isSequencing);

/** {@link runStatus} of a run `r` that polony did not refuse. Its type does not matter, so an index has all of it. */
export const acceptedRunStatus = statusOf(sql`true`);

/** Whether the upload of a run `r` makes no progress. A flag of an upload that has ended says nothing any more. */
export const isStalled = sql<boolean>`(r.upload_state = 'uploading' and coalesce((r.progress->>'stalled')::boolean, false))`;

/** Whether a run `r` waits for a person. */
export const isRunBlocked = sql<boolean>`(r.blocked is not null)`;

/** The keywords of runs, in a query of runs `r`, as their indexes have them (migrations 0025 and 0029). */
export const RUN_COLUMNS: FilterColumns<typeof RUN_FILTER> = {
  name: sql`r.run_name`,
  id: { id: sql`r.id`, text: sql`r.id::text` },
  description: parameter('runDescription'),
  tags: null,
  type: runType,
  status: runStatus,
  blocked: isRunBlocked,
  stalled: isStalled,
  'output.kind': sql`case when r.upload_state <> 'uploading' then (${runType}) || '_run' end`,
  time_created: sql`r.time_created`,
  time_started: sql`r.time_started`,
  time_completed: sql`r.time_completed`,
  time_updated: sql`r.time_updated`,
  'instrument.name': sql`r.instrument_name`,
  'instrument.serial_number': sql`r.instrument_name`,
  'instrument.model': sql`'AVITI'`,
  'storage.connection_id': {
    id: sql`r.storage_connection_id`,
    text: sql`r.storage_connection_id::text`,
    among: sql`storage_connections`,
  },
  'setup.sequencing.kit_name': ofSequencing(parameter('kitConfiguration')),
  'setup.sequencing.library_structure': ofSequencing(sql`lower(${parameter('libraryType')})`),
  'setup.sequencing.prep_type': ofSequencing(parameter('preparationWorkflow')),
  'setup.sequencing.polony_density': ofSequencing(
    sql`case
      when ${parameter('polonyDensity')} ilike '%high%' then 'high'
      when ${parameter('polonyDensity')} ilike '%standard%' then 'standard' end`,
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
