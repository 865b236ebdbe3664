import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import RadioGroup from '@cloudscape-design/components/radio-group';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { type ReactNode, useEffect, useState } from 'react';
import { useSession } from '../auth/session.js';
import { type Kind, KINDS, type OfKind } from '../connections/kinds.js';
import { useChoices, useOne } from '../connections/queries.js';
import { Failure } from '../shared/Failure.js';
import { LinkTo } from '../shared/LinkTo.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';
import { Findings, Missing } from '../verification/ReportView.js';
import { useReport } from '../verification/reports.js';
import { isUsable, ownPart } from '../verification/rules.js';
import { VerifyButton, VerifyProgress } from '../verification/VerificationPanel.js';

/** How long the page waits before it verifies again by itself, in milliseconds: AWS needs some seconds for a change. */
const AGAIN_MS = 15_000;

export interface ConnectStepProps<K extends Kind> {
  kind: K;
  /** What is chosen or created; empty before. */
  id: string;
  onChosen: (id: string) => void;
  /** What the person wants polony to do: only the permissions for that are missed. */
  capabilities: readonly string[];
  /** The form that creates one. */
  create: ReactNode;
  /** The form that changes the chosen one. */
  edit: (one: OfKind[K], close: () => void) => ReactNode;
}

/** Creates or chooses something, and waits until its probes pass. */
export function ConnectStep<K extends Kind>(props: ConnectStepProps<K>): ReactNode {
  const { kind, id, onChosen, capabilities, create, edit } = props;
  return id === '' ? (
    <Choose kind={kind} onChosen={onChosen} create={create} />
  ) : (
    <Chosen key={id} kind={kind} id={id} onOther={() => onChosen('')} capabilities={capabilities} edit={edit} />
  );
}

function Choose({
  kind,
  onChosen,
  create,
}: {
  kind: Kind;
  onChosen: (id: string) => void;
  create: ReactNode;
}): ReactNode {
  const { noun, plural, read, write } = KINDS[kind];
  const { can, canAll } = useSession();
  const choices = useChoices(kind, can(read));
  const [isExisting, setExisting] = useState(false);
  const [chosen, setChosen] = useState('');
  const items = choices.data ?? [];
  const mayCreate = canAll(write);
  const options = items.map((each) => ({ value: each.id, label: each.name }));
  if (!mayCreate && items.length === 0)
    return (
      <Alert type="warning" header={`You may not create a ${noun}`}>
        Sign in with a key or as a person with the scope {write}.
      </Alert>
    );
  const showsExisting = isExisting || !mayCreate;
  return (
    <SpaceBetween size="l">
      {items.length > 0 && mayCreate && (
        <RadioGroup
          ariaLabel={`New or existing ${noun}`}
          value={showsExisting ? 'existing' : 'new'}
          onChange={({ detail }) => setExisting(detail.value === 'existing')}
          items={[
            { value: 'new', label: `Create a new ${noun}` },
            {
              value: 'existing',
              label: items.length === 1 ? `Use the existing ${noun}` : `Use one of ${items.length} existing ${plural}`,
            },
          ]}
        />
      )}
      {!showsExisting ? (
        create
      ) : (
        <FormField label={`Existing ${noun}`}>
          <SpaceBetween size="s">
            <Select
              selectedOption={options.find(({ value }) => value === chosen) ?? null}
              options={options}
              onChange={({ detail }) => setChosen(detail.selectedOption.value ?? '')}
              placeholder={`Choose a ${noun}`}
              expandToViewport
            />
            <Button variant="primary" disabled={chosen === ''} onClick={() => onChosen(chosen)}>
              Use this {noun}
            </Button>
          </SpaceBetween>
        </FormField>
      )}
    </SpaceBetween>
  );
}

function Chosen<K extends Kind>({
  kind,
  id,
  onOther,
  capabilities,
  edit,
}: {
  kind: K;
  id: string;
  onOther: () => void;
  capabilities: readonly string[];
  edit: (one: OfKind[K], close: () => void) => ReactNode;
}): ReactNode {
  const { noun, href, write } = KINDS[kind];
  const { can } = useSession();
  const one = useOne(kind, id);
  const state = useReport(kind, id);
  const [isEditing, setEditing] = useState(false);
  const { report, isVerifying, verify } = state;
  const own = report == null ? undefined : ownPart(report);
  const usable = isUsable(report);
  const wanted = (own?.permissions ?? []).filter(
    (row) => row.requirement === 'required' || row.capabilities.some((each) => capabilities.includes(each)),
  );
  const mayWrite = can(write, id);
  const verifiesAgain = report != null && !usable && mayWrite && !isEditing && state.failure === null;
  useVerifyAgain(verifiesAgain && !isVerifying, report?.timeCompleted, verify);
  if (one.isError)
    return (
      <SpaceBetween size="s">
        <Failure error={one.error} what={`The ${noun} cannot be shown`} onRetry={() => void one.refetch()} />
        <Button onClick={onOther}>Choose another {noun}</Button>
      </SpaceBetween>
    );
  return (
    <SpaceBetween size="m">
      <SpaceBetween direction="horizontal" size="s" alignItems="center">
        <LinkTo href={`${href}/${id}`}>{one.data?.name ?? noun}</LinkTo>
        {own !== undefined && <Status value={own.status} />}
        {mayWrite && <VerifyButton state={state} />}
        {mayWrite && one.data !== undefined && !isEditing && <Button onClick={() => setEditing(true)}>Edit</Button>}
        <Button variant="link" onClick={onOther}>
          Choose another {noun}
        </Button>
      </SpaceBetween>
      <div role="status">
        {own === undefined && !state.query.isError && (
          <StatusIndicator type="loading">polony asks AWS for each permission</StatusIndicator>
        )}
        {report != null && own !== undefined && (
          <Box>
            {report.findings.some(({ message }) => message === own.description) ? 'Verified' : `${own.description},`}{' '}
            <Time value={report.timeCompleted} ago />
          </Box>
        )}
        {verifiesAgain && (
          <StatusIndicator type="pending">
            Change it in AWS or here. polony verifies again every {AGAIN_MS / 1000} seconds until it passes.
          </StatusIndicator>
        )}
      </div>
      <VerifyProgress state={state} />
      {state.query.isError && (
        <Failure
          error={state.query.error}
          what="The report could not be loaded"
          onRetry={() => void state.query.refetch()}
        />
      )}
      {report != null && <Findings findings={report.findings} />}
      {own !== undefined && <Missing permissions={wanted} isInUse />}
      {isEditing && one.data !== undefined && edit(one.data, () => setEditing(false))}
    </SpaceBetween>
  );
}

/** Verifies again after a while, for as long as the page is visible. */
function useVerifyAgain(isWanted: boolean, lastTime: string | undefined, verify: () => void): void {
  useEffect(() => {
    if (!isWanted) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) verify();
    }, AGAIN_MS);
    return () => clearInterval(timer);
    // A new report begins another wait; `verify` is a new function each time.
  }, [isWanted, lastTime]);
}
