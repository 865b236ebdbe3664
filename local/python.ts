import { execFile, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, waitForLock, writeFileAtomically } from './stackFiles.js';

const run = promisify(execFile);

export interface PythonOptions {
  /** Default: {@link cacheFolder}. */
  cacheDir?: string;
  /** Pinned requirements, as `name==version`. */
  packages: readonly string[];
  /** The versions of what they draw in, as `name==version`: without them an environment changes with each release of another project. */
  constraints?: readonly string[];
  /** Told in a line what takes time. Not called when everything is there already. */
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

/** Python, its venv module, or the installation of packages is missing or failed; the message says what to do. */
export class PythonError extends Error {
  override readonly name = 'PythonError';
}

interface Interpreter {
  executable: string;
  /** Implementation, version and platform: what a virtual environment depends on. */
  identity: string;
}

// Asked of each candidate: pyenv's and uv's stand-ins answer with the real interpreter behind them.
const DESCRIBE = `
import json, platform, sys
try:
    import venv, ensurepip
    whole = True
except ImportError:
    whole = False
print(json.dumps({
    "executable": sys.executable, "version": list(sys.version_info[:3]), "whole": whole,
    "identity": "-".join([platform.python_implementation(), platform.python_version(), sys.platform, platform.machine(), sys.base_prefix]),
}))
`;

/**
 * An environment of Python ≥ 3.10 with the given packages, made once and kept in the cache folder.
 *
 * It is made in its final place, because a virtual environment cannot be moved (its scripts hold absolute paths), under a lock,
 * in a folder that no other attempt uses; only when all is in it does a marker file, named by the interpreter and the packages,
 * point to it. So an interrupted installation leaves nothing that could be taken for whole, and a new pin makes a new one.
 *
 * The interpreter is `POLONY_PYTHON`, else `python3`, `python3.14` down to `python3.10`, `python` of the PATH. When the one named
 * by `POLONY_PYTHON` has the packages already, it is used as it is. pip's own settings (`PIP_*`, pip.conf) hold as always.
 *
 * Throws {@link PythonError} when there is no fitting Python, it lacks `venv` or `pip`, or pip fails.
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
  const there = installed(place);
  if (there) return there;

  const timeoutMs = options.timeoutMs ?? 600_000;
  const what = packages.join(', ');
  const release = await waitForLock(`${place.marker}.lock`, {
    timeoutMs,
    onWait: (holder) => options.onProgress?.(`Waiting for process ${holder.pid}, which installs ${what}`),
  });
  try {
    const madeMeanwhile = installed(place);
    if (madeMeanwhile) return madeMeanwhile;
    const began = Date.now();
    const home = path.join(place.folder, `${place.key}-${randomUUID().slice(0, 8)}`);
    for (const name of readdirSync(place.folder)) {
      if (name.startsWith(`${place.key}-`)) rmSync(path.join(place.folder, name), { recursive: true, force: true });
    }
    options.onProgress?.(`Installing ${what} (once; kept in ${home})`);
    await step(
      interpreter.executable,
      ['-m', 'venv', home],
      timeoutMs,
      `Making a virtual environment with ${interpreter.executable} failed`,
    );
    const install = installAt(home);
    const pins = path.join(home, 'constraints.txt');
    writeFileSync(pins, constraints.map((pin) => `${pin}\n`).join(''));
    await step(
      install.pythonBin,
      [
        '-m',
        'pip',
        'install',
        '--no-input',
        '--disable-pip-version-check',
        '--progress-bar',
        'off',
        '--constraint',
        pins,
        ...packages,
      ],
      timeoutMs,
      `pip could not install ${what}. pip's own settings are used (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_PROXY, pip.conf): check that it ` +
        `reaches a package index. Or install the packages in a Python of your own and name it with POLONY_PYTHON: then nothing is fetched`,
      options.onProgress,
    );
    writeFileAtomically(
      place.marker,
      JSON.stringify({ home: path.basename(home), packages, interpreter: interpreter.identity }),
    );
    options.onProgress?.(`Installed ${what} in ${((Date.now() - began) / 1000).toFixed(1)} s`);
    return install;
  } finally {
    release();
  }
}

/** What {@link ensurePython} would give if it is there already; `undefined` when it would have to be installed. */
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
  // The cache folder's path is in the key since the environment's scripts hold it: a cache that was moved is not used.
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
    // existsSync follows the link to the interpreter, which an upgrade of Python may have taken away.
    return existsSync(install.pythonBin) ? install : undefined;
  } catch {
    return undefined;
  }
}

let found: Promise<Interpreter> | undefined;
let foundFor: string | undefined;

/** The interpreter does not change while we run, and starting five candidates to ask takes a while. */
function findPython(): Promise<Interpreter> {
  const wanted = `${process.env.POLONY_PYTHON ?? ''}|${process.env.PATH ?? ''}`;
  if (!found || foundFor !== wanted) {
    foundFor = wanted;
    found = searchPython();
    // What lacks may be installed while we run: only a success is remembered.
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
      const { stdout } = await run(candidate, ['-c', DESCRIBE], { timeout: 20_000 });
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
          `${candidate} (${answer.version.join('.')}) lacks its venv or ensurepip module (on Debian and Ubuntu: apt-get install python3-venv)`,
        );
      else return { executable: answer.executable, identity: answer.identity };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      refused.push(
        `${candidate} did not answer: ${firstLine((error as { stderr?: string }).stderr) || (error as Error).message}`,
      );
    }
  }
  throw new PythonError(
    `The local stack needs Python 3.10 or later with venv and pip. ${refused.length ? `Found: ${refused.join('; ')}.` : named ? `${named} does not exist.` : 'None was found on the PATH.'} ` +
      'Install one, or name it with POLONY_PYTHON.',
  );
}

async function hasPackages(python: string, packages: readonly string[]): Promise<boolean> {
  const code =
    'import sys, importlib.metadata as m\nfor pin in sys.argv[1:]:\n  name, version = pin.split("==")\n  assert m.version(name) == version';
  try {
    await run(python, ['-c', code, ...packages], { timeout: 20_000 });
    return true;
  } catch {
    return false;
  }
}

async function scriptsFolder(python: string): Promise<string> {
  const { stdout } = await run(python, ['-c', 'import sysconfig; print(sysconfig.get_path("scripts"))'], {
    timeout: 20_000,
  });
  return stdout.trim();
}

/** Runs one step of an installation; what it prints goes to `onLine` and, when it fails, into the error. */
async function step(
  command: string,
  args: readonly string[],
  timeoutMs: number,
  failure: string,
  onLine?: (line: string) => void,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    // Not detached: a Ctrl-C in the terminal is meant for an installation too.
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
      const how = timedOut ? `no end after ${timeoutMs / 1000} s` : `it ended with ${signal ?? `code ${code}`}`;
      reject(new PythonError(`${failure}: ${how}.\n${output.trim().replace(/^/gm, '  | ')}`));
    });
  });
}

function firstLine(text: string | undefined): string {
  return text?.trim().split('\n').at(-1) ?? '';
}
