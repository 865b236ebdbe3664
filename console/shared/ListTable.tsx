import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import CollectionPreferences from '@cloudscape-design/components/collection-preferences';
import FormField from '@cloudscape-design/components/form-field';
import Header from '@cloudscape-design/components/header';
import Input from '@cloudscape-design/components/input';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table, { type TableProps } from '@cloudscape-design/components/table';
import { useNavigate } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import { Failure } from './Failure.js';
import { FilterBar, type FilterBarProps } from './FilterBar.js';
import { formatNumber } from './format.js';
import { type ListSearch, readListSearch, useListSearch } from './listSearch.js';
import { usePreference } from './preferences.js';

/** A column of a list. */
export interface ListColumn<T> {
  id: string;
  header: string;
  cell: (item: T) => ReactNode;
  /** What `orderBy` of the API calls it; absent where the API does not sort by it. */
  orderBy?: string;
  /** Hidden until the reader chooses it. */
  isOptional?: boolean;
  /** Names the row for those who hear the page. */
  isRowHeader?: boolean;
  minWidth?: number;
}

export interface ListPage<T> {
  items: readonly T[];
  nextPageToken?: string;
  previousPageToken?: string;
  totalCount?: number;
}

export interface ListTableProps<T extends { id: string }> {
  /** Names the table's preferences in this browser, such as `runs`. */
  name: string;
  title: string;
  description?: ReactNode;
  columns: readonly ListColumn<T>[];
  page: ListPage<T> | undefined;
  isLoading: boolean;
  error: unknown;
  onRetry: () => void;
  /** What to do next where nothing exists yet. */
  empty: ReactNode;
  actions?: ReactNode;
  filter?: Omit<FilterBarProps, 'filter' | 'onChange' | 'plural' | 'countText'>;
  /** A search of the page's own, in place of the filter of the API. */
  search?: { form: ReactNode; isActive: boolean; onClear: () => void };
  /** Whether the list is a part of a page, and not the page itself. */
  isPart?: boolean;
  selection?: { items: readonly T[]; onChange: (items: T[]) => void; isDisabled?: (item: T) => boolean };
}

/** What the API calls an order: `name` or `name desc`. */
function readOrder(orderBy: string | undefined): { field: string; isDescending: boolean } | undefined {
  if (orderBy === undefined) return undefined;
  const [field = '', direction] = orderBy.split(' ');
  return { field, isDescending: direction === 'desc' };
}

/** Names for filters and orders, which this browser keeps. */
function SavedViews({ name, search }: { name: string; search: ListSearch }): ReactNode {
  const [views, setViews] = usePreference<Record<string, ListSearch>>(`views.${name}`, {});
  const [isNaming, setNaming] = useState(false);
  const [label, setLabel] = useState('');
  const navigate = useNavigate();
  const save = (): void => {
    const { pageToken: _, ...view } = search;
    if (label.trim() === '') return;
    setViews({ ...views, [label.trim()]: view });
    setNaming(false);
  };
  const choose = (id: string): void => {
    const [action, ...rest] = id.split(':');
    const view = rest.join(':');
    if (action === 'save') setNaming(true);
    else if (action === 'remove') setViews(Object.fromEntries(Object.entries(views).filter(([each]) => each !== view)));
    else void navigate({ to: '.', search: readListSearch({ ...views[view] }) });
  };
  const names = Object.keys(views);
  return (
    <>
      <ButtonDropdown
        items={[
          ...(names.length > 0
            ? [
                { text: 'Views', items: names.map((each) => ({ id: `open:${each}`, text: each })) },
                { text: 'Remove', items: names.map((each) => ({ id: `remove:${each}`, text: `Remove ${each}` })) },
              ]
            : []),
          { id: 'save:', text: 'Save this view…' },
        ]}
        onItemClick={({ detail }) => choose(detail.id)}
      >
        Views
      </ButtonDropdown>
      {isNaming && (
        <Modal
          visible
          header="Save this view"
          closeAriaLabel="Close"
          onDismiss={() => setNaming(false)}
          footer={
            <Box float="right">
              <Button variant="primary" disabled={label.trim() === ''} onClick={save}>
                Save
              </Button>
            </Box>
          }
        >
          <FormField label="Name" description="This browser keeps the filter and the order under this name.">
            <Input
              autoFocus
              value={label}
              onChange={({ detail }) => setLabel(detail.value)}
              onKeyDown={({ detail }) => detail.key === 'Enter' && save()}
            />
          </FormField>
        </Modal>
      )}
    </>
  );
}

