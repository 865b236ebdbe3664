import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import { type FastifyHttpOptions, type FastifyInstance, LogController } from 'fastify';
import type { ApiDependencies } from './dependencies.js';
import { answerNoRequest, sendError } from './plugins/errors.js';
import { responseHeaders } from './plugins/responses.js';
import { lazyValidators } from './plugins/validators.js';

type ServerSettings = Pick<ApiDependencies, 'logger' | 'trustProxy' | 'errorDomain' | 'publicUrl'>;

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

/** Limits the open connections of a server. */
export function limitConnections(app: FastifyInstance): void {
  app.server.maxConnections = MOST_CONNECTIONS;
}

/** What the servers of polony have in common: the API and the codec server. @param bodyLimit in bytes */
export function serverOptions(
  { logger, trustProxy, errorDomain, publicUrl }: ServerSettings,
  bodyLimit = BODY_LIMIT,
): FastifyHttpOptions<Server> {
  return {
    ...(logger === undefined ? { logger: false } : { loggerInstance: logger }),
    genReqId: chooseRequestId,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    trustProxy: trustProxy ?? false,
    bodyLimit,
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
    schemaController: { compilersFactory: { buildValidator: lazyValidators() } },
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
