import { type FieldProblem, InputError, throwIfInvalid } from '../errors.js';
import { isDeeperThan } from '../json.js';
import { COMPARISONS, type Operator, parseOperator } from './conditionOperators.js';
import { lower, type Pattern, readLiteral, readPattern } from './patterns.js';

/** A statement of a policy after parsing. */
export interface ParsedStatement {
  effect: 'Allow' | 'Deny';
  sid: string | null;
  actions: Pattern[];
  /** Whether `actions` are those of NotAction. */
  exceptActions: boolean;
  /** As in the policy. */
  actionTexts: string[];
  resources: Pattern[];
  /** Whether `resources` are those of NotResource. */
  exceptResources: boolean;
  resourceTexts: string[];
  conditions: ParsedCondition[];
}

/** One condition key of a statement, with its operator. */
export interface ParsedCondition {
  /** As in the policy, for example `StringLike s3:prefix`. */
  text: string;
  operator: Operator;
  /** In lower case. */
  key: string;
  values: Pattern[];
}

/** A policy after parsing. */
export interface ParsedIamPolicy {
  statements: ParsedStatement[];
}

/**
 * Longest policy that polony parses, in characters without white space between its parts: the longest that IAM accepts
 * (IAM User Guide, "IAM and STS character limits": 10,240 for the inline policies of a role).
 */
export const MOST_POLICY_CHARACTERS = 10_240;
/** Longest text of a policy, in characters, with its white space. */
export const MOST_POLICY_TEXT = 65_536;
/** Most levels of the JSON of a policy. A valid policy has six. */
const POLICY_DEPTH = 10;

/**
 * Parses a permission policy, given as JSON or as its text. Reports everything that IAM would reject (IAM User Guide,
 * "Grammar of the IAM JSON policy language").
 * @param field name of the policy in problems, for example `policy`.
 * @throws InputError with all problems, each with its path, such as `policy.Statement[2].Resource`.
 */
export function parseIamPolicy(policy: unknown, field = 'policy'): ParsedIamPolicy {
  return new PolicyParser(field).parse(policy);
}

const POLICY_ELEMENTS = ['Version', 'Id', 'Statement'];
const STATEMENT_ELEMENTS = ['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition'];

class PolicyParser {
  private readonly problems: FieldProblem[] = [];
  private readonly sids = new Set<string>();
  /** Policies of 2008-10-17 have no variables. */
  private hasVariables = false;

  constructor(private readonly field: string) {}

  parse(policy: unknown): ParsedIamPolicy {
    const document = this.readDocument(policy);
    for (const element of Object.keys(document))
      if (!POLICY_ELEMENTS.includes(element))
        this.report(
          element,
          'UNKNOWN_ELEMENT',
          'is not an element of a policy. A policy has Version, Id and Statement, spelled exactly so.',
        );
    const { Version: version, Statement: statement } = document;
    if (version !== undefined && version !== '2012-10-17' && version !== '2008-10-17')
      this.report('Version', 'ONE_OF', 'must be 2012-10-17');
    this.hasVariables = version === '2012-10-17';
    const statements = isObject(statement) ? [statement] : statement;
    if (!Array.isArray(statements) || statements.length === 0)
      this.report('Statement', 'REQUIRED', 'must be a statement or a list of at least one statement');
    const parsed = (Array.isArray(statements) ? (statements as unknown[]) : []).flatMap((each, index) =>
      this.parseStatement(each, Array.isArray(statement) ? `Statement[${index}]` : 'Statement'),
    );
    throwIfInvalid(this.problems);
    return { statements: parsed };
  }

  private report(path: string, rule: string, message: string): void {
    this.problems.push({ field: `${this.field}.${path}`, rule, message });
  }

  /** The policy as an object. @throws InputError, because nothing else can be checked without it. */
  private readDocument(policy: unknown): Record<string, unknown> {
    const { field } = this;
    if (typeof policy === 'string' && policy.length > MOST_POLICY_TEXT) this.rejectLength();
    const document = typeof policy === 'string' ? this.parseJson(policy) : policy;
    if (!isObject(document)) {
      throwIfInvalid([{ field, rule: 'TYPE', message: 'must be an IAM policy: an object with Version and Statement' }]);
      return {};
    }
    if (isDeeperThan(document, POLICY_DEPTH)) {
      const message = `must not be nested deeper than ${POLICY_DEPTH} levels`;
      throwIfInvalid([{ field, rule: 'TOO_DEEP', message }]);
    }
    if (JSON.stringify(document).length > MOST_POLICY_CHARACTERS) this.rejectLength();
    return document;
  }

  private rejectLength(): never {
    const most = MOST_POLICY_CHARACTERS.toLocaleString('en-US');
    const message = `must have at most ${most} characters without white space, as in IAM. Check a part of the policy.`;
    throw new InputError([{ field: this.field, rule: 'POLICY_LENGTH', message }]);
  }

