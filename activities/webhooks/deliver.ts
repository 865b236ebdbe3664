import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { Webhook } from 'standardwebhooks';
import type { NetworkPolicy } from '../../domain/webhooks/networks.js';
import { webhookBody } from '../../domain/webhooks/webhook.js';
import { noteLogIds } from '../../observability/logContext.js';
import { counted } from '../../observability/metrics.js';
import type { Db } from '../../store/database.js';
import { SecretError, type Secrets, webhookSecretContext } from '../../store/secrets.js';
import {
  beginDeliveryAttempt,
  type DeliveryContext,
  endDeliveryAttempt,
  findDelivery,
} from '../../store/webhooks/attempts.js';
import { removeDelivery } from '../../store/webhooks/deliveries.js';
import { listSigningSecrets } from '../../store/webhooks/secrets.js';
import { endDeliveryAsGone } from '../../store/webhooks/gone.js';
import { type Answer, type SendOptions, sendWebhook } from './send.js';
import { SLOTS_PER_WEBHOOK, WebhookSlots } from './webhookSlots.js';

/** What delivering webhooks needs. */
export interface WebhookSettings {
  secrets: Secrets;
  networks: NetworkPolicy;
  /** Seconds before each further attempt. */
  retrySeconds: readonly number[];
  /** The beginning of links in webhooks. */
  apiUrl?: string;
  /** For tests. */
  send?: Pick<SendOptions, 'timeoutMs' | 'resolve'>;
}

/** How a delivery ended. `superseded`: another round replaced it, or the webhook was deleted. */
export interface DeliveryResult {
  state: 'delivered' | 'failed' | 'superseded';
  description: string;
}

/** How long an attempt may take, with everything around it. */
const ATTEMPT_MS = 30_000;

/** The activity of `deliverWebhook`. @param settings absent where this worker delivers no webhooks. */
export function createWebhookActivities(db: Db, settings: WebhookSettings | undefined) {
  const slots = new WebhookSlots();
  return {
    /**
     * Attempts a delivery once. Where the receiver does not accept it, the activity fails with the time of the next
     * attempt, which adds nothing to the history. Where a worker dies, the receiver may get the event twice, with the
     * same `webhook-id`.
     * @param round of replays, from 1. A delivery that was replayed since is left to its new round.
     */
    async attemptDelivery(deliveryId: string, round: number): Promise<DeliveryResult> {
      if (settings === undefined)
        throw ApplicationFailure.nonRetryable('This worker delivers no webhooks', 'Unexpected');
      const delivery = await findDelivery(db, deliveryId);
      if (delivery === undefined || delivery.round !== round) return superseded('It was replayed or removed');
      const ended = await endWithoutAttempt(db, delivery);
      if (ended !== undefined) return ended;
      const slot = slots.acquire(delivery.webhook_id);
      if ('waitMs' in slot)
        throw retryLater(
          'Busy',
          `${SLOTS_PER_WEBHOOK} deliveries to this webhook are in progress; this one waits for its turn`,
          slot.waitMs,
        );
      try {
        return await new DeliveryAttempt(db, settings, delivery).run();
      } finally {
        slot.release();
      }
    },
  };
}

/** @returns how a delivery ended that needs no attempt; undefined where it does. */
async function endWithoutAttempt(db: Db, delivery: DeliveryContext): Promise<DeliveryResult | undefined> {
  const { id, state, round, url, enabled, last_status: lastStatus } = delivery;
  if (state === 'delivered' || state === 'failed') return { state, description: `It was already ${state}` };
  if (url === null) {
    await removeDelivery(db, id);
    return superseded('The webhook was deleted');
  }
  if (enabled === true) return undefined;
  const error = 'The webhook is switched off. Switch it on, then replay the delivery';
  await endDeliveryAttempt(db, id, round, { state: 'failed', status: lastStatus, error });
  return { state: 'failed', description: error };
}

/** One attempt to deliver an event. */
class DeliveryAttempt {
  readonly #url: string;

  constructor(
    private readonly db: Db,
    private readonly settings: WebhookSettings,
    private readonly delivery: DeliveryContext,
  ) {
    this.#url = delivery.url!;
  }

