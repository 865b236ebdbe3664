import { counted } from '../observability/metrics.js';
import { tracing } from '../observability/tracing.js';
import { classifyAwsError } from './errors.js';

/** What a middleware of the AWS SDK needs from a client, whichever service it is of. */
interface ObservableClient {
  config: { serviceId?: string; region?: string | (() => Promise<string>) };
  middlewareStack: {
    add: (middleware: InitializeMiddleware, options: { step: 'initialize'; name: string; priority: 'high' }) => void;
  };
}
type Next = (parameters: unknown) => Promise<{ output: unknown }>;
type InitializeMiddleware = (
  next: Next,
  context: { commandName?: string },
) => (parameters: unknown) => Promise<{ output: unknown }>;

interface Metadata {
  requestId?: string;
  attempts?: number;
  httpStatusCode?: number;
}

/**
 * Counts the calls of a client, and makes each one a span where tracing is on. Of a call, only action, region, outcome
 * and the request ID of AWS are noted: never its input or its output.
 */
export function observeCalls<Client extends object>(client: Client): Client {
  const { config, middlewareStack } = client as unknown as ObservableClient;
  // prom-client's own name for what has no service: none of ours.
  const service = (config.serviceId ?? 'aws').toLowerCase().replaceAll(' ', '-');
  middlewareStack.add(
    (next, { commandName = '' }) =>
      (parameters) =>
        observe(`${service}:${toAction(service, commandName)}`, config.region, () => next(parameters)),
    { step: 'initialize', name: 'polonyObserveCalls', priority: 'high' },
  );
  return client;
}

/** The IAM actions of S3 operations whose names differ (Service Authorization Reference). */
const S3_ACTIONS: Readonly<Record<string, string>> = {
  HeadObject: 'GetObject',
  HeadBucket: 'ListBucket',
  ListObjectsV2: 'ListBucket',
  GetBucketEncryption: 'GetEncryptionConfiguration',
  GetPublicAccessBlock: 'GetBucketPublicAccessBlock',
};

/** `StartRunCommand` is the action `StartRun`. */
function toAction(service: string, commandName: string): string {
  const operation = commandName.replace(/Command$/, '') || 'unknown';
  return service === 's3' ? (S3_ACTIONS[operation] ?? operation) : operation;
}

async function observe<T extends { output: unknown }>(
  action: string,
  region: ObservableClient['config']['region'],
  call: () => Promise<T>,
): Promise<T> {
  const trace = tracing();
  if (trace === undefined) return measure(action, call, () => undefined);
  const [service] = action.split(':');
  const facts = {
    'rpc.system': 'aws-api',
    'rpc.service': service!,
    'rpc.method': action.slice(service!.length + 1),
    'cloud.region': (typeof region === 'function' ? await region().catch(() => '') : region) ?? '',
  };
  return trace.traceCall(action, facts, (addFacts) =>
    measure(action, call, (outcome, { requestId, attempts, httpStatusCode }) =>
      addFacts({
        'polony.aws.outcome': outcome,
        ...(requestId !== undefined && { 'aws.request_id': requestId }),
        ...(attempts !== undefined && { 'polony.aws.attempts': attempts }),
        ...(httpStatusCode !== undefined && { 'http.response.status_code': httpStatusCode }),
      }),
    ),
  );
}

/** @param report gets the outcome: `ok`, or the kind of the error. */
async function measure<T extends { output: unknown }>(
  action: string,
  call: () => Promise<T>,
  report: (outcome: string, metadata: Metadata) => void,
): Promise<T> {
  const began = performance.now();
  const end = (outcome: string, answer: unknown): void => {
    const metadata = (answer as { $metadata?: Metadata } | undefined)?.$metadata ?? {};
    counted.awsCalls.observe({ action, outcome }, (performance.now() - began) / 1000);
    if ((metadata.attempts ?? 1) > 1) counted.awsRetries.inc({ action }, metadata.attempts! - 1);
    report(outcome, metadata);
  };
  try {
    const result = await call();
    end('ok', result.output);
    return result;
  } catch (error) {
    end(classifyAwsError(error).kind, error);
    throw error;
  }
}
