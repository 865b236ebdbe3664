import { type DestinationStream, type Logger, pino } from 'pino';
import { loggableError } from '../domain/errors.js';
import { currentLogIds } from './logContext.js';
import { Redactor } from './redact.js';

export interface LogOptions {
  /** Values that no line may contain. */
  secrets?: readonly string[];
  /** Standard output where absent. */
  destination?: DestinationStream;
}

/** The fields of the trace that is active, where tracing is on. */
let traceFields: () => object = () => ({});

/** Adds fields to every line from now on. Tracing calls it, which is loaded only where it is on. */
export function setTraceFields(fields: () => object): void {
  traceFields = fields;
}

/** The fields of the trace that is active; none where tracing is off. */
export function activeTrace(): object {
  return traceFields();
}

/**
 * The logger of a process. Each line is JSON with the ids of what it is about (see `LogIds`). Whatever a caller passes,
 * the redactor decides what the line contains: it sees the complete line, with the fields of child loggers.
 */
export function createLogger(level: string, { secrets = [], destination }: LogOptions = {}): Logger {
  const redactor = new Redactor(secrets);
  const options = {
    level,
    // Without these, pino writes an error as {}.
    serializers: { error: serializeError, err: serializeError, workflowFailure: serializeError },
    mixin: () => ({ ...currentLogIds(), ...activeTrace() }),
    hooks: { streamWrite: (line: string) => redactor.redactLine(line) },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

/** An error with its causes. What is safe to log already stays as it is. */
function serializeError(value: unknown): unknown {
  return value instanceof Error ? describeError(value) : value;
}

/** What a log says of an error: also the id that AWS support asks for. */
function describeError(error: Error): object {
  const { requestId } = (error as { $metadata?: { requestId?: unknown } }).$metadata ?? {};
  return { ...loggableError(error), ...(typeof requestId === 'string' && { awsRequestId: requestId }) };
}
