import type { FastifyRequest } from 'fastify';
import { type FieldProblem, throwIfInvalid } from '../domain/errors.js';
import { problemsOf, type Violation } from './plugins/errors.js';

/** Applies a rule to a field of the body if it is a string. The schema reports every other type. */
export type Check = (field: string, rule: (value: string) => FieldProblem[]) => FieldProblem[];

/**
 * Checks a body against the schema of its route and against further rules, and reports all problems at once. A field
 * that breaks the schema is not checked against rules. Only for routes with `attachValidation`.
 * @throws InputError with every problem of the body.
 */
export function checkBody(
  request: FastifyRequest,
  rules: (check: Check, body: Record<string, unknown>) => FieldProblem[][],
): void {
  const error = request.validationError;
  if (error !== undefined && error.validationContext !== 'body') throw error;
  const problems = error === undefined ? [] : problemsOf(error.validation as Violation[], 'body');
  const invalidFields = new Set(problems.map((problem) => problem.field.split('.')[0]));
  const body =
    typeof request.body === 'object' && request.body !== null ? (request.body as Record<string, unknown>) : {};
  const check: Check = (field, rule) => {
    const value = body[field];
    return typeof value === 'string' && !invalidFields.has(field) ? rule(value) : [];
  };
  throwIfInvalid([...problems, ...rules(check, body).flat()]);
}

/** The fields of a change that have a value; an absent field stays as it is. */
export function givenFields<T extends object>(body: T): T {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)) as T;
}

/**
 * Reads a timestamp that the schema has accepted as RFC 3339. JavaScript has no leap seconds, so 23:59:60 becomes the
 * second after 23:59:59.
 */
export function parseTimestamp(text: string): Date {
  const leap = /:60(?=\.\d|z|[+-])/i;
  return leap.test(text) ? new Date(Date.parse(text.replace(leap, ':59')) + 1000) : new Date(text);
}
