import { randomUUID, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { S3Client } from '@aws-sdk/client-s3';
import type { HealthOmicsStatus, ParameterTemplate } from '../../domain/execution.js';
import { writeFileAtomically } from '../stackFiles.js';
import { runBases2Fastq, WorkflowError } from './bases2fastq.js';

/** A workflow that an account shares. */
export interface EmulatedWorkflow {
  id: string;
  ownerId: string;
  region: string;
  name: string;
  parameterTemplate: ParameterTemplate;
  /** Status: CREATING, ACTIVE, UPDATING, DELETED, FAILED or INACTIVE. */
  status: string;
}

interface Share {
  id: string;
  workflowId: string;
  ownerId: string;
  region: string;
  subscriberId: string;
  status: 'PENDING' | 'ACTIVE';
  createdAt: number;
}

/** A run as the emulator holds it; times in milliseconds since 1970. */
export interface EmulatedRun {
  id: string;
  uuid: string;
  accountId: string;
  region: string;
  name?: string;
  workflowId: string;
  workflowOwnerId?: string;
  roleArn: string;
  parameters: Record<string, unknown>;
  outputUri: string;
  runOutputUri: string;
  requestId: string;
  storageType: string;
  retentionMode: string;
  tags: Record<string, string>;
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

/** A call as it was received; `code` is the HTTP status that was answered, 0 where the answer was dropped. */
export interface EmulatedCall {
  operation: string;
  accountId: string;
  at: number;
  requestId?: string;
  runId?: string;
  code: number;
}

/** Trouble for the next calls of an operation (`*` for all), or a run that fails. */
export interface Fault {
  operation: string;
  kind: 'throttle' | 'internal' | 'slow' | 'dropAnswer' | 'failRun';
  /** How many calls it meets; without it, all until faults are cleared. */
  count?: number;
  /** Chance from 0 to 1 that it meets a call; 1 by default. */
  probability?: number;
  delayMs?: number;
  failureReason?: string;
  statusMessage?: string;
}

export interface EmulatorOptions {
  /** What ministack shows with each call; calls without it are refused. */
  secret: string;
  /** Where runs and shares are kept; in memory only when absent. */
  stateFile?: string;
  /** Milliseconds that a run spends in PENDING, STARTING, RUNNING (at least) and STOPPING. */
  pace?: Partial<Record<'PENDING' | 'STARTING' | 'RUNNING' | 'STOPPING', number>>;
  /** Calls a second, per account and region; unlimited where absent (AWS: StartRun 1, others 10). */
  quotas?: Record<string, number>;
  /** Runs beyond this many stay PENDING. */
  maxConcurrentRuns?: number;
}

class OmicsError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Constraints of botocore's service model for `omics` (StartRun and the members that others share with it). */
const RULES: Record<string, { pattern?: RegExp; min?: number; max?: number; values?: readonly string[] }> = {
  workflowId: { pattern: /^[0-9]+$/, min: 1, max: 18 },
  workflowType: { values: ['PRIVATE', 'READY2RUN'] },
  runId: { pattern: /^[0-9]+$/, min: 1, max: 18 },
  roleArn: { pattern: /^arn:.+$/, min: 20, max: 2048 },
  name: { pattern: /^[\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}]+$/u, min: 1, max: 128 },
  runGroupId: { pattern: /^[0-9]+$/, min: 1, max: 18 },
  cacheId: { pattern: /^[0-9]+$/, min: 1, max: 18 },
  cacheBehavior: { values: ['CACHE_ON_FAILURE', 'CACHE_ALWAYS'] },
  outputUri: { pattern: /^s3:\/\/[a-z0-9.-]{3,63}(\/.*)?$/, min: 1, max: 750 },
  logLevel: { values: ['OFF', 'FATAL', 'ERROR', 'ALL'] },
  requestId: { pattern: /^[\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}]+$/u, min: 1, max: 127 },
  retentionMode: { values: ['RETAIN', 'REMOVE'] },
  storageType: { values: ['STATIC', 'DYNAMIC'] },
  workflowOwnerId: { pattern: /^[0-9]{12}$/ },
};

