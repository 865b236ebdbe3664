import { Type } from 'typebox';
import { component } from '../../openapi/components.js';
import {
  closed,
  errors,
  NullableString,
  NullableTimestamp,
  oneOf,
  responseBody,
  Timestamp,
} from '../../openapi/shared.js';
import { CappedPageQuery } from '../../paging.js';
import { StorageConnection } from '../../connections/storage/schemas.js';

/** An instrument in the shape of the vendor's contract. */
const Instrument = component(
  'Instrument',
  Type.Object(
    {
      serialNumber: Type.String(),
      name: Type.String(),
      model: Type.String(),
      status: oneOf(
        ['UNSPECIFIED', 'ACTIVE', 'INACTIVE', 'DECOMMISSIONED'].map((status) => `INSTRUMENT_STATUS_${status}`),
      ),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
      timeLastConnected: NullableTimestamp,
      softwareVersion: NullableString,
    },
    {
      ...closed,
      examples: [
        {
          serialNumber: 'AV240001',
          name: 'AV240001',
          model: 'AVITI',
          status: 'INSTRUMENT_STATUS_ACTIVE',
          timeCreated: '2026-01-10T09:00:00.000Z',
          timeUpdated: '2026-01-16T04:00:00.000Z',
          timeLastConnected: '2026-01-16T04:00:00.000Z',
          softwareVersion: '3.2.1',
        },
      ],
    },
  ),
);

const tags = ['InstrumentService'];
const SerialNumberParams = Type.Object({ serial_number: Type.String() });

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  list: {
    operationId: 'InstrumentService_ListInstruments',
    tags,
    summary: 'List the instruments that runs came from, by serial number',
    querystring: CappedPageQuery,
    response: {
      200: responseBody('A page of instruments', {
        instruments: Type.Array(Instrument),
        nextPageToken: Type.String(),
      }),
      ...errors(),
    },
  },
  get: {
    operationId: 'InstrumentService_GetInstrument',
    tags,
    summary: 'Get an instrument',
    params: SerialNumberParams,
    response: { 200: responseBody('The instrument', { instrument: Instrument }), ...errors(404) },
  },
  listStorageConnections: {
    operationId: 'InstrumentService_ListInstrumentStorageConnections',
    tags,
    summary: 'List the storage connections that an instrument can upload to',
    description:
      'Storage connections that are used for run upload, whose verification has not failed, and that the caller may ' +
      'see or upload to. polony does not need to know the instrument yet.',
    params: SerialNumberParams,
    querystring: CappedPageQuery,
    response: {
      200: responseBody('A page of storage connections', {
        storageConnections: Type.Array(StorageConnection),
        nextPageToken: Type.String(),
      }),
      ...errors(404),
    },
  },
};
