import { Type } from 'typebox';
import { component } from '../openapi/components.js';
import {
  closed,
  errors,
  NullableString,
  NullableTimestamp,
  oneOf,
  responseBody,
  Timestamp,
} from '../openapi/shared.js';
import { PageQuery } from '../paging.js';
import { EXPORT_LIMIT } from './export.js';

const AuditEntry = component(
  'AuditEntry',
  Type.Object(
    {
      id: Type.String(),
      time: Timestamp,
      requestId: Type.String(),
      caller: Type.Object(
        {
          kind: oneOf(['root', 'key', 'person', 'system', 'temporal', 'anonymous']),
          id: Type.String(),
          name: Type.String(),
        },
        closed,
      ),
      address: NullableString,
      action: Type.String({ description: 'The operationId' }),
      resourceType: NullableString,
      resourceId: NullableString,
      timeEnded: NullableTimestamp,
      status: Type.Unsafe<number | null>({ type: ['integer', 'null'], description: 'HTTP status of the response' }),
      reason: NullableString,
      detail: Type.Unsafe<Record<string, unknown> | null>({ type: ['object', 'null'], additionalProperties: true }),
    },
    {
      ...closed,
      examples: [
        {
          id: '01920000-0000-7000-8000-000000000005',
          time: '2026-01-16T05:00:00.000Z',
          requestId: 'b3f1c2d4-0000-4000-8000-000000000000',
          caller: { kind: 'key', id: '01920000-0000-7000-8000-000000000004', name: 'lims' },
          address: '192.0.2.7',
          action: 'ExecutionService_CancelExecution',
          resourceType: 'executions',
          resourceId: '01920000-0000-7000-8000-000000000006',
          timeEnded: '2026-01-16T05:00:00.120Z',
          status: 202,
          reason: null,
          detail: { fields: ['reason'] },
        },
      ],
    },
  ),
);

const AuditSearch = Type.Object(
  {
    callerId: Type.Optional(Type.String({ maxLength: 500 })),
    action: Type.Optional(
      Type.String({ maxLength: 200, description: 'An operationId, such as ExecutionService_CancelExecution' }),
    ),
    resourceId: Type.Optional(Type.String({ maxLength: 500 })),
    requestId: Type.Optional(Type.String({ maxLength: 128 })),
    since: Type.Optional(Type.String({ format: 'date-time', description: 'Only entries at or after this time' })),
    until: Type.Optional(Type.String({ format: 'date-time', description: 'Only entries before this time' })),
  },
  closed,
);

const AuditQuery = Type.Object({ ...PageQuery.properties, ...AuditSearch.properties }, closed);

/** The operations on the audit log, as the OpenAPI document describes them. */
export const operations = {
  list: {
    operationId: 'AuditService_ListAuditLog',
    tags: ['AuditService'],
    summary: 'List who did what, newest first',
    description:
      'The log records every request that changes something, returns credentials or download URLs, or lacks a scope. ' +
      'Failed logins are in it, counted for each address and minute, and so is what workflows do on request of Temporal. ' +
      'polony never changes or deletes an entry. ' +
      'An entry without `timeEnded` is of a request that is in progress, or that stopped before its outcome was saved.',
    querystring: AuditQuery,
    response: {
      200: responseBody('One page of the audit log', {
        entries: Type.Array(AuditEntry),
        nextPageToken: Type.String(),
        previousPageToken: Type.String(),
      }),
      ...errors(),
    },
  },
  export: {
    operationId: 'AuditService_ExportAuditLog',
    tags: ['AuditService'],
    summary: 'Export who did what, newest first, as CSV',
    description:
      `At most the newest ${EXPORT_LIMIT} entries of the search; the header x-polony-more of the response says whether ` +
      'there are more: narrow since and until then. Texts that a spreadsheet would take for a formula have an ' +
      'apostrophe in front of them.',
    querystring: AuditSearch,
    response: {
      200: { description: 'The entries', content: { 'text/csv': { schema: Type.String() } } },
      ...errors(),
    },
  },
};
