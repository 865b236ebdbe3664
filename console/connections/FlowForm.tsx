import AttributeEditor from '@cloudscape-design/components/attribute-editor';
import Checkbox from '@cloudscape-design/components/checkbox';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Input from '@cloudscape-design/components/input';
import Multiselect from '@cloudscape-design/components/multiselect';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Textarea from '@cloudscape-design/components/textarea';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { changedFields, ConnectionField, Field, type FieldErrors, FormFrame, TextField, useSave } from './form.js';
import { formatLines, parseLines, parseParameters } from './flowText.js';
import type { Flow } from './kinds.js';
import { useChoices } from './queries.js';

type RunSettings = Flow['runSettings'];
type Body = Pick<
  Flow,
  | 'name'
  | 'computeConnectionId'
  | 'sharedWorkflowId'
  | 'autoStart'
  | 'parameterNames'
  | 'parameters'
  | 'runSettings'
  | 'acceptFailedOutcome'
  | 'acceptStoppedOutcome'
  | 'acceptUnverified'
> & { workflowOwnerId?: string };

export interface FlowFormProps {
  flow?: Flow;
  initial?: {
    computeConnectionId?: string;
    sharedWorkflowId?: string;
    workflowOwnerId?: string;
    storageConnectionIds?: string[];
    name?: string;
  };
  /** Where the compute connection was chosen before. */
  hasFixedCompute?: boolean;
  onSaved: (flow: Flow) => void;
  onCancel?: () => void;
}

interface Values {
  name: string;
  computeConnectionId: string;
  sharedWorkflowId: string;
  workflowOwnerId: string;
  storageConnectionIds: string[];
  instruments: string;
  runNames: string;
  parameters: string;
  parameterNames: Record<ParameterName, string>;
  settings: Record<SettingName, string>;
  tags: { key: string; value: string }[];
  acceptFailedOutcome: boolean;
  acceptStoppedOutcome: boolean;
  acceptUnverified: boolean;
}

const PARAMETER_NAMES = ['runDir', 'runManifest', 'noProjects'] as const;
type ParameterName = (typeof PARAMETER_NAMES)[number];
const PARAMETER_LABELS: Readonly<Record<ParameterName, string>> = {
  runDir: 'Name of the parameter for the run folder',
  runManifest: 'Name of the parameter for the run manifest',
  noProjects: 'Name of the parameter for --no-projects',
};

interface Setting {
  label: string;
  description: string;
  kind: 'text' | 'number' | readonly string[];
}

const SETTINGS = {
  runGroupId: {
    label: 'Run group',
    description: 'ID of a HealthOmics run group, whose limits apply to the runs.',
    kind: 'text',
  },
  priority: {
    label: 'Priority',
    description: '0 to 100,000. Runs of a run group with a higher one start first.',
    kind: 'number',
  },
  retentionMode: {
    label: 'Retention',
    description: 'Whether HealthOmics keeps finished runs (RETAIN), or removes the oldest where there are too many.',
    kind: ['RETAIN', 'REMOVE'],
  },
  storageType: {
    label: 'Storage of the runs',
    description: 'DYNAMIC grows with the run; STATIC has the size below.',
    kind: ['DYNAMIC', 'STATIC'],
  },
  storageCapacity: { label: 'Static storage, GiB', description: 'Only for STATIC.', kind: 'number' },
  cacheId: { label: 'Run cache', description: 'ID of a HealthOmics run cache.', kind: 'text' },
  cacheBehavior: {
    label: 'Use of the run cache',
    description: 'Needs a run cache.',
    kind: ['CACHE_ON_FAILURE', 'CACHE_ALWAYS'],
  },
  logLevel: {
    label: 'Log level',
    description: 'What HealthOmics writes to CloudWatch.',
    kind: ['OFF', 'FATAL', 'ERROR', 'ALL'],
  },
  workflowVersionName: {
    label: 'Version of the workflow',
    description: 'The name of a version of the shared workflow. Without it, HealthOmics uses the default version.',
    kind: 'text',
  },
  manifestErrors: {
    label: 'Errors of a run manifest',
    description: 'block: the execution waits for a person. warn: polony shows them and starts the run.',
    kind: ['block', 'warn'],
  },
  retries: {
    label: 'Retries',
    description: '0 to 5: how often polony restarts a run that failed for a transient reason. The default is 2.',
    kind: 'number',
  },
} as const satisfies Readonly<Record<string, Setting>>;
type SettingName = keyof typeof SETTINGS;
const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[];

