import { Type } from 'typebox';
import { CHANGE_TOPICS } from '../../store/changes.js';
import { closed, errors } from '../openapi/shared.js';

/** The operations of this subject, as the OpenAPI document describes them. */
export const operations = {
  watch: {
    operationId: 'ChangeService_WatchChanges',
    tags: ['ChangeService'],
    summary: 'Follow what changes as a stream of events',
    description:
      'Sends server-sent events. `ready`: from now on the stream has every change. `change`: an object has changed; ' +
      'its data is `{topic, id, status, timeChanged}`, and for verifications `kind`. `reset`: changes were missed, so ' +
      'load everything again. Only objects that the caller may see. Changes that follow each other fast are one event. ' +
      'A stream lasts at most five minutes: then reconnect with `Last-Event-ID`. An event can come twice.',
    headers: Type.Object({
      'last-event-id': Type.Optional(
        Type.String({ maxLength: 100, description: 'The ID of the last event that you received' }),
      ),
    }),
    querystring: Type.Object(
      {
        topics: Type.String({
          maxLength: 100,
          examples: ['runs,executions'],
          description: `Separated by commas: ${CHANGE_TOPICS.join(', ')}`,
        }),
        runId: Type.Optional(
          Type.String({ maxLength: 100, description: 'Only this run and its executions. Verifications stay' }),
        ),
        executionId: Type.Optional(
          Type.String({ maxLength: 100, description: 'Only this execution. Verifications stay' }),
        ),
      },
      closed,
    ),
    response: {
      200: { description: 'The stream', content: { 'text/event-stream': { schema: Type.String() } } },
      ...errors(404),
    },
  },
};
