import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Header from '@cloudscape-design/components/header';
import ProgressBar from '@cloudscape-design/components/progress-bar';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import Table from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import { useSession } from '../auth/session.js';
import { type Kind, KINDS } from '../connections/kinds.js';
import { Failure } from '../shared/Failure.js';
import { LinkTo } from '../shared/LinkTo.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { Capabilities, Findings, Identity, Missing, PermissionTable } from './ReportView.js';
import { type Report, type ReportState, useReport } from './reports.js';

/** What the last verification found, a button that verifies now, and its progress. */
export function VerificationPanel({ kind, id }: { kind: Kind; id: string }): ReactNode {
  const { can } = useSession();
  const state = useReport(kind, id);
  const { query, report } = state;
  const mayVerify = can(KINDS[kind].write, id);
  return (
    <Container
      header={
        <Header
          variant="h2"
          {...(report != null && {
            description: (
              <>
                Verified <Time value={report.timeCompleted} ago />
              </>
            ),
          })}
          actions={mayVerify && <VerifyButton state={state} />}
        >
          Verification
        </Header>
      }
    >
      <SpaceBetween size="l">
        <VerifyProgress state={state} />
        {query.isError && (
          <Failure error={query.error} what="The report could not be loaded" onRetry={() => void query.refetch()} />
        )}
        {query.isPending && <StatusIndicator type="loading">Loading the report</StatusIndicator>}
        {report === null && !state.isVerifying && (
          <StatusIndicator type="loading">
            polony verifies it for the first time. The report appears here.
          </StatusIndicator>
        )}
        {report != null && <ReportDetails report={report} />}
      </SpaceBetween>
    </Container>
  );
}

/** The button that verifies now. */
export function VerifyButton({ state }: { state: ReportState }): ReactNode {
  return (
    <Button iconName="refresh" loading={state.isVerifying} loadingText="Verifying" onClick={state.verify}>
      Verify now
    </Button>
  );
}

/** How far a verification is that this page started, and why it could not start. */
export function VerifyProgress({ state }: { state: ReportState }): ReactNode {
  const { failure, progress } = state;
  return (
    <>
      {failure !== null && (
        <Failure error={failure} what="The verification could not be started" onRetry={state.verify} />
      )}
      {progress !== undefined && (
        <ProgressBar
          label="Verifying"
          description="polony asks AWS for each permission."
          additionalInfo={`${progress.done} of ${progress.of} done`}
          value={(progress.done / progress.of) * 100}
        />
      )}
    </>
  );
}

/** A whole report. */
function ReportDetails({ report }: { report: Report }): ReactNode {
  const { permissions } = report;
  const denied = permissions.filter(({ result }) => result === 'denied').length;
  return (
    <SpaceBetween size="l">
      <SpaceBetween size="xs">
        {report.parts.length > 1 && <Box>Together with everything that uses it, which the parts below name:</Box>}
        <Status value={report.status} />
        <Box>{report.description}</Box>
      </SpaceBetween>
      <Findings findings={report.findings} />
      <Missing permissions={permissions} isInUse={!report.status.endsWith('CONNECTED')} />
      <Capabilities capabilities={report.capabilities} />
      <Identity report={report} />
      <Parts report={report} />
      <ExpandableSection
        variant="inline"
        defaultExpanded
        headerText={`Permissions (${permissions.length - denied} of ${permissions.length} not denied)`}
      >
        <PermissionTable permissions={permissions} />
      </ExpandableSection>
    </SpaceBetween>
  );
}

/** What the report of a provider combines. */
function Parts({ report }: { report: Report }): ReactNode {
  if (report.parts.length === 0) return null;
  return (
    <Table
      variant="embedded"
      wrapLines
      items={report.parts}
      trackBy="id"
      ariaLabels={{ tableLabel: 'Parts of this report' }}
      header={<Header variant="h3">Parts of this report</Header>}
      columnDefinitions={[
        {
          id: 'name',
          header: 'Name',
          isRowHeader: true,
          minWidth: 140,
          cell: ({ kind, id, name }) => <LinkTo href={`${KINDS[kind].href}/${id}`}>{name}</LinkTo>,
        },
        { id: 'kind', header: 'Kind', minWidth: 120, cell: ({ kind }) => sentence(KINDS[kind].noun) },
        { id: 'status', header: 'Status', minWidth: 120, cell: ({ status }) => <Status value={status} /> },
        { id: 'description', header: 'Description', minWidth: 200, cell: ({ description }) => description },
        {
          id: 'time',
          header: 'Verified',
          minWidth: 140,
          cell: ({ timeCompleted }) => <Time value={timeCompleted} ago />,
        },
      ]}
    />
  );
}

/** With a capital letter at its beginning. */
const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
