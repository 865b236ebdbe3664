import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { cacheFolder } from '../../local/stackFiles.js';
import { waitFor } from '../support.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const page = readFileSync(path.join(root, 'docs/tutorial/local.md'), 'utf8');

/** A command of the page, and the output that the page prints after its block. */
interface Step {
  command: string;
  /** Undefined where the page prints none. */
  output: string | undefined;
}

/** The commands of the page in their order. A command may continue on the next line after a backslash. */
function stepsOf(text: string): Step[] {
  const blocks = [...text.matchAll(/^```(\w+)\n(.*?)^```/gms)].map(([, language, content]) => ({
    language,
    content: content!,
  }));
  return blocks.flatMap(({ language, content }, at) => {
    if (language !== 'sh') return [];
    const commands = content.replaceAll('\\\n', ' ').trim().split('\n');
    const next = blocks[at + 1];
    const output = next?.language === 'text' ? next.content : undefined;
    return commands.map((command, each) => ({
      command,
      output: each === commands.length - 1 ? output : undefined,
    }));
  });
}

/** What differs on each machine, and what a command may print in its place. The first that matches counts. */
const VARIABLE = new RegExp(
  [
    '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}',
    '\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z',
    'polony_[0-9a-f]+',
    'polony:[0-9a-f]+@',
    '127\\.0\\.0\\.1:\\d+',
    '(?<=[ (])\\/home\\/ada\\S*',
    '^\\/home\\/ada\\S*',
    '\\d+(?= bytes)',
  ].join('|'),
  'g',
);

const quote = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** A pattern for a line of the page: white space may differ, and `…` stands for anything. */
function patternOf(line: string): string {
  const quoted = (text: string): string => quote(text).replace(/ +/g, ' +').replaceAll('…', '.*');
  let pattern = '';
  let end = 0;
  for (const found of line.matchAll(VARIABLE)) {
    pattern += `${quoted(line.slice(end, found.index))}\\S+?`;
    end = found.index + found[0].length;
  }
  return pattern + quoted(line.slice(end));
}

/** A pattern for an output of the page. A line with `…` alone stands for any lines. */
function outputPattern(output: string): RegExp {
  const lines = output.trimEnd().split('\n');
  const patterns = lines.map((line) => (line === '…' ? '(?:.*\\n)*?' : `${patternOf(line)} *\\n`));
  return new RegExp(`^${patterns.join('')}$`);
}

const folder = mkdtempSync(path.join(tmpdir(), 'polony-tutorial-'));
const clone = path.join(folder, 'polony');
const prefix = path.join(folder, 'prefix');
const children: ChildProcess[] = [];
let environment: NodeJS.ProcessEnv;

/** What the npm that runs the tests, and other tests, set. Certificates and proxies of the machine are not among it. */
const OF_TESTS = /^(npm_|TEMPORAL_|AWS_|VITEST|POLONY_|XDG_|NODE_(OPTIONS|PATH|ENV|V8_COVERAGE)$)/i;

/** The environment of a person who has just cloned the repository. */
function personsEnvironment(): NodeJS.ProcessEnv {
  const configured = (name: string): string =>
    execFileSync('npm', ['config', 'get', name], { encoding: 'utf8', cwd: tmpdir() }).trim();
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter((each) => !each.includes('node_modules'));
  return {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !OF_TESTS.test(name))),
    HOME: path.join(folder, 'home'),
    // An earlier start on this machine has installed Temporal and the local AWS. The demo in .ci/run does so.
    POLONY_CACHE: cacheFolder(),
    // What `npm config set prefix` does for a person.
    npm_config_prefix: prefix,
    // The machine may need another registry. Its downloads are shared, to be polite to the registry.
    npm_config_userconfig: configured('userconfig'),
    npm_config_cache: configured('cache'),
    PATH: [path.join(prefix, 'bin'), ...folders].join(path.delimiter),
  };
}

