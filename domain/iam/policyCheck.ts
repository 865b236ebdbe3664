import { accountOfRole, checkAccountId } from '../arn.js';
import { parseSharedWorkflow } from '../connections/flow.js';
import { checkBucketName, checkPrefix, normalizePrefix } from '../connections/storage.js';
import { InputError, throwIfInvalid } from '../errors.js';
import { checkRegion } from '../regions.js';
import { decide, type IamDecision, type IamRequest, type Judgement, PolicyJudge } from './evaluatePolicy.js';
import { checkExecutionRoleArn, checkSharedWorkflowText, FieldReader } from './fields.js';
import { type Location, withoutNested } from './locations.js';
import { type ParsedIamPolicy, type ParsedStatement, parseIamPolicy } from './parsePolicy.js';
import {
  ACTIONS,
  type CapabilityState,
  capabilityStates,
  CREDENTIAL_TYPES,
  type CredentialType,
  type Permission,
  type PermissionAction,
  permissionsForCredential,
  type PermissionScope,
  type PermissionState,
  permissionTarget,
  type Statement,
  statementFor,
} from './permissions.js';

/** A policy to check, field by field as the API names them. */
export interface IamCheckQuery {
  /** The policy as JSON, or its text. */
  policy: unknown;
  credentialType?: string;
  /** Taken from the policy if absent. */
  bucket?: string;
  prefix?: string;
  executionRoleArn?: string;
  workflowId?: string;
  workflowOwnerId?: string;
  region?: string;
  accountId?: string;
}

/** What one statement means for the permissions that polony needs. */
export interface StatementFinding {
  /** Its position in the policy, from 0. */
  index: number;
  sid: string | null;
  effect: 'Allow' | 'Deny';
  /** Permissions that it affects; `wholly` when it affects every case. */
  permissions: { action: PermissionAction; wholly: boolean; reasons: string[] }[];
  /** Its actions that polony does not need, including wildcards. */
  otherActions: string[];
}

/** What the whole policy means for one permission. */
export interface PermissionFinding extends Pick<Permission, 'action' | 'requirement' | 'purpose' | 'unlocks'> {
  state: Exclude<PermissionState, 'unknown'>;
  reasons: string[];
  /** Statements that would grant it; empty when it is granted. */
  statements: Statement[];
}

/** What a policy means for polony. */
export interface PolicyFindings {
  credentialType: CredentialType;
  /** Where polony checked it; empty for any bucket. */
  locations: Location[];
  statements: StatementFinding[];
  permissions: PermissionFinding[];
  capabilities: CapabilityState[];
}

/**
 * Checks what a policy would grant: by statement, by permission, and by capability.
 * @throws InputError with all problems at once.
 */
export function checkPolicy(query: IamCheckQuery): PolicyFindings {
  const { policy, credentialType, scope, locations } = readQuery(query);
  const check = new PolicyCheck(policy, scope, locations);
  const rows = permissionsForCredential(credentialType);
  const permissions = rows.map((row) => check.findPermission(row));
  const states = new Map(permissions.map(({ action, state }) => [action, state]));
  return {
    credentialType,
    locations,
    statements: policy.statements.map((statement, index) => check.findStatement(statement, index, rows)),
    permissions,
    capabilities: capabilityStates(credentialType, (action) => states.get(action) ?? 'unknown'),
  };
}

function readQuery(query: IamCheckQuery) {
  const reader = new FieldReader(query);
  const credentialType = reader.oneOf('credentialType', query.credentialType ?? 'role', CREDENTIAL_TYPES);
  const bucket = reader.optional('bucket', checkBucketName);
  const prefix = reader.optional('prefix', (field, value) => checkPrefix(field, normalizePrefix(value)));
  if (bucket === undefined && prefix !== undefined)
    reader.add({ field: 'bucket', rule: 'REQUIRED', message: 'is required with a prefix' });
  const policy = readPolicy(reader, query.policy);
  const scope = readScope(reader, policy);
  throwIfInvalid(reader.problems);
  const locations = bucket === undefined ? locationsIn(policy) : [{ bucket, prefix: normalizePrefix(prefix ?? '') }];
  return { policy, credentialType, scope, locations };
}

