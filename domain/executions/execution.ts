import { InputError } from '../errors.js';

/** The statuses of an execution, as the vendor's contract names them without `EXECUTION_STATUS_`. */
export const EXECUTION_STATUSES = [
  'UNTRIGGERED',
  'INITIALIZED',
  'PENDING',
  'RUNNING',
  'COMPLETED',
  'FAILED',
  'CANCELED',
] as const;
export type ExecutionStatus = (typeof EXECUTION_STATUSES)[number];

/** The statuses in which an execution has ended for good. */
export const FINAL_STATUSES = ['COMPLETED', 'FAILED', 'CANCELED'] as const satisfies readonly ExecutionStatus[];
export type FinalStatus = (typeof FINAL_STATUSES)[number];

/** Whether an execution in this status has ended for good. */
export function isFinalStatus(status: ExecutionStatus): status is FinalStatus {
  return (FINAL_STATUSES as readonly ExecutionStatus[]).includes(status);
}

/** The statuses of a HealthOmics run (HealthOmics API, GetRun). */
export type HealthOmicsStatus =
  'PENDING' | 'STARTING' | 'RUNNING' | 'STOPPING' | 'COMPLETED' | 'DELETED' | 'CANCELLED' | 'FAILED';

/**
 * The status of an execution whose HealthOmics run has this status. STOPPING comes before COMPLETED, FAILED and CANCELLED
 * alike, so it is still RUNNING; a run that somebody deleted before polony saw its end can no longer be vouched for.
 */
export function toExecutionStatus(status: HealthOmicsStatus): ExecutionStatus {
  switch (status) {
    case 'PENDING':
    case 'STARTING':
      return 'PENDING';
    case 'RUNNING':
    case 'STOPPING':
      return 'RUNNING';
    case 'COMPLETED':
      return 'COMPLETED';
    case 'CANCELLED':
      return 'CANCELED';
    case 'FAILED':
    case 'DELETED':
      return 'FAILED';
  }
}

/**
 * Why something waits for a person: which call was refused, what is missing, and what to do. Shown in the API, in the
 * workflow's current details and as the pending activity's failure.
 */
export interface Blocked {
  /** For example `ACCESS_DENIED`; see {@link ../aws/errors.ts} for the kinds. */
  kind: string;
  /** The AWS action, for example `omics:StartRun`. */
  action?: string;
  /** The ARN that was refused, where it is known. */
  resource?: string;
  /** What AWS said. */
  message: string;
  /** What a person can do. */
  remedy: string;
  /** The policy statement that would grant it, as JSON. */
  statement?: unknown;
}

/** One parameter of a HealthOmics workflow (GetWorkflow, parameterTemplate). */
export interface TemplateParameter {
  description?: string;
  optional?: boolean;
}
export type ParameterTemplate = Record<string, TemplateParameter>;

/** Which parameters of the shared workflow stand for what polony sets; an entry that is absent is looked up among known names. */
export interface ParameterNames {
  runDir?: string;
  runManifest?: string;
  noProjects?: string;
}

/** A JSON value as a workflow parameter may have it. */
export type ParameterValue = string | number | boolean | null | ParameterValue[] | { [key: string]: ParameterValue };

/** Names seen in Element's open Nextflow pipeline and in Bases2Fastq's own options; the shared workflow's are not public. */
const KNOWN_NAMES: Record<keyof ParameterNames, readonly string[]> = {
  runDir: ['run_dir', 'runDir', 'run_directory', 'analysis_directory', 'analysis_dir', 'input_dir', 'input'],
  runManifest: ['run_manifest', 'runManifest', 'manifest'],
  noProjects: ['no_projects', 'noProjects', 'no-projects'],
};

function nameIn(template: ParameterTemplate, what: keyof ParameterNames, names: ParameterNames): string | undefined {
  const chosen = names[what];
  if (chosen !== undefined) {
    if (!Object.hasOwn(template, chosen)) {
      throw new InputError([
        {
          field: `parameterNames.${what}`,
          rule: 'NOT_IN_TEMPLATE',
          message: `the workflow has no parameter ${chosen}; it has ${Object.keys(template).join(', ') || 'none'}`,
        },
      ]);
    }
    return chosen;
  }
  return KNOWN_NAMES[what].find((name) => Object.hasOwn(template, name));
}

