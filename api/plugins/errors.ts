import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type FieldProblem, InputError } from '../../domain/errors.js';
import { ApiError, loggableError } from '../errors.js';

/** Most field problems that one answer tells: enough for any form, and a body of rubbish is not answered with megabytes. */
const PROBLEMS_TOLD = 50;

/** The body of an error: the vendor's contract, with `code` = HTTP status and a detail per field. */
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

/** One thing that Ajv found. */
export interface Violation {
  keyword: string;
  instancePath: string;
  params: Record<string, unknown>;
  message?: string;
}

/** What Ajv found, as fields and rules: a field that lacks or is unknown by its own name. */
export function problemsOf(violations: readonly Violation[], context: string): FieldProblem[] {
  const problems = new Map<string, FieldProblem>();
  for (const { keyword, instancePath, params, message } of violations) {
    const name =
      keyword === 'required'
        ? params.missingProperty
        : keyword === 'additionalProperties'
          ? params.additionalProperty
          : undefined;
    const path = instancePath
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const field = [...path, ...(typeof name === 'string' ? [name] : [])].join('.').slice(0, 200) || context;
    const problem = (rule: string, text: string): FieldProblem => ({ field, rule, message: text });
    const found =
      keyword === 'required'
        ? problem('REQUIRED', 'must be given')
        : keyword === 'additionalProperties'
          ? problem(
              'UNKNOWN_FIELD',
              context === 'querystring' ? 'is not a parameter of this request' : 'is not a field of this resource',
            )
          : keyword === 'const' || keyword === 'enum'
            ? problem(
                'ONE_OF',
                `must be ${(keyword === 'const' ? [params.allowedValue] : (params.allowedValues as unknown[])).join(', ')}`,
              )
            : keyword === 'minProperties'
              ? problem('EMPTY', 'must have at least one field')
              : problem(keyword.replace(/[A-Z]/g, '_$&').toUpperCase(), message ?? 'is not valid');
    problems.set(`${found.field} ${found.rule}`, found);
  }
  return [...problems.values()];
}

/** A 400 that tells several problems at once. */
function invalid(problems: readonly FieldProblem[]): ApiError {
  const told = problems.slice(0, PROBLEMS_TOLD);
  const message = told.map((problem) => `${problem.field}: ${problem.message}`).join('; ');
  return new ApiError(
    400,
    'INVALID_FIELD',
    problems.length > told.length ? `${message}; and ${problems.length - told.length} more` : message,
    {},
    told,
  );
}

const FASTIFY_REASONS: Record<string, { reason: string; message?: string }> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    reason: 'UNSUPPORTED_MEDIA_TYPE',
    message: 'Send the body as JSON, with Content-Type: application/json',
  },
  FST_ERR_CTP_BODY_TOO_LARGE: { reason: 'BODY_TOO_LARGE', message: 'The body is too large' },
  FST_ERR_CTP_INVALID_JSON_BODY: { reason: 'MALFORMED_JSON', message: 'The body is not valid JSON' },
  FST_ERR_BAD_URL: { reason: 'INVALID_URL', message: 'The address is not validly encoded' },
};

/**
 * Codes of PostgreSQL (Appendix A: connection exceptions, too many connections, shutting down, a lock that was waited for in
 * vain) and of sockets, which mean that a part is out of reach or overloaded, so that the same request may succeed later.
 */
const UNREACHABLE =
  /^(08...|53...|57P0[1-5]|55P03|ECONN[A-Z]+|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|EHOSTUNREACH|ENETUNREACH)$/;

function isUnreachable(error: Error & { code?: unknown; errors?: unknown }): boolean {
  if (typeof error.code === 'string' && UNREACHABLE.test(error.code)) return true;
  // A host with several addresses fails with one error per address.
  if (Array.isArray(error.errors) && error.errors.some((each) => each instanceof Error && isUnreachable(each)))
    return true;
  return (
    error.name === 'ServiceError' ||
    /timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error/.test(
      error.message,
    )
  );
}

