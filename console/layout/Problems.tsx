import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ErrorComponentProps } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { Failure } from '../shared/Failure.js';
import { LinkTo } from '../shared/LinkTo.js';

/** An address that no page has. */
export function NotFound(): ReactNode {
  return (
    <Box textAlign="center" padding="xxl">
      <SpaceBetween size="m">
        <Box variant="h1">This page does not exist</Box>
        <LinkTo href="/">Go to the overview</LinkTo>
      </SpaceBetween>
    </Box>
  );
}

/** A page that failed, for example because a new version replaced its files while it was open. */
export function PageFailure({ error, reset }: ErrorComponentProps): ReactNode {
  return (
    <Box padding="l">
      <SpaceBetween size="m">
        <Failure error={error} what="This page could not be shown" onRetry={reset} />
        <Button onClick={() => location.reload()}>Load the page again</Button>
      </SpaceBetween>
    </Box>
  );
}
