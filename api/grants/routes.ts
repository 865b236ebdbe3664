import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { getBucketPolicy } from '../../aws/bucketPolicy.js';
import { storageUri } from '../../domain/aws.js';
import {
  type BucketPolicy,
  foreignStatements,
  partitionOf,
  PolicyError,
  parseBucketPolicy,
  readPrincipal,
  grantSids,
  grantStanding,
  grantStatements,
} from '../../domain/grants/bucketPolicy.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { checkJson } from '../../domain/names.js';
import { toFolderPrefix, checkRelativePrefix } from '../../domain/files/paths.js';
import type { ShownState } from '../../domain/grants/grant.js';
import * as store from '../../store/grants.js';
import { isId } from '../../store/database.js';
import { findStorageConnection, type StorageConnectionRow } from '../../store/connections/storage.js';
import { inTransaction } from '../../store/transaction.js';
import type { ApiDependencies } from '../dependencies.js';
import { awsApiError } from '../aws.js';
import { ApiError, withTimeout, loggableError, notFoundError } from '../errors.js';
import { createIdempotently } from '../idempotency.js';
import { CappedPageQuery, pageForwards } from '../paging.js';
import { requireScope } from '../plugins/auth.js';
import {
  AccessGrantBody,
  AccessGrantResource,
  BODY,
  errors,
  ForeignStatement,
  IdempotencyHeaders,
  IdParams,
  NoContent,
  NullableAccessProblem,
} from '../schemas.js';
import { checkBody, parseTimestamp } from '../common.js';

/** How long a request waits for the policy to be changed; what takes longer goes on without it. */
const CHANGE_MS = 20_000;
const POLICY_MS = 10_000;

const GrantParams = Type.Object({ id: Type.String(), grant_id: Type.String() });

const showProblem = (problem: Blocked | null) =>
  problem === null
    ? null
    : {
        kind: problem.kind,
        action: problem.action ?? null,
        resource: problem.resource ?? null,
        message: problem.message,
        remedy: problem.remedy,
        statement: (problem.statement as object | undefined) ?? null,
      };

/** @param policy as it stands; undefined where it could not be read: then what is known of it is shown. */
function showGrant(row: store.GrantRow, policy?: BucketPolicy) {
  const grant = store.toGrant(row);
  const found = row.state === 'active' && policy !== undefined ? grantStanding(policy, grant) : 'whole';
  const state = (found === 'whole' ? row.state : found) as ShownState;
  return {
    id: row.id,
    storageConnectionId: row.storage_connection_id,
    principal: row.principal,
    description: row.description,
    prefix: row.prefix,
    uri: storageUri(row.bucket, (row.folder ?? '').replace(/\/$/, '')),
    state,
    problem: showProblem(row.problem),
    statements: grantStatements(grant),
    createdBy: row.created_by,
    timeCreated: row.time_created.toISOString(),
    timeUpdated: row.time_updated.toISOString(),
    timeExpires: row.time_expires?.toISOString() ?? null,
  };
}

/** A refusal of AWS, or of what the policy holds already, as an answer. */
function refusal(row: store.GrantRow, problem: Blocked): ApiError {
  const metadata = {
    accessGrantId: row.id,
    ...(problem.action !== undefined && { action: problem.action }),
    ...(problem.resource !== undefined && { resource: problem.resource }),
    ...(problem.statement !== undefined && { statement: problem.statement }),
  };
  const statement =
    problem.statement === undefined ? '' : ` The statement that allows it: ${JSON.stringify(problem.statement)}`;
  return new ApiError(
    problem.kind === 'UNAVAILABLE' ? 503 : 409,
    problem.kind,
    `${problem.message}. ${problem.remedy}${statement}`.replace('..', '.'),
    metadata,
  );
}

