import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import Table from '@cloudscape-design/components/table';
import type { ReactNode } from 'react';
import { CopyableCode } from '../shared/Copyable.js';
import { formatDuration } from '../shared/format.js';
import { capabilityText, type PermissionRow, type Report } from './reports.js';
import { missingPolicy } from './rules.js';
import styles from './ReportView.module.css';

/** What reports of saved and of unsaved resources have. */
export type ReportBody = Pick<Report, 'permissions' | 'capabilities' | 'findings'>;

const RESULTS: Readonly<Record<PermissionRow['result'], { type: StatusIndicatorProps.Type; text: string }>> = {
  granted: { type: 'success', text: 'Granted' },
  denied: { type: 'error', text: 'Denied' },
  unknown: { type: 'pending', text: 'Not known yet' },
};

const STATES: Readonly<Record<string, { type: StatusIndicatorProps.Type; text: string }>> = {
  ready: { type: 'success', text: 'Ready' },
  limited: { type: 'warning', text: 'Limited' },
  notReady: { type: 'error', text: 'Not ready' },
};

/** Where nothing is missing, and only the first use can tell whether a permission is granted. */
const UNTESTED = { type: 'pending', text: 'Not fully tested yet' } as const;

/** A small text below something. */
export const Note = ({ children }: { children: ReactNode }): ReactNode => (
  <Box fontSize="body-s" color="text-body-secondary">
    {children}
  </Box>
);

/** Whether a permission is granted. An optional one that is denied is no error. */
function Result({ row }: { row: Pick<PermissionRow, 'result' | 'requirement'> }): ReactNode {
  const { type, text } = RESULTS[row.result];
  return (
    <StatusIndicator type={type === 'error' && row.requirement === 'optional' ? 'warning' : type}>
      {text}
    </StatusIndicator>
  );
}

/** What works, and what stands in its way. */
export function Capabilities({ capabilities }: { capabilities: ReportBody['capabilities'] }): ReactNode {
  if (capabilities.length === 0) return null;
  return (
    <ul className={styles.capabilities} aria-label="Capabilities">
      {capabilities.map(({ capability, state, missing, unknown }) => {
        const isUntested = state !== 'ready' && missing.length === 0;
        const { type, text } = isUntested ? UNTESTED : (STATES[state] ?? { type: 'info' as const, text: state });
        return (
          <li key={capability}>
            <Box fontWeight="bold">{capabilityText(capability)}</Box>
            <StatusIndicator type={type}>{text}</StatusIndicator>
            {missing.length > 0 && <Note>Missing: {missing.join(', ')}</Note>}
            {unknown.length > 0 && <Note>Not known yet: {unknown.join(', ')}</Note>}
          </li>
        );
      })}
    </ul>
  );
}

const SEVERITIES = { error: 'error', warning: 'warning', info: 'info' } as const;

/** What else the verification found. */
export function Findings({ findings }: { findings: ReportBody['findings'] }): ReactNode {
  if (findings.length === 0) return null;
  return (
    <SpaceBetween size="xs">
      {findings.map(({ severity, code, message, remedy }) => (
        <Alert key={`${code} ${message}`} type={SEVERITIES[severity]} header={message}>
          <div>{remedy}</div>
          <Box variant="small" color="text-body-secondary">
            {code}
          </Box>
        </Alert>
      ))}
    </SpaceBetween>
  );
}

/** The permissions that AWS denied, with what to do, and the statements that grant them in one policy to copy. */
export function Missing({
  permissions,
  isInUse,
}: {
  permissions: readonly PermissionRow[];
  /** Whether something that is switched on lacks them; they are an offer otherwise. */
  isInUse: boolean;
}): ReactNode {
  const denied = permissions.filter(({ result }) => result === 'denied');
  const policy = missingPolicy(denied);
  if (denied.length === 0) return null;
  const isBlocking = denied.some(({ requirement }) => requirement === 'required');
  const [one, many] = isInUse ? ['permission', 'permissions'] : ['optional permission', 'optional permissions'];
  return (
    <Alert
      type={isBlocking ? 'error' : isInUse ? 'warning' : 'info'}
      header={denied.length === 1 ? `AWS denies 1 ${one}` : `AWS denies ${denied.length} ${many}`}
    >
      <SpaceBetween size="s">
        <ul className={styles.missing}>
          {denied.map((row) => (
            <li key={keyOf(row)}>
              <Box variant="code">{row.action}</Box> on <Box variant="code">{row.resource}</Box>
              {row.of != null && ` (${row.of})`}: {row.unlocks}. {row.remedy}
              {row.error != null && (
                <Box variant="small" color="text-body-secondary">
                  AWS answered {row.error.code}: {row.error.message}
                </Box>
              )}
            </li>
          ))}
        </ul>
        {policy !== undefined && (
          <SpaceBetween size="xs">
            <span>Add these statements to the policy of the role or user, then verify again:</span>
            <CopyableCode name="the missing statements" text={policy} />
          </SpaceBetween>
        )}
      </SpaceBetween>
    </Alert>
  );
}

