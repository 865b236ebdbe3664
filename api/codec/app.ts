import cors from '@fastify/cors';
import Fastify, { type FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import type { CodecConfig } from '../../domain/settings.js';
import { shareAnswer, withDeadline } from '../../observability/deadline.js';
import { type Db, isMigrated } from '../../store/database.js';
import type { PayloadEncryption } from '../../temporal/codec.js';
import { apiKeyAuthenticator } from '../plugins/apiKeys.js';
import { addAuth } from '../plugins/auth.js';
import { addErrors } from '../plugins/errors.js';
import { limitForwardedFor } from '../plugins/forwarded.js';
import { oidcAuthenticator } from '../plugins/oidc.js';
import { addResponses } from '../plugins/responses.js';
import { limitConnections, serverOptions } from '../serverOptions.js';
import { codecRoutes } from './routes.js';

/** Largest request body, in bytes. The Web UI sends the payloads of a whole history. */
const BODY_LIMIT = 32 * 1024 * 1024;
/** How long the database may take to answer a health check, in milliseconds. */
const CHECK_MS = 3000;
/** How long an answer is reused, in milliseconds. Anybody may ask, and must not keep the database busy. */
const REUSE_MS = 1000;
/** How long a browser may remember which origins are allowed, in seconds. */
const PREFLIGHT_SECONDS = 600;

/** What the codec server needs from other folders, and its settings. */
export interface CodecDependencies extends Pick<
  CodecConfig,
  'apiKey' | 'errorDomain' | 'trustProxy' | 'oidc' | 'requestsPerMinute' | 'failedLoginsPerMinute' | 'origins'
> {
  db: Db;
  codec: PayloadEncryption;
  logger?: Parameters<typeof serverOptions>[0]['logger'];
}

/** Builds the codec server without listening. Its callers log in as they do at the API. */
export async function buildCodecApp(dependencies: CodecDependencies): Promise<FastifyInstance> {
  const { db, oidc, origins } = dependencies;
  const app = Fastify(serverOptions(dependencies, BODY_LIMIT));
  limitConnections(app);
  addErrors(app, dependencies.errorDomain);
  limitForwardedFor(app);
  addResponses(app);
  // Before the login: a browser asks without credentials whether a page may send the request.
  await app.register(cors, {
    origin: [...origins],
    methods: ['POST'],
    allowedHeaders: ['authorization', 'content-type', 'x-api-key', 'x-namespace'],
    credentials: true,
    maxAge: PREFLIGHT_SECONDS,
  });
  await addAuth(app, {
    db,
    authenticate: apiKeyAuthenticator(db, dependencies.apiKey),
    ...(oidc !== undefined && { authenticatePerson: oidcAuthenticator(oidc) }),
    requestsPerMinute: dependencies.requestsPerMinute,
    failedLoginsPerMinute: dependencies.failedLoginsPerMinute,
    publicApiDocs: false,
  });
  healthRoutes(app, db);
  codecRoutes(app, dependencies.codec);
  await app.ready();
  return app;
}

function healthRoutes(app: FastifyInstance, db: Db): void {
  const response = { 200: Type.Object({ status: Type.String() }) };
  const check = shareAnswer(() => withDeadline(isMigrated(db), CHECK_MS).catch(() => false), REUSE_MS);
  app.get('/healthz', { schema: { response } }, async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const isReady = await check();
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'not ready' });
  });
}
