import { type TSchema, Type } from 'typebox';
import { type Disposition, DISPOSITIONS } from '../../domain/files/contentDisposition.js';
import { PREVIEW_KINDS } from '../../domain/files/preview.js';
import { component } from '../openapi/components.js';
import {
  BODY,
  closed,
  errors,
  IdParams,
  NullableTimestamp,
  oneOf,
  responseBody,
  Timestamp,
} from '../openapi/shared.js';

/** Longest validity of a download URL, in seconds (Signature Version 4). */
const URL_SECONDS = 604_800;
/** Lifetimes of issued credentials, in seconds (STS API Reference: AssumeRole, GetFederationToken). */
export const SESSION_SECONDS = {
  least: 900,
  default: 3600,
  mostOfRole: 43_200,
  mostOfAccessKeys: 129_600,
  mostOfUpload: 3600,
};

/** A file in the shape of the vendor's contract. */
const File = component(
  'File',
  Type.Object(
    {
      path: Type.String({ description: 'Relative to the resource, like prefix' }),
      name: Type.String(),
      size: Type.Integer({ description: 'Bytes' }),
      lastModified: Timestamp,
      uri: Type.String(),
      downloadUrl: Type.Optional(
        Type.String({
          description: 'Present if you ask for it. Archived files and keys with folders named . or .. have no URL',
        }),
      ),
      storageClass: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description:
          'The storage class in S3. Files in GLACIER and DEEP_ARCHIVE must be restored before you can read them',
      }),
    },
    {
      ...closed,
      examples: [
        {
          path: 'BaseCalls/R1_C001.zip',
          name: 'R1_C001.zip',
          size: 104857600,
          lastModified: '2026-01-15T20:00:00.000Z',
          uri: 's3://lab-aviti/runs/AV240001/20260115_AV240001_NA12878/BaseCalls/R1_C001.zip',
          storageClass: 'STANDARD',
        },
      ],
    },
  ),
);
/** Credentials in the shape of the vendor's contract. */
const S3Credentials = component(
  'S3Credentials',
  Type.Object(
    {
      region: Type.String(),
      bucket: Type.String(),
      prefix: Type.Unsafe<string | null>({
        type: ['string', 'null'],
        description: 'The beginning of all keys that the credentials cover; null for all keys of the bucket',
      }),
      accessKeyId: Type.String(),
      secretAccessKey: Type.String(),
      sessionToken: Type.String(),
      expiration: Timestamp,
    },
    {
      ...closed,
      examples: [
        {
          region: 'us-west-2',
          bucket: 'lab-aviti',
          prefix: 'runs/AV240001/20260115_AV240001_NA12878/',
          accessKeyId: 'ASIAIOSFODNN7EXAMPLE',
          secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
          sessionToken: 'IQoJb3JpZ2luX2VjEXAMPLE',
          expiration: '2026-01-16T10:00:00.000Z',
        },
      ],
    },
  ),
);

const prefix = Type.Optional(
  Type.String({
    maxLength: 1024,
    examples: ['BaseCalls/'],
    description: 'The beginning of the paths, relative to the resource',
  }),
);
const FilesQuery = Type.Object(
  {
    prefix,
    recursive: Type.Optional(
      Type.Boolean({ description: 'Whether to list the files of subfolders too. The default is true' }),
    ),
    pageSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'The default is 1,000' })),
    pageToken: Type.Optional(
      Type.String({
        maxLength: 4096,
        description: 'nextPageToken of the previous page, with the same prefix and recursive',
      }),
    ),
    includeDownloadUrl: Type.Optional(
      Type.Boolean({ description: 'Whether each file comes with a download URL. The URL works without a key' }),
    ),
    downloadUrlExpirationSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: URL_SECONDS,
        description:
          'The default is 3,600. A URL also expires when the AWS session that signed it does: ' +
          'its X-Amz-Expires has the real value',
      }),
    ),
    includeDownloadChecksum: Type.Optional(
      Type.Boolean({
        description:
          'With includeDownloadUrl: you must send the header x-amz-checksum-mode: ENABLED with the GET, ' +
          'and S3 responds with the checksum if it has one',
      }),
    ),
  },
  closed,
);
const expirationSeconds = Type.Optional(
  Type.Integer({
    minimum: 0,
    maximum: SESSION_SECONDS.mostOfAccessKeys,
    description:
      `The default, also for 0, is ${SESSION_SECONDS.default}. The minimum is ${SESSION_SECONDS.least}. The maximum ` +
      `is what the provider's role allows, or ${SESSION_SECONDS.mostOfAccessKeys} with access keys`,
  }),
);
const CredentialsQuery = Type.Object({ prefix, expirationSeconds }, closed);
const UploadBody = Type.Object(
  {
    runFolder: Type.String({
      minLength: 1,
      maxLength: 255,
      description: 'The name of the run folder: <YYYYMMDD>_<instrument>_<run name>',
    }),
    instrumentName: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        description: "The name of the instrument's folder. The default is the instrument in the name of the run folder",
      }),
    ),
    parentPath: Type.Optional(
      Type.String({
        maxLength: 512,
        description:
          "The folders between the prefix and the instrument's folder, for a storage connection with a runDepth",
      }),
    ),
    expirationSeconds: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: SESSION_SECONDS.mostOfUpload,
        description:
          `The default, also for 0, and the maximum is ${SESSION_SECONDS.mostOfUpload}. The minimum is ` +
          `${SESSION_SECONDS.least}. A client that needs longer requests new credentials, which polony gives until the ` +
          'upload is complete',
      }),
    ),
  },
  { ...closed, examples: [{ runFolder: '20260115_AV240001_NA12878', expirationSeconds: 3600 }] },
);

