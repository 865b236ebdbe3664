import Checkbox from '@cloudscape-design/components/checkbox';
import ColumnLayout from '@cloudscape-design/components/column-layout';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import RadioGroup from '@cloudscape-design/components/radio-group';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Autosuggest from '@cloudscape-design/components/autosuggest';
import type { ReactNode } from 'react';
import { errorOf, type FieldErrors } from '../connections/form.js';
import { CredentialTypes } from '../connections/ProviderForm.js';
import { HEALTHOMICS_REGIONS, REGION_SUGGESTIONS } from '../connections/regions.js';
import { CAPABILITIES, type Setup } from './setupSearch.js';

export interface PlanStepProps {
  setup: Setup;
  set: (change: Partial<Setup>) => void;
  externalId: string;
  onExternalId: (externalId: string) => void;
  /** What the API says about the fields. */
  errors: FieldErrors;
}

/** Of a field of the page and its name in the API. */
const FIELDS = {
  account: 'accountId',
  region: 'region',
  bucket: 'bucket',
  prefix: 'prefix',
  executionRole: 'executionRoleArn',
  workflow: 'workflowId',
  owner: 'workflowOwnerId',
} as const;

/** Asks what polony may do, and where. The documents of the next step follow from it. */
export function PlanStep({ setup, set, externalId, onExternalId, errors }: PlanStepProps): ReactNode {
  const hasBases2fastq = setup.capabilities.includes('bases2fastq');
  const text = (
    name: keyof typeof FIELDS,
    label: string,
    description: ReactNode,
    placeholder: string,
    isOptional = false,
  ): ReactNode => (
    <FormField
      label={
        isOptional ? (
          <>
            {label} <i>- optional</i>
          </>
        ) : (
          label
        )
      }
      description={description}
      errorText={errorOf(errors, FIELDS[name])}
    >
      <Input
        value={setup[name]}
        onChange={({ detail }) => set({ [name]: detail.value })}
        placeholder={placeholder}
        autoComplete={false}
        spellcheck={false}
      />
    </FormField>
  );
  return (
    <SpaceBetween size="l">
      <FormField label="How polony enters the account" stretch>
        <CredentialTypes value={setup.credentialType} onChange={(credentialType) => set({ credentialType })} />
      </FormField>
      <FormField label="What polony may do" errorText={errorOf(errors, 'capabilities')} stretch>
        <SpaceBetween size="xs">
          {CAPABILITIES.map(({ id, text: label, description }) => (
            <Checkbox
              key={id}
              checked={setup.capabilities.includes(id)}
              // The documents need at least one.
              disabled={setup.capabilities.length === 1 && setup.capabilities[0] === id}
              description={description}
              onChange={({ detail }) =>
                set({
                  capabilities: CAPABILITIES.map((each) => each.id as string).filter((each) =>
                    each === id ? detail.checked : setup.capabilities.includes(each),
                  ),
                })
              }
            >
              {label}
            </Checkbox>
          ))}
        </SpaceBetween>
      </FormField>
      <ColumnLayout columns={2}>
        {text('account', 'AWS account ID', 'The account with the bucket: 12 digits.', '111122223333', true)}
        <FormField
          label="Region"
          description={
            hasBases2fastq
              ? 'Of the bucket, HealthOmics and the shared workflow: all three must be in one region.'
              : 'Of the bucket.'
          }
          errorText={errorOf(errors, 'region')}
        >
          <Autosuggest
            value={setup.region}
            onChange={({ detail }) => set({ region: detail.value })}
            options={(hasBases2fastq ? HEALTHOMICS_REGIONS : REGION_SUGGESTIONS).map((value) => ({ value }))}
            clearAriaLabel="Clear the region"
            enteredTextLabel={(value) => `Use: ${value}`}
            placeholder="us-west-2"
            empty="Type a region"
            expandToViewport
          />
        </FormField>
        {text('bucket', 'Bucket', 'Only its name, without s3://. It need not exist yet.', 'lab-aviti')}
        {text('prefix', 'Prefix', 'The folder for run data. Without it, polony uses the whole bucket.', 'runs', true)}
      </ColumnLayout>
      <ExpandableSection headerText="Narrow the documents further">
        <SpaceBetween size="l">
          <FormField label="Variant">
            <RadioGroup
              value={setup.variant}
              onChange={({ detail }) => set({ variant: detail.value === 'vendor' ? 'vendor' : 'least' })}
              items={[
                {
                  value: 'least',
                  label: 'Least',
                  description: 'Each action only on the resources that you name.',
                },
                {
                  value: 'vendor',
                  label: "Vendor's template",
                  description: 'As the page of Element Biosciences has it.',
                },
              ]}
            />
          </FormField>
          {setup.credentialType === 'role' && (
            <FormField
              label={
                <>
                  External ID <i>- optional</i>
                </>
              }
              description="polony made one that nobody can guess. Change it only if the role exists already."
              constraintText="2 to 1,224 letters, digits and @:,=-./_"
              errorText={errorOf(errors, 'externalId')}
            >
              <Input
                value={externalId}
                onChange={({ detail }) => onExternalId(detail.value)}
                autoComplete={false}
                spellcheck={false}
              />
            </FormField>
          )}
          {hasBases2fastq && (
            <SpaceBetween size="l">
              {text(
                'executionRole',
                'Execution role ARN',
                'If the role for HealthOmics exists already. The documents then use its name.',
                'arn:aws:iam::111122223333:role/Element-HealthOmics-Execution',
                true,
              )}
              {text(
                'workflow',
                'Shared workflow ID',
                'The Resource ID of the share, if Element has shared the workflow already.',
                '1234567',
                true,
              )}
              {text('owner', 'Owner of the workflow', 'The account that shares it: 12 digits.', '588258415937', true)}
            </SpaceBetween>
          )}
        </SpaceBetween>
      </ExpandableSection>
    </SpaceBetween>
  );
}
