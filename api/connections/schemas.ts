import { oneOf } from '../openapi/shared.js';

const STATUSES = ['UNSPECIFIED', 'CONNECTED', 'WARNING', 'FAILED'];

/**
 * The statuses of a provider, a connection or a flow.
 * @param prefix what the vendor's contract writes before each, such as `PROVIDER_STATUS`.
 */
export function statusSchema(prefix: string) {
  return oneOf(STATUSES.map((status) => `${prefix}_${status}`));
}

/** Description of the field `name` of everything that a person connects. */
export const NAME_DESCRIPTION = 'Unique, 1 to 128 characters';
