import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { foreignStatements, type Grant, grantSids } from '../../domain/grants/bucketPolicy.js';
import type { StorageConnectionRow } from '../../store/connections/storage.js';
import type { Db } from '../../store/database.js';
import {
  findGrant,
  type GrantRow,
  listGrantsOfBucket,
  listGrantsOfConnection,
  loadGrant,
  toGrant,
} from '../../store/grants/load.js';
import { recordGrantOutcome } from '../../store/grants/policyChanges.js';
import { type GrantRequester, requestGrantChange } from '../../store/grants/request.js';
import { inTransaction } from '../../store/transaction.js';
import { requireStorageConnection } from '../connections/storage/rules.js';
import type { ApiDependencies } from '../dependencies.js';
import { notFoundError } from '../errors.js';
import { createIdempotently } from '../idempotency.js';
import { pageForwards } from '../paging.js';
import { type Caller, requireScope } from '../plugins/auth.js';
import { requireResource } from '../references.js';
import type { RequestOf } from '../requests.js';
import { readGrantWarnings } from './encryption.js';
import { requestPolicyChange, presentGrantResponse, readBucketPolicy, rejectionError } from './policy.js';
import { presentGrant, presentProblem } from './present.js';
import {
  checkGrantBody,
  checkMayGrantAccess,
  checkNotGranted,
  checkRepairable,
  folderToShare,
  lockUnchanged,
  mayShare,
  newGrantFields,
  writeGrant,
} from './rules.js';
import { operations } from './schemas.js';

const KIND = 'access grant';

/** Grants (the vendor's page "Manage Data Access"): who may read a bucket, by its bucket policy. */
export function grantRoutes(scope: FastifyInstance, dependencies: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const config = requireScope('storage:share', 'id');
  const list = '/v1/storage-connections/:id/access-grants';
  const one = `${list}/:grant_id`;

  app.get(list, { config, schema: operations.list }, (request) => listGrants(dependencies, request));
  app.get(one, { config, schema: operations.get }, (request) => getGrant(dependencies, request));
  app.post(list, { config, attachValidation: true, schema: operations.create }, (request, reply) =>
    createGrant(dependencies, request, reply),
  );
  app.post(`${one}/repair`, { config, schema: operations.repair }, (request) => repairGrant(dependencies, request));
  app.delete(one, { config, schema: operations.delete }, (request, reply) => deleteGrant(dependencies, request, reply));
}

async function listGrants(dependencies: ApiDependencies, request: RequestOf<typeof operations.list>) {
  const { db, aws } = dependencies;
  const { pageToken } = request.query;
  const storage = await requireStorageConnection(db, request.params.id);
  const folder = folderToShare(request.caller, storage);
  const { items, nextPageToken } = await pageForwards(`access-grants/${storage.id}`, request.query, (limit, after) =>
    listGrantsOfConnection(db, storage.id, folder, limit, after),
  );
  const grants = await loadGrantsOfBucket(db, storage);
  const { policy, problem } = await readBucketPolicy(aws, request, storage, grants);
  const warn = await readGrantWarnings(dependencies, request, storage);
  const known = new Set(grants.flatMap(grantSids));
  const isFirstPage = pageToken === undefined || pageToken === '';
  return {
    accessGrants: items.map((row) => presentGrant(row, policy, warn)),
    // Statements that belong to no grant can be about any part of the bucket.
    foreignStatements: policy === undefined || !isFirstPage || folder !== null ? [] : foreignStatements(policy, known),
    policyProblem: presentProblem(problem),
    nextPageToken,
  };
}

async function getGrant(dependencies: ApiDependencies, request: RequestOf<typeof operations.get>) {
  const { db, aws } = dependencies;
  const storage = await requireStorageConnection(db, request.params.id);
  const row = await requireGrant(db, request.caller, storage, request.params.grant_id);
  const { policy, problem } = await readBucketPolicy(aws, request, storage, await loadGrantsOfBucket(db, storage));
  const warn = await readGrantWarnings(dependencies, request, storage);
  return { accessGrant: presentGrant(row, policy, warn), policyProblem: presentProblem(problem) };
}

