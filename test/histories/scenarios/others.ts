import type { Client, WorkflowStartOptions } from '@temporalio/client';
import type { DeliveryResult } from '../../../activities/webhooks/deliver.js';
import type { DeliverWebhookInput } from '../../../workflows/messages/webhooks.js';
import { verifyAgainSignal, type VerifyInput, type VerifyResult } from '../../../workflows/messages/verification.js';
import {
  answers,
  finalFailure,
  hang,
  laterFailure,
  QUEUES,
  type Scenario,
  sleep,
  soonFailure,
  type WorkflowType,
} from '../scenario.js';

const resource: VerifyInput = { id: '01920000-0000-7000-8000-0000000000d1', name: 'lab' };
const verified: VerifyResult = { status: 'CONNECTED', description: 'Every permission is there' };
const warned: VerifyResult = { status: 'WARNING', description: 'A permission is missing' };

function verifyScenarios(workflow: WorkflowType): Scenario[] {
  /** Starts the workflow like polony: with the signal, which the first pass handles. */
  const start = (client: Client, options: WorkflowStartOptions): Promise<unknown> =>
    client.workflow.signalWithStart(workflow, { ...options, signal: verifyAgainSignal, signalArgs: [] });
  const one = (
    outcome: string,
    status: Scenario['status'],
    verifyResource: () => Promise<VerifyResult | null>,
    more: Partial<Scenario> = {},
  ): Scenario => ({
    workflow,
    outcome,
    input: resource,
    start,
    status,
    activities: () => ({ verifyResource }),
    ...more,
  });
  let askedAgain = false;
  return [
    one('verified', 'COMPLETED', answers(verified)),
    one('verified-without-signal', 'COMPLETED', answers(verified), { start: undefined }),
    one('deleted', 'COMPLETED', answers<VerifyResult | null>(null)),
    one(
      'verified-again',
      'COMPLETED',
      answers<VerifyResult>(async () => {
        while (!askedAgain) await sleep(50);
        return warned;
      }, verified),
      {
        drive: async ({ handle, calls }) => {
          await calls.until('verifyResource');
          await handle.signal(verifyAgainSignal);
          askedAgain = true;
        },
      },
    ),
    one('failed', 'FAILED', answers<VerifyResult>(finalFailure('ResourceUnknown'))),
    one('verifying-open', 'RUNNING', hang, { drive: async ({ calls }) => calls.until('verifyResource') }),
  ];
}

const verifyAllScenarios: Scenario[] = [
  {
    workflow: 'verifyAll',
    outcome: 'completed',
    status: 'COMPLETED',
    activities: () => ({ startVerifications: answers(3) }),
  },
  {
    workflow: 'verifyAll',
    outcome: 'failed',
    status: 'FAILED',
    activities: () => ({ startVerifications: answers<number>(soonFailure('Unexpected')) }),
  },
  {
    workflow: 'verifyAll',
    outcome: 'starting-open',
    status: 'RUNNING',
    activities: () => ({ startVerifications: hang }),
    drive: async ({ calls }) => calls.until('startVerifications'),
  },
];

const delivery: DeliverWebhookInput = {
  deliveryId: '01920000-0000-7000-8000-0000000000f1',
  round: 1,
  eventType: 'execution.completed',
  host: 'lims.example.org',
  taskQueue: QUEUES.webhooks,
};
const delivered: DeliveryResult = { state: 'delivered', description: 'Answered 200' };

const deliverWebhook = (
  outcome: string,
  status: Scenario['status'],
  attemptDelivery: () => Promise<DeliveryResult>,
  more: Partial<Scenario> = {},
): Scenario => ({
  workflow: 'deliverWebhook',
  outcome,
  input: delivery,
  status,
  activities: () => ({ attemptDelivery }),
  ...more,
});

export const otherScenarios: Scenario[] = [
  ...verifyScenarios('verifyProvider'),
  ...verifyScenarios('verifyStorageConnection'),
  ...verifyScenarios('verifyComputeConnection'),
  ...verifyScenarios('verifyFlow'),
  ...verifyAllScenarios,
  deliverWebhook('delivered', 'COMPLETED', answers<DeliveryResult>(soonFailure('NotTaken'), delivered)),
  deliverWebhook('failed', 'FAILED', answers<DeliveryResult>({ state: 'failed', description: 'Answered 500' })),
  deliverWebhook(
    'superseded',
    'COMPLETED',
    answers<DeliveryResult>({ state: 'superseded', description: 'It was replayed' }),
  ),
  deliverWebhook('failed-attempt', 'FAILED', answers<DeliveryResult>(finalFailure('DeliveryUnknown'))),
  deliverWebhook('retrying-open', 'RUNNING', answers<DeliveryResult>(laterFailure('NotTaken')), {
    drive: async ({ untilRetrying }) => untilRetrying('attemptDelivery'),
  }),
];
