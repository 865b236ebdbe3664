import { execFile, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, waitForLock, writeFileAtomically } from './stackFiles.js';

const run = promisify(execFile);
/** Milliseconds for a question to an interpreter: it takes tenths of a second, but much longer on a busy machine. */
const ANSWER_MS = 120_000;

export interface PythonOptions {
  /** Default: {@link cacheFolder}. */
  cacheDir?: string;
  /** Pinned requirements, as `name==version`. */
  packages: readonly string[];
  /**
   * The versions of the packages that they depend on, as `name==version`. Without them, an environment changes with
   * each release of another project.
   */
  constraints?: readonly string[];
  /** Called with a line about each slow step. Not called when everything is installed already. */
  onProgress?: (line: string) => void;
  /** Milliseconds for an installation, and for waiting while another process installs. Default 10 minutes. */
  timeoutMs?: number;
}

export interface PythonInstall {
  /** The interpreter that has the packages. */
  pythonBin: string;
  /** The folder of their commands. */
  binDir: string;
}

/** Python or its venv module is missing, or the installation failed. The message says what to do. */
export class PythonError extends Error {
  override readonly name = 'PythonError';
}

interface Interpreter {
  executable: string;
  /** Implementation, version and platform, which a virtual environment depends on. */
  identity: string;
}

// Runs in each candidate. The shims of pyenv and uv report the real interpreter.
const DESCRIBE = `
import json, platform, sys
try:
    import venv, ensurepip
    whole = True
except ImportError:
    whole = False
print(json.dumps({
    "executable": sys.executable, "version": list(sys.version_info[:3]), "whole": whole,
    "identity": "-".join([
        platform.python_implementation(), platform.python_version(), sys.platform, platform.machine(), sys.base_prefix,
    ]),
}))
`;

/**
 * Returns an environment of Python ≥ 3.10 with the given packages. Installs it once and keeps it in the cache folder.
 *
 * A virtual environment cannot move, because its scripts contain absolute paths. So this installs it in its final
 * place, under a lock, in a folder that no other attempt uses. A marker file, named after the interpreter and the
 * packages, points to the folder once it is complete. Therefore nobody uses an interrupted installation, and a new pin
 * gets a new environment.
 *
 * The interpreter is `POLONY_PYTHON`, else the first of `python3`, `python3.14` to `python3.10` and `python` on the
 * PATH. When the one in `POLONY_PYTHON` has the packages already, it is used unchanged. pip reads its own settings
 * (`PIP_*`, pip.conf).
 *
 * @throws PythonError when no Python fits, it has no `venv` or `pip`, or pip fails.
 */
export async function ensurePython(options: PythonOptions): Promise<PythonInstall> {
  const cacheDir = path.resolve(options.cacheDir ?? cacheFolder());
  const packages = [...options.packages].sort();
  const constraints = [...(options.constraints ?? [])].sort();
  const interpreter = await findPython();
  if (process.env.POLONY_PYTHON && (await hasPackages(interpreter.executable, packages))) {
    return { pythonBin: interpreter.executable, binDir: await scriptsFolder(interpreter.executable) };
  }
  const place = placeOf(cacheDir, interpreter, packages, constraints);
  const existing = installed(place);
  if (existing) return existing;

  const timeoutMs = options.timeoutMs ?? 600_000;
  const what = packages.join(', ');
  const release = await waitForLock(`${place.marker}.lock`, {
    timeoutMs,
    onWait: (holder) => options.onProgress?.(`Waiting for process ${holder.pid}, which installs ${what}`),
  });
  try {
    return installed(place) ?? (await install(place, interpreter, { ...options, packages, constraints, timeoutMs }));
  } finally {
    release();
  }
}

/** Installs an environment in a new folder, and points the marker to the folder when the environment is complete. */
async function install(
  place: Place,
  interpreter: Interpreter,
  {
    packages,
    constraints,
    timeoutMs,
    onProgress,
  }: PythonOptions & { constraints: readonly string[]; timeoutMs: number },
): Promise<PythonInstall> {
  const began = Date.now();
  const what = packages.join(', ');
  const home = path.join(place.folder, `${place.key}-${randomUUID().slice(0, 8)}`);
  removeInterruptedInstalls(place);
  onProgress?.(`Installing ${what} (once; kept in ${home})`);
  await runStep(
    interpreter.executable,
    ['-m', 'venv', home],
    timeoutMs,
    `${interpreter.executable} could not create a virtual environment`,
  );
  const environment = installAt(home);
  const pins = path.join(home, 'constraints.txt');
  writeFileSync(pins, constraints.map((pin) => `${pin}\n`).join(''));
  await runStep(
    environment.pythonBin,
    [
      ...['-m', 'pip', 'install', '--no-input', '--disable-pip-version-check', '--progress-bar', 'off'],
      ...['--constraint', pins, ...packages],
    ],
    timeoutMs,
    `pip could not install ${what}. Check that pip reaches a package index; it reads its own settings ` +
      `(PIP_INDEX_URL, PIP_FIND_LINKS, PIP_PROXY, pip.conf). Or install the packages yourself and set ` +
      `POLONY_PYTHON to that Python: then nothing is downloaded`,
    onProgress,
  );
  writeFileAtomically(
    place.marker,
    JSON.stringify({ home: path.basename(home), packages, interpreter: interpreter.identity }),
  );
  onProgress?.(`Installed ${what} in ${((Date.now() - began) / 1000).toFixed(1)} s`);
  return environment;
}

function removeInterruptedInstalls({ folder, key }: Place): void {
  for (const name of readdirSync(folder)) {
    if (name.startsWith(`${key}-`)) rmSync(path.join(folder, name), { recursive: true, force: true });
  }
}

