import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { downloadUrl } from '../../aws/files.js';
import { joinKey, storageUri } from '../../domain/aws.js';
import type { Consumable } from '../../domain/runs/runParameters.js';
import { parseFilter, RUN_FILTER } from '../../domain/filter.js';
import { isId } from '../../store/database.js';
import { findStorageConnection } from '../../store/connections/storage.js';
import { countRuns, getRun, listRuns, type RunRow } from '../../store/runs/list.js';
import { reopenRun } from '../../store/runs/update.js';
import { runUploadWorkflowId } from '../../workflows/messages.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, withTemporalErrors, loggableError, notFoundError } from '../errors.js';
import { filteredList, FilteredPageQuery, pageBothWays } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import { errors, IdParams, Run, RunDetails } from '../schemas.js';

/** A time as RFC 3339, or null where an instrument wrote something else. */
function time(text: string | undefined): string | null {
  return text === undefined || Number.isNaN(Date.parse(text)) ? null : new Date(text).toISOString();
}

function consumable(value: Consumable | undefined) {
  if (value === undefined) return null;
  const expiration = time(value.expiration);
  return {
    serialNumber: value.serialNumber,
    partNumber: value.partNumber,
    lotNumber: value.lotNumber,
    ...(expiration !== null && { expiration }),
  };
}

/** `TwelveWellStandard` as the contract spells it: `twelve_well_standard`. */
function snakeCase(text: string): string {
  return text.replace(/(?<=[a-z0-9])[A-Z]/g, '_$&').toLowerCase();
}

/** A run as the vendor's contract has it, from what its RunParameters.json said. */
export function showRun(row: RunRow, manifestUrl?: string) {
  const parameters = row.run_parameters;
  const sequencing = row.type === 'sequencing';
  const order = parameters?.readOrder ?? [];
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
      kinds: row.upload_state === 'uploading' ? [] : [sequencing ? 'sequencing_run' : 'multiomics_run'],
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
      sequencing: !sequencing
        ? null
        : {
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
            polonyDensity: /high/i.test(parameters?.polonyDensity ?? '')
              ? 'high'
              : /standard/i.test(parameters?.polonyDensity ?? '')
                ? 'standard'
                : null,
            lowDiversity: parameters?.lowDiversity ?? false,
            panel: parameters?.panelName === undefined ? null : { id: '', name: parameters.panelName, version: '' },
            flowcell: consumable(parameters?.consumables.flowcell),
            buffer: consumable(parameters?.consumables.buffer),
            sequencingCartridge: consumable(parameters?.consumables.sequencingCartridge),
          },
      multiomics: sequencing
        ? null
        : {
            panel: { id: '', name: parameters?.panelName ?? '', version: '' },
            kitType: snakeCase(parameters?.runType ?? ''),
            wellLayout: snakeCase(parameters?.wellLayout ?? ''),
            flowcell: consumable(parameters?.consumables.flowcell),
            buffer: consumable(parameters?.consumables.buffer),
            panelCartridge: consumable(parameters?.consumables.panelCartridge),
          },
    },
    metrics: {
      sequencing:
        sequencing && (row.metrics ?? row.instrument_metrics) !== null
          ? { ...row.metrics, ...row.instrument_metrics }
          : null,
      multiomics: null,
    },
  };
}

/** How long the URL of a manifest lasts, in seconds. */
const MANIFEST_URL_SECONDS = 3600;
const mayDownload = ({ caller, params }: FastifyRequest): boolean =>
  caller.access.covers('runs:download', (params as { id: string }).id);

