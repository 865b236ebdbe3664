import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { listStorageConnections } from '../../../store/connections/storage.js';
import { type InstrumentRow, listInstruments } from '../../../store/runs/instruments.js';
import type { ApiDependencies } from '../../dependencies.js';
import { notFoundError } from '../../errors.js';
import { CappedPageQuery, pageByKey, pageForwards } from '../../paging.js';
import { requireScope } from '../../plugins/auth.js';
import { errors, Instrument } from '../../schemas.js';
import { presentStorageConnection } from '../../connections/storage/present.js';
import { StorageConnection } from '../../connections/storage/schemas.js';

/** How long an instrument counts as active after its last run was heard of, in days. */
const ACTIVE_DAYS = 90;

/** An instrument as the vendor's contract has it, as far as its runs have shown it: their folder is named by the serial number. */
function showInstrument(row: InstrumentRow) {
  return {
    serialNumber: row.serial_number,
    name: row.serial_number,
    model: 'AVITI',
    status:
      Date.now() - row.time_last_connected.getTime() < ACTIVE_DAYS * 86_400_000
        ? 'INSTRUMENT_STATUS_ACTIVE'
        : 'INSTRUMENT_STATUS_INACTIVE',
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
    timeLastConnected: row.time_last_connected.toISOString(),
    softwareVersion: row.software_version,
  };
}

/** Instruments, and where they can upload to. */
export function instrumentRoutes(scope: FastifyInstance, { db }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['InstrumentService'];
  const params = Type.Object({ serial_number: Type.String() });

  app.get(
    '/v1/instruments',
    {
      config: requireScope('instruments:read'),
      schema: {
        operationId: 'InstrumentService_ListInstruments',
        tags,
        summary: 'List the instruments that runs have come from, by serial number',
        querystring: CappedPageQuery,
        response: {
          200: Type.Object(
            { instruments: Type.Array(Instrument), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(),
        },
      },
    },
    async (request) => {
      const serials = request.caller.access.ids('instruments:read');
      const { items, nextPageToken } = await pageByKey(
        'instruments',
        request.query,
        (limit, after) => listInstruments(db, limit, after, serials),
        ({ serial_number: serial }) => serial,
        (key) => key.length <= 255,
      );
      return { instruments: items.map(showInstrument), nextPageToken };
    },
  );
  app.get(
    '/v1/instruments/:serial_number',
    {
      config: requireScope('instruments:read', 'serial_number'),
      schema: {
        operationId: 'InstrumentService_GetInstrument',
        tags,
        summary: 'An instrument',
        params,
        response: {
          200: Type.Object({ instrument: Instrument }, { additionalProperties: false, description: 'The instrument' }),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const { serial_number: serial } = request.params;
      const [found] = await listInstruments(db, 1, undefined, [serial.replaceAll('\0', '')]);
      if (found === undefined) throw notFoundError('instrument', serial);
      return { instrument: showInstrument(found) };
    },
  );
  app.get(
    '/v1/instruments/:serial_number/storage-connections',
    {
      config: requireScope('instruments:read', 'serial_number'),
      schema: {
        operationId: 'InstrumentService_ListInstrumentStorageConnections',
        tags,
        summary: 'Where an instrument can upload to, at run setup',
        description:
          'Storage connections that are used for run upload, have not failed their verification and that the caller may see or upload to. The instrument need not have shown a run yet.',
        params,
        querystring: CappedPageQuery,
        response: {
          200: Type.Object(
            { storageConnections: Type.Array(StorageConnection), nextPageToken: Type.String() },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const [read, upload] = [request.caller.access.ids('storage:read'), request.caller.access.ids('storage:upload')];
      const ids = read === 'all' || upload === 'all' ? ('all' as const) : [...read, ...upload];
      const { items, nextPageToken } = await pageForwards(
        'instrument-storage-connections',
        request.query,
        (limit, after) => listStorageConnections(db, limit, after, ids, true),
      );
      return { storageConnections: items.map(presentStorageConnection), nextPageToken };
    },
  );
}
