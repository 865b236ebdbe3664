import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { EXTERNAL_ID_IGNORED, EXTERNAL_ID_UNTRIED } from '../../aws/providerInspection.js';
import {
  concludeVerification,
  reportCapabilities,
  reportPermission,
  type VerificationReport,
  type VerifiedKind,
  type VerifiedStatus,
} from '../../domain/verification/report.js';
import { isId } from '../../store/database.js';
import { findProvider, type ProviderRow } from '../../store/connections/providers.js';
import { iterateResourcesToVerify } from '../../store/verification/resources.js';
import { saveVerification } from '../../store/verification/reports.js';
import type { Dependencies } from '../dependencies.js';
import { planComputeInspection } from './compute.js';
import { planFlowInspection } from './flow.js';
import { emptyInspection, type Inspection, type InspectionPlan, type SessionReport } from './inspection.js';
import { planProviderInspection } from './provider.js';
import { inspectSession } from './session.js';
import { planStorageInspection } from './storage.js';

/** How many verifications are started between two heartbeats. */
const STARTS_PER_HEARTBEAT = 50;

/** The activities of the verification workflows. They write nothing that matters, so they can be repeated. */
export function createVerificationActivities({ db, aws, orchestrator, settings }: Dependencies) {
  return {
    /** Probes one resource and saves the report. @returns null where the resource was deleted. */
    async verifyResource(
      kind: VerifiedKind,
      id: string,
    ): Promise<{ status: VerifiedStatus; description: string } | null> {
      if (!isId(id)) throw ApplicationFailure.nonRetryable(`${id} is not an id`, 'ResourceUnknown');
      const started = new Date();
      const plan = await planInspection(kind, id);
      const provider = plan && (await findProvider(db, plan.providerId));
      if (plan === undefined || provider === undefined) return null;
      const session = await inspectSession(aws, provider);
      if (provider.account_id === null && session.identity !== null) provider.account_id = session.identity.accountId;
      // A provider can be inspected without a session: that there is none is the result.
      const canInspect = kind === 'provider' || session.sessionSeconds !== null;
      const inspection = canInspect ? await plan.inspect(provider, session) : emptyInspection();
      const report = createReport(provider, session, inspection);
      await saveVerification(db, {
        kind,
        id,
        report,
        started,
        provider: {
          id: provider.id,
          role: { arn: provider.role_arn, externalId: provider.external_id },
          accountId: provider.account_id,
          sessionSeconds: session.sessionSeconds,
          ...(kind === 'provider' && {
            isRoleOpen: isRoleOpen(provider, report),
          }),
        },
      });
      return { status: report.status, description: report.description };
    },

    /** Starts the verification of every resource. @returns how many. */
    async startVerifications(): Promise<number> {
      let count = 0;
      for await (const resource of iterateResourcesToVerify(db)) {
        await orchestrator.verification.verify(resource);
        count++;
        if (count % STARTS_PER_HEARTBEAT === 0) Context.current().heartbeat(count);
      }
      return count;
    },
  };

  async function planInspection(kind: VerifiedKind, id: string): Promise<InspectionPlan | undefined> {
    switch (kind) {
      case 'provider':
        return planProviderInspection(aws, id, settings.allowsOpenRoles ?? false);
      case 'storageConnection':
        return planStorageInspection(db, aws, id);
      case 'computeConnection':
        return planComputeInspection(db, aws, id);
      case 'flow':
        return planFlowInspection(db, aws, id);
    }
  }
}

/**
 * Whether polony must test the role before each use. Where this verification could not tell, the last one counts, and a
 * role that none has tested counts as open.
 */
function isRoleOpen(provider: ProviderRow, { findings, sessionSeconds }: VerificationReport): boolean {
  const has = (code: string): boolean => findings.some((finding) => finding.code === code);
  if (has(EXTERNAL_ID_IGNORED)) return true;
  if (sessionSeconds === null) return provider.is_role_open;
  return has(EXTERNAL_ID_UNTRIED) && (provider.is_role_open || provider.session_seconds === null);
}

function createReport(provider: ProviderRow, session: SessionReport, inspection: Inspection): VerificationReport {
  const scope = { ...inspection.scope, accountId: provider.account_id ?? undefined };
  const permissions = [...session.probes, ...inspection.probes].map((probe) => reportPermission(probe, scope));
  const capabilities = reportCapabilities(permissions, inspection.capabilities);
  const findings = [...session.findings, ...inspection.findings];
  return {
    ...concludeVerification({ permissions, capabilities, findings }, inspection.used),
    permissions,
    capabilities,
    findings,
    identity: session.identity,
    sessionSeconds: session.sessionSeconds,
  };
}
