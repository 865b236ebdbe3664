import type { FieldProblem } from '../errors.js';

/**
 * Settings for the HealthOmics runs of a flow. The defaults are those of HealthOmics, except for storage (DYNAMIC) and
 * retention (RETAIN).
 */
export interface RunSettings {
  runGroupId?: string;
  /** 0 to 100,000. HealthOmics starts runs of a run group with a higher priority first. */
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
  /** In addition to polony's own tags. */
  tags?: Record<string, string>;
  /** Whether errors of a run manifest block the execution (default), or are only shown, so that Bases2Fastq decides. */
  manifestErrors?: 'block' | 'warn';
  /** How often polony starts a run again after a temporary failure. Default: 2. */
  retries?: number;
}

/** A run has at most 50 tags (HealthOmics User Guide), and polony uses three. */
const MAX_TAGS = 47;

/** Checks rules that the schema does not express: dependencies between settings, and the rules of AWS for tags. */
export function checkRunSettings(field: string, settings: RunSettings): FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (settings.cacheBehavior !== undefined && settings.cacheId === undefined)
    problems.push({
      field: `${field}.cacheBehavior`,
      rule: 'NEEDS_CACHE_ID',
      message: 'needs cacheId: it says how to use that run cache',
    });
  if (settings.storageCapacity !== undefined && settings.storageType !== 'STATIC')
    problems.push({
      field: `${field}.storageCapacity`,
      rule: 'STATIC_ONLY',
      message: 'applies only to STATIC storage: set storageType to STATIC, or remove the capacity',
    });
  const tags = Object.entries(settings.tags ?? {});
  if (tags.length > MAX_TAGS)
    problems.push({
      field: `${field}.tags`,
      rule: 'TOO_MANY',
      message: `must have at most ${MAX_TAGS} tags, but has ${tags.length}: a run has at most 50, and polony uses three`,
    });
  for (const [key, value] of tags) {
    const name = `${field}.tags.${key.slice(0, 128)}`;
    if (key.length < 1 || key.length > 128 || value.length > 256)
      problems.push({
        field: name,
        rule: 'LENGTH',
        message: 'must have a key of 1 to 128 characters and a value of at most 256',
      });
    else if (!/^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u.test(key + value))
      problems.push({
        field: name,
        rule: 'FORMAT',
        message: 'may contain only letters, digits, spaces and _ . : / = + - @',
      });
    else if (/^(aws|polony):/i.test(key))
      problems.push({
        field: name,
        rule: 'RESERVED',
        message: 'must not begin with aws: or polony:, which are reserved',
      });
  }
  return problems;
}

/** Which complete runs of the storage connection start a flow automatically. An absent or empty list matches all. */
export interface AutoStartFilter {
  /** Names of instruments; `*` stands for any characters. */
  instruments?: string[];
  /** Names of runs; `*` stands for any characters. */
  runNames?: string[];
}

function matchesOne(patterns: readonly string[] | undefined, name: string): boolean {
  if (patterns === undefined || patterns.length === 0) return true;
  return patterns.some((pattern) => {
    // Matching part by part takes linear time, also for a pattern with many stars.
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

/** Whether a run starts a flow with this filter. Ignores case. */
export function matchesAutoStart(filter: AutoStartFilter, run: { instrumentName: string; runName: string }): boolean {
  return matchesOne(filter.instruments, run.instrumentName) && matchesOne(filter.runNames, run.runName);
}

/** Failure reasons of HealthOmics that are temporary (HealthOmics User Guide, troubleshooting runs). */
const TRANSIENT: readonly string[] = ['INSTANCE_RESERVATION_FAILED', 'SERVICE_ERROR', 'MODIFIED_INPUT_RESOURCE'];
/** How often polony starts a run again by default. */
export const DEFAULT_RETRIES = 2;

/** Whether polony should start a run again that failed for this reason. */
export function isTransientFailure(failureReason: string | undefined): boolean {
  return failureReason !== undefined && TRANSIENT.includes(failureReason);
}
