import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { SinkMessage, SinkState } from './sinkMessages.js';

/** The sink, in a process of its own. */
export class Sink {
  #lastId = 0;

  private constructor(
    private readonly child: ChildProcess,
    /** Of polony's API and of S3. */
    readonly url: string,
  ) {}

  /** @param certificate PEM files for HTTPS; undefined for HTTP */
  static async start(certificate: { certFile: string; keyFile: string } | undefined): Promise<Sink> {
    const child = fork(
      fileURLToPath(new URL('./sink.ts', import.meta.url)),
      certificate === undefined ? [] : [certificate.certFile, certificate.keyFile],
      { execArgv: ['--import', 'tsx'] },
    );
    const [{ base }] = (await once(child, 'message')) as [{ base: string }];
    return new Sink(child, base);
  }

  /** Changes what the sink has. @returns its counts */
  async tell(change: Omit<SinkMessage, 'id'> = {}): Promise<SinkState> {
    const id = ++this.#lastId;
    this.child.send({ id, ...change });
    for (;;) {
      const [answer] = (await once(this.child, 'message')) as [{ id: number; state: SinkState }];
      if (answer.id === id) return answer.state;
    }
  }

  stop(): void {
    this.child.disconnect();
  }
}
