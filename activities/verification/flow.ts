import { GetWorkflowCommand, type GetWorkflowCommandOutput } from '@aws-sdk/client-omics';
import type { AwsSessions } from '../../aws/sessions.js';
import { errorMessage } from '../../domain/errors.js';
import { buildRunParameters } from '../../domain/executions/execution.js';
import { workflowArn } from '../../domain/iam/permissions.js';
import type { Finding, Probe } from '../../domain/verification/report.js';
import type { Db } from '../../store/database.js';
import { type ComputeConnectionRow, findComputeConnection } from '../../store/connections/compute.js';
import { findFlow, type FlowRow } from '../../store/connections/flows.js';
import type { ProviderRow } from '../../store/connections/providers.js';
import { probeHealthOmics } from './compute.js';
import { type Inspection, type InspectionPlan, reportLeftOut, type SessionReport } from './inspection.js';
import { probe } from './probes.js';

/** Inspects a flow: its shared workflow, its parameters, and what its provider may do in HealthOmics. */
export async function planFlowInspection(db: Db, aws: AwsSessions, id: string): Promise<InspectionPlan | undefined> {
  const flow = await findFlow(db, id);
  const compute = flow && (await findComputeConnection(db, flow.compute_connection_id));
  if (flow === undefined || compute === undefined) return undefined;
  return {
    providerId: compute.provider_id,
    inspect: (provider, session) => inspectFlow(db, aws, provider, session, flow, compute),
  };
}

async function inspectFlow(
  db: Db,
  aws: AwsSessions,
  provider: ProviderRow,
  session: SessionReport,
  flow: FlowRow,
  compute: ComputeConnectionRow,
): Promise<Inspection> {
  const target = { region: compute.region, executionRoleArn: compute.execution_role_arn };
  const { shared_workflow_id: workflowId, workflow_owner_id: workflowOwnerId } = flow;
  const shared = await probeSharedWorkflow(aws, provider, flow, compute.region);
  const healthOmics = await probeHealthOmics(db, aws, provider, target, { id: workflowId, ownerId: workflowOwnerId });
  return {
    probes: [shared.probe, ...healthOmics.probes],
    scope: { ...target, workflowId, workflowOwnerId, accountId: provider.account_id ?? undefined },
    findings: [
      ...reportLeftOut({ executionRoleArn: target.executionRoleArn }, session),
      ...shared.findings,
      ...healthOmics.findings,
    ],
    capabilities: ['bases2fastq'],
    used: ['bases2fastq'],
  };
}

async function probeSharedWorkflow(
  aws: AwsSessions,
  provider: ProviderRow,
  flow: FlowRow,
  region: string,
): Promise<{ probe: Probe; findings: Finding[] }> {
  const { shared_workflow_id: workflowId, workflow_owner_id: workflowOwnerId } = flow;
  const findings: Finding[] = [];
  let isMissing = false;
  const got = await probe(
    {
      action: 'omics:GetWorkflow',
      resource: workflowArn({ region, workflowOwnerId, workflowId }),
      detail: 'GetWorkflow of the shared workflow',
    },
    async () => {
      const omics = aws.omics(provider.id, region);
      const workflow = await omics.send(new GetWorkflowCommand({ id: workflowId, type: 'PRIVATE', workflowOwnerId }));
      findings.push(...inspectWorkflow(flow, workflow));
    },
    ({ kind }) => (isMissing = kind === 'not-found'),
  );
  if (isMissing) findings.push(shareNotFound(flow, region));
  return { probe: got, findings };
}

function inspectWorkflow(flow: FlowRow, workflow: GetWorkflowCommandOutput): Finding[] {
  const findings: Finding[] = [];
  if (workflow.status !== 'ACTIVE')
    findings.push({
      severity: 'error',
      code: 'WORKFLOW_NOT_ACTIVE',
      message: `The shared workflow ${flow.shared_workflow_id} is ${workflow.status}, not ACTIVE`,
      remedy: 'Ask Element whether a newer share replaces it.',
    });
  try {
    buildRunParameters(workflow.parameterTemplate ?? {}, flow.parameter_names, flow.parameters, {
      runDir: 's3://bucket/run',
    });
  } catch (error) {
    findings.push({
      severity: 'error',
      code: 'INVALID_FLOW',
      message: errorMessage(error),
      remedy: "Change the flow's parameters or parameterNames.",
    });
  }
  return findings;
}

function shareNotFound(flow: FlowRow, region: string): Finding {
  return {
    severity: 'error',
    code: 'SHARE_NOT_FOUND',
    message: `Account ${flow.workflow_owner_id} shares no workflow ${flow.shared_workflow_id} in ${region}`,
    remedy:
      `Accept the share in the HealthOmics console of ${region}, and check the flow's shared workflow ID and owner. ` +
      'A share is available only in its own region.',
  };
}
