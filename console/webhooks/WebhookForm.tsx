import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import Multiselect from '@cloudscape-design/components/multiselect';
import Toggle from '@cloudscape-design/components/toggle';
import { type ReactNode, useState } from 'react';
import { api, ask, type Schema } from '../app/client.js';
import { fieldError, FormModal } from '../shared/FormModal.js';
import { SecretOnce } from '../shared/SecretOnce.js';
import { useAction } from '../shared/useAction.js';
import { EVENT_GROUPS } from './events.js';

export type Webhook = Schema<'Webhook'>;

export interface WebhookFormProps {
  /** What to change; undefined for a new one. */
  webhook?: Webhook;
  onDone: (webhook: Webhook) => void;
  onClose: () => void;
}

/** Shows the secret that signs the events of a webhook. */
export function SigningSecret({ secret, onClose }: { secret: string; onClose: () => void }): ReactNode {
  return (
    <SecretOnce title="Signing secret" name="the signing secret" secret={secret} onClose={onClose}>
      The receiver checks the header webhook-signature with it (Standard Webhooks), so that it knows that an event is
      from polony.
    </SecretOnce>
  );
}

/** Creates a webhook and shows its secret once, or changes one. */
export function WebhookForm({ webhook, onDone, onClose }: WebhookFormProps): ReactNode {
  const [url, setUrl] = useState(webhook?.url ?? '');
  const [description, setDescription] = useState(webhook?.description ?? '');
  const [eventTypes, setEventTypes] = useState<readonly string[]>(webhook?.eventTypes ?? []);
  const [isEnabled, setEnabled] = useState(webhook?.enabled ?? true);
  const [secret, setSecret] = useState<string>();
  const save = useAction(async () => {
    const body = { url: url.trim(), description, eventTypes: [...eventTypes], enabled: isEnabled };
    if (webhook !== undefined) {
      const changed = await ask(api.PATCH('/v1/webhooks/{id}', { params: { path: { id: webhook.id } }, body }));
      onDone(changed.webhook);
      onClose();
      return;
    }
    const created = await ask(api.POST('/v1/webhooks', { body }));
    if (created.secret === null) onClose();
    else setSecret(created.secret);
    onDone(created.webhook);
  });
  if (secret !== undefined) return <SigningSecret secret={secret} onClose={onClose} />;
  return (
    <FormModal
      title={webhook === undefined ? 'Create a webhook' : 'Change the webhook'}
      submit={webhook === undefined ? 'Create' : 'Save'}
      action={save}
      onSubmit={() => void save.run()}
      onClose={onClose}
      fields={['url', 'description', 'eventTypes']}
      isDisabled={url.trim() === ''}
    >
      <FormField
        label="URL"
        description="polony sends events there, as POST requests with JSON. It begins with https://"
        errorText={fieldError(save.error, 'url')}
      >
        <Input autoFocus type="url" inputMode="url" value={url} onChange={({ detail }) => setUrl(detail.value)} />
      </FormField>
      <FormField
        label={
          <>
            Description <i>- optional</i>
          </>
        }
        errorText={fieldError(save.error, 'description')}
      >
        <Input value={description} onChange={({ detail }) => setDescription(detail.value)} />
      </FormField>
      <FormField
        label="Events"
        description="Choose none to get all, also those of later versions."
        errorText={fieldError(save.error, 'eventTypes')}
      >
        <Multiselect
          expandToViewport
          filteringType="auto"
          placeholder={eventTypes.length === 0 ? 'All events' : `${eventTypes.length} kinds of events`}
          filteringAriaLabel="Find events"
          selectedOptions={eventTypes.map((value) => ({ value, label: value }))}
          options={EVENT_GROUPS.map(({ label, events }) => ({
            label,
            options: events.map((value) => ({ value, label: value })),
          }))}
          deselectAriaLabel={({ label }) => `Remove ${label ?? ''}`}
          i18nStrings={{ tokenLimitShowMore: 'Show more', tokenLimitShowFewer: 'Show fewer' }}
          onChange={({ detail }) => setEventTypes(detail.selectedOptions.map(({ value = '' }) => value))}
        />
      </FormField>
      <Toggle checked={isEnabled} onChange={({ detail }) => setEnabled(detail.checked)}>
        Send events
      </Toggle>
    </FormModal>
  );
}
