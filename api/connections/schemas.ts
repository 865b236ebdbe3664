import { Type } from 'typebox';
import { NullableTimestamp, oneOf, Timestamp } from '../openapi/shared.js';

const STATUSES = ['UNSPECIFIED', 'CONNECTED', 'WARNING', 'FAILED'];

/**
 * The statuses of a provider, a connection or a flow.
 * @param prefix what the vendor's contract writes before each, such as `PROVIDER_STATUS`.
 */
export function statusSchema(prefix: string) {
  return oneOf(STATUSES.map((status) => `${prefix}_${status}`));
}

/**
 * The fields with which providers, compute connections and flows show their state. Storage connections have these too,
 * but the vendor's contract leaves some of them to the details.
 * @param prefix as for {@link statusSchema}
 */
export function stateFields(prefix: string) {
  return {
    status: statusSchema(prefix),
    statusDescription: Type.String(),
    timeVerified: NullableTimestamp,
    timeUsed: NullableTimestamp,
    timeCreated: Timestamp,
    timeUpdated: Timestamp,
  };
}

/** Description of the field `name` of everything that a person connects. */
export const NAME_DESCRIPTION = 'Unique, 1 to 128 characters';
