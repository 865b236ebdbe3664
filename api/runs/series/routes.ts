import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import type { ApiDependencies } from '../../dependencies.js';
import { requireExecution } from '../../executions/find.js';
import { requireScope } from '../../plugins/auth.js';
import { SeriesReader } from './reader.js';
import { operations } from './schemas.js';
import { readExecutionSeries, readRunSeries } from './series.js';

/** Series: measurements by cycle, lane and index, from the files of runs and executions. */
export function seriesRoutes(scope: FastifyInstance, { db, aws }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const dependencies = { db, reader: new SeriesReader(aws) };

  app.get('/v1/runs/:id/series', { config: requireScope('runs:read', 'id'), schema: operations.ofRun }, (request) =>
    readRunSeries(dependencies, request, request.params.id, request.query.executionId),
  );
  app.get(
    '/v1/executions/:id/series',
    { config: requireScope('executions:read', 'id'), schema: operations.ofExecution },
    async (request) => {
      const execution = await requireExecution(db, request.params.id);
      return {
        series: { executionId: execution.id, ...(await readExecutionSeries(dependencies, request, execution)) },
      };
    },
  );
}
