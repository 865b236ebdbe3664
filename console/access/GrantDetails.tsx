import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { Copyable, CopyableCode } from '../shared/Copyable.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { differencesOf } from './difference.js';

export type Grant = Schema<'AccessGrant'>;

const json = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value, undefined, 2));

/** Why AWS refuses something, and the statement that would allow it. */
export function Problem({ problem, what }: { problem: Schema<'AccessProblem'>; what: string }): ReactNode {
  return (
    <Alert type="error" header={what}>
      <SpaceBetween size="s">
        <div>
          {problem.message} {problem.remedy}
        </div>
        {problem.statement !== null && <CopyableCode name="the missing statement" text={json(problem.statement)} />}
      </SpaceBetween>
    </Alert>
  );
}

/** What the principal needs beside the grant. */
function Warnings({ grant }: { grant: Grant }): ReactNode {
  return grant.warnings.map((warning) => (
    <Alert key={warning.code + (warning.key ?? '')} type="warning" header="The grant alone may not be enough">
      <SpaceBetween size="s">
        <div>{warning.message}</div>
        {warning.statement !== null && (
          <CopyableCode name="the statement for the policy of the key" text={json(warning.statement)} />
        )}
      </SpaceBetween>
    </Alert>
  ));
}

/** What somebody changed in the bucket policy. */
function Drift({ grant }: { grant: Grant }): ReactNode {
  if (grant.state === 'missing')
    return (
      <Alert type="warning" header="The bucket policy no longer has this grant">
        Somebody removed its statements. Repair the grant to write them again, or remove it here too.
      </Alert>
    );
  const differences = differencesOf(grant.statements, grant.foundStatements ?? []);
  return (
    <Alert type="warning" header="Somebody changed this grant in the bucket policy">
      <SpaceBetween size="s">
        <div>Repair the grant to write it as it was, or remove it and share again.</div>
        {differences.map(({ sid, member, expected, found }) => (
          <div key={`${sid} ${member}`}>
            <Box variant="awsui-key-label">
              {member} of {sid}
            </Box>
            <Box variant="small">polony wrote</Box>
            <Box variant="pre">{json(expected)}</Box>
            <Box variant="small">The policy has</Box>
            <Box variant="pre">{json(found)}</Box>
          </div>
        ))}
      </SpaceBetween>
    </Alert>
  );
}

export interface GrantDetailsProps {
  grant: Grant;
  /** Undefined where a repair makes no sense. */
  onRepair: (() => void) | undefined;
  isRepairing: boolean;
  onClose: () => void;
}

/** A grant: what is wrong with it, what it needs, and its statements. */
export function GrantDetails({ grant, onRepair, isRepairing, onClose }: GrantDetailsProps): ReactNode {
  return (
    <Modal
      visible
      size="large"
      header="Access grant"
      closeAriaLabel="Close"
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            {onRepair !== undefined && (
              <Button loading={isRepairing} onClick={onRepair}>
                Repair
              </Button>
            )}
            <Button variant="primary" onClick={onClose}>
              Close
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {grant.problem !== null && <Problem problem={grant.problem} what="AWS does not allow this grant" />}
        {(grant.state === 'changed' || grant.state === 'missing') && <Drift grant={grant} />}
        <Warnings grant={grant} />
        <KeyValuePairs
          columns={2}
          items={[
            { label: 'Principal', value: <Copyable text={grant.principal} name="the principal" /> },
            { label: 'May read', value: <Copyable text={grant.uri} name="the S3 address" /> },
            { label: 'Description', value: grant.description === '' ? 'None' : grant.description },
            { label: 'State', value: <Status value={grant.state} /> },
            { label: 'Expires', value: grant.timeExpires === null ? 'Never' : <Time value={grant.timeExpires} ago /> },
            { label: 'Shared by', value: grant.createdBy },
            { label: 'Shared', value: <Time value={grant.timeCreated} /> },
            { label: 'Changed', value: <Time value={grant.timeUpdated} /> },
          ]}
        />
        <ExpandableSection headerText="Statements in the bucket policy">
          <CopyableCode name="the statements" text={json(grant.statements)} />
        </ExpandableSection>
        <Box color="text-body-secondary">
          A principal of another account also needs the same actions in an IAM policy of its own account.
        </Box>
      </SpaceBetween>
    </Modal>
  );
}