  private parseJson(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      const message = `is not valid JSON: ${(error as Error).message.slice(0, 200)}`;
      throwIfInvalid([{ field: this.field, rule: 'JSON', message }]);
      return undefined;
    }
  }

  private parseStatement(statement: unknown, path: string): ParsedStatement[] {
    if (!isObject(statement)) {
      this.report(path, 'TYPE', 'must be an object');
      return [];
    }
    this.checkElements(statement, path);
    const effect = this.parseEffect(statement.Effect, path);
    const sid = this.parseSid(statement.Sid, path);
    const exceptActions = this.isExcept(statement, path, 'Action', 'NotAction');
    const exceptResources = this.isExcept(statement, path, 'Resource', 'NotResource');
    const actionElement = exceptActions ? 'NotAction' : 'Action';
    const resourceElement = exceptResources ? 'NotResource' : 'Resource';
    const actionTexts = this.readTexts(statement, path, actionElement);
    const resourceTexts = this.readTexts(statement, path, resourceElement);
    if (!actionTexts.every((action) => action === '*' || /^[A-Za-z0-9-]+:[A-Za-z0-9*?]+$/.test(action)))
      this.report(`${path}.${actionElement}`, 'ACTION', 'must be * or service:Action, such as s3:GetObject');
    if (!resourceTexts.every((resource) => resource === '*' || resource.startsWith('arn:')))
      this.report(`${path}.${resourceElement}`, 'RESOURCE', 'must be * or an ARN, such as arn:aws:s3:::bucket/*');
    return [
      {
        effect,
        sid,
        actions: actionTexts.map((text) => lower(readPattern(text, false))),
        exceptActions,
        actionTexts,
        resources: resourceTexts.map((text) => readPattern(text, this.hasVariables)),
        exceptResources,
        resourceTexts,
        conditions: this.parseConditions(statement.Condition, `${path}.Condition`),
      },
    ];
  }

  private checkElements(statement: Record<string, unknown>, path: string): void {
    for (const element of Object.keys(statement)) {
      if (element === 'Principal' || element === 'NotPrincipal')
        this.report(
          `${path}.${element}`,
          'NOT_A_PERMISSION_POLICY',
          'belongs to a trust policy or bucket policy. Give the permission policy of the role or user.',
        );
      else if (!STATEMENT_ELEMENTS.includes(element))
        this.report(
          `${path}.${element}`,
          'UNKNOWN_ELEMENT',
          'is not an element of a statement. Check the spelling, including upper and lower case.',
        );
    }
  }

  private parseEffect(effect: unknown, path: string): 'Allow' | 'Deny' {
    if (effect !== 'Allow' && effect !== 'Deny')
      this.report(`${path}.Effect`, effect === undefined ? 'REQUIRED' : 'ONE_OF', 'must be Allow or Deny');
    return effect === 'Deny' ? 'Deny' : 'Allow';
  }

  private parseSid(sid: unknown, path: string): string | null {
    if (sid === undefined || sid === '') return null;
    if (typeof sid !== 'string' || !/^[A-Za-z0-9]*$/.test(sid)) {
      this.report(`${path}.Sid`, 'SID', 'must contain only letters and digits');
      return null;
    }
    if (this.sids.has(sid))
      this.report(`${path}.Sid`, 'SID_TWICE', `must be unique, but another statement has the Sid ${sid}`);
    this.sids.add(sid);
    return sid;
  }

  /** Whether a statement has the negated element. It must have exactly one of the two. */
  private isExcept(statement: Record<string, unknown>, path: string, plain: string, negated: string): boolean {
    const given = [plain, negated].filter((element) => statement[element] !== undefined);
    if (given.length === 0) this.report(`${path}.${plain}`, 'REQUIRED', `is required, unless there is ${negated}`);
    if (given.length === 2)
      this.report(`${path}.${negated}`, 'CONFLICT', `must not be in the same statement as ${plain}`);
    return given[0] === negated;
  }

  private readTexts(statement: Record<string, unknown>, path: string, element: string): string[] {
    const value = statement[element];
    if (value === undefined) return [];
    const texts = Array.isArray(value) ? (value as unknown[]) : [value];
    if (texts.length > 0 && texts.every((text): text is string => typeof text === 'string' && text !== ''))
      return texts;
    this.report(`${path}.${element}`, 'TYPE', 'must be a text or a list of texts, and none may be empty');
    return [];
  }

  private parseConditions(value: unknown, path: string): ParsedCondition[] {
    if (value === undefined) return [];
    if (!isObject(value)) {
      this.report(path, 'TYPE', 'must be an object of operators, each an object of condition keys');
      return [];
    }
    return Object.entries(value).flatMap(([text, keys]) => {
      const operator = parseOperator(text);
      if (operator === undefined) this.report(`${path}.${text}`, 'OPERATOR', 'is not a condition operator of IAM');
      else if (!isObject(keys)) this.report(`${path}.${text}`, 'TYPE', 'must be an object of condition keys');
      else return Object.entries(keys).flatMap((entry) => this.parseCondition(operator, text, path, entry));
      return [];
    });
  }

  private parseCondition(
    operator: Operator,
    operatorText: string,
    path: string,
    [key, given]: [string, unknown],
  ): ParsedCondition[] {
    const values = Array.isArray(given) ? (given as unknown[]) : [given];
    if (!values.every((value) => ['string', 'number', 'boolean'].includes(typeof value))) {
      this.report(`${path}.${operatorText}.${key}`, 'TYPE', 'must be a text or a list of texts');
      return [];
    }
    const patterns = values.map(String).map((text) => this.readConditionValue(text, operator));
    return [{ text: `${operatorText} ${key}`, operator, key: key.toLowerCase(), values: patterns }];
  }

  /** IAM replaces variables for every operator; wildcards count only for some. */
  private readConditionValue(text: string, operator: Operator): Pattern {
    const { hasWildcards = false, ignoresCase = false } = COMPARISONS.get(operator.name) ?? {};
    const isPattern = hasWildcards || (this.hasVariables && text.includes('${'));
    const pattern = isPattern ? readPattern(text, this.hasVariables) : readLiteral(text);
    return ignoresCase ? lower(pattern) : pattern;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
