import { createHash } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Session } from '../../aws/sessions.js';
import { classifyAwsError } from '../../aws/errors.js';
import { downloadUrls, type FilesPage, listPage, readTail } from '../../aws/files.js';
import { parseS3Uri } from '../../aws/s3.js';
import { toFolderPrefix, checkRelativePrefix } from '../../domain/files/paths.js';
import { joinKey } from '../../domain/aws.js';
import { InputError, throwIfInvalid } from '../../domain/errors.js';
import { explainFailure } from '../../domain/executions/failures.js';
import {
  issuedCredentialsPolicy,
  type CredentialPurpose,
  SESSION_POLICY_LIMIT,
} from '../../domain/iam/sessionPolicies.js';
import { EXECUTIONS_FOLDER, parseRunFolderName } from '../../domain/runs/runFolder.js';
import type { ScopeAction } from '../../domain/auth/scopes.js';
import { isId } from '../../store/database.js';
import { findProvider } from '../../store/connections/providers.js';
import { findStorageConnection, type StorageConnectionRow as StorageRow } from '../../store/connections/storage.js';
import { getExecution } from '../../store/executions/list.js';
import { findKnownRuns } from '../../store/runs/discovery.js';
import { getRun } from '../../store/runs/list.js';
import type { ApiDependencies } from '../dependencies.js';
import { awsApiError } from '../aws.js';
import { ApiError, notFoundError } from '../errors.js';
import { requireScope, recordDenial } from '../plugins/auth.js';
import { BODY, errors, File, IdParams, S3Credentials } from '../schemas.js';

/** A folder in a bucket that a resource shows. */
interface Place {
  storage: StorageRow;
  bucket: string;
  /** With a slash at its end, or empty for the whole bucket. */
  root: string;
  /** Below which prefixes of the root the caller may go. */
  allowed: 'all' | string[];
  /** Prefixes are folders: a slash at their end is understood. Of runs and executions they are the beginning of a path. */
  folders: boolean;
  permission: ScopeAction;
}

/** Longest a download URL may last, and shortest and longest lives of credentials, in seconds (SigV4; STS API Reference). */
const URL_SECONDS = 604_800;
const SESSION_SECONDS = { least: 900, usual: 3600, ofRole: 43_200, ofKeys: 129_600 };
/** How many bytes of a log are answered. */
const LOG_BYTES = 1024 * 1024;

const FilesQuery = Type.Object(
  {
    prefix: Type.Optional(
      Type.String({
        maxLength: 1024,
        examples: ['BaseCalls/'],
        description: 'What paths begin with, relative to the resource',
      }),
    ),
    recursive: Type.Optional(
      Type.Boolean({ description: 'Whether files of folders below are listed too; true where it is left out' }),
    ),
    pageSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: '1,000 where it is left out' })),
    pageToken: Type.Optional(
      Type.String({
        maxLength: 4096,
        description: 'nextPageToken of the page before, with the same prefix and recursive',
      }),
    ),
    includeDownloadUrl: Type.Optional(
      Type.Boolean({ description: 'Whether each file comes with a URL to download it by, which needs no key' }),
    ),
    downloadUrlExpirationSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: URL_SECONDS,
        description:
          '3,600 where it is left out; a URL ends with the AWS session that signed it at the latest, its X-Amz-Expires is the true one',
      }),
    ),
    includeDownloadChecksum: Type.Optional(
      Type.Boolean({
        description:
          'With includeDownloadUrl: the GET must send x-amz-checksum-mode: ENABLED and is answered with the checksum where S3 has one',
      }),
    ),
  },
  { additionalProperties: false },
);
const CredentialsQuery = Type.Object(
  {
    prefix: Type.Optional(
      Type.String({
        maxLength: 1024,
        examples: ['BaseCalls/'],
        description: 'What paths begin with, relative to the resource',
      }),
    ),
    expirationSeconds: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: SESSION_SECONDS.ofKeys,
        description: `${SESSION_SECONDS.usual} where it is left out or 0; at least ${SESSION_SECONDS.least}, at most what the provider's role allows, or ${SESSION_SECONDS.ofKeys} of access keys`,
      }),
    ),
  },
  { additionalProperties: false },
);
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
        description: 'The folder of the instrument; what the run folder says where it is left out',
      }),
    ),
    parentPath: Type.Optional(
      Type.String({
        maxLength: 512,
        description:
          'The folders between the prefix and that of the instrument, where the storage connection has a runDepth',
      }),
    ),
    expirationSeconds: CredentialsQuery.properties.expirationSeconds,
  },
  { additionalProperties: false, examples: [{ runFolder: '20260115_AV240001_NA12878', expirationSeconds: 43_200 }] },
);

