import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type FieldProblem, InputError, loggableError } from '../../domain/errors.js';
import { ApiError } from '../errors.js';
import { responseHeaders } from './responses.js';

/** Most invalid fields that one response reports, so that a bad body does not get a response of megabytes. */
const MOST_PROBLEMS = 50;

/** The body of an error: the vendor's contract, with `code` = HTTP status and one detail per invalid field. */
function errorBody(error: ApiError, domain: string, requestId: string) {
  const detail = (metadata: Record<string, unknown>) => ({
    '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
    reason: error.reason,
    domain,
    metadata: { request_id: requestId, ...metadata },
  });
  const details = error.problems.map(({ field, rule, message }) => detail({ field, rule, description: message }));
  return {
    code: error.status,
    message: error.message,
    details: details.length > 0 ? details : [detail(error.metadata)],
  };
}

/** A violation of a schema, as Ajv reports it. */
export interface Violation {
  keyword: string;
  instancePath: string;
  params: Record<string, unknown>;
  message?: string;
}

/** The violations of a schema as fields and rules. A missing or unknown field has its own name. */
export function problemsOf(violations: readonly Violation[], context: string): FieldProblem[] {
  const problems = new Map<string, FieldProblem>();
  for (const violation of violations) {
    const problem = { field: fieldOf(violation) || context, ...describeViolation(violation, context) };
    problems.set(`${problem.field} ${problem.rule}`, problem);
  }
  return [...problems.values()];
}

/** The dotted name of the field; empty for the whole body or query. */
function fieldOf({ keyword, instancePath, params }: Violation): string {
  const path = instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  const named: Record<string, unknown> = {
    required: params.missingProperty,
    additionalProperties: params.additionalProperty,
  };
  const name = named[keyword];
  return [...path, ...(typeof name === 'string' ? [name] : [])].join('.').slice(0, 200);
}

function describeViolation({ keyword, params, message }: Violation, context: string): Omit<FieldProblem, 'field'> {
  switch (keyword) {
    case 'required':
      return { rule: 'REQUIRED', message: 'must be given' };
    case 'additionalProperties':
      return {
        rule: 'UNKNOWN_FIELD',
        message: context === 'querystring' ? 'is not a parameter of this request' : 'is not a field of this resource',
      };
    case 'const':
      return { rule: 'ONE_OF', message: `must be ${String(params.allowedValue)}` };
    case 'enum':
      return { rule: 'ONE_OF', message: `must be ${(params.allowedValues as unknown[]).join(', ')}` };
    case 'format':
      return {
        rule: 'FORMAT',
        message:
          params.format === 'date-time'
            ? 'must be a time as RFC 3339 writes it, such as 2026-01-31T12:00:00Z'
            : `must be a valid ${String(params.format)}`,
      };
    case 'minProperties':
      return { rule: 'EMPTY', message: 'must have at least one field' };
    default:
      return { rule: keyword.replace(/[A-Z]/g, '_$&').toUpperCase(), message: message ?? 'is not valid' };
  }
}

/** A 400 that reports all invalid fields. */
function invalidFieldsError(problems: readonly FieldProblem[]): ApiError {
  const reported = problems.slice(0, MOST_PROBLEMS);
  const message = reported.map((problem) => `${problem.field}: ${problem.message}`).join('; ');
  const more = problems.length - reported.length;
  return new ApiError(400, 'INVALID_FIELD', more > 0 ? `${message}; and ${more} more` : message, {}, reported);
}

const FASTIFY_REASONS: Record<string, { reason: string; message?: string }> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    reason: 'UNSUPPORTED_MEDIA_TYPE',
    message: 'The body is not JSON. Send JSON with Content-Type: application/json',
  },
  FST_ERR_CTP_BODY_TOO_LARGE: {
    reason: 'BODY_TOO_LARGE',
    message: 'The body is larger than this operation accepts. Send a smaller one',
  },
  FST_ERR_CTP_INVALID_JSON_BODY: { reason: 'MALFORMED_JSON', message: 'The body is not valid JSON. Check its syntax' },
  FST_ERR_BAD_URL: {
    reason: 'INVALID_URL',
    message: 'The address is not validly encoded. Percent-encode special characters in it',
  },
};

