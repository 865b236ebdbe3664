import { InputError, errorMessage } from '../../domain/errors.js';
import type { CommonConfig } from '../../domain/settings.js';
import { parseApiConfig, parseWorkerConfig } from '../settings/parse.js';
import type { Environment } from '../settings/read.js';
import { awsChecks } from './checks/aws.js';
import { databaseChecks } from './checks/database.js';
import { keyChecks } from './checks/keys.js';
import { machineChecks } from './checks/machine.js';
import { temporalChecks } from './checks/temporal.js';
import { createContext, type DoctorBasics, type DoctorContext } from './context.js';
import { type Check, type Finding, NeedsError } from './finding.js';
import { createRedactor } from './redact.js';

/** The programs whose settings can be checked. */
export type Program = 'api' | 'worker';

export interface Examination {
  program: Program;
  findings: Finding[];
}

const TIMEOUT_MS = 15_000;

/** All checks that need settings, in the order in which they are shown. Add a check to one of these lists. */
const CHECKS: readonly ((context: DoctorContext) => Check[])[] = [databaseChecks, temporalChecks, keyChecks, awsChecks];

/**
 * Checks the installation that the environment names, from this machine. It changes nothing. Checks run side by side,
 * each with a limit of time. No finding contains a secret.
 */
export async function examine(program: Program, basics: DoctorBasics): Promise<Examination> {
  const settings = readSettings(program, basics.env);
  const findings = [...(await runChecks(machineChecks(basics))), ...settings.findings];
  if (settings.config !== undefined) {
    const { config, trustedAccountId } = settings;
    const context = createContext(basics, config, trustedAccountId);
    try {
      findings.push(...(await runChecks(CHECKS.flatMap((list) => list(context)))));
    } finally {
      await context.close();
    }
  }
  const redact = createRedactor(basics.env);
  return {
    program,
    findings: findings.map(({ message, remedy, ...finding }) => ({
      ...finding,
      message: redact(message),
      ...(remedy !== undefined && { remedy: redact(remedy) }),
    })),
  };
}

function readSettings(
  program: Program,
  env: Environment,
): { config?: CommonConfig; trustedAccountId: string | undefined; findings: Finding[] } {
  try {
    const api = program === 'api' ? parseApiConfig(env) : undefined;
    return {
      config: api ?? parseWorkerConfig(env),
      trustedAccountId: api?.trustedAccountId,
      findings: [{ check: 'settings', level: 'ok', message: `All settings of polony ${program} are valid` }],
    };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return {
      trustedAccountId: undefined,
      findings: [
        ...error.problems.map(({ field, message }) => ({
          check: 'settings',
          level: 'failure' as const,
          message: `${field} ${message}`,
          remedy: 'Correct it; docs/reference/settings.md has every setting',
        })),
        {
          check: 'everything else',
          level: 'skipped' as const,
          message: 'Not checked, because the settings are wrong',
        },
      ],
    };
  }
}

async function runChecks(checks: readonly Check[]): Promise<Finding[]> {
  return (await Promise.all(checks.map(runCheck))).flat();
}

async function runCheck({ name, run, timeoutMs = TIMEOUT_MS }: Check): Promise<Finding[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    return (await Promise.race([run(), late])).map((finding) => ({ check: name, ...finding }));
  } catch (error) {
    if (error instanceof NeedsError)
      return [{ check: name, level: 'skipped', message: `Not checked, because it needs ${error.message}` }];
    return [
      {
        check: name,
        level: 'failure',
        message: `The check itself failed: ${errorMessage(error)}`,
        remedy: 'Run polony doctor again; if it stays so, look at what the other findings say',
      },
    ];
  } finally {
    clearTimeout(timer);
  }
}
