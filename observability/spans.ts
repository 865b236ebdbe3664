import type { IncomingHttpHeaders } from 'node:http';
import type { WorkflowClientInterceptor } from '@temporalio/client';
import type { ActivityInterceptorsFactory, InjectedSinks } from '@temporalio/worker';
import type { OpenTelemetrySinks } from '@temporalio/interceptors-opentelemetry';

/** Facts about a span, under OpenTelemetry's names. */
export type SpanFacts = Record<string, string | number>;

/** What OpenTelemetry does here. Nothing of it is loaded until tracing is on. */
export interface Tracing {
  /** Makes a call to another service in a span. The work may add facts. */
  traceCall<T>(name: string, facts: SpanFacts, call: (addFacts: (facts: SpanFacts) => void) => Promise<T>): Promise<T>;
  /** Does work that no request and no workflow asked for, as a trace of its own. */
  traceWork<T>(name: string, work: () => Promise<T>): Promise<T>;
  /** Begins the span of a request, as part of the trace that its headers name (W3C Trace Context). */
  beginRequest(name: string, headers: IncomingHttpHeaders, facts: SpanFacts): RequestSpan;
  /** For Temporal's client. */
  clientInterceptors: WorkflowClientInterceptor[];
  /** For Temporal's worker. */
  activityInterceptors: ActivityInterceptorsFactory;
  sinks: InjectedSinks<OpenTelemetrySinks>;
  /** Sends what has not been sent yet, for a few seconds at most. */
  stop: () => Promise<void>;
}

/** The span of a request that is being answered. */
export interface RequestSpan {
  /** Runs a part of the work in the span. */
  run: <T>(work: () => T) => T;
  end: (status: number, facts: SpanFacts) => void;
}
