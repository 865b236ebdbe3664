import { storageUri } from '../../domain/aws.js';
import type { Consumable, RunParameters } from '../../domain/runs/runParameters.js';
import type { RunRow } from '../../store/runs/list.js';
import { runUploadWorkflowId } from '../../workflows/messages.js';

/**
 * A run in the shape of the vendor's contract. What the instrument said of it comes from its RunParameters.json.
 * @param manifestUrl where its run manifest can be downloaded
 */
export function presentRun(row: RunRow, manifestUrl?: string) {
  const parameters = row.run_parameters;
  const isSequencing = row.type === 'sequencing';
  return {
    id: row.id,
    name: row.run_name,
    description: parameters?.runDescription ?? '',
    type: row.type,
    status: `RUN_STATUS_${row.status}`,
    instrument: {
      id: row.instrument_id ?? '',
      name: row.instrument_name,
      serialNumber: row.instrument_name,
      model: 'AVITI',
      softwareVersion: parameters?.platformVersion ?? '',
    },
    output: {
      storageConnectionId: row.storage_connection_id,
      uri: storageUri(row.bucket, row.prefix, row.parent_path, row.run_folder),
      kinds: row.upload_state === 'uploading' ? [] : [isSequencing ? 'sequencing_run' : 'multiomics_run'],
    },
    timeCreated: row.time_created.toISOString(),
    timeStarted: row.time_started?.toISOString() ?? null,
    timeCompleted: row.time_completed?.toISOString() ?? null,
    timeUpdated: row.time_updated.toISOString(),
    tags: [],
    recipe: parameters?.recipeExecutionId === undefined ? null : { id: parameters.recipeExecutionId, name: '' },
    manifest: row.has_manifest
      ? { filename: 'RunManifest.csv', ...(manifestUrl !== undefined && { downloadUrl: manifestUrl }) }
      : null,
    design: null,
    operator: parameters?.operatorName ?? '',
    setup: {
      sequencing: isSequencing ? presentSequencingSetup(parameters) : null,
      multiomics: isSequencing ? null : presentMultiomicsSetup(parameters),
    },
    metrics: {
      sequencing:
        isSequencing && (row.metrics ?? row.instrument_metrics) !== null
          ? { ...row.metrics, ...row.instrument_metrics }
          : null,
      multiomics: null,
    },
  };
}

function presentSequencingSetup(parameters: RunParameters | null) {
  const order = parameters?.readOrder ?? [];
  return {
    kitName: parameters?.kitConfiguration ?? '',
    libraryStructure: (parameters?.libraryType ?? '').toLowerCase(),
    prepType: parameters?.preparationWorkflow ?? '',
    reads: Object.entries(parameters?.cycles ?? {}).map(([name, cycles]) => ({
      name,
      cycles,
      order: order.indexOf(name as never) + 1,
    })),
    chemistryVersion: parameters?.chemistryVersion ?? '',
    filterMask: parameters?.filterMask ?? null,
    polonyDensity: presentDensity(parameters?.polonyDensity ?? ''),
    lowDiversity: parameters?.lowDiversity ?? false,
    panel: parameters?.panelName === undefined ? null : { id: '', name: parameters.panelName, version: '' },
    flowcell: presentConsumable(parameters?.consumables.flowcell),
    buffer: presentConsumable(parameters?.consumables.buffer),
    sequencingCartridge: presentConsumable(parameters?.consumables.sequencingCartridge),
  };
}

function presentMultiomicsSetup(parameters: RunParameters | null) {
  return {
    panel: { id: '', name: parameters?.panelName ?? '', version: '' },
    kitType: toSnakeCase(parameters?.runType ?? ''),
    wellLayout: toSnakeCase(parameters?.wellLayout ?? ''),
    flowcell: presentConsumable(parameters?.consumables.flowcell),
    buffer: presentConsumable(parameters?.consumables.buffer),
    panelCartridge: presentConsumable(parameters?.consumables.panelCartridge),
  };
}

/** What polony knows of a run beyond the vendor's contract. */
export function presentDetails(row: RunRow) {
  return {
    uploadState: row.upload_state,
    uploadDescription: row.upload_description,
    outcome: row.outcome,
    blocked: row.blocked,
    runFolder: row.run_folder,
    workflowId: runUploadWorkflowId(row.storage_connection_id, row.parent_path, row.run_folder),
    checked: row.checked,
    progress: row.progress,
  };
}

function presentDensity(text: string): 'high' | 'standard' | null {
  if (/high/i.test(text)) return 'high';
  return /standard/i.test(text) ? 'standard' : null;
}

function presentConsumable(value: Consumable | undefined) {
  if (value === undefined) return null;
  const expiration = presentTime(value.expiration);
  return {
    serialNumber: value.serialNumber,
    partNumber: value.partNumber,
    lotNumber: value.lotNumber,
    ...(expiration !== null && { expiration }),
  };
}

/** A time that an instrument wrote, as RFC 3339; null where it wrote something else. */
function presentTime(text: string | undefined): string | null {
  return text === undefined || Number.isNaN(Date.parse(text)) ? null : new Date(text).toISOString();
}

/** `TwelveWellStandard` as the contract spells it: `twelve_well_standard`. */
function toSnakeCase(text: string): string {
  return text.replace(/(?<=[a-z0-9])[A-Z]/g, '_$&').toLowerCase();
}
