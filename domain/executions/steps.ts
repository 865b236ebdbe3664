import { type ExecutionStatus, isFinalStatus } from './execution.js';

/** The steps of an execution, in their order. Migration 0025 numbers them from 0. */
export const EXECUTION_STEPS = [
  'ACCEPTED',
  'WAITING_FOR_UPLOAD',
  'PREPARING',
  'QUEUED',
  'STARTING',
  'PENDING',
  'RUNNING',
  'READING_RESULTS',
  'ENDED',
] as const;
export type ExecutionStepName = (typeof EXECUTION_STEPS)[number];

/** What each step waits for, while it is the last one. */
const WAITS_FOR: Readonly<Record<ExecutionStepName, string>> = {
  ACCEPTED: 'a worker that takes the execution',
  WAITING_FOR_UPLOAD: 'the end of the upload of the run',
  PREPARING: 'polony, which checks the shared workflow, the run manifest and the parameters',
  QUEUED: 'its turn to call StartRun',
  STARTING: 'the answer of AWS to StartRun',
  PENDING: 'HealthOmics, which starts the run',
  RUNNING: 'HealthOmics, which ends the run',
  READING_RESULTS: 'polony, which reads the results',
  ENDED: '',
};

/** A step that an execution has reached. */
export interface ExecutionStep {
  step: ExecutionStepName;
  /** The number of its HealthOmics run, from 1. */
  attempt: number;
  timeStarted: Date;
  /** Null while it is the current step. */
  timeEnded: Date | null;
  /** Only of the current step. */
  waitsFor: string | null;
}

/** When an execution entered a step, as the database recorded it. */
export interface RecordedStep {
  attempt: number;
  /** The position in {@link EXECUTION_STEPS}. */
  step: number;
  timeStarted: Date;
}

/** What the steps of an execution follow from. */
export interface SteppedExecution {
  status: ExecutionStatus;
  attempt: number;
  timeCreated: Date;
  timeStarted: Date | null;
  timeCompleted: Date | null;
  /** Whether somebody cancels it. */
  isCancelling: boolean;
}

/**
 * The steps that an execution has reached, oldest first. Each ends when the next one begins.
 * @param recorded in any order. Of executions of earlier versions, only some or none are recorded.
 */
export function listSteps(execution: SteppedExecution, recorded: readonly RecordedStep[]): ExecutionStep[] {
  const ended = isFinalStatus(execution.status);
  const reached = recorded
    .filter(({ step }) => EXECUTION_STEPS[step] !== 'ENDED')
    .map(({ step, attempt, timeStarted }) => ({ step, attempt, timeStarted }))
    .sort((one, other) => one.attempt - other.attempt || one.step - other.step);
  const add = (name: ExecutionStepName, attempt: number, timeStarted: Date): void => {
    reached.push({ step: EXECUTION_STEPS.indexOf(name), attempt, timeStarted });
  };
  if (reached.length === 0 && execution.timeStarted !== null) add('RUNNING', execution.attempt, execution.timeStarted);
  if (ended) {
    const end = recorded.find(({ step }) => EXECUTION_STEPS[step] === 'ENDED')?.timeStarted;
    const time = execution.timeCompleted ?? end;
    if (time !== undefined) add('ENDED', execution.attempt, time);
  }
  reached.unshift({ step: 0, attempt: 1, timeStarted: execution.timeCreated });
  return reached.map(({ step, attempt, timeStarted }, at) => {
    const name = EXECUTION_STEPS[step]!;
    const isCurrent = !ended && at === reached.length - 1;
    return {
      step: name,
      attempt,
      timeStarted,
      timeEnded: isCurrent ? null : (reached[at + 1]?.timeStarted ?? timeStarted),
      waitsFor: isCurrent ? describeWait(name, execution.isCancelling) : null,
    };
  });
}

function describeWait(name: ExecutionStepName, isCancelling: boolean): string {
  if (!isCancelling) return WAITS_FOR[name];
  return name === 'PENDING' || name === 'RUNNING'
    ? 'the end of the HealthOmics run, which somebody cancelled'
    : 'polony, which cancels the execution';
}
