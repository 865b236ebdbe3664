import Alert from '@cloudscape-design/components/alert';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import ContentLayout from '@cloudscape-design/components/content-layout';
import Header from '@cloudscape-design/components/header';
import ProgressBar from '@cloudscape-design/components/progress-bar';
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
import { EXECUTION_COLUMNS } from '../executions/columns.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { useNotify } from '../layout/notifications.js';
import { BlockedAlert } from '../shared/BlockedAlert.js';
import { Copyable } from '../shared/Copyable.js';
import { Facts } from '../shared/Facts.js';
import { FailedPage, Failure } from '../shared/Failure.js';
import { formatBases, formatBytes, formatNumber, formatPercent } from '../shared/format.js';
import { LinkTo } from '../shared/LinkTo.js';
import { useTexts } from '../shared/listSearch.js';
import { Status } from '../shared/Status.js';
import { TAB_TEXTS } from '../shared/tabs.js';
import { Time } from '../shared/Time.js';

const StartFlow = lazy(() => import('../executions/StartFlow.js').then((module) => ({ default: module.StartFlow })));
const FileBrowser = lazy(() => import('../files/FileBrowser.js').then((module) => ({ default: module.FileBrowser })));
const SeriesView = lazy(() => import('./SeriesView.js').then((module) => ({ default: module.SeriesView })));

type Details = Schema<'RunDetails'>;

/** How much of a run is there, and which cycles are missing. */
function Upload({ details }: { details: Details }): ReactNode {
  const { progress, uploadDescription, uploadState } = details;
  if (progress === null) return <Facts items={{ Upload: <Status value={uploadState} />, State: uploadDescription }} />;
  const { cycles, expectedCycles, missing = [], missingCount = missing.length } = progress;
  return (
    <SpaceBetween size="m">
      {progress.stalled && (
        <Alert type="warning" header="The upload has stalled">
          Nothing has arrived since <Time value={progress.timeGrown} ago />. Look at the network of the instrument, and
          at its storage connection.
        </Alert>
      )}
      <ProgressBar
        label="Cycles"
        value={expectedCycles === 0 ? 0 : Math.min(100, (cycles / expectedCycles) * 100)}
        additionalInfo={`${formatNumber(cycles)} of ${formatNumber(expectedCycles)} cycles`}
        description={uploadDescription}
      />
      <Facts
        columns={4}
        items={{
          Upload: <Status value={uploadState} />,
          'Base call files': formatNumber(progress.objects),
          'Base calls': formatBytes(progress.bytes),
          'Last growth': <Time value={progress.timeGrown} ago />,
          ...(missingCount > 0 && {
            [`Missing cycles (${formatNumber(missingCount)})`]:
              missing.join(', ') + (missingCount > missing.length ? ', …' : ''),
          }),
        }}
      />
    </SpaceBetween>
  );
}

function Setup({ run, details }: { run: Schema<'Run'>; details: Details }): ReactNode {
  const { instrument, setup, output } = run;
  const { sequencing } = setup;
  const { can } = useSession();
  const instrumentName = instrument.name || instrument.serialNumber;
  return (
    <Facts
      columns={3}
      items={{
        Instrument: can('instruments:read', instrument.serialNumber) ? (
          <LinkTo href={`/instruments/${instrument.serialNumber}`}>{instrumentName}</LinkTo>
        ) : (
          instrumentName
        ),
        Model: instrument.model,
        Software: instrument.softwareVersion,
        Operator: run.operator,
        Recipe: run.recipe?.name ?? '',
        ...(sequencing !== null && {
          Kit: sequencing.kitName,
          Library: sequencing.libraryStructure,
          Preparation: sequencing.prepType,
          Chemistry: sequencing.chemistryVersion,
          Reads: sequencing.reads.map(({ name, cycles }) => `${name}: ${cycles}`).join(', '),
          'Flow cell': sequencing.flowcell?.serialNumber ?? '',
        }),
        ...(setup.multiomics !== null && { Kit: setup.multiomics.kitType, Wells: setup.multiomics.wellLayout }),
        Folder: <Copyable text={output.uri} name="the address of the run" />,
        'Run manifest': run.manifest?.filename ?? '',
        Started: <Time value={run.timeStarted} />,
        Completed: <Time value={run.timeCompleted} />,
        'First seen': <Time value={run.timeCreated} />,
        Outcome: details.outcome ?? '',
        Description: run.description,
      }}
    />
  );
}

function Metrics({ id }: { id: string }): ReactNode {
  const series = useQuery({
    queryKey: ['runs', 'series', id],
    queryFn: () => ask(api.GET('/v1/runs/{id}/series', { params: { path: { id } } })),
    staleTime: 60_000,
  });
  if (series.isError)
    return (
      <Failure error={series.error} what="The metrics could not be loaded" onRetry={() => void series.refetch()} />
    );
  if (series.data === undefined) return <Spinner size="large" />;
  const { instrument, execution } = series.data;
  return (
    <SpaceBetween size="l">
      {execution !== null && (
        <section aria-labelledby="metrics-execution">
          <Header
            variant="h2"
            description={
              <LinkTo href={`/executions/${execution.executionId}`}>The execution that completed last</LinkTo>
            }
          >
            <span id="metrics-execution">From Bases2Fastq</span>
          </Header>
          <SeriesView series={execution} source="Bases2Fastq" />
        </section>
      )}
      <section aria-labelledby="metrics-instrument">
        <Header variant="h2" description="What the instrument measured while it sequenced">
          <span id="metrics-instrument">From the instrument</span>
        </Header>
        <SeriesView series={instrument} source="the instrument" />
      </section>
    </SpaceBetween>
  );
}