const keyOf = ({ action, resource, of }: PermissionRow): string => `${action} ${resource} ${of ?? ''}`;

/** What AWS answered, and what to do about a denial. */
function Answer({ row }: { row: PermissionRow }): ReactNode {
  return (
    <SpaceBetween size="xxs">
      <Result row={row} />
      <Box variant="small" color="text-body-secondary">
        {row.detail}
      </Box>
      {row.error != null && (
        <Box variant="small">
          {row.error.code}: {row.error.message}
        </Box>
      )}
      {row.remedy != null && <Box variant="small">{row.remedy}</Box>}
    </SpaceBetween>
  );
}

/** Every permission: what it is for, what AWS answered, and the statement that grants it. */
export function PermissionTable({ permissions }: { permissions: readonly PermissionRow[] }): ReactNode {
  const hasParts = permissions.some(({ of }) => of != null);
  return (
    <Table<PermissionRow>
      variant="embedded"
      wrapLines
      items={permissions}
      trackBy={keyOf}
      ariaLabels={{ tableLabel: 'Permissions' }}
      empty="polony has tested no permission yet."
      columnDefinitions={[
        {
          id: 'action',
          header: 'Permission',
          isRowHeader: true,
          minWidth: 200,
          cell: ({ action, resource }) => (
            <>
              <Box variant="code">{action}</Box>
              <Box variant="small" color="text-body-secondary">
                {resource}
              </Box>
            </>
          ),
        },
        ...(hasParts ? [{ id: 'of', header: 'For', cell: ({ of }: PermissionRow) => of ?? '', minWidth: 120 }] : []),
        {
          id: 'requirement',
          header: 'Requirement',
          minWidth: 130,
          cell: ({ requirement }) => (requirement === 'required' ? 'Required' : 'Optional'),
        },
        {
          id: 'unlocks',
          header: 'What it unlocks',
          minWidth: 200,
          cell: ({ unlocks, purpose }) => (
            <>
              {unlocks}
              <Box variant="small" color="text-body-secondary">
                {purpose}
              </Box>
            </>
          ),
        },
        { id: 'answer', header: 'Answer of AWS', minWidth: 240, cell: (row) => <Answer row={row} /> },
        {
          id: 'statement',
          header: 'Missing statement',
          minWidth: 220,
          cell: ({ statement, action }) =>
            statement == null ? (
              ''
            ) : (
              <ExpandableSection headerText="Statement" headerAriaLabel={`Statement for ${action}`}>
                <CopyableCode name={`the statement for ${action}`} text={JSON.stringify(statement, null, 2)} />
              </ExpandableSection>
            ),
        },
      ]}
    />
  );
}

/** Who AWS says that polony is there, and how long its sessions last. */
export function Identity({ report }: { report: Pick<Report, 'identity' | 'sessionSeconds'> }): ReactNode {
  const { identity, sessionSeconds } = report;
  if (identity === null && sessionSeconds === null) return null;
  return (
    <KeyValuePairs
      columns={3}
      items={[
        ...(identity === null
          ? []
          : [
              { label: 'Identity in AWS', value: <span className={styles.long}>{identity.arn}</span> },
              { label: 'Account', value: identity.accountId },
            ]),
        ...(sessionSeconds === null
          ? []
          : [{ label: 'Length of sessions', value: formatDuration(sessionSeconds * 1000) }]),
      ]}
    />
  );
}
