import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';

/** A span that was received. Ids are in hexadecimal digits. */
export interface ReceivedSpan {
  service: string;
  name: string;
  traceId: string;
  spanId: string;
  /** Empty for the first span of a trace. */
  parentSpanId: string;
  /** Attributes with the texts of events and of the status. */
  facts: Record<string, unknown>;
}

interface Value {
  stringValue?: string;
  intValue?: unknown;
}
type Attributes = { key: string; value: Value }[];
interface Request {
  resourceSpans: {
    resource: { attributes: Attributes };
    scopeSpans: {
      spans: {
        traceId: Buffer;
        spanId: Buffer;
        parentSpanId?: Buffer;
        name: string;
        attributes: Attributes;
        events: { attributes: Attributes }[];
        status?: { message?: string };
      }[];
    }[];
  }[];
}

/** A receiver of OTLP over HTTP that keeps spans in memory. */
export interface OtlpReceiver {
  url: string;
  spans: ReceivedSpan[];
  /** Everything that was received, for a search for secrets. */
  bytes: () => string;
  close: () => Promise<void>;
}

export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const decode = loadDecoder();
  const spans: ReceivedSpan[] = [];
  const bodies: Buffer[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const sent = Buffer.concat(parts);
      const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent;
      bodies.push(body);
      if (request.url === '/v1/traces') spans.push(...toSpans(decode(body)));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    bytes: () => Buffer.concat(bodies).toString('latin1'),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The decoder that the exporter's own library has. */
function loadDecoder(): (body: Buffer) => Request {
  const fromHere = createRequire(import.meta.url);
  const fromExporter = createRequire(fromHere.resolve('@opentelemetry/exporter-trace-otlp-proto'));
  const root = fromExporter('@opentelemetry/otlp-transformer/build/src/generated/root') as {
    opentelemetry: {
      proto: { collector: { trace: { v1: { ExportTraceServiceRequest: { decode: (body: Buffer) => Request } } } } };
    };
  };
  return (body) => root.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest.decode(body);
}

function toSpans({ resourceSpans }: Request): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = String(toRecord(resource.attributes)['service.name']);
    return scopeSpans.flatMap((scope) =>
      scope.spans.map((span) => ({
        service,
        name: span.name,
        traceId: toHex(span.traceId),
        spanId: toHex(span.spanId),
        parentSpanId: toHex(span.parentSpanId),
        facts: {
          ...toRecord(span.attributes),
          status: span.status?.message,
          events: span.events.map(({ attributes }) => toRecord(attributes)),
        },
      })),
    );
  });
}

function toRecord(attributes: Attributes): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? String(value.intValue)]));
}

function toHex(id: Buffer | undefined): string {
  return Buffer.from(id ?? []).toString('hex');
}