/** A listing is looking only; a URL hands out what it is for. */
const WITH_URLS = ({ query }: FastifyRequest): boolean =>
  (query as Static<typeof FilesQuery>).includeDownloadUrl === true;

/** What a token is good for: the listing that has answered it. */
const listingOf = (place: Place, prefix: string, recursive: boolean): string =>
  JSON.stringify([place.bucket, place.root, prefix, recursive]);
/** S3's token, with a checksum of it and of its listing before it. It grants nothing, so that needs no secret. */
function sealToken(listing: string, token: string): string {
  return Buffer.from(
    createHash('sha256').update(`${listing} ${token}`).digest('base64url').slice(0, CHECKSUM) + token,
  ).toString('base64url');
}
const CHECKSUM = 16;
function openToken(listing: string, sealed: string | undefined): string | undefined {
  if (sealed === undefined || sealed === '') return undefined;
  const token = Buffer.from(sealed, 'base64url').toString().slice(CHECKSUM);
  // Base64 has several spellings of one content: only ours is taken.
  if (token !== '' && sealToken(listing, token) === sealed) return token;
  throw invalidToken();
}
const invalidToken = (): ApiError =>
  new ApiError(
    400,
    'INVALID_PAGE_TOKEN',
    'pageToken is not one that this listing, with this prefix and recursive, has answered; start again without it',
    { field: 'pageToken' },
  );