  /** @throws ApplicationFailure where there is to be another attempt. */
  async run(): Promise<DeliveryResult> {
    const { id, round } = this.delivery;
    const secrets = await this.#openSecrets();
    const attempt = await beginDeliveryAttempt(this.db, id, round, new Date(Date.now() + ATTEMPT_MS));
    if (attempt === undefined) return superseded('It was replayed or has already ended');
    const answer = await this.#send(secrets);
    noteLogIds({ webhookId: this.delivery.webhook_id });
    if (answer.error === undefined) return this.#recordDelivered(answer, attempt);
    if (answer.status === 410) return this.#recordGone(answer.error);
    return this.#recordNotAccepted(answer.status ?? null, answer.error, attempt);
  }

  /** The secrets that sign, the newest first. */
  async #openSecrets(): Promise<string[]> {
    const { secrets } = this.settings;
    const rows = await listSigningSecrets(this.db, this.delivery.webhook_id);
    try {
      return await Promise.all(
        rows.map((row) => secrets.open({ keyId: row.key_id, sealed: row.sealed }, webhookSecretContext(row.id))),
      );
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      throw ApplicationFailure.retryable(`${error.message}. polony tries again automatically`, 'SecretUnreadable');
    }
  }

  async #send(secrets: readonly string[]): Promise<Answer> {
    const { delivery, settings } = this;
    const body = webhookBody(
      {
        type: delivery.event_type,
        time: delivery.time_event,
        sequence: Number(delivery.event_sequence),
        data: delivery.event_data,
      },
      settings.apiUrl,
    );
    return sendWebhook(new URL(this.#url), body, signHeaders(delivery.event_id, body, secrets), {
      ...settings.send,
      policy: settings.networks,
    });
  }

  async #recordDelivered({ status = null }: { status?: number | null }, attempt: number): Promise<DeliveryResult> {
    const { id, round } = this.delivery;
    await endDeliveryAttempt(this.db, id, round, { state: 'delivered', status, error: null });
    counted.webhookAttempts.inc({ outcome: 'delivered' });
    return { state: 'delivered', description: `HTTP ${status}, at attempt ${attempt}` };
  }

  /** `410 Gone`: the receiver wants no more webhooks (Standard Webhooks, "Deliverability and reliability"). */
  async #recordGone(error: string): Promise<DeliveryResult> {
    const { id, round, webhook_id: webhookId } = this.delivery;
    counted.webhookAttempts.inc({ outcome: 'gone' });
    await endDeliveryAsGone(this.db, { id, round, webhookId, url: this.#url }, error);
    return { state: 'failed', description: 'The receiver answered 410 Gone; the webhook was switched off' };
  }

  /** @throws ApplicationFailure with the time of the next attempt, where there is one. */
  async #recordNotAccepted(status: number | null, answer: string, attempt: number): Promise<DeliveryResult> {
    const { id, round } = this.delivery;
    const seconds = this.settings.retrySeconds[attempt - 1];
    if (seconds === undefined) {
      counted.webhookAttempts.inc({ outcome: 'failed' });
      const error = `${answer} (gave up after ${attempt} attempts)`;
      await endDeliveryAttempt(this.db, id, round, { state: 'failed', status, error });
      return { state: 'failed', description: error };
    }
    counted.webhookAttempts.inc({ outcome: 'retrying' });
    await endDeliveryAttempt(this.db, id, round, {
      state: 'retrying',
      status,
      error: answer,
      next: new Date(Date.now() + seconds * 1000),
    });
    const attempts = this.settings.retrySeconds.length + 1;
    throw retryLater('NotDelivered', `Attempt ${attempt} of ${attempts}: ${answer}`, seconds * 1000);
  }
}

/** The headers of Standard Webhooks. The receiver may check the signature with any of the secrets. */
function signHeaders(eventId: string, body: string, secrets: readonly string[]): Record<string, string> {
  const now = new Date();
  return {
    'webhook-id': eventId,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': secrets.map((secret) => new Webhook(secret).sign(eventId, now, body)).join(' '),
  };
}

function superseded(description: string): DeliveryResult {
  return { state: 'superseded', description };
}

function retryLater(type: string, message: string, waitMs: number): ApplicationFailure {
  return ApplicationFailure.create({
    type,
    message,
    nextRetryDelay: waitMs,
    category: ApplicationFailureCategory.BENIGN,
  });
}
