import Button from '@cloudscape-design/components/button';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { useChanges } from '../app/changes.js';
import { api, ask } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { LinkTo } from '../shared/LinkTo.js';
import { ListTable } from '../shared/ListTable.js';
import { useListSearch } from '../shared/listSearch.js';
import { useFilter } from '../shared/useFilter.js';
import { type BulkAction, BulkDialog, buttonOf, isEligible, mayDo } from './bulk.js';
import { type Execution, EXECUTION_COLUMNS } from './columns.js';

const ACTIONS: readonly BulkAction[] = ['cancel', 'retry', 'relaunch'];

/** All executions that the caller may see. */
export function ExecutionsPage(): ReactNode {
  usePageTitle({ text: 'Executions', href: '/executions' });
  useChanges({ topics: ['executions'] });
  const { can } = useSession();
  const [search] = useListSearch();
  const filter = useFilter('executions');
  const [selected, setSelected] = useState<Execution[]>([]);
  const [action, setAction] = useState<BulkAction>();
  const executions = useQuery({
    queryKey: ['executions', 'list', search],
    queryFn: () =>
      ask(api.GET('/v1/executions', { params: { query: { ...search, pageSize: 100, includeTotalCount: true } } })),
    placeholderData: keepPreviousData,
  });
  const { data } = executions;
  const actions = ACTIONS.filter((each) => mayDo(each, can));
  // The rows as they are now: another person may have cancelled one since it was chosen.
  const current = selected.map((each) => data?.executions.find(({ id }) => id === each.id) ?? each);
  return (
    <>
      <ListTable
        name="executions"
        title="Executions"
        columns={EXECUTION_COLUMNS}
        page={data === undefined ? undefined : { ...data, items: data.executions }}
        isLoading={executions.isPending}
        error={executions.error}
        onRetry={() => void executions.refetch()}
        filter={filter}
        {...(actions.length > 0 && { selection: { items: current, onChange: setSelected } })}
        empty={
          <SpaceBetween size="s">
            <b>No executions yet</b>
            <span>Start a flow for a run, or let a flow start automatically.</span>
            {can('runs:read') && <LinkTo href="/runs">Choose a run</LinkTo>}
          </SpaceBetween>
        }
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            <Button
              iconName="refresh"
              ariaLabel="Load the executions again"
              onClick={() => void executions.refetch()}
            />
            {actions.map((each) => (
              <Button
                key={each}
                disabled={!current.some((one) => mayDo(each, can, one.id) && isEligible(each, one))}
                onClick={() => setAction(each)}
              >
                {buttonOf(each)}
              </Button>
            ))}
          </SpaceBetween>
        }
      />
      {action !== undefined && (
        <BulkDialog
          action={action}
          executions={current}
          onClose={(haveAllSucceeded) => {
            setAction(undefined);
            if (haveAllSucceeded) setSelected([]);
          }}
        />
      )}
    </>
  );
}