/** Files of storage connections, runs and executions, and credentials for them. */
export function fileRoutes(scope: FastifyInstance, { db, aws }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();

  async function connection(id: string, forWhat?: string): Promise<StorageRow> {
    const found = isId(id) ? await findStorageConnection(db, id) : undefined;
    if (found !== undefined) return found;
    if (forWhat === undefined) throw notFoundError('storage connection', id);
    throw new ApiError(
      404,
      'STORAGE_CONNECTION_NOT_FOUND',
      `The storage connection of the ${forWhat} was deleted, so its files cannot be reached`,
    );
  }
  /** The vendor's page: where the setting is off, nothing of it is displayed. */
  function explorable(storage: StorageRow): StorageRow {
    if (storage.use_for_data_exploration) return storage;
    throw new ApiError(
      403,
      'DATA_EXPLORATION_OFF',
      `The storage connection ${storage.name} is not used for data exploration; switch useForDataExploration on there`,
    );
  }

  async function ofStorage({ caller }: FastifyRequest, id: string): Promise<Place> {
    const storage = explorable(await connection(id));
    return {
      storage,
      bucket: storage.bucket,
      root: toFolderPrefix(storage.prefix),
      allowed: caller.access.prefixes('storage:download', storage.id),
      folders: true,
      permission: 'storage:download',
    };
  }
  async function ofRun(id: string): Promise<Place> {
    const run = isId(id) ? await getRun(db, id) : undefined;
    if (run === undefined) throw notFoundError('run', id);
    const storage = explorable(await connection(run.storage_connection_id, 'run'));
    return {
      storage,
      bucket: storage.bucket,
      root: `${joinKey(storage.prefix, run.parent_path, run.run_folder)}/`,
      allowed: 'all',
      folders: false,
      permission: 'runs:download',
    };
  }
  /** @returns undefined as long as there is no output. */
  async function ofExecution(id: string): Promise<Place | undefined> {
    const execution = isId(id) ? await getExecution(db, id) : undefined;
    if (execution === undefined) throw notFoundError('execution', id);
    const storage = explorable(await connection(execution.storage_connection_id, 'execution'));
    if (execution.run_output_uri === null) return undefined;
    const { bucket, key } = parseS3Uri(execution.run_output_uri);
    const root = toFolderPrefix(key);
    // HealthOmics says where it is: it is shown only where the connection may show it.
    if (bucket !== storage.bucket || root === '' || !root.startsWith(toFolderPrefix(storage.prefix)))
      throw new ApiError(
        404,
        'OUTPUT_ELSEWHERE',
        `The output of the execution is not in the storage connection ${storage.name}`,
      );
    return { storage, bucket, root, allowed: 'all', folders: false, permission: 'executions:download' };
  }

  /** The prefix that is asked for, checked and within what the caller may see. */
  async function prefixOf(request: FastifyRequest, place: Place, given = ''): Promise<string> {
    throwIfInvalid(checkRelativePrefix('prefix', given, place.root));
    const prefix = place.folders ? toFolderPrefix(given) : given;
    const { allowed } = place;
    if (allowed !== 'all' && !allowed.some((each) => prefix.startsWith(each))) {
      const error = new ApiError(
        403,
        'INSUFFICIENT_SCOPE',
        `Give a prefix that this key may see: ${allowed.join(', ')}`,
        { required_scope: place.permission, allowed_prefixes: allowed },
      );
      if (request.audited === null) await recordDenial(db, request, error);
      throw error;
    }
    return prefix;
  }

  async function list(
    request: FastifyRequest,
    place: Place,
    query: Static<typeof FilesQuery>,
  ): Promise<{ files: Static<typeof File>[]; subdirectories: string[]; nextPageToken: string; isTruncated: boolean }> {
    const { storage, bucket, root } = place;
    const prefix = await prefixOf(request, place, query.prefix);
    const recursive = query.recursive ?? true;
    const listing = listingOf(place, prefix, recursive);
    const token = openToken(listing, query.pageToken);
    let page: FilesPage;
    try {
      page = await aws.use(storage.provider_id, () =>
        listPage(aws.s3(storage.provider_id, storage.region), bucket, root + prefix, {
          recursive,
          size: query.pageSize ?? 1000,
          token,
        }),
      );
    } catch (error) {
      if (token !== undefined && classifyAwsError(error).code === 'InvalidArgument') throw invalidToken();
      throw awsApiError(request, error, { action: 's3:ListBucket', resource: `arn:aws:s3:::${bucket}` });
    }
    const urls =
      query.includeDownloadUrl === true && page.files.length > 0 ? await signAll(request, place, page, query) : [];
    return {
      files: page.files.map((file, at) => ({
        path: file.key.slice(root.length),
        name: file.key.slice(file.key.lastIndexOf('/') + 1),
        size: file.size,
        lastModified: file.lastModified.toISOString(),
        uri: `s3://${bucket}/${file.key}`,
        ...(urls[at] !== undefined && { downloadUrl: urls[at] }),
        storageClass: file.storageClass,
      })),
      subdirectories: page.folders.map((folder) => folder.slice(root.length)),
      nextPageToken: page.next === undefined ? '' : sealToken(listing, page.next),
      isTruncated: page.next !== undefined,
    };
  }

  async function signAll(
    request: FastifyRequest,
    { storage, bucket }: Place,
    page: FilesPage,
    query: Static<typeof FilesQuery>,
  ): Promise<(string | undefined)[]> {
    const seconds = query.downloadUrlExpirationSeconds ?? 3600;
    let session: Session;
    try {
      session = await aws.sessionFor(storage.provider_id, seconds);
    } catch (error) {
      throw awsApiError(request, error, { action: 's3:GetObject', resource: `arn:aws:s3:::${bucket}/*` });
    }
    const signer = aws.signer(session, storage.region);
    try {
      const urls = await downloadUrls(
        signer,
        session,
        bucket,
        page.files,
        seconds,
        query.includeDownloadChecksum === true,
      );
      request.auditDetail = {
        prefix: query.prefix ?? '',
        urls: urls.filter((url) => url !== undefined).length,
        expirationSeconds: seconds,
      };
      return urls;
    } finally {
      signer.destroy();
    }
  }

  /** Credentials for a prefix of the bucket. @param prefix as keys begin in the bucket */
  async function handOut(
    request: FastifyRequest,
    kind: CredentialPurpose,
    storage: StorageRow,
    prefix: string,
    expirationSeconds = 0,
  ): Promise<{ s3: Static<typeof S3Credentials> }> {
    const provider = await findProvider(db, storage.provider_id);
    if (provider === undefined)
      throw new ApiError(404, 'PROVIDER_NOT_FOUND', 'The provider of the storage connection was deleted');
    const seconds = expirationSeconds === 0 ? SESSION_SECONDS.usual : expirationSeconds;
    const most = provider.credential_type === 'role' ? SESSION_SECONDS.ofRole : SESSION_SECONDS.ofKeys;
    const badSeconds = (message: string): InputError =>
      new InputError([{ field: 'expirationSeconds', rule: 'SESSION_LENGTH', message }]);
    if (seconds < SESSION_SECONDS.least || seconds > most)
      throw badSeconds(`must be ${SESSION_SECONDS.least} to ${most} seconds with the credentials of this provider`);
    const policy = issuedCredentialsPolicy(kind, storage.bucket, prefix, storage.region);
    if (policy.length > SESSION_POLICY_LIMIT)
      throw new InputError([
        {
          field: 'prefix',
          rule: 'PREFIX_LENGTH',
          message: 'is too long for a session policy of AWS; give one that is shorter',
        },
      ]);
    let session: Session;
    try {
      session = await aws.narrowedSession(
        storage.provider_id,
        policy,
        seconds,
        `polony-${kind}-${storage.provider_id.slice(-12)}`,
      );
    } catch (error) {
      const beneath = classifyAwsError((error as Error).cause ?? error);
      if (/DurationSeconds exceeds/i.test(beneath.message)) {
        throw badSeconds(
          /chaining/i.test(beneath.message)
            ? 'must be at most 3600: polony itself runs with a role, and AWS chains roles for an hour at most'
            : `is more than the role ${provider.role_arn ?? ''} allows; ask for less, or raise its maximum session duration`,
        );
      }
      if (beneath.code === 'PackedPolicyTooLarge')
        throw new InputError([
          {
            field: 'prefix',
            rule: 'PREFIX_LENGTH',
            message: 'is too long for a session policy of AWS; give one that is shorter',
          },
        ]);
      throw awsApiError(request, error, {
        action: 'sts:AssumeRole',
        resource: provider.role_arn ?? provider.access_key_id ?? '',
      });
    }
    request.auditDetail = {
      ...request.auditDetail,
      uri: `s3://${storage.bucket}/${prefix}`,
      kind,
      expiration: session.expiration.toISOString(),
    };
    return {
      s3: {
        region: storage.region,
        bucket: storage.bucket,
        prefix: prefix === '' ? null : prefix,
        accessKeyId: session.accessKeyId,
        secretAccessKey: session.secretAccessKey,
        sessionToken: session.sessionToken,
        expiration: session.expiration.toISOString(),
      },
    };
  }

  const filesAnswer = Type.Object(
    {
      files: Type.Array(File),
      subdirectories: Type.Array(Type.String()),
      nextPageToken: Type.String(),
      isTruncated: Type.Boolean(),
    },
    { additionalProperties: false, description: 'A page' },
  );
  const credentialsAnswer = (description: string) =>
    Type.Object({ s3: S3Credentials }, { additionalProperties: false, description });
  const nothing = { files: [], subdirectories: [], nextPageToken: '', isTruncated: false };
  const storageParams = Type.Object({ storage_connection_id: Type.String() });
  const runParams = Type.Object({ run_id: Type.String() });
  const executionParams = Type.Object({ execution_id: Type.String() });
  const reading =
    'They read what is below the prefix and nothing else. Prefixes, lengths and what the provider must be allowed are told where they do not fit.';

  app.get(
    '/v1/storage-connections/:storage_connection_id/files',
    {
      config: requireScope('storage:download', 'storage_connection_id', { audit: WITH_URLS }),
      schema: {
        operationId: 'StorageConnectionService_ListFiles',
        tags: ['StorageConnectionService'],
        summary: 'The files of a storage connection',
        description: 'Where it is used for data exploration. The prefix is a folder.',
        params: storageParams,
        querystring: FilesQuery,
        response: { 200: filesAnswer, ...errors(404) },
      },
    },
    async (request) => list(request, await ofStorage(request, request.params.storage_connection_id), request.query),
  );
  app.get(
    '/v1/runs/:run_id/files',
    {
      config: requireScope('runs:download', 'run_id', { audit: WITH_URLS }),
      schema: {
        operationId: 'RunService_ListRunFiles',
        tags: ['RunService'],
        summary: 'The files of a run',
        description: 'The prefix may be the beginning of a name.',
        params: runParams,
        querystring: FilesQuery,
        response: { 200: filesAnswer, ...errors(404) },
      },
    },
    async (request) => list(request, await ofRun(request.params.run_id), request.query),
  );
  app.get(
    '/v1/executions/:execution_id/files',
    {
      config: requireScope('executions:download', 'execution_id', { audit: WITH_URLS }),
      schema: {
        operationId: 'ExecutionService_ListExecutionFiles',
        tags: ['ExecutionService'],
        summary: 'The files of an execution',
        description:
          'None as long as its HealthOmics run has not been started. The prefix may be the beginning of a name.',
        params: executionParams,
        querystring: FilesQuery,
        response: { 200: filesAnswer, ...errors(404) },
      },
    },
    async (request) => {
      const place = await ofExecution(request.params.execution_id);
      return place === undefined ? nothing : list(request, place, request.query);
    },
  );

  app.get(
    '/v1/storage-connections/:storage_connection_id/credentials',
    {
      config: requireScope('storage:download', 'storage_connection_id', { audit: true }),
      schema: {
        operationId: 'StorageConnectionService_GetDownloadCredentials',
        tags: ['StorageConnectionService'],
        summary: 'Short-lived AWS credentials to read a storage connection',
        description: `Where it is used for data exploration. ${reading}`,
        params: storageParams,
        querystring: CredentialsQuery,
        response: { 200: credentialsAnswer('The credentials'), ...errors(404) },
      },
    },
    async (request) => {
      const place = await ofStorage(request, request.params.storage_connection_id);
      return handOut(
        request,
        'read',
        place.storage,
        place.root + (await prefixOf(request, place, request.query.prefix)),
        request.query.expirationSeconds,
      );
    },
  );
  app.get(
    '/v1/runs/:run_id/credentials',
    {
      config: requireScope('runs:download', 'run_id', { audit: true }),
      schema: {
        operationId: 'RunService_GetRunDownloadCredentials',
        tags: ['RunService'],
        summary: 'Short-lived AWS credentials to read a run',
        description: reading,
        params: runParams,
        querystring: CredentialsQuery,
        response: { 200: credentialsAnswer('The credentials'), ...errors(404) },
      },
    },
    async (request) => {
      const place = await ofRun(request.params.run_id);
      return handOut(
        request,
        'read',
        place.storage,
        place.root + (await prefixOf(request, place, request.query.prefix)),
        request.query.expirationSeconds,
      );
    },
  );
  app.get(
    '/v1/executions/:execution_id/credentials',
    {
      config: requireScope('executions:download', 'execution_id', { audit: true }),
      schema: {
        operationId: 'ExecutionService_GetExecutionDownloadCredentials',
        tags: ['ExecutionService'],
        summary: 'Short-lived AWS credentials to read the output of an execution',
        description: reading,
        params: executionParams,
        querystring: CredentialsQuery,
        response: { 200: credentialsAnswer('The credentials'), ...errors(404) },
      },
    },
    async (request) => {
      const place = await ofExecution(request.params.execution_id);
      if (place === undefined)
        throw new ApiError(
          404,
          'NO_OUTPUT_YET',
          'The execution has no output yet: its HealthOmics run has not been started',
        );
      return handOut(
        request,
        'read',
        place.storage,
        place.root + (await prefixOf(request, place, request.query.prefix)),
        request.query.expirationSeconds,
      );
    },
  );

  app.post(
    '/v1/storage-connections/:id/upload-credentials',
    {
      config: requireScope('storage:upload', 'id'),
      schema: {
        operationId: 'StorageConnectionService_CreateUploadCredentials',
        tags: ['StorageConnectionService'],
        summary: 'Short-lived AWS credentials to upload one run',
        description:
          'Where the storage connection is used for run upload. They write below the run folder and list it, and read nothing. A run whose upload is complete is not written over.',
        params: IdParams,
        body: UploadBody,
        response: { 201: credentialsAnswer('The credentials; prefix is the run folder'), ...errors(404, 409, ...BODY) },
      },
    },
    async (request, reply) => {
      const storage = await connection(request.params.id);
      if (!storage.use_for_run_upload)
        throw new ApiError(
          403,
          'RUN_UPLOAD_OFF',
          `The storage connection ${storage.name} is not used for run upload; switch useForRunUpload on there`,
        );
      const { runFolder, instrumentName, parentPath = '', expirationSeconds } = request.body;
      const bad = (field: string, rule: string, message: string): InputError =>
        new InputError([{ field, rule, message }]);
      if (/[/\\*?]|\$\{|\p{Cc}|\p{Cs}/u.test(runFolder + (instrumentName ?? '')))
        throw bad(
          'runFolder',
          'RUN_FOLDER',
          'must be the name of a folder, and that of the instrument too: without slashes, wildcards and control characters',
        );
      const named = parseRunFolderName(runFolder, instrumentName);
      if (named === undefined)
        throw bad(
          'runFolder',
          'RUN_FOLDER',
          'must be named <YYYYMMDD>_<instrument>_<run name>, as instruments do; otherwise the run would not be found',
        );
      throwIfInvalid(checkRelativePrefix('parentPath', parentPath, toFolderPrefix(storage.prefix)));
      const above = parentPath === '' ? [] : parentPath.replace(/\/$/, '').split('/');
      if (
        above.length !== storage.run_depth ||
        above.some((part) => part === '') ||
        above[0] === EXECUTIONS_FOLDER ||
        (above.length === 0 && named.instrumentName === EXECUTIONS_FOLDER)
      ) {
        throw bad(
          'parentPath',
          'RUN_DEPTH',
          `must be ${storage.run_depth} folders, as the storage connection's runDepth says; otherwise the run would not be found`,
        );
      }
      const parent = [...above, named.instrumentName].join('/');
      const folder = `${parent}/${runFolder}/`;
      const allowed = request.caller.access.prefixes('storage:upload', storage.id);
      if (allowed !== 'all' && !allowed.some((each) => folder.startsWith(each))) {
        throw new ApiError(403, 'INSUFFICIENT_SCOPE', `This key uploads below ${allowed.join(', ')} only`, {
          required_scope: 'storage:upload',
          allowed_prefixes: allowed,
        });
      }
      const known = (await findKnownRuns(db, storage.id, parent, [runFolder])).get(runFolder);
      if (known?.uploadState === 'complete')
        throw new ApiError(
          409,
          'RUN_COMPLETE',
          `The upload of the run ${known.runName} (${known.id}) is complete; what analyses may be reading is not written over`,
          { field: 'runFolder', runId: known.id },
        );
      request.auditDetail = { runFolder };
      return reply
        .code(201)
        .send(await handOut(request, 'upload', storage, toFolderPrefix(storage.prefix) + folder, expirationSeconds));
    },
  );

  app.get(
    '/v1/executions/:execution_id/logs',
    {
      config: requireScope('executions:logs', 'execution_id'),
      schema: {
        operationId: 'ExecutionService_GetExecutionLogs',
        tags: ['ExecutionService'],
        summary: 'Why an execution failed, and the log of Bases2Fastq',
        description: 'Of info/Bases2Fastq.log the last MiB, where the storage connection is used for data exploration.',
        params: executionParams,
        response: {
          200: Type.Object(
            { error: Type.String(), log: Type.String() },
            { additionalProperties: false, description: 'The log; empty as long as there is none' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const { execution_id: id } = request.params;
      const execution = isId(id) ? await getExecution(db, id) : undefined;
      if (execution === undefined) throw notFoundError('execution', id);
      const failure =
        execution.status === 'FAILED' && execution.error_type !== null
          ? explainFailure(execution.error_type)
          : undefined;
      const error =
        execution.status !== 'FAILED'
          ? ''
          : [execution.error_message ?? '', ...(failure === undefined ? [] : [failure.what, failure.toDo])]
              .filter((text) => text !== '')
              .join('\n');
      let place: Place | undefined;
      try {
        place = await ofExecution(request.params.execution_id);
      } catch (reason) {
        // That it failed can be told although its files cannot.
        if (!(reason instanceof ApiError)) throw reason;
      }
      if (place === undefined) return { error, log: '' };
      const { storage, bucket, root } = place;
      const key = `${root}info/Bases2Fastq.log`;
      try {
        return {
          error,
          log:
            (await aws.use(storage.provider_id, () =>
              readTail(aws.s3(storage.provider_id, storage.region), bucket, key, LOG_BYTES),
            )) ?? '',
        };
      } catch (failed) {
        throw awsApiError(request, failed, { action: 's3:GetObject', resource: `arn:aws:s3:::${bucket}/${key}` });
      }
    },
  );
}
