import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import type { ReactNode } from 'react';
import { ApiFailure } from '../app/client.js';

/** An error with the id of its request, and a button to try again. */
export function Failure({ error, what, onRetry }: { error: unknown; what: string; onRetry?: () => void }): ReactNode {
  const requestId = error instanceof ApiFailure ? error.requestId : undefined;
  return (
    <Alert type="error" header={what} action={onRetry !== undefined && <Button onClick={onRetry}>Try again</Button>}>
      {error instanceof Error ? error.message : String(error)}
      {requestId !== undefined && <div>Request {requestId}</div>}
    </Alert>
  );
}