const fromEntries = <Name extends string>(names: readonly Name[], valueOf: (name: Name) => string) =>
  Object.fromEntries(names.map((name) => [name, valueOf(name)])) as Record<Name, string>;

function read(flow: Flow | undefined, initial: FlowFormProps['initial']): Values {
  return {
    name: flow?.name ?? initial?.name ?? '',
    computeConnectionId: flow?.computeConnectionId ?? initial?.computeConnectionId ?? '',
    sharedWorkflowId: flow?.sharedWorkflowId ?? initial?.sharedWorkflowId ?? '',
    workflowOwnerId: flow?.workflowOwnerId ?? initial?.workflowOwnerId ?? '',
    storageConnectionIds: flow?.autoStart.storageConnectionIds ?? initial?.storageConnectionIds ?? [],
    instruments: formatLines(flow?.autoStart.instruments),
    runNames: formatLines(flow?.autoStart.runNames),
    parameters: flow === undefined ? '{}' : JSON.stringify(flow.parameters, null, 2),
    parameterNames: fromEntries(PARAMETER_NAMES, (name) => flow?.parameterNames[name] ?? ''),
    settings: fromEntries(SETTING_NAMES, (name) => String(flow?.runSettings[name] ?? '')),
    tags: Object.entries(flow?.runSettings.tags ?? {}).map(([key, value]) => ({ key, value })),
    acceptFailedOutcome: flow?.acceptFailedOutcome ?? false,
    acceptStoppedOutcome: flow?.acceptStoppedOutcome ?? false,
    acceptUnverified: flow?.acceptUnverified ?? true,
  };
}

function settingsOf({ settings, tags }: Values): RunSettings {
  const entries = SETTING_NAMES.flatMap((name) => {
    const text = settings[name].trim();
    return text === '' ? [] : [[name, SETTINGS[name].kind === 'number' ? Number(text) : text]];
  });
  const given = tags.filter(({ key, value }) => key.trim() !== '' || value.trim() !== '');
  return {
    ...(Object.fromEntries(entries) as RunSettings),
    ...(given.length > 0 && { tags: Object.fromEntries(given.map(({ key, value }) => [key.trim(), value.trim()])) }),
  };
}

/** The body of a request. Empty fields are left out. */
function bodyOf(values: Values, parameters: Record<string, unknown>): Body {
  const [instruments, runNames] = [parseLines(values.instruments), parseLines(values.runNames)];
  const owner = values.workflowOwnerId.trim();
  return {
    name: values.name.trim(),
    computeConnectionId: values.computeConnectionId,
    sharedWorkflowId: values.sharedWorkflowId.trim(),
    ...(owner !== '' && { workflowOwnerId: owner }),
    autoStart: {
      storageConnectionIds: values.storageConnectionIds,
      ...(instruments.length > 0 && { instruments }),
      ...(runNames.length > 0 && { runNames }),
    },
    parameterNames: Object.fromEntries(
      Object.entries(values.parameterNames).flatMap(([name, value]) =>
        value.trim() === '' ? [] : [[name, value.trim()]],
      ),
    ),
    parameters,
    runSettings: settingsOf(values),
    acceptFailedOutcome: values.acceptFailedOutcome,
    acceptStoppedOutcome: values.acceptStoppedOutcome,
    acceptUnverified: values.acceptUnverified,
  };
}

async function save(body: Body, key: string, flow: Flow | undefined): Promise<Flow> {
  if (flow === undefined) {
    const headers = { 'idempotency-key': key };
    return (await ask(api.POST('/v1/flows', { params: { header: headers }, body }))).flow;
  }
  const changes = changedFields(body, flow);
  if (Object.keys(changes).length === 0) return flow;
  return (await ask(api.PATCH('/v1/flows/{id}', { params: { path: { id: flow.id } }, body: changes }))).flow;
}