function validate(input: Record<string, unknown>, required: readonly string[]): void {
  const problems: string[] = [];
  for (const name of required) if (input[name] === undefined || input[name] === null) problems.push(`Value null at '${name}' failed to satisfy constraint: Member must not be null`);
  for (const [name, rule] of Object.entries(RULES)) {
    const value = input[name];
    if (value === undefined || value === null) continue;
    const at = `Value '${typeof value === 'string' ? value : JSON.stringify(value)}' at '${name}' failed to satisfy constraint:`;
    if (typeof value !== 'string') problems.push(`${at} Member must be a string`);
    else if (rule.values !== undefined && !rule.values.includes(value)) problems.push(`${at} Member must satisfy enum value set: [${rule.values.join(', ')}]`);
    else if (rule.min !== undefined && value.length < rule.min) problems.push(`${at} Member must have length greater than or equal to ${rule.min}`);
    else if (rule.max !== undefined && value.length > rule.max) problems.push(`${at} Member must have length less than or equal to ${rule.max}`);
    else if (rule.pattern !== undefined && !rule.pattern.test(value)) problems.push(`${at} Member must satisfy regular expression pattern: ${rule.pattern.source}`);
  }
  if (problems.length > 0) throw new OmicsError(400, 'ValidationException', `${problems.length} validation error${problems.length > 1 ? 's' : ''} detected: ${problems.join('; ')}`);
}

interface Caller {
  accountId: string;
  region: string;
  principal: string;
}

const notFound = (what: string): OmicsError => new OmicsError(404, 'ResourceNotFoundException', `The specified ${what} does not exist`);
const CALLS_KEPT = 100_000;

