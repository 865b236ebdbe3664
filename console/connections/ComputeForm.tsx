import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { changedFields, ConnectionField, FormFrame, RegionField, TextField, useSave } from './form.js';
import type { ComputeConnection } from './kinds.js';
import { HEALTHOMICS_REGIONS } from './regions.js';

interface ComputeBody {
  name: string;
  providerId: string;
  executionRoleArn: string;
  region: string;
}

export interface ComputeFormProps {
  compute?: ComputeConnection;
  initial?: Partial<ComputeBody>;
  /** Where the provider was chosen before. */
  hasFixedProvider?: boolean;
  onSaved: (compute: ComputeConnection) => void;
  onCancel?: () => void;
}

async function save(body: ComputeBody, key: string, compute: ComputeConnection | undefined) {
  if (compute === undefined) {
    const headers = { 'idempotency-key': key };
    return (await ask(api.POST('/v1/compute-connections', { params: { header: headers }, body }))).computeConnection;
  }
  const changes = changedFields(body, compute);
  if (Object.keys(changes).length === 0) return compute;
  const params = { path: { id: compute.id } };
  return (await ask(api.PATCH('/v1/compute-connections/{id}', { params, body: changes }))).computeConnection;
}

/** Connects AWS HealthOmics, or changes the connection. */
export function ComputeForm(props: ComputeFormProps): ReactNode {
  const { compute, initial, hasFixedProvider, onSaved, onCancel } = props;
  const [values, setValues] = useState<ComputeBody>(
    compute ?? { name: '', providerId: '', executionRoleArn: '', region: '', ...initial },
  );
  const set = (change: Partial<ComputeBody>): void => setValues({ ...values, ...change });
  const saving = useSave((body: ComputeBody, key) => save(body, key, compute), onSaved);
  const isNew = compute === undefined;
  const submit = (): void =>
    saving.mutate({
      name: values.name.trim(),
      providerId: hasFixedProvider === true ? (initial?.providerId ?? '') : values.providerId,
      executionRoleArn: values.executionRoleArn.trim(),
      region: values.region.trim(),
    });
  return (
    <FormFrame
      submit={isNew ? 'Connect HealthOmics' : 'Save'}
      what={isNew ? 'The compute connection was not created' : 'The compute connection was not changed'}
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
          description="The AWS account in which flows run."
          value={values.providerId}
          onChange={(providerId) => set({ providerId })}
        />
      )}
      <TextField
        field="name"
        label="Name"
        description="A unique name."
        value={values.name}
        onChange={(name) => set({ name })}
        placeholder="healthomics"
      />
      <TextField
        field="executionRoleArn"
        label="Execution role ARN"
        description={
          'A role of the same account that trusts omics.amazonaws.com. HealthOmics reads and writes the bucket with it. ' +
          "It is not the provider's role."
        }
        value={values.executionRoleArn}
        onChange={(executionRoleArn) => set({ executionRoleArn })}
        placeholder="arn:aws:iam::111122223333:role/Element-HealthOmics-Execution"
      />
      <RegionField
        field="region"
        label="Region"
        description="A region of HealthOmics. The bucket and the shared workflow must be in the same one."
        value={values.region}
        onChange={(region) => set({ region })}
        regions={HEALTHOMICS_REGIONS}
      />
    </FormFrame>
  );
}
