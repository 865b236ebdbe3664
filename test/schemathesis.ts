import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ensurePython } from '../local/python.js';
import { PYTHON } from '../local/pythonPackages.js';

/** The statuses that count as a rejection of invalid input. */
const CONFIG = fileURLToPath(new URL('schemathesis/schemathesis.toml', import.meta.url));

/** The checks that schemathesis makes on every answer. */
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_schema_conformance',
  'response_headers_conformance',
  'negative_data_rejection',
  'missing_required_header',
  'unsupported_method',
  'use_after_free',
  'ensure_resource_availability',
  'ignored_auth',
];

/** The result of a schemathesis run. */
export interface Fuzzed {
  /** Whether it found no failure. */
  passed: boolean;
  /** Its output. */
  report: string;
}

/**
 * Runs schemathesis over a whole API, guided by its OpenAPI document. It runs all phases (examples, coverage, fuzzing,
 * stateful) with valid and invalid input.
 * @param seconds the total duration of fuzzing and stateful testing
 * @param seed a whole number, as text: schemathesis prints seeds that are too large for a JavaScript number
 */
export async function schemathesis({
  url,
  key,
  seconds,
  seed,
}: {
  url: string;
  key: string;
  seconds: number;
  seed: string;
}): Promise<Fuzzed> {
  const { binDir } = await ensurePython(PYTHON.schemathesis);
  const child = spawn(
    `${binDir}/schemathesis`,
    [
      '--config-file',
      CONFIG,
      'run',
      `${url}/openapi.json`,
      '--url',
      url,
      '--header',
      `x-api-key: ${key}`,
      '--phases',
      'examples,coverage,fuzzing,stateful',
      '--mode',
      'all',
      '--max-time',
      String(seconds),
      '--workers',
      '1',
      '--continue-on-failure',
      '--no-color',
      // A stream does not end; test/stack/executions-feed.test.ts tests it.
      // ignored_auth checks that the API rejects requests without the key.
      '--exclude-operation-id',
      'ExecutionService_WatchExecution',
      '--exclude-operation-id',
      'ChangeService_WatchChanges',
      // Redirect browsers to a page of the console, which this API does not serve; auth-sessions.test.ts tests them.
      '--exclude-operation-id',
      'SessionService_StartOidcSignIn',
      '--exclude-operation-id',
      'SessionService_FinishOidcSignIn',
      '--checks',
      CHECKS.join(','),
      '--request-timeout',
      '30',
      '--warnings',
      'off',
      '--generation-database',
      'none',
      '--seed',
      seed,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let report = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (report += chunk));
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('exit', resolve));
  return { passed: code === 0, report };
}
