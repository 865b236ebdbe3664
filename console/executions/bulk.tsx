import type { ScopeAction } from '../../domain/auth/scopes.js';
import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import FormField from '@cloudscape-design/components/form-field';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Table from '@cloudscape-design/components/table';
import Textarea from '@cloudscape-design/components/textarea';
import { type ReactNode, useRef, useState } from 'react';
import { ApiFailure, api, ask } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import { useSession } from '../auth/session.js';
import { LinkTo } from '../shared/LinkTo.js';
import { Status } from '../shared/Status.js';
import { type Execution, isFinal } from './columns.js';

/** What can be done to several executions. */
export type BulkAction = 'cancel' | 'retry' | 'relaunch';

/** At most so many requests at once. */
const CONCURRENCY = 4;

const ACTIONS: Readonly<
  Record<
    BulkAction,
    {
      /** For one execution, and for several. */
      titles: readonly [string, string];
      button: string;
      /** All of these scopes; the first one for the execution itself. */
      needs: readonly [ScopeAction, ...ScopeAction[]];
      explain: string;
      isEligible: (each: Execution) => boolean;
    }
  >
> = {
  cancel: {
    titles: ['Cancel an execution', 'Cancel executions'],
    button: 'Cancel',
    needs: ['executions:operate'],
    explain: 'HealthOmics ends their runs. What they have written stays in the bucket. You cannot undo it.',
    isEligible: (each) => !isFinal(each),
  },
  retry: {
    titles: ['Try a blocked execution again', 'Try blocked executions again'],
    button: 'Try again',
    needs: ['executions:operate'],
    explain: 'Executions that wait for a permission check it again at once.',
    isEligible: (each) => !isFinal(each),
  },
  relaunch: {
    titles: ['Relaunch an execution', 'Relaunch executions'],
    button: 'Relaunch',
    needs: ['executions:create', 'runs:read', 'flows:read'],
    explain: 'Each one is started again, with the same run, flow and parameters. AWS charges for the new runs.',
    isEligible: (each) => isFinal(each),
  },
};

/** Whether an action can do something to an execution. */
export const isEligible = (action: BulkAction, execution: Execution): boolean => ACTIONS[action].isEligible(execution);
/**
 * Whether a caller may do something to an execution.
 * @param can of the session
 * @param id of the execution; without it, any execution will do
 */
export function mayDo(
  action: BulkAction,
  can: (permission: ScopeAction, id?: string) => boolean,
  id?: string,
): boolean {
  const [own, ...others] = ACTIONS[action].needs;
  return can(own, id) && others.every((scope) => can(scope));
}
/** What the button of an action says. */
export const buttonOf = (action: BulkAction): string => ACTIONS[action].button;

type Result =
  { state: 'waiting' | 'running' | 'done' } | { state: 'failed'; error: unknown } | { state: 'relaunched'; id: string };

/** The key makes a repeated click, or a repeated request, do nothing more. */
async function perform(action: BulkAction, id: string, reason: string, key: string): Promise<Result> {
  const path = { id };
  const header = { 'idempotency-key': `${key}-${id}` };
  if (action === 'cancel')
    await ask(
      api.POST('/v1/executions/{id}/cancel', { params: { path, header }, body: reason === '' ? {} : { reason } }),
    );
  else if (action === 'retry') await ask(api.POST('/v1/executions/{id}/retry', { params: { path } }));
  else {
    const { execution } = await ask(api.POST('/v1/executions/{id}/relaunch', { params: { path, header }, body: {} }));
    return { state: 'relaunched', id: execution.id };
  }
  return { state: 'done' };
}

/** The outcome of one row. */
function Outcome({ result }: { result: Result | undefined }): ReactNode {
  if (result === undefined) return <Status value="PENDING" text="Chosen" />;
  if (result.state === 'failed') {
    const { error } = result;
    const requestId =
      error instanceof ApiFailure && error.requestId !== undefined ? ` (request ${error.requestId})` : '';
    return <Status value="FAILED" text={`${error instanceof Error ? error.message : String(error)}${requestId}`} />;
  }
  if (result.state === 'relaunched')
    return (
      <>
        <Status value="COMPLETED" text="Started: " />
        <LinkTo href={`/executions/${result.id}`}>the new execution</LinkTo>
      </>
    );
  return result.state === 'done' ? (
    <Status value="COMPLETED" text="Done" />
  ) : (
    <Status value="RUNNING" text="In progress" />
  );
}