function Executions({ run }: { run: Schema<'Run'> }): ReactNode {
  const executions = useQuery({
    queryKey: ['executions', 'of-run', run.id],
    queryFn: () =>
      ask(
        api.GET('/v1/executions', {
          params: { query: { filter: `input.run.id:"${run.id}"`, pageSize: 100, orderBy: 'time_created desc' } },
        }),
      ),
  });
  return (
    <Table
      variant="embedded"
      ariaLabels={{ tableLabel: 'Executions of this run' }}
      loading={executions.isPending}
      loadingText="Loading executions"
      items={executions.data?.executions ?? []}
      trackBy="id"
      wrapLines
      columnDefinitions={EXECUTION_COLUMNS.filter(({ id }) => id !== 'run').map(
        ({ id, header, cell, isRowHeader, minWidth }) => ({
          id,
          header,
          cell,
          ...(minWidth !== undefined && { minWidth }),
          isRowHeader: isRowHeader === true,
        }),
      )}
      empty={
        executions.isError ? (
          <Failure error={executions.error} what="The executions could not be loaded" />
        ) : (
          'No flow has run for this run yet.'
        )
      }
    />
  );
}

/** A run: its upload, setup, metrics, executions and files. */
export function RunPage(): ReactNode {
  const { id = '' } = useParams({ strict: false });
  useChanges({ topics: ['runs', 'executions'] });
  const { can, canAll } = useSession();
  const notify = useNotify();
  const navigate = useNavigate();
  const { hash } = useLocation();
  const [texts, setTexts] = useTexts('prefix', 'file');
  const [isStarting, setStarting] = useState(false);
  const loaded = useQuery({
    queryKey: ['runs', 'details', id],
    queryFn: () => ask(api.GET('/v1/runs/{id}/details', { params: { path: { id } } })),
  });
  const name = loaded.data?.run.name;
  usePageTitle({ text: 'Runs', href: '/runs' }, { text: name ?? 'Run', href: `/runs/${id}` });
  const retry = useMutation({
    mutationFn: () => ask(api.POST('/v1/runs/{id}/retry', { params: { path: { id } } })),
    onSuccess: () => notify.success('polony checks the upload again.'),
    onError: (error) => notify.failure(error, 'The upload was not checked again'),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ['runs'] }),
  });
  if (loaded.isError)
    return (
      <FailedPage
        title="Run"
        error={loaded.error}
        what="The run could not be loaded"
        onRetry={() => void loaded.refetch()}
      />
    );
  if (loaded.data === undefined) return <Spinner size="large" />;
  const { run, details } = loaded.data;
  const { sequencing } = run.metrics;
  const canRetry = can('runs:operate', id) && (details.uploadState !== 'complete' || details.blocked !== null);
  const tabs = [
    ...(can('executions:read') ? [{ id: 'executions', label: 'Executions', content: <Executions run={run} /> }] : []),
    {
      id: 'metrics',
      label: 'Metrics and plots',
      content: (
        <Suspense fallback={<Spinner />}>
          <Metrics id={id} />
        </Suspense>
      ),
    },
    { id: 'setup', label: 'Setup', content: <Setup run={run} details={details} /> },
    ...(can('runs:download', id)
      ? [
          {
            id: 'files',
            label: 'Files',
            content: (
              <Suspense fallback={<Spinner />}>
                <FileBrowser
                  source={{ kind: 'run', id }}
                  storageId={run.output.storageConnectionId}
                  rootName={run.name}
                  rootUri={run.output.uri}
                  prefix={texts.prefix ?? ''}
                  onPrefixChange={(prefix) => setTexts({ prefix: prefix || undefined, file: undefined })}
                  file={texts.file}
                  onFileChange={(file) => setTexts({ file })}
                />
              </Suspense>
            ),
          },
        ]
      : []),
  ];
  const active = tabs.find((tab) => tab.id === hash)?.id ?? tabs[0]!.id;
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={<Status value={run.status} />}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              {canRetry && (
                <Button loading={retry.isPending} onClick={() => retry.mutate()}>
                  Check the upload again
                </Button>
              )}
              {canAll('executions:create') && can('flows:read') && (
                <Button variant="primary" onClick={() => setStarting(true)}>
                  Start a flow
                </Button>
              )}
            </SpaceBetween>
          }
        >
          {run.name}
        </Header>
      }
    >
      <SpaceBetween size="l">
        {details.blocked !== null && (
          <BlockedAlert
            blocked={details.blocked}
            isRetrying={retry.isPending}
            {...(can('runs:operate', id) && { onRetry: () => retry.mutate() })}
          />
        )}
        {details.warnings.map(({ code, message }) => (
          <Alert key={code} type="warning">
            {message}
          </Alert>
        ))}
        <Container header={<Header variant="h2">Upload</Header>}>
          <Upload details={details} />
        </Container>
        {sequencing !== null && (
          <Container header={<Header variant="h2">Summary</Header>}>
            <Facts
              columns={4}
              items={{
                Yield: formatBases(sequencing.totalYield),
                Reads: formatNumber(sequencing.totalReads),
                '% Q30': formatPercent(sequencing.q30),
                '% Q40': formatPercent(sequencing.q40),
                'Mean quality score': formatNumber(sequencing.avgQ),
                'Error rate (PhiX)': formatPercent(sequencing.errorRate),
              }}
            />
          </Container>
        )}
        <Tabs
          ariaLabel="Parts of the run"
          i18nStrings={TAB_TEXTS}
          activeTabId={active}
          onChange={({ detail }) => void navigate({ to: '.', hash: detail.activeTabId, replace: true })}
          tabs={tabs}
        />
      </SpaceBetween>
      {isStarting && (
        <Suspense fallback={null}>
          <StartFlow run={run} onClose={() => setStarting(false)} />
        </Suspense>
      )}
    </ContentLayout>
  );
}
