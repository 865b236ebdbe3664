import StatusIndicator from '@cloudscape-design/components/status-indicator';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';

/** How an entry ended: an HTTP status, or nothing yet. */
export function Outcome({ entry }: { entry: Schema<'AuditEntry'> }): ReactNode {
  const { status, reason, timeEnded } = entry;
  if (timeEnded === null) return <StatusIndicator type="pending">No outcome</StatusIndicator>;
  const text = [status, reason].filter((each) => each !== null).join(' ');
  if (status === null) return <StatusIndicator type="info">{text === '' ? 'Recorded' : text}</StatusIndicator>;
  return <StatusIndicator type={status < 400 ? 'success' : 'error'}>{text}</StatusIndicator>;
}
