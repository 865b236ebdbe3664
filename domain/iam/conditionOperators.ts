/** How an operator compares. */
interface Comparison {
  isNegated: boolean;
  ignoresCase?: boolean;
  hasWildcards?: boolean;
}

/** Condition operators that polony evaluates, in lower case (IAM User Guide, "Condition operators"). */
export const COMPARISONS: ReadonlyMap<string, Comparison> = new Map<string, Comparison>([
  ['stringequals', { isNegated: false }],
  ['stringnotequals', { isNegated: true }],
  ['stringequalsignorecase', { isNegated: false, ignoresCase: true }],
  ['stringnotequalsignorecase', { isNegated: true, ignoresCase: true }],
  ['stringlike', { isNegated: false, hasWildcards: true }],
  ['stringnotlike', { isNegated: true, hasWildcards: true }],
  ['arnequals', { isNegated: false, hasWildcards: true }],
  ['arnlike', { isNegated: false, hasWildcards: true }],
  ['arnnotequals', { isNegated: true, hasWildcards: true }],
  ['arnnotlike', { isNegated: true, hasWildcards: true }],
  ['bool', { isNegated: false, ignoresCase: true }],
]);

const NUMERIC_COMPARISONS = ['equals', 'notequals', 'lessthan', 'lessthanequals', 'greaterthan', 'greaterthanequals'];

/**
 * Operators that IAM knows but polony does not evaluate, because their result depends on facts that it does not know.
 */
const OTHER_OPERATORS = new Set([
  'null',
  'binaryequals',
  'ipaddress',
  'notipaddress',
  ...NUMERIC_COMPARISONS.flatMap((comparison) => [`numeric${comparison}`, `date${comparison}`]),
]);

/** A condition operator and what stands around its name. */
export interface Operator {
  /** In lower case. */
  name: string;
  forAllValues: boolean;
  forAnyValue: boolean;
  ifExists: boolean;
}

/** Parses an operator such as `ForAllValues:StringLikeIfExists`; undefined when IAM does not know it. */
export function parseOperator(text: string): Operator | undefined {
  const [, set = '', name = '', ifExists = ''] =
    /^(forallvalues:|foranyvalue:)?([a-z]+?)(ifexists)?$/.exec(text.toLowerCase()) ?? [];
  if (!COMPARISONS.has(name) && !OTHER_OPERATORS.has(name)) return undefined;
  if (name === 'null' && (set !== '' || ifExists !== '')) return undefined;
  return {
    name,
    forAllValues: set === 'forallvalues:',
    forAnyValue: set === 'foranyvalue:',
    ifExists: ifExists !== '',
  };
}
