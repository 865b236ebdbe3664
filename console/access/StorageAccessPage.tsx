import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Container from '@cloudscape-design/components/container';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import { api, ask, type Schema } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useSession } from '../auth/session.js';
import { useOne } from '../connections/queries.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { useNotify } from '../layout/notifications.js';
import { Confirm } from '../shared/Confirm.js';
import { CopyableCode } from '../shared/Copyable.js';
import { Failure } from '../shared/Failure.js';
import { type ListColumn, ListTable } from '../shared/ListTable.js';
import { useListSearch, useTexts } from '../shared/listSearch.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { useAction } from '../shared/useAction.js';
import { type Grant, GrantDetails, Problem } from './GrantDetails.js';
import { ShareDialog } from './ShareDialog.js';

/** How often the page asks again while polony writes the policy, in milliseconds. */
const WRITING_MS = 3_000;

const isBeingWritten = ({ state }: Grant): boolean => state === 'pending' || state === 'removing';
const needsRepair = ({ state }: Grant): boolean => state === 'missing' || state === 'changed' || state === 'failed';

type Dialog = { kind: 'share' } | { kind: 'details' | 'remove'; id: string };

/** Who may read a bucket: shares it, repairs what others changed, and takes access back. */
export function StorageAccessPage(): ReactNode {
  const { storageId } = useParams({ strict: false });
  const id = storageId ?? '';
  const { can, canAll } = useSession();
  const notify = useNotify();
  const [{ pageToken }] = useListSearch();
  // The S3 address of a folder to share: pages with files lead here.
  const [{ share }, setTexts] = useTexts('share');
  const [dialog, setDialog] = useState<Dialog | undefined>(share === undefined ? undefined : { kind: 'share' });
  const storage = useOne('storageConnection', can('storage:read', id) ? id : undefined);
  const connection = storage.data;
  const name = connection?.name ?? id;
  usePageTitle({ text: 'Manage Data Access', href: '/access' }, { text: name, href: `/access/${id}` });
  const grants = useQuery({
    queryKey: ['grants', id, pageToken],
    queryFn: () =>
      ask(
        api.GET('/v1/storage-connections/{id}/access-grants', {
          params: { path: { id }, query: { pageSize: 100, ...(pageToken !== undefined && { pageToken }) } },
        }),
      ),
    placeholderData: keepPreviousData,
    refetchInterval: ({ state }) => (state.data?.accessGrants.some(isBeingWritten) === true ? WRITING_MS : false),
  });
  const reload = (): Promise<void> => queryClient.invalidateQueries({ queryKey: ['grants', id] });
  const repair = useAction(async (grant: Grant) => {
    try {
      await ask(
        api.POST('/v1/storage-connections/{id}/access-grants/{grant_id}/repair', {
          params: { path: { id, grant_id: grant.id } },
        }),
      );
      notify.success(`The grant of ${grant.principal} is written again.`);
      setDialog(undefined);
    } catch (error) {
      notify.failure(error, 'The grant could not be repaired');
    }
    await reload();
  });
  const { data } = grants;
  const shown =
    dialog === undefined || dialog.kind === 'share'
      ? undefined
      : data?.accessGrants.find((grant) => grant.id === dialog.id);
  const onShared = (grant: Grant): void => {
    void reload();
    setTexts({ share: undefined });
    notify.success(
      grant.state === 'active'
        ? `${grant.principal} may now read ${grant.uri}.`
        : `polony is writing the grant of ${grant.principal} into the bucket policy.`,
    );
    // The reader must see what else the principal needs.
    setDialog(grant.warnings.length > 0 ? { kind: 'details', id: grant.id } : undefined);
  };
  return (
    <SpaceBetween size="l">
      {data?.policyProblem != null && (
        <Problem problem={data.policyProblem} what="polony cannot manage the bucket policy" />
      )}
      <ListTable
        name="grants"
        title={`Who may read ${name}`}
        {...(connection !== undefined && { description: connection.uri })}
        columns={columnsOf((kind, grant) =>
          kind === 'repair' ? void repair.run(grant) : setDialog({ kind, id: grant.id }),
        )}
        page={data === undefined ? undefined : { items: data.accessGrants, nextPageToken: data.nextPageToken }}
        isLoading={grants.isPending}
        error={grants.error}
        onRetry={() => void grants.refetch()}
        empty={
          <SpaceBetween size="s">
            <b>Nobody else may read this bucket by a grant of polony</b>
            <span>Share a run or the whole bucket with a role, a user or an account.</span>
            <Button onClick={() => setDialog({ kind: 'share' })}>Share data</Button>
          </SpaceBetween>
        }
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            <Button
              iconName="refresh"
              ariaLabel="Read the bucket policy again"
              loading={grants.isRefetching || repair.isPending}
              onClick={() => void grants.refetch()}
            />
            <Button variant="primary" onClick={() => setDialog({ kind: 'share' })}>
              Share data
            </Button>
          </SpaceBetween>
        }
      />
      {storage.isError && <Failure error={storage.error} what="The storage connection could not be loaded" />}
      {(data?.foreignStatements ?? []).length > 0 && <ForeignStatements statements={data!.foreignStatements} />}
      {dialog?.kind === 'share' && (
        <ShareDialog
          storageId={id}
          uri={connection?.uri ?? ''}
          folder={share ?? ''}
          mayShareBucket={canAll('storage:share')}
          onDone={onShared}
          onFailed={() => void reload()}
          onClose={() => {
            setDialog(undefined);
            setTexts({ share: undefined });
          }}
        />
      )}
      {shown !== undefined && dialog?.kind === 'details' && (
        <GrantDetails
          grant={shown}
          onRepair={needsRepair(shown) ? () => void repair.run(shown) : undefined}
          isRepairing={repair.isPending}
          onClose={() => setDialog(undefined)}
        />
      )}
      {shown !== undefined && dialog?.kind === 'remove' && (
        <Confirm
          question="Remove this grant?"
          action="Remove"
          onClose={() => setDialog(undefined)}
          onConfirm={async () => {
            await ask(
              api.DELETE('/v1/storage-connections/{id}/access-grants/{grant_id}', {
                params: { path: { id, grant_id: shown.id } },
              }),
            );
            notify.success(`polony removes the grant of ${shown.principal} from the bucket policy.`);
            await reload();
          }}
        >
          <p>
            <b>{shown.principal}</b> may no longer read <b>{shown.uri}</b>. Statements of others stay in the bucket
            policy.
          </p>
        </Confirm>
      )}
    </SpaceBetween>
  );
}

