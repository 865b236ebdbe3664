import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { listStorageConnections } from '../../../store/connections/storage.js';
import { listInstruments } from '../../../store/runs/instruments.js';
import { presentStorageConnection } from '../../connections/storage/present.js';
import type { ApiDependencies } from '../../dependencies.js';
import { notFoundError } from '../../errors.js';
import { pageByKey, pageForwards } from '../../paging.js';
import { requireScope } from '../../plugins/auth.js';
import type { RequestOf } from '../../requests.js';
import { presentInstrument } from './present.js';
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
  const [instrument] = await listInstruments(db, 1, undefined, [serial.replaceAll('\0', '')]);
  if (instrument === undefined) throw notFoundError('instrument', serial);
  return { instrument: presentInstrument(instrument) };
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
