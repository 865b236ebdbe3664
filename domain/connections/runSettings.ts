import type { FieldProblem } from '../errors.js';

/** How the HealthOmics runs of a flow are run; what is absent is as HealthOmics has it, but for storage (DYNAMIC) and retention (RETAIN). */
export interface RunSettings {
  runGroupId?: string;
  /** 0 to 100,000; of the runs of a run group those with a higher priority come first. */
  priority?: number;
  retentionMode?: 'RETAIN' | 'REMOVE';
  storageType?: 'DYNAMIC' | 'STATIC';
  /** GiB of static storage, 0 to 100,000. */
  storageCapacity?: number;
  cacheId?: string;
  cacheBehavior?: 'CACHE_ON_FAILURE' | 'CACHE_ALWAYS';
  logLevel?: 'OFF' | 'FATAL' | 'ERROR' | 'ALL';
  /** Version of the shared workflow. */
  workflowVersionName?: string;
  /** Beside polony's own. */
  tags?: Record<string, string>;
  /** Whether a run manifest with errors blocks, as it does where this is absent, or its errors are shown and Bases2Fastq decides. */
  manifestErrors?: 'block' | 'warn';
  /** How often a run that failed for a reason that passes is started again; 2 where absent. */
  retries?: number;
}

/** Of the 50 tags of a run (HealthOmics User Guide) three are polony's. */
const TAGS = 47;

/** Checks what the shape of the settings does not say: what goes together, and the rules of AWS for tags. */
export function checkRunSettings(field: string, settings: RunSettings): FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (settings.cacheBehavior !== undefined && settings.cacheId === undefined)
    problems.push({
      field: `${field}.cacheBehavior`,
      rule: 'NEEDS_CACHE_ID',
      message: 'says how a run cache is used; give the cacheId too',
    });
  if (settings.storageCapacity !== undefined && settings.storageType !== 'STATIC')
    problems.push({
      field: `${field}.storageCapacity`,
      rule: 'STATIC_ONLY',
      message: 'is of STATIC storage only; give storageType STATIC, or leave the capacity out',
    });
  const tags = Object.entries(settings.tags ?? {});
  if (tags.length > TAGS)
    problems.push({
      field: `${field}.tags`,
      rule: 'TOO_MANY',
      message: `has ${tags.length} tags; at most ${TAGS} are possible, since a run has at most 50 and three are polony's`,
    });
  for (const [key, value] of tags) {
    const name = `${field}.tags.${key.slice(0, 128)}`;
    if (key.length < 1 || key.length > 128 || value.length > 256)
      problems.push({ field: name, rule: 'LENGTH', message: 'keys have 1 to 128 characters, values at most 256' });
    else if (!/^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u.test(key + value))
      problems.push({ field: name, rule: 'FORMAT', message: 'may have letters, digits, spaces and _ . : / = + - @' });
    else if (/^(aws|polony):/i.test(key))
      problems.push({ field: name, rule: 'RESERVED', message: 'begins with aws: or polony:, which are taken' });
  }
  return problems;
}

/** Which complete runs start a flow by themselves, beside their storage connection; where a list is absent or empty all do. */
export interface AutoStartFilter {
  /** Names of instruments; `*` stands for any characters. */
  instruments?: string[];
  /** Names of runs; `*` stands for any characters. */
  runNames?: string[];
}

function matchesOne(patterns: readonly string[] | undefined, name: string): boolean {
  if (patterns === undefined || patterns.length === 0) return true;
  return patterns.some((pattern) => {
    // Part by part, so that a pattern of many stars takes no longer than its text.
    const parts = pattern.toLowerCase().split('*');
    const text = name.toLowerCase();
    if (parts.length === 1) return text === parts[0];
    if (!text.startsWith(parts[0]!)) return false;
    let at = parts[0]!.length;
    for (const part of parts.slice(1, -1)) {
      const found = text.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    const last = parts.at(-1)!;
    return text.length - last.length >= at && text.endsWith(last);
  });
}

/** Whether a run starts a flow with this filter. Upper and lower case are alike. */
export function matchesAutoStart(filter: AutoStartFilter, run: { instrumentName: string; runName: string }): boolean {
  return matchesOne(filter.instruments, run.instrumentName) && matchesOne(filter.runNames, run.runName);
}

/** Reasons for which HealthOmics fails a run that pass by themselves (HealthOmics User Guide, troubleshooting runs). */
const TRANSIENT: readonly string[] = ['INSTANCE_RESERVATION_FAILED', 'SERVICE_ERROR', 'MODIFIED_INPUT_RESOURCE'];
/** How often a run is started again where the flow does not say. */
export const DEFAULT_RETRIES = 2;

/** Whether a run that failed for this reason is worth starting again. */
export function isTransientFailure(failureReason: string | undefined): boolean {
  return failureReason !== undefined && TRANSIENT.includes(failureReason);
}
