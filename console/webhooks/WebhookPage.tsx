import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import Container from '@cloudscape-design/components/container';
import Header from '@cloudscape-design/components/header';
import KeyValuePairs from '@cloudscape-design/components/key-value-pairs';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useParams } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useSession } from '../auth/session.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { useNotify } from '../layout/notifications.js';
import { Confirm } from '../shared/Confirm.js';
import { ConfirmByName } from '../shared/ConfirmByName.js';
import { Copyable } from '../shared/Copyable.js';
import { FailedPage } from '../shared/Failure.js';
import { Time } from '../shared/Time.js';
import { useAction } from '../shared/useAction.js';
import { Deliveries } from './Deliveries.js';
import { SigningSecret, type Webhook, WebhookForm } from './WebhookForm.js';
import { WebhookState } from './WebhookState.js';

/** A webhook with its deliveries. */
export function WebhookPage(): ReactNode {
  const { id = '' } = useParams({ strict: false });
  const { can } = useSession();
  const webhook = useQuery({
    queryKey: ['webhooks', 'one', id],
    queryFn: () => ask(api.GET('/v1/webhooks/{id}', { params: { path: { id } } })),
  });
  const found = webhook.data?.webhook;
  usePageTitle({ text: 'Webhooks', href: '/webhooks' }, { text: found?.url ?? id, href: `/webhooks/${id}` });
  if (webhook.isError)
    return (
      <FailedPage
        title="Webhook"
        error={webhook.error}
        what="The webhook could not be loaded"
        onRetry={() => void webhook.refetch()}
      />
    );
  if (found === undefined)
    return (
      <Box textAlign="center" padding="l">
        <Spinner size="large" /> Loading the webhook
      </Box>
    );
  const mayWrite = can('webhooks:write', id);
  return (
    <SpaceBetween size="l">
      <Summary webhook={found} mayWrite={mayWrite} />
      <Deliveries webhookId={id} mayReplay={mayWrite && found.enabled} />
    </SpaceBetween>
  );
}

type Dialog = 'edit' | 'rotate' | 'delete';

function Summary({ webhook, mayWrite }: { webhook: Webhook; mayWrite: boolean }): ReactNode {
  const notify = useNotify();
  const navigate = useNavigate();
  const [dialog, setDialog] = useState<Dialog>();
  const [secret, setSecret] = useState<string>();
  const { id, url, description, eventTypes } = webhook;
  const params = { path: { id } };
  const reload = (): void => void queryClient.invalidateQueries({ queryKey: ['webhooks'] });
  const test = useAction(async () => {
    try {
      await ask(api.POST('/v1/webhooks/{id}/test', { params }));
      notify.success('polony sends the event webhook.test. Its delivery shows what the receiver answers.');
    } catch (error) {
      notify.failure(error, 'The test event could not be sent');
    }
    await queryClient.invalidateQueries({ queryKey: ['deliveries', id] });
  });
  const close = (): void => setDialog(undefined);
  return (
    <>
      {!webhook.enabled && (
        <Alert
          type="warning"
          header="This webhook is off"
          action={mayWrite && <Button onClick={() => setDialog('edit')}>Switch it on</Button>}
        >
          {webhook.disabledReason ?? 'polony records no events for it.'}
        </Alert>
      )}
      <Container
        header={
          <Header
            variant="h1"
            actions={
              mayWrite && (
                <SpaceBetween direction="horizontal" size="xs">
                  <Button
                    loading={test.isPending}
                    disabled={!webhook.enabled}
                    disabledReason="Switch the webhook on first."
                    onClick={() => void test.run()}
                  >
                    Send a test event
                  </Button>
                  <Button onClick={() => setDialog('edit')}>Change</Button>
                  <ButtonDropdown
                    expandToViewport
                    items={[
                      { id: 'rotate', text: 'Replace the signing secret' },
                      { id: 'delete', text: 'Delete' },
                    ]}
                    onItemClick={({ detail }) => setDialog(detail.id as Dialog)}
                  >
                    More
                  </ButtonDropdown>
                </SpaceBetween>
              )
            }
          >
            {url}
          </Header>
        }
      >
        <KeyValuePairs
          columns={3}
          items={[
            { label: 'Sends events', value: <WebhookState webhook={webhook} /> },
            { label: 'Events', value: eventTypes.length === 0 ? 'All' : eventTypes.join(', ') },
            { label: 'Description', value: description === '' ? 'None' : description },
            { label: 'ID', value: <Copyable text={id} name="the ID of the webhook" /> },
            { label: 'Created', value: <Time value={webhook.timeCreated} /> },
            { label: 'Changed', value: <Time value={webhook.timeUpdated} /> },
          ]}
        />
      </Container>
      {dialog === 'edit' && (
        <WebhookForm
          webhook={webhook}
          onClose={close}
          onDone={() => {
            notify.success('The webhook is changed.');
            reload();
          }}
        />
      )}
      {dialog === 'rotate' && (
        <Confirm
          question="Replace the signing secret?"
          action="Replace"
          onClose={close}
          onConfirm={async () => {
            const rotated = await ask(api.POST('/v1/webhooks/{id}/rotate-secret', { params }));
            if (rotated.secret !== null) setSecret(rotated.secret);
            reload();
          }}
        >
          <p>
            You get a new secret. For 24 hours polony signs with the old one too, so that you can give the new one to
            the receiver.
          </p>
        </Confirm>
      )}
      {secret !== undefined && <SigningSecret secret={secret} onClose={() => setSecret(undefined)} />}
      {dialog === 'delete' && (
        <ConfirmByName
          action="Delete"
          kind="the webhook"
          name={url}
          consequence="The receiver gets no more events. Its secrets and deliveries are deleted too."
          onClose={close}
          onConfirm={async () => {
            await ask(api.DELETE('/v1/webhooks/{id}', { params }));
            await navigate({ to: '/webhooks' });
            reload();
          }}
        />
      )}
    </>
  );
}