interface Running {
  child: ChildProcess;
  output: () => string;
  /** Everything, for a message. */
  all: () => string;
  exited: Promise<number | null>;
}

function start(command: string): Running {
  const child = spawn('/bin/sh', ['-c', `exec ${command}`], {
    cwd: clone,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let [output, all] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (all += chunk.toString()));
  return {
    child,
    output: () => output,
    all: () => all,
    exited: new Promise((resolve) => child.once('close', resolve)),
  };
}

/** Copies what a clone of this tree would have. */
function cloneTree(): void {
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root })
    .toString()
    .split('\0')
    // A link to a folder, such as a shared node_modules, would be followed by what the tutorial does in the clone.
    .filter((file) => file !== '' && lstatSync(path.join(root, file), { throwIfNoEntry: false })?.isFile() === true);
  for (const file of files) {
    mkdirSync(path.dirname(path.join(clone, file)), { recursive: true });
    cpSync(path.join(root, file), path.join(clone, file));
  }
  mkdirSync(path.join(folder, 'home'));
  environment = personsEnvironment();
}

afterAll(async () => {
  for (const child of children)
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGINT');
      await new Promise((resolve) => child.once('exit', resolve));
    }
  rmSync(folder, { recursive: true, force: true });
});

describe('the tutorial', () => {
  const steps = stepsOf(page);

  it('has at most 17 commands, which use the installed polony', () => {
    expect(steps.length).toBeLessThanOrEqual(17);
    expect(steps.slice(0, 3).map(({ command }) => command.split(' ').slice(0, 2).join(' '))).toEqual([
      'npm ci',
      'npm pack',
      'npm install',
    ]);
    expect(steps.slice(3).filter(({ command }) => !command.startsWith('polony '))).toEqual([]);
  });

  it('ends with a finished run if you follow it literally in a clean clone', { timeout: 1_800_000 }, async () => {
    cloneTree();
    let stack: Running | undefined;
    for (const { command, output } of steps) {
      const running = start(command);
      if (command === 'polony local') {
        stack = running;
        const isUp = (): boolean => running.output().includes('Press Ctrl-C') || running.child.exitCode !== null;
        await waitFor('the stack to start', isUp, running.all);
        expect([running.child.exitCode, running.child.exitCode === null ? '' : running.all()]).toEqual([null, '']);
      } else {
        const code = await running.exited;
        expect([command, code, code === 0 ? '' : running.all()]).toEqual([command, 0, '']);
      }
      if (output !== undefined) expect(`${command}\n${running.output()}`).toMatch(withCommand(command, output));
    }
    const results = readdirSync(path.join(clone, 'results'), { recursive: true, encoding: 'utf8' });
    expect(results.filter((name) => name.endsWith('.fastq.gz')).length).toBeGreaterThan(0);
    await tryOtherVersions();
    stack!.child.kill('SIGINT');
    expect([await stack!.exited, stack!.output()]).toEqual([0, expect.stringContaining('\nStopping…\n')]);
  });
});

/** The pattern of an output after its command, so that a failure shows both. */
function withCommand(command: string, output: string): RegExp {
  return new RegExp(outputPattern(output).source.replace(/^\^/, `^${quote(command)}\\n`));
}

/** Runs the installed polony on other versions of Node.js, from another folder, with the stack that runs. */
async function tryOtherVersions(): Promise<void> {
  const bin = path.join(prefix, 'bin/polony');
  const elsewhere = path.join(folder, 'home');
  for (const version of [20, 22, 24]) {
    const node = `npm exec --yes --package=node@${version} -- node`;
    const running = start(
      `sh -c 'cd ${elsewhere} && ${node} --version && ${node} ${bin} executions list && ${node} ${bin} iam --bucket lab-aviti --format policy'`,
    );
    const code = await running.exited;
    expect([version, code, running.all()]).toEqual([version, 0, expect.stringContaining(`v${version}.`)]);
    expect(running.output()).toMatch(/b2f NA12878 +COMPLETED[\s\S]*"Version": "2012-10-17"/);
  }
}