/**
 * The parameters of a StartRun: the run folder, `--no-projects` (always; the vendor's page), the flow's own, and nothing
 * outside the template, which HealthOmics would refuse.
 * @param runDir `s3://` URI of the run folder, without a slash at its end.
 * @throws InputError when the template has no parameter for the run folder, or the flow's parameters are not of the template.
 */
export function buildRunParameters(
  template: ParameterTemplate,
  names: ParameterNames,
  flowParameters: Record<string, ParameterValue>,
  input: { runDir: string; runManifest?: string },
): Record<string, ParameterValue> {
  const has = Object.keys(template).join(', ') || 'none';
  const runDirName = nameIn(template, 'runDir', names);
  if (runDirName === undefined) {
    throw new InputError([
      {
        field: 'parameterNames.runDir',
        rule: 'NOT_IN_TEMPLATE',
        message: `none of the workflow's parameters (${has}) is known to stand for the run folder; name it in the flow's parameterNames.runDir`,
      },
    ]);
  }
  const noProjectsName = nameIn(template, 'noProjects', names);
  const manifestName = nameIn(template, 'runManifest', names);
  const parameters: Record<string, ParameterValue> = {};
  for (const [name, value] of Object.entries(flowParameters)) {
    const field = `parameters.${name}`;
    if (!Object.hasOwn(template, name))
      throw new InputError([
        { field, rule: 'NOT_IN_TEMPLATE', message: `the workflow has no such parameter; it has ${has}` },
      ]);
    if (name === noProjectsName || name === runDirName)
      throw new InputError([{ field, rule: 'SET_BY_POLONY', message: 'polony sets this parameter itself' }]);
    parameters[name] = value;
  }
  parameters[runDirName] = input.runDir;
  // A workflow without such a parameter applies --no-projects by itself (the vendor's page: "always applies").
  if (noProjectsName !== undefined) parameters[noProjectsName] = true;
  if (input.runManifest !== undefined) {
    if (manifestName === undefined)
      throw new InputError([
        {
          field: 'runManifest',
          rule: 'NOT_IN_TEMPLATE',
          message: `the workflow has no parameter for a run manifest; it has ${has}`,
        },
      ]);
    parameters[manifestName] = input.runManifest;
  }
  const missing = Object.entries(template).filter(
    ([name, parameter]) => parameter.optional !== true && parameters[name] === undefined,
  );
  if (missing.length > 0) {
    throw new InputError(
      missing.map(([name]) => ({
        field: `parameters.${name}`,
        rule: 'REQUIRED_BY_TEMPLATE',
        message: 'the workflow requires this parameter; give it in the flow',
      })),
    );
  }
  return parameters;
}

/** A file of the results; the key is relative to their folder, the size in bytes. */
export interface ResultFile {
  key: string;
  size: number;
}

/** What polony reads from the results of Bases2Fastq. Yields in gigabases, percentages from 0 to 100. */
export interface ExecutionSummary {
  analysisId?: string;
  /** Version of Bases2Fastq. */
  analysisVersion?: string;
  totalYield?: number;
  assignedYield?: number;
  numPolonies?: number;
  percentAssignedReads?: number;
  percentMismatch?: number;
  percentQ30?: number;
  percentQ40?: number;
  percentQ50?: number;
  qualityScoreMean?: number;
  /** Absent in what was read before there were any. */
  lanes?: {
    lane: number;
    numPolonies?: number;
    totalYield?: number;
    percentAssignedReads?: number;
    percentQ30?: number;
  }[];
  /** `percentPolonies` of the run's, from IndexAssignment.csv. */
  samples: { name: string; numPolonies?: number; yield?: number; percentQ30?: number; percentPolonies?: number }[];
  /** Metrics.csv, by the names that Bases2Fastq gives. */
  metrics?: Record<string, number | string>;
  /** What the results hold: number of objects, their bytes, and how many of them are FASTQ files. */
  files: { count: number; bytes: number; fastq: number };
  warnings: string[];
}
