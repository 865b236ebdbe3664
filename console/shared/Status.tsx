import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import type { ReactNode } from 'react';
import styles from './Status.module.css';

const TYPES: Readonly<Record<string, StatusIndicatorProps.Type>> = {
  COMPLETED: 'success',
  CONNECTED: 'success',
  ACTIVE: 'success',
  DELIVERED: 'success',
  GRANTED: 'success',
  READY: 'success',
  COMPLETE: 'success',
  RUNNING: 'in-progress',
  SEQUENCING: 'in-progress',
  REMOVING: 'in-progress',
  RETRYING: 'in-progress',
  UPLOADING: 'in-progress',
  INITIALIZED: 'pending',
  PENDING: 'pending',
  UNTRIGGERED: 'pending',
  CREATED: 'pending',
  FAILED: 'error',
  DENIED: 'error',
  NOTREADY: 'error',
  REFUSED: 'error',
  VANISHED: 'error',
  CANCELED: 'stopped',
  STOPPED: 'stopped',
  DISCARDED: 'stopped',
  REVOKED: 'stopped',
  EXPIRED: 'stopped',
  WARNING: 'warning',
  LIMITED: 'warning',
  CHANGED: 'warning',
  MISSING: 'warning',
  BLOCKED: 'warning',
  STALLED: 'warning',
  UNSPECIFIED: 'loading',
};

const TEXTS: Readonly<Record<string, string>> = { NOTREADY: 'Not ready', UNSPECIFIED: 'Not verified yet' };

/** The word of a status of the API, such as `COMPLETED` of `RUN_STATUS_COMPLETED`. */
const statusWord = (status: string): string => status.replace(/^.*_STATUS_/, '').toUpperCase();

/** The word as people read it. */
export function statusText(status: string): string {
  const word = statusWord(status);
  return TEXTS[word] ?? `${word.charAt(0)}${word.slice(1).toLowerCase().replaceAll('_', ' ')}`;
}

/** A status as icon and text. */
export function Status({ value, text }: { value: string; text?: string }): ReactNode {
  return (
    <span className={styles.status}>
      <StatusIndicator type={TYPES[statusWord(value)] ?? 'info'}>{text ?? statusText(value)}</StatusIndicator>
    </span>
  );
}
