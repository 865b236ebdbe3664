import type { ReactNode } from 'react';
import styles from './Time.module.css';
import { formatAgo, formatTime, UNKNOWN } from './format.js';

/** A time in the reader's time zone. Hovering shows UTC. @param ago adds how long that is ago */
export function Time({ value, ago = false }: { value: string | null | undefined; ago?: boolean }): ReactNode {
  if (value == null) return UNKNOWN;
  return (
    <time
      className={styles.time}
      dateTime={value}
      title={`${new Date(value)
        .toISOString()
        .replace('T', ' ')
        .replace(/\.\d+Z$/, '')} UTC`}
    >
      {formatTime(value)}
      {ago && ` (${formatAgo(value)})`}
    </time>
  );
}
