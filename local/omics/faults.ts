import { type Caller, OmicsError, OPERATIONS } from './model.js';
import { checkPace, type Pace } from './run.js';

/** The errors that every operation of the service may return, by the name of the fault that causes them. */
const SCRIPTED_ERRORS = {
  throttle: [429, 'ThrottlingException', 'Rate exceeded'],
  internal: [500, 'InternalServerException', 'An unexpected error occurred. Try the request again.'],
  denied: [403, 'AccessDeniedException', ''],
  conflict: [409, 'ConflictException', 'The request conflicts with the state of the resource'],
  quota: [402, 'ServiceQuotaExceededException', 'The request exceeds a service quota'],
  timeout: [408, 'RequestTimeoutException', 'The request timed out'],
} as const;

type ErrorKind = keyof typeof SCRIPTED_ERRORS;
const ERROR_KINDS = Object.keys(SCRIPTED_ERRORS) as ErrorKind[];
/** All kinds of faults. */
export const FAULT_KINDS = [...ERROR_KINDS, 'slow', 'dropAnswer', 'pace', 'failRun'] as const;
/** What a fault can affect: the calls of one operation, those of all, or the runs themselves. */
const FAULT_OPERATIONS = ['*', 'run', ...Object.keys(OPERATIONS)] as const;

/**
 * A fault for the next calls of an operation (`*` for all): an error of {@link SCRIPTED_ERRORS}, a slow response, or a
 * response that is lost after the call had its effect. `pace` gives the next runs of StartRun their own pace.
 * `failRun`, with the operation `run`, makes the next run fail instead of doing its work.
 */
export interface Fault {
  operation: string;
  kind: (typeof FAULT_KINDS)[number];
  /** Number of calls that it affects; by default all calls until the faults are deleted. */
  count?: number;
  /** Probability from 0 to 1 that it affects a call; 1 by default. */
  probability?: number;
  delayMs?: number;
  failureReason?: string;
  statusMessage?: string;
  pace?: Pace;
}

/** Takes the fault that affects this call, if there is one. A fault that has affected its last call is removed. */
export function takeFault(faults: Fault[], operation: string, ...kinds: Fault['kind'][]): Fault | undefined {
  const fault = faults.find(
    (each) =>
      kinds.includes(each.kind) &&
      (each.operation === operation || each.operation === '*') &&
      Math.random() < (each.probability ?? 1),
  );
  if (fault?.count !== undefined && --fault.count <= 0) faults.splice(faults.indexOf(fault), 1);
  return fault;
}

/** Takes the fault that makes this call fail, if there is one. @returns its error. */
export function takeError(faults: Fault[], operation: string, caller: Caller): OmicsError | undefined {
  const fault = takeFault(faults, operation, ...ERROR_KINDS);
  return fault && scriptedError(fault.kind as ErrorKind, operation, caller);
}

/** An error as AWS returns it for this call. */
export function scriptedError(kind: ErrorKind, operation: string, { principal }: Caller): OmicsError {
  const [status, code, message] = SCRIPTED_ERRORS[kind];
  if (kind !== 'denied') return new OmicsError(status, code, message);
  return new OmicsError(
    status,
    code,
    `User: ${principal} is not authorized to perform: omics:${operation} on resource: * ` +
      `because no identity-based policy allows the omics:${operation} action`,
  );
}

/** Options that have an effect with one kind of fault only. */
const OPTIONS = [
  ['delayMs', 'slow'],
  ['failureReason', 'failRun'],
  ['statusMessage', 'failRun'],
  ['pace', 'pace'],
] as const;

/** @returns what a fault needs, if the input is not a fault. */
export function checkFault(input: Record<string, unknown>): string | undefined {
  const { operation, kind, count, probability, delayMs, pace } = input;
  if (!(FAULT_OPERATIONS as readonly unknown[]).includes(operation))
    return `operation must be one of ${FAULT_OPERATIONS.join(', ')}`;
  if (!(FAULT_KINDS as readonly unknown[]).includes(kind)) return `kind must be one of ${FAULT_KINDS.join(', ')}`;
  const needed = kind === 'failRun' ? 'run' : kind === 'pace' ? 'StartRun' : undefined;
  if (needed !== undefined && operation !== needed && operation !== '*')
    return `kind ${String(kind)} needs the operation ${needed}`;
  if (operation === 'run' && kind !== 'failRun') return 'operation run needs the kind failRun';
  const isBetween = (value: unknown, least: number, most: number): boolean =>
    value === undefined || (typeof value === 'number' && value >= least && value <= most);
  if (!isBetween(count, 1, Infinity)) return 'count must be a number from 1';
  if (!isBetween(probability, 0, 1)) return 'probability must be a number from 0 to 1';
  if (!isBetween(delayMs, 0, Infinity)) return 'delayMs must be a number of milliseconds';
  for (const [option, its] of OPTIONS)
    if (input[option] !== undefined && kind !== its) return `${option} needs the kind ${its}`;
  return pace === undefined ? undefined : checkPace(pace);
}