/** Adds a Bases2Fastq flow, or changes it. */
export function FlowForm({ flow, initial, hasFixedCompute, onSaved, onCancel }: FlowFormProps): ReactNode {
  const [values, setValues] = useState(() => read(flow, initial));
  const [errors, setErrors] = useState<FieldErrors>({});
  const set = (change: Partial<Values>): void => setValues({ ...values, ...change });
  const saving = useSave((body: Body, key) => save(body, key, flow), onSaved);
  const isNew = flow === undefined;
  const submit = (): void => {
    const parsed = parseParameters(values.parameters);
    const found: FieldErrors = typeof parsed === 'string' ? { parameters: parsed } : {};
    setErrors(found);
    if (typeof parsed === 'string') return;
    const computeConnectionId =
      hasFixedCompute === true ? (initial?.computeConnectionId ?? '') : values.computeConnectionId;
    saving.mutate(bodyOf({ ...values, computeConnectionId }, parsed));
  };
  return (
    <FormFrame
      submit={isNew ? 'Add the flow' : 'Save'}
      what={isNew ? 'The flow was not created' : 'The flow was not changed'}
      error={saving.error}
      errors={errors}
      isSaving={saving.isPending}
      onSubmit={submit}
      onCancel={onCancel}
    >
      <TextField
        field="name"
        label="Name"
        description="A unique name."
        value={values.name}
        onChange={(name) => set({ name })}
        placeholder="bases2fastq"
      />
      {hasFixedCompute !== true && (
        <ConnectionField
          field="computeConnectionId"
          kind="computeConnection"
          label="Compute connection"
          description="Where HealthOmics runs the flow."
          value={values.computeConnectionId}
          onChange={(computeConnectionId) => set({ computeConnectionId })}
        />
      )}
      <TextField
        field="sharedWorkflowId"
        label="Shared workflow ID"
        description="The Resource ID of the share in the HealthOmics console, or the ARN of the workflow."
        value={values.sharedWorkflowId}
        onChange={(sharedWorkflowId) => set({ sharedWorkflowId })}
        placeholder="1234567"
      />
      <TextField
        field="workflowOwnerId"
        label="Owner of the workflow"
        description="The AWS account that shares it: 12 digits. Not needed with an ARN."
        value={values.workflowOwnerId}
        onChange={(workflowOwnerId) => set({ workflowOwnerId })}
        placeholder="588258415937"
        inputMode="numeric"
      />
      <AutoStartFields values={values} set={set} />
      <ExpandableSection headerText="Which runs the flow analyses">
        <Accepts values={values} set={set} />
      </ExpandableSection>
      <ExpandableSection headerText="Parameters of the workflow" defaultExpanded={errors.parameters !== undefined}>
        <ParameterFields values={values} set={set} />
      </ExpandableSection>
      <ExpandableSection headerText="Run settings of HealthOmics">
        <RunSettingFields values={values} set={set} />
      </ExpandableSection>
    </FormFrame>
  );
}

interface PartProps {
  values: Values;
  set: (change: Partial<Values>) => void;
}

function AutoStartFields({ values, set }: PartProps): ReactNode {
  const choices = useChoices('storageConnection');
  const options = (choices.data ?? []).map(({ id, name }) => ({ value: id, label: name }));
  const hasAutoStart = values.storageConnectionIds.length > 0;
  return (
    <SpaceBetween size="l">
      <Field
        field="autoStart.storageConnectionIds"
        label="Start by itself for runs in"
        description="Complete runs in these storage connections start the flow. Choose none to start it by hand."
      >
        <Multiselect
          selectedOptions={values.storageConnectionIds.map(
            (id) => options.find(({ value }) => value === id) ?? { value: id, label: id },
          )}
          onChange={({ detail }) =>
            set({ storageConnectionIds: detail.selectedOptions.flatMap(({ value }) => value ?? []) })
          }
          options={options}
          placeholder="Choose storage connections"
          statusType={choices.isPending ? 'loading' : choices.isError ? 'error' : 'finished'}
          loadingText="Loading the storage connections"
          errorText="The storage connections could not be loaded"
          empty="There is no storage connection yet"
          deselectAriaLabel={({ label }) => `Remove ${label ?? ''}`}
          expandToViewport
        />
      </Field>
      {hasAutoStart && (
        <SpaceBetween size="l">
          <Field
            field="autoStart.instruments"
            label="Only runs of these instruments"
            description="One name in each line; * stands for any characters. Leave it empty for all instruments."
          >
            <Textarea
              rows={2}
              spellcheck={false}
              value={values.instruments}
              onChange={({ detail }) => set({ instruments: detail.value })}
            />
          </Field>
          <Field
            field="autoStart.runNames"
            label="Only runs with these names"
            description="One name in each line; * stands for any characters. Leave it empty for all runs."
          >
            <Textarea
              rows={2}
              spellcheck={false}
              value={values.runNames}
              onChange={({ detail }) => set({ runNames: detail.value })}
            />
          </Field>
        </SpaceBetween>
      )}
    </SpaceBetween>
  );
}

