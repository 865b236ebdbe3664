import { COMPARISONS, type Operator } from './conditionOperators.js';
import type { ParsedCondition, ParsedIamPolicy, ParsedStatement } from './parsePolicy.js';
import { type Cover, cover, lower, type Pattern, readLiteral, readTarget } from './patterns.js';

/** A request, or a class of requests when the resource or the context contains `*`. */
export interface IamRequest {
  action: string;
  resource: string;
  /**
   * Values by condition key. Nothing is known about other keys, except that keys of other actions are absent from the
   * request.
   */
  context: Record<string, string>;
}

/** What a policy decides. */
export interface IamDecision {
  /** `conditional`: allowed for a part of the class, or under conditions that depend on unknown facts. */
  decision: 'allowed' | 'explicitlyDenied' | 'notAllowed' | 'conditional';
  /** Why the request is not simply allowed. */
  reasons: string[];
}

/** Whether something is true for the whole class of requests, for none of it, or depends on unknown facts. */
export type Certainty = 'yes' | 'no' | 'unknown';

/** Whether a statement applies to a request, and what that depends on. */
export interface Applicability {
  applies: Certainty;
  reasons: string[];
}

/** Keys that only requests of one action contain, so that they are certainly absent from other requests. */
const KEYS_OF_ONE_ACTION = new Map([
  ['s3:prefix', 's3:listbucket'],
  ['s3:delimiter', 's3:listbucket'],
  ['s3:max-keys', 's3:listbucket'],
  ['iam:passedtoservice', 'iam:passrole'],
]);

/** Decides a request by this policy alone. A Deny takes precedence over every Allow. */
export function evaluatePolicy(policy: ParsedIamPolicy, request: IamRequest): IamDecision {
  const statements = policy.statements.map((statement, index) => ({
    ...judgeStatement(statement, request),
    effect: statement.effect,
    name: statement.sid ?? `Statement[${index}]`,
  }));
  const select = (effect: 'Allow' | 'Deny', applies: Certainty) =>
    statements.filter((each) => each.effect === effect && each.applies === applies);
  const describe = (each: { name: string; reasons: string[] }): string => `${each.name} ${each.reasons.join(' and ')}`;
  const denying = select('Deny', 'yes');
  if (denying.length > 0)
    return { decision: 'explicitlyDenied', reasons: [`denied by ${denying.map(({ name }) => name).join(', ')}`] };
  const allowing = select('Allow', 'yes');
  const perhapsAllowing = select('Allow', 'unknown');
  if (allowing.length + perhapsAllowing.length === 0)
    return { decision: 'notAllowed', reasons: ['no statement allows it'] };
  const reasons = [
    ...(allowing.length === 0 ? perhapsAllowing.map((each) => `allowed by ${describe(each)}`) : []),
    ...select('Deny', 'unknown').map((each) => `denied by ${describe(each)}`),
  ];
  return { decision: reasons.length === 0 ? 'allowed' : 'conditional', reasons };
}

/** Judges whether a statement applies to a request, whatever its effect. */
export function judgeStatement(statement: ParsedStatement, request: IamRequest): Applicability {
  const inapplicable: Applicability = { applies: 'no', reasons: [] };
  const action = lower(readLiteral(request.action));
  if (isCovered(statement.actions, action, statement.exceptActions) === 'no') return inapplicable;
  const onResource = isCovered(statement.resources, readTarget(request.resource), statement.exceptResources);
  if (onResource === 'no') return inapplicable;
  const reasons =
    onResource === 'yes'
      ? []
      : [`${statement.exceptResources ? 'not on' : 'only on'} ${statement.resourceTexts.slice(0, 5).join(', ')}`];
  const context = new Map(Object.entries(request.context).map(([key, value]) => [key.toLowerCase(), value]));
  const conditions = statement.conditions.map((condition) => ({
    text: condition.text,
    isMet: isConditionMet(condition, request.action, context),
  }));
  if (conditions.some(({ isMet }) => isMet === 'no')) return inapplicable;
  const open = conditions.filter(({ isMet }) => isMet === 'unknown');
  return {
    applies: open.length > 0 ? 'unknown' : onResource,
    reasons: [...reasons, ...open.map(({ text }) => `if ${text} matches`)],
  };
}

function isConditionMet(
  { key, operator, values }: ParsedCondition,
  action: string,
  context: ReadonlyMap<string, string>,
): Certainty {
  const actual = context.get(key);
  const onlyAction = KEYS_OF_ONE_ACTION.get(key);
  const isCertainlyAbsent = actual === undefined && onlyAction !== undefined && onlyAction !== action.toLowerCase();
  if (actual === undefined && !isCertainlyAbsent) return 'unknown';
  if (operator.name === 'null') {
    const isAbsent = String(actual === undefined);
    return values.some((value) => literalText(value).toLowerCase() === isAbsent) ? 'yes' : 'no';
  }
  if (actual === undefined) return isMetByAbsentKey(operator) ? 'yes' : 'no';
  const comparison = COMPARISONS.get(operator.name);
  if (comparison === undefined) return 'unknown';
  const target = readTarget(actual);
  const matches = isCovered(values, comparison.ignoresCase === true ? lower(target) : target, false);
  return comparison.isNegated ? negate(matches) : matches;
}

/**
 * An absent key meets …IfExists, ForAllValues and negated operators, and no others (IAM User Guide, "Condition
 * operators").
 */
function isMetByAbsentKey({ name, ifExists, forAllValues, forAnyValue }: Operator): boolean {
  const isNegated = COMPARISONS.get(name)?.isNegated ?? name.startsWith('not');
  return ifExists || forAllValues || (isNegated && !forAnyValue);
}

function literalText({ tokens }: Pattern): string {
  return tokens.map((token) => ('character' in token ? token.character : '')).join('');
}

const CERTAINTY: Record<Cover, Certainty> = { all: 'yes', some: 'unknown', none: 'no' };

/** Whether patterns cover a target; with `except`, whether the target is outside all patterns. */
function isCovered(patterns: readonly Pattern[], target: Pattern, except: boolean): Certainty {
  const covers = patterns.map((pattern) => cover(pattern, target));
  const widest = covers.includes('all') ? 'all' : covers.includes('some') ? 'some' : 'none';
  return except ? negate(CERTAINTY[widest]) : CERTAINTY[widest];
}

function negate(certainty: Certainty): Certainty {
  if (certainty === 'unknown') return 'unknown';
  return certainty === 'yes' ? 'no' : 'yes';
}
