import Box from '@cloudscape-design/components/box';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import { useSession } from '../auth/session.js';
import { ButtonTo } from '../shared/ButtonTo.js';
import { Copyable, CopyableCode } from '../shared/Copyable.js';
import { UNKNOWN } from '../shared/format.js';
import { ConnectionCards, NameOf, OfOne } from './ConnectionCards.js';
import { ConnectionView, FormPage, OfAddress } from './ConnectionPage.js';
import { FlowForm } from './FlowForm.js';
import type { Flow } from './kinds.js';

/** All flows: what is done with runs. */
export function FlowsPage(): ReactNode {
  return (
    <ConnectionCards
      kind="flow"
      description="Bases2Fastq on HealthOmics, and which runs start it by themselves."
      add="Add a flow"
      empty="There is no flow yet"
      facts={[
        {
          id: 'compute',
          header: 'Compute connection',
          content: (id) => (
            <OfOne
              kind="flow"
              id={id}
              show={({ computeConnectionId }) => <NameOf kind="computeConnection" id={computeConnectionId} />}
            />
          ),
        },
        {
          id: 'start',
          header: 'Starts by itself for',
          content: (id) => <OfOne kind="flow" id={id} show={(flow) => <AutoStart flow={flow} />} />,
        },
      ]}
    />
  );
}

function AutoStart({ flow: { autoStart } }: { flow: Flow }): ReactNode {
  const { storageConnectionIds, instruments = [], runNames = [] } = autoStart;
  if (storageConnectionIds.length === 0) return 'No run: people start it';
  return (
    <SpaceBetween size="xxs">
      {storageConnectionIds.map((id) => (
        <span key={id}>
          Runs in <NameOf kind="storageConnection" id={id} />
        </span>
      ))}
      {instruments.length > 0 && <span>of instruments {instruments.join(', ')}</span>}
      {runNames.length > 0 && <span>with names {runNames.join(', ')}</span>}
    </SpaceBetween>
  );
}

/** One flow. */
export function FlowPage(): ReactNode {
  return <OfAddress kind="flow">{(flow) => <FlowView flow={flow} />}</OfAddress>;
}

function FlowView({ flow }: { flow: Flow }): ReactNode {
  const { can } = useSession();
  const { sharedWorkflowId, workflowOwnerId, sharedWorkflowRegion, computeConnectionId } = flow;
  const accepted = [
    flow.acceptFailedOutcome && 'failed runs',
    flow.acceptStoppedOutcome && 'stopped runs',
    flow.acceptUnverified && 'runs that polony cannot check',
  ].filter((each) => each !== false);
  return (
    <ConnectionView
      kind="flow"
      one={flow}
      facts={[
        { label: 'Compute connection', value: <NameOf kind="computeConnection" id={computeConnectionId} /> },
        { label: 'Shared workflow ID', value: <Copyable text={sharedWorkflowId} name="the shared workflow ID" /> },
        { label: 'Owner of the workflow', value: workflowOwnerId },
        ...(sharedWorkflowRegion === null ? [] : [{ label: 'Region of the workflow', value: sharedWorkflowRegion }]),
        { label: 'Starts by itself for', value: <AutoStart flow={flow} /> },
        { label: 'Also analyses', value: accepted.length === 0 ? 'Nothing but complete runs' : accepted.join(', ') },
      ]}
      consequence="Its executions stay, but nobody can start it again. A flow with current executions cannot be deleted."
      actions={
        can('executions:read') && (
          <ButtonTo href={`/executions?filter=${encodeURIComponent(`flow.name:${JSON.stringify(flow.name)}`)}`}>
            Its executions
          </ButtonTo>
        )
      }
    >
      <Container header={<Header variant="h2">Parameters and run settings</Header>}>
        <RunSettings flow={flow} />
      </Container>
    </ConnectionView>
  );
}

const SETTING_LABELS: Readonly<Record<string, string>> = {
  runGroupId: 'Run group',
  priority: 'Priority',
  retentionMode: 'Retention',
  storageType: 'Storage of the runs',
  storageCapacity: 'Static storage, GiB',
  cacheId: 'Run cache',
  cacheBehavior: 'Use of the run cache',
  logLevel: 'Log level',
  workflowVersionName: 'Version of the workflow',
  manifestErrors: 'Errors of a run manifest',
  retries: 'Retries',
  tags: 'Tags',
};

function RunSettings({ flow: { parameters, parameterNames, runSettings } }: { flow: Flow }): ReactNode {
  const text = (value: unknown): string =>
    typeof value === 'object' && value !== null
      ? Object.entries(value)
          .map(([name, each]) => `${name} = ${String(each)}`)
          .join(', ')
      : String(value);
  const items = [
    ...Object.entries(runSettings).map(([name, value]) => ({
      label: SETTING_LABELS[name] ?? name,
      value: text(value) || UNKNOWN,
    })),
    ...Object.entries(parameterNames).map(([name, value]) => ({
      label: `Parameter for ${name}`,
      value: String(value),
    })),
  ];
  return (
    <SpaceBetween size="m">
      {items.length === 0 ? (
        <Box color="text-body-secondary">All run settings are the defaults.</Box>
      ) : (
        <KeyValuePairs columns={3} items={items} />
      )}
      {Object.keys(parameters).length === 0 ? (
        <Box color="text-body-secondary">The flow sets no further parameters.</Box>
      ) : (
        <CopyableCode name="the parameters" text={JSON.stringify(parameters, null, 2)} />
      )}
    </SpaceBetween>
  );
}

/** Adds a flow. */
export function NewFlowPage(): ReactNode {
  return (
    <FormPage
      kind="flow"
      title="Add a flow"
      description="Runs the Bases2Fastq workflow that Element shares with your account."
    >
      {({ saved, cancel }) => <FlowForm onSaved={saved} onCancel={cancel} />}
    </FormPage>
  );
}

/** Changes a flow. */
export function EditFlowPage(): ReactNode {
  return (
    <OfAddress kind="flow">
      {(flow) => (
        <FormPage
          kind="flow"
          one={flow}
          title={`Edit ${flow.name}`}
          description="A change does not affect executions whose HealthOmics run has started."
        >
          {({ saved, cancel }) => <FlowForm flow={flow} onSaved={saved} onCancel={cancel} />}
        </FormPage>
      )}
    </OfAddress>
  );
}
