import { spawn } from 'node:child_process';
import type { LocalInfo } from '../local/stackFiles.js';
import { cpuShareDuring, usageOf } from './usage.js';

/** How often the waiters poll (botocore, omics, RunCompleted). */
export const WAITER_SECONDS = 30;

/** The waiters begin within so many seconds. All at once, they compete for the interpreter with each poll. */
const SPREAD_SECONDS = 10;

/** What waiters of boto3 use. */
export interface WaitersUsage {
  count: number;
  /** Of the process, in KB. */
  kb: number;
  /** Share of a core. */
  cpu: number;
}

const CODE = `
import sys, threading, time, boto3
from botocore.config import Config
config = Config(inject_host_prefix=False, max_pool_connections=50)
omics = boto3.client('omics', endpoint_url=sys.argv[1], region_name='us-west-2', config=config)
waiter = omics.get_waiter('run_completed')
threading.stack_size(256 * 1024)
def wait(run):
    try:
        waiter.wait(id=run, WaiterConfig={'Delay': ${WAITER_SECONDS}, 'MaxAttempts': 1000})
    except Exception:
        pass
runs = sys.stdin.read().split()
for run in runs:
    threading.Thread(target=wait, args=(run,), daemon=True).start()
    time.sleep(${SPREAD_SECONDS} / len(runs))
threading.Event().wait()
`;

/** Waiters of boto3 in threads of one process, one for each run. */
export class Waiters {
  readonly #child;
  readonly #count: number;

  /** @param python an interpreter that has boto3 */
  constructor(python: string, info: LocalInfo, runIds: readonly string[]) {
    this.#count = runIds.length;
    this.#child = spawn(python, ['-c', CODE, info.awsEndpoint], {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: {
        ...process.env,
        AWS_ACCESS_KEY_ID: info.adminAccessKeyId,
        AWS_SECRET_ACCESS_KEY: info.adminSecretAccessKey,
      },
    });
    this.#child.stdin.end(runIds.join(' '));
  }

  /** Measures the waiters until `waiting` has ended. */
  async measure(waiting: Promise<unknown>): Promise<WaitersUsage> {
    const pid = this.#child.pid!;
    const cpu = await cpuShareDuring(waiting, pid);
    return { count: this.#count, kb: usageOf(pid).memory * 1024, cpu };
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
