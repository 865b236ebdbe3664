import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { addClient } from '../../cli/client/index.js';
import { COMMANDS, operations } from '../../cli/client/operations.js';
import { defineIam } from '../../cli/iamCommand.js';
import { addLocalCommands } from '../../cli/localCommands.js';

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
