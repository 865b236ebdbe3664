import Alert from '@cloudscape-design/components/alert';
import type { ReactNode } from 'react';
import { Copyable } from '../shared/Copyable.js';
import { formatDuration, UNKNOWN } from '../shared/format.js';
import { ConnectionCards, OfOne } from './ConnectionCards.js';
import { ConnectionView, FormPage, OfAddress } from './ConnectionPage.js';
import type { Provider } from './kinds.js';
import { ProviderForm } from './ProviderForm.js';

const typeText = ({ credentialType }: Provider): string => (credentialType === 'role' ? 'Role' : 'Access keys');

/** All providers: the AWS accounts that polony enters. */
export function ProvidersPage(): ReactNode {
  return (
    <ConnectionCards
      kind="provider"
      description="The AWS accounts that polony enters, and how."
      add="Add a provider"
      empty="No AWS account is connected yet"
      facts={[
        {
          id: 'account',
          header: 'Account',
          content: (id) => <OfOne kind="provider" id={id} show={({ accountId }) => accountId ?? UNKNOWN} />,
        },
        {
          id: 'type',
          header: 'Credential type',
          content: (id) => <OfOne kind="provider" id={id} show={typeText} />,
        },
      ]}
    />
  );
}

/** One provider. */
export function ProviderPage(): ReactNode {
  return (
    <OfAddress kind="provider">
      {(provider) => (
        <ConnectionView
          kind="provider"
          one={provider}
          facts={factsOf(provider)}
          consequence={
            'polony can no longer enter the account. It changes nothing in AWS: delete the role or the access key there. ' +
            'A provider that connections use cannot be deleted.'
          }
        >
          {provider.warnings.map(({ code, message, remedy }) => (
            <Alert key={code} type="warning" header={message}>
              {remedy}
            </Alert>
          ))}
        </ConnectionView>
      )}
    </OfAddress>
  );
}

function factsOf(provider: Provider) {
  const { accountId, defaultRegion, roleArn, externalId, accessKeyId, sessionSeconds } = provider;
  const copyable = (label: string, text: string | null) =>
    text === null ? [] : [{ label, value: <Copyable text={text} name={label} /> }];
  return [
    { label: 'Account', value: accountId ?? UNKNOWN },
    { label: 'Credential type', value: typeText(provider) },
    ...copyable('Role ARN', roleArn),
    ...copyable('External ID', externalId),
    ...copyable('Access key ID', accessKeyId),
    { label: 'Default region', value: defaultRegion },
    { label: 'Length of sessions', value: sessionSeconds === null ? UNKNOWN : formatDuration(sessionSeconds * 1000) },
  ];
}

/** Adds a provider. */
export function NewProviderPage(): ReactNode {
  return (
    <FormPage
      kind="provider"
      title="Add a provider"
      description="Connects an AWS account that has a role or a user for polony. The page Set up makes their documents."
    >
      {({ saved, cancel }) => <ProviderForm onSaved={saved} onCancel={cancel} />}
    </FormPage>
  );
}

/** Changes a provider. */
export function EditProviderPage(): ReactNode {
  return (
    <OfAddress kind="provider">
      {(provider) => (
        <FormPage
          kind="provider"
          one={provider}
          title={`Edit ${provider.name}`}
          description="Another AWS account is possible only while no connection uses the provider."
        >
          {({ saved, cancel }) => <ProviderForm provider={provider} onSaved={saved} onCancel={cancel} />}
        </FormPage>
      )}
    </OfAddress>
  );
}
