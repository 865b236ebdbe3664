import { parseArgs } from 'node:util';
import path from 'node:path';
import { buildOnce } from '../../local/sourceBuild.js';
import { canMakeCertificates } from '../certificates.js';
import { runCluster } from './cluster.js';
import { findServerPrograms } from './goTools.js';

// The AWS SDK warns about Node.js 20, which polony supports.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

// npm run test:cluster -- --executions N; the last line is the report as JSON.
const { values } = parseArgs({ options: { executions: { type: 'string', default: '200' } } });
const executions = Number(values.executions);
if (!Number.isInteger(executions) || executions < 1) throw new Error('--executions must be a whole number above 0');
const onProgress = (line: string): void => void process.stdout.write(`${line.trimEnd()}\n`);
const programs = await findServerPrograms(onProgress);
if (programs === undefined) throw new Error('Building the Temporal server needs Go: install it, and try again');
if (!canMakeCertificates) throw new Error('The certificates of the test need OpenSSL 3: install it, and try again');
const cliFile = path.join(await buildOnce(), 'cli/main.js');
const report = await runCluster({ executions, programs, cliFile, onProgress });
process.stdout.write(`${JSON.stringify(report)}\n`);
const { duplicates, lost, leftRunning, wrongState, readablePayloads, oldVersionEnded } = report;
process.exit(duplicates + lost + leftRunning + wrongState + readablePayloads === 0 && oldVersionEnded ? 0 : 1);