export interface BulkDialogProps {
  action: BulkAction;
  /** By id: the rows that were chosen, whatever the filter finds meanwhile. */
  executions: readonly Execution[];
  onClose: (haveAllSucceeded: boolean) => void;
}

/** Asks once, with a reason, and shows what became of each row. */
export function BulkDialog({ action, executions, onClose }: BulkDialogProps): ReactNode {
  const { titles, button, explain, isEligible: canDo } = ACTIONS[action];
  const { can } = useSession();
  const [allowed] = useState(() => executions.filter(({ id }) => mayDo(action, can, id)));
  const [eligible] = useState(() => allowed.filter(canDo));
  const [reason, setReason] = useState('');
  const [results, setResults] = useState<Readonly<Record<string, Result>>>({});
  const [isRunning, setRunning] = useState(false);
  const key = useRef(crypto.randomUUID());
  const hasBegun = Object.keys(results).length > 0;
  const leftOut = allowed.length - eligible.length;
  const failed = eligible.filter(({ id }) => results[id]?.state === 'failed');
  const run = async (): Promise<void> => {
    setRunning(true);
    const left = (hasBegun ? failed : eligible).slice();
    const next = async (): Promise<void> => {
      for (let each = left.shift(); each !== undefined; each = left.shift()) {
        const { id } = each;
        setResults((all) => ({ ...all, [id]: { state: 'running' } }));
        const result = await perform(action, id, reason.trim(), key.current).catch((error: unknown): Result => ({
          state: 'failed',
          error,
        }));
        setResults((all) => ({ ...all, [id]: result }));
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, next));
    setRunning(false);
    void queryClient.invalidateQueries({ queryKey: ['executions'] });
  };
  const isDone = hasBegun && !isRunning;
  const close = (): void => {
    if (!isRunning) onClose(isDone && failed.length === 0);
  };
  return (
    <Modal
      visible
      size="large"
      header={titles[executions.length === 1 ? 0 : 1]}
      closeAriaLabel="Close"
      onDismiss={close}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" disabled={isRunning} onClick={close}>
              Close
            </Button>
            {(!isDone || failed.length > 0) && (
              <Button variant="primary" loading={isRunning} disabled={eligible.length === 0} onClick={() => void run()}>
                {isDone ? `Try ${failed.length} again` : `${button} ${eligible.length}`}
              </Button>
            )}
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {!hasBegun && <Alert type={action === 'cancel' ? 'warning' : 'info'}>{explain}</Alert>}
        {leftOut > 0 && (
          <Box>
            {leftOut} of the chosen executions {leftOut === 1 ? 'is left out: it has' : 'are left out: they have'}
            {action === 'relaunch' ? ' not ended.' : ' ended.'}
          </Box>
        )}
        {executions.length > allowed.length && (
          <Box>{executions.length - allowed.length} of the chosen executions are left out: you may only see them.</Box>
        )}
        {action === 'cancel' && !hasBegun && (
          <FormField
            label="Reason"
            description="Everybody who sees the executions can read it."
            constraintText="Optional"
          >
            <Textarea autoFocus rows={2} value={reason} onChange={({ detail }) => setReason(detail.value)} />
          </FormField>
        )}
        <div aria-live="polite">
          <Table
            variant="embedded"
            ariaLabels={{ tableLabel: 'Chosen executions' }}
            items={eligible}
            trackBy="id"
            columnDefinitions={[
              { id: 'name', header: 'Execution', isRowHeader: true, cell: ({ name }) => name },
              { id: 'status', header: 'Status', cell: ({ status }) => <Status value={status} /> },
              { id: 'result', header: 'Result', cell: ({ id }) => <Outcome result={results[id]} /> },
            ]}
          />
        </div>
      </SpaceBetween>
    </Modal>
  );
}