function toApiError(error: FastifyError | Error, request: FastifyRequest): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof InputError) return invalid(error.problems);
  const { validation, validationContext, statusCode, code } = error as FastifyError;
  if (validation !== undefined) return invalid(problemsOf(validation, validationContext ?? 'body'));
  if (isUnreachable(error)) {
    request.log.error({ error: loggableError(error) }, 'a part is out of reach');
    return new ApiError(503, 'UNAVAILABLE', 'The database or Temporal cannot be reached at the moment; try again');
  }
  // Nothing has an id that long.
  if (code === 'FST_ERR_MAX_PARAM_LENGTH')
    return new ApiError(404, 'NOT_FOUND', 'There is nothing with so long a name');
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    const known =
      FASTIFY_REASONS[code] ??
      (error instanceof SyntaxError ? FASTIFY_REASONS.FST_ERR_CTP_INVALID_JSON_BODY! : { reason: 'BAD_REQUEST' });
    return new ApiError(statusCode, known.reason, known.message ?? error.message);
  }
  request.log.error({ error: loggableError(error) }, 'request failed');
  return new ApiError(
    500,
    'INTERNAL_ERROR',
    'Something went wrong inside polony; its log has more under this request id',
  );
}

/** Answers an error in the contract's shape. */
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

/** What Node's parser could not make a request of, by its code. */
const NO_REQUEST: Record<string, readonly [status: 400 | 408 | 431, words: string, reason: string, message: string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'REQUEST_TIMEOUT', 'The request did not come to its end in time'],
  HPE_HEADER_OVERFLOW: [
    431,
    'Request Header Fields Too Large',
    'HEADERS_TOO_LARGE',
    'The address and the headers are too large',
  ],
};

/** Answers on the socket what is no request, in the contract's shape; then the connection ends, as Node's own handler has it. */
export function answerNoRequest(error: Error & { code?: string }, socket: Duplex, domain: string): void {
  // Into an answer that is being sent, such as a stream, nothing may be written.
  const answering = (socket as Duplex & { _httpMessage?: ServerResponse | null })._httpMessage?.headersSent === true;
  if (error.code === 'ECONNRESET' || !socket.writable || answering) return void socket.destroy();
  const [status, words, reason, message] = NO_REQUEST[error.code ?? ''] ?? [
    400,
    'Bad Request',
    'MALFORMED_REQUEST',
    'This is not an HTTP request that can be read',
  ];
  const id = randomUUID();
  const body = JSON.stringify(errorBody(new ApiError(status, reason, message), domain, id));
  socket.write(
    `HTTP/1.1 ${status} ${words}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nX-Request-ID: ${id}\r\nConnection: close\r\n\r\n${body}`,
  );
  socket.destroy();
}

/**
 * The same error body for everything that can go wrong, from a malformed address to a bug. A path that exists for other methods
 * is a 405 that names them.
 */
export function addErrors(app: FastifyInstance, domain: string): void {
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  app.addHook('onRoute', ({ url, method }) => {
    if (url.includes('*')) return;
    const route = routes.get(url) ?? {
      pattern: new RegExp(`^${url.replace(/[.+?^$()[\]\\]/g, '\\$&').replace(/:[^/]+/g, '[^/]+')}$`),
      methods: new Set<string>(),
    };
    for (const each of Array.isArray(method) ? method : [method]) route.methods.add(each);
    routes.set(url, route);
  });
  app.setErrorHandler((error: FastifyError, request, reply) => sendError(request, reply, error, domain));
  /** What is answered where there is no route: 405 for a path that takes other methods. */
  const answerNone = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const path = request.url.split('?')[0] ?? '';
    const methods = [...routes.values()]
      .filter((route) => route.pattern.test(path))
      .flatMap((route) => [...route.methods]);
    if (methods.length === 0)
      return sendError(
        request,
        reply,
        new ApiError(404, 'ROUTE_NOT_FOUND', `There is nothing at ${path.slice(0, 200)}`),
        domain,
      );
    const allow = [...new Set(methods)].sort().join(', ');
    return sendError(
      request,
      reply.header('allow', allow),
      new ApiError(405, 'METHOD_NOT_ALLOWED', `${path.slice(0, 200)} takes ${allow}`),
      domain,
    );
  };
  // Before a body is looked at, which nobody wants: what is wrong with it is not what is wrong.
  app.addHook('preParsing', async (request, reply) => {
    if (request.is404) await answerNone(request, reply);
  });
  app.setNotFoundHandler(answerNone);
}
