import Steps, { type StepsProps } from '@cloudscape-design/components/steps';
import type { ReactNode } from 'react';
import type { Schema } from '../app/client.js';
import { formatDuration } from '../shared/format.js';
import { Time } from '../shared/Time.js';

export interface ExecutionStep {
  step: string;
  attempt: number;
  timeStarted: string;
  timeEnded: string | null;
  waitsFor: string | null;
}

const NAMES: Readonly<Record<string, string>> = {
  ACCEPTED: 'Accepted',
  WAITING_FOR_UPLOAD: 'Waiting for the upload of the run',
  PREPARING: 'Preparing: workflow, manifest and permissions',
  QUEUED: 'Waiting for a turn to start',
  STARTING: 'Starting on HealthOmics',
  PENDING: 'Pending on HealthOmics',
  RUNNING: 'Running on HealthOmics',
  READING_RESULTS: 'Reading the results',
  ENDED: 'Ended',
};

/** How the last step of an ended execution looks. */
const ENDS: Readonly<Record<string, StepsProps.Status>> = {
  EXECUTION_STATUS_COMPLETED: 'success',
  EXECUTION_STATUS_FAILED: 'error',
  EXECUTION_STATUS_CANCELED: 'stopped',
};

export interface TimelineProps {
  steps: readonly ExecutionStep[];
  status: Schema<'Execution'>['status'];
  isBlocked: boolean;
}

/** The steps that an execution has reached, with their times and what it waits for. */
export function Timeline({ steps, status, isBlocked }: TimelineProps): ReactNode {
  const attempts = new Set(steps.map(({ attempt }) => attempt)).size;
  return (
    <Steps
      ariaLabel="Timeline"
      steps={steps.map(({ step, attempt, timeStarted, timeEnded, waitsFor }) => {
        const isEnd = step === 'ENDED';
        const isCurrent = timeEnded === null && !isEnd;
        const look = isEnd ? ENDS[status] : isCurrent ? (isBlocked ? 'warning' : 'in-progress') : 'success';
        return {
          status: look ?? 'success',
          statusIconAriaLabel: isCurrent ? (isBlocked ? 'Waits for a person' : 'In progress') : 'Done',
          header: `${NAMES[step] ?? step}${attempts > 1 && !isEnd ? ` (attempt ${attempt})` : ''}`,
          details: (
            <>
              <Time value={timeStarted} />
              {timeEnded !== null && ` · ${formatDuration(Date.parse(timeEnded) - Date.parse(timeStarted))}`}
              {/* What a blocked execution waits for is above, with what to do. */}
              {waitsFor !== null && !isBlocked && <div>Waits for {waitsFor}</div>}
            </>
          ),
        };
      })}
    />
  );
}
