import Badge from '@cloudscape-design/components/badge';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import { useInfiniteQuery, useMutation } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { useNotify } from '../layout/notifications.js';
import { ButtonTo } from '../shared/ButtonTo.js';
import { Copyable } from '../shared/Copyable.js';
import { Failure } from '../shared/Failure.js';
import { formatNumber } from '../shared/format.js';
import { LinkTo } from '../shared/LinkTo.js';
import { ConnectionCards, NameOf, OfOne } from './ConnectionCards.js';
import { ConnectionView, FormPage, OfAddress } from './ConnectionPage.js';
import type { Storage } from './kinds.js';
import { StorageForm } from './StorageForm.js';

/** All storage connections: the buckets that polony uses. */
export function StorageListPage(): ReactNode {
  return (
    <ConnectionCards
      kind="storageConnection"
      description="The buckets that instruments upload to, and that people explore."
      add="Add storage"
      empty="No bucket is connected yet"
      facts={[
        {
          id: 'uri',
          header: 'Place',
          content: (id) => <OfOne kind="storageConnection" id={id} show={({ uri }) => uri} />,
        },
        {
          id: 'uses',
          header: 'Uses',
          content: (id) => <OfOne kind="storageConnection" id={id} show={(one) => <Uses storage={one} />} />,
        },
      ]}
    />
  );
}

function Uses({ storage }: { storage: Storage }): ReactNode {
  const { useForRunUpload, useForDataExploration } = storage;
  if (!useForRunUpload && !useForDataExploration) return 'None';
  return (
    <SpaceBetween direction="horizontal" size="xxs">
      {useForRunUpload && <Badge color="blue">Run upload</Badge>}
      {useForDataExploration && <Badge color="blue">Data exploration</Badge>}
    </SpaceBetween>
  );
}

/** One storage connection. */
export function StoragePage(): ReactNode {
  return <OfAddress kind="storageConnection">{(storage) => <StorageView storage={storage} />}</OfAddress>;
}

function StorageView({ storage }: { storage: Storage }): ReactNode {
  const { id, uri, providerId, region, runDepth, allowPolicyProbe, useForRunUpload, useForDataExploration } = storage;
  const { can } = useSession();
  return (
    <ConnectionView
      kind="storageConnection"
      one={storage}
      facts={[
        { label: 'Place', value: <Copyable text={uri} name="the S3 address" /> },
        { label: 'Region', value: region },
        { label: 'Provider', value: <NameOf kind="provider" id={providerId} /> },
        { label: 'Uses', value: <Uses storage={storage} /> },
        { label: 'Folders above the instruments', value: formatNumber(runDepth) },
        { label: 'Test of the bucket policy', value: allowPolicyProbe ? 'Allowed' : 'Not allowed' },
      ]}
      consequence={
        'polony no longer finds runs in the bucket. The bucket and its contents do not change. A storage connection ' +
        'that flows, executions or access grants use cannot be deleted.'
      }
      actions={
        <SpaceBetween direction="horizontal" size="xs">
          {useForDataExploration && can('storage:download', id) && (
            <ButtonTo href={`/data/${id}`}>Explore data</ButtonTo>
          )}
          {can('storage:share', id) && <ButtonTo href={`/access/${id}`}>Manage data access</ButtonTo>}
          {useForRunUpload && can('storage:write', id) && <DiscoverButton storage={storage} />}
        </SpaceBetween>
      }
    >
      {useForRunUpload && <IgnoredFolders id={id} />}
    </ConnectionView>
  );
}

/** Searches the bucket for new runs. */
function DiscoverButton({ storage: { id, name } }: { storage: Storage }): ReactNode {
  const notify = useNotify();
  const discover = useMutation({
    mutationFn: () => ask(api.POST('/v1/storage-connections/{id}/discover', { params: { path: { id } } })),
    onSuccess: () =>
      notify.success(
        <>
          polony searches {name} for runs now. New ones appear under <LinkTo href="/runs">Runs</LinkTo>.
        </>,
      ),
    onError: (error) => notify.failure(error, 'The search could not be started'),
  });
  return (
    <Button loading={discover.isPending} onClick={() => discover.mutate()}>
      Discover runs now
    </Button>
  );
}

/** Folders that look like runs and that polony ignores. polony lists the bucket for it, so only on request. */
function IgnoredFolders({ id }: { id: string }): ReactNode {
  const [isWanted, setWanted] = useState(false);
  const list = useInfiniteQuery({
    queryKey: ['ignored-folders', id],
    queryFn: ({ pageParam }) =>
      ask(
        api.GET('/v1/storage-connections/{id}/ignored-folders', {
          params: { path: { id }, query: { pageSize: 50, ...(pageParam !== '' && { pageToken: pageParam }) } },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: ({ nextPageToken }) => (nextPageToken === '' ? undefined : nextPageToken),
    enabled: isWanted,
    refetchOnWindowFocus: false,
    staleTime: Infinity,
  });
  const folders = list.data?.pages.flatMap(({ ignoredFolders }) => ignoredFolders) ?? [];
  const search = (): void => {
    if (isWanted) void list.refetch();
    else setWanted(true);
  };
  return (
    <Container
      header={
        <Header
          variant="h2"
          description="Folders of the bucket that look like runs, and why polony does not show them as runs."
          actions={
            <Button loading={list.isFetching && !list.isFetchingNextPage} onClick={search}>
              {isWanted ? 'Search again' : 'Search for ignored folders'}
            </Button>
          }
        >
          Ignored folders
        </Header>
      }
    >
      {list.isError && (
        <Failure error={list.error} what="The folders could not be listed" onRetry={() => void list.refetch()} />
      )}
      {isWanted && !list.isError && (
        <SpaceBetween size="s">
          <Table
            variant="embedded"
            wrapLines
            items={folders}
            trackBy="uri"
            loading={list.isPending}
            loadingText="Listing the bucket"
            ariaLabels={{ tableLabel: 'Ignored folders' }}
            empty={
              list.hasNextPage ? 'None yet: more folders follow.' : 'polony ignores no folder that looks like a run.'
            }
            columnDefinitions={[
              {
                id: 'folder',
                header: 'Folder',
                isRowHeader: true,
                minWidth: 200,
                cell: ({ folder, uri }) => (
                  <>
                    {folder} <Copyable text={uri} name={`the S3 address of ${folder}`} />
                  </>
                ),
              },
              { id: 'message', header: 'Why, and what to do', minWidth: 260, cell: ({ message }) => message },
            ]}
          />
          {list.hasNextPage && (
            <Button loading={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
              Show more
            </Button>
          )}
        </SpaceBetween>
      )}
    </Container>
  );
}

/** Adds a storage connection. */
export function NewStoragePage(): ReactNode {
  return (
    <FormPage
      kind="storageConnection"
      title="Add storage"
      description="Connects a bucket of an AWS account that is connected already."
    >
      {({ saved, cancel }) => <StorageForm onSaved={saved} onCancel={cancel} />}
    </FormPage>
  );
}

/** Changes a storage connection. */
export function EditStoragePage(): ReactNode {
  return (
    <OfAddress kind="storageConnection">
      {(storage) => (
        <FormPage
          kind="storageConnection"
          one={storage}
          title={`Edit ${storage.name}`}
          description="Once it has runs, its provider, region, bucket and prefix cannot change."
        >
          {({ saved, cancel }) => <StorageForm storage={storage} onSaved={saved} onCancel={cancel} />}
        </FormPage>
      )}
    </OfAddress>
  );
}
