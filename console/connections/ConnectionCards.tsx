import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Cards, { type CardsProps } from '@cloudscape-design/components/cards';
import Header from '@cloudscape-design/components/header';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import { useChanges } from '../app/changes.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { ButtonTo } from '../shared/ButtonTo.js';
import { Failure } from '../shared/Failure.js';
import { LinkTo } from '../shared/LinkTo.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { type Connected, type Kind, KINDS } from './kinds.js';
import { useList, useOne } from './queries.js';

/** What every item of a list has. */
interface Item {
  id: string;
  name: string;
  status: string;
}

export interface ConnectionCardsProps {
  kind: Kind;
  description: string;
  /** What the button says that adds one. */
  add: string;
  /** What nobody has connected yet, and what it is for. */
  empty: string;
  /** What cards show beside the state. */
  facts: readonly { id: string; header: string; content: (id: string) => ReactNode }[];
}

/** All of a kind, as cards with their state. */
export function ConnectionCards({ kind, description, add, empty, facts }: ConnectionCardsProps): ReactNode {
  const { title, href, plural, write } = KINDS[kind];
  const { canAll } = useSession();
  usePageTitle({ text: title, href });
  useChanges({ topics: ['verifications'] });
  const list = useList(kind);
  const items: readonly Item[] = list.items ?? [];
  const addButton = canAll(write) && (
    <ButtonTo variant="primary" href={`${href}/new`}>
      {add}
    </ButtonTo>
  );
  const state = (id: string, show: (one: Connected) => ReactNode): ReactNode => (
    <OfOne kind={kind} id={id} show={show} />
  );
  return (
    <Cards<Item>
      variant="full-page"
      stickyHeader
      items={items}
      trackBy="id"
      loading={list.isPending}
      loadingText={`Loading the ${plural}`}
      cardsPerRow={[{ cards: 1 }, { minWidth: 700, cards: 2 }, { minWidth: 1300, cards: 3 }]}
      ariaLabels={{ itemSelectionLabel: (_, { name }) => name, selectionGroupLabel: title }}
      header={
        <Header
          variant="awsui-h1-sticky"
          description={description}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button iconName="refresh" ariaLabel={`Load the ${plural} again`} onClick={() => void list.refetch()} />
              {addButton}
            </SpaceBetween>
          }
        >
          {title}
        </Header>
      }
      cardDefinition={{
        header: ({ id, name }) => (
          <LinkTo fontSize="heading-m" href={`${href}/${id}`}>
            {name}
          </LinkTo>
        ),
        sections: [
          {
            id: 'status',
            header: 'Status',
            width: 100,
            content: ({ id, status }) => (
              <SpaceBetween size="xxs">
                <Status value={status} />
                {state(id, ({ statusDescription }) => statusDescription)}
              </SpaceBetween>
            ),
          },
          ...facts.map<CardsProps.SectionDefinition<Item>>(({ id: fact, header, content }) => ({
            id: fact,
            header,
            width: 50,
            content: ({ id }) => content(id),
          })),
          {
            id: 'verified',
            header: 'Last verified',
            width: 50,
            content: ({ id }) => state(id, ({ timeVerified }) => <Time value={timeVerified} ago />),
          },
          {
            id: 'used',
            header: 'Last used',
            width: 50,
            content: ({ id }) => state(id, ({ timeUsed }) => <Time value={timeUsed} ago />),
          },
        ],
      }}
      empty={
        list.isError ? (
          <Failure error={list.error} what={`The ${plural} could not be loaded`} onRetry={() => void list.refetch()} />
        ) : (
          <Box textAlign="center">
            <SpaceBetween size="s">
              <b>{empty}</b>
              {canAll('providers:write') && <LinkTo href="/setup">Set up an account step by step</LinkTo>}
              {addButton}
            </SpaceBetween>
          </Box>
        )
      }
      pagination={
        list.hasNextPage && (
          <Button loading={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
            Show more
          </Button>
        )
      }
    />
  );
}

/** Something of one item. The list of storage connections lacks most of it, so each card reads its own. */
export function OfOne<K extends Kind>({
  kind,
  id,
  show,
}: {
  kind: K;
  id: string;
  show: (one: NonNullable<ReturnType<typeof useOne<K>>['data']>) => ReactNode;
}): ReactNode {
  const { data, isError } = useOne(kind, id);
  if (data === undefined) return isError ? 'could not be loaded' : '…';
  return show(data);
}

/** The name of something, as a link where the caller may see it. */
export function NameOf({ kind, id }: { kind: Kind; id: string }): ReactNode {
  const { can } = useSession();
  const mayRead = can(KINDS[kind].read, id);
  const { data } = useOne(kind, mayRead ? id : undefined);
  if (!mayRead) return id;
  return <LinkTo href={`${KINDS[kind].href}/${id}`}>{data?.name ?? id}</LinkTo>;
}
