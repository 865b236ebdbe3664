import { randomUUID } from 'node:crypto';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyInstance, LogController } from 'fastify';
import type { ApiDependencies } from './dependencies.js';
import { InputError } from '../domain/errors.js';
import { addAudit } from './plugins/audit.js';
import { addAuth, apiKeyAuthenticator } from './plugins/auth.js';
import { addErrors, answerNoRequest, sendError } from './plugins/errors.js';
import { oidcAuthenticator } from './plugins/oidc.js';
import { addOpenApi } from './plugins/openapi.js';
import { auditRoutes } from './audit/routes.js';
import { authRoutes } from './auth/routes.js';
import { grantRoutes } from './grants/routes.js';
import { computeConnectionRoutes } from './connections/compute/routes.js';
import { eventRoutes } from './events/routes.js';
import { executionRoutes } from './executions/routes.js';
import { fileRoutes } from './files/routes.js';
import { flowRoutes } from './connections/flows/routes.js';
import { healthRoutes } from './health.js';
import { iamDocumentRoutes } from './iam/routes.js';
import { instrumentRoutes } from './runs/instruments/routes.js';
import { providerRoutes } from './connections/providers/routes.js';
import { runRoutes } from './runs/routes.js';
import { storageConnectionRoutes } from './connections/storage/routes.js';
import { verificationRoutes } from './verification/routes.js';
import { webhookRoutes } from './webhooks/routes.js';
import { addSchemas } from './openapi/components.js';

/** Largest body that is read, in bytes; a flow with many parameters is a few thousand. */
const BODY_LIMIT = 256 * 1024;

/** A client's own request id where it is well-formed, so that it finds its request in our log; else a new one. */
function requestId(request: { headers: Record<string, unknown> }): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[A-Za-z0-9._-]{8,128}$/.test(given) ? given : randomUUID();
}

/** Builds the API without listening. */
export async function buildApp(dependencies: ApiDependencies): Promise<FastifyInstance> {
  const app = Fastify({
    ...(dependencies.logger === undefined ? { logger: false } : { loggerInstance: dependencies.logger }),
    genReqId: requestId,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    trustProxy: dependencies.trustProxy ?? false,
    bodyLimit: BODY_LIMIT,
    requestTimeout: 60_000,
    // So that what is too long in a query is told by its name; of 16 KiB, the default, four thousand letters beyond ASCII are more.
    http: { maxHeaderSize: 128 * 1024 },
    // Idle keep-alive connections must not hold up a shutdown.
    forceCloseConnections: 'idle',
    // Unknown fields are refused by name instead of dropped in silence, and all that is wrong is told at once.
    ajv: {
      customOptions: {
        removeAdditional: false,
        coerceTypes: false,
        allErrors: true,
        useDefaults: false,
        allowUnionTypes: true,
        keywords: ['x-optional'],
      },
    },
    clientErrorHandler: (error, socket) => answerNoRequest(error, socket, dependencies.errorDomain),
    frameworkErrors: (error, request, reply) => {
      void reply.header('x-request-id', request.id);
      sendError(request, reply, error, dependencies.errorDomain);
    },
  }).withTypeProvider<TypeBoxTypeProvider>();

  // What a route answers is what is sent: schemas describe answers, and tests hold them to it, but they drop nothing.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.removeContentTypeParser('text/plain');
  const parseJson = app.getDefaultJsonParser('error', 'error');
  // Clients send the header with no body, too: on a DELETE, or where the body may be left out.
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else void parseJson(request, body as string, done);
  });

  addErrors(app, dependencies.errorDomain);
  app.addHook('onRequest', async (request, reply) => {
    void reply.headers({
      'x-request-id': request.id,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    });
  });
  app.addHook('onResponse', async (request, reply) => {
    // Neither headers nor the query are logged: keys must not come into a log by any way.
    const caller = request.caller as typeof request.caller | null;
    request.log.info(
      {
        method: request.method,
        path: request.url.split('?')[0],
        status: reply.statusCode,
        milliseconds: Math.round(reply.elapsedTime),
        caller: caller?.name,
      },
      'request',
    );
  });
  const { db, oidc } = dependencies;
  await addAuth(app, {
    db,
    authenticate: dependencies.authenticate ?? apiKeyAuthenticator(db, dependencies.apiKey, dependencies.eventsKey),
    ...(oidc !== undefined && { authenticatePerson: oidcAuthenticator(oidc) }),
    requestsPerMinute: dependencies.requestsPerMinute ?? 0,
  });
  addAudit(app, db);
  app.addHook('preValidation', async (request) => {
    const { schema } = request.routeOptions;
    // PostgreSQL has no character NUL, and nothing that is asked for has one.
    for (const [name, value] of Object.entries((request.query ?? {}) as Record<string, unknown>)) {
      if ([value].flat().some((each) => typeof each === 'string' && each.includes('\0')))
        throw new InputError([
          {
            field: name.replaceAll('\0', '').slice(0, 200),
            rule: 'CHARACTERS',
            message: 'must not contain the character NUL',
          },
        ]);
    }
    // Query parameters come as text: those whose schema says number or boolean are turned into one before they are checked.
    const query = request.query as Record<string, unknown>;
    const properties =
      (schema?.querystring as { properties?: Record<string, { type?: string }> } | undefined)?.properties ?? {};
    for (const [name, { type }] of Object.entries(properties)) {
      const value = query[name];
      if (type === 'integer' && typeof value === 'string' && /^-?\d{1,15}$/.test(value)) query[name] = Number(value);
      if (type === 'boolean' && (value === 'true' || value === 'false')) query[name] = value === 'true';
    }
    if (request.body === undefined && (schema?.body as { 'x-optional'?: boolean } | undefined)?.['x-optional'] === true)
      request.body = {};
  });

  addSchemas(app);
  await addOpenApi(app, dependencies.publicUrl);
  healthRoutes(app, dependencies);
  authRoutes(app, dependencies);
  auditRoutes(app, dependencies);
  providerRoutes(app, dependencies);
  iamDocumentRoutes(app, dependencies);
  storageConnectionRoutes(app, dependencies);
  grantRoutes(app, dependencies);
  computeConnectionRoutes(app, dependencies);
  flowRoutes(app, dependencies);
  verificationRoutes(app, dependencies);
  instrumentRoutes(app, dependencies);
  runRoutes(app, dependencies);
  executionRoutes(app, dependencies);
  fileRoutes(app, dependencies);
  eventRoutes(app, dependencies);
  webhookRoutes(app, dependencies);
  await app.ready();
  return app;
}
