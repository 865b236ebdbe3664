import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LocalAws } from './aws.js';
import { type GuardedChild, type Guardian, untilReady } from './guardian.js';
import { withFreePort } from './ports.js';
import type { LocalPostgres } from './postgres.js';
import type { StackKeys } from './stackFiles.js';
import type { LocalTemporal } from './temporal.js';

/** The servers that the API and the worker need. */
export interface Servers {
  postgres: LocalPostgres;
  aws: LocalAws;
  temporal: LocalTemporal;
}

/**
 * As in the Dockerfile: glibc gives nearly each thread memory of its own (mallopt(3)), which takes a tenth of the memory
 * of an idle worker.
 */
const FEW_ARENAS = { MALLOC_ARENA_MAX: '2' };

/** The settings of the API and the worker on a local stack. */
export function processEnvironment({ postgres, aws, temporal }: Servers, keys: StackKeys): Record<string, string> {
  return {
    DATABASE_URL: postgres.runtimeUrl,
    TEMPORAL_ADDRESS: temporal.address,
    TEMPORAL_NAMESPACE: temporal.namespace,
    AWS_ENDPOINT_URL: aws.endpoint,
    AWS_REGION: aws.region,
    AWS_ACCESS_KEY_ID: aws.serviceAccessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.serviceSecretAccessKey,
    POLONY_API_KEY: keys.apiKey,
    POLONY_ENCRYPTION_KEYS: `local=${keys.encryptionKey}`,
    POLONY_TRUSTED_ACCOUNT_ID: aws.serviceAccountId,
    ...(temporal.uiUrl !== '' && { POLONY_TEMPORAL_UI_URL: temporal.uiUrl }),
    POLONY_DISCOVER_SECONDS: '2',
    POLONY_UPLOAD_POLL_SECONDS: '1',
    POLONY_RUN_POLL_SECONDS: '1',
    POLONY_RETRY_RUN_SECONDS: '1',
    // The local HealthOmics has no quotas until a test sets them.
    POLONY_START_RUNS_PER_SECOND: '1000',
    POLONY_GET_RUNS_PER_SECOND: '1000',
    POLONY_SWEEP_SECONDS: '10',
    // Webhook receivers for a local stack usually run on this machine.
    POLONY_WEBHOOK_ALLOW_PRIVATE: 'true',
    POLONY_LOG_LEVEL: 'info',
  };
}

/** Starts the API and the worker, each in its own process. */
export class PolonyProcesses {
  readonly #guardian: Guardian;
  readonly #env: Record<string, string>;
  readonly #build: string | undefined;

  /**
   * @param env the settings of both; a change holds for the processes that start after it
   * @param build the folder of the build that they run; default: the build or the sources that this file belongs to
   */
  constructor(guardian: Guardian, env: Record<string, string>, build?: string) {
    this.#guardian = guardian;
    this.#env = env;
    this.#build = build;
  }

  /** Starts a worker. @returns its process once it polls for tasks. */
  async startWorker(): Promise<GuardedChild> {
    const child = this.#spawn('worker');
    // logTail has only this worker's output; the file contains the output of earlier workers too.
    await untilReady(child, async () => child.logTail(1 << 20).includes('worker is running'));
    return child;
  }

  /** Starts an API and sets its port in the environment. @returns its process once it answers. */
  startApi(preferredPort?: number): Promise<GuardedChild> {
    return withFreePort(preferredPort, async (port) => {
      this.#env.POLONY_PORT = String(port);
      const child = this.#spawn('api');
      await untilReady(
        child,
        async () => (await this.#answers('/readyz')) && (await this.#answers('/v1/runs?pageSize=1')),
      );
      return child;
    });
  }

  /** Whether our API answers. Another stack, which may have taken the port, rejects our key. */
  async #answers(where: string): Promise<boolean> {
    const { POLONY_PORT: port, POLONY_API_KEY: key } = this.#env;
    return (await fetch(`http://127.0.0.1:${port}${where}`, { headers: { 'x-api-key': key! } })).ok;
  }

  #spawn(command: 'api' | 'worker'): GuardedChild {
    return this.#guardian.spawn(command, process.execPath, processArguments(command, this.#build), {
      env: { ...FEW_ARENAS, ...this.#env, AWS_SESSION_TOKEN: undefined, AWS_PROFILE: undefined },
      // Longer than the limits that the API and the worker have for their own stop.
      graceMs: 30_000,
    });
  }
}

/** The arguments for Node.js that run a polony command from the sources or, in a build, from the build. */
function processArguments(command: string, build: string | undefined): string[] {
  if (build !== undefined) return [path.join(build, 'cli/main.js'), command];
  const self = fileURLToPath(new URL('../cli/main.ts', import.meta.url));
  if (existsSync(self)) return ['--import', import.meta.resolve('tsx'), self, command];
  return [fileURLToPath(new URL('../cli/main.js', import.meta.url)), command];
}
