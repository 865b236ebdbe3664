import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { S3Client } from '@aws-sdk/client-s3';
import type { HealthOmicsStatus, ParameterNames, ParameterTemplate } from '../../domain/executions/execution.js';
import { writeFileAtomically } from '../stackFiles.js';
import { runBases2Fastq, WorkflowError } from './bases2fastq.js';
import { inputOf, invalid, OmicsError, OPERATIONS, type OperationName, routeOf } from './model.js';

/** A workflow that an account shares. */
export interface EmulatedWorkflow {
  id: string;
  ownerId: string;
  region: string;
  name: string;
  parameterTemplate: ParameterTemplate;
  /** The parameters that the simulated Bases2Fastq reads; by default run_dir, run_manifest and no_projects. */
  parameterNames?: ParameterNames;
  status: (typeof WORKFLOW_STATUSES)[number];
}
const WORKFLOW_STATUSES = ['CREATING', 'ACTIVE', 'UPDATING', 'DELETED', 'FAILED', 'INACTIVE'] as const;

interface Share {
  id: string;
  workflowId: string;
  ownerId: string;
  region: string;
  subscriberId: string;
  status: 'PENDING' | 'ACTIVE';
  createdAt: number;
}

type Stage = 'PENDING' | 'STARTING' | 'RUNNING' | 'STOPPING';
/** The minimum milliseconds that a run spends in each status before its end. */
type Pace = Partial<Record<Stage, number>>;

