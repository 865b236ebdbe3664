import { CancelRunCommand, GetRunCommand } from '@aws-sdk/client-omics';
import type { AwsSessions } from '../../aws/sessions.js';
import { accountOfRole } from '../../domain/arn.js';
import { explainDenial, parseDenial, PROVIDER_IDENTITY } from '../../domain/iam/denials.js';
import { runArn, workflowArn } from '../../domain/iam/permissions.js';
import type { Finding, Probe } from '../../domain/verification/report.js';
import type { Db } from '../../store/database.js';
import { findComputeConnection } from '../../store/connections/compute.js';
import type { ProviderRow } from '../../store/connections/providers.js';
import { loadEvidence } from '../../store/verification/evidence.js';
import { type InspectionPlan, reportLeftOut } from './inspection.js';
import { probe, unprobed } from './probes.js';

/** Run ids count up from 7 digits, so a run with 18 nines cannot exist. */
const IMPOSSIBLE_RUN = '999999999999999999';
const KNOWN_LATER = 'No probe can tell without starting a run. It will be known after the first execution';

/** Where flows run. */
interface ComputeTarget {
  region: string;
  executionRoleArn: string;
}

/** Inspects a compute connection: what its provider may do in HealthOmics. */
export async function planComputeInspection(db: Db, aws: AwsSessions, id: string): Promise<InspectionPlan | undefined> {
  const compute = await findComputeConnection(db, id);
  if (compute === undefined) return undefined;
  const target = { region: compute.region, executionRoleArn: compute.execution_role_arn };
  return {
    providerId: compute.provider_id,
    inspect: async (provider, session) => {
      const { probes, findings } = await probeHealthOmics(db, aws, provider, target);
      return {
        probes,
        findings: [...reportLeftOut({ executionRoleArn: target.executionRoleArn }, session), ...findings],
        scope: { ...target, accountId: provider.account_id ?? undefined },
        capabilities: ['bases2fastq'],
        used: ['bases2fastq'],
      };
    },
  };
}

/**
 * Probes what can be known about HealthOmics without starting a run.
 * @param workflow the shared workflow that is to be started; left out: any.
 */
export async function probeHealthOmics(
  db: Db,
  aws: AwsSessions,
  provider: ProviderRow,
  target: ComputeTarget,
  workflow?: { id: string; ownerId: string },
): Promise<{ probes: Probe[]; findings: Finding[] }> {
  const { region, executionRoleArn } = target;
  const evidence = await loadEvidence(db, provider.id);
  const started =
    workflow === undefined ? '*' : workflowArn({ region, workflowOwnerId: workflow.ownerId, workflowId: workflow.id });
  const passRole =
    evidence('iam:PassRole', executionRoleArn) ?? unprobed('iam:PassRole', executionRoleArn, KNOWN_LATER);
  return {
    probes: [
      ...(await probeRuns(aws, provider, region)),
      evidence('omics:StartRun', started) ?? unprobed('omics:StartRun', started, KNOWN_LATER),
      passRole,
    ],
    findings: inspectExecutionRole(provider, executionRoleArn, passRole),
  };
}

async function probeRuns(aws: AwsSessions, provider: ProviderRow, region: string): Promise<Probe[]> {
  const omics = aws.omics(provider.id, region);
  const resource = runArn({ region, accountId: provider.account_id ?? undefined });
  const isNotFound = ({ kind }: { kind: string }): boolean => kind === 'not-found';
  return [
    await probe(
      { action: 'omics:GetRun', resource, detail: 'GetRun of a run that cannot exist' },
      () => omics.send(new GetRunCommand({ id: IMPOSSIBLE_RUN })),
      isNotFound,
    ),
    await probe(
      { action: 'omics:CancelRun', resource, detail: 'CancelRun of a run that cannot exist' },
      () => omics.send(new CancelRunCommand({ id: IMPOSSIBLE_RUN })),
      isNotFound,
    ),
  ];
}

function inspectExecutionRole(provider: ProviderRow, executionRoleArn: string, passRole: Probe): Finding[] {
  const findings: Finding[] = [];
  if (passRole.result === 'denied')
    findings.push({
      severity: 'info',
      code: 'EXECUTION_ROLE_NOT_PASSABLE',
      message: `The provider may not pass the execution role ${executionRoleArn} to HealthOmics`,
      remedy: `${explainDenial(parseDenial(passRole.error?.message ?? '', passRole.error?.code), passRole, { identity: PROVIDER_IDENTITY }).remedy}.`,
    });
  if (provider.account_id !== null && accountOfRole(executionRoleArn) !== provider.account_id)
    findings.push({
      severity: 'error',
      code: 'EXECUTION_ROLE_ACCOUNT',
      message:
        `The execution role ${executionRoleArn} does not belong to the provider's account ` + provider.account_id,
      remedy:
        "Give the compute connection an execution role of the provider's account. A role cannot be passed across " +
        'accounts.',
    });
  return findings;
}