/**
 * Codes of PostgreSQL (Appendix A: connection exceptions, refused logins, a missing database, missing or old tables, too
 * many connections, shutdown, lock and statement timeout, a standby, missing rights), of TLS and of sockets that mean a
 * part is unreachable, overloaded or not set up yet: the same request may succeed later.
 */
const UNREACHABLE =
  /^(08...|25006|28...|3D000|42501|42P01|42703|53...|57014|57P0[1-5]|55P03|ECONN[A-Z]+|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|EHOSTUNREACH|ENETUNREACH|ERR_TLS_.+|ERR_SSL_.+|CERT_.+|SELF_SIGNED_.+|UNABLE_TO_.+|DEPTH_ZERO_.+)$/;
/** Messages of the PostgreSQL driver, whose errors have no code then. */
const CONNECTION_LOST =
  /timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error|does not support SSL connections/;

function isUnreachable(error: Error & { code?: unknown; errors?: unknown }): boolean {
  if (typeof error.code === 'string' && UNREACHABLE.test(error.code)) return true;
  // A host with several addresses fails with one error per address.
  if (Array.isArray(error.errors) && error.errors.some((each) => each instanceof Error && isUnreachable(each)))
    return true;
  return error.name === 'ServiceError' || CONNECTION_LOST.test(error.message);
}

function toApiError(error: FastifyError | Error, request: FastifyRequest): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof InputError) return invalidFieldsError(error.problems);
  const { validation, validationContext, statusCode, code } = error as FastifyError;
  if (validation !== undefined) return invalidFieldsError(problemsOf(validation, validationContext ?? 'body'));
  if (isUnreachable(error)) {
    request.log.error({ error: loggableError(error) }, 'The database or Temporal is unavailable');
    return new ApiError(
      503,
      'UNAVAILABLE',
      'polony cannot reach the database or Temporal at the moment. Try again later',
    );
  }
  if (code === 'FST_ERR_MAX_PARAM_LENGTH')
    return new ApiError(
      404,
      'NOT_FOUND',
      'The address has an ID that is too long, so it names no resource. Check the ID',
    );
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    const known =
      FASTIFY_REASONS[code] ??
      (error instanceof SyntaxError ? FASTIFY_REASONS.FST_ERR_CTP_INVALID_JSON_BODY! : { reason: 'BAD_REQUEST' });
    const limit = code === 'FST_ERR_CTP_BODY_TOO_LARGE' ? request.routeOptions.bodyLimit : undefined;
    const more = limit === undefined ? '' : `. The limit is ${limit.toLocaleString('en-US')} bytes`;
    return new ApiError(statusCode, known.reason, `${known.message ?? error.message}${more}`);
  }
  request.log.error({ error: loggableError(error) }, 'A request failed');
  return new ApiError(
    500,
    'INTERNAL_ERROR',
    'An internal error of polony. Ask the administrator of polony to look up this request ID in the log',
  );
}

