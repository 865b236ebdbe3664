import Checkbox from '@cloudscape-design/components/checkbox';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Input from '@cloudscape-design/components/input';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { changedFields, ConnectionField, Field, FormFrame, RegionField, TextField, useSave } from './form.js';
import { joinStorage, type Storage } from './kinds.js';

interface StorageBody {
  name: string;
  providerId: string;
  region: string;
  bucket: string;
  prefix: string;
  useForRunUpload: boolean;
  useForDataExploration: boolean;
  allowPolicyProbe: boolean;
  runDepth: number;
}

export interface StorageFormProps {
  storage?: Storage;
  initial?: Partial<StorageBody>;
  /** Where the provider was chosen before. */
  hasFixedProvider?: boolean;
  onSaved: (storage: Storage) => void;
  onCancel?: () => void;
}

async function save(body: StorageBody, key: string, storage: Storage | undefined): Promise<Storage> {
  if (storage === undefined) {
    const headers = { 'idempotency-key': key };
    return joinStorage(await ask(api.POST('/v1/storage-connections', { params: { header: headers }, body })));
  }
  const changes = changedFields(body, storage);
  if (Object.keys(changes).length === 0) return storage;
  return joinStorage(
    await ask(api.PATCH('/v1/storage-connections/{id}', { params: { path: { id: storage.id } }, body: changes })),
  );
}

/** Connects a bucket, or changes how it is used. */
export function StorageForm(props: StorageFormProps): ReactNode {
  const { storage, initial, hasFixedProvider, onSaved, onCancel } = props;
  const start: StorageBody = {
    name: '',
    providerId: '',
    region: '',
    bucket: '',
    prefix: '',
    useForRunUpload: true,
    useForDataExploration: true,
    allowPolicyProbe: false,
    runDepth: 0,
    ...initial,
  };
  const [values, setValues] = useState<StorageBody>(storage ?? start);
  const [runDepth, setRunDepth] = useState(String((storage ?? start).runDepth));
  const set = (change: Partial<StorageBody>): void => setValues({ ...values, ...change });
  const saving = useSave((body: StorageBody, key) => save(body, key, storage), onSaved);
  const isNew = storage === undefined;
  const submit = (): void =>
    saving.mutate({
      name: values.name.trim(),
      providerId: hasFixedProvider === true ? (initial?.providerId ?? '') : values.providerId,
      region: values.region.trim(),
      bucket: values.bucket.trim(),
      prefix: values.prefix.trim(),
      useForRunUpload: values.useForRunUpload,
      useForDataExploration: values.useForDataExploration,
      allowPolicyProbe: values.allowPolicyProbe,
      runDepth: Number(runDepth),
    });
  return (
    <FormFrame
      submit={isNew ? 'Connect the bucket' : 'Save'}
      what={isNew ? 'The storage connection was not created' : 'The storage connection was not changed'}
      error={saving.error}
      isSaving={saving.isPending}
      onSubmit={submit}
      onCancel={onCancel}
    >
      {hasFixedProvider !== true && (
        <ConnectionField
          field="providerId"
          kind="provider"
          label="Provider"
          description="The AWS account of the bucket."
          value={values.providerId}
          onChange={(providerId) => set({ providerId })}
        />
      )}
      <TextField
        field="name"
        label="Name"
        description="A unique name, which also the instruments show."
        value={values.name}
        onChange={(name) => set({ name })}
        placeholder="aviti-runs"
      />
      <RegionField
        field="region"
        label="Region"
        description="The region of the bucket. To use HealthOmics, it must be a region of HealthOmics."
        value={values.region}
        onChange={(region) => set({ region })}
      />
      <TextField
        field="bucket"
        label="Bucket"
        description="Only its name, without s3://"
        value={values.bucket}
        onChange={(bucket) => set({ bucket })}
        placeholder="lab-aviti"
      />
      <TextField
        field="prefix"
        label={
          <>
            Prefix <i>- optional</i>
          </>
        }
        description="The folder that holds run data. Without it, polony uses the whole bucket."
        value={values.prefix}
        onChange={(prefix) => set({ prefix })}
        placeholder="runs"
      />
      <Field field="useForRunUpload">
        <Checkbox
          checked={values.useForRunUpload}
          onChange={({ detail }) => set({ useForRunUpload: detail.checked })}
          description="Instruments upload runs to this bucket, and polony searches it for them."
        >
          Use for run upload
        </Checkbox>
      </Field>
      <Field field="useForDataExploration">
        <Checkbox
          checked={values.useForDataExploration}
          onChange={({ detail }) => set({ useForDataExploration: detail.checked })}
          description="People can list and download files. While it is off, polony shows no file of the bucket."
        >
          Use for data exploration
        </Checkbox>
      </Field>
      <ExpandableSection headerText="More settings">
        <SpaceBetween size="l">
          <Field
            field="runDepth"
            label="Folders above the instruments"
            description="How many folders lie between the prefix and the folders of the instruments: 0 to 5."
          >
            <Input
              type="number"
              inputMode="numeric"
              value={runDepth}
              onChange={({ detail }) => setRunDepth(detail.value)}
            />
          </Field>
          <Field field="allowPolicyProbe">
            <Checkbox
              checked={values.allowPolicyProbe}
              onChange={({ detail }) => set({ allowPolicyProbe: detail.checked })}
              description={
                'A verification may write the bucket policy back unchanged, to learn whether polony may share data.'
              }
            >
              Test the permission to change the bucket policy
            </Checkbox>
          </Field>
        </SpaceBetween>
      </ExpandableSection>
    </FormFrame>
  );
}
