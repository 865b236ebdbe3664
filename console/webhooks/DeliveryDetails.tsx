import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { Copyable, CopyableCode } from '../shared/Copyable.js';
import { formatNumber, UNKNOWN } from '../shared/format.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';

export type Delivery = Schema<'WebhookDelivery'>;

export interface DeliveryDetailsProps {
  delivery: Delivery;
  /** Undefined where the reader may not replay. */
  onReplay: (() => void) | undefined;
  isReplaying: boolean;
  onClose: () => void;
}

/** One event on its way to a receiver. */
export function DeliveryDetails({ delivery, onReplay, isReplaying, onClose }: DeliveryDetailsProps): ReactNode {
  const { lastError, lastStatus } = delivery;
  return (
    <Modal
      visible
      size="large"
      header={delivery.eventType}
      closeAriaLabel="Close"
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            {onReplay !== undefined && (
              <Button loading={isReplaying} onClick={onReplay}>
                Replay
              </Button>
            )}
            <Button variant="primary" onClick={onClose}>
              Close
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {lastError !== null && (
          <Alert type={delivery.state === 'failed' ? 'error' : 'warning'} header="The last attempt failed">
            {lastError}
          </Alert>
        )}
        <KeyValuePairs
          columns={2}
          items={[
            { label: 'State', value: <Status value={delivery.state} /> },
            { label: 'Event', value: <Time value={delivery.timeEvent} /> },
            { label: 'Attempts', value: formatNumber(delivery.attempts) },
            { label: 'Replays', value: formatNumber(delivery.replays) },
            { label: 'Next attempt', value: <Time value={delivery.timeNext} ago /> },
            { label: 'Ended', value: <Time value={delivery.timeEnded} /> },
            { label: 'Last HTTP status', value: lastStatus ?? UNKNOWN },
            { label: 'webhook-id', value: <Copyable text={delivery.eventId} name="the webhook-id" /> },
          ]}
        />
        <Box variant="h3">Data of the event</Box>
        <CopyableCode name="the data of the event" text={JSON.stringify(delivery.data, undefined, 2)} />
      </SpaceBetween>
    </Modal>
  );
}
