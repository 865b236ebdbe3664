import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import type { ApiDependencies } from '../dependencies.js';
import { requireScope } from '../plugins/auth.js';
import { handleExecutionCredentials, issueReadCredentials } from './credentials.js';
import { handleListExecutionFiles, issuesUrls, listFiles } from './list.js';
import { handleGetLogs } from './logs.js';
import { findRunPlace, findStoragePlace } from './places.js';
import { operations } from './schemas.js';
import { handleUploadCredentials } from './uploadCredentials.js';

/** Files of storage connections, runs and executions, and credentials for them. */
export function fileRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  listRoutes(scope, dependencies);
  credentialRoutes(scope, dependencies);
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  app.get(
    '/v1/executions/:execution_id/logs',
    { config: requireScope('executions:logs', 'execution_id'), schema: operations.getLogs },
    (request) => handleGetLogs(dependencies, request),
  );
}

function listRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const ofStorage = requireScope('storage:download', 'storage_connection_id', { audit: issuesUrls });
  const ofRun = requireScope('runs:download', 'run_id', { audit: issuesUrls });
  const ofExecution = requireScope('executions:download', 'execution_id', { audit: issuesUrls });

  app.get(
    '/v1/storage-connections/:storage_connection_id/files',
    { config: ofStorage, schema: operations.listOfStorage },
    async (request) => {
      const place = await findStoragePlace(db, request.caller, request.params.storage_connection_id);
      return listFiles(dependencies, request, place, request.query);
    },
  );
  app.get('/v1/runs/:run_id/files', { config: ofRun, schema: operations.listOfRun }, async (request) => {
    const place = await findRunPlace(db, request.params.run_id);
    return listFiles(dependencies, request, place, request.query);
  });
  app.get(
    '/v1/executions/:execution_id/files',
    { config: ofExecution, schema: operations.listOfExecution },
    (request) => handleListExecutionFiles(dependencies, request),
  );
}

function credentialRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const ofStorage = requireScope('storage:download', 'storage_connection_id', { audit: true });
  const ofRun = requireScope('runs:download', 'run_id', { audit: true });
  const ofExecution = requireScope('executions:download', 'execution_id', { audit: true });

  app.get(
    '/v1/storage-connections/:storage_connection_id/credentials',
    { config: ofStorage, schema: operations.credentialsOfStorage },
    async (request) => {
      const place = await findStoragePlace(db, request.caller, request.params.storage_connection_id);
      return issueReadCredentials(dependencies, request, place, request.query);
    },
  );
  app.get('/v1/runs/:run_id/credentials', { config: ofRun, schema: operations.credentialsOfRun }, async (request) => {
    const place = await findRunPlace(db, request.params.run_id);
    return issueReadCredentials(dependencies, request, place, request.query);
  });
  app.get(
    '/v1/executions/:execution_id/credentials',
    { config: ofExecution, schema: operations.credentialsOfExecution },
    (request) => handleExecutionCredentials(dependencies, request),
  );
  app.post(
    '/v1/storage-connections/:id/upload-credentials',
    { config: requireScope('storage:upload', 'id'), schema: operations.uploadCredentials },
    (request, reply) => handleUploadCredentials(dependencies, request, reply),
  );
}
