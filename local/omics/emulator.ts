import { randomUUID, timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { S3Client } from '@aws-sdk/client-s3';
import type { HealthOmicsStatus } from '../../domain/executions/execution.js';
import { writeFileAtomically } from '../stackFiles.js';
import { runBases2Fastq, WorkflowError } from './bases2fastq.js';
import { type OmicsControl, SECRET_HEADER } from './control.js';
import { checkFault, type Fault, scriptedError, takeError, takeFault } from './faults.js';
import {
  type Caller,
  inputOf,
  invalid,
  notFound,
  OmicsError,
  OPERATIONS,
  type OperationName,
  routeOf,
} from './model.js';
import { pageOf } from './paging.js';
import { CallQuotas } from './quotas.js';
import {
  arnOf,
  checkPace,
  checkParameters,
  checkRequest,
  completeRequest,
  describeListedRun,
  describeRun,
  describeStart,
  type EmulatedRun,
  fingerprintOf,
  outputFolder,
  type Pace,
  type RunRequest,
  type Stage,
} from './run.js';
import { type EmulatedWorkflow, WORKFLOW_MEMBERS, Workflows, type WorkflowState } from './workflows.js';

/** A call that the emulator received; `code` is the HTTP status of the response, 0 when the response was dropped. */
export interface EmulatedCall {
  operation: string;
  accountId: string;
  at: number;
  requestId?: string;
  runId?: string;
  code: number;
}

export interface EmulatorOptions {
  /** ministack and the control API send it with each call; the emulator rejects calls without it. */
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

const CALLS_KEPT = 100_000;

/** What the state file has. */
interface State extends WorkflowState {
  nextId: number;
  runs: EmulatedRun[];
}

/** A request to the emulator, read completely. */
interface Received {
  method: string;
  pathname: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  /** `undefined` when the body is not a JSON object. */
  body: Record<string, unknown> | undefined;
}

interface Answer {
  status: number;
  body?: unknown;
}

/**
 * A local HealthOmics: runs with their whole life cycle, workflows and shares. Calls come through ministack, which has
 * authenticated the caller. It reads and writes S3 with the run's execution role.
 */
export class OmicsEmulator {
  readonly runs = new Map<string, EmulatedRun>();
  readonly calls: EmulatedCall[] = [];
  readonly faults: Fault[] = [];
  readonly #workflows = new Workflows();
  readonly #quotas = new CallQuotas();
  /** IDs of runs, by the requestId that started them. */
  readonly #requests = new Map<string, string>();
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
    const { stateFile } = this.#options;
    if (stateFile !== undefined && existsSync(stateFile))
      this.#restore(JSON.parse(readFileSync(stateFile, 'utf8')) as State);
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #restore(state: State): void {
    this.#nextId = state.nextId;
    for (const run of state.runs) {
      this.runs.set(run.id, run);
      this.#requests.set(requestKeyOf(run, run.requestId), run.id);
    }
    this.#workflows.restore(state);
  }

  /** Sets the address of ministack, and continues unfinished runs. */
  connect(awsEndpoint: string): void {
    this.awsEndpoint = awsEndpoint;
    for (const run of this.runs.values()) if (run.stoppedAt === undefined) this.#advance(run);
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    clearTimeout(this.#saving);
    this.#writeState();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /**
   * Registers a workflow and shares it with an account. The share is PENDING. A second call changes nothing.
   * @returns the ID of the share.
   */
  shareWorkflow(workflow: EmulatedWorkflow, subscriberId: string): string {
    this.#workflows.put(workflow);
    const shareId = this.#workflows.share(workflow, subscriberId);
    this.#save();
    return shareId;
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

  /** Has the state written soon. */
  #save(): void {
    if (this.#options.stateFile === undefined) return;
    this.#saving ??= setTimeout(() => this.#writeState(), this.#saveDelay).unref();
  }

  #writeState(): void {
    const { stateFile } = this.#options;
    if (stateFile === undefined) return;
    const began = Date.now();
    this.#saving = undefined;
    const state: State = { nextId: this.#nextId, runs: [...this.runs.values()], ...this.#workflows.state() };
    writeFileAtomically(stateFile, JSON.stringify(state));
    // Each save writes everything. Wait ten times as long as a save takes, so that saving takes at most a tenth of the
    // time.
    this.#saveDelay = Math.max(100, 10 * (Date.now() - began));
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

  #end(run: EmulatedRun, status: HealthOmicsStatus): void {
    this.#set(run, status);
    this.#admit();
  }

  /** Starts waiting runs, up to the cap of their account and region. */
  #admit(): void {
    if (this.#waiting.size === 0) return;
    const cap = this.#options.maxConcurrentRuns ?? Infinity;
    // Count the runs only if there is a cap.
    const active = cap < Infinity ? this.#countActive() : new Map<string, number>();
    for (const run of this.#waiting) {
      const count = active.get(placeOf(run)) ?? 0;
      if (count >= cap) continue;
      active.set(placeOf(run), count + 1);
      this.#waiting.delete(run);
      this.#set(run, 'STARTING');
      this.#advance(run);
    }
  }

  #countActive(): Map<string, number> {
    const active = new Map<string, number>();
    for (const run of this.runs.values())
      if (run.stoppedAt === undefined && run.status !== 'PENDING')
        active.set(placeOf(run), (active.get(placeOf(run)) ?? 0) + 1);
    return active;
  }

  /** Does the work of a run, then ends it. */
  async #work(run: EmulatedRun): Promise<void> {
    const failure = await this.#runWorkflow(run);
    // A run that the end of the emulator interrupts stays RUNNING, and does its work again after the next start.
    if (this.#closed || run.cancelRequested) return;
    run.failureReason = failure?.reason;
    run.statusMessage = failure?.message;
    this.#set(run, 'STOPPING');
    this.#advance(run);
  }

  /** @returns why the run failed, if it failed. */
  async #runWorkflow(run: EmulatedRun): Promise<{ reason: string; message: string } | undefined> {
    const scripted = takeFault(this.faults, 'run', 'failRun');
    if (scripted !== undefined)
      return {
        reason: scripted.failureReason ?? 'WORKFLOW_RUN_FAILED',
        message: scripted.statusMessage ?? 'The run failed because of the fault failRun',
      };
    try {
      await this.#runBases2Fastq(run);
      return undefined;
    } catch (error) {
      const reason = error instanceof WorkflowError ? error.reason : 'SERVICE_ERROR';
      return { reason, message: (error as Error).message };
    }
  }

  /** Import, Bases2Fastq and export, with the run's execution role. All happen in RUNNING, as on AWS. */
  async #runBases2Fastq(run: EmulatedRun): Promise<void> {
    const s3 = await this.#assumeExecutionRole(run);
    try {
      const names = this.#workflowOf(run)?.parameterNames;
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

  async #assumeExecutionRole(run: EmulatedRun): Promise<S3Client> {
    const response = await fetch(`${this.awsEndpoint}/_polony/execution-role-session`, {
      method: 'POST',
      headers: { [SECRET_HEADER]: this.#options.secret, 'content-type': 'application/json' },
      body: JSON.stringify({
        roleArn: run.roleArn,
        accountId: run.accountId,
        region: run.region,
        sourceArn: arnOf(run),
        sessionName: `run-${run.id}`,
        sessionPolicy: run.sessionPolicy,
      }),
    });
    const { message, ...credentials } = (await response.json()) as {
      message?: string;
      accessKeyId: string;
      secretAccessKey: string;
      sessionToken: string;
    };
    if (!response.ok)
      throw new WorkflowError(
        'ASSUME_ROLE_FAILED',
        `HealthOmics doesn't have permission to assume the role. ${message}`,
      );
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    return new S3Client({
      region: run.region,
      endpoint: this.awsEndpoint,
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey, sessionToken },
    });
  }

  #workflowOf(run: EmulatedRun): EmulatedWorkflow | undefined {
    return this.#workflows.get(run.workflowOwnerId ?? run.accountId, run.region, run.workflowId);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const received = await readRequest(request);
    if (received.pathname.startsWith('/_control/')) return send(response, this.#serveControl(received));
    try {
      const answer = await this.#serveOperation(received);
      if (answer === 'lost') request.socket.destroy();
      else send(response, answer);
    } catch (error) {
      // Anything else closes the connection.
      if (!(error instanceof OmicsError)) throw error;
      send(response, { status: error.status, body: { message: error.message } }, error.code);
    }
  }

  /** @returns the answer, or `lost` when the client must not get it. @throws OmicsError */
  async #serveOperation({ method, pathname, query, headers, body }: Received): Promise<Answer | 'lost'> {
    if (!hasSecret(headers, this.#options.secret))
      throw new OmicsError(403, 'AccessDeniedException', 'Calls come through the local AWS endpoint');
    const route = routeOf(method, pathname);
    if (route === undefined)
      throw new OmicsError(404, 'UnknownOperationException', `The local HealthOmics has no ${method} ${pathname}`);
    if (body === undefined) throw new OmicsError(400, 'SerializationException', NOT_AN_OBJECT);
    const { name: operation, path } = route;
    const caller = callerOf(headers);
    const call = this.#recordCall(operation, caller, path.id, body.requestId);
    await this.#delay(operation);
    try {
      this.#applyLimits(operation, caller);
      const result = this.#operate(caller, operation, inputOf(operation, path, query, body));
      call.runId = result.runId ?? call.runId;
      if (takeFault(this.faults, operation, 'dropAnswer') !== undefined) return 'lost';
      call.code = OPERATIONS[operation].status;
      return { status: call.code, body: result.body };
    } catch (error) {
      const known =
        error instanceof OmicsError ? error : new OmicsError(500, 'InternalServerException', (error as Error).message);
      call.code = known.status;
      throw known;
    }
  }

  #recordCall(operation: OperationName, caller: Caller, runId: string | undefined, requestId: unknown): EmulatedCall {
    const { accountId } = caller;
    const call = { operation, accountId, at: Date.now(), requestId: requestId as string | undefined, runId, code: 0 };
    if (this.calls.push(call) > CALLS_KEPT) this.calls.shift();
    return call;
  }

  async #delay(operation: OperationName): Promise<void> {
    const slow = takeFault(this.faults, operation, 'slow');
    if (slow !== undefined) await new Promise((resolve) => setTimeout(resolve, slow.delayMs ?? 1000));
  }

  /** @throws OmicsError when the quota or a fault makes the call fail. */
  #applyLimits(operation: OperationName, caller: Caller): void {
    const rate = this.#options.quotas?.[operation];
    if (rate !== undefined && !this.#quotas.take(operation, caller, rate))
      throw scriptedError('throttle', operation, caller);
    const error = takeError(this.faults, operation, caller);
    if (error !== undefined) throw error;
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
        return { body: describeRun(this.#run(caller, input.id as string)) };
      case 'CancelRun':
        this.#cancelRun(this.#run(caller, input.id as string));
        return {};
      case 'ListRuns':
        return { body: this.#listRuns(caller, input) };
      case 'GetWorkflow':
        return { body: this.#workflows.describe(caller, input) };
      case 'ListShares':
        return { body: this.#workflows.listShares(caller, input) };
      case 'AcceptShare':
        return { body: this.#acceptShare(caller, input.shareId as string) };
    }
  }

  #startRun(caller: Caller, input: Record<string, unknown>): { body: unknown; runId: string } {
    const request = completeRequest(input);
    const fingerprint = fingerprintOf(input);
    const known = this.runs.get(this.#requests.get(requestKeyOf(caller, request.requestId)) ?? '');
    if (known !== undefined) {
      if (known.fingerprint !== fingerprint)
        throw new OmicsError(409, 'ConflictException', 'The requestId was used before with other parameters');
      return { runId: known.id, body: describeStart(known) };
    }
    checkRequest(input, request);
    const workflow = this.#workflows.find(caller, request.workflowId, request.workflowOwnerId);
    if (workflow.status !== 'ACTIVE') throw invalid(`The workflow is ${workflow.status}, not ACTIVE`);
    checkParameters(workflow.parameterTemplate, request.parameters);
    const run = this.#createRun(caller, request, fingerprint);
    this.#advance(run);
    return { runId: run.id, body: describeStart(run) };
  }

  #createRun(caller: Caller, request: RunRequest, fingerprint: string): EmulatedRun {
    const id = String(this.#nextId++);
    const pace = takeFault(this.faults, 'StartRun', 'pace')?.pace;
    const run: EmulatedRun = {
      ...request,
      id,
      uuid: randomUUID(),
      accountId: caller.accountId,
      region: caller.region,
      runOutputUri: outputFolder(request, id),
      fingerprint,
      ...(pace !== undefined && { pace }),
      status: 'PENDING',
      cancelRequested: false,
      createdAt: Date.now(),
      history: [{ status: 'PENDING', at: Date.now() }],
      startedBy: caller.principal,
    };
    this.runs.set(id, run);
    this.#requests.set(requestKeyOf(caller, request.requestId), id);
    this.#save();
    return run;
  }

  #run(caller: Caller, id: string): EmulatedRun {
    const run = this.runs.get(id);
    if (run === undefined || run.accountId !== caller.accountId || run.region !== caller.region) throw notFound('run');
    return run;
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
    return { items: page.map((run) => describeListedRun(run, this.#workflowOf(run)?.name)), nextToken };
  }

  #acceptShare(caller: Caller, shareId: string): unknown {
    const body = this.#workflows.acceptShare(caller, shareId);
    this.#save();
    return body;
  }

  /** How to call the control API. */
  get control(): OmicsControl {
    return { url: `${this.url}/_control`, secret: this.#options.secret };
  }

  /** A caller of the control API could forge the calls of every account, so it needs the secret of the stack. */
  #serveControl(received: Received): Answer {
    if (hasSecret(received.headers, this.#options.secret)) return this.#control(received);
    return {
      status: 403,
      body: { message: `The control API needs the secret of this local stack in the header ${SECRET_HEADER}` },
    };
  }

  /**
   * The control API, for tests and to try out faults (`polony local fault`, `polony local pace`):
   * - `GET /_control/{runs,calls,faults,settings}`;
   * - `POST /_control/faults` a {@link Fault}; `DELETE /_control/faults` all of them;
   * - `POST /_control/settings` `{pace?, quotas?, maxConcurrentRuns?}`; null removes one;
   * - `POST /_control/workflows` an {@link EmulatedWorkflow}, or the id of one with the members that change (such as
   *   its status); `subscriberId` shares it with an account;
   * - `DELETE /_control/runs/<id>` deletes a run, as a user can in the console.
   */
  #control({ method, pathname, body: input }: Received): Answer {
    if (input === undefined) return { status: 400, body: { message: NOT_AN_OBJECT } };
    const [, , what, id] = pathname.split('/');
    switch (`${method} ${what}`) {
      case 'GET runs':
        return { status: 200, body: [...this.runs.values()] };
      case 'GET calls':
        return { status: 200, body: this.calls };
      case 'GET faults':
        return { status: 200, body: this.faults };
      case 'GET settings':
        return { status: 200, body: this.#settings() };
      case 'DELETE faults':
        return { status: 200, body: this.faults.splice(0) };
      case 'DELETE runs':
        return this.#deleteRun(id ?? '');
      case 'POST faults':
        return this.#addFault(input);
      case 'POST settings':
        return this.#changeSettings(input);
      case 'POST workflows':
        return this.#changeWorkflow(input);
      default:
        return { status: 404, body: { message: `${method} ${pathname}` } };
    }
  }

  #settings(): Pick<EmulatorOptions, 'pace' | 'quotas' | 'maxConcurrentRuns'> {
    const { pace, quotas, maxConcurrentRuns } = this.#options;
    return { pace, quotas, maxConcurrentRuns };
  }

  #changeSettings(input: Record<string, unknown>): Answer {
    const message = input.pace == null ? undefined : checkPace(input.pace);
    if (message !== undefined) return { status: 400, body: { message } };
    for (const name of ['pace', 'quotas', 'maxConcurrentRuns'] as const)
      if (name in input) this.#options[name] = (input[name] ?? undefined) as undefined;
    this.#admit();
    return { status: 200, body: this.#settings() };
  }

  #deleteRun(id: string): Answer {
    const run = this.runs.get(id);
    if (run?.stoppedAt === undefined)
      return { status: 409, body: { message: 'Only a run that has ended can be deleted' } };
    this.runs.delete(run.id);
    this.#save();
    return { status: 200, body: run };
  }

  #addFault(input: Record<string, unknown>): Answer {
    const message = checkFault(input);
    if (message !== undefined) return { status: 400, body: { message } };
    this.faults.push(input as unknown as Fault);
    return { status: 201, body: input };
  }

  #changeWorkflow({ subscriberId, ...changes }: Record<string, unknown>): Answer {
    const workflow = this.#workflows.change(changes);
    if (workflow === undefined) return { status: 400, body: { message: WORKFLOW_MEMBERS } };
    if (typeof subscriberId === 'string')
      return { status: 201, body: { ...workflow, shareId: this.shareWorkflow(workflow, subscriberId) } };
    this.#save();
    return { status: 200, body: workflow };
  }
}

const NOT_AN_OBJECT = 'The body is not a JSON object';

/** The account and region that limits and lists of runs count by. */
function placeOf({ accountId, region }: { accountId: string; region: string }): string {
  return `${accountId}/${region}`;
}

function requestKeyOf(caller: { accountId: string; region: string }, requestId: string): string {
  return `${placeOf(caller)}/${requestId}`;
}

async function readRequest(request: IncomingMessage): Promise<Received> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://localhost');
  const body = parseJsonObject(Buffer.concat(chunks).toString('utf8'));
  return { method: request.method ?? '', pathname, query, headers: request.headers, body };
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

function hasSecret(headers: Received['headers'], expected: string): boolean {
  const shown = Buffer.from(String(headers[SECRET_HEADER] ?? ''));
  const secret = Buffer.from(expected);
  return shown.length === secret.length && timingSafeEqual(shown, secret);
}

function callerOf(headers: Received['headers']): Caller {
  return {
    accountId: String(headers['x-polony-account']),
    region: String(headers['x-polony-region']),
    principal: String(headers['x-polony-principal']),
  };
}

function send(response: ServerResponse, { status, body }: Answer, errorCode?: string): void {
  const content = body === undefined ? '' : JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(content),
    'x-amzn-requestid': randomUUID(),
    ...(errorCode !== undefined && { 'x-amzn-errortype': errorCode }),
  });
  response.end(content);
}