/** The request of StartRun, with the service's defaults filled in. */
interface RunRequest {
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

/** A call that the emulator received; `code` is the HTTP status of the response, 0 when the response was dropped. */
export interface EmulatedCall {
  operation: string;
  accountId: string;
  at: number;
  requestId?: string;
  runId?: string;
  code: number;
}

/** The errors that every operation of the service may return, by the name of the fault that causes them. */
const SCRIPTED_ERRORS = {
  throttle: [429, 'ThrottlingException', 'Rate exceeded'],
  internal: [500, 'InternalServerException', 'An unexpected error occurred. Try the request again.'],
  denied: [403, 'AccessDeniedException', ''],
  conflict: [409, 'ConflictException', 'The request conflicts with the state of the resource'],
  quota: [402, 'ServiceQuotaExceededException', 'The request exceeds a service quota'],
  timeout: [408, 'RequestTimeoutException', 'The request timed out'],
} as const;
const ERROR_KINDS = Object.keys(SCRIPTED_ERRORS) as (keyof typeof SCRIPTED_ERRORS)[];
const FAULT_KINDS = [...ERROR_KINDS, 'slow', 'dropAnswer', 'pace', 'failRun'] as const;

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

export interface EmulatorOptions {
  /** ministack sends it with each call; the emulator rejects calls without it. */
  secret: string;
  /** The file with runs and shares; by default they are only in memory. */
  stateFile?: string;
  /** Default: half a second for each status. */
  pace?: Pace;
  /** Calls per second by operation, for an account in a region; no limit by default (AWS: StartRun 1, others 10). */
  quotas?: Record<string, number>;
  /** Maximum active runs of an account in a region; more runs stay PENDING. */
  maxConcurrentRuns?: number;
}

interface Caller {
  accountId: string;
  region: string;
  principal: string;
}

const notFound = (what: string): OmicsError =>
  new OmicsError(404, 'ResourceNotFoundException', `The specified ${what} does not exist`);
const CALLS_KEPT = 100_000;
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

/** JSON with sorted keys, so that the same value always gives the same text. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([one], [other]) => (one < other ? -1 : 1)))
      : each,
  );
}

/** Parses a body as a JSON object. @returns an empty object for an empty body, undefined for anything else. */
function parseJsonObject(text: string): Record<string, unknown> | undefined {
  if (text === '') return {};
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** One page of a list. The token is the key of the last item of the previous page. */
function pageOf<T>(
  all: T[],
  keyOf: (item: T) => string,
  size: number,
  token: string | undefined,
): { page: T[]; nextToken?: string } {
  const from = token === undefined ? 0 : all.findIndex((item) => keyOf(item) === token) + 1;
  if (token !== undefined && from === 0) throw invalid('The token is not one that this list gave');
  const page = all.slice(from, from + size);
  return from + size < all.length ? { page, nextToken: keyOf(page.at(-1)!) } : { page };
}

/**
 * A local HealthOmics: runs with their whole life cycle, workflows and shares. Calls come through ministack, which has
 * authenticated the caller. It reads and writes S3 with the run's execution role.
 */
export class OmicsEmulator {
  readonly runs = new Map<string, EmulatedRun>();
  readonly calls: EmulatedCall[] = [];
  readonly faults: Fault[] = [];
  readonly #workflows = new Map<string, EmulatedWorkflow>();
  readonly #shares = new Map<string, Share>();
  readonly #requests = new Map<string, string>();
  readonly #buckets = new Map<string, { tokens: number; at: number }>();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Runs that wait for a free slot, in the order in which they start. */
  readonly #waiting = new Set<EmulatedRun>();
  readonly #options: EmulatorOptions;
  readonly #server;
  #nextId = 1_000_000;
  #saving: NodeJS.Timeout | undefined;
  #saveDelay = 100;
  #closed = false;
  /** ministack's address. ministack starts after the emulator, so it is set later. */
  awsEndpoint = '';
  url = '';

  constructor(options: EmulatorOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => {
      // No request, and no client that disconnects, may end the process of the emulator.
      this.#serve(request, response).catch(() => request.socket.destroy());
    });
    this.#server.keepAliveTimeout = 120_000;
  }

  /** Listens on a free loopback port. Runs that had not ended at the last stop continue after {@link connect}. */
  async listen(): Promise<void> {
    if (this.#options.stateFile !== undefined && existsSync(this.#options.stateFile)) {
      const state = JSON.parse(readFileSync(this.#options.stateFile, 'utf8')) as {
        nextId: number;
        runs: EmulatedRun[];
        workflows: EmulatedWorkflow[];
        shares: Share[];
      };
      this.#nextId = state.nextId;
      for (const run of state.runs) {
        this.runs.set(run.id, run);
        this.#requests.set(`${run.accountId}/${run.region}/${run.requestId}`, run.id);
      }
      for (const workflow of state.workflows)
        this.#workflows.set(`${workflow.ownerId}/${workflow.region}/${workflow.id}`, workflow);
      for (const share of state.shares) this.#shares.set(share.id, share);
    }
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Sets the address of ministack, and continues unfinished runs. */
  connect(awsEndpoint: string): void {
    this.awsEndpoint = awsEndpoint;
    for (const run of this.runs.values()) if (run.stoppedAt === undefined) this.#advance(run);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#save(true);
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Registers a workflow and shares it with an account. The share is PENDING. A second call changes nothing. */
  shareWorkflow(workflow: EmulatedWorkflow, subscriberId: string): string {
    this.#workflows.set(`${workflow.ownerId}/${workflow.region}/${workflow.id}`, workflow);
    for (const share of this.#shares.values())
      if (share.workflowId === workflow.id && share.subscriberId === subscriberId && share.region === workflow.region)
        return share.id;
    const id = randomUUID();
    this.#shares.set(id, {
      id,
      workflowId: workflow.id,
      ownerId: workflow.ownerId,
      region: workflow.region,
      subscriberId,
      status: 'PENDING',
      createdAt: Date.now(),
    });
    this.#save();
    return id;
  }

  #save(now = false): void {
    const file = this.#options.stateFile;
    if (file === undefined) return;
    const write = (): void => {
      const began = Date.now();
      this.#saving = undefined;
      writeFileAtomically(
        file,
        JSON.stringify({
          nextId: this.#nextId,
          runs: [...this.runs.values()],
          workflows: [...this.#workflows.values()],
          shares: [...this.#shares.values()],
        }),
      );
      // Each save writes everything. Wait ten times as long as a save takes, so that saving takes at most a tenth of
      // the time.
      this.#saveDelay = Math.max(100, 10 * (Date.now() - began));
    };
    if (now) {
      clearTimeout(this.#saving);
      write();
    } else this.#saving ??= setTimeout(write, this.#saveDelay).unref();
  }

  #later(milliseconds: number, then: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#closed) then();
    }, milliseconds);
    this.#timers.add(timer);
  }

  #set(run: EmulatedRun, status: HealthOmicsStatus): void {
    run.status = status;
    run.history.push({ status, at: Date.now() });
    if (status === 'STARTING') run.startedAt = Date.now();
    if (status === 'COMPLETED' || status === 'FAILED' || status === 'CANCELLED') run.stoppedAt = Date.now();
    this.#save();
  }

  #pace(run: EmulatedRun, stage: Stage): number {
    return run.pace?.[stage] ?? this.#options.pace?.[stage] ?? 500;
  }

