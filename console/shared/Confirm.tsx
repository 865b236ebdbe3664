import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import { Failure } from './Failure.js';
import { useAction } from './useAction.js';

export interface ConfirmProps {
  /** The question, such as "Remove this grant?". */
  question: string;
  /** What the button says, such as "Remove". */
  action: string;
  /** What follows from it. */
  children: ReactNode;
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
}

/** Asks before a change that can be made again. Show it only while it is open. */
export function Confirm({ question, action, children, onConfirm, onClose }: ConfirmProps): ReactNode {
  const confirm = useAction(async () => {
    await onConfirm();
    onClose();
  });
  return (
    <Modal
      visible
      onDismiss={onClose}
      closeAriaLabel="Close"
      header={question}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              Cancel
            </Button>
            <Button variant="primary" loading={confirm.isPending} onClick={() => void confirm.run()}>
              {action}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <div>{children}</div>
        {confirm.error !== undefined && <Failure error={confirm.error} what={`${action} failed`} />}
      </SpaceBetween>
    </Modal>
  );
}
