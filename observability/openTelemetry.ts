import {
  type Attributes,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { envDetectorSync, Resource } from '@opentelemetry/resources';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import {
  makeWorkflowExporter,
  OpenTelemetryActivityInboundInterceptor,
} from '@temporalio/interceptors-opentelemetry/lib/worker/index.js';
import { OpenTelemetryWorkflowClientInterceptor } from '@temporalio/interceptors-opentelemetry/lib/client/index.js';
import { setTraceFields } from './log.js';
import type { RequestSpan, SpanFacts, Tracing } from './spans.js';

/** How long a process that ends waits for its last spans to be sent, in milliseconds. */
const STOP_MS = 3000;
/** `ExportResultCode.SUCCESS` of the library. */
const EXPORTED = 0;

/**
 * Sets OpenTelemetry up for this process. See `startTracing`.
 * @param onOutage is told when spans begin to be lost, with the reason, and when they arrive again
 */
export function openTracing(
  service: string,
  version: string,
  redact: (text: string) => string,
  onOutage: (error: Error | undefined) => void = () => undefined,
): Tracing {
  // OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME take precedence.
  const resource = Resource.default()
    .merge(new Resource({ 'service.name': service, 'service.version': version, 'process.pid': process.pid }))
    .merge(envDetectorSync.detect());
  const processor = new BatchSpanProcessor(new RedactingExporter(new OTLPTraceExporter(), redact, onOutage));
  const provider = new NodeTracerProvider({ resource, spanProcessors: [processor] });
  provider.register();
  setTraceFields(activeTraceFields);
  const tracer = provider.getTracer('polony', version);
  return {
    traceCall: (name, facts, call) =>
      inSpan(tracer, name, { kind: SpanKind.CLIENT, attributes: facts }, (span) =>
        call((more) => span.setAttributes(more)),
      ),
    traceWork: (name, work) => inSpan(tracer, name, { root: true }, work),
    beginRequest: (name, headers, facts) => beginRequest(tracer, name, headers, facts),
    clientInterceptors: [new OpenTelemetryWorkflowClientInterceptor()],
    // Its outbound interceptor adds the trace to logs under other names than ours.
    activityInterceptors: (activity) => ({ inbound: new OpenTelemetryActivityInboundInterceptor(activity) }),
    sinks: { exporter: makeWorkflowExporter(processor, resource) },
    stop: async () => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, STOP_MS)));
      await Promise.race([provider.shutdown().catch(() => undefined), late]);
      clearTimeout(timer);
    },
  };
}

/** The trace in the lines of the log. */
function activeTraceFields(): object {
  const active = trace.getActiveSpan()?.spanContext();
  return active === undefined ? {} : { traceId: active.traceId, spanId: active.spanId };
}

function inSpan<T>(tracer: Tracer, name: string, options: SpanOptions, work: (span: Span) => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(name, options, async (span: Span) => {
    try {
      return await work(span);
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

function beginRequest(
  tracer: Tracer,
  name: string,
  headers: Parameters<Tracing['beginRequest']>[1],
  facts: SpanFacts,
): RequestSpan {
  // Without what else the client sent along (W3C Baggage): it would be stored in Temporal, in headers, which nothing
  // encrypts.
  const parent = propagation.deleteBaggage(propagation.extract(ROOT_CONTEXT, headers));
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes: facts }, parent);
  const inside = trace.setSpan(parent, span);
  return {
    run: (work) => context.with(inside, work),
    end: (status, more) => {
      span.setAttributes({ 'http.response.status_code': status, ...more });
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}

/**
 * Exports spans without secrets. Libraries write the messages of errors into spans, and those may contain whatever a
 * log may not.
 */
export class RedactingExporter implements SpanExporter {
  #isFailing = false;

  constructor(
    private readonly exporter: SpanExporter,
    private readonly redact: (text: string) => string,
    private readonly onOutage: (error: Error | undefined) => void = () => undefined,
  ) {}

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    this.exporter.export(
      spans.map((span) => this.#redactSpan(span)),
      (result) => {
        this.#noteResult(result);
        done(result);
      },
    );
  }

  /** The library drops the spans that a collector does not take, and says so to nobody. */
  #noteResult({ code, error }: Parameters<Parameters<SpanExporter['export']>[1]>[0]): void {
    const isFailing = (code as number) !== EXPORTED;
    if (isFailing === this.#isFailing) return;
    this.#isFailing = isFailing;
    this.onOutage(isFailing ? (error ?? new Error('the collector did not accept the spans')) : undefined);
  }

  async shutdown(): Promise<void> {
    await this.exporter.shutdown();
  }

  #redactSpan(span: ReadableSpan): ReadableSpan {
    const { message, ...status } = span.status;
    // The methods of the span stay those of its class.
    return Object.create(span, {
      attributes: { value: this.#redactAttributes(span.attributes) },
      events: {
        value: span.events.map((event) => ({
          ...event,
          ...(event.attributes !== undefined && { attributes: this.#redactAttributes(event.attributes) }),
        })),
      },
      status: { value: { ...status, ...(message !== undefined && { message: this.redact(message) }) } },
    }) as ReadableSpan;
  }

  #redactAttributes(attributes: Attributes): Attributes {
    const entries = Object.entries(attributes).map(([name, value]): [string, Attributes[string]] => {
      if (typeof value === 'string') return [name, this.redact(value)];
      // Temporal's library adds all that it knows of a workflow, with memo and search attributes.
      return [name, typeof value === 'number' || typeof value === 'boolean' ? value : undefined];
    });
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
  }
}
