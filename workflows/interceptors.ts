import type {
  OpenTelemetryInboundInterceptor,
  OpenTelemetryInternalsInterceptor,
  OpenTelemetryOutboundInterceptor,
} from '@temporalio/interceptors-opentelemetry/lib/workflow/index.js';
import {
  type ActivityInput,
  defaultPayloadConverter,
  type GetLogAttributesInput,
  type Headers,
  type Next,
  type SignalInput,
  type WorkflowExecuteInput,
  type WorkflowInboundCallsInterceptor,
  workflowInfo,
  type WorkflowInterceptors,
  type WorkflowInternalsInterceptor,
  type WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';
import { REQUEST_ID_HEADER } from './messages/headers.js';
import { attributes } from './messages/searchAttributes.js';

/** The header in which a client with tracing sends the trace; of @temporalio/interceptors-opentelemetry. */
const TRACE_HEADER = '_tracer-data';

/** The ids that inputs of our workflows have, and that log lines show. */
const INPUT_IDS = ['executionId', 'runId', 'storageConnectionId', 'deliveryId'] as const;

/**
 * What a workflow logs with each line, and its trace.
 *
 * A workflow is traced exactly if its start brought a trace, which its history keeps. So turning tracing on or off
 * changes no decision of a running workflow: a replay meets the same interceptors as before. A workflow without a trace
 * does not even load the library, and nothing here takes a turn of the event loop from it.
 */
class Observation
  implements WorkflowInboundCallsInterceptor, WorkflowOutboundCallsInterceptor, WorkflowInternalsInterceptor
{
  #ids: Record<string, string> = {};
  #requestId: Headers = {};
  #traced:
    | {
        inbound: OpenTelemetryInboundInterceptor;
        outbound: OpenTelemetryOutboundInterceptor;
        internals: OpenTelemetryInternalsInterceptor;
      }
    | undefined;

  execute(input: WorkflowExecuteInput, next: Next<WorkflowInboundCallsInterceptor, 'execute'>): Promise<unknown> {
    this.#noteIds(input);
    return input.headers[TRACE_HEADER] === undefined ? next(input) : this.#executeTraced(input, next);
  }

  async #executeTraced(
    input: WorkflowExecuteInput,
    next: Next<WorkflowInboundCallsInterceptor, 'execute'>,
  ): Promise<unknown> {
    const library = await import(
      /* webpackMode: "eager" */ '@temporalio/interceptors-opentelemetry/lib/workflow/index.js'
    );
    this.#traced = {
      inbound: new library.OpenTelemetryInboundInterceptor(),
      outbound: new library.OpenTelemetryOutboundInterceptor(),
      internals: new library.OpenTelemetryInternalsInterceptor(),
    };
    return this.#traced.inbound.execute(input, next);
  }

  handleSignal(input: SignalInput, next: Next<WorkflowInboundCallsInterceptor, 'handleSignal'>): Promise<void> {
    return this.#traced === undefined ? next(input) : this.#traced.inbound.handleSignal(input, next);
  }

  scheduleActivity(
    input: ActivityInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'scheduleActivity'>,
  ): Promise<unknown> {
    const withId = { ...input, headers: { ...input.headers, ...this.#requestId } };
    return this.#traced === undefined ? next(withId) : this.#traced.outbound.scheduleActivity(withId, next);
  }

  /** Temporal calls its own run `runId`, which is the name of an instrument's run here. */
  getLogAttributes(
    { runId, ...others }: GetLogAttributesInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'getLogAttributes'>,
  ): Record<string, unknown> {
    const healthOmicsRunId = workflowInfo().typedSearchAttributes.get(attributes.healthOmicsRunId);
    const ours = {
      ...others,
      workflowRunId: runId,
      ...this.#ids,
      ...(healthOmicsRunId !== undefined && { healthOmicsRunId }),
    };
    if (this.#traced === undefined) return next(ours);
    const {
      trace_id: traceId,
      span_id: spanId,
      trace_flags: _,
      ...untraced
    } = this.#traced.outbound.getLogAttributes(ours, (input) => input);
    return next({ ...untraced, traceId, spanId });
  }

  dispose(
    input: Parameters<NonNullable<WorkflowInternalsInterceptor['dispose']>>[0],
    next: Parameters<NonNullable<WorkflowInternalsInterceptor['dispose']>>[1],
  ): void {
    if (this.#traced === undefined) next(input);
    else void this.#traced.internals.dispose(input, next);
  }

  #noteIds({ headers, args }: WorkflowExecuteInput): void {
    const requestId = headers[REQUEST_ID_HEADER];
    if (requestId !== undefined) {
      this.#requestId = { [REQUEST_ID_HEADER]: requestId };
      this.#ids.requestId = defaultPayloadConverter.fromPayload(requestId);
    }
    const [given] = args as [Record<string, unknown> | undefined];
    for (const name of INPUT_IDS) {
      const id = typeof given === 'object' ? given?.[name] : undefined;
      if (typeof id === 'string') this.#ids[name] = id;
    }
  }
}

/** Temporal calls it for each workflow. */
export const interceptors = (): WorkflowInterceptors => {
  const observation = new Observation();
  return { inbound: [observation], outbound: [observation], internals: [observation] };
};
