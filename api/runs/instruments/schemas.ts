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
import { CappedPageQuery, PageQuery } from '../../paging.js';
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

const number = (description: string) => Type.Unsafe<number | null>({ type: ['number', 'null'], description });
const InstrumentMetrics = component(
  'InstrumentMetrics',
  Type.Object(
    {
      runId: Type.String(),
      runName: Type.String(),
      status: Type.String({ description: 'The status of the run, as GET /v1/runs/{id} shows it' }),
      time: Type.String({ format: 'date-time', description: 'When the run started; else when polony found it' }),
      timeCompleted: NullableTimestamp,
      side: NullableString,
      kitName: NullableString,
      polonyDensity: NullableString,
      softwareVersion: NullableString,
      totalReads: number('Polonies that pass the filter'),
      totalYield: number('Bases'),
      q30: number('Percent'),
      q40: number('Percent'),
      q50: number('Percent'),
      avgQ: number('Phred score'),
      errorRate: number('Percent'),
      phixAlignmentRate: number('Percent'),
      percentAssigned: number(
        'Percent of the polonies, from the execution that completed last. Only with the scope executions:read',
      ),
    },
    closed,
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
  listMetrics: {
    operationId: 'InstrumentService_ListInstrumentMetrics',
    tags,
    summary: 'List the metrics of the sequencing runs of an instrument, newest first',
    description:
      'One item for each run that the caller may see (`runs:read`). Values are those of `metrics` of the run. ' +
      'null: nothing has measured it, or not yet.',
    params: SerialNumberParams,
    querystring: Type.Object(
      {
        ...PageQuery.properties,
        since: Type.Optional(Type.String({ format: 'date-time', description: 'Only runs at or after this time' })),
        until: Type.Optional(Type.String({ format: 'date-time', description: 'Only runs before this time' })),
      },
      closed,
    ),
    response: {
      200: responseBody('A page of metrics', {
        metrics: Type.Array(InstrumentMetrics),
        nextPageToken: Type.String(),
        previousPageToken: Type.String(),
      }),
      ...errors(404),
    },
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
