import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { isFinalStatus } from '../../domain/executions/execution.js';
import { listAttempts } from '../../store/executions/attempts.js';
import { type ListedExecution, findListedExecution } from '../../store/executions/load.js';
import type { ApiDependencies, RouteDependencies } from '../dependencies.js';
import { loggableError } from '../../domain/errors.js';
import { beginEventStream, findRevokedIn } from '../eventStreams.js';
import { accessEnds } from '../plugins/caller.js';
import type { RequestOf } from '../requests.js';
import { ExecutionFeed, type StreamedExecution } from './feed.js';
import { requireExecution } from './find.js';
import { presentExecutionDetails, presentExecution } from './present.js';
import type { operations } from './schemas.js';

/** The body of `…/details`, which streams send too. */
export async function showWithDetails(db: ApiDependencies['db'], execution: ListedExecution) {
  const attempts = await listAttempts(db, execution.id);
  return { execution: presentExecution(execution), details: presentExecutionDetails(execution, attempts) };
}

async function toStreamed(db: ApiDependencies['db'], execution: ListedExecution): Promise<StreamedExecution> {
  const json = JSON.stringify(await showWithDetails(db, execution));
  return {
    version: createHash('sha256').update(json).digest('base64url').slice(0, 20),
    ended: isFinalStatus(execution.status),
    json,
  };
}

/** The feed of executions for an app. It ends all its streams before the app closes. */
export function createExecutionFeed(scope: FastifyInstance, { db, notices }: RouteDependencies): ExecutionFeed {
  const feed = new ExecutionFeed(notices, {
    read: async (id) => {
      const execution = await findListedExecution(db, id);
      return execution && toStreamed(db, execution);
    },
    findRevoked: findRevokedIn(db),
    onError: (error) => scope.log.error({ error: loggableError(error) }, 'Reading an execution for its streams failed'),
  });
  scope.addHook('preClose', async () => feed.close());
  return feed;
}

/** Answers with a stream of server-sent events (HTML Standard, 9.2) that shows an execution until it ends. */
export async function handleWatchExecution(
  { db }: ApiDependencies,
  feed: ExecutionFeed,
  request: RequestOf<typeof operations.watch>,
  reply: FastifyReply,
) {
  const { caller } = request;
  const execution = await requireExecution(db, request.params.id);
  const lastSeen = request.headers['last-event-id'];
  // 204 tells an EventSource not to connect again.
  if (
    isFinalStatus(execution.status) &&
    lastSeen !== undefined &&
    lastSeen === (await toStreamed(db, execution)).version
  )
    return reply.code(204).send(null);
  const streams = { what: 'executions', instead: 'Get the execution' };
  if (!beginEventStream(request, reply, feed.admits(caller.id), streams)) return;
  feed.add(reply.raw, {
    id: execution.id,
    callerId: caller.id,
    sessionId: caller.session?.id,
    lastSeen,
    expires: accessEnds(caller),
  });
}
