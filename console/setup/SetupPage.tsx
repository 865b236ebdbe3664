import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ContentLayout from '@cloudscape-design/components/content-layout';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import { useQuery } from '@tanstack/react-query';
import { type ReactNode, useEffect, useState } from 'react';
import { useChanges } from '../app/changes.js';
import { api, ApiFailure, ask } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { ComputeForm } from '../connections/ComputeForm.js';
import { FlowForm } from '../connections/FlowForm.js';
import type { Kind } from '../connections/kinds.js';
import { ProviderForm } from '../connections/ProviderForm.js';
import { useOne } from '../connections/queries.js';
import { StorageForm } from '../connections/StorageForm.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { CopyableCode } from '../shared/Copyable.js';
import { LinkTo } from '../shared/LinkTo.js';
import { useReport } from '../verification/reports.js';
import { isUsable } from '../verification/rules.js';
import { ConnectStep } from './ConnectStep.js';
import { forgetDocuments, useDocuments } from './documents.js';
import { DocumentsStep } from './DocumentsStep.js';
import { PlanStep } from './PlanStep.js';
import type { Setup } from './setupSearch.js';
import { useExternalId, useSetup } from './useSetup.js';

type State = 'done' | 'current' | 'waiting' | 'problem' | 'ready';

const STATES: Readonly<Record<State, { type: StatusIndicatorProps.Type; text: string }>> = {
  done: { type: 'success', text: 'Done' },
  current: { type: 'info', text: 'Now' },
  waiting: { type: 'pending', text: 'Later' },
  problem: { type: 'warning', text: 'Something is missing' },
  ready: { type: 'success', text: 'Ready' },
};

/** A step. It opens by itself when it is its turn, and the reader can open each. */
function Step({
  number,
  title,
  state,
  children,
}: {
  number: number;
  title: string;
  state: State;
  children: ReactNode;
}): ReactNode {
  const [choice, setChoice] = useState<{ state: State; isOpen: boolean } | undefined>();
  const isOpen = choice?.state === state ? choice.isOpen : state !== 'done' && state !== 'waiting';
  const { type, text } = STATES[state];
  return (
    <section aria-label={`Step ${number}`}>
      <ExpandableSection
        variant="container"
        headingTagOverride="h2"
        headerText={`${number}. ${title}`}
        headerActions={<StatusIndicator type={type}>{text}</StatusIndicator>}
        expanded={isOpen}
        onChange={({ detail }) => setChoice({ state, isOpen: detail.expanded })}
      >
        {children}
      </ExpandableSection>
    </section>
  );
}

/** How far something is: chosen, verified, usable. */
function useStepState(kind: Kind, id: string): 'none' | 'verifying' | 'usable' | 'problem' {
  const { report } = useReport(kind, id);
  if (id === '') return 'none';
  if (report == null) return 'verifying';
  return isUsable(report) ? 'usable' : 'problem';
}

