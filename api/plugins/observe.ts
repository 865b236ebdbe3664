import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type LogIds, noteLogIds, withLogIds } from '../../observability/logContext.js';
import { counted } from '../../observability/metrics.js';
import type { RequestSpan } from '../../observability/spans.js';
import { tracing } from '../../observability/tracing.js';

/** What is observed of a request. */
interface Observed {
  ids: LogIds;
  span: RequestSpan | undefined;
  /** Whether a response was sent. A handler of a stream writes to the connection itself. */
  wasAnswered: boolean;
}

/** The ids in addresses such as `/v1/executions/:id/cancel`, by the name of the collection. */
const ID_OF: Readonly<Record<string, keyof LogIds>> = {
  executions: 'executionId',
  runs: 'runId',
  providers: 'providerId',
  'storage-connections': 'storageConnectionId',
  'compute-connections': 'computeConnectionId',
  flows: 'flowId',
  webhooks: 'webhookId',
};

/**
 * Gives each log line of a request its ids, measures requests, and makes each one a span where tracing is on. Call it
 * before anything that answers requests.
 */
export function addObservation(app: FastifyInstance): void {
  const observed = new WeakMap<FastifyRequest, Observed>();
  const run = (request: FastifyRequest, work: () => void): void => {
    const { ids, span } = observed.get(request)!;
    withLogIds(ids, () => (span === undefined ? work() : span.run(work)));
  };
  app.addHook('onRequest', (request, _reply, done) => {
    const route = routeOf(request);
    const span = tracing()?.beginRequest(`${request.method} ${route}`, request.headers, {
      'http.request.method': request.method,
      'http.route': route,
      'polony.requestId': request.id,
    });
    observed.set(request, { ids: { requestId: request.id, ...idsOf(request, route) }, span, wasAnswered: false });
    run(request, done);
  });
  // Where the body arrives later than the headers, the hooks before its parsing no longer surround what follows.
  app.addHook('preValidation', (request, _reply, done) => run(request, done));
  app.addHook('onSend', (request, _reply, payload, done) => {
    const about = observed.get(request);
    if (about !== undefined) about.wasAnswered = true;
    done(null, payload);
  });
  app.addHook('onResponse', (request, reply, done) => {
    const about = observed.get(request);
    if (about === undefined) return done();
    const { statusCode: status } = reply;
    if (status === 201) noteCreated(request, about.ids);
    if (about.wasAnswered)
      counted.httpRequests.observe(
        { method: request.method, route: routeOf(request), code: String(status) },
        reply.elapsedTime / 1000,
      );
    about.span?.end(status, Object.fromEntries(Object.entries(about.ids).map(([name, id]) => [`polony.${name}`, id])));
    run(request, done);
  });
}

/** The pattern of the route, so that an id in an address makes no new value. */
function routeOf(request: FastifyRequest): string {
  return request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
}

function idsOf(request: FastifyRequest, route: string): LogIds {
  const [, collection = ''] = /^\/v1\/([a-z-]+)\/:/.exec(route) ?? [];
  const name = ID_OF[collection];
  const [given] = Object.values((request.params ?? {}) as Record<string, string>);
  return name === undefined || given === undefined ? {} : { [name]: given };
}

/** The id of what the request created. The audit plugin found it in the response. */
function noteCreated(request: FastifyRequest, ids: LogIds): void {
  const [, collection = ''] = /^\/v1\/([a-z-]+)/.exec(routeOf(request)) ?? [];
  const name = ID_OF[collection];
  const id = (request.audited as typeof request.audited | undefined)?.resourceId;
  if (name !== undefined && id !== undefined) Object.assign(ids, { [name]: id });
  noteLogIds(ids);
}
