import { COMPARISONS, type Operator } from './conditionOperators.js';
import type { ParsedCondition, ParsedIamPolicy, ParsedStatement } from './parsePolicy.js';
import { type Cover, lower, type Pattern, PatternIndex, readLiteral, readTarget } from './patterns.js';

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

/** A statement that applies to a request, or may apply. */
export interface Judgement extends Applicability {
  /** Its position in the policy, from 0. */
  index: number;
}

/** Decides a request by this policy alone. A Deny takes precedence over every Allow. */
export function evaluatePolicy(policy: ParsedIamPolicy, request: IamRequest): IamDecision {
  return decide(policy, new PolicyJudge(policy).judge(request));
}

/** The decision that follows from the statements that apply. A Deny takes precedence over every Allow. */
export function decide(policy: ParsedIamPolicy, judgements: readonly Judgement[]): IamDecision {
  const statements = judgements.map((judgement) => {
    const { effect, sid } = policy.statements[judgement.index]!;
    return { ...judgement, effect, name: sid ?? `Statement[${judgement.index}]` };
  });
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

/**
 * Finds the statements of a policy that apply to requests. A policy with hundreds of buckets is judged for thousands of
 * requests, so it remembers what they have in common: actions, resources, and the values of conditions.
 */
export class PolicyJudge {
  readonly #statements: readonly StatementJudge[];
  readonly #resources: PatternIndex;
  readonly #byAction = new Map<string, ReadonlySet<number>>();
  readonly #byResource = new Map<string, ReadonlyMap<number, Certainty>>();

  constructor(policy: ParsedIamPolicy) {
    this.#statements = policy.statements.map((statement) => new StatementJudge(statement));
    this.#resources = new PatternIndex(
      policy.statements.flatMap(({ exceptResources, resources }, owner) =>
        exceptResources ? [] : resources.map((pattern) => ({ pattern, owner })),
      ),
    );
  }

  /** The statements that apply, or may apply, whatever their effect, in their order. */
  judge(request: IamRequest): Judgement[] {
    const ofAction = this.#findByAction(request.action);
    const judgements: Judgement[] = [];
    for (const [index, onResource] of this.#findByResource(request.resource)) {
      if (!ofAction.has(index)) continue;
      const judged = this.#statements[index]!.judge(request, onResource);
      if (judged !== undefined) judgements.push({ index, ...judged });
    }
    return judgements;
  }

  #findByAction(action: string): ReadonlySet<number> {
    const known = this.#byAction.get(action);
    if (known !== undefined) return known;
    const covering = new Set(this.#statements.flatMap((each, index) => (each.isAbout(action) ? [index] : [])));
    this.#byAction.set(action, covering);
    return covering;
  }

  /** The statements that are about a resource or a part of it, in their order. */
  #findByResource(resource: string): ReadonlyMap<number, Certainty> {
    const known = this.#byResource.get(resource);
    if (known !== undefined) return known;
    const target = readTarget(resource);
    const found: [number, Certainty][] = [];
    for (const [index, covered] of this.#resources.cover(target)) found.push([index, CERTAINTY[covered]]);
    for (const [index, statement] of this.#statements.entries()) {
      const outside = statement.isOutside(target);
      if (outside !== 'no') found.push([index, outside]);
    }
    const sorted = new Map(found.sort(([one], [other]) => one - other));
    this.#byResource.set(resource, sorted);
    return sorted;
  }
}

/** The conditions of a statement for one action and context. */
interface Conditions {
  areMet: Certainty;
  reasons: string[];
}

class StatementJudge {
  readonly #statement: ParsedStatement;
  readonly #actions: PatternIndex;
  /** Of NotResource; undefined for a statement with Resource. */
  readonly #exceptions: PatternIndex | undefined;
  /** The values of each condition. */
  readonly #values: readonly PatternIndex[];
  readonly #byContext = new Map<string, Conditions>();

  constructor(statement: ParsedStatement) {
    this.#statement = statement;
    this.#actions = indexOf(statement.actions);
    this.#exceptions = statement.exceptResources ? indexOf(statement.resources) : undefined;
    this.#values = statement.conditions.map(({ values }) => indexOf(values));
  }

  isAbout(action: string): boolean {
    return isCovered(this.#actions, lower(readLiteral(action)), this.#statement.exceptActions) !== 'no';
  }

  /** Whether a resource is outside all resources of NotResource. */
  isOutside(target: Pattern): Certainty {
    return this.#exceptions === undefined ? 'no' : isCovered(this.#exceptions, target, true);
  }

  /** Judges a request whose action and resource the statement is about; undefined where it does not apply. */
  judge({ action, context }: IamRequest, onResource: Certainty): Applicability | undefined {
    const { areMet, reasons } = this.#judgeConditions(action, context);
    if (areMet === 'no') return undefined;
    const { exceptResources, resourceTexts } = this.#statement;
    const place =
      onResource === 'yes' ? [] : [`${exceptResources ? 'not on' : 'only on'} ${resourceTexts.slice(0, 5).join(', ')}`];
    return { applies: areMet === 'unknown' ? 'unknown' : onResource, reasons: [...place, ...reasons] };
  }

  #judgeConditions(action: string, context: Record<string, string>): Conditions {
    const key = JSON.stringify([action, context]);
    const known = this.#byContext.get(key);
    if (known !== undefined) return known;
    const lowerContext = new Map(Object.entries(context).map(([name, value]) => [name.toLowerCase(), value]));
    const conditions = this.#statement.conditions.map((condition, at) => ({
      text: condition.text,
      isMet: isConditionMet(condition, this.#values[at]!, action, lowerContext),
    }));
    const open = conditions.filter(({ isMet }) => isMet === 'unknown');
    const judged: Conditions = {
      areMet: conditions.some(({ isMet }) => isMet === 'no') ? 'no' : open.length > 0 ? 'unknown' : 'yes',
      reasons: open.map(({ text }) => `if ${text} matches`),
    };
    this.#byContext.set(key, judged);
    return judged;
  }
}

const indexOf = (patterns: readonly Pattern[]): PatternIndex =>
  new PatternIndex(patterns.map((pattern) => ({ pattern, owner: 0 })));

function isConditionMet(
  { key, operator, values }: ParsedCondition,
  index: PatternIndex,
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
  const matches = isCovered(index, comparison.ignoresCase === true ? lower(target) : target, false);
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
function isCovered(patterns: PatternIndex, target: Pattern, except: boolean): Certainty {
  const widest = CERTAINTY[patterns.cover(target).get(0) ?? 'none'];
  return except ? negate(widest) : widest;
}

function negate(certainty: Certainty): Certainty {
  if (certainty === 'unknown') return 'unknown';
  return certainty === 'yes' ? 'no' : 'yes';
}
