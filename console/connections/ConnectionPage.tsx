import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Container from '@cloudscape-design/components/container';
import ContentLayout from '@cloudscape-design/components/content-layout';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs, { type KeyValuePairsProps } from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useNavigate, useParams } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import { useChanges } from '../app/changes.js';
import { ApiFailure } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { useNotify } from '../layout/notifications.js';
import { ButtonTo } from '../shared/ButtonTo.js';
import { ConfirmByName } from '../shared/ConfirmByName.js';
import { Copyable } from '../shared/Copyable.js';
import { Failure } from '../shared/Failure.js';
import { LinkTo } from '../shared/LinkTo.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { VerificationPanel } from '../verification/VerificationPanel.js';
import { type Connected, DELETERS, type Kind, KINDS, type OfKind } from './kinds.js';
import { refreshConnections, useOne } from './queries.js';

/** Reads what the address names. Shows why it cannot be shown otherwise. */
export function OfAddress<K extends Kind>({
  kind,
  children,
}: {
  kind: K;
  children: (one: OfKind[K]) => ReactNode;
}): ReactNode {
  const { id } = useParams({ strict: false });
  const { noun, title, href } = KINDS[kind];
  const { data, error, isPending, refetch } = useOne(kind, id);
  if (isPending)
    return (
      <Box padding="l">
        <StatusIndicator type="loading">Loading the {noun}</StatusIndicator>
      </Box>
    );
  if (data !== undefined) return children(data);
  const isAway = error instanceof ApiFailure && (error.status === 404 || error.status === 403);
  return (
    <ContentLayout header={<Header variant="h1">{sentence(noun)}</Header>}>
      <SpaceBetween size="m">
        <Failure
          error={error}
          what={`The ${noun} cannot be shown`}
          {...(!isAway && { onRetry: () => void refetch() })}
        />
        <LinkTo href={href}>{title}</LinkTo>
      </SpaceBetween>
    </ContentLayout>
  );
}

/** With a capital letter at its beginning. */
const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

export interface ConnectionViewProps {
  kind: Kind;
  one: Connected;
  facts: KeyValuePairsProps['items'];
  /** What deleting it does and does not do. */
  consequence: string;
  actions?: ReactNode;
  children?: ReactNode;
}

/** The page of one provider, connection or flow: its settings, what can be done, and its verification. */
export function ConnectionView({ kind, one, facts, consequence, actions, children }: ConnectionViewProps): ReactNode {
  const { title, href, noun, write } = KINDS[kind];
  const { id, name } = one;
  const { can } = useSession();
  const navigate = useNavigate();
  const notify = useNotify();
  const [isDeleting, setDeleting] = useState(false);
  usePageTitle({ text: title, href }, { text: name, href: `${href}/${id}` });
  useChanges({ topics: ['verifications'] });
  const mayWrite = can(write, id);
  const remove = async (): Promise<void> => {
    await DELETERS[kind](id);
    notify.success(`The ${noun} ${name} is deleted.`);
    await navigate({ to: href });
    queryClient.removeQueries({ queryKey: [KINDS[kind].query, 'one', id] });
    void refreshConnections();
  };
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={one.statusDescription}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              {actions}
              {mayWrite && <ButtonTo href={`${href}/${id}/edit`}>Edit</ButtonTo>}
              {mayWrite && <Button onClick={() => setDeleting(true)}>Delete</Button>}
            </SpaceBetween>
          }
        >
          {name}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Container header={<Header variant="h2">Settings</Header>}>
          <KeyValuePairs
            columns={3}
            items={[
              { label: 'Status', value: <Status value={one.status} /> },
              ...facts,
              { label: 'Last verified', value: <Time value={one.timeVerified} ago /> },
              { label: 'Last used', value: <Time value={one.timeUsed} ago /> },
              { label: 'Created', value: <Time value={one.timeCreated} /> },
              { label: 'Changed', value: <Time value={one.timeUpdated} /> },
              { label: 'ID', value: <Copyable text={id} name="the ID" /> },
            ]}
          />
        </Container>
        {children}
        <VerificationPanel kind={kind} id={id} />
      </SpaceBetween>
      {isDeleting && (
        <ConfirmByName
          action="Delete"
          kind={`the ${noun}`}
          name={name}
          consequence={consequence}
          onConfirm={remove}
          onClose={() => setDeleting(false)}
        />
      )}
    </ContentLayout>
  );
}

/** A page with a form. */
export function FormPage({
  kind,
  one,
  title,
  description,
  children,
}: {
  kind: Kind;
  /** What is changed; absent where one is added. */
  one?: { id: string; name: string };
  title: string;
  description: ReactNode;
  children: (go: { saved: (one: { id: string; name: string }) => void; cancel: () => void }) => ReactNode;
}): ReactNode {
  const { title: list, href, noun } = KINDS[kind];
  const navigate = useNavigate();
  const notify = useNotify();
  const own = one === undefined ? `${href}/new` : `${href}/${one.id}/edit`;
  usePageTitle({ text: list, href }, ...(one === undefined ? [] : [{ text: one.name, href: `${href}/${one.id}` }]), {
    text: one === undefined ? title : 'Edit',
    href: own,
  });
  return (
    <ContentLayout
      header={
        <Header variant="h1" description={description}>
          {title}
        </Header>
      }
    >
      <Container>
        {children({
          saved: ({ id, name }) => {
            notify.success(
              one === undefined
                ? `The ${noun} ${name} is created. polony verifies it now.`
                : `The ${noun} ${name} is saved. polony verifies it now.`,
            );
            void navigate({ to: `${href}/${id}` });
          },
          cancel: () => void navigate({ to: one === undefined ? href : `${href}/${one.id}` }),
        })}
      </Container>
    </ContentLayout>
  );
}
