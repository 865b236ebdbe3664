import DatePicker from '@cloudscape-design/components/date-picker';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import RadioGroup from '@cloudscape-design/components/radio-group';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { fieldError, FormModal } from '../shared/FormModal.js';
import { useAction } from '../shared/useAction.js';
import type { Grant } from './GrantDetails.js';

type Extent = 'bucket' | 'connection' | 'folder';

export interface ShareDialogProps {
  storageId: string;
  /** The S3 address of the storage connection. */
  uri: string;
  /** The folder to begin with, as a path below `uri` or an S3 address; can be empty. */
  folder: string;
  /** Whether the reader may share more than the folder of the storage connection. */
  mayShareBucket: boolean;
  onDone: (grant: Grant) => void;
  /** A grant that AWS rejected is in the list too. */
  onFailed: () => void;
  onClose: () => void;
}

/** The end of a day in the reader's time zone. @param date such as 2026-01-31 */
const endOfDay = (date: string): string => new Date(`${date}T23:59:59`).toISOString();

/**
 * The folder that a person means, below the storage connection: people paste what the Data Explorer copies.
 * @param uri of the storage connection
 * @returns undefined for an S3 address that is not below it
 */
function folderBelow(uri: string, text: string): string | undefined {
  const given = text.trim();
  if (!/^s3:\/\//i.test(given)) return given;
  const root = `${uri.replace(/\/+$/, '')}/`;
  return given.startsWith(root) && given !== root ? given.slice(root.length) : undefined;
}

/** Lets a role, a user or an account read the bucket or a part of it. */
export function ShareDialog({
  storageId,
  uri,
  folder: given,
  mayShareBucket,
  onDone,
  onFailed,
  onClose,
}: ShareDialogProps): ReactNode {
  const [, bucket = '', folder = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(uri) ?? [];
  const [principal, setPrincipal] = useState('');
  const [description, setDescription] = useState('');
  const [extent, setExtent] = useState<Extent>('folder');
  const [prefix, setPrefix] = useState(given);
  const [expires, setExpires] = useState('');
  const below = folderBelow(uri, prefix);
  const share = useAction(async () => {
    const answer = ask(
      api.POST('/v1/storage-connections/{id}/access-grants', {
        params: { path: { id: storageId } },
        body: {
          principal: principal.trim(),
          ...(description !== '' && { description }),
          ...(extent !== 'bucket' && { prefix: extent === 'folder' ? below : '' }),
          ...(expires !== '' && { timeExpires: endOfDay(expires) }),
        },
      }),
    );
    answer.catch(onFailed);
    onDone((await answer).accessGrant);
  });
  const prefixError = below === undefined && uri !== '' ? `must be below ${uri}` : fieldError(share.error, 'prefix');
  const isIncomplete = principal.trim() === '' || (extent === 'folder' && (below ?? '') === '');
  return (
    <FormModal
      title="Share data"
      submit="Share"
      size="large"
      action={share}
      onSubmit={() => void share.run()}
      onClose={onClose}
      fields={['principal', 'description', 'prefix', 'timeExpires']}
      isDisabled={isIncomplete}
    >
      <FormField
        label="Principal"
        description={
          'The ARN of a role or user, such as arn:aws:iam::111122223333:role/Analysis, ' +
          'or the 12 digits of an account for everybody whom that account allows.'
        }
        errorText={fieldError(share.error, 'principal')}
      >
        <Input autoFocus value={principal} onChange={({ detail }) => setPrincipal(detail.value)} />
      </FormField>
      <FormField
        label={
          <>
            Description <i>- optional</i>
          </>
        }
        description="Who uses it, and for what."
        errorText={fieldError(share.error, 'description')}
      >
        <Input value={description} onChange={({ detail }) => setDescription(detail.value)} />
      </FormField>
      <FormField label="May read" errorText={extent === 'folder' ? undefined : fieldError(share.error, 'prefix')}>
        <RadioGroup
          value={extent}
          onChange={({ detail }) => setExtent(detail.value as Extent)}
          items={[
            {
              value: 'folder',
              label: 'One folder',
              description: 'Such as that of a run or of the results of an execution',
            },
            ...(folder === ''
              ? []
              : [{ value: 'connection', label: 'The folder of the storage connection', description: uri }]),
            ...(mayShareBucket || folder === ''
              ? [{ value: 'bucket', label: 'The whole bucket', description: `s3://${bucket}` }]
              : []),
          ]}
        />
      </FormField>
      {extent === 'folder' && (
        <FormField
          label="Folder"
          description={`Below ${uri}, such as AV240001/20260115_AV240001_RUN/, or its S3 address`}
          errorText={prefixError}
        >
          <Input value={prefix} onChange={({ detail }) => setPrefix(detail.value)} />
        </FormField>
      )}
      <FormField
        label={
          <>
            Expires at the end of <i>- optional</i>
          </>
        }
        description="Your time zone. Empty: never."
        constraintText="Format: YYYY/MM/DD"
        errorText={fieldError(share.error, 'timeExpires')}
      >
        <DatePicker
          value={expires}
          onChange={({ detail }) => setExpires(detail.value)}
          isDateEnabled={(date) => date.getTime() > Date.now() - 86_400_000}
          placeholder="YYYY/MM/DD"
          openCalendarAriaLabel={(date) => `Choose the date${date === null ? '' : `, now ${date}`}`}
          i18nStrings={{
            todayAriaLabel: 'Today',
            nextMonthAriaLabel: 'Next month',
            previousMonthAriaLabel: 'Previous month',
          }}
        />
      </FormField>
    </FormModal>
  );
}
