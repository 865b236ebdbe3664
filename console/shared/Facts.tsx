import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import type { ReactNode } from 'react';
import { UNKNOWN } from './format.js';

/** Labels and values of a thing. @param items `undefined` values are left out, empty ones are shown as unknown */
export function Facts({ items, columns = 3 }: { items: Record<string, ReactNode>; columns?: number }): ReactNode {
  return (
    <KeyValuePairs
      columns={columns}
      items={Object.entries(items)
        .filter(([, value]) => value !== undefined)
        .map(([label, value]) => ({ label, value: value === '' || value === null ? UNKNOWN : value }))}
    />
  );
}
