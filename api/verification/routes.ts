import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Db } from '../../store/database.js';
import { findProvider } from '../../store/connections/providers.js';
import { loadVerifications, type StoredVerification } from '../../store/verification/reports.js';
import { listProviderParts, type ResourceToVerify } from '../../store/verification/resources.js';
import { verifyWorkflowId } from '../../workflows/messages/verification.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, withTemporalErrors } from '../errors.js';
import { type Caller, requireScope } from '../plugins/auth.js';
import { requireResource } from '../references.js';
import type { RequestOf } from '../requests.js';
import { type KindEntry, kindEntry, KINDS } from './kinds.js';
import { presentVerification, type ReportPart } from './present.js';
import { combineReports } from './providerReport.js';
import { verificationOperations } from './schemas.js';

type Operations = ReturnType<typeof verificationOperations>;

/** Verification of providers, connections and flows: what the last one found, and verifying on demand. */
export function verificationRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  for (const entry of KINDS) {
    const operations = verificationOperations(entry);
    app.post(
      `/v1/${entry.path}/:id/verify`,
      { config: requireScope(`${entry.scope}:write`, 'id'), schema: operations.verify },
      (request, reply) => startVerification(dependencies, entry, request, reply),
    );
    app.get(
      `/v1/${entry.path}/:id/verification`,
      { config: requireScope(`${entry.scope}:read`, 'id'), schema: operations.get },
      (request) => getVerification(dependencies.db, entry, request),
    );
  }
}

async function startVerification(
  { db, orchestrator }: ApiDependencies,
  entry: KindEntry,
  request: RequestOf<Operations['verify']>,
  reply: FastifyReply,
) {
  const { id } = request.params;
  const name = await requireName(db, entry, id);
  const resources: ResourceToVerify[] =
    entry.kind === 'provider' ? await listProviderParts(db, id) : [{ kind: entry.kind, id: id.toLowerCase(), name }];
  for (const resource of resources) await withTemporalErrors(request.log, orchestrator.verification.verify(resource));
  const visible = visibleParts(request.caller, id, resources);
  return reply.code(202).send({ workflowIds: visible.map((part) => verifyWorkflowId(part.kind, part.id)) });
}

async function getVerification(db: Db, entry: KindEntry, request: RequestOf<Operations['get']>) {
  const { id } = request.params;
  await requireName(db, entry, id);
  const [own] = await loadVerifications(db, [id]);
  if (own === undefined)
    throw new ApiError(
      404,
      'NOT_VERIFIED_YET',
      `polony has not verified this ${entry.noun} yet. It starts the verification automatically. ` +
        `To start it now, call POST /v1/${entry.path}/${id}/verify.`,
    );
  if (entry.kind !== 'provider') return { verification: presentVerification(own) };
  const parts = visibleParts(request.caller, id, await listProviderParts(db, id));
  return { verification: await presentProviderVerification(db, own, parts) };
}

/** The name of the resource that the path of a request names. @throws ApiError 404 */
async function requireName(db: Db, { noun, find }: KindEntry, id: string): Promise<string> {
  const { name } = await requireResource<{ name: string }>(noun, id, () => find(db, id));
  return name;
}

/** Of a resource and its parts, those that the caller may read. It has the scope for the resource itself. */
function visibleParts({ access }: Caller, id: string, parts: readonly ResourceToVerify[]): ResourceToVerify[] {
  return parts.filter(
    (part) => part.id === id.toLowerCase() || access.covers(`${kindEntry(part.kind).scope}:read`, part.id),
  );
}

/** @param parts those of the provider that the caller may read. */
async function presentProviderVerification(db: Db, own: StoredVerification, parts: readonly ResourceToVerify[]) {
  const provider = await findProvider(db, own.id);
  const ids = parts.map(({ id }) => id);
  const reports = new Map((await loadVerifications(db, ids)).map((each) => [each.id, each]));
  const reported = parts.flatMap((part): ReportPart[] => {
    const stored = reports.get(part.id);
    return stored === undefined ? [] : [{ ...part, report: stored.report, timeCompleted: stored.timeCompleted }];
  });
  const report = combineReports(own.report, reported, provider?.credential_type ?? 'role');
  return presentVerification({ ...own, report }, reported);
}
