import { Type } from 'typebox';
import { IGNORED_REASONS } from '../../../domain/runs/ignoredFolders.js';
import { component } from '../../openapi/components.js';
import {
  BODY,
  closed,
  closedNonEmpty,
  errors,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  NullableTimestamp,
  oneOf,
  responseBody,
  Timestamp,
} from '../../openapi/shared.js';
import { CappedPageQuery } from '../../paging.js';
import { NAME_DESCRIPTION, statusSchema } from '../schemas.js';

/** Exactly the vendor's contract: polony's own settings are in {@link StorageDetails}. */
export const StorageConnection = component(
  'StorageConnection',
  Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      type: Type.String(),
      status: statusSchema('STORAGE_CONNECTION_STATUS'),
      uri: Type.String(),
      timeCreated: Timestamp,
      timeUpdated: Timestamp,
    },
    {
      ...closed,
      examples: [
        {
          id: '01920000-0000-7000-8000-000000000001',
          name: 'aviti-runs',
          type: 's3',
          status: 'STORAGE_CONNECTION_STATUS_CONNECTED',
          uri: 's3://lab-aviti/runs',
          timeCreated: '2026-01-10T09:00:00.000Z',
          timeUpdated: '2026-01-10T09:00:00.000Z',
        },
      ],
    },
  ),
);

const StorageDetails = component(
  'StorageConnectionDetails',
  Type.Object(
    {
      providerId: Type.String(),
      region: Type.String(),
      bucket: Type.String(),
      prefix: Type.String(),
      useForRunUpload: Type.Boolean(),
      useForDataExploration: Type.Boolean(),
      allowPolicyProbe: Type.Boolean(),
      runDepth: Type.Integer(),
      statusDescription: Type.String(),
      timeVerified: NullableTimestamp,
      timeUsed: NullableTimestamp,
    },
    closed,
  ),
);

const storageFields = {
  name: Type.String({ description: NAME_DESCRIPTION }),
  providerId: Type.String(),
  region: Type.String({ description: 'The region of the bucket' }),
  bucket: Type.String({ description: "The bucket's name, without s3://" }),
  prefix: Type.Optional(
    Type.String({ description: 'The folder that holds run data. If you omit it, polony uses the whole bucket' }),
  ),
  useForRunUpload: Type.Boolean({
    description: 'Whether instruments upload runs to this bucket. If true, polony searches it for runs',
  }),
  useForDataExploration: Type.Boolean(),
  allowPolicyProbe: Type.Optional(
    Type.Boolean({
      description:
        'Whether verification may write the unchanged bucket policy back, to test the permission to do so. ' +
        'The default is false',
    }),
  ),
  runDepth: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 5,
      description: 'The number of folders between the prefix and the folders of the instruments. The default is 0',
    }),
  ),
};

const StorageBody = Type.Object(storageFields, {
  ...closed,
  examples: [
    {
      name: 'aviti-runs',
      providerId: '01920000-0000-7000-8000-000000000000',
      region: 'us-west-2',
      bucket: 'lab-aviti',
      prefix: 'runs',
      useForRunUpload: true,
      useForDataExploration: true,
    },
  ],
});

const StorageChange = Type.Partial(Type.Object(storageFields), {
  ...closedNonEmpty,
  examples: [{ useForRunUpload: false }],
});

const StorageConnectionList = responseBody('One page of storage connections', {
  storageConnections: Type.Array(StorageConnection),
  nextPageToken: Type.String(),
});
const detailedResponse = (description: string) =>
  responseBody(description, { storageConnection: StorageConnection, details: StorageDetails });

const IgnoredFolder = component(
  'IgnoredFolder',
  Type.Object(
    {
      folder: Type.String({ description: 'The path below the prefix of the storage connection' }),
      uri: Type.String(),
      reason: oneOf(IGNORED_REASONS),
      message: Type.String({ description: 'Why polony ignores the folder, and what you can do' }),
    },
    { ...closed, description: 'A folder that looks like a run, and that polony ignores' },
  ),
);

const tags = ['StorageConnectionService'];

/** The operations on storage connections, as the OpenAPI document describes them. */
export const operations = {
  create: {
    operationId: 'StorageConnectionService_CreateStorageConnection',
    tags,
    summary: 'Connect a bucket',
    headers: IdempotencyHeaders,
    body: StorageBody,
    response: { 201: detailedResponse('The new storage connection'), ...errors(409, ...BODY, 422) },
  },
  list: {
    operationId: 'StorageConnectionService_ListStorageConnections',
    tags,
    summary: 'List storage connections, oldest first',
    querystring: CappedPageQuery,
    response: { 200: StorageConnectionList, ...errors() },
  },
  get: {
    operationId: 'StorageConnectionService_GetStorageConnection',
    tags,
    summary: 'Get a storage connection',
    params: IdParams,
    response: {
      200: responseBody('The storage connection', { storageConnection: StorageConnection }),
      ...errors(404),
    },
  },
  getDetails: {
    operationId: 'StorageConnectionService_GetStorageConnectionDetails',
    tags,
    summary: 'Get a storage connection with its settings',
    params: IdParams,
    response: { 200: detailedResponse('The storage connection'), ...errors(404) },
  },
  update: {
    operationId: 'StorageConnectionService_UpdateStorageConnection',
    tags,
    summary: 'Change a storage connection',
    description:
      'Fields that you leave out stay as they are. ' +
      'Once the storage connection has runs, you cannot change its provider, region, bucket or prefix.',
    params: IdParams,
    body: StorageChange,
    response: { 200: detailedResponse('The changed storage connection'), ...errors(404, 409, ...BODY) },
  },
  delete: {
    operationId: 'StorageConnectionService_DeleteStorageConnection',
    tags,
    summary: 'Delete a storage connection',
    description: 'This does not change the bucket or its contents.',
    params: IdParams,
    response: { 204: NoContent, ...errors(404, 409) },
  },
  discover: {
    operationId: 'StorageConnectionService_DiscoverRuns',
    tags,
    summary: 'Search for new runs now',
    params: IdParams,
    response: { 202: detailedResponse('The search has started'), ...errors(404, 409) },
  },
  listIgnored: {
    operationId: 'StorageConnectionService_ListIgnoredFolders',
    tags,
    summary: 'List folders that look like runs and that polony ignores',
    description:
      'polony lists the bucket for each request, in the order of S3. A folder looks like a run if it has ' +
      'RunParameters.json or RunUploaded.json among its first 1,000 names, or if its name nearly has the form of a run ' +
      'folder. A page ends after 50 requests to S3, so that it may be empty although nextPageToken says that more follow.',
    params: IdParams,
    querystring: CappedPageQuery,
    response: {
      200: responseBody('One page of folders', {
        ignoredFolders: Type.Array(IgnoredFolder),
        nextPageToken: Type.String(),
      }),
      ...errors(404, 409),
    },
  },
};
