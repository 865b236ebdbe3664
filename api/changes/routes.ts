import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { ScopeAction } from '../../domain/auth/scopes.js';
import { InputError, loggableError } from '../../domain/errors.js';
import { CHANGE_TOPICS, type ChangeTopic, listChangedSince, loadChanged, readClock } from '../../store/changes.js';
import type { RouteDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';
import { beginEventStream, findRevokedIn } from '../eventStreams.js';
import { ANY_CALLER, type Caller } from '../plugins/auth.js';
import { accessEnds } from '../plugins/caller.js';
import type { RequestOf } from '../requests.js';
import { ChangeFeed } from './feed.js';
import { operations } from './schemas.js';

/** The stream of changes, one for each page of a client. */
export function changeRoutes(scope: FastifyInstance, { db, notices }: RouteDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const feed = new ChangeFeed(notices, {
    load: (topic, ids) => loadChanged(db, topic, ids),
    listSince: (topic, since) => listChangedSince(db, topic, since),
    readClock: () => readClock(db),
    findRevoked: findRevokedIn(db),
    onError: (error) => scope.log.error({ error: loggableError(error) }, 'Reading changes for their streams failed'),
  });
  scope.addHook('preClose', async () => feed.close());
  // Which scopes it needs depends on the topics.
  app.get('/v1/changes', { config: ANY_CALLER, schema: operations.watch }, async (request, reply) =>
    handleWatchChanges(feed, request, reply),
  );
}

const READ_SCOPES: Readonly<Record<ChangeTopic, readonly ScopeAction[]>> = {
  runs: ['runs:read'],
  executions: ['executions:read'],
  verifications: ['providers:read', 'storage:read', 'compute:read', 'flows:read'],
};

/** @throws InputError; ApiError 403 where the caller may see nothing of a topic, 404 for an object it may not see */
function checkSubscription({ access }: Caller, { topics, runId, executionId }: Subscription): Set<ChangeTopic> {
  const names = topics.split(',').map((topic) => topic.trim());
  const unknown = names.find((name) => !CHANGE_TOPICS.includes(name as ChangeTopic));
  if (unknown !== undefined)
    throw new InputError([
      {
        field: 'topics',
        rule: 'TOPIC',
        message: `${JSON.stringify(unknown.slice(0, 100))} is not a topic. Topics are ${CHANGE_TOPICS.join(', ')}`,
      },
    ]);
  const found = new Set(names as ChangeTopic[]);
  for (const topic of found) {
    const scopes = READ_SCOPES[topic];
    if (!scopes.some((scope) => access.covers(scope)))
      throw new ApiError(
        403,
        'INSUFFICIENT_SCOPE',
        `The topic ${topic} needs the scope ${scopes.map((scope) => `\`${scope}\``).join(' or ')}. ` +
          'Ask your administrator for it, or leave out the topic',
        { required_scope: scopes[0]! },
      );
  }
  const hasRuns = access.covers('runs:read') || access.covers('executions:read');
  if (runId !== undefined && !access.covers('runs:read', runId) && hasRuns) throw notFoundError('run', runId);
  if (executionId !== undefined && !access.covers('executions:read', executionId))
    throw notFoundError('execution', executionId);
  return found;
}

type Subscription = RequestOf<typeof operations.watch>['query'];

/** Answers with a stream of server-sent events (HTML Standard, 9.2). */
async function handleWatchChanges(
  feed: ChangeFeed,
  request: RequestOf<typeof operations.watch>,
  reply: FastifyReply,
): Promise<void> {
  const { caller, query } = request;
  const topics = checkSubscription(caller, query);
  const streams = { what: 'changes', instead: 'Ask for the lists' };
  if (!beginEventStream(request, reply, feed.admits(caller.id), streams)) return;
  const { access, id: callerId, session } = caller;
  // PostgreSQL takes an id in any case, but changes have it as polony writes it.
  const [runId, executionId] = [query.runId?.toLowerCase(), query.executionId?.toLowerCase()];
  feed.add(
    reply.raw,
    { topics, callerId, sessionId: session?.id, access, runId, executionId, expires: accessEnds(caller) },
    request.headers['last-event-id'],
  );
}
