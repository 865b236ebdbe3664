import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import ContentLayout from '@cloudscape-design/components/content-layout';
import Grid from '@cloudscape-design/components/grid';
import Header from '@cloudscape-design/components/header';
import Link from '@cloudscape-design/components/link';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import Table from '@cloudscape-design/components/table';
import Tabs from '@cloudscape-design/components/tabs';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useLocation, useNavigate, useParams } from '@tanstack/react-router';
import { lazy, type ReactNode, Suspense, useState } from 'react';
import { useChanges } from '../app/changes.js';
import { api, ask, type Schema } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { useNotify } from '../layout/notifications.js';
import { BlockedAlert } from '../shared/BlockedAlert.js';
import { Copyable, CopyableCode } from '../shared/Copyable.js';
import { Facts } from '../shared/Facts.js';
import { FailedPage, Failure } from '../shared/Failure.js';
import { LinkTo } from '../shared/LinkTo.js';
import { useTexts } from '../shared/listSearch.js';
import { Status } from '../shared/Status.js';
import { TAB_TEXTS } from '../shared/tabs.js';
import { Time } from '../shared/Time.js';
import { cloudWatchUrl, omicsRunUrl, s3ConsoleUrl, temporalUrl } from './awsLinks.js';
import { type BulkAction, BulkDialog, buttonOf, isEligible, mayDo } from './bulk.js';
import { ManifestReport, readManifestFindings } from './ManifestReport.js';
import { Timeline } from './Timeline.js';

const FileBrowser = lazy(() => import('../files/FileBrowser.js').then((module) => ({ default: module.FileBrowser })));
const SeriesView = lazy(() => import('../runs/SeriesView.js').then((module) => ({ default: module.SeriesView })));

type Details = Schema<'ExecutionDetails'>;
type Execution = Schema<'Execution'>;

const OWNERS: Readonly<Record<string, string>> = {
  customer: 'You, or the administrator of your AWS account',
  vendor: 'Element Biosciences',
  aws: 'AWS',
  polony: 'The operators of polony',
};

function FailureAlert({ execution, details }: { execution: Execution; details: Details }): ReactNode {
  const { failure, errorType } = details;
  if (failure === null)
    return (
      <Alert type="error" header={errorType ?? 'The execution failed'}>
        {execution.errorMessage ?? execution.statusDescription}
      </Alert>
    );
  return (
    <Alert type="error" header={failure.what}>
      <SpaceBetween size="xs">
        <span>{failure.toDo}</span>
        <span>
          Who can fix it: <b>{OWNERS[failure.owner] ?? failure.owner}</b>
        </span>
        {execution.errorMessage !== null && <Box variant="code">{execution.errorMessage}</Box>}
        <Box color="text-body-secondary">{failure.reason}</Box>
      </SpaceBetween>
    </Alert>
  );
}

/** Links to where else the execution can be seen. */
function Elsewhere({ details, outputUri }: { details: Details; outputUri: string }): ReactNode {
  const installation = useQuery({
    queryKey: ['installation'],
    queryFn: () => ask(api.GET('/v1/installation')),
    staleTime: Infinity,
  });
  const { region, healthOmics, workflowId } = details;
  const temporal = installation.data?.installation.temporal;
  const s3 = outputUri === '' ? undefined : s3ConsoleUrl(region, healthOmics?.runOutputUri ?? outputUri);
  const links: [string, string | undefined][] = [
    ['HealthOmics', healthOmics === null ? undefined : omicsRunUrl(region, healthOmics.runId)],
    ['CloudWatch', healthOmics === null ? undefined : cloudWatchUrl(region, healthOmics.runId)],
    ['S3', s3],
    ['Temporal', temporal?.uiUrl == null ? undefined : temporalUrl(temporal.uiUrl, temporal.namespace, workflowId)],
  ];
  return (
    <SpaceBetween direction="horizontal" size="m">
      {links.map(
        ([text, href]) =>
          href !== undefined && (
            <Link key={text} href={href} external externalIconAriaLabel="(new tab)">
              {text}
            </Link>
          ),
      )}
    </SpaceBetween>
  );
}

