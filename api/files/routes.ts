import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ScopeAction } from '../../domain/auth/scopes.js';
import type { ApiDependencies } from '../dependencies.js';
import { type Caller, requireScope } from '../plugins/auth.js';
import { previewFile, sendReport } from './content.js';
import { signUrl } from './downloadUrl.js';
import { issueReadCredentials } from './credentials.js';
import { issuesUrls, listFiles } from './list.js';
import { handleGetLogs } from './logs.js';
import { findExecutionPlace, findRunPlace, findStoragePlace, type Place } from './places.js';
import { type FileOwnerOperations, operations } from './schemas.js';
import { handleUploadCredentials } from './uploadCredentials.js';

/** A kind of resource that shows the files of a place. */
interface FileOwner extends FileOwnerOperations {
  /** The collection of the resources, below `/v1`. */
  collection: string;
  /** The path parameter with the id of the resource. */
  idParam: string;
  permission: ScopeAction;
  /** @returns undefined where the resource has no files yet */
  findPlace: (db: ApiDependencies['db'], id: string, caller: Caller) => Promise<Place | undefined>;
}

const FILE_OWNERS: readonly FileOwner[] = [
  {
    collection: 'storage-connections',
    idParam: 'storage_connection_id',
    permission: 'storage:download',
    findPlace: findStoragePlace,
    list: operations.listOfStorage,
    getCredentials: operations.credentialsOfStorage,
    downloadUrl: operations.urlOfStorage,
    preview: operations.previewOfStorage,
    report: operations.reportOfStorage,
  },
  {
    collection: 'runs',
    idParam: 'run_id',
    permission: 'runs:download',
    findPlace: findRunPlace,
    list: operations.listOfRun,
    getCredentials: operations.credentialsOfRun,
    downloadUrl: operations.urlOfRun,
    preview: operations.previewOfRun,
    report: operations.reportOfRun,
  },
  {
    collection: 'executions',
    idParam: 'execution_id',
    permission: 'executions:download',
    findPlace: findExecutionPlace,
    list: operations.listOfExecution,
    getCredentials: operations.credentialsOfExecution,
    downloadUrl: operations.urlOfExecution,
    preview: operations.previewOfExecution,
    report: operations.reportOfExecution,
  },
];

/** Files of storage connections, runs and executions, and credentials for them. */
export function fileRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  for (const owner of FILE_OWNERS)
    app.get(
      `${pathOf(owner)}/files`,
      { config: requireScope(owner.permission, owner.idParam, { audit: issuesUrls }), schema: owner.list },
      async (request) => {
        const place = await findPlace(dependencies, owner, request);
        return listFiles(dependencies, request, place, request.query);
      },
    );
  for (const owner of FILE_OWNERS) {
    const config = requireScope(owner.permission, owner.idParam, { audit: true });
    app.get(`${pathOf(owner)}/files/download-url`, { config, schema: owner.downloadUrl }, async (request) => {
      const place = await findPlace(dependencies, owner, request);
      return signUrl(dependencies, request, place, request.query);
    });
    app.get(`${pathOf(owner)}/files/preview`, { config, schema: owner.preview }, async (request) => {
      const place = await findPlace(dependencies, owner, request);
      return { preview: await previewFile(dependencies, request, place, request.query.path) };
    });
    app.get(`${pathOf(owner)}/files/report`, { config, schema: owner.report }, async (request, reply) => {
      const place = await findPlace(dependencies, owner, request);
      const report = await sendReport(dependencies, request, reply, place, request.query.path);
      return reply.send(report as never);
    });
  }
  for (const owner of FILE_OWNERS)
    app.get(
      `${pathOf(owner)}/credentials`,
      { config: requireScope(owner.permission, owner.idParam, { audit: true }), schema: owner.getCredentials },
      async (request) => {
        const place = await findPlace(dependencies, owner, request);
        return issueReadCredentials(dependencies, request, place, request.query);
      },
    );
  app.post(
    '/v1/storage-connections/:id/upload-credentials',
    { config: requireScope('storage:upload', 'id'), schema: operations.uploadCredentials },
    (request, reply) => handleUploadCredentials(dependencies, request, reply),
  );
  app.get(
    '/v1/executions/:execution_id/logs',
    { config: requireScope('executions:logs', 'execution_id'), schema: operations.getLogs },
    (request) => handleGetLogs(dependencies, request),
  );
}

function pathOf({ collection, idParam }: FileOwner): string {
  return `/v1/${collection}/:${idParam}`;
}

/** The place of the resource that the path of a request names. */
function findPlace({ db }: ApiDependencies, owner: FileOwner, { params, caller }: FastifyRequest) {
  const id = (params as Record<string, string>)[owner.idParam]!;
  return owner.findPlace(db, id, caller);
}
