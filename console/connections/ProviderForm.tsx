import Button from '@cloudscape-design/components/button';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Tiles from '@cloudscape-design/components/tiles';
import { useMutation } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { DraftReport } from '../verification/DraftReport.js';
import { changedFields, Field, FormFrame, RegionField, TextField, useSave } from './form.js';
import type { Provider } from './kinds.js';

export type CredentialType = 'role' | 'accessKeys';

interface ProviderBody {
  name: string;
  defaultRegion: string;
  credentialType: CredentialType;
  roleArn?: string;
  externalId?: string;
  accessKeyId?: string;
  secretAccessKey?: string;
}

export interface ProviderFormProps {
  /** What is changed; absent for a new provider. */
  provider?: Provider;
  /** What a new provider begins with. */
  initial?: Partial<ProviderBody>;
  /** Where the credential type was chosen before. */
  hasFixedType?: boolean;
  onSaved: (provider: Provider) => void;
  onCancel?: () => void;
  /** Called with the external ID that polony made for a role that has none yet. */
  onExternalId?: (externalId: string) => void;
}

const given = (name: keyof ProviderBody, text: string): Partial<ProviderBody> =>
  text.trim() === '' ? {} : { [name]: text.trim() };

async function save(body: ProviderBody, key: string, provider: Provider | undefined): Promise<Provider> {
  if (provider === undefined) {
    const headers = { 'idempotency-key': key };
    return (await ask(api.POST('/v1/providers', { params: { header: headers }, body }))).provider;
  }
  const before: Partial<ProviderBody> = {
    name: provider.name,
    defaultRegion: provider.defaultRegion,
    credentialType: provider.credentialType,
    ...(provider.roleArn !== null && { roleArn: provider.roleArn }),
    ...(provider.externalId !== null && { externalId: provider.externalId }),
    // A new secret needs the ID of its key, also where the ID stays.
    ...(provider.accessKeyId !== null && body.secretAccessKey === undefined && { accessKeyId: provider.accessKeyId }),
  };
  const changes = changedFields(body, before);
  if (Object.keys(changes).length === 0) return provider;
  return (await ask(api.PATCH('/v1/providers/{id}', { params: { path: { id: provider.id } }, body: changes })))
    .provider;
}

/** Connects an AWS account, or changes how polony enters it. The secret access key is only written. */
export function ProviderForm(props: ProviderFormProps): ReactNode {
  const { provider, initial, hasFixedType, onSaved, onCancel, onExternalId } = props;
  const [name, setName] = useState(provider?.name ?? initial?.name ?? '');
  const [defaultRegion, setRegion] = useState(provider?.defaultRegion ?? initial?.defaultRegion ?? '');
  const [chosenType, setType] = useState<CredentialType>(provider?.credentialType ?? 'role');
  const [roleArn, setRoleArn] = useState(provider?.roleArn ?? initial?.roleArn ?? '');
  const [typedExternalId, setExternalId] = useState(provider?.externalId ?? undefined);
  const [accessKeyId, setAccessKeyId] = useState(provider?.accessKeyId ?? '');
  const [secretAccessKey, setSecret] = useState('');
  const credentialType = hasFixedType === true ? (initial?.credentialType ?? 'role') : chosenType;
  const externalId = typedExternalId ?? initial?.externalId ?? '';
  const body: ProviderBody = {
    name: name.trim(),
    defaultRegion: defaultRegion.trim(),
    credentialType,
    ...(credentialType === 'role'
      ? { ...given('roleArn', roleArn), ...given('externalId', externalId) }
      : { ...given('accessKeyId', accessKeyId), ...given('secretAccessKey', secretAccessKey) }),
  };
  const saving = useSave((values: ProviderBody, key) => save(values, key, provider), onSaved);
  const drafting = useMutation({
    mutationFn: () => ask(api.POST('/v1/providers/verify-draft', { body })),
    gcTime: 0,
    onSuccess: ({ externalId: tried }) => {
      if (tried === null || externalId !== '') return;
      setExternalId(tried);
      onExternalId?.(tried);
    },
  });
  const isNew = provider === undefined;
  const changed = (): void => {
    saving.reset();
    drafting.reset();
  };
  return (
    <FormFrame
      submit={isNew ? 'Connect the account' : 'Save'}
      what={isNew ? 'The provider was not created' : 'The provider was not changed'}
      error={saving.error ?? drafting.error}
      isSaving={saving.isPending}
      onSubmit={() => saving.mutate(body)}
      onCancel={onCancel}
      actions={
        isNew && (
          <Button formAction="none" loading={drafting.isPending} onClick={() => drafting.mutate()}>
            Test before saving
          </Button>
        )
      }
    >
      <TextField
        field="name"
        label="Name"
        description="How the people of your lab call the account. The name is unique."
        value={name}
        onChange={setName}
        placeholder="sequencing-account"
      />
      <RegionField
        field="defaultRegion"
        label="Default region"
        description="Where polony asks AWS for sessions: usually the region of the buckets."
        value={defaultRegion}
        onChange={setRegion}
      />
      {hasFixedType !== true && (
        <Field field="credentialType" label="Credential type" stretch>
          <CredentialTypes value={credentialType} onChange={setType} />
        </Field>
      )}
      {credentialType === 'role' ? (
        <SpaceBetween size="l">
          <TextField
            field="roleArn"
            label="Role ARN"
            description="The role that polony assumes. Its trust policy names the account of polony and the external ID."
            value={roleArn}
            onChange={(value) => (setRoleArn(value), changed())}
            placeholder="arn:aws:iam::111122223333:role/Element-ServiceUser"
          />
          <TextField
            field="externalId"
            label="External ID"
            description={
              isNew
                ? 'As in the trust policy of the role. Leave it empty, and polony makes one that nobody can guess.'
                : 'As in the trust policy of the role.'
            }
            constraint="2 to 1,224 letters, digits and @:,=-./_"
            value={externalId}
            onChange={(value) => (setExternalId(value), changed())}
          />
        </SpaceBetween>
      ) : (
        <SpaceBetween size="l">
          <TextField
            field="accessKeyId"
            label="Access key ID"
            description="Of an IAM user. It begins with AKIA."
            value={accessKeyId}
            onChange={(value) => (setAccessKeyId(value), changed())}
            placeholder="AKIAIOSFODNN7EXAMPLE"
          />
          <TextField
            field="secretAccessKey"
            type="password"
            label="Secret access key"
            description={
              isNew || provider.credentialType === 'role'
                ? 'polony encrypts it and never shows it again.'
                : 'Leave it empty to keep the present one. For a new key, give its ID and its secret.'
            }
            value={secretAccessKey}
            onChange={(value) => (setSecret(value), changed())}
          />
        </SpaceBetween>
      )}
      {drafting.data !== undefined && <DraftReport report={drafting.data.verification} />}
    </FormFrame>
  );
}

/** The two ways into an account. */
export function CredentialTypes({
  value,
  onChange,
}: {
  value: CredentialType;
  onChange: (value: CredentialType) => void;
}): ReactNode {
  return (
    <Tiles
      value={value}
      onChange={({ detail }) => onChange(detail.value as CredentialType)}
      columns={2}
      items={[
        {
          value: 'role',
          label: 'Role with an external ID (recommended)',
          description: 'polony assumes a role of your account. It keeps nothing secret.',
        },
        {
          value: 'accessKeys',
          label: 'Access keys of a user',
          description: 'For accounts that cannot trust the account of polony. Rotate the keys regularly.',
        },
      ]}
    />
  );
}
