import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { describeFields } from '../../domain/filters/describe.js';
import { formatOrder, parseOrder } from '../../domain/filters/order.js';
import { RUN_FILTER_HELP } from '../../domain/runs/filterHelp.js';
import { parseFilter } from '../../domain/filters/parse.js';
import { CONTRACT_RUN_STATUSES, RUN_FILTER, RUN_ORDER } from '../../domain/runs/filter.js';
import { isId } from '../../store/database.js';
import { listRunValues } from '../../store/runs/filterValues.js';
import { countRuns, countRunsByStatus, listRuns } from '../../store/runs/list.js';
import { findRun, type RunContext } from '../../store/runs/load.js';
import type { ApiDependencies } from '../dependencies.js';
import { notFoundError } from '../errors.js';
import { requireKeyword } from '../filterFields.js';
import { filteredList, pageBothWays } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import type { RequestOf } from '../requests.js';
import { signManifestUrl } from './manifestUrl.js';
import { presentRunDetails, presentRun } from './present.js';
import { retryRun } from './retry.js';
import { operations } from './schemas.js';

/** Runs: what instruments have uploaded. */
export function runRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const { db } = dependencies;
  const readOne = requireScope('runs:read', 'id');

  app.get('/v1/runs', { config: requireScope('runs:read'), schema: operations.list }, (request) =>
    handleListRuns(dependencies, request),
  );
  app.get('/v1/runs/blocked', { config: requireScope('runs:read'), schema: operations.listBlocked }, (request) =>
    handleListBlockedRuns(dependencies, request),
  );
  app.get('/v1/runs/filter-fields', { config: requireScope('runs:read'), schema: operations.listFilterFields }, () => ({
    fields: describeFields(RUN_FILTER, RUN_FILTER_HELP, RUN_ORDER),
  }));
  app.get(
    '/v1/runs/filter-values',
    { config: requireScope('runs:read'), schema: operations.listFilterValues },
    ({ query, caller }) =>
      listRunValues(db, requireKeyword(RUN_FILTER, query.field), caller.access.ids('runs:read'), query.prefix ?? ''),
  );
  app.get('/v1/runs/counts', { config: requireScope('runs:read'), schema: operations.count }, (request) =>
    handleCountRuns(dependencies, request),
  );
  app.get(
    '/v1/runs/:id',
    { config: requireScope('runs:read', 'id', { audit: mayDownload }), schema: operations.get },
    (request) => handleGetRun(dependencies, request),
  );
  app.get('/v1/runs/:id/details', { config: readOne, schema: operations.getDetails }, async (request) => {
    const run = await requireRun(db, request.params.id);
    return { run: presentRun(run), details: presentRunDetails(run) };
  });
  app.post(
    '/v1/runs/:id/retry',
    { config: requireScope('runs:operate', 'id'), schema: operations.retry },
    (request, reply) => handleRetryRun(dependencies, request, reply),
  );
}

/** @throws ApiError 404 */
async function requireRun(db: ApiDependencies['db'], id: string): Promise<RunContext> {
  const run = isId(id) ? await findRun(db, id) : undefined;
  if (run === undefined) throw notFoundError('run', id);
  return run;
}

/** Whether the caller may download from the run, so that the response has a URL and the audit log an entry. */
function mayDownload({ caller, params }: FastifyRequest): boolean {
  return caller.access.covers('runs:download', (params as { id: string }).id);
}

async function handleListRuns(dependencies: ApiDependencies, request: RequestOf<typeof operations.list>) {
  const { items, ...page } = await pageOfRuns(dependencies, request, 'runs');
  return { runs: items.map((row) => presentRun(row)), ...page };
}

async function handleListBlockedRuns(dependencies: ApiDependencies, request: RequestOf<typeof operations.listBlocked>) {
  const { items, ...page } = await pageOfRuns(dependencies, request, 'blocked-runs', true);
  return { runs: items.map((row) => ({ run: presentRun(row), blocked: row.blocked! })), ...page };
}

/** A page of the runs that the caller may see and its filter selects. @param list names the page tokens */
async function pageOfRuns(
  { db }: ApiDependencies,
  { query, caller }: Pick<RequestOf<typeof operations.list>, 'query' | 'caller'>,
  list: string,
  onlyBlocked = false,
) {
  const order = parseOrder(query.orderBy ?? '', RUN_ORDER);
  const options = {
    order,
    ids: caller.access.ids('runs:read'),
    filter: parseFilter(query.filter ?? '', RUN_FILTER, new Date()),
    onlyBlocked,
  };
  const page = await pageBothWays(
    filteredList(list, { filter: query.filter, orderBy: formatOrder(order) }),
    query,
    (slice) => listRuns(db, slice, options),
    order && RUN_ORDER[order.keyword],
  );
  return { ...page, ...(query.includeTotalCount === true && { totalCount: await countRuns(db, options) }) };
}

async function handleCountRuns({ db }: ApiDependencies, { query, caller }: RequestOf<typeof operations.count>) {
  const { counts, ...sums } = await countRunsByStatus(db, {
    ids: caller.access.ids('runs:read'),
    filter: parseFilter(query.filter ?? '', RUN_FILTER, new Date()),
  });
  return {
    counts: Object.fromEntries(CONTRACT_RUN_STATUSES.map((status) => [`RUN_STATUS_${status}`, counts[status] ?? 0])),
    ...sums,
  };
}

async function handleGetRun(dependencies: ApiDependencies, request: RequestOf<typeof operations.get>) {
  const run = await requireRun(dependencies.db, request.params.id);
  const manifestUrl = mayDownload(request) ? await signManifestUrl(dependencies, request.log, run) : undefined;
  return { run: presentRun(run, manifestUrl) };
}

async function handleRetryRun(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.retry>,
  reply: FastifyReply,
) {
  const run = await requireRun(dependencies.db, request.params.id);
  await retryRun(dependencies, request.log, run);
  void reply.code(202);
  return { run: presentRun(await requireRun(dependencies.db, run.id)) };
}