function Summary({ execution, details }: { execution: Execution; details: Details }): ReactNode {
  const { healthOmics, cancelRequested } = details;
  const { can } = useSession();
  return (
    <Facts
      columns={2}
      items={{
        Run: execution.inputs.map(({ run }) =>
          can('runs:read', run.id) ? (
            <LinkTo key={run.id} href={`/runs/${run.id}`}>
              {run.name}
            </LinkTo>
          ) : (
            run.name
          ),
        ),
        Flow: execution.flow.name,
        Workflow: `${execution.workflow.name} ${execution.workflow.version}`.trim(),
        'Started by':
          details.trigger === 'auto' ? `${execution.startedBy.name} (automatically)` : execution.startedBy.name,
        'AWS account': `${details.account} (${details.region})`,
        'HealthOmics run':
          healthOmics === null ? '' : <Copyable text={healthOmics.runId} name="the ID of the HealthOmics run" />,
        Output:
          execution.output.uri === '' ? '' : <Copyable text={execution.output.uri} name="the address of the output" />,
        Created: <Time value={execution.timeCreated} />,
        ...(details.relaunchOf !== null && {
          'Relaunch of': <LinkTo href={`/executions/${details.relaunchOf}`}>an earlier execution</LinkTo>,
        }),
        ...(cancelRequested !== null && {
          'Cancel requested': (
            <>
              {cancelRequested.requestedBy}, <Time value={cancelRequested.time} />
              {cancelRequested.reason !== null && <div>{cancelRequested.reason}</div>}
            </>
          ),
        }),
        Elsewhere: <Elsewhere details={details} outputUri={execution.output.uri} />,
      }}
    />
  );
}

function Attempts({ details }: { details: Details }): ReactNode {
  return (
    <Table
      variant="embedded"
      ariaLabels={{ tableLabel: 'Earlier attempts' }}
      items={details.earlierAttempts}
      wrapLines
      columnDefinitions={[
        { id: 'attempt', header: 'Attempt', isRowHeader: true, cell: ({ attempt }) => attempt },
        {
          id: 'run',
          header: 'HealthOmics run',
          cell: ({ runId }) => (
            <Link href={omicsRunUrl(details.region, runId)} external externalIconAriaLabel="(new tab)">
              {runId}
            </Link>
          ),
        },
        { id: 'started', header: 'Started', cell: ({ timeStarted }) => <Time value={timeStarted} /> },
        { id: 'ended', header: 'Ended', cell: ({ timeEnded }) => <Time value={timeEnded} /> },
        {
          id: 'reason',
          header: 'Why it failed',
          cell: ({ failureReason, statusMessage }) => [failureReason, statusMessage].filter(Boolean).join(': '),
        },
      ]}
    />
  );
}

function Metrics({ id }: { id: string }): ReactNode {
  const series = useQuery({
    queryKey: ['executions', 'series', id],
    queryFn: () => ask(api.GET('/v1/executions/{id}/series', { params: { path: { id } } })),
    staleTime: 60_000,
  });
  if (series.isError)
    return (
      <Failure error={series.error} what="The metrics could not be loaded" onRetry={() => void series.refetch()} />
    );
  return series.data === undefined ? (
    <Spinner size="large" />
  ) : (
    <SeriesView series={series.data.series} source="Bases2Fastq" />
  );
}

function Log({ id, isLive }: { id: string; isLive: boolean }): ReactNode {
  const log = useQuery({
    queryKey: ['executions', 'log', id],
    queryFn: () => ask(api.GET('/v1/executions/{execution_id}/logs', { params: { path: { execution_id: id } } })),
    ...(isLive && { staleTime: 0 }),
  });
  if (log.isError)
    return <Failure error={log.error} what="The log could not be loaded" onRetry={() => void log.refetch()} />;
  if (log.data === undefined) return <Spinner size="large" />;
  const { error, log: text } = log.data;
  return (
    <SpaceBetween size="s">
      <Box color="text-body-secondary">
        The end of info/Bases2Fastq.log, at most 1 MB. The files of the output have all of it.
      </Box>
      {error !== '' && <Alert type="error">{error}</Alert>}
      {text === '' ? <Box>Bases2Fastq has written no log yet.</Box> : <CopyableCode name="the log" text={text} />}
    </SpaceBetween>
  );
}

