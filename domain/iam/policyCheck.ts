import { accountOfRole, checkAccountId } from '../arn.js';
import { parseSharedWorkflow } from '../connections/flow.js';
import { checkBucketName, checkPrefix, normalizePrefix } from '../connections/storage.js';
import { checkRegion } from '../regions.js';
import { type FieldProblem, InputError, throwIfInvalid } from '../errors.js';
import { checkExecutionRoleArn, type Location, withoutNested } from './documents.js';
import { type Cover, cover, lower, type Pattern, readLiteral, readPattern, readTarget } from './patterns.js';
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
  type Statement,
  statementFor,
  permissionTarget,
} from './permissions.js';

/** A statement of a policy, read. */
interface ReadStatement {
  effect: 'Allow' | 'Deny';
  sid: string | null;
  actions: Pattern[];
  /** NotAction. */
  exceptActions: boolean;
  /** As they were written. */
  actionTexts: string[];
  resources: Pattern[];
  exceptResources: boolean;
  resourceTexts: string[];
  conditions: ReadCondition[];
}
interface ReadCondition {
  /** As it was written, for example `StringLike s3:prefix`. */
  text: string;
  operator: string;
  forAll: boolean;
  forAny: boolean;
  ifExists: boolean;
  key: string;
  values: Pattern[];
}

/** A policy that was read. */
export interface ParsedIamPolicy {
  statements: ReadStatement[];
}

/** A request, or a class of requests where resource or context have `*`. */
export interface IamRequest {
  action: string;
  resource: string;
  /** By condition key. Of keys that are not here nothing is known, but that those of other actions are not in the request. */
  context: Record<string, string>;
}

/** `conditional`: allowed for a part of the class, or under conditions that cannot be told beforehand. */
export interface IamDecision {
  decision: 'allowed' | 'explicitlyDenied' | 'notAllowed' | 'conditional';
  /** Why, where it is not simply allowed. */
  reasons: string[];
}

/** Longest policy that is read, in characters: beyond any policy that IAM or S3 takes. */
export const POLICY_TEXT_LENGTH = 40_960;

/** Operators of IAM (IAM User Guide, "Condition operators"), in lower case; what is not compared here depends on what cannot be told. */
const COMPARED = new Map<string, { negated: boolean; ignoreCase?: boolean; wildcards?: boolean }>([
  ['stringequals', { negated: false }],
  ['stringnotequals', { negated: true }],
  ['stringequalsignorecase', { negated: false, ignoreCase: true }],
  ['stringnotequalsignorecase', { negated: true, ignoreCase: true }],
  ['stringlike', { negated: false, wildcards: true }],
  ['stringnotlike', { negated: true, wildcards: true }],
  ['arnequals', { negated: false, wildcards: true }],
  ['arnlike', { negated: false, wildcards: true }],
  ['arnnotequals', { negated: true, wildcards: true }],
  ['arnnotlike', { negated: true, wildcards: true }],
  ['bool', { negated: false, ignoreCase: true }],
]);
const OTHER_OPERATORS = new Set(
  ['null', 'binaryequals', 'ipaddress', 'notipaddress'].concat(
    ['equals', 'notequals', 'lessthan', 'lessthanequals', 'greaterthan', 'greaterthanequals'].flatMap((comparison) => [
      `numeric${comparison}`,
      `date${comparison}`,
    ]),
  ),
);

