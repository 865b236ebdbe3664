import { storageUri } from '../../domain/files/paths.js';
import { findPathWarnings } from '../../domain/runs/pathWarnings.js';
import type { Consumable, RunParameters } from '../../domain/runs/runParameters.js';
import type { RunContext } from '../../store/runs/load.js';
import { runUploadWorkflowId } from '../../workflows/messages/runs.js';

/**
 * A run in the shape of the vendor's contract. What the instrument said of it comes from its RunParameters.json.
 * @param manifestUrl where its run manifest can be downloaded
 */
export function presentRun(row: RunContext, manifestUrl?: string) {
  const parameters = row.parameters;
  const isSequencing = row.type === 'sequencing';
  return {
    id: row.id,
    name: row.runName,
    description: parameters?.runDescription ?? '',
    type: row.type,
    status: `RUN_STATUS_${row.status}`,
    instrument: {
      id: row.instrumentId ?? '',
      name: row.instrumentName,
      serialNumber: row.instrumentName,
      model: 'AVITI',
      softwareVersion: parameters?.platformVersion ?? '',
    },
    output: {
      storageConnectionId: row.storageConnectionId,
      uri: storageUri(row.storage.bucket, row.storage.prefix, row.parentPath, row.runFolder),
      kinds: row.uploadState === 'uploading' ? [] : [isSequencing ? 'sequencing_run' : 'multiomics_run'],
    },
    timeCreated: row.timeCreated.toISOString(),
    timeStarted: row.timeStarted?.toISOString() ?? null,
    timeCompleted: row.timeCompleted?.toISOString() ?? null,
    timeUpdated: row.timeUpdated.toISOString(),
    tags: [],
    recipe: parameters?.recipeExecutionId === undefined ? null : { id: parameters.recipeExecutionId, name: '' },
    manifest: row.hasManifest
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
        isSequencing && (row.metrics ?? row.instrumentMetrics) !== null
          ? { ...row.metrics, ...row.instrumentMetrics }
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
export function presentRunDetails(row: RunContext) {
  return {
    uploadState: row.uploadState,
    uploadDescription: row.description,
    outcome: row.outcome,
    blocked: row.blocked,
    blockedSince: row.blocked?.since ?? null,
    runFolder: row.runFolder,
    workflowId: runUploadWorkflowId(row.storageConnectionId, row.parentPath, row.runFolder),
    checked: row.checked,
    progress: row.progress,
    warnings: findPathWarnings({ ...row, prefix: row.storage.prefix }),
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