/** Leads from nothing to an account that works: identities in AWS, provider, storage, compute and flow. */
export function SetupPage(): ReactNode {
  const { setup, set, reset } = useSetup();
  const [newExternalId, setExternalId] = useExternalId();
  const provider = useOne('provider', setup.provider === '' ? undefined : setup.provider);
  // Once there is a provider, the documents have its external ID.
  const externalId = provider.data?.externalId ?? newExternalId;
  const documents = useDocuments(setup, externalId);
  usePageTitle({ text: 'Set up', href: '/setup' });
  useChanges({ topics: ['verifications'] });
  const installation = useQuery({
    queryKey: ['installation'],
    queryFn: () => ask(api.GET('/v1/installation')),
    staleTime: Infinity,
  });
  const made = documents.isPlaceholderData ? undefined : (documents.data?.externalId ?? undefined);
  useEffect(() => {
    // The documents of later requests must have the external ID that the person may already have copied.
    if (externalId === '' && made !== undefined && setup.provider === '') setExternalId(made);
  }, [externalId, made, setExternalId, setup.provider]);
  const { can, canAll } = useSession();
  const states = {
    provider: useStepState('provider', setup.provider),
    storage: useStepState('storageConnection', setup.storage),
    compute: useStepState('computeConnection', setup.compute),
    flow: useStepState('flow', setup.flow),
  };
  const needsFlow = setup.capabilities.includes('bases2fastq');
  const hasDocuments = documents.data !== undefined && documents.error === null;
  const steps = ['provider', 'storage', ...(needsFlow ? (['compute', 'flow'] as const) : [])] as const;
  const isDone = steps.every((each) => states[each] === 'usable');
  const stateOf = (name: 'provider' | 'storage' | 'compute' | 'flow', isReady: boolean): State => {
    if (states[name] === 'usable') return 'done';
    if (states[name] === 'problem') return 'problem';
    return states[name] === 'verifying' || isReady ? 'current' : 'waiting';
  };
  const isConnected = setup.provider !== '';
  if (!can('iam:read') || !canAll('providers:write'))
    return (
      <ContentLayout header={<Header variant="h1">Set up</Header>}>
        <Alert type="warning" header="You may not connect accounts">
          Sign in with a key, or as a person, with the scopes iam:read, providers:write, storage:write, compute:write
          and flows:write.
        </Alert>
      </ContentLayout>
    );
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={
            'Connects an AWS account step by step. You need somebody who may create roles in it. ' +
            'You can leave this page and come back: its address keeps what you entered.'
          }
          actions={
            <Button
              onClick={() => {
                reset();
                setExternalId('');
                forgetDocuments();
              }}
            >
              Start over
            </Button>
          }
        >
          Set up
        </Header>
      }
    >
      <SpaceBetween size="m">
        <Step number={1} title="What polony may do" state={isConnected ? 'done' : 'current'}>
          <PlanStep
            setup={setup}
            set={set}
            externalId={externalId}
            onExternalId={setExternalId}
            errors={documents.error instanceof ApiFailure ? documents.error.fields : {}}
          />
        </Step>
        <Step
          number={2}
          title="Roles and policies in your AWS account"
          state={isConnected ? 'done' : hasDocuments ? 'current' : 'waiting'}
        >
          <DocumentsStep
            setup={setup}
            documents={documents}
            trustedAccountId={installation.data?.installation.trustedAccountId ?? undefined}
          />
        </Step>
        <Step number={3} title="Provider: how polony enters the account" state={stateOf('provider', hasDocuments)}>
          <ProviderStep setup={setup} set={set} externalId={externalId} onExternalId={setExternalId} />
        </Step>
        <Step number={4} title="Storage: the bucket" state={stateOf('storage', states.provider === 'usable')}>
          {isConnected ? <StorageStep setup={setup} set={set} /> : <After step={3} />}
        </Step>
        {needsFlow && (
          <SpaceBetween size="m">
            <Step number={5} title="Compute: HealthOmics" state={stateOf('compute', states.storage === 'usable')}>
              {isConnected ? <ComputeStep setup={setup} set={set} /> : <After step={3} />}
            </Step>
            <Step number={6} title="Flow: Bases2Fastq" state={stateOf('flow', states.compute === 'usable')}>
              {setup.compute === '' ? <After step={5} /> : <FlowStep setup={setup} set={set} />}
            </Step>
          </SpaceBetween>
        )}
        <Finish setup={setup} isDone={isDone} number={needsFlow ? 7 : 5} needsFlow={needsFlow} />
      </SpaceBetween>
    </ContentLayout>
  );
}

const After = ({ step }: { step: number }): ReactNode => (
  <Box color="text-body-secondary">This comes after step {step}.</Box>
);

interface StepProps {
  setup: Setup;
  set: (change: Partial<Setup>) => void;
}

/** The ARN of a role that the documents name, where the account is known. */
const roleArn = (setup: Setup, name: string): string =>
  /^\d{12}$/.test(setup.account.trim()) && !/^(cn|us-gov|us-iso|eu-iso|eusc)/.test(setup.region)
    ? `arn:aws:iam::${setup.account.trim()}:role/${name}`
    : '';

function ProviderStep({
  setup,
  set,
  externalId,
  onExternalId,
}: StepProps & { externalId: string; onExternalId: (externalId: string) => void }): ReactNode {
  const suggested = roleArn(setup, 'Element-ServiceUser');
  return (
    <ConnectStep
      kind="provider"
      id={setup.provider}
      capabilities={setup.capabilities}
      onChosen={(provider) => set({ provider })}
      create={
        <ProviderForm
          // The form begins again with what the steps above say.
          key={`${setup.credentialType} ${suggested} ${setup.region}`}
          hasFixedType
          initial={{
            name: setup.account.trim() === '' ? 'sequencing-account' : `aws-${setup.account.trim()}`,
            credentialType: setup.credentialType,
            defaultRegion: setup.region,
            roleArn: suggested,
            externalId,
          }}
          onExternalId={onExternalId}
          onSaved={({ id, accountId }) => {
            // Another account needs another external ID.
            onExternalId('');
            forgetDocuments();
            set({ provider: id, ...(accountId !== null && { account: accountId }) });
          }}
        />
      }
      edit={(provider, close) => <ProviderForm provider={provider} onSaved={close} onCancel={close} />}
    />
  );
}

function StorageStep({ setup, set }: StepProps): ReactNode {
  const has = (capability: string): boolean => setup.capabilities.includes(capability);
  return (
    <ConnectStep
      kind="storageConnection"
      id={setup.storage}
      capabilities={setup.capabilities}
      onChosen={(storage) => set({ storage })}
      create={
        <StorageForm
          key={`${setup.provider} ${setup.bucket} ${setup.prefix} ${setup.region} ${setup.capabilities.join()}`}
          hasFixedProvider
          initial={{
            name: setup.bucket.trim(),
            providerId: setup.provider,
            region: setup.region,
            bucket: setup.bucket,
            prefix: setup.prefix,
            useForRunUpload: has('runUpload'),
            useForDataExploration: has('dataExploration') || has('cliCredentials'),
          }}
          onSaved={({ id, region }) => set({ storage: id, region })}
        />
      }
      edit={(storage, close) => <StorageForm storage={storage} onSaved={close} onCancel={close} />}
    />
  );
}

