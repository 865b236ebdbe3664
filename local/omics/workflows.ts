import { randomUUID } from 'node:crypto';
import type { ParameterNames, ParameterTemplate } from '../../domain/executions/execution.js';
import { type Caller, notFound, OmicsError } from './model.js';
import { pageOf } from './paging.js';

const WORKFLOW_STATUSES = ['CREATING', 'ACTIVE', 'UPDATING', 'DELETED', 'FAILED', 'INACTIVE'] as const;

/** A workflow that an account shares. */
export interface EmulatedWorkflow {
  id: string;
  ownerId: string;
  region: string;
  name: string;
  parameterTemplate: ParameterTemplate;
  /** The parameters that the simulated Bases2Fastq reads; by default run_dir, run_manifest and no_projects. */
  parameterNames?: ParameterNames;
  status: (typeof WORKFLOW_STATUSES)[number];
}

interface Share {
  id: string;
  workflowId: string;
  ownerId: string;
  region: string;
  subscriberId: string;
  status: 'PENDING' | 'ACTIVE';
  createdAt: number;
}

/** All workflows and shares, as the state file has them. */
export interface WorkflowState {
  workflows: EmulatedWorkflow[];
  shares: Share[];
}

/** The workflows of all accounts, and with whom they are shared. */
export class Workflows {
  readonly #workflows = new Map<string, EmulatedWorkflow>();
  readonly #shares = new Map<string, Share>();

  restore({ workflows, shares }: WorkflowState): void {
    for (const workflow of workflows) this.put(workflow);
    for (const share of shares) this.#shares.set(share.id, share);
  }

  state(): WorkflowState {
    return { workflows: [...this.#workflows.values()], shares: [...this.#shares.values()] };
  }

  put(workflow: EmulatedWorkflow): void {
    this.#workflows.set(`${workflow.ownerId}/${workflow.region}/${workflow.id}`, workflow);
  }

  get(ownerId: string, region: string, id: string): EmulatedWorkflow | undefined {
    return this.#workflows.get(`${ownerId}/${region}/${id}`);
  }

  /**
   * Changes the workflow with the given id, and with the owner and region if they are given; creates it if it is
   * missing.
   * @returns undefined, and changes nothing, if a member is missing or wrong.
   */
  change(changes: Record<string, unknown>): EmulatedWorkflow | undefined {
    const known = [...this.#workflows.values()].find(
      (each) =>
        each.id === changes.id &&
        each.ownerId === (changes.ownerId ?? each.ownerId) &&
        each.region === (changes.region ?? each.region),
    );
    const workflow = { status: 'ACTIVE', ...known, ...changes } as EmulatedWorkflow;
    if (!isWhole(workflow)) return undefined;
    this.put(workflow);
    return workflow;
  }

  /**
   * Shares a workflow with an account. The share is PENDING. A second call changes nothing.
   * @returns the share's ID.
   */
  share(workflow: EmulatedWorkflow, subscriberId: string): string {
    const existing = [...this.#shares.values()].find(
      (share) =>
        share.workflowId === workflow.id && share.subscriberId === subscriberId && share.region === workflow.region,
    );
    if (existing !== undefined) return existing.id;
    const id = randomUUID();
    this.#shares.set(id, {
      id,
      workflowId: workflow.id,
      ownerId: workflow.ownerId,
      region: workflow.region,
      subscriberId,
      status: 'PENDING',
      createdAt: Date.now(),
    });
    return id;
  }

  /** A workflow that the caller may use: their own, or one whose share they accepted. @throws OmicsError */
  find(caller: Caller, id: string, ownerId: string | undefined): EmulatedWorkflow {
    const owner = ownerId ?? caller.accountId;
    const workflow = this.get(owner, caller.region, id);
    const isShared = [...this.#shares.values()].some(
      (share) =>
        share.workflowId === id &&
        share.ownerId === owner &&
        share.region === caller.region &&
        share.subscriberId === caller.accountId &&
        share.status === 'ACTIVE',
    );
    if (workflow === undefined || (owner !== caller.accountId && !isShared)) throw notFound('workflow');
    return workflow;
  }

  /** GetWorkflow. */
  describe(caller: Caller, input: Record<string, unknown>): unknown {
    if (input.type === 'READY2RUN') throw notFound('workflow');
    const id = input.id as string;
    const workflow = this.find(caller, id, input.workflowOwnerId as string | undefined);
    return {
      arn: workflowArn(workflow.region, workflow.ownerId, id),
      id,
      status: workflow.status,
      type: 'PRIVATE',
      name: workflow.name,
      engine: 'NEXTFLOW',
      parameterTemplate: workflow.parameterTemplate,
      creationTime: '2025-01-01T00:00:00.000Z',
    };
  }

  /** ListShares. */
  listShares(caller: Caller, input: Record<string, unknown>): unknown {
    const filter = (input.filter ?? {}) as { resourceArns?: string[]; status?: string[]; type?: string[] };
    const found = [...this.#shares.values()]
      .filter(
        (share) =>
          share.region === caller.region &&
          (input.resourceOwner === 'SELF' ? share.ownerId : share.subscriberId) === caller.accountId,
      )
      .map(describeShare)
      .filter(
        (share) =>
          (filter.resourceArns?.includes(share.resourceArn) ?? true) &&
          (filter.status?.includes(share.status) ?? true) &&
          (filter.type?.includes('WORKFLOW') ?? true),
      );
    const { page, nextToken } = pageOf(
      found,
      (share) => share.shareId,
      Math.max(1, (input.maxResults as number | undefined) ?? 100),
      input.nextToken as string | undefined,
    );
    return { shares: page, nextToken };
  }

  /** AcceptShare. */
  acceptShare(caller: Caller, shareId: string): unknown {
    const share = this.#shares.get(shareId);
    if (share === undefined || share.subscriberId !== caller.accountId || share.region !== caller.region)
      throw notFound('share');
    if (share.status !== 'PENDING')
      throw new OmicsError(409, 'ConflictException', `The share is ${share.status}, not PENDING`);
    share.status = 'ACTIVE';
    return { status: 'ACTIVATING' };
  }
}

/** What {@link Workflows.change} needs. */
export const WORKFLOW_MEMBERS = `A workflow needs id, ownerId, region, name, parameterTemplate and a status (${WORKFLOW_STATUSES.join(', ')})`;

function isWhole({ id, ownerId, region, name, parameterTemplate, status }: EmulatedWorkflow): boolean {
  return (
    [id, ownerId, region, name].every((each) => typeof each === 'string') &&
    typeof parameterTemplate === 'object' &&
    WORKFLOW_STATUSES.includes(status)
  );
}

function workflowArn(region: string, ownerId: string, id: string): string {
  return `arn:aws:omics:${region}:${ownerId}:workflow/${id}`;
}

function describeShare({ id, region, ownerId, workflowId, subscriberId, status, createdAt }: Share) {
  return {
    shareId: id,
    resourceArn: workflowArn(region, ownerId, workflowId),
    resourceId: workflowId,
    ownerId,
    principalSubscriber: subscriberId,
    status,
    shareName: 'bases2fastq',
    creationTime: new Date(createdAt).toISOString(),
  };
}