const FilesPage = responseBody('A page of files', {
  files: Type.Array(File),
  subdirectories: Type.Array(Type.String()),
  nextPageToken: Type.String(),
  isTruncated: Type.Boolean(),
});
const credentials = (description: string) => responseBody(description, { s3: S3Credentials });
const listing = { querystring: FilesQuery, response: { 200: FilesPage, ...errors(404) } };
const reading = { querystring: CredentialsQuery, response: { 200: credentials('The credentials'), ...errors(404) } };
const readOnly = 'The credentials can read the objects below the prefix and nothing else.';
const exploration = 'The storage connection must be used for data exploration.';

const PathQuery = Type.Object(
  {
    path: Type.String({
      minLength: 1,
      maxLength: 1024,
      examples: ['RunParameters.json'],
      description: 'Path of the file, relative to the resource',
    }),
  },
  closed,
);
const FilePreview = component(
  'FilePreview',
  Type.Object(
    {
      path: Type.String(),
      size: Type.Integer({ description: 'Bytes of the whole file' }),
      lastModified: NullableTimestamp,
      kind: oneOf(PREVIEW_KINDS),
      contentType: Type.String({ description: 'By the content, not by the name' }),
      encoding: oneOf(['text', 'base64']),
      content: Type.String({ description: 'Text; for images base64' }),
      isTruncated: Type.Boolean({ description: 'Whether the text goes on' }),
    },
    closed,
  ),
);
const UrlQuery = Type.Object(
  {
    ...PathQuery.properties,
    disposition: Type.Optional(
      Type.Unsafe<Disposition>({
        type: 'string',
        enum: [...DISPOSITIONS],
        description: 'Whether a browser saves the file (attachment, the default) or displays it (inline)',
      }),
    ),
    expirationSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: URL_SECONDS,
        description: 'The default is 3,600. See X-Amz-Expires of the URL',
      }),
    ),
  },
  closed,
);
const downloadUrl = {
  description: 'The URL works without a key. polony does not look whether the file exists: S3 says so at the URL.',
  querystring: UrlQuery,
  response: {
    200: responseBody('The URL', {
      url: Type.String(),
      expirationSeconds: Type.Integer({ description: 'How long the URL is valid: at most as long as the AWS session' }),
    }),
    ...errors(404, 409),
  },
};
const preview = {
  description:
    'Texts have their first MiB, images (PNG, JPEG, GIF, WebP) at most one MiB. SVG is text, because it can contain ' +
    'scripts. Archived files and files of other types have no preview.',
  querystring: PathQuery,
  response: { 200: responseBody('The preview', { preview: FilePreview }), ...errors(404, 409) },
};
const report = {
  description:
    'For a frame of a page: the Content-Security-Policy of the response lets the report run its own scripts in an ' +
    'origin of its own, without cookies, and load nothing. At most 32 MiB.',
  querystring: PathQuery,
  response: {
    200: { description: 'The report', content: { 'text/html': { schema: Type.String() } } },
    ...errors(404, 409),
  },
};

const ofStorage = {
  tags: ['StorageConnectionService'],
  params: Type.Object({ storage_connection_id: Type.String() }),
};
const ofRun = { tags: ['RunService'], params: Type.Object({ run_id: Type.String() }) };
const ofExecution = { tags: ['ExecutionService'], params: Type.Object({ execution_id: Type.String() }) };