/** Like {@link ensurePython}, but installs nothing. @returns undefined when the environment is not installed. */
export async function findInstalledPython(
  options: Pick<PythonOptions, 'cacheDir' | 'packages' | 'constraints'>,
): Promise<PythonInstall | undefined> {
  try {
    const packages = [...options.packages].sort();
    return installed(
      placeOf(
        path.resolve(options.cacheDir ?? cacheFolder()),
        await findPython(),
        packages,
        [...(options.constraints ?? [])].sort(),
      ),
    );
  } catch (error) {
    if (error instanceof PythonError) return undefined;
    throw error;
  }
}

interface Place {
  folder: string;
  key: string;
  marker: string;
}

function placeOf(
  cacheDir: string,
  interpreter: Interpreter,
  packages: readonly string[],
  constraints: readonly string[],
): Place {
  // The scripts of the environment contain the path of the cache folder, so the path is part of the key.
  const key = createHash('sha256')
    .update(JSON.stringify([interpreter.identity, cacheDir, packages, constraints]))
    .digest('hex')
    .slice(0, 16);
  const folder = path.join(cacheDir, 'python');
  mkdirSync(folder, { recursive: true });
  return { folder, key, marker: path.join(folder, `${key}.json`) };
}

function installAt(home: string): PythonInstall {
  const windows = process.platform === 'win32';
  const binDir = path.join(home, windows ? 'Scripts' : 'bin');
  return { binDir, pythonBin: path.join(binDir, windows ? 'python.exe' : 'python') };
}

function installed(place: Place): PythonInstall | undefined {
  try {
    const { home } = JSON.parse(readFileSync(place.marker, 'utf8')) as { home: string };
    const install = installAt(path.join(place.folder, home));
    // existsSync follows the link to the interpreter, which an upgrade of Python may have removed.
    return existsSync(install.pythonBin) ? install : undefined;
  } catch {
    return undefined;
  }
}

let found: Promise<Interpreter> | undefined;
let foundFor: string | undefined;

/** Finds the interpreter once: it does not change while we run, and to start five candidates is slow. */
function findPython(): Promise<Interpreter> {
  const wanted = `${process.env.POLONY_PYTHON ?? ''}|${process.env.PATH ?? ''}`;
  if (!found || foundFor !== wanted) {
    foundFor = wanted;
    found = searchPython();
    // Keep only a success: the user may install Python while we run.
    found.catch(() => (foundFor = undefined));
  }
  return found;
}

async function searchPython(): Promise<Interpreter> {
  const named = process.env.POLONY_PYTHON;
  const candidates = named
    ? [named]
    : ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python'];
  const refused: string[] = [];
  for (const candidate of candidates) {
    try {
      const { stdout } = await run(candidate, ['-c', DESCRIBE], { timeout: ANSWER_MS });
      const answer = JSON.parse(stdout) as {
        executable: string;
        version: [number, number, number];
        whole: boolean;
        identity: string;
      };
      const [major, minor] = answer.version;
      if (major !== 3 || minor < 10) refused.push(`${candidate} is ${answer.version.join('.')}`);
      else if (!answer.whole)
        refused.push(
          `${candidate} (${answer.version.join('.')}) has no venv or ensurepip module ` +
            '(on Debian and Ubuntu: apt-get install python3-venv)',
        );
      else return { executable: answer.executable, identity: answer.identity };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      refused.push(
        `${candidate} failed: ${lastLine((error as { stderr?: string }).stderr) || (error as Error).message}`,
      );
    }
  }
  const missing = named ? `${named} does not exist.` : 'The PATH has none.';
  throw new PythonError(
    `The local stack needs Python 3.10 or later with venv and pip. ` +
      `${refused.length > 0 ? `Found: ${refused.join('; ')}.` : missing} ` +
      'Install Python, or set POLONY_PYTHON to an interpreter.',
  );
}

async function hasPackages(python: string, packages: readonly string[]): Promise<boolean> {
  const code =
    'import sys, importlib.metadata as m\n' +
    'for pin in sys.argv[1:]:\n  name, version = pin.split("==")\n  assert m.version(name) == version';
  try {
    await run(python, ['-c', code, ...packages], { timeout: ANSWER_MS });
    return true;
  } catch {
    return false;
  }
}

async function scriptsFolder(python: string): Promise<string> {
  const { stdout } = await run(python, ['-c', 'import sysconfig; print(sysconfig.get_path("scripts"))'], {
    timeout: ANSWER_MS,
  });
  return stdout.trim();
}

/** Runs one step of an installation. Its downloads go to `onLine`; its output goes into the error when it fails. */
async function runStep(
  command: string,
  args: readonly string[],
  timeoutMs: number,
  failure: string,
  onLine?: (line: string) => void,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    // Not detached: Ctrl-C in the terminal must stop an installation too.
    const child = spawn(command, [...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PYTHONUNBUFFERED: '1' },
    });
    let output = '';
    let timedOut = false;
    const take = (chunk: Buffer): void => {
      const text = chunk.toString('utf8');
      output = (output + text).slice(-8192);
      for (const line of text.split('\n')) if (/^Downloading .* MB\)/.test(line.trim())) onLine?.(`  ${line.trim()}`);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(new PythonError(`${failure}: ${error.message}`, { cause: error }));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve();
      const how = timedOut ? `it did not end after ${timeoutMs / 1000} s` : `it ended with ${signal ?? `code ${code}`}`;
      reject(new PythonError(`${failure}: ${how}.\n${output.trim().replace(/^/gm, '  | ')}`));
    });
  });
}

function lastLine(text: string | undefined): string {
  return text?.trim().split('\n').at(-1) ?? '';
}
