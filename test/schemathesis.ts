import { spawn } from 'node:child_process';
import { ensurePython } from '../local/python.js';
import { PYTHON } from '../local/pythonPackages.js';

/** What schemathesis has found. */
export interface Fuzzed {
  /** Whether it found nothing. */
  passed: boolean;
  /** What it has printed. */
  report: string;
}

/**
 * Runs schemathesis over a whole API by its OpenAPI document: all phases (examples, coverage, fuzzing, stateful), inputs that fit the document
 * and inputs that do not.
 * @param seconds how long fuzzing and stateful testing go on in all
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
  seed?: number;
}): Promise<Fuzzed> {
  const { binDir } = await ensurePython(PYTHON.schemathesis);
  const child = spawn(
    `${binDir}/schemathesis`,
    [
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
      // A stream does not end: test/stack/executions-feed.test.ts has it. Without the key all is refused: ignored_auth holds that.
      '--exclude-operation-id',
      'ExecutionService_WatchExecution',
      '--checks',
      'not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,negative_data_rejection,missing_required_header,unsupported_method,use_after_free,ensure_resource_availability,ignored_auth',
      '--request-timeout',
      '30',
      '--warnings',
      'off',
      '--generation-database',
      'none',
      ...(seed === undefined ? [] : ['--seed', String(seed)]),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let report = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (report += chunk));
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('exit', resolve));
  return { passed: code === 0, report };
}
