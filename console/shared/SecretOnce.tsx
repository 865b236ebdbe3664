import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Checkbox from '@cloudscape-design/components/checkbox';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { type ReactNode, useState } from 'react';
import { CopyableCode } from './Copyable.js';

export interface SecretOnceProps {
  title: string;
  /** What it is, such as "the API key". */
  name: string;
  secret: string;
  children?: ReactNode;
  onClose: () => void;
}

/**
 * Shows a secret that polony shows only once. It is in the memory of the page until the dialog closes, and nowhere else.
 */
export function SecretOnce({ title, name, secret, children, onClose }: SecretOnceProps): ReactNode {
  const [isStored, setStored] = useState(false);
  return (
    <Modal
      visible
      size="large"
      header={title}
      closeAriaLabel="Close"
      // A click beside the dialog or the key Esc must not lose the secret.
      onDismiss={({ detail }) => (detail.reason === 'closeButton' || isStored) && onClose()}
      footer={
        <Box float="right">
          <Button variant="primary" disabled={!isStored} onClick={onClose}>
            Close
          </Button>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <Alert type="warning">Store {name} now, for example in a password manager. polony cannot show it again.</Alert>
        <CopyableCode text={secret} name={name} />
        {children}
        <Checkbox checked={isStored} onChange={({ detail }) => setStored(detail.checked)}>
          I have stored {name}
        </Checkbox>
      </SpaceBetween>
    </Modal>
  );
}
