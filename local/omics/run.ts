import { createHash } from 'node:crypto';
import type { HealthOmicsStatus, ParameterTemplate } from '../../domain/executions/execution.js';
import { invalid, notFound } from './model.js';

/** The statuses that a run goes through. */
export const STAGES = ['PENDING', 'STARTING', 'RUNNING', 'STOPPING'] as const;
export type Stage = (typeof STAGES)[number];
/** The minimum milliseconds that a run spends in each status before its end. */
export type Pace = Partial<Record<Stage, number>>;
/** The longest time that a timer of Node.js can wait, in milliseconds: 24 days. */
const LONGEST_MS = 2 ** 31 - 1;

/** @returns what a pace needs, if the input is not a pace. */
export function checkPace(input: unknown): string | undefined {
  const isPace =
    typeof input === 'object' &&
    input !== null &&
    Object.entries(input).every(
      ([stage, ms]) =>
        (STAGES as readonly string[]).includes(stage) && typeof ms === 'number' && ms >= 0 && ms <= LONGEST_MS,
    );
  return isPace ? undefined : `A pace needs milliseconds from 0 to ${LONGEST_MS} for ${STAGES.join(', ')}`;
}

/** The request of StartRun, with the service's defaults filled in. */
export interface RunRequest {
  workflowId: string;
  workflowOwnerId?: string;
  roleArn: string;
  name?: string;
  runGroupId?: string;
  parameters: Record<string, unknown>;
  outputUri: string;
  outputUriPrefixMode: string;
  requestId: string;
  storageType: string;
  retentionMode: string;
  tags: Record<string, string>;
  sessionPolicy?: string;
}

/** A run in the emulator; times are milliseconds since 1970. */
export interface EmulatedRun extends RunRequest {
  id: string;
  uuid: string;
  accountId: string;
  region: string;
  runOutputUri: string;
  /** Hash of the request: a requestId may be used again only for the same request. */
  fingerprint: string;
  /** For this run only; overrides the emulator's pace. */
  pace?: Pace;
  status: HealthOmicsStatus;
  statusMessage?: string;
  failureReason?: string;
  cancelRequested: boolean;
  createdAt: number;
  startedAt?: number;
  stoppedAt?: number;
  history: { status: HealthOmicsStatus; at: number }[];
  startedBy: string;
}

/** Fills in the service's defaults. */
export function completeRequest(input: Record<string, unknown>): RunRequest {
  return {
    parameters: {},
    tags: {},
    storageType: 'STATIC',
    retentionMode: 'RETAIN',
    outputUriPrefixMode: 'SERVICE_DEFINED',
    ...input,
  } as unknown as RunRequest;
}

/** The same text for the same request, in whatever order its members are. */
export function fingerprintOf(input: Record<string, unknown>): string {
  return createHash('sha256').update(canonicalJson(input)).digest('hex');
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([one], [other]) => (one < other ? -1 : 1)))
      : each,
  );
}

/**
 * Checks the rules that the API reference has and the model does not.
 * @param input the request as the caller sent it.
 * @throws OmicsError for the first rule that it violates.
 */
export function checkRequest(input: Record<string, unknown>, { roleArn, outputUri, tags }: RunRequest): void {
  checkSources(input);
  if (!/^arn:aws[a-z-]*:iam::\d{12}:role\/.+$/.test(roleArn)) throw invalid('roleArn is not the ARN of a role');
  if (!/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/.*)?$/.test(outputUri)) throw invalid('outputUri is not an S3 URI');
  if (Object.keys(tags).length > 50) throw invalid('A run has at most 50 tags');
  if (input.workflowType === 'READY2RUN') throw notFound('workflow');
  checkNoOtherResources(input);
}

/** What a run is made from: a workflow with parameters in the request. */
function checkSources({ runId, workflowId, parameters, parametersUri }: Record<string, unknown>): void {
  if (runId !== undefined)
    throw invalid(
      'A run of a shared workflow cannot be duplicated, and the local HealthOmics has no others: give a workflowId',
    );
  if (workflowId === undefined) throw invalid('Either workflowId or runId must be given');
  if (parametersUri !== undefined)
    throw invalid(
      parameters === undefined
        ? 'The local HealthOmics reads no parameters from a file: give them as parameters'
        : 'Specify either parameters or parametersUri, not both',
    );
}

/** The emulator has none of these resources. Run groups are only names to list runs by. */
function checkNoOtherResources(input: Record<string, unknown>): void {
  if (input.workflowVersionName !== undefined) throw notFound('workflow version');
  if (input.cacheId !== undefined) throw notFound('run cache');
  if (input.configurationName !== undefined) throw notFound('configuration');
}

/** @throws OmicsError for an unknown parameter, or a missing one that is required. */
export function checkParameters(template: ParameterTemplate, parameters: Record<string, unknown>): void {
  for (const name of Object.keys(parameters))
    if (!Object.hasOwn(template, name))
      throw invalid(`The parameter ${name} is not in the parameter template of the workflow`);
  for (const [name, parameter] of Object.entries(template))
    if (parameter.optional !== true && (parameters[name] ?? null) === null)
      throw invalid(`The required parameter ${name} is missing`);
}

/** The folder of a run's results. */
export function outputFolder({ outputUri, outputUriPrefixMode }: RunRequest, id: string): string {
  const hasOwnFolder = outputUriPrefixMode !== 'NONE_WITH_OVERWRITE';
  return outputUri.replace(/\/+$/, '') + (hasOwnFolder ? `/${id}` : '');
}

/** The ARN of a run. */
export function arnOf({ region, accountId, id }: EmulatedRun): string {
  return `arn:aws:omics:${region}:${accountId}:run/${id}`;
}

/** A run as StartRun returns it. */
export function describeStart(run: EmulatedRun): unknown {
  const { id, status, tags, uuid, runOutputUri } = run;
  return { arn: arnOf(run), id, status, tags, uuid, runOutputUri };
}

/** A run as GetRun returns it: the request of StartRun and the state of the run. */
export function describeRun(run: EmulatedRun): Record<string, unknown> {
  const time = (at: number | undefined): string | undefined =>
    at === undefined ? undefined : new Date(at).toISOString();
  const {
    accountId: _account,
    region: _region,
    requestId: _request,
    fingerprint: _fingerprint,
    pace: _pace,
    cancelRequested: _cancel,
    createdAt,
    startedAt,
    stoppedAt,
    history: _history,
    ...shown
  } = run;
  return {
    workflowType: 'PRIVATE',
    ...(run.storageType === 'STATIC' && { storageCapacity: 1200 }),
    ...shown,
    arn: arnOf(run),
    creationTime: time(createdAt),
    startTime: time(startedAt),
    stopTime: time(stoppedAt),
  };
}

/** The members of RunListItem in the service model that the emulator returns. */
const RUN_LIST_ITEM = [
  'arn',
  'id',
  'status',
  'workflowId',
  'name',
  'priority',
  'storageCapacity',
  'creationTime',
  'startTime',
  'stopTime',
  'storageType',
  'workflowVersionName',
  'workflowName',
] as const;

/** A run as ListRuns returns it. */
export function describeListedRun(run: EmulatedRun, workflowName: string | undefined): Record<string, unknown> {
  const all: Record<string, unknown> = { ...describeRun(run), workflowName };
  return Object.fromEntries(RUN_LIST_ITEM.map((member) => [member, all[member]]));
}