function ComputeStep({ setup, set }: StepProps): ReactNode {
  const provider = useOne('provider', setup.provider);
  const account = setup.account.trim() === '' ? (provider.data?.accountId ?? '') : setup.account;
  const suggested = setup.executionRole.trim() || roleArn({ ...setup, account }, 'Element-HealthOmics-Execution');
  return (
    <ConnectStep
      kind="computeConnection"
      id={setup.compute}
      capabilities={setup.capabilities}
      onChosen={(compute) => set({ compute })}
      create={
        <ComputeForm
          key={`${setup.provider} ${suggested} ${setup.region}`}
          hasFixedProvider
          initial={{
            name: `healthomics-${setup.region}`.replace(/-$/, ''),
            providerId: setup.provider,
            executionRoleArn: suggested,
            region: setup.region,
          }}
          onSaved={({ id, executionRoleArn }) => set({ compute: id, executionRole: executionRoleArn })}
        />
      }
      edit={(compute, close) => <ComputeForm compute={compute} onSaved={close} onCancel={close} />}
    />
  );
}

function FlowStep({ setup, set }: StepProps): ReactNode {
  const region = setup.region.trim() || '<region>';
  const starts = setup.capabilities.includes('runUpload') && setup.storage !== '';
  const { report } = useReport('flow', setup.flow);
  // Also where the flow came first: its report asks for the share then.
  const needsShare = setup.flow === '' || report?.findings.some(({ code }) => code === 'SHARE_NOT_FOUND') === true;
  return (
    <SpaceBetween size="l">
      {needsShare && (
        <SpaceBetween size="s">
          <Box>
            Bases2Fastq is a private workflow that Element shares with your account. Ask Element Technical Support to
            share it: give them the AWS account ID{setup.account.trim() !== '' && ` ${setup.account.trim()}`} and the
            region {region}. Then accept the share. Only you can do that, in the HealthOmics console or in CloudShell:
          </Box>
          <CopyableCode
            name="the commands that accept the share"
            text={[
              `aws omics list-shares --resource-owner OTHER --region ${region}`,
              `aws omics accept-share --share-id <shareId of the list> --region ${region}`,
            ].join('\n')}
          />
          <Box>The list has the resourceId and the ownerId, which the flow needs.</Box>
        </SpaceBetween>
      )}
      <ConnectStep
        kind="flow"
        id={setup.flow}
        capabilities={setup.capabilities}
        onChosen={(flow) => set({ flow })}
        create={
          <FlowForm
            key={`${setup.compute} ${setup.storage}`}
            hasFixedCompute
            initial={{
              name: 'bases2fastq',
              computeConnectionId: setup.compute,
              sharedWorkflowId: setup.workflow,
              workflowOwnerId: setup.owner,
              storageConnectionIds: starts ? [setup.storage] : [],
            }}
            onSaved={({ id, sharedWorkflowId, workflowOwnerId }) =>
              set({ flow: id, workflow: sharedWorkflowId, owner: workflowOwnerId })
            }
          />
        }
        edit={(flow, close) => <FlowForm flow={flow} onSaved={close} onCancel={close} />}
      />
    </SpaceBetween>
  );
}

/** What to do next. */
function Finish({
  setup,
  isDone,
  number,
  needsFlow,
}: {
  setup: Setup;
  isDone: boolean;
  number: number;
  needsFlow: boolean;
}): ReactNode {
  const storage = useOne('storageConnection', setup.storage === '' ? undefined : setup.storage);
  const flow = useOne('flow', setup.flow === '' ? undefined : setup.flow);
  const starts = (flow.data?.autoStart.storageConnectionIds ?? []).includes(setup.storage);
  return (
    <Step number={number} title="Done" state={isDone ? 'ready' : 'waiting'}>
      {!isDone && <Box color="text-body-secondary">When all steps are green, the account is ready.</Box>}
      {isDone && (
        <Alert type="success" header="The account is ready">
          <SpaceBetween size="s">
            <span>
              Let the instrument upload its runs to {storage.data?.uri}: at the instrument, choose the storage
              connection {storage.data?.name} when you set up a run. A run that it uploads appears under{' '}
              <LinkTo href="/runs">Runs</LinkTo>.
            </span>
            {needsFlow && starts && (
              <span>
                The flow {flow.data?.name} starts by itself when a run is complete. Follow it under{' '}
                <LinkTo href="/executions">Executions</LinkTo>.
              </span>
            )}
            {needsFlow && !starts && (
              <span>
                To start the flow {flow.data?.name}, open a run under <LinkTo href="/runs">Runs</LinkTo>, and choose
                Start a flow.
              </span>
            )}
            <span>
              The bucket has runs already? Open <LinkTo href={`/storage/${setup.storage}`}>its page</LinkTo>, and choose
              Discover runs now.
            </span>
          </SpaceBetween>
        </Alert>
      )}
    </Step>
  );
}
