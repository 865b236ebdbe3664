import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import Modal from '@cloudscape-design/components/modal';
import RadioGroup from '@cloudscape-design/components/radio-group';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Textarea from '@cloudscape-design/components/textarea';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type ReactNode, useRef, useState } from 'react';
import { ApiFailure, api, ask } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { Failure } from '../shared/Failure.js';
import { LinkTo } from '../shared/LinkTo.js';
import { ManifestReport } from './ManifestReport.js';

interface StartFlowProps {
  run: { id: string; name: string };
  onClose: () => void;
}

type Source = 'run' | 'text' | 'uri';

/** Chooses a flow and a run manifest, checks them, and starts. */
export function StartFlow({ run, onClose }: StartFlowProps): ReactNode {
  const navigate = useNavigate();
  const { can } = useSession();
  const [chosenFlowId, setFlowId] = useState<string>();
  const [name, setName] = useState('');
  const [source, setSource] = useState<Source>('run');
  const [text, setText] = useState('');
  const [uri, setUri] = useState('');
  const [parameters, setParameters] = useState('');
  const [parameterProblem, setParameterProblem] = useState('');
  // Another click, or a repeated request, starts nothing twice.
  const key = useRef(crypto.randomUUID());
  const flows = useQuery({
    queryKey: ['flows', 'all'],
    queryFn: () => ask(api.GET('/v1/flows', { params: { query: { pageSize: 1000 } } })),
    enabled: can('flows:read'),
  });
  // One flow leaves no choice.
  const only = flows.data?.flows.length === 1 ? flows.data.flows[0]!.id : undefined;
  const flowId = chosenFlowId ?? only;
  const manifest = source === 'text' ? { content: text } : source === 'uri' ? { uri } : undefined;
  const readParameters = (): Record<string, unknown> | undefined => {
    setParameterProblem('');
    if (parameters.trim() === '') return undefined;
    try {
      const value = JSON.parse(parameters) as unknown;
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
      setParameterProblem('must be a JSON object, such as {"legacy_fastq": true}');
    } catch (error) {
      setParameterProblem(`is not JSON: ${error instanceof Error ? error.message : String(error)}`);
    }
    throw new Error('Correct the parameters first');
  };
  const check = useMutation({
    mutationFn: () => {
      const given = readParameters();
      return ask(
        api.POST('/v1/runs/{id}/manifest-checks', {
          params: { path: { id: run.id } },
          body: {
            ...(flowId !== undefined && { flowId }),
            ...(given !== undefined && { parameters: given }),
            ...(manifest !== undefined && { manifest }),
          },
        }),
      );
    },
  });
  const start = useMutation({
    mutationFn: () => {
      const given = readParameters();
      return ask(
        api.POST('/v1/executions', {
          params: { header: { 'idempotency-key': key.current } },
          body: {
            flowId: flowId!,
            runId: run.id,
            ...(name.trim() !== '' && { name: name.trim() }),
            ...(given !== undefined && { parameters: given }),
            ...(manifest !== undefined && { manifest }),
          },
        }),
      );
    },
    onSuccess: ({ execution }) => navigate({ href: `/executions/${execution.id}` }),
    onError: () => {
      key.current = crypto.randomUUID();
    },
  });
  const fields = start.error instanceof ApiFailure ? start.error.fields : {};
  const options = (flows.data?.flows ?? []).map((flow) => ({
    value: flow.id,
    label: flow.name,
    description: flow.statusDescription,
  }));
  const isIncomplete =
    flowId === undefined || (source === 'text' && text.trim() === '') || (source === 'uri' && uri.trim() === '');
  return (
    <Modal
      visible
      size="large"
      header={`Start a flow for ${run.name}`}
      closeAriaLabel="Close"
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              Close
            </Button>
            <Button disabled={isIncomplete} loading={check.isPending} onClick={() => check.mutate()}>
              Check the manifest
            </Button>
            <Button variant="primary" disabled={isIncomplete} loading={start.isPending} onClick={() => start.mutate()}>
              Start
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {flows.isError && <Failure error={flows.error} what="The flows could not be loaded" />}
        {flows.isSuccess && options.length === 0 && (
          <Alert type="info" header="No flow exists yet">
            A flow connects the Bases2Fastq workflow of Element with a compute connection.{' '}
            <LinkTo href="/setup">Set one up</LinkTo>
          </Alert>
        )}
        <FormField label="Flow" errorText={fields.flowId}>
          <Select
            placeholder="Choose a flow"
            options={options}
            selectedOption={options.find(({ value }) => value === flowId) ?? null}
            onChange={({ detail }) => setFlowId(detail.selectedOption.value)}
            statusType={flows.isPending ? 'loading' : 'finished'}
            loadingText="Loading the flows"
          />
        </FormField>
        <FormField
          label="Name"
          constraintText="Optional: polony makes a name of the run and the flow"
          errorText={fields.name}
        >
          <Input value={name} onChange={({ detail }) => setName(detail.value)} />
        </FormField>
        <FormField
          label="Run manifest"
          errorText={fields['manifest.uri'] ?? fields['manifest.content'] ?? fields.manifest}
        >
          <SpaceBetween size="s">
            <RadioGroup
              value={source}
              onChange={({ detail }) => setSource(detail.value as Source)}
              items={[
                { value: 'run', label: 'The one that the instrument uploaded' },
                { value: 'text', label: 'Paste one' },
                { value: 'uri', label: 'A file in S3' },
              ]}
            />
            {source === 'text' && (
              <Textarea
                ariaLabel="Run manifest"
                rows={10}
                value={text}
                onChange={({ detail }) => setText(detail.value)}
              />
            )}
            {source === 'uri' && (
              <Input
                ariaLabel="Address of the run manifest"
                placeholder="s3://bucket/RunManifest.csv"
                value={uri}
                onChange={({ detail }) => setUri(detail.value)}
              />
            )}
          </SpaceBetween>
        </FormField>
        <FormField
          label="Parameters"
          description="JSON. They replace those of the flow with the same name."
          constraintText="Optional"
          errorText={parameterProblem || fields.parameters}
        >
          <Textarea rows={3} value={parameters} onChange={({ detail }) => setParameters(detail.value)} />
        </FormField>
        {check.isError && <Failure error={check.error} what="The manifest could not be checked" />}
        {check.data !== undefined && <ManifestReport report={check.data.check} />}
        {start.isError && <Failure error={start.error} what="Nothing was started" />}
      </SpaceBetween>
    </Modal>
  );
}
