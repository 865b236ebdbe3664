import StatusIndicator from '@cloudscape-design/components/status-indicator';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';

/** Whether polony sends events to a webhook, and why not. */
export function WebhookState({ webhook }: { webhook: Schema<'Webhook'> }): ReactNode {
  if (webhook.enabled) return <StatusIndicator type="success">On</StatusIndicator>;
  if (webhook.disabledReason === null) return <StatusIndicator type="stopped">Off</StatusIndicator>;
  return <StatusIndicator type="error">Switched off: {webhook.disabledReason}</StatusIndicator>;
}
