import { spawn } from 'node:child_process';

/** What a command used until it ended. */
export interface Usage {
  /** Seconds. */
  wall: number;
  /** Seconds of all cores, with those of its children. */
  cpu: number;
  /** Peak of its resident memory, in MiB. */
  memory: number;
}

// The system says what a child used, to the parent that waits for it. Node.js does not hand that on.
const WAIT = `
import json, os, resource, sys, time
began = time.monotonic()
child = os.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
print('\\n' + json.dumps({'wall': time.monotonic() - began, 'cpu': used.ru_utime + used.ru_stime,
    'memory': used.ru_maxrss / (1 if sys.platform == 'darwin' else 1024) / (1024 * 1024 if sys.platform == 'darwin' else 1),
    'code': os.waitstatus_to_exitcode(status)}))
`;

/**
 * Runs a command to its end.
 * @param python an interpreter, which measures
 * @throws when it fails or takes longer than `timeoutMs`, with the end of what it wrote
 */
export async function measure(
  python: string,
  command: readonly string[],
  { env, timeoutMs = 300_000 }: { env: NodeJS.ProcessEnv; timeoutMs?: number },
): Promise<Usage> {
  const child = spawn(python, ['-c', WAIT, ...command], { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let output = '';
  const keepEnd = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-4000));
  child.stdout.on('data', keepEnd);
  child.stderr.on('data', keepEnd);
  const timer = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), timeoutMs);
  await new Promise<void>((resolve) => child.on('close', () => resolve()));
  clearTimeout(timer);
  const used = /\n(\{"wall".*\})\s*$/.exec(output)?.[1];
  const { code, ...usage } = JSON.parse(used ?? '{"code": -1}') as Usage & { code: number };
  if (code !== 0) throw new Error(`${command.slice(0, 4).join(' ')} ended with ${code}: ${output}`);
  return usage;
}
