import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useMutation } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { Failure } from './Failure.js';

export interface ConfirmByNameProps {
  /** What the button says, such as "Delete". */
  action: string;
  /** Such as "the flow". */
  kind: string;
  /** What the reader must type. */
  name: string;
  /** What follows from it. */
  consequence: ReactNode;
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
}

/** Asks for the name of what is changed irreversibly. Show it only while it is open. */
export function ConfirmByName({ action, kind, name, consequence, onConfirm, onClose }: ConfirmByNameProps): ReactNode {
  const [typed, setTyped] = useState('');
  const confirm = useMutation({ mutationFn: onConfirm, onSuccess: onClose });
  const isConfirmed = typed.trim() === name;
  const run = (): void => {
    if (isConfirmed && !confirm.isPending) confirm.mutate();
  };
  return (
    <Modal
      visible
      onDismiss={onClose}
      closeAriaLabel="Close"
      header={`${action} ${kind} ${name}?`}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              Keep
            </Button>
            <Button variant="primary" disabled={!isConfirmed} loading={confirm.isPending} onClick={run}>
              {action}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <Alert type="warning">{consequence}</Alert>
        <FormField label={`To confirm, type ${name}`}>
          <Input
            autoFocus
            value={typed}
            onChange={({ detail }) => setTyped(detail.value)}
            onKeyDown={({ detail }) => detail.key === 'Enter' && run()}
          />
        </FormField>
        {confirm.isError && <Failure error={confirm.error} what={`${action} failed`} />}
      </SpaceBetween>
    </Modal>
  );
}
