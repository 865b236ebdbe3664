import type { FastifyInstance } from 'fastify';
import { VERSION } from '../../domain/version.js';
import type { ApiDependencies } from '../dependencies.js';
import { ANY_CALLER } from '../plugins/auth.js';
import { operations } from './schemas.js';

/** Temporal's own name of the namespace that clients use if nobody names one. */
const DEFAULT_NAMESPACE = 'default';

/** What every caller may know about this installation. */
export function installationRoutes(
  app: FastifyInstance,
  {
    publicUrl,
    trustedAccountId,
    temporal,
    temporalUiUrl,
    auditsReads,
  }: Pick<ApiDependencies, 'publicUrl' | 'trustedAccountId' | 'temporal' | 'temporalUiUrl' | 'auditsReads'>,
): void {
  const installation = {
    version: VERSION,
    publicUrl: publicUrl ?? null,
    trustedAccountId: trustedAccountId ?? null,
    temporal: { namespace: temporal?.namespace ?? DEFAULT_NAMESPACE, uiUrl: temporalUiUrl ?? null },
    auditsReads: auditsReads ?? false,
  };
  app.get('/v1/installation', { config: ANY_CALLER, schema: operations.get }, async () => ({ installation }));
}