function columnsOf(act: (kind: 'details' | 'repair' | 'remove', grant: Grant) => void): ListColumn<Grant>[] {
  return [
    {
      id: 'principal',
      header: 'Principal',
      isRowHeader: true,
      minWidth: 220,
      cell: ({ principal }) => principal,
    },
    {
      id: 'state',
      header: 'State',
      minWidth: 150,
      cell: (grant) => (
        <>
          <Status value={grant.state} />
          {grant.warnings.length > 0 && (
            <>
              <br />
              <Status value="WARNING" text="Needs more: see details" />
            </>
          )}
        </>
      ),
    },
    { id: 'description', header: 'Description', minWidth: 130, cell: ({ description }) => description },
    { id: 'uri', header: 'May read', minWidth: 180, cell: ({ uri }) => uri },
    {
      id: 'expires',
      header: 'Expires',
      cell: ({ timeExpires }) => (timeExpires === null ? 'Never' : <Time value={timeExpires} ago />),
    },
    { id: 'by', header: 'Shared by', isOptional: true, cell: ({ createdBy }) => createdBy },
    { id: 'created', header: 'Shared', isOptional: true, cell: ({ timeCreated }) => <Time value={timeCreated} /> },
    { id: 'id', header: 'ID', isOptional: true, cell: ({ id }) => id },
    {
      id: 'actions',
      header: 'Actions',
      cell: (grant) => (
        <ButtonDropdown
          variant="inline-icon"
          expandToViewport
          ariaLabel={`Actions for the grant of ${grant.principal}`}
          items={[
            { id: 'details', text: 'Details' },
            ...(needsRepair(grant) ? [{ id: 'repair', text: 'Repair' }] : []),
            ...(grant.state === 'removing' ? [] : [{ id: 'remove', text: 'Remove' }]),
          ]}
          onItemClick={({ detail }) => act(detail.id as 'details' | 'repair' | 'remove', grant)}
        />
      ),
    },
  ];
}

/** Statements that look like polony's, but that belong to no grant of this installation. */
function ForeignStatements({ statements }: { statements: readonly Schema<'ForeignStatement'>[] }): ReactNode {
  return (
    <Container
      header={
        <Header
          variant="h2"
          counter={`(${statements.length})`}
          description={
            'The bucket policy has these statements under names like those of polony, but no grant here belongs to ' +
            'them: the vendor, another installation or a person wrote them. polony does not change them.'
          }
        >
          Statements of others
        </Header>
      }
    >
      <SpaceBetween size="s">
        {statements.map(({ sid, principal, statement }) => (
          <ExpandableSection key={sid} headerText={sid}>
            <Box variant="awsui-key-label">Principal</Box>
            <Box>{principal ?? 'None in its name'}</Box>
            <CopyableCode name={`the statement ${sid}`} text={JSON.stringify(statement, undefined, 2)} />
          </ExpandableSection>
        ))}
      </SpaceBetween>
    </Container>
  );
}
