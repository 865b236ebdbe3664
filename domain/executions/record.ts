import { isFinalStatus, type ExecutionStatus, type FinalStatus } from './execution.js';
import type { ExecutionOrigin } from './origin.js';

/** What created an execution, so that a database that lost it gets it back. */
export interface RecordedOrigin {
  origin: ExecutionOrigin;
  /** What finds the flow in a database where it was created again, with another id. */
  flow: { name: string; sharedWorkflowId: string; workflowOwnerId: string };
  compute: { region: string; executionRoleArn: string };
}

/**
 * What polony keeps of an execution in the customer's bucket, so that neither a restored database nor a lost Temporal
 * forgets a HealthOmics run. Records are sealed, because others may write to the folder. They may still be old.
 */
export interface StartRecord extends RecordedOrigin {
  executionId: string;
  /** Which of the execution's HealthOmics runs it is about, from 1. */
  attempt: number;
  /** The request of StartRun. */
  request: Record<string, unknown>;
  /** Whether AWS refused the request for certain, so that it started nothing. */
  refused?: boolean;
  /** ISO 8601. */
  time: string;
}

/** The HealthOmics run that StartRun answered with. */
export interface RunRecord {
  executionId: string;
  attempt: number;
  runId: string;
  uuid: string | null;
  arn: string | null;
  runOutputUri: string;
  time: string;
}

/** How an execution ended. */
export interface EndRecord extends RecordedOrigin {
  executionId: string;
  status: FinalStatus;
  description: string;
  /** Of a failure. */
  errorType: string | null;
  time: string;
}

/** All that a bucket says about one execution. */
export interface ExecutionRecord {
  /** The requests of its StartRun, by attempt, oldest first. */
  starts: StartRecord[];
  runs: RunRecord[];
  end: EndRecord | undefined;
}

type Members = Record<string, unknown>;
const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === 'string';
const areTexts = (value: Members, ...names: string[]): boolean => names.every((name) => isText(value[name]));
const isTextOrNull = (value: unknown): boolean => value === null || isText(value);
const isAttempt = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 1;

export function parseMembers(text: string): Members | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isMembers(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isOrigin(value: unknown): value is ExecutionOrigin {
  if (!isMembers(value) || !isMembers(value.run) || !isMembers(value.ownParameters)) return false;
  const { manifest } = value;
  return (
    areTexts(value, 'name', 'flowId', 'computeConnectionId', 'storageConnectionId', 'startedBy', 'outputUri') &&
    areTexts(value.run, 'id', 'parentPath', 'runFolder', 'runName', 'instrumentName') &&
    typeof value.run.discovered === 'boolean' &&
    (value.trigger === 'auto' || value.trigger === 'api') &&
    isTextOrNull(value.relaunchOf) &&
    (manifest === null || manifest === 'text' || (isMembers(manifest) && isText(manifest.uri)))
  );
}

function hasOrigin(value: Members): boolean {
  return (
    isOrigin(value.origin) &&
    isMembers(value.flow) &&
    areTexts(value.flow, 'name', 'sharedWorkflowId', 'workflowOwnerId') &&
    isMembers(value.compute) &&
    areTexts(value.compute, 'region', 'executionRoleArn')
  );
}

/** Reads the record of a StartRun; undefined where the text is none. */
export function parseStartRecord(text: string): StartRecord | undefined {
  const value = parseMembers(text);
  const isValid =
    value !== undefined &&
    hasOrigin(value) &&
    areTexts(value, 'executionId', 'time') &&
    isAttempt(value.attempt) &&
    isMembers(value.request);
  return isValid ? (value as unknown as StartRecord) : undefined;
}

/** Reads the record of a HealthOmics run; undefined where the text is none. */
export function parseRunRecord(text: string): RunRecord | undefined {
  const value = parseMembers(text);
  if (value === undefined || !/^\d{1,32}$/.test(String(value.runId))) return undefined;
  const isValid =
    areTexts(value, 'executionId', 'runId', 'runOutputUri', 'time') &&
    isAttempt(value.attempt) &&
    isTextOrNull(value.uuid) &&
    isTextOrNull(value.arn);
  return isValid ? (value as unknown as RunRecord) : undefined;
}

/** Reads the record of an end; undefined where the text is none. */
export function parseEndRecord(text: string): EndRecord | undefined {
  const value = parseMembers(text);
  if (value === undefined || !isText(value.status) || !isFinalStatus(value.status as ExecutionStatus)) return undefined;
  const isValid =
    hasOrigin(value) && areTexts(value, 'executionId', 'description', 'time') && isTextOrNull(value.errorType);
  return isValid && !Number.isNaN(Date.parse(value.time as string)) ? (value as unknown as EndRecord) : undefined;
}

/** What of a StartRun request decides what runs, with which rights, and where it writes. */
const DECISIVE = ['workflowId', 'workflowOwnerId', 'roleArn', 'outputUri', 'requestId'] as const;

/**
 * Whether a stored request runs the same workflow with the same role and output as the one that polony would send. A
 * record in a bucket must not make polony start anything else.
 */
export function isSameStart(stored: Record<string, unknown>, own: object): boolean {
  const ours = own as Record<string, unknown>;
  return DECISIVE.every((name) => stored[name] === ours[name]);
}
