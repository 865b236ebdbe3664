import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyHttpOptions, type FastifyInstance, LogController } from 'fastify';
import { auditRoutes } from './audit/routes.js';
import { authRoutes } from './auth/routes.js';
import { computeConnectionRoutes } from './connections/compute/routes.js';
import { flowRoutes } from './connections/flows/routes.js';
import { providerRoutes } from './connections/providers/routes.js';
import { storageConnectionRoutes } from './connections/storage/routes.js';
import type { ApiDependencies } from './dependencies.js';
import { eventRoutes } from './events/routes.js';
import { executionRoutes } from './executions/routes.js';
import { fileRoutes } from './files/routes.js';
import { grantRoutes } from './grants/routes.js';
import { healthRoutes } from './health.js';
import { iamDocumentRoutes } from './iam/routes.js';
import { addSchemas } from './openapi/components.js';
import { apiKeyAuthenticator } from './plugins/apiKeys.js';
import { addAudit } from './plugins/audit.js';
import { addAuth } from './plugins/auth.js';
import { addErrors, answerNoRequest, sendError } from './plugins/errors.js';
import { limitForwardedFor } from './plugins/forwarded.js';
import { addInput } from './plugins/input.js';
import { addLimits } from './plugins/limits.js';
import { oidcAuthenticator } from './plugins/oidc.js';
import { addOpenApi } from './plugins/openapi.js';
import { addResponses, responseHeaders } from './plugins/responses.js';
import { instrumentRoutes } from './runs/instruments/routes.js';
import { runRoutes } from './runs/routes.js';
import { verificationRoutes } from './verification/routes.js';
import { webhookRoutes } from './webhooks/routes.js';

/** Largest request body, in bytes. A flow with many parameters has a few thousand. */
const BODY_LIMIT = 256 * 1024;
/**
 * Largest headers and address, in bytes. The default of 16 KiB rejects four thousand non-ASCII characters in a query;
 * with this limit the response can name the parameter that is too long.
 */
const HEADER_LIMIT = 128 * 1024;

/** Most open connections of this process, idle ones included. Each one costs memory and a file descriptor. */
const MOST_CONNECTIONS = 10_000;
/** How long a connection may take to send the headers of its first request, and stay idle between two, in ms. */
const [HEADERS_MS, KEEP_ALIVE_MS] = [15_000, 72_000];
/**
 * How long nothing may pass through a connection, in ms. A client that does not read its response would keep the
 * connection open forever. Streams send a comment every 15 seconds, and no other request takes a minute.
 */
const SILENCE_MS = 120_000;

const ROUTES = [
  healthRoutes,
  authRoutes,
  auditRoutes,
  providerRoutes,
  iamDocumentRoutes,
  storageConnectionRoutes,
  grantRoutes,
  computeConnectionRoutes,
  flowRoutes,
  verificationRoutes,
  instrumentRoutes,
  runRoutes,
  executionRoutes,
  fileRoutes,
  eventRoutes,
  webhookRoutes,
];

/** Builds the API without listening. */
export async function buildApp(dependencies: ApiDependencies): Promise<FastifyInstance> {
  const { db, errorDomain, oidc } = dependencies;
  const app = Fastify(serverOptions(dependencies)).withTypeProvider<TypeBoxTypeProvider>();
  app.server.maxConnections = MOST_CONNECTIONS;
  addErrors(app, errorDomain);
  limitForwardedFor(app);
  addResponses(app, dependencies.publicUrl);
  await addAuth(app, {
    db,
    authenticate: dependencies.authenticate ?? apiKeyAuthenticator(db, dependencies.apiKey, dependencies.eventsKey),
    ...(oidc !== undefined && { authenticatePerson: oidcAuthenticator(oidc) }),
    requestsPerMinute: dependencies.requestsPerMinute ?? 0,
    failedLoginsPerMinute: dependencies.failedLoginsPerMinute ?? 0,
    publicApiDocs: dependencies.publicApiDocs ?? true,
  });
  addAudit(app, db, dependencies.auditsReads ?? false);
  addLimits(app);
  addInput(app);
  addSchemas(app);
  await addOpenApi(app, dependencies.publicUrl);
  for (const addRoutes of ROUTES) addRoutes(app, dependencies);
  await app.ready();
  return app;
}

function serverOptions({ logger, trustProxy, errorDomain, publicUrl }: ApiDependencies): FastifyHttpOptions<Server> {
  return {
    ...(logger === undefined ? { logger: false } : { loggerInstance: logger }),
    genReqId: chooseRequestId,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    trustProxy: trustProxy ?? false,
    bodyLimit: BODY_LIMIT,
    requestTimeout: 60_000,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionTimeout: SILENCE_MS,
    http: { maxHeaderSize: HEADER_LIMIT, headersTimeout: HEADERS_MS },
    // Idle keep-alive connections must not delay a shutdown.
    forceCloseConnections: 'idle',
    // Unknown fields are errors, never ignored, and one response reports everything that is wrong.
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
    clientErrorHandler: (error, socket) => answerNoRequest(error, socket, errorDomain, publicUrl),
    frameworkErrors: (error, request, reply) => {
      void reply.headers(responseHeaders(request.id, publicUrl));
      sendError(request, reply, error, errorDomain);
    },
  };
}

/**
 * The client's own request id if it is well-formed, so that the client finds its request in the log; or else a new
 * one.
 */
function chooseRequestId(request: { headers: Record<string, unknown> }): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[A-Za-z0-9._-]{8,128}$/.test(given) ? given : randomUUID();
}
