import { readFileSync } from 'node:fs';

/** What a process has used so far. */
export interface ProcessUsage {
  /** CPU of all its threads, in seconds. */
  cpu: number;
  /** Resident memory, in MiB. */
  memory: number;
}

/** Clock ticks per second in `/proc/<pid>/stat` (proc(5)); 100 on every Linux that Node.js supports. */
const TICKS = 100;

/** @throws where there is no such process, or no `/proc` */
export function usageOf(pid: number): ProcessUsage {
  const memory = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return { cpu: (Number(fields[11]) + Number(fields[12])) / TICKS, memory };
}

/** The CPU of processes as a share of a core, from now until `waiting` has ended. */
export async function cpuShareDuring(waiting: Promise<unknown>, ...pids: number[]): Promise<number> {
  const [began, before] = [performance.now(), cpuOf(...pids)];
  await waiting;
  return (cpuOf(...pids) - before) / ((performance.now() - began) / 1000);
}

/** CPU seconds of several processes together. */
export const cpuOf = (...pids: number[]): number => pids.reduce((sum, pid) => sum + usageOf(pid).cpu, 0);
