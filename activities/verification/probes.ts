import { classifyAwsError } from '../../aws/errors.js';
import type { PermissionAction } from '../../domain/iam/permissions.js';
import type { Probe } from '../../domain/verification/report.js';
import { parseDenial } from '../../domain/iam/denials.js';

/** What a probe tries. */
interface ProbeTarget {
  action: PermissionAction;
  /** ARN of what it is tried on. */
  resource: string;
  /** How it is tried, for the report. */
  detail: string;
}

/**
 * Makes one AWS call to see whether it is allowed. The call must change nothing that matters.
 * @param provesPermission whether an error proves the permission, such as "not found" for something that cannot exist.
 * @throws nothing: an error of the call is a result.
 */
export async function probe(
  { action, resource, detail }: ProbeTarget,
  call: () => Promise<unknown>,
  provesPermission: (error: { code: string; kind: string }) => boolean = () => false,
): Promise<Probe> {
  try {
    await call();
    return { action, resource, result: 'granted', detail };
  } catch (error) {
    const { kind, code, message } = classifyAwsError(error);
    if (provesPermission({ code, kind })) return { action, resource, result: 'granted', detail };
    const failed = { action, resource, error: { code, message } };
    if (kind !== 'denied')
      return { ...failed, result: 'unknown', detail: `${detail}. AWS failed before it checked the permission` };
    // AWS may deny a call because of another permission, such as kms:Decrypt for an object that is encrypted with KMS.
    const denied = parseDenial(message).action;
    return denied === undefined || denied.toLowerCase() === action.toLowerCase()
      ? { ...failed, result: 'denied', detail }
      : { ...failed, result: 'unknown', detail: `${detail}. AWS denied it because ${denied} is missing` };
  }
}

/** A permission that was not probed. @param reason why not, for the report. */
export function unprobed(action: PermissionAction, resource: string, reason: string): Probe {
  return { action, resource, result: 'unknown', detail: reason };
}