async function createGrant(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.create>,
  reply: FastifyReply,
) {
  const { db } = dependencies;
  const { caller } = request;
  const storage = await requireStorageConnection(db, request.params.id);
  checkGrantBody(request, storage);
  const fields = newGrantFields(storage, request.body);
  checkMayGrantAccess(caller, storage, fields.folder);
  const created = await createIdempotently(db, request, reply, 201, async (transaction) => {
    await lockUnchanged(transaction, storage);
    await checkNotGranted(transaction, caller, fields);
    return { accessGrant: presentGrant(await writeGrant(transaction, fields, requesterOf(request))) };
  });
  const { id } = created.accessGrant;
  request.auditDetail = { principal: fields.principal, folder: fields.folder, accessGrantId: id };
  // A repeated request may find a grant that is written already, or even removed. Then it gets the first answer.
  const stored = await loadGrant(db, id);
  const row = stored.state === 'pending' ? await requestPolicyChange(dependencies, request, storage, stored) : stored;
  if (row.state === 'removed') return created;
  return presentGrantResponse(row, await readGrantWarnings(dependencies, request, storage));
}

async function repairGrant(dependencies: ApiDependencies, request: RequestOf<typeof operations.repair>) {
  const { db } = dependencies;
  const storage = await requireStorageConnection(db, request.params.id);
  const { id } = await requireGrant(db, request.caller, storage, request.params.grant_id);
  await inTransaction(db, async (transaction) => {
    checkRepairable(await requireResource(KIND, id, () => findGrant(transaction, id, true)));
    await requestGrantChange(transaction, id, 'pending', requesterOf(request), true);
  });
  request.auditDetail = { accessGrantId: id };
  const pending = await requireGrant(db, request.caller, storage, request.params.grant_id);
  const row = await requestPolicyChange(dependencies, request, storage, pending);
  return presentGrantResponse(row, await readGrantWarnings(dependencies, request, storage));
}

async function deleteGrant(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.delete>,
  reply: FastifyReply,
) {
  const { db } = dependencies;
  const storage = await requireStorageConnection(db, request.params.id);
  const { id } = await requireGrant(db, request.caller, storage, request.params.grant_id);
  const removing = await requestRemoval(db, id, requesterOf(request));
  request.auditDetail = { accessGrantId: id };
  if (removing === undefined) return reply.code(204).send(null);
  const row = await requestPolicyChange(dependencies, request, storage, removing);
  if (row.state === 'removed') return reply.code(204).send(null);
  if (row.problem !== null) throw rejectionError(row, row.problem);
  return reply.code(202).send({ accessGrant: presentGrant(row) });
}

/** @returns the grant, or undefined if the bucket policy holds nothing of it, so that it is removed already. */
async function requestRemoval(db: Db, id: string, requester: GrantRequester): Promise<GrantRow | undefined> {
  return inTransaction(db, async (transaction) => {
    const row = await requireResource(KIND, id, () => findGrant(transaction, id, true));
    if (row.state === 'expired' || (row.state === 'failed' && row.time_sent === null)) {
      await recordGrantOutcome(transaction, row, 'removed');
      return undefined;
    }
    await requestGrantChange(transaction, id, 'removing', requester);
    return row;
  });
}

/** All grants that the policy of the bucket may contain, under any storage connection. */
async function loadGrantsOfBucket(db: Db, { bucket }: StorageConnectionRow): Promise<Grant[]> {
  return (await listGrantsOfBucket(db, bucket)).map(toGrant);
}

/** The grant in the path of a request. @throws ApiError 404 ACCESS_GRANT_NOT_FOUND, also where the caller may not see it */
async function requireGrant(db: Db, caller: Caller, storage: StorageConnectionRow, id: string): Promise<GrantRow> {
  const grant = await requireResource(KIND, id, () => findGrant(db, id));
  if (grant.storage_connection_id !== storage.id || !mayShare(caller, storage, grant)) throw notFoundError(KIND, id);
  return grant;
}

/** Who asks for a change, for the audit entry of the change in AWS. */
function requesterOf(request: FastifyRequest): GrantRequester {
  return { by: request.caller, requestId: request.id };
}
