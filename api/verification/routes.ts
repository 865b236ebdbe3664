import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { CAPABILITIES, permissionsForCredential } from '../../domain/iam/permissions.js';
import {
  mergePermissions,
  reportCapabilities,
  type VerificationReport,
  type VerifiedKind,
} from '../../domain/verification/report.js';
import { isId } from '../../store/database.js';
import { findComputeConnection } from '../../store/connections/compute.js';
import { findFlow } from '../../store/connections/flows.js';
import { findProvider } from '../../store/connections/providers.js';
import { findStorageConnection } from '../../store/connections/storage.js';
import { loadVerifications, type StoredVerification } from '../../store/verification/reports.js';
import { listProviderParts, type ResourceToVerify } from '../../store/verification/resources.js';
import { verifyWorkflowId } from '../../workflows/messages.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, withTemporalErrors, notFoundError } from '../errors.js';
import { type Caller, requireScope } from '../plugins/auth.js';
import { errors, IdParams, Verification } from '../schemas.js';

const KINDS = [
  {
    kind: 'provider',
    path: 'providers',
    words: 'provider',
    resource: 'providers',
    service: 'ProviderService',
    name: 'Provider',
    find: findProvider,
  },
  {
    kind: 'storageConnection',
    path: 'storage-connections',
    words: 'storage connection',
    resource: 'storage',
    service: 'StorageConnectionService',
    name: 'StorageConnection',
    find: findStorageConnection,
  },
  {
    kind: 'computeConnection',
    path: 'compute-connections',
    words: 'compute connection',
    resource: 'compute',
    service: 'ComputeConnectionService',
    name: 'ComputeConnection',
    find: findComputeConnection,
  },
  {
    kind: 'flow',
    path: 'flows',
    words: 'flow',
    resource: 'flows',
    service: 'FlowService',
    name: 'Flow',
    find: findFlow,
  },
] as const;

function show(
  { kind, id, report, timeStarted, timeCompleted }: StoredVerification,
  parts: { kind: VerifiedKind; id: string; name: string; status: string; description: string }[] = [],
) {
  const { status, ...rest } = report;
  return {
    ...rest,
    kind,
    resourceId: id,
    status: `VERIFICATION_STATUS_${status}`,
    permissions: report.permissions.map((row) => ({ ...row, of: (row as { of?: string | null }).of ?? null })),
    parts,
    timeStarted: timeStarted.toISOString(),
    timeCompleted: timeCompleted.toISOString(),
  };
}

/** Of a resource that a caller asked for, and its parts, what it may read; the others are not there for it. */
function seenParts({ access }: Caller, asked: string, parts: readonly ResourceToVerify[]): ResourceToVerify[] {
  return parts.filter(
    ({ kind, id }) =>
      id === asked.toLowerCase() || access.covers(`${KINDS.find((each) => each.kind === kind)!.resource}:read`, id),
  );
}

const WORST = ['FAILED', 'WARNING', 'CONNECTED'] as const;

/** What verification found, and verifying on demand, for each kind of resource. */
export function verificationRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();

  /** A provider's report tells of all that it is used for, as far as the caller may read that. */
  async function ofProvider(own: StoredVerification, parts: ResourceToVerify[]) {
    const provider = await findProvider(db, own.id);
    const kept = await loadVerifications(
      db,
      parts.map((part) => part.id),
    );
    const reports = parts.flatMap((part) => {
      const found = kept.find((each) => each.id === part.id);
      return found === undefined ? [] : [{ ...part, report: found.report }];
    });
    const permissions = mergePermissions(
      reports.map(({ name, report }) => ({ name, permissions: report.permissions })),
      permissionsForCredential(provider?.credential_type ?? 'role').map(({ action }) => action),
    );
    const status = WORST.find((each) => reports.some(({ report }) => report.status === each)) ?? own.report.status;
    const troubles = reports
      .filter(({ report }) => report.status !== 'CONNECTED')
      .map(({ name, report }) => `${name}: ${report.description}`);
    const report: VerificationReport = {
      ...own.report,
      status,
      description: troubles.length === 0 ? own.report.description : troubles.join('. '),
      permissions,
      capabilities: reportCapabilities(permissions, CAPABILITIES),
      findings: reports.flatMap(({ name, kind, report: { findings } }) =>
        findings.map((finding) =>
          kind === 'provider' ? finding : { ...finding, message: `${name}: ${finding.message}` },
        ),
      ),
    };
    return show(
      { ...own, report },
      reports.map(({ kind, id, name, report: { status: of, description } }) => ({
        kind,
        id,
        name,
        status: `VERIFICATION_STATUS_${of}`,
        description,
      })),
    );
  }

  for (const { kind, path, words, service, name, resource, find } of KINDS) {
    const tags = [service];
    const named = async (id: string): Promise<string> => {
      const found = isId(id) ? await find(db, id) : undefined;
      if (found === undefined) throw notFoundError(words, id);
      return found.name;
    };
    app.post(
      `/v1/${path}/:id/verify`,
      {
        config: requireScope(`${resource}:write`, 'id'),
        schema: {
          operationId: `${service}_Verify${name}`,
          tags,
          summary: `Verify a ${words} now`,
          description:
            kind === 'provider'
              ? 'Its connections and flows are verified too.'
              : 'What it finds stands at `…/verification`.',
          params: IdParams,
          response: {
            202: Type.Object(
              { workflowIds: Type.Array(Type.String()) },
              { additionalProperties: false, description: 'Verification begins, by these workflows in Temporal' },
            ),
            ...errors(404),
          },
        },
      },
      async (request, reply) => {
        const { id } = request.params;
        const resources: ResourceToVerify[] =
          kind === 'provider'
            ? (await named(id), await listProviderParts(db, id))
            : [{ kind, id: id.toLowerCase(), name: await named(id) }];
        for (const resource of resources) await withTemporalErrors(request.log, orchestrator.verify(resource));
        return reply.code(202).send({
          workflowIds: seenParts(request.caller, id, resources).map((resource) =>
            verifyWorkflowId(resource.kind, resource.id),
          ),
        });
      },
    );
    app.get(
      `/v1/${path}/:id/verification`,
      {
        config: requireScope(`${resource}:read`, 'id'),
        schema: {
          operationId: `${service}_Get${name}Verification`,
          tags,
          summary: `What the last verification of a ${words} found`,
          params: IdParams,
          response: {
            200: Type.Object(
              { verification: Verification },
              { additionalProperties: false, description: 'The report' },
            ),
            ...errors(404),
          },
        },
      },
      async (request) => {
        const { id } = request.params;
        await named(id);
        const [own] = await loadVerifications(db, [id]);
        if (own === undefined)
          throw new ApiError(
            404,
            'NOT_VERIFIED_YET',
            `The ${words} has not been verified yet; its verification begins by itself, or at once by POST /v1/${path}/${id}/verify`,
          );
        return {
          verification:
            kind === 'provider'
              ? await ofProvider(own, seenParts(request.caller, id, await listProviderParts(db, id)))
              : show(own),
        };
      },
    );
  }
}
