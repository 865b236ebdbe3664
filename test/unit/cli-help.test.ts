import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { addClient } from '../../cli/client/index.js';
import { COMMANDS, operations } from '../../cli/client/operations.js';
import { defineIam } from '../../cli/iamCommand.js';
import { addLocalCommands } from '../../cli/localCommands.js';
import { SETTING_GROUPS } from '../../cli/settings/schema.js';

const program = new Command('polony');
/** All commands by their names, such as `executions start`. */
const commands = new Map<string, Command>();

function collect(command: Command, name: string): void {
  if (command.commands.length === 0 || name === 'local fault') commands.set(name, command);
  // The completion of shells belongs to a library.
  for (const each of command.commands)
    if (each.name() !== 'complete') collect(each, name === '' ? each.name() : `${name} ${each.name()}`);
}
const helpOf = (name: string): string => {
  let help = '';
  commands.get(name)!.configureOutput({ writeOut: (text) => (help += text) });
  commands.get(name)!.outputHelp();
  return help.replace(/\s+/g, ' ');
};

beforeAll(async () => {
  addLocalCommands(program);
  defineIam(program.command('iam'));
  await addClient(program);
  collect(program, '');
});

describe('the help', () => {
  it('explains every command, argument and flag', () => {
    const unexplained = [...commands].flatMap(([name, command]) => [
      ...(command.description() === '' ? [name] : []),
      ...command.registeredArguments
        .filter(({ description }) => description === '')
        .map((argument) => `${name} <${argument.name()}>`),
      ...command.options.filter(({ description }) => description.trim() === '').map(({ flags }) => `${name} ${flags}`),
    ]);
    expect(unexplained).toEqual([]);
    expect(commands.size).toBeGreaterThan(60);
  });
  it('marks every required flag', () => {
    const unmarked = [...operations().values()].flatMap(({ operationId, body, parameters }) => {
      const settings = COMMANDS[operationId];
      if (settings === undefined) return [];
      const name = `${settings.group} ${settings.verb}`;
      const required = [
        ...(body?.required ?? []),
        ...parameters.filter((each) => each.in === 'query' && each.required === true).map((each) => each.name),
      ];
      const marked = commands.get(name)!.options.filter(({ description }) => /\(required/.test(description));
      return marked.length >= required.length ? [] : [name];
    });
    expect(unmarked).toEqual([]);
    for (const [name, command] of commands)
      for (const { mandatory, description, flags } of command.options)
        expect([name, flags, mandatory && !description.includes('(required)')]).toEqual([name, flags, false]);
  });
  it('says of a change that other fields stay, and no default of a new resource', () => {
    for (const [name, command] of commands) {
      if (!name.endsWith(' update')) continue;
      for (const { description, flags } of command.options)
        expect([name, flags, description.includes('The default is')]).toEqual([name, flags, false]);
    }
    expect(helpOf('flows update')).toContain('unchanged without this flag');
    expect(helpOf('flows create')).toContain('The default is false');
  });
  it('names flags, not fields of the API', () => {
    const help = helpOf('executions start');
    expect(help).toContain('Instead of --run-id');
    expect(help).not.toMatch(/\brunId\b/);
  });
  it('has one verb to show a resource', () => {
    expect([...commands.keys()].filter((name) => name.endsWith(' show'))).toEqual([]);
    for (const group of ['storage', 'runs', 'executions']) expect(commands.has(`${group} get`)).toBe(true);
  });
  it('has one command for the documents that an account needs', () => {
    expect(commands.has('iam')).toBe(true);
    expect([...commands.keys()].filter((name) => name.startsWith('policies '))).toEqual(['policies check']);
  });
});

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Commands whose input is settings. */
const PROCESSES = new Set(['api', 'worker', 'codec', 'promote', 'migrate', 'reencrypt', 'reconcile', 'doctor']);

/** Variables of the pages' own commands, and of Docker Compose. */
const OWN_VARIABLES = new Set(['TEMPORAL_DATABASE_URL', 'TEMPORAL_VISIBILITY_DATABASE_URL', 'POLONY_MEMORY']);

/** The commands of polony in the code blocks of a page, each on one line. */
function examplesOf(page: string): string[] {
  const blocks = [...readFileSync(path.join(root, page), 'utf8').matchAll(/^ *```sh\n(.*?)^ *```/gms)];
  const lines = blocks.flatMap(([, block]) => block!.replaceAll(/\\\n */g, ' ').split('\n'));
  // Variables may stand before the command, and it may be the body of a loop.
  return lines.flatMap((line) => /(?:^(?:do )?(?:[A-Z_]+=\S+ )*|[|(] *)(polony [^|;)#]*)/.exec(line.trim())?.[1] ?? []);
}

/** What an example has that the command line does not. */
function whyWrong(example: string): string | undefined {
  const words = example
    .replace(/'[^']*'|"[^"]*"/g, 'text')
    .split(/\s+/)
    .slice(1);
  if (PROCESSES.has(words[0]!) || words[0] === 'complete') return undefined;
  let command = program;
  while (words.length > 0) {
    const next = command.commands.find((each) => each.name() === words[0]);
    if (next === undefined) break;
    command = next;
    words.shift();
  }
  if (command.commands.length > 0 && command.registeredArguments.length === 0 && !words[0]?.startsWith('-'))
    if (command.name() !== 'local' || words.length > 0) return `${example}: there is no such command`;
  // What follows is the command that polony runs.
  if (command.name() === 'exec') return undefined;
  const known = new Set(command.options.flatMap(({ long, short }) => [long, short]));
  const flags = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.split('=')[0]!);
  const unknown = flags.filter((flag) => !known.has(flag) && flag !== '--help');
  return unknown.length === 0 ? undefined : `${example}: there is no ${unknown.join(', ')}`;
}

/** The commands of polony that a page names in its text. */
function commandsInText(page: string): string[] {
  const prose = readFileSync(path.join(root, page), 'utf8').replace(/^ *```.*?^ *```/gms, '');
  return [...prose.matchAll(/`(?:[A-Z_]+=\S+ )*(polony (?!cannot)[a-z][^`]*)`/g)].map(([, command]) => command!);
}

describe('the operations guide', () => {
  const pages = readdirSync(path.join(root, 'docs/operations')).map((page) => `docs/operations/${page}`);

  it('names commands and flags that exist, also in its text', () => {
    expect(
      pages
        .flatMap(commandsInText)
        .map(whyWrong)
        .filter((each) => each !== undefined),
    ).toEqual([]);
    expect(pages.flatMap(commandsInText).length).toBeGreaterThan(20);
  });

  it('names settings that exist', () => {
    const settings = new Set(SETTING_GROUPS.flatMap(({ settings: group }) => Object.keys(group)));
    const unknown = pages.flatMap((page) =>
      [...readFileSync(path.join(root, page), 'utf8').matchAll(/\b(?:POLONY|TEMPORAL)_[A-Z_]*[A-Z]\b/g)]
        .map(([name]) => name)
        .filter((name) => !settings.has(name) && !OWN_VARIABLES.has(name))
        .map((name) => `${page}: ${name}`),
    );
    expect(unknown).toEqual([]);
  });
});

describe('the examples of the documentation', () => {
  const pages = execFileSync('git', ['ls-files', '*.md'], { cwd: root }).toString().trim().split('\n');

  it('use commands and flags that exist', () => {
    const wrong = pages.flatMap((page) => examplesOf(page).map(whyWrong)).filter((each) => each !== undefined);
    expect(wrong).toEqual([]);
    expect(pages.flatMap(examplesOf).length).toBeGreaterThan(50);
  });
  it('run the installed polony: npm would print its banner into their output', () => {
    const texts = pages
      .filter((page) => page !== 'CHANGELOG.md')
      .map((page) => readFileSync(path.join(root, page), 'utf8'));
    expect(texts.filter((text) => /npm run (?:--silent )?polony|npx polony/.test(text))).toEqual([]);
  });
});
