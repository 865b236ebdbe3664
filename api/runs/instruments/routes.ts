import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { listStorageConnections } from '../../../store/connections/storage.js';
import { type InstrumentRow, listInstruments, listMeasuredRuns } from '../../../store/runs/instruments.js';
import { presentStorageConnection } from '../../connections/storage/present.js';
import type { ApiDependencies } from '../../dependencies.js';
import { notFoundError } from '../../errors.js';
import { filteredList, pageBothWays, pageByKey, pageForwards } from '../../paging.js';
import { requireScope } from '../../plugins/auth.js';
import type { RequestOf } from '../../requests.js';
import { parseTimestamp } from '../../validation.js';
import { presentInstrument, presentMeasuredRun } from './present.js';
import { operations } from './schemas.js';

/** Instruments, and the storage connections that they can upload to. */
export function instrumentRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const readOne = { config: requireScope('instruments:read', 'serial_number') };

  app.get('/v1/instruments', { config: requireScope('instruments:read'), schema: operations.list }, (request) =>
    handleListInstruments(dependencies, request),
  );
  app.get('/v1/instruments/:serial_number', { ...readOne, schema: operations.get }, (request) =>
    handleGetInstrument(dependencies, request),
  );
  app.get('/v1/instruments/:serial_number/metrics', { ...readOne, schema: operations.listMetrics }, (request) =>
    handleListMetrics(dependencies, request),
  );
  app.get(
    '/v1/instruments/:serial_number/storage-connections',
    { ...readOne, schema: operations.listStorageConnections },
    (request) => handleListUploadTargets(dependencies, request),
  );
}

async function handleListInstruments({ db }: ApiDependencies, { query, caller }: RequestOf<typeof operations.list>) {
  const serials = caller.access.ids('instruments:read');
  const { items, nextPageToken } = await pageByKey(
    'instruments',
    query,
    (limit, after) => listInstruments(db, limit, after, serials),
    ({ serial_number: serial }) => serial,
    (key) => key.length <= 255,
  );
  return { instruments: items.map(presentInstrument), nextPageToken };
}

async function handleGetInstrument({ db }: ApiDependencies, request: RequestOf<typeof operations.get>) {
  const { serial_number: serial } = request.params;
  return { instrument: presentInstrument(await requireInstrument(db, serial)) };
}

/** @throws ApiError 404 */
async function requireInstrument(db: ApiDependencies['db'], serial: string): Promise<InstrumentRow> {
  const [instrument] = await listInstruments(db, 1, undefined, [serial.replaceAll('\0', '')]);
  if (instrument === undefined) throw notFoundError('instrument', serial);
  return instrument;
}

async function handleListMetrics(
  { db }: ApiDependencies,
  { params, query, caller }: RequestOf<typeof operations.listMetrics>,
) {
  const { serial_number: serial } = await requireInstrument(db, params.serial_number);
  const { since, until } = query;
  const { items, ...page } = await pageBothWays(
    filteredList('instrument-metrics', { serial, since, until }),
    query,
    (slice) =>
      listMeasuredRuns(db, serial, slice, {
        ...(since !== undefined && { since: parseTimestamp(since) }),
        ...(until !== undefined && { until: parseTimestamp(until) }),
        ids: caller.access.ids('runs:read'),
        executionIds: caller.access.ids('executions:read'),
      }),
  );
  return { metrics: items.map(presentMeasuredRun), ...page };
}

async function handleListUploadTargets(
  { db }: ApiDependencies,
  { query, caller }: RequestOf<typeof operations.listStorageConnections>,
) {
  const [read, upload] = [caller.access.ids('storage:read'), caller.access.ids('storage:upload')];
  const ids = read === 'all' || upload === 'all' ? ('all' as const) : [...read, ...upload];
  const { items, nextPageToken } = await pageForwards('instrument-storage-connections', query, (limit, after) =>
    listStorageConnections(db, limit, after, ids, true),
  );
  return { storageConnections: items.map(presentStorageConnection), nextPageToken };
}
