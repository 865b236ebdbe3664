import type { ServerResponse } from 'node:http';
import type { Authorization, ScopeAction } from '../../domain/auth/scopes.js';
import type { VerifiedKind } from '../../domain/verification/report.js';
import { EventStream, type StreamOwner } from '../eventStreams.js';
import { type Change, type ChangeTopic, MOST_CHANGES } from '../../store/changes.js';

/** A client that follows changes. */
export interface ChangeSubscriber extends StreamOwner {
  topics: ReadonlySet<ChangeTopic>;
  access: Authorization;
  /** Narrows runs and executions. Verifications are not narrowed. */
  executionId?: string | undefined;
  runId?: string | undefined;
}

const STATUS_PREFIX: Readonly<Record<ChangeTopic, string>> = {
  runs: 'RUN_STATUS_',
  executions: 'EXECUTION_STATUS_',
  verifications: 'VERIFICATION_STATUS_',
};
const VERIFICATION_SCOPES: Readonly<Record<VerifiedKind, ScopeAction>> = {
  provider: 'providers:read',
  storageConnection: 'storage:read',
  computeConnection: 'compute:read',
  flow: 'flows:read',
};

/** Changes that many streams show. The text of each is written once for all of them. */
export class ChangeBatch {
  readonly #texts = new Map<Change, string>();
  #whole: Buffer | undefined;

  /** @param cursor the ID of the events, from which a stream can resume */
  constructor(
    readonly changes: readonly Change[],
    readonly cursor: string,
  ) {}

  /** The events of some of the changes, in their order. */
  format(chosen: readonly Change[]): Buffer | string {
    if (chosen.length === this.changes.length) return (this.#whole ??= Buffer.from(this.#join(this.changes)));
    return this.#join(chosen);
  }

  #join(changes: readonly Change[]): string {
    return changes.map((change) => this.#textOf(change)).join('');
  }

  #textOf(change: Change): string {
    let text = this.#texts.get(change);
    if (text === undefined) this.#texts.set(change, (text = formatChange(change, this.cursor)));
    return text;
  }
}

function formatChange({ topic, id, kind, status, timeChanged }: Change, cursor: string): string {
  const data = {
    topic,
    ...(kind !== '' && { kind }),
    id,
    status: `${STATUS_PREFIX[topic]}${status}`,
    timeChanged: timeChanged.toISOString(),
  };
  return `event: change\nid: ${cursor}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** One client's stream of changes. */
export class ChangeStream extends EventStream {
  /** Changes that the client does not read fast enough, the last one of each object. */
  readonly #waiting = new Map<string, Change>();
  #cursor = '';
  #mustReset = false;
  /** Whether the client knows from where it follows. */
  #isReady = false;

  constructor(
    response: ServerResponse,
    readonly subscriber: ChangeSubscriber,
  ) {
    super(response, subscriber);
  }

  /** Whether the client hears changes already. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Tells the client that it hears every change from now on. */
  begin(cursor: string): void {
    this.#cursor = cursor;
    this.#isReady = true;
    this.write(`event: ready\nid: ${cursor}\ndata: {}\n\n`);
  }

  /** Shows those of the changes that the client follows and may see. */
  show(batch: ChangeBatch): void {
    this.#cursor = batch.cursor;
    const chosen = batch.changes.filter((change) => this.#follows(change));
    if (chosen.length === 0) return;
    if (this.isBlocked) for (const change of chosen) this.#keep(change);
    // One write for all of them: with a thousand clients, each write counts.
    else this.write(batch.format(chosen));
  }

  /** Tells the client that it missed changes, so that it loads everything again. */
  reset(cursor: string): void {
    this.#cursor = cursor;
    this.#waiting.clear();
    this.#isReady = true;
    if (this.isBlocked) this.#mustReset = true;
    else this.write(`event: reset\nid: ${cursor}\ndata: {}\n\n`);
  }

  #keep(change: Change): void {
    if (this.#mustReset) return;
    this.#waiting.set(`${change.topic}:${change.id}`, change);
    // Nothing piles up in memory for a client that does not read.
    if (this.#waiting.size <= MOST_CHANGES) return;
    this.#waiting.clear();
    this.#mustReset = true;
  }

  protected override continue(): void {
    if (this.#mustReset) {
      this.#mustReset = false;
      this.reset(this.#cursor);
    }
    for (const [key, change] of this.#waiting) {
      if (this.isBlocked) return;
      this.#waiting.delete(key);
      this.write(formatChange(change, this.#cursor));
    }
  }

  #follows(change: Change): boolean {
    const { topics, executionId, runId } = this.subscriber;
    if (!topics.has(change.topic) || !this.#maySee(change)) return false;
    if (change.topic === 'verifications' || (executionId === undefined && runId === undefined)) return true;
    if (change.topic === 'runs') return change.id === runId;
    return change.id === executionId || (runId !== undefined && change.runId === runId);
  }

  #maySee({ topic, id, kind }: Change): boolean {
    const scope = topic === 'verifications' ? VERIFICATION_SCOPES[kind as VerifiedKind] : (`${topic}:read` as const);
    return scope !== undefined && this.subscriber.access.covers(scope, id);
  }
}
