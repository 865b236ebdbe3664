import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator, { type StatusIndicatorProps } from '@cloudscape-design/components/status-indicator';
import Table from '@cloudscape-design/components/table';
import Textarea from '@cloudscape-design/components/textarea';
import { useMutation } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ApiFailure, ask } from '../app/client.js';
import { errorOf } from '../connections/form.js';
import { CopyableCode } from '../shared/Copyable.js';
import { Failure } from '../shared/Failure.js';
import { Capabilities, Note } from '../verification/ReportView.js';
import { scopeOf } from './documents.js';
import type { Setup } from './setupSearch.js';

const check = (policy: string, setup: Setup) => {
  const bucket = setup.bucket.trim();
  const body = {
    policy,
    credentialType: setup.credentialType,
    ...(bucket !== '' && { bucket }),
    ...scopeOf(setup),
  };
  return ask(api.POST('/v1/iam-documents/check', { body }));
};
type Findings = Awaited<ReturnType<typeof check>>;

const STATES: Readonly<Record<string, { type: StatusIndicatorProps.Type; text: string }>> = {
  granted: { type: 'success', text: 'Granted' },
  conditional: { type: 'warning', text: 'In some cases' },
  denied: { type: 'error', text: 'Denied' },
};
const REQUIREMENTS: Readonly<Record<string, string>> = {
  required: 'Required',
  requiredForUsers: 'Required for users',
  optional: 'Optional',
};

/** Checks what a pasted policy grants. AWS is not asked, and nothing is stored. */
export function PolicyCheck({ setup }: { setup: Setup }): ReactNode {
  const [policy, setPolicy] = useState('');
  const checking = useMutation({ mutationFn: () => check(policy, setup), gcTime: 0 });
  const { error, data } = checking;
  const fields = error instanceof ApiFailure ? error.fields : {};
  return (
    <SpaceBetween size="m">
      <FormField
        label="Permission policy"
        description="Paste the JSON of the policy of the role or user. polony asks nobody, and stores nothing."
        errorText={errorOf(fields, 'policy')}
        stretch
      >
        <Textarea
          rows={8}
          spellcheck={false}
          value={policy}
          placeholder={'{ "Version": "2012-10-17", "Statement": [ … ] }'}
          onChange={({ detail }) => {
            setPolicy(detail.value);
            checking.reset();
          }}
        />
      </FormField>
      <Button loading={checking.isPending} disabled={policy.trim() === ''} onClick={() => checking.mutate()}>
        Check the policy
      </Button>
      {error !== null && <Failure error={error} what="The policy could not be checked" />}
      {data !== undefined && <Result findings={data} capabilities={setup.capabilities} />}
    </SpaceBetween>
  );
}

function Result({ findings, capabilities }: { findings: Findings; capabilities: readonly string[] }): ReactNode {
  const others = [...new Set(findings.statements.flatMap(({ otherActions }) => otherActions))];
  return (
    <SpaceBetween size="m">
      <div role="status">
        <Capabilities
          capabilities={findings.capabilities.filter(({ capability }) => capabilities.includes(capability))}
        />
      </div>
      <Table
        variant="embedded"
        wrapLines
        items={findings.permissions}
        trackBy="action"
        ariaLabels={{ tableLabel: 'What the policy grants' }}
        columnDefinitions={[
          {
            id: 'action',
            header: 'Permission',
            isRowHeader: true,
            minWidth: 190,
            cell: ({ action }) => <Box variant="code">{action}</Box>,
          },
          {
            id: 'requirement',
            header: 'Requirement',
            minWidth: 130,
            cell: ({ requirement }) => REQUIREMENTS[requirement] ?? requirement,
          },
          { id: 'unlocks', header: 'What it unlocks', minWidth: 180, cell: ({ unlocks }) => unlocks },
          {
            id: 'state',
            header: 'State',
            minWidth: 220,
            cell: ({ state, reasons }) => {
              const { type, text } = STATES[state] ?? { type: 'info' as const, text: state };
              return (
                <>
                  <StatusIndicator type={type}>{text}</StatusIndicator>
                  {reasons.map((reason) => (
                    <Note key={reason}>{reason}</Note>
                  ))}
                </>
              );
            },
          },
        ]}
      />
      <MissingStatements findings={findings} capabilities={capabilities} />
      {others.length > 0 && (
        <Box color="text-body-secondary">polony does not need these actions of the policy: {others.join(', ')}</Box>
      )}
    </SpaceBetween>
  );
}

/** What to add to the policy. */
function MissingStatements({
  findings,
  capabilities,
}: {
  findings: Findings;
  capabilities: readonly string[];
}): ReactNode {
  const wanted = findings.capabilities
    .filter(({ capability }) => capabilities.includes(capability))
    .flatMap(({ missing: lacking, conditional, unknown }) => [...lacking, ...conditional, ...unknown]);
  const missing = findings.permissions.filter(
    ({ action, requirement, state }) => state !== 'granted' && (requirement === 'required' || wanted.includes(action)),
  );
  const texts = new Set(missing.flatMap(({ statements }) => statements.map((each) => JSON.stringify(each))));
  if (texts.size === 0) return null;
  return (
    <SpaceBetween size="xs">
      <Box>These statements grant what is missing. Add those that you want to the policy:</Box>
      <CopyableCode
        name="the missing statements"
        text={JSON.stringify(
          [...texts].map((text) => JSON.parse(text) as unknown),
          null,
          2,
        )}
      />
    </SpaceBetween>
  );
}
