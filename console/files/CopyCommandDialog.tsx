import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Modal from '@cloudscape-design/components/modal';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Tabs from '@cloudscape-design/components/tabs';
import { type ReactNode, useState } from 'react';
import { CopyableCode } from '../shared/Copyable.js';
import { fieldError, FormModal } from '../shared/FormModal.js';
import { Time } from '../shared/Time.js';
import { useAction } from '../shared/useAction.js';
import { folderOf } from './paths.js';
import { commandForPowerShell, commandForShell } from './shell.js';
import { askCredentials, type FileSource, type S3Credentials } from './source.js';
import { TAB_TEXTS } from '../shared/tabs.js';

const LIFETIMES = [
  { value: '3600', label: '1 hour' },
  { value: '14400', label: '4 hours' },
  { value: '43200', label: '12 hours' },
];

export interface CopyCommandDialogProps {
  source: FileSource;
  /** A folder with a slash at its end or nothing, or a file. */
  path: string;
  onClose: () => void;
}

/** Gives a command that copies a folder or a file to the reader's computer, with credentials in it. */
export function CopyCommandDialog({ source, path, onClose }: CopyCommandDialogProps): ReactNode {
  const isFolder = path === '' || path.endsWith('/');
  // The credentials of a file are those of its folder.
  const folder = isFolder ? path : folderOf(path);
  const [lifetime, setLifetime] = useState(LIFETIMES[0]!);
  const [credentials, setCredentials] = useState<S3Credentials>();
  const ask = useAction(async () => setCredentials(await askCredentials(source, folder, Number(lifetime.value))));
  if (credentials === undefined)
    return (
      <FormModal
        title="Copy with the AWS command line"
        submit="Create credentials"
        action={ask}
        onSubmit={() => void ask.run()}
        onClose={onClose}
        fields={['expirationSeconds']}
      >
        <p>
          polony asks AWS for credentials that can list and read the objects below{' '}
          <b>{folder === '' ? 'the uppermost folder' : folder}</b> and nothing else, and gives you a command with them.
          The audit log records it. polony cannot revoke them, so choose no more time than you need.
        </p>
        <FormField label="Valid for" errorText={fieldError(ask.error, 'expirationSeconds')}>
          <Select
            selectedOption={lifetime}
            options={LIFETIMES}
            onChange={({ detail }) => setLifetime(detail.selectedOption as (typeof LIFETIMES)[number])}
          />
        </FormField>
      </FormModal>
    );
  const { bucket, prefix, expiration } = credentials;
  const base = `s3://${bucket}/${prefix ?? ''}`;
  const command = { from: isFolder ? base : base + path.slice(folder.length), isFolder, credentials };
  return (
    <Modal
      visible
      size="large"
      header="Copy with the AWS command line"
      closeAriaLabel="Close"
      onDismiss={onClose}
      footer={
        <Box float="right">
          <Button variant="primary" onClick={onClose}>
            Close
          </Button>
        </Box>
      }
    >
      <SpaceBetween size="m">
        <Alert type="warning">
          Whoever has this command can read everything below {base} until <Time value={expiration} />. The page forgets
          it when you close this dialog.
        </Alert>
        <Tabs
          ariaLabel="System"
          i18nStrings={TAB_TEXTS}
          tabs={[
            {
              id: 'shell',
              label: 'Linux, macOS',
              content: <CopyableCode name="the command" text={commandForShell(command)} />,
            },
            {
              id: 'powershell',
              label: 'Windows PowerShell',
              content: <CopyableCode name="the command for PowerShell" text={commandForPowerShell(command)} />,
            },
          ]}
        />
      </SpaceBetween>
    </Modal>
  );
}
