import type { FastifyBaseLogger, FastifyRequest } from 'fastify';
import type { Transaction } from 'kysely';
import { type FieldProblem, throwIfInvalid } from '../domain/errors.js';
import type { ScopeAction } from '../domain/auth/scopes.js';
import { type Db, isId } from '../store/database.js';
import { listUses, markDeleted, type ResourceTable, type ResourceUse } from '../store/connections/uses.js';
import type { ResourceToVerify } from '../store/verification/resources.js';
import type { Database } from '../store/schema.js';
import { inTransaction } from '../store/transaction.js';
import type { ApiDependencies } from './dependencies.js';
import { ApiError, withTimeout, loggableError, notFoundError } from './errors.js';
import type { Caller } from './plugins/auth.js';
import { problemsOf, type Violation } from './plugins/errors.js';

export type Trx = Transaction<Database>;

/** Applies a rule to a field of the body where that is given and is a text; what is not has been told by the schema. */
export type Check = (field: string, rule: (value: string) => FieldProblem[]) => FieldProblem[];

/**
 * Tells all that is wrong with a body at once: what breaks the schema, and what breaks a rule of the fields that do not. For
 * routes with `attachValidation`.
 * @throws InputError
 */
export function checkBody(
  request: FastifyRequest,
  rules: (check: Check, body: Record<string, unknown>) => FieldProblem[][],
): void {
  const error = request.validationError;
  if (error !== undefined && error.validationContext !== 'body') throw error;
  const problems = error === undefined ? [] : problemsOf(error.validation as Violation[], 'body');
  const bad = new Set(problems.map((problem) => problem.field.split('.')[0]));
  const body =
    typeof request.body === 'object' && request.body !== null ? (request.body as Record<string, unknown>) : {};
  const check: Check = (field, rule) => {
    const value = body[field];
    return typeof value === 'string' && !bad.has(field) ? rule(value) : [];
  };
  throwIfInvalid([...problems, ...rules(check, body).flat()]);
}

/** The fields that a change gives. */
export function givenFields<T extends object>(body: T): T {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)) as T;
}

/** A time of RFC 3339 that the schema has let through. JavaScript has no leap seconds: 23:59:60 is the second after 23:59:59. */
export function parseTimestamp(text: string): Date {
  const leap = /:60(?=\.\d|z|[+-])/i;
  return leap.test(text) ? new Date(Date.parse(text.replace(leap, ':59')) + 1000) : new Date(text);
}

/** Turns the refusal of the unique index of names into words. It holds too when two take a name at the same moment. */
export async function mapUniqueViolation<T>(kind: string, name: string, write: Promise<T>): Promise<T> {
  try {
    return await write;
  } catch (error) {
    const { code, constraint } = error as { code?: string; constraint?: string };
    if (code === '23505' && constraint?.endsWith('_name') === true)
      throw new ApiError(409, 'NAME_TAKEN', `There is a ${kind} named ${name} already; names are unique`, {
        field: 'name',
      });
    throw error;
  }
}

/** What a body refers to must exist; `find` locks it, so that nobody deletes it before what refers to it is written. */
export async function requireReference<T>(
  kind: string,
  field: string,
  id: string,
  find: (id: string) => Promise<T | undefined>,
): Promise<T> {
  const found = isId(id) ? await find(id) : undefined;
  if (found === undefined)
    throwIfInvalid([
      {
        field,
        rule: `${kind.toUpperCase().replaceAll(' ', '_')}_NOT_FOUND`,
        message: `there is no ${kind} ${id.slice(0, 100)}`,
      },
    ]);
  return found as T;
}

/** Who may read what uses a resource. The grants of a storage connection have no scope of their own. */
const SEEN_WITH: Record<Exclude<ResourceUse['kind'], 'access grant'>, ScopeAction> = {
  'storage connection': 'storage:read',
  'compute connection': 'compute:read',
  flow: 'flows:read',
  execution: 'executions:read',
  run: 'runs:read',
};

/** A resource that cannot be deleted or changed so because of what uses it. `usedBy` names each that the caller may see; the others are counted. */
export function inUseError(
  { access }: Pick<Caller, 'access'>,
  message: string,
  uses: readonly ResourceUse[],
  field?: string,
): ApiError {
  const seen = uses.filter(({ kind, id }) =>
    kind === 'access grant' ? access.covers('storage:share') : access.covers(SEEN_WITH[kind], id),
  );
  const hidden = uses.length - seen.length;
  const by = [
    ...seen.map((use) => `${use.kind} ${use.name} (${use.id})`),
    ...(hidden === 0 ? [] : [`${hidden} that this key may not see`]),
  ].join(', ');
  return new ApiError(409, 'IN_USE', `${message}: in use by ${by}`, {
    ...(field !== undefined && { field }),
    usedBy: seen,
  });
}

/**
 * Deletes a resource that nothing uses. It stays in its table for the history of executions.
 * @param find locks its row for update, so that whoever is about to refer to it waits and then does not find it.
 * @throws ApiError 404, 409 IN_USE.
 */
export async function softDelete(
  db: Db,
  caller: Caller,
  kind: string,
  table: ResourceTable,
  id: string,
  find: (transaction: Trx) => Promise<unknown>,
): Promise<void> {
  if (!isId(id)) throw notFoundError(kind, id);
  await inTransaction(db, async (transaction) => {
    if ((await find(transaction)) === undefined) throw notFoundError(kind, id);
    const uses = await listUses(transaction, table, id);
    if (uses.length > 0) throw inUseError(caller, `The ${kind} cannot be deleted`, uses);
    await markDeleted(transaction, table, id);
  });
}

/** Begins to verify what was made or changed. When Temporal is away the sweep makes it good, so the change stands. */
export async function requestVerification(
  log: FastifyBaseLogger,
  orchestrator: ApiDependencies['orchestrator'],
  resources: readonly ResourceToVerify[],
): Promise<void> {
  try {
    for (const resource of resources) await withTimeout(orchestrator.verify(resource));
  } catch (error) {
    log.warn(
      { error: loggableError(error), resources: resources.length },
      'verification could not be started; the sweep will',
    );
  }
}
