import { readFileSync } from 'node:fs';

/** What a process uses at a moment. */
export interface ProcessUsage {
  /** Resident memory, in KB. */
  kb: number;
  /** CPU time since its start, in seconds. */
  cpu: number;
}

/** @throws where there is no such process (proc(5); 100 ticks a second on Linux). */
export function usageOf(pid: number): ProcessUsage {
  const kb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return { kb, cpu: (Number(fields[11]) + Number(fields[12])) / 100 };
}

/** CPU seconds of several processes together. */
export const cpuOf = (...pids: number[]): number => pids.reduce((sum, pid) => sum + usageOf(pid).cpu, 0);
