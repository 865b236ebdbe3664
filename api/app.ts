import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyInstance } from 'fastify';
import { auditRoutes } from './audit/routes.js';
import { authRoutes } from './auth/routes.js';
import { OidcSignIn } from './auth/sessions/oidcSignIn.js';
import { sessionRoutes } from './auth/sessions/routes.js';
import { changeRoutes } from './changes/routes.js';
import { computeConnectionRoutes } from './connections/compute/routes.js';
import { flowRoutes } from './connections/flows/routes.js';
import { providerRoutes } from './connections/providers/routes.js';
import { storageConnectionRoutes } from './connections/storage/routes.js';
import { addConsole } from './console/routes.js';
import type { ApiDependencies } from './dependencies.js';
import { eventRoutes } from './events/routes.js';
import { executionRoutes } from './executions/routes.js';
import { fileRoutes } from './files/routes.js';
import { grantRoutes } from './grants/routes.js';
import { healthRoutes } from './health.js';
import { iamDocumentRoutes } from './iam/routes.js';
import { installationRoutes } from './installation/routes.js';
import { Notices } from './notices.js';
import { addSchemas } from './openapi/components.js';
import { apiKeyAuthenticator } from './plugins/apiKeys.js';
import { addAudit } from './plugins/audit.js';
import { addAuth } from './plugins/auth.js';
import { addErrors } from './plugins/errors.js';
import { limitForwardedFor } from './plugins/forwarded.js';
import { addInput } from './plugins/input.js';
import { addLimits } from './plugins/limits.js';
import { OidcProvider, oidcAuthenticator } from './plugins/oidc.js';
import { addObservation } from './plugins/observe.js';
import { addOpenApi } from './plugins/openapi.js';
import { addResponses } from './plugins/responses.js';
import { SignedInCallers, sessionAuthenticator } from './plugins/sessions.js';
import { instrumentRoutes } from './runs/instruments/routes.js';
import { runRoutes } from './runs/routes.js';
import { seriesRoutes } from './runs/series/routes.js';
import { limitConnections, serverOptions } from './serverOptions.js';
import { verificationRoutes } from './verification/routes.js';
import { webhookRoutes } from './webhooks/routes.js';

const ROUTES = [
  healthRoutes,
  authRoutes,
  installationRoutes,
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
  seriesRoutes,
  executionRoutes,
  fileRoutes,
  eventRoutes,
  webhookRoutes,
  changeRoutes,
];

/** The path below which browsers reach polony, behind a reverse proxy; empty for the whole host. */
function basePathOf(publicUrl: string | undefined): string {
  return publicUrl === undefined ? '' : new URL(publicUrl).pathname.replace(/\/$/, '');
}

/** Builds the API without listening. */
export async function buildApp(dependencies: ApiDependencies): Promise<FastifyInstance> {
  const { db, errorDomain, oidc, oidcClient, publicUrl } = dependencies;
  const provider = oidc && new OidcProvider(oidc);
  const callers = new SignedInCallers(db, dependencies.apiKey, oidc);
  const app = Fastify(serverOptions(dependencies)).withTypeProvider<TypeBoxTypeProvider>();
  limitConnections(app);
  addErrors(app, errorDomain);
  addObservation(app);
  limitForwardedFor(app);
  addResponses(app, publicUrl);
  await addAuth(app, {
    db,
    authenticate: dependencies.authenticate ?? apiKeyAuthenticator(db, dependencies.apiKey, dependencies.eventsKey),
    ...(oidc !== undefined && { authenticatePerson: oidcAuthenticator(oidc, provider) }),
    authenticateSession: sessionAuthenticator(db, callers),
    ...(publicUrl !== undefined && { publicUrl }),
    requestsPerMinute: dependencies.requestsPerMinute ?? 0,
    failedLoginsPerMinute: dependencies.failedLoginsPerMinute ?? 0,
    publicApiDocs: dependencies.publicApiDocs ?? true,
  });
  addAudit(app, db, dependencies.auditsReads ?? false);
  addLimits(app);
  addInput(app);
  addSchemas(app);
  await addOpenApi(app, publicUrl);
  const shared = { ...dependencies, notices: new Notices(dependencies.databaseUrl) };
  for (const addRoutes of ROUTES) addRoutes(app, shared);
  const canSignIn = oidc !== undefined && provider !== undefined && oidcClient !== undefined && publicUrl !== undefined;
  sessionRoutes(app, {
    db,
    callers,
    publicUrl,
    ...(canSignIn && { oidcSignIn: new OidcSignIn(oidc, oidcClient, provider, publicUrl) }),
  });
  if (dependencies.consoleFolder !== undefined)
    await addConsole(app, dependencies.consoleFolder, basePathOf(publicUrl));
  await app.ready();
  return app;
}