/** Sharing (the page's "Manage Data Access"): who may read a bucket by its policy. */
export function accessGrantRoutes(scope: FastifyInstance, { db, aws, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const tags = ['StorageConnectionService'];
  const answer = (description: string) =>
    Type.Object({ accessGrant: AccessGrantResource }, { additionalProperties: false, description });

  async function storageConnection(id: string): Promise<StorageConnectionRow> {
    const found = isId(id) ? await findStorageConnection(db, id) : undefined;
    if (found === undefined) throw notFoundError('storage connection', id);
    return found;
  }
  async function grantIn(storage: StorageConnectionRow, id: string): Promise<store.GrantRow> {
    const found = isId(id) ? await store.findGrant(db, id) : undefined;
    if (found === undefined || found.storage_connection_id !== storage.id) throw notFoundError('access grant', id);
    return found;
  }

  /** The policy of the bucket now, or why it cannot be read. */
  async function policyNow(
    request: FastifyRequest,
    storage: StorageConnectionRow,
  ): Promise<{ policy?: BucketPolicy; problem: Blocked | null }> {
    const resource = `arn:${partitionOf(storage.region)}:s3:::${storage.bucket}`;
    const action = 's3:GetBucketPolicy';
    try {
      const text = await withTimeout(
        aws.use(storage.provider_id, () =>
          getBucketPolicy(aws.s3(storage.provider_id, storage.region), storage.bucket),
        ),
        POLICY_MS,
      );
      return { policy: parseBucketPolicy(text), problem: null };
    } catch (error) {
      if (error instanceof PolicyError)
        return {
          problem: {
            kind: 'POLICY_NOT_UNDERSTOOD',
            resource,
            message: error.message,
            remedy: 'Mend the policy of the bucket',
          },
        };
      const { reason, message } = awsApiError(request, error, { action, resource });
      return {
        problem: {
          kind: reason,
          action,
          resource,
          message,
          remedy: 'The states below are those of the last change',
          ...(reason === 'AWS_ACCESS_DENIED' && {
            statement: { Effect: 'Allow', Action: [action], Resource: resource },
          }),
        },
      };
    }
  }

  /**
   * Has the policy changed as the store says, and tells what became of it. When that takes long, or Temporal is away, it goes on by itself:
   * the sweep sees to what nobody does.
   */
  async function change(
    request: FastifyRequest,
    storage: StorageConnectionRow,
    row: store.GrantRow,
  ): Promise<store.GrantRow> {
    try {
      await withTimeout(
        orchestrator.changeAccess(
          { bucket: row.bucket, storageConnectionName: storage.name },
          { grantId: row.id, principal: row.principal },
          CHANGE_MS,
        ),
        CHANGE_MS,
      );
    } catch (error) {
      request.log.warn(
        { error: loggableError(error), accessGrantId: row.id },
        'the policy is not changed yet; it goes on by itself',
      );
    }
    return db.selectFrom('access_grants').selectAll().where('id', '=', row.id).executeTakeFirstOrThrow();
  }
  /** A grant that was to be written, as it stands now. @throws ApiError where AWS refused it. */
  function granted(row: store.GrantRow) {
    if (row.state === 'removed') throw notFoundError('access grant', row.id);
    if (row.state === 'failed' && row.problem !== null) throw refusal(row, row.problem);
    return { accessGrant: showGrant(row) };
  }

  app.get(
    '/v1/storage-connections/:id/access-grants',
    {
      config: requireScope('storage:share', 'id'),
      schema: {
        operationId: 'StorageConnectionService_ListAccessGrants',
        tags,
        summary: 'Who may read the bucket, oldest first',
        description: 'The policy of the bucket is read for it, so that what was changed by hand is seen.',
        params: IdParams,
        querystring: CappedPageQuery,
        response: {
          200: Type.Object(
            {
              accessGrants: Type.Array(AccessGrantResource),
              foreignStatements: Type.Array(ForeignStatement, {
                description:
                  'Statements of the policy with a Sid like ours that no grant is known of; on the first page',
              }),
              policyProblem: NullableAccessProblem,
              nextPageToken: Type.String(),
            },
            { additionalProperties: false, description: 'A page' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const storage = await storageConnection(request.params.id);
      const { items, nextPageToken } = await pageForwards(
        `access-grants/${storage.id}`,
        request.query,
        (limit, after) => store.listGrants(db, storage.id, limit, after),
      );
      const { policy, problem } = await policyNow(request, storage);
      const known = new Set((await store.listGrantsOfBucket(db, storage.bucket)).map(store.toGrant).flatMap(grantSids));
      const first = request.query.pageToken === undefined || request.query.pageToken === '';
      return {
        accessGrants: items.map((row) => showGrant(row, policy)),
        foreignStatements: policy === undefined || !first ? [] : foreignStatements(policy, known),
        policyProblem: showProblem(problem),
        nextPageToken,
      };
    },
  );
  app.get(
    '/v1/storage-connections/:id/access-grants/:grant_id',
    {
      config: requireScope('storage:share', 'id'),
      schema: {
        operationId: 'StorageConnectionService_GetAccessGrant',
        tags,
        summary: 'A grant',
        params: GrantParams,
        response: {
          200: Type.Object(
            { accessGrant: AccessGrantResource, policyProblem: NullableAccessProblem },
            { additionalProperties: false, description: 'The grant' },
          ),
          ...errors(404),
        },
      },
    },
    async (request) => {
      const storage = await storageConnection(request.params.id);
      const row = await grantIn(storage, request.params.grant_id);
      const { policy, problem } = await policyNow(request, storage);
      return { accessGrant: showGrant(row, policy), policyProblem: showProblem(problem) };
    },
  );
  app.post(
    '/v1/storage-connections/:id/access-grants',
    {
      config: requireScope('storage:share', 'id'),
      attachValidation: true,
      schema: {
        operationId: 'StorageConnectionService_CreateAccessGrant',
        tags,
        summary: 'Let a principal read the bucket',
        description:
          "Adds the vendor's statement to the policy of the bucket; statements of others stay as they are. A principal of another account needs the same actions in a policy of its own there. What takes longer than 20 seconds is answered as `pending` and goes on by itself.",
        params: IdParams,
        headers: IdempotencyHeaders,
        body: AccessGrantBody,
        response: { 201: answer('Granted, or pending'), ...errors(404, 409, ...BODY, 422) },
      },
    },
    async (request, reply) => {
      const storage = await storageConnection(request.params.id);
      const partition = partitionOf(storage.region);
      const root = storage.prefix === '' ? '' : `${storage.prefix}/`;
      const now = Date.now();
      checkBody(request, (check) => [
        check('principal', (value) => readPrincipal('principal', value, partition).problems),
        check('description', (value) => checkJson('description', value)),
        check('prefix', (value) => checkRelativePrefix('prefix', value, root)),
        check('timeExpires', (value) =>
          parseTimestamp(value).getTime() > now
            ? []
            : [{ field: 'timeExpires', rule: 'IN_THE_FUTURE', message: 'must be later than now' }],
        ),
      ]);
      const { body } = request;
      const principal = readPrincipal('principal', body.principal, partition).arn!;
      const prefix = body.prefix === undefined ? null : toFolderPrefix(body.prefix);
      const folder = prefix === null || root + prefix === '' ? null : root + prefix;
      // Whoever may share one connection only must not share what it does not show.
      if (folder === null && root !== '' && request.caller.access.ids('storage:share') !== 'all') {
        throw new ApiError(
          403,
          'INSUFFICIENT_SCOPE',
          `The whole bucket is more than this storage connection, whose folder is ${root}: give a prefix ("" for that folder), or share with the scope storage:share for all storage connections`,
          { required_scope: 'storage:share' },
        );
      }
      const expires =
        body.timeExpires === undefined
          ? null
          : new Date(Math.floor(parseTimestamp(body.timeExpires).getTime() / 1000) * 1000);
      const asked = { by: request.caller, requestId: request.id };
      const made = await createIdempotently(db, request, reply, 201, async (transaction) => {
        const locked = await findStorageConnection(transaction, storage.id, 'share');
        if (locked === undefined) throw notFoundError('storage connection', storage.id);
        if (locked.bucket !== storage.bucket || locked.prefix !== storage.prefix || locked.region !== storage.region)
          throw new ApiError(
            409,
            'STORAGE_CONNECTION_CHANGED',
            'The storage connection was changed at this moment; try again',
          );
        const other = await store.findSameGrant(transaction, storage.bucket, principal, folder);
        // One that was refused and never sent leaves nothing behind.
        if (other?.state === 'failed' && other.time_sent === null)
          await store.recordGrantOutcome(transaction, other.id, 'failed', 'removed');
        else if (other !== undefined) {
          const granted = `${principal} has a grant for ${storageUri(storage.bucket, (folder ?? '').replace(/\/$/, ''))} already`;
          if (!request.caller.access.covers('storage:share', other.storage_connection_id))
            throw new ApiError(
              409,
              'ALREADY_GRANTED',
              `${granted}, by a storage connection that this key may not share`,
            );
          throw new ApiError(
            409,
            'ALREADY_GRANTED',
            `${granted} (${other.id}, ${other.state}); ${other.state === 'failed' ? 'repair' : 'remove'} that one first`,
            { accessGrantId: other.id, storageConnectionId: other.storage_connection_id },
          );
        }
        const fields = {
          storageConnectionId: storage.id,
          bucket: storage.bucket,
          partition,
          principal,
          prefix,
          folder,
          description: body.description ?? '',
          expires,
        };
        try {
          return { accessGrant: showGrant(await store.insertGrant(transaction, fields, asked)) };
        } catch (error) {
          if ((error as { code?: string }).code === '23505')
            throw new ApiError(
              409,
              'ALREADY_GRANTED',
              `${principal} is granted the same at this moment by another request`,
            );
          throw error;
        }
      });
      request.auditDetail = { principal, folder, accessGrantId: made.accessGrant.id };
      const kept = await db
        .selectFrom('access_grants')
        .selectAll()
        .where('id', '=', made.accessGrant.id)
        .executeTakeFirstOrThrow();
      const row = kept.state === 'pending' ? await change(request, storage, kept) : kept;
      // Removed since: a repeated request still gets the first one's answer.
      return row.state === 'removed' ? made : granted(row);
    },
  );
  app.post(
    '/v1/storage-connections/:id/access-grants/:grant_id/repair',
    {
      config: requireScope('storage:share', 'id'),
      schema: {
        operationId: 'StorageConnectionService_RepairAccessGrant',
        tags,
        summary: 'Write a grant into the policy once more',
        description:
          'One that was refused, or whose statement was taken out or changed by hand. A statement with its Sid that says something else is written anew.',
        params: GrantParams,
        response: { 200: answer('Granted, or pending'), ...errors(404, 409) },
      },
    },
    async (request) => {
      const storage = await storageConnection(request.params.id);
      const { id } = await grantIn(storage, request.params.grant_id);
      await inTransaction(db, async (transaction) => {
        const row = await store.findGrant(transaction, id, true);
        if (row === undefined) throw notFoundError('access grant', id);
        if (row.state === 'removing')
          throw new ApiError(
            409,
            'BEING_REMOVED',
            'The grant is being taken out of the policy; grant it anew once that is done',
          );
        if (row.state === 'expired') throw new ApiError(409, 'EXPIRED', 'The grant has expired; grant it anew');
        await store.requestGrantChange(transaction, id, 'pending', { by: request.caller, requestId: request.id }, true);
      });
      request.auditDetail = { accessGrantId: id };
      return granted(await change(request, storage, await grantIn(storage, id)));
    },
  );
  app.delete(
    '/v1/storage-connections/:id/access-grants/:grant_id',
    {
      config: requireScope('storage:share', 'id'),
      schema: {
        operationId: 'StorageConnectionService_DeleteAccessGrant',
        tags,
        summary: 'Take a grant out of the policy of the bucket',
        description:
          'Statements of others stay. Where nothing else is in the policy it is deleted. What takes longer than 20 seconds is answered as `removing` and goes on by itself.',
        params: GrantParams,
        response: {
          202: answer('It is being taken out: until then the principal may read'),
          204: NoContent,
          ...errors(404, 409),
        },
      },
    },
    async (request, reply) => {
      const storage = await storageConnection(request.params.id);
      const { id } = await grantIn(storage, request.params.grant_id);
      const asked = { by: request.caller, requestId: request.id };
      const open = await inTransaction(db, async (transaction) => {
        const row = await store.findGrant(transaction, id, true);
        if (row === undefined) throw notFoundError('access grant', id);
        // Nothing of it is in the policy.
        if (row.state === 'expired' || (row.state === 'failed' && row.time_sent === null)) {
          await store.recordGrantOutcome(transaction, id, row.state, 'removed');
          return undefined;
        }
        await store.requestGrantChange(transaction, id, 'removing', asked);
        return row;
      });
      request.auditDetail = { accessGrantId: id };
      const row = open === undefined ? undefined : await change(request, storage, open);
      if (row === undefined || row.state === 'removed') return reply.code(204).send(null);
      if (row.problem !== null) throw refusal(row, row.problem);
      return reply.code(202).send({ accessGrant: showGrant(row) });
    },
  );
}