function Accepts({ values, set }: PartProps): ReactNode {
  return (
    <SpaceBetween size="s">
      <Field field="acceptFailedOutcome">
        <Checkbox
          checked={values.acceptFailedOutcome}
          onChange={({ detail }) => set({ acceptFailedOutcome: detail.checked })}
          description="If all their cycles exist."
        >
          Also runs that the instrument ended as failed
        </Checkbox>
      </Field>
      <Field field="acceptStoppedOutcome">
        <Checkbox
          checked={values.acceptStoppedOutcome}
          onChange={({ detail }) => set({ acceptStoppedOutcome: detail.checked })}
          description="With the cycles that exist."
        >
          Also runs that somebody stopped
        </Checkbox>
      </Field>
      <Field field="acceptUnverified">
        <Checkbox
          checked={values.acceptUnverified}
          onChange={({ detail }) => set({ acceptUnverified: detail.checked })}
          description="Where the provider lacks the optional permission s3:GetObject."
        >
          Also runs whose outcome and cycles polony cannot check
        </Checkbox>
      </Field>
    </SpaceBetween>
  );
}

function ParameterFields({ values, set }: PartProps): ReactNode {
  return (
    <SpaceBetween size="l">
      <Field
        field="parameters"
        label="Further parameters"
        description="A JSON object. Its names must be in the parameter template of the workflow."
        stretch
      >
        <Textarea
          rows={6}
          spellcheck={false}
          value={values.parameters}
          onChange={({ detail }) => set({ parameters: detail.value })}
        />
      </Field>
      {PARAMETER_NAMES.map((name) => (
        <TextField
          key={name}
          field={`parameterNames.${name}`}
          label={PARAMETER_LABELS[name]}
          description="Without it, polony looks for a known name in the parameter template."
          value={values.parameterNames[name]}
          onChange={(value) => set({ parameterNames: { ...values.parameterNames, [name]: value } })}
        />
      ))}
    </SpaceBetween>
  );
}

const DEFAULT_CHOICE = { value: '', label: 'Default' };

function RunSettingFields({ values, set }: PartProps): ReactNode {
  const change = (name: SettingName, value: string): void => set({ settings: { ...values.settings, [name]: value } });
  return (
    <SpaceBetween size="l">
      {SETTING_NAMES.map((name) => {
        const { label, description, kind }: Setting = SETTINGS[name];
        const value = values.settings[name];
        if (typeof kind === 'string')
          return (
            <Field key={name} field={`runSettings.${name}`} label={label} description={description}>
              <Input
                {...(kind === 'number' && { type: 'number' as const, inputMode: 'numeric' as const })}
                value={value}
                autoComplete={false}
                onChange={({ detail }) => change(name, detail.value)}
              />
            </Field>
          );
        return (
          <Field key={name} field={`runSettings.${name}`} label={label} description={description}>
            <Select
              selectedOption={value === '' ? DEFAULT_CHOICE : { value, label: value }}
              options={[DEFAULT_CHOICE, ...kind.map((each) => ({ value: each, label: each }))]}
              onChange={({ detail }) => change(name, detail.selectedOption.value ?? '')}
              expandToViewport
            />
          </Field>
        );
      })}
      <Field
        field="runSettings.tags"
        label="Tags"
        description="Of the HealthOmics runs, in addition to those of polony. At most 47."
        stretch
      >
        <AttributeEditor
          items={values.tags}
          addButtonText="Add a tag"
          removeButtonText="Remove"
          removeButtonAriaLabel={({ key }) => `Remove the tag ${key}`}
          empty="No tags"
          disableAddButton={values.tags.length >= 47}
          onAddButtonClick={() => set({ tags: [...values.tags, { key: '', value: '' }] })}
          onRemoveButtonClick={({ detail }) => set({ tags: values.tags.filter((_, at) => at !== detail.itemIndex) })}
          definition={(['key', 'value'] as const).map((part) => ({
            label: part === 'key' ? 'Name' : 'Value',
            control: (item: { key: string; value: string }, index: number) => (
              <Input
                value={item[part]}
                ariaLabel={`${part === 'key' ? 'Name' : 'Value'} of tag ${index + 1}`}
                onChange={({ detail }) =>
                  set({
                    tags: values.tags.map((each, at) => (at === index ? { ...each, [part]: detail.value } : each)),
                  })
                }
              />
            ),
          }))}
        />
      </Field>
    </SpaceBetween>
  );
}
