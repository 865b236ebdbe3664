import { parseSharedWorkflow } from '../connections/flow.js';
import { checkPrefix } from '../connections/storage.js';
import { checkHealthOmicsRole } from '../connections/compute.js';
import type { FieldProblem } from '../errors.js';

type ValueCheck = (field: string, value: string) => FieldProblem[];

/** Reads the fields of a query and keeps all problems, so that the caller can report them at once. */
export class FieldReader<Query extends object> {
  readonly problems: FieldProblem[] = [];

  constructor(private readonly query: Query) {}

  add(...problems: FieldProblem[]): void {
    this.problems.push(...problems);
  }

  /** A text without spaces around it, after its check; undefined when it is absent or empty. */
  optional(field: keyof Query & string, check: ValueCheck): string | undefined {
    const value = (this.query[field] as string | undefined)?.trim();
    if (value === undefined || value === '') return undefined;
    this.add(...check(field, value));
    return value;
  }

  /** A value that must be one of these. */
  oneOf<Word extends string>(field: string, value: string, words: readonly Word[]): Word {
    if (!(words as readonly string[]).includes(value))
      this.add({ field, rule: 'ONE_OF', message: `must be one of ${words.join(', ')}` });
    return value as Word;
  }
}

/** Checks a shared workflow's Resource ID or ARN. */
export function checkSharedWorkflowText(field: string, value: string): FieldProblem[] {
  if (parseSharedWorkflow(value) !== undefined) return [];
  const message = 'must be the Resource ID of the shared workflow (1 to 18 digits), or its ARN';
  return [{ field, rule: 'SHARED_WORKFLOW_ID', message }];
}

/**
 * Checks the ARN of an execution role that becomes a resource in a policy. IAM accepts `*` in a role's path, but in a
 * policy it would be a wildcard.
 */
export function checkExecutionRoleArn(field: string, value: string): FieldProblem[] {
  const problems = checkHealthOmicsRole(field, value);
  if (problems.length === 0 && /[*?]|\$\{|\{\{/.test(value))
    return [
      {
        field,
        rule: 'ROLE_ARN_WILDCARD',
        message: 'must not contain *, ?, ${ or {{, which have a special meaning in policies and templates',
      },
    ];
  return problems;
}

/**
 * Checks a prefix for IAM documents. CloudFormation would replace `{{resolve:…}}`, and half of a surrogate pair is not
 * valid text.
 */
export function checkDocumentPrefix(field: string, value: string): FieldProblem[] {
  const problems = checkPrefix(field, value);
  if (problems.length > 0) return problems;
  if (value.includes('{{'))
    return [
      { field, rule: 'PREFIX_REFERENCE', message: 'must not contain {{, which starts a reference in CloudFormation' },
    ];
  if (/\p{Cs}/u.test(value))
    return [{ field, rule: 'PREFIX_CHARACTERS', message: 'must not contain half of a surrogate pair' }];
  return [];
}
