import { setTracing } from './tracing.js';

/**
 * Turns tracing on for this process. Call it before anything connects. The settings are the standard variables of
 * OpenTelemetry, which its library reads.
 * @param service name of the service where `OTEL_SERVICE_NAME` is not set
 * @param redact what a text of a span may contain
 * @param onOutage is told when spans begin to be lost, with the reason, and when they arrive again
 */
export async function startTracing(
  service: string,
  version: string,
  redact: (text: string) => string,
  onOutage: (error: Error | undefined) => void,
): Promise<void> {
  // A compose file sets variables that nobody needs to an empty text, which the library would take as a value.
  for (const [name, value] of Object.entries(process.env))
    if (name.startsWith('OTEL_') && value?.trim() === '') delete process.env[name];
  const { openTracing } = await import('./openTelemetry.js');
  setTracing(openTracing(service, version, redact, onOutage));
}
