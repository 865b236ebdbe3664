import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { storageUri } from '../../domain/aws.js';
import type { Consumable } from '../../domain/runParameters.js';
import { isId } from '../../store/database.js';
import { countRuns, getRun, listRuns, type RunRow } from '../../store/listing.js';
import type { ApiDependencies } from '../app.js';
import { ApiError, notFound } from '../errors.js';
import { CountedPageQuery, pageBothWays } from '../paging.js';
import { ERRORS, IdParams } from '../schemas.js';

/** Shaped as the vendor's contract has it; see `showRun`. */
const Run = Type.Object({ id: Type.String(), name: Type.String(), status: Type.String() }, { additionalProperties: true });

function runStatus(row: RunRow): string {
  if (row.upload_state === 'uploading') return 'RUN_STATUS_SEQUENCING';
  if (row.outcome === 'failed') return 'RUN_STATUS_FAILED';
  if (row.outcome === 'stopped') return 'RUN_STATUS_STOPPED';
  if (row.upload_state === 'vanished') return 'RUN_STATUS_DISCARDED';
  return row.upload_state === 'complete' || row.outcome === 'completed' ? 'RUN_STATUS_COMPLETED' : 'RUN_STATUS_UNSPECIFIED';
}

function consumable(value: Consumable | undefined) {
  if (value === undefined) return null;
  return { serialNumber: value.serialNumber, partNumber: value.partNumber, lotNumber: value.lotNumber, ...(value.expiration !== undefined && { expiration: value.expiration }) };
}

/** A run as the vendor's contract has it, from what its RunParameters.json said. */
export function showRun(row: RunRow) {
  const parameters = row.run_parameters;
  const sequencing = (parameters?.runType ?? 'Sequencing') === 'Sequencing';
  const order = parameters?.readOrder ?? [];
  return {
    id: row.id,
    name: row.run_name,
    description: parameters?.runDescription ?? '',
    type: sequencing ? 'sequencing' : 'multiomics',
    status: runStatus(row),
    instrument: { id: row.instrument_id ?? '', name: row.instrument_name, serialNumber: row.instrument_name, model: 'AVITI', softwareVersion: parameters?.platformVersion ?? '' },
    output: { storageConnectionId: row.storage_connection_id, uri: storageUri(row.bucket, row.prefix, row.instrument_name, row.run_folder), kinds: [sequencing ? 'sequencing_run' : 'multiomics_run'] },
    timeCreated: row.time_created.toISOString(),
    timeStarted: parameters?.date ?? null,
    timeCompleted: row.time_completed?.toISOString() ?? null,
    timeUpdated: row.time_updated.toISOString(),
    tags: [],
    recipe: parameters?.recipeExecutionId === undefined ? null : { id: parameters.recipeExecutionId, name: '' },
    manifest: row.has_manifest ? { filename: 'RunManifest.csv', description: '' } : null,
    design: null,
    operator: parameters?.operatorName ?? '',
    setup: {
      sequencing: !sequencing
        ? null
        : {
            kitName: parameters?.kitConfiguration ?? '',
            libraryStructure: (parameters?.libraryType ?? '').toLowerCase(),
            prepType: parameters?.preparationWorkflow ?? '',
            reads: Object.entries(parameters?.cycles ?? {}).map(([name, cycles]) => ({ name, cycles, order: order.indexOf(name as never) + 1 })),
            chemistryVersion: parameters?.chemistryVersion ?? '',
            filterMask: parameters?.filterMask ?? null,
            polonyDensity: parameters?.polonyDensity === undefined ? null : /high/i.test(parameters.polonyDensity) ? 'high' : 'standard',
            lowDiversity: parameters?.lowDiversity ?? false,
            flowcell: consumable(parameters?.consumables.flowcell),
            buffer: consumable(parameters?.consumables.buffer),
            sequencingCartridge: consumable(parameters?.consumables.sequencingCartridge),
          },
      multiomics: sequencing ? null : { wellLayout: parameters?.wellLayout ?? '', flowcell: consumable(parameters?.consumables.flowcell), buffer: consumable(parameters?.consumables.buffer), panelCartridge: consumable(parameters?.consumables.panelCartridge) },
    },
    metrics: { sequencing: null, multiomics: null },
  };
}

/** Runs: what instruments have uploaded. */
export function runRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  async function run(id: string): Promise<RunRow> {
    const found = isId(id) ? await getRun(db, id) : undefined;
    if (found === undefined) throw notFound('run', id);
    return found;
  }
  app.get('/v1/runs', { schema: { operationId: 'RunService_ListRuns', tags: ['runs'], summary: 'List runs, newest first', querystring: CountedPageQuery, response: { 200: Type.Object({ runs: Type.Array(Run), nextPageToken: Type.String(), previousPageToken: Type.String(), totalCount: Type.Optional(Type.Integer()) }), ...ERRORS } } }, async (request) => {
    const { items, ...tokens } = await pageBothWays('runs', request.query, (slice) => listRuns(db, slice));
    return { runs: items.map(showRun), ...tokens, ...(request.query.includeTotalCount === true && { totalCount: await countRuns(db) }) };
  });
  app.get('/v1/runs/:id', { schema: { operationId: 'RunService_GetRun', tags: ['runs'], summary: 'A run', params: IdParams, response: { 200: Type.Object({ run: Run }), ...ERRORS } } }, async (request) => ({ run: showRun(await run(request.params.id)) }));
  app.get('/v1/runs/:id/details', { schema: { operationId: 'GetRunDetails', tags: ['runs'], summary: 'A run and where its upload stands', params: IdParams, response: { 200: Type.Object({ run: Run, details: Type.Object({ uploadState: Type.String(), uploadDescription: Type.String(), outcome: Type.Union([Type.String(), Type.Null()]), blocked: Type.Any(), runFolder: Type.String() }) }), ...ERRORS } } }, async (request) => {
    const found = await run(request.params.id);
    return { run: showRun(found), details: { uploadState: found.upload_state, uploadDescription: found.upload_description, outcome: found.outcome, blocked: found.blocked, runFolder: found.run_folder } };
  });
  app.post('/v1/runs/:id/retry', { schema: { operationId: 'RetryRun', tags: ['runs'], summary: 'Look at a blocked upload again now', params: IdParams, response: { 202: Type.Object({ run: Run }), ...ERRORS } } }, async (request, reply) => {
    const found = await run(request.params.id);
    if (!(await orchestrator.retryRunUpload(found.storage_connection_id, found.instrument_name, found.run_folder))) throw new ApiError(409, 'UPLOAD_ENDED', 'The upload of this run is not being followed: it has ended');
    return reply.code(202).send({ run: showRun(found) });
  });
}
