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
 * The status of an execution whose HealthOmics run has this status. STOPPING precedes COMPLETED, FAILED and CANCELLED,
 * so it still means RUNNING. If somebody deleted the run before polony saw its end, polony cannot know that it
 * succeeded.
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
 * Why something waits for a person: which call AWS refused, what is missing, and what to do. The API, the workflow's
 * current details and the failure of the pending activity show it.
 */
export interface Blocked {
  /** For example `ACCESS_DENIED`; see {@link ../aws/errors.ts} for the kinds. */
  kind: string;
  /** The AWS action, for example `omics:StartRun`. */
  action?: string;
  /** The ARN that AWS refused, if it is known. */
  resource?: string;
  /** What AWS said. */
  message: string;
  /** What a person can do. */
  remedy: string;
  /** The policy statement that would grant it, as JSON. */
  statement?: unknown;
  /** Who can fix it, where that does not follow from the kind; see `ownerOf`. */
  owner?: 'customer' | 'vendor' | 'aws' | 'polony';
  /** The AWS account of the provider, where the workflow does not know it. */
  account?: string;
  /** Since when the same problem blocks; ISO 8601. The store adds it. */
  since?: string;
}

/** What is wrong, and what to do about it. Messages of AWS have no full stop. */
export function describeBlocked({ message, remedy }: Pick<Blocked, 'message' | 'remedy'>): string {
  return `${message}${/[.!?]$/.test(message) ? '' : '.'} ${remedy}`;
}

/** The `kind` of a block where HealthOmics has a run for the `requestId` of an execution, and nothing says which. */
export const START_CONFLICT = 'START_CONFLICT';

/** One parameter of a HealthOmics workflow (GetWorkflow, parameterTemplate). */
export interface TemplateParameter {
  description?: string;
  optional?: boolean;
}
export type ParameterTemplate = Record<string, TemplateParameter>;

/** Names of the workflow's parameters that polony sets. For a missing member polony tries known names. */
export interface ParameterNames {
  runDir?: string;
  runManifest?: string;
  noProjects?: string;
}

/** A JSON value of a workflow parameter. */
export type ParameterValue = string | number | boolean | null | ParameterValue[] | { [key: string]: ParameterValue };

/**
 * Names in Element's open Nextflow pipeline and in the options of Bases2Fastq. Those of the shared workflow are not
 * public.
 */
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
          message: `the workflow has no parameter ${chosen}. It has ${Object.keys(template).join(', ') || 'none'}.`,
        },
      ]);
    }
    return chosen;
  }
  return KNOWN_NAMES[what].find((name) => Object.hasOwn(template, name));
}

/**
 * The run folder in the parameters of a run that polony started, as an `s3://` URI; undefined where none is known.
 * @param name of the parameter, where the flow gives one
 */
export function findRunDir(parameters: unknown, name: string | undefined): string | undefined {
  if (typeof parameters !== 'object' || parameters === null) return undefined;
  const given = parameters as Record<string, unknown>;
  const key = [...(name === undefined ? [] : [name]), ...KNOWN_NAMES.runDir].find((each) => Object.hasOwn(given, each));
  const value = key === undefined ? undefined : given[key];
  return typeof value === 'string' ? value : undefined;
}

/**
 * Builds the parameters of StartRun: the run folder, `--no-projects` (always, see the vendor's page), and the flow's
 * parameters. HealthOmics rejects parameters that are not in the template.
 * @param runDir `s3://` URI of the run folder, without a slash at the end.
 * @throws InputError when the template has no parameter for the run folder, or lacks a parameter of the flow.
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
        message:
          `polony does not know which parameter of the workflow (${has}) is the run folder. ` +
          "Set the flow's parameterNames.runDir.",
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
        { field, rule: 'NOT_IN_TEMPLATE', message: `the workflow has no such parameter. It has ${has}.` },
      ]);
    if (name === noProjectsName || name === runDirName)
      throw new InputError([{ field, rule: 'SET_BY_POLONY', message: 'polony sets this parameter itself' }]);
    parameters[name] = value;
  }
  parameters[runDirName] = input.runDir;
  // A workflow without this parameter always uses --no-projects (the vendor's page: "always applies").
  if (noProjectsName !== undefined) parameters[noProjectsName] = true;
  if (input.runManifest !== undefined) {
    if (manifestName === undefined)
      throw new InputError([
        {
          field: 'runManifest',
          rule: 'NOT_IN_TEMPLATE',
          message: `the workflow has no parameter for a run manifest. It has ${has}.`,
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
        message: 'the workflow requires this parameter. Set it in the flow.',
      })),
    );
  }
  return parameters;
}

/** A result file. The key is relative to the folder of the results; the size is in bytes. */
export interface ResultFile {
  key: string;
  size: number;
}

/** What polony reads from the results of Bases2Fastq. Yields are in gigabases, percentages from 0 to 100. */
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
  /** Absent in summaries of older versions of polony. */
  lanes?: {
    lane: number;
    numPolonies?: number;
    totalYield?: number;
    percentAssignedReads?: number;
    percentQ30?: number;
  }[];
  /** `percentPolonies` is the share of the run's polonies, from IndexAssignment.csv. */
  samples: { name: string; numPolonies?: number; yield?: number; percentQ30?: number; percentPolonies?: number }[];
  /** Metrics.csv, by the names of Bases2Fastq. */
  metrics?: Record<string, number | string>;
  /** Number of result files, their total size in bytes, and number of FASTQ files. */
  files: { count: number; bytes: number; fastq: number };
  warnings: string[];
}
