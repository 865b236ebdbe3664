import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import ContentLayout from '@cloudscape-design/components/content-layout';
import Header from '@cloudscape-design/components/header';
import type { ReactNode } from 'react';
import { ApiFailure } from '../app/client.js';

interface FailureProps {
  error: unknown;
  what: string;
  onRetry?: () => void;
}

/** An error with the id of its request, and a button to try again. */
export function Failure({ error, what, onRetry }: FailureProps): ReactNode {
  const requestId = error instanceof ApiFailure ? error.requestId : undefined;
  return (
    <Alert type="error" header={what} action={onRetry !== undefined && <Button onClick={onRetry}>Try again</Button>}>
      {error instanceof Error ? error.message : String(error)}
      {requestId !== undefined && <div>Request {requestId}</div>}
    </Alert>
  );
}

/** A page that could not be loaded. */
export function FailedPage({ title, ...props }: FailureProps & { title: string }): ReactNode {
  return (
    <ContentLayout header={<Header variant="h1">{title}</Header>}>
      <Failure {...props} />
    </ContentLayout>
  );
}
