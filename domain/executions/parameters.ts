import type { FieldProblem } from '../errors.js';
import { checkJson } from '../names.js';

/** Longest parameters of a workflow, in characters of JSON. Those of Bases2Fastq have some hundreds. */
export const PARAMETER_CHARACTERS = 50_000;

/** Checks the parameters of a workflow: JSON that PostgreSQL can store, and not too much of it. */
export function checkParameters(field: string, value: unknown): FieldProblem[] {
  const problems = checkJson(field, value);
  if (problems.length > 0 || value === undefined) return problems;
  const { length } = JSON.stringify(value);
  if (length <= PARAMETER_CHARACTERS) return [];
  const most = PARAMETER_CHARACTERS.toLocaleString('en-US');
  return [{ field, rule: 'TOO_LONG', message: `must have at most ${most} characters as JSON, but has ${length}` }];
}
