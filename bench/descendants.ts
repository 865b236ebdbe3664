import { readdirSync, readFileSync } from 'node:fs';

/** Kills all processes that a process has started, and those that they have started. */
export function killDescendants(of: number): void {
  const childrenOf = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = parentOf(name);
    if (parent !== undefined) childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)]);
  }
  const kill = (pid: number): void => {
    for (const child of childrenOf.get(pid) ?? []) {
      kill(child);
      try {
        process.kill(child, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    }
  };
  kill(of);
}

/** The second field after the name of the program, which may have spaces and parentheses; proc(5). */
function parentOf(pid: string): number | undefined {
  try {
    return Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]);
  } catch {
    return undefined;
  }
}