function readScope(reader: FieldReader<IamCheckQuery>, policy: ParsedIamPolicy): PermissionScope {
  const executionRoleArn = reader.optional('executionRoleArn', checkExecutionRoleArn);
  const workflowText = reader.optional('workflowId', checkSharedWorkflowText);
  const workflow = workflowText === undefined ? undefined : parseSharedWorkflow(workflowText);
  const accountOfArn = executionRoleArn === undefined ? '' : accountOfRole(executionRoleArn);
  const region = reader.optional('region', checkRegion) ?? workflow?.region;
  return {
    executionRoleArn,
    workflowId: workflow?.id,
    workflowOwnerId: reader.optional('workflowOwnerId', checkAccountId) ?? workflow?.ownerId,
    region,
    partition: region === undefined ? partitionIn(policy) : undefined,
    accountId: reader.optional('accountId', checkAccountId) ?? (accountOfArn === '' ? undefined : accountOfArn),
  };
}

function readPolicy(reader: FieldReader<IamCheckQuery>, policy: unknown): ParsedIamPolicy {
  try {
    return parseIamPolicy(policy);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    reader.add(...error.problems);
    return { statements: [] };
  }
}

/** What a statement does to an action, over all requests. */
interface StatementEffect {
  /** The number of requests to which it applies certainly. */
  certain: number;
  reasons: Set<string>;
}

/** Evaluates one policy on the requests that polony would make. */
class PolicyCheck {
  /** Without a bucket polony checks the policy on any bucket. */
  private readonly places: readonly Partial<Location>[];
  private readonly judge: PolicyJudge;
  /** By statement, then by action. */
  private readonly effects: Map<PermissionAction, StatementEffect>[];
  private readonly requestCounts = new Map<PermissionAction, number>();

  constructor(
    private readonly policy: ParsedIamPolicy,
    private readonly scope: PermissionScope,
    locations: readonly Location[],
  ) {
    this.places = locations.length === 0 ? [{}] : locations;
    this.judge = new PolicyJudge(policy);
    this.effects = policy.statements.map(() => new Map<PermissionAction, StatementEffect>());
  }

  findPermission({ action, requirement, purpose, unlocks }: Permission): PermissionFinding {
    const row = { action, requirement, purpose, unlocks };
    const results = this.places.map((place) => ({ place, decisions: this.decideAll(action, place) }));
    if (action === 'sts:GetCallerIdentity')
      return {
        ...row,
        state: 'granted',
        reasons: ['AWS grants it to everyone, whatever policies say'],
        statements: [],
      };
    const decisions = results.flatMap((result) => result.decisions);
    const state = combineDecisions(results.map((result) => result.decisions));
    const lacking = results.filter((result) => !result.decisions.every(isAllowed)).map(({ place }) => place);
    return {
      ...row,
      state,
      reasons: [...new Set(decisions.flatMap(({ reasons }) => reasons))],
      statements: this.missingStatements(action, state, lacking),
    };
  }

  private decideAll(action: PermissionAction, place: Partial<Location>): IamDecision[] {
    return this.requestsFor(action, place).map((request) => {
      const judgements = this.judge.judge(request);
      this.requestCounts.set(action, (this.requestCounts.get(action) ?? 0) + 1);
      for (const judgement of judgements) this.note(action, judgement);
      return decide(this.policy, judgements);
    });
  }

  private note(action: PermissionAction, { index, applies, reasons }: Judgement): void {
    const ofStatement = this.effects[index]!;
    const effect = ofStatement.get(action) ?? { certain: 0, reasons: new Set() };
    ofStatement.set(action, effect);
    if (applies === 'yes') effect.certain++;
    for (const reason of reasons) effect.reasons.add(reason);
  }

  /** What a statement does. Call it after {@link findPermission} of all rows. */
  findStatement(statement: ParsedStatement, index: number, rows: readonly Permission[]): StatementFinding {
    return {
      index,
      sid: statement.sid,
      effect: statement.effect,
      permissions: rows.flatMap(({ action }) => this.effectOn(index, action)),
      otherActions: statement.exceptActions
        ? ['*']
        : statement.actionTexts.filter((text) => !NEEDED_ACTIONS.has(text.toLowerCase())),
    };
  }

  private effectOn(index: number, action: PermissionAction): StatementFinding['permissions'] {
    const effect = this.effects[index]!.get(action);
    if (effect === undefined) return [];
    return [{ action, wholly: effect.certain === this.requestCounts.get(action), reasons: [...effect.reasons] }];
  }