/** A page of a list of the API: filter, order and page are in the address. */
export function ListTable<T extends { id: string }>(props: ListTableProps<T>): ReactNode {
  const { name, title, description, columns, page, isLoading, error, onRetry, empty, actions, filter, selection } =
    props;
  const { search: ownSearch, isPart = false } = props;
  const [search, setSearch] = useListSearch();
  const [visible, setVisible] = usePreference<readonly string[]>(
    `columns.${name}`,
    columns.filter(({ isOptional }) => isOptional !== true).map(({ id }) => id),
  );
  const [wrap, setWrap] = usePreference(`wrap.${name}`, true);
  const order = readOrder(search.orderBy);
  const definitions = columns.map<TableProps.ColumnDefinition<T>>(
    ({ id, header, cell, orderBy, isRowHeader, minWidth }) => ({
      id,
      header,
      cell,
      ...(orderBy !== undefined && { sortingField: orderBy }),
      ...(isRowHeader === true && { isRowHeader }),
      ...(minWidth !== undefined && { minWidth }),
    }),
  );
  const sorted = definitions.find(({ sortingField }) => sortingField !== undefined && sortingField === order?.field);
  const isFiltered = ownSearch?.isActive ?? search.filter !== undefined;
  const clear = ownSearch?.onClear ?? (() => setSearch({ filter: '' }));
  const count = page?.totalCount;
  return (
    <Table<T>
      variant={isPart ? 'container' : 'full-page'}
      stickyHeader={!isPart}
      trackBy="id"
      items={page?.items ?? []}
      loading={isLoading && page === undefined}
      loadingText={`Loading ${title.toLowerCase()}`}
      wrapLines={wrap}
      columnDefinitions={definitions}
      columnDisplay={definitions.map(({ id = '' }) => ({ id, visible: visible.includes(id) }))}
      {...(sorted !== undefined && { sortingColumn: sorted, sortingDescending: order?.isDescending ?? false })}
      onSortingChange={({ detail }) =>
        setSearch({ orderBy: `${detail.sortingColumn.sortingField}${detail.isDescending === true ? ' desc' : ''}` })
      }
      {...(selection !== undefined && {
        selectionType: 'multi' as const,
        selectedItems: selection.items,
        onSelectionChange: ({ detail }: { detail: TableProps.SelectionChangeDetail<T> }) =>
          selection.onChange(detail.selectedItems),
        ...(selection.isDisabled !== undefined && { isItemDisabled: selection.isDisabled }),
      })}
      ariaLabels={{
        tableLabel: title,
        selectionGroupLabel: 'Choose rows',
        allItemsSelectionLabel: () => 'Choose all rows of this page',
        itemSelectionLabel: (_, item) => `Choose ${'name' in item ? String(item.name) : item.id}`,
      }}
      header={
        <Header
          variant={isPart ? 'h2' : 'awsui-h1-sticky'}
          {...(count !== undefined && { counter: `(${formatNumber(count)})` })}
          {...(description !== undefined && { description })}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              {actions}
              {filter !== undefined && <SavedViews name={name} search={search} />}
            </SpaceBetween>
          }
        >
          {title}
        </Header>
      }
      filter={
        ownSearch?.form ??
        (filter !== undefined && (
          <FilterBar
            {...filter}
            plural={title.toLowerCase()}
            filter={search.filter ?? ''}
            onChange={(text) => setSearch({ filter: text })}
            {...(isFiltered && count !== undefined && { countText: `${formatNumber(count)} found` })}
          />
        ))
      }
      pagination={
        <Pages page={page} onPage={(pageToken) => setSearch({ pageToken })} isFirst={search.pageToken === undefined} />
      }
      preferences={
        <CollectionPreferences
          title="Preferences"
          confirmLabel="Apply"
          cancelLabel="Cancel"
          preferences={{ visibleContent: visible, wrapLines: wrap }}
          wrapLinesPreference={{ label: 'Wrap lines', description: 'Shows the whole text of each cell' }}
          visibleContentPreference={{
            title: 'Columns',
            options: [
              {
                label: 'Columns',
                options: columns.map(({ id, header, isRowHeader }) => ({
                  id,
                  label: header,
                  editable: isRowHeader !== true,
                })),
              },
            ],
          }}
          onConfirm={({ detail }) => {
            setVisible(detail.visibleContent ?? []);
            setWrap(detail.wrapLines ?? true);
          }}
        />
      }
      empty={
        error != null ? (
          <Failure error={error} what={`${title} could not be loaded`} onRetry={onRetry} />
        ) : isFiltered ? (
          <Box textAlign="center">
            <SpaceBetween size="s">
              <b>Nothing matches the filter.</b>
              <Button onClick={clear}>Clear the filter</Button>
            </SpaceBetween>
          </Box>
        ) : (
          <Box textAlign="center">{empty}</Box>
        )
      }
    />
  );
}

function Pages<T>({
  page,
  onPage,
  isFirst,
}: {
  page: ListPage<T> | undefined;
  onPage: (token: string) => void;
  isFirst: boolean;
}): ReactNode {
  const next = page?.nextPageToken ?? '';
  const previous = page?.previousPageToken ?? '';
  if (next === '' && isFirst) return null;
  return (
    <SpaceBetween direction="horizontal" size="xxs">
      <Button
        iconName="angle-left"
        variant="icon"
        ariaLabel={previous === '' ? 'First page' : 'Previous page'}
        disabled={isFirst}
        onClick={() => onPage(previous)}
      />
      <Button
        iconName="angle-right"
        variant="icon"
        ariaLabel="Next page"
        disabled={next === ''}
        onClick={() => onPage(next)}
      />
    </SpaceBetween>
  );
}