/** Runs: what instruments have uploaded. */
export function runRoutes(scope: FastifyInstance, { db, aws, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['RunService'];
  const answer = (description: string) => Type.Object({ run: Run }, { additionalProperties: false, description });

  async function run(id: string): Promise<RunRow> {
    const found = isId(id) ? await getRun(db, id) : undefined;
    if (found === undefined) throw notFoundError('run', id);
    return found;
  }

  app.get(
    '/v1/runs',
    {
      config: requireScope('runs:read'),
      schema: {
        operationId: 'RunService_ListRuns',
        tags,
        summary: 'List runs, newest first',
        querystring: FilteredPageQuery,
        response: {
          200: Type.Object(
            {
              runs: Type.Array(Run),
              nextPageToken: Type.String(),
              previousPageToken: Type.String(),
              totalCount: Type.Optional(Type.Integer()),
            },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const narrowed = {
        ids: request.caller.access.ids('runs:read'),
        filter: parseFilter(request.query.filter ?? '', RUN_FILTER, new Date()),
      };
      const { items, ...tokens } = await pageBothWays(
        filteredList('runs', { filter: request.query.filter }),
        request.query,
        (slice) => listRuns(db, slice, narrowed),
      );
      return {
        runs: items.map((row) => showRun(row)),
        ...tokens,
        ...(request.query.includeTotalCount === true && { totalCount: await countRuns(db, narrowed) }),
      };
    },
  );
  /** A URL of a run's manifest, for those who may download it. That it cannot be made keeps nobody from the run. */
  async function manifestUrl(log: FastifyBaseLogger, row: RunRow): Promise<string | undefined> {
    const storage = row.has_manifest ? await findStorageConnection(db, row.storage_connection_id) : undefined;
    if (storage?.use_for_data_exploration !== true) return undefined;
    try {
      const session = await aws.sessionFor(storage.provider_id, MANIFEST_URL_SECONDS);
      const signer = aws.signer(session, storage.region);
      try {
        return await downloadUrl(
          signer,
          session,
          { bucket: storage.bucket, key: joinKey(storage.prefix, row.parent_path, row.run_folder, 'RunManifest.csv') },
          MANIFEST_URL_SECONDS,
          false,
        );
      } finally {
        signer.destroy();
      }
    } catch (error) {
      log.warn({ error: loggableError(error), runId: row.id }, 'the URL of a manifest could not be signed');
      return undefined;
    }
  }
  app.get(
    '/v1/runs/:id',
    {
      config: requireScope('runs:read', 'id', { audit: mayDownload }),
      schema: {
        operationId: 'RunService_GetRun',
        tags,
        summary: 'A run',
        description: 'With a URL to download its manifest by, for an hour, for who has runs:download too.',
        params: IdParams,
        response: { 200: answer('The run'), ...errors(404) },
      },
    },
    async (request) => {
      const found = await run(request.params.id);
      return { run: showRun(found, mayDownload(request) ? await manifestUrl(request.log, found) : undefined) };
    },
  );
  app.get(
    '/v1/runs/:id/details',
    {
      config: requireScope('runs:read', 'id'),
      schema: {
        operationId: 'RunService_GetRunDetails',
        tags,
        summary: 'A run and where its upload stands',
        params: IdParams,
        response: {
          200: Type.Object({ run: Run, details: RunDetails }, { additionalProperties: false, description: 'The run' }),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const found = await run(request.params.id);
      return {
        run: showRun(found),
        details: {
          uploadState: found.upload_state,
          uploadDescription: found.upload_description,
          outcome: found.outcome,
          blocked: found.blocked,
          runFolder: found.run_folder,
          workflowId: runUploadWorkflowId(found.storage_connection_id, found.parent_path, found.run_folder),
          checked: found.checked,
          progress: found.progress,
        },
      };
    },
  );
  app.post(
    '/v1/runs/:id/retry',
    {
      config: requireScope('runs:operate', 'id'),
      schema: {
        operationId: 'RunService_RetryRun',
        tags,
        summary: 'Look at an upload again now, and follow it again where that has stopped',
        params: IdParams,
        response: { 202: answer('It is looked at'), ...errors(404, 409) },
      },
    },
    async (request, reply) => {
      const found = await run(request.params.id);
      if (found.upload_state === 'complete' && found.checked === 'content')
        throw new ApiError(409, 'UPLOAD_ENDED', `The upload of this run has ended: ${found.upload_description}`);
      const {
        storage_connection_id: storageConnectionId,
        instrument_name: instrumentName,
        parent_path: parentPath,
        run_folder: runFolder,
      } = found;
      await reopenRun(db, found.id, true);
      const retry =
        found.blocked === null
          ? orchestrator.lookAtRunUpload(storageConnectionId, parentPath, runFolder)
          : orchestrator.retryRunUpload(storageConnectionId, parentPath, runFolder);
      if (!(await withTemporalErrors(request.log, retry))) {
        const storage = await findStorageConnection(db, storageConnectionId);
        if (storage === undefined)
          throw new ApiError(409, 'STORAGE_CONNECTION_DELETED', 'The storage connection of the run was deleted');
        await withTemporalErrors(
          request.log,
          orchestrator.startRunUpload({
            runId: found.id,
            storageConnectionId,
            storageConnectionName: storage.name,
            instrumentName,
            parentPath,
            runFolder,
            runName: found.run_name,
          }),
        );
      }
      return reply.code(202).send({ run: showRun(await run(found.id)) });
    },
  );
}