/** Keys that stand in requests of one action only, so that they are surely absent from others. */
const KEYS_OF_ONE_ACTION = new Map([
  ['s3:prefix', 's3:listbucket'],
  ['s3:delimiter', 's3:listbucket'],
  ['s3:max-keys', 's3:listbucket'],
  ['iam:passedtoservice', 'iam:passrole'],
]);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Reads a permission policy, given as JSON or as its text. What IAM would refuse is refused (IAM User Guide, "Grammar of the IAM JSON
 * policy language").
 * @param field what the policy is called in problems, for example `policy`.
 * @throws InputError with all that is wrong, each with its path such as `policy.Statement[2].Resource`.
 */
export function parseIamPolicy(policy: unknown, field = 'policy'): ParsedIamPolicy {
  const problems: FieldProblem[] = [];
  const bad = (path: string, rule: string, message: string): void =>
    void problems.push({ field: path === '' ? field : `${field}.${path}`, rule, message });
  let document = policy;
  if (typeof policy === 'string') {
    try {
      document = JSON.parse(policy);
    } catch (error) {
      throwIfInvalid([
        { field, rule: 'JSON', message: `is not valid JSON: ${(error as Error).message.slice(0, 200)}` },
      ]);
    }
  }
  if (!isObject(document))
    throwIfInvalid([{ field, rule: 'TYPE', message: 'must be an IAM policy: an object with Version and Statement' }]);
  if (JSON.stringify(document).length > POLICY_TEXT_LENGTH)
    throwIfInvalid([
      {
        field,
        rule: 'POLICY_LENGTH',
        message: `must have at most ${POLICY_TEXT_LENGTH} characters; IAM takes 10,240 at most`,
      },
    ]);
  const whole = document as Record<string, unknown>;
  for (const key of Object.keys(whole))
    if (!['Version', 'Id', 'Statement'].includes(key))
      bad(key, 'UNKNOWN_ELEMENT', 'is no element of a policy, which has Version, Id and Statement; case counts');
  if (whole.Version !== undefined && whole.Version !== '2012-10-17' && whole.Version !== '2008-10-17')
    bad('Version', 'ONE_OF', 'must be 2012-10-17');
  const variables = whole.Version === '2012-10-17';
  const statements = isObject(whole.Statement) ? [whole.Statement] : whole.Statement;
  if (!Array.isArray(statements) || statements.length === 0)
    bad('Statement', 'REQUIRED', 'must be a statement or a list of at least one');
  const read: ReadStatement[] = [];
  const sids = new Set<string>();
  (Array.isArray(statements) ? statements : []).forEach((statement: unknown, index) => {
    const path = Array.isArray(whole.Statement) ? `Statement[${index}]` : 'Statement';
    if (!isObject(statement)) return bad(path, 'TYPE', 'must be an object');
    const texts = (name: string): string[] => {
      const value = statement[name];
      const all = Array.isArray(value) ? (value as unknown[]) : [value];
      if (value === undefined) return [];
      if (all.length === 0 || !all.every((each): each is string => typeof each === 'string' && each !== '')) {
        bad(`${path}.${name}`, 'TYPE', 'must be a text or a list of texts, none of them empty');
        return [];
      }
      return all;
    };
    for (const key of Object.keys(statement)) {
      if (key === 'Principal' || key === 'NotPrincipal')
        bad(
          `${path}.${key}`,
          'NOT_A_PERMISSION_POLICY',
          'belongs to a trust or bucket policy; give the permission policy of the role or user',
        );
      else if (!['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition'].includes(key))
        bad(`${path}.${key}`, 'UNKNOWN_ELEMENT', 'is no element of a statement; case counts');
    }
    const { Sid: sid, Effect: effect } = statement;
    if (effect !== 'Allow' && effect !== 'Deny')
      bad(`${path}.Effect`, effect === undefined ? 'REQUIRED' : 'ONE_OF', 'must be Allow or Deny');
    if (sid !== undefined && (typeof sid !== 'string' || !/^[A-Za-z0-9]*$/.test(sid)))
      bad(`${path}.Sid`, 'SID', 'must have letters and digits only');
    else if (typeof sid === 'string' && sid !== '') {
      if (sids.has(sid)) bad(`${path}.Sid`, 'SID_TWICE', `must be unique: ${sid} is the Sid of another statement`);
      sids.add(sid);
    }
    const exactlyOne = (one: string, other: string): boolean => {
      const given = [one, other].filter((name) => statement[name] !== undefined);
      if (given.length !== 1)
        bad(
          `${path}.${given.length === 0 ? one : other}`,
          given.length === 0 ? 'REQUIRED' : 'CONFLICT',
          given.length === 0 ? `must be given, or ${other}` : `must not stand beside ${one}`,
        );
      return given[0] === other;
    };
    const exceptActions = exactlyOne('Action', 'NotAction');
    const exceptResources = exactlyOne('Resource', 'NotResource');
    const actionTexts = texts(exceptActions ? 'NotAction' : 'Action');
    const resourceTexts = texts(exceptResources ? 'NotResource' : 'Resource');
    if (!actionTexts.every((action) => action === '*' || /^[A-Za-z0-9-]+:[A-Za-z0-9*?]+$/.test(action)))
      bad(
        `${path}.${exceptActions ? 'NotAction' : 'Action'}`,
        'ACTION',
        'must be * or service:Action, such as s3:GetObject',
      );
    if (!resourceTexts.every((resource) => resource === '*' || resource.startsWith('arn:')))
      bad(
        `${path}.${exceptResources ? 'NotResource' : 'Resource'}`,
        'RESOURCE',
        'must be * or an ARN, such as arn:aws:s3:::bucket/*',
      );
    read.push({
      effect: effect === 'Deny' ? 'Deny' : 'Allow',
      sid: typeof sid === 'string' && sid !== '' ? sid : null,
      actions: actionTexts.map((text) => lower(readPattern(text, false))),
      exceptActions,
      actionTexts,
      resources: resourceTexts.map((text) => readPattern(text, variables)),
      exceptResources,
      resourceTexts,
      conditions: readConditions(statement.Condition, `${path}.Condition`, variables, bad),
    });
  });
  throwIfInvalid(problems);
  return { statements: read };
}

function readConditions(
  value: unknown,
  path: string,
  variables: boolean,
  bad: (path: string, rule: string, message: string) => void,
): ReadCondition[] {
  if (value === undefined) return [];
  if (!isObject(value)) {
    bad(path, 'TYPE', 'must be an object of operators, each an object of keys');
    return [];
  }
  return Object.entries(value).flatMap(([operator, keys]) => {
    const [, set = '', base = '', ifExists = ''] =
      /^(forallvalues:|foranyvalue:)?([a-z]+?)(ifexists)?$/.exec(operator.toLowerCase()) ?? [];
    if (!(COMPARED.has(base) || OTHER_OPERATORS.has(base)) || (base === 'null' && (set !== '' || ifExists !== ''))) {
      bad(`${path}.${operator}`, 'OPERATOR', 'is no condition operator of IAM');
      return [];
    }
    if (!isObject(keys)) {
      bad(`${path}.${operator}`, 'TYPE', 'must be an object of condition keys');
      return [];
    }
    return Object.entries(keys).flatMap(([key, given]): ReadCondition[] => {
      const values = Array.isArray(given) ? (given as unknown[]) : [given];
      if (!values.every((each) => ['string', 'number', 'boolean'].includes(typeof each))) {
        bad(`${path}.${operator}.${key}`, 'TYPE', 'must be a text or a list of texts');
        return [];
      }
      const { wildcards = false, ignoreCase = false } = COMPARED.get(base) ?? {};
      return [
        {
          text: `${operator} ${key}`,
          operator: base,
          forAll: set === 'forallvalues:',
          forAny: set === 'foranyvalue:',
          ifExists: ifExists !== '',
          key: key.toLowerCase(),
          values: values.map(String).map((text) => {
            // Variables are filled in for all text operators; without wildcards the rest counts as it stands.
            const pattern =
              wildcards || (variables && text.includes('${')) ? readPattern(text, variables) : readLiteral(text);
            return ignoreCase ? lower(pattern) : pattern;
          }),
        },
      ];
    });
  });
}

type Holds = 'yes' | 'no' | 'unknown';
const not = (holds: Holds): Holds => (holds === 'yes' ? 'no' : holds === 'no' ? 'yes' : 'unknown');
const ofCover: Record<Cover, Holds> = { all: 'yes', some: 'unknown', none: 'no' };

/** How much of a target a list of patterns covers, or with `except` what is outside of all of them. */
function coverOf(patterns: readonly Pattern[], target: Pattern, except: boolean): Holds {
  const found = patterns.map((pattern) => cover(pattern, target));
  const any = ofCover[found.includes('all') ? 'all' : found.includes('some') ? 'some' : 'none'];
  return except ? not(any) : any;
}

function conditionHolds(condition: ReadCondition, request: IamRequest, context: ReadonlyMap<string, string>): Holds {
  const actual = context.get(condition.key);
  const only = KEYS_OF_ONE_ACTION.get(condition.key);
  const isUnset = actual === undefined && only !== undefined && only !== request.action.toLowerCase();
  if (actual === undefined && !isUnset) return 'unknown';
  if (condition.operator === 'null')
    return condition.values.some(
      ({ tokens }) =>
        tokens
          .map((token) => ('character' in token ? token.character : ''))
          .join('')
          .toLowerCase() === String(actual === undefined),
    )
      ? 'yes'
      : 'no';
  const comparison = COMPARED.get(condition.operator);
  if (actual === undefined) {
    // An absent key fulfils …IfExists, ForAllValues and negated operators, and no others (IAM User Guide, "Condition operators").
    return condition.ifExists ||
      condition.forAll ||
      ((comparison?.negated ?? condition.operator.startsWith('not')) && !condition.forAny)
      ? 'yes'
      : 'no';
  }
  if (comparison === undefined) return 'unknown';
  const target = readTarget(actual);
  const holds = coverOf(condition.values, comparison.ignoreCase === true ? lower(target) : target, false);
  return comparison.negated ? not(holds) : holds;
}

interface Applied {
  holds: Holds;
  reasons: string[];
}

/** Whether a statement applies to a request, whatever its effect. */
function applies(statement: ReadStatement, request: IamRequest, context: ReadonlyMap<string, string>): Applied {
  if (coverOf(statement.actions, lower(readLiteral(request.action)), statement.exceptActions) === 'no')
    return { holds: 'no', reasons: [] };
  const onResource = coverOf(statement.resources, readTarget(request.resource), statement.exceptResources);
  if (onResource === 'no') return { holds: 'no', reasons: [] };
  const reasons =
    onResource === 'yes'
      ? []
      : [`${statement.exceptResources ? 'not on' : 'only on'} ${statement.resourceTexts.slice(0, 5).join(', ')}`];
  let holds: Holds = onResource;
  for (const condition of statement.conditions) {
    const held = conditionHolds(condition, request, context);
    if (held === 'no') return { holds: 'no', reasons: [] };
    if (held === 'unknown') {
      holds = 'unknown';
      reasons.push(`if ${condition.text} fits`);
    }
  }
  return { holds, reasons };
}

/** What the policy alone decides of a request: a Deny counts before any Allow. */
export function evaluatePolicy(policy: ParsedIamPolicy, request: IamRequest): IamDecision {
  const context = new Map(Object.entries(request.context).map(([key, value]) => [key.toLowerCase(), value]));
  const found = policy.statements.map((statement, index) => ({
    ...applies(statement, request, context),
    effect: statement.effect,
    name: statement.sid ?? `Statement[${index}]`,
  }));
  const of = (effect: 'Allow' | 'Deny', holds: Holds) =>
    found.filter((each) => each.effect === effect && each.holds === holds);
  const told = (each: { name: string; reasons: string[] }): string => `${each.name} ${each.reasons.join(' and ')}`;
  const denied = of('Deny', 'yes');
  if (denied.length > 0)
    return { decision: 'explicitlyDenied', reasons: [`denied by ${denied.map(({ name }) => name).join(', ')}`] };
  const allowed = of('Allow', 'yes');
  const perhaps = of('Allow', 'unknown');
  if (allowed.length + perhaps.length === 0) return { decision: 'notAllowed', reasons: ['no statement allows it'] };
  const exceptions = of('Deny', 'unknown');
  const reasons = [
    ...(allowed.length === 0 ? perhaps.map((each) => `allowed by ${told(each)}`) : []),
    ...exceptions.map((each) => `denied by ${told(each)}`),
  ];
  return { decision: reasons.length === 0 ? 'allowed' : 'conditional', reasons };
}

/** What a pasted policy is checked for, field by field as the API names them. */
export interface IamCheckQuery {
  /** The policy as JSON, or its text. */
  policy: unknown;
  credentialType?: string;
  /** Looked up in the policy where it is left out. */
  bucket?: string;
  prefix?: string;
  executionRoleArn?: string;
  workflowId?: string;
  workflowOwnerId?: string;
  region?: string;
  accountId?: string;
}

/** What one statement says of the table. */
export interface StatementFinding {
  /** Its place in the policy, from 0. */
  index: number;
  sid: string | null;
  effect: 'Allow' | 'Deny';
  /** Rows of the table that it bears upon. */
  permissions: { action: PermissionAction; /** Whether in all cases. */ wholly: boolean; reasons: string[] }[];
  /** Its actions that are not in the table, wildcards among them: more than polony asks for. */
  otherActions: string[];
}

/** What the whole policy says of one row. */
export interface PermissionFinding extends Pick<Permission, 'action' | 'requirement' | 'purpose' | 'unlocks'> {
  state: Exclude<PermissionState, 'unknown'>;
  reasons: string[];
  /** Statements that would grant it, where it is not granted. */
  statements: Statement[];
}

export interface PolicyFindings {
  credentialType: CredentialType;
  /** What it was checked on; an empty list for any bucket. */
  locations: Location[];
  statements: StatementFinding[];
  permissions: PermissionFinding[];
  capabilities: CapabilityState[];
}

/**
 * Says what a policy would give: statement by statement, row by row of the table, and by capability.
 * @throws InputError with all that is wrong at once.
 */
export function checkPolicy(query: IamCheckQuery): PolicyFindings {
  const problems: FieldProblem[] = [];
  const optional = (
    field: keyof IamCheckQuery,
    check: (field: string, value: string) => FieldProblem[],
  ): string | undefined => {
    const value = (query[field] as string | undefined)?.trim();
    if (value === undefined || value === '') return undefined;
    problems.push(...check(field, value));
    return value;
  };
  const credentialType = query.credentialType ?? 'role';
  if (!(CREDENTIAL_TYPES as readonly string[]).includes(credentialType))
    problems.push({ field: 'credentialType', rule: 'ONE_OF', message: `must be ${CREDENTIAL_TYPES.join(', ')}` });
  const bucket = optional('bucket', checkBucketName);
  const prefix = optional('prefix', (field, value) => checkPrefix(field, normalizePrefix(value)));
  if (bucket === undefined && prefix !== undefined)
    problems.push({ field: 'bucket', rule: 'REQUIRED', message: 'must be given beside a prefix' });
  const executionRoleArn = optional('executionRoleArn', checkExecutionRoleArn);
  const workflowText = optional('workflowId', (field, value) =>
    parseSharedWorkflow(value) === undefined
      ? [
          {
            field,
            rule: 'SHARED_WORKFLOW_ID',
            message: 'must be the Resource ID of the shared workflow (1 to 18 digits), or its ARN',
          },
        ]
      : [],
  );
  const workflow = workflowText === undefined ? undefined : parseSharedWorkflow(workflowText);
  const scope: PermissionScope = {
    executionRoleArn,
    workflowId: workflow?.id,
    workflowOwnerId: optional('workflowOwnerId', checkAccountId) ?? workflow?.ownerId,
    region: optional('region', checkRegion) ?? workflow?.region,
    accountId:
      optional('accountId', checkAccountId) ??
      (executionRoleArn === undefined ? undefined : accountOfRole(executionRoleArn) || undefined),
  };
  let policy: ParsedIamPolicy = { statements: [] };
  try {
    policy = parseIamPolicy(query.policy);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    problems.push(...error.problems);
  }
  throwIfInvalid(problems);
  const locations = bucket === undefined ? locationsIn(policy) : [{ bucket, prefix: normalizePrefix(prefix ?? '') }];
  const type = credentialType as CredentialType;
  const requestsOf = (action: PermissionAction, location: Partial<Location>): IamRequest[] => {
    const { resources, context } = permissionTarget(action, { ...scope, ...location });
    // polony speaks to AWS by TLS only.
    const known = {
      ...context,
      'aws:SecureTransport': 'true',
      ...(scope.accountId !== undefined && { 'aws:ResourceAccount': scope.accountId }),
      ...(scope.region !== undefined && { 'aws:RequestedRegion': scope.region }),
    };
    // A shared workflow belongs to another account.
    return resources.map((resource) => ({
      action,
      resource,
      context: /:workflow\//.test(resource)
        ? { ...known, ...(scope.workflowOwnerId !== undefined && { 'aws:ResourceAccount': scope.workflowOwnerId }) }
        : known,
    }));
  };
  const places: Partial<Location>[] = locations.length === 0 ? [{}] : locations;
  const rows = permissionsForCredential(type);
  const permissions = rows.map(({ action, requirement, purpose, unlocks }): PermissionFinding => {
    if (action === 'sts:GetCallerIdentity')
      return {
        action,
        requirement,
        purpose,
        unlocks,
        state: 'granted',
        reasons: ['AWS grants it to everyone, whatever policies say'],
        statements: [],
      };
    const perPlace = places.map((place) => ({
      place,
      decisions: requestsOf(action, place).map((request) => evaluatePolicy(policy, request)),
    }));
    const all = perPlace.flatMap(({ decisions }) => decisions);
    // StartRun needs both of its resources; several locations are several cases.
    const refused = perPlace.map(({ decisions }) =>
      decisions.some(({ decision }) => decision === 'explicitlyDenied' || decision === 'notAllowed'),
    );
    const state = refused.every(Boolean)
      ? 'denied'
      : all.every(({ decision }) => decision === 'allowed')
        ? 'granted'
        : 'conditional';
    const lacking = perPlace.filter(({ decisions }) => decisions.some(({ decision }) => decision !== 'allowed'));
    const statements = action.startsWith('s3:')
      ? lacking.map(({ place }) => statementFor(action, { ...scope, ...place }))
      : state === 'granted'
        ? []
        : [statementFor(action, scope)];
    return {
      action,
      requirement,
      purpose,
      unlocks,
      state,
      reasons: [...new Set(all.flatMap(({ reasons }) => reasons))],
      statements,
    };
  });
  const states = new Map(permissions.map(({ action, state }) => [action, state]));
  return {
    credentialType: type,
    locations,
    statements: policy.statements.map((statement, index): StatementFinding => {
      const bearsUpon = rows.flatMap(({ action }) => {
        const found = places
          .flatMap((place) => requestsOf(action, place))
          .map((request) =>
            applies(
              statement,
              request,
              new Map(Object.entries(request.context).map(([key, value]) => [key.toLowerCase(), value])),
            ),
          );
        if (found.every(({ holds }) => holds === 'no')) return [];
        return [
          {
            action,
            wholly: found.every(({ holds }) => holds === 'yes'),
            reasons: [...new Set(found.flatMap(({ reasons }) => reasons))],
          },
        ];
      });
      const table = new Set(ACTIONS.map((action) => action.toLowerCase()));
      return {
        index,
        sid: statement.sid,
        effect: statement.effect,
        permissions: bearsUpon,
        otherActions: statement.exceptActions
          ? ['*']
          : statement.actionTexts.filter((text) => !table.has(text.toLowerCase())),
      };
    }),
    permissions,
    capabilities: capabilityStates(type, (action) => states.get(action) ?? 'unknown'),
  };
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
  return withoutNested(
    [...new Set(named.map(({ bucket }) => bucket))].flatMap((bucket) => {
      // Folders are taken where objects are granted in whole folders only; else the whole bucket is asked about.
      const paths = named
        .filter((each) => each.bucket === bucket)
        .flatMap(({ path }) => (path === undefined ? [] : [path]));
      const folders = paths.map((path) => /^([^*?$]+)\/\*$/.exec(path)?.[1]).filter((folder) => folder !== undefined);
      return folders.length === paths.length && folders.length > 0
        ? folders.map((prefix) => ({ bucket, prefix }))
        : [{ bucket, prefix: '' }];
    }),
  );
}
