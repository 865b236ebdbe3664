import Alert from '@cloudscape-design/components/alert';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { Findings, Identity, Missing } from './ReportView.js';

/** What polony found about credentials that nobody has saved. */
export function DraftReport({ report }: { report: Schema<'DraftVerification'> }): ReactNode {
  const isFailed = report.status.endsWith('FAILED');
  const isFound = report.findings.some(({ message }) => message === report.description);
  return (
    <SpaceBetween size="s">
      {!isFailed && (
        <Alert type={report.status.endsWith('WARNING') ? 'warning' : 'success'} header="AWS lets polony in">
          {report.description}
        </Alert>
      )}
      {isFailed && !isFound && (
        <Alert type="error" header="AWS does not let polony in yet">
          {report.description}
        </Alert>
      )}
      <Findings findings={report.findings} />
      <Missing permissions={report.permissions} isInUse />
      <Identity report={report} />
    </SpaceBetween>
  );
}
