import { setTimeout } from 'node:timers/promises';
import type { Connection } from '@temporalio/client';
import proto from '@temporalio/proto';
import { errorMessage } from '../domain/errors.js';
import type { WorkerVersion } from '../domain/settings.js';
import { listPollers } from './doctor.js';
import { grpcCode, isNotFound } from './errors.js';

const { VersionDrainageStatus } = proto.temporal.api.enums.v1;
/** Pause between two looks at the workers of a version, in milliseconds. */
const PAUSE_MS = 1000;
/** How long one call may take, in milliseconds. */
const CALL_MS = 10_000;
/**
 * Within which time a worker that lives has polled, in milliseconds. It asks for a task, waits up to a minute for one,
 * and asks again. Temporal remembers the time of the question.
 */
const POLLED_WITHIN_MS = 75_000;

/** A task queue, and what is taken from it. */
export interface PolledQueue {
  name: string;
  kind: 'workflow' | 'activity';
}

/** What Temporal knows of one version of a worker deployment. */
export interface KnownVersion {
  /** Whether no workflow needs it any more. It must have been the current version before. */
  isDrained: boolean;
}

/** Worker Versioning: which version of the workers runs which workflow. */
export class Deployments {
  constructor(
    private readonly connection: Connection,
    private readonly namespace: string,
  ) {}

  /** @returns undefined where no worker has ever polled as this version. */
  async describe({ deploymentName, buildId }: WorkerVersion): Promise<KnownVersion | undefined> {
    try {
      const { workerDeploymentVersionInfo: info } = await this.#call(() =>
        this.connection.workflowService.describeWorkerDeploymentVersion({
          namespace: this.namespace,
          deploymentVersion: { deploymentName, buildId },
        }),
      );
      return { isDrained: info?.drainageInfo?.status === VersionDrainageStatus.VERSION_DRAINAGE_STATUS_DRAINED };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Build ID of the current version; undefined where there is none, or no worker has polled for the deployment. */
  async findCurrent(deploymentName: string): Promise<string | undefined> {
    try {
      const { namespace } = this;
      const answer = await this.#call(() =>
        this.connection.workflowService.describeWorkerDeployment({ namespace, deploymentName }),
      );
      return answer.workerDeploymentInfo?.routingConfig?.currentDeploymentVersion?.buildId || undefined;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /**
   * Makes a version the current one: new workflows start on it, and those that are not pinned move to it.
   * @returns the build ID of the version before; undefined where there was none.
   * @throws Error where Temporal refuses it, for example because a task queue has no worker of this version.
   */
  async makeCurrent({ deploymentName, buildId }: WorkerVersion): Promise<string | undefined> {
    const answer = await this.#call(() =>
      this.connection.workflowService.setWorkerDeploymentCurrentVersion({
        namespace: this.namespace,
        deploymentName,
        buildId,
        identity: 'polony promote',
      }),
    );
    return answer.previousDeploymentVersion?.buildId || undefined;
  }

  /**
   * Waits until workers of a version poll all these task queues. What Temporal says of the version itself does not tell:
   * it lists the task queues that a worker has ever polled, also when all its workers have ended.
   * @param onWait is told what is waited for, whenever that changes.
   * @throws AbortError when `signal` ends the waiting; Error where Temporal has no such namespace, or denies the question
   */
  async waitForWorkers(
    version: WorkerVersion,
    queues: readonly PolledQueue[],
    onWait: (reason: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    let last = '';
    for (;;) {
      signal.throwIfAborted();
      const reason = await this.#findWhatIsMissing(version, queues);
      if (reason === undefined) return;
      if (reason !== last) onWait(reason);
      last = reason;
      await setTimeout(PAUSE_MS, undefined, { signal });
    }
  }

  /** @returns undefined where nothing is missing. */
  async #findWhatIsMissing(version: WorkerVersion, queues: readonly PolledQueue[]): Promise<string | undefined> {
    try {
      const arePolled = await Promise.all(queues.map((queue) => this.#isPolled(version, queue)));
      const missing = queues.filter((_queue, at) => !arePolled[at]).map(({ name, kind }) => `${name} (${kind})`);
      // The pollers may be known a moment before the version is.
      if (missing.length === 0 && (await this.describe(version)) !== undefined) return undefined;
      return `workers of version ${version.buildId} of ${version.deploymentName} on ${missing.join(', ')}`;
    } catch (error) {
      if (isNotFound(error))
        throw new Error(`The namespace ${this.namespace} does not exist. Check TEMPORAL_NAMESPACE`, { cause: error });
      const code = grpcCode(error);
      // A server that is restarted, or too busy, answers the next question.
      if (code === undefined || !TRANSIENT.includes(code)) throw error;
      return `Temporal, which does not answer: ${errorMessage(error)}`;
    }
  }

  async #isPolled({ deploymentName, buildId }: WorkerVersion, { name, kind }: PolledQueue): Promise<boolean> {
    const pollers = await this.#call(() => listPollers(this.connection, this.namespace, name, kind));
    return pollers.some(
      (poller) =>
        poller.deploymentName === deploymentName &&
        poller.buildId === buildId &&
        Date.now() - (poller.lastSeen?.getTime() ?? 0) < POLLED_WITHIN_MS,
    );
  }

  #call<T>(call: () => Promise<T>): Promise<T> {
    return this.connection.withDeadline(Date.now() + CALL_MS, call);
  }
}

/** Codes of gRPC: unknown, deadline exceeded, resource exhausted, aborted, internal, unavailable. */
const TRANSIENT: readonly number[] = [2, 4, 8, 10, 13, 14];
