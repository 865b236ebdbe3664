import type { FastifyReply, FastifyRequest } from 'fastify';
import { checkJson } from '../../domain/names.js';
import { checkEventTypes, checkWebhookUrl, MOST_SECRETS, SECRET_OVERLAP_HOURS } from '../../domain/webhooks/webhook.js';
import { isId, newId } from '../../store/database.js';
import { inTransaction } from '../../store/transaction.js';
import { deleteWebhook, findWebhook, insertWebhook, updateWebhook } from '../../store/webhooks/endpoints.js';
import { rotateSecret } from '../../store/webhooks/secrets.js';
import { checkBody } from '../validation.js';
import type { ApiDependencies } from '../dependencies.js';
import { ApiError, notFoundError } from '../errors.js';
import { createIdempotently } from '../idempotency.js';
import type { RequestOf } from '../requests.js';
import { checkDestination, networkPolicy } from './destination.js';
import { requireWebhook } from './find.js';
import { presentWebhook } from './present.js';
import type { operations } from './schemas.js';
import { createSigningSecret, readFirstSecret } from './secret.js';

function checkWebhookBody(request: FastifyRequest, dependencies: ApiDependencies): void {
  checkBody(request, (check, body) => [
    check('url', (value) => checkWebhookUrl('url', value, networkPolicy(dependencies))),
    check('description', (value) => checkJson('description', value)),
    Array.isArray(body.eventTypes) ? checkEventTypes('eventTypes', body.eventTypes) : [],
  ]);
}

export async function handleCreateWebhook(
  dependencies: ApiDependencies,
  request: RequestOf<typeof operations.create>,
  reply: FastifyReply,
) {
  const { db, secrets } = dependencies;
  checkWebhookBody(request, dependencies);
  const { url, description = '', eventTypes = [], enabled = true } = request.body;
  await checkDestination(url, dependencies);
  const id = newId();
  const { secret, sealed } = await createSigningSecret(secrets);
  const fields = { url, description, eventTypes: [...new Set(eventTypes)], enabled };
  // The response that is stored for a repeated request must not hold the secret.
  const { webhook } = await createIdempotently(db, request, reply, 201, async (transaction) => ({
    webhook: presentWebhook(await insertWebhook(transaction, id, fields, sealed)),
  }));
  const isNew = webhook.id === id;
  return { webhook, secret: isNew ? secret : await readFirstSecret(db, secrets, webhook) };
}

export async function handleUpdateWebhook(dependencies: ApiDependencies, request: RequestOf<typeof operations.update>) {
  const { db } = dependencies;
  checkWebhookBody(request, dependencies);
  const { id } = request.params;
  const { url, description, eventTypes, enabled } = request.body;
  await requireWebhook(db, id);
  if (url !== undefined) await checkDestination(url, dependencies);
  return inTransaction(db, async (transaction) => {
    const old = await findWebhook(transaction, id, true);
    if (old === undefined) throw notFoundError('webhook', id);
    const updated = await updateWebhook(transaction, id, {
      url: url ?? old.url,
      description: description ?? old.description,
      eventTypes: eventTypes === undefined ? old.event_types : [...new Set(eventTypes)],
      enabled: enabled ?? old.enabled,
    });
    return { webhook: presentWebhook(updated) };
  });
}

export async function handleDeleteWebhook(
  { db }: ApiDependencies,
  request: RequestOf<typeof operations.delete>,
  reply: FastifyReply,
) {
  const { id } = request.params;
  const isDeleted = isId(id) && (await inTransaction(db, (transaction) => deleteWebhook(transaction, id)));
  if (!isDeleted) throw notFoundError('webhook', id);
  return reply.code(204).send(null);
}

export async function handleRotateSecret(
  { db, secrets }: ApiDependencies,
  request: RequestOf<typeof operations.rotateSecret>,
) {
  const { id } = request.params;
  await requireWebhook(db, id);
  const { secret, sealed } = await createSigningSecret(secrets);
  return inTransaction(db, async (transaction) => {
    if ((await findWebhook(transaction, id, true)) === undefined) throw notFoundError('webhook', id);
    if (!(await rotateSecret(transaction, id, sealed)))
      throw new ApiError(
        409,
        'TOO_MANY_SECRETS',
        `This webhook already has ${MOST_SECRETS} valid secrets, the most it may have. ` +
          `A replaced secret is valid for ${SECRET_OVERLAP_HOURS} hours. Try again when one has expired`,
      );
    return { webhook: presentWebhook((await findWebhook(transaction, id))!), secret };
  });
}
