import Button from '@cloudscape-design/components/button';
import Link from '@cloudscape-design/components/link';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { useNotify } from '../layout/notifications.js';
import { type ListColumn, ListTable } from '../shared/ListTable.js';
import { useListSearch, useTexts } from '../shared/listSearch.js';
import { Time } from '../shared/Time.js';
import { formatNumber } from '../shared/format.js';
import { useAction } from '../shared/useAction.js';
import { AuditDetails, type AuditEntry } from './AuditDetails.js';
import { AuditForm } from './AuditForm.js';
import { Outcome } from './Outcome.js';
import { exportAudit } from './exportAudit.js';
import { AUDIT_TEXTS } from './search.js';

/** `ExecutionService_CancelExecution` as people read it. */
const actionText = (action: string): string => {
  const words = action
    .replace(/^[A-Za-z]+Service_/, '')
    .replace('.', ' ')
    .replace(/(?<=[a-z0-9])(?=[A-Z])/g, ' ')
    .toLowerCase()
    .replace('api key', 'API key');
  return words.charAt(0).toUpperCase() + words.slice(1);
};

/** Who did what: searched by what the address has, newest first. */
export function AuditPage(): ReactNode {
  usePageTitle({ text: 'Audit log', href: '/audit' });
  const notify = useNotify();
  const [texts, setTexts] = useTexts(...AUDIT_TEXTS);
  const [{ pageToken }] = useListSearch();
  const [shown, setShown] = useState<AuditEntry>();
  const search = Object.fromEntries(
    AUDIT_TEXTS.flatMap((name) => (texts[name] === undefined ? [] : [[name, texts[name]]])),
  );
  const entries = useQuery({
    queryKey: ['audit', search, pageToken],
    queryFn: () =>
      ask(
        api.GET('/v1/audit-log', {
          params: { query: { ...search, pageSize: 100, ...(pageToken !== undefined && { pageToken }) } },
        }),
      ),
    placeholderData: keepPreviousData,
  });
  const exporting = useAction(async () => {
    try {
      const { count, hasMore } = await exportAudit(search);
      notify.success(
        hasMore
          ? `The file has the newest ${formatNumber(count)} entries. Narrow the time range to get the others.`
          : `The file has ${formatNumber(count)} entries.`,
      );
    } catch (error) {
      notify.failure(error, 'The audit log could not be exported');
    }
  });
  const columns: ListColumn<AuditEntry>[] = [
    { id: 'time', header: 'Time', minWidth: 130, cell: ({ time }) => <Time value={time} /> },
    { id: 'caller', header: 'Caller', cell: ({ caller }) => caller.name },
    {
      id: 'action',
      header: 'Action',
      isRowHeader: true,
      minWidth: 180,
      cell: (entry) => (
        <Link
          href="#"
          ariaLabel={`${actionText(entry.action)}: details`}
          onFollow={(event) => {
            event.preventDefault();
            setShown(entry);
          }}
        >
          {actionText(entry.action)}
        </Link>
      ),
    },
    {
      id: 'resource',
      header: 'Resource',
      cell: ({ resourceType, resourceId }) => [resourceType, resourceId].filter((each) => each !== null).join(' '),
    },
    { id: 'outcome', header: 'Outcome', minWidth: 190, cell: (entry) => <Outcome entry={entry} /> },
    { id: 'address', header: 'Address', cell: ({ address }) => address ?? '' },
    { id: 'requestId', header: 'Request', isOptional: true, cell: ({ requestId }) => requestId },
    { id: 'ended', header: 'Ended', isOptional: true, cell: ({ timeEnded }) => <Time value={timeEnded} /> },
    { id: 'id', header: 'ID', isOptional: true, cell: ({ id }) => id },
  ];
  const { data } = entries;
  const clear = (): void => setTexts(Object.fromEntries(AUDIT_TEXTS.map((name) => [name, undefined])));
  return (
    <>
      <ListTable
        name="audit"
        title="Audit log"
        description="Who changed what, who got credentials or download addresses, and who was refused."
        columns={columns}
        page={data === undefined ? undefined : { ...data, items: data.entries }}
        isLoading={entries.isPending}
        error={entries.error}
        onRetry={() => void entries.refetch()}
        empty={<b>Nothing is recorded yet</b>}
        search={{
          form: (
            <AuditForm
              // A search from elsewhere, such as the detail of an entry, fills the form again.
              key={JSON.stringify(search)}
              search={search}
              actions={[...new Set(data?.entries.map(({ action }) => action))]}
              error={entries.error}
              onSearch={setTexts}
              onClear={clear}
            />
          ),
          isActive: Object.keys(search).length > 0,
          onClear: clear,
        }}
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            <Button iconName="refresh" ariaLabel="Load the audit log again" onClick={() => void entries.refetch()} />
            <Button
              iconName="download"
              loading={exporting.isPending}
              ariaLabel="Export CSV of what is searched, at most the newest 100,000 entries"
              onClick={() => void exporting.run()}
            >
              Export CSV
            </Button>
          </SpaceBetween>
        }
      />
      {shown !== undefined && (
        <AuditDetails
          entry={shown}
          onSearch={(next) => {
            setShown(undefined);
            setTexts({ ...Object.fromEntries(AUDIT_TEXTS.map((name) => [name, undefined])), ...next });
          }}
          onClose={() => setShown(undefined)}
        />
      )}
    </>
  );
}