/** The operations that every kind of resource with files has. They differ in their parameters. */
export interface FileOwnerOperations {
  list: typeof listing & { params: TSchema };
  getCredentials: typeof reading & { params: TSchema };
  preview: typeof preview & { params: TSchema };
  report: typeof report & { params: TSchema };
  downloadUrl: typeof downloadUrl & { params: TSchema };
}

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  listOfStorage: {
    operationId: 'StorageConnectionService_ListFiles',
    summary: 'List the files of a storage connection',
    description: `${exploration} The prefix is a folder.`,
    ...ofStorage,
    ...listing,
  },
  listOfRun: {
    operationId: 'RunService_ListRunFiles',
    summary: 'List the files of a run',
    description: 'The prefix can end in the middle of a name.',
    ...ofRun,
    ...listing,
  },
  listOfExecution: {
    operationId: 'ExecutionService_ListExecutionFiles',
    summary: 'List the files of an execution',
    description: 'The list is empty until the HealthOmics run starts. The prefix can end in the middle of a name.',
    ...ofExecution,
    ...listing,
  },
  urlOfStorage: {
    operationId: 'StorageConnectionService_GetDownloadUrl',
    summary: 'Get a URL to download or display a file of a storage connection',
    ...ofStorage,
    ...downloadUrl,
  },
  urlOfRun: {
    operationId: 'RunService_GetRunDownloadUrl',
    summary: 'Get a URL to download or display a file of a run',
    ...ofRun,
    ...downloadUrl,
  },
  urlOfExecution: {
    operationId: 'ExecutionService_GetExecutionDownloadUrl',
    summary: 'Get a URL to download or display a file of an execution',
    ...ofExecution,
    ...downloadUrl,
  },
  previewOfStorage: {
    operationId: 'StorageConnectionService_PreviewFile',
    summary: 'Show the beginning of a text file, or an image, of a storage connection',
    ...ofStorage,
    ...preview,
  },
  previewOfRun: {
    operationId: 'RunService_PreviewRunFile',
    summary: 'Show the beginning of a text file, or an image, of a run',
    ...ofRun,
    ...preview,
  },
  previewOfExecution: {
    operationId: 'ExecutionService_PreviewExecutionFile',
    summary: 'Show the beginning of a text file, or an image, of an execution',
    ...ofExecution,
    ...preview,
  },
  reportOfStorage: {
    operationId: 'StorageConnectionService_GetReport',
    summary: 'Get an HTML report of a storage connection',
    ...ofStorage,
    ...report,
  },
  reportOfRun: {
    operationId: 'RunService_GetRunReport',
    summary: 'Get an HTML report of a run',
    ...ofRun,
    ...report,
  },
  reportOfExecution: {
    operationId: 'ExecutionService_GetExecutionReport',
    summary: 'Get an HTML report of an execution, such as the QC page of Bases2Fastq',
    ...ofExecution,
    ...report,
  },
  credentialsOfStorage: {
    operationId: 'StorageConnectionService_GetDownloadCredentials',
    summary: 'Get short-lived AWS credentials to read a storage connection',
    description: `${exploration} ${readOnly}`,
    ...ofStorage,
    ...reading,
  },
  credentialsOfRun: {
    operationId: 'RunService_GetRunDownloadCredentials',
    summary: 'Get short-lived AWS credentials to read a run',
    description: readOnly,
    ...ofRun,
    ...reading,
  },
  credentialsOfExecution: {
    operationId: 'ExecutionService_GetExecutionDownloadCredentials',
    summary: 'Get short-lived AWS credentials to read the output of an execution',
    description: readOnly,
    ...ofExecution,
    ...reading,
  },
  uploadCredentials: {
    operationId: 'StorageConnectionService_CreateUploadCredentials',
    tags: ['StorageConnectionService'],
    summary: 'Create short-lived AWS credentials to upload one run',
    description:
      'The storage connection must be used for run upload. The credentials can write and list objects below the run ' +
      'folder, and cannot read them. A run whose upload is complete cannot be overwritten.',
    params: IdParams,
    body: UploadBody,
    response: {
      201: credentials('The credentials. prefix is the run folder'),
      ...errors(404, 409, ...BODY),
    },
  },
  getLogs: {
    operationId: 'ExecutionService_GetExecutionLogs',
    summary: 'Get the reason why an execution failed, and the log of Bases2Fastq',
    description:
      'The last MiB of info/Bases2Fastq.log, if the storage connection is used for data exploration. ' +
      'The log is empty until there is one.',
    ...ofExecution,
    response: {
      200: responseBody('The log', { error: Type.String(), log: Type.String() }),
      ...errors(404),
    },
  },
};
