import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { BucketMessage } from './bucketMessages.js';

/** Starts a process of the bench, and waits until it is ready. */
export async function startProcess<T>(file: string, env: NodeJS.ProcessEnv = {}): Promise<[ChildProcess, T]> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [], {
    execArgv: ['--import', 'tsx'],
    env: { ...process.env, ...env },
  });
  const [ready] = (await once(child, 'message')) as [T];
  return [child, ready];
}

/** The bucket, in a process of its own. */
export class Bucket {
  #lastId = 0;

  private constructor(
    private readonly child: ChildProcess,
    /** How clients reach it. */
    readonly env: Record<string, string>,
  ) {}

  static async start(): Promise<Bucket> {
    const [child, { url }] = await startProcess<{ url: string }>('./bucket.ts');
    return new Bucket(child, {
      AWS_ENDPOINT_URL: url,
      AWS_REGION: 'us-west-2',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
    });
  }

  /** How many list requests it has had. */
  async countRequests(): Promise<number> {
    const id = ++this.#lastId;
    this.child.send({ id } satisfies BucketMessage);
    for (;;) {
      const [answer] = (await once(this.child, 'message')) as [{ id: number; requests: number }];
      if (answer.id === id) return answer.requests;
    }
  }

  stop(): void {
    this.child.disconnect();
  }
}
