import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { Webhook } from 'standardwebhooks';
import { errorMessage } from '../../domain/errors.js';
import type { NetworkPolicy } from '../../domain/webhooks/networks.js';
import { webhookBody } from '../../domain/webhooks/webhook.js';
import type { Db } from '../../store/database.js';
import { SecretError, type Secrets, webhookSecretContext } from '../../store/secrets.js';
import { beginDeliveryAttempt, endDeliveryAttempt, findDelivery } from '../../store/webhooks/attempts.js';
import { claimDeliveries, markDeliveryStarted, reclaimAbandoned } from '../../store/webhooks/claims.js';
import { pruneDeliveries, removeDelivery } from '../../store/webhooks/deliveries.js';
import { disableWebhook } from '../../store/webhooks/endpoints.js';
import { listSigningSecrets } from '../../store/webhooks/secrets.js';
import type { Orchestrator } from '../../temporal/client.js';
import { type SendOptions, sendWebhook } from './send.js';

/** What delivering webhooks needs. */
export interface WebhookSettings {
  secrets: Secrets;
  networks: NetworkPolicy;
  /** Seconds between two tries, one after the other. */
  retrySeconds: readonly number[];
  /** What links in webhooks begin with. */
  apiUrl?: string;
  /** For tests. */
  send?: Pick<SendOptions, 'timeoutMs' | 'resolve'>;
}

/** How many deliveries are tried at once by one worker, and of these for one webhook. */
export const WEBHOOK_SLOTS = 50;
const SLOTS_EACH = 5;
/** How long one try may take with all around it. */
const ATTEMPT_MS = 30_000;
const LONGEST_WAIT_MS = 600_000;

/** Shares the slots: no webhook has more than its own, and what does not fit is told when it is worth coming again. */
class Lanes {
  readonly #lanes = new Map<string, { active: number; averageMs: number; reserved: number }>();

  /** @returns how to leave again, or how many milliseconds to stay away. */
  enter(webhookId: string): { leave: () => void } | { waitMs: number } {
    const now = Date.now();
    const lane = this.#lanes.get(webhookId) ?? { active: 0, averageMs: 1000, reserved: 0 };
    this.#lanes.set(webhookId, lane);
    if (lane.active >= SLOTS_EACH) {
      lane.reserved = Math.max(now, lane.reserved) + lane.averageMs / SLOTS_EACH;
      return { waitMs: Math.round(Math.min(LONGEST_WAIT_MS, Math.max(500, lane.reserved - now))) };
    }
    lane.active++;
    return {
      leave: () => {
        lane.active--;
        lane.averageMs = 0.8 * lane.averageMs + 0.2 * (Date.now() - now);
        if (lane.active === 0 && lane.reserved < Date.now()) this.#lanes.delete(webhookId);
      },
    };
  }
}

/** What became of a delivery. */
export interface DeliveryResult {
  state: 'delivered' | 'failed' | 'superseded';
  description: string;
}

function later(type: string, message: string, waitMs: number): ApplicationFailure {
  return ApplicationFailure.create({
    type,
    message,
    nextRetryDelay: waitMs,
    category: ApplicationFailureCategory.BENIGN,
  });
}

