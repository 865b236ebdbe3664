import { ensureHelm } from './chart/helm.js';
import { findServerPrograms } from './cluster/goTools.js';

// npm run go-tools: builds what the longer suites need with Go, so that none of them waits for it.
const onProgress = (line: string): void => void process.stdout.write(`${line}\n`);
await findServerPrograms(onProgress);
await ensureHelm();
