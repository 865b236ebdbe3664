import { context, propagation } from '@opentelemetry/api';
import { afterAll, describe, expect, it } from 'vitest';
import { openTracing } from '../../observability/openTelemetry.js';

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';

describe('the span of a request', () => {
  const outages: (string | undefined)[] = [];
  // Nothing listens there.
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = 'http://127.0.0.1:9';
  const tracing = openTracing(
    'test',
    '0',
    (text) => text,
    (error) => outages.push(error?.message),
  );
  afterAll(async () => {
    await tracing.stop();
    delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
  });

  it('continues the trace of the client, and sends nothing else of it on', () => {
    const headers = { traceparent: `00-${TRACE_ID}-00f067aa0ba902b7-01`, baggage: 'note=patient-4711' };
    const sent: Record<string, string> = {};
    const span = tracing.beginRequest('GET /', headers, {});
    span.run(() => propagation.inject(context.active(), sent));
    span.end(200, {});
    expect(Object.keys(sent)).toEqual(['traceparent']);
    expect(sent.traceparent).toMatch(new RegExp(`^00-${TRACE_ID}-[0-9a-f]{16}-01$`));
  });

  it('is lost where the collector is away, which the caller is told', async () => {
    await tracing.stop();
    expect(outages).toHaveLength(1);
    expect(outages[0]).toMatch(/ECONNREFUSED|bad port/);
  });
});