/** Sends an error in the shape of the contract. */
export function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  error: FastifyError | Error,
  domain: string,
): FastifyReply {
  const known = toApiError(error, request);
  const audited = request.audited as typeof request.audited | undefined;
  if (audited !== null && audited !== undefined) audited.reason = known.reason;
  return reply
    .code(known.status)
    .header('content-type', 'application/json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(errorBody(known, domain, request.id));
}

/** Errors of Node's HTTP parser, by their codes. */
const PARSER_ERRORS: Record<
  string,
  readonly [status: 400 | 408 | 431, phrase: string, reason: string, message: string]
> = {
  ERR_HTTP_REQUEST_TIMEOUT: [
    408,
    'Request Timeout',
    'REQUEST_TIMEOUT',
    'The request did not arrive completely in time. Send it again',
  ],
  HPE_HEADER_OVERFLOW: [
    431,
    'Request Header Fields Too Large',
    'HEADERS_TOO_LARGE',
    'The address and the headers are too large. Shorten them',
  ],
};

/** A header as people spell it, for those who read the bytes: `X-Request-ID`. */
function spellHeader(name: string): string {
  return name.replace(/\b[a-z]/g, (letter) => letter.toUpperCase()).replace(/-Id$/, '-ID');
}

/** Sends an error for bytes that are not an HTTP request, and closes the connection, as Node's own handler does. */
export function answerNoRequest(
  error: Error & { code?: string },
  socket: Duplex,
  domain: string,
  publicUrl: string | undefined,
): void {
  // Nothing may be written into a response that is being sent, such as a stream.
  const isAnswering = (socket as Duplex & { _httpMessage?: ServerResponse | null })._httpMessage?.headersSent === true;
  if (error.code === 'ECONNRESET' || !socket.writable || isAnswering) return void socket.destroy();
  const [status, phrase, reason, message] = PARSER_ERRORS[error.code ?? ''] ?? [
    400,
    'Bad Request',
    'MALFORMED_REQUEST',
    'The bytes on this connection are not a valid HTTP request. Check the client and the proxies before polony',
  ];
  const id = randomUUID();
  const body = JSON.stringify(errorBody(new ApiError(status, reason, message), domain, id));
  const head = [
    `HTTP/1.1 ${status} ${phrase}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(responseHeaders(id, publicUrl)).map(([name, value]) => `${spellHeader(name)}: ${value}`),
    'Connection: close',
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
  socket.destroy();
}

/** The methods that the routes of an app accept, by path. */
class RouteIndex {
  readonly #routes = new Map<string, { pattern: RegExp; methods: Set<string> }>();

  add(url: string, methods: readonly string[]): void {
    if (url.includes('*')) return;
    const route = this.#routes.get(url) ?? {
      pattern: new RegExp(`^${url.replace(/[.+?^$()[\]\\]/g, '\\$&').replace(/:[^/]+/g, '[^/]+')}$`),
      methods: new Set<string>(),
    };
    for (const method of methods) route.methods.add(method);
    this.#routes.set(url, route);
  }

  /** Sorted; empty for a path without routes. */
  methodsOf(path: string): string[] {
    const routes = [...this.#routes.values()].filter(({ pattern }) => pattern.test(path));
    return [...new Set(routes.flatMap(({ methods }) => [...methods]))].sort();
  }
}

/**
 * Gives all errors the same body, from a malformed address to an internal error. A path that exists for other methods
 * is a 405 that lists them.
 */
export function addErrors(app: FastifyInstance, domain: string): void {
  const routes = new RouteIndex();
  app.addHook('onRoute', ({ url, method }) => routes.add(url, Array.isArray(method) ? method : [method]));
  app.setErrorHandler((error: FastifyError, request, reply) => sendError(request, reply, error, domain));
  const sendNoRoute = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const path = request.url.split('?')[0] ?? '';
    const methods = routes.methodsOf(path);
    if (methods.length > 0) void reply.header('allow', methods.join(', '));
    return sendError(request, reply, noRouteError(path.slice(0, 200), methods), domain);
  };
  // Before the body is read: what is wrong with it does not matter.
  app.addHook('preParsing', async (request, reply) => {
    if (request.is404) await sendNoRoute(request, reply);
  });
  app.setNotFoundHandler(sendNoRoute);
}

function noRouteError(path: string, methods: readonly string[]): ApiError {
  return methods.length === 0
    ? new ApiError(404, 'ROUTE_NOT_FOUND', `There is nothing at ${path}. See /docs for all operations`)
    : new ApiError(405, 'METHOD_NOT_ALLOWED', `${path} accepts the methods ${methods.join(', ')}`);
}
