import type { ReactNode } from 'react';
import { Copyable } from '../shared/Copyable.js';
import { ComputeForm } from './ComputeForm.js';
import { ConnectionCards, NameOf, OfOne } from './ConnectionCards.js';
import { ConnectionView, FormPage, OfAddress } from './ConnectionPage.js';

const KIND = 'computeConnection';

/** All compute connections: AWS HealthOmics in an account. */
export function ComputeListPage(): ReactNode {
  return (
    <ConnectionCards
      kind={KIND}
      description="AWS HealthOmics in your accounts, where flows run."
      add="Add compute"
      empty="HealthOmics is not connected yet"
      facts={[
        {
          id: 'region',
          header: 'Region',
          content: (id) => <OfOne kind={KIND} id={id} show={({ region }) => region} />,
        },
        {
          id: 'provider',
          header: 'Provider',
          content: (id) => (
            <OfOne kind={KIND} id={id} show={({ providerId }) => <NameOf kind="provider" id={providerId} />} />
          ),
        },
      ]}
    />
  );
}

/** One compute connection. */
export function ComputePage(): ReactNode {
  return (
    <OfAddress kind={KIND}>
      {(compute) => (
        <ConnectionView
          kind={KIND}
          one={compute}
          facts={[
            { label: 'Execution role ARN', value: <Copyable text={compute.executionRoleArn} name="the role ARN" /> },
            { label: 'Region', value: compute.region },
            { label: 'Provider', value: <NameOf kind="provider" id={compute.providerId} /> },
          ]}
          consequence={
            'Nothing changes in AWS. A compute connection that flows or current executions use cannot be deleted.'
          }
        />
      )}
    </OfAddress>
  );
}

/** Adds a compute connection. */
export function NewComputePage(): ReactNode {
  return (
    <FormPage
      kind={KIND}
      title="Add compute"
      description="Connects AWS HealthOmics in an account that is connected already."
    >
      {({ saved, cancel }) => <ComputeForm onSaved={saved} onCancel={cancel} />}
    </FormPage>
  );
}

/** Changes a compute connection. */
export function EditComputePage(): ReactNode {
  return (
    <OfAddress kind={KIND}>
      {(compute) => (
        <FormPage
          kind={KIND}
          one={compute}
          title={`Edit ${compute.name}`}
          description="The account and the region can change only while no flow or execution uses it."
        >
          {({ saved, cancel }) => <ComputeForm compute={compute} onSaved={saved} onCancel={cancel} />}
        </FormPage>
      )}
    </OfAddress>
  );
}
