import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { type TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { InputError } from '../domain/errors.js';
import { type Db, isMigrated } from '../store/database.js';
import type { Orchestrator } from '../temporal/client.js';
import { ApiError } from './errors.js';
import { executionRoutes } from './routes/executions.js';
import { resourceRoutes } from './routes/resources.js';
import { runRoutes } from './routes/runs.js';

/** What the API works with. */
export interface ApiDependencies {
  db: Db;
  orchestrator: Pick<Orchestrator, 'check' | 'startExecution' | 'cancelExecution' | 'retryExecution' | 'retryRunUpload' | 'ensureDiscovery' | 'removeDiscovery' | 'discoverNow'>;
  apiKey: string;
  discoverSeconds: number;
  /** `domain` in the details of errors. */
  errorDomain: string;
  publicUrl?: string;
  trustProxy?: boolean | number | string[];
  logger?: FastifyBaseLogger;
}


declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls. */
    apiKey: { id: string; name: string };
  }
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
const OPEN_ROUTES = new Set(['/healthz', '/readyz']);

/** Builds the API without listening. */
export async function buildApp(dependencies: ApiDependencies): Promise<FastifyInstance> {
  const { trustProxy = false } = dependencies;
  const app = Fastify({
    ...(dependencies.logger === undefined ? { logger: false } : { loggerInstance: dependencies.logger }),
    genReqId: (request) => {
      const given = request.headers['x-request-id'];
      return typeof given === 'string' && /^[A-Za-z0-9_-]{8,64}$/.test(given) ? given : randomUUID();
    },
    trustProxy: typeof trustProxy === 'number' ? (_address: string, hop: number) => hop < trustProxy : trustProxy,
    bodyLimit: 1024 * 1024,
    requestTimeout: 60_000,
    // Unknown fields are refused by name instead of dropped in silence; only query parameters are turned into numbers.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true, useDefaults: true } },
  }).withTypeProvider<TypeBoxTypeProvider>();

  const keyHash = sha256(dependencies.apiKey);
  app.decorateRequest('apiKey', null as never);

  function send(request: FastifyRequest, reply: FastifyReply, error: ApiError): FastifyReply {
    const detail = (reason: string, metadata: Record<string, unknown>) => ({
      '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
      reason,
      domain: dependencies.errorDomain,
      metadata: { request_id: request.id, ...metadata },
    });
    const details = error.problems.length > 0 ? error.problems.map(({ field, rule, message }) => detail(error.reason, { field, rule, message })) : [detail(error.reason, error.metadata)];
    return reply.code(error.status).header('content-type', 'application/json; charset=utf-8').serializer(JSON.stringify).send({ code: error.status, message: error.message, details });
  }

  function toApiError(error: FastifyError | Error, request: FastifyRequest): ApiError {
    if (error instanceof ApiError) return error;
    if (error instanceof InputError) return new ApiError(400, 'INVALID_FIELD', error.message, {}, error.problems);
    const { validation, validationContext, statusCode, code } = error as FastifyError;
    if (validation !== undefined) {
      const problems = validation.map((each) => {
        const params = each.params as Record<string, string>;
        const inner = params.missingProperty ?? params.additionalProperty;
        const field = [...each.instancePath.split('/').slice(1), ...(inner === undefined ? [] : [inner])].join('.') || (validationContext ?? 'body');
        return { field, rule: each.keyword === 'required' ? 'REQUIRED' : each.keyword === 'additionalProperties' ? 'UNKNOWN_FIELD' : each.keyword.toUpperCase(), message: each.keyword === 'additionalProperties' ? 'is not known here' : (each.message ?? 'is not valid') };
      });
      return new ApiError(400, 'INVALID_FIELD', problems.map((problem) => `${problem.field}: ${problem.message}`).join('; '), {}, problems);
    }
    // Temporal and PostgreSQL out of reach: nothing was done, and it can be tried again.
    if (['ECONNREFUSED', 'ECONNRESET', '57P01', '57P03', '08006'].includes(code) || error.name === 'ServiceError' || /timeout exceeded when trying to connect|Connection terminated/.test(error.message)) {
      request.log.error({ err: error }, 'a part is out of reach');
      return new ApiError(503, 'UNAVAILABLE', 'The database or Temporal cannot be reached at the moment; try again');
    }
    if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) return new ApiError(statusCode, code?.replace(/^FST_(ERR_)?/, '') ?? 'BAD_REQUEST', error.message);
    request.log.error({ err: error }, 'request failed');
    return new ApiError(500, 'INTERNAL_ERROR', 'Something went wrong inside polony; its log has more under this request id');
  }

  app.setErrorHandler((error: FastifyError, request, reply) => send(request, reply, toApiError(error, request)));
  app.setNotFoundHandler((request, reply) => send(request, reply, new ApiError(404, 'ROUTE_NOT_FOUND', `There is no ${request.method} ${request.url.split('?')[0]}`)));

  app.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id);
    if (OPEN_ROUTES.has(request.routeOptions.url ?? '')) return;
    let key = request.headers['x-api-key'];
    if (key === undefined && request.method === 'GET' && /^\/(docs|openapi\.json)(\/|$|\?)/.test(request.url)) {
      // A browser cannot send x-api-key for a page: there the key is the password of HTTP Basic.
      const basic = /^Basic (.+)$/.exec(request.headers.authorization ?? '')?.[1];
      if (basic === undefined) void reply.header('www-authenticate', 'Basic realm="polony: any user, the API key as password"');
      else key = Buffer.from(basic, 'base64').toString().replace(/^[^:]*:/, '');
    }
    if (key === undefined) throw new ApiError(401, 'MISSING_API_KEY', 'Send your API key in the header x-api-key');
    if (typeof key !== 'string' || !timingSafeEqual(sha256(key), keyHash)) throw new ApiError(401, 'INVALID_API_KEY', 'This API key is not valid');
    request.apiKey = { id: 'default', name: 'default' };
  });
  // Query parameters come as text: those whose schema says number or boolean are turned into one before they are checked.
  app.addHook('preValidation', async (request) => {
    const query = request.query as Record<string, unknown>;
    const properties = (request.routeOptions.schema?.querystring as { properties?: Record<string, { type?: string }> } | undefined)?.properties ?? {};
    for (const [name, { type }] of Object.entries(properties)) {
      const value = query[name];
      if (type === 'integer' && typeof value === 'string' && /^-?\d{1,9}$/.test(value)) query[name] = Number(value);
      if (type === 'boolean' && (value === 'true' || value === 'false')) query[name] = value === 'true';
    }
  });

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'polony', version: '1.0.0', description: 'Orchestrates Element AVITI sequencing data on AWS. Read operations that the vendor publishes are shaped as there.' },
      ...(dependencies.publicUrl !== undefined && { servers: [{ url: dependencies.publicUrl }] }),
      components: { securitySchemes: { apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' } } },
      security: [{ apiKey: [] }],
    },
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });

  app.get('/healthz', { schema: { hide: true } }, async () => ({ status: 'ok' }));
  app.get('/readyz', { schema: { hide: true } }, async (_request, reply) => {
    const state = async (check: Promise<unknown>): Promise<string> => check.then((value) => (value === false ? 'not migrated' : 'ok'), () => 'unreachable');
    const [database, temporal] = await Promise.all([state(isMigrated(dependencies.db)), state(dependencies.orchestrator.check())]);
    const ready = database === 'ok' && temporal === 'ok';
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not ready', database, temporal });
  });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
  await app.register(async (scope) => resourceRoutes(scope, dependencies));
  await app.register(async (scope) => runRoutes(scope, dependencies));
  await app.register(async (scope) => executionRoutes(scope, dependencies));
  await app.ready();
  return app;
}