/**
 * A local HealthOmics: runs with their whole life, workflows and shares. It is reached through ministack, which has checked
 * who calls; it reads and writes S3 as the run's execution role.
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
  readonly #options: EmulatorOptions;
  readonly #server;
  #nextId = 1_000_000;
  #saving: NodeJS.Timeout | undefined;
  #closed = false;
  /** ministack's address; known only after the emulator's own is. */
  awsEndpoint = '';
  url = '';

  constructor(options: EmulatorOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.keepAliveTimeout = 120_000;
  }

  /** Listens on a free loopback port; runs that were under way at the last stop go on once ministack is known. */
  async listen(): Promise<void> {
    if (this.#options.stateFile !== undefined && existsSync(this.#options.stateFile)) {
      const state = JSON.parse(readFileSync(this.#options.stateFile, 'utf8')) as { nextId: number; runs: EmulatedRun[]; workflows: EmulatedWorkflow[]; shares: Share[] };
      this.#nextId = state.nextId;
      for (const run of state.runs) {
        this.runs.set(run.id, run);
        this.#requests.set(`${run.accountId}/${run.region}/${run.requestId}`, run.id);
      }
      for (const workflow of state.workflows) this.#workflows.set(`${workflow.ownerId}/${workflow.region}/${workflow.id}`, workflow);
      for (const share of state.shares) this.#shares.set(share.id, share);
    }
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Tells where ministack is, and lets unfinished runs go on. */
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

  /** Registers a workflow and shares it with an account; the share waits to be accepted. Repeating it changes nothing. */
  shareWorkflow(workflow: EmulatedWorkflow, subscriberId: string): string {
    this.#workflows.set(`${workflow.ownerId}/${workflow.region}/${workflow.id}`, workflow);
    for (const share of this.#shares.values()) if (share.workflowId === workflow.id && share.subscriberId === subscriberId && share.region === workflow.region) return share.id;
    const id = randomUUID();
    this.#shares.set(id, { id, workflowId: workflow.id, ownerId: workflow.ownerId, region: workflow.region, subscriberId, status: 'PENDING', createdAt: Date.now() });
    this.#save();
    return id;
  }

  #save(now = false): void {
    const file = this.#options.stateFile;
    if (file === undefined) return;
    const write = (): void => {
      this.#saving = undefined;
      writeFileAtomically(file, JSON.stringify({ nextId: this.#nextId, runs: [...this.runs.values()], workflows: [...this.#workflows.values()], shares: [...this.#shares.values()] }));
    };
    if (now) {
      clearTimeout(this.#saving);
      write();
    } else this.#saving ??= setTimeout(write, 100).unref();
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

  #pace(stage: 'PENDING' | 'STARTING' | 'RUNNING' | 'STOPPING'): number {
    return this.#options.pace?.[stage] ?? 500;
  }

  /** Moves a run to what comes next after the time of its stage. */
  #advance(run: EmulatedRun): void {
    if (run.cancelRequested) {
      if (run.status !== 'STOPPING') this.#set(run, 'STOPPING');
      this.#later(this.#pace('STOPPING'), () => this.#set(run, 'CANCELLED'));
      return;
    }
    const active = [...this.runs.values()].filter((other) => ['STARTING', 'RUNNING', 'STOPPING'].includes(other.status)).length;
    switch (run.status) {
      case 'PENDING':
        this.#later(this.#pace('PENDING'), () => {
          if (run.status !== 'PENDING' || run.cancelRequested) return;
          if (active < (this.#options.maxConcurrentRuns ?? Infinity)) this.#set(run, 'STARTING');
          this.#advance(run);
        });
        return;
      case 'STARTING':
        this.#later(this.#pace('STARTING'), () => {
          if (run.status !== 'STARTING' || run.cancelRequested) return;
          this.#set(run, 'RUNNING');
          this.#advance(run);
        });
        return;
      case 'RUNNING':
        this.#later(this.#pace('RUNNING'), () => void this.#work(run));
        return;
      case 'STOPPING':
        this.#later(this.#pace('STOPPING'), () => this.#set(run, run.failureReason === undefined ? 'COMPLETED' : 'FAILED'));
        return;
      default:
    }
  }

  /** The work of a run, as its execution role. */
  async #work(run: EmulatedRun): Promise<void> {
    if (run.status !== 'RUNNING' || run.cancelRequested) return;
    const scripted = this.#fault('run', 'failRun');
    try {
      if (scripted !== undefined) {
        run.failureReason = scripted.failureReason ?? 'WORKFLOW_RUN_FAILED';
        run.statusMessage = scripted.statusMessage ?? 'Failed because a fault was scripted';
      } else {
        const s3 = await this.#executionRole(run);
        try {
          await runBases2Fastq(s3, run.parameters, run.runOutputUri, () => run.cancelRequested || this.#closed);
        } finally {
          s3.destroy();
        }
      }
    } catch (error) {
      run.failureReason = error instanceof WorkflowError ? error.reason : 'WORKFLOW_RUN_FAILED';
      run.statusMessage = (error as Error).message;
    }
    if (this.#closed || run.cancelRequested) return;
    this.#set(run, 'STOPPING');
    this.#advance(run);
  }

  async #executionRole(run: EmulatedRun): Promise<S3Client> {
    const response = await fetch(`${this.awsEndpoint}/_polony/execution-role-session`, {
      method: 'POST',
      headers: { 'x-polony-secret': this.#options.secret, 'content-type': 'application/json' },
      body: JSON.stringify({ roleArn: run.roleArn, accountId: run.accountId, region: run.region, sourceArn: `arn:aws:omics:${run.region}:${run.accountId}:run/${run.id}`, sessionName: `run-${run.id}` }),
    });
    const answer = (await response.json()) as { message?: string; accessKeyId: string; secretAccessKey: string; sessionToken: string };
    if (!response.ok) throw new WorkflowError('IMPORT_FAILED', `HealthOmics could not assume the execution role: ${answer.message}`);
    return new S3Client({ region: run.region, endpoint: this.awsEndpoint, forcePathStyle: true, credentials: { accessKeyId: answer.accessKeyId, secretAccessKey: answer.secretAccessKey, sessionToken: answer.sessionToken } });
  }

  #fault(operation: string, ...kinds: Fault['kind'][]): Fault | undefined {
    const fault = this.faults.find((each) => kinds.includes(each.kind) && (each.operation === operation || each.operation === '*') && Math.random() < (each.probability ?? 1));
    if (fault?.count !== undefined && --fault.count <= 0) this.faults.splice(this.faults.indexOf(fault), 1);
    return fault;
  }

  #withinQuota(operation: string, caller: Caller): boolean {
    const rate = this.#options.quotas?.[operation];
    if (rate === undefined) return true;
    const key = `${caller.accountId}/${caller.region}/${operation}`;
    const now = Date.now();
    const bucket = this.#buckets.get(key) ?? { tokens: rate, at: now };
    bucket.tokens = Math.min(rate, bucket.tokens + ((now - bucket.at) / 1000) * rate);
    bucket.at = now;
    this.#buckets.set(key, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  #workflow(caller: Caller, id: string, ownerId: string | undefined): EmulatedWorkflow {
    const owner = ownerId ?? caller.accountId;
    const workflow = this.#workflows.get(`${owner}/${caller.region}/${id}`);
    const shared = [...this.#shares.values()].some((share) => share.workflowId === id && share.ownerId === owner && share.region === caller.region && share.subscriberId === caller.accountId && share.status === 'ACTIVE');
    if (workflow === undefined || (owner !== caller.accountId && !shared)) throw notFound('workflow');
    return workflow;
  }

  #startRun(caller: Caller, input: Record<string, unknown>): { status: number; body: unknown; runId: string } {
    validate(input, ['roleArn', 'outputUri', 'requestId', 'workflowId']);
    const text = (name: string): string | undefined => input[name] as string | undefined;
    const requestKey = `${caller.accountId}/${caller.region}/${text('requestId')}`;
    const parameters = (input.parameters ?? {}) as Record<string, unknown>;
    const known = this.runs.get(this.#requests.get(requestKey) ?? '');
    if (known !== undefined) {
      if (known.workflowId !== input.workflowId || known.outputUri !== input.outputUri || JSON.stringify(known.parameters) !== JSON.stringify(parameters)) {
        throw new OmicsError(409, 'ConflictException', 'The requestId was used before with other parameters');
      }
      return { status: 201, runId: known.id, body: this.#started(known) };
    }
    if (!/^arn:aws:iam::\d{12}:role\/.+$/.test(text('roleArn')!)) throw new OmicsError(400, 'ValidationException', 'Provided role is not valid');
    const workflow = this.#workflow(caller, text('workflowId')!, text('workflowOwnerId'));
    if (workflow.status !== 'ACTIVE') throw new OmicsError(400, 'ValidationException', `The workflow is ${workflow.status}, not ACTIVE`);
    for (const name of Object.keys(parameters)) if (workflow.parameterTemplate[name] === undefined) throw new OmicsError(400, 'ValidationException', `The parameter ${name} is not in the parameter template of the workflow`);
    for (const [name, parameter] of Object.entries(workflow.parameterTemplate)) if (parameter.optional !== true && parameters[name] === undefined) throw new OmicsError(400, 'ValidationException', `The required parameter ${name} is missing`);
    const id = String(this.#nextId++);
    const run: EmulatedRun = {
      id,
      uuid: randomUUID(),
      accountId: caller.accountId,
      region: caller.region,
      name: text('name'),
      workflowId: workflow.id,
      workflowOwnerId: text('workflowOwnerId'),
      roleArn: text('roleArn')!,
      parameters,
      outputUri: text('outputUri')!,
      runOutputUri: `${text('outputUri')!.replace(/\/+$/, '')}/${id}`,
      requestId: text('requestId')!,
      storageType: text('storageType') ?? 'STATIC',
      retentionMode: text('retentionMode') ?? 'RETAIN',
      tags: (input.tags ?? {}) as Record<string, string>,
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
    return { status: 201, runId: id, body: this.#started(run) };
  }

  #started(run: EmulatedRun): unknown {
    return { arn: this.#arn(run), id: run.id, status: run.status, tags: run.tags, uuid: run.uuid, runOutputUri: run.runOutputUri };
  }

  #arn(run: EmulatedRun): string {
    return `arn:aws:omics:${run.region}:${run.accountId}:run/${run.id}`;
  }

  #run(caller: Caller, id: string): EmulatedRun {
    validate({ runId: id }, []);
    const run = this.runs.get(id);
    if (run === undefined || run.accountId !== caller.accountId || run.region !== caller.region) throw notFound('run');
    return run;
  }

  #describe(run: EmulatedRun): Record<string, unknown> {
    const time = (at: number | undefined): string | undefined => (at === undefined ? undefined : new Date(at).toISOString());
    return {
      arn: this.#arn(run), id: run.id, uuid: run.uuid, name: run.name, status: run.status, statusMessage: run.statusMessage, failureReason: run.failureReason, workflowId: run.workflowId,
      workflowOwnerId: run.workflowOwnerId, workflowType: 'PRIVATE', roleArn: run.roleArn, parameters: run.parameters, outputUri: run.outputUri, runOutputUri: run.runOutputUri,
      storageType: run.storageType, retentionMode: run.retentionMode, tags: run.tags, startedBy: run.startedBy, creationTime: time(run.createdAt), startTime: time(run.startedAt), stopTime: time(run.stoppedAt),
    };
  }

  #operate(caller: Caller, operation: string, id: string, query: URLSearchParams, input: Record<string, unknown>): { status: number; body?: unknown; runId?: string } {
    switch (operation) {
      case 'StartRun':
        return this.#startRun(caller, input);
      case 'GetRun':
        return { status: 200, runId: id, body: this.#describe(this.#run(caller, id)) };
      case 'CancelRun': {
        const run = this.#run(caller, id);
        // What AWS answers for a run that has ended is not documented; a conflict is what its error list leaves.
        if (run.stoppedAt !== undefined) throw new OmicsError(409, 'ConflictException', `The run is ${run.status} and cannot be cancelled`);
        if (run.status !== 'STOPPING') {
          run.cancelRequested = true;
          this.#advance(run);
        }
        return { status: 202, runId: id };
      }
      case 'ListRuns': {
        const size = Math.min(Number(query.get('maxResults') ?? 100), 100);
        const all = [...this.runs.values()].filter((run) => run.accountId === caller.accountId && run.region === caller.region && (query.get('status') ?? run.status) === run.status && (query.get('name') ?? run.name) === run.name);
        const from = all.findIndex((run) => run.id === query.get('startingToken')) + 1;
        const items = all.slice(from, from + size);
        return { status: 200, body: { items: items.map((run) => this.#describe(run)), ...(from + size < all.length && { nextToken: items.at(-1)?.id }) } };
      }
      case 'GetWorkflow': {
        const owner = query.get('workflowOwnerId') ?? undefined;
        validate({ workflowId: id, workflowType: query.get('type') ?? undefined, workflowOwnerId: owner }, []);
        const workflow = this.#workflow(caller, id, owner);
        return { status: 200, body: { arn: `arn:aws:omics:${workflow.region}:${workflow.ownerId}:workflow/${id}`, id, status: workflow.status, type: 'PRIVATE', name: workflow.name, engine: 'NEXTFLOW', parameterTemplate: workflow.parameterTemplate, creationTime: '2025-01-01T00:00:00.000Z' } };
      }
      case 'ListShares': {
        const mine = [...this.#shares.values()].filter((share) => share.region === caller.region && (input.resourceOwner === 'SELF' ? share.ownerId : share.subscriberId) === caller.accountId);
        return { status: 200, body: { shares: mine.map((share) => ({ shareId: share.id, resourceArn: `arn:aws:omics:${share.region}:${share.ownerId}:workflow/${share.workflowId}`, resourceId: share.workflowId, ownerId: share.ownerId, principalSubscriber: share.subscriberId, status: share.status, shareName: 'bases2fastq', creationTime: new Date(share.createdAt).toISOString() })) } };
      }
      case 'AcceptShare': {
        const share = this.#shares.get(id);
        if (share === undefined || share.subscriberId !== caller.accountId || share.region !== caller.region) throw notFound('share');
        share.status = 'ACTIVE';
        this.#save();
        return { status: 200, body: { status: 'ACTIVATING' } };
      }
      default:
        throw new OmicsError(404, 'UnknownOperationException', operation);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = (status: number, body: unknown, code?: string): void => {
      const content = body === undefined ? '' : JSON.stringify(body);
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content), 'x-amzn-requestid': randomUUID(), ...(code !== undefined && { 'x-amzn-errortype': code }) });
      response.end(content);
    };
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? '/', 'http://localhost');
    let input: Record<string, unknown> = {};
    try {
      const text = Buffer.concat(chunks).toString('utf8');
      if (text !== '') input = JSON.parse(text) as Record<string, unknown>;
    } catch {
      return answer(400, { message: 'The body is not JSON' }, 'ValidationException');
    }
    if (url.pathname.startsWith('/_control/')) return this.#control(request.method ?? '', url.pathname, input, answer);
    const shown = Buffer.from(String(request.headers['x-polony-secret'] ?? ''));
    const secret = Buffer.from(this.#options.secret);
    if (shown.length !== secret.length || !timingSafeEqual(shown, secret)) return answer(403, { message: 'Calls come through the local AWS endpoint' }, 'AccessDeniedException');
    const caller: Caller = { accountId: String(request.headers['x-polony-account']), region: String(request.headers['x-polony-region']), principal: String(request.headers['x-polony-principal']) };
    const [, kind, id = '', sub] = url.pathname.split('/').map(decodeURIComponent);
    const operation =
      kind === 'run' ? (id === '' ? (request.method === 'POST' ? 'StartRun' : 'ListRuns') : sub === 'cancel' ? 'CancelRun' : 'GetRun') : kind === 'workflow' ? 'GetWorkflow' : kind === 'shares' ? 'ListShares' : kind === 'share' ? 'AcceptShare' : 'Unknown';
    const call: EmulatedCall = { operation, accountId: caller.accountId, at: Date.now(), requestId: input.requestId as string | undefined, runId: id === '' ? undefined : id, code: 0 };
    if (this.calls.push(call) > CALLS_KEPT) this.calls.shift();
    const slow = this.#fault(operation, 'slow');
    if (slow !== undefined) await new Promise((resolve) => setTimeout(resolve, slow.delayMs ?? 1000));
    try {
      if (this.#fault(operation, 'throttle') !== undefined || !this.#withinQuota(operation, caller)) throw new OmicsError(429, 'ThrottlingException', 'Rate exceeded');
      if (this.#fault(operation, 'internal') !== undefined) throw new OmicsError(500, 'InternalServerException', 'An unexpected error occurred. Try the request again.');
      const result = this.#operate(caller, operation, id, url.searchParams, input);
      call.runId = result.runId ?? call.runId;
      if (this.#fault(operation, 'dropAnswer') !== undefined) return void request.socket.destroy();
      call.code = result.status;
      answer(result.status, result.body);
    } catch (error) {
      const known = error instanceof OmicsError ? error : new OmicsError(500, 'InternalServerException', (error as Error).message);
      call.code = known.status;
      answer(known.status, { message: known.message }, known.code);
    }
  }

  /** `GET /_control/{runs,calls,faults}`, `POST /_control/faults` (a Fault), `DELETE /_control/faults`, `POST /_control/settings` (pace, quotas, maxConcurrentRuns). */
  #control(method: string, path: string, input: Record<string, unknown>, answer: (status: number, body: unknown) => void): void {
    const what = path.slice('/_control/'.length);
    if (method === 'GET' && what === 'runs') return answer(200, [...this.runs.values()]);
    if (method === 'GET' && what === 'calls') return answer(200, this.calls);
    if (method === 'GET' && what === 'faults') return answer(200, this.faults);
    if (method === 'DELETE' && what === 'faults') return answer(200, this.faults.splice(0));
    if (method === 'POST' && what === 'faults') {
      if (!['throttle', 'internal', 'slow', 'dropAnswer', 'failRun'].includes(String(input.kind)) || typeof input.operation !== 'string') return answer(400, { message: 'A fault needs operation and kind (throttle, internal, slow, dropAnswer, failRun)' });
      this.faults.push(input as unknown as Fault);
      return answer(201, input);
    }
    if (method === 'POST' && what === 'settings') {
      Object.assign(this.#options, { ...('pace' in input && { pace: input.pace }), ...('quotas' in input && { quotas: input.quotas }), ...('maxConcurrentRuns' in input && { maxConcurrentRuns: input.maxConcurrentRuns }) });
      return answer(200, {});
    }
    answer(404, { message: `${method} ${path}` });
  }
}