/** The activity of `deliverWebhook`. */
export function createWebhookActivities(db: Db, settings: WebhookSettings | undefined) {
  const lanes = new Lanes();

  /** The secrets that sign, the current one first. @throws SecretError */
  async function secretsOfWebhook(webhookId: string, secrets: Secrets): Promise<string[]> {
    const rows = await listSigningSecrets(db, webhookId);
    return Promise.all(
      rows.map((row) => secrets.open({ keyId: row.key_id, sealed: row.sealed }, webhookSecretContext(row.id))),
    );
  }

  return {
    /**
     * Tries a delivery once. Where it is not taken it fails with the time of the next try, which costs no history; a receiver may
     * get it twice, with the same `webhook-id`, where the worker dies in between.
     * @param round of replays; a delivery that has been begun anew since is left alone.
     */
    async attemptDelivery(deliveryId: string, round: number): Promise<DeliveryResult> {
      if (settings === undefined)
        throw ApplicationFailure.nonRetryable('This worker delivers no webhooks', 'Unexpected');
      const delivery = await findDelivery(db, deliveryId);
      if (delivery === undefined || delivery.round !== round)
        return { state: 'superseded', description: 'It was replayed or removed since' };
      const { state, webhook_id: webhookId, url } = delivery;
      if (state === 'delivered' || state === 'failed') return { state, description: `It was ${state} before` };
      if (url === null) {
        await removeDelivery(db, deliveryId);
        return { state: 'superseded', description: 'The webhook was deleted' };
      }
      const giveUp = async (status: number | null, error: string): Promise<DeliveryResult> => {
        await endDeliveryAttempt(db, deliveryId, round, { state: 'failed', status, error });
        return { state: 'failed', description: error };
      };
      if (delivery.enabled !== true)
        return giveUp(delivery.last_status, 'The webhook is switched off; replay it once it is on again');
      const lane = lanes.enter(webhookId);
      if ('waitMs' in lane)
        throw later(
          'Busy',
          `${SLOTS_EACH} deliveries of this webhook are under way; it waits for its turn`,
          lane.waitMs,
        );
      try {
        let secrets: string[];
        try {
          secrets = await secretsOfWebhook(webhookId, settings.secrets);
        } catch (error) {
          if (!(error instanceof SecretError)) throw error;
          throw ApplicationFailure.retryable(
            `${error.message}. It goes on by itself once that is mended`,
            'SecretUnreadable',
          );
        }
        const attempt = await beginDeliveryAttempt(db, deliveryId, round, new Date(Date.now() + ATTEMPT_MS));
        if (attempt === undefined) return { state: 'superseded', description: 'It was replayed or has ended since' };
        const body = webhookBody(
          {
            type: delivery.event_type,
            time: delivery.time_event,
            sequence: Number(delivery.event_sequence),
            data: delivery.event_data,
          },
          settings.apiUrl,
        );
        const now = new Date();
        const answer = await sendWebhook(
          new URL(url),
          body,
          {
            'webhook-id': delivery.event_id,
            'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
            'webhook-signature': secrets
              .map((secret) => new Webhook(secret).sign(delivery.event_id, now, body))
              .join(' '),
          },
          { ...settings.send, policy: settings.networks },
        );
        const status = answer.status ?? null;
        if (answer.error === undefined) {
          await endDeliveryAttempt(db, deliveryId, round, { state: 'delivered', status, error: null });
          return { state: 'delivered', description: `HTTP ${status}, at try ${attempt}` };
        }
        if (status === 410) {
          // Standard Webhooks, "Deliverability and reliability": the receiver wants no more of them.
          await db.transaction().execute(async (transaction) => {
            await endDeliveryAttempt(transaction, deliveryId, round, { state: 'failed', status, error: answer.error! });
            await disableWebhook(transaction, webhookId, url, 'The receiver answered 410 Gone');
          });
          return { state: 'failed', description: 'The receiver answered 410 Gone; the webhook was switched off' };
        }
        const seconds = settings.retrySeconds[attempt - 1];
        if (seconds === undefined) return await giveUp(status, `${answer.error} (given up after ${attempt} tries)`);
        await endDeliveryAttempt(db, deliveryId, round, {
          state: 'retrying',
          status,
          error: answer.error,
          next: new Date(Date.now() + seconds * 1000),
        });
        throw later(
          'NotDelivered',
          `Try ${attempt} of ${settings.retrySeconds.length + 1}: ${answer.error}`,
          seconds * 1000,
        );
      } finally {
        lane.leave();
      }
    },
  };
}

/** A page of deliveries is handed to Temporal this many at a time. */
const STARTS_AT_ONCE = 10;
const CLAIMED_AT_ONCE = 100;

/** Hands to Temporal what the triggers have written, until there is no more. @returns how many. */
export async function startPendingDeliveries(
  db: Db,
  orchestrator: Pick<Orchestrator, 'startDelivery'>,
): Promise<number> {
  let count = 0;
  for (;;) {
    const claimed = await claimDeliveries(db, CLAIMED_AT_ONCE);
    const waiting = [...claimed];
    const start = async (): Promise<void> => {
      for (let delivery = waiting.shift(); delivery !== undefined; delivery = waiting.shift()) {
        await orchestrator.startDelivery({
          deliveryId: delivery.id,
          round: delivery.round,
          eventType: delivery.event_type,
          host: delivery.url === null ? 'a deleted webhook' : new URL(delivery.url).host,
        });
        await markDeliveryStarted(db, delivery);
        count++;
      }
    };
    await Promise.all(Array.from({ length: STARTS_AT_ONCE }, start));
    if (claimed.length < CLAIMED_AT_ONCE) return count;
  }
}

/** The sweep's part: hands over what nobody heard of or what was lost with its workflow, and forgets what is old. */
export async function sweepDeliveries(db: Db, orchestrator: Pick<Orchestrator, 'startDelivery'>): Promise<void> {
  await reclaimAbandoned(db);
  await startPendingDeliveries(db, orchestrator);
  await pruneDeliveries(db);
}

/** Hands deliveries over as soon as they are heard of; what it misses the sweep finds. */
export class DeliveryDispatcher {
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(
    private readonly db: Db,
    private readonly orchestrator: Pick<Orchestrator, 'startDelivery'>,
    private readonly onTrouble: (message: string) => void,
  ) {}

  /** Something has been committed. May be called as often as one likes. */
  wake(): void {
    this.#again = true;
    if (!this.#closed) this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      try {
        await startPendingDeliveries(this.db, this.orchestrator);
      } catch (error) {
        this.onTrouble(errorMessage(error));
      }
    }
  }

  /** Ends once what is under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }
}