  /** Runs `then` after the time of the run's status, unless the run was cancelled. */
  #leave(run: EmulatedRun, stage: Stage, then: () => void): void {
    this.#later(this.#pace(run, stage), () => {
      if (run.status === stage && !run.cancelRequested) then();
    });
  }

  /** Moves a run to its next status after the time of its current status. */
  #advance(run: EmulatedRun): void {
    if (run.cancelRequested) {
      this.#waiting.delete(run);
      if (run.status !== 'STOPPING') this.#set(run, 'STOPPING');
      this.#later(this.#pace(run, 'STOPPING'), () => this.#end(run, 'CANCELLED'));
    } else if (run.status === 'PENDING') {
      this.#leave(run, 'PENDING', () => {
        this.#waiting.add(run);
        this.#admit();
      });
    } else if (run.status === 'STARTING') {
      this.#leave(run, 'STARTING', () => {
        this.#set(run, 'RUNNING');
        this.#advance(run);
      });
    } else if (run.status === 'RUNNING') {
      this.#leave(run, 'RUNNING', () => void this.#work(run));
    } else if (run.status === 'STOPPING') {
      this.#leave(run, 'STOPPING', () => this.#end(run, run.failureReason === undefined ? 'COMPLETED' : 'FAILED'));
    }
  }

  /**
   * Makes a RUNNING run do its work now, before the time of its pace. For tests that hold a run as long as they need
   * it.
   */
  finish(id: string): void {
    const run = this.runs.get(id);
    if (run?.status !== 'RUNNING' || run.cancelRequested)
      throw new Error(`The run ${id} is ${run?.status ?? 'unknown'}, not RUNNING, or its cancellation was requested`);
    void this.#work(run);
  }

  #end(run: EmulatedRun, status: HealthOmicsStatus): void {
    this.#set(run, status);
    this.#admit();
  }

  /** Starts waiting runs, up to the cap of their account and region. */
  #admit(): void {
    if (this.#waiting.size === 0) return;
    const place = (run: EmulatedRun): string => `${run.accountId}/${run.region}`;
    const cap = this.#options.maxConcurrentRuns ?? Infinity;
    const active = new Map<string, number>();
    // Count the runs only if there is a cap.
    if (cap < Infinity)
      for (const run of this.runs.values())
        if (run.stoppedAt === undefined && run.status !== 'PENDING')
          active.set(place(run), (active.get(place(run)) ?? 0) + 1);
    for (const run of this.#waiting) {
      const count = active.get(place(run)) ?? 0;
      if (count >= cap) continue;
      active.set(place(run), count + 1);
      this.#waiting.delete(run);
      this.#set(run, 'STARTING');
      this.#advance(run);
    }
  }

  /**
   * Does the work of a run with its execution role. Import, Bases2Fastq and export all happen in RUNNING, as on AWS.
   */
  async #work(run: EmulatedRun): Promise<void> {
    const scripted = this.#fault('run', 'failRun');
    let failure: { reason: string; message: string } | undefined;
    try {
      if (scripted !== undefined)
        failure = {
          reason: scripted.failureReason ?? 'WORKFLOW_RUN_FAILED',
          message: scripted.statusMessage ?? 'The run failed because of the fault failRun',
        };
      else {
        const s3 = await this.#executionRole(run);
        try {
          const names = this.#workflows.get(
            `${run.workflowOwnerId ?? run.accountId}/${run.region}/${run.workflowId}`,
          )?.parameterNames;
          const { parameters, runOutputUri } = run;
          const input = {
            runDir: parameters[names?.runDir ?? 'run_dir'],
            runManifest: parameters[names?.runManifest ?? 'run_manifest'],
            noProjects: parameters[names?.noProjects ?? 'no_projects'],
            outputUri: runOutputUri,
          };
          await runBases2Fastq(s3, input, () => run.cancelRequested || this.#closed);
        } finally {
          s3.destroy();
        }
      }
    } catch (error) {
      failure = {
        reason: error instanceof WorkflowError ? error.reason : 'SERVICE_ERROR',
        message: (error as Error).message,
      };
    }
    // A run that the end of the emulator interrupts stays RUNNING, and does its work again after the next start.
    if (this.#closed || run.cancelRequested) return;
    run.failureReason = failure?.reason;
    run.statusMessage = failure?.message;
    this.#set(run, 'STOPPING');
    this.#advance(run);
  }

  async #executionRole(run: EmulatedRun): Promise<S3Client> {
    const response = await fetch(`${this.awsEndpoint}/_polony/execution-role-session`, {
      method: 'POST',
      headers: { 'x-polony-secret': this.#options.secret, 'content-type': 'application/json' },
      body: JSON.stringify({
        roleArn: run.roleArn,
        accountId: run.accountId,
        region: run.region,
        sourceArn: `arn:aws:omics:${run.region}:${run.accountId}:run/${run.id}`,
        sessionName: `run-${run.id}`,
        sessionPolicy: run.sessionPolicy,
      }),
    });
    const answer = (await response.json()) as {
      message?: string;
      accessKeyId: string;
      secretAccessKey: string;
      sessionToken: string;
    };
    if (!response.ok)
      throw new WorkflowError(
        'ASSUME_ROLE_FAILED',
        `HealthOmics doesn't have permission to assume the role. ${answer.message}`,
      );
    return new S3Client({
      region: run.region,
      endpoint: this.awsEndpoint,
      forcePathStyle: true,
      credentials: {
        accessKeyId: answer.accessKeyId,
        secretAccessKey: answer.secretAccessKey,
        sessionToken: answer.sessionToken,
      },
    });
  }

  #fault(operation: string, ...kinds: Fault['kind'][]): Fault | undefined {
    const fault = this.faults.find(
      (each) =>
        kinds.includes(each.kind) &&
        (each.operation === operation || each.operation === '*') &&
        Math.random() < (each.probability ?? 1),
    );
    if (fault?.count !== undefined && --fault.count <= 0) this.faults.splice(this.faults.indexOf(fault), 1);
    return fault;
  }

  #withinQuota(operation: string, caller: Caller): boolean {
    const rate = this.#options.quotas?.[operation];
    if (rate === undefined) return true;
    const key = `${caller.accountId}/${caller.region}/${operation}`;
    const now = Date.now();
    // With a rate below one per second, the bucket must still hold one whole token.
    const most = Math.max(1, rate);
    const bucket = this.#buckets.get(key) ?? { tokens: most, at: now };
    bucket.tokens = Math.min(most, bucket.tokens + ((now - bucket.at) / 1000) * rate);
    bucket.at = now;
    this.#buckets.set(key, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  #workflow(caller: Caller, id: string, ownerId: string | undefined): EmulatedWorkflow {
    const owner = ownerId ?? caller.accountId;
    const workflow = this.#workflows.get(`${owner}/${caller.region}/${id}`);
    const shared = [...this.#shares.values()].some(
      (share) =>
        share.workflowId === id &&
        share.ownerId === owner &&
        share.region === caller.region &&
        share.subscriberId === caller.accountId &&
        share.status === 'ACTIVE',
    );
    if (workflow === undefined || (owner !== caller.accountId && !shared)) throw notFound('workflow');
    return workflow;
  }

  #startRun(caller: Caller, input: Record<string, unknown>): { body: unknown; runId: string } {
    const request = {
      parameters: {},
      tags: {},
      storageType: 'STATIC',
      retentionMode: 'RETAIN',
      outputUriPrefixMode: 'SERVICE_DEFINED',
      ...input,
    } as unknown as RunRequest;
    const requestKey = `${caller.accountId}/${caller.region}/${request.requestId}`;
    const fingerprint = createHash('sha256').update(canonical(input)).digest('hex');
    const known = this.runs.get(this.#requests.get(requestKey) ?? '');
    if (known !== undefined) {
      if (known.fingerprint !== fingerprint)
        throw new OmicsError(409, 'ConflictException', 'The requestId was used before with other parameters');
      return { runId: known.id, body: this.#started(known) };
    }
    // Rules that the API reference has and the model does not.
    if (input.runId !== undefined)
      throw invalid(
        'A run of a shared workflow cannot be duplicated, and the local HealthOmics has no others: give a workflowId',
      );
    if (input.workflowId === undefined) throw invalid('Either workflowId or runId must be given');
    if (input.parametersUri !== undefined)
      throw invalid(
        input.parameters === undefined
          ? 'The local HealthOmics reads no parameters from a file: give them as parameters'
          : 'Specify either parameters or parametersUri, not both',
      );
    if (!/^arn:aws[a-z-]*:iam::\d{12}:role\/.+$/.test(request.roleArn))
      throw invalid('roleArn is not the ARN of a role');
    if (!/^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/.*)?$/.test(request.outputUri))
      throw invalid('outputUri is not an S3 URI');
    if (Object.keys(request.tags).length > 50) throw invalid('A run has at most 50 tags');
    if (input.workflowType === 'READY2RUN') throw notFound('workflow');
    // The emulator has none of these resources. Run groups are only names to list runs by.
    for (const [name, what] of [
      ['workflowVersionName', 'workflow version'],
      ['cacheId', 'run cache'],
      ['configurationName', 'configuration'],
    ] as const)
      if (input[name] !== undefined) throw notFound(what);
    const workflow = this.#workflow(caller, request.workflowId, request.workflowOwnerId);
    if (workflow.status !== 'ACTIVE') throw invalid(`The workflow is ${workflow.status}, not ACTIVE`);
    const { parameterTemplate } = workflow;
    for (const name of Object.keys(request.parameters))
      if (!Object.hasOwn(parameterTemplate, name))
        throw invalid(`The parameter ${name} is not in the parameter template of the workflow`);
    for (const [name, parameter] of Object.entries(parameterTemplate))
      if (parameter.optional !== true && (request.parameters[name] ?? null) === null)
        throw invalid(`The required parameter ${name} is missing`);
    const id = String(this.#nextId++);
    const pace = this.#fault('StartRun', 'pace')?.pace;
    const hasOwnFolder = request.outputUriPrefixMode !== 'NONE_WITH_OVERWRITE';
    const run: EmulatedRun = {
      ...request,
      id,
      uuid: randomUUID(),
      accountId: caller.accountId,
      region: caller.region,
      runOutputUri: request.outputUri.replace(/\/+$/, '') + (hasOwnFolder ? `/${id}` : ''),
      fingerprint,
      ...(pace !== undefined && { pace }),
      status: 'PENDING',
      cancelRequested: false,
      createdAt: Date.now(),
      history: [{ status: 'PENDING', at: Date.now() }],
      startedBy: caller.principal,
    };
    this.runs.set(id, run);
    this.#requests.set(requestKey, id);
    this.#save();
    this.#advance(run);
    return { runId: id, body: this.#started(run) };
  }

  #started(run: EmulatedRun): unknown {
    return {
      arn: this.#arn(run),
      id: run.id,
      status: run.status,
      tags: run.tags,
      uuid: run.uuid,
      runOutputUri: run.runOutputUri,
    };
  }

  #arn(run: EmulatedRun): string {
    return `arn:aws:omics:${run.region}:${run.accountId}:run/${run.id}`;
  }

  #run(caller: Caller, id: string): EmulatedRun {
    const run = this.runs.get(id);
    if (run === undefined || run.accountId !== caller.accountId || run.region !== caller.region) throw notFound('run');
    return run;
  }

  /** A run as GetRun returns it: the request of StartRun and the state of the run. */
  #describe(run: EmulatedRun): Record<string, unknown> {
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
      arn: this.#arn(run),
      creationTime: time(createdAt),
      startTime: time(startedAt),
      stopTime: time(stoppedAt),
    };
  }

  #operate(
    caller: Caller,
    operation: OperationName,
    input: Record<string, unknown>,
  ): { body?: unknown; runId?: string } {
    switch (operation) {
      case 'StartRun':
        return this.#startRun(caller, input);
      case 'GetRun':
        return { body: this.#describe(this.#run(caller, input.id as string)) };
      case 'CancelRun':
        this.#cancelRun(this.#run(caller, input.id as string));
        return {};
      case 'ListRuns':
        return { body: this.#listRuns(caller, input) };
      case 'GetWorkflow':
        return { body: this.#getWorkflow(caller, input) };
      case 'ListShares':
        return { body: this.#listShares(caller, input) };
      case 'AcceptShare':
        return { body: this.#acceptShare(caller, input.shareId as string) };
    }
  }

  /**
   * AWS does not document the response of CancelRun for a run that has ended; of the errors that it lists, only a
   * conflict fits. A run in STOPPING may be cancelled (User Guide, "Cancel a run"). Its results are written by then, so
   * it ends as it would have ended anyway.
   */
  #cancelRun(run: EmulatedRun): void {
    if (run.stoppedAt !== undefined)
      throw new OmicsError(409, 'ConflictException', `The run is ${run.status} and cannot be cancelled`);
    if (run.status === 'STOPPING') return;
    run.cancelRequested = true;
    this.#advance(run);
  }

  #listRuns(caller: Caller, input: Record<string, unknown>): unknown {
    const { name, status, runGroupId, batchId, maxResults = 100, startingToken } = input;
    const found = [...this.runs.values()].filter(
      (run) =>
        run.accountId === caller.accountId &&
        run.region === caller.region &&
        (status ?? run.status) === run.status &&
        (name ?? run.name) === run.name &&
        (runGroupId ?? run.runGroupId) === run.runGroupId &&
        batchId === undefined,
    );
    const { page, nextToken } = pageOf(
      found,
      (run) => run.id,
      maxResults as number,
      startingToken as string | undefined,
    );
    const items = page.map((run) => {
      const owner = run.workflowOwnerId ?? run.accountId;
      const all: Record<string, unknown> = {
        ...this.#describe(run),
        workflowName: this.#workflows.get(`${owner}/${run.region}/${run.workflowId}`)?.name,
      };
      return Object.fromEntries(RUN_LIST_ITEM.map((member) => [member, all[member]]));
    });
    return { items, nextToken };
  }

  #getWorkflow(caller: Caller, input: Record<string, unknown>): unknown {
    if (input.type === 'READY2RUN') throw notFound('workflow');
    const id = input.id as string;
    const { ownerId, region, name, status, parameterTemplate } = this.#workflow(
      caller,
      id,
      input.workflowOwnerId as string | undefined,
    );
    return {
      arn: `arn:aws:omics:${region}:${ownerId}:workflow/${id}`,
      id,
      status,
      type: 'PRIVATE',
      name,
      engine: 'NEXTFLOW',
      parameterTemplate,
      creationTime: '2025-01-01T00:00:00.000Z',
    };
  }

  #listShares(caller: Caller, input: Record<string, unknown>): unknown {
    const filter = (input.filter ?? {}) as { resourceArns?: string[]; status?: string[]; type?: string[] };
    const details = [...this.#shares.values()]
      .filter(
        (share) =>
          share.region === caller.region &&
          (input.resourceOwner === 'SELF' ? share.ownerId : share.subscriberId) === caller.accountId,
      )
      .map((share) => ({
        shareId: share.id,
        resourceArn: `arn:aws:omics:${share.region}:${share.ownerId}:workflow/${share.workflowId}`,
        resourceId: share.workflowId,
        ownerId: share.ownerId,
        principalSubscriber: share.subscriberId,
        status: share.status,
        shareName: 'bases2fastq',
        creationTime: new Date(share.createdAt).toISOString(),
      }))
      .filter(
        (share) =>
          (filter.resourceArns?.includes(share.resourceArn) ?? true) &&
          (filter.status?.includes(share.status) ?? true) &&
          (filter.type?.includes('WORKFLOW') ?? true),
      );
    const { page, nextToken } = pageOf(
      details,
      (share) => share.shareId,
      Math.max(1, (input.maxResults as number | undefined) ?? 100),
      input.nextToken as string | undefined,
    );
    return { shares: page, nextToken };
  }

  #acceptShare(caller: Caller, shareId: string): unknown {
    const share = this.#shares.get(shareId);
    if (share === undefined || share.subscriberId !== caller.accountId || share.region !== caller.region)
      throw notFound('share');
    if (share.status !== 'PENDING')
      throw new OmicsError(409, 'ConflictException', `The share is ${share.status}, not PENDING`);
    share.status = 'ACTIVE';
    this.#save();
    return { status: 'ACTIVATING' };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = (status: number, body: unknown, code?: string): void => {
      const content = body === undefined ? '' : JSON.stringify(body);
      response.writeHead(status, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(content),
        'x-amzn-requestid': randomUUID(),
        ...(code !== undefined && { 'x-amzn-errortype': code }),
      });
      response.end(content);
    };
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const body = parseJsonObject(Buffer.concat(chunks).toString('utf8'));
    if (pathname.startsWith('/_control/')) {
      if (body === undefined) return answer(400, { message: 'The body is not a JSON object' });
      return this.#control(request.method ?? '', pathname, body, answer);
    }
    const shown = Buffer.from(String(request.headers['x-polony-secret'] ?? ''));
    const secret = Buffer.from(this.#options.secret);
    if (shown.length !== secret.length || !timingSafeEqual(shown, secret))
      return answer(403, { message: 'Calls come through the local AWS endpoint' }, 'AccessDeniedException');
    const route = routeOf(request.method ?? '', pathname);
    if (route === undefined)
      return answer(
        404,
        { message: `The local HealthOmics has no ${request.method} ${pathname}` },
        'UnknownOperationException',
      );
    if (body === undefined) return answer(400, { message: 'The body is not a JSON object' }, 'SerializationException');
    const { name: operation, path } = route;
    const caller: Caller = {
      accountId: String(request.headers['x-polony-account']),
      region: String(request.headers['x-polony-region']),
      principal: String(request.headers['x-polony-principal']),
    };
    const call: EmulatedCall = {
      operation,
      accountId: caller.accountId,
      at: Date.now(),
      requestId: body.requestId as string | undefined,
      runId: path.id,
      code: 0,
    };
    if (this.calls.push(call) > CALLS_KEPT) this.calls.shift();
    const slow = this.#fault(operation, 'slow');
    if (slow !== undefined) await new Promise((resolve) => setTimeout(resolve, slow.delayMs ?? 1000));
    try {
      if (!this.#withinQuota(operation, caller)) throw new OmicsError(...SCRIPTED_ERRORS.throttle);
      const scripted = this.#fault(operation, ...ERROR_KINDS)?.kind as keyof typeof SCRIPTED_ERRORS | undefined;
      const [status, code, message] = scripted === undefined ? [] : SCRIPTED_ERRORS[scripted];
      if (status !== undefined)
        throw new OmicsError(
          status,
          code,
          scripted === 'denied'
            ? `User: ${caller.principal} is not authorized to perform: omics:${operation} on resource: * ` +
                `because no identity-based policy allows the omics:${operation} action`
            : message,
        );
      const result = this.#operate(caller, operation, inputOf(operation, path, searchParams, body));
      call.runId = result.runId ?? call.runId;
      if (this.#fault(operation, 'dropAnswer') !== undefined) return void request.socket.destroy();
      call.code = OPERATIONS[operation].status;
      answer(call.code, result.body);
    } catch (error) {
      const known =
        error instanceof OmicsError ? error : new OmicsError(500, 'InternalServerException', (error as Error).message);
      call.code = known.status;
      answer(known.status, { message: known.message }, known.code);
    }
  }

  /**
   * The control API, for tests and to try out faults. It listens on loopback only and needs no credentials:
   * - `GET /_control/{runs,calls,faults,settings}`;
   * - `POST /_control/faults` a {@link Fault}; `DELETE /_control/faults` all of them;
   * - `POST /_control/settings` `{pace?, quotas?, maxConcurrentRuns?}`; null removes one;
   * - `POST /_control/workflows` an {@link EmulatedWorkflow}, or the id of one with the members that change (such as
   *   its status); `subscriberId` shares it with an account;
   * - `DELETE /_control/runs/<id>` deletes a run, as a user can in the console.
   */
  #control(
    method: string,
    path: string,
    input: Record<string, unknown>,
    answer: (status: number, body: unknown) => void,
  ): void {
    const [, , what, id] = path.split('/');
    const settings = (): unknown => ({
      pace: this.#options.pace,
      quotas: this.#options.quotas,
      maxConcurrentRuns: this.#options.maxConcurrentRuns,
    });
    switch (`${method} ${what}`) {
      case 'GET runs':
        return answer(200, [...this.runs.values()]);
      case 'GET calls':
        return answer(200, this.calls);
      case 'GET faults':
        return answer(200, this.faults);
      case 'GET settings':
        return answer(200, settings());
      case 'DELETE faults':
        return answer(200, this.faults.splice(0));
      case 'DELETE runs': {
        const run = this.runs.get(id ?? '');
        if (run?.stoppedAt === undefined) return answer(409, { message: 'Only a run that has ended can be deleted' });
        this.runs.delete(run.id);
        this.#save();
        return answer(200, run);
      }
      case 'POST faults': {
        const known =
          typeof input.operation === 'string' &&
          ['*', 'run', ...Object.keys(OPERATIONS)].includes(input.operation) &&
          (FAULT_KINDS as readonly unknown[]).includes(input.kind);
        if (!known)
          return answer(400, {
            message:
              `A fault needs operation (*, run, ${Object.keys(OPERATIONS).join(', ')}) ` +
              `and kind (${FAULT_KINDS.join(', ')})`,
          });
        this.faults.push(input as unknown as Fault);
        return answer(201, input);
      }
      case 'POST settings': {
        for (const name of ['pace', 'quotas', 'maxConcurrentRuns'] as const)
          if (name in input) this.#options[name] = (input[name] ?? undefined) as undefined;
        this.#admit();
        return answer(200, settings());
      }
      case 'POST workflows': {
        const { subscriberId, ...changes } = input;
        const known = [...this.#workflows.values()].find(
          (each) =>
            each.id === input.id &&
            each.ownerId === (input.ownerId ?? each.ownerId) &&
            each.region === (input.region ?? each.region),
        );
        const workflow = { status: 'ACTIVE', ...known, ...changes } as EmulatedWorkflow;
        const whole =
          [workflow.id, workflow.ownerId, workflow.region, workflow.name].every((each) => typeof each === 'string') &&
          typeof workflow.parameterTemplate === 'object' &&
          WORKFLOW_STATUSES.includes(workflow.status);
        if (!whole)
          return answer(400, {
            message:
              'A workflow needs id, ownerId, region, name, parameterTemplate ' +
              `and a status (${WORKFLOW_STATUSES.join(', ')})`,
          });
        if (typeof subscriberId === 'string')
          return answer(201, { ...workflow, shareId: this.shareWorkflow(workflow, subscriberId) });
        this.#workflows.set(`${workflow.ownerId}/${workflow.region}/${workflow.id}`, workflow);
        this.#save();
        return answer(200, workflow);
      }
      default:
        answer(404, { message: `${method} ${path}` });
    }
  }
}
