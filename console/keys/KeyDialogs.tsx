import Alert from '@cloudscape-design/components/alert';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { type ReactNode, useState } from 'react';
import { api, ApiFailure, ask, type Schema } from '../app/client.js';
import { fieldError, FormModal } from '../shared/FormModal.js';
import { SecretOnce } from '../shared/SecretOnce.js';
import { useAction } from '../shared/useAction.js';
import { ScopesField, type ScopesValue, writeScopes } from './ScopesField.js';

type ApiKey = Schema<'ApiKey'>;

interface DialogProps {
  onDone: () => void;
  onClose: () => void;
}

const SECRET_NAME = 'the API key';

/** Creates a key, and shows it once. */
export function CreateKeyDialog({ onDone, onClose }: DialogProps): ReactNode {
  const [name, setName] = useState('');
  const [days, setDays] = useState('30');
  const [scopes, setScopes] = useState<ScopesValue>([]);
  const [secret, setSecret] = useState<{ key: string; name: string }>();
  const written = writeScopes(scopes);
  const create = useAction(async () => {
    const { key, apiKey } = await ask(
      api.POST('/v1/api-keys', {
        body: { name, scopes: written, ...(days !== '' && { expiresInDays: Number(days) }) },
      }),
    );
    setSecret({ key, name: apiKey.name });
    onDone();
  });
  if (secret !== undefined)
    return (
      <SecretOnce title={`API key ${secret.name}`} name={SECRET_NAME} secret={secret.key} onClose={onClose}>
        <span>
          Programs send it in the header x-api-key, or with <code>POLONY_API_KEY</code> for the command line.
        </span>
      </SecretOnce>
    );
  return (
    <FormModal
      title="Create an API key"
      submit="Create"
      size="large"
      action={create}
      onSubmit={() => void create.run()}
      onClose={onClose}
      fields={['name', 'expiresInDays', 'scopes']}
      isDisabled={name.trim() === '' || written.length === 0}
    >
      <FormField
        label="Name"
        description="Who or what uses it. The audit log shows it."
        errorText={fieldError(create.error, 'name')}
      >
        <Input autoFocus value={name} onChange={({ detail }) => setName(detail.value)} />
      </FormField>
      <FormField
        label="Days"
        description="How long the key works, from 1 to 365 days. Made with another key, it lasts no longer than that one."
        errorText={fieldError(create.error, 'expiresInDays')}
      >
        <Input type="number" inputMode="numeric" value={days} onChange={({ detail }) => setDays(detail.value)} />
      </FormField>
      <ScopesField
        value={scopes}
        onChange={(value) => {
          setScopes(value);
          create.clearError();
        }}
        errorOf={(at) => fieldError(create.error, `scopes.${at}`)}
        error={hasScopeErrors(create.error) ? undefined : fieldError(create.error, 'scopes')}
      />
    </FormModal>
  );
}

/** Whether errors are shown beside single scopes. */
const hasScopeErrors = (error: unknown): boolean =>
  error instanceof ApiFailure && Object.keys(error.fields).some((field) => /^scopes\.\d+$/.test(field));

/** Replaces a key by a new one with the same name and scopes, and shows that once. */
export function RotateKeyDialog({ apiKey, onDone, onClose }: DialogProps & { apiKey: ApiKey }): ReactNode {
  const [hours, setHours] = useState('24');
  const [days, setDays] = useState('');
  const [made, setMade] = useState<{ key: string; warnings: readonly string[] }>();
  const rotate = useAction(async () => {
    const { key, warnings } = await ask(
      api.POST('/v1/api-keys/{id}/rotate', {
        params: { path: { id: apiKey.id } },
        body: {
          ...(hours !== '' && { graceHours: Number(hours) }),
          ...(days !== '' && { expiresInDays: Number(days) }),
        },
      }),
    );
    setMade({ key, warnings });
    onDone();
  });
  if (made !== undefined)
    return (
      <SecretOnce title={`New API key ${apiKey.name}`} name={SECRET_NAME} secret={made.key} onClose={onClose}>
        {made.warnings.length > 0 && (
          <Alert type="info">
            {made.warnings.map((each) => (
              <div key={each}>{each}</div>
            ))}
          </Alert>
        )}
      </SecretOnce>
    );
  return (
    <FormModal
      title={`Rotate ${apiKey.name}`}
      submit="Rotate"
      action={rotate}
      onSubmit={() => void rotate.run()}
      onClose={onClose}
      fields={['graceHours', 'expiresInDays']}
    >
      <SpaceBetween size="m">
        <span>You get a new key with the same name and scopes. Give it to the program before the old one ends.</span>
        <FormField
          label="Hours that the old key still works"
          description="From 0, which ends it at once, to 720."
          errorText={fieldError(rotate.error, 'graceHours')}
        >
          <Input type="number" inputMode="numeric" value={hours} onChange={({ detail }) => setHours(detail.value)} />
        </FormField>
        <FormField
          label={
            <>
              Days that the new key works <i>- optional</i>
            </>
          }
          description="From 1 to 365. Empty: as many as the old key was made for."
          errorText={fieldError(rotate.error, 'expiresInDays')}
        >
          <Input type="number" inputMode="numeric" value={days} onChange={({ detail }) => setDays(detail.value)} />
        </FormField>
      </SpaceBetween>
    </FormModal>
  );
}
