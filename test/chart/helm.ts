import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, waitForLock } from '../../local/stackFiles.js';

const run = promisify(execFile);

/** Helm's module and version. It is built where no Helm is installed. */
const HELM = { module: 'helm.sh/helm/v3/cmd/helm', version: 'v3.22.0' };

/** A Helm that was built from its module claims the oldest version of Kubernetes that it knows. */
const KUBERNETES = '1.31.0';

/**
 * Returns the path of Helm 3: the one on the PATH, else one that `go install` builds once into the cache folder, which
 * takes some minutes.
 * @throws Error where neither Helm nor Go is installed.
 */
export async function ensureHelm(): Promise<string> {
  const installed = await run('helm', ['version', '--short']).then(
    ({ stdout }) => stdout,
    () => '',
  );
  if (/^v3\.(1[4-9]|[2-9]\d)\./.test(installed)) return 'helm';
  const folder = path.join(cacheFolder(), 'go', `helm-${HELM.version}`);
  const helm = path.join(folder, 'helm');
  if (existsSync(helm)) return helm;
  mkdirSync(folder, { recursive: true });
  const release = await waitForLock(path.join(folder, 'build.lock'), { timeoutMs: 1_800_000 });
  try {
    // Go moves the binary to its place when it is complete.
    if (!existsSync(helm))
      await run('go', ['install', `${HELM.module}@${HELM.version}`], { env: { ...process.env, GOBIN: folder } });
  } catch (error) {
    throw new Error('The tests of the chart need Helm 3.14 or later, or Go to build it. Install one of them.', {
      cause: error,
    });
  } finally {
    release();
  }
  return helm;
}

/** What a Helm command printed, and whether it succeeded. */
export interface HelmResult {
  isOk: boolean;
  output: string;
  errors: string;
}

/** Runs `helm template` or `helm lint`. @param values `--set` and `-f` flags. */
export async function runHelm(
  helm: string,
  command: 'template' | 'lint',
  chart: string,
  values: readonly string[],
): Promise<HelmResult> {
  const name = command === 'template' ? ['lab'] : [];
  const flags = command === 'template' ? ['--namespace', 'sequencing'] : ['--strict'];
  const args = [command, ...name, chart, '--kube-version', KUBERNETES, ...flags, ...values];
  try {
    const { stdout, stderr } = await run(helm, args, { maxBuffer: 1 << 26 });
    return { isOk: true, output: stdout, errors: stderr };
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    if (stdout === undefined || stderr === undefined) throw error;
    return { isOk: false, output: stdout, errors: stderr };
  }
}