  /** The requests of an action: one for each resource that IAM must allow. */
  private requestsFor(action: PermissionAction, place: Partial<Location>): IamRequest[] {
    const { accountId, region, workflowOwnerId } = this.scope;
    const { resources, context } = permissionTarget(action, { ...this.scope, ...place });
    const known = {
      ...context,
      // polony connects to AWS only with TLS.
      'aws:SecureTransport': 'true',
      ...(accountId !== undefined && { 'aws:ResourceAccount': accountId }),
      ...(region !== undefined && { 'aws:RequestedRegion': region }),
    };
    // A shared workflow belongs to another account.
    const ofWorkflow = {
      ...known,
      ...(workflowOwnerId !== undefined && { 'aws:ResourceAccount': workflowOwnerId }),
    };
    return resources.map((resource) => ({
      action,
      resource,
      context: /:workflow\//.test(resource) ? ofWorkflow : known,
    }));
  }

  private missingStatements(
    action: PermissionAction,
    state: PermissionFinding['state'],
    lacking: readonly Partial<Location>[],
  ): Statement[] {
    if (action.startsWith('s3:'))
      return mergeResources(lacking.map((place) => statementFor(action, { ...this.scope, ...place })));
    return state === 'granted' ? [] : [statementFor(action, this.scope)];
  }
}

const NEEDED_ACTIONS: ReadonlySet<string> = new Set(ACTIONS.map((action) => action.toLowerCase()));

/** Merges statements that differ in their resources only. */
function mergeResources(statements: readonly Statement[]): Statement[] {
  const merged = new Map<string, { statement: Statement; resources: string[] }>();
  for (const statement of statements) {
    const key = JSON.stringify({ ...statement, Resource: undefined });
    const same = merged.get(key) ?? { statement, resources: [] };
    merged.set(key, same);
    same.resources.push(...[statement.Resource ?? []].flat());
  }
  return [...merged.values()].map(({ statement, resources }) =>
    resources.length < 2 ? statement : { ...statement, Resource: resources },
  );
}

const isAllowed = ({ decision }: IamDecision): boolean => decision === 'allowed';
const isRefused = ({ decision }: IamDecision): boolean => decision === 'explicitlyDenied' || decision === 'notAllowed';

/** An action needs all of its resources (StartRun has two), but several locations are several cases. */
function combineDecisions(decisionsByPlace: readonly IamDecision[][]): PermissionFinding['state'] {
  if (decisionsByPlace.every((decisions) => decisions.some(isRefused))) return 'denied';
  return decisionsByPlace.flat().every(isAllowed) ? 'granted' : 'conditional';
}

/** The partition of the resources that the Allow statements of a policy name, if all are in one. */
function partitionIn(policy: ParsedIamPolicy): string | undefined {
  const named = policy.statements
    .filter(({ effect }) => effect === 'Allow')
    .flatMap(({ resourceTexts }) => resourceTexts)
    .flatMap((text) => /^arn:(aws[a-z-]*):/.exec(text)?.[1] ?? []);
  const partitions = new Set(named);
  return partitions.size === 1 ? named[0] : undefined;
}

/** The buckets and folders that the Allow statements of a policy name. */
function locationsIn(policy: ParsedIamPolicy): Location[] {
  const named = policy.statements
    .filter(({ effect, exceptResources }) => effect === 'Allow' && !exceptResources)
    .flatMap(({ resourceTexts }) => resourceTexts)
    .flatMap((text) => {
      const match = /^arn:aws[a-z-]*:s3:::([a-z0-9.-]+)(?:\/(.*))?$/.exec(text);
      return match === null ? [] : [{ bucket: match[1]!, path: match[2] }];
    });
  const pathsByBucket = new Map<string, string[]>();
  for (const { bucket, path } of named) {
    const paths = pathsByBucket.get(bucket) ?? [];
    pathsByBucket.set(bucket, paths);
    if (path !== undefined) paths.push(path);
  }
  return withoutNested(
    [...pathsByBucket].flatMap(([bucket, paths]) => foldersIn(paths).map((prefix) => ({ bucket, prefix }))),
  );
}

/** The folders of one bucket, if the policy grants its objects only by whole folders; else the whole bucket. */
function foldersIn(paths: readonly string[]): string[] {
  const folders = paths.map((path) => /^([^*?$]+)\/\*$/.exec(path)?.[1]).filter((folder) => folder !== undefined);
  return folders.length === paths.length && folders.length > 0 ? folders : [''];
}
