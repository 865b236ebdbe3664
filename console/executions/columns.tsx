import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { Clamped } from '../shared/Clamped.js';
import { formatDuration } from '../shared/format.js';
import { LinkTo } from '../shared/LinkTo.js';
import type { ListColumn } from '../shared/ListTable.js';
import { Status } from '../shared/Status.js';
import { Time } from '../shared/Time.js';

export type Execution = Schema<'Execution'>;

/** Since an execution has begun, until its end or now. */
function durationOf({ timeStarted, timeCompleted }: Execution): ReactNode {
  if (timeStarted === null) return '';
  return formatDuration((timeCompleted === null ? Date.now() : Date.parse(timeCompleted)) - Date.parse(timeStarted));
}

/** The columns of executions, in every list of them. */
export const EXECUTION_COLUMNS: readonly ListColumn<Execution>[] = [
  {
    id: 'name',
    header: 'Name',
    orderBy: 'name',
    isRowHeader: true,
    minWidth: 180,
    cell: ({ id, name }) => <LinkTo href={`/executions/${id}`}>{name}</LinkTo>,
  },
  {
    id: 'status',
    header: 'Status',
    orderBy: 'status',
    minWidth: 140,
    // The contract has no status for this. The API begins the description of what is blocked with this word.
    cell: ({ status, statusDescription }) =>
      statusDescription.startsWith('Blocked: ') ? (
        <Status value="BLOCKED" text="Waits for a person" />
      ) : (
        <Status value={status} />
      ),
  },
  {
    id: 'detail',
    header: 'What happens',
    minWidth: 240,
    cell: ({ statusDescription }) => <Clamped text={statusDescription} />,
  },
  {
    id: 'run',
    header: 'Run',
    orderBy: 'input.run.name',
    minWidth: 120,
    cell: ({ inputs }) =>
      inputs.map(({ run }) => (
        <LinkTo key={run.id} href={`/runs/${run.id}`}>
          {run.name}
        </LinkTo>
      )),
  },
  { id: 'flow', header: 'Flow', orderBy: 'flow.name', isOptional: true, cell: ({ flow }) => flow.name },
  {
    id: 'startedBy',
    header: 'Started by',
    orderBy: 'started_by',
    isOptional: true,
    cell: ({ startedBy }) => startedBy.name,
  },
  {
    id: 'created',
    header: 'Created',
    orderBy: 'time_created',
    minWidth: 130,
    cell: ({ timeCreated }) => <Time value={timeCreated} />,
  },
  { id: 'duration', header: 'Duration', cell: durationOf },
  {
    id: 'completed',
    header: 'Ended',
    orderBy: 'time_completed',
    isOptional: true,
    cell: ({ timeCompleted }) => <Time value={timeCompleted} />,
  },
];

const FINAL = new Set(['EXECUTION_STATUS_COMPLETED', 'EXECUTION_STATUS_FAILED', 'EXECUTION_STATUS_CANCELED']);
/** Whether nothing happens to an execution any more. */
export const isFinal = ({ status }: Pick<Execution, 'status'>): boolean => FINAL.has(status);
