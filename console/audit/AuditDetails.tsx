import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { Copyable, CopyableCode } from '../shared/Copyable.js';
import { UNKNOWN } from '../shared/format.js';
import { Time } from '../shared/Time.js';
import { Outcome } from './Outcome.js';
import type { AuditSearch } from './search.js';

export type AuditEntry = Schema<'AuditEntry'>;

export interface AuditDetailsProps {
  entry: AuditEntry;
  onSearch: (search: AuditSearch) => void;
  onClose: () => void;
}

/** All that the audit log has about one action, and what else concerns the same caller, resource or request. */
export function AuditDetails({ entry, onSearch, onClose }: AuditDetailsProps): ReactNode {
  const { caller, resourceId, requestId, action, detail } = entry;
  return (
    <Modal
      visible
      size="large"
      header={action}
      closeAriaLabel="Close"
      onDismiss={onClose}
      footer={
        <SpaceBetween direction="horizontal" size="xs">
          <Button onClick={() => onSearch({ callerId: caller.id })}>All of this caller</Button>
          {resourceId !== null && <Button onClick={() => onSearch({ resourceId })}>All of this resource</Button>}
          <Button onClick={() => onSearch({ requestId })}>All of this request</Button>
          <Button onClick={() => onSearch({ action })}>All of this action</Button>
        </SpaceBetween>
      }
    >
      <SpaceBetween size="m">
        <KeyValuePairs
          columns={2}
          items={[
            { label: 'Began', value: <Time value={entry.time} /> },
            { label: 'Ended', value: <Time value={entry.timeEnded} /> },
            { label: 'Caller', value: `${caller.name} (${caller.kind})` },
            { label: 'ID of the caller', value: <Copyable text={caller.id} name="the ID of the caller" /> },
            { label: 'Address', value: entry.address ?? UNKNOWN },
            { label: 'Outcome', value: <Outcome entry={entry} /> },
            { label: 'Kind of resource', value: entry.resourceType ?? UNKNOWN },
            {
              label: 'ID of the resource',
              value: resourceId === null ? UNKNOWN : <Copyable text={resourceId} name="the ID of the resource" />,
            },
            { label: 'Request', value: <Copyable text={requestId} name="the ID of the request" /> },
            { label: 'Entry', value: <Copyable text={entry.id} name="the ID of the entry" /> },
          ]}
        />
        {detail !== null && (
          <>
            <Box variant="h3">Detail</Box>
            <CopyableCode name="the detail" text={JSON.stringify(detail, undefined, 2)} />
          </>
        )}
      </SpaceBetween>
    </Modal>
  );
}
