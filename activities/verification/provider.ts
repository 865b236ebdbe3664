import { inspectProvider } from '../../aws/providerInspection.js';
import type { AwsSessions } from '../../aws/sessions.js';
import type { Finding } from '../../domain/verification/report.js';
import {
  describeLeftOut,
  emptyInspection,
  type InspectionPlan,
  LEFT_OUT_OF_SESSION_POLICY,
  remedyForLeftOut,
  type SessionReport,
} from './inspection.js';

/**
 * Inspects a provider: whether its session is the right one, how long it is, and whether the external ID protects it.
 */
export function planProviderInspection(aws: AwsSessions, providerId: string, allowsOpenRoles: boolean): InspectionPlan {
  return {
    providerId,
    inspect: async (provider, session) => ({
      ...emptyInspection(),
      findings: [...(await inspectProvider(aws, provider, session, allowsOpenRoles)), ...reportLeftOutEntries(session)],
    }),
  };
}

function reportLeftOutEntries({ leftOut }: SessionReport): Finding[] {
  return leftOut.map((each) => ({
    severity: 'warning',
    code: LEFT_OUT_OF_SESSION_POLICY,
    message: `${describeLeftOut(each)}. polony leaves it out, so the connection that uses it does not work`,
    remedy: remedyForLeftOut(each, 'that connection'),
  }));
}
