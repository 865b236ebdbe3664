import { type TProperties, Type } from 'typebox';
import { component } from './components.js';

/** Options of an object schema that rejects unknown members. */
export const closed = { additionalProperties: false } as const;
/** Options of the schema of a PATCH body: at least one field, and no unknown ones. */
export const closedNonEmpty = { ...closed, minProperties: 1 } as const;

/** One of these strings; its type is `string`. */
export const oneOf = (values: readonly string[]) => Type.Unsafe<string>({ type: 'string', enum: [...values] });
/** One of these strings; its type is their union. */
export const oneOfThese = <T extends string>(...values: T[]) => Type.Unsafe<T>({ type: 'string', enum: values });
export const strings = (description: string) => Type.Array(Type.String(), { description });
export const NullableString = Type.Unsafe<string | null>({ type: ['string', 'null'] });
/** A time of RFC 3339. */
export const Timestamp = Type.String({ format: 'date-time' });
export const NullableTimestamp = Type.Unsafe<string | null>({ type: ['string', 'null'], format: 'date-time' });
/** Path parameters of a route with `:id`. */
export const IdParams = Type.Object({ id: Type.String() });

/** The body of a successful response: these members and no others. */
export const responseBody = <T extends TProperties>(description: string, members: T) =>
  Type.Object(members, { ...closed, description });

/** The body of every error response. Its shape is google.rpc.Status, as in the vendor's contract. */
const ErrorBody = component(
  'Error',
  Type.Object({
    code: Type.Integer({ description: 'The HTTP status' }),
    message: Type.String(),
    details: Type.Array(
      Type.Object({
        '@type': Type.String(),
        reason: Type.String({ description: 'For programs, such as INVALID_FIELD, IN_USE, RUN_NOT_FOUND' }),
        domain: Type.String(),
        metadata: Type.Object(
          {
            request_id: Type.String(),
            field: Type.Optional(Type.String()),
            rule: Type.Optional(Type.String()),
            description: Type.Optional(Type.String()),
          },
          { additionalProperties: true },
        ),
      }),
    ),
  }),
);

const ERROR_DESCRIPTIONS = {
  400: 'A field or parameter is invalid',
  401: 'The API key or token is missing or invalid',
  403: 'The API key or token lacks the required scope, or AWS denied access',
  404: 'The resource does not exist, or the caller may not see it',
  409: 'The current state prevents this: a name is taken, a resource is in use, or an execution has ended',
  413: 'The request body is too large',
  415: 'The request body is not JSON',
  422: 'The Idempotency-Key was used for a different request',
  429: 'The caller sent too many requests. Wait for the seconds in Retry-After',
  500: 'An internal error. The log has more under the request ID',
  503: 'The database, Temporal or AWS is unavailable. Try again later',
} as const;

/** The error responses of an operation: those that every operation has, and these. */
export function errors(...statuses: (404 | 409 | 413 | 415 | 422)[]) {
  return Object.fromEntries(
    [400, 401, 403, ...statuses, 429, 500, 503].map((status) => [
      status,
      {
        content: { 'application/json': { schema: ErrorBody } },
        description: ERROR_DESCRIPTIONS[status as keyof typeof ERROR_DESCRIPTIONS],
      },
    ]),
  );
}
/** Error statuses of an operation that takes a body. */
export const BODY = [413, 415] as const;

/** The response to a deletion. */
export const NoContent = Type.Null({ description: 'Done' });

/** Headers of an operation that can be repeated safely. The schema ignores all other headers. */
export const IdempotencyHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      description:
        'Makes the request safe to repeat. 1 to 255 printable ASCII characters. For 24 hours, ' +
        'repeating the request with this key returns the first response.',
    }),
  ),
});
