import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { CopyableCode } from './Copyable.js';
import { Time } from './Time.js';

export interface BlockedAlertProps {
  blocked: Schema<'Blocked'>;
  /** Tries again at once; absent where the caller may not. */
  onRetry?: () => void;
  isRetrying?: boolean;
}

/** What a person must do before something continues, with the missing statement. */
export function BlockedAlert({ blocked, onRetry, isRetrying = false }: BlockedAlertProps): ReactNode {
  const { action, resource, message, remedy, statement, since } = blocked;
  return (
    <Alert
      type="warning"
      header={action === undefined ? 'Waits for a person' : `Waits for the permission ${action}`}
      {...(onRetry !== undefined && {
        action: (
          <Button loading={isRetrying} onClick={onRetry}>
            Try again now
          </Button>
        ),
      })}
    >
      <SpaceBetween size="s">
        <span>{message}</span>
        {resource !== undefined && <span>Resource: {resource}</span>}
        <span>{remedy}</span>
        {since !== undefined && (
          <span>
            Blocked since <Time value={since} ago />
          </span>
        )}
        {statement != null && (
          <>
            <span>Add this statement to the list Statement of that policy:</span>
            <CopyableCode name="the missing statement" text={JSON.stringify(statement, undefined, 2)} />
          </>
        )}
      </SpaceBetween>
    </Alert>
  );
}