/** An execution: what it does, what it waits for, and what came of it. */
export function ExecutionPage(): ReactNode {
  const { id = '' } = useParams({ strict: false });
  useChanges({ topics: ['executions'], executionId: id });
  const { can } = useSession();
  const notify = useNotify();
  const navigate = useNavigate();
  const { hash } = useLocation();
  const [texts, setTexts] = useTexts('prefix', 'file');
  const [action, setAction] = useState<BulkAction>();
  const path = { id };
  const loaded = useQuery({
    queryKey: ['executions', 'details', id],
    queryFn: () => ask(api.GET('/v1/executions/{id}/details', { params: { path } })),
  });
  const steps = useQuery({
    queryKey: ['executions', 'steps', id],
    queryFn: () => ask(api.GET('/v1/executions/{id}/steps', { params: { path } })),
  });
  const name = loaded.data?.execution.name;
  usePageTitle({ text: 'Executions', href: '/executions' }, { text: name ?? 'Execution', href: `/executions/${id}` });
  const retry = useMutation({
    mutationFn: () => ask(api.POST('/v1/executions/{id}/retry', { params: { path } })),
    onSuccess: () => notify.success('polony tries again now.'),
    onError: (error) => notify.failure(error, 'polony does not try again'),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ['executions'] }),
  });
  if (loaded.isError)
    return (
      <FailedPage
        title="Execution"
        error={loaded.error}
        what="The execution could not be loaded"
        onRetry={() => void loaded.refetch()}
      />
    );
  if (loaded.data === undefined) return <Spinner size="large" />;
  const { execution, details } = loaded.data;
  const findings = readManifestFindings(details.manifest.report);
  const isCompleted = execution.status === 'EXECUTION_STATUS_COMPLETED';
  const tabs = [
    ...(isCompleted
      ? [
          {
            id: 'metrics',
            label: 'Samples, metrics and plots',
            content: (
              <Suspense fallback={<Spinner />}>
                <Metrics id={id} />
              </Suspense>
            ),
          },
        ]
      : []),
    ...(can('executions:download', id)
      ? [
          {
            id: 'files',
            label: 'Results',
            content: (
              <Suspense fallback={<Spinner />}>
                <FileBrowser
                  source={{ kind: 'execution', id }}
                  storageId={execution.output.storageConnectionId}
                  rootName="Results"
                  {...(execution.output.uri !== '' && { rootUri: execution.output.uri })}
                  prefix={texts.prefix ?? ''}
                  onPrefixChange={(prefix) => setTexts({ prefix: prefix || undefined, file: undefined })}
                  file={texts.file}
                  onFileChange={(file) => setTexts({ file })}
                  empty="Bases2Fastq has written no files yet."
                />
              </Suspense>
            ),
          },
        ]
      : []),
    {
      id: 'manifest',
      label: 'Run manifest',
      content:
        findings === undefined ? (
          <Box>The run manifest has not been checked.</Box>
        ) : (
          <ManifestReport report={findings} />
        ),
    },
    {
      id: 'parameters',
      label: 'Parameters',
      content:
        details.parameters === null ? (
          <Box>The parameters follow when the execution is prepared.</Box>
        ) : (
          <CopyableCode name="the parameters" text={JSON.stringify(details.parameters, undefined, 2)} />
        ),
    },
    ...(details.earlierAttempts.length > 0
      ? [{ id: 'attempts', label: 'Attempts', content: <Attempts details={details} /> }]
      : []),
    ...(can('executions:logs', id)
      ? [{ id: 'log', label: 'Log', content: <Log id={id} isLive={!isCompleted} /> }]
      : []),
  ];
  const active = tabs.find((tab) => tab.id === hash)?.id ?? tabs[0]!.id;
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={
            details.blocked === null ? (
              <>
                {/* The message of a failed execution follows below. */}
                <Status value={execution.status} /> {execution.errorMessage === null && execution.statusDescription}
              </>
            ) : (
              <Status value="BLOCKED" text="Waits for a person" />
            )
          }
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              {(['cancel', 'relaunch'] as const).map(
                (each) =>
                  mayDo(each, can, id) &&
                  isEligible(each, execution) && (
                    <Button key={each} onClick={() => setAction(each)}>
                      {buttonOf(each)}
                    </Button>
                  ),
              )}
            </SpaceBetween>
          }
        >
          {execution.name}
        </Header>
      }
    >
      <SpaceBetween size="l">
        {details.blocked !== null && (
          <BlockedAlert
            blocked={details.blocked}
            isRetrying={retry.isPending}
            {...(can('executions:operate', id) && { onRetry: () => retry.mutate() })}
          />
        )}
        {execution.status === 'EXECUTION_STATUS_FAILED' && <FailureAlert execution={execution} details={details} />}
        {details.warnings.map(({ code, message }) => (
          <Alert key={code} type="warning">
            {message}
          </Alert>
        ))}
        <Grid gridDefinition={[{ colspan: { default: 12, xs: 5 } }, { colspan: { default: 12, xs: 7 } }]}>
          <Container header={<Header variant="h2">Timeline</Header>}>
            {steps.isError ? (
              <Failure error={steps.error} what="The steps could not be loaded" onRetry={() => void steps.refetch()} />
            ) : (
              <Timeline
                steps={steps.data?.steps ?? []}
                status={execution.status}
                isBlocked={steps.data?.blocked != null}
              />
            )}
          </Container>
          <Container header={<Header variant="h2">Summary</Header>}>
            <Summary execution={execution} details={details} />
          </Container>
        </Grid>
        <Tabs
          ariaLabel="Parts of the execution"
          i18nStrings={TAB_TEXTS}
          activeTabId={active}
          onChange={({ detail }) => void navigate({ to: '.', hash: detail.activeTabId, replace: true })}
          tabs={tabs}
        />
      </SpaceBetween>
      {action !== undefined && (
        <BulkDialog action={action} executions={[execution]} onClose={() => setAction(undefined)} />
      )}
    </ContentLayout>
  );
}
