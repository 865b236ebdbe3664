import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { EXECUTION_STATUSES } from '../../domain/executions/execution.js';
import { EXECUTION_FILTER, EXECUTION_ORDER } from '../../domain/executions/filter.js';
import { describeFields } from '../../domain/filters/describe.js';
import { formatOrder, parseOrder } from '../../domain/filters/order.js';
import { EXECUTION_FILTER_HELP } from '../../domain/executions/filterHelp.js';
import { parseFilter } from '../../domain/filters/parse.js';
import { listExecutionValues } from '../../store/executions/filterValues.js';
import { countExecutions, countExecutionsByStatus, listExecutions } from '../../store/executions/list.js';
import { loadResultFiles } from '../../store/executions/load.js';
import { loadSteps } from '../../store/executions/steps.js';
import type { ApiDependencies, RouteDependencies } from '../dependencies.js';
import { requireKeyword } from '../filterFields.js';
import { filteredList, pageBothWays } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { handleCancelExecution, handleRetryExecution } from './control.js';
import { handleCreateExecution, handleRelaunchExecution } from './create.js';
import { requireExecution } from './find.js';
import { handleCheckManifest } from './manifestCheck.js';
import { presentExecution, presentSteps } from './present.js';
import { MANIFEST_BODY_LIMIT, operations } from './schemas.js';
import { createExecutionFeed, handleWatchExecution, showWithDetails } from './watch.js';

/** Executions: flows applied to runs. */
export function executionRoutes(scope: FastifyInstance, dependencies: RouteDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const feed = createExecutionFeed(scope, dependencies);
  const readOne = requireScope('executions:read', 'id');
  const operate = requireScope('executions:operate', 'id');
  const create = { config: requireScope('executions:create'), attachValidation: true, bodyLimit: MANIFEST_BODY_LIMIT };

  app.post('/v1/executions', { ...create, schema: operations.create }, (request, reply) =>
    handleCreateExecution(dependencies, request, reply),
  );
  app.post(
    '/v1/runs/:id/manifest-checks',
    {
      // It changes nothing, and reads like a preview where it reads at all.
      config: requireScope('runs:read', 'id', { audit: true }),
      attachValidation: true,
      bodyLimit: MANIFEST_BODY_LIMIT,
      schema: operations.checkManifest,
    },
    (request) => handleCheckManifest(dependencies, request),
  );
  app.post('/v1/executions/:id/relaunch', { ...create, schema: operations.relaunch }, (request, reply) =>
    handleRelaunchExecution(dependencies, request, reply),
  );
  app.get('/v1/executions', { config: requireScope('executions:read'), schema: operations.list }, (request) =>
    handleListExecutions(dependencies, request),
  );
  app.get(
    '/v1/executions/blocked',
    { config: requireScope('executions:read'), schema: operations.listBlocked },
    (request) => handleListBlockedExecutions(dependencies, request),
  );
  app.get(
    '/v1/executions/filter-fields',
    { config: requireScope('executions:read'), schema: operations.listFilterFields },
    () => ({
      fields: describeFields(EXECUTION_FILTER, EXECUTION_FILTER_HELP, EXECUTION_ORDER),
    }),
  );
  app.get(
    '/v1/executions/filter-values',
    { config: requireScope('executions:read'), schema: operations.listFilterValues },
    ({ query, caller }) =>
      listExecutionValues(
        db,
        requireKeyword(EXECUTION_FILTER, query.field),
        caller.access.ids('executions:read'),
        query.prefix ?? '',
      ),
  );
  app.get('/v1/executions/counts', { config: requireScope('executions:read'), schema: operations.count }, (request) =>
    handleCountExecutions(dependencies, request),
  );
  app.get('/v1/executions/:id', { config: readOne, schema: operations.get }, async (request) => ({
    execution: presentExecution(await requireExecution(db, request.params.id)),
  }));
  app.get('/v1/executions/:id/details', { config: readOne, schema: operations.getDetails }, async (request) =>
    showWithDetails(db, await requireExecution(db, request.params.id)),
  );
  app.get('/v1/executions/:id/steps', { config: readOne, schema: operations.listSteps }, async (request) => {
    const execution = await requireExecution(db, request.params.id);
    return presentSteps(execution, await loadSteps(db, execution.id));
  });
  app.get('/v1/executions/:id/events', { config: readOne, schema: operations.watch }, (request, reply) =>
    handleWatchExecution(dependencies, feed, request, reply),
  );
  app.get('/v1/executions/:id/results', { config: readOne, schema: operations.getResults }, (request) =>
    handleGetResults(dependencies, request),
  );
  app.post('/v1/executions/:id/cancel', { config: operate, schema: operations.cancel }, (request, reply) =>
    handleCancelExecution(dependencies, request, reply),
  );
  app.post('/v1/executions/:id/retry', { config: operate, schema: operations.retry }, (request, reply) =>
    handleRetryExecution(dependencies, request, reply),
  );
}

async function handleListExecutions(dependencies: ApiDependencies, request: RequestOf<typeof operations.list>) {
  const { items, ...page } = await pageOfExecutions(dependencies, request, 'executions');
  return { executions: items.map(presentExecution), ...page };
}

async function handleListBlockedExecutions(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.listBlocked>,
) {
  const { items, ...page } = await pageOfExecutions(dependencies, request, 'blocked-executions', true);
  return {
    executions: items.map((row) => ({ execution: presentExecution(row), blocked: row.blocked! })),
    ...page,
  };
}

/** A page of the executions that the caller may see and its filter selects. @param list names the page tokens */
async function pageOfExecutions(
  { db }: ApiDependencies,
  { query, caller }: Pick<RequestOf<typeof operations.list>, 'query' | 'caller'>,
  list: string,
  onlyBlocked = false,
) {
  const order = parseOrder(query.orderBy ?? '', EXECUTION_ORDER);
  const options = {
    order,
    ids: caller.access.ids('executions:read'),
    filter: parseFilter(query.filter ?? '', EXECUTION_FILTER, new Date()),
    onlyBlocked,
  };
  const page = await pageBothWays(
    filteredList(list, { filter: query.filter, orderBy: formatOrder(order) }),
    query,
    (slice) => listExecutions(db, slice, options),
    order && EXECUTION_ORDER[order.keyword],
  );
  return { ...page, ...(query.includeTotalCount === true && { totalCount: await countExecutions(db, options) }) };
}

async function handleCountExecutions({ db }: ApiDependencies, { query, caller }: RequestOf<typeof operations.count>) {
  const { counts, ...sums } = await countExecutionsByStatus(db, {
    ids: caller.access.ids('executions:read'),
    filter: parseFilter(query.filter ?? '', EXECUTION_FILTER, new Date()),
  });
  return {
    counts: Object.fromEntries(EXECUTION_STATUSES.map((status) => [`EXECUTION_STATUS_${status}`, counts[status] ?? 0])),
    ...sums,
  };
}

async function handleGetResults({ db }: ApiDependencies, request: RequestOf<typeof operations.getResults>) {
  const execution = await requireExecution(db, request.params.id);
  const files = await loadResultFiles(db, execution.id);
  const isTruncated = (execution.summary?.files.count ?? 0) > files.length;
  return { uri: execution.healthOmics?.runOutputUri ?? '', files, isTruncated };
}
