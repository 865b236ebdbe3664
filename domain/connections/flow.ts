import { checkAccountId, parseArn } from '../arn.js';
import type { FieldProblem } from '../errors.js';
import { checkHealthOmicsRegion } from '../regions.js';

/** A shared workflow as a person gives it: the share's Resource ID, or its ARN, which includes owner and region. */
export interface SharedWorkflow {
  id: string;
  ownerId?: string;
  region?: string;
}

/**
 * Parses a shared workflow's Resource ID (1 to 18 digits, HealthOmics WorkflowId) or its ARN; undefined when the text
 * is neither.
 */
export function parseSharedWorkflow(value: string): SharedWorkflow | undefined {
  const trimmed = value.trim();
  if (/^\d{1,18}$/.test(trimmed)) return { id: trimmed };
  const arn = parseArn(trimmed);
  const id = /^workflow\/(\d{1,18})$/.exec(arn?.resource ?? '')?.[1];
  // HealthOmics always writes the owner and the region into an ARN.
  if (arn?.service !== 'omics' || id === undefined || arn.account === '' || arn.region === '') return undefined;
  return { id, ownerId: arn.account, region: arn.region };
}

/**
 * Checks a shared workflow and the account that shares it. The ARN includes the owner, so the owner is optional with an
 * ARN; if both name an owner, they must agree.
 * @returns the workflow with its owner; undefined when there is at least one problem.
 */
export function checkSharedWorkflow(
  fields: { workflow: string; owner: string },
  value: string,
  workflowOwnerId: string | undefined,
): { problems: FieldProblem[]; workflow?: { id: string; ownerId: string; region?: string } } {
  const problems = workflowOwnerId === undefined ? [] : checkAccountId(fields.owner, workflowOwnerId);
  const shared = parseSharedWorkflow(value);
  if (shared === undefined) {
    problems.push({
      field: fields.workflow,
      rule: 'SHARED_WORKFLOW_ID',
      message:
        'must be the Resource ID of the shared workflow (1 to 18 digits), or its ARN, such as ' +
        'arn:aws:omics:us-west-2:111122223333:workflow/1234567. Copy it from the share in the HealthOmics console.',
    });
  } else if (shared.region !== undefined) {
    problems.push(...checkHealthOmicsRegion(fields.workflow, shared.region));
  }
  const ownerId = workflowOwnerId ?? shared?.ownerId;
  if (shared !== undefined && ownerId === undefined) {
    problems.push({
      field: fields.owner,
      rule: 'REQUIRED',
      message: 'is required with a Resource ID: give the account that shares the workflow, 12 digits',
    });
  }
  if (shared?.ownerId !== undefined && workflowOwnerId !== undefined && shared.ownerId !== workflowOwnerId) {
    problems.push({
      field: fields.owner,
      rule: 'WORKFLOW_OWNER_MISMATCH',
      message: `must be ${shared.ownerId}, the account in the workflow's ARN, or be absent`,
    });
  }
  if (problems.length > 0 || shared === undefined || ownerId === undefined) return { problems };
  return { problems, workflow: { id: shared.id, ownerId, region: shared.region } };
}
