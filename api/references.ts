import { throwIfInvalid } from '../domain/errors.js';
import { isId } from '../store/database.js';
import { notFoundError } from './errors.js';

/**
 * Loads the resource that the path of a request names.
 * @param kind for people, such as `storage connection`.
 * @throws ApiError 404, with a reason such as STORAGE_CONNECTION_NOT_FOUND
 */
export async function requireResource<T>(
  kind: string,
  id: string,
  find: (id: string) => Promise<T | undefined>,
): Promise<T> {
  const found = isId(id) ? await find(id) : undefined;
  if (found === undefined) throw notFoundError(kind, id);
  return found;
}

/**
 * Loads the resource that a field of a body refers to.
 * @param kind for people, such as `storage connection`.
 * @param find also locks the row, so that nobody deletes the resource before the reference is written.
 * @throws InputError with a rule such as STORAGE_CONNECTION_NOT_FOUND
 */
export async function requireReference<T>(
  kind: string,
  field: string,
  id: string,
  find: (id: string) => Promise<T | undefined>,
): Promise<T> {
  const found = isId(id) ? await find(id) : undefined;
  if (found === undefined) throwIfInvalid([missingReference(kind, field, id)]);
  return found as T;
}

/** The problem of a field that refers to a resource that does not exist, or that the caller may not know of. */
export function missingReference(kind: string, field: string, id: string) {
  return {
    field,
    rule: `${kind.toUpperCase().replaceAll(' ', '_')}_NOT_FOUND`,
    message: `there is no ${kind} with the ID ${id.slice(0, 100)}: use the ID of an existing one`,
  };
}
