import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { cacheFolder } from '../local/stackFiles.js';

/** Programs of Prometheus. `prometheus` itself is absent where only promtool could be had. */
export interface PrometheusTools {
  promtool: string;
  prometheus?: string;
}

/** The version of the Go module that is built where there is no Debian package. */
const GO_MODULE_VERSION = 'v0.316.0';

/**
 * Finds promtool: on the PATH, in the cache, in Debian's package `prometheus` (nothing is installed), or built from the
 * Go module.
 * @param mayBuild whether to build it, which takes minutes
 * @returns undefined with the reasons on `report` where it cannot be had
 */
export function findPrometheus(report: (line: string) => void, mayBuild = false): PrometheusTools | undefined {
  if (runs('promtool')) return { promtool: 'promtool', ...(runs('prometheus') && { prometheus: 'prometheus' }) };
  const folder = path.join(cacheFolder(), 'prometheus');
  const tools = { promtool: path.join(folder, 'promtool'), prometheus: path.join(folder, 'prometheus') };
  if (existsSync(tools.promtool)) return existsSync(tools.prometheus) ? tools : { promtool: tools.promtool };
  if (unpackDebianPackage(folder, report)) return tools;
  if (mayBuild && buildGoModule(folder, report)) return { promtool: tools.promtool };
  return undefined;
}

function runs(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;
}

function unpackDebianPackage(folder: string, report: (line: string) => void): boolean {
  mkdirSync(cacheFolder(), { recursive: true });
  const draft = mkdtempSync(path.join(cacheFolder(), 'prometheus-'));
  const run = (program: string, ...parameters: string[]): void =>
    void execFileSync(program, parameters, { cwd: draft, stdio: 'pipe', timeout: 300_000 });
  try {
    try {
      run('apt-get', 'download', 'prometheus');
    } catch {
      // The lists of packages may be missing or old.
      run('apt-get', 'update', '-qq');
      run('apt-get', 'download', 'prometheus');
    }
    const file = readdirSync(draft).find((name) => name.endsWith('.deb'));
    run('dpkg-deb', '-x', file ?? '', 'content');
    const programs = path.join(draft, 'content/usr/bin');
    execFileSync(path.join(programs, 'promtool'), ['--version'], { stdio: 'ignore' });
    if (!existsSync(folder)) renameSync(programs, folder);
    return true;
  } catch (error) {
    report(`Debian's package prometheus cannot be used: ${firstLine(error)}`);
    return false;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

function buildGoModule(folder: string, report: (line: string) => void): boolean {
  try {
    execFileSync('go', ['install', `github.com/prometheus/prometheus/cmd/promtool@${GO_MODULE_VERSION}`], {
      env: { ...process.env, GOBIN: folder },
      stdio: 'pipe',
      timeout: 1_800_000,
    });
    return true;
  } catch (error) {
    report(`promtool cannot be built from the Go module: ${firstLine(error)}`);
    return false;
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}
